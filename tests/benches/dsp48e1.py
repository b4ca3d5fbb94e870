"""cocotb bench of rtl.dsp48e1.DSP48E1: every sum against integers, one product a cycle."""

import os
import random

import cocotb
from cocotb.triggers import Timer

LATENCY, CONTROL = int(os.environ["LATENCY"]), int(os.environ["CONTROL"])


def wrap(value: int) -> int:
    """``value`` as a signed 48-bit number."""
    return (value + (1 << 47)) % (1 << 48) - (1 << 47)


def draw(rng: random.Random, bits: int) -> int:
    """A signed number of ``bits`` bits, often an extreme one."""
    limit = 1 << bits - 1
    return rng.choice([-limit, limit - 1, 0, rng.randrange(-limit, limit),
                       rng.randrange(-limit, limit)])


@cocotb.test()
async def sums(dut) -> None:
    rng = random.Random(479)
    expected: list[int | None] = [None] * LATENCY
    total = None
    control = [(0, False, False, False, False)] * CONTROL
    # What is beneath is added as it is in the cycle before the sum shows.
    beneath = [0] * (LATENCY - 1)
    # Bits that a sum is rounded by, or 0 where ``c`` is anything.
    ties = rounding = 0
    for _ in range(20000):
        a, d, b, c = (draw(rng, bits) for bits in (25, 25, 18, 48))
        only_d, clear, enable = rng.random() < 0.5, rng.random() < 0.1, rng.random() < 0.8
        subtract = enable and rng.random() < 0.5
        clear &= enable
        fold, below = not enable and rng.random() < 0.5, draw(rng, 48)
        if clear and rng.random() < 0.8:
            rounding = rng.choice([1, 2, 3, rng.randrange(1, 46)])
        if rounding:
            c = (1 << rounding - 1) - 1
            if not clear and rng.random() < 0.02:
                rounding = 0
        if rounding and rng.random() < 0.5:
            b, a, d = 1 << rng.randrange(17), 1 << rng.randrange(24), 0
        if enable:
            multiplicand = d if only_d else (a + d + (1 << 24)) % (1 << 25) - (1 << 24)
            start = c if clear else total
            product = multiplicand * b
            total = None if start is None else wrap(start + (-product if subtract else product))
        elif fold and total is not None:
            total = wrap(total + below)
        low = (2 << rounding) - 1
        expected.append(None if total is None
                        else (total, total & low == low if rounding else None))
        control.append((c, clear, enable, subtract, fold))
        beneath.append(below)

        dut.a.value, dut.d.value, dut.b.value, dut.only_d.value = a, d, b, only_d
        (dut.c.value, dut.clear.value, dut.enable.value, dut.subtract.value,
         dut.fold.value) = control.pop(0)
        dut.below.value = beneath.pop(0)
        dut.clk.value = 0
        await Timer(1, "ns")
        now = expected.pop(0)
        if now is not None:
            assert dut.p.value.to_signed() == now[0]
            assert dut.above.value.to_signed() == now[0]
            if now[1] is not None:
                assert bool(dut.tie.value) == now[1]
                ties += now[1]
        dut.clk.value = 1
        await Timer(1, "ns")
    assert total is not None
    assert ties > 100
