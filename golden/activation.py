"""Activations and their slopes, as elements.

ReLU: a = clamp(z, 0, 255); slope 1 where a > 0. Sigmoid: a table of 1024 entries over [-8, 8) in
steps of 1/64, a in units of 1/256 and at most 255; it differs from the exact sigmoid by at most
1.01/256 (half a unit of rounding, a quarter of a unit for half a step of z, the clamp at 255). Its
slope is a (1 - a), in units of 1/1024: (a (256 - a) + 32) >> 6, at most 255.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from .config import Config
from .formats import Integers
from .isa import SIGMOID_ENTRIES

__all__ = ["sigmoid_table", "activate", "slope", "SIGMOID_FRACTION", "SLOPE_FRACTION"]

#: Fraction bits of z at the sigmoid's table, of its activation, and of its slope.
SIGMOID_Z_FRACTION = 6
SIGMOID_FRACTION = 8
SLOPE_FRACTION = 10


@functools.lru_cache
def sigmoid_table(element_bits: int = 9) -> Integers:
    """The (1024,) table of round(2^(E-1) sigmoid((i - 512) / 64)), E = ``element_bits``."""
    z = (np.arange(SIGMOID_ENTRIES) - SIGMOID_ENTRIES // 2) / 64
    scale = 1 << (element_bits - 1)
    return np.minimum(np.rint(scale / (1 + np.exp(-z))), scale - 1).astype(np.int64)


def activate(z: Integers, sigmoid: bool, config: Config) -> tuple[Integers, int]:
    """Activations of ``z`` (already shifted by SHIFT2) and how many saturated.

    ReLU counts values above the largest element; the sigmoid, whose range is closed, counts none.
    """
    if sigmoid:
        half = SIGMOID_ENTRIES // 2
        return sigmoid_table(config.element_bits)[np.clip(z + half, 0, SIGMOID_ENTRIES - 1)], 0
    return np.clip(z, 0, config.element_max), int(np.count_nonzero(z > config.element_max))


def slope(activation: npt.NDArray[np.integer], sigmoid: bool, config: Config) -> Integers:
    """Slopes f'(z) from stored ``activation``: 0 or 1 (ReLU), 0..255 in 1/1024 (sigmoid)."""
    a = np.asarray(activation, np.int64)
    if sigmoid:
        one = 1 << (config.element_bits - 1)
        down = max(0, 2 * (config.element_bits - 1) - SLOPE_FRACTION)
        product = a * (one - a)
        value = product + (1 << down >> 1) >> down
        return np.clip(value, 0, config.element_max)
    return (a > 0).astype(np.int64)
