"""SRT's reader: the elements of a vector that may be among its largest, to one toper."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import GROUP
from ..golden.list_sort import SORT_AHEAD
from .delay import delay
from .descriptor import Descriptor
from .primitives import magnitude_above
from .ram import Ram

__all__ = ["ListSort", "id_layout"]

#: Elements of a group.
_ELEMENTS = 2 * GROUP
#: From the last group's look until the toper may be closed.
_OVER = 4


def id_layout(config: Config) -> data.StructLayout:
    """A weight's place."""
    return data.StructLayout({"lane": config.lane_bits, "half": 1,
                              "word": config.id_bits - 1 - config.lane_bits})


class ListSort(wiring.Component):
    """Reads a group of eight pairs a cycle; offers an element a cycle, larger than ``least``.

    Members
    -------
    start : In. Begin (pulse); ``job`` and ``tiles``, of Q, stand until it is over.
    address : Out, 17. Of a pair of the group that is read.
    group : In, 16E. The elements there, :data:`tangente.rtl.ram.Ram.LATENCY` later.
    least : In. Magnitudes above it may enter; ever rising.
    valid, id, value : Out. An offer, to be taken in this cycle.
    over : Out. The toper may be closed (pulse).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = config.element_bits
        super().__init__({
            "start": In(1), "job": In(Descriptor()), "tiles": In(12),
            "address": Out(17), "group": In(_ELEMENTS * bits), "least": In(bits - 1),
            "valid": Out(1), "id": Out(id_layout(config)), "value": Out(signed(bits)),
            "over": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        job, bits = self.job, self.config.element_bits
        skipped = job.s_base[:3]
        # Elements to the vector's last one, from the first of the group asked for, and of the
        # next one to be looked at; whether that is the first; whether the present one is the last.
        unread, left = Signal(signed(14)), Signal(14)
        fresh, final = Signal(), Signal()
        ahead = Signal(range(SORT_AHEAD + 1))
        m.submodules.groups = groups = SyncFIFO(width=len(self.group), depth=SORT_AHEAD)
        ask = Signal()
        m.d.comb += [
            ask.eq((unread > 0) & (ahead != SORT_AHEAD)),
            groups.w_en.eq(delay(m, ask, Ram.LATENCY, "asked")), groups.w_data.eq(self.group),
        ]

        # Which elements of the next group may enter: the vector's, above the toper's least.
        before = Const((1 << _ELEMENTS) - 1, 2 * _ELEMENTS) << (skipped << 1)
        behind = Const((1 << _ELEMENTS) - 1, 2 * _ELEMENTS) << left[:4]
        ends, above = Signal(), Signal(_ELEMENTS)
        m.d.comb += [
            ends.eq(left <= _ELEMENTS),
            above.eq(Cat(magnitude_above(m, platform, groups.r_data.word_select(e, bits),
                                         self.least, f"above_{e}") for e in range(_ELEMENTS))),
        ]
        allowed = (above & ~(before[_ELEMENTS:] & fresh.replicate(_ELEMENTS))
                   & ~(behind[:_ELEMENTS] & (ends & left[:4].any()).replicate(_ELEMENTS)))

        # Of the present group, those that are left, and the first of them, by blocks of four.
        group, held, pop = Signal.like(self.group, reset_less=True), Signal(), Signal()
        elements = [group.word_select(e, bits) for e in range(_ELEMENTS)]
        enters, first, following = Signal(_ELEMENTS), Signal(_ELEMENTS), Signal(_ELEMENTS)
        some, several = Signal(_ELEMENTS // 4), Signal(_ELEMENTS // 4)
        numbers, values = [], []
        for b in range(_ELEMENTS // 4):
            mine = enters.word_select(b, 4)
            number = _lowest(mine)
            numbers.append(number)
            values.append(Array(elements[4 * b:4 * b + 4])[number])
            m.d.comb += first.word_select(b, 4).eq(Cat(
                mine[i] & ~mine[:i].any() & ~some[:b].any() for i in range(4)))
            # Registers, since all else waits for them.
            then = following.word_select(b, 4)
            m.d.sync += [some[b].eq(then.any()), several[b].eq(_several(then))]
        block, later = Signal(2), Signal()
        number, value = Signal(4), Signal(bits)
        m.d.comb += [
            later.eq(several.any() | _several(some)), pop.eq(held & ~later),
            groups.r_en.eq(~held | ~later), block.eq(_lowest(some)),
            number.eq(Cat(Array(numbers)[block], block)), value.eq(Array(values)[block]),
        ]
        # The pair's place from the vector's first one on, in groups and pairs, makes the word.
        word, pair = Signal(self.id.word.shape()), Signal(signed(4))
        with m.If(groups.r_en):
            m.d.sync += [group.eq(groups.r_data), held.eq(groups.r_rdy)]
            with m.If(groups.r_rdy):
                m.d.sync += [left.eq(left - _ELEMENTS), fresh.eq(0), final.eq(ends)]
        m.d.comb += following.eq(Mux(groups.r_en, allowed, enters & ~first))
        m.d.sync += [
            enters.eq(following), self.valid.eq(held & some.any()), self.value.eq(value),
            self.id.half.eq(number[0]), pair.eq(number[1:] - skipped),
            ahead.eq(ahead + ask - pop),
        ]
        passed = Signal.like(word)
        m.d.sync += passed.eq(word)
        terms = [Mux(pair[b], self.tiles << b, 0) for b in range(3)]
        m.d.comb += self.id.word.eq(passed + terms[0] + terms[1] + terms[2]
                                    - Mux(pair[3], self.tiles << 3, 0))
        with m.If(ask):
            m.d.sync += [unread.eq(unread - _ELEMENTS), self.address.eq(self.address + GROUP)]
        with m.If(pop):
            m.d.sync += word.eq(word + (self.tiles << 3))
        with m.If(self.start):
            m.d.sync += [
                self.address.eq(job.s_base), word.eq(job.m_base),
                unread.eq(job.p + (skipped << 1)), left.eq(job.p + (skipped << 1)),
                fresh.eq(1),
            ]
        last = Signal()
        m.d.comb += last.eq(pop & final)
        ended = [last]
        for i in range(_OVER):
            ended.append(Signal(name=f"over_{i}"))
            m.d.sync += ended[-1].eq(ended[-2])
        m.d.comb += self.over.eq(ended[-1])
        return m


def _lowest(bits):
    """The number of the lowest of four that is set."""
    return Cat(~bits[0] & (bits[1] | ~bits[2]), ~bits[0] & ~bits[1])


def _several(bits):
    """Two of four are set."""
    return bits[0] & bits[1] | bits[2] & bits[3] | bits[:2].any() & bits[2:].any()
