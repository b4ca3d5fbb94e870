"""Rounding and saturation in gates: the twins of :mod:`tangente.golden.formats`.

Rounding to nearest, ties to even, takes two steps: a half is added (with :func:`half`, by an adder
that the caller often has already), then a :class:`Rounder` shifts and mends the ties. A tie shows
after the addition: all bits that the shift drops are zero. Its result is then made even.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SHIFT_BITS", "half", "saturate", "Rounder"]

#: Bits of a run-time shift.
SHIFT_BITS = 5


def half(shift: Value) -> Value:
    """What is added before ``shift`` places are dropped: 2^(shift - 1), or 0 for shift 0."""
    return (Const(1, 1) << shift)[1:]


def saturate(value: Value, bits: int) -> tuple[Value, Value]:
    """``value`` (signed, at least ``bits`` wide) clamped to +-(2^(bits-1) - 1).

    Returns
    -------
    clamped : signed(bits).
    saturated : unsigned(1), whether that changed the value; the most negative code counts.
    """
    sign, low, high = value[-1], value[:bits - 1], value[bits - 1:]
    saturated = Mux(sign, ~high.all() | ~low.any(), high.any())
    limit = Cat(Const(1, 1), (~sign).replicate(bits - 2), sign)
    return Mux(saturated, limit, value[:bits]).as_signed(), saturated


class Rounder(wiring.Component):
    """Shifts to the right and makes ties even; one value a cycle, :data:`LATENCY` cycles.

    Parameters
    ----------
    width : bits of the value.

    Members
    -------
    value : signed(width), In. The number to round, plus :func:`half` of ``shift``.
    shift : unsigned(5), In. Places to drop. Constant from one cycle before a value comes until its
        result leaves.
    result : signed(width), Out. The rounded number.
    """

    LATENCY = 2

    def __init__(self, width: int) -> None:
        self._width = width
        super().__init__({"value": In(signed(width)), "shift": In(SHIFT_BITS),
                          "result": Out(signed(width))})

    def elaborate(self, platform) -> Module:
        m = Module()
        fine_bits = 3
        fine, coarse = self.shift[:fine_bits], self.shift[fine_bits:]

        dropped = Signal(min(self._width, (1 << SHIFT_BITS) - 1))
        near = Signal(signed(self._width), reset_less=True)
        tie = Signal(reset_less=True)
        shifted = Signal(signed(self._width))
        m.d.sync += [
            dropped.eq(Cat(self.shift > place for place in range(len(dropped)))),
            near.eq(self.value >> (coarse << fine_bits)),
            tie.eq(dropped[0] & ~(self.value & dropped).any()),
            self.result.eq(Cat(shifted[0] & ~tie, shifted[1:])),
        ]
        m.d.comb += shifted.eq(near >> fine)
        return m
