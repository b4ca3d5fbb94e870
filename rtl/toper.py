"""The toper: registers kept sorted while candidates stream by; twin of tangente.golden.toper."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .primitives import above, equal

__all__ = ["Toper", "Entry", "ListEntry"]


def Entry(id_bits: int, value_bits: int) -> data.StructLayout:
    """An offer: ``id``, and ``value``, whose most negative code must not occur."""
    return data.StructLayout({"id": unsigned(id_bits), "value": signed(value_bits)})


def ListEntry(id_bits: int, value_bits: int) -> data.StructLayout:
    """An element of a list: an :func:`Entry`, all zero if its register is free; ``last`` of it."""
    return data.StructLayout(
        {"id": unsigned(id_bits), "value": signed(value_bits), "last": unsigned(1)})


def _chosen(bits: list[Value], index: Value) -> Value:
    """``bits[index]``, by multiplexers: a shift is nothing that sim/lanes.py folds."""
    for choice in index:
        bits = [Mux(choice, *few[::-1]) if len(few) == 2 else few[0] & ~choice
                for few in (bits[i:i + 2] for i in range(0, len(bits), 2))]
    return bits[0]


def _number(one_hot: list[Value]) -> Value:
    """The number of the bit that is set; 0 if none is."""
    bits = range(max(1, (len(one_hot) - 1).bit_length()))
    return Cat(Cat(one_hot[s] for s in range(len(one_hot)) if s >> b & 1).any() for b in bits)


class Toper(wiring.Component):
    """Keeps the ``keep`` largest magnitudes of what is offered, and sums equal ids.

    The rule is that of :func:`tangente.golden.toper.offer`. An entry's id and sign stay in the
    *slot* that it entered; sorted are *places*, each with a magnitude and the number of a slot, the
    largest first. The last place is the last of those in use, and the slot there is the one that is
    taken next. Three cycles of an offer:

    0. It is taken; its id is looked for in all slots.
    1. It enters, in front of all that are smaller, unless its id was found: then that slot goes to
       the last place as a free one, its value is added, and ``offers.ready`` is low.
    2. The verdict is given. A sum enters its slot, as an offer does.

    So distinct ids pass one a cycle, a held id takes two, and an offer every second cycle never
    waits. ``close`` copies the numbers of the slots, and the list is read out by them while the
    slots, free again, take the next stream: ids and values are memories of two halves.
    docs/toper.md has the area.

    Parameters
    ----------
    registers : slots, at least 1.
    id_bits : width of an id, at least 1.
    value_bits : width of a signed value, at least 2.
    summing : False leaves out what finds equal ids: no id may then be offered twice in a stream.

    Members
    -------
    keep : range(registers + 1), In. Slots in use, at least 1; it may change between the last entry
        of a list and the next offer.
    offers : stream of :func:`Entry`, In. Candidates. Its payload should come from registers.
    busy : unsigned(1), Out. The last offer's id is held: none is taken in this cycle.
    verdict_valid : unsigned(1), Out. High :data:`VERDICT_LATENCY` cycles after an offer was taken;
        the next four are low otherwise.
    entered, summed, alive : unsigned(1), Out. The offer entered; its id was held; either.
    distinct : unsigned(1), In. The id of this cycle's offer is held by no slot: it is not looked
        for, and so never waits.
    clipped : unsigned(1), Out. With ``summed``: the sum was clamped.
    least : unsigned(value_bits - 1), Out. The magnitude above which an offer is that is to enter:
        the last place's, as it was in the last cycle.
    close : unsigned(1), In. Pulse, after the last offer's verdict: ``lists`` is valid from the next
        cycle on, and offers from then on belong to the next stream; in this cycle they wait. What
        is left of the list before is lost.
    lists : stream of :func:`ListEntry`, Out. ``keep`` entries, the largest first.
    size : unsigned(value_bits - 1), Out. The magnitude of the present one.

    Raises
    ------
    ValueError
        If a parameter is too small.
    """

    #: Cycles from an offer to its verdict.
    VERDICT_LATENCY = 2

    def __init__(self, registers: int, id_bits: int, value_bits: int = 9, *,
                 summing: bool = True) -> None:
        for name, value, least in (("registers", registers, 1), ("id_bits", id_bits, 1),
                                   ("value_bits", value_bits, 2)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value!r}")
        self.registers, self.summing = registers, summing
        self._offer = data.StructLayout({
            "id": unsigned(id_bits), "size": unsigned(value_bits - 1), "sign": 1})
        self._slot_bits = max(1, (registers - 1).bit_length())
        super().__init__({
            "keep": In(range(registers + 1)), "distinct": In(1),
            "offers": In(stream.Signature(Entry(id_bits, value_bits))),
            "verdict_valid": Out(1), "entered": Out(1), "summed": Out(1), "alive": Out(1),
            "busy": Out(1), "clipped": Out(1), "least": Out(value_bits - 1),
            "close": In(1),
            "lists": Out(stream.Signature(ListEntry(id_bits, value_bits))),
            "size": Out(value_bits - 1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        registers, last = self.registers, self.registers - 1
        places, value = range(registers), self.offers.p.value
        sizes = [Signal(len(value) - 1, name=f"size_{i}") for i in places]
        slots = [Signal(self._slot_bits, init=i, name=f"slot_{i}") for i in places]
        # The offer taken in the last cycle, or the sum that its id came to; whether it was held.
        offer = Signal(self._offer)
        live, summing, found = Signal(), Signal(), Signal()
        take, enters, inserts = Signal(), Signal(), Signal()
        m.d.comb += [
            self.offers.ready.eq(~found & ~self.close), self.busy.eq(found),
            take.eq(self.offers.valid & self.offers.ready),
        ]
        m.d.sync += [live.eq(take & value.any()), summing.eq(found)]

        # What enters goes before those that are smaller, and they a place back.
        used, smaller = Signal(registers), Signal(registers)
        m.d.comb += [
            used.eq(Cat(self.keep > last - i for i in places)),
            smaller.eq(Cat(above(m, platform, used[i], offer.size, sizes[i], f"smaller_{i}")
                           for i in places)),
            enters.eq(live & ~found & smaller[last]), inserts.eq(summing | live & ~found),
        ]
        # What was found goes from its place, and those behind it a place forward.
        slot, here, behind = Signal(self._slot_bits), Signal(registers), Signal(registers)
        m.d.comb += [
            here.eq(Cat(used[i] & (slots[i] == slot) for i in places)),
            # One place and those behind it: a carry chain finds them.
            behind.eq(~(here - 1)),
        ]
        for i in places:
            entry, new = Cat(sizes[i], slots[i]), Cat(offer.size, slots[last])
            back = new if i == 0 else Mux(smaller[i - 1], Cat(sizes[i - 1], slots[i - 1]), new)
            moves = inserts & smaller[i]
            if self.summing:
                on = Cat(Const(0, len(sizes[i])), slot) if i == last else Cat(
                    sizes[i + 1], slots[i + 1])
                back, moves = Mux(found, on, back), Mux(found, behind[i], moves)
            with m.If(moves):
                m.d.sync += entry.eq(back)
            with m.If(self.close):
                m.d.sync += sizes[i].eq(0)
        m.d.sync += self.least.eq(sizes[last])

        # Ids and values, of this stream and of the list before it.
        half = Signal()
        m.d.sync += half.eq(half ^ self.close)
        names = self._slot_memory(m, "names", len(offer.id))
        values = self._slot_memory(m, "values", len(value))
        write = names.write_port()
        m.d.comb += [write.en.eq(enters), write.addr.eq(Cat(slots[last], half)),
                     write.data.eq(offer.id)]
        write = values.write_port()
        m.d.comb += [write.en.eq(enters | summing), write.addr.eq(Cat(slots[last], half)),
                     write.data.eq(Cat(offer.sign, offer.size))]
        magnitude = (value ^ value[-1].replicate(len(value)))[:-1] + value[-1]
        # What proofs speak of.
        self.state = SimpleNamespace(
            sizes=sizes, slots=slots, live=live, offer=offer, found=found, summing=summing,
            half=half)
        if self.summing:
            kept = values.read_port(domain="comb")
            m.d.comb += kept.addr.eq(Cat(slot, half))
            total = self._sum(m, kept.data, offer)
            self._elaborate_search(m, platform, take, enters, slot)
            with m.If(found):
                m.d.sync += [offer.size.eq(total.size), offer.sign.eq(total.sign)]
            with m.Else():
                m.d.sync += [offer.id.eq(self.offers.p.id), offer.size.eq(magnitude),
                             offer.sign.eq(value[-1])]
            m.d.sync += self.clipped.eq(found & total.clips)
        else:
            m.d.sync += [offer.id.eq(self.offers.p.id), offer.size.eq(magnitude),
                         offer.sign.eq(value[-1])]

        taken = Signal()
        m.d.sync += [taken.eq(take), self.verdict_valid.eq(taken), self.entered.eq(enters)]
        m.d.comb += [self.summed.eq(summing), self.alive.eq(self.entered | self.summed)]
        self._elaborate_list(m, enters, Cat(~half), names, values)
        return m

    def _slot_memory(self, m: Module, name: str, width: int) -> Memory:
        """Something of each slot, in LUTs: two halves."""
        memory = Memory(shape=width, depth=2 << self._slot_bits, init=[])
        memory.attrs["ram_style"] = "distributed"
        m.submodules[name] = memory
        return memory

    def _elaborate_search(self, m: Module, platform, take, enters, slot) -> None:
        """``found``: the offer's id is held; ``slot``: where.

        The offer is compared while it is taken, with what is held then: what enters or leaves in
        that cycle is accounted for in the next one.
        """
        state, identity = self.state, self.offers.p.id
        offer, at = state.offer, state.slots[-1]
        ids = [Signal(len(identity), name=f"id_{s}", reset_less=True)
               for s in range(self.registers)]
        held = Signal(self.registers)
        for s in range(self.registers):
            # The id of a sum is the one that is held.
            with m.If((enters | state.summing) & (at == s)):
                m.d.sync += [ids[s].eq(offer.id), held[s].eq(offer.size.any())]
        with m.If(self.close):
            m.d.sync += held.eq(0)
        hits = Signal(self.registers)
        m.d.comb += hits.eq(Cat(equal(m, platform, held[s], ids[s], identity, f"hit_{s}")
                                for s in range(self.registers)))
        looked, hit, again, gone = Signal(), Signal(), Signal(), Signal()
        place, before, last = Signal.like(slot), Signal.like(slot), Signal()
        m.d.sync += [
            looked.eq(take & self.offers.p.value.any() & ~self.distinct), hit.eq(hits.any()),
            place.eq(_number(hits)), before.eq(at),
            # What entered is the same; the slot was taken, or freed, if it is the last place's.
            again.eq(enters & (offer.id == identity)),
            gone.eq(enters | state.summing & ~offer.size.any()),
            last.eq(_chosen(list(hits), at)),
        ]
        m.d.comb += [
            state.found.eq(looked & (again | hit & ~(gone & last))),
            slot.eq(Mux(again, before, place)),
        ]
        state.ids, state.held, state.slot = ids, held, slot

    def _sum(self, m: Module, kept, offer) -> SimpleNamespace:
        """What a slot holds and the offer, added and clamped.

        That is the sum of the magnitudes, or the one of the two differences that is not negative.
        """
        sign, size = kept[0], kept[1:]
        opposed = sign ^ offer.sign
        bits = len(size)
        added, one, other = Signal(bits + 1), Signal(bits + 1), Signal(bits + 1)
        m.d.comb += [
            added.eq(size + offer.size), one.eq(size - offer.size), other.eq(offer.size - size)]
        difference = Mux(one[-1], other[:-1], one[:-1])
        return SimpleNamespace(
            sign=Mux(opposed & one[-1], offer.sign, sign), clips=~opposed & added[-1],
            size=Mux(opposed, difference, added[:-1] | added[-1].replicate(bits)))

    def _elaborate_list(self, m: Module, enters, half, names, values) -> None:
        """The list of the last stream: place by place, as many as are used."""
        registers, state = self.registers, self.state
        kept = [Signal(self._slot_bits, name=f"kept_{i}") for i in range(registers)]
        # Places that hold something, of this stream, and of the list from the present place on.
        count, full = Signal(range(registers + 1)), Signal(range(registers + 1))
        place = Signal(range(registers + 1), init=registers)
        with m.If(self.close):
            m.d.sync += count.eq(0)
        with m.Elif(enters & ~state.sizes[-1].any()):
            m.d.sync += count.eq(count + 1)
        if self.summing:
            with m.Elif(state.found):
                m.d.sync += count.eq(count - 1)
            with m.Elif(state.summing & state.offer.size.any()):
                m.d.sync += count.eq(count + 1)
        there = full != 0
        m.d.comb += [self.lists.valid.eq(place != registers),
                     self.lists.p.last.eq(place == registers - 1)]
        with m.If(self.close):
            m.d.sync += [place.eq(registers - self.keep), full.eq(count)]
            m.d.sync += [one.eq(slot) for one, slot in zip(kept, state.slots)]
        with m.Elif(self.lists.valid & self.lists.ready):
            m.d.sync += [place.eq(place + 1), full.eq(Mux(there, full - 1, 0))]
        name, value = names.read_port(domain="comb"), values.read_port(domain="comb")
        slot = Array(kept)[place[:self._slot_bits]]
        m.d.comb += [port.addr.eq(Cat(slot, half)) for port in (name, value)]
        sign = value.data[0] & there
        size = value.data[1:] & there.replicate(len(value.data) - 1)
        m.d.comb += [
            self.size.eq(size),
            self.lists.p.id.eq(name.data & there.replicate(len(name.data))),
            self.lists.p.value.eq((size ^ sign.replicate(len(size) + 1)) + sign),
        ]
        state.kept, state.full, state.place, state.count = kept, full, place, count
