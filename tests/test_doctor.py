"""host/doctor.py: what is found, what is missing, and what the table says of it."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from tangente.host import cli, data, doctor


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path / "build"))
    monkeypatch.delenv("TANGENTE_DATA", raising=False)
    return tmp_path / "cache"


def _by_name(data_dir=None):
    return {check.name: check for check in doctor.examine(data_dir)}


def test_what_is_installed_is_found():
    checks = _by_name()
    assert checks["numpy"].found == importlib.metadata.version("numpy")
    assert checks["python"].found.startswith("3.")
    for name in ("g++", "make", "perl", "verilator", "amaranth", "numba", "scikit-learn"):
        assert checks[name].found, name
        assert checks[name].needed, name


def test_missing_tools_and_packages(tmp_path, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    checks = _by_name()
    assert checks["g++"].found == checks["torch"].found == ""
    table = doctor.table(list(checks.values()))
    assert "needed; without it: --device sim: the RTL cannot be compiled" in table
    assert "get it: sudo apt-get install g++" in table
    assert "get it: in the clone: pip install -e '.[board]'" in table
    assert table.splitlines()[-1].startswith("the demo cannot run: g++, make, perl, numpy, ")


def test_a_program_that_does_not_answer_is_still_found(tmp_path, monkeypatch):
    program = tmp_path / "perl"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _by_name()["perl"].found == str(program)


def test_data_sets_and_models(tmp_path, cache):
    checks = _by_name()
    assert checks["mnist"].found == checks["compiled models"].found == ""
    folder = cache / "mnist"
    folder.mkdir(parents=True)
    for file in data._SOURCES["mnist"].files:
        (folder / file.name).touch()
    model = tmp_path / "build" / "verilator" / "0123" / "model.so"
    model.parent.mkdir(parents=True)
    model.touch()
    checks = _by_name()
    assert checks["mnist"].found == str(folder)
    assert checks["fashion-mnist"].found == ""
    assert checks["compiled models"].found == f"1 in {tmp_path / 'build' / 'verilator'}"


def test_a_wrong_folder_is_told(tmp_path):
    assert _by_name(tmp_path / "no")["mnist"].cure == (
        f"--data names {tmp_path / 'no'}, which is not a folder; correct it or leave it away")


@pytest.mark.parametrize(("found", "code", "last"), [
    ("1.0", 0, "the demo can run: tangente demo"), ("", 1, "the demo cannot run: thing missing")])
def test_the_command(monkeypatch, capsys, tmp_path, found, code, last):
    checks = [doctor.Check(name="thing", found=found, needed=True, cost="all", cure="get it"),
              doctor.Check(name="other", found="", needed=False, cost="little", cure="fetch it")]
    monkeypatch.setattr(doctor, "examine", lambda data_dir: checks)
    assert cli.main(["doctor", "--json", str(tmp_path / "d.json")]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert json.loads((tmp_path / "d.json").read_text())[0] == {
        "name": "thing", "found": found, "needed": True, "cost": "all", "cure": "get it"}
    assert cli.main(["doctor", "--json", "-"]) == code
    assert json.loads(capsys.readouterr().out)[1]["name"] == "other"
