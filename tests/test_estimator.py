"""The scikit-learn classifier: scikit-learn's own checks, equal bits, and what it refuses."""

from __future__ import annotations

import dataclasses
import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import parametrize_with_checks

import tangente
from tangente.host import data, trainer
from tangente.host.estimator import Classifier
from tangente.host.layout import CapacityError

#: None: every check of scikit-learn passes.
EXPECTED_FAILURES: dict[str, str] = {}

QUICK = {"algorithm": "bp", "hidden_layer_sizes": (8,), "batch": 40, "lr": 1.0, "random_state": 0}
IRIS = load_iris(return_X_y=True)


@parametrize_with_checks([Classifier(**QUICK)],
                         expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
# Checks that need pandas or the array API are skipped, with a warning beside.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learn(estimator: Classifier, check) -> None:
    check(estimator)


@pytest.mark.parametrize("settings", [
    {}, {"bits": 4, "update": "event"}, {"granularity": "weight", "registers": 12, "lr": 0.3},
    {"activation": "sigmoid"}, {"loss": "mse"}], ids=str)
def test_iris_is_learnt(settings: dict) -> None:
    X, y = IRIS
    model = Classifier(hidden_layer_sizes=(16, 16), random_state=1, **settings)
    assert model.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) >= 0.9


def test_probabilities_of_squared_errors() -> None:
    """The nearest point of the simplex: no direction along it, or away from zero, leads nearer."""
    X, y = IRIS
    model = Classifier(loss="mse", **QUICK).fit(X, y)
    logits, found = model._logits(X) / 1024, model.predict_proba(X)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    assert found.min() == 0
    # What is kept is moved by one amount, and what is dropped would be below zero by it.
    moved = logits - found
    amount = moved.max(1, where=found > 0, initial=-np.inf)
    np.testing.assert_allclose(moved[found > 0], np.broadcast_to(amount[:, None],
                                                                 moved.shape)[found > 0])
    assert (moved <= amount[:, None] + 1e-12).all()
    np.testing.assert_array_equal(model.predict(X), model.classes_[found.argmax(1)])


def test_equal_bits_with_the_trainer() -> None:
    digits = data.load("digits")
    digits = dataclasses.replace(digits, train_images=digits.train_images[:400],
                                 train_labels=digits.train_labels[:400])
    options = tangente.Options(preset="digits", layers=(64, 9, 7, 10), registers=5, bits=4,
                               update="event", epochs=2, seed=11)
    result = tangente.train(options, digits)
    model = Classifier((9, 7), registers=5, bits=4, update="event", epochs=2, random_state=11,
                       scale="bytes", preset="digits")
    model.fit(digits.train_images, digits.train_labels)
    np.testing.assert_array_equal(model.slots_, result.weights)
    np.testing.assert_array_equal(model.biases_, result.biases)
    assert model.loss_curve_[-1] == result.train_loss
    assert len(model.loss_curve_) == model.n_iter_ == 2
    assert model.options_ == dataclasses.replace(options, dataset="arrays")
    assert model.score(digits.test_images, digits.test_labels) == result.test_accuracy


def test_equal_bits_on_the_rtl(tiny_library) -> None:
    """Training, a further pass, and the logits."""
    X, y = IRIS
    models = [Classifier((5, 4), registers=3, bits=4, update="event", epochs=1, random_state=2,
                         device=device) for device in ("golden", "sim")]
    for model in models:
        model.fit(X[::2], y[::2]).partial_fit(X[1::2], y[1::2])
        assert model.options_.preset == "tiny"
    golden, sim = models
    np.testing.assert_array_equal(golden.slots_, sim.slots_)
    np.testing.assert_array_equal(golden.biases_, sim.biases_)
    assert golden.random_ == sim.random_
    np.testing.assert_array_equal(golden.predict_proba(X), sim.predict_proba(X))


def test_partial_fit_goes_on() -> None:
    X, y = IRIS
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    model = Classifier(**QUICK)
    assert model.partial_fit(X[:60], labels[:60], classes=np.unique(labels)).n_iter_ == 1
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    for _ in range(30):
        model.partial_fit(X, labels)
    assert model.n_iter_ == len(model.loss_curve_) == 31
    assert model.loss_curve_[-1] < 0.6 * model.loss_curve_[1]
    before = model.slots_.copy()
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        each.partial_fit(X, labels)
    assert (model.slots_ != before).any()
    np.testing.assert_array_equal(model.slots_, again.slots_)
    # A fit begins anew.
    np.testing.assert_array_equal(model.fit(X, labels).slots_,
                                  clone(model).fit(X, labels).slots_)
    assert model.n_iter_ == model.epochs


def test_each_pass_has_its_own_order() -> None:
    X, y = IRIS
    one = Classifier(**{**QUICK, "epochs": 2, "lr_decay": 0.0}).fit(X, y)
    two = Classifier(**{**QUICK, "epochs": 1, "lr_decay": 0.0}).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(one.slots_, two.slots_)


def test_probabilities_are_the_logits() -> None:
    X, y = IRIS
    model = Classifier(**QUICK).fit(X, y)
    logits = model._logits(X)
    assert logits.dtype == np.int16
    exact = np.exp(logits / 1024)
    np.testing.assert_allclose(model.predict_proba(X), exact / exact.sum(1, keepdims=True))
    np.testing.assert_array_equal(model.predict(X), logits.argmax(1))
    assert (model.predict(X) == y).mean() > 0.9


