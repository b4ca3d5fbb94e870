"""The post-processing unit against ``golden``: every post, flag, width and rate, and its cycles."""

import dataclasses
import functools
import random
from collections import deque

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import timing
from tangente.golden.config import PRESETS, Config
from tangente.golden.flow import SCANNED_SAMPLES
from tangente.golden.isa import Cause, Flag, Op, Post, Reg
from tangente.golden.state import State
from tangente.golden.tensor import Fault, _Tensor, execute
from tangente.rtl.post import SUM_BITS, PostMode, PostProcessor

CONFIGS = {"tiny": PRESETS["tiny"],
           # Every odd case: six pairs a row (no power of two), narrow elements.
           "odd": Config(name="odd", lanes=12, weight_words=16, rows=64, pairs=256, input_beats=16,
                         target_beats=16, logit_pairs=128, bias_pairs=32, element_bits=7)}


@dataclasses.dataclass
class Job:
    """One job of the unit: its registers, flags and operands, and the memories it finds."""

    mode: PostMode
    flags: Flag
    width: int
    count: int
    registers: dict[Reg, int]
    seed: int
    #: Probability that the stream offers no pair in a cycle.
    stall: float
    #: Bits of the sums.
    sum_bits: int
    #: With Flag.WANTED: which samples of the last LOSS had errors.
    erring: tuple[bool, ...] = ()

    def registers_list(self) -> list[int]:
        values = [0] * 64
        for reg, value in self.registers.items():
            values[reg] = value
        values[Reg.COUNT], values[Reg.P] = self.count, self.width
        return values

    @property
    def made(self) -> list[bool]:
        """Which samples are not left out."""
        if not self.flags & Flag.WANTED or self.count > SCANNED_SAMPLES:
            return self.count * [True]
        return [b >= len(self.erring) or self.erring[b] for b in range(self.count)]

    @property
    def pairs(self) -> int:
        return (self.width + 1) // 2


@dataclasses.dataclass
class Outcome:
    """How a job went: ended by "done", "fault" or "reset"; cycles count from ``start``."""

    ended: str
    cycles: int
    last_accept: int
    saturations: dict[str, int]


