"""The drain: captures the lanes' sums and hands them on in pairs (MVA, MVR)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .array import pick

__all__ = ["Drain"]

#: Of 4096 products of a 16-bit code and an element, whose magnitude is at most 255.
_SUM_BITS = 36


class Drain(wiring.Component):
    """Captures the sum of every lane; then lanes 2i, 2i + 1 come out, one pair a cycle.

    A sum may be captured while the last pair of the one before it is taken, not earlier: so many
    cycles after it as it has pairs. Whoever issues sums sees to it, and to the room that their
    pairs need. The first pair comes out two cycles after ``capture``.

    Members
    -------
    sums_{l} : In, signed 48.
    capture, pairs : In. The sums stand now; ``pairs`` are wanted.
    result_valid, even, odd : Out.
    reset_job : In. Forget everything.
    """

    #: From ``capture`` to the first ``result_valid``.
    LATENCY = 2

    def __init__(self, config: Config) -> None:
        self.lanes = config.lanes
        super().__init__({
            **{f"sums_{lane}": In(signed(48)) for lane in range(config.lanes)},
            "capture": In(1), "pairs": In(8),
            "result_valid": Out(1), "even": Out(signed(48)), "odd": Out(signed(48)),
            "reset_job": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        captured = []
        for lane in range(self.lanes):
            value = Signal(signed(_SUM_BITS), name=f"captured_{lane}", reset_less=True)
            with m.If(self.capture):
                m.d.sync += value.eq(getattr(self, f"sums_{lane}"))
            captured.append(value)

        left, index, taking = Signal(8), Signal(8), Signal()
        m.d.comb += taking.eq(left != 0)
        with m.If(taking):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        with m.If(self.capture):
            m.d.sync += [left.eq(self.pairs), index.eq(0)]
        with m.If(self.reset_job):
            m.d.sync += left.eq(0)
        place = index[:max(1, (self.lanes // 2 - 1).bit_length())]
        for first, result in ((0, self.even), (1, self.odd)):
            m.d.comb += result.eq(pick(m, captured[first::2], place, f"lane{first}"))
        m.d.sync += self.result_valid.eq(taking & ~self.reset_job)
        return m
