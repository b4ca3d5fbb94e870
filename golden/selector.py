"""Selection of the gradient registers: the K largest derivatives of each neuron (DPFM).

The rule (DPFM's pruning with a register file's tie rule): of the values of one neuron, over all its
rows, keep the K of largest magnitude; ties go to the lowest id, which is the lowest (row, lane); a
zero is never held, so a neuron with fewer than K non-zero derivatives holds fewer.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["threshold", "select"]


@numba.njit(cache=True)
def _select(values: npt.NDArray[np.int16], keep: int, magnitudes: int) -> None:
    counts = np.zeros(magnitudes, np.int64)
    for n in range(values.shape[0]):
        counts[:] = 0
        for i in range(values.shape[1]):
            counts[abs(values[n, i])] += 1
        above = 0
        limit = magnitudes - 1
        while limit > 0 and above + counts[limit] < keep:
            above += counts[limit]
            limit -= 1
        if limit == 0:
            continue
        ties = keep - above
        for i in range(values.shape[1]):
            size = abs(values[n, i])
            tie = size == limit
            # Without branches: they would be mispredicted every other time.
            values[n, i] *= (size > limit) | (tie & (ties > 0))
            ties -= tie


def threshold(values: npt.NDArray[np.int16], keep: int) -> int:
    """Magnitude of the smallest value kept of one neuron's ``values``; 1 if all non-zero are."""
    sizes = np.sort(np.abs(values.ravel()))[::-1]
    return max(1, int(sizes[keep - 1])) if keep <= sizes.size else 1


def select(values: npt.NDArray[np.int16], keep: int, element_bits: int = 9) -> None:
    """Zero, in place, all but the ``keep`` largest magnitudes of each row of ``values``.

    Parameters
    ----------
    values : (neurons, ids) int16, elements of magnitude below 2^(element_bits - 1).
    keep : registers a neuron has; 0 keeps everything.
    element_bits : width of an element.
    """
    if keep > 0:
        _select(values, keep, 1 << (element_bits - 1))
