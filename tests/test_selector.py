# amaranth: UnusedElaboratable=no
"""The selector: the same rows as golden, in exactly the cycles that golden.timing says."""

import dataclasses
import itertools
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
from tangente.golden.timing import (
    SELECTION_BEATS,
    selection,
    selection_digits,
    selection_resident,
)
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

    def __init__(self, lanes: int, element_bits: int = 9, beats: int = SELECTION_BEATS) -> None:
        self.lanes, self.bits, self.beats = lanes, element_bits, beats
        self.dut = Selector(dataclasses.replace(
            preset("tiny"), lanes=lanes, element_bits=element_bits), beats)
        self.reset = Signal()
        self.simulator = Simulator(ResetInserter(self.reset)(self.dut))
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._drive, background=True)
        self.now = 0                    # cycles simulated
        self.memory = np.zeros((ROWS, lanes), np.int16)
        self.abandon = False
        self.work: list[Job] = []       # not yet started
        self.cycles: list[int] = []     # of each job done
        self.accesses = 0               # reads

    def pack(self, row: npt.NDArray[np.int16]) -> int:
        mask = (1 << self.bits) - 1
        return sum((int(value) & mask) << lane * self.bits for lane, value in enumerate(row))

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
            zero = ctx.get(dut.write_zero)
            for lane in range(self.lanes):
                if zero >> lane & 1:
                    self.memory[ctx.get(dut.write_row), lane] = 0
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
        cycles = [selection(job.neurons, job.tiles, self.bits, self.beats) for job in jobs]
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
        assert self.accesses == sum(job.neurons * job.tiles * self.accesses_of(job.tiles)
                                    for job in jobs)

    def accesses_of(self, tiles: int) -> int:
        """Of each row of a neuron of ``tiles``."""
        resident = selection_resident(tiles, self.bits, self.beats)
        return 1 if resident else selection_digits(self.bits) + 1


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(lanes=4)


@st.composite
def jobs(draw) -> Job:
    tiles = draw(st.integers(1, 6))
    return Job(base=draw(st.integers(0, 100)), stride=tiles + draw(st.integers(0, 3)), tiles=tiles,
               neurons=draw(st.integers(1, 12)), keep=draw(st.integers(1, 20)))


def values(seed: int, alphabet: list[int], lanes: int) -> npt.NDArray[np.int16]:
    """Rows of the values of ``alphabet`` and their negatives."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (ROWS, lanes))
    return (rng.choice(alphabet, (ROWS, lanes)) * signs).astype(np.int16)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1),
       alphabet=st.lists(st.integers(0, 255), min_size=1, max_size=12),
       work=st.lists(jobs(), min_size=1, max_size=2))
@example(seed=0, alphabet=[0], work=[Job(base=0, stride=1, tiles=1, neurons=1, keep=1)])
@example(seed=0, alphabet=[255], work=[Job(base=0, stride=4, tiles=4, neurons=3, keep=20)])
@example(seed=0, alphabet=[255], work=[Job(base=0, stride=4, tiles=4, neurons=3, keep=7)])
@example(seed=0, alphabet=[0, 1], work=[Job(base=9, stride=4, tiles=4, neurons=20, keep=65535)])
def test_equals_golden(bench: Bench, seed: int, alphabet: list[int], work: list[Job]) -> None:
    bench.check(values(seed, alphabet, 4), *work)


@pytest.mark.parametrize(("alphabet", "tiles", "keep"), [
    ([0, 1, 2], 1, 1), ([0, 1, 2], 1, 2), ([0, 1, 2], 1, 3), ([0, 3, 4], 1, 2),
    ([0, 255], 2, 1), ([0, 255], 2, 4), ([127, 128], 2, 3)])
def test_every_neuron(bench: Bench, alphabet: list[int], tiles: int, keep: int) -> None:
    """All neurons of these magnitudes, with alternating signs."""
    neurons = np.array(list(itertools.product(alphabet, repeat=4 * tiles)), np.int16)
    memory = np.zeros((ROWS, 4), np.int16)
    memory[:neurons.size // 4] = neurons.reshape(-1, 4)
    memory[:, ::2] *= -1
    bench.check(memory, Job(base=0, stride=tiles, tiles=tiles, neurons=len(neurons), keep=keep))


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 5, 9, 19])
def test_tiles(bench: Bench, tiles: int) -> None:
    """Neurons that stay for all digits, and neurons that pass once for each."""
    bench.check(values(tiles, [0, 3, 3, 4, 200], 4),
                Job(base=1, stride=tiles, tiles=tiles, neurons=3, keep=2 * tiles),
                Job(base=2, stride=tiles + 1, tiles=tiles, neurons=2, keep=3),
                Job(base=3, stride=1, tiles=1, neurons=9, keep=1))


@pytest.mark.parametrize(("lanes", "element_bits", "beats"), [
    (16, 5, 2), (20, 8, 2), (28, 7, 2), (20, 6, 4), (16, 9, 5), (100, 9, 2), (128, 9, 2)])
def test_widths(lanes: int, element_bits: int, beats: int) -> None:
    largest = (1 << element_bits - 1) - 1
    bench = Bench(lanes, element_bits, beats)
    bench.check(values(lanes, [0, 0, 0, 1, 1, 2, largest - 1, largest], lanes),
                Job(base=0, stride=2, tiles=2, neurons=3, keep=lanes - 1),
                Job(base=10, stride=1, tiles=1, neurons=4, keep=16),
                Job(base=20, stride=3, tiles=3, neurons=2, keep=2 * lanes + 5))
    bench.check(np.random.default_rng(lanes).integers(
                    -largest, largest + 1, (ROWS, lanes)).astype(np.int16),
                Job(base=5, stride=2, tiles=1, neurons=5, keep=16))


def test_a_row_takes_two_cycles_at_least() -> None:
    with pytest.raises(ValueError, match=r"^beats must be at least 2, not 1$"):
        Selector(preset("tiny"), 1)


@pytest.mark.parametrize("cycle", [1, 4, 5, 12, 26, 27, 31, 34])
def test_reset_abandons_the_job(bench: Bench, cycle: int) -> None:
    bench.restart()
    bench.work = [Job(base=0, stride=1, tiles=2, neurons=1, keep=2)]
    bench.step(cycle)
    bench.restart()
    bench.step(40)
    assert (bench.accesses, bench.cycles) == (0, [])
