# amaranth: UnusedElaboratable=no
"""The toper: golden's lists and verdicts, at the latency and the cadence that it promises."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import toper as golden
from tangente.rtl.toper import Toper

_SETTINGS = settings(max_examples=120, deadline=None, derandomize=True)
Offers = Sequence[tuple[int, int]]
#: Verdicts as (entered, summed, alive, clipped).
_NOTHING = (0, 0, 0, 0)


def expected(keep: int, value_bits: int, offers: list[tuple[int, int]]):
    """Golden's verdicts and list, free registers as zeros."""
    toper = golden.Toper(keep, value_bits)
    verdicts = []
    for identity, value in offers:
        clipped = toper.clipped
        verdict = toper.offer(identity, value)
        entered, summed = (verdict is golden.Verdict.ENTERED, verdict is golden.Verdict.SUMMED)
        verdicts.append((entered, summed, entered or summed, toper.clipped > clipped))
    return verdicts, list(zip(toper.ids.tolist(), toper.values.tolist()))


class ToperBench(UnitBench):
    """One stream after the other, with pauses on both sides."""

    async def task(self, ctx, keep: int, offers: list[tuple[int, int]], pause: float, seed: int,
                   every: int = 1, following: Offers = (), distinct: bool = False):
        """Offer and take the list; ``every``: cycles from an offer to the next at the soonest.

        ``following``: the next stream, offered while the list is taken, whose own list is checked;
        ``distinct``: the toper may rely on it. Returns verdicts, the list, and the cycles in which
        an offer had to wait.
        """
        dut, rng = self.dut, random.Random(seed)
        ctx.set(dut.keep, keep)
        ctx.set(dut.distinct, distinct)
        verdicts, due, waits = [], [], 0
        offers, last, cycle = list(offers), -every, 0
        while offers or due:
            valid = bool(offers) and cycle - last >= every and rng.random() >= pause
            ctx.set(dut.offers.valid, valid)
            ctx.set(dut.offers.p, dict(zip(("id", "value"), offers[0])) if valid
                    else {"id": rng.getrandbits(len(dut.offers.p.id)), "value": 1})
            found = tuple(map(ctx.get, (dut.entered, dut.summed, dut.alive, dut.clipped)))
            if due and due[0] == cycle:
                assert ctx.get(dut.verdict_valid)
                verdicts.append(found)
                due.pop(0)
            else:
                assert not ctx.get(dut.verdict_valid)
                assert found == _NOTHING
            assert not ctx.get(dut.lists.valid)
            if valid and ctx.get(dut.offers.ready):
                offers.pop(0)
                due.append(cycle + dut.VERDICT_LATENCY)
                last = cycle
            waits += valid and last != cycle
            if not due and not offers:
                break
            await ctx.tick()
            cycle += 1
        least = None
        if rng.random() < 0.5:
            for _ in range(2):
                await ctx.tick()
            least = ctx.get(dut.least)
        ctx.set(dut.offers.valid, 0)
        await ctx.tick()
        entries = await self._list(ctx, keep, following, pause, rng)
        assert least in (None, abs(entries[-1][1]))
        if following:
            later = await self._list(ctx, keep, (), pause, rng)
            assert later == expected(keep, len(dut.offers.p.value), list(following))[1]
        return verdicts, entries, waits

    async def _list(self, ctx, keep: int, following: Offers, pause: float,
                    rng: random.Random) -> list[tuple[int, int]]:
        """Close and take the list while another stream is offered."""
        dut, entries, following = self.dut, [], list(following)
        ctx.set(dut.close, 1)
        ctx.set(dut.offers.valid, 1)
        ctx.set(dut.offers.p, {"id": 0, "value": 1})
        assert not ctx.get(dut.offers.ready)
        await ctx.tick()
        ctx.set(dut.close, 0)
        while len(entries) < keep or following:
            ready, valid = rng.random() >= pause, bool(following) and rng.random() >= pause
            ctx.set(dut.lists.ready, ready)
            ctx.set(dut.offers.valid, valid)
            if valid:
                ctx.set(dut.offers.p, dict(zip(("id", "value"), following[0])))
                if ctx.get(dut.offers.ready):
                    following.pop(0)
            assert ctx.get(dut.lists.valid) == (len(entries) < keep)
            if len(entries) < keep:
                entry = dut.lists.p
                assert ctx.get(entry.last) == (len(entries) == keep - 1)
                if ready:
                    entries.append((ctx.get(entry.id), ctx.get(entry.value)))
            await ctx.tick()
        assert not ctx.get(dut.lists.valid)
        ctx.set(dut.lists.ready, 1)
        ctx.set(dut.offers.valid, 0)
        for _ in range(dut.VERDICT_LATENCY + 1):
            await ctx.tick()
        return entries


class LeavingBench(UnitBench):
    """Streams of which only a part of each list is taken."""

    async def task(self, ctx, keep: int, streams: list[list[tuple[int, int]]], count: int):
        """The first ``count`` entries of each list."""
        dut, lists = self.dut, []
        ctx.set(dut.keep, keep)
        for offers in streams:
            for identity, value in offers:
                ctx.set(dut.offers.valid, 1)
                ctx.set(dut.offers.p, {"id": identity, "value": value})
                while not ctx.get(dut.offers.ready):
                    await ctx.tick()
                await ctx.tick()
            ctx.set(dut.offers.valid, 0)
            for _ in range(dut.VERDICT_LATENCY):
                await ctx.tick()
            ctx.set(dut.close, 1)
            await ctx.tick()
            ctx.set(dut.close, 0)
            lists.append([])
            for _ in range(count):
                ctx.set(dut.lists.ready, 1)
                lists[-1].append((ctx.get(dut.lists.p.id), ctx.get(dut.lists.p.value)))
                await ctx.tick()
            ctx.set(dut.lists.ready, 0)
        return lists


