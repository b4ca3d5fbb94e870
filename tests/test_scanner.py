"""The scanner alone: its micro-operations against plain loops, its cycles against golden.flow."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scanning import Pairs, Step, product_steps, update_steps
from unit_bench import UnitBench

from tangente.golden import flow
from tangente.golden.config import preset
from tangente.golden.flow import CREDITS, GROUP, SCANNED_SAMPLES
from tangente.rtl.ram import Ram
from tangente.rtl.scanner import STEP_TO_UOP, Scanner

CONFIG = preset("tiny")
_PAIR_BITS = 2 * CONFIG.element_bits
_OPERANDS = ("base", "stride", "pairs", "samples", "tiles", "weight_base", "vector_base",
             "vector_stride")
#: A job's cycles: its first read is in the cycle after ``start``.
_FIRST = 1
#: Most cycles that a job may take.
_BOUND = 20_000

#: Whether a sum may end in this cycle, of (whether the step before ended one, its last tile).
Hold = Callable[[bool, bool], bool]


@dataclasses.dataclass
class Scanned:
    """What a job came to.

    Members
    -------
    steps : its micro-operations.
    cycle : in which ``done`` came, or the job was stopped, after ``start``.
    done : whether it did.
    """

    steps: list[Step]
    cycle: int
    done: bool


class ScannerBench(UnitBench):
    """Memory, and whoever holds the ends of MVA's sums."""

    async def task(self, ctx, update: bool, job: dict[str, Any], memory: Pairs, hold: Hold,
                   stop: int | None, ahead: flow.Ahead = flow.ALONE) -> Scanned:
        """hold : see :data:`Hold`. stop : cycle of a reset, if any. ahead : what it is beside."""
        dut = self.dut
        ctx.set(dut.update, update)
        ctx.set(dut.hold, 0)
        for name in _OPERANDS:
            ctx.set(getattr(dut, name), job[name])
        erring = job.get("erring")
        ctx.set(dut.wanted, erring is not None)
        ctx.set(dut.dense, 0)
        # The multiples of T stand two cycles after T, as the issue unit sees to.
        await ctx.tick().repeat(2)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        steps: list[Step] = []
        tiles: list[tuple[bool, bool, bool]] = []
        rows = [0] * Ram.LATENCY
        done, quiet, ended, last_tile = None, 0, False, False
        for cycle in range(_FIRST, _BOUND):
            ctx.set(dut.row_data, memory.group(rows[-Ram.LATENCY]))
            ctx.set(dut.reset_job, cycle == stop)
            ctx.set(dut.behind, cycle < ahead.awaited)
            shown = int(np.searchsorted(ahead.writes, cycle, side="right"))
            ctx.set(dut.reached, int(ahead.written[shown - 1]) if shown else 0)
            sample = ctx.get(dut.sample)
            ctx.set(dut.erring, bool(erring) and sample < len(erring) and erring[sample])
            # The drain is asked for what this tile needs: `last_tile` does not depend on `hold`.
            holds = hold(ended, bool(ctx.get(dut.last_tile)))
            ctx.set(dut.hold, holds)
            holds &= not update
            rows.append(ctx.get(dut.row))
            step, last = bool(ctx.get(dut.step)), bool(ctx.get(dut.last))
            last_tile = bool(ctx.get(dut.last_tile))
            tiles.append((step, step and last, last_tile))
            assert not (step and last and holds)
            ended = step and last
            valid = ctx.get(dut.valid)
            then = tiles[-1 - STEP_TO_UOP] if len(tiles) > STEP_TO_UOP else (False,) * 3
            assert valid == then[0], "a micro-operation stands two cycles after its step"
            if valid:
                found = {name: ctx.get(getattr(dut, name)) for name in
                         ("weight", "vector", "pair", "first", "ends", "final")}
                assert found["ends"] == then[1]
                steps.append(Step(**found, last_tile=int(then[2])))
            if ctx.get(dut.done) or ctx.get(dut.nothing):
                assert done is None
                assert step == ctx.get(dut.done)
                done = cycle
            await ctx.tick()
            if cycle == stop:
                ctx.set(dut.reset_job, 0)
                await self._quiet(ctx)
                return Scanned(steps, cycle, False)
            quiet += done is not None
            if quiet > STEP_TO_UOP:
                await self._quiet(ctx)
                return Scanned(steps, done, True)
        raise AssertionError(f"not done in {_BOUND} cycles")

    async def listing(self, ctx, job: dict[str, Any]) -> tuple[int, list[int], bool]:
        """MVD's job: the cycle of ``listed``, the samples' first rows, and whether there are none.
        """
        dut = self.dut
        for name in _OPERANDS:
            ctx.set(getattr(dut, name), job[name])
        for signal, value in ((dut.update, 1), (dut.dense, 1), (dut.wanted, 1), (dut.start, 1)):
            ctx.set(signal, value)
        await ctx.tick()
        ctx.set(dut.start, 0)
        cycle = _FIRST
        while not ctx.get(dut.listed):
            assert cycle < _BOUND
            ctx.set(dut.erring, job["erring"][min(ctx.get(dut.sample), job["samples"] - 1)])
            await ctx.tick()
            cycle += 1
        rows = []
        for number in range(ctx.get(dut.count)):
            ctx.set(dut.number, number)
            rows.append(ctx.get(dut.listed_vector))
        await ctx.tick()
        nothing = bool(ctx.get(dut.nothing))
        await self._quiet(ctx)
        return cycle, rows, nothing

    async def _quiet(self, ctx) -> None:
        ctx.set(self.dut.hold, 0)
        for _ in range(6):
            assert not ctx.get(self.dut.step)
            assert not ctx.get(self.dut.valid)
            assert not ctx.get(self.dut.done)
            await ctx.tick()


