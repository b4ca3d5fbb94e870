"""Transfer with the AXI4 widths that the bus models of cocotbext-axi insist on."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tangente.golden.config import Config
from tangente.rtl.axi import Axi3
from tangente.rtl.transfer import LocalRead, LocalWrite, Transfer, TransferCommand

__all__ = ["TransferEdge"]

#: Signals that AXI4 has in other widths, or not at all.
_AXI4 = {"awlen": 8, "arlen": 8, "awlock": 1, "arlock": 1}


class TransferEdge(wiring.Component):
    """Transfer's ports, its bus widened to AXI4."""

    def __init__(self, config: Config) -> None:
        self._config = config
        bus = {name: member if name not in _AXI4 else Out(_AXI4[name])
               for name, member in Axi3().members.items()}
        super().__init__({
            "m_axi": Out(wiring.Signature(bus)),
            "command": In(stream.Signature(TransferCommand)),
            "local_write": Out(stream.Signature(LocalWrite)),
            "local_read": Out(stream.Signature(LocalRead)),
            "local_data": In(stream.Signature(unsigned(64))),
            "busy": Out(1),
            "idle": Out(1),
            "error_read": Out(1),
            "error_write": Out(1),
            "abandon": In(1),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.transfer = transfer = Transfer(self._config)
        for name, member in Axi3().members.items():
            inner, outer = getattr(transfer.m_axi, name), getattr(self.m_axi, name)
            m.d.comb += outer.eq(inner) if member.flow == wiring.Out else inner.eq(outer)
        connect(m, flipped(self.command), transfer.command)
        connect(m, transfer.local_write, flipped(self.local_write))
        connect(m, transfer.local_read, flipped(self.local_read))
        connect(m, flipped(self.local_data), transfer.local_data)
        m.d.comb += transfer.abandon.eq(self.abandon)
        for name in ("busy", "idle", "error_read", "error_write"):
            m.d.comb += getattr(self, name).eq(getattr(transfer, name))
        return m
