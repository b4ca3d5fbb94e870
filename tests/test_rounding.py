"""Rounding and saturation in gates against Python's own round-half-even."""

from fractions import Fraction

import pytest
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tangente.golden.formats import round_shift
from tangente.rtl.rounding import SHIFT_BITS, Rounder, half, saturate


class _Helpers(wiring.Component):
    """The two functions, with ports."""

    value: In(signed(8))
    shift: In(SHIFT_BITS)
    clamped: Out(signed(5))
    saturated: Out(1)
    half: Out(32)

    def elaborate(self, platform) -> Module:
        m = Module()
        clamped, saturated = saturate(self.value, 5)
        m.d.comb += [self.clamped.eq(clamped), self.saturated.eq(saturated),
                     self.half.eq(half(self.shift))]
        return m


def _run(dut: wiring.Component, testbench) -> None:
    simulator = Simulator(dut)
    if isinstance(dut, Rounder):
        simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


def test_saturate() -> None:
    dut = _Helpers()

    async def testbench(ctx) -> None:
        for value in range(-128, 128):
            ctx.set(dut.value, value)
            expected = max(-15, min(15, value))
            assert ctx.get(dut.clamped) == expected
            assert ctx.get(dut.saturated) == (expected != value)

    _run(dut, testbench)


def test_half() -> None:
    dut = _Helpers()

    async def testbench(ctx) -> None:
        for shift in range(32):
            ctx.set(dut.shift, shift)
            assert ctx.get(dut.half) == int(Fraction(1 << shift, 2))

    _run(dut, testbench)


@pytest.mark.parametrize("shift", range(9))
def test_rounder_equals_python(shift: int) -> None:
    """All values of ten bits, one a cycle."""
    dut = Rounder(11)
    values = range(-512, 512)

    async def testbench(ctx) -> None:
        ctx.set(dut.shift, shift)
        await ctx.tick()
        for i in range(len(values) + Rounder.LATENCY):
            if i >= Rounder.LATENCY:
                value = values[i - Rounder.LATENCY]
                assert ctx.get(dut.result) == round(Fraction(value, 1 << shift))
            if i < len(values):
                ctx.set(dut.value, values[i] + (1 << shift >> 1))
            await ctx.tick()

    _run(dut, testbench)


@pytest.mark.parametrize("shift", range(32))
def test_rounder_of_wide_values(shift: int) -> None:
    """Ties, their neighbours and limits of 49 bits at every shift, and no bit of them lost."""
    dut = Rounder(49)
    limit = (1 << 47) - 1
    step, tie = 1 << shift, 1 << shift >> 1
    values = [k * step + tie + d for k in (-3, -2, -1, 0, 1, 2, 1 << 46 - shift, -1 << 46 - shift)
              for d in (-1, 0, 1)] + [limit, -limit]

    async def testbench(ctx) -> None:
        ctx.set(dut.shift, shift)
        await ctx.tick()
        for value in values:
            ctx.set(dut.value, value + tie)
            await ctx.tick().repeat(Rounder.LATENCY)
            expected = round(Fraction(value, step))
            assert ctx.get(dut.result) == expected
            assert int(round_shift(value, shift)) == expected

    _run(dut, testbench)
