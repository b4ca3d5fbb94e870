"""The loss unit against ``golden.loss``: errors, losses, hits, saturations, faults and cycles."""

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
from tangente.golden.isa import Cause, Flag, Op, Reg
from tangente.golden.loss import softmax_errors, squared_errors
from tangente.golden.state import State
from tangente.golden.tensor import Fault, execute
from tangente.rtl.loss import Loss

CONFIGS = {"tiny": PRESETS["tiny"],
           "odd": Config(name="odd", lanes=12, weight_words=16, rows=64, pairs=256, input_beats=16,
                         target_beats=16, logit_pairs=128, bias_pairs=32, element_bits=7,
                         max_outputs=16),
           # The widest sums, whose logarithm takes as long as the division.
           "wide": Config(name="wide", lanes=4, weight_words=16, rows=16, pairs=16, input_beats=16,
                          target_beats=64, logit_pairs=2048, bias_pairs=16, max_outputs=65536)}


@dataclasses.dataclass
class Job:
    """Registers, and what the memories hold."""

    squared: bool
    registers: dict[Reg, int]
    logits: np.ndarray
    targets: np.ndarray
    seed: int = 1

    @property
    def size(self) -> tuple[int, int]:
        return self.registers[Reg.COUNT], self.registers[Reg.P]

    def registers_list(self) -> list[int]:
        return [self.registers.get(Reg(i), 0) if i in Reg._value2member_map_ else 0
                for i in range(64)]


@dataclasses.dataclass
class Outcome:
    """How a job went; cycles count from ``start``."""

    ended: str
    cycles: int = 0
    errors: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    losses: list[int] = dataclasses.field(default_factory=list)
    hits: list[int] = dataclasses.field(default_factory=list)
    saturated: int = 0
    max_error: int = 0
    erring: list[bool] = dataclasses.field(default_factory=list)


class Bench(UnitBench):
    """A running unit with its memories."""

    def __init__(self, config: Config) -> None:
        super().__init__(Loss(config))

    async def task(self, ctx, jobs: list[Job], reset_after: int | None = None) -> list[Outcome]:
        """Run ``jobs``, each in the cycle after the one before is done."""
        return [await self._job(ctx, job, reset_after) for job in jobs]

    async def _job(self, ctx, job: Job, reset_after: int | None) -> Outcome:
        dut, rng, outcome = self.dut, random.Random(job.seed), Outcome("")
        for reg, value in job.registers.items():
            ctx.set(dut.job[reg.name.lower()], value)
        ctx.set(dut.job.flags.as_value(), int(job.squared))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.job.as_value(), rng.getrandbits(len(dut.job.as_value())))
        logits, targets = deque([0, 0]), deque([0, 0])
        cycle = 1
        while not outcome.ended:
            ctx.set(dut.logit_read_data, logits.popleft())
            ctx.set(dut.target_read_data, targets.popleft())
            ctx.set(dut.reset_job, cycle == reset_after)
            if ctx.get(dut.errors.valid):
                outcome.errors.append((ctx.get(dut.errors.payload.even),
                                       ctx.get(dut.errors.payload.odd)))
            if ctx.get(dut.errors_over):
                outcome.erring.append(bool(ctx.get(dut.erring)))
            logits.append(self._read(ctx, "logit", job.logits.view(np.uint32).ravel(), rng))
            targets.append(self._read(ctx, "target", job.targets.view(np.uint16), rng))
            if ctx.get(dut.loss_valid):
                outcome.losses.append(ctx.get(dut.loss_add))
                outcome.hits.append(ctx.get(dut.hit))
            outcome.saturated += ctx.get(dut.saturated_error)
            if ctx.get(dut.done):
                outcome.ended = "done"
            elif ctx.get(dut.fault):
                outcome.ended = "fault"
            elif cycle == reset_after:
                outcome.ended = "reset"
            outcome.cycles = cycle
            outcome.max_error = ctx.get(dut.max_error)
            await ctx.tick()
            cycle += 1
            assert cycle < 20000, "the unit hangs"
        ctx.set(dut.reset_job, 0)
        if outcome.ended != "done":
            # Nothing may come after a fault or a reset.
            await ctx.tick()
            for _ in range(40):
                assert not any(ctx.get(signal) for signal in (
                    dut.done, dut.fault, dut.loss_valid, dut.errors.valid, dut.logit_read_enable,
                    dut.target_read_enable))
                await ctx.tick()
        return outcome

    def _read(self, ctx, name: str, memory: np.ndarray, rng: random.Random) -> int:
        """What arrives in two cycles: noise if nothing was asked. Beyond the end it wraps."""
        if not ctx.get(getattr(self.dut, f"{name}_read_enable")):
            return rng.getrandbits(8 * memory.itemsize)
        return int(memory[ctx.get(getattr(self.dut, f"{name}_read_address")) % len(memory)])


