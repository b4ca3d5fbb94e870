"""Exact cycle counts of the units: ``tangente cycles`` adds them up, the RTL is tested for them."""

from __future__ import annotations

__all__ = ["SELECTION_GROUP", "selection", "POST_LATENCY", "POST_ERRORS_LATENCY", "post",
           "bias_update", "loss"]

#: Cycles from the one in which the post-processing unit accepts a job's last pair of sums to
#: ``done``; and likewise for ready errors, which enter late.
POST_LATENCY = 17
POST_ERRORS_LATENCY = 4


def post(pairs: int, two_cycles: bool) -> int:
    """Cycles from ``start`` to ``done`` of a job whose sums always wait.

    Parameters
    ----------
    pairs : pairs of all samples.
    two_cycles : ACT with Flag.SLOPE_ROWS, whose row memory is written twice a pair.
    """
    return 1 + (pairs - 1) * (2 if two_cycles else 1) + POST_LATENCY


def bias_update(width: int) -> int:
    """Cycles from ``start`` to ``done`` of a BUP over ``width`` biases."""
    return post((width + 1) // 2, False)


def loss(samples: int, outputs: int, squared: bool) -> int:
    """Cycles of the loss unit from ``start`` to ``done``, with a consumer that is always ready.

    Softmax takes three passes over the outputs and 17 cycles for the reciprocal.
    """
    return 19 + samples * (outputs if squared else 3 * outputs + 17)


#: Neurons whose thresholds the selector seeks together.
SELECTION_GROUP = 32


def selection(neurons: int, tiles: int, element_bits: int = 9) -> int:
    """Cycles of the selector from ``start`` to ``done``.

    A group of n neurons takes ``element_bits`` - 1 passes over its rows, of at least ``tiles`` + 5
    cycles each, because a threshold is 6 cycles behind its neuron's last row; then two cycles a
    row.

    Parameters
    ----------
    neurons : neurons of the job, at least 1.
    tiles : rows of a neuron, at least 1.
    element_bits : width of an element.
    """
    full, rest = divmod(neurons, SELECTION_GROUP)
    groups = [SELECTION_GROUP] * full + [rest] * (rest > 0)
    return 4 + sum((element_bits - 1) * max(n * tiles, tiles + 5) + 2 * n * tiles + 6
                   for n in groups)
