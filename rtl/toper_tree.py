"""Topers over zones of the ids, and their lists merged: twin of tangente.golden.merger.tree."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .toper import Entry, ListEntry, Toper

__all__ = ["ToperTree", "Heads"]


def _size(value: Value) -> Value:
    return (value ^ value[-1].replicate(len(value)))[:-1] + value[-1]


class Heads(wiring.Component):
    """Hands on the larger of two sorted lists' heads, ties to ``a``, one a cycle.

    It never ends: of two lists of K entries, the first K that come out are the K largest.

    Members
    -------
    a, b : stream of Entry, In. Lists by falling magnitude.
    merged : stream of Entry, Out. From registers.
    """

    def __init__(self, id_bits: int, value_bits: int) -> None:
        entry = Entry(id_bits, value_bits)
        super().__init__({"a": In(stream.Signature(entry)), "b": In(stream.Signature(entry)),
                          "merged": Out(stream.Signature(entry))})

    def elaborate(self, platform) -> Module:
        m = Module()
        a, b, merged = self.a, self.b, self.merged
        room, later = Signal(), Signal()
        m.d.comb += [
            room.eq((~merged.valid | merged.ready) & a.valid & b.valid),
            later.eq(_size(b.p.value) > _size(a.p.value)),
            a.ready.eq(room & ~later),
            b.ready.eq(room & later),
        ]
        with m.If(merged.ready):
            m.d.sync += merged.valid.eq(0)
        with m.If(room):
            m.d.sync += [merged.valid.eq(1), merged.payload.eq(Mux(later, b.payload, a.payload))]
        return m


class ToperTree(wiring.Component):
    """One toper a zone, each with its own offers; above them, heads of lists are compared.

    So ``zones`` offers pass in a cycle, at ``zones`` times the registers: any zone may hold all K.
    Above the zones no registers and no sums are needed, because lists come sorted and zones share
    no id. The result comes one entry a cycle, the first log2(zones) + 2 cycles after ``close``.

    Parameters
    ----------
    zones : a power of two, at least 2.
    registers, value_bits, summing : of each :class:`tangente.rtl.toper.Toper`.
    id_bits : width of an id within its zone.

    Members
    -------
    keep : range(registers + 1), In. As for the toper.
    offers : ``zones`` streams of Entry, In.
    verdict_valid, alive, clipped : ``zones`` bits, Out. As for each toper.
    close : unsigned(1), In. As for the toper, when every zone's last verdict has been given; but
        offers wait until the list's last entry is taken.
    lists : stream of ListEntry with log2(zones) more bits of id, Out. Above the id within it, the
        zone's number. Padded with zeros of any zone.

    Raises
    ------
    ValueError
        If ``zones`` is no power of two.
    """

    def __init__(self, zones: int, registers: int, id_bits: int, value_bits: int = 9, *,
                 summing: bool = True) -> None:
        if zones < 2 or zones & (zones - 1):
            raise ValueError(f"zones must be a power of two and at least 2, not {zones!r}")
        self.zones, self.id_bits, self.value_bits = zones, id_bits, value_bits
        self._topers = [Toper(registers, id_bits, value_bits, summing=summing)
                        for _ in range(zones)]
        super().__init__({
            "keep": In(range(registers + 1)),
            "offers": In(stream.Signature(Entry(id_bits, value_bits))).array(zones),
            "verdict_valid": Out(zones), "alive": Out(zones), "clipped": Out(zones),
            "close": In(1),
            "lists": Out(stream.Signature(ListEntry(id_bits + ceil_log2(zones), value_bits))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        # What the zones hold beyond the result is forgotten at once.
        over, giving = Signal(), Signal()
        forget = ResetInserter(over)
        m.d.sync += giving.eq((giving | self.close) & ~over)
        id_bits = self.id_bits + ceil_log2(self.zones)
        heads = []
        for zone, toper in enumerate(self._topers):
            m.submodules[f"zone{zone}"] = forget(toper)
            offers = self.offers[zone]
            head = stream.Signature(Entry(id_bits, self.value_bits)).create(path=(f"head{zone}",))
            m.d.comb += [
                # So offers wait for the end of the list, which resets the zones.
                toper.offers.valid.eq(offers.valid & ~giving),
                toper.offers.payload.eq(offers.payload),
                offers.ready.eq(toper.offers.ready & ~giving),
                toper.keep.eq(self.keep),
                toper.close.eq(self.close),
                self.verdict_valid[zone].eq(toper.verdict_valid),
                self.alive[zone].eq(toper.alive),
                self.clipped[zone].eq(toper.clipped),
                head.valid.eq(toper.lists.valid),
                head.p.id.eq(Cat(toper.lists.p.id, Const(zone, ceil_log2(self.zones)))),
                head.p.value.eq(toper.lists.p.value),
                toper.lists.ready.eq(head.ready),
            ]
            heads.append(head)
        while len(heads) > 1:
            merged = []
            for a, b in zip(heads[::2], heads[1::2]):
                node = Heads(id_bits, self.value_bits)
                m.submodules += forget(node)
                for side, head in ((node.a, a), (node.b, b)):
                    m.d.comb += [side.valid.eq(head.valid), side.payload.eq(head.payload),
                                 head.ready.eq(side.ready)]
                merged.append(node.merged)
            heads = merged

        lists, given = self.lists, Signal(self.keep.shape())
        m.d.comb += [
            lists.valid.eq(heads[0].valid),
            heads[0].ready.eq(lists.ready),
            lists.p.id.eq(heads[0].p.id),
            lists.p.value.eq(heads[0].p.value),
            lists.p.last.eq(given + 1 == self.keep),
            over.eq(lists.valid & lists.ready & lists.p.last),
        ]
        with m.If(over):
            m.d.sync += given.eq(0)
        with m.Elif(lists.valid & lists.ready):
            m.d.sync += given.eq(given + 1)
        return m
