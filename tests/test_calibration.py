"""Calibration: ranges as NumPy and PyTorch see them, files, and trainings that use them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tangente.host import data
from tangente.host.calibration import MARGINS, QUANTILE, calibrate, load_scales
from tangente.host.cli import main
from tangente.host.network import Network
from tangente.host.options import Options
from tangente.host.targets import wanted
from tangente.host.trainer import train

OPTIONS = Options(layers=(64, 32, 16, 10), seed=5)


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load("digits")


@pytest.mark.parametrize(("activation", "loss"), [("relu", "softmax"), ("sigmoid", "softmax"),
                                                  ("relu", "mse")])
def test_ranges_are_those_of_torch(digits: data.Dataset, activation: str, loss: str) -> None:
    """Activations and derivatives of the loss by the sums, by autograd in float64."""
    torch = pytest.importorskip("torch", reason="torch is missing")
    options = dataclasses.replace(OPTIONS, activation=activation, loss=loss)
    images, labels = digits.train_images[:200], digits.train_labels[:200]
    network = Network(options, options.config)
    slots, _ = network.initial()
    a, sums, active = torch.from_numpy(images / 256), [], []
    for layer in network.layers:
        z = a @ torch.from_numpy(network.weights(slots, layer))
        z.retain_grad() if z.requires_grad else z.requires_grad_()
        sums.append(z)
        a = torch.relu(z) if activation == "relu" else torch.sigmoid(z)
        active.append(a.detach().numpy())
    targets = wanted(options, labels.astype(np.int64), 10)
    if loss == "mse":
        (torch.nn.functional.mse_loss(sums[-1], torch.from_numpy(targets), reduction="sum")
         / 2).backward()
    else:
        torch.nn.functional.cross_entropy(sums[-1], torch.from_numpy(targets),
                                          reduction="sum").backward()
    result = calibrate(options, images, targets)
    assert result.samples == 200
    for index, layer in enumerate(result.layers):
        error = np.quantile(np.abs(sums[index].grad.numpy()), QUANTILE)
        assert layer.error == pytest.approx(error, rel=1e-9)
        if index < 2:
            assert layer.activation == pytest.approx(np.quantile(active[index], QUANTILE))
    assert result.layers[-1].activation is None


def test_scales_hold_what_was_measured(digits: data.Dataset) -> None:
    """The range is the margin's, and half of it would be too small."""
    result = calibrate(OPTIONS, digits.train_images, digits.train_labels)
    reach = 2.0 ** (OPTIONS.config.element_bits - 1)
    for layer in result.layers[:-1]:
        gain, active, error = layer.scale
        assert 2.0 ** (gain - 1) < MARGINS[0] * layer.weight <= 2.0 ** gain
        assert layer.activation is not None
        assert reach / 2.0 ** (active + 1) < MARGINS[1] * layer.activation <= reach / 2.0 ** active
        assert error == 12 or (
            reach / 2.0 ** (error + 1) < MARGINS[2] * layer.error <= reach / 2.0 ** error)
    assert result.scales[-1][1:] == result.layers[-1].default[1:]


def test_few_bits_keep_the_gains(digits: data.Dataset) -> None:
    options = dataclasses.replace(OPTIONS, bits=2, update="event", accumulator_bits=5)
    result = calibrate(options, digits.train_images, digits.train_labels)
    assert [layer.scale[0] for layer in result.layers] == [
        Network(options, options.config).scales.gain(index) for index in range(3)]


@pytest.mark.parametrize("settings", [{}, {"algorithm": "bp"}, {"granularity": "weight"},
                                      {"algorithm": "bp", "activation": "sigmoid"}], ids=str)
def test_a_calibrated_network_learns_and_every_device_agrees(digits: data.Dataset,
                                                             settings: dict) -> None:
    options = Options(layers=(64, 32, 16, 10), epochs=1, **settings)
    scales = calibrate(options, digits.train_images[:300], digits.train_labels[:300]).scales
    table = train(options, digits)
    calibrated = train(dataclasses.replace(options, scales=scales), digits)
    assert (calibrated.weights != table.weights).any()
    assert calibrated.test_accuracy >= table.test_accuracy - 0.05


def test_the_command_writes_what_train_reads(tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scales.json"
    assert main(["calibrate", "--layers", "64-16-10", "--measure", "50", "--json",
                 str(path)]) == 0
    assert "measured on 50 samples" in capsys.readouterr().out
    figures = json.loads(path.read_text())
    figures["scales"][0] = [2, 3, 7]
    path.write_text(json.dumps(figures))
    assert load_scales(path)[0] == (2, 3, 7)
    run = tmp_path / "run.json"
    assert main(["train", "--layers", "64-16-10", "--samples", "20", "--epochs", "1", "--quiet",
                 "--scales", str(path), "--json", str(run)]) == 0
    assert json.loads(run.read_text())["scales"][0] == [2, 3, 7]


@pytest.mark.parametrize("text", ["", "{}", '{"scales": [[1, 2]]}', '{"scales": 3}'])
def test_files_without_scales(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scales.json"
    path.write_text(text)
    message = (f'{path} must hold "scales", one [gain, activation, error] a layer: write it with '
               "tangente calibrate --json (")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_scales(path)


@pytest.mark.parametrize("scales", [((1, 5, 9),), ((1, 5, 9), (4, 5, 9), (1, 5, 8)),
                                    ((1, 5, 9), (1, 11, 9), (1, 5, 8)), ((1, 5), (1, 5), (1, 5))])
def test_scales_are_validated(scales: tuple) -> None:
    message = ("scales must be (gain -4 to 3, activation 0 to 10, error 4 to 12) for each of the "
               f"3 layers, not {scales!r}")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        dataclasses.replace(OPTIONS, scales=scales)


def test_images_are_validated() -> None:
    for shape in ((0, 64), (3, 63), (64,)):
        message = f"images must have shape (samples, 64), not {shape!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            calibrate(OPTIONS, np.zeros(shape, np.uint8), np.zeros(3, np.uint8))
