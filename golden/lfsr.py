"""The random generator of stochastic rounding: a function of (seed, update, word, lane).

It never depends on the cycle, so stalls change nothing. One 64-bit xorshift state advances once per
UPD that asks for random bits (Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8(14), 2003: triple 13, 7,
17). For each weight word the state is mixed with the word's address; each lane's bits are parities
of three taps of the mixed word.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["MASK", "TAP_BITS", "advance", "mix", "taps", "lane_masks", "random_bits"]

MASK = (1 << 64) - 1
#: Random bits that a lane has; a larger shift leaves the bits above these zero.
TAP_BITS = 24


def advance(state: int) -> int:
    """The state after ``state`` (64 bits, not zero)."""
    state ^= state << 13 & MASK
    state ^= state >> 7
    return state ^ state << 17 & MASK


def _rotate(value: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.uint64]:
    return value << np.uint64(count) | value >> np.uint64(64 - count)


def mix(state: int, word: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64 bits for each address in ``word`` (below 2^16); a bijection of the state for each."""
    word = np.asarray(word, np.uint64)
    spread = word | word << np.uint64(16) | word << np.uint64(32) | word << np.uint64(48)
    y = np.uint64(state) ^ spread
    y = y + _rotate(y, 8)
    y = y ^ y >> np.uint64(29)
    y = y + _rotate(y, 24)
    return y ^ y >> np.uint64(32)


@functools.lru_cache
def taps(lanes: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For lane l of half h, at index h * lanes + l: three distinct bit numbers for each random bit.

    Drawn by the generator itself from a fixed state, so that the table needs no file. The taps of
    one lane are linearly independent: its bits are independent where the state's are.
    """
    state, table = 0x9E3779B97F4A7C15, []
    for _ in range(2 * lanes):
        rows: list[tuple[int, int, int]] = []
        basis: dict[int, int] = {}
        while len(rows) < TAP_BITS:
            state = advance(state)
            chosen = (state & 63, state >> 6 & 63, state >> 12 & 63)
            vector = 0
            for tap in chosen:
                vector |= 1 << tap
            if len(set(chosen)) < 3:
                continue
            while vector and vector.bit_length() in basis:
                vector ^= basis[vector.bit_length()]
            if vector:
                basis[vector.bit_length()] = vector
                rows.append(chosen)
        table.append(tuple(rows))
    return tuple(table)


@functools.lru_cache
def lane_masks(lanes: int) -> npt.NDArray[np.uint8]:
    """:func:`taps` as an array (2 * lanes, TAP_BITS, 3)."""
    return np.array(taps(lanes), np.uint8)


def random_bits(state: int, words: npt.NDArray[np.uint64], lanes: int,
                bits: int) -> npt.NDArray[np.int64]:
    """Random integers in [0, 2^bits), (words, 2 * lanes), for weight words at ``words``."""
    mixed = mix(state, words)[:, None]
    table = lane_masks(lanes).astype(np.uint64)
    result = np.zeros((len(words), 2 * lanes), np.uint64)
    for k in range(min(bits, TAP_BITS)):
        bit = (mixed >> table[:, k, 0]) ^ (mixed >> table[:, k, 1]) ^ (mixed >> table[:, k, 2])
        result |= (bit & np.uint64(1)) << np.uint64(k)
    return result.astype(np.int64)
