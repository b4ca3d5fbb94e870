"""What a toper promises, for one symbolic id, or two, among all streams of offers."""

from __future__ import annotations

from itertools import permutations
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


class _Sorted:
    """An order as positions: how many slots in use are before each, and who stands at one."""

    def __init__(self, m: Module, order, used, name: str) -> None:
        slots = range(len(used))
        self.position = [Signal(range(len(used) + 1), name=f"{name}_position_{s}") for s in slots]
        self._used = used
        for s in slots:
            m.d.comb += self.position[s].eq(
                sum((used[t] & order.before(t, s) for t in slots if t != s), Const(0)))

    def at(self, place: int, values):
        """Of the slot that stands there, its value; 0 if none does."""
        result = Const(0)
        for used, position, value in zip(self._used, self.position, values):
            result |= Mux(used & (position == place), value, 0)
        return result


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
        # Each place of the sorted list, with what its slot holds.
        state, slots = dut.state, range(dut.registers)
        self.used = [self.keep > slot for slot in slots]
        now = _Sorted(m, state.order, self.used, "now")
        signs = [dut.probe("values", state.half, slot)[0] for slot in slots]
        self.places = []
        for i in slots:
            place = SimpleNamespace(
                id=Signal(self.id_bits, name=f"id_{i}"), slot=Signal(range(dut.registers + 1)),
                size=Signal(self.value_bits - 1, name=f"size_{i}"), sign=Signal(name=f"sign_{i}"))
            place.held = place.size != 0
            self.places.append(place)
            m.d.comb += [place.id.eq(now.at(i, state.ids)), place.size.eq(now.at(i, state.sizes)),
                         place.sign.eq(now.at(i, signs)), place.slot.eq(now.at(i, slots))]
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
        least = Signal.like(places[0].size)
        m.d.sync += least.eq(Array(place.size for place in places)[self.keep - 1])
        for i in slots:
            held = s.held[i]
            m.d.comb += [
                Assert(held == (s.sizes[i] != 0)),
                Assert(~held | self.used[i]),
                Assert(~held | (dut.probe("names", s.half, i) == s.ids[i])),
                Assert(~held | (dut.probe("values", s.half, i)[1:] == s.sizes[i])),
            ]
            for j in slots:
                if i == j:
                    continue
                before = s.order.before(i, j)
                m.d.comb += [
                    Assert(~before | ~self.used[i] | (s.sizes[i] >= s.sizes[j])),
                    Assert(before | self.used[i] | ~self.used[j]),
                    Assert(~(held & s.held[j] & (s.ids[i] == s.ids[j]))),
                ]
        for order in (s.order, s.kept):
            for i, j, k in permutations(slots, 3):
                m.d.comb += Assert(~(order.before(i, j) & order.before(j, k) & order.before(k, i)))
        m.d.comb += [
            Assert(~self.began | (dut.least == least)),
            Assert(s.live == (taken & (self.value_1 != 0))),
            Assert(~s.live | (s.offer.id == self.id_1) & (s.offer.sign == self.value_1[-1])
                   & (s.offer.size == Mux(self.value_1[-1], -self.value_1, self.value_1))),
            Assert(~(s.live & s.summing)),
            Assert(~s.summing | (s.summed & s.held).any()),
            # One slot, if any.
            Assert((s.hits & (s.hits - 1) == 0) | ~s.live),
            Assert((s.summed & (s.summed - 1) == 0) | ~s.summing),
        ]
        for hit, held, identity in zip(s.hits, s.held, s.ids):
            m.d.comb += Assert(~s.live | (hit == (held & (identity == s.offer.id))))

    def _lists(self, m: Module) -> None:
        """What was held at ``close``: ``keep`` entries, in order, each until it is taken."""
        dut, lists, s = self.dut, self.dut.lists, self.dut.state
        slots = range(dut.registers)
        kept = _Sorted(m, s.kept, self.used, "kept")
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
            count.eq(self.keep - left), Assert(left <= self.keep), Assert(s.left == left),
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
        for slot in slots:
            # What the other half holds, by slot.
            half, position = ~s.half, kept.position[slot]
            size = dut.probe("values", half, slot)[1:]
            mine = Signal(signed(self.value_bits), name=f"kept_value_{slot}")
            m.d.comb += mine.eq(Mux(dut.probe("values", half, slot)[0], -size, size))
            for i, entry in enumerate(entries):
                here = lists.valid & self.used[slot] & (position == i)
                m.d.comb += [
                    Assert(~here | (s.full[slot] == entry.held)),
                    Assert(~here | ~entry.held | (dut.probe("names", half, slot) == entry.id)),
                    Assert(~here | ~entry.held | (mine == entry.value)),
                    Assert(~here | (s.gone[slot] == (count > i))),
                ]
            m.d.comb += Assert(~lists.valid | self.used[slot] | s.gone[slot])
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
        m.d.sync += [adding.eq(mine & held), expected.eq(value), entered.eq(0),
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
        m.d.comb += my_sum.eq(any_of(summed & (identity == self.the_id) for summed, identity in zip(
            dut.state.summed, dut.state.ids)))
        m.d.sync += was_mine.eq(mine)
        m.d.comb += [
            Assert(value == expected),
            Assert(held == (expected != 0)),
            Assert(~was_mine | (dut.entered == entered)),
            Assert(~was_mine | (dut.summed == adding)),
            Assert(~adding | was_mine & (dut.clipped == clips)),
            # The sum that enters now, for the induction.
            Assert(~adding | my_sum),
            Assume(~self.distinct),
            Assert(~adding | (Mux(dut.state.total.sign, -dut.state.total.size,
                                  dut.state.total.size) == pending)),
            Assert(adding == (dut.state.summing & my_sum)),
        ]
        full = last.held & (keep == dut.registers)
        m.d.comb += [
            Cover(full & adding & clips),
            Cover(full & evicts),
            Cover(full & adding & (pending == 0)),
            Cover(full & adding & (pending != 0) & (place == dut.registers - 1)
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
