"""The toper: registers kept sorted while candidates stream by; twin of tangente.golden.toper."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
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


class Toper(wiring.Component):
    """Keeps the ``keep`` largest magnitudes of what is offered, and sums equal ids.

    The rule is that of :func:`tangente.golden.toper.offer`. Slots hold sign and magnitude, sorted
    by falling magnitude, free ones (all zero) last. Three cycles of an offer:

    0. It is taken; its id is looked for in all slots.
    1. It enters, unless its id was found: then the slot that holds it is read and added, and
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
        self._slot = data.StructLayout({
            "id": unsigned(id_bits), "size": unsigned(value_bits - 1), "sign": 1, "held": 1})
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
        slots = [Signal(self._slot, name=f"slot_{i}") for i in range(self.registers)]
        unloading, summing = Signal(), Signal()   # a list is taken; a sum enters
        take, found = Signal(), Signal()
        # The offer taken in the last cycle, and the sum of the one before it.
        offer, total = Signal(self._slot), Signal(self._slot)
        live, entrant = Signal(), Signal(self._slot)
        # Slots at and behind the one whose sum enters: what they hold moves up by one.
        gone = [Signal(name=f"gone_{i}") for i in range(self.registers)]

        value = self.offers.p.value
        m.d.comb += [
            self.offers.ready.eq(~(live & found) & ~unloading & ~self.close),
            take.eq(self.offers.valid & self.offers.ready),
            entrant.eq(Mux(summing, total, offer)),
        ]
        m.d.sync += [
            live.eq(take & value.any()),
            offer.id.eq(self.offers.p.id),
            offer.size.eq((value ^ value[-1].replicate(len(value)))[:-1] + value[-1]),
            offer.sign.eq(value[-1]),
            offer.held.eq(1),
        ]

        # Slots below the entrant; a zero is above none.
        below = [Signal(name=f"below_{i}") for i in range(self.registers + 1)]
        lower = [Signal(name=f"lower_{i}") for i in range(self.registers)]
        enters, unload = Signal(), Signal()
        m.d.comb += [
            *(bit.eq(slot.size < entrant.size) for bit, slot in zip(below, slots)),
            below[-1].eq(entrant.size.any()),
            *(lower[i].eq(Mux(gone[i], below[i + 1], below[i]) & (self.keep > i))
              for i in range(self.registers)),
            enters.eq(summing | live & ~found),
            unload.eq(unloading & self.lists.ready),
        ]

        def moved(items: list, new: Value, i: int) -> Value:
            """What slot i is to hold of ``items``, one a slot, if ``new`` is the entrant's."""
            following = items[i + 1] if i + 1 < len(items) else Const(0, len(new))
            before = Mux(gone[i - 1], items[i], items[i - 1]) if i else new
            # The entrant goes in front of all that are lower, and these move down.
            lowered = Mux(lower[i - 1], before, new) if i else new
            return Mux(unload | gone[i] & ~lower[i], following,
                       Mux(enters & lower[i], lowered, items[i]))

        words = [slot.as_value() for slot in slots]
        for i, word in enumerate(words):
            m.d.sync += word.eq(moved(words, entrant.as_value(), i))
        hits = [Signal(name=f"hit_{i}") for i in range(self.registers)]
        if self.summing:
            # An id is looked for while it is taken, and what is found moves with the slots.
            same = [slot.held & (slot.id == self.offers.p.id) for slot in slots]
            m.d.sync += [hit.eq(~self.distinct & moved(same, entrant.id == self.offers.p.id, i))
                         for i, hit in enumerate(hits)]
            m.d.comb += [found.eq(Cat(hits).any()), summing.eq(gone[-1])]
            m.d.sync += [bit.eq(live & hit) for bit, hit in zip(gone, _any_up_to(hits))]
            self._elaborate_sum(m, slots, hits, offer, total)
            m.d.sync += self.clipped.eq(live & self._clips)

        with m.Switch(self.keep):
            for i, slot in enumerate(slots):
                with m.Case(i + 1):
                    m.d.sync += self.least.eq(slot.size)
        taken = Signal()
        m.d.sync += [
            taken.eq(take),
            self.verdict_valid.eq(taken),
            self.entered.eq(live & ~found & Cat(lower).any()),
        ]
        m.d.comb += [self.summed.eq(summing), self.alive.eq(self.entered | self.summed)]
        left = self._elaborate_list(m, slots[0], unloading)
        # What proofs speak of.
        self.state = SimpleNamespace(
            slots=slots, live=live, offer=offer, hits=hits, gone=gone, summing=summing,
            total=total, left=left)
        return m

    def _elaborate_sum(self, m: Module, slots, hits, offer, total) -> None:
        """``total``: the slot that was hit and the offer, added and clamped.

        That is the sum of the magnitudes, or the one of the two differences that is not negative.
        """
        kept = Signal(self._slot)
        picked = Const(0, self._slot.size)
        for hit, slot in zip(hits, slots):
            picked = picked | Mux(hit, slot.as_value(), 0)
        m.d.comb += kept.as_value().eq(picked)
        opposed = kept.sign ^ offer.sign
        bits = len(kept.size)
        first, other = Signal(bits + 1), Signal(bits)
        self._clips = Signal()
        m.d.comb += [
            first.eq(Mux(opposed, kept.size - offer.size, kept.size + offer.size)),
            other.eq(offer.size - kept.size),
            self._clips.eq(~opposed & first[-1]),
        ]
        m.d.sync += [
            total.id.eq(offer.id),
            total.held.eq(1),
            total.sign.eq(Mux(opposed & first[-1], offer.sign, kept.sign)),
            total.size.eq(Mux(first[-1], Mux(opposed, other, Const(-1, bits)), first[:-1])),
        ]

    def _elaborate_list(self, m: Module, slot, unloading) -> Signal:
        left = Signal(range(self.registers + 1))
        m.d.comb += [
            self.lists.valid.eq(unloading),
            self.lists.p.id.eq(slot.id),
            self.lists.p.value.eq((slot.size ^ slot.sign.replicate(len(slot.size) + 1))
                                  + slot.sign),
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
