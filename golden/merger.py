"""Lists of registers put together: the merger of two, and the tree over zones of the ids.

A *list* is what a toper holds: (id, value) pairs by falling magnitude, ids distinct. Both forms of
the DPFM workshop's hierarchy, in terms of :mod:`tangente.golden.toper`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .toper import Toper

__all__ = ["merge", "tree"]

Entries = Sequence[tuple[int, int]]


def merge(a: Entries, b: Entries, keep: int, value_bits: int = 9) -> list[tuple[int, int]]:
    """What a toper of ``keep`` registers holds that is offered ``a`` in order, then ``b``.

    So equal ids are summed, unless that of ``a`` was evicted before that of ``b`` came. With no id
    in both lists, these are the ``keep`` largest, ties to ``a``.
    """
    toper = Toper(keep, value_bits)
    for identity, value in (*a, *b):
        toper.offer(identity, value)
    return toper.entries()


def tree(zones: Sequence[Entries], keep: int, id_bits: int,
         value_bits: int = 9) -> list[tuple[int, int]]:
    """The ``keep`` largest of what the zones' topers hold, ties to the lowest zone.

    Parameters
    ----------
    zones : each zone's offers, in order; ids of ``id_bits`` bits within the zone.
    keep : registers of every zone, and of the result.

    Returns
    -------
    Entries whose ids have the zone's number above ``id_bits``. A toper over the zones would hold
    the same, offered their lists in order; it needs no registers, because lists come sorted and
    zones share no id. With distinct ids these are the ``keep`` largest offers.
    """
    held = []
    for zone, offers in enumerate(zones):
        toper = Toper(keep, value_bits)
        for identity, value in offers:
            toper.offer(identity, value)
        held += [(zone << id_bits | identity, value) for identity, value in toper.entries()]
    return sorted(held, key=lambda entry: -abs(entry[1]))[:keep]
