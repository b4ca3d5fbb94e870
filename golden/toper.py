"""The toper: a neuron's gradient registers, kept sorted while candidates are offered one by one.

The rule. Registers hold (id, value) by falling magnitude. An offer of

* a zero is rejected and changes nothing;
* a held id is *summed*: its register's value becomes the sum, clamped to the register's range, and
  is sorted in again behind all registers of at least its magnitude; a sum of zero frees it;
* another id *enters* behind all registers of at least its magnitude, if a register is free or the
  last one is smaller, which then is evicted; otherwise it is rejected.

Of equals the first held stays. What was evicted never returns: an id offered again starts anew. For
distinct ids the result is the K largest offers, ties to the first ("toper" and "equal ids: sum" are
the DPFM workshop's; its tie rule let all ties survive, which registers cannot).
"""

from __future__ import annotations

import enum

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["Verdict", "Toper", "offer", "enter", "CLIPPED"]


class Verdict(enum.IntEnum):
    """What became of an offer."""

    REJECTED = 0
    ENTERED = 1
    SUMMED = 2


#: Added to the verdict by :func:`offer` if the sum was clamped.
CLIPPED = 4
_REJECTED, _ENTERED, _SUMMED = int(Verdict.REJECTED), int(Verdict.ENTERED), int(Verdict.SUMMED)


@numba.njit(cache=True, inline="always")
def _insert(ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], place: int, identity: int,
            value: int) -> None:
    """Put an entry before all that are smaller; the one at ``place`` goes."""
    while place > 0 and abs(values[place - 1]) < abs(value):
        ids[place], values[place] = ids[place - 1], values[place - 1]
        place -= 1
    ids[place] = identity
    values[place] = value


@numba.njit(cache=True, inline="always")
def offer(ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], keep: int, identity: int,
          value: int, limit: int) -> int:
    """Offer (``identity``, ``value``) to registers ``ids``, ``values``; a free one has value 0.

    ``keep`` of them are used; ``limit`` is the largest magnitude. Returns the verdict, with
    :data:`CLIPPED` added if a sum was clamped.
    """
    if value == 0:
        return _REJECTED
    place = 0
    while place < keep and values[place] != 0 and ids[place] != identity:
        place += 1
    verdict = _ENTERED
    if place < keep and values[place] != 0:
        verdict = _SUMMED
        total = values[place] + value
        value = min(max(total, -limit), limit)
        if value != total:
            verdict += CLIPPED
        while place + 1 < keep and values[place + 1] != 0:
            ids[place], values[place] = ids[place + 1], values[place + 1]
            place += 1
        ids[place] = 0
        values[place] = 0
        if value == 0:
            return verdict
    elif place == keep:
        if abs(value) <= abs(values[keep - 1]):
            return _REJECTED
        place = keep - 1
    _insert(ids, values, place, identity, value)
    return verdict


@numba.njit(cache=True, inline="always")
def enter(ids: npt.NDArray[np.int32], values: npt.NDArray[np.int16], keep: int, identity: int,
          value: int) -> int:
    """Offer an id that is known not to be held; returns whether it entered."""
    if abs(value) <= abs(values[keep - 1]):
        return _REJECTED
    _insert(ids, values, keep - 1, identity, value)
    return _ENTERED


class Toper:
    """Registers of one neuron and one bank.

    Parameters
    ----------
    keep : registers, at least 1.
    value_bits : width of a signed value, whose most negative code is not used.

    Members
    -------
    ids, values : (keep,) int32 and int16, sorted; free registers hold zeros.
    clipped : sums that were clamped.

    Raises
    ------
    ValueError
        If ``keep`` or an offered value is out of range.
    """

    def __init__(self, keep: int, value_bits: int = 9) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep!r}")
        self.keep = keep
        self.limit = (1 << (value_bits - 1)) - 1
        self.clear()

    def clear(self) -> None:
        """Free all registers."""
        self.ids = np.zeros(self.keep, np.int32)
        self.values = np.zeros(self.keep, np.int16)
        self.clipped = 0

    def offer(self, identity: int, value: int) -> Verdict:
        """Offer a candidate.

        Raises
        ------
        ValueError
            If ``value`` does not fit.
        """
        if abs(value) > self.limit:
            raise ValueError(f"value must lie between +-{self.limit}, not {value!r}")
        verdict = offer(self.ids, self.values, self.keep, identity, value, self.limit)
        self.clipped += verdict >= CLIPPED
        return Verdict(verdict % CLIPPED)

    def entries(self) -> list[tuple[int, int]]:
        """The (id, value) pairs held, largest first."""
        return [(int(i), int(v)) for i, v in zip(self.ids, self.values) if v]
