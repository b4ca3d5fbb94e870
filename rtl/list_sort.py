"""SRT's reader: the elements of a vector that may be among its largest, to one toper."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.lists import SORT_AHEAD
from .delay import delay
from .descriptor import Descriptor
from .ram import Ram

__all__ = ["ListSort", "id_layout"]

#: Elements of a beat of inputs.
_BEAT = 8
#: From the last offer until the toper may be closed.
_OVER = 3


def id_layout(config: Config) -> data.StructLayout:
    """A weight's place."""
    return data.StructLayout({"lane": config.lane_bits, "half": 1,
                              "word": config.id_bits - 1 - config.lane_bits})


class ListSort(wiring.Component):
    """Reads a beat of inputs, or a pair, a cycle; offers an element a cycle, larger than ``least``.

    Members
    -------
    start : In. Begin (pulse); ``job`` and ``tiles``, of Q, stand until it is over.
    address : Out, 17. Of a pair, or of the first pair of a beat.
    pair, beat : In, 2E and 64 bits. What is there, :data:`tangente.rtl.ram.Ram.LATENCY` later.
    least : In. Magnitudes above it may enter; ever rising.
    valid, id, value : Out. An offer, to be taken in this cycle.
    over : Out. The toper may be closed (pulse).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = config.element_bits
        super().__init__({
            "start": In(1), "job": In(Descriptor()), "tiles": In(12),
            "address": Out(17), "pair": In(2 * bits), "beat": In(8 * _BEAT),
            "least": In(bits - 1),
            "valid": Out(1), "id": Out(id_layout(config)), "value": Out(signed(bits)),
            "over": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        job, bits = self.job, self.config.element_bits
        beats = job.flags.input
        # Elements from the unit's first one to the vector's last, where units are asked for and
        # where they are looked at; the first unit's elements before the vector.
        unread, left = Signal(signed(14)), Signal(14)
        before, done = Signal(3), Signal(_BEAT)
        ahead = Signal(range(SORT_AHEAD + 1))
        unit = Mux(beats, Const(_BEAT, 4), Const(2, 4))
        m.submodules.units = units = SyncFIFO(width=8 * _BEAT, depth=SORT_AHEAD)
        ask = Signal()
        m.d.comb += [
            ask.eq((unread > 0) & (ahead != SORT_AHEAD)),
            units.w_en.eq(delay(m, ask, Ram.LATENCY, "asked")),
            units.w_data.eq(Mux(beats, self.beat, self.pair)),
        ]

        # Of a unit: magnitudes and signs, and which may enter.
        sizes, signs = [], []
        for e in range(_BEAT):
            byte = units.r_data[8 * e:8 * e + 8]
            if e < 2:
                element = units.r_data[e * bits:e * bits + bits].as_signed()
                size = Mux(beats, byte, abs(element))
                signs.append(~beats & element[-1])
            else:
                size = byte
                signs.append(Const(0))
            sizes.append(size[:bits - 1])
        enters, above = Signal(_BEAT), Signal(_BEAT)
        for e, size in enumerate(sizes):
            there = (left > e) & ~done[e]
            if e < _BEAT - 1:
                there &= before <= e
            if e >= 2:
                there &= beats
            m.d.comb += enters[e].eq(there & (size > self.least))
        picked = Signal(range(_BEAT))
        for e in reversed(range(_BEAT)):
            with m.If(enters[e]):
                m.d.comb += [picked.eq(e), above.eq((-1 << e + 1) & 0xFF)]
        later, pop = Signal(), Signal()
        size = Array(sizes)[picked]
        word = Signal(self.id.word.shape())
        m.d.comb += [
            later.eq((enters & above).any()), pop.eq(units.r_rdy & ~later), units.r_en.eq(pop),
            self.valid.eq(units.r_rdy & enters.any()),
            self.value.eq(Mux(Array(signs)[picked], -size, size)),
            self.id.half.eq(picked[0]),
            self.id.word.eq(word + Array(self.tiles * i for i in range(_BEAT // 2))[picked[1:]]),
        ]
        m.d.sync += ahead.eq(ahead + ask - pop)
        with m.If(ask):
            m.d.sync += [unread.eq(unread - unit),
                         self.address.eq(self.address + Mux(beats, _BEAT // 2, 1))]
        with m.If(pop):
            m.d.sync += [done.eq(0), before.eq(0), left.eq(Mux(left > unit, left - unit, 0)),
                         word.eq(word + Mux(beats, self.tiles << 2, self.tiles))]
        with m.Elif(units.r_rdy):
            m.d.sync += done.eq(~above)
        with m.If(self.start):
            skipped = Mux(beats, job.s_base[:2], 0)
            m.d.sync += [
                self.address.eq(Cat(Mux(beats, 0, job.s_base[:2]), job.s_base[2:])),
                unread.eq(job.p + (skipped << 1)), left.eq(job.p + (skipped << 1)),
                before.eq(skipped << 1), done.eq(0),
                word.eq(job.m_base - Array(self.tiles * i for i in range(_BEAT // 2))[skipped]),
            ]
        last = Signal()
        m.d.comb += last.eq(pop & (left <= unit))
        ended = [last]
        for i in range(_OVER):
            ended.append(Signal(name=f"over_{i}"))
            m.d.sync += ended[-1].eq(ended[-2])
        m.d.comb += self.over.eq(ended[-1])
        return m
