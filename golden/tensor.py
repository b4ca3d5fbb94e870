"""What each tensor instruction does to the state, exactly. The RTL is the twin of this file.

Sums are exact: operands are at most 25 and 9 bits wide and at most 4096 of them are added, far
inside the 53 bits of a float64, whose fast matrix product is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

from . import lfsr, lists, update
from .activation import activate, slope
from .formats import Integers, requantise, round_shift
from .isa import FORMATTED, OPERANDS, Cause, Flag, Op, Post, Reg
from .loss import softmax_errors, squared_errors
from .selector import select
from .state import State

__all__ = ["Fault", "execute"]

_LIMIT = 1 << 16
_COUNT_MAX = 4095


class Fault(Exception):
    """The instruction halts the engine; ``cause`` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.name)
        self.cause = cause


def _operand(condition: bool) -> None:
    if not condition:
        raise Fault(Cause.OPERAND)


def _address(condition: bool) -> None:
    if not condition:
        raise Fault(Cause.ADDRESS)


def _pairs(width: int) -> int:
    return (width + 1) // 2


def _last(base: int, stride: int, count: int, length: int) -> int:
    """One past the highest address of ``count`` runs of ``length``."""
    return base + (count - 1) * stride + length


def _runs(memory: npt.NDArray[np.generic], base: int, stride: int, count: int,
          length: int) -> npt.NDArray[np.generic]:
    """A view of ``count`` runs of ``length`` units: (count, length, elements of a unit).

    The caller has checked the addresses.
    """
    unit, element = memory.strides
    return np.ndarray((count, length, memory.shape[1]), memory.dtype, memory, base * unit,
                      (stride * unit, unit, element))


def _write_runs(memory: npt.NDArray[np.int16], base: int, stride: int,
                values: npt.NDArray[np.integer]) -> None:
    """Write ``values`` (count, length, elements); where runs overlap, the later one stays."""
    count, length = values.shape[:2]
    if stride >= length or count == 1:
        _runs(memory, base, stride, count, length)[:] = values
        return
    for b in range(count):
        memory[base + b * stride:base + b * stride + length] = values[b]


