"""The scanner: finds the pairs of scalars that are not zero, for products (MVA) and updates (UPD).

It lists the samples that have errors, too, for these and for MVD and MVR.

Scalars are read a *group* of eight pairs a cycle, aligned; what is zero costs no multiplication.

MVA, for each sample and tile: groups with a live pair wait in a queue, and their pairs are issued
one a cycle. UPD, for each group: the group of every sample is gathered in one of four banks (of two
for more than 16 samples) while the pairs of another are issued, pair by pair and for each over the
samples in which it lives; a weight word whose pair is zero in all of them is passed over. A half
whose scalars are all zero has no turn of the lane units: the end of a word waits for the one before
it only if that has half 1's turn when this one's half 0 has its own.

Cycles are those of :mod:`tangente.golden.flow`.
"""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import GROUP, SCANNED_SAMPLES
from .delay import delay
from .primitives import equal

__all__ = ["GROUP_BITS", "Scanner", "STEP_TO_UOP", "lowest", "place", "within"]

#: Cycles from a step to its micro-operation.
STEP_TO_UOP = 2
_ADDRESS = 18
#: Of the number of a group of pairs.
GROUP_BITS = 13
#: Groups of an UPD that may be under way.
_BANKS = 4


def lowest(bits: Value) -> Value:
    """The lowest bit that is set, alone."""
    return (bits & -bits)[:len(bits)]


def place(bits: Value) -> Value:
    """The number of the one bit that is set."""
    width = (len(bits) - 1).bit_length()
    return Cat(Cat(*(bits[i] for i in range(len(bits)) if i >> k & 1)).any() for k in range(width))


def within(fresh: Value, offset: Value, ends: Value, over: Value) -> Value:
    """Which pairs of a group are a vector's: from ``offset`` in its first, to ``over`` in its last.
    """
    from_here = Cat(~fresh | (offset <= k) for k in range(GROUP - 1))
    to_here = Cat(~ends | (over >= k) for k in range(1, GROUP))
    return Cat(from_here, Const(1, 1)) & Cat(Const(1, 1), to_here)