def test_features_become_bytes() -> None:
    X = np.array([[-1.0, 5.0, 1e308, 0], [3.0, 5.0, -1e308, 1], [1.0, 5.0, 0, 2]])
    model = Classifier(**QUICK).fit(X, [0, 1, 0])
    assert model._bytes(X).tolist() == [[0, 0, 255, 0], [255, 0, 0, 128], [128, 0, 128, 255]]
    assert model._bytes(np.array([[-9.0, 7.0, 0.0, 9.0]])).tolist() == [[0, 0, 128, 255]]
    assert model.data_max_.tolist() == [3, 5, 1e308, 2]


def test_the_smallest_preset_that_holds_it() -> None:
    X, y = IRIS
    sizes = {(4,): "tiny", (120, 30): "digits", (200, 200): "pynq_z2"}
    for hidden, preset in sizes.items():
        model = Classifier(hidden, epochs=1, algorithm="bp").fit(X[:2], y[:2])
        assert model.options_.preset == preset
    # The topers of tiny have eight registers.
    model = Classifier((4, 4), epochs=1, granularity="weight", registers=9).fit(X[:2], y[:2])
    assert model.options_.preset == "digits"


def test_in_a_pipeline_and_a_search() -> None:
    pipe = make_pipeline(PolynomialFeatures(2), Classifier(**QUICK))
    search = GridSearchCV(pipe, {"classifier__lr": [0.01, 1.0]}, cv=2).fit(*IRIS)
    assert search.best_params_ == {"classifier__lr": 1.0}


@pytest.mark.parametrize(("settings", "message"), [
    ({"scale": "unit"}, "scale must be one of minmax, bytes, not 'unit'"),
    ({"batch": 0}, "batch must lie between 1 and 128, not 0"),
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"device": "abacus"}, "device must be one of golden, sim, not 'abacus'"),
    ({"preset": "huge"}, "preset must be one of tiny, digits, pynq_z2, not 'huge'"),
    ({"random_state": -1}, "seed must lie between 0 and 2^32 - 1, not -1"),
    ({"hidden_layer_sizes": (0,)},
     "layers must be two or more widths between 1 and 4095, not (4, 0, 3)"),
    ({"granularity": "weight", "algorithm": "dpfm", "registers": 17, "preset": "pynq_z2"},
     "registers must lie between 1 and 16, those of preset pynq_z2's topers, not 17"),
])
def test_bad_parameters(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Classifier(**{**QUICK, **settings}).fit(*IRIS)


def test_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*args: object, **more: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr("tangente.host.estimator.open_device", opened)
    with pytest.raises(CapacityError, match=r"^4-400-3 by bp with batch 40 needs more than preset "
                       r"tiny has: row memory 4040 rows of 2048, pair memory 8000 pairs of 4096, "
                       r"bias memory 202 pairs of 64$"):
        Classifier(**{**QUICK, "hidden_layer_sizes": 400, "preset": "tiny"}).fit(*IRIS)
    with pytest.raises(CapacityError, match=r"^4-4000-3 by bp with batch 40 needs more than preset "
                       r"pynq_z2 has: "):
        Classifier(**{**QUICK, "hidden_layer_sizes": 4000}).fit(*IRIS)


def test_bad_data() -> None:
    X, y = IRIS
    model = Classifier(**QUICK, scale="bytes")
    with pytest.raises(ValueError, match=r'^X must be whole numbers from 0 to 255 for '
                       r'scale="bytes", not from 0\.1 to 7\.9 with fractions$'):
        model.fit(X, y)
    with pytest.raises(ValueError, match=r'^X must be whole numbers from 0 to 255 for '
                       r'scale="bytes", not from -1 to 2$'):
        model.fit([[-1], [2]], [0, 1])
    model = Classifier(**QUICK)
    with pytest.raises(ValueError, match=r"^classes must be given in the first call of "
                       r"partial_fit, not None$"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"^y must have labels of array\(\[0, 1\]\) only, not "
                       r"(np\.int64\()?2\)?$"):
        model.partial_fit(X, y, classes=[0, 1])
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"^classes must be those of the first call, "
                       r"array\(\[0, 1, 2\]\), not \[0, 1\]$"):
        model.partial_fit(X, y, classes=[0, 1])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="Input X contains"):
            model.predict(np.where(np.arange(4) == 2, bad, X))


def test_progress_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    Classifier(**{**QUICK, "epochs": 2}, verbose=True).fit(*IRIS)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["epoch 1/2", "150/150 samples"], ["epoch 2/2", "150/150 samples"]]
    Classifier(**{**QUICK, "epochs": 2}).fit(*IRIS)
    assert capsys.readouterr() == ("", "")


def test_the_order_is_the_trainers() -> None:
    options = tangente.Options(epochs=3, seed=4)
    every = list(trainer.orders(options, 9, 5))
    one = dataclasses.replace(options, epochs=1)
    for skip in range(3):
        np.testing.assert_array_equal(*trainer.orders(one, 9, 5, skip=skip), every[skip])
