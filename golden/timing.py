"""Exact cycle counts of the units: ``tangente cycles`` adds them up, the RTL is tested for them."""

from __future__ import annotations

__all__ = ["SELECTION_BEATS", "SELECTION_HISTORY", "SELECTION_TILES", "selection_digits",
           "selection_resident", "selection", "POST_LATENCY", "POST_ERRORS_LATENCY", "post",
           "bias_update", "LOSS_PERIOD", "loss"]

#: Cycles from the one in which the post-processing unit accepts a job's last pair of sums to
#: ``done``; and likewise for ready errors, which enter late.
POST_LATENCY = 15
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


#: Cycles between two samples of softmax in the loss unit, at least: a division.
LOSS_PERIOD = 9


def loss(samples: int, outputs: int, squared: bool) -> int:
    """Cycles of the loss unit from ``start`` to ``done``.

    Softmax reads the logits twice, two a cycle; the errors, one a cycle, follow while the next
    sample's are read.
    """
    if squared:
        return 13 + samples * outputs
    passes = 2 * ((outputs + 1) // 2)
    return 24 + outputs + passes + (samples - 1) * max(passes, LOSS_PERIOD)


#: Cycles that the selector takes for a row, as many shares of its lanes.
SELECTION_BEATS = 2
#: Cycles that its delays reach back: the depth of a LUT's memory.
SELECTION_HISTORY = 32
#: Rows of a neuron up to which it may stay in the pipeline for all digits.
SELECTION_TILES = 4


def selection_digits(element_bits: int) -> int:
    """Digits of two bits of a magnitude, each of which is decided at once."""
    return element_bits // 2


def selection_resident(tiles: int, element_bits: int = 9, beats: int = SELECTION_BEATS) -> bool:
    """Whether neurons of ``tiles`` rows pass the selector once, every digit's decision awaited."""
    reach = (selection_digits(element_bits) - 1) * (beats * tiles + 2) - 2
    return tiles <= SELECTION_TILES and reach < SELECTION_HISTORY


def selection(neurons: int, tiles: int, element_bits: int = 9,
              beats: int = SELECTION_BEATS) -> int:
    """Cycles of the selector from ``start`` to ``done``.

    A digit of a threshold is known two cycles after its neuron's last beat has been counted.
    Neurons of more rows than the delays hold pass once for each digit and once to be written.

    Parameters
    ----------
    neurons : neurons of the job, at least 1.
    tiles : rows of a neuron, at least 1.
    element_bits : width of an element.
    beats : cycles of a row.
    """
    digits = selection_digits(element_bits)
    resident = selection_resident(tiles, element_bits, beats)
    step = beats * (tiles if resident else 1) + 2
    return beats * neurons * tiles * (1 if resident else digits + 1) + digits * step + 7
