"""A classifier with scikit-learn's interface, trained and run on any device."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from tangente.golden.config import PRESETS
from tangente.golden.isa import LOGIT_FRACTION

from .compiler import Compiled, compile_network
from .device import open_device
from .driver import Counters
from .options import Options
from .progress import Event, Progress
from .session import Session, ddr_bytes, random_state
from .trainer import LOSS_UNITS, chunk_batches, chunks, orders

__all__ = ["Classifier"]

_SCALES = ("minmax", "bytes")
#: Batches that one start predicts.
_PREDICTED_BATCHES = 64
#: Parameters of the classifier that are :class:`tangente.host.options.Options` of the same name.
_OPTIONS = ("device", "algorithm", "feedback", "registers", "output_registers", "granularity",
            "banks", "own_free", "quantisation", "bits", "accumulator_bits", "update",
            "skip_below", "activation", "loss", "batch", "lr", "lr_decay", "epochs")


class Classifier(ClassifierMixin, BaseEstimator):
    """A fully connected network in fixed point.

    The inputs are bytes in the engine. With ``scale="minmax"`` each feature's range in :meth:`fit`
    (or the first :meth:`partial_fit`) becomes 0 to 255, rounded to nearest; later values beyond it
    are clipped, and a feature that was constant is 0. With ``scale="bytes"`` the inputs must be
    whole numbers from 0 to 255 and are taken as they are.

    Equal parameters and equal data give equal bits on every device, and, with ``scale="bytes"``,
    those of :func:`tangente.train` with ``seed`` = ``random_state``.

    Parameters
    ----------
    hidden_layer_sizes : widths of the hidden layers; one integer is one layer.
    device, algorithm, ..., lr, lr_decay, epochs : the :class:`tangente.Options` of these names.
        ``epochs`` and ``lr_decay`` are for :meth:`fit`; a :meth:`partial_fit` is one pass at the
        rate ``lr``.
    preset : build-time configuration; None is the smallest that holds the network.
    scale : "minmax" or "bytes".
    random_state : seed of 32 bits, or what scikit-learn takes beside it.
    verbose : show progress on standard error.

    Members
    -------
    classes_ : labels, (classes,).
    n_features_in_, feature_names_in_ : as scikit-learn defines them.
    n_iter_ : passes over training data so far.
    loss_curve_ : mean loss of each, in nats or squared error, as the samples were met.
    options_ : :class:`tangente.Options` that the network was made with.
    slots_, biases_ : int16, the engine's weight and bias memories, (weight_words, 2 x lanes) and
        (bias_pairs, 2, 2).
    random_ : state of the engine's random generator.
    data_min_, data_max_ : float64, (features,), the range of each feature (minmax).
    """

    def __init__(self, hidden_layer_sizes: int | tuple[int, ...] = (32, 32), *,
                 algorithm: str = "dpfm", feedback: str | None = None, registers: int = 16,
                 output_registers: int | None = None, granularity: str = "neuron",
                 banks: tuple[int, ...] | None = None, own_free: bool = True,
                 quantisation: str = "symm", bits: int = 16,
                 accumulator_bits: int | None = None, update: str = "nearest",
                 skip_below: float = 0.0, activation: str = "relu", loss: str = "softmax",
                 batch: int = 10, lr: float | None = None, lr_decay: float | None = None,
                 epochs: int = 30,
                 preset: str | None = None, device: str = "golden", scale: str = "minmax",
                 random_state: int | np.random.RandomState | None = None,
                 verbose: bool = False) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.algorithm = algorithm
        self.feedback = feedback
        self.registers = registers
        self.output_registers = output_registers
        self.granularity = granularity
        self.banks = banks
        self.own_free = own_free
        self.quantisation = quantisation
        self.bits = bits
        self.accumulator_bits = accumulator_bits
        self.update = update
        self.skip_below = skip_below
        self.activation = activation
        self.loss = loss
        self.batch = batch
        self.lr = lr
        self.lr_decay = lr_decay
        self.epochs = epochs
        self.preset = preset
        self.device = device
        self.scale = scale
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Classifier:
        """Train anew.

        Parameters
        ----------
        X : real numbers, (samples, features).
        y : labels, (samples,).

        Raises
        ------
        CapacityError
            If the network does not fit the preset, or the largest.
        ValueError
            If a parameter, X or y makes no sense.
        """
        X, y = self._validated(X, y, reset=True)
        labels = self._begin(X, y, np.unique(y))
        self._learn(X, labels, self.options_)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Classifier:
        """One pass more over some samples, at the rate ``lr``.

        Parameters
        ----------
        X, y : as for :meth:`fit`.
        classes : all labels there will ever be; needed in the first call, unless after a fit.

        Raises
        ------
        CapacityError, ValueError
            As :meth:`fit`; and ValueError if ``classes`` are missing or y has others.
        """
        first = not hasattr(self, "slots_")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit, not None")
        X, y = self._validated(X, y, reset=first)
        if first:
            labels = self._begin(X, y, np.unique(classes))
        else:
            if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(f"classes must be those of the first call, {self.classes_!r}, "
                                 f"not {classes!r}")
            labels = self._labels(y)
        self._learn(X, labels, self._options(self.options_.layers, self.options_.preset,
                                             self.options_.seed, epochs=1, lr_decay=0.0))
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The label of the largest logit, (samples,); of equals the first."""
        best = self._logits(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities, float64, (samples, classes), of the engine's logits.

        Their softmax; for the loss "mse", the nearest point of the simplex (Duchi et al. 2008,
        "Efficient projections onto the l1-ball"): logits are then estimates of probabilities.
        """
        logits = self._logits(X) / 2.0 ** LOGIT_FRACTION
        if self.options_.loss == "mse":
            falling = -np.sort(-logits, 1)
            excess = (falling.cumsum(1) - 1) / np.arange(1, logits.shape[1] + 1)
            kept = (falling > excess).sum(1, keepdims=True)
            return np.maximum(logits - np.take_along_axis(excess, kept - 1, 1), 0.0)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    # --- data -------------------------------------------------------------------------------------

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        if self.scale not in _SCALES:
            raise ValueError(f"scale must be one of {', '.join(_SCALES)}, not {self.scale!r}")
        X, y = validate_data(self, X, y, dtype=np.float64, reset=reset)
        check_classification_targets(y)
        if reset:
            self.data_min_, self.data_max_ = X.min(0), X.max(0)
        return self._bytes(X), y

    def _bytes(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        if self.scale == "bytes":
            if (X != np.rint(X)).any() or X.min() < 0 or X.max() > 255:
                raise ValueError('X must be whole numbers from 0 to 255 for scale="bytes", '
                                 f"not from {X.min():g} to {X.max():g}" + (
                                     " with fractions" if (X != np.rint(X)).any() else ""))
            return X.astype(np.uint8)
        # Halves, so that the range of the largest numbers does not overflow.
        low = self.data_min_ / 2
        span = self.data_max_ / 2 - low
        part = np.clip((X / 2 - low) / np.where(span > 0, span, 1.0), 0, 1) * (span > 0)
        return np.rint(255 * part).astype(np.uint8)

    def _labels(self, y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        others = np.setdiff1d(y, self.classes_)
        if len(others):
            raise ValueError(f"y must have labels of {self.classes_!r} only, not {others[0]!r}")
        return np.searchsorted(self.classes_, y)

    # --- the engine -------------------------------------------------------------------------------

    def _options(self, layers: tuple[int, ...], preset: str, seed: int,
                 **changes: Any) -> Options:
        settings = {name: getattr(self, name) for name in _OPTIONS}
        return Options(**{**settings, "layers": layers, "preset": preset, "seed": seed,
                          "dataset": "arrays", **changes})

    def _begin(self, X: npt.NDArray[np.uint8], y: npt.NDArray[Any],
               classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Choose the engine and the first weights; returns y as class numbers."""
        self.classes_ = classes
        labels = self._labels(y)
        hidden = self.hidden_layer_sizes
        widths = tuple(hidden) if isinstance(hidden, Iterable) else (hidden,)
        # The engine's softmax needs two outputs, even for one class.
        layers = (X.shape[1], *(int(width) for width in widths), max(len(classes), 2))
        if isinstance(self.random_state, numbers.Integral):
            seed = int(self.random_state)
        else:
            seed = int(check_random_state(self.random_state).randint(1 << 31))
        compiled = self._fitting(layers, seed)
        self.options_ = compiled.network.options
        self.slots_, self.biases_ = compiled.network.initial()
        self.random_ = random_state(seed)
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        return labels

    def _fitting(self, layers: tuple[int, ...], seed: int) -> Compiled:
        names = sorted(PRESETS, key=lambda name: PRESETS[name].lanes)
        if self.preset is not None:
            names = [self.preset]
        for name in names[:-1]:
            try:
                return compile_network(self._options(layers, name, seed))
            except ValueError:
                # Too small; if something else is wrong, the last preset says so.
                pass
        return compile_network(self._options(layers, names[-1], seed))

    def _learn(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64],
               options: Options) -> None:
        samples, compiled = len(images), compile_network(options)
        step = chunk_batches(options, samples)
        order = list(orders(options, samples, samples, skip=self.n_iter_))
        with open_device(options.device, compiled.config,
                         ddr_bytes=ddr_bytes(compiled, step)) as device, Progress() as show:
            session = Session(compiled, device, chunk_batches=step)
            session.restore(self.slots_, self.biases_, self.random_)
            cycles, counters, unit = 0, Counters(), LOSS_UNITS[options.loss]
            for part in chunks(options, samples):
                if part.first == 0:
                    counters = Counters()
                chosen = order[part.epoch][part.first:part.first + part.samples]
                counters += session.train(images[chosen], labels[chosen],
                                          compiled.network.scales.rate(part.lr))
                if self.verbose:
                    show(Event(epoch=part.epoch + 1, epochs=options.epochs,
                               samples_done=counters.samples, samples_total=samples,
                               loss=counters.loss * unit / counters.samples,
                               accuracy=(counters.correct / counters.samples
                                         if options.loss == "softmax" else None),
                               cycles=cycles + counters.cycles))
                if counters.samples == samples:
                    self.loss_curve_.append(counters.loss * unit / samples)
                    cycles += counters.cycles
            self.slots_, self.biases_ = session.download()
            self.random_ = session.random_state
        self.n_iter_ += options.epochs

    def _logits(self, X: Any) -> npt.NDArray[np.int16]:
        """int16 with 10 fraction bits, (samples, classes)."""
        check_is_fitted(self, "slots_")
        images = self._bytes(validate_data(self, X, dtype=np.float64, reset=False))
        compiled = compile_network(self.options_)
        batches = min(_PREDICTED_BATCHES, -(-len(images) // self.options_.batch))
        with open_device(self.options_.device, compiled.config,
                         ddr_bytes=ddr_bytes(compiled, batches)) as device:
            session = Session(compiled, device, chunk_batches=batches)
            session.restore(self.slots_, self.biases_, self.random_)
            return session.predict(images)[:, :len(self.classes_)]
