"""Ladder 4: the net in Numba. One call trains one run, without the interpreter's lock."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from .corpus import Corpus
from .network import Floats, History
from .run import Run

__all__ = ["Compiled", "train_run"]

_Ints = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True)
def _threshold(sizes: Floats, count: int, keep: int) -> float:
    """The ``keep``-th largest of ``sizes[:count]``, which are reordered (C. A. R. Hoare, "Algorithm
    65: find", 1961)."""
    left, right, wanted = 0, count - 1, keep - 1
    while left < right:
        pivot, i, j = sizes[wanted], left, right
        while i <= j:
            while sizes[i] > pivot:
                i += 1
            while pivot > sizes[j]:
                j -= 1
            if i <= j:
                sizes[i], sizes[j] = sizes[j], sizes[i]
                i += 1
                j -= 1
        if j < wanted:
            left = i
        if wanted < i:
            right = j
    return sizes[wanted]


@numba.njit(cache=True, nogil=True)
def _held(offered: _Ints, candidates: Floats, count: int, keep: int, sizes: Floats, ids: _Ints,
          values: Floats) -> int:
    """Fill the registers ``ids``, ``values`` with the largest of ``count`` candidates, in the order
    of their ids, which rise; returns how many are held. Candidates are cleared.

    Of equals the lowest id is held, a zero never. The order of registers decides nothing here.
    """
    used = 0
    if count <= keep:
        for i in range(count):
            ids[used], values[used] = offered[i], candidates[offered[i]]
            used += values[used] != 0
            candidates[offered[i]] = 0.0
        return used
    live = 0
    for i in range(count):
        size = abs(candidates[offered[i]])
        if size > 0:
            sizes[live] = size
            live += 1
    least, ties = 0.0, count
    if live > keep:
        least = _threshold(sizes, live, keep)
        ties = keep
        for i in range(keep):
            ties -= sizes[i] > least
    for i in range(count):
        identity = offered[i]
        value = candidates[identity]
        size = abs(value)
        if size > 0 and size >= least:
            if size == least:
                ties -= 1
            if size > least or ties >= 0:
                ids[used], values[used] = identity, value
                used += 1
        candidates[identity] = 0.0
    return used


@numba.njit(cache=True, nogil=True)
def _value(layers: _Ints, weights: Floats, x: Floats, a: Floats, b: Floats) -> float:
    """The output for one sample; ``a`` and ``b`` are scratch."""
    first, below, values = 0, x, a
    for layer in range(len(layers) - 1):
        inputs = layers[layer]
        for neuron in range(layers[layer + 1]):
            total = 0.0
            for j in range(inputs):
                total += weights[first + j] * below[j]
            total += weights[first + inputs]
            first += inputs + 1
            if layer < len(layers) - 2:
                total = _sigmoid(total)
            values[neuron] = total
        below, values = (a, b) if layer % 2 == 0 else (b, a)
    return below[0]


@numba.njit(cache=True, nogil=True, inline="always")
def _sigmoid(z: float) -> float:
    small = math.exp(-abs(z))
    return (1.0 if z >= 0 else small) / (1 + small)


@numba.njit(cache=True, nogil=True)
def _gradient(layers: _Ints, weights: Floats, x: Floats, y: Floats, chosen: _Ints, keep: int,
              original: bool, gradient: Floats) -> float:
    """Mean squared error over the chosen samples; its derivatives go to ``gradient``.

    The order of every sum is that of :class:`tangente.study.plain.Plain`.
    """
    count, width, depth = len(weights), layers.max(), len(layers) - 1
    room = count if keep == 0 else min(keep, count)
    ids = np.empty((2, width, room), np.int64)
    registers = np.empty((2, width, room))
    held = np.zeros((2, width), np.int64)
    activations = np.empty((2, width))
    candidates, sizes, offered = np.zeros(count), np.empty(count), np.empty(count, np.int64)
    gradient[:] = 0
    total = 0.0
    for sample in chosen:
        below, above = 0, 1
        for j in range(layers[0]):
            activations[below, j] = x[sample, j]
            held[below, j] = 0
        first = 0
        for layer in range(depth):
            inputs, start = layers[layer], first
            for i in range(start):
                offered[i] = i
            for neuron in range(layers[layer + 1]):
                z = 0.0
                for j in range(inputs):
                    weight = weights[first + j]
                    z += weight * activations[below, j]
                    for r in range(held[below, j]):
                        candidates[ids[below, j, r]] += weight * registers[below, j, r]
                z += weights[first + inputs]
                last = first + inputs
                for j in range(inputs):
                    candidates[first + j] = activations[below, j]
                candidates[last] = 1.0
                to_ids, to_values = ids[above, neuron], registers[above, neuron]
                # No list below holds a weight of this layer.
                for j in range(inputs + 1):
                    offered[start + j] = first + j
                used = _held(offered, candidates, start + inputs + 1, room, sizes, to_ids,
                             to_values)
                held[above, neuron] = used
                first = last + 1
                if layer == depth - 1:
                    error = z - y[sample]
                    total += error * error
                    for r in range(used):
                        gradient[to_ids[r]] += 2 * error * to_values[r]
                    break
                small = math.exp(-abs(z))
                value = (1.0 if z >= 0 else small) / (1 + small)
                if original:
                    half = math.cosh(value / 2)
                    slope = 1 / (4 * (half * half))
                else:
                    slope = small / ((1 + small) * (1 + small))
                activations[above, neuron] = value
                for r in range(used):
                    to_values[r] *= slope
            below, above = above, below
    for i in range(count):
        gradient[i] *= 1 / len(chosen)
    return total / len(chosen)


@numba.njit(cache=True, nogil=True)
def _loss(layers: _Ints, weights: Floats, x: Floats, y: Floats) -> float:
    a, b = np.empty(layers.max()), np.empty(layers.max())
    total = 0.0
    for sample in range(len(x)):
        total += (_value(layers, weights, x[sample], a, b) - y[sample]) ** 2
    return total / len(x)


@numba.njit(cache=True, nogil=True)
def _train(layers: _Ints, weights: Floats, x: Floats, y: Floats, val_x: Floats, val_y: Floats,
           orders: _Ints, batch: int, keep: int, original: bool, normalised: bool, rate: float,
           losses: Floats, val_losses: Floats) -> None:
    gradient = np.empty(len(weights))
    for epoch in range(len(orders)):
        total, parts = 0.0, 0
        for start in range(0, len(x), batch):
            total += _gradient(layers, weights, x, y, orders[epoch, start:start + batch], keep,
                               original, gradient)
            parts += 1
            scale = rate
            if normalised:
                largest = np.abs(gradient).max()
                scale = rate / largest if largest > 0 else 0.0
            for i in range(len(weights)):
                weights[i] -= gradient[i] * scale
        losses[epoch] = total / parts
        val_losses[epoch] = _loss(layers, weights, val_x, val_y)


def train_run(run: Run) -> History:
    """Train as ``run`` says.

    Deterministic: equal runs give equal bits on one machine. Threads may call it side by side.
    """
    corpus = Corpus.of(run)
    weights = corpus.weights.copy()
    losses, val_losses = np.empty(run.epochs), np.empty(run.epochs)
    _train(np.array(run.layers), weights, corpus.x, corpus.y, corpus.val_x, corpus.val_y,
           corpus.orders, run.batch, run.registers, run.slope == "original",
           run.update == "max-normalised", run.rate, losses, val_losses)
    return History(losses, val_losses, weights)


class Compiled:
    """The form, to be compared with the others; parameters as of
    :class:`~tangente.study.plain.Plain`."""

    def __init__(self, layers: tuple[int, ...], registers: int = 0, slope: str = "right") -> None:
        self._layers = np.array(layers)
        self._registers = registers
        self._original = slope == "original"

    def gradient(self, weights: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """See :class:`~tangente.study.network.Form`."""
        result = np.empty(len(weights))
        loss = _gradient(self._layers, weights, x, y, np.arange(len(x)), self._registers,
                         self._original, result)
        return loss, result

    def loss(self, weights: Floats, x: Floats, y: Floats) -> float:
        """See :class:`~tangente.study.network.Form`."""
        return float(_loss(self._layers, weights, x, y))
