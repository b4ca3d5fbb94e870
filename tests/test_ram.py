# amaranth: UnusedElaboratable=no
"""The block memory: when a write shows, which bits it changes, and what the constructor refuses."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.rtl.ram import DualRam, Ram

DEPTH = 16
SHAPES = ((24, 8), (24, 24), (12, 1))
PORTS = ("read_address", "write_enable", "write_address", "write_data")
DUAL_PORTS = ("read_address", "load_enable", "load_data", *PORTS[1:])


class RamBench(UnitBench):
    """Drives inputs, in their order, cycle by cycle; returns all read data."""

    async def task(self, ctx, inputs: tuple[str, ...],
                   cycles: list[tuple[int, ...]]) -> list[int]:
        dual = isinstance(self.dut, DualRam)
        output, latency = ("early_data", 1) if dual else ("read_data", Ram.LATENCY)
        seen = []
        for values in [*cycles, *[(0,) * len(inputs)] * latency]:
            for name, value in zip(inputs, values, strict=True):
                ctx.set(getattr(self.dut, name), value)
            seen.append(ctx.get(getattr(self.dut, output)))
            await ctx.tick()
        return seen[latency:]


@functools.cache
def bench(width: int, granularity: int) -> tuple[RamBench, list[int]]:
    return RamBench(Ram(width, DEPTH, granularity)), [0] * DEPTH


@settings(max_examples=40, derandomize=True, deadline=None)
@given(shape=st.sampled_from(SHAPES), addresses=st.integers(1, DEPTH), length=st.integers(1, 40),
       seed=st.integers(0, 1 << 32))
def test_against_an_array(shape: tuple[int, int], addresses: int, length: int, seed: int) -> None:
    """A write is seen by reads that begin in the cycle after it, or later."""
    width, granularity = shape
    unit, memory = bench(*shape)
    generator = random.Random(seed)
    cycles, expected = [], []
    for _ in range(length):
        enable = generator.choice((0, generator.getrandbits(width // granularity), -1))
        enable &= (1 << width // granularity) - 1
        read, write = generator.randrange(addresses), generator.randrange(addresses)
        data = generator.getrandbits(width)
        cycles.append((read, enable, write, data))
        expected.append(memory[read])
        memory[write] = _written(memory[write], enable, data, granularity, width)
    assert unit.run(PORTS, cycles) == expected


def test_granularity_must_divide() -> None:
    with pytest.raises(ValueError, match=r"^granularity must divide the width 24, not 5$"):
        Ram(24, 16, 5)


@functools.cache
def dual_bench(width: int, granularity: int) -> tuple[RamBench, list[int]]:
    return RamBench(DualRam(width, DEPTH, granularity)), [0] * DEPTH


def _written(word: int, enable: int, data: int, granularity: int, width: int) -> int:
    mask = sum(((1 << granularity) - 1) << granularity * i
               for i in range(width // granularity) if enable >> i & 1)
    return word & ~mask | data & mask


@settings(max_examples=40, derandomize=True, deadline=None)
@given(shape=st.sampled_from(SHAPES), addresses=st.integers(2, DEPTH), length=st.integers(1, 40),
       seed=st.integers(0, 1 << 32))
def test_two_writers(shape: tuple[int, int], addresses: int, length: int, seed: int) -> None:
    """Either port's write is seen by later reads, the other units of the word stay, and a read
    beside its own port's write gives the old word."""
    width, granularity = shape
    unit, memory = dual_bench(*shape)
    generator = random.Random(seed)
    units = width // granularity
    cycles, expected = [], []
    for _ in range(length):
        # The ports never write the same word at once.
        first, write = generator.sample(range(addresses), 2)
        load, enable = (generator.choice((0, generator.getrandbits(units), (1 << units) - 1))
                        for _ in range(2))
        loaded, data = generator.getrandbits(width), generator.getrandbits(width)
        cycles.append((first, load, loaded, enable, write, data))
        expected.append(memory[first])
        memory[first] = _written(memory[first], load, loaded, granularity, width)
        memory[write] = _written(memory[write], enable, data, granularity, width)
    assert unit.run(DUAL_PORTS, cycles) == expected
