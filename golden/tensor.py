"""What each tensor instruction does to the state, exactly. The RTL is the twin of this file.

Sums are exact: operands are at most 25 and 9 bits wide and at most 4096 of them are added, far
inside the 53 bits of a float64, whose fast matrix product is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

from . import lfsr, update
from .activation import activate, slope
from .flow import SCANNED_SAMPLES, scanned_update
from .formats import Integers, requantise, round_shift
from .isa import (
    ERROR_SAMPLES,
    FORMATTED,
    LIVE_MAX,
    OPERANDS,
    SIGN_SIZE,
    SPECULATIVE_MAX,
    Cause,
    Flag,
    Op,
    Post,
    Reg,
)
from .list_tensor import ListTensor
from .loss import softmax_errors, squared_errors
from .operands import Fault, write_runs
from .operands import address as _address
from .operands import last as _last
from .operands import operand as _operand
from .operands import pairs as _pairs
from .operands import runs as _runs
from .selector import select
from .state import Pending, State

__all__ = ["Fault", "execute", "finish"]

_LIMIT = 1 << 16
_COUNT_MAX = 4095


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
def _own(words: npt.NDArray[np.int16], neurons: npt.NDArray[np.int64], mask: int, half_code: int,
         slopes: npt.NDArray[np.int16], shift: int, limit: int,
         result: npt.NDArray[np.int16]) -> int:
    """Rounded products of codes and slopes to ``result`` (neurons, tiles, lanes); how many clamped.

    As :func:`tangente.golden.formats.requantise`, with no array in between.
    """
    tiles, lanes = slopes.shape
    half = np.int64(1) << shift >> 1
    low = (np.int64(1) << shift) - 1
    saturated = 0
    for n in range(result.shape[0]):
        h = neurons[n]
        for t in range(tiles):
            word = words[h // 2 * tiles + t, h % 2 * lanes:]
            for lane in range(lanes):
                total = np.int64(word[lane] & mask | half_code) * slopes[t, lane] + half
                value = total >> shift
                value -= (total & low == 0) & (value & 1) & (shift > 0)
                clamped = min(max(value, -limit), limit)
                saturated += clamped != value
                result[n, t, lane] = clamped
    return saturated


class _Tensor(ListTensor):
    """One tensor instruction: registers ``r``, flags, state.

    ``made``: the samples of a product that Flag.WANTED does not leave out; None: all.
    """

    made: npt.NDArray[np.int64] | None = None

    # --- operand checks -------------------------------------------------------------------------

    def check(self, op: Op) -> None:
        """ILLEGAL for a post that does not exist, flags that exclude each other, or another
        instruction than the LOSS that Flag.SPECULATIVE awaits; OPERAND unless the registers of
        :data:`OPERANDS` lie in their ranges."""
        if op in (Op.MVA, Op.MVD, Op.MVR) and self.flags & 3 == 3:
            raise Fault(Cause.ILLEGAL)
        if self.has(Flag.SPECULATIVE) and self.has(Flag.WANTED):
            raise Fault(Cause.ILLEGAL)
        if self.s.pending is not None and op is not Op.LOSS:
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
        if self.has(Flag.SPECULATIVE):
            _operand(r[Reg.COUNT] == 1 and r[Reg.Q] <= SPECULATIVE_MAX)
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
        """Codes of the stored matrix, or signs, padded: (2 ceil(P/2), tiles * lanes)."""
        tiles, words = self.config.tiles(self[Reg.Q]), self.words()
        result = np.empty((2 * _pairs(self[Reg.P]), tiles * self.lanes))
        if self.has(Flag.SIGNS):
            signs = lfsr.signs(self[Reg.M_BASE], len(words), self.lanes)
            signs = signs.reshape(-1, tiles, 2, self.lanes).transpose(0, 2, 1, 3)
            np.multiply(signs.reshape(result.shape), float(SIGN_SIZE), out=result)
        else:
            _matrix(words, tiles, self.code_mask, self.half_code, result)
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
        self.write(memory, self[Reg.Y_BASE], self[Reg.Y_STRIDE], values.reshape(n, pairs, 2))

    def write_rows(self, values: Integers, width: int, base: int, stride: int) -> None:
        """Write (samples, even width) as zero-padded rows."""
        n, tiles = values.shape[0], self.config.tiles(width)
        padded = np.zeros((n, tiles * self.lanes), np.int16)
        padded[:, :values.shape[1]] = values
        self.write(self.s.rows, base, stride, padded.reshape(n, tiles, self.lanes))

    def write(self, memory: npt.NDArray[np.int16], base: int, stride: int,
              values: npt.NDArray[np.integer]) -> None:
        """Write the runs (samples that are made, length, elements) of samples a stride apart."""
        if self.made is None:
            _address(_last(base, stride, len(values), values.shape[1]) <= len(memory))
            write_runs(memory, base, stride, values)
            return
        for run, part in zip(self._made_runs(memory, base, stride, values.shape[1]), values):
            run[:] = part

    def _made_runs(self, memory: npt.NDArray[np.int16], base: int, stride: int,
                   length: int) -> list[npt.NDArray[np.int16]]:
        """Views of the runs of the samples that are made: (length, elements) each."""
        assert self.made is not None
        _address(base + int(self.made[-1]) * stride + length <= len(memory))
        return [memory[first:first + length] for first in (base + self.made * stride).tolist()]

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
        """The post-processing unit: sums (samples that are made, at least width) to results."""
        if not len(sums):
            return
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
        if self.made is not None:
            made = np.stack(self._made_runs(self.s.pairs, base, stride, pairs)).astype(np.int64)
            return made.reshape(samples, -1)[:, :width]
        _address(_last(base, stride, samples, pairs) <= self.config.pairs)
        operand = _runs(self.s.pairs, base, stride, samples, pairs).astype(np.int64)
        return operand.reshape(samples, -1)[:, :width]

    # --- instructions ---------------------------------------------------------------------------

    def mva(self) -> None:
        scalars = self.leave_out(self.scalars(self[Reg.P]))
        self.s.live = self.live(scalars)
        sums = scalars @ self.matrix()
        if self.has(Flag.SPECULATIVE):
            self.s.pending = Pending([*self.r], self.flags, sums)
        else:
            self.post(sums, self[Reg.Q])

    def leave_out(self, operands: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of a product's operands (COUNT, width), those of the samples that are made."""
        self.s.wanted = None
        if not self.has(Flag.WANTED) or self[Reg.COUNT] > SCANNED_SAMPLES:
            return operands
        self.s.wanted = self.erring()
        self.made = np.flatnonzero(self.s.wanted)
        return operands[self.made]

    @staticmethod
    def live(scalars: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
        """Which of (samples, even width) are not zero: (samples, pairs, 2)."""
        return scalars.reshape(len(scalars), scalars.shape[1] // 2, 2) != 0

    def mvd(self) -> None:
        vectors = self.leave_out(self.vectors())
        self.post(vectors @ self.matrix().T, self[Reg.P])

    def mvr(self) -> None:
        n, p, tiles = self[Reg.COUNT], self[Reg.P], self.config.tiles(self[Reg.Q])
        base, stride, between = self[Reg.V_BASE], self[Reg.V_STRIDE], self[Reg.R_STRIDE]
        scalars = self.leave_out(self.scalars(p)[:, :p])
        # All first rows are looked at, of further ones those that are read.
        _address(base + (n - 1) * between + tiles <= self.config.rows)
        samples = np.arange(n) if self.made is None else self.made
        if samples.size:
            _address(base + int(samples[-1]) * between + (p - 1) * stride + tiles
                     <= self.config.rows)
        sums = np.empty((samples.size, tiles * self.lanes))
        for i, b in enumerate(samples.tolist()):
            factors = scalars[i][scalars[i] != 0] if self.has(Flag.LIVE) else scalars[i]
            rows = _runs(self.s.rows, base + b * between, stride, len(factors), tiles)
            sums[i] = factors @ rows.astype(np.float64).reshape(-1, tiles * self.lanes)
        self.post(sums, self[Reg.Q])

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
        wanted = self.wanted_samples()
        scalars[~wanted] = 0
        self.s.live = self.live(scalars)[wanted]
        if state is not None:
            self.s.random = state
        i, t = _pairs(self[Reg.P]), self.config.tiles(self[Reg.Q])
        d = (scalars.T @ vectors).reshape(i, 2, t, self.lanes).transpose(0, 2, 1, 3)
        d = d.reshape(i * t, 2 * self.lanes).astype(np.int64)
        changes = np.repeat(self.s.live.any(0), t, axis=0)
        self.count("weight", update.apply(slots, d, changes, state, base, form))

    def wanted_samples(self) -> npt.NDArray[np.bool_]:
        """(COUNT,), the samples of an UPD that are not left out by Flag.WANTED."""
        if self.has(Flag.WANTED) and scanned_update(self[Reg.COUNT], self[Reg.S_STRIDE]):
            return self.erring()
        return np.ones(self[Reg.COUNT], np.bool_)

    def erring(self) -> npt.NDArray[np.bool_]:
        """(COUNT,), which samples are none of the last LOSS whose errors are all zero."""
        result = np.ones(self[Reg.COUNT], np.bool_)
        known = self.s.erring[:len(result)]
        result[:len(known)] = known
        return result

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
        self.s.erring = np.any(errors, axis=1)[:ERROR_SAMPLES]
        self.write_errors(errors, p)
        self.s.kept = None
        if self.s.pending is not None:
            self.s.kept = not errors.any()

    def drv(self) -> None:
        p, q, deep = self[Reg.P], self[Reg.Q], self[Reg.TILES]
        only_live = self.has(Flag.LIVE)
        _operand(deep < 256 and (not only_live or p <= LIVE_MAX) and (not deep or q <= LIVE_MAX))
        tiles = self.config.tiles(q)
        words = self.words()
        own = np.ones((1, _pairs(p), 2), np.bool_)
        neurons = np.arange(p)
        if only_live:
            a = self.activations(self[Reg.S_BASE], p)
            own, neurons = self.live(a[None]), np.flatnonzero(a)
        _address(self[Reg.V_BASE] + tiles <= self.config.rows)
        base, stride = self[Reg.YR_BASE], self[Reg.YR_STRIDE]
        _address(_last(base, stride, 2 * _pairs(p) if only_live else p, deep + tiles)
                 <= self.config.rows)
        slopes = self.s.rows[self[Reg.V_BASE]:self[Reg.V_BASE] + tiles]
        if not self.has(Flag.SIGMOID):
            slopes = (slopes > 0).astype(np.int16)
        rows = np.empty((len(neurons), deep + tiles, self.lanes), np.int16)
        limit = self.config.element_max
        self.count("derivative", _own(words, neurons, self.code_mask, self.half_code, slopes,
                                      self[Reg.SHIFT2], limit, rows[:, deep:]))
        below = np.zeros(0, np.int64)
        if deep:
            a = self.activations(self[Reg.G_BASE], q)
            below = np.flatnonzero(a)
            first, between = self[Reg.R_BASE], self[Reg.R_STRIDE]
            _address(_last(first, between, 2 * _pairs(q), deep) <= self.config.rows)
            registers = _runs(self.s.rows, first, between, len(below), deep).astype(np.float64)
            scale = slope(a, self.has(Flag.SIGMOID), self.config)[below]
            weights = self.matrix()[neurons][:, below] * scale
            values, clipped = requantise(weights @ registers.reshape(len(below), deep * self.lanes),
                                         self[Reg.SHIFT], self.config.element_bits)
            self.count("derivative", clipped)
            rows[:, :deep] = values.reshape(len(neurons), deep, self.lanes)
        if len(neurons):
            write_runs(self.s.rows, base, stride, rows)
        self.s.neurons = len(neurons)
        self.s.live, self.s.below = own, below

    def activations(self, base: int, width: int) -> npt.NDArray[np.int16]:
        """The activations at pair ``base``, padded to pairs."""
        _address(base + _pairs(width) <= self.config.pairs)
        return self.s.pairs[base:base + _pairs(width)].reshape(-1)

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
        if self.has(Flag.LIVE):
            p = min(p, self.s.neurons)
        self.s.selected = p
        if p == 0:
            return
        values = _runs(self.s.rows, base, stride, p, tiles).copy()
        select(values.reshape(p, -1), self[Reg.K], self.config.element_bits)
        write_runs(self.s.rows, base, stride, values)

    def bup(self) -> None:
        memory = self.s.biases[self.bias_pairs(self[Reg.P])].astype(np.int64)
        bias, clipped = update.bias_step(memory[:, :, 0], memory[:, :, 1], self[Reg.SHIFT])
        self.count("bias", clipped)
        self.s.biases[self.bias_pairs(self[Reg.P])] = np.stack(
            [bias, np.zeros_like(bias)], 2).astype(np.int16)


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


def finish(state: State) -> None:
    """After LOSS: the results of an MVA with Flag.SPECULATIVE, unless a sample has an error.

    Raises
    ------
    Fault
        ADDRESS, of that MVA.
    """
    pending, state.pending = state.pending, None
    if pending is not None and state.kept:
        tensor = _Tensor(state, pending.registers, pending.flags)
        tensor.post(pending.sums, tensor[Reg.Q])
