"""Calibration: where the binary points stand, measured on samples instead of taken from the table.

For each layer, in real numbers, with the initial weights: the largest weight, and of activations
and errors the magnitude that all but one in a thousand stay below. The ranges are these times a
margin for what training adds. A gain is a power of two, like everything else here; weights of eight
bits or fewer keep the table's gains, which are chosen for the size of a code's step and not for the
range (see :mod:`tangente.host.scales`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .network import Network
from .options import Options
from .targets import Targets

__all__ = ["Calibration", "LayerScale", "calibrate", "load_scales"]

#: Activations and errors beyond this quantile may saturate.
QUANTILE = 0.999
#: Room for what training adds to weights, activations and errors.
MARGINS = (4.0, 3.0, 2.0)

Reals = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LayerScale:
    """What was measured in one layer, and what follows.

    Members
    -------
    weight, activation, error : largest magnitudes; activation is None at the outputs.
    scale : (gain, fraction bits of activations, fraction bits of errors).
    default : the same as the table has it.
    """

    weight: float
    activation: float | None
    error: float
    scale: tuple[int, int, int]
    default: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The measurement of a network.

    Members
    -------
    options : of the network; ``dataclasses.replace(options, scales=calibration.scales)`` uses it.
    samples : how many were measured.
    layers : one for each layer of weights.
    """

    options: Options
    samples: int
    layers: tuple[LayerScale, ...]

    @property
    def scales(self) -> tuple[tuple[int, int, int], ...]:
        """For :attr:`tangente.host.options.Options.scales`."""
        return tuple(layer.scale for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The file that ``tangente train --scales`` reads; only ``scales`` is used."""
        return {"scales": [list(scale) for scale in self.scales], "samples": self.samples,
                "measured": [dataclasses.asdict(layer) for layer in self.layers]}

    def text(self) -> str:
        """A table for a person."""
        lines = [f"measured on {self.samples} samples, with the initial weights",
                 "layer   weights  gain (table)   activations  fraction (table)   errors  "
                 "fraction (table)"]
        for index, layer in enumerate(self.layers):
            (gain, active, error), (old_gain, old_active, old_error) = layer.scale, layer.default
            lines.append(
                f"{index + 1:>5}  {layer.weight:8.3f}  {gain:>4} {f'({old_gain})':>7}   "
                + (f"{layer.activation:11.3f}  {active:>8} {f'({old_active})':>7}   "
                   if layer.activation is not None else f"{'-':>11}  {'-':>8} {'':>7}   ")
                + f"{layer.error:6.3f}  {error:>8} {f'({old_error})':>7}")
        return "\n".join(lines)


def _fraction(reach: float, element_bits: int, limits: tuple[int, int]) -> int:
    """Most fraction bits with which an element reaches ``reach``."""
    low, high = limits
    if reach <= 0:
        return high
    return min(max(math.floor(element_bits - 1 - math.log2(reach)), low), high)


def _forward(network: Network, matrices: list[Reals], images: Reals) -> list[Reals]:
    """Activations of all layers, the logits last."""
    result, a = [], images
    for index, matrix in enumerate(matrices):
        z = a @ matrix
        if index == len(matrices) - 1:
            a = z
        elif network.options.activation == "sigmoid":
            a = 1 / (1 + np.exp(-z))
        else:
            a = np.maximum(z, 0)
        result.append(a)
    return result


def _errors(network: Network, back: list[Reals], activations: list[Reals],
            labels: Targets) -> list[Reals]:
    """Derivatives of each sample's loss by the sums of all layers.

    Those of hidden layers come back through the matrices ``back``.
    """
    logits = activations[-1]
    if network.options.loss == "mse":
        error = logits - labels
    else:
        shares = np.exp(logits - logits.max(1, keepdims=True))
        error = shares / shares.sum(1, keepdims=True)
        error[np.arange(len(labels)), labels] -= 1
    result = [error]
    for index in range(len(back) - 1, 0, -1):
        a = activations[index - 1]
        slope = a * (1 - a) if network.options.activation == "sigmoid" else (a > 0).astype(float)
        error = (error @ back[index].T) * slope
        result.append(error)
    return result[::-1]


def calibrate(options: Options, images: npt.NDArray[np.uint8], labels: Targets) -> Calibration:
    """Measure the ranges of a network's layers on ``images`` (samples, inputs) and ``labels``.

    ``labels`` are class numbers (samples,), or for the loss "mse" targets (samples, outputs).

    Raises
    ------
    ValueError
        If the images have another width than the network's inputs, or there are none.
    """
    if images.ndim != 2 or len(images) == 0 or images.shape[1] != options.layers[0]:
        raise ValueError(f"images must have shape (samples, {options.layers[0]}), "
                         f"not {images.shape!r}")
    options = dataclasses.replace(options, scales=None)
    network = Network(options, options.config)
    table, bits = network.scales, options.config.element_bits
    slots, _ = network.initial()
    matrices = [network.weights(slots, layer) for layer in network.layers]
    activations = _forward(network, matrices, images / 256)
    back = [network.feedback(slots, layer) for layer in network.layers]
    errors = _errors(network, back, activations, labels)
    layers = []
    for layer, matrix, active, error in zip(network.layers, matrices, activations, errors):
        index, last = layer.index, layer.index == len(matrices) - 1
        sizes = (float(np.abs(matrix).max()), float(np.quantile(active, QUANTILE)),
                 float(np.quantile(np.abs(error), QUANTILE)))
        gain = table.gain(index)
        if options.bits > 8:
            gain = min(max(math.ceil(math.log2(MARGINS[0] * max(sizes[0], 2.0 ** -8))), -4), 3)
        default = (table.gain(index), min(table.activation(index), 10), table.error(index))
        scale = (gain, _fraction(MARGINS[1] * sizes[1], bits, (0, 10)),
                 _fraction(MARGINS[2] * sizes[2], bits, (4, 12)))
        if last:
            scale = (gain, *default[1:])
        layers.append(LayerScale(sizes[0], None if last else sizes[1], sizes[2], scale, default))
    return Calibration(options, len(images), tuple(layers))


def load_scales(path: Path) -> tuple[tuple[int, int, int], ...]:
    """The scales of a file that ``tangente calibrate --json`` wrote, perhaps edited since.

    Raises
    ------
    ValueError
        If it has none.
    OSError
        If it cannot be read.
    """
    try:
        scales = json.loads(path.read_text(encoding="utf-8"))["scales"]
        return tuple((int(gain), int(active), int(error)) for gain, active, error in scales)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} must hold "scales", one [gain, activation, error] a layer: write '
                         f"it with tangente calibrate --json ({error})") from None
