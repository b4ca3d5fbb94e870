# amaranth: UnusedElaboratable=no
"""The merger of two lists and the tree over zones: golden's lists."""

from __future__ import annotations

import functools
import random
import re

import pytest
from amaranth.lib import wiring
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import merger as golden
from tangente.golden.toper import Toper
from tangente.rtl.merger import Merger
from tangente.rtl.toper_tree import ToperTree

_SETTINGS = settings(max_examples=60, deadline=None, derandomize=True)
Entries = list[tuple[int, int]]


class ListsBench(UnitBench):
    """Streams in and one list out, with pauses on all of them."""

    async def task(self, ctx, keep: int, inputs: list[tuple[wiring.PureInterface, Entries]],
                   result: wiring.PureInterface, pause: float, seed: int, close: bool):
        """``inputs``: streams and what each is given; the last entry is marked where there is such
        a mark. Returns the result and how often it was taken; cycles to its first entry."""
        dut, rng = self.dut, random.Random(seed)
        ctx.set(dut.keep, keep)
        left = [list(entries) for _, entries in inputs]
        taken: Entries = []
        quiet, cycle, first = 0, 0, None
        while len(taken) < keep:
            assert cycle < 1000
            for (port, _), entries in zip(inputs, left):
                valid = bool(entries) and rng.random() >= pause
                ctx.set(port.valid, valid)
                if valid:
                    payload = dict(zip(("id", "value"), entries[0]))
                    if hasattr(port.p, "last"):
                        payload["last"] = len(entries) == 1
                    ctx.set(port.p, payload)
            ready = rng.random() >= pause
            ctx.set(result.ready, ready)
            for (port, _), entries in zip(inputs, left):
                if ctx.get(port.valid & port.ready):
                    entries.pop(0)
                    quiet = 0
            quiet += not any(left)
            if close:
                # A cycle after the last verdict at the soonest.
                ctx.set(dut.close, quiet == 4)
            if ctx.get(result.valid):
                first = cycle if first is None else first
                assert ctx.get(result.p.last) == (len(taken) == keep - 1)
                if ready:
                    taken.append((ctx.get(result.p.id), ctx.get(result.p.value)))
            await ctx.tick()
            cycle += 1
        ctx.set(result.ready, 0)
        assert not ctx.get(result.valid)
        return taken, first


@functools.cache
def merger(registers: int, id_bits: int, value_bits: int) -> ListsBench:
    return ListsBench(Merger(registers, id_bits, value_bits))


@functools.cache
def tree(zones: int, registers: int, id_bits: int, value_bits: int) -> ListsBench:
    return ListsBench(ToperTree(zones, registers, id_bits, value_bits))


def padded(entries: Entries, keep: int) -> Entries:
    return entries + [(0, 0)] * (keep - len(entries))


@st.composite
def lists(draw: st.DrawFn, ids: int, value_bits: int, longest: int) -> Entries:
    """What a toper would hold, sometimes with free registers; at least one entry."""
    limit = (1 << value_bits - 1) - 1
    entries = draw(st.lists(
        st.tuples(st.integers(0, ids - 1), st.integers(-limit, limit).filter(bool)),
        max_size=longest, unique_by=lambda entry: entry[0]))
    entries.sort(key=lambda entry: -abs(entry[1]))
    return padded(entries, draw(st.integers(max(1, len(entries)), longest)))


def merged(size: tuple[int, int, int], keep: int, a: Entries, b: Entries, pause: float = 0,
           seed: int = 0) -> tuple[Entries, int]:
    bench = merger(*size)
    return bench.run(keep, [(bench.dut.a, a), (bench.dut.b, b)], bench.dut.merged, pause, seed,
                     False)


