"""TOP's sources: live inputs, and the queue of those that wait; see tangente.golden.lists."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.config import Config
from ..golden.flow import GROUP
from ..golden.lists import IN_FLIGHT
from .delay import delay
from .descriptor import Descriptor
from .list_scalar import Source
from .ram import Ram

__all__ = ["ListOffers", "offer_layout", "place_layout"]


def offer_layout(config: Config) -> data.StructLayout:
    """An offer on its way: ``alive``, the topers that take it; ``entry`` of its source's list;
    ``decides``, whether its verdict is its source's; ``place``, where its input stands among the
    live pairs, of which it is the odd one or not."""
    return data.StructLayout({
        "kind": Source, "alive": config.toper_lanes, "entry": bits_for(config.toper_registers),
        "decides": 1,
        "place": bits_for(config.queue_entries // 2 - 1), "odd": 1})


def place_layout(config: Config) -> data.StructLayout:
    """A live pair of inputs: its number and its first weight word, from their bases; its rank id's
    parts; where its first element's list lies: the other one's is in the next bank."""
    word = config.id_bits - 1 - config.lane_bits
    return data.StructLayout({
        "pair": bits_for(config.queue_entries // 2 - 1), "word": word,
        "lane": config.lane_bits, "tile": word, "bank": bits_for(config.toper_lanes - 1),
        "address": bits_for(config.list_entries - 1)})


class ListOffers(wiring.Component):
    """Finds the live inputs once, then offers sources, one a cycle.

    Members
    -------
    job, tiles : In. They stand; ``tiles`` of Q.
    scan : In. Find the live inputs (pulse); ``any``, Out: there is one, from the third cycle after
        the last of ``scanning`` on. Their places become known one pair a cycle, and offers wait for
        them.
    scanning, pair_address, group : Out, Out, In. Activations, in aligned groups of eight pairs,
        Ram.LATENCY later.
    rank, lazy : In. Offer each live input's weight; or own lists and registers (pulses).
    load : In. Send the shared list's entries instead (pulse); ``loading``, Out: they are on their
        way.
    valid : In, a bit a toper. Those of the group.
    issue, offer : Out. An offer leaves in this cycle.
    place, placed : In, Out. What stands at a place.
    taken : In. The topers take one in this cycle.
    judged : In. An offer, the cycle before its verdict.
    verdict, alive : In. What became of it, and which topers go on with it.
    idle : Out. All offers have been judged.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        offer, place = offer_layout(config), place_layout(config)
        super().__init__({
            "job": In(Descriptor()), "tiles": In(12),
            "scan": In(1), "any": Out(1), "scanning": Out(1), "pair_address": Out(17),
            "group": In(2 * config.element_bits * GROUP),
            "rank": In(1), "lazy": In(1), "load": In(1), "loading": Out(1),
            "valid": In(config.toper_lanes),
            "issue": Out(1), "offer": Out(offer),
            "place": In(place["pair"].shape), "placed": Out(place),
            "taken": In(1), "verdict": In(1), "judged": In(offer),
            "alive": In(config.toper_lanes), "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        depth = self.config.queue_entries // 2
        m.submodules.masks = masks = Memory(shape=2, depth=depth, init=[])
        m.submodules.places = places = Memory(
            shape=place_layout(self.config).size, depth=depth, init=[])
        for memory in (masks, places):
            memory.attrs["ram_style"] = "distributed"
        found = places.read_port(domain="comb")
        m.d.comb += [found.addr.eq(self.place), self.placed.eq(found.data)]
        # Live pairs that are known, and whether those are all.
        self._count, self._walked = Signal(range(depth + 1)), Signal()
        # One more is known from the next cycle on.
        self._counts = Signal()
        self._elaborate_scan(m, masks.write_port(), places.write_port())
        self._elaborate_issue(m, masks.read_port(domain="comb"))
        return m

    def _elaborate_scan(self, m: Module, masks, places) -> None:
        config, job, bits = self.config, self.job, self.config.element_bits
        pairs, skipped, size = (job.p + 1)[1:], job.g_base[:3], 2 * GROUP
        # Groups are read; which of their elements are positive, and the vector's, is kept.
        reading, last, first, left = self.scanning, Signal(), Signal(), Signal(13)
        m.d.comb += last.eq(left <= GROUP)
        with m.If(self.scan):
            m.d.sync += [reading.eq(1), first.eq(1), left.eq(pairs + skipped),
                         self.pair_address.eq(Cat(Const(0, 3), job.g_base[3:]))]
        with m.Elif(reading):
            m.d.sync += [first.eq(0), left.eq(left - GROUP), reading.eq(~last),
                         self.pair_address.eq(self.pair_address + GROUP)]
        arrived = delay(m, reading, Ram.LATENCY, "arrived")
        final = delay(m, last, Ram.LATENCY, "final")
        begins = delay(m, first, Ram.LATENCY, "begins")
        end = delay(m, Cat(~job.p[0], (pairs + skipped - 1)[:3]), 1, "end")
        there, kept, all_kept = Signal(size), Signal(size), Const((1 << size) - 1, size)
        elements = [self.group.word_select(e, bits) for e in range(size)]
        m.d.comb += [
            there.eq(Cat(~element[-1] & element.any() for element in elements)),
            kept.eq(there & Mux(final, all_kept >> ~end, all_kept)
                    & Mux(begins, all_kept << (skipped << 1), all_kept)),
        ]
        m.submodules.groups = groups = SyncFIFO(
            width=size, depth=config.queue_entries // size + 2)
        m.d.comb += [groups.w_en.eq(arrived), groups.w_data.eq(kept)]
        with m.If(self.scan):
            m.d.sync += self.any.eq(0)
        with m.Elif(arrived):
            m.d.sync += self.any.eq(self.any | kept.any())

        # The live pairs' places, one pair a cycle.
        place, number, slot = Signal(place_layout(config)), Signal(12), Signal(3)
        mask, walks, over = Signal(2), Signal(), Signal()
        m.d.comb += [
            mask.eq(groups.r_data.word_select(slot, 2)), walks.eq(groups.r_rdy),
            self._counts.eq(walks & mask.any()),
            groups.r_en.eq(over | (slot == GROUP - 1)),
        ]
        for port, value in ((masks, mask), (places, place)):
            m.d.comb += [port.addr.eq(self._count), port.data.eq(value),
                         port.en.eq(self._counts)]
        with m.If(self.scan):
            m.d.sync += [self._count.eq(0), self._walked.eq(0), number.eq(0), slot.eq(skipped),
                         over.eq(pairs == 1), place.eq(0), place.address.eq(job.r_base)]
        with m.Elif(walks):
            m.d.sync += [number.eq(number + 1), slot.eq(slot + 1), self._walked.eq(over),
                         over.eq(number + 2 == pairs)]
            m.d.sync += [self._count.eq(self._count + mask.any()), place.pair.eq(place.pair + 1),
                         place.word.eq(place.word + self.tiles), place.lane.eq(place.lane + 2),
                         place.bank.eq(place.bank + 2)]
            tile_ends = place.lane == config.lanes - 2
            with m.If((place.bank == config.toper_lanes - 2) | tile_ends):
                m.d.sync += [place.bank.eq(0), place.address.eq(place.address + job.r_stride)]
            with m.If(tile_ends):
                m.d.sync += [place.lane.eq(0), place.tile.eq(place.tile + 1)]

    def _elaborate_issue(self, m: Module, masks) -> None:
        config, job = self.config, self.job
        layout = offer_layout(config)
        # With each source, the number of its next offers less one, and whether that is zero: both
        # are long to find.
        ahead, rest = Signal(layout["entry"].shape), Signal(layout["entry"].shape)
        m.submodules.queue = queue = SyncFIFOBuffered(
            width=layout.size + len(ahead) + 1, depth=config.queue_entries)
        waiting, pushed = Signal(layout), Signal(layout)
        # The generator: own list, or the shared one's entries; then the live inputs.
        first, inputs, kind = Signal(), Signal(), Signal(Source)
        entry, place, odd = Signal(layout["entry"].shape), Signal.like(waiting.place), Signal()
        position = Signal(range(config.queue_entries // 2 + 1))
        generating, allowed, found = Signal(), Signal(), Signal()
        in_flight = Signal(range(IN_FLIGHT + 1))
        unfinished = Signal(range(config.queue_entries + 2))
        # None is; it is what the topers wait for.
        none = Signal(init=1)
        push, finished, last = Signal(), Signal(), Signal()
        both = masks.data == 3
        old, burst = data.View(layout, queue.r_data[:layout.size]), Signal.like(entry)
        following_entry, decides = Signal.like(entry), Signal()
        # Within its offers; the next of them is the last.
        amid, ends = Signal(), Signal()

        def length(kind):
            return Mux(kind == Source.OWN, job.f_stride, job.r_stride)

        m.d.comb += [
            masks.addr.eq(position), place.eq(position),
            odd.eq(Mux(both, entry[0], masks.data[1])),
            # A source that waits offers as many entries as it has offered before.
            following_entry.eq(old.entry + burst),
            decides.eq(Mux(amid, ends, queue.r_data[-1])),
            waiting.eq(old), waiting.entry.eq(following_entry),
            generating.eq(first | inputs),
            self.loading.eq(first & (kind == Source.SHARED)),
            allowed.eq((in_flight != IN_FLIGHT) | self.loading),
            self.issue.eq(allowed & (first | Mux(inputs, found, queue.r_rdy))),
            queue.r_en.eq(allowed & ~generating & decides),
        ]
        with m.If(generating):
            m.d.comb += [
                self.offer.kind.eq(kind), self.offer.alive.eq(self.valid),
                self.offer.entry.eq(Mux(first, entry, 0)), self.offer.decides.eq(1),
                self.offer.place.eq(Mux(first, 0, place)), self.offer.odd.eq(odd & ~first),
            ]
        with m.Else():
            m.d.comb += [self.offer.eq(waiting), self.offer.decides.eq(decides)]
        # The place after this one; whether this one is known stands in a register too.
        following, advance = Signal.like(position), Signal()
        m.d.comb += advance.eq(allowed & inputs & found & ~(both & ~entry[0]))
        with m.If(self.rank):
            m.d.sync += [inputs.eq(1), kind.eq(Source.RANK), position.eq(0), following.eq(1),
                         entry.eq(0)]
        with m.Elif(self.lazy):
            m.d.sync += [first.eq(job.flags.own), inputs.eq(job.flags.lists & self.any),
                         kind.eq(Mux(job.flags.own, Source.OWN, Source.REGISTERS)),
                         position.eq(0), following.eq(1), entry.eq(0)]
        with m.Elif(allowed & first):
            with m.If(self.loading & (entry + 1 != job.v_stride)):
                m.d.sync += entry.eq(entry + 1)
            with m.Else():
                m.d.sync += [first.eq(0), kind.eq(Source.REGISTERS)]
        with m.Elif(allowed & inputs & found):
            # The entry's low bit tells whether the pair's first one has gone.
            m.d.sync += entry.eq(~advance)
            with m.If(advance):
                m.d.sync += [position.eq(following), following.eq(following + 1),
                             inputs.eq(~((following == self._count) & self._walked))]
        with m.Elif(inputs & ~first & ~found & self._walked):
            m.d.sync += inputs.eq(0)
        # It comes when nothing else is going on.
        with m.If(self.load):
            m.d.sync += [first.eq(1), kind.eq(Source.SHARED), entry.eq(0)]

        known = Mux(self.rank | self.lazy, self._count != 0,
                    Mux(advance & ~first, following != self._count, found))
        m.d.sync += found.eq(known | self._counts)

        with m.If(self.issue & ~generating):
            m.d.sync += [burst.eq(Mux(decides, 0, burst + 1)), amid.eq(~decides),
                         ends.eq(burst + 1 == queue.r_data[layout.size:-1])]

        # What its verdict decides on is ready.
        judged, after = Signal(layout, reset_less=True), Signal.like(entry)
        m.d.comb += [
            after.eq(self.judged.entry + 1),
            # Until it is through, or has offered as many again.
            rest.eq(length(self.judged.kind) - self.judged.entry - 2),
        ]
        m.d.sync += [
            judged.eq(self.judged), judged.entry.eq(after),
            last.eq((self.judged.kind == Source.RANK) | (after == length(self.judged.kind))),
            ahead.eq(Mux(rest < self.judged.entry, rest, self.judged.entry)),
        ]
        decided = self.verdict & judged.decides
        m.d.comb += [
            push.eq(decided & self.alive.any() & ~last),
            finished.eq(decided & ~push),
            pushed.eq(judged), pushed.alive.eq(self.alive),
            queue.w_en.eq(push), queue.w_data.eq(Cat(pushed, ahead, ahead == 0)),
            self.idle.eq(~generating & none),
        ]
        counted = self.issue & ~self.loading
        begun = counted & generating
        with m.If(begun & ~finished):
            m.d.sync += none.eq(0)
        with m.Elif(finished & ~begun):
            m.d.sync += none.eq(unfinished == 1)
        m.d.sync += [
            in_flight.eq(in_flight + counted - self.taken),
            unfinished.eq(unfinished + begun - finished),
        ]