class Scanner(wiring.Component):
    """Micro-operations of the pairs of scalars that are not zero.

    Members
    -------
    start : In. Begin (pulse); the operands below stand until ``done``.
    update : In. UPD, of at most :data:`tangente.golden.flow.SCANNED_SAMPLES` samples a multiple of
        eight pairs apart; otherwise MVA.
    base, stride, pairs, samples, tiles : In. First pair, pairs between samples, pairs of a sample,
        samples, tiles of Q.
    weight_base, vector_base, vector_stride : In. First weight word; first row, rows between
        samples (UPD).
    row : Out, 16; row_data : In, 16 E. Group of pairs read, and two cycles later its data.
    wanted : In. Leave out samples that are not ``erring``, of 32 at most: it takes COUNT + 1 cycles
        to list the others.
    sample : Out, 5; erring : In. That sample has errors, in the same cycle.
    dense : In. Only list them, for loops that are another's: MVD, MVR.
    listed, count : Out, 1 and 12. The list is complete (pulse), of so many samples; without
        ``wanted``, COUNT.
    number : In, 5; listed_vector, listed_pair : Out, 18 and 16. With ``dense``: the first row, and
        unless ``update`` the first pair, of that sample of the list, in the same cycle.
    nothing : Out. MVA, MVD, MVR: no sample is left; the job is over (pulse, the cycle after
        ``listed``).
    behind, reached : In. MVA: groups from number ``reached`` on may still be written, and are
        awaited.
    hold : In. MVA: do not end a sum in this cycle.
    step, last, last_tile : Out. A micro-operation is issued; it ends a sum, of the last tile.
    waits : Out. The end of a sum is held back; UPD's, for its turn of the lane units.
    valid, weight, vector, pair, first, ends, final, ends_pair : Out. The micro-operation, two
        cycles after its step; ``ends_pair``: it is of the last tile. UPD's final one only ends the
        job; a sum without a live pair is one product with zero.
    done : Out. The job's last step (pulse).
    reset_job : In. Forget the job.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = 2 * config.element_bits
        self._row = data.StructLayout({
            "live": GROUP, "weight": _ADDRESS, "ends": 1, "final": 1, "last_tile": 1})
        super().__init__({
            "start": In(1), "update": In(1),
            "base": In(16), "stride": In(16), "pairs": In(12), "samples": In(12), "tiles": In(12),
            "weight_base": In(16), "vector_base": In(16), "vector_stride": In(16),
            "row": Out(16), "row_data": In(GROUP * bits),
            "wanted": In(1), "sample": Out(range(SCANNED_SAMPLES)), "erring": In(1),
            "dense": In(1), "listed": Out(1), "count": Out(12), "nothing": Out(1),
            "number": In(range(SCANNED_SAMPLES)), "listed_vector": Out(_ADDRESS),
            "listed_pair": Out(16),
            "behind": In(1), "reached": In(GROUP_BITS), "hold": In(1),
            "waits": Out(1), "step": Out(1), "last": Out(1), "last_tile": Out(1),
            "valid": Out(1), "weight": Out(_ADDRESS), "vector": Out(_ADDRESS), "pair": Out(bits),
            "first": Out(1), "ends": Out(1), "final": Out(1), "ends_pair": Out(1),
            "done": Out(1), "reset_job": In(1),
        })

    def elaborate(self, platform) -> Module:
        m, self._platform = Module(), platform
        # Multiples of T, the words between two pairs.
        self.multiples = [Signal(16, name=f"multiple_{k}", reset_less=True) for k in range(GROUP)]
        for k, multiple in enumerate(self.multiples):
            parts = [self.tiles << shift for shift in range(3) if k >> shift & 1]
            if k == GROUP - 1:
                parts = [(self.tiles << 3) - self.tiles]
            m.d.sync += multiple.eq(sum(parts) if parts else 0)
        self._tiles_less = Signal(12, reset_less=True)
        m.d.sync += self._tiles_less.eq(self.tiles - 1)
        bits = 2 * self.config.element_bits
        m.submodules.store = self.store = Memory(
            shape=unsigned(GROUP * bits), depth=2 * SCANNED_SAMPLES, init=[])
        self._elaborate_reader(m)
        product = self._elaborate_queue(m)
        update = self._elaborate_banks(m)
        # One of the two steps.
        self._chosen = chosen = data.View(update.shape(), Signal(update.shape()))
        m.d.comb += [
            chosen.as_value().eq(Mux(self.update, update.as_value(), product.as_value())),
            self.step.eq(chosen.valid), self.last.eq(chosen.ends),
            # Not from `chosen`, of which a part follows from `hold`: that may follow from this.
            self.last_tile.eq(Mux(self.update, self._update_last_tile, self._product_last_tile)),
            self.done.eq(chosen.valid & chosen.final),
        ]
        self._elaborate_step(m, chosen)
        m.d.comb += self.waits.eq(Mux(self.update, self._turn_waits, self._product_waits))
        return m

    # --- reading ----------------------------------------------------------------------------------

    def _elaborate_reader(self, m: Module) -> None:
        """Groups, one a cycle, and what is known of them when their data come."""
        active, fresh = Signal(), Signal()
        sample, tile = Signal(12), Signal(12)
        samples, offset, opens = self._elaborate_list(m)
        address, row = Signal(_ADDRESS), Signal(16)
        bank = Signal(2)
        self._room, self._busy = Signal(init=1), Signal(_BANKS)
        # Of two banks, each takes the room of two.
        self._wide, self._next = Signal(), Signal(2)
        m.d.sync += self._wide.eq(samples > SCANNED_SAMPLES // 2)
        m.d.comb += self._next.eq(Mux(self._wide, 2, 1))
        ready, awaits = Signal(), Signal()
        # The sample's last pair.
        pairs_less, end = Signal(12, reset_less=True), Signal(_ADDRESS)
        last_row, last_tile = Signal(), Signal()
        next_tile, at_last_tile = Signal(12), Signal()
        # The sample that comes after this one, and whether that is the first again.
        next_sample, last_sample, samples_less = Signal(12), Signal(), Signal(12, reset_less=True)
        self._samples_less = samples_less
        m.d.sync += [pairs_less.eq(self.pairs - 1), samples_less.eq(samples - 1)]
        m.d.comb += [
            last_tile.eq(self.update | at_last_tile),
            next_tile.eq(Mux(last_tile, 0, tile + 1)),
            ready.eq(active & Mux(self.update, (sample != 0) | ~self._busy.bit_select(bank, 1),
                                  self._room & ~awaits)),
            self.row.eq(row),
        ]
        # Whether the group had been written, if it is the same as in the cycle before.
        below, moved = Signal(), Signal()
        m.d.comb += awaits.eq(self.behind & (moved | ~below))
        m.d.sync += [below.eq(row < self.reached), moved.eq(ready | self.start | opens)]
        group = Signal(16)      # UPD: the group that is gathered, of the first sample
        m.d.comb += last_row.eq(equal(m, self._platform, Const(1), Mux(self.update, group, row),
                                      (end >> 3)[:16], "last_row"))
        # The next of the listed samples.
        listed_row = Signal(16)
        m.d.comb += [
            offset.addr.eq(Mux(self.dense, self.number, Mux(opens, 0, next_sample))),
            self.listed_pair.eq(offset.data),
            listed_row.eq(group + (last_sample & ~opens) + (offset.data >> 3)),
        ]
        with m.If(self.start):
            m.d.sync += [active.eq(~self.wanted), fresh.eq(1), sample.eq(0), tile.eq(0),
                         bank.eq(0), address.eq(self.base), row.eq(self.base >> 3),
                         group.eq(self.base >> 3), end.eq(self.base + self.pairs - 1),
                         at_last_tile.eq(self.tiles == 1)]
        with m.If(self.start | opens):
            m.d.sync += [last_sample.eq(samples == 1), next_sample.eq(samples != 1)]
        with m.Elif(ready & (self.update | last_row & last_tile)):
            on = next_sample == samples_less
            m.d.sync += [sample.eq(next_sample), last_sample.eq(on),
                         next_sample.eq(Mux(on, 0, next_sample + 1))]
        # UPD walks over samples that lie alike in their groups: address and end stay.
        with m.If(opens & ~self.start):
            m.d.sync += [active.eq((samples != 0) & ~self.dense), row.eq(listed_row)]
        with m.Elif(ready & ~self.update & ~self.start):
            m.d.sync += [row.eq(row + 1), fresh.eq(last_row)]
            with m.If(last_row):
                m.d.sync += [tile.eq(next_tile), at_last_tile.eq(next_tile == self._tiles_less)]
                with m.If(last_tile & last_sample):
                    m.d.sync += active.eq(0)
        with m.Elif(ready & ~self.start):
            m.d.sync += row.eq(row + (self.stride >> 3))
            with m.If(last_sample):
                m.d.sync += [row.eq(group + 1), group.eq(group + 1), fresh.eq(0),
                             bank.eq(bank + self._next)]
                with m.If(last_row):
                    m.d.sync += active.eq(0)
            with m.If(self.wanted):
                m.d.sync += row.eq(listed_row)
        # MVA's next sample begins anywhere in a group: a stride on, or as listed.
        following, steps = Signal(_ADDRESS), Signal()
        m.d.comb += [
            steps.eq(opens | at_last_tile),
            following.eq(Mux(steps & self.wanted, 0, address)
                         + Mux(steps, Mux(self.wanted, offset.data, self.stride), 0)),
        ]
        with m.If((opens | ready & last_row) & ~self.update & ~self.start):
            m.d.sync += [address.eq(following), end.eq(following + pairs_less),
                         row.eq(following >> 3)]
        with m.If(self.reset_job):
            m.d.sync += active.eq(0)
        self._reads, self._reading_bank = Signal(), bank
        m.d.comb += self._reads.eq(ready)

        # One cycle later: the weight word of the group's first pair, and which pairs belong to it.
        one, two = Signal(), Signal()
        keep = Signal(GROUP, reset_less=True)
        weight = Signal(_ADDRESS)
        info = data.StructLayout({"fresh": 1, "offset": 3, "over": 3, "ends": 1, "final": 1,
                                  "last_tile": 1, "tile": 12, "sample": 5, "bank": 2})
        self._one = Signal(info, reset_less=True)
        self._two = Signal(info, reset_less=True)
        m.d.sync += [
            one.eq(ready & ~self.reset_job), two.eq(one & ~self.reset_job),
            self._one.fresh.eq(fresh), self._one.offset.eq(address), self._one.over.eq(end),
            self._one.ends.eq(last_row), self._one.last_tile.eq(last_tile),
            self._one.final.eq(last_row & last_tile & last_sample),
            self._one.tile.eq(tile), self._one.sample.eq(sample), self._one.bank.eq(bank),
            self._two.eq(self._one),
            keep.eq(within(self._one.fresh, self._one.offset, self._one.ends, self._one.over)),
        ]
        # UPD's groups advance with their first sample.
        advances = one & (~self.update | (self._one.sample == 0))
        with m.If(advances):
            m.d.sync += weight.eq(Mux(
                self._one.fresh,
                self.weight_base + Mux(self.update, 0, self._one.tile)
                - Choice(self.multiples)[self._one.offset],
                weight + (self.tiles << 3)))
        bits = 2 * self.config.element_bits
        self._arrives, self._weight = two, weight
        self._live = Signal(GROUP)
        self._live_halves = [Signal(GROUP, name=f"live_half{half}") for half in (0, 1)]
        for half, live in enumerate(self._live_halves):
            m.d.comb += live.eq(keep & Cat(
                self.row_data.word_select(2 * k + half, bits // 2).any() for k in range(GROUP)))
        m.d.comb += self._live.eq(self._live_halves[0] | self._live_halves[1])

    def _elaborate_list(self, m: Module):
        """The samples that have errors: how many, where their pairs are, and a pulse.

        Of UPD from the first sample on, of MVA and MVR from the beginning of the memory. The rows
        of their vectors are listed as well.
        """
        listing, opens = Signal(), Signal()
        number, listed = Signal(12), Signal(range(SCANNED_SAMPLES + 1))
        offset, row = Signal(16), Signal(_ADDRESS)
        m.submodules.offsets = offsets = Memory(shape=unsigned(16), depth=SCANNED_SAMPLES, init=[])
        write, read = offsets.write_port(), offsets.read_port(domain="comb")
        m.submodules.vectors = vectors = Memory(shape=unsigned(_ADDRESS), depth=SCANNED_SAMPLES,
                                                init=[])
        self._vector_write, self._vector = vectors.write_port(), vectors.read_port(domain="comb")
        m.d.comb += [
            self.sample.eq(number), write.en.eq(listing & self.erring), write.addr.eq(listed),
            write.data.eq(offset), self._vector_write.en.eq(write.en),
            self._vector_write.addr.eq(listed), self._vector_write.data.eq(row),
        ]
        m.d.sync += opens.eq(0)
        with m.If(self.start):
            m.d.sync += [listing.eq(self.wanted & ~self.reset_job), number.eq(0), listed.eq(0),
                         offset.eq(Mux(self.update, 0, self.base)), row.eq(self.vector_base)]
        with m.Elif(listing):
            m.d.sync += [number.eq(number + 1), listed.eq(listed + self.erring),
                         offset.eq(offset + self.stride),
                         row.eq(row + self.vector_stride)]
            with m.If(number + 1 == self.samples):
                m.d.sync += [listing.eq(0), opens.eq(1)]
        with m.If(self.reset_job):
            m.d.sync += [listing.eq(0), opens.eq(0)]
        self._samples, self._opens = Signal(12), opens
        m.d.comb += [self._samples.eq(Mux(self.wanted, listed, self.samples)),
                     self.listed.eq(opens), self.count.eq(self._samples)]
        m.d.sync += self.nothing.eq(opens & ~self.reset_job & (listed == 0)
                                    & (self.dense | ~self.update))
        return self._samples, read, opens

    # --- MVA --------------------------------------------------------------------------------------

    def _elaborate_queue(self, m: Module):
        depth = SCANNED_SAMPLES
        tail, head = Signal(range(depth)), Signal(range(depth))
        waiting = Signal(range(depth + 1))
        credits, next_credits = Signal(range(depth + 1), init=depth), Signal(range(depth + 1))
        m.submodules.rows = rows = Memory(shape=self._row, depth=depth, init=[])
        write, read = rows.write_port(), rows.read_port(domain="comb")
        arrives, push = Signal(), Signal()
        m.d.comb += [
            arrives.eq(self._arrives & ~self.update),
            push.eq(arrives & (self._live.any() | self._two.ends)),
            write.en.eq(arrives), write.addr.eq(tail), read.addr.eq(head),
            write.data.live.eq(self._live), write.data.weight.eq(self._weight),
            write.data.ends.eq(self._two.ends), write.data.final.eq(self._two.final),
            write.data.last_tile.eq(self._two.last_tile),
        ]
        self._tail = tail
        current, held, slot = Signal(self._row), Signal(), Signal(range(depth))
        self._product_last_tile = current.last_tile
        fresh = Signal()
        # What is left of it after the next pair; so that the end shows in the same cycle.
        rest, turn = Signal(GROUP), Signal(GROUP)
        empties, ends, go, over, load = Signal(), Signal(), Signal(), Signal(), Signal()
        # After its last product a sum is folded.
        folds = Signal()
        m.d.sync += folds.eq(go & ends)
        m.d.comb += [
            turn.eq(Mux(load, read.data.live, rest)),
            empties.eq(rest == 0), ends.eq(empties & current.ends),
            go.eq(held & ~(ends & self.hold) & ~self.update & ~folds), over.eq(go & empties),
            load.eq((over | ~held) & (waiting != 0)),
        ]
        m.d.sync += [
            tail.eq(tail + push), waiting.eq(waiting + push - load),
            credits.eq(next_credits), self._room.eq(next_credits != 0),
        ]
        m.d.comb += next_credits.eq(
            credits - (self._reads & ~self.update) + (arrives & ~push) + over)
        with m.If(go):
            m.d.sync += [current.live.eq(rest), fresh.eq(ends)]
        with m.If(go | load):
            m.d.sync += rest.eq(turn & (turn - 1))
        with m.If(over):
            m.d.sync += held.eq(0)
        with m.If(load):
            m.d.sync += [current.eq(read.data), slot.eq(head), head.eq(head + 1), held.eq(1)]
        with m.If(self.start | self.reset_job):
            m.d.sync += [tail.eq(0), head.eq(0), waiting.eq(0), credits.eq(depth), held.eq(0),
                         self._room.eq(1),
                         fresh.eq(1)]
        self._product_waits = Signal()
        m.d.comb += self._product_waits.eq(self.hold & held & ends)
        step = Signal(self._step_layout())
        m.d.comb += [
            step.valid.eq(go), step.slot.eq(slot), step.weight.eq(current.weight),
            step.place.eq(place(lowest(current.live))), step.none.eq(~current.live.any()),
            step.first.eq(fresh), step.ends.eq(ends), step.final.eq(ends & current.final),
        ]
        return step

    def _slot(self, sample: Value, bank: Value) -> Value:
        """Where a sample's group is stored: with two banks, a bank's low bit is the sample's."""
        return Cat(sample[:4], Mux(self._wide, sample[4], bank[0]), bank[1])

    @staticmethod
    def _step_layout() -> data.StructLayout:
        return data.StructLayout({
            "valid": 1, "slot": 6, "sample": 5, "weight": _ADDRESS, "place": 3, "none": 1,
            "tile": 12, "first": 1, "ends": 1, "final": 1})

    # --- UPD --------------------------------------------------------------------------------------

    def _elaborate_banks(self, m: Module):
        samples = SCANNED_SAMPLES
        arrives, bank = Signal(), self._two.bank
        gathered, complete = Signal(), Signal(_BANKS)
        m.d.comb += [arrives.eq(self._arrives & self.update),
                     gathered.eq(arrives & (self._two.sample == self._samples_less))]
        banks = range(_BANKS)
        masks = [[Signal(samples // 2, name=f"mask_{b}_{k}") for k in range(GROUP)] for b in banks]
        live = [Signal(GROUP, name=f"live_{b}") for b in banks]
        live_halves = [[Signal(GROUP, name=f"live_{b}_half{half}", reset_less=True) for b in banks]
                       for half in (0, 1)]
        weights = [Signal(_ADDRESS, name=f"weight_{b}", reset_less=True) for b in banks]
        finals = Signal(_BANKS)
        # Of the group that is gathered: the halves of pairs that live in a sample so far.
        found = []
        for half, now in enumerate(self._live_halves):
            before = Signal(GROUP, name=f"found_half{half}", reset_less=True)
            found.append(now | Mux(self._two.sample == 0, 0, before))
            with m.If(arrives):
                m.d.sync += before.eq(found[-1])
        for b in banks:
            with m.If(arrives & (bank == b)):
                m.d.sync += [
                    live[b].eq(found[0] | found[1]),
                    *(live_halves[half][b].eq(found[half]) for half in (0, 1)),
                    weights[b].eq(self._weight), finals[b].eq(self._two.ends)]
            with m.If(arrives & (self._slot(self._two.sample, bank)[4:] == b)):
                for k in range(GROUP):
                    m.d.sync += masks[b][k].bit_select(self._two.sample[:4], 1).eq(self._live[k])
        # The first read of a group takes its bank, the last issue of it gives it back.
        takes = self._reads & self.update
        # Pairs of the bank that is looked at, and the pair that comes next: it is fetched while the
        # one before it is issued.
        looked, left, looks, all_looked = Signal(2), Signal(GROUP), Signal(), Signal()
        opens, empty, looking = Signal(), Signal(), Signal(2)
        m.d.comb += [
            looking.eq(looked + Mux(looks, self._next, 0)),
            opens.eq(complete.bit_select(looking, 1) & ~left.any() & ~all_looked),
            empty.eq(opens & ~Choice(live)[looking].any()),
        ]
        fetched, fetch = Signal(), Signal()
        following = Signal(data.StructLayout(
            {"mask": samples, "pair": 3, "bank": 2, "ends_bank": 1, "weight": _ADDRESS,
             "halves": 2}),
            reset_less=True)
        held, load = Signal(), Signal()
        chosen = place(lowest(left))
        m.d.comb += fetch.eq(left.any() & (~fetched | load))
        with m.If(load):
            m.d.sync += fetched.eq(0)
        with m.If(opens):
            # Looking goes on in the other bank.
            m.d.sync += [left.eq(Choice(live)[looking]), looked.eq(looking), looks.eq(1),
                         all_looked.eq(finals.bit_select(looking, 1))]
        with m.If(fetch):
            m.d.sync += [
                left.eq(left & (left - 1)), fetched.eq(1), following.pair.eq(chosen),
                following.bank.eq(looked), following.ends_bank.eq((left & (left - 1)) == 0),
                following.mask.eq(Cat(
                    Choice([Choice(masks[b])[chosen] for b in banks])[looked],
                    Mux(self._wide, Choice([Choice(masks[b])[chosen] for b in (1, 3)])[looked[1]],
                        0))),
                following.weight.eq(Choice(weights)[looked]),
                following.halves.eq(Cat(
                    Choice([live_halves[half][b].bit_select(chosen, 1) for b in banks])[looked]
                    for half in (0, 1))),
            ]
        current = Signal.like(following)
        mask, tile = Signal(samples), Signal(12)
        rest, turn = Signal(samples), Signal(samples)
        ends, last_tile, go, over = Signal(), Signal(), Signal(), Signal()
        finished, running = Signal(), Signal()
        self._update_last_tile = last_tile
        # Half 1 of the word that ended in the cycle before has the lane units, where this one's
        # half 0 would have them.
        taken, waits = Signal(), Signal()
        self._turn_waits = waits
        m.d.sync += taken.eq(go & ends & current.halves[1])
        m.d.comb += waits.eq(held & ends & taken & current.halves[0])
        m.d.comb += [
            turn.eq(Mux(load, following.mask, Mux(ends, current.mask, rest))), ends.eq(rest == 0),
            last_tile.eq(tile == self._tiles_less),
            go.eq(held & ~waits), over.eq(go & ends & last_tile),
            load.eq(fetched & (over | ~held)),
            # The job ends with a step of its own.
            finished.eq(running & all_looked & ~left.any() & ~fetched & ~held),
        ]
        fresh = Signal()
        with m.If(go):
            m.d.sync += fresh.eq(ends)
            with m.If(ends):
                m.d.sync += tile.eq(tile + 1)
        with m.If(go | load):
            m.d.sync += [mask.eq(turn), rest.eq(turn & (turn - 1))]
        with m.If(over):
            m.d.sync += held.eq(0)
        with m.If(load):
            m.d.sync += [current.eq(following), held.eq(1), tile.eq(0)]
        with m.If(finished):
            m.d.sync += running.eq(0)
        for b in banks:
            # The samples of its last pair are issued faster than others can arrive.
            free = (empty & (looking == b)
                    | go & fresh & last_tile & current.ends_bank & (current.bank == b))
            with m.If(takes & (self._reading_bank == b)):
                m.d.sync += self._busy[b].eq(1)
            with m.Elif(free):
                m.d.sync += self._busy[b].eq(0)
            with m.If(gathered & (bank == b)):
                m.d.sync += complete[b].eq(1)
            # It is looked at once.
            with m.Elif(opens & (looking == b)):
                m.d.sync += complete[b].eq(0)
        with m.If(self.start | self.reset_job):
            m.d.sync += [looked.eq(0), looks.eq(0), left.eq(0), all_looked.eq(0), fetched.eq(0),
                         held.eq(0), running.eq(self.start & ~self.reset_job), fresh.eq(1),
                         self._busy.eq(0), complete.eq(0),
                         *(mask.eq(0) for group in masks for mask in group)]
        with m.If(self._opens & (self._samples == 0) & ~self.dense):
            m.d.sync += all_looked.eq(1)
        step = Signal(self._step_layout())
        m.d.comb += [
            step.valid.eq(go | finished),
            step.slot.eq(self._slot(step.sample, current.bank)),
            step.sample.eq(place(lowest(mask))),
            step.weight.eq(current.weight), step.place.eq(current.pair),
            step.tile.eq(tile),
            step.none.eq(finished), step.first.eq(fresh | finished), step.ends.eq(go & ends),
            step.final.eq(finished),
        ]
        # Rows of the samples, unless they are listed.
        row = Signal(_ADDRESS)
        with m.If(arrives):
            m.d.sync += row.eq(row + self.vector_stride)
        with m.If(self.start):
            m.d.sync += row.eq(self.vector_base)
        write = self._vector_write
        with m.If(~self.wanted):
            m.d.comb += [write.en.eq(arrives & self._two.fresh), write.addr.eq(self._two.sample),
                         write.data.eq(row)]
        return step

    # --- the micro-operation ----------------------------------------------------------------------

    def _elaborate_step(self, m: Module, chosen) -> None:
        """The step's pair and addresses, in two cycles."""
        bits = 2 * self.config.element_bits
        write, read = self.store.write_port(), self.store.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self._arrives), write.data.eq(self.row_data),
            write.addr.eq(Mux(self.update, self._slot(self._two.sample, self._two.bank),
                              self._tail)),
        ]
        later = Signal(chosen.shape(), reset_less=True)
        valid = Signal()
        m.d.sync += [later.eq(chosen), valid.eq(chosen.valid & ~self.reset_job)]
        pairs = [read.data[k * bits:k * bits + bits] for k in range(GROUP)]
        m.d.comb += [read.addr.eq(later.slot),
                     self._vector.addr.eq(Mux(self.dense, self.number, later.sample)),
                     self.listed_vector.eq(self._vector.data)]
        m.d.sync += [
            self.valid.eq(valid & ~self.reset_job),
            self.pair.eq(Mux(later.none, 0, Choice(pairs)[later.place])),
            self.weight.eq(later.weight + later.tile + Choice(self.multiples)[later.place]),
            self.vector.eq(self._vector.data + later.tile),
            self.first.eq(later.first), self.ends.eq(later.ends), self.final.eq(later.final),
            self.ends_pair.eq(delay(m, self.last_tile, 1, "last_tile")),
        ]
