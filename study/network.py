"""The workshop's net and its training, as far as they do not depend on how derivatives are made."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .run import Run

__all__ = ["Floats", "Form", "History", "batches", "places", "step", "train"]

Floats = npt.NDArray[np.float64]


def places(layers: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
    """For each layer, the places of its weights in the flat vector: (neurons, inputs + 1).

    The bias is the last of a neuron; a weight's place is its id.
    """
    result, first = [], 0
    for inputs, neurons in zip(layers, layers[1:]):
        count = neurons * (inputs + 1)
        result.append(np.arange(first, first + count).reshape(neurons, inputs + 1))
        first += count
    return result


class Form(Protocol):
    """One way to differentiate the net: a rung of the ladder."""

    def gradient(self, weights: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """Mean squared error over samples ``x`` (samples, inputs), ``y`` (samples,), and its
        derivatives by ``weights`` (parameters,)."""

    def loss(self, weights: Floats, x: Floats, y: Floats) -> float:
        """The mean squared error alone."""


@dataclasses.dataclass(frozen=True)
class History:
    """What a training leaves.

    Members
    -------
    loss : (epochs,), mean over an epoch's batches, each before its update.
    val_loss : (epochs,), after each epoch.
    weights : (parameters,), at the end.
    """

    loss: Floats
    val_loss: Floats
    weights: Floats


def step(weights: Floats, gradient: Floats, update: str, rate: float) -> None:
    """Change ``weights`` by one batch's ``gradient``. A gradient of zeros changes nothing."""
    if update == "sgd":
        weights -= rate * gradient
        return
    largest = np.abs(gradient).max()
    if largest > 0:
        weights -= gradient * (rate / largest)


def batches(order: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    """The order of an epoch cut into batches; the last may be smaller."""
    return [order[first:first + size] for first in range(0, len(order), size)]


def train(run: Run, form: Form) -> History:
    """Train as ``run`` says with the derivatives of ``form``."""
    from .corpus import Corpus

    corpus = Corpus.of(run)
    weights = corpus.weights.copy()
    losses, val_losses = [], []
    for order in corpus.orders:
        epoch = []
        for chosen in batches(order, run.batch):
            loss, gradient = form.gradient(weights, corpus.x[chosen], corpus.y[chosen])
            step(weights, gradient, run.update, run.rate)
            epoch.append(loss)
        losses.append(sum(epoch) / len(epoch))
        val_losses.append(form.loss(weights, corpus.val_x, corpus.val_y))
    return History(np.array(losses), np.array(val_losses), weights)