@functools.cache
def bench() -> ScannerBench:
    return ScannerBench(Scanner(CONFIG))


@functools.cache
def lister() -> Listing:
    return Listing(Scanner(CONFIG))


def held_at_random(share: float, seed: int) -> Hold:
    """share : of cycles in which a sum may end."""
    generator = random.Random(seed)
    return lambda ended, last_tile: generator.random() >= share


class Listing(ScannerBench):
    """As a scanner's bench, for jobs of MVD."""

    async def task(self, ctx, job: dict[str, Any]) -> tuple[int, list[int], bool]:
        return await self.listing(ctx, job)


class Drained:
    """The drain and the post-processing unit behind it, pair by pair.

    A sum's first pair is taken 11 cycles after its micro-operation's step and, every cycle, the
    next; four cycles later a pair may be accepted, one every ``gap`` cycles. A scanned step's
    micro-operation is one cycle later than another's. A sample that is left out, of those that are
    not ``erring``, takes the place of a pair.
    """

    def __init__(self, full: int, rest: int, gap: int, tiles: int = 1,
                 erring: list[bool] | None = None, ahead: flow.Ahead = flow.ALONE) -> None:
        self.ahead = ahead
        self.full, self.rest, self.gap = full, rest, gap
        self.sample_pairs = (tiles - 1) * full + rest
        # Cycles more before the first pair of a sample, and after the last one of all.
        self.skipped = [0]
        for made in erring or []:
            self.skipped[-1] += not made
            if made:
                self.skipped.append(0)
        self.now = _FIRST - 1
        self.free = _FIRST + ahead.draining     # the cycle from which on the drain takes a sum
        self.arrivals: list[int] = []       # of pairs, before the post-processing unit
        self.accepted: list[int] = []
        self.wanted = full

    def __call__(self, ended: bool, last_tile: bool) -> bool:
        if ended:
            self.arrivals += [self.now + 16 + i for i in range(self.wanted)]
            self.free = self.now + self.wanted
        self._accept(self.now)
        self.now += 1
        self.wanted = self.rest if last_tile else self.full
        under_way = len(self.arrivals) - sum(cycle < self.now for cycle in self.accepted)
        under_way += sum(cycle >= self.now for cycle in self.ahead.accepted.tolist())
        return self.now < self.free or under_way + self.wanted > CREDITS

    def _accept(self, now: int) -> None:
        count = len(self.accepted)
        sample, pair = divmod(count, self.sample_pairs)
        skipped = self.skipped[sample] if pair == 0 and sample < len(self.skipped) else 0
        if count < len(self.arrivals) and now >= self.arrivals[count] and (
                now >= self.accepted[-1] + self.gap + skipped if count
                else now >= self.ahead.begins + skipped):
            self.accepted.append(now)

    def finish(self) -> int:
        """The cycle of the last acceptance, or in which the last sample is left out."""
        while len(self.accepted) < len(self.arrivals):
            self._accept(self.now)
            self.now += 1
        more = self.skipped[-1] if len(self.skipped) > 1 else 0
        return self.accepted[-1] + (more + self.gap - 1 if more else 0)


