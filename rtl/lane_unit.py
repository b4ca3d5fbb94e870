"""The lane unit: rounds each lane's sum, and changes its weight slot or makes its register value.

One unit a lane serves both halves in turn. The rules are those of golden.update and of DRV.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .ram import delay

__all__ = ["LaneUnit", "LaneUnits", "LaneRule"]

_SUM_BITS = 44


class LaneRule(wiring.Signature):
    """The rule, decoded once for all lanes; stable while a job runs."""

    def __init__(self) -> None:
        super().__init__({
            "shift": Out(5),
            "low_mask": Out(32),    # the bits of the sum that are rounded away, if ties matter
            "tie": Out(1),          # round to even
            "unit": Out(16),        # one-hot: the unit that remains (code's lowest bit, or 1)
            "code_mask": Out(16),
            "acc_mask": Out(12),    # the accumulator's bits
            "acc_sign": Out(12),    # one-hot: its sign bit, T
            "event": Out(1),
        })


class LaneUnit(wiring.Component):
    """One lane. Latency: 4 cycles from sum to ``value``, 6 from sum to ``slot_out``.

    Members
    -------
    sum0, sum1, half : In. The finished sums and which one this cycle's is.
    rule : In.
    slot : In, 16. The slot, 3 cycles after the sum.
    value : Out, signed E bits. Rounded and saturated sum; ``value_clipped`` with it.
    slot_out : Out, 16. Changed slot; ``slot_clipped`` with it.
    """

    VALUE_LATENCY = 4
    SLOT_LATENCY = 6

    def __init__(self, config: Config) -> None:
        self.element_bits = config.element_bits
        super().__init__({
            "sum0": In(signed(48)), "sum1": In(signed(48)), "half": In(1),
            "rule": In(LaneRule()),
            "slot": In(16),
            "value": Out(signed(config.element_bits)), "value_clipped": Out(1),
            "slot_out": Out(16), "slot_clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        rule = self.rule

        def register(value, name):
            return delay(m, value, 1, name)

        total = register(Mux(self.half, self.sum1, self.sum0)[:_SUM_BITS].as_signed(), "total")
        # Shift in two stages; a tie is known from the bits that go.
        coarse = Signal(signed(_SUM_BITS))
        m.d.comb += coarse.eq(total >> (rule.shift & 0b11000))
        coarse = register(coarse, "coarse")
        tie = register(rule.tie & ((total[:32] & rule.low_mask) == 0), "tie")
        fine = Signal(signed(_SUM_BITS))
        m.d.comb += fine.eq(coarse >> rule.shift[:3])
        # 17 bits, saturated: no rule distinguishes larger sums.
        over = ~((fine[16:] == 0) | fine[16:].all())
        wide = Signal(signed(17))
        m.d.comb += wide.eq(Mux(over, Mux(fine[-1], Const(-65536, signed(17)),
                                          Const(65535, signed(17))), fine[:17].as_signed()))
        even = Mux(tie & ~over, ~rule.unit, 0xFFFF)
        u = Signal(signed(17), reset_less=True)
        m.d.sync += u.eq((wide.as_unsigned() & (even | 1 << 16)).as_signed())

        limit = (1 << (self.element_bits - 1)) - 1
        above, below = Signal(), Signal()
        m.d.comb += [above.eq(u > limit), below.eq(u < -limit)]
        m.d.sync += [
            self.value.eq(Mux(above, limit, Mux(below, -limit, u[:self.element_bits].as_signed()))),
            self.value_clipped.eq(above | below),
        ]

        # Rule, first stage: x = A - u, or the code less u.
        code = Signal(signed(16))
        acc = Signal(signed(12))
        sign = Signal()
        m.d.comb += [
            code.eq((self.slot & rule.code_mask).as_signed()),
            sign.eq((self.slot[:12] & rule.acc_sign).any()),
            acc.eq(((self.slot[:12] & rule.acc_mask)
                    | Mux(sign, ~rule.acc_mask, 0)[:12]).as_signed()),
        ]
        step = Signal(signed(17))
        m.d.comb += step.eq((u.as_unsigned() & rule.code_mask.as_signed().as_unsigned()
                             | (u.as_unsigned() & 1 << 16)).as_signed())
        x = Signal(signed(19), reset_less=True)
        m.d.sync += x.eq(Mux(rule.event, acc, code) - Mux(rule.event, u, step))
        code1 = register(code, "code1")

        # Second stage. T stands in acc_sign; the largest code is code_mask without its sign bit.
        code_limit = Signal(signed(16))
        t = Signal(signed(14))
        m.d.comb += [code_limit.eq(rule.code_mask & 0x7FFF), t.eq(rule.acc_sign)]
        at_top = code1 == code_limit
        at_bottom = code1 == -code_limit
        up, down = Signal(), Signal()
        m.d.comb += [up.eq(x >= t), down.eq(x <= -t)]
        top, bottom = Signal(signed(14)), Signal(signed(14))
        m.d.comb += [top.eq((t << 1) - 1), bottom.eq(-top)]
        rest = Signal(signed(14))
        m.d.comb += rest.eq(x[:14].as_signed())
        new_code, new_acc, clipped = Signal(16), Signal(signed(14)), Signal()
        m.d.comb += [new_code.eq(code1), new_acc.eq(rest)]
        with m.If(rule.event):
            with m.If(up):
                m.d.comb += [
                    clipped.eq(at_top),
                    new_code.eq(Mux(at_top, code1, code1 + rule.unit)),
                    # x - T, x no more than 2T - 1.
                    new_acc.eq(Mux(at_top | (x > top), t - 1, rest - t)),
                ]
            with m.Elif(down):
                m.d.comb += [
                    clipped.eq(at_bottom),
                    new_code.eq(Mux(at_bottom, code1, code1 - rule.unit)),
                    new_acc.eq(Mux(at_bottom | (x < bottom), 1 - t, rest + t)),
                ]
        with m.Else():
            with m.If(x > code_limit):
                m.d.comb += [clipped.eq(1), new_code.eq(code_limit)]
            with m.Elif(x < -code_limit):
                m.d.comb += [clipped.eq(1), new_code.eq(-code_limit)]
            with m.Else():
                m.d.comb += new_code.eq(x[:16])
            m.d.comb += new_acc.eq(0)
        code2, acc2 = register(new_code, "code2"), register(new_acc, "acc2")
        clipped2 = register(clipped, "clipped2")
        m.d.sync += [
            self.slot_out.eq(code2 | acc2[:12] & rule.acc_mask),
            self.slot_clipped.eq(clipped2),
        ]
        return m


class LaneUnits(wiring.Component):
    """The lane units side by side, with what they saturated counted.

    Members
    -------
    sums0_{l}, sums1_{l}, half, slots, rule : In. See :class:`LaneUnit`.
    values : Out, lanes x E.
    slots_out : Out, lanes x 16.
    value_clipped, slot_clipped : Out, lanes bits each.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            **{f"sums{half}_{lane}": In(signed(48)) for half in (0, 1) for lane in range(lanes)},
            "half": In(1), "slots": In(lanes * 16), "rule": In(LaneRule()),
            "values": Out(lanes * config.element_bits), "slots_out": Out(lanes * 16),
            "value_clipped": Out(lanes), "slot_clipped": Out(lanes),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self.config.element_bits
        for lane in range(self.config.lanes):
            m.submodules[f"unit{lane}"] = unit = LaneUnit(self.config)
            wiring.connect(m, wiring.flipped(self.rule), unit.rule)
            m.d.comb += [
                unit.sum0.eq(getattr(self, f"sums0_{lane}")),
                unit.sum1.eq(getattr(self, f"sums1_{lane}")),
                unit.half.eq(self.half),
                unit.slot.eq(self.slots[lane * 16:lane * 16 + 16]),
                self.values[lane * bits:lane * bits + bits].eq(unit.value),
                self.slots_out[lane * 16:lane * 16 + 16].eq(unit.slot_out),
                self.value_clipped[lane].eq(unit.value_clipped),
                self.slot_clipped[lane].eq(unit.slot_clipped),
            ]
        return m
