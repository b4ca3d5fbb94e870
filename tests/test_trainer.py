"""Whole training runs on the golden device."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tangente.host import data, recipes, reference, trainer
from tangente.host.compiler import compile_network
from tangente.host.cycles import measure
from tangente.host.device import open_device
from tangente.host.options import Options
from tangente.host.progress import Event
from tangente.host.session import Session, ddr_bytes
from tangente.host.targets import classified, targets_of
from tangente.host.trainer import learning_rate, train

SMALL = Options(preset="tiny", layers=(12, 6, 5, 3), registers=4, batch=7, epochs=2, seed=3)


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    """Three blurred positions of a bright bar, 12 pixels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 260).astype(np.uint8)
    images = rng.integers(0, 90, (260, 12))
    for row, label in zip(images, labels):
        row[4 * label:4 * label + 4] += 120
    images = images.astype(np.uint8)
    return data.Dataset(name="bars", train_images=images[:200], train_labels=labels[:200],
                        test_images=images[200:], test_labels=labels[200:], classes=3, shape=(3, 4))


@pytest.mark.parametrize("settings", [
    {"algorithm": "bp", "activation": "sigmoid"}, {"algorithm": "dpfm", "layers": (64, 32, 16, 10)},
    {"algorithm": "dpfm", "bits": 2, "update": "event", "accumulator_bits": 6},
    {"algorithm": "bp", "bits": 4, "update": "event"},
], ids=str)
def test_digits_are_learnt(settings: dict) -> None:
    result = train(Options(epochs=4, **settings), data.load("digits"))
    assert result.test_accuracy >= 0.91


@pytest.mark.parametrize(("settings", "rate"), [
    ({}, (0.1, 0.5)), ({"batch": 32}, (0.1, 0.5)), ({"bits": 2}, (1.0, 0.5)),
    ({"bits": 8, "batch": 10}, (0.2, 0.5)),
    # A batch of one takes a fifth of ten's.
    ({"batch": 1}, (0.02, 0.5)),
    ({"batch": 5, "activation": "sigmoid"}, (0.5 ** math.log10(5), 0.5)),
    ({"algorithm": "dpfm", "granularity": "weight", "registers": 16, "batch": 4},
     (0.5 * 0.4 ** math.log10(5), 1.0)),
], ids=str)
def test_default_rates(settings: dict[str, Any], rate: tuple[float, float]) -> None:
    options = Options(**settings)
    assert (options.lr, options.lr_decay) == pytest.approx(rate)


def test_equal_seeds_give_equal_bits(small: data.Dataset) -> None:
    first, second = train(SMALL, small), train(SMALL, small)
    np.testing.assert_array_equal(first.weights, second.weights)
    np.testing.assert_array_equal(first.biases, second.biases)
    other = train(dataclasses.replace(SMALL, seed=4), small)
    assert (first.weights != other.weights).any()


def test_result_has_the_figures(small: data.Dataset) -> None:
    figures = train(dataclasses.replace(SMALL, samples=50), small, verify=True).to_json()
    assert set(figures) == {
        *(field.name for field in dataclasses.fields(Options)),
        "train_loss", "test_accuracy", "test_samples", "cycles",
        "cycles_per_sample", "clock_mhz", "mismatches", "saturations", "skipped",
        "wall_s", "cycles_per_second", "version"}
    assert json.loads(json.dumps(figures)) == figures
    assert figures["samples"] == 50
    assert figures["mismatches"] == 0
    assert figures["layers"] == [12, 6, 5, 3]


def test_not_verified_is_not_zero_mismatches(small: data.Dataset) -> None:
    assert train(SMALL, small).mismatches is None


