"""Ladder 3: the net in NumPy, all samples of a batch and all neurons of a layer at once."""

from __future__ import annotations

import numpy as np

from .network import Floats, places

__all__ = ["Arrays", "prune"]


def prune(derivatives: Floats, keep: int) -> None:
    """Set all but the ``keep`` largest magnitudes along the last axis to zero, in place.

    Ties go to the lowest index; 0 keeps all.
    """
    if 0 < keep < derivatives.shape[-1]:
        order = np.argsort(-np.abs(derivatives), axis=-1, kind="stable")
        np.put_along_axis(derivatives, order[..., keep:], 0.0, axis=-1)


class Arrays:
    """The form; parameters as of :class:`~tangente.study.plain.Plain`."""

    def __init__(self, layers: tuple[int, ...], registers: int = 0, slope: str = "right") -> None:
        self._places = places(layers)
        self._count = int(self._places[-1][-1][-1]) + 1
        self._registers = registers
        self._original = slope == "original"

    def gradient(self, weights: Floats, x: Floats, y: Floats) -> tuple[float, Floats]:
        """See :class:`~tangente.study.network.Form`."""
        values = x
        # (samples, neurons below, weights): d value / d weight.
        below = np.zeros((*x.shape, self._count))
        for layer, own in enumerate(self._places):
            matrix = weights[own]
            sums = values @ matrix[:, :-1].T + matrix[:, -1]
            derivatives = np.einsum("hj,bjw->bhw", matrix[:, :-1], below)
            neurons = np.arange(len(own))[:, None]
            derivatives[:, neurons, own[:, :-1]] = values[:, None, :]
            derivatives[:, neurons[:, 0], own[:, -1]] = 1.0
            prune(derivatives, self._registers)
            if layer == len(self._places) - 1:
                break
            values = 1 / (1 + np.exp(-sums))
            slope = (1 / (4 * np.cosh(values / 2) ** 2) if self._original
                     else values * (1 - values))
            below = slope[:, :, None] * derivatives
        error = sums[:, 0] - y
        return float(np.mean(error**2)), 2 * error @ derivatives[:, 0] / len(y)

    def loss(self, weights: Floats, x: Floats, y: Floats) -> float:
        """See :class:`~tangente.study.network.Form`."""
        values = x
        for layer, own in enumerate(self._places):
            matrix = weights[own]
            sums = values @ matrix[:, :-1].T + matrix[:, -1]
            values = 1 / (1 + np.exp(-sums)) if layer < len(self._places) - 1 else sums
        return float(np.mean((values[:, 0] - y) ** 2))
