"""The post-processing unit against ``golden``: every post, flag, width and rate, and its cycles."""

import dataclasses
import random
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tangente.golden import timing
from tangente.golden.config import PRESETS, Config
from tangente.golden.isa import Cause, Flag, Op, Post, Reg
from tangente.golden.state import State
from tangente.golden.tensor import Fault, _Tensor, execute
from tangente.rtl.post import PostMode, PostProcessor

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

    def registers_list(self) -> list[int]:
        values = [0] * 64
        for reg, value in self.registers.items():
            values[reg] = value
        values[Reg.COUNT], values[Reg.P] = self.count, self.width
        return values

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


class Bench:
    """A running unit with its memories; :meth:`run` puts one job through it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dut = PostProcessor(config)
        self.queue: deque = deque()
        self.outcome: Outcome | Exception | None = None
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-8)
        self.simulator.add_testbench(self._testbench, background=True)

    def run(self, job: Job, state: State, operands: np.ndarray,
            reset_after: int | None = None) -> Outcome:
        """Run ``job`` on ``operands``, (samples, width) sums or errors; ``state`` changes."""
        self.outcome = None
        self.queue.append((job, state, operands, reset_after))
        while self.outcome is None:
            self.simulator.advance()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def _testbench(self, ctx) -> None:
        while True:
            while not self.queue:
                await ctx.tick()
            try:
                self.outcome = await self._job(ctx, *self.queue.popleft())
            except Exception as error:  # raised again where the test waits
                self.outcome = error

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
        await self._bias(ctx, state, True)
        registers = job.registers_list()
        for reg in Reg:
            if reg.name.lower() in dut.job.shape().members:
                ctx.set(dut.job[reg.name.lower()], registers[reg])
        ctx.set(dut.job.flags.as_value(), int(job.flags))
        ctx.set(dut.mode, job.mode)
        ctx.set(dut.width, job.width)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        # The unit holds a copy: what is offered later does not matter.
        ctx.set(dut.job.as_value(), rng.getrandbits(len(dut.job.as_value())))
        ctx.set(dut.width, rng.getrandbits(12))

        padded = np.pad(operands, ((0, 0), (0, operands.shape[1] % 2)), constant_values=-77)
        source = deque() if job.mode == PostMode.BIAS else deque(padded.reshape(-1, 2).tolist())
        counts = dict.fromkeys(("logit", "activation", "error", "bias"), 0)
        port = dut.errors if job.mode == PostMode.ERRORS else dut.sums
        slope_reads: deque = deque([0, 0])
        cycle, last_accept, ended = 1, 0, None
        pending = job.stall == 0 or rng.random() >= job.stall
        while ended is None:
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
                         dut.logit_write_enable, dut.slope_read_enable, dut.sums.ready,
                         dut.errors.ready)
                assert not any(ctx.get(signal) for signal in quiet)
                await ctx.tick()
        await self._bias(ctx, state, False)
        return Outcome(ended, cycle - 1, last_accept, counts)

    def _elements(self, value: int) -> list[int]:
        bits = self.config.element_bits
        parts = [value & (1 << bits) - 1, value >> bits]
        return [part - (part >> bits - 1 << bits) for part in parts]

    def _slope_read(self, ctx, state: State) -> int:
        if not ctx.get(self.dut.slope_read_enable):
            return random.getrandbits(2 * self.config.element_bits)
        mask = (1 << self.config.element_bits) - 1
        even, odd = state.pairs[ctx.get(self.dut.slope_read_address)].tolist()
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


_BENCHES: dict[str, Bench] = {}


def bench(name: str) -> Bench:
    """One simulator a configuration for all tests: jobs come one after the other, as on the chip."""
    if name not in _BENCHES:
        _BENCHES[name] = Bench(CONFIGS[name])
    return _BENCHES[name]


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
    """Sums whose magnitude varies up to ``sum_bits``, with ties and limits among them; or errors."""
    rng = np.random.default_rng(job.seed)
    shape = (job.count, job.width)
    if job.mode == PostMode.ERRORS:
        return rng.integers(-config.element_max, config.element_max + 1, shape)
    limit = 1 << rng.integers(1, job.sum_bits, shape)
    sums = rng.integers(-limit, limit)
    tie = rng.integers(0, 4, shape) == 0
    shift = job.registers[Reg.SHIFT]
    half = 1 << shift >> 1
    return np.where(tie, (sums >> shift << shift) | half, sums)


def _golden(job: Job, state: State, operands: np.ndarray) -> dict[str, int]:
    """What ``golden`` does; its counts of saturations."""
    if job.mode == PostMode.BIAS:
        execute(Op.BUP, state, job.registers_list(), 0)
    else:
        tensor = _Tensor(state, job.registers_list(), job.flags)
        if job.mode == PostMode.ERRORS:
            tensor.write_errors(operands.astype(np.int64), job.width)
        else:
            tensor.post(operands, job.width)
    return {name: state.saturations[name] for name in ("logit", "activation", "error", "bias")}


def _check(name: str, job: Job) -> str:
    """Put ``job`` through both and compare all memories; returns how it ended."""
    config = CONFIGS[name]
    expected, actual = _state(config, job.seed), _state(config, job.seed)
    operands = _operands(config, job)
    try:
        counts = _golden(job, expected, operands)
    except Fault as fault:
        assert fault.cause == Cause.ADDRESS
        assert bench(name).run(job, actual, operands).ended == "fault"
        return "fault"
    outcome = bench(name).run(job, actual, operands)
    assert outcome.ended == "done"
    for memory in ("pairs", "rows", "logits", "biases"):
        np.testing.assert_array_equal(getattr(actual, memory), getattr(expected, memory), memory)
    assert outcome.saturations == counts
    _check_cycles(job, outcome)
    return "done"


def _check_cycles(job: Job, outcome: Outcome) -> None:
    if job.mode == PostMode.BIAS:
        assert outcome.cycles == timing.bias_update(job.width)
        return
    two_cycles = (job.mode == PostMode.SUMS and int(job.flags) & 3 == Post.ACT
                  and bool(job.flags & Flag.SLOPE_ROWS))
    latency = (timing.POST_ERRORS_LATENCY if job.mode == PostMode.ERRORS
               else timing.POST_LATENCY)
    assert outcome.cycles == outcome.last_accept + latency
    if job.stall == 0:
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
    return Job(mode, flags, width, count, registers, draw(st.integers(0, 2**32 - 1)),
               draw(st.sampled_from([0.0, 0.0, 0.3, 0.8])),
               draw(st.sampled_from([8, 20, 30, 38, 47])))


_SETTINGS = settings(max_examples=100, deadline=None, derandomize=True, database=None,
                     suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", CONFIGS)
def test_equals_golden(name: str) -> None:
    @_SETTINGS
    @given(_jobs(CONFIGS[name]))
    def check(job: Job) -> None:
        assert _check(name, job) == "done"

    check()
