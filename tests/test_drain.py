"""The drain: captured sums in pairs, credit that comes and goes, and jobs that are forgotten."""

from __future__ import annotations

import dataclasses
import functools
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden.config import preset
from tangente.rtl.drain import Drain
from tangente.rtl.uop import SUM

#: 4095 products of a 16-bit code and an element, over both halves.
EXTREME = 32768 * 255 * 2047


class DrainBench(UnitBench):
    """Plays issue unit, array and post-processing unit."""

    async def task(self, ctx, sums: list[tuple[list[int], list[int]]], wanted: list[int],
                   share: float, seed: int, forget: int | None) -> list[tuple[int, int]]:
        """Capture ``sums`` one after the other; return the pairs, checked for their times.

        share : of cycles with credit. forget : cycle in which the job is reset, if any.
        """
        dut, generator = self.dut, random.Random(seed)
        lanes = dut.lanes
        pending = list(zip(sums, wanted))
        results: list[tuple[int, int]] = []
        takes: list[int] = []
        due: tuple[int, tuple[list[int], list[int]]] | None = None
        taken = left = cycle = 0
        ready_at = None
        while pending or due or left or (takes and cycle - takes[-1] <= Drain.LATENCY):
            assert cycle < 5000
            forgetting = cycle == forget
            if forgetting:
                pending, due, left, ready_at = [], None, 0, None
            begin = bool(pending) and due is None and not left and not ctx.get(dut.busy)
            if begin:
                due = cycle + SUM + 1 + generator.randrange(3), pending[0][0]
                left = pending.pop(0)[1]
                ctx.set(dut.pairs, left)
            else:
                ctx.set(dut.pairs, generator.getrandbits(8))
            ctx.set(dut.begin, begin)
            ctx.set(dut.reset_job, forgetting)
            # Between captures the sums are under way: anything.
            now = [[generator.getrandbits(30) for _ in range(lanes)] for _ in (0, 1)]
            capture = due is not None and cycle == due[0]
            ctx.set(dut.capture, capture)
            if capture:
                now[0] = due[1][0]
            elif due is not None and cycle == due[0] + 1:
                now[1] = due[1][1]
                due, ready_at = None, cycle + 1
            for half in (0, 1):
                for lane in range(lanes):
                    ctx.set(getattr(dut, f"sums{half}_{lane}"), now[half][lane])
            credit = generator.random() < share
            ctx.set(dut.credit, credit)
            # A pair is announced as soon as there is credit, and only then.
            take = bool(ctx.get(dut.take_credit))
            if not forgetting:
                assert take == (credit and ready_at is not None and cycle >= ready_at)
                assert ctx.get(dut.busy) == (left > 0 and not begin)
            shown = bool(ctx.get(dut.result_valid))
            assert shown == (cycle - Drain.LATENCY in takes)
            if shown:
                results.append((ctx.get(dut.even), ctx.get(dut.odd)))
            if forgetting:
                takes = []
            elif take:
                takes.append(cycle)
                taken += 1
                left -= 1
                if not left:
                    ready_at = None
            await ctx.tick()
            cycle += 1
        ctx.set(dut.reset_job, 0)
        for _ in range(4):
            assert not ctx.get(dut.busy)
            assert not ctx.get(dut.take_credit)
            assert not ctx.get(dut.result_valid)
            await ctx.tick()
        assert taken >= len(results)
        return results


@functools.cache
def bench(lanes: int) -> DrainBench:
    return DrainBench(Drain(dataclasses.replace(preset("tiny"), lanes=lanes)))


def expect(sums: list[tuple[list[int], list[int]]], wanted: list[int]) -> list[tuple[int, int]]:
    pairs = []
    for (one, two), count in zip(sums, wanted):
        total = [a + b for a, b in zip(one, two)]
        pairs += list(zip(total[::2], total[1::2]))[:count]
    return pairs


def make(lanes: int, count: int, seed: int) -> tuple[list, list[int]]:
    generator = random.Random(seed)

    def one() -> int:
        return generator.choice((EXTREME, -EXTREME, generator.randint(-EXTREME, EXTREME)))

    sums = [([one() for _ in range(lanes)], [one() for _ in range(lanes)]) for _ in range(count)]
    return sums, [generator.randint(1, lanes // 2) for _ in range(count)]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(lanes=st.sampled_from((4, 12, 36)), count=st.integers(1, 4), seed=st.integers(0, 1 << 32),
       share=st.sampled_from((0.2, 0.7, 1.0)))
def test_against_sums(lanes: int, count: int, seed: int, share: float) -> None:
    sums, wanted = make(lanes, count, seed)
    assert bench(lanes).run(sums, wanted, share, seed, None) == expect(sums, wanted)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 1 << 32), share=st.sampled_from((0.3, 1.0)), forget=st.integers(0, 40))
def test_forgets(seed: int, share: float, forget: int) -> None:
    """Nothing of a job shows after its reset, not even in the next one."""
    sums, wanted = make(12, 3, seed)
    before = bench(12).run(sums, wanted, share, seed, forget)
    assert before == expect(sums, wanted)[:len(before)]
    assert bench(12).run(sums, wanted, 1.0, seed, None) == expect(sums, wanted)
