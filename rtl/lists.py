"""The list unit: weight registers. Runs SRT, TOP and SCT; twin of tangente.golden.lists.

TOP hands scalars to the array, whose lane units round the candidates of all neurons of a tile, and
the topers of a group take theirs. Times count from an offer's issue, see :data:`_TAKEN`.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.config import Config
from ..golden.flow import GROUP
from ..golden.lists import IN_FLIGHT, STORE_LEFT
from . import uop as stage
from .delay import delay
from .descriptor import Descriptor
from .list_check import Job, ListCheck
from .list_group import ListGroup
from .list_memory import ListMemory
from .list_offers import ListOffers, offer_layout, place_layout
from .list_products import ListProducts
from .list_scalar import ListScalar, Source
from .list_scatter import ListScatter
from .list_sort import ListSort, id_layout
from .ram import Ram
from .toper import Toper
from .uop import Uop

__all__ = ["ListUnit"]

#: From an offer's issue: its place has been looked up; list memory and pair memory have answered;
#: the scalar stands.
_PLACED = 2
_READ = _PLACED + Ram.LATENCY
_SCALAR = _READ + ListScalar.LATENCY
#: The micro-operation stands; so do its candidates; they are in the topers' queue.
_ISSUED = _SCALAR - 2
_CANDIDATE = _ISSUED + stage.ROW_WRITE + 1
_QUEUED = _CANDIDATE + 1


class ListUnit(wiring.Component):
    """Makes lists of vectors (SRT) and of neurons (TOP), and reads those of outputs out (SCT).

    Members
    -------
    start, kind, job : In. Begin (pulse); ``kind`` and ``job`` stand until it is over.
    done : Out. Over (pulse).
    fault : Out. An address is beyond its memory (pulse); it is over.
    scalar_address : Out, 17; scalar_data, scalar_group : In, 2E and 16E. A pair of the pair memory,
        and the aligned group of eight pairs with it, SRT's of the input memory if it says so,
        2 cycles later.
    uop : Out. To the array: the weight word; ``odd`` is the half, ``lane`` SCT's lane.
    u_scalar, v_scalar : Out, E. Two cycles after ``uop``: SCT's error; the scalar, SCT's value.
    values, value_clipped : In, lanes x E and lanes. Rounded candidates of all lanes.
    clipped : Out. Saturations in this cycle.
    store, store_entry : In; stored_id, stored_value : Out. STORE's reads of the list memory, two
        cycles later: bank after bank.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes, bits = config.lanes, config.element_bits
        super().__init__({
            "start": In(1), "kind": In(Job), "job": In(Descriptor()),
            "done": Out(1), "fault": Out(1),
            "scalar_address": Out(17), "scalar_data": In(2 * bits),
            "scalar_group": In(2 * bits * GROUP),
            "uop": Out(Uop), "u_scalar": Out(signed(bits)), "v_scalar": Out(signed(bits)),
            "values": In(lanes * bits), "value_clipped": In(lanes),
            "clipped": Out(bits_for(2 * config.toper_lanes + 1)),
            "store": In(1), "store_entry": In(16),
            "stored_id": Out(config.id_bits), "stored_value": Out(signed(bits)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job = self.config, self.job
        m.submodules.memory = self.memory = ListMemory(config)
        m.submodules.check = self.check = ListCheck(config)
        self.sort, self.offers = ListSort(config), ListOffers(config)
        # A fault stops what has begun beside the check.
        forget = ResetInserter(self.fault)
        m.submodules.sort, m.submodules.offers = forget(self.sort), forget(self.offers)
        m.submodules.scatter = self.scatter = ListScatter(config)
        m.submodules.products = self.products = ListProducts(config)
        m.submodules.group = self.group = ListGroup(config)
        self.topers = []
        for t in range(config.toper_lanes):
            m.submodules[f"toper{t}"] = toper = Toper(
                config.toper_registers, config.id_bits, config.element_bits)
            m.d.comb += toper.keep.eq(job.k)
            self.topers.append(toper)
        self.entry_id, self.entry_value = Signal(id_layout(config)), Signal(
            signed(config.element_bits))
        m.d.comb += [
            Cat(self.entry_value, self.entry_id).eq(self.memory.entry),
            self.check.start.eq(self.start), self.check.kind.eq(self.kind), self.check.job.eq(job),
            self.sort.job.eq(job), self.sort.tiles.eq(self.check.tiles), self.scatter.job.eq(job),
            self.offers.job.eq(job), self.offers.tiles.eq(self.check.tiles),
            self.products.keep.eq(job.k), self.products.length.eq(job.v_stride),
            self.group.kind.eq(self.kind), self.group.job.eq(job),
            self.group.tiles.eq(self.check.tiles), self.group.width.eq(self.check.width),
        ]
        # Whose pair is read, and whether SRT's or TOP's distinct ids are offered.
        self.looking, self.distinct, self.making_products = Signal(), Signal(), Signal()
        # The topers take what is queued.
        self.queued = Signal()
        self.look_address = Signal(17)
        self._elaborate_offers(m)
        self._elaborate_topers(m)
        self._elaborate_uop(m)
        self._elaborate_control(m, *self._elaborate_unload(m))
        return m

    # --- control ----------------------------------------------------------------------------------

    def _elaborate_control(self, m: Module, close, store, more, stored) -> None:
        job, group, offers = self.job, self.group, self.offers
        look, looked, wanted = Signal(), Signal(), Signal()
        self._elaborate_look(m, look, looked, wanted)
        loaded = Signal()
        # Of the present group; of the next one, whose weights are ranked beside products and lists.
        ranked, ahead, rank_ahead = Signal(), Signal(), Signal()
        shared, lazy, sorted_ = Signal(), Signal(), Signal()
        m.d.comb += [shared.eq(job.flags.shared & offers.any),
                     lazy.eq(job.flags.own | job.flags.lists & offers.any),
                     loaded.eq(~job.flags.shared | self.shared_loaded)]

        # What is only read begins beside the check, unless a vector is looked at.
        checked, bad = Signal(), Signal()
        m.d.comb += [bad.eq(self.check.done & ~self.check.good), self.fault.eq(bad)]
        with m.If(self.start):
            m.d.sync += checked.eq(0)
        with m.Elif(self.check.done):
            m.d.sync += checked.eq(1)
        # The topers forget what SRT has offered.
        with m.If(delay(m, bad, 4, "forget")):
            m.d.comb += close.eq(1)

        def begin() -> None:
            m.d.comb += group.start.eq(1)
            with m.If(self.kind == Job.SRT):
                m.d.comb += self.sort.start.eq(1)
                m.next = "SORT"
            with m.Else():
                m.d.comb += [offers.scan.eq(1), offers.load.eq(job.flags.shared)]
                m.next = "READ"

        def look_on() -> None:
            with m.If(looked & wanted):
                begin()
            with m.Elif(looked):
                m.d.comb += self.done.eq(1)
                m.next = "IDLE"

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.comb += look.eq(1)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.looking.eq(1)
                with m.If(self.check.counted & (self.kind != Job.SCT) & ~job.flags.wanted):
                    begin()
                with m.Elif(bad):
                    m.next = "IDLE"
                with m.Elif(self.check.done & (self.kind == Job.SCT)):
                    m.d.comb += self.scatter.start.eq(1)
                    m.next = "SCATTER"
                with m.Elif(self.check.done):
                    m.next = "LOOK"
                    look_on()
            with m.State("LOOK"):
                m.d.comb += self.looking.eq(1)
                look_on()
            with m.State("SCATTER"):
                with m.If(self.scatter.done):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("SORT"):
                m.d.comb += self.distinct.eq(1)
                with m.If(self.sort.over):
                    m.d.sync += sorted_.eq(1)
                with m.If(bad):
                    m.next = "IDLE"
                with m.Elif(checked & (self.sort.over | sorted_)):
                    m.d.comb += [close.eq(1), store.eq(1)]
                    m.d.sync += sorted_.eq(0)
                    m.next = "STORE"
            with m.State("READ"):
                with m.If(bad):
                    m.next = "IDLE"
                with m.Elif(~offers.scanning):
                    m.d.comb += group.tile.eq(1)
                    m.next = "LIVE"
            with m.State("LIVE"):
                with m.If(bad):
                    m.next = "IDLE"
                with m.Elif(group.known):
                    m.next = "GROUP"
            with m.State("GROUP"):
                with m.If(~checked):
                    with m.If(bad):
                        m.next = "IDLE"
                with m.Elif(group.any):
                    with m.If(~offers.loading):
                        m.d.comb += group.take.eq(1)
                        m.d.sync += ranked.eq(0)
                        m.next = "BEGIN"
                with m.Elif(group.last_tile):
                    with m.If(loaded & stored):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                with m.Else():
                    m.d.comb += group.tile.eq(1)
                    m.next = "LIVE"
            with m.State("BEGIN"):
                m.d.comb += group.move.eq(1)
                with m.If(shared & ~ranked):
                    m.d.comb += offers.rank.eq(1)
                    m.next = "RANK"
                with m.Else():
                    m.d.comb += offers.lazy.eq(1)
                    m.next = "OFFER"
            with m.State("RANK"):
                m.d.comb += [self.distinct.eq(1), self.queued.eq(1)]
                with m.If(offers.idle & ~more):
                    m.d.comb += [close.eq(1), self.products.start.eq(1),
                                 group.take.eq(group.any & ~lazy)]
                    m.d.sync += [ranked.eq(1), ahead.eq(group.take), rank_ahead.eq(group.take)]
                    m.next = "PRODUCTS"
            with m.State("PRODUCTS"):
                m.d.comb += [self.distinct.eq(1), self.making_products.eq(1),
                             offers.rank.eq(rank_ahead)]
                m.d.sync += rank_ahead.eq(0)
                with m.If(self.products.over):
                    with m.If(lazy):
                        m.next = "BEGIN"
                    with m.Else():
                        m.d.comb += [close.eq(1), store.eq(1)]
                        m.next = "GROUP"
                        with m.If(ahead):
                            m.d.comb += group.move.eq(1)
                            m.next = "RANK"
            with m.State("OFFER"):
                m.d.comb += self.queued.eq(1)
                with m.If(offers.idle & ~more):
                    m.d.comb += [close.eq(1), store.eq(1)]
                    m.next = "GROUP"
            with m.State("STORE"):
                with m.If(stored):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

    def _elaborate_look(self, m: Module, look, looked, wanted) -> None:
        """Flag.WANTED: the vector at Y_BASE, up to its first pair that is not zero.

        It is looked at beside the check.
        """
        job = self.job
        reading, left = Signal(), Signal(12)
        with m.If(look):
            m.d.sync += [reading.eq(1), left.eq((job.count - 1)[1:]),
                         self.look_address.eq(job.y_base)]
        with m.Elif(reading):
            m.d.sync += [left.eq(left - 1), self.look_address.eq(self.look_address + 1),
                         reading.eq(self.looking & (left != 0))]
        arrived = delay(m, reading & self.looking, Ram.LATENCY, "arrived")
        final = delay(m, left == 0, Ram.LATENCY, "final")
        found, ended, there = Signal(), Signal(), Signal()
        m.d.comb += there.eq(arrived & self.scalar_data.any())
        with m.If(look):
            m.d.sync += [found.eq(0), ended.eq(0)]
        with m.Else():
            m.d.sync += [found.eq(found | there), ended.eq(ended | arrived & final)]
        m.d.comb += [
            wanted.eq(~job.flags.wanted | found | there),
            looked.eq(wanted | ended | arrived & final),
        ]

    # --- offers -----------------------------------------------------------------------------------

    def _elaborate_offers(self, m: Module) -> None:
        """From an offer's issue to its candidates in the topers' queue."""
        config, job, offers = self.config, self.job, self.offers
        lanes, topers, bits = config.lanes, config.toper_lanes, config.element_bits
        layout = offer_layout(config)
        m.submodules.scalar = scalar = ListScalar(config)
        issued = [offers.issue]
        for cycle in range(_QUEUED):
            later = Signal(name=f"issued_{cycle + 1}")
            m.d.sync += later.eq(issued[-1])
            issued.append(later)
        offer = [data.View(layout, offers.offer.as_value())]
        for cycle in range(_QUEUED):
            offer.append(data.View(layout, delay(m, offer[-1].as_value(), 1, f"offer_{cycle}")))

        # Where its entry and its activation lie.
        place = data.View(place_layout(config),
                          delay(m, offers.placed.as_value(), _PLACED - 1, "place"))
        now, memory = offer[_PLACED], self.memory
        self.offer_address, self.offer_bank = Signal.like(memory.address), Signal.like(memory.bank)
        self.offer_pair = Signal(17)
        first = Mux(now.kind == Source.OWN, job.f_base,
                    Mux(now.kind == Source.SHARED, job.v_base, place.address))
        m.d.comb += [
            offers.place.eq(offer[1].place),
            self.offer_address.eq(first + now.entry),
            self.offer_bank.eq(Mux(now.kind == Source.REGISTERS, place.bank + now.odd, 0)),
            self.offer_pair.eq(job.g_base + place.pair),
        ]
        rank_id = Signal(id_layout(config))
        m.d.comb += [rank_id.word.eq(place.tile), rank_id.lane.eq(place.lane + now.odd)]
        rank_id = delay(m, rank_id.as_value(), Ram.LATENCY, "rank_id")
        ranks = Signal()
        m.d.comb += ranks.eq(offer[_READ].kind == Source.RANK)
        identity = Mux(ranks, rank_id, self.entry_id.as_value())
        odd = offer[_READ].odd
        m.d.comb += [
            scalar.kind.eq(offer[_READ].kind), scalar.sigmoid.eq(job.flags.sigmoid),
            scalar.entry.eq(self.entry_value),
            scalar.activation.eq(Mux(odd, self.scalar_data[bits:], self.scalar_data[:bits])),
            scalar.shifts.eq(Cat(job.e_shift, job.shift2, Const(0, 5), job.b_shift)),
        ]

        # The shared list stays with the products.
        identity = delay(m, identity, _SCALAR - _READ, "identity")
        kept, products = offer[_SCALAR], self.products
        self.shared_loaded = Signal()
        m.d.comb += [
            products.write.eq(issued[_SCALAR] & (kept.kind == Source.SHARED)),
            products.write_index.eq(kept.entry), products.write_id.eq(identity),
            products.write_value.eq(scalar.scalar),
        ]
        with m.If(offers.load):
            m.d.sync += self.shared_loaded.eq(0)
        with m.Elif(products.write & (kept.entry + 1 == job.v_stride)):
            m.d.sync += self.shared_loaded.eq(1)

        # One before the micro-operation stands.
        word = Signal(16)
        m.d.comb += word.eq(job.m_base + self.group.tile_number
                            + delay(m, place.word, _ISSUED - 1 - _PLACED, "word"))
        self.offer_word, self.offer_odd = word, offer[_ISSUED - 1].odd
        # An entry of the shared list goes to the products only.
        self.offer_issued = issued[_ISSUED - 1] & (offer[_ISSUED - 1].kind != Source.SHARED)
        self.offer_scalar = scalar.scalar

        # The candidates of the group's lanes.
        late = offer[_CANDIDATE]
        own = late.kind == Source.OWN
        own_scalar = delay(m, scalar.scalar.as_unsigned(), _CANDIDATE - _SCALAR, "own")
        candidates, clips = [], []
        for t in range(topers):
            row = self.group.rows.word_select(t, len(self.group.rows) // topers)
            # Of a lane of its own, or of the next toper's.
            mine, theirs = (Array(
                Cat(self.values[lane * bits:lane * bits + bits], self.value_clipped[lane])
                for lane in range(first, lanes, topers))[row] for first in (t, (t + 1) % topers))
            chosen = Mux(self.group.helps[t], theirs, mine)
            candidates.append(Mux(own, own_scalar, chosen[:bits]))
            clips.append(chosen[bits])
        identity = delay(m, identity, _CANDIDATE - _SCALAR, "late_identity")
        m.submodules.queue = self.queue = SyncFIFO(
            width=layout.size + config.id_bits + topers * bits, depth=IN_FLIGHT)
        queued = Signal(len(self.queue.w_data), reset_less=True)
        m.d.sync += queued.eq(Cat(late, identity, *candidates))
        assert len(Cat(*candidates)) == topers * bits
        queues = Signal()
        m.d.sync += queues.eq(issued[_CANDIDATE] & (late.kind != Source.SHARED))
        m.d.comb += [self.queue.w_en.eq(queues), self.queue.w_data.eq(queued)]
        self.counted = Signal(topers, reset_less=True)
        m.d.sync += self.counted.eq(Mux(
            issued[_CANDIDATE] & ((late.kind == Source.REGISTERS) | (late.kind == Source.RANK)),
            Cat(clips) & late.alive, 0))
        self.scalar_clips = scalar.clipped & issued[_SCALAR]

    def _elaborate_topers(self, m: Module) -> None:
        """Each toper's offer stands in a register; all take theirs together."""
        config, offers, products = self.config, self.offers, self.products
        topers, bits = config.toper_lanes, config.element_bits
        layout = offer_layout(config)
        held, from_queue = Signal(), Signal()
        offer, alive = Signal(layout), Signal(topers)
        take = Signal()
        waiting = data.View(layout, self.queue.r_data[:layout.size])
        identity = data.View(id_layout(config), self.queue.r_data[layout.size:][:config.id_bits])
        own = waiting.kind == Source.OWN
        word = Signal(self.entry_id.word.shape())
        m.d.comb += [
            # None is closed while an offer is held.
            take.eq(held & ~Cat(toper.busy for toper in self.topers).any()),
            self.queue.r_en.eq(self.queued & (~held | take)),
            from_queue.eq(self.queue.r_rdy & self.queue.r_en),
            word.eq(identity.word + Mux(own, self.group.tile_number, 0)),
        ]
        # Where none comes from the queue because one is held, that one is held on.
        m.d.sync += held.eq(held & ~take | self.queue.r_rdy & self.queued
                            | products.valid | self.sort.valid)
        with m.If(from_queue):
            m.d.sync += [offer.eq(waiting), alive.eq(waiting.alive)]
        with m.Elif(products.valid):
            m.d.sync += alive.eq(self.group.valid)
        with m.Elif(self.sort.valid):
            m.d.sync += alive.eq(1)
        for t, toper in enumerate(self.topers):
            mine = Signal(id_layout(config), name=f"id_{t}", reset_less=True)
            value = Signal(signed(bits), name=f"value_{t}", reset_less=True)
            lane = self.group.lanes.word_select(t, config.lane_bits)
            at = layout.size + config.id_bits + t * bits
            with m.If(from_queue):
                m.d.sync += [mine.word.eq(word), mine.half.eq(identity.half),
                             mine.lane.eq(identity.lane | Mux(own, lane, 0)),
                             value.eq(self.queue.r_data[at:at + bits])]
            with m.Elif(products.valid):
                m.d.sync += [mine.eq(getattr(products, f"id_{t}")),
                             value.eq(getattr(products, f"value_{t}"))]
            if t == 0:
                with m.Elif(self.sort.valid):
                    m.d.sync += [mine.eq(self.sort.id), value.eq(self.sort.value)]
            m.d.comb += [
                toper.offers.valid.eq(take & alive[t]), toper.offers.p.id.eq(mine),
                toper.offers.p.value.eq(value), toper.distinct.eq(self.distinct),
            ]
        taken = [take & (self.kind == Job.TOP) & ~self.making_products]
        for cycle in range(Toper.VERDICT_LATENCY):
            later = Signal(name=f"taken_{cycle + 1}")
            m.d.sync += later.eq(taken[-1])
            taken.append(later)
        verdicts = Cat(toper.alive for toper in self.topers)
        m.d.comb += [
            offers.taken.eq(taken[0]), offers.verdict.eq(taken[-1]), offers.alive.eq(verdicts),
            offers.judged.eq(delay(m, offer.as_value(), Toper.VERDICT_LATENCY - 1, "judged")),
            offers.valid.eq(self.group.chosen), products.alive.eq(verdicts.any()),
            self.sort.least.eq(self.topers[0].least),
        ]
        m.d.sync += self.clipped.eq(
            sum(self.counted) + sum(toper.clipped for toper in self.topers) + self.scalar_clips)

    def _elaborate_uop(self, m: Module) -> None:
        """To the array; and who reads the memories: one job at a time."""
        config, scatter, memory = self.config, self.scatter, self.memory
        scattering = self.kind == Job.SCT
        named = data.View(id_layout(config), scatter.issued_id)
        m.d.sync += [
            self.uop.valid.eq(Mux(scattering, scatter.issue, self.offer_issued)),
            self.uop.weight.eq(Mux(scattering, named.word, self.offer_word)),
            self.uop.odd.eq(Mux(scattering, named.half, self.offer_odd)),
            self.uop.lane.eq(named.lane), self.uop.first.eq(1), self.uop.last.eq(1),
            self.uop.final.eq(0),
        ]
        m.d.comb += [
            self.u_scalar.eq(delay(m, scatter.issued_error, 3, "scatter_error")),
            self.v_scalar.eq(Mux(scattering, delay(m, scatter.issued_value, 3, "scatter_value"),
                                 self.offer_scalar)),
            scatter.error_pair.eq(self.scalar_data), scatter.id.eq(self.entry_id),
            scatter.value.eq(self.entry_value),
            self.sort.group.eq(self.scalar_group),
            self.offers.group.eq(self.scalar_group), self.group.group.eq(self.scalar_group),
        ]
        with m.If(self.looking):
            m.d.comb += self.scalar_address.eq(self.look_address)
        with m.Elif(scattering):
            m.d.comb += self.scalar_address.eq(scatter.pair_address)
        with m.Elif(self.kind == Job.SRT):
            m.d.comb += self.scalar_address.eq(self.sort.address)
        with m.Elif(self.offers.scanning):
            m.d.comb += self.scalar_address.eq(self.offers.pair_address)
        with m.Elif(self.group.scanning):
            m.d.comb += self.scalar_address.eq(self.group.pair_address)
        with m.Else():
            m.d.comb += self.scalar_address.eq(self.offer_pair)
        entry_bits = len(memory.address)
        with m.If(self.store):
            m.d.comb += [memory.address.eq(self.store_entry),
                         memory.bank.eq(self.store_entry[entry_bits:])]
        with m.Elif(scattering):
            m.d.comb += [memory.address.eq(scatter.address), memory.bank.eq(scatter.bank)]
        with m.Else():
            m.d.comb += [memory.address.eq(self.offer_address), memory.bank.eq(self.offer_bank)]
        m.d.comb += [self.stored_id.eq(self.entry_id), self.stored_value.eq(self.entry_value)]

    # --- lists out --------------------------------------------------------------------------------

    def _elaborate_unload(self, m: Module):
        """The lists of a group: ranks to the products, or each to its bank, all at once.

        A toper that helps writes the next one's bank; that one's own list follows. The topers take
        the next offers beside it.
        """
        config, memory, products, group = self.config, self.memory, self.products, self.group
        topers = len(self.topers)
        close, store, stored = Signal(), Signal(), Signal()
        storing, more, number = Signal(), Signal(), Signal(range(config.toper_registers))
        # At first who helps writes, then who is helped.
        valid, firsts = Signal.like(group.valid), Signal.like(group.firsts, reset_less=True)
        helped, second = Signal.like(group.helped), Signal.like(group.second)
        again, last, final, left = Signal(), Signal(), Signal(), Signal.like(number)
        none_left = Signal()
        bits = len(memory.address)
        with m.If(store):
            m.d.sync += [storing.eq(1), number.eq(0), again.eq(0), helped.eq(group.helped),
                         second.eq(group.second), valid.eq(group.valid), firsts.eq(group.firsts),
                         final.eq(~group.second.any()), left.eq(self.job.k - 1),
                         none_left.eq(self.job.k[:len(left)] == 1)]
        with m.Elif(last):
            m.d.sync += [storing.eq(~final), number.eq(0), again.eq(1), helped.eq(0),
                         valid.eq(second), final.eq(1), left.eq(number), none_left.eq(number == 0)]
        with m.Elif(storing):
            m.d.sync += [number.eq(number + 1), left.eq(left - 1), none_left.eq(left == 1)]
        m.d.comb += [
            last.eq(storing & none_left), more.eq(storing & ~(last & final)),
            stored.eq(~storing | final & (left <= STORE_LEFT)),
            memory.index.eq(number),
            memory.write.eq(Mux(
                storing, (valid & helped).rotate_left(1) | valid & ~helped, 0)),
        ]
        entries = [Cat(toper.lists.p.value, toper.lists.p.id) for toper in self.topers]
        for t, (toper, entry) in enumerate(zip(self.topers, entries)):
            m.d.comb += [
                toper.close.eq(close),
                toper.lists.ready.eq(storing & (again | ~second[t]) | products.advance),
                getattr(memory, f"first_{t}").eq(
                    Mux(helped[t - 1], firsts.word_select((t - 1) % topers, bits),
                        firsts.word_select(t, bits))),
                getattr(memory, f"data_{t}").eq(Mux(helped[t - 1], entries[t - 1], entry)),
                getattr(products, f"weight_{t}").eq(entry),
                getattr(products, f"size_{t}").eq(toper.size),
            ]
        return close, store, more, stored
