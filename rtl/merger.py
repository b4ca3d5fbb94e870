"""Merging of two sorted lists, with equal ids summed: twin of tangente.golden.merger.merge."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .toper import ListEntry, Toper

__all__ = ["Merger"]


class Merger(wiring.Component):
    """Puts two lists together: the toper behind it is offered ``a``, then ``b``.

    A list of K entries passes one a cycle; each id of ``b`` that ``a`` has costs one cycle more.
    The first entry comes out four cycles after the last one went in. While a list is taken the
    next two wait.

    Parameters
    ----------
    registers, id_bits, value_bits : of the :class:`tangente.rtl.toper.Toper`.

    Members
    -------
    keep : range(registers + 1), In. Entries of the result, at least 1; it may change between the
        last entry of a result and the next list's first.
    a, b : stream of ListEntry, In. Lists of any length, at least one entry; zeros are passed over.
    merged : stream of ListEntry, Out. ``keep`` entries, padded with zeros.
    clipped : unsigned(1), Out. A sum was clamped in this cycle.
    """

    def __init__(self, registers: int, id_bits: int, value_bits: int = 9) -> None:
        self._toper = Toper(registers, id_bits, value_bits)
        entry = ListEntry(id_bits, value_bits)
        super().__init__({
            "keep": In(range(registers + 1)),
            "a": In(stream.Signature(entry)),
            "b": In(stream.Signature(entry)),
            "merged": Out(stream.Signature(entry)),
            "clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.toper = toper = self._toper
        offers = toper.offers
        m.d.comb += [toper.keep.eq(self.keep), self.clipped.eq(toper.clipped)]
        m.d.comb += self.merged.payload.eq(toper.lists.payload)

        over = Signal(range(toper.VERDICT_LATENCY + 1))

        def offer(list_, following: str) -> None:
            m.d.comb += [
                offers.valid.eq(list_.valid), list_.ready.eq(offers.ready),
                offers.p.id.eq(list_.p.id), offers.p.value.eq(list_.p.value),
            ]
            m.d.sync += over.eq(0)
            with m.If(list_.valid & list_.ready & list_.p.last):
                m.next = following

        with m.FSM():
            with m.State("A"):
                offer(self.a, "B")
            with m.State("B"):
                offer(self.b, "CLOSE")
            with m.State("CLOSE"):
                m.d.sync += over.eq(over + 1)
                with m.If(over == toper.VERDICT_LATENCY):
                    m.d.comb += toper.close.eq(1)
                    m.next = "LIST"
            with m.State("LIST"):
                m.d.comb += [self.merged.valid.eq(toper.lists.valid),
                             toper.lists.ready.eq(self.merged.ready)]
                with m.If(self.merged.valid & self.merged.ready & self.merged.p.last):
                    m.next = "A"
        return m
