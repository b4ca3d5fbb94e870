"""The datapath: issue unit, array, lane units, reducer and drain, between the memories.

The times of every stage stand in :mod:`tangente.rtl.uop`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import CREDITS, GROUP, SCANNED_SAMPLES
from ..golden.isa import SIGN_SIZE
from . import uop as stage
from .activation import Slope
from .array import MacArray, pick
from .counters import Events
from .delay import delay
from .descriptor import Descriptor
from .drain import Drain
from .issue import Issue
from .lane_unit import LaneUnits
from .mixer import Mixer
from .post import SUM_BITS
from .ram import Ram
from .reducer import Reducer
from .rule import Decoder
from .scanner import GROUP_BITS
from .uop import Kind, Uop

__all__ = ["Datapath", "Sums", "SUMS_DEPTH"]

#: Pairs of sums that may be under way to the post-processing unit.
SUMS_DEPTH = CREDITS
#: From the issue unit's ``done`` until a product's last micro-operation has been captured.
EMPTIED = 10
#: A pair of sums.
Sums = data.StructLayout({"even": signed(SUM_BITS), "odd": signed(SUM_BITS)})


def _both(even: Value, odd: Value) -> Value:
    """As :data:`Sums`."""
    return Cat(even[:SUM_BITS], odd[:SUM_BITS])


class Datapath(wiring.Component):
    """Runs one job of a :class:`Kind` on the array.

    Members
    -------
    start, kind, job : In. The job; ``kind`` and ``job`` stand until it is over.
    written : Out. UPD, OWN, DEEP: the last result is being written (pulse).
    emptied : Out. MVA, MVD, MVR: all sums have left the array (pulse); another job may start while
        they are handed on.
    fault : Out. An address is beyond its memory (pulse).
    reset_job : In. Forget the job; high for at least :data:`FLUSH` cycles.
    scalar_address : Out, 17; scalar_data : In, 2E. A pair, 2 cycles later.
    live : Out. Neurons that the last OWN made rows of. clear : In. Zero it.
    sample : Out, 5; erring : In. Whether that sample has errors, in the same cycle.
    behind, reached : In. See :class:`tangente.rtl.scanner.Scanner`.
    scanning, group : Out, 1 and 16; group_data : In, 16E. In its place eight pairs, 2 cycles later.
    row_address : Out, 16; row_data : In, lanes x E. A row, 1 cycle later.
    weight_address0/1 : Out, 16; weight_early0/1 : In, lanes x 16. Each half's, 1 cycle later.
    weight_write0/1 : Out; weight_write_address0/1 : Out, 16; weight_write_data : Out, lanes x 16.
    row_write : Out; row_write_address : Out, 16; row_write_data : Out, lanes x E.
    sums : Out, stream of :data:`Sums`. Results of MVA, MVD, MVR.
    seed_load, seed, random_advance : In; random_state : Out. See :class:`tangente.rtl.mixer.Mixer`.
    value_clipped, slot_clipped : Out, lanes bits. Saturations to count in this cycle.
    external, external_u, external_v : In. OFFER, SCATTER: micro-operations of the list unit, and
        their scalars two cycles later.
    values, values_clipped : Out, lanes x E and lanes bits. OFFER: candidates of all lanes.
    slot_lanes : Out, lanes bits. Which slots of the word are written.
    storing, stored_lane : In, 1 and 7. A word is read for a transfer, of which that lane's slots
        are wanted; stored0/1 : Out, 16. They, :data:`PICKED` cycles later.
    events : Out. What the array, the lane units and the way out do in this cycle.
    """

    #: Cycles after which nothing of a job is under way.
    FLUSH = 32
    #: From a word's address to one lane's slots.
    PICKED = Ram.LATENCY + 2

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes, bits = config.lanes, config.element_bits
        super().__init__({
            "start": In(1), "kind": In(3), "job": In(Descriptor()),
            "written": Out(1), "emptied": Out(1), "fault": Out(1), "reset_job": In(1),
            "scalar_address": Out(17), "scalar_data": In(2 * bits),
            "live": Out(12), "clear": In(1),
            "sample": Out(range(SCANNED_SAMPLES)), "erring": In(1),
            "behind": In(1), "reached": In(GROUP_BITS),
            "scanning": Out(1), "group": Out(16), "group_data": In(2 * GROUP * bits),
            "row_address": Out(16), "row_data": In(lanes * bits),
            **{f"weight_address{h}": Out(16) for h in (0, 1)},
            **{f"weight_early{h}": In(lanes * 16) for h in (0, 1)},
            **{f"weight_write{h}": Out(1) for h in (0, 1)},
            **{f"weight_write_address{h}": Out(16) for h in (0, 1)},
            "weight_write_data": Out(lanes * 16),
            "row_write": Out(1), "row_write_address": Out(16),
            "row_write_data": Out(lanes * bits),
            "sums": Out(stream.Signature(Sums)),
            "seed_load": In(1), "seed": In(64), "random_advance": In(1), "random_state": Out(64),
            "value_clipped": Out(lanes), "slot_clipped": Out(lanes),
            "external": In(Uop), "external_u": In(signed(bits)), "external_v": In(signed(bits)),
            "storing": In(1), "stored_lane": In(7),
            **{f"stored{h}": Out(16) for h in (0, 1)},
            "values": Out(lanes * bits), "values_clipped": Out(lanes), "slot_lanes": Out(lanes),
            "events": Out(Events),
        })

    def elaborate(self, platform) -> Module:
        self._module = m = Module()
        job = self.job
        is_kind = {}
        for kind in Kind:
            is_kind[kind] = Signal(name=f"is_{kind.name.lower()}", reset_less=True)
            m.d.sync += is_kind[kind].eq(self.kind == kind)
        drained = is_kind[Kind.MVA] | is_kind[Kind.MVR]
        is_product = drained | is_kind[Kind.MVD]

        m.submodules.issue = self.issue = issue = Issue(self.config)
        m.d.comb += [
            issue.start.eq(self.start), issue.job.eq(job), issue.kind.kind.eq(self.kind),
            issue.reset_job.eq(self.reset_job), self.fault.eq(issue.fault),
            self.live.eq(issue.live), issue.clear.eq(self.clear),
            self.scanning.eq(issue.grouped), self.group.eq(issue.group),
            self.sample.eq(issue.sample), issue.erring.eq(self.erring),
            issue.behind.eq(self.behind), issue.reached.eq(self.reached),
            issue.group_data.eq(self.group_data),
        ]
        self.external_kind = is_kind[Kind.OFFER] | is_kind[Kind.SCATTER]
        self.updates = is_kind[Kind.UPD] | is_kind[Kind.SCATTER]
        early = Signal(Uop)
        m.d.comb += early.eq(Mux(self.external_kind, self.external.as_value(),
                                 issue.uop.as_value()))
        # DEEP: all but the weight's and the slope's addresses wait for the scalar to be made.
        late = delay(m, early.as_value(), stage.DEEP, "late")
        uop = Signal(Uop)
        m.d.comb += uop.eq(Mux(is_kind[Kind.DEEP], late, early.as_value()))

        def at(cycles):
            """The micro-operation as it was ``cycles`` ago."""
            while len(history) <= cycles:
                delayed = Signal(Uop, name=f"uop_{len(history)}", reset_less=True)
                m.d.sync += delayed.eq(history[-1])
                if len(history) == stage.CAPTURED + 1:
                    # A product's is of no more use, and not to be taken for the next job's.
                    m.d.sync += delayed.valid.eq(history[-1].valid & ~is_product)
                history.append(delayed)
            return history[cycles]

        history = [uop]
        weight = delay(m, early.weight, stage.WEIGHT_READ, "weight")
        weight0 = Signal(16)
        m.d.comb += [
            self.scalar_address.eq(early.scalar >> 1),
            weight0.eq(Mux(self.updates, at(stage.SLOT_READ).weight, weight)),
            self.weight_address0.eq(Mux(self.external_kind, self.weight_address1, weight0)),
        ]
        m.d.sync += self.weight_address1.eq(weight0)

        single = self._elaborate_array(m, is_kind, early, at)
        # MVR with Flag.LIVE: the next row for each scalar that is not zero.
        now, before = at(stage.ROW_READ), at(stage.ROW_READ + 1)
        row, row_before, advanced, following = (
            Signal(16, name=name) for name in ("row", "row_before", "advanced", "following"))
        m.d.comb += [
            advanced.eq(row_before + Mux(single.any(), job.v_stride, 0)),
            row.eq(Mux(is_kind[Kind.MVR] & job.flags.live & ~now.first,
                       Mux(before.valid, advanced, following), now.row)),
            self.row_address.eq(row),
        ]
        m.d.sync += row_before.eq(row)
        with m.If(before.valid):
            m.d.sync += following.eq(advanced)
        self._elaborate_lane_units(m, is_kind, at)
        self._elaborate_sums(m, is_kind, drained, issue, at)
        self._elaborate_events(m, is_kind, early, issue, at)
        return m

    def _elaborate_events(self, m: Module, is_kind, early, issue, at) -> None:
        sums = at(stage.SUM)
        taken = Signal(2)
        m.d.comb += taken[0].eq(sums.valid & sums.last & ~is_kind[Kind.MVA] & ~is_kind[Kind.MVD]
                                & ~is_kind[Kind.MVR])
        m.d.sync += taken[1].eq(taken[0])
        m.d.comb += [
            self.events.array_busy.eq(early.valid),
            self.events.array_drain.eq(issue.stalls.drain),
            self.events.array_queue.eq(issue.stalls.queue),
            self.events.array_turn.eq(issue.stalls.turn),
            self.events.multipliers.eq(self.array.control0.enable + self.array.control1.enable),
            self.events.lanes_busy.eq(taken.any()),
            self.events.drain_busy.eq(self.handed_on),
            self.events.post_write.eq(self.sums.valid & ~self.sums.ready),
        ]

    def _elaborate_array(self, m: Module, is_kind, early, at) -> Signal:
        """Returns MVR's scalar, two cycles after its micro-operation."""
        job, bits = self.job, self.config.element_bits
        m.submodules.mixer = mixer = Mixer()
        signs = Signal(reset_less=True)
        m.d.sync += signs.eq(job.flags.signs)
        m.d.comb += [
            mixer.load.eq(self.seed_load), mixer.seed.eq(self.seed),
            mixer.advance.eq(self.random_advance), self.random_state.eq(mixer.state),
            mixer.word.eq(early.weight), mixer.signs.eq(signs),
        ]
        both = Signal(2 * bits)
        carried = delay(m, self.issue.pair, 2, "scanned")
        m.d.comb += both.eq(Mux(self.issue.carried, carried, self.scalar_data))
        pair = [both[:bits].as_signed(), both[bits:].as_signed()]
        # UPD leaves a word as it is whose pairs are all zero.
        now = at(2)
        nonzero, any_before = Signal(), Signal()
        m.d.comb += nonzero.eq((any_before & ~now.first) | both.any())
        with m.If(now.valid):
            m.d.sync += any_before.eq(nonzero)
        self.changes = delay(m, nonzero, stage.SLOT_WRITE - 2, "changes")
        parity = delay(m, early.scalar[0], 2, "parity")
        single = Signal(signed(bits))
        m.d.comb += single.eq(Mux(parity, pair[1], pair[0]))
        decoder = self._elaborate_rule(m, is_kind)
        products = self._elaborate_deep(m, carried[:bits], early)
        m.submodules.array = array = self.array = MacArray(self.config)
        starts = at(stage.OPERANDS)
        m.d.comb += [
            array.row.eq(self.row_data), array.random.eq(mixer.random),
            # Not by what only ends a scanned job: half 1 may still need the last sum's start.
            array.starting.eq(starts.valid & (starts.first | is_kind[Kind.MVD])
                              & (starts.last | ~starts.final)),
            array.use_row.eq(~is_kind[Kind.MVA] & ~self.external_kind),
            array.use_slope.eq(is_kind[Kind.OWN] & ~job.flags.sigmoid),
        ]
        wiring.connect(m, decoder.start, array.start)
        only_d = self.updates | is_kind[Kind.MVR] | is_kind[Kind.DEEP] | signs
        summed = at(stage.OPERANDS + 2)
        m.d.comb += [array.signs.eq(signs), array.fold.eq(
            summed.valid & summed.last & (is_kind[Kind.MVA] | is_kind[Kind.MVR]))]
        for half in (0, 1):
            control = getattr(array, f"control{half}")
            operand = self._lagging(at, stage.OPERANDS, half)
            early_operand = self._lagging(at, stage.OPERANDS - 1, half)
            scalar = Signal(signed(bits), name=f"scalar{half}")
            factor = Signal(signed(bits + 1), name=f"factor{half}")
            second = Signal(signed(bits), name=f"second{half}")
            value, error = (delay(m, given, 1 - half, f"{name}{half}") for given, name in (
                (self.external_v, "value"), (self.external_u, "error")))
            m.d.comb += [
                scalar.eq(Mux(self.external_kind, value, Mux(
                    is_kind[Kind.MVR], single if half == 0 else 0, pair[half]))),
                second.eq(Mux(signs, SIGN_SIZE, scalar)),
                # A slot takes the negative product.
                factor.eq(Mux(self.updates, -Mux(is_kind[Kind.SCATTER], error, scalar), Mux(
                    signs & is_kind[Kind.MVD], SIGN_SIZE, scalar))),
            ]
            factor = delay(m, factor, 1 + half, f"factor{half}")
            d = Signal(signed(25), name=f"d{half}", reset_less=True)
            m.d.sync += d.eq(Mux(is_kind[Kind.DEEP], products[half], Mux(
                only_d, Mux(self.updates, factor << 15 >> self.place, factor), self.half_code)))
            # The word of a product; or the slot that meets its sum, for one cycle, else zero.
            slot_next = Signal(name=f"slot_next{half}")
            uop = self._lagging(at, stage.SLOT_READ, half)
            m.d.comb += slot_next.eq(uop.valid & uop.last
                                     & (~self.external_kind | (uop.odd == half)))
            mask = Signal(16, name=f"mask{half}", reset_less=True)
            m.d.sync += mask.eq(Mux(self.updates, Mux(slot_next, decoder.slot_mask, 0),
                                    self.code_mask))
            m.d.comb += [
                control.load.eq(self.updates | early_operand.valid & ~only_d),
                control.mask.eq(mask),
                control.v_scalar.eq(delay(m, second, 1 + half, f"second{half}")),
                control.enable.eq(operand.valid),
                control.clear.eq(operand.first | is_kind[Kind.MVD]),
                control.only_d.eq(only_d), control.d.eq(d),
                getattr(array, f"words{half}").eq(getattr(self, f"weight_early{half}")),
            ]
        return single

    def _elaborate_rule(self, m: Module, is_kind) -> Decoder:
        """What stands while a job runs."""
        job = self.job
        m.submodules.decoder = decoder = self.decoder = Decoder(self.config)
        self.code_mask, self.half_code = Signal(16), Signal(16)
        self.place = Signal(4)
        code_shift = Signal(5)
        m.d.comb += [
            decoder.value.eq(is_kind[Kind.OWN] | is_kind[Kind.DEEP] | is_kind[Kind.OFFER]),
            decoder.update.eq(self.updates),
            decoder.event.eq(job.flags.event), decoder.stochastic.eq(job.flags.stochastic),
            decoder.master.eq(job.flags.master), decoder.asymm.eq(job.asymm),
            decoder.code_bits.eq(job.code_bits), decoder.acc_bits.eq(job.acc_bits),
            decoder.shift.eq(Mux(is_kind[Kind.OWN], job.shift2, job.shift)),
            code_shift.eq(16 - job.code_bits),
        ]
        m.d.sync += [
            self.code_mask.eq(Const(0xFFFF) << code_shift),
            self.half_code.eq(Mux(job.asymm, (Const(1) << code_shift)[1:], 0)),
            self.place.eq(job.shift),
        ]
        return decoder

    def _lagging(self, at, cycles: int, half: int):
        """The micro-operation of a half, ``cycles`` after it stood. Half 1 lags by one cycle; in
        the list unit's jobs half 0 does too: a lane unit then takes one or the other a cycle."""
        now, later = at(cycles), at(cycles + 1)
        if half:
            return later
        chosen = Signal(Uop, name=f"lagging_{cycles}")
        self._module.d.comb += chosen.eq(Mux(self.external_kind, later.as_value(),
                                             now.as_value()))
        return chosen

    def _elaborate_deep(self, m: Module, activation: Value, early) -> list:
        """DEEP's scalars, a cycle early: of each half, one lane's weight times its slope."""
        m.submodules.slope = slope = Slope(self.config)
        m.d.comb += [slope.activation.eq(activation), slope.sigmoid.eq(self.job.flags.sigmoid)]
        # Picked weights stand 3 cycles after the weight's address.
        picked_at = stage.WEIGHT_READ + 3
        slopes = delay(m, slope.slope, picked_at - 2 - Slope.LATENCY, "slope")
        lanes = self.config.lanes
        storing = delay(m, self.storing, Ram.LATENCY - 1, "storing")
        stored_lane = delay(m, self.stored_lane, Ram.LATENCY - 1, "stored_lane")
        products = []
        for half in (0, 1):
            weights = getattr(self, f"weight_early{half}")
            index = delay(m, early.lane, stage.WEIGHT_READ + 1 + half, f"lane{half}")
            slot = pick(m, [weights[16 * i:16 * i + 16] for i in range(lanes)],
                        Mux(storing, stored_lane, index), f"weight{half}")
            m.d.comb += getattr(self, f"stored{half}").eq(
                delay(m, slot, self.PICKED - Ram.LATENCY, f"stored{half}"))
            # In a DSP48E1: operands, product, and what leaves it.
            code = Signal(signed(16), name=f"code{half}", reset_less=True)
            factor = delay(m, slopes, half, f"slope{half}")
            full, product = (Signal(signed(25), name=f"{name}{half}", reset_less=True)
                             for name in ("full", "product"))
            m.d.sync += [code.eq(slot & self.code_mask | self.half_code),
                         full.eq(code * factor), product.eq(full)]
            products.append(product)
        return products

    def _elaborate_lane_units(self, m: Module, is_kind, at) -> None:
        job, config = self.job, self.config
        m.submodules.lane_units = units = LaneUnits(config)
        used = self.updates | is_kind[Kind.OWN] | is_kind[Kind.DEEP]
        array = self.array
        for half in (0, 1):
            m.d.comb += [getattr(units, f"slots{half}").eq(getattr(array, f"slots{half}")),
                         getattr(units, f"ties{half}").eq(getattr(array, f"ties{half}"))]
            for lane in range(config.lanes):
                m.d.comb += getattr(units, f"sums{half}_{lane}").eq(
                    getattr(array, f"sums{half}_{lane}"))
        finished1 = at(stage.SUM + 1)
        m.d.comb += units.half.eq(finished1.valid & finished1.last
                                  & (finished1.odd | ~self.external_kind))
        wiring.connect(m, self.decoder.lane, units.rule)
        changes = self.changes
        later_changes = delay(m, changes, 1, "changes_half1")
        for half in (0, 1):
            slot = self._lagging(at, stage.SLOT_WRITE, half)
            m.d.comb += [
                getattr(self, f"weight_write{half}").eq(
                    slot.valid & slot.last & ~self.reset_job
                    & (is_kind[Kind.UPD] & (later_changes if half else changes)
                       | is_kind[Kind.SCATTER] & (slot.odd == half))),
                getattr(self, f"weight_write_address{half}").eq(slot.weight),
            ]
        rows = is_kind[Kind.OWN] | is_kind[Kind.DEEP]
        row0, row1 = at(stage.ROW_WRITE), at(stage.ROW_WRITE + 1)
        write0, write1 = row0.valid & row0.last, row1.valid & row1.last
        m.d.comb += [
            self.weight_write_data.eq(units.slots_out),
            self.row_write.eq(rows & (write0 & row0.even | write1 & row1.odd) & ~self.reset_job),
            self.row_write_address.eq(Mux(
                write0, row0.target, row1.target + Mux(row1.even, job.yr_stride, 0))),
            self.row_write_data.eq(units.values),
            self.value_clipped.eq(Mux(self.row_write, units.value_clipped, 0)),
            self.slot_clipped.eq(Mux(self.weight_write0 | self.weight_write1,
                                     units.slot_clipped & self.slot_lanes, 0)),
        ]
        # A scattered update's one lane: it stands for both halves' writes.
        lane, all_lanes = Signal(config.lanes, reset_less=True), Const(-1, config.lanes)
        slot0 = at(stage.SLOT_WRITE)
        with m.If(slot0.valid):
            m.d.sync += lane.eq(1 << slot0.lane)
        m.d.comb += [
            self.slot_lanes.eq(Mux(is_kind[Kind.SCATTER], lane, all_lanes)),
            self.values.eq(units.values), self.values_clipped.eq(units.value_clipped),
        ]
        # Half 1 is written a cycle later.
        writes_last = Signal()
        m.d.sync += writes_last.eq(used & ~self.reset_job & Mux(
            self.updates, slot0.valid & slot0.final, row0.valid & row0.final))
        m.d.comb += self.written.eq(writes_last & ~self.reset_job)

    def _elaborate_sums(self, m: Module, is_kind, drained, issue, at) -> None:
        config = self.config
        m.submodules.reducer = reducer = Reducer(config)
        m.submodules.drain = drain = Drain(config)
        for half in (0, 1):
            for lane in range(config.lanes):
                total = getattr(self.array, f"sums{half}_{lane}")
                m.d.comb += getattr(reducer, f"sums{half}_{lane}").eq(total)
                if half:
                    m.d.comb += getattr(drain, f"sums_{lane}").eq(total)
        finished, folded = at(stage.SUM), at(stage.CAPTURED)
        m.d.comb += [
            reducer.valid.eq(finished.valid & is_kind[Kind.MVD]),
            reducer.first.eq(finished.first), reducer.last.eq(finished.last),
            drain.capture.eq(folded.valid & folded.last & drained),
            drain.pairs.eq(folded.target), drain.reset_job.eq(self.reset_job),
        ]
        leaving = [issue.done]
        for stage_number in range(EMPTIED):
            later = Signal(name=f"leaving_{stage_number}")
            m.d.sync += later.eq(leaving[-1] & ~self.reset_job)
            leaving.append(later)
        m.d.comb += self.emptied.eq(leaving[-1])
        self.handed_on = Signal()
        m.submodules.fifo = fifo = ResetInserter(self.reset_job)(
            SyncFIFOBuffered(width=Sums.size, depth=SUMS_DEPTH))
        # A sum to be drained takes the credits of all its pairs, and ends when the drain is free.
        credits = Signal(range(SUMS_DEPTH + 1), init=SUMS_DEPTH)
        draining = Signal(8)
        taken = Mux(issue.drain, issue.drain_pairs, 0) + issue.take_credit
        give = fifo.r_rdy & fifo.r_en
        m.d.sync += [credits.eq(credits - taken + give),
                     draining.eq(Mux(draining == 0, 0, draining - 1))]
        with m.If(issue.drain):
            m.d.sync += draining.eq(issue.drain_pairs - 1)
        with m.If(self.reset_job):
            m.d.sync += [credits.eq(SUMS_DEPTH), draining.eq(0)]
        m.d.comb += [
            issue.credit.eq(credits != 0),
            issue.drain_ready.eq((draining == 0) & (credits >= issue.drain_pairs)),
            self.handed_on.eq((reducer.result_valid | drain.result_valid) & ~self.reset_job),
            fifo.w_en.eq(self.handed_on),
            fifo.w_data.eq(Mux(reducer.result_valid, _both(reducer.even, reducer.odd),
                               _both(drain.even, drain.odd))),
            self.sums.valid.eq(fifo.r_rdy),
            self.sums.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.sums.ready),
        ]
