"""study: the sweep, its cache, its report and ``tangente study workshop``."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tangente.__main__ import main
from tangente.study import examples, figures, page, report
from tangente.study.compiled import train_run
from tangente.study.corpus import Corpus
from tangente.study.network import History
from tangente.study.plain import Plain
from tangente.study.run import Run
from tangente.study.sweep import Sweep, cores, digest, sweep

SMALL = Sweep(samples=(20, 10), registers=(4, 0), seeds=2, common=Run(epochs=3))


def made_up(run: Run) -> History:
    """A training that takes no time and is told by its run."""
    value = run.samples + run.registers / 100 + run.seed / 1000
    fading = value / np.arange(1, run.epochs + 1)
    return History(fading, 2 * fading, np.zeros(run.parameters))


# The examples.

def test_colahs_example():
    assert examples.colah() == (6, 5)


def test_the_polynomials_are_found_by_both_methods():
    slow, fast = examples.polynomials(), examples.newton()
    assert slow.error < 0.05
    assert all(100 < steps < 10_000 for steps in slow.steps)
    assert fast.error < 1e-9
    assert fast.steps == (1, 1, 1, 1)
    np.testing.assert_allclose(fast.found, examples.COEFFICIENTS, rtol=1e-9)
    with pytest.raises(RuntimeError, match="^" + re.escape(
            "no solution after 3 steps: the squared error is still ") + r"[\d.]+, "
            + "not below 0.0001$"):
        examples.polynomials(most=3)


# The sweep.

def test_the_grid():
    runs = Sweep().runs()
    assert len(runs) == 4 * 7 * 6 == len(set(runs))
    assert {run.samples for run in runs} == {50, 100, 200, 400}
    assert [run.samples for run in runs] == sorted((run.samples for run in runs), reverse=True)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"samples": ()}, "samples must have a value"),
    ({"registers": (4, 4)}, "registers must differ, not 4, 4"),
    ({"seeds": 0}, "seeds must be at least 1, not 0"),
    ({"samples": (50, 3)}, "samples must be at least 5, not 3"),
])
def test_wrong_grids(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Sweep(**arguments)


def test_a_sweep_is_its_runs_one_by_one(tmp_path):
    results = sweep(SMALL.runs(), cache=tmp_path / "new" / "cache")
    assert list(results) == SMALL.runs()
    for run, history in results.items():
        alone = train_run(run)
        for name in ("loss", "val_loss", "weights"):
            assert getattr(history, name).tobytes() == getattr(alone, name).tobytes()


def test_what_is_finished_is_not_trained_again(tmp_path):
    trained = []

    def train(run):
        trained.append(run)
        return made_up(run)

    first = sweep(SMALL.runs(), cache=tmp_path, train=train, workers=1)
    assert trained == SMALL.runs()
    more = dataclasses.replace(SMALL, seeds=3)
    again = sweep(more.runs(), cache=tmp_path, train=train)
    assert {run.seed for run in trained[len(first):]} == {2}
    assert len(trained) == len(again) == 12
    for run, history in first.items():
        assert again[run].val_loss.tobytes() == history.val_loss.tobytes()
    # Another epoch is another run; --refresh trains all anew.
    sweep([Run(epochs=4)], cache=tmp_path, train=train)
    sweep([Run(epochs=4)], cache=tmp_path, train=train, refresh=True)
    assert trained[12:] == [Run(epochs=4)] * 2


def test_every_member_is_in_the_digest(monkeypatch):
    other = Run(samples=50, registers=2, seed=1, slope="original", update="sgd", parameters=45,
                epochs=2, batch=3, rate=0.5)
    names = {digest(Run())}
    for field in dataclasses.fields(Run):
        names.add(digest(dataclasses.replace(
            Run(), **{field.name: getattr(other, field.name)})))
    assert len(names) == 1 + len(dataclasses.fields(Run))
    monkeypatch.setattr("tangente.study.sweep._code", lambda: "another")
    assert digest(Run()) not in names


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"loss": [1]}',
                                    '{"loss": ["x"], "val_loss": [1], "weights": [1]}'])
def test_a_damaged_file_is_trained_again(tmp_path, damage):
    run = Run(epochs=2)
    sweep([run], cache=tmp_path, train=made_up)
    file = tmp_path / f"{digest(run)}.json"
    file.write_text(damage)
    result = sweep([run], cache=tmp_path, train=made_up)
    assert result[run].loss.tolist() == made_up(run).loss.tolist()
    assert json.loads(file.read_text())["run"] == dataclasses.asdict(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    """The second run is interrupted, the first kept, the others not begun."""
    runs = [Run(seed=seed, epochs=1) for seed in range(20)]
    begun = []

    def train(run):
        begun.append(run)
        if len(begun) == 2:
            raise KeyboardInterrupt
        if 2 < len(begun) <= 20:
            time.sleep(0.05)
        return made_up(run)

    with pytest.raises(KeyboardInterrupt):
        sweep(runs, cache=tmp_path, train=train, workers=1)
    finished = len(list(tmp_path.glob("*.json")))
    assert 1 <= finished < 10
    before = len(begun)
    sweep(runs, cache=tmp_path, train=train)
    assert len(begun) - before == 20 - finished


def test_all_cores_work_at_once(tmp_path):
    meeting = threading.Barrier(2, timeout=20)

    def train(run):
        meeting.wait()
        return made_up(run)

    assert len(sweep([Run(seed=0), Run(seed=1)], cache=tmp_path, train=train, workers=2)) == 2
    assert cores() >= 1
    with pytest.raises(ValueError, match="^workers must be at least 1, not 0$"):
        sweep([], cache=tmp_path, workers=0)


# The report.

def test_cells_count_pairs():
    plan = Sweep(samples=(50,), registers=(2, 16, 0), seeds=5, common=Run(epochs=2))
    validation = {2: [5, 5, 5, 5, 5], 16: [1, 2, 3, 4, 6], 0: [2, 2, 4, 4, 5]}
    results = {run: History(np.zeros(2), np.array([9, validation[run.registers][run.seed]], float),
                            np.zeros(61)) for run in plan.runs()}
    two, sixteen, every = report.cells(plan, results)
    assert sixteen.val_loss == (1, 2, 3, 4, 6)
    assert (two.better, sixteen.better, every.better) == (0, 2, None)
    assert every.p is None
    assert 0 < two.p < sixteen.p <= 1
    assert report.cells(plan, results, 1)[0].p == 1
    assert report.cells(plan, results, 1)[0].val_loss[2] == 9
    assert report.table([two, sixteen, every]) == (
        "| N | K = 2 | K = 16 | K = all |\n| ---: | ---: | ---: | ---: |\n"
        "| 50 | 5.0000 (5.0000 to 5.0000); 0/5 | 3.0000 (1.0000 to 6.0000); 2/5 | "
        "4.0000 (2.0000 to 5.0000) |\n")


def test_files_of_figures(tmp_path):
    plan = dataclasses.replace(SMALL, common=Run(epochs=60))
    results = {run: made_up(run) for run in plan.runs()}
    paths = report.write_csv(tmp_path / "new", plan, results)
    tables = [list(csv.DictReader(path.read_text().splitlines())) for path in paths]
    assert [len(table) for table in tables] == [8, 4 * 60, 4 * 2]
    first = next(iter(results))
    assert {name: tables[0][0][name] for name in ("samples", "registers", "seed", "slope")} == {
        "samples": str(first.samples), "registers": str(first.registers), "seed": "0",
        "slope": "right"}
    assert float(tables[0][0]["val_loss"]) == pytest.approx(results[first].val_loss[-1], rel=1e-5)
    curve = tables[1][1]
    assert (curve["samples"], curve["registers"], curve["epoch"]) == ("20", "4", "2")
    assert float(curve["loss_median"]) == pytest.approx(20.0405 / 2, rel=1e-5)
    assert float(curve["val_loss_high"]) == pytest.approx(20.041, rel=1e-5)
    assert [row["epoch"] for row in tables[2]] == ["50"] * 4 + ["60"] * 4


def test_plots_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib import image

    results = {run: made_up(run) for run in SMALL.runs()}
    for plot in (report.curves_plot, report.sections_plot):
        plot(tmp_path / "plot.png", SMALL, results)
        pixels = image.imread(tmp_path / "plot.png")
        assert pixels.shape[0] > 200
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20


# What the workshop and the replication found.

@pytest.fixture(scope="module")
def corpora_of_100():
    """N = 100, both slopes, the six seeds of the default."""
    from concurrent.futures import ThreadPoolExecutor

    runs = [Run(samples=100, slope=slope, registers=registers, seed=seed)
            for slope in ("right", "original") for registers in (0, 2, 4, 8, 16, 32)
            for seed in range(6)]
    with ThreadPoolExecutor() as pool:
        return dict(zip(runs, pool.map(train_run, runs)))


def test_the_replications_medians_lie_in_our_spread(corpora_of_100):
    for (samples, slope), medians in page.REPLICATION.items():
        for registers, theirs in medians.items():
            if samples == 100:
                ours = [corpora_of_100[Run(samples=100, slope=slope, registers=registers,
                                           seed=seed)].val_loss[-1] for seed in range(6)]
                assert min(ours) <= theirs <= max(ours), (slope, registers)


def test_what_pruning_does_with_either_slope(corpora_of_100):
    def median(registers, slope):
        return np.median([corpora_of_100[Run(samples=100, slope=slope, registers=registers,
                                             seed=seed)].val_loss[-1] for seed in range(6)])

    # Right: everything learns with 16 registers, and with 2 nothing does.
    assert max(median(k, "right") for k in (0, 16, 32)) < 0.003
    assert median(2, "right") > 0.2
    # Original: all registers are worse than 16.
    assert median(16, "original") < 0.1 < median(0, "original")


def test_agreement_by_the_bootstrap(corpora_of_100):
    found = page.agreement(corpora_of_100)
    assert len(found) == 12
    assert all(a.low <= a.ours <= a.high for a in found)
    ours = {(a.slope, a.registers): a.ours for a in found}
    assert ours["right", 0] < 0.003 < 0.03 < ours["original", 0]
    exact = dataclasses.replace(found[0], theirs=0.001, low=0.00104, high=0.0011)
    assert exact.within
    assert not dataclasses.replace(exact, low=0.00106).within
    assert not dataclasses.replace(exact, theirs=0.2, low=0.1, high=0.1994).within


# The command.

@pytest.fixture
def quick(monkeypatch, tmp_path):
    """The command line with made-up trainings and everything in ``tmp_path``."""
    monkeypatch.setattr("tangente.study.compiled.train_run", made_up)
    monkeypatch.chdir(tmp_path)
    return ["study", "workshop", "--cache", "cache", "--samples", "20,10", "--registers", "4,all",
            "--seeds", "2", "--epochs", "3"]


def test_the_command(quick, tmp_path, capsys):
    assert main([*quick, "--json", "figures.json"]) == 0
    printed = capsys.readouterr().out
    assert "colah's example: value 6, derivative 5" in printed
    assert "| 10 | 6.6937 (6.6933 to 6.6940); 0/2 | 6.6670 (6.6667 to 6.6673) |" in printed
    assert "8 runs" in printed
    told = json.loads((tmp_path / "figures.json").read_text())
    assert told["colah"] == {"value": 6, "derivative": 5}
    assert len(told["cells"]) == 4
    assert told["run"] == dataclasses.asdict(Run(epochs=3))
    names = {"runs.csv", "curves.csv", "sections.csv", "curves.png", "sections.png"}
    assert {path.name for path in (tmp_path / "build" / "study").iterdir()} == names
    assert len(list((tmp_path / "cache").iterdir())) == 8


def test_the_command_passes_every_switch_on(quick, capsys):
    assert main([*quick, "--slope", "original", "--update", "sgd", "--parameters", "45", "--batch",
                 "5", "--rate", "0.5", "--workers", "1", "--refresh", "--no-plots", "--out", "o",
                 "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"] == dataclasses.asdict(Run(
        slope="original", update="sgd", parameters=45, batch=5, rate=0.5, epochs=3))
    assert told["files"] == ["o/runs.csv", "o/curves.csv", "o/sections.csv"]


@pytest.mark.parametrize(("more", "message"), [
    (["--seeds", "0"], "--seeds must be at least 1, not 0"),
    (["--samples", "3"], "--samples must be at least 5, not 3"),
    (["--workers", "0"], "--workers must be at least 1, not 0"),
    (["--rate", "0"], "--rate must be above 0, not 0.0"),
])
def test_wrong_usage_is_one_line_and_code_2(quick, capsys, more, message):
    assert main([*quick, *more]) == 2
    assert capsys.readouterr().err == f"tangente: error: {message}\n"


def test_wrong_counts(quick, capsys):
    with pytest.raises(SystemExit):
        main([*quick, "--registers", "four"])
    assert capsys.readouterr().err == (
        "tangente: error: argument --registers: must be counts joined by commas, such as 8,16,32, "
        "not 'four'; see tangente study workshop --help\n")


def test_without_matplotlib(quick, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(quick) == 1
    assert capsys.readouterr().err == (
        "tangente: error: matplotlib is missing, which draws the plots: pip install matplotlib, or "
        "leave the plots out with --no-plots; `tangente doctor` says how to install what is "
        "missing\n")
    assert main([*quick, "--no-plots"]) == 0


def test_the_interrupted_are_told(quick, capsys, monkeypatch):
    def train(run):
        raise KeyboardInterrupt

    monkeypatch.setattr("tangente.study.compiled.train_run", train)
    assert main(quick) == 130
    assert capsys.readouterr().err == (
        "tangente: the finished runs are kept; the same command goes on from there\n"
        "tangente: interrupted\n")


def test_help_teaches(capsys):
    for command in (["study", "--help"], ["study", "workshop", "--help"]):
        with pytest.raises(SystemExit):
            main(command)
    printed = capsys.readouterr().out
    assert "tangente study workshop --slope original" in printed
    assert "Ctrl-C loses at most" in printed


def test_the_page_is_written(quick, tmp_path, capsys, monkeypatch):
    for name in ("curves_plot", "sections_plot"):
        monkeypatch.setattr(report, name, lambda path, plan, results: path.write_text("drawn"))
    names = ("right", "original", "claims-right", "claims-original", "agreement", "published",
             "variants")
    text = "# Page\n" + "".join(f"<!-- {n}:begin -->\n<!-- {n}:end -->\n" for n in names)
    (tmp_path / "workshop.md").write_text(text)
    assert main([*quick, "--samples", "100,200", "--registers", "4,16,all", "--write", "."]) == 0
    written = (tmp_path / "workshop.md").read_text()
    assert "| 100 | original | 16 | 0.077 | 66.7" in written
    assert "**outside**" in written
    assert "| original slope, sgd, 45 weights |" in written
    assert "| 200, 50 | 16 | 0.201 / 0.187 |" in written
    told = json.loads((tmp_path / "workshop.json").read_text())
    assert len(told["variants"]) == 8
    assert all(len(cells) == 6 for cells in told["variants"].values())
    assert len(list(tmp_path.glob("workshop-*.png"))) == 4
    (tmp_path / "workshop.md").write_text("# Page\n")
    capsys.readouterr()
    assert main([*quick, "--write", "."]) == 1
    assert re.match(r"tangente: error: .*right:begin", capsys.readouterr().err)


def test_the_finding_is_what_the_committed_figures_say():
    """Each sentence of docs/workshop.md's first four points, as far as it is a number."""
    told = json.loads((Path(__file__).parents[1] / "docs" / "workshop.json").read_text())
    right, original = (
        {(cell["samples"], cell["registers"]): cell
         for cell in told["variants"][f"{slope} slope, max-normalised, 61 weights"]}
        for slope in ("right", "original"))

    def median(cell):
        return cell["val_loss"][2]

    assert {cell["seeds"] for cell in right.values()} == {30}
    for (samples, registers), cell in right.items():
        if registers not in (0, 64) and median(cell) < median(right[samples, 0]):
            assert cell["p"] > 0.2
    assert all(right[samples, 8]["better"] <= 2 for samples in (50, 100))
    assert all(11 <= right[samples, 32]["better"] <= 15 for samples in (50, 100, 200, 400))
    assert all(median(right[samples, 16]) < 0.002 for samples in (100, 200, 400))
    assert right[400, 16]["better"] == 6
    assert median(right[50, 16]) == pytest.approx(0.19, abs=0.005)
    assert median(right[50, 0]) == pytest.approx(0.0045, abs=5e-5)
    for samples in (200, 400):
        assert median(original[samples, 0]) > 0.3
        assert all(17 <= original[samples, k]["better"] <= 27 for k in (2, 4, 8, 16, 32))
        assert all(19 <= original[samples, k]["better"] <= 25 for k in (8, 16))
    assert median(original[100, 8]) > 0.15
    outside = {(a["samples"], a["registers"]) for a in told["agreement"] if not a["within"]}
    assert outside == {(400, 2)}


