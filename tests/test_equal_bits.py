"""Training on the simulated RTL and on golden ends in the same bits, whatever is trained."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st

from tangente.host.compiler import compile_network
from tangente.host.data import Dataset
from tangente.host.layout import CapacityError
from tangente.host.options import LOSSES, UPDATES, Options
from tangente.host.trainer import train


def _dataset(features: int, classes: int, seed: int) -> Dataset:
    """Random images, half of them dark as in the real ones, and random labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (70, features)) * (rng.random((70, features)) < 0.5)
    labels = rng.integers(0, classes, 70)
    return Dataset(name="random", train_images=images.astype(np.uint8),
                   train_labels=labels.astype(np.uint8), test_images=images.astype(np.uint8),
                   test_labels=labels.astype(np.uint8), classes=classes, shape=(features,))


def _check(options: Options) -> None:
    classes = min(options.layers[-1], 10) if options.layers[-1] > 1 else 4
    data = _dataset(options.layers[0], classes, options.seed)
    result = train(options, data, verify=True, quiet=True)
    # Weights, accumulators, biases, loss, hits, saturations and cycles, against golden's.
    assert result.mismatches == 0
    assert np.count_nonzero(result.weights) > 0


@st.composite
def _options(draw) -> Options:
    hidden = draw(st.lists(st.integers(1, 11), min_size=1, max_size=4))
    update = draw(st.sampled_from(UPDATES))
    stateful = update in ("event", "master")
    bits = draw(st.sampled_from(range(2, 9) if stateful else [*range(2, 9), 16]))
    accumulator = draw(st.integers(1, min(12, 16 - bits))) if stateful else 0
    batch = draw(st.integers(1, 32))
    registers: dict = {
        **draw(st.sampled_from([{"algorithm": "dpfm"}, {"algorithm": "bp"}, {"algorithm": "fa"},
                                {"algorithm": "fa", "feedback": "lfsr"}])),
        "registers": draw(st.sampled_from([1, 2, 4, 5, 8, 16, 0])),
        "output_registers": draw(st.sampled_from([None, 0, 3])),
    }
    if draw(st.booleans()):
        banks = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=2)))
        registers = {"algorithm": "dpfm", "granularity": "weight", "registers": sum(banks),
                     "banks": banks, "own_free": draw(st.booleans())}
        batch = draw(st.integers(1, 8))
    loss = draw(st.sampled_from(LOSSES))
    outputs = draw(st.integers(2, 7))
    if loss == "mse" and draw(st.booleans()):
        outputs = 1
    layers = (draw(st.integers(1, 17)), *hidden, outputs)
    scales = None
    if draw(st.integers(0, 3)) == 0:
        scales = tuple((draw(st.integers(-2, 2)), draw(st.integers(3, 8)), draw(st.integers(6, 11)))
                       for _ in layers[1:])
    return Options(
        scales=scales, device="sim", preset="tiny", dataset="random",
        quantisation=draw(st.sampled_from(["symm", "asymm"])) if bits < 16 else "symm",
        **registers,
        layers=layers, loss=loss,
        bits=bits, accumulator_bits=accumulator, update=update,
        activation=draw(st.sampled_from(["relu", "sigmoid"])), batch=batch,
        lr=draw(st.floats(0.01, 0.2)) * batch ** 0.5, lr_decay=draw(st.sampled_from([0.0, 0.5])),
        epochs=draw(st.integers(1, 2)), skip_below=draw(st.sampled_from([0.0, 0.0, 0.4, 0.8])),
        samples=draw(st.integers(1, min(70, 2 * batch + 1))), seed=draw(st.integers(0, 1000)))


@settings(max_examples=60, deadline=None, derandomize=True, print_blob=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(_options())
def test_tiny(options: Options) -> None:
    note(str(options))
    try:
        # Some scales leave no room for a large rate; what is tried is the largest they take.
        compiled = compile_network(dataclasses.replace(options, lr=1e-4))
        while options.lr is not None:
            try:
                compiled.network.scales.rate(options.lr)
                break
            except ValueError:
                options = dataclasses.replace(options, lr=options.lr / 2)
        _check(options)
    except CapacityError:
        reject()


@pytest.mark.parametrize("changes", [
    {"algorithm": "dpfm", "layers": (784, 100, 100, 10), "registers": 16, "batch": 10},
    {"algorithm": "bp", "layers": (784, 101, 37, 10), "batch": 7, "bits": 2, "update": "event"},
    {"algorithm": "dpfm", "layers": (61, 113, 9, 10), "registers": 5, "output_registers": 0,
     "bits": 4, "update": "event", "activation": "sigmoid", "batch": 5},
    {"algorithm": "bp", "layers": (33, 7, 11, 13, 5, 2), "activation": "sigmoid", "batch": 32,
     "bits": 8, "loss": "mse"},
    {"algorithm": "dpfm", "granularity": "weight", "layers": (784, 100, 100, 10), "registers": 16,
     "banks": (12, 4), "batch": 10},
    {"algorithm": "dpfm", "granularity": "weight", "layers": (150, 110, 10), "registers": 16,
     "banks": (16,), "own_free": False, "batch": 3, "lr": 0.15, "bits": 3, "update": "master",
     "quantisation": "asymm"},
])
def test_pynq_z2(changes: dict) -> None:
    _check(Options(device="sim", preset="pynq_z2", dataset="random", epochs=1,
                   samples=2 * changes["batch"] - 1, **changes))