@st.composite
def jobs(draw: st.DrawFn, update: bool) -> tuple[dict[str, Any], Pairs]:
    """A job, and the memory that it finds."""
    stride = draw(st.integers(0, 40))
    samples = draw(st.one_of(st.integers(1, 6), st.integers(1, SCANNED_SAMPLES)))
    pairs = draw(st.one_of(st.integers(1, 20), st.integers(1, 50)))
    if update and samples > 1:
        # Samples lie alike in their groups.
        stride = GROUP * draw(st.integers(0, 6))
    tiles = draw(st.one_of(st.just(1), st.integers(1, 4)))
    if not update:
        samples = min(samples, 6)
    job = {"base": draw(st.integers(0, 60)), "stride": stride, "pairs": pairs, "samples": samples,
           "tiles": tiles, "weight_base": draw(st.integers(0, 65535)),
           "vector_base": draw(st.integers(0, 65535)), "vector_stride": draw(st.integers(0, 99))}
    if draw(st.booleans()):
        share = draw(st.sampled_from((0, 1, 3, 10)))
        job["erring"] = [draw(st.integers(0, 9)) < share for _ in range(samples)]
    end = job["base"] + (samples - 1) * stride + pairs
    memory = Pairs(end + draw(st.integers(0, 9)), _PAIR_BITS,
                   draw(st.sampled_from((0.0, 0.03, 0.2, 0.6, 0.95, 1.0))),
                   draw(st.sampled_from((1, 3, 30))), draw(st.integers(0, 1 << 32)))
    return job, memory


def check(update: bool, job: dict[str, Any], memory: Pairs, hold: Hold,
          ahead: flow.Ahead = flow.ALONE) -> int:
    """Run a job; compare all that is said of its micro-operations; its last step's cycle."""
    result = bench().run(update, job, memory, hold, None, ahead)
    expected = (update_steps if update else product_steps)(memory, job)
    assert [mask(step, want) for step, want in zip(result.steps, expected)] == expected
    assert len(result.steps) == len(expected)
    assert result.done
    return result.cycle


def mask(step: Step, want: Step) -> Step:
    """``step`` without the fields that ``want`` says nothing of."""
    unknown = {field.name: None for field in dataclasses.fields(Step)
               if getattr(want, field.name) is None}
    return dataclasses.replace(step, **unknown)


def live(job: dict[str, Any], memory: Pairs) -> np.ndarray:
    """(samples, pairs, 2), of those that err."""
    found = np.array(memory.live(job["base"], job["stride"], job["pairs"], job["samples"]))
    return found[job["erring"]] if "erring" in job else found


_SETTINGS = settings(max_examples=30, derandomize=True, deadline=None)
_SHARES = st.sampled_from((0.1, 0.5, 1.0))
_SEEDS = st.integers(0, 1 << 32)


