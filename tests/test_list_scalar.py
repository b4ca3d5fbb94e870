"""Scalars of offers against golden's slopes and rounding."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
from unit_bench import UnitBench

from tangente.golden.activation import slope
from tangente.golden.config import preset
from tangente.golden.formats import round_shift, saturate
from tangente.rtl.list_scalar import ListScalar, Source

CONFIG = preset("tiny")
BITS, MOST = CONFIG.element_bits, CONFIG.element_max


class ScalarBench(UnitBench):
    """One operand a cycle; returns scalars and whether they were clipped."""

    async def task(self, ctx, sigmoid: bool, shifts: list[int],
                   operands: list[tuple[Source, int, int]]) -> list[tuple[int, int]]:
        dut, seen = self.dut, []
        ctx.set(dut.sigmoid, sigmoid)
        ctx.set(dut.shifts, sum(shift << 5 * place for place, shift in enumerate(shifts)))
        await ctx.tick().repeat(2)
        for kind, entry, activation in [*operands, *operands[:1] * ListScalar.LATENCY]:
            for name, value in (("kind", kind), ("entry", entry), ("activation", activation)):
                ctx.set(getattr(dut, name), value)
            seen.append((ctx.get(dut.scalar), ctx.get(dut.clipped)))
            await ctx.tick()
        return seen[ListScalar.LATENCY:]


@functools.cache
def bench() -> ScalarBench:
    return ScalarBench(ListScalar(CONFIG))


def _expected(kind: Source, entry: int, activation: int, sigmoid: bool,
              shift: int) -> tuple[int, int]:
    steep = int(slope(np.array(activation), sigmoid, CONFIG)) if activation > 0 else 0
    if kind == Source.RANK:
        return (steep if sigmoid else steep * MOST), 0
    product = entry * (steep if kind == Source.REGISTERS else 1) << 8
    value, clipped = saturate(round_shift(np.array([product]), shift), BITS)
    return int(value[0]), clipped


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_golden(sigmoid: bool, seed: int) -> None:
    generator = random.Random(seed)
    shifts = [generator.randrange(20) for _ in Source]
    special = [0, 1, -1, 128, -128, MOST, -MOST]
    operands = [(generator.choice(list(Source)), *(
        generator.choice([*special, generator.randint(-MOST, MOST)]) for _ in range(2)))
        for _ in range(500)]
    assert bench().run(sigmoid, shifts, operands) == [
        _expected(*operand, sigmoid, shifts[operand[0].value]) for operand in operands]
