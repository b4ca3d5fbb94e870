"""Which derivatives K registers hold."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["largest"]


def largest(entries: Iterable[tuple[int, float]], keep: int) -> list[tuple[int, float]]:
    """The ``keep`` (id, value) pairs of largest magnitude, largest first; 0 keeps all.

    The rule of :mod:`tangente.golden.toper` for distinct ids offered in ascending order: of equals
    the lowest id stays, a zero is never held. So at most ``keep`` pairs survive; the workshop's
    rule, everything of at least the K-th magnitude, let all ties survive, which registers cannot.

    Raises
    ------
    ValueError
        If ``keep`` is negative, or a value is not a number: it has no place in an order.
    """
    if keep < 0:
        raise ValueError(f"keep must be at least 0, not {keep!r}")
    held = []
    for identity, value in entries:
        if math.isnan(value):
            raise ValueError(f"the derivative by weight {identity} is not a number")
        if value != 0:
            held.append((identity, value))
    held.sort(key=lambda entry: (-abs(entry[1]), entry[0]))
    return held[:keep] if keep else held
