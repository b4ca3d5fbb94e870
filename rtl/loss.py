"""The loss unit: output errors and the loss of each sample, from logits and targets.

Softmax reads a sample's logits three times: for the largest, for the sum of the exponentials, and
for the errors, for which it computes the exponentials again rather than storing them. One element a
cycle passes the same pipeline each time; the stages, in cycles after its address::

    2  logit, target    6  table of 2^-t     11  p - y          16  saturate
    3  largest; max - z 8  shifted           12  x mantissa     17  paired, to the queue
    4  x log2(e)        9  sum; / sum        14  shift (Rounder)

Squared errors need the third pass only; z - target stands for max - z, and its square is summed up
at stage 6. The errors wait in a queue; an address is only issued when its error has a place there.
"""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.loss import LOG2_E, exp2_table, log2_table
from .delay import delay
from .descriptor import Descriptor
from .rounding import SHIFT_BITS, Rounder, half, saturate
from .walker import ADDRESS_BITS, Walker

__all__ = ["LOSS_BITS", "Loss"]

#: Width of a sample's loss.
LOSS_BITS = 48
#: Fraction bits of a raw softmax error.
_ONE_BITS = 15
#: Bits of a raw error, and of one times the mantissa with the half for rounding.
_RAW_BITS, _SCALED_BITS = 17, 26
#: Shifts from here on make nothing but zeros of a raw error times the mantissa.
_SCALED_SHIFT = 25
#: Fraction bits of t, of its table's index.
_T_BITS = 8
_EXP_BITS = 16
#: The reciprocal 2^31 / sum is 2^15 at most, for the largest exponential is 2^16 - 1.
_RECIPROCAL_BITS = 16
#: Pairs in the queue; more than are ever on their way, so that a ready consumer sees no gap.
_QUEUE = 32

# Stages of the pipeline, in cycles after an element's address.
_READ, _COMPARE, _DIFFERENCE, _TABLE, _SUM, _ERROR, _LAST = 2, 3, 4, 6, 9, 11, 17
#: Idle cycles between the second and the third pass: the sum is complete when its stage is left,
#: and the first error needs the reciprocal when it is there itself; one more to load the divider.
_DIVIDE = _RECIPROCAL_BITS + 1
#: Where a softmax loss is complete and the next sample has not touched it.
_LOSS = 12


class _Pass(enum.Enum, shape=2):
    IDLE = 0
    MAX = 1
    SUM = 2
    ERROR = 3


class _Tag(data.Struct):
    """Travels beside an element: its pass, its number, first and last of the pass, of the job."""

    phase: _Pass
    index: 12
    first: 1
    last: 1
    end: 1


