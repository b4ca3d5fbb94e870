"""Scalars of offers: entry x slope x 2^8, shifted, rounded to even, saturated."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .activation import sigmoid_slope
from .delay import delay

__all__ = ["ListScalar", "Source"]

#: Bits of (register x slope x 2^8) with the half of the largest shift added.
_TOTAL_BITS = 33


class Source(enum.Enum, shape=2):
    """What is offered: an own entry, an entry of a list of registers, or an input's weight to be
    ranked; or an entry of the shared list, which is kept."""

    OWN = 0
    REGISTERS = 1
    RANK = 2
    SHARED = 3


class ListScalar(wiring.Component):
    """One scalar a cycle; E = ``element_bits``. Latency: :data:`LATENCY`.

    Members
    -------
    kind : In. OWN and SHARED take no slope; RANK no entry: its scalar is the slope, or if that is
        ReLU's 1, the largest element.
    entry, activation : In, signed E.
    sigmoid : In. The slope's kind, which stands.
    shifts : In, 4 of 5 bits, by kind; they stand. RANK's is not looked at.
    scalar : Out, signed E; ``clipped`` with it.
    """

    #: Cycles from operands to scalar: their registers with the slope, product, half, coarse shift,
    #: fine shift, saturation.
    LATENCY = 6

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = config.element_bits
        super().__init__({
            "kind": In(Source), "entry": In(signed(bits)), "activation": In(signed(bits)),
            "sigmoid": In(1), "shifts": In(20),
            "scalar": Out(signed(bits)), "clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, bits = self.config, self.config.element_bits
        # The sigmoid's slope of nothing is nothing: so none is made where none is asked for. ReLU's
        # is 1, and a rank's entry 1 or, to ReLU's slope, the largest element.
        ranks, alone = self.kind == Source.RANK, Signal()
        activation, positive, slope = Signal(bits - 1), Signal(), Signal(bits - 1, reset_less=True)
        entry = Signal(signed(bits), reset_less=True)
        m.d.comb += [
            alone.eq((self.kind == Source.OWN) | (self.kind == Source.SHARED)),
            positive.eq(~self.activation[-1] & self.activation.any()),
            activation.eq(Mux(self.activation[-1] | (alone | ~self.sigmoid), 0,
                              self.activation[:bits - 1])),
        ]
        # Gates choose: a multiplexer of a constant would be a register's set or reset, of some bits
        # only, and the DSP48E1 would have to do without a register.
        largest = (ranks & ~self.sigmoid).replicate(bits - 2)
        m.d.sync += [
            slope.eq(sigmoid_slope(activation, config) | alone | ~self.sigmoid & positive),
            entry.eq(Cat(self.entry[0] | ranks,
                         self.entry[1:-1] & (~ranks).replicate(bits - 2) | largest,
                         self.entry[-1] & ~ranks)),
        ]
        product = Signal(signed(2 * bits), reset_less=True)
        m.d.sync += product.eq(entry * slope)

        # 2^8 is taken away from ranks again, and their rounding is none.
        kind = delay(m, self.kind, 2, "kind_product")
        masks, shifts = [], []
        for value in Source:
            shift = Const(8, 5) if value is Source.RANK else self.shifts.word_select(value.value, 5)
            mask = Signal(31, name=f"dropped_{value.name.lower()}", reset_less=True)
            m.d.sync += mask.eq((Const(1, 32) << shift) - 1)
            masks.append(mask)
            shifts.append(shift)

        def chosen(values):
            low = Mux(kind == Source.REGISTERS, values[1], values[0])
            return Mux(kind == Source.RANK, values[2], Mux(kind == Source.SHARED, values[3], low))

        mask = Signal(31)
        m.d.comb += mask.eq(chosen(masks))
        half, total = Signal(31), Signal(signed(_TOTAL_BITS))
        rest, whole = Signal(8, reset_less=True), Signal(signed(_TOTAL_BITS - 8), reset_less=True)
        m.d.comb += [half.eq(mask ^ mask >> 1), total.eq(Cat(rest, whole))]
        m.d.sync += [rest.eq(half[:8]), whole.eq(product + half[8:])]
        dropped = delay(m, mask, 1, "dropped")
        shift = delay(m, chosen(shifts), 1, "shift")
        near = Signal(signed(_TOTAL_BITS), reset_less=True)
        tie = Signal(reset_less=True)
        m.d.sync += [near.eq(total >> (shift[3:] << 3)),
                     tie.eq(dropped[0] & ~(total[:31] & dropped).any())]
        fine = delay(m, shift[:3], 1, "fine")
        result, shifted = Signal(signed(_TOTAL_BITS), reset_less=True), Signal(signed(_TOTAL_BITS))
        m.d.comb += shifted.eq(near >> fine)
        m.d.sync += result.eq(Cat(shifted[0] & ~tie, shifted[1:]))
        limit = config.element_max
        above, below = Signal(), Signal()
        m.d.comb += [above.eq(result > limit), below.eq(result < -limit)]
        m.d.sync += [self.scalar.eq(Mux(above, limit, Mux(below, -limit, result[:bits]))),
                     self.clipped.eq(above | below)]
        return m