@_SETTINGS
@given(case=jobs(update=False), share=_SHARES, seed=_SEEDS)
def test_products(case: tuple[dict[str, Any], Pairs], share: float, seed: int) -> None:
    check(False, *case, held_at_random(share, seed))


@_SETTINGS
@given(case=jobs(update=True), share=_SHARES, seed=_SEEDS)
def test_updates(case: tuple[dict[str, Any], Pairs], share: float, seed: int) -> None:
    check(True, *case, held_at_random(share, seed))


@_SETTINGS
@given(case=jobs(update=True))
def test_cycles_of_updates(case: tuple[dict[str, Any], Pairs]) -> None:
    job, memory = case
    first = _FIRST + (job["samples"] + 1 if "erring" in job else 0)
    expected = flow.update(live(job, memory), job["base"], job["tiles"], first)
    assert check(True, job, memory, held_at_random(0.5, 1)) == expected


@_SETTINGS
@given(case=jobs(update=True), count=st.integers(0, SCANNED_SAMPLES))
def test_lists_for_others(case: tuple[dict[str, Any], Pairs], count: int) -> None:
    """MVD: the samples' first rows, a cycle each and one; no micro-operations."""
    job, _ = case
    generator = random.Random(count)
    job["erring"] = [generator.randrange(SCANNED_SAMPLES) < count for _ in range(job["samples"])]
    cycle, rows, nothing = lister().run(job)
    assert cycle == _FIRST + job["samples"]
    assert rows == [job["vector_base"] + b * job["vector_stride"]
                    for b, made in enumerate(job["erring"]) if made]
    assert nothing == (not any(job["erring"]))


@_SETTINGS
@given(case=jobs(update=False), full=st.sampled_from((1, 2, 8, 50, 64)), data=st.data())
def test_cycles_of_products(case: tuple[dict[str, Any], Pairs], full: int,
                            data: st.DataObject) -> None:
    job, memory = case
    rest, gap = data.draw(st.integers(1, full)), data.draw(st.integers(1, 2))
    erring = job.get("erring")
    drain = Drained(full, rest, gap, job["tiles"], erring)
    last = check(False, job, memory, drain)
    first = _FIRST + (job["samples"] + 1 if erring else 0)
    if erring and not any(erring):
        assert last == first
        return
    assert (last, drain.finish()) == flow.product(
        live(job, memory).any(2), job["base"], job["stride"], job["tiles"], full, rest, first, gap,
        None if erring is None else np.array(erring))[:2]


