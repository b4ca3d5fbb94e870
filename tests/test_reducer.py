"""The reducer against plain sums, at its exact latency."""

from __future__ import annotations

import dataclasses
import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden.config import preset
from tangente.rtl.reducer import Reducer, stages

#: Largest product of a 16-bit code and an element.
EXTREME = 32768 * 255
#: valid, first, last, and the products of both halves.
Step = tuple[bool, bool, bool, list[int], list[int]]


class ReducerBench(UnitBench):
    """Runs steps, half 1 a cycle late; returns {cycle: (even, odd)} of the results."""

    async def task(self, ctx, steps: list[Step]) -> dict[int, tuple[int, int]]:
        dut, results = self.dut, {}
        rest = [0] * dut.lanes
        idle = (False, True, True, rest, rest)
        late = rest
        for cycle, (valid, first, last, even, odd) in enumerate(
                [*steps, *[idle] * (dut.latency + 1)]):
            ctx.set(dut.valid, valid)
            ctx.set(dut.first, first)
            ctx.set(dut.last, last)
            for lane in range(dut.lanes):
                ctx.set(getattr(dut, f"sums0_{lane}"), even[lane])
                ctx.set(getattr(dut, f"sums1_{lane}"), late[lane])
            late = odd
            if ctx.get(dut.result_valid):
                results[cycle] = ctx.get(dut.even), ctx.get(dut.odd)
            await ctx.tick()
        return results


@functools.cache
def bench(lanes: int) -> ReducerBench:
    return ReducerBench(Reducer(dataclasses.replace(preset("tiny"), lanes=lanes)))


def check(lanes: int, lengths: list[int], gaps: float, extreme: bool, seed: int) -> None:
    """Results of ``lengths`` steps each, with a share of idle cycles among them."""
    unit, generator = bench(lanes), random.Random(seed)
    steps: list[Step] = []
    expected = {}

    def products() -> list[int]:
        if extreme:
            return [generator.choice((-EXTREME, EXTREME))] * lanes
        return [generator.randint(-EXTREME, EXTREME) for _ in range(lanes)]

    for length in lengths:
        totals = [0, 0]
        for index in range(length):
            while generator.random() < gaps:
                steps.append((False, generator.random() < 0.5, generator.random() < 0.5,
                              products(), products()))
            halves = products(), products()
            steps.append((True, index == 0, index == length - 1, *halves))
            totals = [total + sum(half) for total, half in zip(totals, halves)]
        expected[len(steps) - 1 + unit.dut.latency] = tuple(totals)
    assert unit.run(steps) == expected


@settings(max_examples=40, derandomize=True, deadline=None)
@given(lanes=st.sampled_from((4, 12)), lengths=st.lists(st.integers(1, 6), max_size=6),
       gaps=st.sampled_from((0.0, 0.5)), extreme=st.booleans(), seed=st.integers(0, 1 << 32))
def test_against_sums(lanes: int, lengths: list[int], gaps: float, extreme: bool,
                      seed: int) -> None:
    check(lanes, lengths, gaps, extreme, seed)


@pytest.mark.parametrize("extreme", [False, True])
def test_hundred_lanes(extreme: bool) -> None:
    check(100, [1, 3, 1, 1, 41], 0.2, extreme, 5)


def test_levels() -> None:
    assert [stages(lanes) for lanes in (4, 8, 12, 16, 20, 64, 100, 128)] == [
        1, 2, 2, 2, 2, 3, 3, 4]
    assert bench(4).dut.latency == 3
