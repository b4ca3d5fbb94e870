"""The random generator of stochastic rounding: a function of (seed, update, word, lane).

It never depends on the cycle, so stalls change nothing. One 64-bit xorshift state advances once per
UPD that asks for random bits (Marsaglia, "Xorshift RNGs", J. Stat. Soft. 8(14), 2003: triple 13, 7,
17). For each weight word the state is mixed with the word's address, and the mixed word spread to
*wires*, parities of three of its bits. Each lane has a wire for each bit that its sum may start
from, its *places*; places far apart share wires, of other lanes.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

__all__ = ["MASK", "PLACES", "WINDOW", "DIFFUSIONS", "KEYS", "SIGN_STATE", "advance", "mix",
           "wires", "lane_wires", "lane_masks", "random_bits", "signs"]

MASK = (1 << 64) - 1
#: Bits of a lane's sum that may be random: a slot's lowest bit lies at 15 or 31, its code's up to
#: 14 higher, and random bits below that.
PLACES = 45
#: Places side by side, at least, whose bits are wires of their own in all lanes.
WINDOW = 4
#: Wires at least: those of a lane are to be linearly independent.
_WIRES = 128
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


def _add(one: npt.NDArray[np.uint64], two: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Both halves of 32 bits, each modulo 2^32."""
    low, shift = np.uint64(0xFFFF_FFFF), np.uint64(32)
    return (one + two & low) | (one >> shift) + (two >> shift) << shift


def mix(state: int, word: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """64 bits for each address in ``word`` (below 2^16).

    Two rounds of a diffusion (five rotations of the word, one LUT a bit) and an addition of the
    rotated state, in two halves, whose carries break the linearity, then a last diffusion. For one
    state a bijection of 64 bits: the diffusions are (five is odd), and so is the addition of a
    constant.
    """
    word = np.asarray(word, np.uint64)
    spread = word | word << np.uint64(16) | word << np.uint64(32) | word << np.uint64(48)
    key = np.array([state], np.uint64)
    y = _add(_diffuse(key ^ spread, *DIFFUSIONS[0]), _rotate(key, KEYS[0]))
    y = _add(_diffuse(y, *DIFFUSIONS[1]), _rotate(key, KEYS[1]))
    return _diffuse(y, *DIFFUSIONS[2])


def _window(lanes: int) -> int:
    """Places whose bits are wires of their own in all lanes."""
    return max(WINDOW, -(-_WIRES // (2 * lanes)))


@functools.lru_cache
def wires(lanes: int) -> tuple[tuple[int, int, int], ...]:
    """Three distinct bit numbers of the mixed word for each wire.

    Drawn by the generator itself from a fixed state, so that the table needs no file. No three
    serve twice: any two wires are independent.
    """
    state = 0x9E3779B97F4A7C15
    table: dict[tuple[int, int, int], None] = {}
    while len(table) < 2 * lanes * _window(lanes):
        state = advance(state)
        first, second, third = sorted((state & 63, state >> 6 & 63, state >> 12 & 63))
        if first < second < third:
            table[first, second, third] = None
    return tuple(table)


@functools.lru_cache
def lane_wires(lanes: int) -> tuple[tuple[int, ...], ...]:
    """For lane l of half h, at index h * lanes + l: the wire at each of its :data:`PLACES`.

    Places :func:`_window` apart share their wires, another lane each. The wires of one lane are
    linearly independent: its bits are independent where the state's are.
    """
    vectors = [sum(1 << tap for tap in taps) for taps in wires(lanes)]
    window, count = _window(lanes), 2 * lanes
    state = 0xD1B54A32D192ED03
    bases: list[dict[int, int]] = [{} for _ in range(count)]
    columns: list[list[int]] = []
    while len(columns) < PLACES:
        state = advance(state)
        place = len(columns)
        column = [place % window * count + (lane + state) % count for lane in range(count)]
        reduced = [_reduce(basis, vectors[wire]) for basis, wire in zip(bases, column)]
        if all(reduced):
            for basis, vector in zip(bases, reduced):
                basis[vector.bit_length()] = vector
            columns.append(column)
    return tuple(zip(*columns))


def _reduce(basis: dict[int, int], vector: int) -> int:
    """What is left of ``vector`` less its part in the span of ``basis``, by highest bits."""
    while vector and vector.bit_length() in basis:
        vector ^= basis[vector.bit_length()]
    return vector


@functools.lru_cache
def lane_masks(lanes: int) -> npt.NDArray[np.uint8]:
    """The taps of :func:`lane_wires` as an array (2 * lanes, PLACES, 3)."""
    return np.array(wires(lanes), np.uint8)[np.array(lane_wires(lanes))]


def random_bits(state: int, words: npt.NDArray[np.uint64], lanes: int, first: int,
                bits: int) -> npt.NDArray[np.int64]:
    """Random integers in [0, 2^bits), (words, 2 * lanes), for weight words at ``words``.

    Bit 0 is the lane's at place ``first``.
    """
    mixed = mix(state, words)[:, None]
    table = lane_masks(lanes).astype(np.uint64)
    result = np.zeros((len(words), 2 * lanes), np.uint64)
    for k in range(bits):
        taps = table[:, first + k]
        bit = (mixed >> taps[:, 0]) ^ (mixed >> taps[:, 1]) ^ (mixed >> taps[:, 2])
        result |= (bit & np.uint64(1)) << np.uint64(k)
    return result.astype(np.int64)


@functools.lru_cache(maxsize=64)
def signs(first: int, count: int, lanes: int) -> npt.NDArray[np.int8]:
    """+1 or -1 for each lane of weight words ``first``, ...: (count, 2 * lanes), not to be changed.

    The sign is that of the lane's random bit at place 0: -1 where it is set.
    """
    bits = random_bits(SIGN_STATE, np.arange(first, first + count, dtype=np.uint64), lanes, 0, 1)
    result = (1 - 2 * bits).astype(np.int8)
    result.setflags(write=False)
    return result
