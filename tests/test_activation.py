"""The sigmoid's table and the slopes in gates against ``golden`` and the functions themselves."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from tangente.golden.activation import SIGMOID_FRACTION, SIGMOID_Z_FRACTION, activate, slope
from tangente.golden.config import Config
from tangente.rtl.activation import Sigmoid, Slope


def _config(element_bits: int) -> Config:
    return Config(name="test", lanes=4, weight_words=16, rows=16, pairs=16, input_beats=16,
                  target_beats=16, logit_pairs=16, bias_pairs=16, element_bits=element_bits)


@pytest.mark.parametrize("element_bits", [9, 7])
def test_sigmoid(element_bits: int) -> None:
    """Every entry, the two ports at different places."""
    config = _config(element_bits)
    dut = Sigmoid(config)
    expected, _ = activate(np.arange(-512, 512), True, config)
    # The post-processing unit relies on it.
    assert expected[0] == expected[1]

    async def testbench(ctx) -> None:
        for index in range(1024):
            ctx.set(dut.index_even, index)
            ctx.set(dut.index_odd, 1023 - index)
            await ctx.tick().repeat(Sigmoid.LATENCY)
            assert ctx.get(dut.even) == expected[index]
            assert ctx.get(dut.odd) == expected[1023 - index]

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("element_bits", [9, 7, 5])
def test_slope(element_bits: int, sigmoid: bool) -> None:
    """Every element, negative ones too."""
    config = _config(element_bits)
    dut = Slope(config)
    values = np.arange(-config.element_max, config.element_max + 1)
    expected = slope(values, sigmoid, config)

    async def testbench(ctx) -> None:
        ctx.set(dut.sigmoid, sigmoid)
        for value, result in zip(values.tolist(), expected.tolist()):
            ctx.set(dut.activation, value)
            await ctx.tick().repeat(Slope.LATENCY)
            assert ctx.get(dut.slope) == result

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


def test_sigmoid_is_near_the_function() -> None:
    """The bound that golden.activation states, for z between the table's entries as well."""
    config = _config(9)
    z = np.linspace(-9, 9, 20001)
    a, saturated = activate(np.rint(z * (1 << SIGMOID_Z_FRACTION)).astype(np.int64), True, config)
    assert saturated == 0
    error = np.abs(a / (1 << SIGMOID_FRACTION) - 1 / (1 + np.exp(-z)))
    assert error.max() <= 1.01 / 256
    # The bound is close: half of it is not enough.
    assert error.max() > 0.5 / 256


def test_slope_of_a_sigmoid_is_its_derivative() -> None:
    """a (1 - a) in units of 1/1024 to half a unit; 1/4 itself is one unit less, the largest."""
    a = np.arange(256)
    exact = a / 256 * (1 - a / 256) * 1024
    error = np.abs(slope(a, True, _config(9)) - exact)
    assert error[exact <= 255.5].max() <= 0.5
    assert error.max() <= 1


def test_relu() -> None:
    z = np.array([-32767, -1, 0, 1, 254, 255, 256, 32767])
    a, saturated = activate(z, False, _config(9))
    assert a.tolist() == [0, 0, 0, 1, 254, 255, 255, 255]
    assert saturated == 2
    assert slope(a, False, _config(9)).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
