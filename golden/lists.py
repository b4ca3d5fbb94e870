"""Weight registers (DPFM): lists of (id, value), made by topers.

A list is sorted by falling magnitude; free entries hold zeros at its end. An id is a weight's place
in the weight memory, {word, half, lane}. :func:`tangente.golden.list_sort.largest` makes the list
of a vector: the own derivatives of every neuron that multiplies it. :func:`layer` makes the lists
of a layer's neurons.

A neuron h takes into its toper, one after the other:

1. *Shared* derivatives, those by the weights of the layer below. Of input j they are w(j, h)
   slope(j) times the inputs of j's neuron, which all neurons of that layer share: a rank-one
   matrix. Its K largest are found in two steps. First the K largest weights of live inputs,
   c(j) = rne(w(j, h) x slope(j)), are ranked by the toper: in order of rising j. Then, rank by
   rank, the a-th largest c meets the shared list's entries 1 to K div a, and the products
   (|c| x |entry| + 2^7) div 2^8 are offered: K others are at least as large as each that is left
   out. They end where no neuron of the group takes a rank's first product.
2. The *lazy* sources: the neuron's own list (factor 1), then for each live input, rising, its list
   of registers (factor slope, then weight). A queue holds the sources. At first each offers its
   first entry, in order; the next time its second one, then two, four, eight: as many as it has
   offered. A source whose last offer entered or was summed goes to the end of the queue; one whose
   last offer was rejected, or which has no further entry, is finished: the entries behind are no
   larger.

For distinct ids that is the same list as offering everything, at a fraction of the offers. (Where
ids meet, a sum of opposite signs can shrink a register after a source has finished: the order
written here is the definition.)

Inputs of slope 0 offer nothing. Neurons that nobody will ask for (``live``) get no list. Toper t
serves the lanes t, t + topers, t + 2 topers, ...: a *group* is the lowest live lane that is left of
each. A toper that has none left *helps* the next one (the last one the first): it serves the lowest
of that one's, which itself serves the second lowest, or if it has no other, helps the next in turn.
The topers of a group share the offers: a source is
offered while one of them has it unfinished, and taken by those that have. So each neuron's list is
as if it were alone. Lists lie in the bank of their lane's toper: who is helped stores when the
others have stored.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from .config import Config
from .flow import GROUP
from .toper import CLIPPED, enter, offer

__all__ = ["OWN", "REGISTERS", "BESIDE_CHECK", "IN_FLIGHT", "PRODUCT_BITS", "STORE_LEFT", "Sources",
           "Counts", "looking", "layer"]

#: Kinds of lazy sources.
OWN, REGISTERS = 0, 1
#: Offers between the issue unit and the topers, at most.
IN_FLIGHT = 32
#: Bits that are rounded away from a product of a ranked weight and a shared entry.
PRODUCT_BITS = 8
#: Entries of each list that are still to be stored when the next instruction may begin, at most: it
#: reads no list sooner.
STORE_LEFT = 4

# TOP: from an offer's issue until the topers can take it; from then until its source can be issued
# again; until its verdict is given.
_ARRIVAL_CYCLES = 25
_AGAIN_CYCLES = 4
_VERDICT_CYCLES = 2
#: What SRT and TOP begin before their check is over, beside what only looks at a vector.
BESIDE_CHECK = 8
# What the check holds back: TOP's first group.
_GROUP_CHECKED = 1
# Looking at a vector, beside the check, less the check's.
_LOOKING_CYCLES = -6
# From the check until the first pair's place is known; until live neurons are asked for, less the
# slopes' groups; a tile, and its live neurons, less their groups; until the shared list's entries
# have been asked for, and until they are kept, less their number.
_PLACE_CYCLES = 5
_READING_CYCLES = 1
_TILE_CYCLES = 3
_LIVE_CYCLES = 2
_SHARED_CYCLES = 1
_KEPT_CYCLES = 11
# A group beside offers and lists; from the last rank's taking until ranks are closed, which is so
# much later by the clock of lists; from there until the next group's ranks are issued; the
# products' first and last; from a product's issue until it can end them; own lists and registers.
_GROUP_CYCLES = 2
_RANKED_CYCLES = 1
_RANKS_CLOSED = 3
_AHEAD_CYCLES = 4
_PRODUCT_CYCLES = 9
_PRODUCTS_MORE = 7
_LAZY_CYCLES = 4


def looking(pairs: int, tiles: int) -> int:
    """Cycles after the check of so many tiles until it is known whether a vector is wanted, which
    so many of its pairs tell."""
    return max(0, _LOOKING_CYCLES + pairs - tiles)


class Sources(NamedTuple):
    """Where the lists of each kind lie: first entry, entries of a list, right shift; used or not.

    ``own_base`` and ``shared_base`` are entries of the list memory, ``lists_base`` one of each of
    its banks. A scalar is rne(entry x slope x 2^8 / 2^shift), 0 of an unused kind's length.
    """

    own_base: int
    own_length: int
    own_shift: int
    shared_base: int
    shared_length: int
    shared_shift: int
    lists_base: int
    lists_length: int
    lists_shift: int


class Counts(NamedTuple):
    """What a layer's streams came to.

    Members
    -------
    clipped : scalars, candidates and sums that saturated.
    issued : offers issued, to one toper or several.
    offered, entered, summed : offers that single topers took, and what became of them.
    cycles : of all: until the inputs' slopes and the live neurons are known, and of groups.
    """

    clipped: int
    issued: int
    offered: int
    entered: int
    summed: int
    cycles: int


@numba.njit(cache=True, inline="always")
def _rounded(value: int, shift: int) -> int:
    total = value + ((1 << shift) >> 1)
    result = total >> shift
    if shift > 0 and total & ((1 << shift) - 1) == 0:
        result &= ~1
    return result


@numba.njit(cache=True)
def _ranked(codes: npt.NDArray[np.int16], tiles: int, tile: int, members: npt.NDArray[np.int64],
            inputs: npt.NDArray[np.int64], factors: npt.NDArray[np.int64], shift: int, limit: int,
            lanes: int, lane_bits: int, id_mask: int, ids: npt.NDArray[np.int32],
            values: npt.NDArray[np.int16], counts: npt.NDArray[np.int64], in_flight: int,
            arrival: int, begin: int, free: int, place: int, walked: int) -> int:
    """The members' largest weights of live inputs, as lists; cycles as of :func:`_lazy`.

    They are issued from cycle begin on, and taken from cycle free on.
    """
    keep = ids.shape[1]
    taken = np.full(in_flight, -1, np.int64)
    issue, last = begin - 1, free - 1
    for i, j in enumerate(inputs):
        issue = max(issue + 1, place + (j >> 1), taken[i % in_flight] + 1)
        last = max(issue + arrival, last + 1)
        taken[i % in_flight] = last
        identity = (j // lanes << (lane_bits + 1) & id_mask) | j % lanes
        word, column = (j >> 1) * tiles + tile, (j & 1) * lanes - tile * lanes
        counts[1] += 1
        for h in members:
            value = _rounded(np.int64(codes[word, column + h]) * factors[j], shift)
            bounded = min(max(value, -limit), limit)
            counts[0] += bounded != value
            counts[2] += 1
            counts[3] += enter(ids[h], values[h], keep, identity, bounded)
    generated = issue if issue >= walked else max(issue + 1, walked)
    return max(last, generated - _VERDICT_CYCLES)


@numba.njit(cache=True)
def _products(shared_ids: npt.NDArray[np.int32], shared: npt.NDArray[np.int64],
              members: npt.NDArray[np.int64], bits: int, id_mask: int, word_mask: int,
              ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], more: int,
              counts: npt.NDArray[np.int64]) -> int:
    """Ranked weights times the shared list, instead of the former; returns how many."""
    keep = ids.shape[1]
    ranks, weights = ids.copy(), values.copy()
    for h in members:
        ids[h] = 0
        values[h] = 0
    issued, end = 0, 1 << 30
    for a in range(keep):
        for i in range(min(keep // (a + 1), shared.size)):
            if issued == end:
                return issued
            taken = 0
            for h in members:
                product = np.int64(weights[h, a]) * shared[i]
                value = (abs(product) + (1 << bits >> 1)) >> bits
                word = (shared_ids[i] & word_mask) + (ranks[h, a] & word_mask) & id_mask
                low = (shared_ids[i] | ranks[h, a]) & ~word_mask
                counts[2] += 1
                taken += enter(ids[h], values[h], keep, word | low,
                               -value if product < 0 else value)
            counts[3] += taken
            if i == 0 and taken == 0:
                end = min(end, issued + more)
            issued += 1
            counts[1] += 1
    return issued


@numba.njit(cache=True)
def _lazy(codes: npt.NDArray[np.int16], tiles: int, tile: int, members: npt.NDArray[np.int64],
          inputs: npt.NDArray[np.int64], slopes: npt.NDArray[np.int64],
          list_ids: npt.NDArray[np.int32], list_values: npt.NDArray[np.int16], sources: Sources,
          shift: int, limit: int, lanes: int, lane_bits: int, topers: int, id_mask: int,
          ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16],
          counts: npt.NDArray[np.int64], in_flight: int, arrival: int, again: int,
          place: int, walked: int) -> int:
    """Own lists and registers; returns the cycle in which the last offer is taken.

    Input j is known in cycle place + j div 2, and that there is no other one in cycle walked.
    """
    keep = ids.shape[1]
    size = inputs.size + 1
    kind, index = np.empty(size, np.int64), np.empty(size, np.int64)
    bank, address = np.empty(size, np.int64), np.empty(size, np.int64)
    left, done = np.empty(size, np.int64), np.zeros(size, np.int64)
    alive, ready = np.empty(size, np.int64), np.zeros(size, np.int64)
    entries = list_ids.shape[1]
    rows = (lanes + topers - 1) // topers
    head = waiting = 0
    everyone = (1 << members.size) - 1
    if sources.own_length:
        kind[0], index[0] = OWN, 0
        bank[0], address[0] = sources.own_base // entries, sources.own_base % entries
        left[0], alive[0] = sources.own_length, everyone
        waiting = 1
    if sources.lists_length:
        for j in inputs:
            kind[waiting], index[waiting] = REGISTERS, j
            bank[waiting] = j % lanes % topers
            address[waiting] = sources.lists_base + sources.lists_length * (
                j // lanes * rows + j % lanes // topers)
            left[waiting], alive[waiting] = sources.lists_length, everyone
            waiting += 1
    tail = waiting % size
    taken = np.full(in_flight, -1, np.int64)
    issue, last, stall = -1, -1, 0
    number, generated = 0, -1
    while waiting:
        j, mask, first = index[head], alive[head], address[head]
        burst = min(max(done[head], 1), left[head])
        still = 0
        for entry_index in range(burst):
            issue = max(issue + 1, ready[head], taken[number % in_flight] + 1)
            if kind[head] == REGISTERS and done[head] == 0:
                issue = max(issue, place + (index[head] >> 1))
                generated = issue if issue >= walked else max(issue + 1, walked)
            elif done[head]:
                issue = max(issue, generated + 1)
            entry = np.int64(list_values[bank[head], first + entry_index])
            identity = np.int64(list_ids[bank[head], first + entry_index])
            if kind[head] == OWN:
                scalar = _rounded(entry << 8, sources.own_shift)
            else:
                scalar = _rounded((entry * slopes[j]) << 8, sources.lists_shift)
            bounded = min(max(scalar, -limit), limit)
            counts[0] += bounded != scalar
            counts[1] += 1
            last = max(issue + arrival, last + 1 + stall)
            taken[number % in_flight] = last
            number += 1
            word, half = (j >> 1) * tiles + tile, j & 1
            still = stall = 0
            for t in range(members.size):
                if mask >> t & 1 == 0:
                    continue
                counts[2] += 1
                if bounded == 0:
                    continue
                h = members[t]
                value, mine = bounded, identity
                if kind[head] == OWN:
                    mine = (mine + (tile << (lane_bits + 1)) & id_mask) | h - tile * lanes
                else:
                    code = np.int64(codes[word, half * lanes + h - tile * lanes])
                    value = _rounded(code * bounded, shift)
                    if value > limit or value < -limit:
                        value = min(max(value, -limit), limit)
                        counts[0] += 1
                verdict = offer(ids[h], values[h], keep, mine, value, limit)
                if verdict >= CLIPPED:
                    counts[0] += 1
                    verdict -= CLIPPED
                if verdict:
                    counts[3] += verdict == 1
                    counts[4] += verdict == 2
                    still |= 1 << t
                    stall |= verdict == 2
        if still and left[head] > burst:
            kind[tail], index[tail], bank[tail] = kind[head], j, bank[head]
            address[tail], left[tail] = first + burst, left[head] - burst
            done[tail] = done[head] + burst
            alive[tail], ready[tail] = still, last + again
            tail = tail + 1 if tail + 1 < size else 0
            waiting += 1
        head = head + 1 if head + 1 < size else 0
        waiting -= 1
    # The topers are closed when the last verdict is given, and no input may follow.
    return max(last, generated - _VERDICT_CYCLES)


@numba.njit(cache=True)
def _group(left: npt.NDArray[np.bool_], first: int, end: int, topers: int,
           members: npt.NDArray[np.int64]) -> tuple[int, bool]:
    """The next group of a tile's neurons first, ..., end - 1; how many, and whether one is a second
    of its toper's.

    They are no longer left.
    """
    lowest = np.full((topers, 2), -1, np.int64)
    for t in range(topers):
        found = 0
        for h in range(first + t, end, topers):
            if left[h] and found < 2:
                lowest[t, found] = h
                found += 1
    helps, help_ = np.zeros(topers, np.bool_), False
    # Twice: the last toper may help the first.
    for _ in range(2):
        for t in range(topers):
            help_ = lowest[t, 1] < 0 and (help_ or lowest[t, 0] < 0)
            helps[t] = help_
    count, seconds = 0, False
    for t in range(topers):
        h = lowest[(t + 1) % topers, 0] if helps[t] else lowest[t, int(helps[t - 1])]
        seconds |= helps[t - 1] and not helps[t]
        if h >= 0:
            left[h] = False
            members[count] = h
            count += 1
    return count, seconds


@numba.njit(cache=True)
def _layer(codes: npt.NDArray[np.int16], tiles: int, live: npt.NDArray[np.bool_],
           slopes: npt.NDArray[np.int64], factors: npt.NDArray[np.int64],
           list_ids: npt.NDArray[np.int32], list_values: npt.NDArray[np.int16], sources: Sources,
           shift: int, limit: int, lanes: int, lane_bits: int, topers: int, id_mask: int,
           ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], in_flight: int,
           bits: int, timing: tuple[int, int, int, int, int, int, int], slopes_pair: int,
           live_pair: int, begins: int, store_left: int) -> npt.NDArray[np.int64]:
    arrival, again, group, ranked, product, more, lazy = timing
    keep, neurons = ids.shape[1], live.size
    inputs = np.flatnonzero(slopes)
    counts = np.zeros(6, np.int64)
    entries = list_ids.shape[1]
    shared = np.zeros(sources.shared_length, np.int64)
    shared_ids = np.zeros(sources.shared_length, np.int32)
    for i in range(shared.size):
        at = sources.shared_base + i
        scalar = _rounded(np.int64(list_values[at // entries, at % entries]) << 8,
                          sources.shared_shift)
        shared[i] = min(max(scalar, -limit), limit)
        shared_ids[i] = list_ids[at // entries, at % entries]
        counts[0] += shared[i] != scalar
    members = np.empty(topers, np.int64)
    left = live.copy()
    pairs = (slopes.size + 1) // 2
    lazies = sources.own_length > 0 or sources.lists_length > 0 and inputs.size > 0
    ahead, ahead_begin, stored = False, 0, 0
    place = begins + _PLACE_CYCLES
    walked = place - 1 + pairs
    clock = begins + _READING_CYCLES + (slopes_pair % GROUP + pairs + GROUP - 1) // GROUP
    for tile in range(tiles):
        width = min(lanes, neurons - tile * lanes)
        before = (live_pair + tile * (lanes // 2)) % GROUP
        clock += _TILE_CYCLES + _LIVE_CYCLES + (before + (width + 1) // 2 + GROUP - 1) // GROUP
        clock = max(clock, _GROUP_CHECKED)
        while True:
            count, seconds = _group(left, tile * lanes, tile * lanes + width, topers, members)
            if count == 0:
                break
            begin = free = clock + 1
            if ahead:
                begin = ahead_begin
            else:
                if shared.size:
                    clock = max(clock, begins + shared.size + _SHARED_CYCLES)
                clock += group
                begin = free = clock
            if shared.size and inputs.size:
                clock = ranked + _ranked(
                    codes, tiles, tile, members[:count], inputs, factors, shift, limit, lanes,
                    lane_bits, id_mask, ids, values, counts, in_flight, arrival, begin, free,
                    place, walked)
                # Topers hand on one list at a time.
                clock = max(clock, stored - _RANKS_CLOSED)
                # The next group's weights are ranked beside these products.
                ahead = not lazies and left[tile * lanes:(tile + 1) * lanes].any()
                ahead_begin = clock + _AHEAD_CYCLES
                clock += product + _products(shared_ids, shared, members[:count], bits, id_mask,
                                             -1 << (lane_bits + 1), ids, values, more, counts)
            if lazies:
                if shared.size and inputs.size:
                    clock += 1
                clock += lazy + _lazy(
                    codes, tiles, tile, members[:count], inputs, slopes, list_ids, list_values,
                    sources, shift, limit, lanes, lane_bits, topers, id_mask, ids, values, counts,
                    in_flight, arrival, again, place - clock, walked - clock)
            elif not (shared.size and inputs.size):
                clock += 1
            # Lists are stored beside what the topers take next.
            clock = max(clock, stored)
            stored = clock + keep * (1 + seconds)
    clock = max(clock, stored - 1 - min(store_left, keep - 1))
    if shared.size:
        clock = max(clock, begins + shared.size + _KEPT_CYCLES)
    counts[5] = clock
    return counts


def layer(codes: npt.NDArray[np.int16], live: npt.NDArray[np.bool_],
          slopes: npt.NDArray[np.int64], factors: npt.NDArray[np.int64],
          list_ids: npt.NDArray[np.int32], list_values: npt.NDArray[np.int16], sources: Sources,
          shift: int, keep: int, config: Config, *, slopes_pair: int = 0,
          live_pair: int = 0, begins: int = 0) -> tuple[
              npt.NDArray[np.int32], npt.NDArray[np.int16], Counts]:
    """The lists (neurons, keep) of a layer; those of neurons that are not live are zero.

    Parameters
    ----------
    codes : (words, 2 x lanes) int16, the operands M[j, h] of the layer's matrix.
    live : (neurons,), which of them get a list.
    slopes, factors : (inputs,) of the layer below: slopes, and what ranked weights are multiplied
        by, at most 255.
    list_ids, list_values : (banks, entries), the list memory.
    sources, shift : see :class:`Sources`; a candidate, and a ranked weight, is
        rne(weight x scalar / 2^shift), clamped.
    slopes_pair, live_pair : where in the pair memory slopes are read, and live neurons; 0 if all
        are live.
    begins : the cycle in which it begins, of those counted.
    """
    neurons = live.size
    ids, values = np.zeros((neurons, keep), np.int32), np.zeros((neurons, keep), np.int16)
    counts = _layer(codes, config.tiles(neurons), live, slopes, factors, list_ids, list_values,
                    sources, shift, config.element_max, config.lanes, config.lane_bits,
                    config.toper_lanes, (1 << config.id_bits) - 1, ids, values, IN_FLIGHT,
                    PRODUCT_BITS,
                    (_ARRIVAL_CYCLES, _AGAIN_CYCLES, _GROUP_CYCLES, _RANKED_CYCLES,
                     _PRODUCT_CYCLES, _PRODUCTS_MORE, _LAZY_CYCLES), slopes_pair, live_pair, begins,
                    STORE_LEFT)
    return ids, values, Counts(*counts.tolist())