class Bench(UnitBench):
    """A running unit with its memories."""

    def __init__(self, config: Config) -> None:
        super().__init__(PostProcessor(config))
        self.config = config

    async def task(self, ctx, state: State, jobs: list[tuple[Job, np.ndarray]],
                   reset_after: int | None = None) -> list[Outcome]:
        """Run ``jobs`` on their operands, (samples, width) sums or errors; ``state`` changes.

        A job starts in the cycle after the one before is done.
        """
        await self._bias(ctx, state, True)
        outcomes = [await self._job(ctx, job, state, operands, reset_after)
                    for job, operands in jobs]
        await self._bias(ctx, state, False)
        return outcomes

    async def _bias(self, ctx, state: State, load: bool) -> None:
        """Copy the biases between ``state`` and the unit."""
        dut, memory = self.dut, state.biases.reshape(-1).view(np.uint64)
        ctx.set(dut.bias_enable, 1)
        ctx.set(dut.bias_write, load)
        for address in range(len(memory) + (0 if load else 2)):
            if load:
                ctx.set(dut.bias_write_data, int(memory[address]))
            elif address >= 2:
                memory[address - 2] = ctx.get(dut.bias_read_data)
            ctx.set(dut.bias_address, address % len(memory))
            await ctx.tick()
        ctx.set(dut.bias_enable, 0)
        ctx.set(dut.bias_write, 0)

    async def _job(self, ctx, job: Job, state: State, operands, reset_after) -> Outcome:
        dut, rng = self.dut, random.Random(job.seed)
        registers = job.registers_list()
        for reg in Reg:
            if reg.name.lower() in dut.job.shape().members:
                ctx.set(dut.job[reg.name.lower()], registers[reg])
        ctx.set(dut.job.flags.as_value(), int(job.flags))
        ctx.set(dut.mode, job.mode)
        ctx.set(dut.width, job.width)
        self._look(ctx, job)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        # The unit holds a copy: what is offered later does not matter.
        ctx.set(dut.job.as_value(), rng.getrandbits(len(dut.job.as_value())))
        ctx.set(dut.width, rng.getrandbits(12))

        operands = operands[job.made]
        padded = np.pad(operands, ((0, 0), (0, operands.shape[1] % 2)), constant_values=-77)
        source = deque() if job.mode == PostMode.BIAS else deque(padded.reshape(-1, 2).tolist())
        counts = dict.fromkeys(("logit", "activation", "error", "bias"), 0)
        port = dut.errors if job.mode == PostMode.ERRORS else dut.sums
        slope_reads: deque = deque([0, 0])
        cycle, last_accept, ended = 1, 0, None
        pending = job.stall == 0 or rng.random() >= job.stall
        while ended is None:
            self._look(ctx, job)
            ctx.set(port.valid, bool(source) and pending)
            if source and pending:
                ctx.set(port.payload.even, source[0][0])
                ctx.set(port.payload.odd, source[0][1])
            ctx.set(dut.slope_read_data, slope_reads.popleft())
            ctx.set(dut.reset_job, cycle == reset_after)
            if source and pending and ctx.get(port.ready):
                source.popleft()
                last_accept = cycle
                pending = job.stall == 0 or rng.random() >= job.stall
            else:
                pending = pending or rng.random() >= job.stall
            slope_reads.append(self._slope_read(ctx, state))
            self._write(ctx, state)
            for name in counts:
                counts[name] += ctx.get(getattr(dut, f"saturated_{name}"))
            if ctx.get(dut.fault):
                ended = "fault"
            elif ctx.get(dut.done):
                ended = "done"
            elif cycle == reset_after:
                ended = "reset"
            await ctx.tick()
            cycle += 1
            assert cycle < 10000, "the unit hangs"
        for signal in (dut.sums.valid, dut.errors.valid, dut.reset_job):
            ctx.set(signal, 0)
        if ended != "done":
            # Nothing may come after a fault or a reset.
            await ctx.tick()
            for _ in range(20):
                quiet = (dut.done, dut.fault, dut.pair_write_enable, dut.row_write_enable,
                         dut.logit_write_enable, dut.slope_read_enable, dut.sums.ready)
                assert not any(ctx.get(signal) for signal in quiet)
                await ctx.tick()
        return Outcome(ended, cycle - 1, last_accept, counts)

    def _look(self, ctx, job: Job) -> None:
        """Whether the sample that the unit looks at has errors."""
        sample = ctx.get(self.dut.sample)
        ctx.set(self.dut.erring, sample >= len(job.erring) or job.erring[sample])

    def _elements(self, value: int) -> list[int]:
        bits = self.config.element_bits
        parts = [value & (1 << bits) - 1, value >> bits]
        return [part - (part >> bits - 1 << bits) for part in parts]

    def _slope_read(self, ctx, state: State) -> int:
        if not ctx.get(self.dut.slope_read_enable):
            return random.getrandbits(2 * self.config.element_bits)
        mask = (1 << self.config.element_bits) - 1
        # A read beyond the memory wraps; only a write would do harm.
        address = ctx.get(self.dut.slope_read_address) % self.config.pairs
        even, odd = state.pairs[address].tolist()
        return even & mask | (odd & mask) << self.config.element_bits

    def _write(self, ctx, state: State) -> None:
        dut = self.dut
        if ctx.get(dut.pair_write_enable):
            state.pairs[ctx.get(dut.pair_write_address)] = self._elements(
                ctx.get(dut.pair_write_data))
        if ctx.get(dut.logit_write_enable):
            value = ctx.get(dut.logit_write_data)
            state.logits[ctx.get(dut.logit_write_address)] = np.array(
                [value & 0xFFFF, value >> 16], np.uint16).view(np.int16)
        if ctx.get(dut.row_write_enable):
            row, pair = ctx.get(dut.row_write_row), ctx.get(dut.row_write_pair)
            if ctx.get(dut.row_write_clear):
                state.rows[row] = 0
            state.rows[row, 2 * pair:2 * pair + 2] = self._elements(ctx.get(dut.row_write_data))