@st.composite
def before(draw: st.DrawFn, base: int) -> flow.Ahead:
    """What an earlier product leaves: pairs on their way, and writes about where this one reads."""
    gap, count = draw(st.integers(1, 2)), draw(st.sampled_from((0, 1, 20, 50, CREDITS)))
    accepted = draw(st.sampled_from((-30, 0, 9, 40))) + gap * np.arange(count)
    first = draw(st.integers(max(0, base // GROUP - 3), base // GROUP + 3))
    rng = np.random.default_rng(draw(_SEEDS))
    written = first + np.cumsum(rng.random(count) < draw(st.sampled_from((0.1, 0.3, 1))))
    over = int(max([0, *(accepted + 16)])) + draw(st.integers(0, 40))
    return flow.Ahead(accepted, over + 2, draw(st.sampled_from((0, 0, 9, 60))), accepted + 15,
                      written,
                      over if draw(st.booleans()) else 0)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(case=jobs(update=False), full=st.sampled_from((1, 2, 8, 50, 64)), data=st.data())
def test_cycles_of_products_beside(case: tuple[dict[str, Any], Pairs], full: int,
                                   data: st.DataObject) -> None:
    """A product that awaits what another one writes, its way to memory, and the drain."""
    job, memory = case
    rest, gap = data.draw(st.integers(1, full)), data.draw(st.integers(1, 2))
    ahead = data.draw(before(job["base"]))
    erring = job.get("erring")
    drain = Drained(full, rest, gap, job["tiles"], erring, ahead)
    last = check(False, job, memory, drain, ahead)
    first = _FIRST + (job["samples"] + 1 if erring else 0)
    if erring and not any(erring):
        assert last == first
        return
    # The drain's cycles count from the first read on.
    ahead = ahead._replace(draining=max(0, ahead.draining - (first - _FIRST)))
    assert (last, drain.finish()) == flow.product(
        live(job, memory).any(2), job["base"], job["stride"], job["tiles"], full, rest, first, gap,
        None if erring is None else np.array(erring), ahead)[:2]


def test_pairs_of_an_earlier_product_have_credits() -> None:
    """A sum of 50 pairs ends when of 64 before it as many have been accepted."""
    job = {"base": 0, "stride": 0, "pairs": 3, "samples": 1, "tiles": 1, "weight_base": 0,
           "vector_base": 0, "vector_stride": 0}
    memory = Pairs(3, _PAIR_BITS, 1.0, 1, 1)
    accepted = np.arange(CREDITS) + 40
    ahead = flow.Ahead(accepted, 200, 0, accepted + 15, 0 * accepted, 0)
    drain = Drained(50, 50, 1, ahead=ahead)
    last = check(False, job, memory, drain, ahead)
    assert (last, drain.finish()) == (90, 249) == flow.product(
        live(job, memory).any(2), 0, 0, 1, 50, 50, _FIRST, 1, None, ahead)[:2]


def test_a_full_queue() -> None:
    """More live groups than the queue has places wait for a drain that is slow."""
    job = {"base": 3, "stride": 0, "pairs": 9, "samples": 5, "tiles": 5, "weight_base": 7,
           "vector_base": 0, "vector_stride": 0}
    memory = Pairs(12, _PAIR_BITS, 1.0, 1, 1)
    last = check(False, job, memory, Drained(64, 64, 1))
    assert last == flow.product(live(job, memory).any(2), 3, 0, 5, 64, 64, _FIRST, 1)[0]
    assert last > 24 * 64, "the drain is what takes the time"


def test_the_queue_reads_ahead_as_far_as_it_has_places() -> None:
    """The end of a sum waits, meanwhile 32 groups of the next are read: it is over the sooner."""
    job = {"base": 0, "stride": 0, "pairs": 80 * GROUP, "samples": 2, "tiles": 2, "weight_base": 0,
           "vector_base": 0, "vector_stride": 0}
    # One live pair in each of the first groups, then none.
    memory = Pairs(80 * GROUP, _PAIR_BITS, 0.0, 1, 1)
    for group in range(40):
        memory[group * GROUP + group % GROUP] = group + 1
    last = check(False, job, memory, Drained(64, 1, 2))
    assert last == flow.product(live(job, memory).any(2), 0, 0, 2, 64, 1, _FIRST, 2)[0]


@settings(max_examples=15, derandomize=True, deadline=None)
@given(update=st.booleans(), stop=st.integers(_FIRST, 60), data=st.data(), seed=_SEEDS)
def test_stops_at_once(update: bool, stop: int, data: st.DataObject, seed: int) -> None:
    """A job that is stopped leaves nothing behind, whatever the next one is."""
    job, memory = data.draw(jobs(update))
    result = bench().run(update, job, memory, held_at_random(0.7, seed), stop)
    expected = (update_steps if update else product_steps)(memory, job)
    assert [mask(step, want) for step, want in zip(result.steps, expected)] == (
        expected[:len(result.steps)])
    check(not update, *data.draw(jobs(not update)), held_at_random(1.0, seed))
    check(update, job, memory, held_at_random(1.0, seed))


def test_what_is_scanned() -> None:
    assert flow.scanned_update(SCANNED_SAMPLES, GROUP)
    assert flow.scanned_update(1, 3), "one sample lies like itself"
    assert not flow.scanned_update(SCANNED_SAMPLES + 1, GROUP)
    assert not flow.scanned_update(2, GROUP + 4)
    assert flow.scanned_update(2, 0)
