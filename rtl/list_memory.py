"""The list memory: a bank for each toper, so that all topers of a group store their lists at once.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.config import Config
from .delay import delay
from .ram import Ram

__all__ = ["ListMemory"]


class ListMemory(wiring.Component):
    """``toper_lanes`` banks of ``list_entries`` entries {id, value}.

    Members
    -------
    bank, address : In. An entry; ``entry`` shows it :data:`LATENCY` cycles later.
    entry : Out.
    first_{t} : In. Where the list of toper t begins, in its bank.
    index : In. The entry of the topers' lists that is written.
    write : In, a bit a bank; data_{t} : In.
    """

    #: Cycles from address to data.
    LATENCY = Ram.LATENCY

    def __init__(self, config: Config) -> None:
        self.config = config
        topers = config.toper_lanes
        self.entry_bits = config.id_bits + config.element_bits
        address = bits_for(config.list_entries - 1)
        super().__init__({
            "bank": In(range(topers)), "address": In(address), "entry": Out(self.entry_bits),
            "index": In(range(config.toper_registers)),
            "write": In(topers),
            **{f"first_{t}": In(address) for t in range(topers)},
            **{f"data_{t}": In(self.entry_bits) for t in range(topers)},
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        entries = []
        for t in range(config.toper_lanes):
            m.submodules[f"bank{t}"] = ram = Ram(self.entry_bits, config.list_entries)
            place = Signal(range(config.list_entries), name=f"place_{t}")
            m.d.comb += [
                place.eq(getattr(self, f"first_{t}") + self.index),
                ram.read_address.eq(self.address),
                ram.write_enable.eq(self.write[t]), ram.write_address.eq(place),
                ram.write_data.eq(getattr(self, f"data_{t}")),
            ]
            entries.append(ram.read_data)
        bank = delay(m, self.bank, self.LATENCY, "bank")
        m.d.comb += self.entry.eq(Array(entries)[bank])
        return m