@functools.cache
def bench(name: str) -> Bench:
    return Bench(CONFIGS[name])


def _state(config: Config, seed: int) -> State:
    """A state full of random values, which a job must leave alone but for its results."""
    rng = np.random.default_rng(seed)
    state = State(config, 16)
    limit = config.element_max
    for name in ("pairs", "rows"):
        memory = getattr(state, name)
        memory[:] = rng.integers(-limit, limit + 1, memory.shape)
    state.logits[:] = rng.integers(-32767, 32768, state.logits.shape)
    state.biases[:] = rng.integers(-32768, 32768, state.biases.shape)
    return state


def _operands(config: Config, job: Job) -> np.ndarray:
    """Errors; or sums whose magnitude varies up to ``sum_bits``, ties and limits among them."""
    rng = np.random.default_rng(job.seed)
    shape = (job.count, job.width)
    if job.mode == PostMode.ERRORS:
        return rng.integers(-config.element_max, config.element_max + 1, shape)
    limit = 1 << rng.integers(1, job.sum_bits, shape)
    sums = rng.integers(-limit, limit)
    kind, shift = rng.integers(0, 8, shape), job.registers[Reg.SHIFT]
    sums = np.where(kind < 2, (sums >> shift << shift) | 1 << shift >> 1, sums)
    top = 1 << SUM_BITS - 1
    if job.sum_bits == SUM_BITS - 1:
        # The largest, above which half and bias still have room.
        sums = np.where(kind == 4, np.where(sums < 0, -top, top - 1), sums)
    # The most negative codes, which saturate: of t, and of an error.
    sums = np.where(kind == 2, np.maximum(-1 << 15 + shift, -top), sums)
    second = min(job.registers[Reg.SHIFT2], 7)
    return np.where(kind == 3, np.maximum(-1 << config.element_bits - 1 + shift + second, -top),
                    sums)


def _golden(job: Job, state: State, operands: np.ndarray) -> dict[str, int]:
    """What ``golden`` does; its counts of saturations."""
    if job.mode == PostMode.BIAS:
        execute(Op.BUP, state, job.registers_list(), 0)
    else:
        tensor = _Tensor(state, job.registers_list(), job.flags)
        if job.mode == PostMode.ERRORS:
            tensor.write_errors(operands.astype(np.int64), job.width)
        else:
            state.erring = np.array(job.erring, np.bool_)
            tensor.post(tensor.leave_out(operands), job.width)
    return {name: state.saturations[name] for name in ("logit", "activation", "error", "bias")}


def _check(name: str, *jobs: Job) -> None:
    """Put ``jobs`` through both and compare all memories, counts and cycles."""
    config, seed = CONFIGS[name], jobs[0].seed
    expected, actual = _state(config, seed), _state(config, seed)
    operands = [_operands(config, job) for job in jobs]
    counts = []
    for job, values in zip(jobs, operands):
        expected.clear_counters()
        counts.append(_golden(job, expected, values))
    outcomes = bench(name).run(actual, list(zip(jobs, operands)))
    for memory in ("pairs", "rows", "logits", "biases"):
        np.testing.assert_array_equal(getattr(actual, memory), getattr(expected, memory), memory)
    for job, outcome, count in zip(jobs, outcomes, counts):
        assert outcome.ended == "done"
        assert outcome.saturations == count
        _check_cycles(job, outcome)


