"""Activations in gates: the sigmoid's table and the slopes (see :mod:`tangente.golden.activation`).

The slope of a sigmoid is a function of the activation's eight bits: a table of 256 entries is
smaller in LUTs than the product a (1 - a).
"""

import numpy as np
from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.activation import sigmoid_table, slope
from ..golden.config import Config
from ..golden.isa import SIGMOID_ENTRIES

__all__ = ["INDEX_BITS", "Sigmoid", "Slope", "sigmoid_slope"]

#: Bits of an index into the sigmoid's table.
INDEX_BITS = (SIGMOID_ENTRIES - 1).bit_length()


class Sigmoid(wiring.Component):
    """The sigmoid's table with two read ports; E = ``element_bits``. About 210 LUT (Yosys).

    Members
    -------
    index_even, index_odd : unsigned(10), In. z in 1/64, plus 512.
    even, odd : unsigned(E - 1), Out. The activations, :data:`LATENCY` cycles later.
    """

    LATENCY = 1

    def __init__(self, config: Config) -> None:
        self._config = config
        bits = config.element_bits - 1
        super().__init__({"index_even": In(INDEX_BITS), "index_odd": In(INDEX_BITS),
                          "even": Out(bits), "odd": Out(bits)})

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self._config.element_bits
        m.submodules.table = table = Memory(
            shape=bits - 1, depth=SIGMOID_ENTRIES, init=sigmoid_table(bits).tolist())
        for index, value in ((self.index_even, self.even), (self.index_odd, self.odd)):
            port = table.read_port()
            m.d.comb += [port.addr.eq(index), value.eq(port.data)]
        return m


class Slope(wiring.Component):
    """The slope of one stored activation; E = ``element_bits``.

    Members
    -------
    activation : signed(E), In. Stored activation; the slope of a negative one is 0.
    sigmoid : unsigned(1), In. Sigmoid, not ReLU.
    slope : unsigned(E - 1), Out. 0 or 1 (ReLU), or in 1/1024 (sigmoid), :data:`LATENCY` cycles
        later.
    """

    LATENCY = 1

    def __init__(self, config: Config) -> None:
        self._config = config
        bits = config.element_bits
        super().__init__({"activation": In(signed(bits)), "sigmoid": In(1), "slope": Out(bits - 1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        bits = self._config.element_bits - 1
        magnitude, steep = self.activation[:bits], Signal(bits)
        m.d.comb += steep.eq(sigmoid_slope(magnitude, self._config))
        with m.If(self.activation[-1]):
            m.d.sync += self.slope.eq(0)
        with m.Else():
            m.d.sync += self.slope.eq(Mux(self.sigmoid, steep, magnitude.any()))
        return m


def sigmoid_slope(magnitude: Value, config: Config) -> Value:
    """The sigmoid's slope, in 1/1024, of an activation of E - 1 bits; without a register."""
    table = slope(np.arange(1 << len(magnitude)), True, config).tolist()
    return Array(Const(value, len(magnitude)) for value in table)[magnitude]