@functools.cache
def leaving() -> LeavingBench:
    return LeavingBench(Toper(4, 3, 4))


@functools.cache
def bench(registers: int, id_bits: int, value_bits: int, summing: bool = True) -> ToperBench:
    return ToperBench(Toper(registers, id_bits, value_bits, summing=summing))


def values(value_bits: int) -> st.SearchStrategy[int]:
    limit = (1 << value_bits - 1) - 1
    return st.one_of(st.integers(-limit, limit),
                     st.sampled_from((0, 1, -1, limit, -limit, limit - 1)))


@_SETTINGS
@given(size=st.sampled_from(((1, 2, 3), (4, 2, 4), (5, 3, 2), (8, 4, 9), (16, 18, 9), (8, 18, 16))),
       data=st.data())
def test_equals_golden(size: tuple[int, int, int], data: st.DataObject) -> None:
    """Few ids, so that sums, zero sums and clamps meet evictions."""
    registers, id_bits, value_bits = size
    keep = data.draw(st.integers(1, registers))
    few = st.integers(0, min((1 << id_bits) - 1, data.draw(st.integers(1, 2 * registers))))
    high = st.integers((1 << id_bits) - 4, (1 << id_bits) - 1)
    offers = data.draw(st.lists(
        st.tuples(few if data.draw(st.booleans()) else st.one_of(few, high), values(value_bits)),
        max_size=40))
    pause, seed = data.draw(st.sampled_from((0, 0.3, 0.8))), data.draw(st.integers(0, 99))
    following = data.draw(st.lists(st.tuples(few, values(value_bits)), max_size=20))
    result = bench(*size).run(keep, offers, pause, seed, 1, following)
    assert result[:2] == expected(keep, value_bits, offers)


def test_every_kind_of_offer() -> None:
    """What the properties below rely on being met: each is named, in one stream."""
    offers = [(0, 3), (1, -5), (2, 2), (3, 2),
              (4, 2),      # a tie with the last: rejected
              (4, -3),     # evicts 3, behind 0
              (1, 5),      # a sum of zero
              (3, 1),      # evicted before: starts anew
              (0, 7),      # clamped, and resorted
              (2, 0),      # a zero, though its id is held
              (2, -3)]     # passes through zero; sinks behind 3
    verdicts, entries, _ = bench(4, 3, 4).run(4, offers, 0, 0)
    assert (verdicts, entries) == expected(4, 4, offers)
    assert entries == [(0, 7), (4, -3), (3, 1), (2, -1)]
    alive = [verdict[2] for verdict in verdicts]
    assert alive == [1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1]
    assert [verdict[3] for verdict in verdicts] == [0] * 8 + [1, 0, 0]


@_SETTINGS
@given(offers=st.lists(st.tuples(st.integers(0, 15), values(9)), min_size=1, max_size=40),
       keep=st.integers(1, 8))
def test_every_second_cycle_never_waits(offers: list[tuple[int, int]], keep: int) -> None:
    *_, waits = bench(8, 4, 9).run(keep, offers, 0, 0, 2)
    assert waits == 0


@_SETTINGS
@given(offers=st.lists(st.tuples(st.integers(0, 15), values(9)), min_size=1, max_size=40),
       keep=st.integers(1, 8))
def test_only_a_sum_makes_the_next_wait(offers: list[tuple[int, int]], keep: int) -> None:
    """One cycle each; so distinct ids pass one a cycle."""
    verdicts, _, waits = bench(8, 4, 9).run(keep, offers, 0, 0, 1)
    assert waits == sum(summed for _, summed, *_ in verdicts[:-1])


@_SETTINGS
@given(offers=st.lists(st.tuples(st.integers(0, 255), values(9)), max_size=40,
                       unique_by=lambda offer: offer[0]), keep=st.integers(1, 6))
def test_distinct_ids(offers: list[tuple[int, int]], keep: int) -> None:
    """The K largest, ties to the first; with or without what finds equal ids, used or not."""
    largest = sorted((o for o in offers if o[1]), key=lambda o: -abs(o[1]))[:keep]
    for summing, distinct in ((True, False), (True, True), (False, False)):
        verdicts, entries, waits = bench(6, 8, 9, summing).run(
            keep, offers, 0, 0, 1, (), distinct)
        assert entries == largest + [(0, 0)] * (keep - len(largest))
        assert verdicts == expected(keep, 9, offers)[0]
        assert waits == 0


@_SETTINGS
@given(streams=st.lists(st.lists(st.tuples(st.integers(0, 7), values(4)), max_size=9), min_size=1,
                        max_size=4), count=st.integers(0, 3))
def test_a_list_may_be_left(streams: list[list[tuple[int, int]]], count: int) -> None:
    """What is not taken of a list before the next ``close`` is lost, and nothing else."""
    assert leaving().run(4, streams, count) == [
        expected(4, 4, offers)[1][:count] for offers in streams]


@example([(0, 1)], [(0, 1), (1, 1)])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(*[st.lists(st.tuples(st.integers(0, 7), values(4)), max_size=12)] * 2)
def test_streams_follow_one_another(first, second) -> None:
    """Nothing of a stream is left in the next; ``keep`` changes between them."""
    for keep, offers in ((4, first), (2, second), (3, first)):
        assert bench(4, 3, 4).run(keep, offers, 0, 0)[:2] == expected(keep, 4, offers)


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 4), "registers must be at least 1, not 0"),
    ((4, 0), "id_bits must be at least 1, not 0"),
    ((4, 4, 1), "value_bits must be at least 2, not 1"),
])
def test_refuses(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Toper(*arguments)
