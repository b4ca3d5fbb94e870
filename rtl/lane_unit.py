"""The lane unit: rounds each lane's sum, and changes its weight slot or makes its register value.

One unit a lane serves both halves in turn. The rules are those of golden.update and of DRV.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .rule import LaneRule, members

__all__ = ["LaneUnit", "LaneUnits"]

#: The sum's sign: 4095 products of 24 and 9 bits, or of two elements shifted by 15.
_SIGN = 44


def _differ(bits: Value) -> Value:
    """Neither all ones nor all zeros."""
    return bits.any() & ~bits.all()


def _pick(index: Value, choices: list[Value], turned: int = 0) -> Value:
    """One of four. Bits in which ``turned`` is set ask the index's bits in the other order.

    Neighbours then have no half in common, for which a mapper would spend a LUT more.
    """
    straight, other = (
        Mux(index[outer], Mux(index[1 - outer], choices[3], choices[1 + outer]),
            Mux(index[1 - outer], choices[2 - outer], choices[0])) for outer in (1, 0))
    return Cat((other if turned >> k & 1 else straight)[k] for k in range(len(straight)))


class LaneUnit(wiring.Component):
    """One lane. Latency: 5 cycles from sum to ``value``, 6 from sum to ``slot_out``.

    Slots are changed by the negative sum: x is the code plus the sum, or of the event rule T + A
    plus the sum, less 1 (its start, :class:`tangente.rtl.rule.Decoder`), plus 1: so its sign says
    the direction. Values are the sum.

    Members
    -------
    sum0, sum1, tie0, tie1, half : In. The finished sums and which one this cycle's is.
    rule : In.
    slot0, slot1 : In, 16. The slot, 3 cycles after the sum, masked; the other half's is zero.
    value : Out, signed E bits. Rounded and saturated sum; ``value_clipped`` with it.
    slot_out : Out, 16. Changed slot; ``slot_clipped`` with it.
    """

    VALUE_LATENCY = 5
    SLOT_LATENCY = 6

    def __init__(self, config: Config) -> None:
        self.element_bits = config.element_bits
        super().__init__({
            "sum0": In(signed(48)), "sum1": In(signed(48)), "tie0": In(1), "tie1": In(1),
            "half": In(1), "rule": In(LaneRule()), "slot0": In(16), "slot1": In(16),
            "value": Out(signed(config.element_bits)), "value_clipped": Out(1),
            "slot_out": Out(16), "slot_clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._elaborate_decision(m, *self._elaborate_sum(m, *self._elaborate_shift(
            m, *self._elaborate_choice(m))))
        return m

    def _register(self, m: Module, name: str, value: Value) -> Signal:
        """``value`` a cycle later; still while no sums are taken."""
        register = Signal(value.shape(), name=name, reset_less=True)
        with m.If(self.rule.active):
            m.d.sync += register.eq(value)
        return register

    @staticmethod
    def _lut(m: Module, name: str, value: Value) -> Signal:
        """``value``, to be one LUT: its wire is kept."""
        wire = Signal(name=name, attrs={"keep": 1})
        m.d.comb += wire.eq(value)
        return wire

    def _elaborate_choice(self, m: Module) -> tuple[Signal, ...]:
        """First stage: the half whose turn it is, shifted by 16 already if the shift is that large.

        That is one multiplexer of four. Returns 32 bits, the sign, whether what lies above is
        anything but sign, and whether it is to be rounded up.
        """
        far = self.rule.shift[4]
        chosen = []
        for half, (total, tie) in enumerate(((self.sum0, self.tie0), (self.sum1, self.tie1))):
            above = self._lut(m, f"above{half}", _differ(total[31:37]))
            beyond = self._lut(m, f"beyond{half}", _differ(total[36:42]))
            over = self._lut(m, f"wide{half}", above | beyond | _differ(total[41:_SIGN + 1]))
            chosen.append((Mux(far, total[16:], total[:32]), total[_SIGN], over & ~far,
                           tie & self.rule.tie))
        return tuple(self._register(m, name, Mux(self.half, one, zero))
                     for zero, one, name in zip(*chosen, ("total", "sign", "over", "tie")))

    def _elaborate_shift(self, m: Module, total: Signal, sign: Signal, over: Signal,
                         tie: Signal) -> tuple[Signal, ...]:
        """Two stages: shifts by 0, 4, 8, 12, then by 0 to 3.

        Slots are shifted by 15: so the upper bits are theirs only. Of values ten bits are kept.
        Returns the shifted sum, its sign, what fills T + A above, whether that is all of the sum,
        and what is added.
        """
        rule = self.rule
        coarse, fine = rule.shift[2:4], rule.shift[:2]
        ends = [self._lut(m, f"end{at}", reach & _differ(total[at:at + 5]))
                for reach, at in zip(rule.reach, (20, 16, 12))]
        top = self._lut(m, "end24", _differ(total[24:30]))
        over = self._register(m, "near_over", Cat(
            self._lut(m, "end29", over | rule.value & (top | _differ(total[29:]))), *ends).any())
        near = self._register(m, "near", Cat(
            _pick(coarse, [total[at:at + 13] for at in (0, 4, 8, 12)], 0x100F), total[25:]))
        sign, tie = self._register(m, "near_sign", sign), self._register(m, "near_tie", tie)
        # Of slots, shifted by 3 here, all bits that are looked at are theirs.
        beyond = self._lut(m, "end9", _pick(
            fine, [_differ(near[at:13]) for at in (9, 10, 11)] + [Const(0)]))
        u = self._register(m, "u", Cat(
            _pick(fine, [near[at:at + 10] for at in range(4)], 0b0100101001), near[13:]))
        return (u, self._register(m, "u_sign", sign),
                self._register(m, "u_fill", rule.event & ~sign),
                self._register(m, "u_over", over | beyond),
                self._register(m, "more", rule.event | tie))

    def _elaborate_sum(self, m: Module, u: Signal, sign: Signal, fill: Signal, over: Signal,
                       more: Signal) -> tuple[Signal, ...]:
        """x, with the code beside it, the direction, the sign of x, and whether x is all.

        The event rule's T + A has ones above it where the sum is positive, so that what reaches 2 T
        carries out of the top, and zeros where it is not, so that what falls below 0 borrows. What
        is beyond x's bits has the direction for its sign.
        """
        rule = self.rule
        slot = self.slot0 | self.slot1
        upper = Cat(slot, slot[15], slot[15])
        operand = rule.fill & fill.replicate(18) | ~rule.fill & (upper ^ rule.flip)
        total = (Cat(more, operand) + Cat(Const(1, 1), u, u[16]))[1:19]
        return (self._register(m, "x", total[:17]), self._register(m, "kept", slot),
                self._register(m, "x_sign", sign),
                self._register(m, "top", Mux(over, sign, Mux(rule.value, total[9], total[17]))),
                self._register(m, "x_over", over))

    def _elaborate_decision(self, m: Module, x: Signal, code: Signal, sign: Signal, top: Signal,
                            over: Signal) -> None:
        """Two stages: what becomes of x; the code's step of the event rule."""
        rule, bits = self.rule, self.element_bits
        event = rule.event
        # Bits that differ from the sign where they must not: beyond the limits; of the event rule,
        # x is y, or y - 2 T where that carried, and T is one bit.
        upper = members(rule.upper)
        tops = [((x[k:k + 3] ^ top.replicate(3)) & upper[k:k + 3]).any() for k in range(0, 12, 3)]
        tops += [event & (x[12:15] ^ top.replicate(3)).any(),
                 over | ~rule.value & (x[15:17] ^ top.replicate(2)).any()]
        high = self._lut(m, "high", Cat(
            self._lut(m, f"high{k}", part) for k, part in enumerate(tops)).any())
        # Anything in the bits of which one must be set at least.
        low = self._lut(m, "low", Cat(
            self._lut(m, f"low{k}", (x[k:k + 3] & rule.low[k:k + 3]).any())
            for k in range(0, 15, 3)).any())
        ends = self._lut(m, "ends", self._is_last(m, code, sign))
        moves = self._lut(m, "moves", event & ((top == sign) | sign & ~top & ~high & ~low))
        outside = self._lut(m, "outside", Mux(event, (top == sign) & (high | top & ~low),
                                              high | top & rule.symm & ~low))
        # Of each bit: x, or the sign turned if nothing moves, or the limit's; or the code's.
        limited = self._lut(m, "limited", outside | moves & ends)
        # Downwards; or nothing moves.
        other = self._lut(m, "other", Mux(limited, Mux(event, sign & ~rule.single, top),
                                          event & ~moves))
        kind0, kind1, others = rule.kind0, rule.kind1, other.replicate(16)
        base = self._register(m, "base", code & ~(kind0 | kind1) | (kind0 | kind1) & Mux(
            limited, kind1 & ~kind0 | kind0 & ~(others ^ kind1), x[:16] ^ (kind0 & kind1 & others)))
        raises = self._register(m, "raises", moves & ~ends & ~sign)
        lowers = self._register(m, "lowers", moves & ~ends & sign)
        clipped = self._register(m, "clipped", limited & (~event | moves & ends))
        m.d.comb += [self.value.eq(base[:bits].as_signed()), self.value_clipped.eq(clipped)]
        # The code's mask is minus its unit; its complement and one is the unit.
        step = ~rule.code & raises.replicate(16) | rule.code & lowers.replicate(16)
        m.d.comb += [
            self.slot_out.eq(self._register(m, "changed", (
                Cat(Const(1, 1), base) + Cat(raises, step))[1:17])),
            self.slot_clipped.eq(self._register(m, "slot_limit", clipped)),
        ]

    def _is_last(self, m: Module, code: Signal, down: Signal) -> Value:
        """Whether the code is the highest, or the lowest: one LUT for two bits."""
        rule, differs = self.rule, []
        for pair in range(7):
            low, high = code[2 * pair + 1], code[2 * pair + 2]
            uses_low, uses_high = rule.code[2 * pair + 1], rule.code[2 * pair + 2]
            unit = rule.lowest[pair]
            differs.append(self._lut(m, f"last{pair}",
                                     uses_high & (high ^ (~down | unit & ~uses_low))
                                     | uses_low & (low ^ (~down | unit))))
        return ((code[15] == down) & ~self._lut(m, "not_last", Cat(differs[:6]).any())
                & ~differs[6])


