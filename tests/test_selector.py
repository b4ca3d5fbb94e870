"""The selector: the same rows as golden, in exactly the cycles that golden.timing says."""

import dataclasses
import random

import numpy as np
import numpy.typing as npt
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tangente.golden import selector as golden
from tangente.golden.config import preset
from tangente.golden.timing import SELECTION_GROUP, selection
from tangente.rtl.selector import Selector

ROWS = 512
#: What a job consists of, as ports.
FIELDS = ("base", "stride", "tiles", "neurons", "keep")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What ``start`` takes."""

    base: int
    stride: int
    tiles: int
    neurons: int
    keep: int

    def neuron_rows(self) -> list[slice]:
        return [slice(row, row + self.tiles)
                for row in range(self.base, self.base + self.neurons * self.stride, self.stride)]


class Bench:
    """A selector on a row memory of two cycles' latency."""

    def __init__(self, lanes: int, element_bits: int = 9) -> None:
        self.lanes, self.bits = lanes, element_bits
        self.dut = Selector(dataclasses.replace(
            preset("tiny"), lanes=lanes, element_bits=element_bits))
        self.reset = Signal()
        self.simulator = Simulator(ResetInserter(self.reset)(self.dut))
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._drive, background=True)
        self.now = 0                    # cycles simulated
        self.memory = np.zeros((ROWS, lanes), np.int16)
        self.abandon = False
        self.work: list[Job] = []       # not yet started
        self.cycles: list[int] = []     # of each job done
        self.accesses = 0               # reads and writes

    def pack(self, row: npt.NDArray[np.int16]) -> int:
        mask = (1 << self.bits) - 1
        return sum((int(value) & mask) << lane * self.bits for lane, value in enumerate(row))

    def unpack(self, word: int) -> list[int]:
        half = 1 << self.bits - 1
        return [((word >> lane * self.bits) + half) % (2 * half) - half
                for lane in range(self.lanes)]

    async def _drive(self, ctx) -> None:
        dut, rng = self.dut, random.Random(0)
        data = [0, 0]
        cycle, idle = 0, True
        while True:
            # What the ports hold beside ``start`` must not matter.
            given = {field: rng.getrandbits(8) for field in FIELDS}
            ctx.set(self.reset, self.abandon)
            ctx.set(dut.start, idle and bool(self.work))
            if idle and self.work:
                given = dataclasses.asdict(self.work.pop(0))
                cycle, idle = 0, False
            for field, value in given.items():
                ctx.set(getattr(dut, field), value)

            ctx.set(dut.read_data, data.pop(0))
            data.append(rng.getrandbits(self.lanes * self.bits))
            if ctx.get(dut.read_enable):
                self.accesses += 1
                data[-1] = self.pack(self.memory[ctx.get(dut.read_row)])
            if ctx.get(dut.write_enable):
                self.accesses += 1
                self.memory[ctx.get(dut.write_row)] = self.unpack(ctx.get(dut.write_data))
            if ctx.get(dut.done):
                self.cycles.append(cycle)
            idle = idle or self.abandon or bool(ctx.get(dut.done))
            await ctx.tick()
            cycle += 1

    def step(self, cycles: int) -> None:
        self.now += cycles
        self.simulator.run_until(self.now * 1e-6)

    def restart(self) -> None:
        """Reset for a cycle; after it, nothing may be under way."""
        self.abandon, self.work = True, []
        self.step(1)
        self.abandon, self.cycles, self.accesses = False, [], 0

    def check(self, memory: npt.NDArray[np.int16], *jobs: Job) -> None:
        """Run ``jobs`` one right after the other on ``memory``."""
        cycles = [selection(job.neurons, job.tiles, self.bits) for job in jobs]
        self.restart()
        self.memory, self.work = memory.copy(), list(jobs)
        self.step(sum(cycles) + len(jobs) + 20)

        expected = memory.copy()
        for job in jobs:
            for rows in job.neuron_rows():
                values = expected[rows].reshape(1, -1)
                golden.select(values, job.keep, self.bits)
                expected[rows] = values.reshape(-1, self.lanes)
        np.testing.assert_array_equal(self.memory, expected)
        assert self.cycles == cycles
        rows = sum(job.neurons * job.tiles for job in jobs)
        assert self.accesses == rows * (self.bits - 1 + 3)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(lanes=4)


@st.composite
def jobs(draw) -> Job:
    tiles = draw(st.integers(1, 4))
    return Job(base=draw(st.integers(0, 100)), stride=tiles + draw(st.integers(0, 3)), tiles=tiles,
               neurons=draw(st.integers(1, 20)), keep=draw(st.integers(1, 20)))


def values(seed: int, alphabet: list[int], lanes: int) -> npt.NDArray[np.int16]:
    """Rows of the values of ``alphabet`` and their negatives."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (ROWS, lanes))
    return (rng.choice(alphabet, (ROWS, lanes)) * signs).astype(np.int16)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1),
       alphabet=st.lists(st.integers(0, 255), min_size=1, max_size=12),
       work=st.lists(jobs(), min_size=1, max_size=2))
@example(seed=0, alphabet=[0], work=[Job(base=0, stride=1, tiles=1, neurons=1, keep=1)])
@example(seed=0, alphabet=[255], work=[Job(base=0, stride=4, tiles=4, neurons=3, keep=20)])
@example(seed=0, alphabet=[255], work=[Job(base=0, stride=4, tiles=4, neurons=3, keep=7)])
@example(seed=0, alphabet=[0, 1], work=[Job(base=9, stride=4, tiles=4, neurons=20, keep=65535)])
def test_equals_golden(bench: Bench, seed: int, alphabet: list[int], work: list[Job]) -> None:
    bench.check(values(seed, alphabet, 4), *work)


@pytest.mark.parametrize("neurons", [SELECTION_GROUP - 1, SELECTION_GROUP, SELECTION_GROUP + 1,
                                     2 * SELECTION_GROUP, 2 * SELECTION_GROUP + 3])
def test_groups(bench: Bench, neurons: int) -> None:
    bench.check(values(neurons, [0, 3, 3, 4, 200], 4),
                Job(base=1, stride=3, tiles=2, neurons=neurons, keep=3),
                Job(base=2, stride=3, tiles=1, neurons=neurons, keep=1))


@pytest.mark.parametrize(("lanes", "element_bits"), [(16, 5), (28, 7), (100, 9), (128, 9)])
def test_widths(lanes: int, element_bits: int) -> None:
    largest = (1 << element_bits - 1) - 1
    bench = Bench(lanes, element_bits)
    bench.check(values(lanes, [0, 0, 0, 1, 1, 2, largest - 1, largest], lanes),
                Job(base=0, stride=2, tiles=2, neurons=3, keep=lanes - 1),
                Job(base=10, stride=1, tiles=1, neurons=4, keep=16),
                Job(base=20, stride=3, tiles=3, neurons=2, keep=2 * lanes + 5))
    bench.check(np.random.default_rng(lanes).integers(
                    -largest, largest + 1, (ROWS, lanes)).astype(np.int16),
                Job(base=5, stride=2, tiles=1, neurons=5, keep=16))


@pytest.mark.parametrize("cycle", [1, 40, 60, 68, 75, 80, 85])
def test_reset_abandons_the_job(bench: Bench, cycle: int) -> None:
    bench.restart()
    bench.work = [Job(base=0, stride=1, tiles=2, neurons=1, keep=2)]
    bench.step(cycle)
    bench.restart()
    bench.step(40)
    assert (bench.accesses, bench.cycles) == (0, [])
