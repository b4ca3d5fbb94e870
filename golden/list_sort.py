"""A vector's list (SRT): its largest elements; see :mod:`tangente.golden.lists`."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from .config import Config
from .flow import GROUP
from .lists import STORE_LEFT
from .toper import enter

__all__ = ["SORT_AHEAD", "largest"]

#: Groups of a vector that are read ahead of SRT's filter.
SORT_AHEAD = 8
# From a group's request until it is looked at; from an offer until its toper's smallest
# magnitude filters the next group; from the last look until the list is over, less its entries.
_READ_CYCLES = 4
_FILTER_CYCLES = 6
_SORTED_CYCLES = 4
# The check holds the list back, less its entries.
_SORT_CHECKED = 1


@numba.njit(cache=True)
def _largest(vector: npt.NDArray[np.int16], first: int, unit: int, base: int, tiles: int,
             lane_bits: int, ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16],
             ahead: int, unit_cycles: int, filter_cycles: int) -> int:
    """``first`` element of a unit of ``unit`` elements is the vector's first; returns cycles."""
    keep = ids.size
    units = (first + vector.size + unit - 1) // unit
    taken = np.zeros(units, np.int64)
    least = np.zeros(filter_cycles, np.int64)
    now, asked = 0, -1
    for n in range(units):
        asked += 1
        if n >= ahead:
            asked = max(asked, taken[n - ahead] + 1)
        arrived = asked + unit_cycles
        while now < arrived:
            least[now % filter_cycles] = abs(values[keep - 1])
            now += 1
        i = max(n * unit - first, 0)
        end = min((n + 1) * unit - first, vector.size)
        bound = least[now % filter_cycles]
        more = True
        while more:
            while i < end and abs(vector[i]) <= bound:
                i += 1
            if i < end:
                identity = (base + (i >> 1) * tiles) << (lane_bits + 1) | (i & 1) << lane_bits
                enter(ids, values, keep, identity, vector[i])
                i += 1
            least[now % filter_cycles] = abs(values[keep - 1])
            while i < end and abs(vector[i]) <= bound:
                i += 1
            more = i < end
            taken[n] = now
            now += 1
    return now


def largest(vector: npt.NDArray[np.int16], base: int, tiles: int, keep: int, config: Config, *,
            first: int = 0, begins: int = 0) -> tuple[
                npt.NDArray[np.int32], npt.NDArray[np.int16], int]:
    """The list of the ``keep`` largest elements of ``vector``, ties to the lowest index; cycles.

    Its ids lack what the neuron adds: the tile and the lane. ``base`` and ``tiles`` are those of
    the matrix that multiplies the vector: M[i, h] is in word base + i div 2 x tiles + h div lanes.
    The vector is read in groups of eight pairs, from element ``first`` of one; only elements above
    the toper's smallest are offered. It begins in cycle ``begins`` of those counted.
    """
    ids, values = np.zeros(keep, np.int32), np.zeros(keep, np.int16)
    cycles = _largest(vector, first, 2 * GROUP, base, tiles, config.lane_bits, ids, values,
                      SORT_AHEAD, _READ_CYCLES, _FILTER_CYCLES)
    return ids, values, (max(begins + cycles + _SORTED_CYCLES, _SORT_CHECKED) + keep
                         - min(STORE_LEFT, keep - 1))