def test_mismatches_are_counted(small: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with one bit stuck in its weight memory is found out."""
    opened = []

    def flawed(name: str, config, **more):
        device = open_device(name, config, **more)
        opened.append(device)
        if len(opened) == 1:
            wait = device.wait

            def wait_and_break(timeout_s: float) -> bool:
                halted = wait(timeout_s)
                device.machine.state.weights[-1, 0] |= 4
                return halted

            device.wait = wait_and_break
        return device

    monkeypatch.setattr(trainer, "open_device", flawed)
    assert train(SMALL, small, verify=True).mismatches == 1


def test_progress_tells_each_chunk(small: data.Dataset) -> None:
    events: list[Event] = []
    result = train(SMALL, small, progress=events.append)
    assert [event.epoch for event in events if event.samples_done == 200] == [1, 2]
    assert {event.epochs for event in events} == {2}
    assert all(event.samples_total == 200 for event in events)
    done = [event.samples_done for event in events if event.epoch == 1]
    assert done == sorted(set(done))
    assert events[-1].loss == pytest.approx(result.train_loss)
    assert 0 <= events[-1].accuracy <= 1


@pytest.mark.parametrize("outputs", [1, 3, 5])
def test_squared_error_is_learnt(small: data.Dataset, outputs: int) -> None:
    """One output has a level for each class; accuracy is that of the classes found."""
    events: list[Event] = []
    options = dataclasses.replace(SMALL, algorithm="bp", layers=(12, 8, outputs), loss="mse",
                                  epochs=12)
    result = train(options, small, progress=events.append, verify=True)
    assert result.mismatches == 0
    assert {event.accuracy for event in events} == {None}
    # Always the mean is an error of 1/6 (three levels), or 2/3 (three outputs).
    assert 0 < result.train_loss < (0.08 if outputs == 1 else 0.33)
    assert result.test_accuracy >= 0.9


def test_classes_of_logits() -> None:
    logits = np.array([[-3000], [255], [256], [257], [768], [769], [30000]], np.int16)
    assert classified(logits, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert classified(logits, 1).tolist() == [0] * 7
    assert classified(np.array([[1, 7, 7], [2, -1, 0]], np.int16), 3).tolist() == [1, 0]
    labels = np.array([0, 2, 1])
    assert targets_of(labels, 3, 1).tolist() == [[0.0], [1.0], [0.5]]
    assert targets_of(labels, 3, 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(("settings", "message"), [
    ({"layers": (12, 6, 2), "loss": "mse"},
     "layers must end with 1 output or the 3 classes of bars, not 2"),
    ({"layers": (11, 6, 3)}, "layers must begin with the 12 inputs of bars, not 11"),
    ({"layers": (12, 6, 2)}, "layers must end with the 3 classes of bars, not 2"),
    ({"samples": 201}, "samples must be at most the 200 of bars, not 201"),
])
def test_refuses_what_does_not_suit(settings: dict, message: str, small: data.Dataset) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        train(dataclasses.replace(SMALL, **settings), small)


def test_the_rate_falls_over_the_last_part() -> None:
    options = Options(lr=0.4, lr_decay=0.5)
    assert [learning_rate(options, done) for done in (0, 0.25, 0.5)] == [0.4, 0.4, 0.4]
    assert learning_rate(options, 0.75) == pytest.approx(0.2)
    assert learning_rate(Options(lr=0.4, lr_decay=0.0), 0.99) == 0.4
    assert learning_rate(Options(lr=0.4, lr_decay=1.0), 0.25) == pytest.approx(0.3)


def test_results_are_kept_and_judged(tmp_path: Path) -> None:
    """The second call trains nothing; a floor out of reach is an error, with the files written."""
    options = Options(epochs=1, samples=40, test_samples=40)
    events: list[Event] = []

    def call(floor: float) -> None:
        recipes.results(docs=tmp_path, progress=events.append, seeds=(0, 1), processes=1,
                        recipes=(recipes.Recipe("short", floor, options),))

    call(0.0)
    assert [event.samples_done for event in events] == [1, 2]
    first = (tmp_path / "results.json").read_text(encoding="utf-8")
    runs = json.loads(first)
    assert list(runs) == ["short, seed 0", "short, seed 1"]
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    table = reference.section(page, "results")
    mean = 50 * sum(run["test_accuracy"] for run in runs.values())
    assert f"| short | 16 bits | 10 | {mean:.2f} % (" in table
    with pytest.raises(RuntimeError, match=r"^floors were not reached: short [0-9.]+ % of 101 %$"):
        call(101.0)
    assert len(events) == 2
    assert (tmp_path / "results.json").read_text(encoding="utf-8") == first


@pytest.mark.mnist
@pytest.mark.parametrize("algorithm", ["bp", "dpfm", "fa"])
def test_mnist_begins_to_be_learnt(algorithm: str, mnist_dir: Path) -> None:
    options = Options(dataset="mnist", preset="pynq_z2", layers=(784, 100, 100, 10), epochs=1,
                      algorithm=algorithm, samples=1500, test_samples=1000)
    assert train(options, data.load("mnist", mnist_dir)).test_accuracy > 0.75


@pytest.mark.parametrize("algorithm", ["bp", "dpfm"])
def test_everything_is_skipped(small: data.Dataset, algorithm: str) -> None:
    """No error reaches 1: weights and biases stay, gradients are cleared, samples are counted."""
    options = dataclasses.replace(SMALL, algorithm=algorithm, skip_below=1.0, samples=47)
    result = train(options, small)
    learnt = train(dataclasses.replace(options, skip_below=0.0), small)
    weights, biases = compile_network(options).network.initial()
    np.testing.assert_array_equal(result.weights, weights)
    np.testing.assert_array_equal(result.biases, biases)
    assert result.skipped == 1
    assert learnt.skipped == 0
    assert (learnt.weights != weights).any()
    assert result.cycles < learnt.cycles


def test_what_is_learnt_is_skipped(small: data.Dataset) -> None:
    """Batches that the network knows are skipped; online, each sample is a batch."""
    options = dataclasses.replace(SMALL, batch=1, epochs=3, lr=0.05, samples=60)
    shares = [train(dataclasses.replace(options, skip_below=below), small).skipped
              for below in (0.0, 0.3, 0.6, 0.9)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0 < shares[2] < 1
    # The share counts batches.
    assert shares[2] * 3 * 60 == pytest.approx(round(shares[2] * 3 * 60))


@pytest.mark.parametrize("settings", [
    {"granularity": "weight", "banks": (3, 1)}, {"algorithm": "bp", "skip_below": 0.6}], ids=str)
def test_measured_cycles_are_the_simulated_ones(small: data.Dataset, settings: dict) -> None:
    options = dataclasses.replace(SMALL, samples=21, **settings)
    report = measure(options, small, batches=3)
    compiled = compile_network(options)
    with open_device("sim", compiled.config, ddr_bytes=ddr_bytes(compiled, 3)) as device:
        session = Session(compiled, device, chunk_batches=3)
        session.upload(*compiled.network.initial(), options.seed)
        rate = compiled.network.scales.rate(options.lr)
        step = session.train(small.train_images[:7], small.train_labels[:7], rate)
        whole = session.train(small.train_images[:21], small.train_labels[:21], rate)
    assert (report.step_cycles, report.cycles) == (step.cycles, whole.cycles)
    assert report.steady_cycles == round((whole.cycles - step.cycles) / 2)
    assert report.measured == 21
    assert sum(report.spent.values()) == report.busy
