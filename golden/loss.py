"""Output errors and loss: softmax with cross-entropy, and mean squared error, in integers.

Softmax: with t = floor((max - z) log2(e)) in 1/256 bit, exp(z - max) = 2^-t from a table of 256
entries and a shift; p = e / sum e by one reciprocal a sample. Raw errors p - y have 15 fraction
bits; z - target has those of a logit. The learning rate's mantissa multiplies the raw error once,
before the single rounding to an element. Cross-entropy is t_y + log2(sum), in 1/256 bit.
"""

from __future__ import annotations

import functools

import numpy as np

from .formats import Integers, round_shift, saturate

__all__ = ["exp2_table", "log2_table", "softmax_errors", "squared_errors", "LOG2_E"]

#: log2(e) with 10 fraction bits.
LOG2_E = 1477
_ONE = 1 << 15


@functools.lru_cache
def exp2_table() -> Integers:
    """(256,) entries min(round(2^16 2^(-i/256)), 65535)."""
    return np.minimum(np.rint(65536 * 2.0 ** (-np.arange(256) / 256)), 65535).astype(np.int64)


@functools.lru_cache
def log2_table() -> Integers:
    """(256,) entries min(round(256 log2(1 + i/256)), 255)."""
    return np.minimum(np.rint(256 * np.log2(1 + np.arange(256) / 256)), 255).astype(np.int64)


def _scale(raw: Integers, mantissa: int, shift: int, element_bits: int) -> tuple[Integers, int]:
    return saturate(round_shift(raw * mantissa, shift), element_bits)


def softmax_errors(z: Integers, label: Integers, mantissa: int, shift: int,
                   element_bits: int) -> tuple[Integers, Integers, Integers, int]:
    """Errors of a batch.

    Parameters
    ----------
    z : (samples, outputs) logits with 10 fraction bits.
    label : (samples,) class numbers; one at or beyond ``outputs`` means "no target".
    mantissa, shift : the error is (p - y) 2^15 x mantissa / 2^shift.

    Returns
    -------
    errors (samples, outputs); loss (samples,) in 1/256 bit; hits (samples,) 0 or 1; how many
    errors saturated.
    """
    outputs = z.shape[1]
    best = z.max(1)
    t = (best[:, None] - z) * LOG2_E >> 12
    e = exp2_table()[t & 255] >> np.minimum(t >> 8, 31)
    total = e.sum(1)
    p = e * ((1 << 31) // total)[:, None] >> 16
    y = np.arange(outputs) == label[:, None]
    errors, saturated = _scale(p - _ONE * y, mantissa, shift, element_bits)
    k = np.floor(np.log2(total)).astype(np.int64)
    fraction = np.where(k >= 8, total >> np.maximum(k - 8, 0), total << np.maximum(8 - k, 0)) & 255
    loss = np.maximum((t * y).sum(1) + (k - 16) * 256 + log2_table()[fraction], 0)
    return errors, loss, (z.argmax(1) == label).astype(np.int64), saturated


def squared_errors(z: Integers, target: Integers, mantissa: int, shift: int,
                   element_bits: int) -> tuple[Integers, Integers, Integers, int]:
    """As :func:`softmax_errors` for targets (samples, outputs) with 10 fraction bits.

    The loss is the sum over outputs of (z - target)^2 in 2^-20; no hits.
    """
    raw = z - target
    errors, saturated = _scale(raw, mantissa, shift, element_bits)
    return errors, (raw * raw).sum(1), np.zeros(len(z), np.int64), saturated