@numba.njit(cache=True)
def _matrix(words: npt.NDArray[np.int16], tiles: int, mask: int, half_code: int,
            result: npt.NDArray[np.float64]) -> None:
    """Codes of weight words to ``result`` (2 x pairs, tiles * lanes)."""
    lanes = words.shape[1] // 2
    for w in range(words.shape[0]):
        row, column = 2 * (w // tiles), w % tiles * lanes
        for half in range(2):
            for lane in range(lanes):
                result[row + half, column + lane] = (words[w, half * lanes + lane] & mask
                                                     | half_code)


@numba.njit(cache=True)
def _own(words: npt.NDArray[np.int16], mask: int, half_code: int,
         slopes: npt.NDArray[np.int16], shift: int, limit: int,
         result: npt.NDArray[np.int16]) -> int:
    """Rounded products of codes and slopes to ``result`` (neurons, tiles, lanes); how many clamped.

    As :func:`tangente.golden.formats.requantise`, with no array in between.
    """
    tiles, lanes = slopes.shape
    half = np.int64(1) << shift >> 1
    low = (np.int64(1) << shift) - 1
    saturated = 0
    for h in range(result.shape[0]):
        for t in range(tiles):
            word = words[h // 2 * tiles + t, h % 2 * lanes:]
            for lane in range(lanes):
                total = np.int64(word[lane] & mask | half_code) * slopes[t, lane] + half
                value = total >> shift
                value -= (total & low == 0) & (value & 1) & (shift > 0)
                clamped = min(max(value, -limit), limit)
                saturated += clamped != value
                result[h, t, lane] = clamped
    return saturated


class _Tensor:
    """One tensor instruction: registers ``r``, flags, state."""

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

    # --- operand checks -------------------------------------------------------------------------

    def check(self, op: Op) -> None:
        """ILLEGAL for a post that does not exist; OPERAND unless the registers of
        :data:`OPERANDS` lie in their ranges."""
        if op in (Op.MVA, Op.MVD, Op.MVR) and self.flags & 3 == 3:
            raise Fault(Cause.ILLEGAL)
        counts, bases, shifts = OPERANDS[op]
        r = self.r
        for register in counts:
            if not 1 <= r[register] <= _COUNT_MAX:
                raise Fault(Cause.OPERAND)
        for register in bases:
            if r[register] >= _LIMIT:
                raise Fault(Cause.OPERAND)
        for register in shifts:
            if r[register] >= 32:
                raise Fault(Cause.OPERAND)
        if op in FORMATTED:
            n, m = self[Reg.CODE_BITS], self[Reg.ACC_BITS]
            _operand(2 <= n <= 16 and m <= 12 and n + m <= 16)
            _operand(self[Reg.ASYMM] <= 1 and (n <= 15 or not self[Reg.ASYMM]))

    # --- operands -------------------------------------------------------------------------------

    @property
    def code_mask(self) -> int:
        """The bits of a slot that hold the code."""
        return -(1 << (16 - self[Reg.CODE_BITS]))

    @property
    def half_code(self) -> int:
        """What is added to a code: ASYMM's half."""
        return self[Reg.ASYMM] << (15 - self[Reg.CODE_BITS]) if self[Reg.ASYMM] else 0

    def words(self) -> npt.NDArray[np.int16]:
        """The words of the stored matrix."""
        length = _pairs(self[Reg.P]) * self.config.tiles(self[Reg.Q])
        base = self[Reg.M_BASE]
        _address(base + length <= self.config.weight_words)
        return self.s.weights[base:base + length]

    def matrix(self) -> npt.NDArray[np.float64]:
        """Codes of the stored matrix, padded: (2 ceil(P/2), tiles * lanes)."""
        tiles = self.config.tiles(self[Reg.Q])
        result = np.empty((2 * _pairs(self[Reg.P]), tiles * self.lanes))
        _matrix(self.words(), tiles, self.code_mask, self.half_code, result)
        return result

    def scalars(self, width: int) -> npt.NDArray[np.float64]:
        """Scalars of all samples, padded to pairs: (COUNT, 2 ceil(width/2))."""
        n, base, stride = self[Reg.COUNT], self[Reg.S_BASE], self[Reg.S_STRIDE]
        pairs = _pairs(width)
        memory = (self.s.inputs.reshape(-1, 2) if self.has(Flag.INPUT) else self.s.pairs)
        _address(_last(base, stride, n, pairs) <= len(memory))
        return _runs(memory, base, stride, n, pairs).astype(np.float64).reshape(n, -1)

    def vectors(self) -> npt.NDArray[np.float64]:
        """Vector rows of all samples: (COUNT, tiles * lanes)."""
        n, base, stride = self[Reg.COUNT], self[Reg.V_BASE], self[Reg.V_STRIDE]
        tiles = self.config.tiles(self[Reg.Q])
        _address(_last(base, stride, n, tiles) <= self.config.rows)
        return _runs(self.s.rows, base, stride, n, tiles).astype(np.float64).reshape(n, -1)

    # --- results --------------------------------------------------------------------------------

    def count(self, name: str, number: int) -> None:
        self.s.saturations[name] += number

    def write_pairs(self, memory: npt.NDArray[np.int16], values: Integers) -> None:
        """Write (samples, even width) to Y_BASE, pairs."""
        n, pairs = values.shape[0], values.shape[1] // 2
        base, stride = self[Reg.Y_BASE], self[Reg.Y_STRIDE]
        _address(_last(base, stride, n, pairs) <= len(memory))
        _write_runs(memory, base, stride, values.reshape(n, pairs, 2))

    def write_rows(self, values: Integers, width: int, base: int, stride: int) -> None:
        """Write (samples, even width) as zero-padded rows."""
        n, tiles = values.shape[0], self.config.tiles(width)
        _address(_last(base, stride, n, tiles) <= self.config.rows)
        padded = np.zeros((n, tiles * self.lanes), np.int16)
        padded[:, :values.shape[1]] = values
        _write_runs(self.s.rows, base, stride, padded.reshape(n, tiles, self.lanes))

    def bias_pairs(self, width: int) -> slice:
        base = self[Reg.B_BASE]
        _address(base + _pairs(width) <= self.config.bias_pairs)
        return slice(base, base + _pairs(width))

    def write_errors(self, errors: Integers, width: int) -> None:
        """Errors (samples, width) to the memories that the flags name, and to bias gradients."""
        if width % 2:
            errors = np.pad(errors, ((0, 0), (0, 1)))
        if self.has(Flag.PAIRS):
            self.write_pairs(self.s.pairs, errors)
        if self.has(Flag.ROWS):
            self.write_rows(errors, width, self[Reg.YR_BASE], self[Reg.YR_STRIDE])
        if self.has(Flag.BIAS_GRADIENT):
            gradient = self.s.biases[self.bias_pairs(width), :, 1]
            gradient += errors.sum(0).reshape(-1, 2).astype(np.int16)

    def post(self, sums: npt.NDArray[np.float64], width: int) -> None:
        """The post-processing unit: sums (samples, at least width) to results."""
        kind = self.flags & 3
        acc = sums[:, :width]
        even = width + width % 2
        sigmoid = self.has(Flag.SIGMOID)
        if kind == Post.DELTA:
            t, clipped = requantise(acc, self[Reg.SHIFT], 16)
            if self.has(Flag.SLOPE):
                t = t * slope(self._slope_operand(len(acc), width), sigmoid, self.config)
            errors, more = requantise(t, self[Reg.SHIFT2], self.config.element_bits)
            self.count("error", clipped + more)
            self.write_errors(errors, width)
            return
        bias = self.s.biases[self.bias_pairs(width), :, 0].reshape(-1)[:width].astype(np.int64)
        z, clipped = requantise(acc + (bias << self[Reg.B_SHIFT]), self[Reg.SHIFT], 16)
        self.count("logit", clipped)
        result = np.zeros((len(z), even), np.int64)
        if kind == Post.LOGIT:
            result[:, :width] = z
            self.write_pairs(self.s.logits, result)
            return
        a, clipped = activate(round_shift(z, self[Reg.SHIFT2]), sigmoid, self.config)
        self.count("activation", clipped)
        result[:, :width] = a
        if self.has(Flag.PAIRS):
            self.write_pairs(self.s.pairs, result)
        if self.has(Flag.ROWS):
            self.write_rows(result, width, self[Reg.YR_BASE], self[Reg.YR_STRIDE])
        if self.has(Flag.SLOPE_ROWS):
            slopes = np.zeros_like(result)
            slopes[:, :width] = slope(a, sigmoid, self.config)
            self.write_rows(slopes, width, self[Reg.F_BASE], self[Reg.F_STRIDE])

    def _slope_operand(self, samples: int, width: int) -> Integers:
        pairs, base, stride = _pairs(width), self[Reg.G_BASE], self[Reg.G_STRIDE]
        _address(_last(base, stride, samples, pairs) <= self.config.pairs)
        operand = _runs(self.s.pairs, base, stride, samples, pairs).astype(np.int64)
        return operand.reshape(samples, -1)[:, :width]

    # --- instructions ---------------------------------------------------------------------------

    def mva(self) -> None:
        self.post(self.scalars(self[Reg.P]) @ self.matrix(), self[Reg.Q])

    def mvd(self) -> None:
        self.post(self.vectors() @ self.matrix().T, self[Reg.P])

    def mvr(self) -> None:
        p, tiles = self[Reg.P], self.config.tiles(self[Reg.Q])
        base, stride = self[Reg.V_BASE], self[Reg.V_STRIDE]
        _address(_last(base, stride, p, tiles) <= self.config.rows)
        rows = _runs(self.s.rows, base, stride, p, tiles).astype(np.float64).reshape(p, -1)
        self.post(self.scalars(p)[:, :p] @ rows, self[Reg.Q])

    def rule(self) -> tuple[update.Form, int | None]:
        """The update rule, and the generator's state, advanced, if it takes random bits."""
        n, m, master = self[Reg.CODE_BITS], self[Reg.ACC_BITS], self.has(Flag.MASTER)
        event, stochastic = self.has(Flag.EVENT), self.has(Flag.STOCHASTIC)
        _operand(not (event and master) and (m >= 1 or not (event or master)))
        form = update.form(self[Reg.SHIFT], n, m, event=event, stochastic=stochastic,
                           master=master, asymm=self[Reg.ASYMM] != 0)
        _operand(form.down < 32)
        return form, lfsr.advance(self.s.random) if stochastic else None

    def upd(self) -> None:
        form, state = self.rule()
        slots, base = self.words(), self[Reg.M_BASE]
        scalars, vectors = self.scalars(self[Reg.P]), self.vectors()
        if state is not None:
            self.s.random = state
        i, t = _pairs(self[Reg.P]), self.config.tiles(self[Reg.Q])
        d = (scalars.T @ vectors).reshape(i, 2, t, self.lanes).transpose(0, 2, 1, 3)
        d = d.reshape(i * t, 2 * self.lanes).astype(np.int64)
        self.count("weight", update.apply(slots, d, state, base, form))

    def loss(self) -> None:
        p, n = self[Reg.P], self[Reg.COUNT]
        _operand(p <= self.config.max_outputs and self[Reg.MANTISSA] < 256)
        squared = self.has(Flag.POST0)
        base, stride = self[Reg.S_BASE], self[Reg.S_STRIDE]
        _address(_last(base, stride, n, _pairs(p)) <= self.config.logit_pairs)
        index = base + np.arange(n)[:, None] * stride + np.arange(_pairs(p))
        z = self.s.logits[index].reshape(n, -1)[:, :p].astype(np.int64)
        base, stride = self[Reg.T_BASE], self[Reg.T_STRIDE]
        length = p if squared else 1
        _address(_last(base, stride, n, length) <= self.config.target_beats * 4)
        target = self.s.targets[base + np.arange(n)[:, None] * stride + np.arange(length)]
        target = target.astype(np.int64)
        function: Callable[..., tuple[Integers, Integers, Integers, int]] = softmax_errors
        if squared:
            function = squared_errors
        else:
            target = target[:, 0] & 0xFFFF
        errors, loss, hits, clipped = function(
            z, target, self[Reg.MANTISSA], self[Reg.E_SHIFT], self.config.element_bits)
        self.count("error", clipped)
        self.s.loss += int(loss.sum())
        self.s.correct += int(hits.sum())
        self.s.samples += n
        self.s.max_error = int(np.abs(errors).max())
        self.write_errors(errors, p)

    def drv(self) -> None:
        _operand(self[Reg.TILES] < 256)
        p, q, deep = self[Reg.P], self[Reg.Q], self[Reg.TILES]
        tiles = self.config.tiles(q)
        words = self.words()
        _address(self[Reg.V_BASE] + tiles <= self.config.rows)
        slopes = self.s.rows[self[Reg.V_BASE]:self[Reg.V_BASE] + tiles]
        rows = np.empty((p, deep + tiles, self.lanes), np.int16)
        limit = self.config.element_max
        self.count("derivative", _own(words, self.code_mask, self.half_code, slopes,
                                      self[Reg.SHIFT2], limit, rows[:, deep:]))
        if deep:
            scale = self.slopes(q)
            base, stride = self[Reg.R_BASE], self[Reg.R_STRIDE]
            _address(_last(base, stride, q, deep) <= self.config.rows)
            below = _runs(self.s.rows, base, stride, q, deep).astype(np.float64).reshape(q, -1)
            values, clipped = requantise((self.matrix()[:p, :q] * scale) @ below, self[Reg.SHIFT],
                                         self.config.element_bits)
            self.count("derivative", clipped)
            rows[:, :deep] = values.reshape(p, deep, self.lanes)
        base, stride = self[Reg.YR_BASE], self[Reg.YR_STRIDE]
        _address(_last(base, stride, p, deep + tiles) <= self.config.rows)
        _write_runs(self.s.rows, base, stride, rows)

    def slopes(self, width: int) -> Integers:
        """The slopes of the ``width`` activations at G_BASE."""
        base = self[Reg.G_BASE]
        _address(base + _pairs(width) <= self.config.pairs)
        a = self.s.pairs[base:base + _pairs(width)].reshape(-1)[:width]
        return slope(a, self.has(Flag.SIGMOID), self.config)

    def sel(self) -> None:
        p, tiles = self[Reg.P], self[Reg.TILES]
        _operand(1 <= tiles < 256)
        base, stride = self[Reg.YR_BASE], self[Reg.YR_STRIDE]
        _address(_last(base, stride, p, tiles) <= self.config.rows)
        values = _runs(self.s.rows, base, stride, p, tiles).copy()
        select(values.reshape(p, -1), self[Reg.K], self.config.element_bits)
        _write_runs(self.s.rows, base, stride, values)

    def bup(self) -> None:
        memory = self.s.biases[self.bias_pairs(self[Reg.P])].astype(np.int64)
        bias, clipped = update.bias_step(memory[:, :, 0], memory[:, :, 1], self[Reg.SHIFT])
        self.count("bias", clipped)
        self.s.biases[self.bias_pairs(self[Reg.P])] = np.stack(
            [bias, np.zeros_like(bias)], 2).astype(np.int16)

    # --- weight registers -----------------------------------------------------------------------

    def keep(self) -> int:
        """K, which the topers must have."""
        _operand(1 <= self[Reg.K] <= self.config.toper_registers)
        return self[Reg.K]

    def entries(self, base: int, length: int) -> slice:
        """List entries that exist."""
        _address(base + length <= self.config.list_entries)
        return slice(base, base + length)

    def srt(self) -> None:
        keep, p = self.keep(), self[Reg.P]
        self.words()
        memory = self.s.inputs.reshape(-1, 2) if self.has(Flag.INPUT) else self.s.pairs
        base = self[Reg.S_BASE]
        _address(base + _pairs(p) <= len(memory))
        result = self.entries(self[Reg.L_BASE], keep)
        vector = memory[base:base + _pairs(p)].reshape(-1)[:p].astype(np.int16)
        self.s.list_ids[result], self.s.list_values[result] = lists.largest(
            vector, self[Reg.M_BASE], self.config.tiles(self[Reg.Q]), keep, self.config)

    def top(self) -> None:
        keep, p, q = self.keep(), self[Reg.P], self[Reg.Q]
        _operand(2 * p + 1 <= self.config.queue_entries)
        used = [self.has(flag) for flag in (Flag.OWN, Flag.SHARED, Flag.LISTS)]
        own, shared, deep = (self[reg] if on else 0 for reg, on in zip(
            (Reg.F_STRIDE, Reg.V_STRIDE, Reg.R_STRIDE), used))
        # A list that is used has entries: its first one is offered before its end is looked at.
        _operand(all(length for length, on in zip((own, shared, deep), used) if on))
        codes = self.words() & np.int16(self.code_mask) | np.int16(self.half_code)
        slopes = self.slopes(p)
        self.entries(self[Reg.F_BASE] if own else 0, own)
        self.entries(self[Reg.V_BASE] if shared else 0, shared)
        self.entries(self[Reg.R_BASE] if deep else 0, deep * p)
        result = self.entries(self[Reg.L_BASE], q * keep)
        sources = lists.Sources(
            self[Reg.F_BASE], own, self[Reg.E_SHIFT], self[Reg.V_BASE], shared, self[Reg.B_SHIFT],
            self[Reg.R_BASE], deep, self[Reg.SHIFT2])
        ids, values, counts = lists.layer(codes, q, slopes, self.s.list_ids, self.s.list_values,
                                          sources, self[Reg.SHIFT], keep, self.config)
        self.count("derivative", counts.clipped)
        self.s.list_ids[result], self.s.list_values[result] = ids.ravel(), values.ravel()
        self.s.offers = counts

    def sct(self) -> None:
        keep, p = self.keep(), self[Reg.P]
        form, state = self.rule()
        base = self[Reg.S_BASE]
        _address(base + _pairs(p) <= self.config.pairs)
        source = self.entries(self[Reg.L_BASE], p * keep)
        if state is not None:
            self.s.random = state
        errors = self.s.pairs[base:base + _pairs(p)].reshape(-1)[:p].astype(np.int64)
        d = np.repeat(errors, keep) * self.s.list_values[source]
        self.count("weight", update.scatter(self.s.weights, self.s.list_ids[source], d, state,
                                            self.config.lane_bits, form))


_METHODS = {Op.MVA: _Tensor.mva, Op.MVD: _Tensor.mvd, Op.MVR: _Tensor.mvr, Op.UPD: _Tensor.upd,
            Op.LOSS: _Tensor.loss, Op.DRV: _Tensor.drv, Op.SEL: _Tensor.sel, Op.BUP: _Tensor.bup,
            Op.SRT: _Tensor.srt, Op.TOP: _Tensor.top, Op.SCT: _Tensor.sct}


def execute(op: Op, state: State, registers: list[int], flags: int) -> None:
    """Execute one tensor instruction.

    Parameters
    ----------
    registers : 64 values of 24 bits.
    flags : the instruction's ``imm``, checked against :data:`tangente.golden.isa.FLAGS` already.

    Raises
    ------
    Fault
        With the cause; memories may then be partly written.
    """
    tensor = _Tensor(state, registers, flags)
    tensor.check(op)
    _METHODS[op](tensor)
