"""Measurements as programs: what they say when they cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tangente.bench.entry import as_program


def _raises(error: BaseException):
    def main() -> None:
        raise error
    return main


def test_data_that_is_missing_is_one_line(tmp_path: Path) -> None:
    """The real program."""
    missing = tmp_path / "none"
    program = subprocess.run(
        [sys.executable, "-m", "tangente.bench.speed", "--data", str(missing)],
        capture_output=True, text=True, check=False)
    assert program.returncode == 1
    assert program.stderr == (f"speed: --data names {missing}, which is not a folder; "
                              "correct it or leave it away\n")


def test_a_missing_extra_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench/speed.py"])
    with pytest.raises(SystemExit) as stop:
        as_program(_raises(ImportError("No module named 'torch'")))
    assert stop.value.code == ("speed: No module named 'torch'; `tangente doctor` says how to "
                               "install what is missing")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench/speed.py"])
    with pytest.raises(SystemExit) as stop:
        as_program(_raises(KeyboardInterrupt()))
    assert stop.value.code == 130
    assert capsys.readouterr().err == "speed: interrupted\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError, match="^no$"):
        as_program(_raises(ZeroDivisionError("no")))


def test_the_code_of_main() -> None:
    with pytest.raises(SystemExit) as stop:
        as_program(lambda: 3)
    assert stop.value.code == 3
