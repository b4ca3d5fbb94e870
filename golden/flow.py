"""The cycles of products and updates whose scalars are scanned for zeros, exactly as the RTL's.

What is zero is not multiplied, so the time depends on the data. The functions here are walks over
the registers of :mod:`tangente.rtl.scanner` and of the drain, a cycle a turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["ALONE", "CREDITS", "GROUP", "SCANNED_SAMPLES", "Ahead", "Flow", "drained", "live_list",
           "product", "reduced", "scanned_update", "update"]

#: Pairs of scalars that are read at once, aligned.
GROUP = 8
#: Samples of an UPD that is scanned; with more, nothing is skipped.
SCANNED_SAMPLES = 32
#: Pairs of sums that may be under way to the post-processing unit.
CREDITS = 64

_QUEUE = 32           # groups that wait, or are being read
_ARRIVES = 2          # from a group's read to its arrival
_DRAIN_FIRST = 11     # from the step that ends a sum to its first pair being taken
_DRAIN_ACCEPT = 4     # from a pair being taken to its acceptance by the post-processing unit
_SCANNED = 1          # a scanned step's micro-operation is later by


def scanned_update(samples: int, stride: int) -> bool:
    """Whether an UPD of so many samples, ``stride`` pairs apart, is scanned for zeros."""
    return samples <= SCANNED_SAMPLES and (samples == 1 or stride % GROUP == 0)


@numba.njit(cache=True)
def _accept(accepted: npt.NDArray[np.int64], total: int, step: int, pairs: int, first: int,
            gap: int, before: int) -> None:
    """Times of acceptance of the pairs of a sum that ends at ``step``.

    ``before`` is the cycle in which the one before them was accepted, or the last of the samples
    between that are left out, a cycle each.
    """
    for i in range(pairs):
        before = max(step + first + i + _DRAIN_ACCEPT, before + gap)
        accepted[total + i] = before


@numba.njit(cache=True)
def _product(live: npt.NDArray[np.bool_], bases: npt.NDArray[np.int64],
             skipped: npt.NDArray[np.int64], tiles: int, full: int, rest: int, first: int,
             gap: int, earlier: npt.NDArray[np.int64], begins: int, draining: int,
             writes: npt.NDArray[np.int64], written: npt.NDArray[np.int64],
             awaited: int) -> tuple[int, npt.NDArray[np.int64]]:
    samples, pairs = live.shape
    most = (pairs + 2 * GROUP - 2) // GROUP
    counts = np.empty(samples * tiles * most, np.int64)
    rows = np.empty(counts.size, np.int64)
    ends = np.zeros(counts.size, np.bool_)
    total = 0
    for b in range(samples):
        offset = bases[b] % GROUP
        start = total
        for group in range((offset + pairs + GROUP - 1) // GROUP):
            count = 0
            before = group * GROUP - offset
            for i in range(max(before, 0), min(before + GROUP, pairs)):
                count += live[b, i]
            counts[total], rows[total] = count, bases[b] // GROUP + group
            total += 1
        ends[total - 1] = True
        length = total - start
        for _ in range(tiles - 1):
            for i in range(length):
                counts[total], ends[total] = counts[start + i], ends[start + i]
                rows[total] = rows[start + i]
                total += 1
    accepted = np.empty(earlier.size + samples * ((tiles - 1) * full + rest), np.int64)
    accepted[:earlier.size] = earlier
    announced, taken = earlier.size, 0
    # Of the product before this one: the writes that have shown, the row of the last, and whether
    # the row that is read next was below it in the cycle before, and the same.
    shown, highest, below, moved = 0, -1, False, True
    arriving = np.full(_ARRIVES, -1, np.int64)
    queue = np.empty(total, np.int64)
    head = tail = 0
    credits, read, now, left = _QUEUE, 0, first, 0
    held, current, tile, busy, sample, folds = False, -1, 0, draining, 0, False
    while True:
        # What the registers hold, and what follows from it in this cycle.
        arrives = arriving[now % _ARRIVES]
        reads = -1
        if read < total:
            if credits > 0 and (now >= awaited or (below and not moved)):
                reads = read
            while shown < writes.size and writes[shown] <= now:
                highest = written[shown]
                shown += 1
            below, moved = rows[read] < highest, reads >= 0
        over = ended = False
        if held and not folds:
            last = left <= 1 and ends[current]
            wanted = rest if tile == tiles - 1 else full
            if last:
                while taken < announced and accepted[taken] < now:
                    taken += 1
            if not last or (busy == 0 and announced - taken + wanted <= CREDITS):
                if last:
                    before = accepted[announced - 1] if announced > earlier.size else begins - gap
                    _accept(accepted, announced, now, wanted, _DRAIN_FIRST + _SCANNED, gap,
                            before + (skipped[sample] if tile == 0 else 0))
                    announced += wanted
                    busy, ended = wanted, True
                    tile = tile + 1 if tile + 1 < tiles else 0
                    sample += tile == 0
                    if announced == accepted.size:
                        return now, accepted[earlier.size:]
                over = left <= 1
                left -= 1
        load = (over or not held) and head < tail
        if over:
            held = False
            credits += 1
        if load:
            current, held = queue[head], True
            left = counts[current]
            head += 1
        if arrives >= 0:
            if counts[arrives] or ends[arrives]:
                queue[tail] = arrives
                tail += 1
            else:
                credits += 1
        if reads >= 0:
            read += 1
            credits -= 1
        arriving[now % _ARRIVES] = reads
        busy, folds = max(busy - 1, 0), ended
        now += 1


@numba.njit(cache=True)
def _update(live: npt.NDArray[np.bool_], base: int, tiles: int, first: int) -> int:
    samples, pairs, _ = live.shape
    offset = base % GROUP
    groups = (offset + pairs + GROUP - 1) // GROUP
    counts = np.zeros((groups, GROUP), np.int64)
    halves = np.zeros((groups, GROUP, 2), np.bool_)
    for i in range(pairs):
        group, place = (offset + i) // GROUP, (offset + i) % GROUP
        for b in range(samples):
            counts[group, place] += live[b, i, 0] | live[b, i, 1]
            for half in range(2):
                halves[group, place, half] |= live[b, i, half]
    banks = 4 if samples <= SCANNED_SAMPLES // 2 else 2
    busy = np.zeros(banks, np.bool_)
    complete = np.zeros(banks, np.bool_)
    group_of = np.zeros(banks, np.int64)
    arriving = np.full(_ARRIVES, -1, np.int64)      # bank whose last group arrives
    group = sample = bank = 0
    # The bank that is looked at next and the one that is; its next pair, and the pairs after that.
    following, looked, candidate, left = 0, -1, GROUP, 0
    all_looked = False
    fetched = fetched_bank = -1                     # count of the pair that comes next
    fetched_last = held_last = False
    # Its halves that live, those of the one that is issued; half 1 of the word before has the turn.
    fetched_even = fetched_odd = even = odd = taken = False
    held, held_bank, whole, tile, now = 0, 0, 0, 0, first
    while True:
        gathered = arriving[now % _ARRIVES]
        reads = group < groups and (sample != 0 or not busy[bank])
        if all_looked and left == 0 and fetched < 0 and held == 0:
            return now
        go = held > 0 and (held > 1 or not (taken and even))
        ends = go and held == 1
        over = ends and tile == tiles - 1
        load = fetched >= 0 and (over or held == 0)
        opens = complete[following] and left == 0 and not all_looked
        fetch = left > 0 and (fetched < 0 or load)
        begins, was_tile = held == whole, tile
        taken = ends and odd
        if go:
            held -= 1
            if ends:
                held, tile = whole, tile + 1
        if over:
            held = 0
        if go and begins and held_last and was_tile == tiles - 1:
            busy[held_bank] = False
        if load:
            held = whole = fetched
            held_bank, held_last, tile, fetched = fetched_bank, fetched_last, 0, -1
            even, odd = fetched_even, fetched_odd
        if fetch:
            while counts[group_of[looked], candidate] == 0:
                candidate += 1
            left -= 1
            fetched, fetched_bank, fetched_last = (
                counts[group_of[looked], candidate], looked, left == 0)
            fetched_even = halves[group_of[looked], candidate, 0]
            fetched_odd = halves[group_of[looked], candidate, 1]
            candidate += 1
        if opens:
            looked = following
            left, candidate = int(np.count_nonzero(counts[group_of[looked]])), 0
            all_looked = group_of[looked] == groups - 1
            complete[looked] = False
            if left == 0:
                busy[looked] = False
            following = (looked + 1) % banks
        if gathered >= 0:
            complete[gathered] = True
        arriving[now % _ARRIVES] = -1
        if reads:
            busy[bank] = True
            sample += 1
            if sample == samples:
                arriving[now % _ARRIVES] = bank
                group_of[bank] = group
                sample, group, bank = 0, group + 1, (bank + 1) % banks
        now += 1


@numba.njit(cache=True)
def _live_list(counts: npt.NDArray[np.int64], now: int) -> int:
    row, asked, arrived = 0, -1, -1     # read next; cycle in which one is asked for; which waits
    waiting, held, left = -1, False, 0
    while True:
        reads = row < counts.size and asked < 0 and waiting < 0
        if row == counts.size and asked < 0 and waiting < 0 and not held:
            return now
        over = held and left <= 1
        takes = waiting >= 0 and (over or not held)
        if held:
            left -= 1
        if over:
            held = False
        if takes:
            held, left, waiting = True, counts[waiting], -1
        if asked >= 0 and now == asked + _ARRIVES:
            waiting, asked = arrived, -1
        if reads:
            asked, arrived = now, row
            row += 1
        now += 1


def live_list(below: npt.NDArray[np.int64], base: int, pairs: int, start: int) -> int:
    """The cycle from which on the list of live activations is complete.

    Parameters
    ----------
    below : the live activations of a vector of ``pairs`` pairs at ``base``.
    start : the first cycle in which a group may be read.
    """
    offset = base % GROUP
    groups = (offset + pairs + GROUP - 1) // GROUP
    return int(_live_list(np.bincount((below + 2 * offset) // (2 * GROUP), minlength=groups),
                          start))


@numba.njit(cache=True)
def _drained(first: int, inner: int, skipped: npt.NDArray[np.int64], tiles: int, full: int,
             rest: int, gap: int) -> tuple[int, npt.NDArray[np.int64]]:
    accepted = np.empty(skipped.size * ((tiles - 1) * full + rest), np.int64)
    announced, last, before = 0, first - 1, 0
    for i in range(skipped.size * tiles):
        wanted = rest if i % tiles == tiles - 1 else full
        last += inner
        if i:
            # The sum before it is folded.
            last = max(last + 1, before)
        if announced + wanted > CREDITS:
            last = max(last, accepted[announced + wanted - CREDITS - 1] + 1)
        accept = -gap
        if i:
            accept = accepted[announced - 1] + (skipped[i // tiles] if i % tiles == 0 else 0)
        _accept(accepted, announced, last, wanted, _DRAIN_FIRST, gap, accept)
        announced += wanted
        before = last + wanted
    return last, accepted


@numba.njit(cache=True)
def _reduced(first: int, pairs: int, skipped: npt.NDArray[np.int64], tiles: int, latency: int,
             gap: int) -> tuple[int, npt.NDArray[np.int64]]:
    results = pairs * skipped.size
    accepted = np.empty(results, np.int64)
    last = first - 1
    for i in range(results):
        last += tiles
        if i >= CREDITS:
            last = max(last, accepted[i - CREDITS] + 1)
        accept = last + latency
        if i:
            before = skipped[i // pairs] if i % pairs == 0 else 0
            accept = max(accept, accepted[i - 1] + before + gap)
        accepted[i] = accept
    return last, accepted


def _skipped(wanted: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], int]:
    """The samples that are left out before each one that is not, and after the last."""
    made = np.flatnonzero(wanted)
    return np.diff(made, prepend=-1) - 1, wanted.size - 1 - int(made[-1])


def _over(accepted: npt.NDArray[np.int64], skipped: int, gap: int) -> int:
    """The cycle of the post-processing unit's last acceptance, or last sample left out."""
    return int(accepted[-1]) + (gap - 1 + skipped if skipped else 0)