def _check_cycles(job: Job, outcome: Outcome) -> None:
    if job.mode == PostMode.BIAS:
        assert outcome.cycles == timing.bias_update(job.width)
        return
    two_cycles = (job.mode == PostMode.SUMS and int(job.flags) & 3 == Post.ACT
                  and bool(job.flags & Flag.SLOPE_ROWS))
    latency = (timing.POST_ERRORS_LATENCY if job.mode == PostMode.ERRORS
               else timing.POST_LATENCY)
    # Samples that are left out take a cycle each; after the last pair of slope rows one more.
    pairs = np.flatnonzero(job.made)
    after = job.count - 1 - int(pairs[-1]) if len(pairs) else job.count
    if after and len(pairs) and two_cycles:
        after += 1
    assert outcome.cycles == outcome.last_accept + after + latency
    if job.stall == 0 and not all(job.made):
        last = (job.count - len(pairs)
                + timing.post(job.pairs * len(pairs), two_cycles) - latency if len(pairs)
                else job.count)
        # What is left out after the last pair waits for its slope row.
        assert outcome.cycles == last + latency + (two_cycles and len(pairs) > 0
                                                   and not job.made[-1])
    elif job.stall == 0:
        assert outcome.cycles == (timing.post(job.pairs * job.count, two_cycles)
                                  + latency - timing.POST_LATENCY)


@st.composite
def _jobs(draw, config: Config) -> Job:
    mode = draw(st.sampled_from([PostMode.SUMS] * 5 + [PostMode.ERRORS, PostMode.BIAS]))
    width = draw(st.one_of(st.integers(1, 5), st.integers(1, 3 * config.lanes)))
    count = draw(st.integers(1, 9 if width < 7 else 3))
    flags = Flag(0)
    if mode == PostMode.SUMS:
        flags = Flag(draw(st.sampled_from(Post)))
    names = ("SIGMOID", "PAIRS", "ROWS", "SLOPE_ROWS", "SLOPE", "BIAS_GRADIENT")
    for flag in names:
        if draw(st.booleans()):
            flags |= Flag[flag]
    pairs, tiles = (width + 1) // 2, config.tiles(width)

    def stride(length: int) -> int:
        return length + draw(st.integers(0, 2))

    def base(depth: int, stride: int, length: int) -> int:
        room = depth - ((count - 1) * stride + length)
        return draw(st.one_of(st.integers(0, room), st.just(room)))

    shift = draw(st.integers(0, 31))
    registers = {Reg.SHIFT: shift, Reg.SHIFT2: draw(st.one_of(st.integers(0, 12),
                                                              st.integers(0, 31))),
                 Reg.B_SHIFT: draw(st.one_of(st.just(shift), st.integers(0, 31)))}
    depth = min(config.pairs, config.logit_pairs) if int(flags) & 3 == Post.LOGIT else config.pairs
    registers[Reg.Y_STRIDE] = stride(pairs)
    registers[Reg.Y_BASE] = base(depth, registers[Reg.Y_STRIDE], pairs)
    registers[Reg.G_STRIDE] = stride(pairs)
    registers[Reg.G_BASE] = base(config.pairs, registers[Reg.G_STRIDE], pairs)
    # Activations in the lower half of row memory, slopes in the upper one.
    for first, (base_reg, stride_reg) in enumerate(((Reg.YR_BASE, Reg.YR_STRIDE),
                                                    (Reg.F_BASE, Reg.F_STRIDE))):
        registers[stride_reg] = stride(tiles)
        registers[base_reg] = first * config.rows // 2 + base(
            config.rows // 2, registers[stride_reg], tiles)
    registers[Reg.B_BASE] = draw(st.one_of(st.integers(0, config.bias_pairs - pairs),
                                           st.just(config.bias_pairs - pairs)))
    job = Job(mode, flags, width, count, registers, draw(st.integers(0, 2**32 - 1)),
              draw(st.sampled_from([0.0, 0.0, 0.3, 0.8])),
              draw(st.sampled_from([8, 20, 30, 36, SUM_BITS - 1])))
    if mode == PostMode.SUMS and draw(st.booleans()):
        job.flags |= Flag.WANTED
        job.erring = tuple(draw(st.lists(st.booleans(), max_size=count + 1)))
    return job


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_golden(name: str) -> None:
    @_settings(50)
    @given(_jobs(CONFIGS[name]))
    def check(job: Job) -> None:
        _check(name, job)

    check()


def test_jobs_in_succession() -> None:
    """A job may start in the cycle after ``done`` of any other."""
    @_settings(15)
    @given(st.lists(_jobs(CONFIGS["tiny"]), min_size=2, max_size=4))
    def check(jobs: list[Job]) -> None:
        _check("tiny", *jobs)

    check()


