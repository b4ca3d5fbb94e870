"""The accelerator with the AXI4 widths that the bus models of cocotbext-axi insist on."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tangente.golden.config import Config
from tangente.golden.registers import ADDRESS_BITS
from tangente.rtl.accelerator import Accelerator
from tangente.rtl.axi import Axi3, AxiLite

__all__ = ["AcceleratorEdge"]

#: Signals that AXI4 has in other widths.
_AXI4 = {"awlen": 8, "arlen": 8, "awlock": 1, "arlock": 1}


class AcceleratorEdge(wiring.Component):
    """Accelerator's ports, its master's bus widened to AXI4."""

    def __init__(self, config: Config) -> None:
        self._config = config
        bus = {name: member if name not in _AXI4 else Out(_AXI4[name])
               for name, member in Axi3().members.items()}
        super().__init__({
            "s_axil": In(AxiLite(ADDRESS_BITS)),
            "m_axi": Out(wiring.Signature(bus)),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        connect(m, flipped(self.s_axil), accelerator.s_axil)
        for name, member in Axi3().members.items():
            inner, outer = getattr(accelerator.m_axi, name), getattr(self.m_axi, name)
            m.d.comb += outer.eq(inner) if member.flow == wiring.Out else inner.eq(outer)
        m.d.comb += self.irq.eq(accelerator.irq)
        return m