class Flow(NamedTuple):
    """When a product leaves the array.

    Members
    -------
    last : cycle of its last step.
    over : that of the last pair's acceptance by the post-processing unit; or that in which the last
        sample is left out, if it is not wanted.
    accepted : that of each pair's.
    """

    last: int
    over: int
    accepted: npt.NDArray[np.int64]


_NONE = np.zeros(0, np.int64)


class Ahead(NamedTuple):
    """What a product meets that begins before the post-processing unit is free of another.

    Cycles count from where the product's do.

    Members
    -------
    accepted : when the earlier product's pairs are accepted.
    begins : the first cycle in which a pair of this one may be.
    draining : cycles for which the drain is taken, from the first read on.
    writes, written : when a pair's write shows, and which group of pair memory it is in, in order.
    awaited : the cycle from which on all has been written.
    """

    accepted: npt.NDArray[np.int64]
    begins: int
    draining: int
    writes: npt.NDArray[np.int64]
    written: npt.NDArray[np.int64]
    awaited: int


#: Nothing runs.
ALONE = Ahead(_NONE, 0, 0, _NONE, _NONE, 0)


def drained(first: int, inner: int, wanted: npt.NDArray[np.bool_], tiles: int, full: int,
            rest: int, gap: int) -> Flow:
    """Sums that are drained: ``inner`` products each, for each ``wanted`` sample and tile.

    At least one sample is; ``full`` pairs of a tile, ``rest`` of the last one; ``gap`` cycles
    between acceptances.
    """
    before, after = _skipped(wanted)
    last, accepted = _drained(first, inner, before, tiles, full, rest, gap)
    return Flow(int(last), _over(accepted, after, gap), accepted)