@functools.cache
def bench(name: str) -> Bench:
    return Bench(CONFIGS[name])


def _expected(job: Job, element_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Errors, losses, hits and saturations, from ``golden.loss``."""
    n, p = job.size
    reg = job.registers
    index = reg[Reg.S_BASE] + np.arange(n)[:, None] * reg[Reg.S_STRIDE] + np.arange((p + 1) // 2)
    z = job.logits[index].reshape(n, -1)[:, :p].astype(np.int64)
    length = p if job.squared else 1
    target = job.targets[reg[Reg.T_BASE] + np.arange(n)[:, None] * reg[Reg.T_STRIDE]
                         + np.arange(length)].astype(np.int64)
    function = squared_errors if job.squared else softmax_errors
    if not job.squared:
        target = target[:, 0] & 0xFFFF
    return function(z, target, reg[Reg.MANTISSA], reg[Reg.E_SHIFT], element_bits)


def _check(name: str, *jobs: Job) -> None:
    for job, outcome in zip(jobs, bench(name).run(list(jobs))):
        errors, losses, hits, saturated = _expected(job, CONFIGS[name].element_bits)
        n, p = job.size
        assert outcome.ended == "done"
        padded = np.pad(errors, ((0, 0), (0, p % 2))).reshape(-1, 2)
        np.testing.assert_array_equal(np.array(outcome.errors), padded)
        assert outcome.losses == losses.tolist()
        assert outcome.hits == hits.tolist()
        assert outcome.saturated == saturated
        assert outcome.max_error == np.abs(errors).max()
        assert outcome.erring == errors.any(1).tolist()
        assert outcome.cycles == timing.loss(n, p, job.squared)


def _make(config: Config, squared: bool, n: int, p: int, seed: int, spread: int = 16,
          **registers: int) -> Job:
    """Logits in a range of ``spread`` bits; targets of which some name no class."""
    rng = np.random.default_rng(seed)
    reg = {Reg.COUNT: n, Reg.P: p, Reg.S_BASE: 0, Reg.S_STRIDE: (p + 1) // 2, Reg.T_BASE: 0,
           Reg.T_STRIDE: p if squared else 1, Reg.MANTISSA: 200, Reg.E_SHIFT: 15}
    reg |= {Reg[key]: value for key, value in registers.items()}
    half = 1 << spread - 1
    logits = rng.integers(-half, half, (config.logit_pairs, 2)).astype(np.int16)
    if squared:
        targets = rng.integers(-half, half, config.target_beats * 4)
    else:
        targets = rng.integers(0, p + 1, config.target_beats * 4)
        targets = np.where(targets == p, rng.integers(p, 65536, targets.shape), targets)
    return Job(squared, reg, logits, targets.astype(np.uint16).view(np.int16), seed)


@st.composite
def _jobs(draw, config: Config) -> Job:
    squared = draw(st.booleans())
    p = draw(st.one_of(st.integers(1, 5), st.integers(1, min(40, config.max_outputs))))
    n = draw(st.integers(1, 5 if p < 7 else 3))
    pairs, length = (p + 1) // 2, p if squared else 1
    registers = {"MANTISSA": draw(st.integers(1, 255)),
                 "E_SHIFT": draw(st.one_of(st.integers(10, 22), st.integers(0, 31)))}
    for base, stride, unit, depth in (("S_BASE", "S_STRIDE", pairs, config.logit_pairs),
                                      ("T_BASE", "T_STRIDE", length, config.target_beats * 4)):
        registers[stride] = draw(st.sampled_from([unit, unit + 1, max(unit - 1, 0), 0]))
        room = depth - ((n - 1) * registers[stride] + unit)
        registers[base] = draw(st.one_of(st.integers(0, room), st.just(room)))
    job = _make(config, squared, n, p, draw(st.integers(0, 2**32 - 1)),
                draw(st.sampled_from([2, 8, 12, 13, 16])), **registers)
    return job


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", ["tiny", "odd"])
def test_equals_golden(name: str) -> None:
    @_settings(40)
    @given(st.lists(_jobs(CONFIGS[name]), min_size=1, max_size=3))
    def check(jobs: list[Job]) -> None:
        _check(name, *jobs)

    check()


@pytest.mark.parametrize("mantissa", [1, 128, 255])
def test_every_shift(mantissa: int) -> None:
    """Largest errors, ties and their neighbours."""
    errors = [0, 65535, -65535, *(sign * (odd << k) + more for k in range(15)
                                  for sign in (1, -1) for odd in (1, 3) for more in (-1, 0, 1))]
    for first in range(0, len(errors), 32):
        raw = np.array(errors[first:first + 32])
        logits = np.zeros((CONFIGS["tiny"].logit_pairs, 2), np.int16)
        targets = np.zeros(CONFIGS["tiny"].target_beats * 4, np.int16)
        logits.reshape(-1)[:len(raw)] = raw // 2
        targets[:len(raw)] = raw // 2 - raw
        _check("tiny", *(dataclasses.replace(
            _make(CONFIGS["tiny"], True, 1, len(raw), 0, MANTISSA=mantissa, E_SHIFT=shift),
            logits=logits, targets=targets) for shift in range(32)))


@pytest.mark.parametrize("outputs", [255, 256])
@pytest.mark.parametrize("spread", [1, 9, 16])
def test_most_outputs(outputs: int, spread: int) -> None:
    """The largest sum of exponentials; the buffer filled again while it is emptied."""
    _check("tiny", _make(CONFIGS["tiny"], False, 3, outputs, 3, spread, S_STRIDE=64))


@pytest.mark.parametrize(("samples", "outputs"), [(20, 1), (20, 2), (9, 3), (1, 4095)])
def test_widest_unit(samples: int, outputs: int) -> None:
    _check("wide", _make(CONFIGS["wide"], False, samples, outputs, 2, 9))


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 7, 8, 9, 10, 15, 16])
def test_samples_overlap(outputs: int) -> None:
    """Division, logits or errors set the pace; equal cycles, and nothing is overrun."""
    _check("odd", _make(CONFIGS["odd"], False, 12, outputs, 5, 12))


@pytest.mark.parametrize(("outputs", "squared", "first", "each"), [
    (10, False, 44, 10), (9, False, 43, 10), (1, False, 27, 9), (10, True, 23, 10),
    (1, True, 14, 1)])
def test_cycles(outputs: int, squared: bool, first: int, each: int) -> None:
    """What the documents promise."""
    assert [timing.loss(n, outputs, squared) for n in (1, 2, 64)] == [
        first, first + each, first + 63 * each]


@pytest.mark.parametrize("logits", [[100, 100, 100], [-5, 7, 7], [-32768, -32768, -32767],
                                    [32767, -32768, 32767]])
@pytest.mark.parametrize("label", [0, 1, 2, 3, 0xFFFF])
def test_ties_and_limits(logits: list[int], label: int) -> None:
    """Of equal logits the first counts; the widest difference; no target."""
    job = _make(CONFIGS["tiny"], False, 1, 3, 1)
    job.logits[:2] = np.array([*logits, 0]).reshape(2, 2)
    job.targets[0] = np.uint16(label).astype(np.int16)
    _check("tiny", job)


#: Samples, outputs, squared, and the registers that reach the last unit of a memory: 256 logit
#: pairs, 256 targets.
EDGES = {
    "logits": (3, 5, False, {"S_STRIDE": 40, "S_BASE": 173}),
    "targets": (3, 5, False, {"T_STRIDE": 100, "T_BASE": 55}),
    "squared logits": (3, 5, True, {"S_STRIDE": 40, "S_BASE": 173}),
    "squared targets": (3, 5, True, {"T_STRIDE": 100, "T_BASE": 51}),
    "strides": (2, 1, False, {"S_BASE": 1, "T_BASE": 1, "T_STRIDE": 254, "S_STRIDE": 254}),
}


@pytest.mark.parametrize("step", [1, 30000])
@pytest.mark.parametrize("case", EDGES)
def test_address_beyond_memory(case: str, step: int) -> None:
    """The last address is taken; one further on is a fault, after which the unit works on."""
    n, p, squared, registers = EDGES[case]
    config = CONFIGS["tiny"]
    job = _make(config, squared, n, p, 1, **registers)
    _check("tiny", job)
    *_, last = registers
    beyond = dataclasses.replace(
        job, registers=job.registers | {Reg[last]: job.registers[Reg[last]] + step})
    flags = Flag.POST0 if squared else 0
    with pytest.raises(Fault) as raised:
        execute(Op.LOSS, State(config, 16), beyond.registers_list(), flags)
    assert raised.value.cause == Cause.ADDRESS
    outcome, = bench("tiny").run([beyond])
    assert outcome.ended == "fault"
    _check("tiny", job)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("cycles", [1, 2, 9, 20, 30, 48, 60])
def test_reset_drops_the_job(squared: bool, cycles: int) -> None:
    """Nothing comes out after a reset (the bench looks), and the next job is right."""
    job = _make(CONFIGS["tiny"], squared, 8, 7, 1)
    outcome, = bench("tiny").run([job], cycles)
    assert outcome.ended == "reset"
    _check("tiny", job)
