"""What is drawn from a run's seed: corpus, first weights, the order of every epoch."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .network import Floats
from .run import SHAPES, Run

__all__ = ["Corpus"]


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The workshop's problem: four inputs, uniform in [0, 1), of which the net learns the sum.

    The sum's variance is 1/3: a loss of 0.333 is that of predicting its mean.

    Members
    -------
    x, y : the training part, (samples, 4) and (samples,).
    val_x, val_y : the validation part.
    weights : (parameters,), Glorot's uniform distribution (X. Glorot, Y. Bengio, "Understanding the
        difficulty of training deep feedforward neural networks", 2010, equation 16), biases zero.
    orders : (epochs, training samples), a permutation for every epoch.
    """

    x: Floats
    y: Floats
    val_x: Floats
    val_y: Floats
    weights: Floats
    orders: npt.NDArray[np.int64]

    @classmethod
    def of(cls, run: Run) -> Corpus:
        """The corpus of ``run``: a function of its samples, seed, parameters and epochs alone."""
        # One generator for each purpose: a longer run begins like a shorter one.
        corpus, first, order = (np.random.default_rng([run.seed, purpose]) for purpose in range(3))
        x = corpus.random((run.samples, SHAPES[61][0]))
        y = x.sum(1)
        trained = run.samples * 4 // 5
        orders = np.stack([order.permutation(trained) for _ in range(run.epochs)])
        return cls(x[:trained], y[:trained], x[trained:], y[trained:],
                   _first_weights(run.layers, first), orders)


def _first_weights(layers: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Drawn for 4-5-5-1; a narrower net takes the part of it that it has."""
    parts = []
    for full_in, full_out, inputs, neurons in zip(SHAPES[61], SHAPES[61][1:], layers, layers[1:]):
        limit = np.sqrt(6 / (full_in + full_out))
        drawn = generator.uniform(-limit, limit, (full_out, full_in))
        parts.append(np.hstack([drawn[:neurons, :inputs], np.zeros((neurons, 1))]).ravel())
    return np.concatenate(parts)
