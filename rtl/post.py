"""The post-processing unit: sums become activations, logits or errors, and go to the memories.

One pair of elements a cycle passes a pipeline without stalls; the stages, in cycles after a pair of
sums was accepted::

    0  bias read        4  shift (Rounder)   9   shift (Rounder)   14  result, written
    2  bias shifted     6  saturate to 16    11  clip, saturate    15  slope row; gradient and
    3  sum + bias       7  times slope       12  sigmoid's table       bias, written; done

Ready errors (of LOSS) enter at stage 12, as activations do. BUP passes from stage 4 on: its
gradient stands for a sum, 2^8 for the slope, and the bias less the result is saturated at 14.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.flow import SCANNED_SAMPLES
from ..golden.isa import ERROR_SAMPLES, SIGMOID_ENTRIES, Post
from .activation import INDEX_BITS, Sigmoid, Slope
from .delay import delay
from .descriptor import Descriptor
from .rounding import SHIFT_BITS, Rounder, half, saturate
from .walker import Walker

__all__ = ["SUM_BITS", "PostMode", "PostProcessor"]

#: Width of a sum: 4095 products of a 16-bit code and an element take 36.
SUM_BITS = 40
#: With the bias, of 16 bits at up to the 31st place.
_TOTAL_BITS = 48
#: t x slope, and a bias gradient x 2^8.
_PRODUCT_BITS = 24
#: Shifts from here on make nothing but zeros of a product.
_PRODUCT_SHIFT = 24

# Stages of the pipeline, in cycles after a pair was accepted.
_BIAS_READ, _SLOPE_READ, _BUP_READ, _SATURATE = 0, 3, 4, 6
_ERRORS, _WRITE, _LAST = 12, 14, 15
#: Cycles from an address of the bias memory to its data.
_READ = 2
_GRADIENT_READ = _WRITE - _READ


class PostMode(enum.Enum, shape=2):
    """What a job takes."""

    SUMS = 0
    ERRORS = 1
    BIAS = 2


class _Tag(data.Struct):
    """Travels beside a pair: last of its sample, last of the job, without an odd element."""

    last: 1
    end: 1
    single: 1


class PostProcessor(wiring.Component):
    """Bias, rounding, activation and slope of pairs of sums, and the write-back of the results.

    The twin of ``_Tensor.post``, ``_Tensor.write_errors`` and ``_Tensor.bup`` of
    :mod:`tangente.golden.tensor`. E = ``element_bits``. It holds the bias memory.

    A pair a cycle; with Flag.SLOPE_ROWS in ACT a pair every other cycle, whose activations and
    slopes are written to row memory one after the other. All sums of a sample come before those of
    the next, pairs in order; the odd element of the last pair of an odd width is ignored.

    A product's samples that are left out (Flag.WANTED, of 32 samples at most) take a cycle each, in
    which the addresses go on to the next sample; no pairs come of them.

    ``done`` comes :data:`LATENCY` cycles after the last pair of sums was accepted, or the last
    sample left out; or
    :data:`ERRORS_LATENCY` after the last pair of errors.

    pynq_z2 by Yosys (xc7): 1,844 LUT, 49 SRL16E, 1,673 FF, 2 DSP48E1, 1 RAMB36E1.

    Members
    -------
    start : unsigned(1), In. Takes ``job``, ``mode`` and ``width``. Never while a job runs; in the
        cycle after ``done`` at the earliest.
    job : Descriptor, In. Registers and flags; COUNT is the number of samples.
    mode : PostMode, In. SUMS: pairs come on ``sums``. ERRORS: elements come on ``errors`` and are
        only written back, as PAIRS, ROWS and BIAS_GRADIENT say. BIAS: BUP, once over ``width``.
    width : unsigned(12), In. Results of a sample.
    reset_job : unsigned(1), In. Drops the job; idle in the next cycle.
    done : unsigned(1), Out. One cycle, in which the job's last write is issued.
    fault : unsigned(1), Out. One cycle: an address lies beyond its memory. That write is not
        issued; the job is dropped without ``done``.
    sums : stream of {even, odd}, In, signed(48).
    sample : unsigned(6), Out; erring : unsigned(1), In. Whether that sample of the job has errors,
        in the same cycle: with Flag.WANTED a product's others are left out.
    errors : stream of {even, odd}, In, signed(E), always ready; heard while such a job runs.
    pair_write_enable, pair_write_address, pair_write_data : unsigned(1), (16), (2 E), Out. Pair
        memory; the even element in the low bits.
    row_write_enable, row_write_row, row_write_pair, row_write_clear, row_write_data : unsigned(1),
        (16), (log2 of lanes / 2), (1), (2 E), Out. Row memory, elements 2 i and 2 i + 1 of a row.
        With ``clear``, all others of the row become zero.
    logit_write_enable, logit_write_address, logit_write_data : unsigned(1), (16), (32), Out. Logit
        memory.
    slope_read_enable, slope_read_address : unsigned(1), (16), Out. Pair memory: the activations
        whose slope multiplies.
    slope_read_data : unsigned(2 E), In. Two cycles after the address.
    bias_enable, bias_write, bias_address, bias_write_data : unsigned(1), (1), (16), (64), In. The
        bias memory from outside, while no job runs: {bias, gradient} of the even, then of the odd
        element, from the low bits up.
    bias_read_data : unsigned(64), Out. Two cycles after the address.
    saturated_logit, saturated_activation, saturated_bias : unsigned(2), Out. Elements that
        saturated, to be added up; complete when ``done`` comes.
    saturated_error : unsigned(3), Out. Likewise; an error may saturate twice, before and after the
        slope.
    """

    #: Cycles from the last pair of sums (BUP: of biases) to ``done``.
    LATENCY = _LAST
    #: Cycles from the last pair of errors to ``done``.
    ERRORS_LATENCY = _LAST - _ERRORS + 1

    def __init__(self, config: Config) -> None:
        self._config = config
        bits = config.element_bits
        pair = (config.lanes // 2 - 1).bit_length()
        super().__init__({
            "start": In(1), "job": In(Descriptor()), "mode": In(PostMode), "width": In(12),
            "reset_job": In(1), "done": Out(1), "fault": Out(1),
            "sums": In(stream.Signature(data.StructLayout(
                {"even": signed(SUM_BITS), "odd": signed(SUM_BITS)}))),
            "errors": In(stream.Signature(data.StructLayout(
                {"even": signed(bits), "odd": signed(bits)}), always_ready=True)),
            "sample": Out(range(ERROR_SAMPLES)), "erring": In(1),
            "pair_write_enable": Out(1), "pair_write_address": Out(16),
            "pair_write_data": Out(2 * bits),
            "row_write_enable": Out(1), "row_write_row": Out(16), "row_write_pair": Out(pair),
            "row_write_clear": Out(1), "row_write_data": Out(2 * bits),
            "logit_write_enable": Out(1), "logit_write_address": Out(16),
            "logit_write_data": Out(32),
            "slope_read_enable": Out(1), "slope_read_address": Out(16),
            "slope_read_data": In(2 * bits),
            "bias_enable": In(1), "bias_write": In(1), "bias_address": In(16),
            "bias_write_data": In(64), "bias_read_data": Out(64),
            "saturated_logit": Out(2), "saturated_activation": Out(2), "saturated_error": Out(3),
            "saturated_bias": Out(2),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._elaborate_job(m)
        self._elaborate_front(m)
        self._elaborate_bias_memory(m)
        for lane, name in enumerate(("even", "odd")):
            self._elaborate_lane(m, lane, name)
        self._elaborate_write(m)
        self._elaborate_gradients(m)

        m.d.sync += self.fault.eq(~self.fault & ~self.reset_job & Cat(self._faults).any())
        with m.If(self.reset_job | self.fault):
            m.d.sync += [valid.eq(0) for valid in (*self._valid[1:], *self._skips[1:])]
            m.d.sync += [self._active.eq(0), self.done.eq(0), self.pair_write_enable.eq(0),
                         self.row_write_enable.eq(0), self.logit_write_enable.eq(0)]
        return m

    # --- the job --------------------------------------------------------------------------------

    def _elaborate_job(self, m: Module) -> None:
        flags, post = self.job.flags, self.job.flags.post
        sums, bup = self.mode == PostMode.SUMS, self.mode == PostMode.BIAS
        errors = self.mode == PostMode.ERRORS
        act, logit = sums & (post == Post.ACT.value), sums & (post == Post.LOGIT.value)
        delta = sums & (post == Post.DELTA.value)
        written = act | delta | errors
        self._wanted = wanted = sums & flags.wanted & (self.job.count <= SCANNED_SAMPLES)
        known = {
            "sums": sums, "errors": errors, "bup": bup, "act": act, "logit": logit, "delta": delta,
            "biased": act | logit, "sigmoid": flags.sigmoid, "pairs": written & flags.pairs,
            "rows": written & flags.rows, "slope_rows": act & flags.slope_rows,
            "slope": delta & flags.slope, "wanted": wanted,
            "gradient": (delta | errors) & flags.bias_gradient,
        }
        self._is = {name: Signal(name=f"is_{name}") for name in known}
        self._shift, self._product_shift = Signal(SHIFT_BITS), Signal(SHIFT_BITS)
        self._b_shift = Signal(SHIFT_BITS)
        with m.If(self.start):
            m.d.sync += [self._is[name].eq(value) for name, value in known.items()]
            m.d.sync += [self._shift.eq(self.job.shift), self._b_shift.eq(self.job.b_shift)]
            second = Mux(bup, self.job.shift, Mux(logit, 0, self.job.shift2))
            with m.If(second > _PRODUCT_SHIFT):
                m.d.sync += self._product_shift.eq(_PRODUCT_SHIFT)
            with m.Else():
                m.d.sync += self._product_shift.eq(second)
        self._half, self._product_half = Signal(31), Signal(_PRODUCT_SHIFT)
        m.d.sync += [self._half.eq(half(self._shift)),
                     self._product_half.eq(half(self._product_shift))]
        self._faults: list[Value] = []

    def _walker(self, m: Module, name: str, base: Value, stride: Value | int) -> Walker:
        m.submodules[name] = walker = Walker()
        m.d.comb += [walker.start.eq(self.start), walker.base.eq(base), walker.stride.eq(stride)]
        return walker

    def _beyond(self, address: Value, used: Value, depth: int) -> Value:
        """Whether ``address``, if ``used``, is a fault; it is then reported."""
        beyond = used & address[(depth - 1).bit_length():].any()
        self._faults.append(beyond)
        return beyond

    def _elaborate_front(self, m: Module) -> None:
        """Accepts pairs, counts them, and moves their tags along; and samples that are left out."""
        self._active = active = Signal()
        pause, odd = Signal(), Signal()
        pairs, left, samples = Signal(11), Signal(11), Signal(12)
        tag, accept = Signal(_Tag), Signal()
        # The sample is left out: known when it begins, since the one ahead is looked at.
        skips, skip = Signal(), Signal()
        source = Mux(self._is["errors"], self.errors.valid, self.sums.valid) | self._is["bup"]
        m.d.comb += [
            self.sums.ready.eq(active & self._is["sums"] & ~pause & ~skips),
            accept.eq(active & ~pause & source & ~skips),
            skip.eq(active & ~pause & skips),
            tag.last.eq(skips | (left == 0)),
            tag.end.eq(tag.last & (samples == 0)),
            tag.single.eq(tag.last & odd),
        ]
        with m.If(self.start):
            last_pair = (self.width - 1)[1:]
            m.d.sync += [
                active.eq(1), pause.eq(0), odd.eq(self.width[0]), pairs.eq(last_pair),
                left.eq(last_pair),
                samples.eq(Mux(self.mode == PostMode.BIAS, 0, self.job.count - 1)),
            ]
        with m.Else():
            m.d.sync += pause.eq(accept & self._is["slope_rows"])
            with m.If(accept | skip):
                m.d.sync += left.eq(Mux(tag.last, pairs, left - 1))
                with m.If(tag.last):
                    m.d.sync += samples.eq(samples - 1)
                with m.If(tag.end):
                    m.d.sync += active.eq(0)
        with m.If(self.start):
            m.d.sync += [self.sample.eq(1), skips.eq(self._wanted & ~self.erring)]
        with m.Elif(~active):
            m.d.sync += self.sample.eq(0)
        with m.Elif((accept | skip) & tag.last):
            m.d.sync += [self.sample.eq(self.sample + 1),
                         skips.eq(self._is["wanted"] & ~self.erring)]

        self._skips = [skip, *(Signal(name=f"skips_{i + 1}") for i in range(_LAST - 1))]
        m.d.sync += [later.eq(now) for now, later in zip(self._skips, self._skips[1:])]
        self._valid = [accept, *(Signal(name=f"valid_{i + 1}") for i in range(_LAST))]
        self._tag = [tag, *(Signal(_Tag, name=f"tag_{i + 1}", reset_less=True)
                            for i in range(_LAST))]
        errors = self._is["errors"]
        for i in range(1, _LAST + 1):
            valid, tag = self._valid[i - 1], self._tag[i - 1]
            if i == 1:
                valid = valid & ~errors
            elif i == _ERRORS:
                valid = Mux(errors, accept, valid)
                tag = Mux(errors, self._tag[0].as_value(), tag.as_value())
            m.d.sync += [self._valid[i].eq(valid), self._tag[i].eq(tag)]
        m.d.sync += self.done.eq(self._moves(_LAST - 1) & self._tag[_LAST - 1].end & ~self.fault)

    def _moves(self, stage: int) -> Value:
        """Whether a pair, or a sample that is left out, is at ``stage``."""
        return self._valid[stage] | self._skips[stage]

    def _elaborate_bias_memory(self, m: Module) -> None:
        """The bias memory, its read address, and the slope's."""
        depth = self._config.bias_pairs
        address_bits = (depth - 1).bit_length()
        m.submodules.biases = biases = Memory(shape=64, depth=depth, init=[])
        read = biases.read_port()
        self._bias_port = biases.write_port(granularity=16)

        walker = self._walker(m, "bias", self.job.b_base, 0)
        use, last = Signal(), Signal()
        uses = ((self._is["biased"], _BIAS_READ), (self._is["bup"], _BUP_READ),
                (self._is["gradient"], _GRADIENT_READ))
        m.d.comb += [
            use.eq(Cat(kind & self._valid[stage] for kind, stage in uses).any()),
            last.eq(Cat(kind & self._tag[stage].last for kind, stage in uses).any()),
            walker.step.eq(use), walker.last.eq(last),
            read.en.eq(use | self.bias_enable),
            read.addr.eq(Mux(self.bias_enable, self.bias_address[:address_bits],
                             walker.address)),
        ]
        self._beyond(walker.address, use, depth)
        self._bias_address = walker.address[:address_bits]
        self._bias_data = delay(m, read.data, _READ - 1, "bias_data")
        m.d.comb += self.bias_read_data.eq(self._bias_data)

        walker = self._walker(m, "slope", self.job.g_base, self.job.g_stride)
        m.d.comb += [
            walker.step.eq(self._moves(_SLOPE_READ)), walker.last.eq(self._tag[_SLOPE_READ].last),
            self.slope_read_enable.eq(self._valid[_SLOPE_READ] & self._is["slope"]),
            self.slope_read_address.eq(walker.address),
        ]
        self._beyond(walker.address, self.slope_read_enable, self._config.pairs)

    # --- arithmetic -----------------------------------------------------------------------------

    def _counted(self, stage: int, lane: int) -> Value:
        """Whether the element at ``stage`` exists: the second half of an odd width's end not."""
        return self._valid[stage] & ~(self._tag[stage].single if lane else 0)

    def _elaborate_lane(self, m: Module, lane: int, name: str) -> None:
        """One of the two elements, from sum to result."""
        is_, bits = self._is, self._config.element_bits
        bias, gradient = self._bias_data[32 * lane:32 * lane + 32].as_signed()[:16].as_signed(), \
            self._bias_data[32 * lane + 16:32 * lane + 32].as_signed()

        def register(shape, label: str) -> Signal:
            return Signal(shape, reset_less=True, name=f"{label}_{name}")

        # Stages 1 to 3: the half for rounding is added while the bias is fetched.
        near, halved = register(signed(23), "bias_near"), register(signed(SUM_BITS + 1), "halved")
        total = register(signed(_TOTAL_BITS), "total")
        m.d.sync += [
            near.eq(Mux(is_["biased"], bias << self._b_shift[:3], 0)),
            halved.eq(delay(m, self.sums.payload[name], 1, f"sum_{name}") + self._half),
            total.eq(delay(m, halved, 1, f"halved_{name}")
                     + (near << (self._b_shift[3:] << 3))),
        ]
        # Stages 4 to 6.
        m.submodules[f"sum_rounder_{name}"] = rounder = Rounder(_TOTAL_BITS)
        m.d.comb += [rounder.value.eq(total), rounder.shift.eq(self._shift)]
        t, clipped = register(signed(16), "t"), register(1, "clipped")
        clamped, saturated = saturate(rounder.result, 16)
        m.d.sync += [t.eq(Mux(is_["bup"], gradient, clamped)),
                     clipped.eq(saturated & self._counted(_SATURATE, lane))]
        # Stage 7: the slope, 1 without one.
        m.submodules[f"slope_{name}"] = slope = Slope(self._config)
        factor = register(9, "factor")
        m.d.comb += [
            slope.activation.eq(self.slope_read_data.word_select(lane, bits)),
            slope.sigmoid.eq(is_["sigmoid"]),
        ]
        # Gates, not a multiplexer: its zeros would become resets of some bits only, and the
        # register none of the DSP48E1's.
        one = Cat(~is_["slope"] & ~is_["bup"], Const(0, 7), ~is_["slope"] & is_["bup"])
        m.d.sync += factor.eq(slope.slope & is_["slope"].replicate(len(factor)) | one)
        product = register(signed(_PRODUCT_BITS), "product")
        rounded = register(signed(_PRODUCT_BITS + 1), "rounded")
        m.d.sync += [product.eq(t * factor), rounded.eq(product + self._product_half)]
        # Stages 9 to 11.
        m.submodules[f"product_rounder_{name}"] = rounder = Rounder(_PRODUCT_BITS + 1)
        m.d.comb += [rounder.value.eq(rounded), rounder.shift.eq(self._product_shift)]
        value = rounder.result
        self._clip_and_write(m, lane, name, value, clipped, bias, register)

    def _clip_and_write(self, m: Module, lane: int, name: str, value: Value, clipped: Value,
                        bias: Value, register) -> None:
        """Stages 11 to 14: the result's range."""
        is_, bits = self._is, self._config.element_bits
        stage = _ERRORS - 1
        chosen, result = register(signed(16), "chosen"), register(signed(16), "result")
        error, error_saturated = saturate(value, bits)
        index, _ = saturate(value, INDEX_BITS)
        # Symmetric, so that the lowest index is never reached: the table's first entries are equal.
        above = ~value[-1] & error_saturated
        with m.If(is_["errors"]):
            m.d.sync += chosen.eq(self.errors.payload[name])
        with m.Elif(is_["delta"]):
            m.d.sync += chosen.eq(error)
        with m.Elif(is_["logit"]):
            m.d.sync += chosen.eq(value)
        with m.Elif(is_["sigmoid"]):
            m.d.sync += chosen.eq(index + SIGMOID_ENTRIES // 2)
        with m.Else():
            m.d.sync += chosen.eq(Mux(value[-1], 0, error))
        counted = self._counted(stage, lane)
        clipped_last = delay(m, clipped, stage - _SATURATE - 1, f"clipped_{name}")
        saturations = {
            "logit": is_["biased"] & clipped_last & counted,
            "activation": is_["act"] & ~is_["sigmoid"] & above & counted,
            "first_error": is_["delta"] & clipped_last & counted,
            "second_error": is_["delta"] & error_saturated & counted,
        }

        difference = register(signed(_PRODUCT_BITS + 2), "difference")
        stepped, bias_saturated = saturate(difference, 16)
        m.d.sync += difference.eq(delay(m, bias, stage - _SATURATE, f"bias_{name}") - value)
        saturations["bias"] = is_["bup"] & bias_saturated & self._valid[stage + 1]
        if not lane:
            m.submodules.sigmoid = self._sigmoid = Sigmoid(self._config)
            self._saturations = {key: [] for key in saturations}
            self._results = []
        for key, saturated in saturations.items():
            self._saturations[key].append(saturated)

        index, table = ((self._sigmoid.index_odd, self._sigmoid.odd) if lane
                        else (self._sigmoid.index_even, self._sigmoid.even))
        m.d.comb += index.eq(chosen[:INDEX_BITS])
        settled = register(signed(16), "settled")
        m.d.sync += [
            settled.eq(Mux(is_["bup"], stepped, chosen)),
            result.eq(Mux(is_["act"] & is_["sigmoid"], table, settled)),
        ]
        if lane:
            with m.If(self._tag[_WRITE - 1].single & ~is_["bup"]):
                m.d.sync += result.eq(0)
        self._results.append(result)

    # --- write-back -----------------------------------------------------------------------------

    def _elaborate_write(self, m: Module) -> None:
        """Stages 13 to 15: addresses and memory ports, and the counts of saturations."""
        is_, config, bits = self._is, self._config, self._config.element_bits
        before = _WRITE - 1
        valid, tag = self._valid[before], self._tag[before]
        y = self._walker(m, "y", self.job.y_base, self.job.y_stride)
        rows = self._walker(m, "rows", self.job.yr_base, self.job.yr_stride)
        slopes = self._walker(m, "slope_rows", self.job.f_base, self.job.f_stride)
        pair = Signal.like(self.row_write_pair)
        tile_end = Signal()
        m.d.comb += tile_end.eq(tag.last | (pair == config.lanes // 2 - 1))
        moves = self._moves(before)
        m.d.comb += [y.step.eq(moves), y.last.eq(tag.last)]
        for walker in (rows, slopes):
            m.d.comb += [walker.step.eq(moves & tile_end), walker.last.eq(tag.last)]
        with m.If(self.start):
            m.d.sync += pair.eq(0)
        with m.Elif(valid):
            m.d.sync += pair.eq(Mux(tile_end, 0, pair + 1))

        pairs_beyond = self._beyond(y.address, valid & is_["pairs"], config.pairs)
        logits_beyond = self._beyond(y.address, valid & is_["logit"], config.logit_pairs)
        rows_beyond = self._beyond(rows.address, valid & is_["rows"], config.rows)
        slopes_beyond = self._beyond(slopes.address, valid & is_["slope_rows"], config.rows)

        slope_row, slope_turn = Signal(16), Signal()
        m.d.sync += [
            self.pair_write_enable.eq(valid & is_["pairs"] & ~pairs_beyond),
            self.logit_write_enable.eq(valid & is_["logit"] & ~logits_beyond),
            self.pair_write_address.eq(y.address),
            self.logit_write_address.eq(y.address),
            slope_row.eq(slopes.address),
            slope_turn.eq(self._valid[_WRITE] & is_["slope_rows"]),
        ]
        with m.If(self._valid[_WRITE] & is_["slope_rows"]):
            m.d.sync += [self.row_write_enable.eq(1), self.row_write_row.eq(slope_row)]
        with m.Else():
            m.d.sync += [
                self.row_write_enable.eq(valid & is_["rows"] & ~rows_beyond & ~slopes_beyond),
                self.row_write_row.eq(rows.address), self.row_write_pair.eq(pair),
                self.row_write_clear.eq(pair == 0),
            ]
        slope_values = []
        for lane, result in enumerate(self._results):
            m.submodules[f"row_slope_{lane}"] = slope = Slope(config)
            m.d.comb += [slope.activation.eq(result), slope.sigmoid.eq(is_["sigmoid"])]
            slope_values.append(Cat(slope.slope, 0))
        elements = Cat(result[:bits] for result in self._results)
        m.d.comb += [
            self.pair_write_data.eq(elements),
            self.logit_write_data.eq(Cat(self._results)),
            self.row_write_data.eq(Mux(slope_turn, Cat(slope_values), elements)),
        ]

        def total(*names: str) -> Value:
            return sum(flag for name in names for flag in self._saturations[name])

        m.d.sync += [
            self.saturated_logit.eq(total("logit")),
            self.saturated_activation.eq(total("activation")),
            self.saturated_error.eq(total("first_error", "second_error")),
            self.saturated_bias.eq(total("bias")),
        ]

    def _elaborate_gradients(self, m: Module) -> None:
        """Read, add and write of bias gradients, and BUP's write; the write port.

        A gradient is read three cycles before it is written: a pair whose predecessors at a
        distance of up to three are the same takes the youngest one's sum.
        """
        is_ = self._is
        window = _LAST - _GRADIENT_READ
        addresses, matches = [self._bias_address], []
        for age in range(1, window + 1):
            addresses.append(delay(m, addresses[-1], 1, f"gradient_address_{age}"))
            matches.append(self._valid[_GRADIENT_READ + age] & (addresses[age] == addresses[0]))
        match = delay(m, Cat(matches), _READ, "match")

        port, address_bits = self._bias_port, len(self._bias_address)
        writes = self._valid[_LAST]
        bup_address = delay(m, addresses[-1], _LAST - _BUP_READ - window, "bup_address")
        m.d.comb += [
            port.addr.eq(Mux(self.bias_enable, self.bias_address[:address_bits],
                             Mux(is_["bup"], bup_address, addresses[-1]))),
            port.en.eq(Mux(self.bias_enable, self.bias_write.replicate(4),
                           Cat(writes & is_["bup"],
                               writes & (is_["bup"] | is_["gradient"])).replicate(2))),
        ]
        for lane, result in enumerate(self._results):
            sums = [Signal(16, name=f"gradient_{lane}_{age}", reset_less=True)
                    for age in range(window)]
            base = self._bias_data[32 * lane + 16:32 * lane + 32]
            for age in reversed(range(window)):
                base = Mux(match[age], sums[age], base)
            m.d.sync += sums[0].eq(Mux(is_["bup"], 0, base + result))
            m.d.sync += [newer.eq(older) for newer, older in zip(sums[1:], sums)]
            bias = delay(m, result, 1, f"new_bias_{lane}")
            word = Mux(self.bias_enable, self.bias_write_data.word_select(lane, 32),
                       Cat(bias, sums[0]))
            m.d.comb += port.data.word_select(lane, 32).eq(word)
