"""Fixed-point arithmetic: rounding, saturation, and the fields of a weight slot.

Rounding is to nearest, ties to even (IEEE 754 roundTiesToEven), wherever nothing else is said.
Saturation is symmetric: the most negative code of a format is never produced.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["round_shift", "saturate", "requantise", "code_max", "slot_code", "slot_accumulator",
           "make_slot", "Integers"]

Integers = npt.NDArray[np.int64]


def round_shift(value: Integers, shift: int) -> Integers:
    """``value`` / 2^shift rounded to nearest, ties to even. ``shift`` >= 0; any shape."""
    if shift == 0:
        return np.asarray(value, np.int64)
    value = np.asarray(value, np.int64)
    half = np.int64(1) << (shift - 1)
    result = (value + half) >> shift
    tie = (value + half) & ((np.int64(1) << shift) - 1) == 0
    return np.where(tie, result & ~np.int64(1), result)


def saturate(value: Integers, bits: int) -> tuple[Integers, int]:
    """``value`` clamped to +-(2^(bits-1) - 1), and how many elements that changed."""
    limit = (1 << (bits - 1)) - 1
    result = np.clip(value, -limit, limit)
    return result, int(np.count_nonzero(result != value))


@numba.njit(cache=True)
def _requantise(values: npt.NDArray[Any], shift: int, limit: int,
                result: npt.NDArray[np.int64]) -> int:
    half = np.int64(1) << shift >> 1
    mask = (np.int64(1) << shift) - 1
    saturated = 0
    for i in range(values.size):
        total = np.int64(values[i]) + half
        value = total >> shift
        if shift > 0 and total & mask == 0:
            value &= ~1
        if value > limit:
            value = limit
            saturated += 1
        elif value < -limit:
            value = -limit
            saturated += 1
        result[i] = value
    return saturated


def requantise(values: npt.NDArray[np.float64] | Integers, shift: int,
               bits: int) -> tuple[Integers, int]:
    """``saturate(round_shift(values, shift), bits)``, compiled; ``values`` may be whole floats."""
    result = np.empty(values.shape, np.int64)
    limit = (1 << (bits - 1)) - 1
    return result, _requantise(values.ravel(), shift, limit, result.reshape(-1))


def code_max(code_bits: int) -> int:
    """Largest code of ``code_bits`` bits, as it lies in a slot: (2^(n-1) - 1) x 2^(16-n)."""
    return ((1 << (code_bits - 1)) - 1) << (16 - code_bits)


def slot_code(slot: npt.NDArray[np.int16], code_bits: int) -> npt.NDArray[np.int16]:
    """The codes of ``slot``, left-aligned in 16 bits: the operand that the array multiplies."""
    return slot & np.int16(-(1 << (16 - code_bits)))


def slot_accumulator(slot: npt.NDArray[np.int16], acc_bits: int) -> npt.NDArray[np.int16]:
    """The accumulators in the low ``acc_bits`` bits of ``slot``, signed; zero for 0 bits."""
    if acc_bits == 0:
        return np.zeros_like(slot)
    return (slot << np.int16(16 - acc_bits)) >> np.int16(16 - acc_bits)


def make_slot(code: npt.NDArray[np.int16], accumulator: npt.NDArray[np.int16],
              acc_bits: int) -> npt.NDArray[np.int16]:
    """Slots of left-aligned ``code`` and signed ``accumulator``."""
    return code | (accumulator & np.int16((1 << acc_bits) - 1))
