"""The array: two halves of DSP48E1 lanes, with their operands' registers and the rounding constant.

Per lane: U is the weight's code or the half's scalar (the DSP's pre-adder picks, no LUT), V is the
half's scalar or the lane's element of the row. Half 1 works one cycle after half 0.
"""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden import lfsr
from ..golden.config import Config
from .dsp48e1 import DSP48E1

__all__ = ["MacArray", "HalfControl"]


class HalfControl(wiring.Signature):
    """Control of one half, presented with its operands."""

    def __init__(self) -> None:
        super().__init__({
            "enable": Out(1),      # a product this cycle
            "clear": Out(1),       # it starts a sum
            "use_scalar": Out(1),  # U is the scalar, not the weight
            "use_row": Out(1),     # V is the row's element, not the scalar
            "use_slope": Out(1),   # with use_row: the slope of ReLU at the element
            "u_scalar": Out(signed(25)),
            "v_scalar": Out(signed(9)),
            "random": Out(64),     # mixed state; its taps are the lanes' random bits
        })


class MacArray(wiring.Component):
    """2 x lanes multiply-accumulators.

    Members
    -------
    control0, control1 : In. Of each half; half 1's one cycle after half 0's.
    weights0, weights1 : In, lanes x 16. The word read for each half.
    row0, row1 : In, lanes x E. The row for each half.
    code_mask : In, 16. Bits of a slot that hold the code.
    half_code : In, 16. What is added to a code, one of the bits below it: ASYMM's half.
    round_mask : In, 24. Random bits that a sum starts from.
    round_half : In, 32. Constant that a sum starts from.
    signs : In. Products are subtracted in the lanes whose first random bit is set.
    sums0, sums1 : Out, lanes signed(48) each: ``sums0_{l}``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes, bits = config.lanes, config.element_bits
        members = {}
        for half in (0, 1):
            members |= {
                f"control{half}": In(HalfControl()),
                f"weights{half}": In(lanes * 16),
                f"row{half}": In(lanes * bits),
                **{f"sums{half}_{lane}": Out(signed(48)) for lane in range(lanes)},
            }
        super().__init__(members | {
            "code_mask": In(16), "half_code": In(16), "round_mask": In(lfsr.TAP_BITS),
            "round_half": In(32), "signs": In(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, bits = self.config.lanes, self.config.element_bits
        taps = lfsr.taps(lanes)
        for half in (0, 1):
            control = getattr(self, f"control{half}")
            weights = getattr(self, f"weights{half}")
            row = getattr(self, f"row{half}")
            for lane in range(lanes):
                m.submodules[f"dsp{half}_{lane}"] = dsp = DSP48E1()
                slot = weights[lane * 16:lane * 16 + 16]
                element = row[lane * bits:lane * bits + bits].as_signed()
                random = Cat(*(control.random[a] ^ control.random[b] ^ control.random[c]
                               for a, b, c in taps[half * lanes + lane]))
                m.d.comb += [
                    dsp.a.eq((slot & self.code_mask | self.half_code).as_signed()),
                    dsp.d.eq(control.u_scalar),
                    dsp.use_d.eq(control.use_scalar),
                    dsp.b.eq(Mux(control.use_row,
                                 Mux(control.use_slope, element > 0, element),
                                 control.v_scalar)),
                    dsp.c.eq(Cat(random & self.round_mask, Const(0, 8)) | self.round_half),
                    dsp.clear.eq(control.clear),
                    dsp.enable.eq(control.enable),
                    dsp.subtract.eq(self.signs & random[0]),
                    getattr(self, f"sums{half}_{lane}").eq(dsp.p),
                ]
        return m


def pick(m: Module, values: list, index: Signal, name: str, group: int = 8):
    """``values[index]``, registered twice: within groups of ``group``, then among the groups."""
    low = index[:(group - 1).bit_length()]
    high = Signal(range(max(2, -(-len(values) // group))), name=f"{name}_high", reset_less=True)
    m.d.sync += high.eq(index[(group - 1).bit_length():])
    groups = []
    for g in range(0, len(values), group):
        part = Signal.like(values[0], name=f"{name}_group{g // group}", reset_less=True)
        m.d.sync += part.eq(Choice(values[g:g + group])[low])
        groups.append(part)
    result = Signal.like(values[0], name=f"{name}_picked", reset_less=True)
    m.d.sync += result.eq(Choice(groups)[high])
    return result
