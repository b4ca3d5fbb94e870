"""The reducer: adder trees over the lanes of each half, and their sum over tiles (MVD)."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .primitives import add_five

__all__ = ["Reducer", "stages"]

_FAN_IN = 5
#: A product of a 16-bit code and an element, whose magnitude is at most 255.
_PRODUCT_BITS = 24


def stages(lanes: int) -> int:
    """Registered levels of the tree, five values to one at each."""
    count, width = 0, lanes
    while width > 1:
        width = -(-width // _FAN_IN)
        count += 1
    return count


class Reducer(wiring.Component):
    """Sums of each half's products; pairs of results.

    Latency from half 0's products to ``result_valid``: ``stages(lanes) + 2``.

    Members
    -------
    sums0_{l}, sums1_{l} : In, signed 48. The products of half 0, and one cycle later of half 1.
    valid, first, last : In, with half 0's products: they count; they start, end a result.
    result_valid : Out.
    even, odd : Out, signed 48. Results of half 0 and half 1.
    """

    def __init__(self, config: Config) -> None:
        self.lanes = config.lanes
        self.latency = stages(config.lanes) + 2
        super().__init__({
            **{f"sums{half}_{lane}": In(signed(48))
               for half in (0, 1) for lane in range(config.lanes)},
            "valid": In(1), "first": In(1), "last": In(1),
            "result_valid": Out(1), "even": Out(signed(48)), "odd": Out(signed(48)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # Five values take at most three bits more: two adders of three.
        width, levels = _PRODUCT_BITS, [
            [getattr(self, f"sums{half}_{lane}")[:_PRODUCT_BITS].as_signed()
             for lane in range(self.lanes)] for half in (0, 1)]
        for level in range(stages(self.lanes)):
            width += 3
            for half in (0, 1):
                inputs, outputs = levels[half], []
                for group in range(0, len(inputs), _FAN_IN):
                    part = Signal(signed(width), name=f"tree{half}_{level}_{group // _FAN_IN}",
                                  reset_less=True)
                    m.d.sync += part.eq(add_five(m, inputs[group:group + _FAN_IN], width,
                                                 f"five{half}_{level}_{group // _FAN_IN}"))
                    outputs.append(part)
                levels[half] = outputs
        flags = [self.valid, self.first, self.last]
        for level in range(stages(self.lanes) + 1):
            delayed = [Signal(name=f"{name}_{level}", reset_less=True)
                       for name in ("valid", "first", "last")]
            m.d.sync += [target.eq(value) for target, value in zip(delayed, flags)]
            flags = delayed
        valid, first, last = flags
        # Half 0 waits a cycle for half 1.
        half0 = Signal.like(levels[0][0], name="half0", reset_less=True)
        m.d.sync += half0.eq(levels[0][0])
        m.d.sync += self.result_valid.eq(valid & last)
        with m.If(valid):
            m.d.sync += [self.even.eq(Mux(first, 0, self.even) + half0),
                         self.odd.eq(Mux(first, 0, self.odd) + levels[1][0])]
        return m
