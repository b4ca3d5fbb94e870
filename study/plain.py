"""Ladder 2: the net in plain Python, on :mod:`tangente.golden.autofore`."""

from __future__ import annotations

import math

import numpy as np

from tangente.golden.autofore import AutoFore, Operand, Variable

from .network import Floats, places

__all__ = ["Plain"]


class Plain:
    """The form.

    Parameters
    ----------
    layers : widths from inputs to outputs.
    registers : K; 0 for all.
    slope : of the sigmoid.
    """

    def __init__(self, layers: tuple[int, ...], registers: int = 0, slope: str = "right") -> None:
        self.graph = AutoFore(registers, slope=slope)
        self._places = [part.tolist() for part in places(layers)]
        for _ in range(self._places[-1][-1][-1] + 1):
            self.graph.var().derivable()

    def _output(self, x: list[float]) -> Variable:
        values: list[Operand] = list(x)
        for layer, neurons in enumerate(self._places):
            sums = [self.graph.neuron([self.graph.weights[i] for i in own], values,
                                      self.graph.weights[bias]) for *own, bias in neurons]
            if layer == len(self._places) - 1:
                return sums[0]
            values = [z.sigmoid() for z in sums]
        raise ValueError("the net has no layer of weights")

    def gradient(self, weights: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """See :class:`~tangente.study.network.Form`."""
        for weight, value in zip(self.graph.weights, weights):
            weight.value = float(value)
        loss = self.graph.val(0)
        for sample, target in zip(x.tolist(), y.tolist()):
            error = self._output(sample) - target
            loss = loss + error * error
        loss = loss / len(x)
        return loss.value, self.graph.gradient(loss)

    def loss(self, weights: Floats, x: Floats, y: Floats) -> float:
        """See :class:`~tangente.study.network.Form`; no derivative is made."""
        flat, total = weights.tolist(), 0.0
        for sample, target in zip(x.tolist(), y.tolist()):
            values = sample
            for layer, neurons in enumerate(self._places):
                sums = [sum(flat[i] * v for i, v in zip(own, values)) + flat[bias]
                        for *own, bias in neurons]
                values = sums if layer == len(self._places) - 1 else [
                    1 / (1 + math.exp(-z)) for z in sums]
            total += (values[0] - target) ** 2
        return float(np.float64(total) / len(x))