def _job(mode: PostMode, flags: Flag, width: int, count: int, **registers: int) -> Job:
    """A job without stalls, whose results fit unless ``registers`` say otherwise."""
    pairs = (width + 1) // 2
    values = {Reg.SHIFT: 4, Reg.SHIFT2: 2, Reg.B_SHIFT: 4, Reg.Y_STRIDE: pairs,
              Reg.YR_STRIDE: CONFIGS["tiny"].tiles(width), Reg.F_BASE: 1024,
              Reg.F_STRIDE: CONFIGS["tiny"].tiles(width), Reg.G_STRIDE: pairs}
    values |= {Reg[name]: value for name, value in registers.items()}
    return Job(mode, flags, width, count, values, 7, 0.0, 20)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("width", range(1, 10))
@pytest.mark.parametrize("mode", [PostMode.SUMS, PostMode.ERRORS])
def test_gradients_of_narrow_layers(mode: PostMode, width: int, stall: float) -> None:
    """The same gradient is read again before it was written; 40 times 255 also wraps 16 bits."""
    job = _job(mode, Flag(Post.DELTA.value) | Flag.BIAS_GRADIENT, width, 40, SHIFT=0, SHIFT2=0)
    job.stall = stall
    _check("tiny", job)


@pytest.mark.parametrize("erring", [(), (0,) * 64, (0, 1) * 32, (1, 0, 0) * 20, (1, 1, 0) * 21])
@pytest.mark.parametrize("count", [1, 2, 3, 32, 33])
@pytest.mark.parametrize("width", [1, 2, 9])
def test_samples_that_are_left_out(width: int, count: int, erring: tuple[int, ...]) -> None:
    """Of 32 samples at most: beyond, the flag has no effect."""
    flags = Flag.WANTED | Flag.PAIRS | Flag.ROWS
    for more in (_DELTA | Flag.BIAS_GRADIENT | Flag.SLOPE, _ACT | Flag.SLOPE_ROWS):
        for stall in (0.0, 0.5):
            job = _job(_S, flags | more, width, count, SHIFT=3, SHIFT2=1)
            job.stall, job.erring = stall, tuple(map(bool, erring))
            _check("tiny", job, job)


_ACT, _LOGIT, _DELTA = (Flag(post.value) for post in Post)
_S, _E, _B = PostMode

#: Mode, flags, width, samples, and the registers that reach the last unit of a memory; the fault
#: comes with the register given last one higher. tiny: 4096 pairs, 2048 rows of 4, 256 logits, 64
#: biases.
EDGES = {
    "activation pairs": (_S, _ACT | Flag.PAIRS, 5, 3, {"Y_STRIDE": 40, "Y_BASE": 4013}),
    "activation rows": (_S, _ACT | Flag.ROWS, 5, 3, {"YR_STRIDE": 40, "YR_BASE": 1966}),
    "slope rows": (_S, _ACT | Flag.SLOPE_ROWS, 5, 3, {"F_STRIDE": 40, "F_BASE": 1966}),
    "slope rows beside rows": (_S, _ACT | Flag.SLOPE_ROWS | Flag.ROWS, 5, 3,
                               {"F_STRIDE": 40, "F_BASE": 1966}),
    "activation bias": (_S, _ACT, 5, 3, {"B_BASE": 61}),
    "logits": (_S, _LOGIT, 5, 3, {"Y_STRIDE": 40, "Y_BASE": 173}),
    "logit bias": (_S, _LOGIT, 5, 3, {"B_BASE": 61}),
    "error pairs": (_S, _DELTA | Flag.PAIRS, 1, 3, {"Y_BASE": 1, "Y_STRIDE": 2047}),
    "error rows": (_S, _DELTA | Flag.ROWS, 9, 2, {"YR_STRIDE": 3, "YR_BASE": 2042}),
    "slopes": (_S, _DELTA | Flag.SLOPE, 5, 3, {"G_STRIDE": 40, "G_BASE": 4013}),
    "error gradient": (_S, _DELTA | Flag.BIAS_GRADIENT, 5, 3, {"B_BASE": 61}),
    "ready error pairs": (_E, Flag.PAIRS, 5, 3, {"Y_STRIDE": 40, "Y_BASE": 4013}),
    "ready error rows": (_E, Flag.ROWS, 5, 3, {"YR_STRIDE": 40, "YR_BASE": 1966}),
    "ready error gradient": (_E, Flag.BIAS_GRADIENT, 5, 3, {"B_BASE": 61}),
    "bias update": (_B, Flag(0), 5, 1, {"B_BASE": 61}),
    "a stride of 2^16 - 1": (_S, _ACT, 2, 2, {"Y_STRIDE": 65535, "YR_STRIDE": 65535,
                                              "G_STRIDE": 65535, "B_BASE": 63}),
}


