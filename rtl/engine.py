"""The engine: memories, datapath, post-processing, loss and selector; runs tensor instructions."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal, Value, signed, unsigned
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import GROUP
from ..golden.isa import ERROR_SAMPLES, Op, Space
from ..golden.registers import SATURATIONS
from .counters import Events
from .datapath import Datapath
from .delay import delay
from .descriptor import Descriptor
from .list_check import Job
from .lists import ListUnit
from .loss import LOSS_BITS, Loss
from .ones import ones
from .post import PostProcessor
from .primitives import WideMux
from .ram import DualRam, Ram
from .selector import Selector
from .transfer import LocalRead, LocalWrite
from .uop import Kind

__all__ = ["Engine"]

_KINDS = {Op.MVA: Kind.MVA, Op.MVD: Kind.MVD, Op.MVR: Kind.MVR, Op.UPD: Kind.UPD, Op.DRV: Kind.OWN,
          Op.SRT: Kind.OFFER, Op.TOP: Kind.OFFER, Op.SCT: Kind.SCATTER}
#: Operations that need the array (or the selector, the list unit); the post-processing unit.
_ARRAY_OPS = (Op.MVA, Op.MVD, Op.MVR, Op.UPD, Op.DRV, Op.SEL, Op.SRT, Op.TOP, Op.SCT)
_POST_OPS = (Op.MVA, Op.MVD, Op.MVR, Op.LOSS, Op.BUP)
#: What the post-processing unit needs to know of a product.
_PRODUCT_FIELDS = ("flags", "count", "p", "q", "y_base", "y_stride", "yr_base", "yr_stride",
                   "g_base", "g_stride", "f_base", "f_stride", "shift", "shift2", "b_base",
                   "b_shift")
_LIST_JOBS = {Op.SRT: Job.SRT, Op.TOP: Job.TOP, Op.SCT: Job.SCT}


def _count_ones(m: Module, bits: Value, name: str) -> Signal:
    """Number of ones in ``bits``, three cycles later."""
    bits = delay(m, bits, 1, name)
    parts = []
    for first in range(0, len(bits), 18):
        part = Signal(range(19), name=f"{name}_{first // 18}", reset_less=True)
        m.d.sync += part.eq(ones(bits[first:first + 18]))
        parts.append(part)
    total = Signal(8, name=f"{name}_total", reset_less=True)
    m.d.sync += total.eq(sum(parts))
    return total


class Engine(wiring.Component):
    """Runs tensor instructions: one in the array, and one in the post-processing unit.

    A product is in both: the array is free for an update as soon as nothing of it is under way
    there.

    Members
    -------
    start, op, job : In. Begin instruction ``op``; ``job`` is copied. The units that it needs must
        be free.
    apart, follow : In. With ``start``: an MVA begins in the array only. It begins in the
        post-processing unit with ``follow``, while ``op`` and ``job`` are still the same.
    speculative : In. With ``start`` and ``apart``: it waits for the next LOSS, and begins in the
        post-processing unit when that is over and no sample has an error, which ``kept`` : Out
        says (pulse). Otherwise it is dropped.
    busy, array_busy, post_busy : Out. From the cycle after ``start`` until the instruction is over;
        in the units that it needs. The array is busy as well while a LOSS decides on what it made.
    loss_busy : Out. The loss unit is.
    array_fault, post_fault : Out. It met an address beyond a memory (pulse); it is over.
    reset_job : In. Abandon it; to be held for :data:`Datapath.FLUSH` cycles.
    clear : In. Zero the counters.
    local_write, local_read, local_data : the transfer's access to the memories. Reads only while
        not ``busy``; writes of weights and biases likewise.
    seed_load, seed, random_state : the random generator.
    loss, correct, samples, max_error, sat_{name} : Out. Counters.
    sample : In, 6; erring : Out. Unless that is a sample of the last LOSS since ``clear`` whose
        errors are all zero.
    events : Out. What the units do in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "op": In(6), "job": In(Descriptor()), "apart": In(1), "follow": In(1),
            "speculative": In(1), "kept": Out(1), "loss_busy": Out(1),
            "busy": Out(1), "array_busy": Out(1), "post_busy": Out(1),
            "array_fault": Out(1), "post_fault": Out(1), "reset_job": In(1), "clear": In(1),
            "local_write": In(stream.Signature(LocalWrite, always_ready=True)),
            "local_read": In(stream.Signature(LocalRead)),
            "local_data": Out(stream.Signature(unsigned(64))),
            "seed_load": In(1), "seed": In(64), "random_state": Out(64),
            "loss": Out(64), "correct": Out(32), "samples": Out(32),
            "max_error": Out(config.element_bits - 1),
            "sample": In(range(ERROR_SAMPLES)), "erring": Out(1),
            **{f"sat_{name}": Out(32) for name in SATURATIONS},
            "events": Out(Events),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        lanes, bits = config.lanes, config.element_bits
        m.submodules.datapath = self.datapath = Datapath(config)
        m.submodules.post = self.post = PostProcessor(config)
        m.submodules.loss_unit = self.loss_unit = Loss(config)
        self.selector = Selector(config)
        m.submodules.selector = ResetInserter(self.reset_job)(self.selector)
        self.lists = ListUnit(config)
        m.submodules.lists = ResetInserter(self.reset_job)(self.lists)
        for half in (0, 1):
            m.submodules[f"weights{half}"] = DualRam(lanes * 16, config.weight_words, 16)
        self.weights = [m.submodules.weights0, m.submodules.weights1]
        m.submodules.rows = self.rows = Ram(lanes * bits, config.rows, bits)
        # Scalars are read in groups of pairs.
        m.submodules.pairs = self.pairs = Ram(2 * bits * GROUP, config.pairs // GROUP, 2 * bits)
        m.submodules.slopes = self.slopes = Ram(2 * bits, config.pairs)
        m.submodules.inputs = self.inputs = Ram(128, config.input_beats // 2, 64)
        m.submodules.targets = self.targets = Ram(64, config.target_beats)
        m.submodules.logits = self.logits = Ram(32, config.logit_pairs)
        job = self._elaborate_control(m)
        self._elaborate_memories(m, job)
        self._elaborate_local(m)
        self._elaborate_counters(m)
        self._elaborate_events(m)
        return m

    def _elaborate_control(self, m: Module):
        datapath, post, loss, selector = self.datapath, self.post, self.loss_unit, self.selector
        lists = self.lists
        # What the array does, and what the post-processing unit does: a product is both.
        job, op, begin, done = Signal(Descriptor()), Signal(6), Signal(), Signal()
        post_job, post_op = Signal(Descriptor()), Signal(6)
        post_begin, post_done = Signal(), Signal()
        self.loss_over, self.selecting, self.listing = Signal(), Signal(), Signal()
        array_busy = Signal()
        self.losing, self.biasing = Signal(), Signal()
        kind, list_job = Signal(3), Signal(Job)
        select_fault, neurons = Signal(), Signal(12)
        for_array, for_post = self.op.matches(*_ARRAY_OPS), self.op.matches(*_POST_OPS)
        posts = Signal()
        m.d.comb += posts.eq((self.start & ~self.apart | self.follow) & for_post | self.kept)
        m.d.sync += [begin.eq(self.start & for_array), post_begin.eq(posts)]
        m.d.comb += [self.busy.eq(self.array_busy | self.post_busy),
                     self.loss_busy.eq(self.losing)]
        with m.If(posts):
            m.d.sync += [post_job.eq(self.job), post_op.eq(self.op), self.post_busy.eq(1)]
        drops = self._elaborate_speculation(m, array_busy)
        with m.If(self.kept):
            # What only LOSS needs does not come from the array's copy.
            for name in _PRODUCT_FIELDS:
                m.d.sync += post_job[name].eq(job[name])
            m.d.sync += post_op.eq(Op.MVA)
        # An MVA in the array alone reads what the product before it has written.
        behind = Signal()
        with m.If(self.start):
            m.d.sync += behind.eq(self.apart)
        with m.Elif(posts | self.reset_job):
            m.d.sync += behind.eq(0)
        m.d.comb += datapath.behind.eq(behind & self.post_busy & ~job.flags.input)
        with m.If(posts):
            m.d.sync += datapath.reached.eq(0)
        with m.Elif(post.pair_write_enable & ~self.losing):
            m.d.sync += datapath.reached.eq(post.pair_write_address >> 3)
        with m.If(self.start & for_array):
            m.d.sync += [job.eq(self.job), op.eq(self.op), array_busy.eq(1)]
            with m.Switch(self.op):
                for operation, value in _KINDS.items():
                    with m.Case(operation):
                        m.d.sync += kind.eq(value)
            with m.Switch(self.op):
                for operation, value in _LIST_JOBS.items():
                    with m.Case(operation):
                        m.d.sync += list_job.eq(value)
        m.d.comb += [
            datapath.job.eq(job), datapath.kind.eq(kind),
            post.job.eq(post_job), loss.job.eq(post_job),
            datapath.seed_load.eq(self.seed_load), datapath.seed.eq(self.seed),
            self.random_state.eq(datapath.random_state),
            selector.base.eq(job.yr_base), selector.stride.eq(job.yr_stride),
            selector.tiles.eq(job.tiles), selector.keep.eq(job.k),
            datapath.clear.eq(self.clear), selector.neurons.eq(neurons),
        ]
        # Of use from the second cycle of SEL on.
        m.d.sync += neurons.eq(Mux(job.flags.live & (datapath.live < job.p), datapath.live, job.p))
        beyond = self._elaborate_span(m, job)
        m.d.comb += [
            lists.kind.eq(list_job), lists.job.eq(job),
            datapath.external.eq(lists.uop), datapath.external_u.eq(lists.u_scalar),
            datapath.external_v.eq(lists.v_scalar),
            lists.values.eq(datapath.values), lists.value_clipped.eq(datapath.values_clipped),
        ]
        wiring.connect(m, datapath.sums, post.sums)
        wiring.connect(m, loss.errors, post.errors)
        m.d.comb += datapath.drop.eq(drops)
        for unit in (datapath, post, loss):
            m.d.comb += unit.reset_job.eq(self.reset_job)
        with m.Switch(op):
            with m.Case(Op.MVA, Op.MVD, Op.MVR):
                m.d.comb += [datapath.start.eq(begin), done.eq(datapath.emptied)]
            with m.Case(Op.UPD):
                m.d.comb += [datapath.start.eq(begin), done.eq(datapath.written),
                             datapath.random_advance.eq(begin & job.flags.stochastic)]
            with m.Case(Op.DRV):
                deep, alone = Signal(), Signal()
                # Known long before the last row is written.
                m.d.sync += [deep.eq(0), alone.eq(
                    (job.tiles == 0) | job.flags.live & (datapath.live == 0))]
                m.d.comb += [datapath.start.eq(begin | deep),
                             done.eq(datapath.written & ((kind == Kind.DEEP) | alone))]
                with m.If(datapath.written & ~done):
                    m.d.sync += [kind.eq(Kind.DEEP), deep.eq(1)]
            with m.Case(Op.SEL):
                spanned, checked, nothing = Signal(), Signal(), Signal(reset_less=True)
                m.d.sync += [
                    spanned.eq(begin & ~self.reset_job), checked.eq(spanned & ~self.reset_job),
                    nothing.eq((job.k == 0) | (neurons == 0)),
                ]
                m.d.comb += [
                    select_fault.eq(checked & beyond),
                    selector.start.eq(checked & ~beyond & ~nothing),
                    done.eq(selector.done | checked & ~beyond & nothing),
                ]
            with m.Case(Op.SRT, Op.TOP):
                m.d.comb += [lists.start.eq(begin), done.eq(lists.done)]
            with m.Case(Op.SCT):
                m.d.comb += [lists.start.eq(begin), done.eq(lists.done),
                             datapath.random_advance.eq(begin & job.flags.stochastic)]
        m.d.comb += [
            post.start.eq(post_begin), post_done.eq(post.done),
            post.mode.eq(Mux(post_op == Op.LOSS, 1, Mux(post_op == Op.BUP, 2, 0))),
            loss.start.eq(post_begin & (post_op == Op.LOSS)),
            post.width.eq(Mux((post_op == Op.MVA) | (post_op == Op.MVR), post_job.q, post_job.p)),
        ]
        m.d.comb += [self.loss_over.eq(post_done & (post_op == Op.LOSS)),
                     self.selecting.eq(self.array_busy & (op == Op.SEL)),
                     self.listing.eq(self.array_busy & ((op == Op.SRT) | (op == Op.TOP)
                                                  | (op == Op.SCT)))]
        m.d.comb += [self.losing.eq(self.post_busy & (post_op == Op.LOSS)),
                     self.biasing.eq(self.post_busy & (post_op == Op.BUP))]
        m.d.comb += [
            self.array_fault.eq(self.array_busy & (datapath.fault | lists.fault | select_fault)),
            self.post_fault.eq(self.post_busy & (post.fault | loss.fault)),
        ]
        fault = self.array_fault | self.post_fault
        with m.If(done | fault | self.reset_job):
            m.d.sync += array_busy.eq(0)
        with m.If(post_done & ~self.kept | fault | self.reset_job):
            m.d.sync += self.post_busy.eq(0)
        with m.If(self.reset_job):
            m.d.sync += [begin.eq(0), post_begin.eq(0)]
        return job

    def _elaborate_speculation(self, m: Module, array_busy) -> Signal:
        """An MVA that awaits a LOSS, and what becomes of it; whether it is dropped now."""
        awaits, decides, erring, drops = Signal(), Signal(), Signal(), Signal()
        with m.If(self.loss_unit.start):
            m.d.sync += erring.eq(0)
        with m.Elif(self.loss_unit.errors_over & self.loss_unit.erring):
            m.d.sync += erring.eq(1)
        # Not an earlier one, beside which it began.
        with m.If(self.start & (self.op == Op.LOSS)):
            m.d.sync += decides.eq(awaits)
        # Of flip-flops alone, on the way to many: ``decides`` says that it is a LOSS that is over.
        over = decides & self.post.done
        cleared = Signal()
        m.d.sync += cleared.eq(awaits & self.clear)
        m.d.comb += [
            self.kept.eq(over & ~erring), drops.eq(over & erring | cleared),
            # Until it is known what becomes of it nothing else begins there.
            self.array_busy.eq(array_busy | decides),
        ]
        with m.If(self.start & self.speculative):
            m.d.sync += awaits.eq(1)
        with m.Elif(self.kept | drops | self.reset_job | self.array_fault | self.post_fault):
            m.d.sync += [awaits.eq(0), decides.eq(0)]
        with m.If(drops):
            m.d.sync += array_busy.eq(0)
        return drops

    def _elaborate_span(self, m: Module, job) -> Value:
        """SEL: whether its last row is beyond the memory's end, two cycles after ``begin``.

        Before the selector starts: it knows no memory's end. All in a DSP48E1, whose operands are
        taken as the instruction comes.
        """
        rows, stride = Signal(12, reset_less=True), Signal(16, reset_less=True)
        product, room = Signal(28, reset_less=True), Signal(signed(19), reset_less=True)
        over = Signal(signed(30), reset_less=True)
        m.d.sync += [
            rows.eq(self.job.p - 1), stride.eq(self.job.yr_stride), product.eq(rows * stride),
            room.eq(job.yr_base + job.tiles - (self.config.rows + 1)), over.eq(product + room),
        ]
        return ~over[-1]

    def _elaborate_memories(self, m: Module, job) -> None:
        config, bits = self.config, self.config.element_bits
        datapath, post, loss, selector = self.datapath, self.post, self.loss_unit, self.selector
        # Scalars come from input memory, eight unsigned pairs in two beats, or from pair memory.
        scalar_address = Signal(17)
        group = Signal(16)
        place = Signal(3)
        m.d.comb += [
            scalar_address.eq(Mux(self.listing, self.lists.scalar_address,
                                  datapath.scalar_address)),
            group.eq(Mux(datapath.scanning, datapath.group, scalar_address >> 3)),
            place.eq(delay(m, scalar_address[:3], Ram.LATENCY, "place")),
        ]
        self.group = group
        zero = Const(0, bits - 8) if bits > 8 else Const(0, 0)
        from_inputs = Signal(reset_less=True)
        m.d.sync += from_inputs.eq(job.flags.input & (datapath.kind != Kind.DEEP))

        def scalars(inputs: Value, pairs: Value) -> Value:
            """A group of the memory that is read."""
            return Mux(from_inputs, Cat(Cat(inputs[8 * i:8 * i + min(8, bits)], zero)
                                        for i in range(2 * GROUP)), pairs)

        # One pair is chosen before the output register, so that its way from there is short.
        early_place = delay(m, scalar_address[:3], Ram.LATENCY - 1, "early_place")
        early = scalars(self.inputs.early_data, self.pairs.early_data)
        scalar = Signal(2 * bits, reset_less=True)
        m.d.sync += scalar.eq(early.word_select(early_place, 2 * bits))
        m.d.comb += [
            self.inputs.read_address.eq(group),
            self.lists.scalar_data.eq(self.pairs.read_data.word_select(place, 2 * bits)),
            self.lists.scalar_group.eq(datapath.group_data),
            datapath.group_data.eq(scalars(self.inputs.read_data, self.pairs.read_data)),
            datapath.scalar_data.eq(scalar),
            self.slopes.read_address.eq(post.slope_read_address),
            post.slope_read_data.eq(self.slopes.read_data),
            self.slopes.write_enable.eq(post.pair_write_enable),
            self.slopes.write_address.eq(post.pair_write_address),
            self.slopes.write_data.eq(post.pair_write_data),
            self.pairs.write_enable.eq(post.pair_write_enable << post.pair_write_address[:3]),
            self.pairs.write_address.eq(post.pair_write_address >> 3),
            self.pairs.write_data.eq(post.pair_write_data.replicate(GROUP)),
        ]
        rows = self.rows
        half = config.lanes // 2
        chosen = Signal(half)
        m.d.comb += [
            chosen.eq(1 << post.row_write_pair),
            rows.read_address.eq(Mux(self.selecting, selector.read_row, datapath.row_address)),
            selector.read_data.eq(rows.read_data),
            datapath.row_data.eq(rows.early_data),
        ]
        # Written by one of three: the lane units; the post-processing unit, a pair, or with zeros
        # for the rest of the row; the selector, zeros.
        m.submodules.row_source = source = WideMux(config.lanes * bits)
        pair = Signal(2 * bits)
        wanted = Signal(config.lanes)
        m.d.comb += [
            pair.eq(Mux(self.selecting, 0, post.row_write_data)),
            wanted.eq(Mux(post.row_write_enable, Cat(
                (chosen[i] | post.row_write_clear).replicate(2) for i in range(half)), 0)),
            source.select.eq(datapath.row_write), source.a.eq(datapath.row_write_data),
            source.b.eq(Cat(pair, Mux(post.row_write_clear, 0, pair).replicate(half - 1))),
            rows.write_data.eq(source.y),
            rows.write_enable.eq(Mux(datapath.row_write, -1, wanted) | selector.write_zero),
            rows.write_address.eq(Mux(self.selecting, selector.write_row, Mux(
                datapath.row_write, datapath.row_write_address, post.row_write_row))),
        ]
        logits, targets = self.logits, self.targets
        quarter = delay(m, loss.target_read_address[:2], Ram.LATENCY, "quarter")
        m.d.comb += [
            logits.write_enable.eq(post.logit_write_enable),
            logits.write_address.eq(post.logit_write_address),
            logits.write_data.eq(post.logit_write_data),
            loss.logit_read_data.eq(logits.read_data),
            targets.read_address.eq(loss.target_read_address >> 2),
            loss.target_read_data.eq(targets.read_data.word_select(quarter, 16)),
        ]

    def _elaborate_local(self, m: Module) -> None:
        """The transfer's side of the memories."""
        config, bits = self.config, self.config.element_bits
        datapath, post, loss = self.datapath, self.post, self.loss_unit
        groups = config.lanes // 4
        write, read = self.local_write, self.local_read
        payload, query = write.payload, read.payload
        to_weight = write.valid & (payload.space == Space.WEIGHT)
        m.d.comb += [
            self.inputs.write_enable.eq(
                (write.valid & (payload.space == Space.INPUT)) << payload.unit[0]),
            self.inputs.write_address.eq(payload.unit >> 1),
            self.inputs.write_data.eq(payload.data.replicate(2)),
            self.targets.write_enable.eq(write.valid & (payload.space == Space.TARGET)),
            self.targets.write_address.eq(payload.unit), self.targets.write_data.eq(payload.data),
            post.bias_write.eq(write.valid & (payload.space == Space.BIAS)),
            post.bias_write_data.eq(payload.data),
        ]

        # Requests are answered in order after a fixed time, into a small queue.
        answers = 8
        m.submodules.answers = queue = fifo.SyncFIFOBuffered(width=64, depth=answers)
        room = Signal(range(answers + 1), init=answers)
        ask = Signal()
        take = queue.r_rdy & queue.r_en
        m.d.comb += [
            ask.eq(read.valid & read.ready),
            self.local_data.valid.eq(queue.r_rdy), self.local_data.payload.eq(queue.r_data),
            queue.r_en.eq(self.local_data.ready),
        ]
        m.d.sync += room.eq(room - ask + take)
        query_now = Signal(LocalRead, reset_less=True)
        # A beat of a weight word is four slots, picked one a cycle by what picks DEEP's scalars.
        storing, of_weight, slot, over = Signal(), Signal(), Signal(2), Signal()
        m.d.comb += [
            of_weight.eq(query_now.space == Space.WEIGHT), over.eq(~of_weight | (slot == 3)),
            read.ready.eq((room != 0) & (~storing | over)),
        ]
        m.d.sync += slot.eq(Mux(ask, 0, slot + 1))
        with m.If(ask):
            m.d.sync += [query_now.eq(query), storing.eq(1)]
        with m.Elif(over):
            m.d.sync += storing.eq(0)
        column = Mux(query_now.beat >= groups, query_now.beat - groups, query_now.beat)
        m.d.comb += [datapath.storing.eq(storing),
                     datapath.stored_lane.eq(Cat(slot, column)[:len(datapath.stored_lane)])]
        picked_half = delay(m, query_now.beat >= groups, Datapath.PICKED, "picked_half")
        space = delay(m, query_now.space, Ram.LATENCY, "space")
        m.d.comb += [post.bias_enable.eq(storing | post.bias_write),
                     self.lists.store.eq(storing), self.lists.store_entry.eq(query_now.unit)]
        m.d.comb += post.bias_address.eq(Mux(post.bias_write, payload.unit, query_now.unit))
        for half in (0, 1):
            ram = self.weights[half]
            lag = getattr(datapath, f"weight_address{half}")
            local = Signal(len(ram.write_enable), name=f"local_enable{half}")
            first = groups * half
            column_enable = Signal(groups, name=f"column_enable{half}")
            m.d.comb += [
                column_enable.eq(Mux(
                    to_weight & (payload.beat >= first) & (payload.beat < first + groups),
                    1 << (payload.beat - first)[:max(1, (groups - 1).bit_length())], 0)),
                local.eq(Cat(column_enable[lane // 4] for lane in range(config.lanes))),
            ]
            wanted = getattr(datapath, f"weight_write{half}")
            m.d.comb += [
                # A transfer reads and writes weights only while the array rests.
                ram.read_address.eq(Mux(storing, query_now.unit,
                                        Mux(to_weight, payload.unit, lag))),
                ram.load_enable.eq(local), ram.load_data.eq(payload.data.replicate(groups)),
                getattr(datapath, f"weight_early{half}").eq(ram.early_data),
                ram.write_enable.eq(Mux(wanted, datapath.slot_lanes, 0)),
                ram.write_address.eq(getattr(datapath, f"weight_write_address{half}")),
                ram.write_data.eq(datapath.weight_write_data),
            ]
        m.d.comb += [
            self.pairs.read_address.eq(Mux(storing, query_now.unit >> 3, self.group)),
            self.logits.read_address.eq(Mux(storing, query_now.unit, loss.logit_read_address)),
        ]
        place = delay(m, query_now.unit[:3], Ram.LATENCY, "stored_place")
        stored = self.pairs.read_data.word_select(place, 2 * bits)
        even, odd = stored[:bits].as_signed(), stored[bits:].as_signed()
        wide = [Signal(16, name=f"wide{i}") for i in (0, 1)]
        m.d.comb += [wide[0].eq(even), wide[1].eq(odd)]
        answer = Signal(64, reset_less=True)
        with m.Switch(space):
            with m.Case(Space.WEIGHT):
                m.d.sync += answer.eq(Cat(answer[16:], Mux(picked_half, datapath.stored1,
                                                           datapath.stored0)))
            with m.Case(Space.BIAS):
                m.d.sync += answer.eq(post.bias_read_data)
            with m.Case(Space.LOGIT):
                m.d.sync += answer.eq(self.logits.read_data)
            with m.Case(Space.LIST):
                value = Signal(signed(16))
                m.d.comb += value.eq(self.lists.stored_value)
                m.d.sync += answer.eq(Cat(value, Const(0, 16), self.lists.stored_id))
            with m.Default():
                m.d.sync += answer.eq(Cat(*wide))
        m.d.comb += [
            queue.w_en.eq(delay(m, storing & ~of_weight, Ram.LATENCY + 1, "answered")
                          | delay(m, storing & of_weight & over, Datapath.PICKED + 1,
                                  "answered_weight")),
            queue.w_data.eq(answer),
        ]

    def _elaborate_counters(self, m: Module) -> None:
        datapath, post, loss = self.datapath, self.post, self.loss_unit
        value = _count_ones(m, datapath.value_clipped, "value_clipped")
        slot = _count_ones(m, datapath.slot_clipped, "slot_clipped")
        steps = {"logit": post.saturated_logit, "activation": post.saturated_activation,
                 "error": post.saturated_error + loss.saturated_error,
                 "derivative": value + self.lists.clipped,
                 "weight": slot, "bias": post.saturated_bias}
        for name in SATURATIONS:
            counter = getattr(self, f"sat_{name}")
            m.d.sync += counter.eq(counter + steps[name])
        # In two parts, so that no carry is longer than an adder of the part's.
        low = Signal(LOSS_BITS + 1)
        m.d.comb += low.eq(self.loss[:LOSS_BITS] + loss.loss_add)
        carry = Signal()
        m.d.sync += [carry.eq(loss.loss_valid & low[-1]),
                     self.loss[LOSS_BITS:].eq(self.loss[LOSS_BITS:] + carry)]
        with m.If(loss.loss_valid):
            m.d.sync += [self.loss[:LOSS_BITS].eq(low),
                         self.correct.eq(self.correct + loss.hit),
                         self.samples.eq(self.samples + 1)]
        # Which samples have errors.
        m.submodules.erring = memory = Memory(shape=1, depth=ERROR_SAMPLES, init=[])
        write = memory.write_port()
        samples = Signal(range(ERROR_SAMPLES + 1))
        m.d.comb += [
            write.en.eq(loss.errors_over & (samples != ERROR_SAMPLES)),
            write.addr.eq(samples), write.data.eq(loss.erring),
        ]
        for port in (self, datapath, post):
            read = memory.read_port(domain="comb")
            m.d.comb += [read.addr.eq(port.sample),
                         port.erring.eq(read.data | (port.sample >= samples))]
        with m.If(self.clear | loss.start):
            m.d.sync += samples.eq(0)
        with m.Elif(write.en):
            m.d.sync += samples.eq(samples + 1)
        with m.If(self.loss_over):
            m.d.sync += self.max_error.eq(loss.max_error)
        with m.If(self.clear):
            m.d.sync += [self.loss.eq(0), carry.eq(0), self.correct.eq(0), self.samples.eq(0),
                         self.max_error.eq(0),
                         *(getattr(self, f"sat_{name}").eq(0) for name in SATURATIONS)]

    def _elaborate_events(self, m: Module) -> None:
        post, events = self.post, self.events
        m.d.comb += [
            events.eq(self.datapath.events),
            events.engine_busy.eq(self.busy),
            events.post_busy.eq(self.biasing | post.sums.valid & post.sums.ready
                                | post.errors.valid & post.errors.ready),
            events.loss_busy.eq(self.losing), events.selector_busy.eq(self.selecting),
            events.lists_busy.eq(self.listing),
        ]
