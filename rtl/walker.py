"""Addresses of samples that lie a stride apart."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ADDRESS_BITS", "Walker"]

#: The top bit says that an address is beyond a memory of up to 2^18 units: base and stride have 16
#: bits.
ADDRESS_BITS = 19


class Walker(wiring.Component):
    """The address base + sample x stride + i.

    Members
    -------
    start : unsigned(1), In. Takes ``base`` and ``stride``; the address is ``base`` in the next
        cycle.
    base, stride : unsigned(16), In.
    step : unsigned(1), In. Go to the next i; with ``last`` to the next sample.
    last : unsigned(1), In.
    address : unsigned(19), Out. Right as long as samples are shorter than 2^16 units; from 2^18 on
        only its top bit is, which then stays.
    """

    start: In(1)
    base: In(16)
    stride: In(16)
    step: In(1)
    last: In(1)
    address: Out(ADDRESS_BITS)

    def elaborate(self, platform) -> Module:
        m = Module()
        following, stride = Signal(ADDRESS_BITS), Signal(16)
        top = ADDRESS_BITS - 1
        advanced = Signal(ADDRESS_BITS)
        m.d.comb += advanced.eq(following[:top] + stride)
        with m.If(self.start):
            m.d.sync += [self.address.eq(self.base), stride.eq(self.stride),
                         following.eq(self.base + self.stride)]
        with m.Elif(self.step):
            m.d.sync += self.address.eq(self.address + 1)
            with m.If(self.last):
                m.d.sync += [self.address.eq(following),
                             following.eq(advanced | following[top] << top)]
        return m