# The page that teaches.

def test_the_pages_programs_print_what_it_says(capsys):
    page_text = (Path(__file__).parents[1] / "docs" / "forward-mode.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page_text, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec("from tangente.golden.autofore import AutoFore\n" + block, {})
        wanted = re.findall(r"^print.*?# (.*)$", block, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == wanted


def test_the_pages_figures_are_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(figures, "alignment", lambda run: {2: np.array([1.0, -0.5])})
    assert main(["study", "figures", "--out", str(tmp_path / "new")]) == 0
    page_text = (Path(__file__).parents[1] / "docs" / "forward-mode.md").read_text()
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(
        re.findall(r"\((forward-\w+\.png)\)", page_text))


def test_alignment_is_the_cosine_of_the_angle():
    found = figures.alignment(Run(samples=20, epochs=2), (16, 61))
    np.testing.assert_allclose(found[61], 1, rtol=1e-12)
    corpus = Corpus.of(Run(samples=20, epochs=2))
    true, other = (Plain((4, 5, 5, 1), k).gradient(corpus.weights, corpus.x, corpus.y)[1]
                   for k in (0, 16))
    assert 0 < found[16][0] < 1
    assert found[16][0] == pytest.approx(
        true @ other / np.sqrt(true @ true) / np.sqrt(other @ other), rel=1e-10)


def test_a_neurons_derivatives_are_all_that_there_are():
    assert [len(z.registers) for layer in figures.neuron_derivatives() for z in layer] == \
        [5] * 5 + [31] * 5 + [61]