def reduced(first: int, pairs: int, wanted: npt.NDArray[np.bool_], tiles: int, latency: int,
            gap: int) -> Flow:
    """Likewise of sums that the reducer makes, of ``pairs`` pairs for each ``wanted`` sample."""
    before, after = _skipped(wanted)
    last, accepted = _reduced(first, pairs, before, tiles, latency, gap)
    return Flow(int(last), _over(accepted, after, gap), accepted)


def product(live: npt.NDArray[np.bool_], base: int, stride: int, tiles: int, full: int, rest: int,
            first: int, gap: int, wanted: npt.NDArray[np.bool_] | None = None,
            ahead: Ahead = ALONE) -> Flow:
    """An MVA.

    Parameters
    ----------
    live : (samples that are wanted, pairs), whether a pair of scalars is not zero; at least one.
    base, stride : first pair, pairs between samples.
    tiles, full, rest : tiles of Q; pairs drained of a tile, and of the last one.
    first : cycle of the first read.
    gap : cycles between acceptances of pairs by the post-processing unit.
    wanted : (COUNT,), samples that are not left out; None: all.
    ahead : what runs when it begins.
    """
    wanted = np.ones(len(live), np.bool_) if wanted is None else wanted
    before, after = _skipped(wanted)
    bases = base + np.flatnonzero(wanted) * stride
    last, accepted = _product(live, bases, before, tiles, full, rest, first, gap, *ahead)
    return Flow(int(last), _over(accepted, after, gap), accepted)


def update(live: npt.NDArray[np.bool_], base: int, tiles: int, first: int) -> int:
    """The cycle of the last step of a scanned UPD; parameters as for :func:`product`.

    But ``live`` is (samples, pairs, 2), whether a scalar is not zero. A word takes as many steps as
    it has samples with a live pair. If half 1 lives in the word before, and half 0 in this one, in
    any sample, their ends are two cycles apart: one lane unit serves both halves in turn.
    """
    if len(live) == 0:
        return first
    return int(_update(live, base, tiles, first))