class Loss(wiring.Component):
    """Softmax with cross-entropy, or squared errors; the twin of :mod:`tangente.golden.loss`.

    E = ``element_bits``. Cycles: :func:`tangente.golden.timing.loss`.

    pynq_z2 by Yosys (xc7): 1,067 LUT, 43 SRL16E, 4 RAM32M, 750 FF, 3 DSP48E1.

    Members
    -------
    start : unsigned(1), In. Takes ``job``. Never while a job runs; in the cycle after ``done`` at
        the earliest.
    job : Descriptor, In. COUNT samples of P outputs; logits at S_BASE, S_STRIDE in pairs, targets
        at T_BASE, T_STRIDE in 16-bit units; MANTISSA, E_SHIFT; Flag.POST0 for squared errors.
    reset_job : unsigned(1), In. Drops the job; idle in the next cycle.
    done : unsigned(1), Out. One cycle, after the one in which the last errors were handed over.
    fault : unsigned(1), Out. One cycle: an address lies beyond its memory. The job is dropped
        without ``done``.
    logit_read_enable, logit_read_address : unsigned(1), (16), Out. Logit memory.
    logit_read_data : unsigned(32), In. Two cycles after the address.
    target_read_enable, target_read_address : unsigned(1), (18), Out. Target memory, 16-bit units.
    target_read_data : unsigned(16), In. Two cycles after the address.
    errors : stream of {even, odd}, Out, signed(E). The odd element beyond an odd P is zero.
    loss_valid : unsigned(1), Out. One cycle for each sample, in which ``loss_add`` and ``hit``
        hold; the last before ``done``.
    loss_add : unsigned(48), Out. The sample's loss: softmax in 1/256 bit, squared error in 2^-20.
    hit : unsigned(1), Out. Softmax: the first of the largest logits is the target's.
    max_error : unsigned(E - 1), Out. Largest magnitude of the job's errors, from ``done`` to the
        next ``start``.
    saturated_error : unsigned(1), Out. An error saturated; to be added up, complete at ``done``.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        bits = config.element_bits
        self._pair = data.StructLayout({"even": signed(bits), "odd": signed(bits)})
        super().__init__({
            "start": In(1), "job": In(Descriptor()), "reset_job": In(1), "done": Out(1),
            "fault": Out(1),
            "logit_read_enable": Out(1), "logit_read_address": Out(16), "logit_read_data": In(32),
            "target_read_enable": Out(1), "target_read_address": Out(18),
            "target_read_data": In(16),
            "errors": Out(stream.Signature(self._pair)),
            "loss_valid": Out(1), "loss_add": Out(LOSS_BITS), "hit": Out(1),
            "max_error": Out(bits - 1), "saturated_error": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._elaborate_issue(m)
        difference, is_label = self._elaborate_softmax_input(m)
        exponential, t, is_label = self._elaborate_exponential(m, difference, is_label)
        self._elaborate_division(m, exponential, t)
        self._elaborate_errors(m, exponential, difference, is_label)
        with m.If(self._drop):
            m.d.sync += [valid.eq(0) for valid in self._valid[1:]]
            m.d.sync += [self._phase.eq(_Pass.IDLE), self._wait.eq(0), self.done.eq(0),
                         self.loss_valid.eq(0)]
        return m

    def _at(self, stage: int, phase: _Pass):
        """Whether an element of that pass is at ``stage``."""
        return self._valid[stage] & (self._tag[stage].phase == phase)

    # --- addresses ------------------------------------------------------------------------------

    def _elaborate_issue(self, m: Module) -> None:
        job, config = self.job, self._config
        self._phase = phase = Signal(_Pass)
        self._wait = wait = Signal(range(_DIVIDE + 1))
        self._squared, self._mantissa = squared, mantissa = Signal(), Signal(8)
        self._shift, self._drop = Signal(SHIFT_BITS), Signal()
        outputs, samples, stride = Signal(12), Signal(12), Signal(16)
        first_address, address, following = (Signal(ADDRESS_BITS), Signal(ADDRESS_BITS),
                                             Signal(ADDRESS_BITS))
        self._room = room = Signal(range(_QUEUE + 1))
        tag, issue, index = Signal(_Tag), Signal(), Signal(12)
        m.submodules.targets = targets = Walker()

        room_needed = (phase == _Pass.ERROR) & ~index[0]
        m.d.comb += [
            issue.eq((phase != _Pass.IDLE) & ~wait.any() & (room.any() | ~room_needed)),
            tag.phase.eq(phase), tag.index.eq(index),
            tag.first.eq(index == 0), tag.last.eq(index == outputs),
            tag.end.eq(tag.last & (phase == _Pass.ERROR) & (samples == 0)),
            self.logit_read_enable.eq(issue),
            self.logit_read_address.eq(address),
            self.target_read_enable.eq(
                issue & Mux(squared, 1, tag.first & (phase == _Pass.MAX))),
            self.target_read_address.eq(targets.address),
            targets.start.eq(self.start), targets.base.eq(job.t_base),
            targets.stride.eq(job.t_stride), targets.step.eq(self.target_read_enable),
            targets.last.eq(~squared | tag.last),
        ]
        beyond = (issue & address[(config.logit_pairs - 1).bit_length():].any()
                  | self.target_read_enable
                  & targets.address[(config.target_beats * 4 - 1).bit_length():].any())
        m.d.sync += self.fault.eq(beyond & ~self.fault & ~self.reset_job)
        m.d.comb += self._drop.eq(self.fault | self.reset_job)

        with m.If(wait.any()):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.start):
            softmax_first = Mux(job.flags.post[0], _Pass.ERROR, _Pass.MAX)
            m.d.sync += [
                phase.eq(softmax_first), squared.eq(job.flags.post[0]), mantissa.eq(job.mantissa),
                self._shift.eq(Mux(job.e_shift > _SCALED_SHIFT, _SCALED_SHIFT, job.e_shift)),
                outputs.eq(job.p - 1), samples.eq(job.count - 1), stride.eq(job.s_stride),
                first_address.eq(job.s_base), address.eq(job.s_base),
                following.eq(job.s_base + job.s_stride), index.eq(0), room.eq(_QUEUE),
            ]
        with m.Elif(issue):
            m.d.sync += [index.eq(index + 1), address.eq(address + index[0])]
            with m.If(tag.last):
                m.d.sync += [index.eq(0), address.eq(first_address)]
                with m.Switch(phase):
                    with m.Case(_Pass.MAX):
                        m.d.sync += phase.eq(_Pass.SUM)
                    with m.Case(_Pass.SUM):
                        m.d.sync += [phase.eq(_Pass.ERROR), wait.eq(_DIVIDE)]
                    with m.Case(_Pass.ERROR):
                        m.d.sync += [
                            samples.eq(samples - 1), first_address.eq(following),
                            address.eq(following), following.eq(following + stride),
                            phase.eq(Mux(squared, _Pass.ERROR, _Pass.MAX)),
                        ]
            with m.If(tag.end):
                m.d.sync += phase.eq(_Pass.IDLE)
        handed_over = self.errors.valid & self.errors.ready
        with m.If(~self.start):
            m.d.sync += room.eq(room + handed_over - (issue & room_needed))

        self._valid = [issue, *(Signal(name=f"valid_{i + 1}") for i in range(_LAST))]
        self._tag = [tag, *(Signal(_Tag, name=f"tag_{i + 1}", reset_less=True)
                            for i in range(_LAST))]
        m.d.sync += [after.eq(before) for after, before in zip(self._valid[1:], self._valid)]
        m.d.sync += [after.eq(before) for after, before in zip(self._tag[1:], self._tag)]

    # --- softmax --------------------------------------------------------------------------------

    def _elaborate_softmax_input(self, m: Module):
        """Stages 2 and 3: the largest logit and its difference to each; or z - target.

        Returns the difference (stage 4), and whether the element is the target's (stage 4).
        """
        z, target = Signal(signed(16), reset_less=True), Signal(signed(16), reset_less=True)
        best, best_index, label = Signal(signed(16)), Signal(12), Signal(16)
        difference, is_label = Signal(signed(_RAW_BITS), reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            z.eq(self.logit_read_data.word_select(self._tag[_READ].index[0], 16)),
            target.eq(self.target_read_data),
        ]
        with m.If(self._at(_READ, _Pass.MAX) & self._tag[_READ].first):
            m.d.sync += label.eq(self.target_read_data)
        tag = self._tag[_COMPARE]
        with m.If(self._at(_COMPARE, _Pass.MAX) & (tag.first | (z > best))):
            m.d.sync += [best.eq(z), best_index.eq(tag.index)]
        with m.If(self._at(_COMPARE, _Pass.ERROR)):
            m.d.sync += self.hit.eq(~self._squared & (best_index == label))
        m.d.sync += [difference.eq(Mux(self._squared, z - target, best - z)),
                     is_label.eq(tag.index == label)]
        return difference, is_label

    def _elaborate_exponential(self, m: Module, difference, is_label):
        """Stages 4 to 9: t, 2^-t; the square, summed up.

        Returns e (stage 9), the target's t, and whether the element is the target's (stage 6).
        """
        factor = Signal(signed(_RAW_BITS))
        product, scaled = (Signal(signed(2 * _RAW_BITS), reset_less=True, name=name)
                           for name in ("log_product", "log_scaled"))
        m.d.comb += factor.eq(Mux(self._squared, difference, LOG2_E))
        m.d.sync += [product.eq(difference * factor), scaled.eq(product)]
        t = scaled[12:12 + 15]

        self._square_sum = square_sum = Signal(LOSS_BITS)
        label_t = Signal(15)
        table_label = delay(m, is_label, _TABLE - _DIFFERENCE, "label")
        with m.If(self._valid[_TABLE]):
            m.d.sync += square_sum.eq(Mux(self._tag[_TABLE].first, 0, square_sum) + scaled[:34])
        with m.If(self._at(_TABLE, _Pass.SUM)):
            with m.If(table_label):
                m.d.sync += label_t.eq(t)
            with m.Elif(self._tag[_TABLE].first):
                m.d.sync += label_t.eq(0)

        m.submodules.exp2 = table = Memory(shape=_EXP_BITS, depth=1 << _T_BITS,
                                           init=exp2_table().tolist())
        port = table.read_port()
        entry, exponential = (Signal(_EXP_BITS, reset_less=True, name=name)
                              for name in ("entry", "exponential"))
        places = delay(m, t[_T_BITS:], 2, "places")
        m.d.comb += port.addr.eq(t[:_T_BITS])
        m.d.sync += [entry.eq(port.data),
                     exponential.eq(Mux(places[4:].any(), 0, entry >> places[:4]))]
        return exponential, label_t, table_label

    def _elaborate_division(self, m: Module, exponential, label_t) -> None:
        """The sum, its reciprocal and logarithm, and the sample's loss."""
        total_bits = _EXP_BITS + (self._config.max_outputs - 1).bit_length()
        total, norm = Signal(total_bits), Signal(total_bits)
        remainder = Signal(total_bits)
        exponent, t = Signal(range(total_bits)), Signal.like(label_t)
        steps = Signal(range(_RECIPROCAL_BITS + 1))
        self._reciprocal = reciprocal = Signal(_RECIPROCAL_BITS)
        with m.If(self._at(_SUM, _Pass.SUM)):
            m.d.sync += total.eq(Mux(self._tag[_SUM].first, 0, total) + exponential)

        double = remainder << 1
        fits = double >= total
        with m.If(self._at(_SUM + 1, _Pass.SUM) & self._tag[_SUM + 1].last):
            # 2^31 less its lowest 16 bits, which the steps bring down: below any sum.
            m.d.sync += [remainder.eq(1 << 15), norm.eq(total), exponent.eq(total_bits - 1),
                         steps.eq(_RECIPROCAL_BITS), t.eq(label_t)]
        with m.Elif(steps.any()):
            m.d.sync += [steps.eq(steps - 1), reciprocal.eq(Cat(fits, reciprocal)),
                         remainder.eq(Mux(fits, double - total, double))]
            with m.If(~norm[-1]):
                m.d.sync += [norm.eq(norm << 1), exponent.eq(exponent - 1)]

        m.submodules.log2 = table = Memory(shape=_T_BITS, depth=1 << _T_BITS,
                                           init=log2_table().tolist())
        port = table.read_port()
        loss = Signal(signed(18))
        m.d.comb += port.addr.eq(norm[-1 - _T_BITS:-1])
        m.d.sync += loss.eq(t + Cat(port.data, exponent) - (16 << _T_BITS))
        softmax_end = self._at(_LOSS, _Pass.ERROR) & self._tag[_LOSS].last
        squared_end = self._valid[_TABLE + 1] & self._tag[_TABLE + 1].last
        m.d.sync += self.loss_valid.eq(Mux(self._squared, squared_end, softmax_end))
        with m.If(self._squared):
            m.d.sync += self.loss_add.eq(self._square_sum)
        with m.Else():
            m.d.sync += self.loss_add.eq(Mux(loss < 0, 0, loss))

    # --- errors ---------------------------------------------------------------------------------

    def _elaborate_errors(self, m: Module, exponential, difference, is_label) -> None:
        """Stages 9 to 17, the queue, the largest error and the end."""
        bits = self._config.element_bits
        quotient, p = (Signal(_EXP_BITS + _RECIPROCAL_BITS, reset_less=True, name=name)
                       for name in ("quotient", "p"))
        raw = Signal(signed(_RAW_BITS), reset_less=True)
        is_label = delay(m, is_label, _ERROR - _TABLE, "error_label")
        m.d.sync += [
            quotient.eq(exponential * self._reciprocal), p.eq(quotient),
            raw.eq(Mux(self._squared,
                       delay(m, difference, _ERROR - _DIFFERENCE, "squared_error"),
                       p[_EXP_BITS:] - (is_label << _ONE_BITS))),
        ]
        product, scaled = (Signal(signed(_SCALED_BITS), reset_less=True, name=name)
                           for name in ("mantissa_product", "mantissa_scaled"))
        added = Signal(_SCALED_SHIFT)
        m.submodules.rounder = rounder = Rounder(_SCALED_BITS)
        m.d.sync += [added.eq(half(self._shift)), product.eq(raw * self._mantissa),
                     scaled.eq(product + added)]
        m.d.comb += [rounder.value.eq(scaled), rounder.shift.eq(self._shift)]

        element, even = (Signal(signed(bits), reset_less=True, name=name)
                         for name in ("element", "even"))
        magnitude = Signal(bits - 1)
        clamped, saturated = saturate(rounder.result, bits)
        m.d.sync += [element.eq(clamped),
                     self.saturated_error.eq(saturated & self._at(_LAST - 1, _Pass.ERROR))]
        valid, tag = self._at(_LAST, _Pass.ERROR), self._tag[_LAST]
        m.d.comb += magnitude.eq(Mux(element < 0, -element, element))
        with m.If(self.start):
            m.d.sync += self.max_error.eq(0)
        with m.Elif(valid & (magnitude > self.max_error)):
            m.d.sync += self.max_error.eq(magnitude)
        with m.If(valid & ~tag.index[0]):
            m.d.sync += even.eq(element)

        pair, end = Signal(self._pair), Signal()
        queue = self.queue = SyncFIFO(width=2 * bits + 1, depth=_QUEUE)
        m.submodules.queue = ResetInserter(self._drop)(queue)
        m.d.comb += [
            pair.even.eq(Mux(tag.index[0], even, element)),
            pair.odd.eq(Mux(tag.index[0], element, 0)),
            queue.w_data.eq(Cat(pair, tag.end)),
            queue.w_en.eq(valid & (tag.index[0] | tag.last)),
            Cat(self.errors.payload, end).eq(queue.r_data),
            self.errors.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.errors.ready),
        ]
        m.d.sync += self.done.eq(self.errors.valid & self.errors.ready & end)
