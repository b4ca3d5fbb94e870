"""What SRT, TOP and SCT do to the state: the instructions on weight registers."""

from __future__ import annotations

import abc

import numpy as np
import numpy.typing as npt

from . import list_sort, lists, update
from .flow import GROUP
from .formats import Integers
from .isa import Flag, Reg
from .operands import address, last, operand, pairs, runs
from .scatter import scattering
from .state import State

__all__ = ["ListTensor"]


class ListTensor(abc.ABC):
    """One tensor instruction: registers ``r``, flags, state; those on lists.

    The other instructions, and the operands that all have, are :mod:`tangente.golden.tensor`'s.
    """

    def __init__(self, state: State, registers: list[int], flags: int) -> None:
        self.s = state
        self.r = registers
        self.flags = flags
        self.config = state.config
        self.lanes = state.config.lanes

    def __getitem__(self, register: Reg) -> int:
        return self.r[register]

    def has(self, flag: Flag) -> bool:
        """Whether ``flag`` is set; as plain integers, which are much faster than enumerations."""
        return int.__and__(self.flags, flag) != 0

    # --- of all instructions --------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def code_mask(self) -> int:
        """The bits of a slot that hold the code."""

    @property
    @abc.abstractmethod
    def half_code(self) -> int:
        """What is added to a code: ASYMM's half."""

    @abc.abstractmethod
    def words(self) -> npt.NDArray[np.int16]:
        """The words of the stored matrix, (words, 2 x lanes)."""

    @abc.abstractmethod
    def slopes(self, width: int) -> Integers:
        """The slopes of the ``width`` activations at G_BASE, (width,)."""

    @abc.abstractmethod
    def rule(self) -> tuple[update.Form, int | None]:
        """The update rule, and the generator's state, advanced, if it takes random bits."""

    @abc.abstractmethod
    def count(self, name: str, number: int) -> None:
        """Add ``number`` to the saturations of ``name``."""

    # --- weight registers -----------------------------------------------------------------------

    def keep(self) -> int:
        """K, which the topers must have."""
        operand(1 <= self[Reg.K] <= self.config.toper_registers)
        return self[Reg.K]

    def entries(self, base: int, length: int) -> slice:
        """Entries of the list memory's first bank, which holds the lists of vectors."""
        address(base + length <= self.config.list_entries)
        return slice(base, base + length)

    def places(self, register: Reg, neurons: int, keep: int, samples: int = 1,
               stride: int = 0) -> npt.NDArray[np.int64]:
        """Where the lists (samples, neurons, keep) at a bank's entry ``register`` lie.

        Each tile has a place for the lists of all its lanes.
        """
        config = self.config
        rows = -(-config.lanes // config.toper_lanes)
        base, length = self[register], config.tiles(neurons) * rows * keep
        address(last(base, stride, samples, length) <= config.list_entries)
        tile, lane = np.divmod(np.arange(neurons), config.lanes)
        first = (lane % config.toper_lanes * config.list_entries + base
                 + (tile * rows + lane // config.toper_lanes) * keep)
        return (np.arange(samples)[:, None, None] * stride + first[:, None] + np.arange(keep))

    def wanted(self) -> bool:
        """Whether the pairs of COUNT elements at Y_BASE are not all zero, if that is asked.

        It is looked for up to the first, beside the check.
        """
        if not self.has(Flag.WANTED):
            return True
        count, base = self[Reg.COUNT], self[Reg.Y_BASE]
        address(base + pairs(count) <= self.config.pairs)
        found = np.flatnonzero(self.s.pairs[base:base + pairs(count)].any(1))
        self.s.list_cycles = lists.looking(
            int(found[0]) + 1 if found.size else pairs(count),
            self.config.tiles(max(self[Reg.P], self[Reg.Q])))
        return found.size > 0

    def begins(self) -> int:
        """When SRT or TOP begins, before the end of its check."""
        return 0 if self.has(Flag.WANTED) else -lists.BESIDE_CHECK

    def srt(self) -> None:
        keep, p = self.keep(), self[Reg.P]
        self.words()
        memory = self.s.inputs.reshape(-1, 2) if self.has(Flag.INPUT) else self.s.pairs
        base = self[Reg.S_BASE]
        address(base + pairs(p) <= len(memory))
        result = self.entries(self[Reg.L_BASE], keep)
        self.s.list_cycles = 0
        if not self.wanted():
            return
        vector = memory[base:base + pairs(p)].reshape(-1)[:p].astype(np.int16)
        self.s.list_ids[result], self.s.list_values[result], cycles = list_sort.largest(
            vector, self[Reg.M_BASE], self.config.tiles(self[Reg.Q]), keep, self.config,
            first=2 * (base % GROUP), begins=self.begins())
        self.s.list_cycles += cycles

    def top(self) -> None:
        keep, p, q = self.keep(), self[Reg.P], self[Reg.Q]
        config, s = self.config, self.s
        operand(p + 1 <= config.queue_entries)
        used = [self.has(flag) for flag in (Flag.OWN, Flag.SHARED, Flag.LISTS)]
        own, shared, deep = (self[reg] if on else 0 for reg, on in zip(
            (Reg.F_STRIDE, Reg.V_STRIDE, Reg.R_STRIDE), used))
        # A list that is used has entries: its first one is offered before its end is looked at.
        operand(all(1 <= length <= config.toper_registers
                     for length, on in zip((own, shared, deep), used) if on))
        codes = self.words() & np.int16(self.code_mask) | np.int16(self.half_code)
        slopes = self.slopes(p)
        self.entries(self[Reg.F_BASE] if own else 0, own)
        self.entries(self[Reg.V_BASE] if shared else 0, shared)
        if deep:
            self.places(Reg.R_BASE, p, deep)
        result = self.places(Reg.L_BASE, q, keep)[0]
        live = np.ones(q, np.bool_)
        if self.has(Flag.LIVE):
            base = self[Reg.S_BASE]
            address(base + pairs(q) <= config.pairs)
            live = s.pairs[base:base + pairs(q)].reshape(-1)[:q] != 0
        s.list_cycles = 0
        s.offers = lists.Counts(0, 0, 0, 0, 0, 0)
        if not self.wanted():
            return
        sources = lists.Sources(
            self[Reg.F_BASE], own, self[Reg.E_SHIFT], self[Reg.V_BASE], shared, self[Reg.B_SHIFT],
            self[Reg.R_BASE], deep, self[Reg.SHIFT2])
        factors = slopes if self.has(Flag.SIGMOID) else slopes * config.element_max
        banks = (config.toper_lanes, config.list_entries)
        ids, values, counts = lists.layer(
            codes, live, slopes, factors, s.list_ids.reshape(banks), s.list_values.reshape(banks),
            sources, self[Reg.SHIFT], keep, config, slopes_pair=self[Reg.G_BASE],
            live_pair=self[Reg.S_BASE] if self.has(Flag.LIVE) else 0, begins=self.begins())
        self.count("derivative", counts.clipped)
        s.list_ids[result[live]], s.list_values[result[live]] = ids[live], values[live]
        s.list_cycles += counts.cycles
        s.offers = counts

    def sct(self) -> None:
        keep, p, n = self.keep(), self[Reg.P], self[Reg.COUNT]
        form, state = self.rule()
        base, stride = self[Reg.S_BASE], self[Reg.S_STRIDE]
        address(last(base, stride, n, pairs(p)) <= self.config.pairs)
        places = self.places(Reg.L_BASE, p, keep, n, self[Reg.R_STRIDE]).reshape(-1, keep)
        if state is not None:
            self.s.random = state
        errors = runs(self.s.pairs, base, stride, n, pairs(p)).reshape(n, -1)[:, :p]
        errors = errors.astype(np.int64).ravel()
        ids, values = self.s.list_ids[places], self.s.list_values[places]
        d = errors[:, None] * values
        self.count("weight", update.scatter(self.s.weights, ids.ravel(), d.ravel(), state,
                                            self.config.lane_bits, form))
        self.s.list_cycles = scattering(errors, ids, values, state is not None)
