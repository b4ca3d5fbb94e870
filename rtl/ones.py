"""How many bits are set, by tables of six inputs."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Value
from amaranth.utils import bits_for

__all__ = ["ones", "table"]


def table(word: Value, function: Callable[[int], int]) -> Value:
    """Bit 0 of ``function`` of ``word``, as a table: adders of so few bits would cost more."""
    entries = sum((function(i) & 1) << i for i in range(1 << len(word)))
    return Const(entries, 1 << len(word)).bit_select(word, 1)


def ones(bits: Value) -> Value:
    """How many ``bits`` are set: six become three in tables, and these are added."""
    groups = [bits[i:i + 6] for i in range(0, len(bits), 6)]
    counts = [Cat(table(group, lambda word, place=place: word.bit_count() >> place)
                  for place in range(bits_for(len(group))))
              for group in groups]
    while len(counts) > 1:
        counts = [sum(counts[i + 1:i + 3], counts[i]) for i in range(0, len(counts), 3)]
    return counts[0]
