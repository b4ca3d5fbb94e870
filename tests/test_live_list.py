"""The list of live activations alone: against a plain list, and its cycles against golden.flow."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scanning import Pairs
from unit_bench import UnitBench

from tangente.golden import flow
from tangente.golden.config import preset
from tangente.golden.flow import GROUP
from tangente.golden.isa import LIVE_MAX
from tangente.rtl.live_list import LiveList
from tangente.rtl.ram import Ram

CONFIG = preset("tiny")
_BITS = CONFIG.element_bits
#: The first read is in the cycle after ``start``.
_FIRST = 1
_BOUND = 1000
#: Neurons and their activations.
Entries = list[tuple[int, int]]


class LiveListBench(UnitBench):
    """Memory; the list is read as soon as it is complete."""

    async def task(self, ctx, base: int, pairs: int, memory: Pairs,
                   stop: int | None) -> tuple[Entries, int] | None:
        """The list, and the cycle in which it is complete. stop : cycle of a reset, if any."""
        dut = self.dut
        ctx.set(dut.base, base)
        ctx.set(dut.pairs, pairs)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        asked: list[int | None] = [None] * Ram.LATENCY
        for cycle in range(_FIRST, _BOUND):
            group = asked[-Ram.LATENCY]
            # Nothing may be taken that was not asked for: it lives.
            ctx.set(dut.group_data, memory.group(memory.size if group is None else group))
            ctx.set(dut.reset_job, cycle == stop)
            asked.append(ctx.get(dut.group) if ctx.get(dut.reading) else None)
            if ctx.get(dut.done):
                result = await self._entries(ctx), cycle
                await self._quiet(ctx, len(result[0]))
                return result
            await ctx.tick()
            if cycle == stop:
                ctx.set(dut.reset_job, 0)
                await self._quiet(ctx, None)
                return None
        raise AssertionError(f"not done in {_BOUND} cycles")

    async def _entries(self, ctx) -> Entries:
        dut, result = self.dut, []
        # In this cycle the last entry may just be found; the first reader comes the cycle after.
        await ctx.tick()
        for entry in range(ctx.get(dut.count)):
            ctx.set(dut.entry, entry)
            result.append((ctx.get(dut.neuron), ctx.get(dut.activation)))
        return result

    async def _quiet(self, ctx, count: int | None) -> None:
        dut = self.dut
        ctx.set(dut.group_data, -1)
        for _ in range(6):
            assert not ctx.get(dut.reading)
            assert ctx.get(dut.done)
            assert count is None or ctx.get(dut.count) == count
            await ctx.tick()


@functools.cache
def bench() -> LiveListBench:
    return LiveListBench(LiveList(CONFIG))


def plain(base: int, pairs: int, memory: Pairs) -> Entries:
    """The activations that are not zero, with their neurons."""
    result = []
    for neuron in range(2 * pairs):
        value = memory[base + neuron // 2] >> neuron % 2 * _BITS & (1 << _BITS) - 1
        if value:
            result.append((neuron, value - (value >> _BITS - 1 << _BITS)))
    return result


def check(base: int, pairs: int, memory: Pairs) -> None:
    expected = plain(base, pairs, memory)
    entries, cycle = bench().run(base, pairs, memory, None)
    assert entries == expected
    neurons = np.array([neuron for neuron, _ in expected], np.int64)
    assert cycle == flow.live_list(neurons, base, pairs, _FIRST)


_MEMORIES = st.builds(Pairs, st.just(CONFIG.pairs), st.just(2 * _BITS),
                      st.sampled_from((0.0, 0.05, 0.3, 0.7, 1.0)), st.sampled_from((1, 3, 30)),
                      st.integers(0, 1 << 32))
_BASES = st.integers(0, CONFIG.pairs - LIVE_MAX // 2)
_PAIRS = st.one_of(st.integers(1, 20), st.integers(1, LIVE_MAX // 2))


@settings(max_examples=60, derandomize=True, deadline=None)
@example(base=GROUP - 1, pairs=LIVE_MAX // 2, memory=Pairs(CONFIG.pairs, 2 * _BITS, 1.0, 1, 3))
@example(base=GROUP - 1, pairs=1, memory=Pairs(CONFIG.pairs, 2 * _BITS, 1.0, 1, 4))
@given(base=_BASES, pairs=_PAIRS, memory=_MEMORIES)
def test_live_activations(base: int, pairs: int, memory: Pairs) -> None:
    check(base, pairs, memory)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(base=_BASES, pairs=_PAIRS, memory=_MEMORIES, stop=st.integers(_FIRST, 20))
def test_stops_at_once(base: int, pairs: int, memory: Pairs, stop: int) -> None:
    """A list that is stopped leaves nothing behind."""
    bench().run(base, pairs, memory, stop)
    check(base, pairs, memory)
