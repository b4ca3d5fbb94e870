"""Update rules: how a weight slot changes by the summed product d of its errors and inputs.

With n code bits, m accumulator bits, r uniform in [0, 2^s) from the random generator, and the
lowest code L = -(2^(n-1) - 1) (SYMM) or -2^(n-1) (ASYMM), the highest being 2^(n-1) - 1:

* nearest (the thesis's overwriting by a rounded value): code -= rne(d / 2^s), s = shift + 16 - n.
* stochastic: code -= floor((d + r) / 2^s), the same s. No state.
* master: as stochastic on the number of n + m bits of which the code is the top, s = shift + 16 - n
  - m. What the code leaves out is cut off, not rounded: SYMM's master carries half a code more than
  it is worth, so that the cut rounds. It clamps to [L 2^m, 2^(n+m-1) - 1].
* event (a stateful rule of ours; ``docs/architecture.md`` has its reasons): with T = 2^(m-1),
  s = shift, u = floor((d + r) / 2^s); x = A - u clamped to +-(2T - 1). If x >= T the code goes up
  by one and T is taken from x; if x <= -T down by one, T added. At the last code nothing moves and
  A clamps to +-(T - 1).

Random bits are those of the places (:mod:`tangente.golden.lfsr`) at which d stands in the lane's
sum: a slot's lowest bit is bit 15 of the sum, or bit 31 from shift 16 on.

A rule is a row of eight integers, :class:`Form`, which the compiled loops and the RTL's lane units
take alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from . import lfsr
from .formats import Integers, round_shift, saturate

__all__ = ["Form", "form", "apply", "scatter", "bias_step"]


class Form(NamedTuple):
    """A rule with its format, as the lane units take it.

    Members
    -------
    down : right shift of d.
    random : random bits added before it; 0 for none.
    place : of the lowest of them.
    nearest : 1 to round to nearest, ties to even; 0 to take the floor.
    unit : one code (or one master step), in a 16-bit slot.
    low, high : its limits, in a slot.
    threshold : T of the event rule; 0 for the others.
    """

    down: int
    random: int
    place: int
    nearest: int
    unit: int
    low: int
    high: int
    threshold: int


def form(shift: int, code_bits: int, acc_bits: int, *, event: bool = False,
         stochastic: bool = False, master: bool = False, asymm: bool = False) -> Form:
    """The rule that the flags of UPD and SCT and the format registers name."""
    n, total = code_bits, code_bits + (acc_bits if master else 0)
    down = shift if event else shift + 16 - total
    unit = 1 << (16 - total)
    low = -(1 << 15) + (0 if asymm else 1 << (16 - n))
    return Form(down, down if stochastic else 0, 15 - shift % 16,
                int(not (event or stochastic)), unit, low, (1 << 15) - unit,
                1 << (acc_bits - 1) if event else 0)


@numba.njit(cache=True, inline="always")
def _change(slot: int, d: int, random: int, form: Form) -> tuple[int, int]:
    """The slot after ``d``, and whether a code stood at its limit."""
    total = d + random
    if form.nearest:
        total += (1 << form.down) >> 1
    u = total >> form.down
    if form.nearest and form.down > 0 and total & ((1 << form.down) - 1) == 0:
        u &= ~1
    t = form.threshold
    code = slot & ~(form.unit - 1)
    if t == 0:
        code -= u * form.unit
        if code > form.high:
            return form.high, 1
        if code < form.low:
            return form.low, 1
        return code, 0
    keep = 2 * t - 1
    a = slot & keep
    if a >= t:
        a -= 2 * t
    x = min(max(a - u, -keep), keep)
    clamped = 0
    if x >= t:
        if code == form.high:
            x = t - 1
            clamped = 1
        else:
            code += form.unit
            x -= t
    elif x <= -t:
        if code == form.low:
            x = -(t - 1)
            clamped = 1
        else:
            code -= form.unit
            x += t
    return code | (x & keep), clamped


@numba.njit(cache=True, inline="always")
def _bits(y: np.uint64, table: npt.NDArray[np.uint8], lane: int, first: int, count: int) -> int:
    """A lane's random bits at ``count`` places from its word's mixed state ``y``."""
    result = 0
    for k in range(first, first + count):
        bit = (y >> np.uint64(table[lane, k, 0])) ^ (y >> np.uint64(table[lane, k, 1])) \
            ^ (y >> np.uint64(table[lane, k, 2]))
        result |= np.int64(bit & np.uint64(1)) << (k - first)
    return result


@numba.njit(cache=True)
def _apply(slots: npt.NDArray[np.int16], d: npt.NDArray[np.int64],
           changes: npt.NDArray[np.bool_], mixed: npt.NDArray[np.uint64],
           table: npt.NDArray[np.uint8], form: Form) -> int:
    clamped = 0
    lanes = slots.shape[1] // 2
    for w in range(slots.shape[0]):
        for half in range(2):
            if not changes[w, half]:
                continue
            for i in range(half * lanes, half * lanes + lanes):
                random = 0
                # The floor of a fraction is zero: no random bits are needed for d = 0.
                if form.random and d[w, i] != 0:
                    random = _bits(mixed[w], table, i, form.place, form.random)
                slots[w, i], more = _change(np.int64(slots[w, i]), d[w, i], random, form)
                clamped += more
    return clamped


@numba.njit(cache=True)
def _scatter(weights: npt.NDArray[np.int16], ids: npt.NDArray[np.int32],
             d: npt.NDArray[np.int64], mixed: npt.NDArray[np.uint64],
             table: npt.NDArray[np.uint8], lane_bits: int, form: Form) -> int:
    clamped = 0
    lanes = weights.shape[1] // 2
    for i in range(ids.size):
        lane = ids[i] & ((1 << lane_bits) - 1)
        if lane >= lanes or d[i] == 0:
            continue
        word, column = ids[i] >> (lane_bits + 1), (ids[i] >> lane_bits & 1) * lanes + lane
        random = 0
        if form.random:
            random = _bits(mixed[i], table, column, form.place, form.random)
        weights[word, column], more = _change(np.int64(weights[word, column]), d[i], random, form)
        clamped += more
    return clamped


def apply(slots: npt.NDArray[np.int16], d: Integers, changes: npt.NDArray[np.bool_],
          state: int | None, first_word: int, form: Form) -> int:
    """Change ``slots`` (words, 2 x lanes) in place.

    Parameters
    ----------
    d : summed products, of the same shape.
    changes : (words, 2), whether the scalars of a word's half are not all zero; the other halves
        stay as they are.
    state : the generator's state for this update, or None where the rule takes no random bits.
    first_word : address of the first word.

    Returns
    -------
    Codes that should have moved but stood at their limit.
    """
    words = np.arange(first_word, first_word + len(slots), dtype=np.uint64)
    mixed = lfsr.mix(state or 0, words if form.random else words[:1])
    return int(_apply(slots, d, changes, mixed, lfsr.lane_masks(slots.shape[1] // 2), form))


def scatter(weights: npt.NDArray[np.int16], ids: npt.NDArray[np.int32], d: Integers,
            state: int | None, lane_bits: int, form: Form) -> int:
    """Change single slots of the weight memory (words, 2 x lanes) in place, one after the other.

    Parameters
    ----------
    ids : (count,) places, {word, half, lane of ``lane_bits`` bits}; lanes that do not exist are
        passed over.
    d : (count,) what each is changed by; a slot is not touched for a zero.
    state : as for :func:`apply`: the bits are those that UPD would take for that slot.
    """
    words = (ids >> (lane_bits + 1)).astype(np.uint64)
    mixed = lfsr.mix(state or 0, words)
    return int(_scatter(weights, ids, d, mixed, lfsr.lane_masks(weights.shape[1] // 2), lane_bits,
                        form))


def bias_step(bias: Integers, gradient: Integers, shift: int) -> tuple[Integers, int]:
    """Biases (16 bits) less rne(gradient x 2^8 / 2^shift), and how many saturated."""
    return saturate(bias - round_shift(gradient << 8, shift), 16)