@_SETTINGS
@given(size=st.sampled_from(((4, 3, 4), (16, 18, 9))), data=st.data())
def test_merger_equals_golden(size: tuple[int, int, int], data: st.DataObject) -> None:
    registers, id_bits, value_bits = size
    ids = min(1 << id_bits, 2 * registers)
    a, b = (data.draw(lists(ids, value_bits, registers)) for _ in "ab")
    keep = data.draw(st.integers(1, registers))
    result, _ = merged(size, keep, a, b, data.draw(st.sampled_from((0, 0.5))),
                       data.draw(st.integers(0, 99)))
    assert result == padded(golden.merge(a, b, keep, value_bits), keep)


def test_merger_sums_equal_ids() -> None:
    a, b = [(1, 9), (2, -5), (3, 4)], [(4, 8), (2, -6), (3, -4)]
    assert golden.merge(a, b, 4) == [(2, -11), (1, 9), (4, 8)]
    # 3 was evicted by 4 before it came again.
    assert golden.merge(a, b, 3) == [(2, -11), (1, 9), (4, 8)]
    assert golden.merge(a, [(4, 8), (3, 4)], 3) == [(1, 9), (4, 8), (2, -5)]
    assert merged((4, 3, 5), 4, a, b)[0] == [(2, -11), (1, 9), (4, 8), (0, 0)]


@pytest.mark.parametrize("shared", [0, 4, 16])
def test_merger_latency(shared: int) -> None:
    """An entry a cycle and one more for each id that both have, but the last one's is hidden."""
    a = [(i, 100 - i) for i in range(16)]
    b = [(i if i < shared else 100 + i, 90 - i) for i in range(16)]
    _, first = merged((16, 18, 9), 16, a, b)
    assert first == 31 + shared - (shared == 16) + 4


@_SETTINGS
@given(size=st.sampled_from(((2, 4, 3, 4), (4, 5, 3, 9))), data=st.data())
@example(size=(2, 4, 3, 4), data=None)
def test_tree_equals_golden(size: tuple[int, int, int, int], data: st.DataObject | None) -> None:
    zones, registers, id_bits, value_bits = size
    limit = (1 << value_bits - 1) - 1
    if data is None:
        # All of the result from one zone.
        keep, pause, seed, offers = 4, 0, 0, [[(0, 1)], [(i, 7) for i in range(6)]]
    else:
        keep = data.draw(st.integers(1, registers))
        pause, seed = data.draw(st.sampled_from((0, 0.5))), data.draw(st.integers(0, 99))
        one = st.tuples(st.integers(0, (1 << id_bits) - 1), st.integers(-limit, limit))
        offers = [data.draw(st.lists(one, max_size=12)) for _ in range(zones)]
    bench = tree(*size)
    result, _ = bench.run(keep, list(zip(bench.dut.offers, offers)), bench.dut.lists, pause, seed,
                          True)
    expected = golden.tree(offers, keep, id_bits, value_bits)
    assert result[:len(expected)] == expected
    assert all(value == 0 for _, value in result[len(expected):])
    assert len(result) == keep


@_SETTINGS
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(-127, 127)),
                max_size=40, unique_by=lambda offer: offer[:2]), st.integers(1, 8))
def test_tree_keeps_the_largest(offers: list[tuple[int, int, int]], keep: int) -> None:
    """Distinct ids: the same magnitudes as one toper over all."""
    zones: list[Entries] = [[(i, v) for z, i, v in offers if z == zone] for zone in range(4)]
    toper = Toper(keep)
    for zone, identity, value in offers:
        toper.offer(zone << 8 | identity, value)
    found = golden.tree(zones, keep, 8)
    assert [abs(v) for _, v in found] == [abs(v) for _, v in toper.entries()]
    # The toper above that the tree leaves out would hold the same.
    above = Toper(keep)
    for zone, entries in enumerate(zones):
        for identity, value in golden.merge(entries, [], keep):
            above.offer(zone << 8 | identity, value)
    assert found == above.entries()


@pytest.mark.parametrize("zones", [0, 1, 3, 6])
def test_tree_refuses(zones: int) -> None:
    message = f"zones must be a power of two and at least 2, not {zones}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ToperTree(zones, 4, 4)