@pytest.mark.parametrize("case", EDGES)
def test_address_beyond_memory(case: str) -> None:
    """The last address is taken; one more is a fault, after which the unit works on."""
    mode, flags, width, count, registers = EDGES[case]
    job = _job(mode, flags, width, count, **registers)
    _check("tiny", job)
    config = CONFIGS["tiny"]
    *_, last = registers
    job.registers[Reg[last]] += 1
    expected, actual = _state(config, job.seed), _state(config, job.seed)
    operands = _operands(config, job)
    with pytest.raises(Fault) as raised:
        _golden(job, expected, operands)
    assert raised.value.cause == Cause.ADDRESS
    outcome, = bench("tiny").run(actual, [(job, operands)])
    assert outcome.ended == "fault"
    job.registers[Reg[last]] -= 1
    _check("tiny", job)


@pytest.mark.parametrize("name", ["Y_STRIDE", "YR_STRIDE", "G_STRIDE"])
def test_samples_that_are_left_out_do_not_wrap(name: str) -> None:
    """Nine strides on, an address of 19 bits would be within its memory again."""
    flags = Flag.WANTED | Flag.PAIRS | Flag.ROWS | Flag.SLOPE
    job = _job(_S, _DELTA | flags, 5, 10, **{name: 58254, name.replace("STRIDE", "BASE"): 10})
    job.erring = (True, *8 * (False,), True)
    config = CONFIGS["tiny"]
    operands = _operands(config, job)
    with pytest.raises(Fault) as raised:
        _golden(job, _state(config, job.seed), operands)
    assert raised.value.cause == Cause.ADDRESS
    outcome, = bench("tiny").run(_state(config, job.seed), [(job, operands)])
    assert outcome.ended == "fault"
    job.erring = (True, *9 * (False,))
    _check("tiny", job)


def test_fault_does_not_wrap() -> None:
    """What lies beyond the end is not written to the beginning."""
    job = _job(_S, _DELTA | Flag.PAIRS | Flag.ROWS | Flag.BIAS_GRADIENT, 8, 1, Y_BASE=4094,
               YR_BASE=1000, B_BASE=10)
    state = _state(CONFIGS["tiny"], 1)
    before = state.pairs.copy()
    outcome, = bench("tiny").run(state, [(job, _operands(CONFIGS["tiny"], job))])
    assert outcome.ended == "fault"
    np.testing.assert_array_equal(state.pairs[:4094], before[:4094])


@pytest.mark.parametrize("cycles", [1, 2, 7, 15, 16, 20, 25])
def test_reset_drops_the_job(cycles: int) -> None:
    """Nothing comes out after a reset (the bench looks), and the next job is right."""
    flags = _ACT | Flag.PAIRS | Flag.ROWS | Flag.SLOPE_ROWS
    job = _job(_S, flags, 9, 2)
    config = CONFIGS["tiny"]
    outcome, = bench("tiny").run(_state(config, 1), [(job, _operands(config, job))],
                                 cycles)
    assert outcome.ended == "reset"
    _check("tiny", job)


def test_latencies() -> None:
    assert PostProcessor.LATENCY == timing.POST_LATENCY
    assert PostProcessor.ERRORS_LATENCY == timing.POST_ERRORS_LATENCY
