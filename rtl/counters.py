"""The performance counters: a LUT memory and two adders for all of them."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from ..golden.counters import FIELDS, Counter

__all__ = ["Counters", "Events"]

#: What each counter adds in one cycle.
Events = data.StructLayout({counter.name.lower(): bits for counter, (_, bits) in FIELDS.items()})


class Counters(wiring.Component):
    """Counts the bits of ``events``, each field in a counter of 32 bits that wraps.

    Events are gathered in a few flip-flops a counter. Each counter in its turn has them added to
    its word of the memory; a second adder makes the word that the host sees. So 17 counters cost
    two adders of 32 bits, and none of their own.

    Members
    -------
    events : In. Events of this cycle.
    count : In. They count.
    clear : In. Zero all counters; events of this cycle do not count.
    select : In. A :class:`tangente.golden.counters.Counter`.
    value : Out. That counter: ``select`` of the cycle before, events of two cycles before.
    seen : Out. The events that were counted, one cycle ago: for a logic analyser.
    """

    #: Cycles from an event to ``value``.
    LATENCY = 2

    def __init__(self) -> None:
        super().__init__({
            "events": In(Events), "count": In(1), "clear": In(1),
            "select": In(range(len(Counter))), "value": Out(32), "seen": Out(Events),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        count = len(Counter)
        m.submodules.memory = ram = memory.Memory(shape=32, depth=count, init=[])
        write, keep, show = ram.write_port(), *(ram.read_port(domain="comb") for _ in range(2))
        turn = Signal(range(count))
        m.d.sync += [self.seen.eq(Mux(self.count & ~self.clear, self.events, 0)),
                     turn.eq(Mux(turn == count - 1, 0, turn + 1))]
        gathered, known = [], []
        for counter in Counter:
            events = getattr(self.seen, counter.name.lower())
            few = Signal(range(count * ((1 << len(events)) - 1) + 1),
                         name=f"few_{counter.name.lower()}")
            has_word = Signal(name=f"has_word_{counter.name.lower()}")
            m.d.sync += few.eq(Mux(turn == counter, 0, few) + events)
            with m.If(turn == counter):
                m.d.sync += has_word.eq(1)
            with m.If(self.clear):
                m.d.sync += [few.eq(0), has_word.eq(0)]
            gathered.append(few)
            known.append(has_word)

        def total(port, address):
            m.d.comb += port.addr.eq(address)
            return Mux(Array(known)[address], port.data, 0) + Array(gathered)[address]

        m.d.comb += [write.addr.eq(turn), write.data.eq(total(keep, turn)),
                     write.en.eq(1)]
        m.d.sync += self.value.eq(total(show, self.select))
        return m
