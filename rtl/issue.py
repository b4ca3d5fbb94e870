"""The issue unit: three nested loops and four address generators that drive the array."""

from __future__ import annotations

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import GROUP, SCANNED_SAMPLES
from ..golden.isa import LIVE_MAX
from .delay import delay
from .descriptor import Descriptor
from .live_list import LiveList
from .scanner import GROUP_BITS, STEP_TO_UOP, Scanner
from .uop import Kind, Uop

__all__ = ["Issue", "AddressGenerator", "Stalls"]

_BITS = 18
#: What the end of a sum waits for: the drain, the queue of sums, the lane units' turn.
Stalls = data.StructLayout({"drain": 1, "queue": 1, "turn": 1})


class AddressGenerator(wiring.Component):
    """address = base + outer * a + middle * b + inner * c, by additions.

    Members
    -------
    base, a, b, c : In. Fixed while a job runs.
    listed : In. ``a`` is the address of the next outer iteration, in place of an increment.
    restart : In. Load ``base``.
    step : In. Advance; ``end_inner`` and ``end_middle`` say which loops this step wraps.
    address : Out. Of the current iteration.
    """

    def __init__(self, bits: int = _BITS) -> None:
        self.bits = bits
        super().__init__({
            "base": In(bits), "a": In(bits), "b": In(bits), "c": In(bits), "listed": In(1),
            "restart": In(1), "step": In(1), "end_inner": In(1), "end_middle": In(1),
            "address": Out(bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        outer, middle = Signal(self.bits), Signal(self.bits)
        with m.If(self.restart):
            m.d.sync += [outer.eq(self.base), middle.eq(self.base), self.address.eq(self.base)]
        with m.Elif(self.step):
            with m.If(~self.end_inner):
                m.d.sync += self.address.eq(self.address + self.c)
            with m.Elif(~self.end_middle):
                m.d.sync += [middle.eq(middle + self.b), self.address.eq(middle + self.b)]
            with m.Else():
                following = Mux(self.listed, 0, outer) + self.a
                m.d.sync += [outer.eq(following), middle.eq(following), self.address.eq(following)]
        return m


class Issue(wiring.Component):
    """Turns one job into micro-operations, one a cycle.

    Loops (outer, middle, inner) of each kind::

        MVA   samples, tiles, pairs of P      sum over the inner loop
        MVD   samples, pairs of P, tiles      sum over the inner loop, in the reducer
        MVR   samples, tiles, P               sum over the inner loop
        UPD   pairs of P, tiles, samples      sum over the inner loop
        OWN   pairs of P, tiles, 1            no sum
        DEEP  pairs of P, deep tiles, live Q  sum over the inner loop

    The end of a sum waits without ``drain_ready`` (MVA, MVR) or without ``credit`` (MVD). In the
    cycle after it MVA and MVR issue nothing: the halves' sums are added. Sums that the lane unit
    takes (UPD, OWN, DEEP) end at least two cycles apart, one for each half; of those that leave out
    zeros one, where half 1 of the first or half 0 of the second has no turn.

    MVA, and UPD where :func:`tangente.golden.flow.scanned_update` says so, leave out what is zero:
    their micro-operations come from a :class:`Scanner`, with the pair of scalars. OWN with
    Flag.LIVE likewise leaves out neurons whose activation is zero, and DEEP those below. With
    Flag.WANTED UPD, MVA, MVD and MVR, of 32 samples at most, leave out those that are not
    ``erring``.

    Members
    -------
    start : In. Begin the job that ``job`` and ``kind`` hold, stable until ``done``.
    uop : Out. The current micro-operation, registered.
    drain_ready, credit : In. See above; ``drain_ready`` holds for ``drain_pairs``.
    take_credit : Out. An MVD sum has been issued.
    drain : Out. An MVA or MVR sum has been issued: ``drain_pairs`` pairs of it are to be drained,
        which stand in its micro-operation's ``target`` too.
    carried : Out. The job's scalars come with the micro-operations, in ``pair``.
    grouped, group : Out, 1 and 16; group_data : In, 16 E. A group of pairs, two cycles later.
    pair : Out, 2 E.
    sample, erring, behind, reached : See :class:`tangente.rtl.scanner.Scanner`.
    live : Out, 12. Neurons that the last OWN made rows of; ``clear`` : In, zeroes it.
    done : Out. All micro-operations are issued (pulse).
    fault : Out. An address is beyond its memory (pulse); the job is over.
    reset_job : In. Stop at once.
    stalls : Out. Why there is no micro-operation in this cycle, if a sum could not end.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "job": In(Descriptor()),
            "kind": In(data.StructLayout({"kind": 3})),
            "uop": Out(Uop),
            "drain_ready": In(1),
            "credit": In(1),
            "take_credit": Out(1),
            "drain": Out(1),
            "drain_pairs": Out(8),
            "carried": Out(1),
            "grouped": Out(1),
            "group": Out(16),
            "live": Out(12),
            "clear": In(1),
            "group_data": In(2 * GROUP * config.element_bits),
            "pair": Out(2 * config.element_bits),
            "sample": Out(range(SCANNED_SAMPLES)),
            "erring": In(1),
            "behind": In(1),
            "reached": In(GROUP_BITS),
            "done": Out(1),
            "fault": Out(1),
            "reset_job": In(1),
            "stalls": Out(Stalls),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job, kind = self.config, self.job, self.kind.kind
        lanes = config.lanes
        is_kind = {k: Signal(name=f"is_{k.name.lower()}") for k in Kind}
        m.d.comb += [signal.eq(kind == k) for k, signal in is_kind.items()]
        summed_by_lane_unit = is_kind[Kind.UPD] | is_kind[Kind.OWN] | is_kind[Kind.DEEP]
        drained = is_kind[Kind.MVA] | is_kind[Kind.MVR]

        # Setup: tiles of Q, one subtraction a cycle.
        rest, more, tiles = Signal(12), Signal(), Signal(12)
        tiles_next = Signal(12)
        pairs = Signal(12)
        m.d.comb += pairs.eq((job.p + 1) >> 1)

        self._wanted, self._listing = Signal(), Signal()
        # MVD's or MVR's next sample, of those that are listed.
        self._number = Signal(range(SCANNED_SAMPLES))
        m.submodules.scanner = self._scanner = scanner = Scanner(config)
        self._words = Signal(range(LIVE_MAX // 2 + 1))
        self._word = Signal(data.StructLayout({"weight": _BITS, "even": 1, "odd": 1}))
        m.submodules.below = self._below = LiveList(config)
        # Of each loop the last place; they stand when the first micro-operation is made.
        last_outer, last_middle, last_inner = Signal(12), Signal(12), Signal(12)
        outer, middle, inner = Signal(12), Signal(12), Signal(12)
        self._outer = outer
        end_outer, end_middle, end_inner = Signal(), Signal(), Signal()
        with m.Switch(kind):
            for k, loops in {
                Kind.MVA: (job.count, tiles, pairs),
                Kind.MVD: (scanner.count, pairs, tiles),
                Kind.MVR: (scanner.count, tiles, job.p),
                Kind.UPD: (pairs, tiles, job.count),
                Kind.OWN: (pairs, tiles, Const(1)),
                Kind.DEEP: (Mux(job.flags.live, self._words, pairs), job.tiles,
                            Mux(self._below.count == 0, 1, self._below.count)),
            }.items():
                with m.Case(k):
                    m.d.sync += [last_outer.eq(loops[0] - 1), last_middle.eq(loops[1] - 1),
                                 last_inner.eq(loops[2] - 1)]
        m.d.comb += [end_outer.eq(outer == last_outer), end_middle.eq(middle == last_middle),
                     end_inner.eq(inner == last_inner)]

        # A step that is not stopped by a fault or a reset: after these it does not matter where the
        # loops are, so that their registers need not wait for the check of addresses.
        restart, advance, sound, step = Signal(), Signal(), Signal(), Signal()
        m.submodules.weight = weight = AddressGenerator()
        m.submodules.row = row = AddressGenerator()
        m.submodules.scalar = scalar = AddressGenerator(_BITS + 1)
        m.submodules.target = target = AddressGenerator()
        for generator in (weight, row, scalar, target):
            m.d.comb += [generator.restart.eq(restart), generator.step.eq(advance),
                         generator.end_inner.eq(end_inner), generator.end_middle.eq(end_middle)]

        twice = Cat(Const(0, 1), job.s_stride)
        m.d.comb += [weight.base.eq(job.m_base), row.base.eq(job.v_base),
                     scalar.base.eq(Cat(Const(0, 1), job.s_base)),
                     target.base.eq(job.yr_base), target.a.eq(job.yr_stride << 1), target.b.eq(1)]
        with m.Switch(kind):
            with m.Case(Kind.MVA):
                m.d.comb += [weight.b.eq(1), weight.c.eq(tiles), scalar.a.eq(twice), scalar.c.eq(2)]
            with m.Case(Kind.MVD):
                m.d.comb += [weight.b.eq(tiles), weight.c.eq(1), row.a.eq(job.v_stride),
                             row.c.eq(1)]
                with m.If(self._wanted):
                    m.d.comb += [row.base.eq(scanner.listed_vector), row.listed.eq(1),
                                 row.a.eq(scanner.listed_vector)]
            with m.Case(Kind.MVR):
                m.d.comb += [row.a.eq(job.r_stride), row.b.eq(1), row.c.eq(job.v_stride),
                             scalar.a.eq(twice),
                             scalar.c.eq(1)]
                with m.If(self._wanted):
                    m.d.comb += [row.base.eq(scanner.listed_vector), row.listed.eq(1),
                                 row.a.eq(scanner.listed_vector), scalar.listed.eq(1),
                                 scalar.base.eq(Cat(Const(0, 1), scanner.listed_pair)),
                                 scalar.a.eq(Cat(Const(0, 1), scanner.listed_pair))]
            with m.Case(Kind.UPD):
                m.d.comb += [weight.a.eq(tiles), weight.b.eq(1), row.b.eq(1),
                             row.c.eq(job.v_stride), scalar.a.eq(2), scalar.c.eq(twice)]
            with m.Case(Kind.OWN):
                m.d.comb += [weight.a.eq(tiles), weight.b.eq(1), row.b.eq(1),
                             target.base.eq(job.yr_base + job.tiles)]
            with m.Case(Kind.DEEP):
                m.d.comb += [weight.a.eq(tiles), row.base.eq(job.r_base), row.b.eq(1),
                             row.c.eq(job.r_stride)]
                with m.If(job.flags.live):
                    m.d.comb += target.a.eq(
                        Mux(self._word.even & self._word.odd, job.yr_stride << 1, job.yr_stride))

        # Which addresses a kind uses, and where their memories end.
        scalar_end = Mux(job.flags.input, config.input_beats * 4, config.pairs)
        weight_bad = ~is_kind[Kind.MVR] & (weight.address >= config.weight_words)
        row_bad = row.address >= config.rows
        scalar_bad = ~is_kind[Kind.MVD] & ((scalar.address >> 1) >= scalar_end)
        even, odd = Signal(), Signal()
        listed = is_kind[Kind.DEEP] & job.flags.live
        m.d.comb += [even.eq(~listed | self._word.even),
                     odd.eq(Mux(listed, self._word.odd, ~(end_outer & job.p[0])))]
        bad = Signal()
        m.d.comb += bad.eq((is_kind[Kind.MVD] | is_kind[Kind.MVR] | is_kind[Kind.UPD])
                           & (weight_bad | row_bad | scalar_bad))

        last, held, wait, over, spaced = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(end_inner),
            # After its last product a sum that is drained is folded.
            held.eq(drained & (~self.drain_ready | ~spaced) | is_kind[Kind.MVD] & ~self.credit
                    | summed_by_lane_unit & ~spaced),
            wait.eq(last & held | drained & ~spaced),
            over.eq(end_inner & end_middle & end_outer & ~held),
        ]
        running, dense = Signal(), Signal(Uop)
        scalar_now = Signal(signed(config.element_bits), reset_less=True)
        m.d.sync += [self.done.eq(0), self.fault.eq(0), spaced.eq(1)]
        scanning, begin = Signal(), Signal()
        self._elaborate_scanner(m, is_kind, tiles, pairs, begin)
        m.d.comb += self.pair.eq(Mux(is_kind[Kind.DEEP], Cat(scalar_now, scalar_now),
                                     scanner.pair))
        m.d.comb += scanner.hold.eq(~self.drain_ready)
        beyond = self._elaborate_check(m, is_kind, (tiles, tiles_next), pairs, begin,
                                       running & bad)
        with m.If(beyond):
            m.d.sync += [self.fault.eq(1), scanning.eq(0), running.eq(0)]
        m.d.comb += scanner.reset_job.eq(self.reset_job | beyond)
        target_row = self._elaborate_live(m, is_kind, scanner, begin)
        below = self._below
        m.d.comb += below.entry.eq(inner)
        tile_of, lane_of = self._elaborate_places(m, below.neuron)
        m.d.sync += self.stalls.eq(Mux(running & last & ~bad, Cat(
            drained & ~self.drain_ready, is_kind[Kind.MVD] & ~self.credit,
            summed_by_lane_unit & ~spaced), 0))
        m.d.comb += [
            self.drain.eq(step & last & drained
                          | scanner.step & scanner.last & ~scanner.update),
            self.drain_pairs.eq(Mux(Mux(self._scanned, scanner.last_tile, end_middle),
                                    (rest + 1) >> 1, lanes // 2)),
            self.take_credit.eq(step & last & is_kind[Kind.MVD]),
            advance.eq(running & ~wait),
            sound.eq(~bad & ~beyond & ~self.reset_job), step.eq(advance & sound),
        ]
        with m.If(running & bad):
            m.d.sync += [running.eq(0), self.fault.eq(1)]
        m.d.sync += dense.valid.eq(step)
        with m.If(advance):
            m.d.sync += [
                dense.weight.eq(Mux(listed, self._word.weight, weight.address)
                                + Mux(is_kind[Kind.DEEP], tile_of, 0)),
                dense.row.eq(row.address),
                dense.scalar.eq(scalar.address),
                dense.lane.eq(lane_of),
                dense.target.eq(Mux(drained, self.drain_pairs, target.address)),
                dense.first.eq(inner == 0),
                dense.last.eq(last),
                dense.final.eq(end_inner & end_middle & end_outer),
                dense.even.eq(even),
                dense.odd.eq(odd),
                scalar_now.eq(Mux(below.count == 0, 0, below.activation)),
                inner.eq(inner + 1),
            ]
            with m.If(last):
                m.d.sync += [inner.eq(0), middle.eq(middle + 1), spaced.eq(0)]
                with m.If(end_middle):
                    m.d.sync += [middle.eq(0), outer.eq(outer + 1),
                                 self._number.eq(self._number + 1)]

        # A scanned micro-operation stands two cycles after its step.
        scanned_pairs = delay(m, self.drain_pairs, STEP_TO_UOP, "scanned_pairs")
        m.d.comb += self.uop.eq(dense)
        waits = delay(m, scanner.waits, STEP_TO_UOP - 1, "waits")
        with m.If(self._scanned):
            m.d.sync += self.stalls.eq(Cat(waits & ~scanner.update, Const(0, 1),
                                           waits & scanner.update))
            m.d.comb += [
                self.uop.valid.eq(scanner.valid), self.uop.weight.eq(scanner.weight),
                self.uop.row.eq(scanner.vector),
                self.uop.target.eq(Mux(is_kind[Kind.MVA], scanned_pairs, target_row)),
                self.uop.first.eq(scanner.first), self.uop.last.eq(scanner.ends),
                self.uop.final.eq(scanner.final),
                self.uop.even.eq(scanner.pair[:config.element_bits].any()),
                self.uop.odd.eq(scanner.pair[config.element_bits:].any()),
            ]
            with m.If(scanner.done & ~beyond):
                m.d.sync += [scanning.eq(0), self.done.eq(1)]

        lists, setup = Signal(), Signal()
        m.d.comb += tiles_next.eq(Mux(setup, tiles + more, 1))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [rest.eq(job.q), more.eq(job.q > lanes), tiles.eq(tiles_next),
                             outer.eq(0), middle.eq(0), inner.eq(0), self._number.eq(0)]
                # The list of those below is made beside OWN, or first if that reads pairs as well.
                m.d.comb += below.start.eq(self.start & is_kind[Kind.OWN] & (job.tiles != 0))
                m.d.sync += lists.eq(0)
                with m.If(self.start):
                    m.d.sync += lists.eq(is_kind[Kind.DEEP] | is_kind[Kind.OWN] & job.flags.live
                                         & (job.tiles != 0))
                    m.next = "SETUP"
            with m.State("SETUP"):
                m.d.comb += setup.eq(1)
                m.d.sync += tiles.eq(tiles_next)
                with m.If(more):
                    m.d.sync += [rest.eq(rest - lanes), more.eq(rest > 2 * lanes)]
                with m.Elif(~lists | below.done):
                    m.d.comb += [restart.eq(1), begin.eq(~is_kind[Kind.DEEP])]
                    m.d.sync += [running.eq(~self._scanned & ~self._listing),
                                 scanning.eq(self._scanned | self._listing)]
                    m.next = "RUN"
                with m.If(self.reset_job):
                    m.next = "IDLE"
            with m.State("RUN"):
                with m.If(self._listing & scanner.listed):
                    # MVD or MVR begins.
                    m.d.comb += restart.eq(1)
                    m.d.sync += [scanning.eq(0), running.eq((scanner.count != 0) & ~beyond),
                                 self._number.eq(1)]
                with m.If(~running & ~scanning):
                    m.next = "IDLE"
        with m.If(scanner.nothing & ~beyond):
            m.d.sync += [scanning.eq(0), self.done.eq(1)]
        with m.If(running & over):
            m.d.sync += [running.eq(0), self.done.eq(sound)]
        with m.If(self.reset_job):
            m.d.sync += [running.eq(0), scanning.eq(0), dense.valid.eq(0), self.done.eq(0)]
        return m

    def _elaborate_scanner(self, m: Module, is_kind, tiles, pairs, begin) -> Scanner:
        job, scanner = self.job, self._scanner
        self._scanned = Signal()
        own, below, mvr = is_kind[Kind.OWN], self._below, is_kind[Kind.MVR]
        few = job.count <= SCANNED_SAMPLES
        alike = (job.count == 1) | (job.s_stride[:3] == 0)
        m.d.sync += self._scanned.eq(
            is_kind[Kind.MVA] | own & job.flags.live
            | is_kind[Kind.UPD] & alike & few)
        m.d.sync += [self._wanted.eq(job.flags.wanted & few),
                     self._listing.eq((is_kind[Kind.MVD] | mvr) & job.flags.wanted & few)]
        m.d.comb += [
            scanner.start.eq(begin & (self._scanned | self._listing)),
            scanner.update.eq(~is_kind[Kind.MVA] & ~mvr),
            scanner.dense.eq(self._listing), scanner.number.eq(self._number),
            scanner.base.eq(job.s_base), scanner.stride.eq(job.s_stride),
            scanner.pairs.eq(pairs), scanner.samples.eq(Mux(own, 1, job.count)),
            scanner.tiles.eq(tiles), scanner.weight_base.eq(job.m_base),
            scanner.vector_base.eq(job.v_base),
            scanner.vector_stride.eq(self._sample_rows(is_kind)),
            scanner.row_data.eq(self.group_data),
            scanner.wanted.eq(self._wanted),
            self.sample.eq(scanner.sample), scanner.erring.eq(self.erring),
            scanner.behind.eq(self.behind), scanner.reached.eq(self.reached),
            below.base.eq(job.g_base), below.pairs.eq((job.q + 1) >> 1),
            below.group_data.eq(self.group_data), below.reset_job.eq(self.reset_job),
            self.carried.eq(self._scanned | is_kind[Kind.DEEP]),
            self.grouped.eq(self._scanned | below.reading),
            self.group.eq(Mux(below.reading, below.group, scanner.row)),
        ]
        return scanner

    def _sample_rows(self, is_kind) -> Value:
        """Rows between samples."""
        return Mux(is_kind[Kind.MVR], self.job.r_stride, self.job.v_stride)

    def _elaborate_check(self, m: Module, is_kind, tiles, pairs, begin, found) -> Signal:
        """Whether the last address of a kind is beyond its memory, one product after the other.

        All in a DSP48E1, which the first product's factors enter before ``begin``: ``tiles`` are
        given with what they are a cycle later. No longer asked once a micro-operation's address has
        been ``found`` to be.
        """
        tiles, tiles_next = tiles
        job, config = self.job, self.config
        own, mva, mvr = is_kind[Kind.OWN], is_kind[Kind.MVA], is_kind[Kind.MVR]
        listing = self._listing & ~mvr
        others = own & (job.tiles != 0)
        more = Mux(own, 0, job.count - 1)[:12]
        pairs_below = (job.q + 1)[1:]
        neurons = Mux(job.flags.live, pairs << 1, job.p)
        factors = [
            (pairs, tiles_next, job.m_base, Const(config.weight_words)),
            (Mux(listing, 0, more), job.s_stride,
             Mux(listing | own & ~job.flags.live, 0, job.s_base + pairs),
             Mux(job.flags.input, config.input_beats * 4, config.pairs)),
            # MVA has no rows.
            (Mux(mva, 0, more), self._sample_rows(is_kind), Mux(mva, 0, job.v_base + tiles),
             Const(config.rows)),
            (Mux(own, neurons - 1, 0)[:12], job.yr_stride,
             Mux(own, job.yr_base + job.tiles + tiles, 0), Const(config.rows)),
            (Mux(others, (pairs_below << 1) - 1, 0)[:12], job.r_stride,
             Mux(others, job.r_base + job.tiles, 0), Const(config.rows)),
            (Const(0, 12), Const(0, 16), Mux(others, job.g_base + pairs_below, 0),
             Const(config.pairs)),
        ]
        check = Signal(len(factors) + 1)
        one, other = Signal(12, reset_less=True), Signal(16, reset_less=True)
        added, limit = Signal(18, reset_less=True), Signal(18, reset_less=True)
        product, over = Signal(28, reset_less=True), Signal(signed(30), reset_less=True)
        # A product and this, added - limit - 1, are negative where all is well.
        room = Signal(signed(19), reset_less=True)
        m.d.sync += [
            check.eq(Cat(begin & (self._scanned | self._listing | own), check)),
            product.eq(one * other), over.eq(product + room),
            room.eq(added + Cat(~limit, Const(1, 1)).as_signed()),
        ]
        for step, (first, second, plus, end) in enumerate(factors):
            load = [one.eq(first), other.eq(second), added.eq(plus), limit.eq(end)]
            if step == 0:
                m.d.sync += load
            else:
                with m.If(begin if step == 1 else check[step - 2]):
                    m.d.sync += load
        beyond = Signal()
        # MVR has no weights.
        looks = (check[1] & ~mvr) | check[2:].any()
        m.d.comb += beyond.eq(looks & ~over[-1])
        with m.If(self.reset_job | beyond | found):
            m.d.sync += check.eq(0)
        return beyond

    def _elaborate_live(self, m: Module, is_kind, scanner, begin) -> Signal:
        """OWN with Flag.LIVE: the rows of live neurons, and the words that hold them, for DEEP."""
        job, bits = self.job, self.config.element_bits
        m.submodules.words = words = Memory(shape=self._word.shape(), depth=LIVE_MAX // 2, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [read.addr.eq(self._outer), self._word.eq(read.data)]
        row, neuron_row = Signal(_BITS), Signal(_BITS)
        first_tile, weight = Signal(), Signal(_BITS)
        even, odd = scanner.pair[:bits].any(), scanner.pair[bits:].any()
        both = even & odd
        following = Signal(_BITS)
        now = Signal()
        m.d.comb += [
            now.eq(scanner.valid & is_kind[Kind.OWN] & ~scanner.final),
            following.eq(neuron_row + Mux(both, job.yr_stride << 1, job.yr_stride)),
            write.en.eq(now & scanner.ends_pair), write.addr.eq(self._words),
            write.data.weight.eq(Mux(first_tile, scanner.weight, weight)),
            write.data.even.eq(even), write.data.odd.eq(odd),
        ]
        with m.If(now):
            m.d.sync += [row.eq(row + 1), first_tile.eq(0)]
            with m.If(first_tile):
                m.d.sync += weight.eq(scanner.weight)
            with m.If(scanner.ends_pair):
                m.d.sync += [row.eq(following), neuron_row.eq(following), first_tile.eq(1),
                             self._words.eq(self._words + 1),
                             self.live.eq(self.live + Mux(both, 2, 1))]
        with m.If(begin & is_kind[Kind.OWN]):
            base = job.yr_base + job.tiles
            m.d.sync += [row.eq(base), neuron_row.eq(base), first_tile.eq(1), self._words.eq(0),
                         self.live.eq(Mux(job.flags.live, 0, job.p))]
        with m.If(self.clear):
            m.d.sync += self.live.eq(0)
        return row

    def _elaborate_places(self, m: Module, neuron) -> tuple[Signal, Signal]:
        """Tile and lane of a neuron of the layer below."""
        lanes = self.config.lanes
        tile, lane = Signal(range(-(-LIVE_MAX // lanes))), Signal(range(lanes))
        for place, function in ((tile, lambda j: j // lanes), (lane, lambda j: j % lanes)):
            table = Choice(Const(function(j), place.shape()) for j in range(LIVE_MAX))
            m.d.comb += place.eq(table[neuron])
        return tile, lane
