"""The toper: registers kept sorted while candidates stream by; twin of tangente.golden.toper."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Toper", "Entry", "ListEntry"]


def Entry(id_bits: int, value_bits: int) -> data.StructLayout:
    """An offer: ``id``, and ``value``, whose most negative code must not occur."""
    return data.StructLayout({"id": unsigned(id_bits), "value": signed(value_bits)})


def ListEntry(id_bits: int, value_bits: int) -> data.StructLayout:
    """An element of a list: an :func:`Entry`, all zero if its register is free; ``last`` of it."""
    return data.StructLayout(
        {"id": unsigned(id_bits), "value": signed(value_bits), "last": unsigned(1)})


def _less(one: Value, other: Value) -> Value:
    """one < other, in LUTs: a carry chain takes one for each bit."""
    if len(one) == 1:
        return ~one & other
    half = len(one) // 2
    high, low = (one[half:], other[half:]), (one[:half], other[:half])
    return _less(*high) | (high[0] == high[1]) & _less(*low)


def _any_of(words: list[Value]) -> Value:
    """Their bitwise or."""
    return words[0] if len(words) == 1 else (
        _any_of(words[:len(words) // 2]) | _any_of(words[len(words) // 2:]))


def _number(one_hot: Value) -> Value:
    """The number of the bit that is set."""
    bits = range(max(1, (len(one_hot) - 1).bit_length()))
    return Cat(Cat(one_hot[s] for s in range(len(one_hot)) if s >> b & 1).any() for b in bits)


class _Order:
    """Which of two slots is before the other: a bit for each pair."""

    def __init__(self, m: Module, slots: int, name: str) -> None:
        self._slots = range(slots)
        self._bits = {(i, j): Signal(name=f"{name}_{i}_{j}")
                      for j in self._slots for i in range(j)}

    def before(self, i: int, j: int) -> Value:
        """Slot i is before slot j."""
        return self._bits[i, j] if i < j else ~self._bits[j, i]

    def is_behind(self, slot: int) -> Value:
        """All others are before it."""
        return Cat(Const(1), *(self.before(s, slot) for s in self._slots if s != slot)).all()

    def is_first(self, slot: int, gone: Value) -> Value:
        """It is not gone, and before all others that are not."""
        return Cat(~gone[slot], *(gone[s] | self.before(slot, s)
                                  for s in self._slots if s != slot)).all()

    def put(self, m: Module, changes: Value, smaller: Value, clear: Value) -> None:
        """The slot that changes, if one does, is in front of those that are smaller."""
        for (i, j), bit in self._bits.items():
            stays = ~changes[i] & ~changes[j] & bit
            m.d.sync += bit.eq(
                ~clear & (changes[i] & smaller[j] | changes[j] & ~smaller[i] | stays))

    def copy(self, m: Module, other: _Order) -> None:
        """Be as another one is."""
        for pair, bit in self._bits.items():
            m.d.sync += bit.eq(other._bits[pair])


class Toper(wiring.Component):
    """Keeps the ``keep`` largest magnitudes of what is offered, and sums equal ids.

    The rule is that of :func:`tangente.golden.toper.offer`. An entry stays in the *slot* that it
    entered, and nothing is sorted: of any two slots a bit tells which one is before the other, by
    falling magnitude, free ones last. Who enters takes the slot that is behind all others, and is
    put in front of all that are smaller. Three cycles of an offer:

    0. It is taken; its id is looked for in all slots.
    1. It enters, unless its id was found: then the value of that slot is read and added, and
       ``offers.ready`` is low.
    2. The verdict is given. A sum stands in its slot, and is put among the others anew.

    So distinct ids pass one a cycle, a held id takes two, and an offer every second cycle never
    waits. ``close`` copies the order, and the list is read out of it while the slots, free again,
    take the next stream: ids and values are memories of two halves. docs/toper.md has the area.

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
    verdict_valid : unsigned(1), Out. High :data:`VERDICT_LATENCY` cycles after an offer was taken;
        the next four are low otherwise.
    entered, summed, alive : unsigned(1), Out. The offer entered; its id was held; either.
    distinct : unsigned(1), In. The id of this cycle's offer is held by no slot: it is not looked
        for, and so never waits.
    clipped : unsigned(1), Out. With ``summed``: the sum was clamped.
    least : unsigned(value_bits - 1), Out. The magnitude above which an offer is that is to enter:
        the last slot's, as it was in the last cycle.
    close : unsigned(1), In. Pulse, after the last offer's verdict: ``lists`` is valid from the next
        cycle on, and offers from then on belong to the next stream; in this cycle they wait. What
        is left of the list before is lost.
    lists : stream of :func:`ListEntry`, Out. ``keep`` entries, the largest first.

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
            "clipped": Out(1), "least": Out(value_bits - 1),
            "close": In(1),
            "lists": Out(stream.Signature(ListEntry(id_bits, value_bits))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        slots = range(self.registers)
        value = self.offers.p.value
        sizes = [Signal(len(value) - 1, name=f"size_{s}") for s in slots]
        ids = [Signal(len(self.offers.p.id), name=f"id_{s}", reset_less=True) for s in slots]
        held, hits = Signal(self.registers), Signal(self.registers)
        # Of slots i < j: i is before j. At first the last one in number is before all, so that
        # those that are not in use are never behind.
        order = _Order(m, self.registers, "order")
        # The offer taken in the last cycle; the sum of the one before it, and its slot.
        live, found, offer = Signal(), Signal(), Signal(self._offer)
        summing, total, summed = Signal(), Signal(self._offer), Signal(self.registers)
        take = Signal()
        m.d.comb += [
            found.eq(hits.any()),
            self.offers.ready.eq(~(live & found) & ~self.close),
            take.eq(self.offers.valid & self.offers.ready),
        ]
        m.d.sync += [
            live.eq(take & value.any()),
            offer.id.eq(self.offers.p.id),
            offer.size.eq((value ^ value[-1].replicate(len(value)))[:-1] + value[-1]),
            offer.sign.eq(value[-1]),
        ]

        # What enters, or is summed: which slots are smaller, and its own.
        used, behind = Signal(self.registers), Signal(self.registers)
        entrant, smaller = Signal.like(offer.size), Signal(self.registers)
        enters, chosen, changes = Signal(), Signal(self.registers), Signal(self.registers)
        m.d.comb += [
            used.eq(Cat(self.keep > s for s in slots)),
            behind.eq(Cat(order.is_behind(s) for s in slots)),
            entrant.eq(Mux(summing, total.size, offer.size)),
            smaller.eq(Cat(used[s] & _less(sizes[s], entrant) for s in slots)),
            enters.eq(live & ~found & smaller.any()),
            chosen.eq(Mux(summing, summed, behind)),
            changes.eq(chosen & (summing | enters).replicate(self.registers)),
        ]
        m.d.sync += self.least.eq(_any_of([Mux(behind[s], sizes[s], 0) for s in slots]))
        order.put(m, changes, smaller, self.close)
        for s in slots:
            with m.If(self.close):
                m.d.sync += [sizes[s].eq(0), held[s].eq(0)]
            with m.Elif(changes[s]):
                m.d.sync += [sizes[s].eq(entrant), held[s].eq(~summing | total.size.any())]
            with m.If(enters & behind[s]):
                m.d.sync += ids[s].eq(offer.id)

        # Ids and values, of this stream and of the list before it.
        half = Signal()
        m.d.sync += half.eq(half ^ self.close)
        place = Cat(_number(chosen), half)
        names = self._slot_memory(m, "names", len(offer.id))
        values = self._slot_memory(m, "values", len(value))
        write = names.write_port()
        m.d.comb += [write.en.eq(enters), write.addr.eq(place), write.data.eq(offer.id)]
        write = values.write_port()
        m.d.comb += [write.en.eq(enters | summing), write.addr.eq(place),
                     write.data.eq(Cat(Mux(summing, total.sign, offer.sign), entrant))]
        if self.summing:
            # An id is looked for while it is taken, what enters or leaves in that cycle included.
            again, kept = offer.id == self.offers.p.id, values.read_port(domain="comb")
            for s in slots:
                stays = held[s] & ~(summing & summed[s] & ~total.size.any())
                m.d.sync += hits[s].eq(~self.distinct & Mux(
                    enters & behind[s], again, stays & (ids[s] == self.offers.p.id)))
            m.d.comb += kept.addr.eq(Cat(_number(hits), half))
            m.d.sync += [summing.eq(live & found), summed.eq(hits)]
            self._elaborate_sum(m, kept.data, offer, total)
            m.d.sync += self.clipped.eq(live & found & self._clips)

        taken = Signal()
        m.d.sync += [taken.eq(take), self.verdict_valid.eq(taken), self.entered.eq(enters)]
        m.d.comb += [self.summed.eq(summing), self.alive.eq(self.entered | self.summed)]
        # What proofs speak of.
        self.state = SimpleNamespace(
            sizes=sizes, ids=ids, held=held, live=live, offer=offer, hits=hits, summing=summing,
            summed=summed, total=total, order=order, half=half)
        self._elaborate_list(m, order, held, used, Cat(~half), names, values)
        return m

    def _slot_memory(self, m: Module, name: str, width: int) -> Memory:
        """Something of each slot, in LUTs: two halves."""
        memory = Memory(shape=width, depth=2 << self._slot_bits, init=[])
        memory.attrs["ram_style"] = "distributed"
        m.submodules[name] = memory
        return memory

    def _elaborate_sum(self, m: Module, kept, offer, total) -> None:
        """``total``: what the slot holds and the offer, added and clamped.

        That is the sum of the magnitudes, or the one of the two differences that is not negative.
        """
        sign, size = kept[0], kept[1:]
        opposed = sign ^ offer.sign
        bits = len(size)
        added, one, other = Signal(bits + 1), Signal(bits + 1), Signal(bits + 1)
        self._clips = Signal()
        m.d.comb += [
            added.eq(size + offer.size), one.eq(size - offer.size), other.eq(offer.size - size),
            self._clips.eq(~opposed & added[-1]),
        ]
        difference = Mux(one[-1], other[:-1], one[:-1])
        m.d.sync += [
            total.sign.eq(Mux(opposed & one[-1], offer.sign, sign)),
            total.size.eq(Mux(opposed, difference, added[:-1] | added[-1].replicate(bits))),
        ]

    def _elaborate_list(self, m: Module, order, held, used, half, names, values) -> None:
        """The list of the last stream: of the slots that are left, the one before all others."""
        slots = range(self.registers)
        kept, full = _Order(m, self.registers, "kept"), Signal(self.registers)
        gone, first = Signal(self.registers), Signal(self.registers)
        left = Signal(range(self.registers + 1))
        m.d.comb += first.eq(Cat(kept.is_first(s, gone) for s in slots))
        with m.If(self.close):
            kept.copy(m, order)
            m.d.sync += [gone.eq(~used), full.eq(held), left.eq(self.keep)]
        with m.Elif(self.lists.valid & self.lists.ready):
            m.d.sync += [gone.eq(gone | first), left.eq(left - 1)]
        name, kept_value = names.read_port(domain="comb"), values.read_port(domain="comb")
        m.d.comb += [port.addr.eq(Cat(_number(first), half)) for port in (name, kept_value)]
        there = (first & full).any()
        sign, size = kept_value.data[0] & there, kept_value.data[1:] & there.replicate(
            len(kept_value.data) - 1)
        m.d.comb += [
            self.lists.valid.eq(left.any()),
            self.lists.p.id.eq(name.data & there.replicate(len(name.data))),
            self.lists.p.value.eq((size ^ sign.replicate(len(size) + 1)) + sign),
            self.lists.p.last.eq(left == 1),
        ]
        self.state.kept, self.state.full, self.state.gone, self.state.left = kept, full, gone, left
