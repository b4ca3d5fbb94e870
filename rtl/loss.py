"""The loss unit: output errors and the loss of each sample, from logits and targets.

Softmax reads a sample's logits twice, two a cycle: for the largest, and for the exponentials and
their sum. The exponentials wait in a buffer until their sum has been divided; the errors, one a
cycle, are made of them while the next sample's logits are read already. Squared errors need the
first stages and the last, one element a cycle. Stages of the front, in cycles after an address::

    2  logits, target    4  z - max; z - target    7  table of 2^-t
    3  largest           6  x log2(e); squares     8  shifted: buffer, sum

Stages of the back, in cycles after an address of the buffer (squared errors enter at stage 2)::

    1  exponential       4  p - y                  8  shifted
    2  operand           7  x mantissa, + half     9  saturated, paired

Each multiplication is a DSP48E1 with all its registers: operands, product, sum.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.loss import LOG2_E, exp2_table, log2_table
from ..golden.timing import LOSS_PERIOD
from .delay import delay
from .descriptor import Descriptor
from .rounding import SHIFT_BITS, saturate
from .walker import ADDRESS_BITS, Walker

__all__ = ["LOSS_BITS", "Loss"]

#: Width of a sample's loss: 2^11 squares of raw errors at least.
LOSS_BITS = 44
#: Fraction bits of a raw softmax error; of an exponential times a reciprocal.
_ONE_BITS, _QUOTIENT_BITS = 15, 16
#: Bits of a raw error, and of one times the shifted mantissa with the half for rounding.
_RAW_BITS, _SCALED_BITS = 17, 32
#: Fraction bits of t, of its table's index.
_T_BITS = 8
_EXP_BITS = 16
#: The reciprocal 2^31 / sum is 2^15 at most, for the largest exponential is 2^16 - 1.
_RECIPROCAL_BITS = 16

# Stages of the front, in cycles after a pair's address, and of the back.
_READ, _COMPARE, _DIFFERENCE, _T, _EXPONENTIAL = 2, 3, 4, 6, 8
_OPERAND, _RESULT, _ELEMENT = 2, 8, 9
#: Cycles from the last exponentials: the division takes two bits a cycle; the buffer is read early
#: enough for the first operand to meet its reciprocal; then comes the logarithm.
_DIVIDED = _RECIPROCAL_BITS // 2
_ERRORS = _DIVIDED + 1 - _OPERAND
_LOGARITHM = _DIVIDED + 2
#: Pairs that are in the buffer beside those of one sample, at most.
_BESIDE = 8


class _Pass(enum.Enum, shape=2):
    IDLE = 0
    MAX = 1
    SUM = 2
    SQUARE = 3


class _Tag(data.Struct):
    """Travels beside a pair of logits, or one: its number, first, last of the pass, of the job."""

    index: 12
    first: 1
    last: 1
    end: 1


class _Place(data.Struct):
    """Travels beside an error: odd in its pair, last of its sample, of the job."""

    odd: 1
    last: 1
    end: 1


class Loss(wiring.Component):
    """Softmax with cross-entropy, or squared errors; the twin of :mod:`tangente.golden.loss`.

    E = ``element_bits``. Cycles: :func:`tangente.golden.timing.loss`.

    pynq_z2 by Yosys (xc7): 623 LUT, 19 SRL16E, 759 FF, 4 DSP48E1, 2 RAMB18E1.

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
    errors : stream of {even, odd}, Out, signed(E), always ready. The odd element beyond an odd P is
        zero.
    loss_valid : unsigned(1), Out. One cycle for each sample, in which ``loss_add`` and ``hit``
        hold; the last before ``done``.
    loss_add : unsigned(44), Out. The sample's loss: softmax in 1/256 bit, squared error in 2^-20.
    hit : unsigned(1), Out. Softmax: the first of the largest logits is the target's.
    max_error : unsigned(E - 1), Out. Largest magnitude of the job's errors, from ``done`` to the
        next ``start``.
    saturated_error : unsigned(1), Out. An error saturated; to be added up, complete at ``done``.
    errors_over, erring : unsigned(1), Out. The last error of a sample is handed over; with it,
        whether one of its errors is not zero.
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
            "errors": Out(stream.Signature(self._pair, always_ready=True)),
            "loss_valid": Out(1), "loss_add": Out(LOSS_BITS), "hit": Out(1),
            "max_error": Out(bits - 1), "saturated_error": Out(1),
            "errors_over": Out(1), "erring": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        #: What a dropped job leaves nothing of.
        self._cleared: list[Signal] = [self.done, self.loss_valid]
        self._elaborate_issue(m)
        differences, labels = self._elaborate_input(m)
        t, label_t = self._elaborate_t(m, differences, labels)
        exponentials = self._elaborate_exponentials(m, t)
        summed = self._elaborate_sum(m, exponentials)
        self._elaborate_loss(m, summed, label_t)
        operand, summand, valid, place = self._elaborate_back(m, exponentials, labels,
                                                              differences[0])
        self._elaborate_errors(m, operand, summand, valid, place)
        with m.If(self._drop):
            m.d.sync += [signal.eq(0) for signal in self._cleared]
        return m

    def _moved(self, m: Module, valid, cycles: int, name: str) -> list:
        """``valid`` now and up to ``cycles`` cycles later, through registers that a drop clears."""
        stages = [valid, *(Signal(name=f"{name}_{i + 1}") for i in range(cycles))]
        m.d.sync += [after.eq(before) for after, before in zip(stages[1:], stages)]
        self._cleared += stages[1:]
        return stages

    # --- addresses ------------------------------------------------------------------------------

    def _elaborate_issue(self, m: Module) -> None:
        job, config = self.job, self._config
        phase, spacing = Signal(_Pass), Signal(range(LOSS_PERIOD))
        self._squared, self._mantissa = squared, mantissa = Signal(), Signal(8)
        self._outputs, self._alone = outputs, alone = Signal(12), Signal()
        self._shift, self._drop = Signal(SHIFT_BITS), Signal()
        samples, stride, last = Signal(12), Signal(16), Signal(12)
        first_address, address, following = (Signal(ADDRESS_BITS), Signal(ADDRESS_BITS),
                                             Signal(ADDRESS_BITS))
        tag, issue, index = Signal(_Tag), Signal(), Signal(12)
        m.submodules.targets = targets = Walker()
        fresh = Signal()        # ``index`` is zero
        begins = (phase == _Pass.MAX) & tag.first
        m.d.comb += [
            issue.eq((phase != _Pass.IDLE) & ~(begins & spacing.any())),
            tag.index.eq(index), tag.first.eq(fresh), tag.last.eq(index == last),
            tag.end.eq(tag.last & (phase != _Pass.MAX) & (samples == 0)),
            self.logit_read_enable.eq(issue),
            self.logit_read_address.eq(address),
            self.target_read_enable.eq(issue & (squared | begins)),
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

        with m.If(spacing.any()):
            m.d.sync += spacing.eq(spacing - 1)
        with m.If(self.start):
            plain = job.flags.post[0]
            m.d.sync += [
                phase.eq(Mux(plain, _Pass.SQUARE, _Pass.MAX)), squared.eq(plain),
                mantissa.eq(job.mantissa),
                self._shift.eq(job.e_shift),
                outputs.eq(job.p - 1), alone.eq(job.p[0]),
                last.eq(Mux(plain, job.p - 1, (job.p - 1)[1:12])),
                samples.eq(job.count - 1), stride.eq(job.s_stride),
                first_address.eq(job.s_base), address.eq(job.s_base),
                following.eq(job.s_base + job.s_stride), index.eq(0), fresh.eq(1), spacing.eq(0),
            ]
        with m.Elif(issue):
            m.d.sync += [index.eq(index + 1), fresh.eq(tag.last),
                         address.eq(address + (index[0] | ~squared))]
            with m.If(begins):
                m.d.sync += spacing.eq(LOSS_PERIOD - 1)
            with m.If(tag.last):
                m.d.sync += index.eq(0)
                with m.If(phase == _Pass.MAX):
                    m.d.sync += [phase.eq(_Pass.SUM), address.eq(first_address)]
                with m.Else():
                    m.d.sync += [
                        phase.eq(Mux(squared, _Pass.SQUARE, _Pass.MAX)),
                        samples.eq(samples - 1), first_address.eq(following),
                        address.eq(following), following.eq(following + stride),
                    ]
            with m.If(tag.end):
                m.d.sync += phase.eq(_Pass.IDLE)
        self._cleared.append(phase)

        self._max = self._moved(m, issue & (phase == _Pass.MAX), _COMPARE, "max")
        self._sum = self._moved(m, issue & (phase == _Pass.SUM), _EXPONENTIAL, "sum")
        self._square = self._moved(m, issue & (phase == _Pass.SQUARE), _T, "square")
        self._tag = [tag, *(Signal(_Tag, name=f"tag_{i + 1}", reset_less=True)
                            for i in range(_EXPONENTIAL))]
        m.d.sync += [after.eq(before) for after, before in zip(self._tag[1:], self._tag)]

    # --- the front ------------------------------------------------------------------------------

    def _elaborate_input(self, m: Module):
        """Stages 2 and 3: the largest logit, and what each is above it; or z - target.

        Returns both differences, and whether each element is the target's (stage 4).
        """
        even, odd = (self.logit_read_data[16 * i:16 * i + 16].as_signed() for i in (0, 1))
        z = [Signal(signed(16), reset_less=True, name=f"z{i}") for i in (0, 1)]
        target, top = Signal(signed(16), reset_less=True), Signal(signed(16), reset_less=True)
        top_odd, missing = Signal(reset_less=True), Signal()
        tag = self._tag[_READ]
        m.d.comb += missing.eq(tag.last & self._alone)
        higher = ~missing & (odd > even)
        m.d.sync += [
            z[0].eq(Mux(self._squared & tag.index[0], odd, even)), z[1].eq(odd),
            target.eq(self.target_read_data),
            top.eq(Mux(higher, odd, even)), top_odd.eq(higher),
        ]
        label = Signal(16)
        with m.If(self._max[_READ] & tag.first):
            m.d.sync += label.eq(self.target_read_data)

        best, best_is_label, is_pair = Signal(signed(16)), Signal(), Signal()
        tag = self._tag[_COMPARE]
        m.d.comb += is_pair.eq(tag.index == label[1:])
        with m.If(self._max[_COMPARE] & (tag.first | (top > best))):
            m.d.sync += [best.eq(top), best_is_label.eq(is_pair & (top_odd == label[0]))]
        self._best_is_label = delay(m, best_is_label, _EXPONENTIAL - _COMPARE, "best_is_label")
        differences = [Signal(signed(_RAW_BITS), reset_less=True, name=f"difference{i}")
                       for i in (0, 1)]
        labels = [Signal(reset_less=True, name=f"label{i}") for i in (0, 1)]
        # The even one is multiplied by itself or a constant: both operands have their registers.
        # Gates choose, for a multiplexer of a constant would be those registers' set or reset.
        difference, minus = Signal(signed(_RAW_BITS)), Const(-LOG2_E, _RAW_BITS)
        self._factor = Signal(signed(_RAW_BITS), reset_less=True)
        squared = self._squared.replicate(_RAW_BITS)
        m.d.comb += difference.eq(z[0] - Mux(self._squared, target, best))
        m.d.sync += [
            differences[0].eq(difference),
            self._factor.eq(difference & squared | minus & ~squared),
            differences[1].eq(z[1] - best),
            labels[0].eq(is_pair & ~label[0]),
            labels[1].eq(is_pair & label[0] & ~(tag.last & self._alone)),
        ]
        return differences, labels

    def _elaborate_t(self, m: Module, differences, labels):
        """Stages 5 and 6: t of both elements; the square, summed up, where an even t would be.

        Returns t of both (stage 6), and the target's (stage 7).
        """
        products = [Signal(signed(2 * _RAW_BITS), reset_less=True, name=f"log_product{i}")
                    for i in (0, 1)]
        self._square_sum = square_sum = Signal(signed(LOSS_BITS), reset_less=True)
        scaled = Signal(signed(2 * _RAW_BITS), reset_less=True)
        more = delay(m, self._squared & ~self._tag[_T - 2].first, 1, "more")
        m.d.sync += [
            products[0].eq(differences[0] * self._factor), products[1].eq(differences[1] * -LOG2_E),
            square_sum.eq(products[0] + Mux(more, square_sum, 0)), scaled.eq(products[1]),
        ]
        t = [value[12:12 + 15] for value in (square_sum, scaled)]
        label_t = Signal(15)
        even, odd = (delay(m, label, _T - _DIFFERENCE, f"t_label{i}")
                     for i, label in enumerate(labels))
        with m.If(self._sum[_T]):
            with m.If(even | odd):
                m.d.sync += label_t.eq(Mux(odd, t[1], t[0]))
            with m.Elif(self._tag[_T].first):
                m.d.sync += label_t.eq(0)
        return t, label_t

    def _elaborate_exponentials(self, m: Module, t) -> list[Signal]:
        """Stages 7 and 8: 2^-t of both elements; 0 for the odd one that is not there."""
        m.submodules.exp2 = table = Memory(shape=_EXP_BITS, depth=1 << _T_BITS,
                                           init=exp2_table().tolist(),
                                           attrs={"rom_style": "block"})
        exponentials = []
        missing = self._tag[_EXPONENTIAL - 1].last & self._alone
        for i, (value, absent) in enumerate(zip(t, (0, missing))):
            port = table.read_port()
            exponential = Signal(_EXP_BITS, reset_less=True, name=f"exponential{i}")
            places = delay(m, value[_T_BITS:], 1, f"places{i}")
            m.d.comb += port.addr.eq(value[:_T_BITS])
            m.d.sync += exponential.eq(Mux(places[4:].any() | absent, 0, port.data >> places[:4]))
            exponentials.append(exponential)
        return exponentials

    # --- the sum --------------------------------------------------------------------------------

    def _elaborate_sum(self, m: Module, exponentials):
        """Stage 8: the sum, and in the cycles after it its reciprocal. Returns the sum."""
        self._total_bits = bits = _EXP_BITS + (self._config.max_outputs - 1).bit_length()
        total, divisor, summed = Signal(bits), Signal(bits), Signal(bits)
        tag, valid = self._tag[_EXPONENTIAL], self._sum[_EXPONENTIAL]
        m.d.comb += summed.eq(Mux(tag.first, 0, total) + (exponentials[0] + exponentials[1]))
        with m.If(valid):
            m.d.sync += total.eq(summed)
        self._ended = ended = self._moved(m, valid & tag.last, _LOGARITHM, "ended")

        # Division without restoring: a negative remainder is mended by adding in the next step.
        # The steps, two bits a cycle, never stop; the quotient is taken when it is complete.
        remainder = Signal(signed(bits + 1))
        quotient, self._reciprocal = Signal(_RECIPROCAL_BITS), Signal(_RECIPROCAL_BITS)
        # Of the second step both outcomes are ready when the first one's sign is.
        first, second = (Signal(signed(bits + 1), name=f"remainder_{i}") for i in (1, 2))
        positive, less, more = ~remainder[-1], Signal.like(second), Signal.like(second)
        m.d.comb += [
            first.eq(Cat(positive, remainder)
                     + (Cat(divisor, Const(0, 1)) ^ positive.replicate(bits + 1))),
            less.eq((first << 1) - divisor), more.eq((first << 1) + divisor),
            second.eq(Mux(first[-1], more, less)),
        ]
        steps, left = [~first[-1], ~second[-1]], second
        m.d.sync += [remainder.eq(left), quotient.eq(Cat(*reversed(steps), quotient))]
        with m.If(ended[0]):
            # 2^31 less its lowest 16 bits, which the steps bring down: below any sum.
            m.d.sync += [remainder.eq(1 << 15), divisor.eq(summed)]
        with m.If(ended[_DIVIDED]):
            m.d.sync += self._reciprocal.eq(Cat(*reversed(steps), quotient)[:_RECIPROCAL_BITS])
        with m.If(self._squared):
            m.d.sync += self._reciprocal.eq(0)
        return summed

    def _elaborate_loss(self, m: Module, summed, label_t) -> None:
        """The sum's logarithm, and the sample's loss."""
        bits, ended = self._total_bits, self._ended
        norm, exponent = Signal(bits), Signal(range(bits))
        t, hit = Signal.like(label_t), Signal()
        with m.If(ended[0]):
            m.d.sync += [norm.eq(summed), exponent.eq(bits - 1), t.eq(label_t),
                         hit.eq(self._best_is_label)]
        with m.Elif(~norm[-2:].any()):
            m.d.sync += [norm.eq(norm << 2), exponent.eq(exponent - 2)]
        with m.Elif(~norm[-1]):
            m.d.sync += [norm.eq(norm << 1), exponent.eq(exponent - 1)]

        m.submodules.log2 = table = Memory(shape=_T_BITS, depth=1 << _T_BITS,
                                           init=log2_table().tolist())
        port = table.read_port()
        whole, loss = Signal(signed(18), reset_less=True), Signal(signed(18))
        m.d.comb += [port.addr.eq(norm[-1 - _T_BITS:-1]), loss.eq(whole + port.data)]
        m.d.sync += [
            whole.eq(t + (exponent << _T_BITS) - (16 << _T_BITS)),
            self.hit.eq(delay(m, hit, 1, "hit") & ~self._squared),
            self.loss_valid.eq(self._square[_T] & self._tag[_T].last | ended[_LOGARITHM]),
            self.loss_add.eq(Mux(self._squared, self._square_sum, Mux(loss < 0, 0, loss))),
        ]

    # --- the back -------------------------------------------------------------------------------

    def _elaborate_back(self, m: Module, exponentials, labels, difference):
        """The buffer: exponentials go in by pairs, in order, and come out one by one.

        Returns an exponential (stage 2 of the back), what is added to its quotient (stage 3): -1
        for the target's element, or a squared error, whose quotient is 0; whether there is one,
        and its place, at each stage.
        """
        most = self._config.max_outputs // 2
        depth = 1 << (most + _BESIDE - 1).bit_length()
        width = _EXP_BITS + 1
        m.submodules.buffer = buffer = Memory(shape=2 * width, depth=depth, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        labels = [delay(m, label, _EXPONENTIAL - _DIFFERENCE, f"buffer_label{i}")
                  for i, label in enumerate(labels)]
        reading, left, end = Signal(), Signal(12), Signal()
        place = [Signal(_Place, name=f"place_{i}", reset_less=True) for i in range(_ELEMENT + 1)]
        m.d.comb += [
            write.en.eq(self._sum[_EXPONENTIAL]),
            write.data.eq(Cat(exponentials[0], labels[0], exponentials[1], labels[1])),
            place[0].odd.eq(left[0] ^ self._outputs[0]), place[0].last.eq(left == 0),
            place[0].end.eq(place[0].last & end),
        ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(reading):
            m.d.sync += [left.eq(left - 1),
                         read.addr.eq(read.addr + (place[0].odd | place[0].last))]
            with m.If(place[0].last):
                m.d.sync += reading.eq(0)
        ends = delay(m, self._tag[_EXPONENTIAL].end, _ERRORS - 1, "ends")
        with m.If(self._ended[_ERRORS - 1]):
            m.d.sync += [reading.eq(1), left.eq(self._outputs), end.eq(ends)]
        with m.If(self.start):
            m.d.sync += [write.addr.eq(0), read.addr.eq(0)]
        self._cleared.append(reading)

        operand, label = Signal(_EXP_BITS, reset_less=True), Signal(reset_less=True)
        summand = Signal(signed(_RAW_BITS), reset_less=True)
        word = read.data.word_select(place[1].odd, width)
        m.d.sync += [operand.eq(word[:_EXP_BITS]), label.eq(word[-1]),
                     summand.eq(Mux(self._squared, delay(m, difference, 1, "error"),
                                    Mux(label, -1 << _ONE_BITS, 0)))]
        # Squared errors join here.
        fetched, arrived = Signal(), Signal()
        tag = self._tag[_DIFFERENCE]
        squared_place = Cat(tag.index[0], tag.last, tag.end)
        m.d.sync += [
            fetched.eq(reading),
            arrived.eq(Mux(self._squared, self._square[_DIFFERENCE], fetched)),
            place[1].eq(place[0]),
            place[_OPERAND].eq(Mux(self._squared, squared_place, place[1].as_value())),
            *(after.eq(before) for after, before in zip(place[3:], place[2:])),
        ]
        self._cleared += [fetched, arrived]
        valid = [reading, fetched, *self._moved(m, arrived, _ELEMENT - _OPERAND, "error")]
        return operand, summand, valid, place

    def _elaborate_errors(self, m: Module, operand, summand, valid, place) -> None:
        """Stages 2 to 9 of the back, the largest error and the end."""
        bits = self._config.element_bits
        quotient, p = (Signal(signed(_RAW_BITS + _QUOTIENT_BITS), reset_less=True, name=name)
                       for name in ("quotient", "p"))
        m.d.sync += [quotient.eq(operand * self._reciprocal),
                     p.eq(quotient + Cat(Const(0, _QUOTIENT_BITS), summand).as_signed())]
        # The shift is one to the left, of the mantissa, then one to the right by whole bytes; what
        # four of them leave, of a shift of 25 and more, rounds to zero.
        mantissa, coarse = Signal(15, reset_less=True), Signal(3, reset_less=True)
        added, shift = Signal(24, reset_less=True), self._shift
        raw = Signal(signed(_RAW_BITS), reset_less=True)
        product, scaled, near = (Signal(signed(_SCALED_BITS), reset_less=True, name=name)
                                 for name in ("mantissa_product", "mantissa_scaled", "near"))
        tie = Signal(reset_less=True)
        empty = [~scaled[8 * i:8 * i + 8].any() for i in range(3)]
        m.d.sync += [
            mantissa.eq(self._mantissa << (-shift)[:3]), coarse.eq(shift[3:] + shift[:3].any()),
            *(added[8 * i + 7].eq(coarse == i + 1) for i in range(3)),
            raw.eq(p[_QUOTIENT_BITS:]), product.eq(raw * mantissa), scaled.eq(product + added),
            tie.eq(empty[0] & (empty[1] | ~coarse[1]) & (empty[2] | ~coarse[1] | ~coarse[0])
                   & coarse.any()),
        ]
        with m.If(coarse[2]):
            m.d.sync += near.eq(0)
        with m.Else():
            m.d.sync += near.eq(scaled >> Cat(Const(0, 3), coarse[:2]))
        result = Cat(near[0] & ~tie, near[1:])

        element, even = (Signal(signed(bits), reset_less=True, name=name)
                         for name in ("element", "even"))
        magnitude = Signal(bits - 1)
        clamped, saturated = saturate(result, bits)
        m.d.sync += [element.eq(clamped), even.eq(element),
                     self.saturated_error.eq(saturated & valid[_RESULT])]
        m.d.comb += magnitude.eq(Mux(element < 0, -element, element))
        with m.If(self.start):
            m.d.sync += self.max_error.eq(0)
        with m.Elif(valid[_ELEMENT] & (magnitude > self.max_error)):
            m.d.sync += self.max_error.eq(magnitude)
        here, erring = place[_ELEMENT], Signal()
        m.d.comb += [self.errors_over.eq(valid[_ELEMENT] & here.last),
                     self.erring.eq(erring | element.any())]
        with m.If(self.start):
            m.d.sync += erring.eq(0)
        with m.Elif(valid[_ELEMENT]):
            m.d.sync += erring.eq(self.erring & ~here.last)
        m.d.comb += [
            self.errors.valid.eq(valid[_ELEMENT] & (here.odd | here.last)),
            self.errors.payload.even.eq(Mux(here.odd, even, element)),
            self.errors.payload.odd.eq(Mux(here.odd, element, 0)),
        ]
        m.d.sync += self.done.eq(valid[_ELEMENT] & here.end)
