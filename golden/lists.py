"""Weight registers (DPFM): lists of (id, value) made by topers from lazy offers, breadth first.

A list is sorted by falling magnitude; free entries hold zeros at its end. An id is a weight's place
in the weight memory, {word, half, lane}. :func:`largest` makes the list of a vector: the own
derivatives of every neuron that multiplies it. :func:`layer` makes the lists of a layer's neurons.

Offers, for one neuron h. Its *sources* are sorted lists, each with a factor, in this order: its own
derivatives (factor 1); then for each input j, rising, j's own derivatives and j's registers (factor
slope(j), then weight(j, h)). A queue holds the sources. At first each offers its first entry, in
order. A source whose offer entered or was summed goes to the end of the queue with its next entry;
one whose offer was rejected, or which has no further entry, is finished: the entries behind are no
larger. For distinct ids that is the same list as offering everything, at a fraction of the offers.
(Where ids meet, a sum of opposite signs can shrink a register after a source has finished: the
order written here is the definition.)

The topers of a group, neurons side by side, share the queue: a source is offered while one of them
has it unfinished, and taken by those that have. So each neuron's list is as if it were alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from .config import Config
from .toper import CLIPPED, offer

__all__ = ["OWN", "SHARED", "REGISTERS", "OFFER_CYCLES", "VERDICT_CYCLES", "Sources", "Counts",
           "largest", "layer"]

#: Kinds of sources.
OWN, SHARED, REGISTERS = 0, 1, 2
#: Cycles between offers, from an offer's issue until its source can be issued again, from the last
#: issue of a group until the topers can be closed, and of a group beside offers and lists.
OFFER_CYCLES = 2
VERDICT_CYCLES = 25
_LAST_CYCLES = 24
_GROUP_CYCLES = 2


class Sources(NamedTuple):
    """Where the lists of each kind lie: first entry, entries of a list, right shift; used or not.

    A scalar is rne(entry x slope x 2^8 / 2^shift), 0 of an unused kind's length.
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
    cycles : of all groups until their last verdicts, without the lists being stored.
    """

    clipped: int
    issued: int
    offered: int
    entered: int
    summed: int
    cycles: int


@numba.njit(cache=True)
def _largest(vector: npt.NDArray[np.int16], base: int, tiles: int, lane_bits: int,
             ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], limit: int) -> None:
    for i in range(vector.size):
        identity = (base + (i >> 1) * tiles) << (lane_bits + 1) | (i & 1) << lane_bits
        offer(ids, values, ids.size, identity, vector[i], limit)


def largest(vector: npt.NDArray[np.int16], base: int, tiles: int, keep: int,
            config: Config) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
    """The list of the ``keep`` largest elements of ``vector``, ties to the lowest index.

    Its ids lack what the neuron adds: the tile and the lane. ``base`` and ``tiles`` are those of
    the matrix that multiplies the vector: M[i, h] is in word base + i div 2 x tiles + h div lanes.
    """
    ids, values = np.zeros(keep, np.int32), np.zeros(keep, np.int16)
    _largest(vector, base, tiles, config.lane_bits, ids, values, config.element_max)
    return ids, values


@numba.njit(cache=True, inline="always")
def _rounded(value: int, shift: int) -> int:
    total = value + ((1 << shift) >> 1)
    result = total >> shift
    if shift > 0 and total & ((1 << shift) - 1) == 0:
        result &= ~1
    return result


@numba.njit(cache=True)
def _layer(codes: npt.NDArray[np.int16], tiles: int, neurons: int, slopes: npt.NDArray[np.int64],
           list_ids: npt.NDArray[np.int32], list_values: npt.NDArray[np.int16], sources: Sources,
           shift: int, limit: int, lanes: int, lane_bits: int, topers: int, id_mask: int,
           ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16],
           timing: tuple[int, int, int, int]) -> tuple[int, int, int, int, int, int]:
    inputs, keep = slopes.size, ids.shape[1]
    size = 2 * inputs + 1
    kind, index = np.empty(size, np.int64), np.empty(size, np.int64)
    address, left = np.empty(size, np.int64), np.empty(size, np.int64)
    alive, ready = np.empty(size, np.int64), np.empty(size, np.int64)
    clipped = issued = offered = entered = summed = 0
    cycles = 0
    for tile in range(tiles):
        for first in range(tile * lanes, min((tile + 1) * lanes, neurons), topers):
            count = min(topers, (tile + 1) * lanes - first, neurons - first)
            head = tail = waiting = 0
            everyone = (1 << count) - 1
            if sources.own_length:
                kind[tail], index[tail], address[tail] = OWN, 0, sources.own_base
                left[tail], alive[tail], ready[tail] = sources.own_length, everyone, 0
                tail += 1
            for j in range(inputs):
                if sources.shared_length:
                    kind[tail], index[tail], address[tail] = SHARED, j, sources.shared_base
                    left[tail], alive[tail], ready[tail] = sources.shared_length, everyone, 0
                    tail += 1
                if sources.lists_length:
                    kind[tail], index[tail] = REGISTERS, j
                    address[tail] = sources.lists_base + j * sources.lists_length
                    left[tail], alive[tail], ready[tail] = sources.lists_length, everyone, 0
                    tail += 1
            waiting = tail
            tail %= size
            now = 0
            start = 0
            while waiting:
                now = max(start, ready[head])
                start = now + timing[0]
                j, mask = index[head], alive[head]
                entry = np.int64(list_values[address[head]])
                identity = list_ids[address[head]]
                if kind[head] == OWN:
                    scalar = _rounded(entry << 8, sources.own_shift)
                elif kind[head] == SHARED:
                    scalar = _rounded((entry * slopes[j]) << 8, sources.shared_shift)
                    identity = (identity + (j // lanes << (lane_bits + 1)) & id_mask) | j % lanes
                else:
                    scalar = _rounded((entry * slopes[j]) << 8, sources.lists_shift)
                bounded = min(max(scalar, -limit), limit)
                clipped += bounded != scalar
                issued += 1
                word, half = (j >> 1) * tiles + tile, j & 1
                still = 0
                for t in range(count):
                    if mask >> t & 1 == 0:
                        continue
                    offered += 1
                    if bounded == 0:
                        continue
                    h = first + t
                    value, mine = bounded, identity
                    if kind[head] == OWN:
                        mine = ((mine + (tile << (lane_bits + 1)) & id_mask)
                                | h - tile * lanes)
                    else:
                        code = np.int64(codes[word, half * lanes + h - tile * lanes])
                        value = _rounded(code * bounded, shift)
                        if value > limit or value < -limit:
                            value = min(max(value, -limit), limit)
                            clipped += 1
                    verdict = offer(ids[h], values[h], keep, mine, value, limit)
                    if verdict >= CLIPPED:
                        clipped += 1
                        verdict -= CLIPPED
                    if verdict:
                        entered += verdict == 1
                        summed += verdict == 2
                        still |= 1 << t
                if still and left[head] > 1:
                    kind[tail], index[tail] = kind[head], j
                    address[tail], left[tail] = address[head] + 1, left[head] - 1
                    alive[tail], ready[tail] = still, now + timing[1]
                    tail = tail + 1 if tail + 1 < size else 0
                    waiting += 1
                head = head + 1 if head + 1 < size else 0
                waiting -= 1
            if start:
                now += timing[2]
            cycles += now + timing[3]
    return clipped, issued, offered, entered, summed, cycles


def layer(codes: npt.NDArray[np.int16], neurons: int, slopes: npt.NDArray[np.int64],
          list_ids: npt.NDArray[np.int32], list_values: npt.NDArray[np.int16], sources: Sources,
          shift: int, keep: int, config: Config) -> tuple[
              npt.NDArray[np.int32], npt.NDArray[np.int16], Counts]:
    """The lists (neurons, keep) of a layer.

    Parameters
    ----------
    codes : (words, 2 x lanes) int16, the operands M[j, h] of the layer's matrix.
    slopes : (inputs,) of the layer below.
    list_ids, list_values : the list memory.
    sources, shift : see :class:`Sources`; a candidate is rne(weight x scalar / 2^shift), clamped.
    """
    ids, values = np.zeros((neurons, keep), np.int32), np.zeros((neurons, keep), np.int16)
    counts = _layer(codes, config.tiles(neurons), neurons, slopes, list_ids, list_values, sources,
                    shift, config.element_max, config.lanes, config.lane_bits, config.toper_lanes,
                    (1 << config.id_bits) - 1, ids, values,
                    (OFFER_CYCLES, VERDICT_CYCLES, _LAST_CYCLES, _GROUP_CYCLES))
    return ids, values, Counts(*counts)
