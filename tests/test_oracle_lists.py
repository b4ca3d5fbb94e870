"""Weight registers that hold every weight: their updates are autograd's gradients."""

from __future__ import annotations

import numpy as np
import pytest

from tangente.golden.config import preset
from tangente.host.options import Options

pytest.importorskip("torch", reason="torch, the float64 oracle, is missing")

from test_oracle import exact, step

CONFIG = preset("digits")
BATCH = 6


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("layers", "banks", "own_free"), [
    ((4, 2, 2, 3), (8, 4), True), ((4, 2, 2), (8,), True), ((4, 2, 2, 3), (12,), True),
    ((3, 2, 2), (8, 4), False), ((2, 2, 2, 2), (4, 4, 2), False)])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_all_registers_are_the_gradient(layers: tuple[int, ...], banks: tuple[int, ...],
                                        own_free: bool, activation: str, seed: int) -> None:
    """K holds all weights, so nothing is pruned and equal ids are summed over all paths.

    A register has at least 5 fraction bits. Each hand-up rounds once a path (2 paths a neuron here)
    and multiplies by weights below 1: 3 layers err by at most 2^-6 (1 + 2 + 4); the output error by
    0.0054 / 4 and half an element, times registers up to 2; so do inputs of the last layer, which
    own_free updates from rounded activations. Times the batch, whose errors are at most 1.
    """
    rng = np.random.default_rng(seed)
    # No activation near the kink, where its rounding decides on the slope.
    matrices = [rng.integers(1 << 12, 7 << 11, (p, q)) / 2.0 ** 14
                for p, q in zip(layers, layers[1:])]
    matrices[-1] *= rng.choice([-1, 1], matrices[-1].shape)
    images = rng.integers(50, 256, (BATCH, layers[0])).astype(np.uint8)
    labels = np.full(BATCH, rng.integers(layers[-1]))
    options = Options(preset="digits", granularity="weight", layers=layers, registers=sum(banks),
                      banks=banks, own_free=own_free, batch=BATCH, lr=BATCH / 16, lr_decay=0.0,
                      activation=activation)
    found, *_ = step(options, matrices, images, labels, CONFIG)
    wanted, *_ = exact(matrices, images, labels, activation)
    bound = BATCH * (7 * 2.0 ** -6 + 2 * (0.0054 / 4 + 2.0 ** -8)) + 2.0 ** -14 * 16
    largest = max(np.abs(gradient).max() for gradient in wanted)
    for one, other in zip(found, wanted):
        assert np.abs(one - other).max() <= bound
    # The bound is coarse for small gradients; together they point the same way.
    one, other = (np.concatenate([g.ravel() for g in gradients]) for gradients in (found, wanted))
    assert one @ other >= 0.97 * np.linalg.norm(one) * np.linalg.norm(other)
    assert largest > 0.05