class LaneUnits(wiring.Component):
    """The lane units side by side, with what they saturated counted.

    Members
    -------
    sums0_{l}, sums1_{l}, ties0, ties1, half, slots0, slots1, rule : In. See :class:`LaneUnit`.
    values : Out, lanes x E.
    slots_out : Out, lanes x 16.
    value_clipped, slot_clipped : Out, lanes bits each.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__({
            **{f"sums{half}_{lane}": In(signed(48)) for half in (0, 1) for lane in range(lanes)},
            "ties0": In(lanes), "ties1": In(lanes), "half": In(1), "rule": In(LaneRule()),
            "slots0": In(lanes * 16), "slots1": In(lanes * 16),
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
                unit.tie0.eq(self.ties0[lane]), unit.tie1.eq(self.ties1[lane]),
                unit.half.eq(self.half),
                unit.slot0.eq(self.slots0[lane * 16:lane * 16 + 16]),
                unit.slot1.eq(self.slots1[lane * 16:lane * 16 + 16]),
                self.values[lane * bits:lane * bits + bits].eq(unit.value),
                self.slots_out[lane * 16:lane * 16 + 16].eq(unit.slot_out),
                self.value_clipped[lane].eq(unit.value_clipped),
                self.slot_clipped[lane].eq(unit.slot_clipped),
            ]
        return m
