"""host/activity.py: phases and units from the RTL's counters, and the picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tangente.golden.counters import UNITS, Counter
from tangente.golden.isa import Flag, Instruction, Op, Post
from tangente.host import activity, cli, data
from tangente.host.activity import measure_activity, phase
from tangente.host.options import Options

SMALL = {"preset": "tiny", "layers": (64, 5, 4, 10), "batch": 4}


@pytest.mark.parametrize(("op", "flags", "part"), [
    (Op.MVA, Post.ACT | Flag.SLOPE_ROWS, "forward"), (Op.MVD, Post.LOGIT, "forward"),
    (Op.MVD, Post.DELTA | Flag.SLOPE, "backward"), (Op.MVR, Post.DELTA, "backward"),
    (Op.LOSS, 0, "loss"), (Op.UPD, Flag.EVENT, "update"), (Op.BUP, 0, "update"),
    (Op.SCT, 0, "update"), (Op.DRV, 0, "registers"), (Op.SEL, 0, "registers"),
    (Op.SRT, 0, "lists"), (Op.TOP, 0, "lists")])
def test_phases(op: Op, flags: int, part: str) -> None:
    assert phase(Instruction(op, imm=int(flags))) == part


@pytest.fixture(scope="module")
def measured(tiny_library: Path) -> activity.Activity:
    """BP, with one batch recorded."""
    return measure_activity(Options(algorithm="bp", **SMALL), data.load("digits", None), batches=3,
                            draw=True)


def test_phases_add_up_to_all_cycles(measured: activity.Activity) -> None:
    assert list(measured.phases) == ["start", "forward", "loss", "backward", "update"]
    for counter in Counter:
        assert sum(counts[counter] for counts in measured.phases.values()) == (
            measured.total[counter]), counter.name
    assert measured.samples == 12
    assert measured.differences == []


def test_units_work_in_their_phases(measured: activity.Activity) -> None:
    phases = measured.phases
    assert phases["loss"][Counter.LOSS_BUSY] == measured.total[Counter.LOSS_BUSY] > 0
    assert phases["update"][Counter.LANES_BUSY] == measured.total[Counter.LANES_BUSY] > 0
    assert phases["start"][Counter.ARRAY_BUSY] == 0 < phases["backward"][Counter.ARRAY_BUSY]
    assert measured.total[Counter.LISTS_BUSY] == 0


@pytest.mark.parametrize(("options", "parts"), [
    ({"registers": 3}, {"registers", "backward"}),
    ({"granularity": "weight", "registers": 4}, {"lists"})])
def test_the_golden_clock_agrees_where_cycles_depend_on_data(
        tiny_library: Path, options: dict, parts: set[str]) -> None:
    report = measure_activity(Options(**SMALL, **options), data.load("digits", None), batches=2)
    assert report.differences == []
    assert parts <= set(report.phases)
    assert "  the golden clock says the same of every instruction" in report.text()


def test_json(measured: activity.Activity) -> None:
    figures = measured.to_json()
    json.dumps(figures)
    assert figures["golden_equal"]
    assert figures["cycles"] == sum(part["cycles"] for part in figures["phases"].values())
    for part in (figures, *figures["phases"].values()):
        assert set(part["units"]) == set(UNITS)
        for unit in part["units"].values():
            assert unit["idle"] >= 0
            assert unit["busy"] + sum(unit["stalled"].values()) + unit["idle"] == part["cycles"]
    assert 0 < figures["multipliers_busy"] < 1


def test_text_says_what_differs(measured: activity.Activity) -> None:
    text = measured.text()
    assert "  array " in text
    assert "drain " in text
    other = activity.Activity(measured.options, measured.config, 12, measured.phases,
                              measured.total, ["MVA at word 7: 3 cycles, the RTL 4"])
    assert other.text().endswith("the golden clock differs: MVA at word 7: 3 cycles, the RTL 4")


def test_the_recorded_step(measured: activity.Activity) -> None:
    """One batch of three: about a third, for zeros differ; each cycle in one instruction."""
    step = measured.step
    assert step is not None
    names = [name for name, *_ in step.instructions]
    assert (names[0], names[-1]) == ("MVA", "BUP")
    assert names.count("LOSS") == 1
    assert names.count("UPD") == 3
    ends = [(first, end) for *_, first, end in step.instructions]
    assert ends[0][0] == 0
    assert ends[-1][1] == step.cycles
    assert all(one[1] == two[0] for one, two in zip(ends, ends[1:]))
    assert (step.events[Counter.CYCLES] == 1).all()
    share = int(step.events[Counter.ARRAY_BUSY].sum()) / measured.total[Counter.ARRAY_BUSY]
    assert share == pytest.approx(1 / 3, rel=0.2)


def test_the_picture(measured: activity.Activity, tmp_path: Path) -> None:
    from matplotlib import image

    activity.plot(measured, tmp_path / "new" / "step.png")
    pixels = image.imread(tmp_path / "new" / "step.png")
    assert pixels.shape[:2] == (720, 1440)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 5
    unrecorded = activity.Activity(measured.options, measured.config, 12, {}, measured.total, [])
    with pytest.raises(ValueError, match=r"^activity must have a recorded step, not None$"):
        activity.plot(unrecorded, tmp_path / "no.png")


def test_the_command(measured: activity.Activity, monkeypatch, capsys, tmp_path: Path) -> None:
    asked = []

    def measure(options, dataset, *, batches, draw, report):
        asked.append((options.algorithm, batches, draw))
        report("on the RTL")
        return measured

    monkeypatch.setattr(activity, "measure_activity", measure)
    command = ["cycles", "--preset", "tiny", "--algorithm", "bp", "--batches", "2"]
    assert cli.main([*command, "--measure", "--json", str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().out == measured.text() + "\n"
    assert json.loads((tmp_path / "a.json").read_text()) == measured.to_json()
    assert cli.main([*command, "--plot", str(tmp_path / "step.png")]) == 0
    assert (tmp_path / "step.png").is_file()
    assert asked == [("bp", 2, False), ("bp", 2, True)]
    measured.differences.append("MVA")
    assert cli.main([*command, "--measure"]) == cli.FAILURE
    measured.differences.clear()
    assert cli.main(["cycles", "--batches", "0", "--measure"]) == cli.USAGE
    assert capsys.readouterr().err.endswith(
        "tangente: error: --batches must be at least 1, not 0\n")


def test_a_plot_needs_matplotlib_before_anything_is_measured(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(activity, "measure_activity",
                        lambda *args, **named: pytest.fail("measured"))
    assert cli.main(["cycles", "--measure", "--plot", "step.png"]) == 1
    assert capsys.readouterr().err == (
        "tangente: error: import of matplotlib halted; None in sys.modules; `tangente doctor` says "
        "how to install what is missing\n")
