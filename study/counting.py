"""Every algorithm of :mod:`tangente.study.cost` as a plain program that counts what it does.

Each makes one batch's gradients, which tests hold to PyTorch, and changes the weights by plain SGD.
Plain loops: for small nets.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tangente.golden.autofore import largest

from .cost import Cost
from .network import Floats

__all__ = ["COUNTED", "Meter", "Net", "backward", "hsic", "lazy", "neurons", "synthetic", "weights"]

Matrix = list[list[float]]
List = list[tuple[int, float]]
#: As the thesis has them: kernel width, weight of the classes, of the regularisation, weight decay.
SIGMA, BALANCE, EPSILON, DECAY = 5.0, 500.0, 1e-5, 1e-3


class Meter:
    """Counts; its members are those of :class:`~tangente.study.cost.Cost`."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((field.name for field in dataclasses.fields(Cost)), 0)

    def times(self, a: float, b: float) -> float:
        """a b."""
        self.counts["products"] += 1
        return a * b

    def dot(self, a: Sequence[float], b: Sequence[float]) -> float:
        """The sum of products."""
        total = 0.0
        for x, y in zip(a, b):
            total += self.times(x, y)
        return total

    def see(self, what: str, count: int = 1) -> None:
        """Count ``count`` of ``what``."""
        self.counts[what] += count

    def read(self, matrix: Matrix) -> Matrix:
        """Read a whole matrix of weights."""
        self.see("weight_reads", sum(map(len, matrix)))
        return matrix

    def slope(self, s: float) -> float:
        """s (1 - s)."""
        return self.times(s, 1 - s)

    def update(self, matrix: Matrix, gradient: Matrix, rate: float, biases: list[float],
               bias_gradient: Sequence[float]) -> None:
        """Plain SGD of a layer."""
        self.read(matrix)
        self.see("weight_writes", sum(map(len, matrix)))
        for row, part in zip(matrix, gradient):
            for i, g in enumerate(part):
                row[i] -= self.times(rate, g)
        for i, g in enumerate(bias_gradient):
            biases[i] -= self.times(rate, g)

    def cost(self) -> Cost:
        """What has been counted."""
        return Cost(**self.counts)


