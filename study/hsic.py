"""One counted step of the HSIC bottleneck: every layer learns by itself, without errors from above.

Layer: Linear, BatchNorm without parameters, ReLU; its loss is nHSIC(h, x) - 500 nHSIC(h, y), with
Gaussian kernels exp(-D / (2 sigma^2 d)), nHSIC = sum(R_h R_x^T), R = Kc (Kc + 1e-5 m I)^-1 for a
batch of m (W.-D. Ma, J. Lewis, W. Kleijn, "The HSIC bottleneck: deep learning without
back-propagation", 2020; constants of the thesis). R = I - c (Kc + c I)^-1: one inverse is enough.
"""

from __future__ import annotations

import math

from .counting import BALANCE, DECAY, EPSILON, SIGMA, Matrix, Meter, Net
from .network import Floats

__all__ = ["step"]


def _kernel(meter: Meter, rows: Matrix) -> Matrix:
    """The Gaussian kernel of the rows."""
    count, scale = len(rows), -1 / (2 * SIGMA * SIGMA * len(rows[0]))
    kernel = [[1.0] * count for _ in rows]
    for i in range(count):
        for j in range(i):
            gaps = [a - b for a, b in zip(rows[i], rows[j])]
            kernel[i][j] = kernel[j][i] = math.exp(meter.times(scale, meter.dot(gaps, gaps)))
    return kernel


def _label_kernel(targets: Matrix) -> Matrix:
    """The same of one-hot rows, whose distances are 0 and 2: two values, known beforehand."""
    other = math.exp(-2 / (2 * SIGMA * SIGMA * len(targets[0])))
    return [[1.0 if a == b else other for b in targets] for a in targets]


def _centre(meter: Meter, matrix: Matrix) -> Matrix:
    """H M H of a symmetric matrix."""
    means = [meter.times(sum(row), 1 / len(row)) for row in matrix]
    mean = meter.times(sum(means), 1 / len(means))
    return [[value - means[i] - means[j] + mean for j, value in enumerate(row)]
            for i, row in enumerate(matrix)]


def _inverse(meter: Meter, kernel: Matrix, shift: float) -> Matrix:
    """(kernel + shift I)^-1 by Gauss and Jordan, in place; a positive matrix needs no pivoting."""
    a = [row.copy() for row in kernel]
    count = len(a)
    for i in range(count):
        a[i][i] += shift
    for p in range(count):
        scale = meter.times(1.0, 1 / a[p][p])
        a[p] = [meter.times(v, scale) if j != p else scale for j, v in enumerate(a[p])]
        for i in range(count):
            if i != p:
                factor, a[i][p] = a[i][p], 0.0
                a[i] = [v - meter.times(factor, w) for v, w in zip(a[i], a[p])]
    return a


def _dependence(meter: Meter, inverse: Matrix, shift: float) -> Matrix:
    """R = I - shift inverse."""
    return [[(i == j) - meter.times(shift, v) for j, v in enumerate(row)]
            for i, row in enumerate(inverse)]


def _product(meter: Meter, a: Matrix, b: Matrix) -> Matrix:
    columns = list(zip(*b))
    return [[meter.dot(row, column) for column in columns] for row in a]


def step(net: Net, x: Floats, y: Floats, rate: float = 0.1) -> tuple[Meter, list[Matrix]]:
    """The gradients of every layer's own loss (without the decay, which the step adds)."""
    meter, count = Meter(), len(x)
    shift = EPSILON * count
    pulls = []
    for kernel in (_kernel(meter, x.tolist()), _label_kernel(y.tolist())):
        inverse = _inverse(meter, _centre(meter, kernel), shift)
        pulls.append(_dependence(meter, inverse, shift))
    pull = [[a - meter.times(BALANCE, b) for a, b in zip(*rows)] for rows in zip(*pulls)]
    values, gradients = x.tolist(), []
    for matrix, biases in zip(net.matrices, net.biases):
        width = len(matrix)
        sums = [[meter.dot(row, value) + bias for row, bias in zip(matrix, biases)]
                for value in values]
        meter.see("weight_reads", count * sum(map(len, matrix)))
        columns = list(zip(*sums))
        means = [meter.times(sum(column), 1 / count) for column in columns]
        gaps = [[z - mean for z in column] for column, mean in zip(columns, means)]
        scales = [meter.times(1.0, 1 / math.sqrt(meter.times(meter.dot(gap, gap), 1 / count)
                                                 + 1e-5)) for gap in gaps]
        normal = [[meter.times(g, scale) for g in gap] for gap, scale in zip(gaps, scales)]
        outputs = [[max(v, 0.0) for v in row] for row in zip(*normal)]
        kernel = _kernel(meter, outputs)
        inverse = _inverse(meter, _centre(meter, kernel), shift)
        # dR = c V dKc V, and the centring is its own transpose.
        inner = _product(meter, _product(meter, inverse, pull), inverse)
        by_kernel = _centre(meter, [[meter.times(shift, v) for v in row] for row in inner])
        scale = -2 / (SIGMA * SIGMA * width)
        by_output = [[0.0] * width for _ in values]
        for i in range(count):
            for j in range(count):
                if i != j:
                    part = meter.times(scale, meter.times(by_kernel[i][j], kernel[i][j]))
                    for d in range(width):
                        by_output[i][d] += meter.times(part, outputs[i][d] - outputs[j][d])
        errors = []
        for column, norm, factor in zip(zip(*by_output), normal, scales):
            live = [g if v > 0 else 0.0 for g, v in zip(column, norm)]
            mean = meter.times(sum(live), 1 / count)
            slant = meter.times(meter.dot(live, norm), 1 / count)
            errors.append([meter.times(factor, g - mean - meter.times(v, slant))
                           for g, v in zip(live, norm)])
        gradient = [[0.0] * len(row) for row in matrix]
        for neuron, by_sample in enumerate(errors):
            for error, value in zip(by_sample, values):
                for i, activation in enumerate(value):
                    gradient[neuron][i] += meter.times(error, activation)
        gradients.append(gradient)
        decayed = [[g + meter.times(DECAY, w) for g, w in zip(part, row)]
                   for part, row in zip(gradient, matrix)]
        bias_gradient = [sum(column) + meter.times(DECAY, b) for column, b in zip(errors, biases)]
        meter.update(matrix, decayed, rate, biases, bias_gradient)
        values = outputs
    meter.see("kept", 2 * max(net.layers[1:]))
    return meter, gradients
