"""What a toper promises, for one symbolic id, or two, among all streams of offers."""

from __future__ import annotations

from types import SimpleNamespace

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Fragment,
    Module,
    Mux,
    ResetSignal,
    Signal,
    signed,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from tangente.rtl.toper import Toper

__all__ = ["Sums", "Largest"]


def any_of(bits) -> Signal:
    return Cat(bits).any()


class _Probed(Toper):
    """A toper whose slots' memories can be looked into."""

    def __init__(self, *arguments: int) -> None:
        super().__init__(*arguments)
        self.probes: dict[str, list] = {}

    def _slot_memory(self, m: Module, name: str, width: int):
        memory = super()._slot_memory(m, name, width)
        self.probes[name] = []
        for place in range(memory.depth):
            port = memory.read_port(domain="comb")
            m.d.comb += port.addr.eq(place)
            self.probes[name].append(port.data)
        return memory

    def probe(self, name: str, half, slot: int):
        """What a slot holds in one of the two halves."""
        entries = self.probes[name]
        return Mux(half, entries[len(entries) // 2 + slot], entries[slot])


class _Harness(wiring.Component):
    """A toper with free inputs, its structure, its verdicts and its streams.

    Members
    -------
    keep, the_id, other_id : In. Constants that may be anything.
    """

    def __init__(self, registers: int, id_bits: int, value_bits: int) -> None:
        self.dut = _Probed(registers, id_bits, value_bits)
        self.id_bits, self.value_bits = id_bits, value_bits
        super().__init__({
            "keep": In(range(registers + 1)), "the_id": In(id_bits), "other_id": In(id_bits),
            "offered": In(id_bits), "value": In(signed(value_bits)), "valid": In(1),
            "close": In(1), "ready": In(1), "distinct": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += Assume(~ResetSignal())
        dut = self.dut
        m.submodules.dut = Fragment.get(dut, platform)
        m.d.comb += [
            dut.keep.eq(self.keep), dut.close.eq(self.close), dut.lists.ready.eq(self.ready),
            dut.offers.valid.eq(self.valid), dut.distinct.eq(self.distinct),
            dut.offers.p.id.eq(self.offered), dut.offers.p.value.eq(self.value),
        ]
        # Each place in use, the first one first, with what its slot holds.
        state, slots = dut.state, range(dut.registers)
        signs = [dut.probe("values", state.half, slot)[0] for slot in slots]
        self.places = []
        for i in slots:
            place = SimpleNamespace(
                id=Signal(self.id_bits, name=f"id_{i}"), slot=Signal(range(dut.registers + 1)),
                size=Signal(self.value_bits - 1, name=f"size_{i}"), sign=Signal(name=f"sign_{i}"))
            place.held = place.size != 0
            self.places.append(place)
            with m.If(self.keep > i):
                m.d.comb += [
                    place.slot.eq(Array(state.slots)[self.place(i)]),
                    place.size.eq(Array(state.sizes)[self.place(i)]),
                    place.id.eq(Array(state.ids)[place.slot]),
                    place.sign.eq(Array(signs)[place.slot]),
                ]
        self.began = Signal()
        m.d.sync += self.began.eq(1)
        for port in (self.keep, self.the_id, self.other_id):
            before = Signal.like(port, name="before")
            m.d.sync += before.eq(port)
            m.d.comb += Assume(~self.began | (port == before))
        m.d.comb += [
            Assume((self.keep >= 1) & (self.keep <= dut.registers)),
            Assume(self.value != -1 << self.value_bits - 1),
        ]

        # What was taken one cycle ago, and two.
        self.take = take = Signal()
        taken, taken_2 = Signal(), Signal()
        self.taken = taken
        self.id_1, self.value_1 = Signal.like(self.offered), Signal.like(self.value)
        m.d.comb += take.eq(dut.offers.valid & dut.offers.ready)
        m.d.sync += [taken.eq(take), taken_2.eq(taken), self.id_1.eq(self.offered),
                     self.value_1.eq(self.value)]
        # The contract of ``close``: not before the last verdict, nor with that of a sum.
        m.d.comb += Assume(~(self.close & (taken | dut.summed)))
        self._verdicts(m, take, taken, taken_2)
        self._structure(m, taken)
        self._lists(m)
        self._promises(m)
        return m

    def place(self, i: int):
        """The number of the toper's place that is the i-th one in use."""
        return (self.dut.registers - self.keep + i)[:len(self.keep)]

    def _verdicts(self, m: Module, take, taken, taken_2) -> None:
        dut = self.dut
        waits = Signal()   # one cycle, after an offer whose id was held
        m.d.sync += waits.eq(taken & ~waits & ~dut.offers.ready)
        m.d.comb += [
            Assert(dut.verdict_valid == taken_2),
            Assert(dut.alive == (dut.entered | dut.summed)),
            Assert(~(dut.entered & dut.summed)),
            Assert(~(dut.alive & ~dut.verdict_valid)),
            Assert(~(dut.clipped & ~dut.summed)),
            # Whoever took nothing in the last cycle may take now: every second cycle never waits.
            Assert(dut.offers.ready | taken | self.close),
            # Only a sum makes the next offer wait.
            Assert(~waits | dut.summed),
            Assert(~(dut.summed & ~waits)),
        ]

    def _structure(self, m: Module, taken) -> None:
        """Sorted, nothing twice; what the stages and the slots hold (without it, no induction)."""
        dut, places, s = self.dut, self.places, self.dut.state
        slots = range(dut.registers)
        least, last = Signal.like(places[0].size), s.slots[-1]
        m.d.sync += least.eq(s.sizes[-1])
        for i in slots:
            # What is summed is held, though in its place stands nothing.
            held = s.held[i] & ~(s.summing & (last == i))
            size = Signal(self.value_bits - 1, name=f"slot_size_{i}")
            for place in places:
                with m.If(place.held & (place.slot == i)):
                    m.d.comb += size.eq(place.size)
            m.d.comb += [
                Assert(held == (size != 0)),
                Assert(~s.held[i] | (dut.probe("names", s.half, i) == s.ids[i])),
                Assert(~held | (dut.probe("values", s.half, i)[1:] == size)),
                Assert(s.slots[i] < dut.registers),
                Assert((dut.registers - self.keep <= i) | (s.sizes[i] == 0)),
            ]
            if i:
                m.d.comb += Assert((dut.registers - self.keep >= i)
                                   | (s.sizes[i - 1] >= s.sizes[i]))
            for j in range(i):
                m.d.comb += [
                    Assert(s.slots[i] != s.slots[j]),
                    Assert(~(s.held[i] & s.held[j] & (s.ids[i] == s.ids[j]))),
                ]
        m.d.comb += [
            Assert(~self.began | (dut.least == least)),
            Assert(s.live == (taken & (self.value_1 != 0))),
            Assert(~s.live | (s.offer.id == self.id_1) & (s.offer.sign == self.value_1[-1])
                   & (s.offer.size == Mux(self.value_1[-1], -self.value_1, self.value_1))),
            Assert(~(s.live & s.summing)),
            Assert(~s.found | s.live),
            Assert(~s.summing | (s.sizes[-1] == 0) & Array(s.held)[last]
                   & (Array(s.ids)[last] == s.offer.id)),
            Assert(s.count == sum((place.held for place in places), Const(0))),
        ]
        self.was_distinct = distinct = Signal()
        m.d.sync += distinct.eq(self.distinct)
        equal = [held & (identity == s.offer.id) for held, identity in zip(s.held, s.ids)]
        m.d.comb += Assert(~s.live | (s.found == (any_of(equal) & ~distinct)))
        for i, one in enumerate(equal):
            m.d.comb += Assert(~s.found | (one == (s.slot == i)))

    def _lists(self, m: Module) -> None:
        """What was held at ``close``: ``keep`` entries, in order, each until it is taken."""
        dut, lists, s = self.dut, self.dut.lists, self.dut.state
        slots = range(dut.registers)
        left, count = Signal.like(self.keep), Signal.like(self.keep)
        entries = []
        for i, place in enumerate(self.places):
            entry = SimpleNamespace(held=Signal(name=f"was_held_{i}"),
                                    id=Signal.like(place.id, name=f"was_id_{i}"),
                                    value=Signal(signed(self.value_bits), name=f"was_{i}"))
            entries.append(entry)
            with m.If(self.close):
                m.d.sync += [entry.held.eq(place.held), entry.id.eq(place.id),
                             entry.value.eq(Mux(place.sign, -place.size, place.size))]
        with m.If(self.close):
            m.d.sync += left.eq(self.keep)
        with m.Elif(lists.valid & lists.ready):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            count.eq(self.keep - left), Assert(left <= self.keep),
            Assert(s.place == dut.registers - left),
            Assert(~lists.valid | (s.full == sum(
                (entry.held & (count <= i) for i, entry in enumerate(entries)), Const(0)))),
            Assert(lists.valid == (left != 0)),
            Assert(~lists.valid | (lists.p.last == (left == 1))),
        ]
        with m.If(lists.valid):
            now = Array(Cat(entry.held, entry.id, entry.value) for entry in entries)[count]
            held, identity, value = now[0], now[1:1 + self.id_bits], now[1 + self.id_bits:]
            m.d.comb += [
                Assert(lists.p.id == Mux(held, identity, 0)),
                Assert(lists.p.value.as_unsigned() == Mux(held, value, 0)),
            ]
        for i, entry in enumerate(entries):
            # What the other half holds, place by place; those that are free come last.
            slot, signed_ = Signal.like(s.kept[0]), Signal(signed(self.value_bits))
            stored = Array(dut.probe("values", ~s.half, other) for other in slots)[slot]
            m.d.comb += [slot.eq(Array(s.kept)[self.place(i)]),
                         signed_.eq(Mux(stored[0], -stored[1:], stored[1:]))]
            here = lists.valid & entry.held
            m.d.comb += [
                Assert(~here | (self.keep > i)),
                Assert(~here | (slot < dut.registers)),
                Assert(~here | (Array(dut.probe("names", ~s.half, other) for other in slots)[slot]
                                == entry.id)),
                Assert(~here | (signed_ == entry.value)),
            ]
            if i:
                m.d.comb += Assert(~here | entries[i - 1].held)
        m.d.comb += Cover(lists.valid & lists.ready & lists.p.last & entries[-1].held
                          & (self.keep == dut.registers))

    def _held(self, m: Module, identity, name: str):
        """Whether an id is held, its size and signed value, and the slot it stands in."""
        held, size = Signal(name=f"{name}_held"), Signal(self.value_bits - 1, name=f"{name}_size")
        value = Signal(signed(self.value_bits), name=f"{name}_value")
        place = Signal(range(self.dut.registers), name=f"{name}_place")
        for i, slot in enumerate(self.places):
            with m.If(slot.held & (slot.id == identity)):
                m.d.comb += [held.eq(1), size.eq(slot.size), place.eq(i),
                             value.eq(Mux(slot.sign, -slot.size, slot.size))]
        return held, size, value, place

    def _last(self) -> SimpleNamespace:
        """The last place in use."""
        size = Array(place.size for place in self.places)[self.keep - 1]
        return SimpleNamespace(size=size, held=size != 0)

    def _promises(self, m: Module) -> None:
        """What is to be proved."""
        raise NotImplementedError


class Sums(_Harness):
    """Any offers: of any id, what is held is the clamped sum of its offers since it entered.

    And it leaves only by a sum of zero, by ``close``, or, being the last of a full list,
    by an offer that is larger.
    """

    def _promises(self, m: Module) -> None:
        dut, keep = self.dut, self.keep
        held, size, value, place = self._held(m, self.the_id, "mine")
        limit = (1 << self.value_bits - 1) - 1
        mine = self.taken & (self.id_1 == self.the_id) & (self.value_1 != 0)
        other = self.taken & (self.id_1 != self.the_id) & (self.value_1 != 0)
        amount = Mux(self.value_1[-1], -self.value_1, self.value_1)[:self.value_bits - 1]
        other_known = any_of(
            place.held & (place.id == self.id_1) for place in self.places)
        last = self._last()

        # The value that is to be held in the next cycle; 0 if none. A sum takes one more.
        expected, pending = Signal(signed(self.value_bits)), Signal(signed(self.value_bits))
        adding, clips = Signal(), Signal()
        total = value + self.value_1
        evicts = other & ~other_known & held & (place == keep - 1) & (amount > size)
        entered = Signal()
        m.d.sync += [adding.eq(mine & held), expected.eq(Mux(mine & held, 0, value)), entered.eq(0),
                     clips.eq(mine & held & ((total > limit) | (total < -limit))),
                     pending.eq(Mux(total > limit, limit, Mux(total < -limit, -limit, total)))]
        with m.If(self.close):
            m.d.sync += expected.eq(0)
        with m.Elif(adding):
            m.d.sync += expected.eq(pending)
        with m.Elif(mine & ~held):
            enters = ~last.held | (amount > last.size)
            m.d.sync += [expected.eq(Mux(enters, self.value_1, 0)), entered.eq(enters)]
        with m.Elif(evicts):
            m.d.sync += expected.eq(0)
        was_mine, my_sum = Signal(), Signal()
        m.d.comb += my_sum.eq(dut.state.offer.id == self.the_id)
        m.d.sync += was_mine.eq(mine)
        m.d.comb += [
            Assert(value == expected),
            Assert(held == (expected != 0)),
            Assert(~was_mine | (dut.entered == entered)),
            Assert(~was_mine | (dut.summed == adding)),
            Assert(~adding | was_mine & (dut.clipped == clips)),
            # The sum that enters now, for the induction.
            Assert(~adding | my_sum),
            Assume(~self.distinct), Assert(~self.was_distinct),
            Assert(~adding | (Mux(dut.state.offer.sign, -dut.state.offer.size,
                                  dut.state.offer.size) == pending)),
            Assert(adding == (dut.state.summing & my_sum)),
        ]
        full = last.held & (keep == dut.registers)
        # A sum's own place has been given up.
        was_full, stood = Signal(), Signal.like(place)
        m.d.sync += [was_full.eq(full), stood.eq(place)]
        m.d.comb += [
            Cover(was_full & adding & clips),
            Cover(full & evicts),
            Cover(was_full & adding & (pending == 0)),
            Cover(was_full & adding & (pending != 0) & (stood == dut.registers - 1)
                  & (Mux(pending[-1], -pending, pending) > self.places[0].size)),
        ]


class Largest(_Harness):
    """Distinct ids: what is held at any time are the K largest offers, of equals the first.

    For two ids: one that was offered and is not held is not larger than any that is held, and was
    not offered before one of its size.
    """

    def _promises(self, m: Module) -> None:
        dut, keep = self.dut, self.keep
        seen = Signal(1 << self.id_bits)
        offered = Signal(2)          # the_id, other_id: in a register's reach, this stream
        values = [Signal(self.value_bits - 1, name=f"amount_{i}") for i in (0, 1)]
        first = Signal()             # the_id was offered before other_id
        ids = (self.the_id, self.other_id)
        m.d.comb += [Assume(self.the_id != self.other_id),
                     Assume(~(self.valid & seen.bit_select(self.offered, 1)))]
        with m.If(self.close):
            m.d.sync += [seen.eq(0), offered.eq(0), first.eq(0)]
        with m.Elif(self.take):
            m.d.sync += seen.bit_select(self.offered, 1).eq(1)
        amount = Mux(self.value_1[-1], -self.value_1, self.value_1)[:self.value_bits - 1]
        for i, identity in enumerate(ids):
            with m.If(self.taken & (self.id_1 == identity) & (self.value_1 != 0)):
                m.d.sync += [offered[i].eq(1), values[i].eq(amount)]
                if i == 0:
                    m.d.sync += first.eq(~offered[1])
        (held, size, _, place), (other_held, other_size, _, other_place) = (
            self._held(m, identity, name) for identity, name in zip(ids, ("mine", "other")))
        last = self._last()
        m.d.comb += [
            # Every held id was seen; a sum never happens.
            *(Assert(~place.held | seen.bit_select(place.id, 1)) for place in self.places),
            Assert(~self.taken | seen.bit_select(self.id_1, 1)),
            Assert(~dut.state.summing),
            *(Assert(~dut.state.live | ~(place.held & (place.id == self.id_1)))
              for place in self.places),
            Assert(~self.taken | (self.id_1 != self.the_id) | ~offered[0]),
            Assert(~self.taken | (self.id_1 != self.other_id) | ~offered[1]),
            *(Assert(~offered[i] | seen.bit_select(identity, 1))
              for i, identity in enumerate(ids)),
            # Held with what it was offered with.
            Assert(~held | offered[0] & (size == values[0])),
            Assert(~other_held | offered[1] & (other_size == values[1])),
            # Not held: the list is full, and nothing in it is smaller.
            Assert(~offered[0] | held | last.held & (last.size >= values[0])),
            Assert(~offered[1] | other_held | last.held & (last.size >= values[1])),
            # Equals: the first offered comes first, and stays.
            Assert(~first | offered[0]), Assert(first | (offered != 0b01)),
            Assert(~(held & other_held & (size == other_size))
                   | (first == (place < other_place))),
            Assert(~(offered.all() & held & ~other_held & (size == values[1])) | first),
            Assert(~(offered.all() & ~held & other_held & (other_size == values[0]))
                   | ~first),
            Cover(offered.all() & held & ~other_held & (size == values[1]) & first
                  & (keep == dut.registers)),
            Cover(offered.all() & ~held & other_held & (place == 0) & first
                  & (keep == dut.registers)),
        ]
