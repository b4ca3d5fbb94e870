"""Update rules: how a weight slot changes by the summed product d of its errors and inputs.

nearest: code -= rne(d / 2^(shift + 16 - n)) code units, clamped; no accumulator.

event (a stateful rule of ours; ``docs/architecture.md`` has its reasons): with T = 2^(m-1),
u = floor((d + r) / 2^shift) for r uniform in [0, 2^shift); x = A - u clamped to +-(2T - 1). If
x >= T the code goes up by one and T is taken from x; if x <= -T down by one, T added. At the last
code nothing moves and A clamps to +-(T - 1).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from . import lfsr
from .formats import round_shift, saturate

__all__ = ["nearest", "event", "bias_step"]


@numba.njit(cache=True)
def nearest(slots: npt.NDArray[np.int16], d: npt.NDArray[np.int64], shift: int,
            code_bits: int) -> int:
    """Change ``slots`` in place by the nearest rule; both of one shape (any 2-D).

    Returns the number of codes that were clamped.
    """
    clamped = 0
    down = shift + 16 - code_bits
    unit = 1 << (16 - code_bits)
    limit = ((1 << (code_bits - 1)) - 1) * unit
    half = (1 << down) >> 1
    mask = (1 << down) - 1
    for w in range(slots.shape[0]):
        for i in range(slots.shape[1]):
            total = d[w, i] + half
            u = total >> down
            if down > 0 and total & mask == 0:
                u &= ~1
            code = (np.int64(slots[w, i]) & ~(unit - 1)) - u * unit
            if code > limit:
                code = limit
                clamped += 1
            elif code < -limit:
                code = -limit
                clamped += 1
            slots[w, i] = code
    return clamped


@numba.njit(cache=True)
def _event(slots: npt.NDArray[np.int16], d: npt.NDArray[np.int64],
           mixed: npt.NDArray[np.uint64], table: npt.NDArray[np.uint8], shift: int,
           code_bits: int, acc_bits: int) -> int:
    clamped = 0
    unit = 1 << (16 - code_bits)
    limit = ((1 << (code_bits - 1)) - 1) * unit
    t = 1 << (acc_bits - 1)
    keep = (1 << acc_bits) - 1
    random = min(shift, table.shape[1])
    one = np.uint64(1)
    for w in range(slots.shape[0]):
        y = mixed[w]
        for i in range(slots.shape[1]):
            u = np.int64(0)
            if d[w, i] != 0:
                for k in range(random):
                    bit = (y >> np.uint64(table[i, k, 0])) ^ (y >> np.uint64(table[i, k, 1])) \
                        ^ (y >> np.uint64(table[i, k, 2]))
                    u |= np.int64(bit & one) << k
                u = (d[w, i] + u) >> shift
            slot = np.int64(slots[w, i])
            code = slot & ~(unit - 1)
            a = slot & keep
            if a >= t:
                a -= 2 * t
            x = min(max(a - u, -(2 * t - 1)), 2 * t - 1)
            if x >= t:
                if code == limit:
                    x = t - 1
                    clamped += 1
                else:
                    code += unit
                    x -= t
            elif x <= -t:
                if code == -limit:
                    x = -(t - 1)
                    clamped += 1
                else:
                    code -= unit
                    x += t
            slots[w, i] = code | (x & keep)
    return clamped


def event(slots: npt.NDArray[np.int16], d: npt.NDArray[np.int64], state: int | None,
          first_word: int, shift: int, code_bits: int, acc_bits: int) -> int:
    """Change ``slots`` (words, 2 x lanes) in place by the event rule.

    Parameters
    ----------
    d : summed products, of the same shape.
    state : the generator's state for this update, or None for r = 0 (floor).
    first_word : address of the first word.

    Returns
    -------
    Codes that should have moved but stood at their limit.
    """
    lanes = slots.shape[1] // 2
    words = np.arange(first_word, first_word + len(slots), dtype=np.uint64)
    table = lfsr.lane_masks(lanes)
    if state is None:
        table = table[:, :0]
    mixed = lfsr.mix(0 if state is None else state, words)
    return int(_event(slots, d, mixed, table, shift, code_bits, acc_bits))


def bias_step(bias: npt.NDArray[np.int64], gradient: npt.NDArray[np.int64],
              shift: int) -> tuple[npt.NDArray[np.int64], int]:
    """Biases (16 bits) less rne(gradient x 2^8 / 2^shift), and how many saturated."""
    return saturate(bias - round_shift(gradient << 8, shift), 16)
