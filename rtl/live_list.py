"""The list of live activations: the neurons of the layer below that have a slope (DRV)."""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import GROUP
from ..golden.isa import LIVE_MAX
from .ones import ones
from .scanner import lowest, place, within

__all__ = ["LiveList"]


class LiveList(wiring.Component):
    """Collects the activations of a vector that are not zero, in order.

    Groups of eight pairs are read one after the other; each takes a cycle for each live activation,
    and at least four. Cycles are those of :func:`tangente.golden.flow.live_list`.

    Members
    -------
    start : In. Begin (pulse).
    base, pairs : In. First pair of the vector, pairs; they stand until ``done``.
    reading : Out. ``group`` is to be read.
    group : Out, 16; group_data : In, 16 E. Two cycles later.
    count : Out. Activations found so far.
    done : Out. The list is complete; until the next ``start``.
    entry : In. neuron, activation : Out. The entry's neuron, and its activation, in this cycle.
    reset_job : In. Forget the job.
    """

    def __init__(self, config: Config) -> None:
        self.bits = config.element_bits
        self._entry = data.StructLayout({
            "neuron": range(LIVE_MAX), "activation": signed(config.element_bits)})
        super().__init__({
            "start": In(1), "base": In(16), "pairs": In(12),
            "reading": Out(1), "group": Out(16), "group_data": In(2 * GROUP * self.bits),
            "count": Out(range(LIVE_MAX + 1)), "done": Out(1, init=1),
            "entry": In(range(LIVE_MAX)), "neuron": Out(range(LIVE_MAX)),
            "activation": Out(signed(self.bits)), "reset_job": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        size = 2 * GROUP
        group = data.StructLayout({
            "live": size, "first": range(LIVE_MAX), "values": size * self.bits})
        end = Signal(18)
        row, active, fresh, last = Signal(16), Signal(), Signal(), Signal()
        first = Signal(range(LIVE_MAX))
        outstanding = Signal(2)
        following, current = Signal(group), Signal(group)
        waiting, held = Signal(), Signal()
        m.d.comb += [
            end.eq(self.base + self.pairs - 1), last.eq(row == end >> 3),
            self.reading.eq(active & ~outstanding.any() & ~waiting), self.group.eq(row),
        ]
        asked_fresh, asked_last = Signal(), Signal()
        m.d.sync += outstanding.eq(Cat(self.reading, outstanding[0]))
        with m.If(self.reading):
            m.d.sync += [row.eq(row + 1), fresh.eq(0), asked_fresh.eq(fresh), asked_last.eq(last)]
            with m.If(last):
                m.d.sync += active.eq(0)
        pushes, over, takes = Signal(), Signal(), Signal()
        # How many of the group's are left.
        left = Signal(range(size + 1))
        m.d.comb += [
            pushes.eq(held & (left != 0)), over.eq(held & (left <= 1)),
            takes.eq(waiting & (over | ~held)),
        ]
        # A register, since all that waits for the list starts from here.
        with m.If(over & ~waiting & ~active & ~outstanding.any()):
            m.d.sync += self.done.eq(1)
        with m.If(held):
            m.d.sync += [current.live.eq(current.live & (current.live - 1)), left.eq(left - 1)]
        with m.If(over):
            m.d.sync += held.eq(0)
        with m.If(takes):
            m.d.sync += [current.eq(following), left.eq(ones(following.live)), held.eq(1),
                         waiting.eq(0)]
        inside = within(asked_fresh, self.base[:3], asked_last, end[:3])
        with m.If(outstanding[1]):
            values = [self.group_data[k * self.bits:(k + 1) * self.bits] for k in range(size)]
            m.d.sync += [
                waiting.eq(1), following.values.eq(self.group_data), following.first.eq(first),
                first.eq(first + size),
                following.live.eq(Cat(value.any() & inside.bit_select(k // 2, 1)
                                      for k, value in enumerate(values))),
            ]
        m.submodules.entries = entries = Memory(shape=self._entry, depth=LIVE_MAX, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb")
        chosen = place(lowest(current.live))
        # An entry is written the cycle after it is found, and read later still.
        m.d.sync += [
            write.en.eq(pushes), write.addr.eq(self.count),
            write.data.neuron.eq(current.first + chosen),
            write.data.activation.eq(Choice(
                [current.values[k * self.bits:(k + 1) * self.bits] for k in range(size)])[chosen]),
        ]
        m.d.comb += [
            read.addr.eq(self.entry), self.neuron.eq(read.data.neuron),
            self.activation.eq(read.data.activation),
        ]
        m.d.sync += self.count.eq(self.count + pushes)
        with m.If(self.start):
            m.d.sync += [active.eq(1), fresh.eq(1), self.done.eq(0),
                         row.eq(self.base >> 3), self.count.eq(0),
                         first.eq(-(self.base[:3] << 1))]
        with m.If(self.reset_job):
            m.d.sync += [active.eq(0), outstanding.eq(0), waiting.eq(0), held.eq(0),
                         self.done.eq(1)]
        return m
