"""cocotb bench of rtl.dsp48e1.DSP48E1: every sum against integers, one product a cycle."""

import os
import random

import cocotb
from cocotb.triggers import Timer

LATENCY = int(os.environ["LATENCY"])


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
    for _ in range(5000):
        a, d, b, c = (draw(rng, bits) for bits in (25, 25, 18, 48))
        use_d, clear, enable = rng.random() < 0.5, rng.random() < 0.1, rng.random() < 0.8
        subtract = rng.random() < 0.5
        if enable:
            start = c if clear else total
            product = (d if use_d else a) * b
            total = None if start is None else wrap(start + (-product if subtract else product))
        expected.append(total)

        dut.a.value, dut.d.value, dut.b.value, dut.c.value = a, d, b, c
        dut.use_d.value, dut.clear.value, dut.enable.value = use_d, clear, enable
        dut.subtract.value = subtract
        dut.clk.value = 0
        await Timer(1, "ns")
        now = expected.pop(0)
        if now is not None:
            assert dut.p.value.to_signed() == now
        dut.clk.value = 1
        await Timer(1, "ns")
    assert total is not None
