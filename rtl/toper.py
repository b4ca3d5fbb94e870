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


def _any_up_to(bits: list[Value]) -> list[Value]:
    """Of each bit, whether it or one before it is set, with a logarithm of levels (Sklansky)."""
    if len(bits) == 1:
        return bits
    half = len(bits) // 2
    low, high = _any_up_to(bits[:half]), _any_up_to(bits[half:])
    return low + [low[-1] | bit for bit in high]


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


class Toper(wiring.Component):
    """Keeps the ``keep`` largest magnitudes of what is offered, and sums equal ids.

    The rule is that of :func:`tangente.golden.toper.offer`. An id stays in the *slot* that it
    entered; what is sorted, by falling magnitude, free ones last, are *places* with magnitude, sign
    and the slot's number. Every slot stands in some place: whoever enters takes the slot of the
    last one in use, which is free or evicted. Three cycles of an offer:

    0. It is taken; its id is looked for in all slots.
    1. It enters, unless its id was found: then the value of that slot is read and added, and
       ``offers.ready`` is low.
    2. The verdict is given. A sum leaves its old place and takes its new one in the same cycle.

    So distinct ids pass one a cycle, a held id takes two, and an offer every second cycle never
    waits. At most eight LUTs lie between registers (16 slots, 18 bits of id, 9 of value; Yosys
    0.70, ``synth_xilinx -family xc7 -flatten -abc9``); docs/toper.md has the area.

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
    close : unsigned(1), In. Pulse, when the last offer's verdict has been given: ``lists`` is valid
        from the next cycle on. Offers wait from this cycle until the list's last entry is taken,
        and then belong to the next stream.
    lists : stream of :func:`ListEntry`, Out. ``keep`` entries. Taking them frees the slots.

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
        self._place = data.StructLayout({
            "slot": max(1, (registers - 1).bit_length()), "sign": 1, "size": value_bits - 1})
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
        count = self.registers
        places = [Signal(self._place, name=f"place_{i}", init={"slot": i}) for i in range(count)]
        unloading, summing = Signal(), Signal()   # a list is taken; a sum enters
        take, live, found = Signal(), Signal(), Signal()
        # The offer taken in the last cycle, the sum of the one before it, and what enters.
        offer, total, entrant = Signal(self._offer), Signal(self._place), Signal(self._place)
        # Places at and behind the one whose sum enters: what they hold moves up by one.
        gone = [Signal(name=f"gone_{i}") for i in range(count)]

        value = self.offers.p.value
        m.d.comb += [
            self.offers.ready.eq(~(live & found) & ~unloading & ~self.close),
            take.eq(self.offers.valid & self.offers.ready),
        ]
        m.d.sync += [
            live.eq(take & value.any()),
            offer.id.eq(self.offers.p.id),
            offer.size.eq((value ^ value[-1].replicate(len(value)))[:-1] + value[-1]),
            offer.sign.eq(value[-1]),
        ]

        # Places in use, and the last of them: its slot is the next one's.
        used = [self.keep > i for i in range(count)]
        ends = [self.keep == i + 1 for i in range(count)]
        last = Signal(self._place)
        m.d.comb += last.as_value().eq(_any_of(
            [Mux(end, place.as_value(), 0) for end, place in zip(ends, places)]))
        m.d.sync += self.least.eq(last.size)
        with m.If(summing):
            m.d.comb += entrant.eq(total)
        with m.Elif(unloading):
            # The slot is free again, and stands behind all.
            m.d.comb += entrant.slot.eq(places[0].slot)
        with m.Else():
            m.d.comb += [entrant.slot.eq(last.slot), entrant.sign.eq(offer.sign),
                         entrant.size.eq(offer.size)]

        # Places below the entrant. A sum of zero is above none, but stands behind all.
        below = [Signal(name=f"below_{i}") for i in range(count + 1)]
        lower = [Signal(name=f"lower_{i}") for i in range(count)]
        changes, enters, unload = Signal(), Signal(), Signal()
        m.d.comb += [
            *(bit.eq(_less(place.size, entrant.size)) for bit, place in zip(below, places)),
            *(lower[i].eq(used[i] & Mux(gone[i], below[i + 1] | ends[i], below[i]))
              for i in range(count)),
            changes.eq(summing | live & ~found),
            enters.eq(live & ~found & Cat(lower).any()),
            unload.eq(unloading & self.lists.ready),
        ]
        for i, place in enumerate(places):
            # The entrant goes in front of all that are lower, and these move down; but not those
            # that already are one place behind the one that goes.
            lower_before, gone_before = (lower[i - 1], gone[i - 1]) if i else (Const(0), Const(0))
            new = Mux(unloading, ends[i], lower[i] & ~lower_before)
            up = unloading | gone[i] & ~lower[i]
            moves = used[i] & Mux(unloading, unload, changes & (
                up | lower[i] & ~(lower_before & gone_before)))
            following = places[i + 1] if i + 1 < count else entrant
            with m.If(moves):
                m.d.sync += place.eq(Mux(new, entrant, Mux(
                    up, following, places[i - 1] if i else entrant)))

        # Ids and values by slot. What is looked through stands in registers; the rest is memory.
        ids = [Signal(len(offer.id), name=f"id_{s}", reset_less=True) for s in range(count)]
        held, hits = Signal(count), Signal(count)
        for s, identity in enumerate(ids):
            with m.If(enters & (entrant.slot == s)):
                m.d.sync += [identity.eq(offer.id), held[s].eq(1)]
            with m.Elif(self.close | summing & (total.slot == s) & (total.size == 0)):
                m.d.sync += held[s].eq(0)
        names = self._slot_memory(m, "names", len(offer.id))
        values = self._slot_memory(m, "values", len(value))
        name, write = names.read_port(domain="comb"), names.write_port()
        m.d.comb += [write.en.eq(enters), write.addr.eq(entrant.slot), write.data.eq(offer.id),
                     name.addr.eq(places[0].slot)]
        kept, write = values.read_port(domain="comb"), values.write_port()
        m.d.comb += [write.en.eq(enters | summing), write.addr.eq(entrant.slot),
                     write.data.eq(Cat(entrant.sign, entrant.size))]
        if self.summing:
            # An id is looked for while it is taken, what enters or leaves in that cycle included.
            again = offer.id == self.offers.p.id
            for s, identity in enumerate(ids):
                leaves = summing & (total.slot == s) & (total.size == 0)
                m.d.sync += hits[s].eq(~self.distinct & Mux(
                    enters & (entrant.slot == s), again,
                    held[s] & ~leaves & (identity == self.offers.p.id)))
            slot = _any_of([Mux(hit, Const(s, len(total.slot)), 0) for s, hit in enumerate(hits)])
            m.d.comb += [found.eq(hits.any()), summing.eq(gone[-1]), kept.addr.eq(slot)]
            m.d.sync += [bit.eq(live & found & there) for bit, there in zip(
                gone, _any_up_to([place.slot == slot for place in places]))]
            self._elaborate_sum(m, kept.data, slot, offer, total)
            m.d.sync += self.clipped.eq(live & found & self._clips)

        taken = Signal()
        m.d.sync += [taken.eq(take), self.verdict_valid.eq(taken), self.entered.eq(enters)]
        m.d.comb += [self.summed.eq(summing), self.alive.eq(self.entered | self.summed)]
        left = self._elaborate_list(m, places[0], name.data, unloading)
        # What proofs speak of.
        self.state = SimpleNamespace(
            places=places, ids=ids, held=held, live=live, offer=offer, hits=hits, gone=gone,
            summing=summing, total=total, left=left)
        return m

    def _slot_memory(self, m: Module, name: str, width: int) -> Memory:
        """Something of each slot, in LUTs."""
        memory = Memory(shape=width, depth=max(2, self.registers), init=[])
        memory.attrs["ram_style"] = "distributed"
        m.submodules[name] = memory
        return memory

    def _elaborate_sum(self, m: Module, kept, slot, offer, total) -> None:
        """``total``: what the slot holds and the offer, added and clamped.

        That is the sum of the magnitudes, or the one of the two differences that is not negative.
        """
        sign, size = kept[0], kept[1:]
        opposed = sign ^ offer.sign
        bits = len(size)
        first, other = Signal(bits + 1), Signal(bits)
        self._clips = Signal()
        m.d.comb += [
            first.eq(Mux(opposed, size - offer.size, size + offer.size)),
            other.eq(offer.size - size),
            self._clips.eq(~opposed & first[-1]),
        ]
        m.d.sync += [
            total.slot.eq(slot),
            total.sign.eq(Mux(opposed & first[-1], offer.sign, sign)),
            total.size.eq(Mux(first[-1], Mux(opposed, other, Const(-1, bits)), first[:-1])),
        ]

    def _elaborate_list(self, m: Module, place, name, unloading) -> Signal:
        left = Signal(range(self.registers + 1))
        m.d.comb += [
            self.lists.valid.eq(unloading),
            self.lists.p.id.eq(Mux(place.size.any(), name, 0)),
            self.lists.p.value.eq((place.size ^ place.sign.replicate(len(place.size) + 1))
                                  + place.sign),
            self.lists.p.last.eq(left == 1),
        ]
        with m.If(unloading):
            with m.If(self.lists.ready):
                m.d.sync += left.eq(left - 1)
                with m.If(self.lists.p.last):
                    m.d.sync += unloading.eq(0)
        with m.Elif(self.close):
            m.d.sync += [unloading.eq(1), left.eq(self.keep)]
        return left
