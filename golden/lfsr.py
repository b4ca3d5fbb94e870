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

__all__ = ["MASK", "TAP_BITS", "DIFFUSIONS", "KEYS", "advance", "mix", "taps", "lane_masks",
           "random_bits", "SIGN_STATE", "signs"]

MASK = (1 << 64) - 1
#: Random bits that a lane has; a larger shift leaves the bits above these zero.
TAP_BITS = 24
#: Rotations of the three diffusions, and of the state where it is added after the first two.
DIFFUSIONS = ((7, 19, 30, 45), (5, 22, 39, 53), (11, 24, 35, 58))
KEYS = (32, 13)
#: The state of which the signs of fixed random matrices are made.
SIGN_STATE = 0xA0761D6478BD642F


def advance(state: int) -> int:
    """The state after ``state`` (64 bits, not zero)."""
    state ^= state << 13 & MASK
    state ^= state >> 7
    return state ^ state << 17 & MASK


def _rotate(value: npt.NDArray[np.uint64], count: int) -> npt.NDArray[np.uint64]:
    return value << np.uint64(count) | value >> np.uint64(64 - count)


def _diffuse(value: npt.NDArray[np.uint64], *counts: int) -> npt.NDArray[np.uint64]:
    result = value
    for count in counts:
        result = result ^ _rotate(value, count)
    return result


def mix(state: int, word: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64 bits for each address in ``word`` (below 2^16).

    Two rounds of a diffusion (five rotations of the word, one LUT a bit) and an addition of the
    rotated state, whose carries break the linearity, then a last diffusion. For one state a
    bijection of 64 bits: the diffusions are (five is odd), and so is the addition of a constant.
    """
    word = np.asarray(word, np.uint64)
    spread = word | word << np.uint64(16) | word << np.uint64(32) | word << np.uint64(48)
    key = np.array([state], np.uint64)
    y = _diffuse(key ^ spread, *DIFFUSIONS[0]) + _rotate(key, KEYS[0])
    y = _diffuse(y, *DIFFUSIONS[1]) + _rotate(key, KEYS[1])
    return _diffuse(y, *DIFFUSIONS[2])


@functools.lru_cache
def taps(lanes: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For lane l of half h, at index h * lanes + l: three distinct bit numbers for each random bit.

    Drawn by the generator itself from a fixed state, so that the table needs no file. The taps of
    one lane are linearly independent: its bits are independent where the state's are. No three
    serve twice: any two bits of a word are independent.
    """
    state, table = 0x9E3779B97F4A7C15, []
    used: set[int] = set()
    for _ in range(2 * lanes):
        rows: list[tuple[int, int, int]] = []
        basis: dict[int, int] = {}
        while len(rows) < TAP_BITS:
            state = advance(state)
            chosen = (state & 63, state >> 6 & 63, state >> 12 & 63)
            vector = 0
            for tap in chosen:
                vector |= 1 << tap
            if len(set(chosen)) < 3 or vector in used:
                continue
            number = vector
            while vector and vector.bit_length() in basis:
                vector ^= basis[vector.bit_length()]
            if vector:
                basis[vector.bit_length()] = vector
                used.add(number)
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


@functools.lru_cache(maxsize=64)
def signs(first: int, count: int, lanes: int) -> npt.NDArray[np.int8]:
    """+1 or -1 for each lane of weight words ``first``, ...: (count, 2 * lanes), not to be changed.

    The sign is that of the lane's first random bit: -1 where it is set.
    """
    bits = random_bits(SIGN_STATE, np.arange(first, first + count, dtype=np.uint64), lanes, 1)
    result = (1 - 2 * bits).astype(np.int8)
    result.setflags(write=False)
    return result
