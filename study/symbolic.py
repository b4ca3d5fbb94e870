"""Ladder 1: the net in symbols, its derivatives written out by the rules of forward mode.

Every neuron's derivatives are sums of products of its weights, the slopes below and the derivatives
below: a straight list of assignments, which SymPy makes into a function. It has no registers: which
derivatives are the largest depends on the values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from .network import Floats, places

__all__ = ["Program", "Symbolic", "program"]


class Program:
    """Symbols and assignments of a net of ``layers``.

    Members
    -------
    weights, inputs, target : symbols.
    steps : (symbol, expression) in the order of computation.
    loss, gradient : expressions in those symbols, of one sample.
    """

    def __init__(self, layers: tuple[int, ...]) -> None:
        numbers = places(layers)
        self.weights = sympy.symbols(f"w:{1 + numbers[-1][-1][-1]}", real=True)
        self.inputs = sympy.symbols(f"x:{layers[0]}", real=True)
        self.target = sympy.Symbol("y", real=True)
        self.steps: list[tuple[sympy.Symbol, sympy.Expr]] = []
        values: list[sympy.Expr] = list(self.inputs)
        slopes: list[sympy.Expr] = [sympy.Integer(1)] * len(values)
        derivatives: list[dict[int, sympy.Expr]] = [{} for _ in values]
        for layer, places_of in enumerate(numbers):
            sums, below = [], derivatives
            derivatives = []
            for neuron, (*own, bias) in enumerate(places_of):
                name = f"{layer}_{neuron}"
                products = [self.weights[i] * value for i, value in zip(own, values)]
                sums.append(self._assign(f"z{name}", sympy.Add(*products, self.weights[bias])))
                parts: dict[int, list[sympy.Expr]] = {}
                for i, slope, lower in zip(own, slopes, below):
                    for j, derivative in lower.items():
                        parts.setdefault(j, []).append(self.weights[i] * slope * derivative)
                mine = {j: self._assign(f"d{name}_{j}", sympy.Add(*terms))
                        for j, terms in parts.items()}
                derivatives.append({**mine, **dict(zip(own, values)), bias: sympy.Integer(1)})
            if layer < len(numbers) - 1:
                values = [self._assign(f"a{layer}_{i}", 1 / (1 + sympy.exp(-z)))
                          for i, z in enumerate(sums)]
                slopes = [self._assign(f"s{layer}_{i}", a * (1 - a)) for i, a in enumerate(values)]
        error = sums[0] - self.target
        self.loss = error**2
        self.gradient = [2 * error * derivatives[0][i] for i in range(len(self.weights))]

    def _assign(self, name: str, expression: sympy.Expr) -> sympy.Symbol:
        symbol = sympy.Symbol(name, real=True)
        self.steps.append((symbol, expression))
        return symbol

    def composed(self, expression: sympy.Expr) -> sympy.Expr:
        """``expression`` in weights, inputs and target alone."""
        for symbol, value in reversed(self.steps):
            expression = expression.xreplace({symbol: value})
        return expression

    def function(self, *expressions: sympy.Expr) -> Callable[..., Any]:
        """NumPy's function of (weights, inputs, target) that computes them by the steps."""
        return sympy.lambdify((self.weights, self.inputs, self.target), list(expressions), "numpy",
                              cse=lambda wanted: (self.steps, wanted))


@functools.cache
def program(layers: tuple[int, ...]) -> Program:
    """The net of ``layers``, made once."""
    return Program(layers)


class Symbolic:
    """The form; all samples of a batch at once, by NumPy's arrays in the symbols' places."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        net = program(layers)
        self._gradient = net.function(net.loss, *net.gradient)
        self._loss = net.function(net.loss)

    def gradient(self, weights: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """See :class:`~tangente.study.network.Form`."""
        loss, *parts = self._gradient(weights, x.T, y)
        return float(np.mean(loss)), np.array([np.mean(part) for part in parts])

    def loss(self, weights: Floats, x: Floats, y: Floats) -> float:
        """See :class:`~tangente.study.network.Form`."""
        return float(np.mean(self._loss(weights, x.T, y)[0]))