class Net:
    """A dense net: matrices[l][neuron][input], biases[l][neuron], and its feedback matrices."""

    def __init__(self, layers: tuple[int, ...], seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.layers = layers
        self.matrices: list[Matrix] = [draw.normal(0, a**-0.5, (b, a)).tolist()
                                       for a, b in zip(layers, layers[1:])]
        self.feedback: list[Matrix] = [draw.normal(0, a**-0.5, (b, a)).tolist()
                                       for a, b in zip(layers, layers[1:])]
        self.biases = [draw.normal(0, 0.1, b).tolist() for b in layers[1:]]

    def forward(self, meter: Meter, x: Sequence[float]) -> list[list[float]]:
        """Activations of every layer, the inputs first; the last is linear."""
        values = [list(x)]
        for matrix, biases in zip(self.matrices, self.biases):
            sums = [meter.dot(row, values[-1]) + bias
                    for row, bias in zip(meter.read(matrix), biases)]
            values.append(sums if len(values) == len(self.matrices) else [
                1 / (1 + math.exp(-z)) for z in sums])
        return values


def _zeros(matrices: Sequence[Matrix]) -> list[Matrix]:
    return [[[0.0] * len(row) for row in matrix] for matrix in matrices]


def _outer(meter: Meter, gradient: Matrix, errors: Sequence[float], values: Sequence[float]
           ) -> None:
    for row, error in zip(gradient, errors):
        for i, value in enumerate(values):
            row[i] += meter.times(error, value)


def _step(meter: Meter, net: Net, gradients: list[Matrix], biases: list[list[float]], rate: float
          ) -> None:
    for matrix, gradient, bias, bias_gradient in zip(net.matrices, gradients, net.biases, biases):
        meter.update(matrix, gradient, rate, bias, bias_gradient)


def inference(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """Forward alone."""
    meter = Meter()
    for sample in x.tolist():
        net.forward(meter, sample)
    return meter, []


def backward(net: Net, x: Floats, y: Floats, keep: int = 0, *, aligned: bool = False
             ) -> tuple[Meter, list[Matrix]]:
    """Backpropagation of half the squared error, or feedback alignment if ``aligned``."""
    meter, gradients = Meter(), _zeros(net.matrices)
    biases = [[0.0] * len(b) for b in net.biases]
    for sample, target in zip(x.tolist(), y.tolist()):
        values = net.forward(meter, sample)
        errors = [z - t for z, t in zip(values[-1], target)]
        for layer in reversed(range(len(net.matrices))):
            _outer(meter, gradients[layer], errors, values[layer])
            biases[layer] = [b + e for b, e in zip(biases[layer], errors)]
            if layer:
                if aligned:
                    matrix = net.feedback[layer]
                    meter.see("feedback_reads", sum(map(len, matrix)))
                else:
                    matrix = meter.read(net.matrices[layer])
                errors = [meter.times(meter.dot(column, errors), meter.slope(s))
                          for column, s in zip(zip(*matrix), values[layer])]
    meter.see("kept", sum(net.layers[1:-1]))
    _step(meter, net, gradients, biases, 0.1)
    return meter, gradients


def synthetic(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """Decoupled neural interfaces (M. Jaderberg et al., 2017) as the thesis has them: behind every
    hidden layer a net of two squares and a one-hot input guesses the gradient; it is trained to the
    gradient that comes from above. The first gradients are those of the net's weights."""
    meter, gradients = Meter(), _zeros(net.matrices)
    biases = [[0.0] * len(b) for b in net.biases]
    draw = np.random.default_rng(1)
    nets = []
    for width in net.layers[1:-1]:
        shapes = ((width, width), (width, net.layers[-1]), (width, width))
        first, labels, second = (draw.normal(0, width**-0.5, shape).tolist() for shape in shapes)
        nets.append({"first": first, "labels": labels, "second": second,
                     "b": [[0.0] * width for _ in range(3)],
                     "g": _zeros((first, labels, second)), "gb": [[0.0] * width] * 3})
    for sample, target in zip(x.tolist(), y.tolist()):
        values = net.forward(meter, sample)
        label = int(np.argmax(target))
        guesses, inner = [], []
        for part, a in zip(nets, values[1:-1]):
            meter.see("weight_reads", len(a))
            u = [max(meter.dot(row, a) + labels[label] + b + c, 0.0) for row, labels, b, c in zip(
                meter.read(part["first"]), part["labels"], *part["b"][:2])]
            inner.append(u)
            guesses.append([meter.dot(row, u) + b
                            for row, b in zip(meter.read(part["second"]), part["b"][2])])
        deltas = [[meter.times(g, meter.slope(s)) for g, s in zip(guess, a)]
                  for guess, a in zip(guesses, values[1:])]
        deltas.append([z - t for z, t in zip(values[-1], target)])
        for layer, delta in enumerate(deltas):
            _outer(meter, gradients[layer], delta, values[layer])
            biases[layer] = [b + d for b, d in zip(biases[layer], delta)]
            if not layer:
                continue
            part, u = nets[layer - 1], inner[layer - 1]
            true = [meter.dot(column, delta) for column in zip(*meter.read(net.matrices[layer]))]
            wrong = [g - t for g, t in zip(guesses[layer - 1], true)]
            _outer(meter, part["g"][2], wrong, u)
            back = [meter.dot(column, wrong) if live else meter.dot(column, wrong) * 0.0
                    for column, live in zip(zip(*meter.read(part["second"])), u)]
            _outer(meter, part["g"][0], back, values[layer])
            for row, b in zip(part["g"][1], back):
                row[label] += b
            part["gb"] = [[p + q for p, q in zip(old, new)]
                          for old, new in zip(part["gb"], (back, back, wrong))]
    meter.see("kept", max(net.layers[1:-1], default=0))
    _step(meter, net, gradients, biases, 0.1)
    for part in nets:
        for name, gradient, b, gb in zip(("first", "labels", "second"), part["g"], part["b"],
                                         part["gb"]):
            meter.update(part[name], gradient, 0.1, b, gb)
    return meter, gradients


def weights(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """DPFM with registers of weights: a neuron keeps the ``keep`` largest of its derivatives."""
    return _by_weights(net, x, y, keep, _select)


def lazy(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """The same with lazy offers: every list is sorted, so one whose entry was rejected is over.
    Lists take turns; equal ids are summed where they are held, what was evicted does not return."""
    return _by_weights(net, x, y, keep, _offer_lazily)


def _by_weights(net: Net, x: Floats, y: Floats, keep: int, select: Callable[..., List]
                ) -> tuple[Meter, list[Matrix]]:
    meter, flat = Meter(), np.zeros(sum((a + 1) * b for a, b in zip(net.layers, net.layers[1:])))
    for sample, target in zip(x.tolist(), y.tolist()):
        values, first = net.forward(meter, sample), 0
        lists: list[List] = [[] for _ in sample]
        for layer, matrix in enumerate(net.matrices):
            scaled = [[(i, meter.times(slope, g)) for i, g in entries]
                      for entries, slope in zip(lists, _slopes(meter, values, layer))]
            meter.see("register_reads", sum(map(len, scaled)))
            above = []
            for row in matrix:
                own = [(first + i, a) for i, a in enumerate((*values[layer], 1.0))]
                above.append(select(meter, row, own, scaled, keep))
                first += len(own)
            meter.see("register_writes", sum(map(len, above)))
            lists = above
        meter.see("register_reads", sum(map(len, lists)))
        for z, t, entries in zip(values[-1], target, lists):
            for i, g in entries:
                flat[i] += meter.times(z - t, g)
    gradients, biases, first = _zeros(net.matrices), [[0.0] * len(b) for b in net.biases], 0
    for gradient, bias in zip(gradients, biases):
        for neuron, row in enumerate(gradient):
            row[:] = flat[first:first + len(row)].tolist()
            bias[neuron] = float(flat[first + len(row)])
            first += len(row) + 1
    _step(meter, net, gradients, biases, 0.1)
    return meter, gradients


def _slopes(meter: Meter, values: list[list[float]], layer: int) -> list[float]:
    return [meter.slope(s) for s in values[layer]] if layer else [1.0] * len(values[0])


def _select(meter: Meter, row: list[float], own: List, scaled: list[List], keep: int) -> List:
    """All candidates, exact sums, the largest."""
    sums = dict(own)
    meter.see("offers", len(own) + sum(map(len, scaled)))
    for w, entries in zip(row, scaled):
        for i, g in entries:
            sums[i] = sums.get(i, 0.0) + meter.times(w, g)
    return largest(sorted(sums.items()), keep)


def _offer_lazily(meter: Meter, row: list[float], own: List, scaled: list[List], keep: int) -> List:
    """One entry of a list a turn; every offer of a list below reads its weight again."""
    held: dict[int, float] = {}
    turns = [(None, iter(largest(own, 0)))]
    turns += [(w, iter(entries)) for w, entries in zip(row, scaled)]  # type: ignore[misc]
    while turns:
        going = []
        for w, entries in turns:
            entry = next(entries, None)
            if entry is None:
                continue
            identity, value = entry
            if w is not None:
                meter.see("weight_reads")
                value = meter.times(w, value)
            meter.see("offers")
            if identity in held:
                held[identity] += value
            elif not keep or len(held) < keep:
                held[identity] = value
            else:
                least = min(held, key=lambda i: (abs(held[i]), -i))
                if abs(value) <= abs(held[least]):
                    continue
                del held[least]
                held[identity] = value
            going.append((w, entries))
        turns = going
    return largest(sorted(held.items()), keep)


def neurons(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """DPFM with registers of neurons: dz_h / dz_id; a weight's derivative is its neuron's times its
    input."""
    meter, gradients = Meter(), _zeros(net.matrices)
    biases = [[0.0] * len(b) for b in net.biases]
    starts = [sum(net.layers[1:layer + 1]) for layer in range(len(net.layers))]
    for sample, target in zip(x.tolist(), y.tolist()):
        values = net.forward(meter, sample)
        lists: list[List] = [[] for _ in range(net.layers[1])]
        for layer in range(1, len(net.matrices)):
            slopes = [meter.slope(s) for s in values[layer]]
            meter.see("register_reads", sum(map(len, lists)))
            above = []
            for row in net.matrices[layer]:
                sums: dict[int, float] = {}
                for j, (w, slope) in enumerate(zip(row, slopes)):
                    factor = meter.times(w, slope)
                    sums[starts[layer - 1] + j] = factor
                    for i, g in lists[j]:
                        sums[i] = sums.get(i, 0.0) + meter.times(factor, g)
                    meter.see("offers", 1 + len(lists[j]))
                above.append(largest(sorted(sums.items()), keep))
            meter.see("register_writes", sum(map(len, above)))
            lists = above
        meter.see("register_reads", sum(map(len, lists)))
        errors = [0.0] * starts[-1]
        outputs = [z - t for z, t in zip(values[-1], target)]
        errors[starts[-2]:] = outputs
        for error, entries in zip(outputs, lists):
            for i, g in entries:
                errors[i] += meter.times(error, g)
        for layer, values_below in enumerate(values[:-1]):
            part = errors[starts[layer]:starts[layer + 1]]
            _outer(meter, gradients[layer], part, values_below)
            biases[layer] = [b + e for b, e in zip(biases[layer], part)]
    meter.see("kept", sum(net.layers[1:-1]))
    _step(meter, net, gradients, biases, 0.1)
    return meter, gradients


def hsic(net: Net, x: Floats, y: Floats, keep: int = 0) -> tuple[Meter, list[Matrix]]:
    """The HSIC bottleneck (W.-D. Ma et al., 2020) as the thesis has it, see
    :mod:`tangente.study.hsic`."""
    from .hsic import step as hsic_step

    return hsic_step(net, x, y)


#: Programs by the names of :data:`tangente.study.cost.ALGORITHMS`, and the one without a formula.
COUNTED: dict[str, Any] = {
    "inference": inference, "BP": backward,
    "FA": lambda net, x, y, keep=0: backward(net, x, y, aligned=True), "SG": synthetic,
    "HSIC": hsic, "DPFM, weight registers, naive": weights, "DPFM, weight registers, lazy": lazy,
    "DPFM, neuron registers": neurons,
}
