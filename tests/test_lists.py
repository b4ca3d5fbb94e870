"""Weight registers on golden: topers and lists against full selections and plain Python."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangente.golden import lists
from tangente.golden.config import Config, preset
from tangente.golden.lists import Counts, Sources
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
           distinct: bool) -> tuple[tuple, dict]:
    """Random operands of lists.layer; few levels, so that there are ties."""
    rng = np.random.default_rng(seed)
    levels = int(rng.choice([3, 20, 255]))
    length = 1000
    values = np.zeros(length, np.int16)
    ids = np.zeros(length, np.int32)
    own, shared, deep = lengths
    bases = (0, 100, 200)
    starts = [(bases[0], own), (bases[1], shared),
              *((bases[2] + j * deep, deep) for j in range(inputs))]
    unused = rng.permutation(1 << 12) if distinct else rng.integers(0, 30, 1 << 12)
    at = 0
    for base, count in starts:
        entry = -np.sort(-rng.integers(0, levels + 1, count)) * rng.choice([-1, 1], count)
        values[base:base + count] = entry
        # A word of their own, and no lane: the neuron or the input adds its own.
        ids[base:base + count] = 8 * unused[at:at + count] << (config.lane_bits + 1)
        at += count
    if distinct:
        # Register lists name weights of other layers than the two vectors.
        ids[bases[2]:] |= 1 << config.lane_bits
    codes = rng.integers(-levels, levels + 1, (-(-inputs // 2) * config.tiles(neurons),
                                               2 * config.lanes)).astype(np.int16)
    slopes = rng.integers(0, 2, inputs)
    sources = Sources(bases[0], own, 8, bases[1], shared, 8, bases[2], deep, 8)
    arguments = (codes, neurons, slopes, ids, values, sources, int(rng.integers(0, 6)), keep,
                 config)
    return arguments, {"codes": codes, "slopes": slopes, "ids": ids, "values": values}


def _round(value: int, shift: int) -> int:
    return max(-255, min(255, round(Fraction(value, 1 << shift))))


def _candidates(arguments: tuple, h: int) -> list[list[tuple[int, int]]]:
    """Of neuron h, its sources in their order: lists of (id, candidate)."""
    codes, neurons, slopes, ids, values, sources, shift, _, config = arguments
    lanes, tiles, bits = config.lanes, config.tiles(neurons), config.lane_bits
    tile, lane = divmod(h, lanes)
    result = []

    def entries(base: int, length: int) -> list[tuple[int, int]]:
        return [(int(ids[base + d]), int(values[base + d])) for d in range(length)]

    if sources.own_length:
        result.append([(i + (tile << bits + 1) | lane, v)
                       for i, v in entries(sources.own_base, sources.own_length)])
    for j in range(len(slopes)):
        weight = int(codes[j // 2 * tiles + tile, j % 2 * lanes + lane])

        def scaled(v: int, j: int = j, weight: int = weight) -> int:
            return _round(weight * int(slopes[j]) * v, shift)

        if sources.shared_length:
            result.append([(i + (j // lanes << bits + 1) | j % lanes, scaled(v))
                           for i, v in entries(sources.shared_base, sources.shared_length)])
        if sources.lists_length:
            result.append([(i, scaled(v)) for i, v in entries(
                sources.lists_base + j * sources.lists_length, sources.lists_length)])
    return result


_SHAPES = {"seed": st.integers(0, 1 << 30), "inputs": st.integers(1, 9),
           "neurons": st.integers(1, 9), "keep": st.integers(1, 8),
           "lengths": st.lists(st.integers(0, 6), min_size=3, max_size=3)}


@_FAST
@given(**_SHAPES)
def test_lazy_offers_of_distinct_ids_are_the_full_selection(
        seed: int, inputs: int, neurons: int, keep: int, lengths: list[int]) -> None:
    """The same magnitudes, and the same list but for the order of offers among equals."""
    arguments, _ = _layer(seed, CONFIG, inputs, neurons, keep, lengths, True)
    ids, values, counts = lists.layer(*arguments)
    naive = 0
    for h in range(neurons):
        sources = _candidates(arguments, h)
        everything = [entry for source in sources for entry in source]
        assert len({i for i, _ in everything}) == len(everything)
        naive += len(everything)
        kept = _kept(everything, keep)
        found = [(int(i), int(v)) for i, v in zip(ids[h], values[h]) if v]
        assert [abs(v) for _, v in found] == [abs(v) for _, v in kept]
        assert set(found) <= set(everything)
        # Above the last magnitude kept there is no choice.
        last = abs(kept[-1][1]) if len(kept) == keep else 0
        assert ({entry for entry in found if abs(entry[1]) > last}
                == {entry for entry in kept if abs(entry[1]) > last})
    assert counts.offered <= naive
    assert counts.summed == 0


@_FAST
@given(**_SHAPES, distinct=st.booleans())
def test_lists_follow_the_written_order(seed: int, inputs: int, neurons: int, keep: int,
                                        lengths: list[int], distinct: bool) -> None:
    """Equal ids too: rounds over the sources, each neuron by itself, in plain Python."""
    arguments, _ = _layer(seed, CONFIG, inputs, neurons, keep, lengths, distinct)
    ids, values, counts = lists.layer(*arguments)
    offered = {verdict: 0 for verdict in Verdict}
    for h in range(neurons):
        toper = Toper(keep)
        waiting = _candidates(arguments, h)
        while waiting:
            unfinished = []
            for source in waiting:
                verdict = toper.offer(*source[0])
                offered[verdict] += 1
                if verdict is not Verdict.REJECTED and len(source) > 1:
                    unfinished.append(source[1:])
            waiting = unfinished
        expected = toper.entries() + [(0, 0)] * keep
        assert list(zip(ids[h].tolist(), values[h].tolist())) == expected[:keep]
    assert counts.offered == sum(offered.values())
    assert counts.entered == offered[Verdict.ENTERED]
    assert counts.summed == offered[Verdict.SUMMED]


def test_a_group_shares_its_offers() -> None:
    """Two neurons on two topers issue no more than the union of their offers."""
    arguments, _ = _layer(3, CONFIG, 9, 2, 8, [4, 4, 4], True)
    *_, both = lists.layer(*arguments)
    assert isinstance(both, Counts)
    assert both.offered / 2 <= both.issued <= both.offered


@_FAST
@given(st.lists(st.integers(0, 255) | st.integers(0, 3), min_size=1, max_size=30),
       st.integers(1, 8), st.integers(0, 50), st.integers(1, 4))
def test_largest(vector: list[int], keep: int, base: int, tiles: int) -> None:
    ids, values = lists.largest(np.array(vector, np.int16), base, tiles, keep, CONFIG)
    kept = _kept(list(enumerate(vector)), keep)
    shift = CONFIG.lane_bits
    expected = [((base + i // 2 * tiles) << shift + 1 | i % 2 << shift, v) for i, v in kept]
    expected += [(0, 0)] * (keep - len(kept))
    assert list(zip(ids.tolist(), values.tolist())) == expected
