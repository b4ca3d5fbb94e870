"""The drain: captured sums in pairs, back to back or not, and jobs that are forgotten."""

from __future__ import annotations

import dataclasses
import functools
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden.config import preset
from tangente.rtl.drain import Drain

#: 4095 products of a 16-bit code and an element.
EXTREME = 32768 * 255 * 4095


class DrainBench(UnitBench):
    """Plays issue unit and array."""

    async def task(self, ctx, sums: list[list[int]], wanted: list[int],
                   pause: int, seed: int, forget: int | None) -> list[tuple[int, int]]:
        """Capture ``sums`` one after the other; return the pairs, checked for their times.

        pause : most cycles that a sum comes later than it may. forget : cycle in which the job is
        reset, if any.
        """
        dut, generator = self.dut, random.Random(seed)
        lanes = dut.lanes
        results: list[tuple[int, int]] = []
        pending = list(zip(sums, wanted))
        captures: dict[int, tuple[list[int], int]] = {}
        due: set[int] = set()   # cycles of results
        cycle = generator.randint(0, pause)
        for one, pairs in pending:
            captures[cycle] = one, pairs
            due |= {cycle + Drain.LATENCY + i for i in range(pairs)}
            # Not before the last pair is taken.
            cycle += pairs + generator.randint(0, pause)
        for cycle in range(max(due) + 4):
            forgetting = cycle == forget
            if forgetting:
                captures = {}
                due = {before for before in due if before <= cycle}
            ctx.set(dut.reset_job, forgetting)
            # Between captures the sums are under way: anything.
            now = [generator.getrandbits(30) for _ in range(lanes)]
            ctx.set(dut.capture, cycle in captures)
            ctx.set(dut.pairs, captures[cycle][1] if cycle in captures
                    else generator.getrandbits(8))
            if cycle in captures:
                now = captures[cycle][0]
            for lane in range(lanes):
                ctx.set(getattr(dut, f"sums_{lane}"), now[lane])
            assert ctx.get(dut.result_valid) == (cycle in due)
            if cycle in due:
                results.append((ctx.get(dut.even), ctx.get(dut.odd)))
            await ctx.tick()
        return results


@functools.cache
def bench(lanes: int) -> DrainBench:
    return DrainBench(Drain(dataclasses.replace(preset("tiny"), lanes=lanes)))


def expect(sums: list[list[int]], wanted: list[int]) -> list[tuple[int, int]]:
    return [pair for total, count in zip(sums, wanted)
            for pair in list(zip(total[::2], total[1::2]))[:count]]


def make(lanes: int, count: int, seed: int) -> tuple[list[list[int]], list[int]]:
    generator = random.Random(seed)

    def one() -> int:
        return generator.choice((EXTREME, -EXTREME, generator.randint(-EXTREME, EXTREME)))

    sums = [[one() for _ in range(lanes)] for _ in range(count)]
    return sums, [generator.randint(1, lanes // 2) for _ in range(count)]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(lanes=st.sampled_from((4, 12, 36)), count=st.integers(1, 5), seed=st.integers(0, 1 << 32),
       pause=st.sampled_from((0, 3)))
def test_against_sums(lanes: int, count: int, seed: int, pause: int) -> None:
    sums, wanted = make(lanes, count, seed)
    assert bench(lanes).run(sums, wanted, pause, seed, None) == expect(sums, wanted)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 1 << 32), pause=st.sampled_from((0, 3)), forget=st.integers(0, 24))
def test_forgets(seed: int, pause: int, forget: int) -> None:
    """Nothing of a job shows after its reset, not even in the next one."""
    sums, wanted = make(12, 3, seed)
    before = bench(12).run(sums, wanted, pause, seed, forget)
    assert before == expect(sums, wanted)[:len(before)]
    assert bench(12).run(sums, wanted, 0, seed, None) == expect(sums, wanted)
