"""The engine's memories, counters and DDR, as NumPy arrays: all that a program can change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from . import lists
from .config import Config
from .isa import Space
from .registers import SATURATIONS

__all__ = ["Pending", "State", "beats_per_unit", "depth", "LOADABLE", "STORABLE"]

#: Spaces that LOAD writes and STORE reads.
LOADABLE = (Space.INPUT, Space.TARGET, Space.WEIGHT, Space.BIAS)
STORABLE = (Space.WEIGHT, Space.BIAS, Space.LOGIT, Space.PAIR, Space.LIST)


def beats_per_unit(space: Space, config: Config) -> int:
    """64-bit beats in one addressable unit of ``space``."""
    return config.beats_per_word if space is Space.WEIGHT else 1


def depth(space: Space, config: Config) -> int:
    """Addressable units in ``space``."""
    return {Space.INPUT: config.input_beats, Space.TARGET: config.target_beats,
            Space.WEIGHT: config.weight_words, Space.BIAS: config.bias_pairs,
            Space.LOGIT: config.logit_pairs, Space.PAIR: config.pairs,
            Space.LIST: config.toper_lanes * config.list_entries}[space]


class Pending(NamedTuple):
    """Sums whose results are not made before a LOSS has found no error.

    Members
    -------
    registers, flags : of the instruction that made them.
    sums : (samples, at least Q) float64, exact integers.
    """

    registers: list[int]
    flags: int
    sums: npt.NDArray[np.float64]


class State:
    """Everything that a program reads and changes.

    Members
    -------
    inputs : (input_beats * 8,) uint8, the input memory.
    targets : (target_beats * 4,) int16, the target memory.
    weights : (weight_words, 2 * lanes) int16, slots.
    biases : (bias_pairs, 2, 2) int16: [pair, element, 0 bias | 1 gradient].
    pairs : (pairs, 2) int16, elements of the pair memory.
    rows : (rows, lanes) int16, elements of the row memory.
    logits : (logit_pairs, 2) int16.
    list_ids, list_values : (toper_lanes * list_entries,) int32 and int16, the list memory, bank
        after bank.
    ddr : uint8, the external memory.
    offers : what the last TOP came to.
    list_cycles : of the last SRT, TOP or SCT, those that depend on its data.
    live : which scalars of the last MVA or UPD (of samples that were not left out), or own
        activations of the last DRV, were not zero, (samples, pairs, 2): cycles depend on it.
    wanted : (COUNT,) which samples of the last MVA, MVD or MVR were not left out by Flag.WANTED;
        None if it did not list them. Likewise.
    pending : the MVA with Flag.SPECULATIVE that awaits its LOSS; None without one.
    kept : whether the last LOSS let such an MVA have its results; None if there was none.
    below : which activations of the layer below were not zero, of the last DRV; likewise.
    neurons, selected : neurons that the last DRV made rows of, and that the last SEL selected.
    random : state of the random generator.
    loss, correct, samples, max_error : what LOSS counted.
    erring : of the samples of the last LOSS since START, the first 64 at most, which have an error
        that is not zero.
    saturations : count by name, see :data:`tangente.golden.registers.SATURATIONS`.
    """

    def __init__(self, config: Config, ddr_bytes: int = 1 << 20) -> None:
        self.config = config
        self.inputs = np.zeros(config.input_beats * 8, np.uint8)
        self.targets = np.zeros(config.target_beats * 4, np.int16)
        self.weights = np.zeros((config.weight_words, 2 * config.lanes), np.int16)
        self.biases = np.zeros((config.bias_pairs, 2, 2), np.int16)
        self.pairs = np.zeros((config.pairs, 2), np.int16)
        self.rows = np.zeros((config.rows, config.lanes), np.int16)
        self.logits = np.zeros((config.logit_pairs, 2), np.int16)
        self.list_ids = np.zeros(config.toper_lanes * config.list_entries, np.int32)
        self.list_values = np.zeros(config.toper_lanes * config.list_entries, np.int16)
        self.ddr = np.zeros(ddr_bytes, np.uint8)
        self.random = 1
        self.offers = lists.Counts(0, 0, 0, 0, 0, 0)
        self.live = np.ones((1, 1, 2), np.bool_)
        self.wanted: npt.NDArray[np.bool_] | None = None
        self.pending: Pending | None = None
        self.kept: bool | None = None
        self.below = np.zeros(0, np.int64)
        self.list_cycles = 0
        self.clear_counters()

    def clear_counters(self) -> None:
        """What START does."""
        self.loss = self.correct = self.samples = self.max_error = 0
        self.saturations = dict.fromkeys(SATURATIONS, 0)
        self.neurons = self.selected = 0
        self.pending = self.kept = None
        self.erring = np.zeros(0, np.bool_)

    def _view(self, space: Space) -> np.ndarray:
        """The memory of ``space`` as (units, bytes) uint8; a copy where it is padded."""
        if space is Space.INPUT:
            return self.inputs.reshape(-1, 8)
        if space is Space.TARGET:
            return self.targets.view(np.uint8).reshape(-1, 8)
        if space is Space.WEIGHT:
            return self.weights.view(np.uint8)
        if space is Space.BIAS:
            return self.biases.reshape(-1, 4).view(np.uint8)
        if space is Space.LIST:
            entries = np.zeros((len(self.list_ids), 2), np.int32)
            entries[:, 0] = self.list_values.astype(np.uint16)
            entries[:, 1] = self.list_ids
            return entries.view(np.uint8)
        memory = self.logits if space is Space.LOGIT else self.pairs
        padded = np.zeros((len(memory), 4), np.int16)
        padded[:, :2] = memory
        return padded.view(np.uint8)

    def load(self, space: Space, unit: int, units: int, ddr: int) -> None:
        """Copy ``units`` from byte address ``ddr`` into ``space`` from ``unit``."""
        view = self._view(space)
        size = units * view.shape[1]
        view[unit:unit + units] = self.ddr[ddr:ddr + size].reshape(units, -1)

    def store(self, space: Space, unit: int, units: int, ddr: int) -> None:
        """Copy ``units`` of ``space`` from ``unit`` to byte address ``ddr``."""
        data = self._view(space)[unit:unit + units].ravel()
        self.ddr[ddr:ddr + data.size] = data
