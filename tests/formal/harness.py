"""A block whose inputs are free, and the rules of streams."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Assert, Assume, Fragment, Module, ResetSignal, Signal, Value, ValueCastable
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["Free", "after", "count_while", "stands", "stands_assumed"]


class Free(wiring.Component):
    """``dut`` with an input for each of its inputs; reset is never given after the start.

    Members
    -------
    rules : adds statements about ``dut`` to a module, once it is elaborated.
    """

    def __init__(self, dut: wiring.Component, rules: Callable[[Module, wiring.Component], None],
                 ) -> None:
        self.dut, self._rules = dut, rules
        self._inputs = {}
        for path, member, value in dut.signature.flatten(dut):
            if member.flow == wiring.In:
                self._inputs["_".join(map(str, path))] = Value.cast(value)
        super().__init__({name: In(value.shape()) for name, value in self._inputs.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = Fragment.get(self.dut, platform)
        m.d.comb += [value.eq(getattr(self, name)) for name, value in self._inputs.items()]
        m.d.comb += Assume(~ResetSignal())
        self._rules(m, self.dut)
        return m


def after(m: Module, value: Value, name: str = "past") -> Signal:
    """``value`` of the last cycle; zero in the first."""
    past = Signal(Value.cast(value).shape(), name=name)
    m.d.sync += past.eq(value)
    return past


def count_while(m: Module, condition: Value, largest: int, name: str) -> Signal:
    """For how many cycles up to the last one ``condition`` has held without a gap."""
    count = Signal(range(largest + 2), name=name)
    with m.If(~condition):
        m.d.sync += count.eq(0)
    with m.Elif(count != largest + 1):
        m.d.sync += count.eq(count + 1)
    return count


def _stood(m: Module, valid: Value, ready: Value, payload: object, unless: Value | int) -> Value:
    held = Value.cast(payload) if isinstance(payload, ValueCastable) else payload
    stood = after(m, valid & ~ready & ~Value.cast(unless), "stood")
    return ~stood | (valid & (held == after(m, held, "payload")))


def stands(m: Module, valid: Value, ready: Value, payload: object,
           unless: Value | int = 0) -> None:
    """A transfer that is offered stays, unchanged, until it is taken; or ``unless`` is high."""
    m.d.comb += Assert(_stood(m, valid, ready, payload, unless))


def stands_assumed(m: Module, valid: Value, ready: Value, payload: object) -> None:
    """The same, of an input."""
    m.d.comb += Assume(_stood(m, valid, ready, payload, 0))
