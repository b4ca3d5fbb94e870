"""The lane unit: rounds each lane's sum, and changes its weight slot or makes its register value.

One unit a lane serves both halves in turn. The rules are those of golden.update and of DRV.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .delay import delay

__all__ = ["LaneUnit", "LaneUnits", "LaneRule"]

_SUM_BITS = 44
#: Bits that the second stage looks at: 17 of the result and 15 of shift.
_KEPT_BITS = 32


def _same(bits: Value) -> Value:
    """All ones or all zeros."""
    return bits.all() | ~bits.any()


class LaneRule(wiring.Signature):
    """The rule, decoded once for all lanes; stable while a job runs."""

    def __init__(self) -> None:
        super().__init__({
            "shift": Out(5),
            "low_mask": Out(32),    # the bits of the sum that are rounded away, if ties matter
            "tie": Out(1),          # round to even
            "unit": Out(16),        # one-hot: the unit that remains (code's lowest bit, or 1)
            "code_mask": Out(16),   # of code, or of code and master
            "bottom": Out(16),      # the lowest code
            "low_code": Out(15),    # bits of which one is set in all negative codes but the lowest
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
        u = self._elaborate_round(m, *self._elaborate_choice(m))
        limit = (1 << (self.element_bits - 1)) - 1
        above, below = Signal(), Signal()
        m.d.comb += [above.eq(u > limit), below.eq(u < -limit)]
        m.d.sync += [
            self.value.eq(Mux(above, limit, Mux(below, -limit, u[:self.element_bits].as_signed()))),
            self.value_clipped.eq(above | below),
        ]
        self._elaborate_rule(m, u)
        return m

    def _elaborate_choice(self, m: Module) -> list:
        """First stage: the half whose turn it is, shifted by 16 already if the shift is that large.

        That is one multiplexer of four. Returns its low bits, its sign, whether the bits above are
        anything but sign, and whether the 16 bits that went are zero.
        """
        far, chosen = self.rule.shift[4], []
        for total in (self.sum0[:_SUM_BITS].as_signed(), self.sum1[:_SUM_BITS].as_signed()):
            high = total[_KEPT_BITS - 1:]
            chosen.append((Mux(far, total >> 16, total)[:_KEPT_BITS], total[-1],
                           ~far & ~_same(high), ~(far & total[:16].any())))
        return [delay(m, Mux(self.half, one, zero), 1, name)
                for zero, one, name in zip(*chosen, ("total", "sign", "over", "zero_low"))]

    def _elaborate_round(self, m: Module, total, sign, over, zero_low) -> Signal:
        """Two stages: shifts by 0, 4, 8, 12, then by 0 to 3; ties to even; saturates to 17 bits."""
        rule = self.rule
        coarse, fine = rule.shift[2:4], rule.shift[:2]
        low_mask = Mux(rule.shift[4], rule.low_mask >> 16, rule.low_mask)[:_KEPT_BITS]
        tie = delay(m, rule.tie & zero_low & ~(total & low_mask).any(), 1, "tie")
        near = delay(m, (total.as_signed() >> (coarse << 2))[:20], 1, "near")
        over = delay(m, over | (coarse < 3) & ~_same(total[27:])
                     | (coarse < 2) & ~_same(total[23:28])
                     | (coarse < 1) & ~_same(total[19:24]), 1, "near_over")
        sign = delay(m, sign, 1, "near_sign")
        result = Signal(signed(20))
        m.d.comb += result.eq(near.as_signed() >> fine)
        # No rule distinguishes sums beyond 17 bits.
        over = over | ~_same(result[16:])
        limit = Cat((~sign).replicate(16), sign)
        even = Cat(~(tie & rule.unit[k]) for k in range(16))
        u = Signal(signed(17), reset_less=True)
        m.d.sync += u.eq(Mux(over, limit, result[:17] & Cat(even, Const(1, 1))).as_signed())
        return u

    def _elaborate_rule(self, m: Module, u: Signal) -> None:
        """Three stages: x = A - u, or the code less u; what becomes of it; the code's step.

        T is acc_sign, a power of two, and x is compared with multiples of it by looking at its
        bits above and below T's. The accumulator is kept modulo 2 T, so T is added or taken by
        turning one bit round.
        """
        rule = self.rule
        sign = Signal()
        m.d.comb += sign.eq((self.slot[:12] & rule.acc_sign).any())
        kept = Mux(rule.event, rule.acc_mask, rule.code_mask)
        extension = Mux(rule.event, ~rule.acc_mask | 0xF000, 0)[:16]
        operand = Signal(signed(16))
        step = Signal(signed(17))
        m.d.comb += [
            operand.eq((self.slot & kept | extension & sign.replicate(16)).as_signed()),
            step.eq(Cat(u[:16] & (rule.code_mask | rule.event.replicate(16)), u[16]).as_signed()),
        ]
        x = Signal(signed(18), reset_less=True)
        m.d.sync += x.eq(operand - step)
        code = delay(m, self.slot & rule.code_mask, 1, "code")

        negative = x[-1]
        below_t = rule.acc_mask & ~rule.acc_sign
        at_least = []   # |x| >= T, |x| >= 2 T
        for mask in (below_t, rule.acc_mask):
            wide = Cat(mask, Const(0, 5))
            at_least.append(Mux(negative,
                                ~((x[:17] | wide).all() & (x[:12] & mask).any()),
                                (x[:17] & ~wide).any()))
        moves, saturates = at_least
        at_top = ~code[15] & ~(code ^ rule.code_mask)[:15].any()
        at_bottom = code[15] & ~(code ^ rule.bottom)[:15].any()
        at_end = Signal()
        m.d.comb += at_end.eq(Mux(negative, at_bottom, at_top))
        clamps = moves & (at_end | saturates)
        # T - 1, or 1 - T modulo 2 T.
        clamped = Mux(negative, Cat(~rule.acc_sign[0], rule.acc_sign[1:]), below_t)
        acc = Mux(clamps, clamped, x[:12] ^ Mux(moves, rule.acc_sign, 0)) & rule.acc_mask
        # The other rules: x is a multiple of the unit, so only its top bits tell.
        outside = Mux(negative, ~(x[15:17].all() & ((x[:15] & rule.low_code).any()
                                                    | ~rule.bottom[:15].any())), x[15:17].any())
        most = Mux(negative, rule.bottom, rule.code_mask & 0x7FFF)
        base = delay(m, Mux(rule.event, code | acc, Mux(outside, most, x[:16]))[:16], 1, "base")
        goes = rule.event & moves & ~at_end
        up, down = delay(m, goes & ~negative, 1, "up"), delay(m, goes & negative, 1, "down")
        clipped = delay(m, Mux(rule.event, moves & at_end, outside), 1, "clipped")
        # The code's mask is minus its unit.
        m.d.sync += [
            self.slot_out.eq(base + (rule.unit & up.replicate(16)
                                     | rule.code_mask & down.replicate(16))),
            self.slot_clipped.eq(clipped),
        ]


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
