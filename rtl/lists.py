"""The list unit: weight registers. Runs SRT, TOP and SCT; twin of tangente.golden.lists.

TOP hands scalars to the array, whose lane units round the candidates of all neurons of a tile, and
the topers of a group take theirs. Times count from an offer's issue, see :data:`OFFERED`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.clock import SCATTER_STEP
from ..golden.config import Config
from ..golden.lists import OFFER_CYCLES, OWN, REGISTERS, SHARED
from . import uop as stage
from .activation import Slope
from .delay import delay
from .descriptor import Descriptor
from .ram import Ram
from .toper import Toper
from .uop import Uop

__all__ = ["ListUnit", "Job"]

#: From an offer's issue: the source is registered; list memory and pair memory have answered; the
#: scalar stands (product, half, coarse shift, fine shift, saturation).
_READ = 1 + Ram.LATENCY
_SCALAR = _READ + Slope.LATENCY + 5
#: The micro-operation stands; the candidates of half 1 do; the topers are offered them; their
#: verdicts are there.
_ISSUED = _SCALAR - 2
_CANDIDATE = _ISSUED + stage.ROW_WRITE + 1
_OFFERED = _CANDIDATE + 1
_VERDICT = _OFFERED + Toper.VERDICT_LATENCY
#: Bits of (register x slope x 2^8) with the half of the largest shift added.
_TOTAL_BITS = 33
#: From SRT's last element being read to the last verdict.
_SORTED = Ram.LATENCY + 2


class Job(enum.Enum, shape=2):
    """What the unit does."""

    SRT = 0
    TOP = 1
    SCT = 2


class ListUnit(wiring.Component):
    """Makes lists of vectors (SRT) and of neurons (TOP), and reads those of outputs out (SCT).

    Members
    -------
    start, kind, job : In. Begin (pulse); ``kind`` and ``job`` stand until it is over.
    done : Out. SRT, TOP: over (pulse). SCT ends with its last micro-operation's ``final``.
    fault : Out. An address is beyond its memory (pulse); it is over.
    scalar_address : Out, 17; scalar_data : In, 2E. A pair, 2 cycles later.
    uop : Out. To the array: the weight word; ``odd`` is the half, ``lane`` SCT's lane.
    u_scalar, v_scalar : Out, E. Two cycles after ``uop``: SCT's error; the scalar, SCT's value.
    values, value_clipped : In, lanes x E and lanes. Rounded candidates of all lanes.
    clipped : Out. Saturations in this cycle.
    store, store_entry : In; stored_id, stored_value : Out. STORE's reads of the list memory, two
        cycles later.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes, bits = config.lanes, config.element_bits
        self._count_bits = bits_for(2 * config.toper_lanes + 1)
        super().__init__({
            "start": In(1), "kind": In(Job), "job": In(Descriptor()),
            "done": Out(1), "fault": Out(1),
            "scalar_address": Out(17), "scalar_data": In(2 * bits),
            "uop": Out(Uop), "u_scalar": Out(signed(bits)), "v_scalar": Out(signed(bits)),
            "values": In(lanes * bits), "value_clipped": In(lanes),
            "clipped": Out(self._count_bits),
            "store": In(1), "store_entry": In(16),
            "stored_id": Out(config.id_bits), "stored_value": Out(signed(bits)),
        })
        entry_bits = bits_for(config.list_entries)
        self._source = data.StructLayout({
            "kind": 2, "alive": config.toper_lanes, "address": entry_bits, "left": entry_bits,
            "input": bits_for(config.queue_entries), "word": 16, "tile": 16,
            "lane": config.lane_bits})
        self._id = data.StructLayout({"lane": config.lane_bits, "half": 1,
                                      "word": config.id_bits - 1 - config.lane_bits})

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job = self.config, self.job
        m.submodules.list_memory = self.memory = Ram(
            config.id_bits + config.element_bits, config.list_entries)
        self.topers = []
        for t in range(config.toper_lanes):
            m.submodules[f"toper{t}"] = toper = Toper(
                config.toper_registers, config.id_bits, config.element_bits)
            m.d.comb += toper.keep.eq(job.k)
            self.topers.append(toper)
        self.entry_id = Signal(self._id)
        self.entry_value = Signal(signed(config.element_bits))
        m.d.comb += Cat(self.entry_value, self.entry_id).eq(self.memory.read_data)

        # Tiles of Q, and the place of the group of neurons whose lists are made.
        self.tiles, self.rest = Signal(12), Signal(12)
        self.tile, self.lane0 = Signal(12), Signal(config.lane_bits + 1)
        self.group = Signal(range(-(-config.lanes // config.toper_lanes)))
        self.valid = Signal(config.toper_lanes)
        self.running, self.clear, self.idle = Signal(), Signal(), Signal()
        sort, sorted_ = self._elaborate_sort(m)
        self._elaborate_top(m)
        scatter = self._elaborate_scatter(m)
        self._elaborate_reads(m)
        close, unloaded = self._elaborate_unload(m)

        good, checked, checking = Signal(), Signal(), Signal()
        self._elaborate_check(m, checking, checked, good)
        width = Signal(12)
        m.d.comb += width.eq(Mux(self.tile + 1 == self.tiles, self.rest, config.lanes))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.rest.eq(job.q), self.tiles.eq(1), self.tile.eq(0),
                             self.lane0.eq(0), self.group.eq(0)]
                with m.If(self.start):
                    with m.If(self.kind == Job.SCT):
                        m.next = "CHECK"
                    with m.Else():
                        m.next = "TILES"
            with m.State("TILES"):
                with m.If(self.rest > config.lanes):
                    m.d.sync += [self.rest.eq(self.rest - config.lanes),
                                 self.tiles.eq(self.tiles + 1)]
                with m.Else():
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += checking.eq(1)
                with m.If(checked):
                    m.d.comb += self.fault.eq(~good)
                    with m.If(~good):
                        m.next = "IDLE"
                    with m.Elif(self.kind == Job.SRT):
                        m.d.comb += sort.eq(1)
                        m.d.sync += self.valid.eq(1)
                        m.next = "SORT"
                    with m.Elif(self.kind == Job.TOP):
                        m.next = "GROUP"
                    with m.Else():
                        m.d.comb += scatter.eq(1)
                        m.next = "IDLE"
            with m.State("SORT"):
                with m.If(sorted_):
                    m.d.comb += close.eq(1)
                    m.next = "UNLOAD"
            with m.State("GROUP"):
                m.d.comb += self.clear.eq(1)
                m.d.sync += self.valid.eq(Cat(self.lane0 + t < width
                                              for t in range(config.toper_lanes)))
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.running.eq(1)
                with m.If(self.idle):
                    m.d.comb += close.eq(1)
                    m.next = "UNLOAD"
            with m.State("UNLOAD"):
                with m.If(unloaded):
                    with m.If(self.kind == Job.SRT):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                    with m.Elif(self.lane0 + config.toper_lanes < width):
                        m.d.sync += [self.lane0.eq(self.lane0 + config.toper_lanes),
                                     self.group.eq(self.group + 1)]
                        m.next = "GROUP"
                    with m.Elif(self.tile + 1 != self.tiles):
                        m.d.sync += [self.lane0.eq(0), self.group.eq(0),
                                     self.tile.eq(self.tile + 1)]
                        m.next = "GROUP"
                    with m.Else():
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
        return m

    # --- checks -----------------------------------------------------------------------------------

    def _elaborate_check(self, m: Module, checking, checked, good) -> None:
        """Addresses, one multiplication after the other: words, entries read, entries written."""
        config, job = self.config, self.job
        top, sct = self.kind == Job.TOP, self.kind == Job.SCT
        pairs = (job.p + 1)[1:]
        step = Signal(3)
        one, other = Signal(16, reset_less=True), Signal(12, reset_less=True)
        base, product = Signal(16, reset_less=True), Signal(28, reset_less=True)
        base_later = delay(m, base, 1, "base")
        limit = Signal(17, reset_less=True)
        end = Signal(29)
        m.d.comb += end.eq(product + base_later)
        m.d.sync += product.eq(one * other)
        beyond = Signal()
        m.d.comb += [checked.eq(checking & (step == 6)), good.eq(~beyond)]
        scalar_base = Mux(top, job.g_base, job.s_base)
        with m.If(~checking):
            m.d.sync += [step.eq(0), beyond.eq(0)]
        with m.Else():
            m.d.sync += step.eq(step + 1)
        with m.Switch(step):
            with m.Case(0):
                m.d.sync += [one.eq(pairs), other.eq(Mux(sct, 0, self.tiles)),
                             base.eq(Mux(sct, 0, job.m_base))]
            with m.Case(1):
                used = top & job.flags.lists
                m.d.sync += [one.eq(job.r_stride), other.eq(Mux(used, job.p, 0)),
                             base.eq(Mux(used, job.r_base, 0)), limit.eq(config.weight_words)]
            with m.Case(2):
                m.d.sync += [one.eq(job.k), base.eq(job.l_base), limit.eq(config.list_entries),
                             other.eq(Mux(top, job.q, Mux(sct, job.p, 1)))]
            with m.Case(3):
                m.d.sync += limit.eq(config.list_entries)
            with m.Case(4):
                scalars = Mux(job.flags.input, config.input_beats * 4, config.pairs)
                with m.If((scalar_base + pairs > scalars)
                          | top & job.flags.own
                          & (job.f_base + job.f_stride > config.list_entries)
                          | top & job.flags.shared
                          & (job.v_base + job.v_stride > config.list_entries)):
                    m.d.sync += beyond.eq(1)
        # The product asked for in one step is compared two steps later.
        with m.If(checking & (step >= 2) & (step <= 4) & (end > limit)):
            m.d.sync += beyond.eq(1)

    # --- reads ------------------------------------------------------------------------------------

    def _elaborate_reads(self, m: Module) -> None:
        """Who reads the list memory and the pairs: one job at a time."""
        with m.Switch(self.kind):
            with m.Case(Job.SRT):
                m.d.comb += self.scalar_address.eq(self.sort_address)
            with m.Case(Job.TOP):
                m.d.comb += [self.scalar_address.eq(self.job.g_base + (self.source.input >> 1)),
                             self.memory.read_address.eq(self.source.address)]
            with m.Case(Job.SCT):
                m.d.comb += [self.scalar_address.eq(self.scatter_pair),
                             self.memory.read_address.eq(self.scatter_entry)]
        with m.If(self.store):
            m.d.comb += self.memory.read_address.eq(self.store_entry)
        m.d.comb += [self.stored_id.eq(self.entry_id), self.stored_value.eq(self.entry_value)]

    def _pair_element(self, odd):
        """The element of the pair read that ``odd`` picks."""
        bits = self.config.element_bits
        return Mux(odd, self.scalar_data[bits:], self.scalar_data[:bits]).as_signed()

    # --- SRT --------------------------------------------------------------------------------------

    def _elaborate_sort(self, m: Module):
        """One element a cycle to the first toper."""
        job = self.job
        begin, over = Signal(), Signal()
        active, index = Signal(), Signal(12)
        word, self.sort_address = Signal(16), Signal(17)
        with m.If(begin):
            m.d.sync += [active.eq(1), index.eq(0), word.eq(job.m_base),
                         self.sort_address.eq(job.s_base)]
        with m.Elif(active):
            m.d.sync += index.eq(index + 1)
            with m.If(index[0]):
                m.d.sync += [word.eq(word + self.tiles),
                             self.sort_address.eq(self.sort_address + 1)]
            with m.If(index + 1 == job.p):
                m.d.sync += active.eq(0)
        read = [active]
        for _ in range(_SORTED):
            later = Signal(name=f"sorting_{len(read)}")
            m.d.sync += later.eq(read[-1])
            read.append(later)
        m.d.comb += over.eq(read[_SORTED] & ~read[_SORTED - 1])
        odd = delay(m, index[0], Ram.LATENCY, "sort_odd")
        place = delay(m, word, Ram.LATENCY, "sort_word")
        self.sort_valid, self.sort_id = read[Ram.LATENCY + 1], Signal(self._id)
        self.sort_value = Signal(signed(self.config.element_bits), reset_less=True)
        m.d.sync += [self.sort_id.word.eq(place), self.sort_id.half.eq(odd),
                     self.sort_value.eq(self._pair_element(odd))]
        return begin, over

    # --- SCT --------------------------------------------------------------------------------------

    def _elaborate_scatter(self, m: Module):
        """One register every SCATTER_STEP cycles: its error times its value into its slot."""
        job, config = self.job, self.config
        begin = Signal()
        active, wait = Signal(), Signal(range(SCATTER_STEP))
        output, register = Signal(12), Signal(16)
        self.scatter_pair, self.scatter_entry = Signal(17), Signal(bits_for(config.list_entries))
        last = (output + 1 == job.p) & (register + 1 == job.k)
        issue = Signal()
        m.d.comb += issue.eq(active & (wait == 0))
        with m.If(begin):
            m.d.sync += [active.eq(1), wait.eq(0), output.eq(0), register.eq(0),
                         self.scatter_pair.eq(job.s_base), self.scatter_entry.eq(job.l_base)]
        with m.Elif(active):
            m.d.sync += wait.eq(Mux(wait == SCATTER_STEP - 1, 0, wait + 1))
            with m.If(wait == SCATTER_STEP - 1):
                m.d.sync += [self.scatter_entry.eq(self.scatter_entry + 1),
                             register.eq(register + 1)]
                with m.If(last):
                    m.d.sync += active.eq(0)
                with m.If(register + 1 == job.k):
                    m.d.sync += [register.eq(0), output.eq(output + 1)]
                    with m.If(output[0]):
                        m.d.sync += self.scatter_pair.eq(self.scatter_pair + 1)
        now, final = Signal(), Signal()
        later, later_final = Signal(), Signal()
        m.d.sync += [later.eq(issue), now.eq(later), later_final.eq(issue & last),
                     final.eq(later_final)]
        scattering = Signal()
        m.d.comb += scattering.eq(self.kind == Job.SCT)
        odd = delay(m, output[0], Ram.LATENCY, "scatter_odd")
        with m.If(scattering):
            m.d.sync += [self.uop.valid.eq(now), self.uop.final.eq(final),
                         self.uop.weight.eq(self.entry_id.word),
                         self.uop.odd.eq(self.entry_id.half), self.uop.lane.eq(self.entry_id.lane)]
        with m.Else():
            m.d.sync += [self.uop.valid.eq(self.offer_issued), self.uop.final.eq(0),
                         self.uop.weight.eq(self.offer_word), self.uop.odd.eq(self.offer_odd)]
        m.d.sync += [self.uop.first.eq(1), self.uop.last.eq(1)]
        value = delay(m, self.entry_value, 3, "scatter_value")
        m.d.comb += [self.u_scalar.eq(delay(m, self._pair_element(odd), 3, "scatter_error")),
                     self.v_scalar.eq(Mux(scattering, value, self.offer_scalar))]
        return begin

    # --- TOP --------------------------------------------------------------------------------------

    def _elaborate_top(self, m: Module) -> None:
        self._elaborate_issue(m)
        self._elaborate_scalar(m)
        self._elaborate_offer(m)

    def _elaborate_issue(self, m: Module) -> None:
        """Sources: first the generator's, each for its first entry, then those that wait."""
        config, job = self.config, self.job
        layout = self._source
        m.submodules.queue = queue = SyncFIFOBuffered(
            width=layout.size, depth=config.queue_entries)
        self.push, self.pushed = Signal(), Signal(layout)
        head = data.View(layout, queue.r_data)

        generating, kind = Signal(), Signal(2)
        index = Signal(bits_for(config.queue_entries))
        word, address = Signal(16), Signal(bits_for(config.list_entries))
        tile, lane = Signal(16), Signal(config.lane_bits)
        spaced, issue = Signal(init=1), Signal()
        any_input = Signal()
        m.d.comb += [
            any_input.eq(job.flags.shared | job.flags.lists),
            issue.eq(self.running & spaced & (generating | queue.r_rdy)),
            queue.r_en.eq(issue & ~generating),
            queue.w_en.eq(self.push), queue.w_data.eq(self.pushed),
        ]
        m.d.sync += spaced.eq(~issue)
        assert OFFER_CYCLES == 2

        first_kind = Mux(job.flags.shared, SHARED, REGISTERS)
        with m.If(self.clear):
            m.d.sync += [generating.eq(job.flags.own | any_input),
                         kind.eq(Mux(job.flags.own, OWN, first_kind)),
                         index.eq(0), word.eq(0), address.eq(job.r_base), tile.eq(0), lane.eq(0)]
        with m.Elif(issue & generating):
            with m.If(kind == OWN):
                m.d.sync += [kind.eq(first_kind), generating.eq(any_input)]
            with m.Elif((kind == SHARED) & job.flags.lists):
                m.d.sync += kind.eq(REGISTERS)
            with m.Else():
                m.d.sync += [kind.eq(first_kind), index.eq(index + 1),
                             address.eq(address + job.r_stride),
                             word.eq(word + Mux(index[0], self.tiles, 0)),
                             lane.eq(lane + 1), generating.eq(index + 1 != job.p)]
                with m.If(lane == config.lanes - 1):
                    m.d.sync += [lane.eq(0), tile.eq(tile + 1)]
        fresh = Signal(layout)
        m.d.comb += [
            fresh.kind.eq(kind), fresh.alive.eq(self.valid), fresh.input.eq(index),
            fresh.word.eq(word), fresh.tile.eq(tile), fresh.lane.eq(lane),
        ]
        with m.Switch(kind):
            with m.Case(OWN):
                m.d.comb += [fresh.address.eq(job.f_base), fresh.left.eq(job.f_stride)]
            with m.Case(SHARED):
                m.d.comb += [fresh.address.eq(job.v_base), fresh.left.eq(job.v_stride)]
            with m.Default():
                m.d.comb += [fresh.address.eq(address), fresh.left.eq(job.r_stride)]
        self.source, self.issued = Signal(layout, reset_less=True), Signal()
        m.d.sync += [self.source.eq(Mux(generating, fresh.as_value(), head.as_value())),
                     self.issued.eq(issue)]

        # Sources that are not finished.
        unfinished = Signal(range(2 * config.queue_entries))
        self.finished = Signal()
        m.d.sync += unfinished.eq(unfinished + (issue & generating) - self.finished)
        m.d.comb += self.idle.eq(~generating & (unfinished == 0))

    def _elaborate_scalar(self, m: Module) -> None:
        """entry x slope x 2^8, shifted, rounded to even, saturated."""
        config, job, bits = self.config, self.job, self.config.element_bits
        m.submodules.slope = slope = Slope(config)
        odd = delay(m, self.source.input[0], Ram.LATENCY, "offer_odd")
        kinds = [self.source.kind]
        for cycle in range(2, _SCALAR + 1):
            kinds.append(delay(m, kinds[-1], 1, f"kind_{cycle}"))
        kind_at = dict(enumerate(kinds, 1))
        m.d.comb += [slope.activation.eq(self._pair_element(odd)),
                     slope.sigmoid.eq(job.flags.sigmoid)]
        entry = delay(m, self.entry_value, Slope.LATENCY, "offer_entry")
        at = _READ + Slope.LATENCY
        product = Signal(signed(2 * bits), reset_less=True)
        m.d.sync += product.eq(entry * Mux(kind_at[at] == OWN, Const(1, bits), slope.slope))
        at += 1
        shifts = Signal(5), Signal(5), Signal(5)
        for kind, value in ((OWN, job.e_shift), (SHARED, job.b_shift), (REGISTERS, job.shift2)):
            m.d.comb += shifts[kind].eq(value)

        def chosen(values, when):
            return Mux(kind_at[when] == OWN, values[OWN],
                       Mux(kind_at[when] == SHARED, values[SHARED], values[REGISTERS]))

        masks = []
        for kind, value in enumerate(shifts):
            mask = Signal(31, name=f"dropped_{kind}", reset_less=True)
            m.d.sync += mask.eq((Const(1, 32) << value) - 1)
            masks.append(mask)
        mask = Signal(31)
        m.d.comb += mask.eq(chosen(masks, at))
        total = Signal(signed(_TOTAL_BITS), reset_less=True)
        m.d.sync += total.eq((product << 8) + (mask ^ mask >> 1))
        dropped = delay(m, mask, 1, "dropped")
        shift = delay(m, chosen(shifts, at), 1, "scalar_shift")
        at += 1
        near = Signal(signed(_TOTAL_BITS), reset_less=True)
        tie = Signal(reset_less=True)
        m.d.sync += [near.eq(total >> (shift[3:] << 3)),
                     tie.eq(dropped[0] & ~(total[:31] & dropped).any())]
        fine = delay(m, shift[:3], 1, "scalar_fine")
        at += 1
        result, shifted = Signal(signed(_TOTAL_BITS), reset_less=True), Signal(signed(_TOTAL_BITS))
        m.d.comb += shifted.eq(near >> fine)
        m.d.sync += result.eq(Cat(shifted[0] & ~tie, shifted[1:]))
        at += 1
        limit = config.element_max
        above, below = Signal(), Signal()
        m.d.comb += [above.eq(result > limit), below.eq(result < -limit)]
        self.offer_scalar = Signal(signed(bits), reset_less=True)
        clipped = Signal(reset_less=True)
        m.d.sync += [self.offer_scalar.eq(Mux(above, limit, Mux(below, -limit, result[:bits]))),
                     clipped.eq(above | below)]
        at += 1
        assert at == _SCALAR
        self.scalar_clipped = clipped

    def _elaborate_offer(self, m: Module) -> None:
        """The candidates to the topers, and the verdicts back to the queue."""
        config, bits = self.config, self.config.element_bits
        lanes, topers = config.lanes, config.toper_lanes
        # One before the micro-operation stands.
        before = _ISSUED - 2
        issued = [self.issued]
        for cycle in range(1, _VERDICT):
            later = Signal(name=f"issued_{cycle}")
            m.d.sync += later.eq(issued[-1])
            issued.append(later)
        issued_at = dict(enumerate(issued, 1))
        source = delay(m, self.source.as_value(), before, "source")
        source = data.View(self._source, source)
        self.offer_issued = issued_at[before + 1]
        self.offer_word = Signal(16)
        self.offer_odd = source.input[0]
        m.d.comb += self.offer_word.eq(self.job.m_base + source.word + self.tile)
        late = delay(m, source.as_value(), _CANDIDATE - before - 1, "late_source")
        late = data.View(self._source, late)
        identity = delay(m, self.entry_id.as_value(), _CANDIDATE - _READ, "identity")
        identity = data.View(self._id, identity)
        scalar = delay(m, self.offer_scalar, _CANDIDATE - _SCALAR, "own")
        own = Signal()
        m.d.comb += own.eq(late.kind == OWN)

        groups = -(-lanes // topers)
        padding = groups * topers - lanes
        values = Cat(self.values, Const(0, padding * bits) if padding else Const(0, 0))
        flags = Cat(self.value_clipped, Const(0, padding) if padding else Const(0, 0))
        now = Signal(topers * bits)
        clipped_now = Signal(topers)
        m.d.comb += [now.eq(values.word_select(self.group, topers * bits)),
                     clipped_now.eq(flags.word_select(self.group, topers))]
        before_now = delay(m, now, 1, "half0")
        clipped_before = delay(m, clipped_now, 1, "half0_clipped")
        candidates = Mux(late.input[0], now, before_now)
        candidate_clipped = Mux(late.input[0], clipped_now, clipped_before)

        word = Signal(self._id["word"].shape)
        m.d.comb += word.eq(identity.word + Mux(own, self.tile,
                                                Mux(late.kind == SHARED, late.tile, 0)))
        offered = issued_at[_OFFERED]
        last = data.View(self._source, delay(m, late.as_value(), _VERDICT - _CANDIDATE, "last"))
        take = data.View(self._source, delay(m, late.as_value(), 1, "take"))
        alive, summed_clipped = Signal(topers), Signal(topers)
        sorting = Signal()
        m.d.comb += sorting.eq(self.kind == Job.SRT)
        for t, toper in enumerate(self.topers):
            lane = Mux(own, self.lane0 + t, Mux(late.kind == SHARED, late.lane, 0))
            entry = Signal(self._id, name=f"id_{t}", reset_less=True)
            value = Signal(signed(bits), name=f"value_{t}", reset_less=True)
            m.d.sync += [entry.word.eq(word), entry.half.eq(identity.half),
                         entry.lane.eq(identity.lane | lane),
                         value.eq(Mux(own, scalar, candidates[t * bits:t * bits + bits]))]
            m.d.comb += [
                toper.offers.valid.eq(offered & take.alive[t]),
                toper.offers.p.id.eq(entry), toper.offers.p.value.eq(value),
                alive[t].eq(toper.alive), summed_clipped[t].eq(toper.clipped),
            ]
            if t == 0:
                with m.If(sorting):
                    m.d.comb += [toper.offers.valid.eq(self.sort_valid),
                                 toper.offers.p.id.eq(self.sort_id),
                                 toper.offers.p.value.eq(self.sort_value)]
        verdict = issued_at[_VERDICT] & ~sorting
        m.d.comb += [
            self.pushed.eq(last), self.pushed.alive.eq(alive),
            self.pushed.address.eq(last.address + 1), self.pushed.left.eq(last.left - 1),
            self.push.eq(verdict & alive.any() & (last.left != 1)),
            self.finished.eq(verdict & ~self.push),
        ]
        counted = Signal(topers, reset_less=True)
        m.d.sync += [
            counted.eq(Mux(issued_at[_CANDIDATE] & ~own, candidate_clipped & late.alive, 0)),
            self.clipped.eq(sum(counted) + sum(Mux(verdict, summed_clipped, 0))
                            + (self.scalar_clipped & issued_at[_SCALAR])),
        ]

    # --- lists out --------------------------------------------------------------------------------

    def _elaborate_unload(self, m: Module):
        """The lists of the group, one toper after the other, to the list memory."""
        config = self.config
        close, over = Signal(), Signal()
        turn = Signal(range(config.toper_lanes + 1))
        unloading = Signal()
        address = Signal(bits_for(config.list_entries))
        write, last = Signal(), Signal()
        entry = Signal(config.id_bits + config.element_bits)
        for t, toper in enumerate(self.topers):
            mine = unloading & (turn == t)
            m.d.comb += [toper.close.eq(close & self.valid[t]), toper.lists.ready.eq(mine)]
            with m.If(mine):
                m.d.comb += [entry.eq(Cat(toper.lists.p.value, toper.lists.p.id)),
                             write.eq(toper.lists.valid), last.eq(toper.lists.p.last)]
        memory = self.memory
        m.d.comb += [
            memory.write_enable.eq(write), memory.write_address.eq(address),
            memory.write_data.eq(entry),
            over.eq(write & last & ((turn == config.toper_lanes - 1)
                                    | ~(self.valid >> (turn + 1))[0])),
        ]
        with m.If(self.start):
            m.d.sync += address.eq(self.job.l_base)
        with m.If(close):
            m.d.sync += [unloading.eq(1), turn.eq(0)]
        with m.Elif(write):
            m.d.sync += address.eq(address + 1)
            with m.If(last):
                m.d.sync += turn.eq(turn + 1)
            with m.If(over):
                m.d.sync += unloading.eq(0)
        return close, over
