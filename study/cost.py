"""What a training step costs in products, weight reads and register traffic, in closed form.

Counted for one batch of a dense net with sigmoid or ReLU hidden layers, linear outputs and squared
error, nothing skipped; :mod:`tangente.study.counting` runs every algorithm and counts the same. A
*product* is a multiplication or a division; sums, comparisons and exponentials are not counted, nor
is a product with a constant one (a bias, a one-hot input). The rate takes one a weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import accumulate

__all__ = ["ALGORITHMS", "Cost", "cost", "neuron_registers", "weight_registers"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Counts of one batch.

    Members
    -------
    products : multiplications and divisions.
    weight_reads, weight_writes : of weights without biases, an auxiliary net's included; a read
        serves all that is done with the weight at that moment.
    feedback_reads : of fixed feedback matrices.
    register_reads, register_writes : (id, value) pairs; a list that is broadcast to the neurons of
        a layer is read once.
    offers : candidates that the registers choose from.
    kept : values of one sample that wait for a backward pass.
    """

    products: int
    weight_reads: int
    weight_writes: int
    feedback_reads: int = 0
    register_reads: int = 0
    register_writes: int = 0
    offers: int = 0
    kept: int = 0


def _sizes(layers: tuple[int, ...]) -> tuple[list[int], int, int]:
    """Weights of each layer, hidden neurons, weights and biases."""
    if len(layers) < 2 or min(layers) < 1:
        raise ValueError("layers must be two or more widths of at least 1, not "
                         f"{'-'.join(map(str, layers))}")
    matrices = [a * b for a, b in zip(layers, layers[1:])]
    return matrices, sum(layers[1:-1]), sum(matrices) + sum(layers[1:])


def weight_registers(layers: tuple[int, ...], keep: int) -> list[int]:
    """Derivatives that a neuron of each layer holds, by weights: at most all that there are."""
    below = accumulate((a + 1) * b for a, b in zip((-1, *layers), layers))
    every = [inputs + 1 + lower for inputs, lower in zip(layers, below)][:len(layers) - 1]
    return [min(keep, count) if keep else count for count in every]


def neuron_registers(layers: tuple[int, ...], keep: int) -> list[int]:
    """The same by hidden neurons of the layers below: none in the first layer."""
    every = [0, *accumulate(layers[1:-1])]
    return [min(keep, count) if keep else count for count in every]


def _inference(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, _, _ = _sizes(layers)
    return Cost(batch * sum(matrices), batch * sum(matrices), 0)


def _bp(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, hidden, count = _sizes(layers)
    whole, upper = sum(matrices), sum(matrices[1:])
    # Forward, errors back, gradients; a slope and a product with it for each hidden neuron.
    return Cost(batch * (2 * whole + upper + 2 * hidden) + count, batch * (whole + upper) + whole,
                whole, kept=hidden)


def _fa(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, _, _ = _sizes(layers)
    whole, upper = sum(matrices), sum(matrices[1:])
    return dataclasses.replace(_bp(layers, batch, keep), weight_reads=(batch + 1) * whole,
                               feedback_reads=batch * upper)


def _sg(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, _, _ = _sizes(layers)
    base = _bp(layers, batch, keep)
    squares = sum(width * width for width in layers[1:-1])
    hidden, classes = sum(layers[1:-1]), layers[-1]
    matrix = 2 * squares + classes * hidden
    # Forward through two squares, back through one, gradients of both; a one-hot input picks a row.
    return dataclasses.replace(
        base, products=base.products + 5 * batch * squares + matrix + 3 * hidden,
        weight_reads=base.weight_reads + batch * (3 * squares + hidden) + matrix,
        weight_writes=base.weight_writes + matrix, kept=max(layers[1:-1], default=0))


def _hsic(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, _, count = _sizes(layers)
    m, pairs = batch, batch * (batch - 1) // 2
    centred, inverse = m + 1, m**3
    # Kernels of the inputs and of the classes, what they have in common, once a batch.
    products = pairs * (layers[0] + 1) + 2 * (centred + inverse + m * m) + m * m
    for matrix, width in zip(matrices, layers[1:]):
        products += m * matrix + 2 * m * width + 3 * width          # product, normalisation
        products += pairs * (width + 1) + centred + inverse         # kernel, inverse
        products += 2 * m**3 + m * m + centred                      # gradient by the kernel
        products += m * (m - 1) * (width + 2)                       # by the activations
        products += 3 * m * width + 2 * width + m * matrix          # by the sums, by the weights
    # Rate and decay.
    return Cost(products + 2 * count, (m + 1) * sum(matrices), sum(matrices),
                kept=2 * max(layers[1:]))


def _weights(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, hidden, count = _sizes(layers)
    held = weight_registers(layers, keep)
    lists = [neurons * k for neurons, k in zip(layers[1:], held)]
    deep = sum(below * (1 + neurons) for below, neurons in zip(lists, layers[2:]))
    offers = sum(neurons * (inputs + 1) for inputs, neurons in zip(layers, layers[1:])) + sum(
        below * neurons for below, neurons in zip(lists, layers[2:]))
    return Cost(batch * (sum(matrices) + hidden + deep + lists[-1]) + count,
                (batch + 1) * sum(matrices), sum(matrices), 0, batch * sum(lists),
                batch * sum(lists), batch * offers)


def _neurons(layers: tuple[int, ...], batch: int, keep: int) -> Cost:
    matrices, hidden, count = _sizes(layers)
    held = neuron_registers(layers, keep)
    lists = [neurons * k for neurons, k in zip(layers[1:], held)]
    derivatives = sum(matrix * (1 + k) for matrix, k in zip(matrices[1:], held))
    return Cost(batch * (2 * sum(matrices) + hidden + derivatives + lists[-1]) + count,
                (batch + 1) * sum(matrices), sum(matrices), 0, batch * sum(lists),
                batch * sum(lists), batch * derivatives, kept=hidden)


#: Name to closed form; "lazy" offers depend on the data and are only measured.
ALGORITHMS: dict[str, Callable[[tuple[int, ...], int, int], Cost]] = {
    "inference": _inference, "BP": _bp, "FA": _fa, "SG": _sg, "HSIC": _hsic,
    "DPFM, weight registers, naive": _weights, "DPFM, neuron registers": _neurons,
}


def cost(algorithm: str, layers: tuple[int, ...], *, batch: int = 10, keep: int = 16) -> Cost:
    """One batch of ``algorithm``, a key of :data:`ALGORITHMS`; ``keep`` is K, 0 for all.

    Raises
    ------
    ValueError
        If there is no such algorithm, or a number is out of range.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, not {algorithm!r}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch!r}")
    if keep < 0:
        raise ValueError(f"keep must be at least 0, not {keep!r}")
    return ALGORITHMS[algorithm](layers, batch, keep)
