"""The rule of a job, decoded once for all lanes: what sums start from, and what becomes of them.

A slot's lowest bit stands in the lane's sum at bit 15, or at bit 31 from SHIFT 16 on: the scalar is
shifted to the left for it, so that no lane need shift. A register value (OWN, DEEP, OFFER) stands
at its shift.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden import lfsr
from ..golden.config import Config

__all__ = ["LaneRule", "StartRule", "Decoder", "Pools", "counts", "members"]

#: Bits of a sum at which a slot's lowest bit may stand; between them lie 16 places.
_NEAR, _FAR = 15, 31


class LaneRule(wiring.Signature):
    """What the lane units do; stable while a job runs. Bit k stands for bit k of a slot."""

    def __init__(self) -> None:
        super().__init__({
            "active": Out(1),     # sums are taken at all
            "value": Out(1),      # they become register values, not slots
            "event": Out(1),
            "shift": Out(5),      # of the sum: 15 or 31 for slots
            "tie": Out(1),        # round to even
            "reach": Out(3),      # of bits 20 to 24, 16 to 20, 12 to 16 of the sum, less 16 from
                                  # shift 16 on: beyond a value
            "fill": Out(18),      # above the accumulator; all bits of values
            "flip": Out(12),      # one-hot: the accumulator's sign bit T
            "upper": Out(8),      # from T on, see :func:`counts`; of values, above them
            "single": Out(1),     # T is bit 0
            "symm": Out(1),       # the lowest code is missing
            "low": Out(15),       # of the code or value without its sign; or below T
            "code": Out(16),      # of the code
            "lowest": Out(7),     # one-hot, bits 2 k + 1 and 2 k + 2: the code's unit, if it is set
                                  # in the lowest code
            "kind0": Out(16),     # of each bit: 0 code of the event rule, 1 plain, 2 set at both
            "kind1": Out(16),     # limits, 3 sign
        })


def counts(mask: Value) -> Value:
    """Of each three bits of ``mask``, whose ones are its upper bits: how many are ones.

    So three bits of a lane and their two take one LUT; see :func:`members`.
    """
    return Cat(Cat(mask[k + 2] & (~mask[k + 1] | mask[k]), mask[k + 1])
               for k in range(0, len(mask), 3))


def members(count: Value) -> Value:
    """The mask that :func:`counts` took."""
    return Cat(Cat(count[k] & count[k + 1], count[k + 1], count[k] | count[k + 1])
               for k in range(0, len(count), 2))


#: Places of a sum whose random bits are switched together: below 15, below 31, above.
Pools = (range(_NEAR), range(_NEAR, _FAR), range(_FAR, lfsr.PLACES))


class StartRule(wiring.Signature):
    """What sums start from; stable while a job runs."""

    def __init__(self) -> None:
        super().__init__({
            "used": Out(1),               # by anything but zero
            "mask": Out(lfsr.PLACES),     # places that are not zero
            "top": Out(1),                # all bits above the places
            "random": Out(len(Pools)),    # of each pool: random, not ones
        })


class Decoder(wiring.Component):
    """Decodes a rule, registered.

    Members
    -------
    value, update : In. Sums become register values, slots.
    event, stochastic, master, asymm, code_bits, acc_bits, shift : In. The job's format; ``shift``
        of SHIFT, or SHIFT2 for OWN.
    lane, start : Out.
    slot_mask : Out, 16. Bits of a slot that the lane units are to see; values take no slot.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "value": In(1), "update": In(1), "event": In(1), "stochastic": In(1), "master": In(1),
            "asymm": In(1), "code_bits": In(5), "acc_bits": In(4), "shift": In(5),
            "lane": Out(LaneRule()), "start": Out(StartRule()), "slot_mask": Out(16),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self.config.element_bits
        event = Signal()
        code_shift, unit_shift = Signal(4), Signal(4)
        code, unit, acc = Signal(16), Signal(16), Signal(12)
        code_unit, sign, below_t = Signal(16), Signal(12), Signal(12)
        m.d.comb += [
            event.eq(self.update & self.event),
            code_shift.eq(16 - self.code_bits),
            unit_shift.eq(code_shift - Mux(self.master, self.acc_bits, 0)),
            code.eq(Const(0xFFFF) << code_shift), unit.eq(Const(0xFFFF) << unit_shift),
            acc.eq((Const(1, 13) << self.acc_bits) - 1),
            code_unit.eq(code & ~(code << 1)),
            sign.eq(acc & ~(acc >> 1)), below_t.eq(acc >> 1),
        ]
        lane, start = self.lane, self.start
        lowest = Signal(16)
        m.d.comb += lowest.eq(Mux(self.asymm, 0, code_unit))
        value_sign = 1 << (bits - 1)
        plain, both, signs = Signal(16), Signal(16), Signal(16)
        with m.If(self.value):
            m.d.comb += [plain.eq(value_sign - 2), both.eq(1), signs.eq(value_sign)]
        with m.Elif(event):
            m.d.comb += [plain.eq(acc & ~sign & ~1), both.eq(~sign & 1), signs.eq(sign)]
        with m.Else():
            m.d.comb += [plain.eq(unit & ~lowest & 0x7FFF), both.eq(lowest), signs.eq(0x8000)]
        m.d.sync += [
            lane.active.eq(self.update | self.value),
            lane.value.eq(self.value), lane.event.eq(event),
            lane.shift.eq(Mux(self.update, self.shift | 15, self.shift)),
            lane.tie.eq(Mux(self.value, self.shift != 0, ~event & ~self.stochastic)),
            lane.reach.eq(Mux(self.value, Cat(self.shift[2:4] < 3 - k for k in range(3)), 0)),
            lane.fill.eq(Mux(self.value, -1, Mux(event, ~Cat(acc, Const(0, 6)), 0))),
            lane.flip.eq(Mux(event, sign, 0)),
            lane.upper.eq(counts(Mux(event, ~below_t, Mux(
                self.value, (1 << 9) - (1 << bits - 1), 0))[:12])),
            lane.single.eq(acc == 1), lane.symm.eq(self.value | ~self.asymm),
            lane.low.eq(Mux(self.value, value_sign - 1, Mux(event, below_t, code[:15]))),
            lane.code.eq(code),
            lane.lowest.eq(Cat(lowest[k:k + 2].any() for k in range(1, 15, 2))),
            lane.kind0.eq(plain | signs), lane.kind1.eq(both | signs),
            self.slot_mask.eq(Mux(event, code | acc, unit)),
        ]
        # Rounding: half a unit less one; else all below the unit, random or ones, so that the floor
        # of -(d + r) is minus that of d + r. The event rule takes one more unit from it.
        below = Signal(6)
        rounds = Signal()
        m.d.comb += [
            rounds.eq(self.value | ~self.event & ~self.stochastic),
            below.eq(Mux(self.value, self.shift,
                         Mux(self.shift[4], _FAR, _NEAR) + Mux(event, 0, unit_shift))),
        ]
        ones = Cat(below > place for place in range(lfsr.PLACES))
        chance = self.update & self.stochastic
        m.d.sync += [
            start.used.eq(self.update | self.value),
            start.mask.eq(Mux(self.update | self.value, Mux(
                event, -1, Mux(rounds, ones >> 1, ones)), 0)),
            start.top.eq(event),
            start.random.eq(Cat(chance, chance & (self.shift[4] | ~event), chance & ~event)),
        ]
        return m
