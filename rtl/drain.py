"""The drain: captures the lanes' sums and hands them on in pairs (MVA, MVR)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .array import pick
from .delay import delay

__all__ = ["Drain"]

#: Of a half: 2048 products of a 16-bit code and an element, whose magnitude is at most 255.
_SUM_BITS = 35


class Drain(wiring.Component):
    """Captures sum0 + sum1 of every lane; then lanes 2i, 2i + 1 come out, one pair a cycle.

    A sum may be captured while half 0 of the last pair of the one before it is taken, not earlier:
    so many cycles after it as it has pairs. Whoever issues sums sees to it, and to the room that
    their pairs need. The first pair comes out four cycles after ``capture``.

    Members
    -------
    sums0_{l}, sums1_{l} : In, signed 48.
    capture, pairs : In. Half 0's sums stand now, half 1's in the next cycle; ``pairs`` are wanted.
    result_valid, even, odd : Out.
    reset_job : In. Forget everything.
    """

    #: From ``capture`` to the first ``result_valid``.
    LATENCY = 4

    def __init__(self, config: Config) -> None:
        self.lanes = config.lanes
        super().__init__({
            **{f"sums{half}_{lane}": In(signed(48))
               for half in (0, 1) for lane in range(config.lanes)},
            "capture": In(1), "pairs": In(8),
            "result_valid": Out(1), "even": Out(signed(48)), "odd": Out(signed(48)),
            "reset_job": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        second = delay(m, self.capture, 1, "second")
        # The halves are kept apart, so that one adder a pair does for all lanes.
        captured: tuple[list, list] = ([], [])
        for half, now in ((0, self.capture), (1, second)):
            for lane in range(self.lanes):
                value = Signal(signed(_SUM_BITS), name=f"captured{half}_{lane}", reset_less=True)
                with m.If(now):
                    m.d.sync += value.eq(getattr(self, f"sums{half}_{lane}"))
                captured[half].append(value)

        left, index = Signal(8), Signal(8)
        taking = Signal(2)
        m.d.comb += taking[0].eq(left != 0)
        with m.If(taking[0]):
            m.d.sync += [left.eq(left - 1), index.eq(index + 1)]
        with m.If(self.capture):
            m.d.sync += [left.eq(self.pairs), index.eq(0)]
        with m.If(self.reset_job):
            m.d.sync += [left.eq(0), second.eq(0)]

        # Half 1 is taken a cycle later, as it was captured.
        place = index[:max(1, (self.lanes // 2 - 1).bit_length())]
        places = [place, delay(m, place, 1, "place")]
        for first, result in ((0, self.even), (1, self.odd)):
            taken = [pick(m, captured[half][first::2], places[half], f"lane{first}_half{half}")
                     for half in (0, 1)]
            m.d.comb += result.eq(delay(m, taken[0], 1, f"taken{first}") + taken[1])
        valid = Signal()
        m.d.sync += [taking[1].eq(taking[0] & ~self.reset_job),
                     valid.eq(taking[1] & ~self.reset_job),
                     self.result_valid.eq(valid & ~self.reset_job)]
        return m
