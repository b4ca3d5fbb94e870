"""Weight registers on golden: topers and lists against full selections and plain Python."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangente.golden import list_sort, lists, toper
from tangente.golden.config import Config, preset
from tangente.golden.lists import Counts, Sources
from tangente.golden.scatter import INTERLOCK, scattering
from tangente.golden.toper import Toper, Verdict

#: Ids of 19 bits.
CONFIG = dataclasses.replace(preset("tiny"), weight_words=1 << 16)
_FAST = settings(max_examples=150, derandomize=True, deadline=None)


# --- the toper ------------------------------------------------------------------------------------

def _kept(offers: list[tuple[int, int]], keep: int) -> list[tuple[int, int]]:
    """The full selection: a stable sort by magnitude of everything but zeros."""
    return sorted((offer for offer in offers if offer[1]), key=lambda offer: -abs(offer[1]))[:keep]


@_FAST
@given(st.lists(st.integers(-255, 255) | st.integers(-3, 3), max_size=60), st.integers(1, 16))
def test_distinct_ids_are_a_full_selection(values: list[int], keep: int) -> None:
    toper = Toper(keep)
    offers = list(enumerate(values))
    for offer in offers:
        toper.offer(*offer)
    assert toper.entries() == _kept(offers, keep)
    assert toper.clipped == 0


def _slow(held: list[tuple[int, int]], keep: int, identity: int,
          value: int) -> tuple[list[tuple[int, int]], Verdict, bool]:
    """The rule as docs/architecture.md words it: new list, verdict, clamped."""
    if value == 0:
        return held, Verdict.REJECTED, False
    total = dict(held).get(identity)
    verdict, clamped = Verdict.ENTERED, False
    if total is not None:
        verdict = Verdict.SUMMED
        clamped = abs(total + value) > 255
        value = max(-255, min(255, total + value))
        held = [entry for entry in held if entry[0] != identity]
        if value == 0:
            return held, verdict, clamped
    result = sorted([*held, (identity, value)], key=lambda entry: -abs(entry[1]))[:keep]
    if (identity, value) not in result:
        return held, Verdict.REJECTED, False
    return result, verdict, clamped


@_FAST
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-255, 255) | st.integers(-3, 3)),
                max_size=60), st.integers(1, 5))
def test_equal_ids_are_summed(offers: list[tuple[int, int]], keep: int) -> None:
    toper, held, clipped = Toper(keep), [], 0
    for offer in offers:
        held, verdict, clamped = _slow(held, keep, *offer)
        clipped += clamped
        assert toper.offer(*offer) is verdict
        assert toper.entries() == held
    assert toper.clipped == clipped


@_FAST
@given(st.lists(st.integers(-255, 255) | st.integers(-3, 3), max_size=40), st.integers(1, 9))
def test_entering_is_offering_a_new_id(values: list[int], keep: int) -> None:
    one, other = Toper(keep), Toper(keep)
    for identity, value in enumerate(values):
        entered = toper.enter(one.ids, one.values, keep, identity, value)
        assert entered == other.offer(identity, value)
        assert one.entries() == other.entries()


def test_what_was_evicted_starts_anew() -> None:
    toper = Toper(1)
    for offer in ((1, 5), (2, 6), (1, 7)):
        toper.offer(*offer)
    assert toper.entries() == [(1, 7)]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"^keep must be at least 1, not 0$"):
        Toper(0)
    with pytest.raises(ValueError, match=r"^value must lie between \+-255, not -256$"):
        Toper(3).offer(1, -256)


# --- lists of a layer -----------------------------------------------------------------------------

def _layer(seed: int, config: Config, inputs: int, neurons: int, keep: int, lengths: list[int],
           distinct: bool) -> tuple:
    """Random operands of lists.layer; few levels, so that there are ties."""
    rng = np.random.default_rng(seed)
    levels = int(rng.choice([3, 20, 255]))
    banks, entries = config.toper_lanes, config.list_entries
    values, ids = np.zeros((banks, entries), np.int16), np.zeros((banks, entries), np.int32)
    own, shared, deep = lengths
    sources = Sources(0, own, 8, 20, shared, 8, 40, deep, 8)
    places = [(0, 0, own), (0, 20, shared), *(
        (bank, 40 + row * deep, deep) for bank, row in (_place(config, j) for j in range(inputs)))]
    unused = rng.permutation(1 << 12) if distinct else rng.integers(0, 30, 1 << 12)
    unused[own:own + shared] = (1 << 12) + np.arange(shared)
    at = 0
    for bank, base, count in places:
        values[bank, base:base + count] = (-np.sort(-rng.integers(0, levels + 1, count))
                                           * rng.choice([-1, 1], count))
        # A word of their own, and no lane: the neuron or the input adds its own.
        ids[bank, base:base + count] = 8 * unused[at:at + count] << (config.lane_bits + 1)
        at += count
    if distinct:
        # Register lists name weights of other layers than the two vectors.
        ids[:, 40:] |= 1 << config.lane_bits
    codes = rng.integers(-levels, levels + 1, (-(-inputs // 2) * config.tiles(neurons),
                                               2 * config.lanes)).astype(np.int16)
    slopes = rng.integers(0, 2, inputs)
    live = rng.random(neurons) < rng.choice([0.3, 1])
    return (codes, live, slopes, slopes * int(rng.choice([1, 30, 255])), ids, values, sources,
            int(rng.integers(0, 6)), keep, config)


def _place(config: Config, neuron: int) -> tuple[int, int]:
    """Bank and row of a neuron's list."""
    tile, lane = divmod(neuron, config.lanes)
    row = tile * -(-config.lanes // config.toper_lanes) + lane // config.toper_lanes
    return lane % config.toper_lanes, row


def _round(value: int, shift: int) -> int:
    return max(-255, min(255, round(Fraction(value, 1 << shift))))


def _weight(arguments: tuple, h: int, j: int) -> int:
    codes, live, *_, config = arguments
    tile, lane = divmod(h, config.lanes)
    return int(codes[j // 2 * config.tiles(len(live)) + tile, j % 2 * config.lanes + lane])


def _products(arguments: tuple, h: int) -> list[list[tuple[int, int]]]:
    """Of neuron h, the products of all its ranked weights: lists of (id, product) by rank."""
    _, _, slopes, factors, ids, values, sources, shift, keep, config = arguments
    base, bits = sources.shared_base, config.lane_bits
    ranks = _kept([(j, _round(_weight(arguments, h, j) * int(factors[j]), shift))
                   for j in np.flatnonzero(slopes).tolist()], keep)
    return [[(int(ids[0, base + i]) + (j // config.lanes << bits + 1) | j % config.lanes,
              int(np.sign(c * x)) * int(Fraction(abs(c * x), 256) + Fraction(1, 2)))
             for i in range(sources.shared_length) for x in [int(values[0, base + i])]]
            for j, c in ranks]


def _lazy(arguments: tuple, h: int) -> list[list[tuple[int, int]]]:
    """Of neuron h, its lazy sources in their order: lists of (id, candidate)."""
    _, _, slopes, _, ids, values, sources, shift, _, config = arguments
    tile, lane = divmod(h, config.lanes)
    result = []
    if sources.own_length:
        own = slice(sources.own_base, sources.own_base + sources.own_length)
        result.append([(int(i) + (tile << config.lane_bits + 1) | lane, int(v))
                       for i, v in zip(ids[0, own], values[0, own])])
    for j in np.flatnonzero(slopes).tolist():
        bank, row = _place(config, j)
        base = sources.lists_base + row * sources.lists_length
        if sources.lists_length:
            result.append([
                (int(ids[bank, base + d]),
                 _round(_weight(arguments, h, j) * int(values[bank, base + d]), shift))
                for d in range(sources.lists_length)])
    return result


_SHAPES = {"seed": st.integers(0, 1 << 30), "inputs": st.integers(1, 9),
           "neurons": st.integers(1, 9), "keep": st.integers(1, 8),
           "lengths": st.lists(st.integers(0, 6), min_size=3, max_size=3)}


@_FAST
@given(**_SHAPES)
def test_lists_of_distinct_ids_are_the_full_selection(
        seed: int, inputs: int, neurons: int, keep: int, lengths: list[int]) -> None:
    """The same magnitudes, and the same list but for the order of offers among equals."""
    arguments = _layer(seed, CONFIG, inputs, neurons, keep, lengths, True)
    ids, values, counts = lists.layer(*arguments)
    for h in np.flatnonzero(arguments[1]):
        everything = [entry for source in _products(arguments, h) + _lazy(arguments, h)
                      for entry in source]
        assert len({i for i, _ in everything}) == len(everything)
        kept = _kept(everything, keep)
        found = [(int(i), int(v)) for i, v in zip(ids[h], values[h]) if v]
        assert [abs(v) for _, v in found] == [abs(v) for _, v in kept]
        assert set(found) <= set(everything)
        # Above the last magnitude kept there is no choice.
        last = abs(kept[-1][1]) if len(kept) == keep else 0
        assert ({entry for entry in found if abs(entry[1]) > last}
                == {entry for entry in kept if abs(entry[1]) > last})
    assert not values[~arguments[1]].any()
    assert counts.summed == 0


@_FAST
@given(**_SHAPES, distinct=st.booleans())
def test_lists_follow_the_written_order(seed: int, inputs: int, neurons: int, keep: int,
                                        lengths: list[int], distinct: bool) -> None:
    """Equal ids too: ranks, then rounds over the sources, each neuron by itself, in plain Python.
    """
    arguments = _layer(seed, CONFIG, inputs, neurons, keep, lengths, distinct)
    ids, values, counts = lists.layer(*arguments)
    summed = 0
    for h in np.flatnonzero(arguments[1]):
        toper = Toper(keep)
        for a, row in enumerate(_products(arguments, h), 1):
            for product in row[:keep // a]:
                toper.offer(*product)
        waiting, burst = _lazy(arguments, h), 1
        for visit in range(99):
            unfinished = []
            for source in waiting:
                for entry in source[:burst]:
                    verdict = toper.offer(*entry)
                    summed += verdict is Verdict.SUMMED
                if verdict is not Verdict.REJECTED and len(source) > burst:
                    unfinished.append(source[burst:])
            # As many as it has offered: 1, 1, 2, 4, 8.
            waiting, burst = unfinished, 2 ** visit
        expected = toper.entries() + [(0, 0)] * keep
        assert list(zip(ids[h].tolist(), values[h].tolist())) == expected[:keep]
    assert counts.summed == summed


def test_a_group_shares_its_offers() -> None:
    """Two neurons on two topers issue no more than the union of their offers."""
    arguments = _layer(3, CONFIG, 9, 2, 8, [4, 4, 4], True)
    arguments[1][:] = True
    *_, both = lists.layer(*arguments)
    assert isinstance(both, Counts)
    assert both.offered / 2 <= both.issued <= both.offered


def _groups(live: set[int], lanes: int, topers: int) -> list[tuple[list[int], bool]]:
    """The groups of one tile's lanes, each with whether it has a toper's second lane."""
    left, members = np.isin(np.arange(lanes), list(live)), np.empty(topers, np.int64)
    groups = []
    while left.any():
        count, seconds = lists._group(left, 0, lanes, topers, members)
        groups.append((members[:count].tolist(), seconds))
    return groups


def test_topers_that_have_none_left_help() -> None:
    """The next one, or through it the one after that; the last one the first."""
    assert _groups({0, 4, 8}, 12, 4) == [([4, 0], True), ([8], False)]
    assert _groups({0, 1, 5}, 8, 4) == [([1, 5, 0], True)]
    assert _groups({0, 1, 2, 3, 7}, 8, 4) == [([0, 1, 2, 3], False), ([7], False)]


@_FAST
@given(st.sets(st.integers(0, 29)), st.integers(1, 5))
def test_every_live_lane_is_served_once(live: set[int], half: int) -> None:
    """In no more groups than without help, and no toper but a lane's own or the one before."""
    topers = 2 * half
    groups = _groups(live, 30, topers)
    served = [lane for members, _ in groups for lane in members]
    assert sorted(served) == sorted(live)
    most = max((sum(lane % topers == t for lane in live) for t in range(topers)), default=0)
    assert -(-len(live) // topers) <= len(groups) <= most
    for members, seconds in groups:
        places = [lane % topers for lane in members]
        assert seconds == (len(set(places)) < len(places))
        assert all(places.count(place) <= 2 for place in places)


@_FAST
@given(**_SHAPES)
def test_who_is_not_live_costs_nothing(seed: int, inputs: int, neurons: int, keep: int,
                                       lengths: list[int]) -> None:
    """Neither inputs nor neurons: the cycles are those of a layer without them."""
    arguments = _layer(seed, CONFIG, inputs, neurons, keep, lengths, True)
    codes, live, slopes, *rest = arguments
    *_, none = lists.layer(codes, np.zeros_like(live), slopes, *rest)
    shared = arguments[6].shared_length
    groups = -(-inputs // 16)
    assert none.cycles == max(1 + groups + 6 * CONFIG.tiles(neurons), shared and shared + 11)
    assert none.offered == 0
    *_, counts = lists.layer(*arguments)
    codes = codes.copy()
    for j in np.flatnonzero(slopes == 0):
        row = slice(j // 2 * CONFIG.tiles(neurons), (j // 2 + 1) * CONFIG.tiles(neurons))
        codes[row, j % 2 * CONFIG.lanes:(j % 2 + 1) * CONFIG.lanes] = 0
    *_, same = lists.layer(codes, live, slopes, *rest)
    assert same == counts


@_FAST
@given(st.lists(st.integers(-255, 255) | st.integers(0, 3), min_size=1, max_size=90),
       st.integers(1, 8), st.integers(0, 50), st.integers(1, 4), st.integers(0, 7))
def test_largest(vector: list[int], keep: int, base: int, tiles: int, skipped: int) -> None:
    ids, values, cycles = list_sort.largest(np.array(vector, np.int16), base, tiles, keep, CONFIG,
                                        first=2 * skipped)
    kept = _kept(list(enumerate(vector)), keep)
    shift = CONFIG.lane_bits
    expected = [((base + i // 2 * tiles) << shift + 1 | i % 2 << shift, v) for i, v in kept]
    expected += [(0, 0)] * (keep - len(kept))
    assert list(zip(ids.tolist(), values.tolist())) == expected
    groups = -(-(2 * skipped + len(vector)) // 16)
    assert groups + keep < cycles <= groups + np.count_nonzero(vector) + keep + 8


# --- scattering -----------------------------------------------------------------------------------

def _scattered(errors: list[int], ids: list[list[int]], values: list[list[int]],
               spaced: bool = False) -> int:
    return scattering(np.array(errors, np.int64), np.array(ids, np.int32),
                      np.array(values, np.int16), spaced)


def test_equal_weights_wait_for_each_other() -> None:
    """One update a cycle, and one every INTERLOCK cycles of the same weight."""
    one = _scattered([1], [[7]], [[3]])
    assert _scattered([1], [[7, 8, 9]], [[3, 2, 1]]) == one + 2
    assert _scattered([1], [[7, 8, 9]], [[3, 2, 1]], spaced=True) == one + 2 * 2
    assert _scattered([1], [[7, 7, 7]], [[3, 2, 1]]) == one + 2 * INTERLOCK
    assert _scattered([1], [[7, 8, 7]], [[3, 2, 1]]) == one + INTERLOCK


def test_what_changes_nothing_is_passed_over() -> None:
    busy, none = [[1, 2, 3, 4]], [[0, 0, 0, 0]]
    lists_of = [[40 + i, 50 + i, 60 + i, 70 + i] for i in range(20)]
    every = _scattered([1] * 20, lists_of, busy * 20)
    assert every - _scattered([1] * 10 + [0] * 10, lists_of, busy * 20) >= 35
    # Their outputs are looked at one a cycle, beside what is scattered.
    assert _scattered([0] * 20, lists_of, busy * 20) <= 20 + 25
    assert _scattered([1] * 20, lists_of, none * 20) < every
