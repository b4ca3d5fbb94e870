"""The operands of a tensor instruction as the units see them: checked and trimmed registers."""

from __future__ import annotations

from amaranth.lib import data

from ..golden.isa import Flag, Reg

__all__ = ["WIDTHS", "Descriptor", "FlagBits"]

#: Bits that a unit sees of each descriptor register; the sequencer refuses larger values (OPERAND).
WIDTHS: dict[Reg, int] = {
    Reg.COUNT: 12, Reg.P: 12, Reg.Q: 12, Reg.M_BASE: 16, Reg.S_BASE: 16, Reg.S_STRIDE: 16,
    Reg.V_BASE: 16, Reg.V_STRIDE: 16, Reg.Y_BASE: 16, Reg.Y_STRIDE: 16, Reg.YR_BASE: 16,
    Reg.YR_STRIDE: 16, Reg.G_BASE: 16, Reg.G_STRIDE: 16, Reg.F_BASE: 16, Reg.F_STRIDE: 16,
    Reg.SHIFT: 5, Reg.SHIFT2: 5, Reg.B_BASE: 16, Reg.B_SHIFT: 5, Reg.CODE_BITS: 5,
    Reg.ACC_BITS: 4, Reg.K: 16, Reg.TILES: 8, Reg.MANTISSA: 8, Reg.T_BASE: 16, Reg.T_STRIDE: 16,
    Reg.E_SHIFT: 5, Reg.R_BASE: 16, Reg.R_STRIDE: 16, Reg.L_BASE: 16, Reg.ASYMM: 1,
}


#: The flags of :class:`tangente.golden.isa.Flag`, one field each, in their places.
FlagBits = data.StructLayout({
    "post": 2, "sigmoid": 1, "input": 1, "pairs": 1, "rows": 1, "slope_rows": 1, "slope": 1,
    "bias_gradient": 1, "event": 1, "stochastic": 1, "master": 1, "own": 1, "shared": 1, "lists": 1,
    "beside": 1, "live": 1, "wanted": 1, "signs": 1, "speculative": 1,
})


class Descriptor(data.StructLayout):
    """Layout: one field for each register of :data:`WIDTHS`, lower case, and ``flags``."""

    def __init__(self) -> None:
        super().__init__({"flags": FlagBits,
                          **{reg.name.lower(): width for reg, width in WIDTHS.items()}})


assert FlagBits.size == max(flag.value for flag in Flag).bit_length()
