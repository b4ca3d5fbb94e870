"""What the 7 series does in fewer LUTs than a mapper finds, by its primitives.

Exported Verilog instantiates modules of :data:`MODELS`, to be compiled beside it; Amaranth's own
simulator gets the plain function.
"""

from __future__ import annotations

import pathlib

from amaranth.hdl import Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .export import VERILOG

__all__ = ["MODELS", "TernaryAdder", "WideMux", "above", "add_five", "equal", "magnitude_above"]

#: Each is plain Verilog for a simulator, primitives where SYNTHESIS is defined.
MODELS = tuple(pathlib.Path(__file__).parent / "verilog" / f"{name}.v"
               for name in ("TernaryAdder", "WideMux", "Above", "MagnitudeAbove", "Equal"))


class TernaryAdder(wiring.Component):
    """``sum <= a + b + c``, without a register; wraps modulo 2^width.

    Yosys makes two carry chains of a sum of three, where the 7 series has a form with one (UG474).

    Members
    -------
    a, b, c : In, signed; sum : Out, signed. All of ``width`` bits.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({**{name: In(signed(width)) for name in "abc"}, "sum": Out(signed(width))})

    def elaborate(self, platform) -> Module:
        m = Module()
        if platform == VERILOG:
            m.submodules.adder = Instance(
                "TernaryAdder", p_WIDTH=self.width, i_a=self.a, i_b=self.b, i_c=self.c,
                o_sum=self.sum)
        else:
            m.d.comb += self.sum.eq(self.a + self.b + self.c)
        return m


class WideMux(wiring.Component):
    """``y = a if select else b``; two bits share a LUT, which a mapper does not see.

    Members
    -------
    select : In; a, b : In; y : Out. ``width`` bits each.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"select": In(1), "a": In(width), "b": In(width), "y": Out(width)})

    def elaborate(self, platform) -> Module:
        m = Module()
        if platform == VERILOG:
            m.submodules.mux = Instance("WideMux", p_WIDTH=self.width, i_select=self.select,
                                        i_a=self.a, i_b=self.b, o_y=self.y)
        else:
            m.d.comb += self.y.eq(Mux(self.select, self.a, self.b))
        return m


def above(m: Module, platform: object, enable: Value, a: Value, b: Value, name: str) -> Value:
    """``enable & (a > b)``, unsigned and of one width; two bits take a LUT."""
    if platform != VERILOG:
        return enable & (a > b)
    result = Signal(name=name)
    m.submodules[f"compare_{name}"] = Instance(
        "Above", p_WIDTH=len(a), i_enable=enable, i_a=a, i_b=b, o_above=result)
    return result


def magnitude_above(m: Module, platform: object, a: Value, b: Value, name: str) -> Value:
    """``abs(a) > b``, a signed and of a bit more than b, unsigned; two bits take a LUT."""
    if platform != VERILOG:
        return abs(a.as_signed()) > b
    result = Signal(name=name)
    m.submodules[f"compare_{name}"] = Instance(
        "MagnitudeAbove", p_WIDTH=len(b), i_a=a, i_b=b, o_above=result)
    return result


def equal(m: Module, platform: object, enable: Value, a: Value, b: Value, name: str) -> Value:
    """``enable & (a == b)``, of one width; three bits take a LUT."""
    if platform != VERILOG:
        return enable & (a == b)
    result = Signal(name=name)
    m.submodules[f"compare_{name}"] = Instance(
        "Equal", p_WIDTH=len(a), i_enable=enable, i_a=a, i_b=b, o_equal=result)
    return result


def add_five(m: Module, values: list[Value], width: int, name: str) -> Value:
    """The sum, of ``width`` bits, of one to five signed values: at most two adders deep."""
    def total(parts: list[Value], wide: int, title: str) -> Value:
        if len(parts) < 3:
            return sum(parts[1:], parts[0])
        m.submodules[title] = adder = TernaryAdder(wide)
        m.d.comb += [adder.a.eq(parts[0]), adder.b.eq(parts[1]), adder.c.eq(parts[2])]
        return adder.sum

    first = total(values[:3], width - 1 if len(values) > 3 else width, f"{name}_first")
    result = Signal(signed(width), name=name)
    m.d.comb += result.eq(total([first, *values[3:]], width, f"{name}_all"))
    return result
