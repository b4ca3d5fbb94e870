"""Dual-port block memories, with their output register (UG473: DOA_REG) or without it."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["DualRam", "Ram"]


class Ram(wiring.Component):
    """A memory of ``depth`` words with one read and one write port.

    A read of an address in the cycle of its write, or the cycle before, gives the old word.

    Parameters
    ----------
    width, depth : bits of a word, words.
    granularity : bits that one bit of ``write_enable`` writes; a divisor of ``width``.

    Members
    -------
    read_address : In. Word to read; ``read_data`` shows it :data:`LATENCY` cycles later.
    read_data : Out.
    early_data : Out. The same a cycle earlier, from the array: to be registered at once.
    write_enable : In, ``width / granularity`` bits.
    write_address, write_data : In.
    """

    #: Cycles from address to data: the array and its output register.
    LATENCY = 2

    def __init__(self, width: int, depth: int, granularity: int | None = None) -> None:
        self.granularity = granularity or width
        if width % self.granularity:
            raise ValueError(
                f"granularity must divide the width {width}, not {self.granularity!r}")
        self.width, self.depth = width, depth
        super().__init__({
            **self._more_members(width, width // self.granularity),
            "read_address": In(ceil_log2(depth)), "early_data": Out(width),
            "write_enable": In(width // self.granularity),
            "write_address": In(ceil_log2(depth)),
            "write_data": In(width),
        })

    @staticmethod
    def _more_members(width: int, enables: int) -> dict[str, wiring.Member]:
        return {"read_data": Out(width)}

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = ram = memory.Memory(shape=self.width, depth=self.depth, init=[])
        write = ram.write_port(granularity=self.granularity)
        read = ram.read_port()
        m.d.comb += [
            read.addr.eq(self.read_address), self.early_data.eq(read.data),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
        ]
        self._elaborate_more(m, ram)
        return m

    def _elaborate_more(self, m: Module, ram: memory.Memory) -> None:
        m.d.sync += self.read_data.eq(self.early_data)


class DualRam(Ram):
    """A :class:`Ram` whose reading port writes too (UG473: true dual port, at most 36 bits wide).

    So two writers need no multiplexer. They must not write the same word in the same cycle. It has
    no ``read_data``.

    Members
    -------
    load_enable : In, ``width / granularity`` bits. Writes ``load_data`` at ``read_address``.
    load_data : In.
    """

    @staticmethod
    def _more_members(width: int, enables: int) -> dict[str, wiring.Member]:
        return {"load_enable": In(enables), "load_data": In(width)}

    def _elaborate_more(self, m: Module, ram: memory.Memory) -> None:
        load = ram.write_port(granularity=self.granularity)
        m.d.comb += [load.addr.eq(self.read_address), load.data.eq(self.load_data),
                     load.en.eq(self.load_enable)]
