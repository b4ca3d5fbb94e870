"""The specification's arithmetic against oracles that others wrote.

Rounding: Python's ``round`` of fractions. Softmax, cross-entropy and squared error: torch in
float64. Update rules: fractions, and expectations. Random bits: statistics.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tangente.golden import lfsr, update
from tangente.golden.config import preset
from tangente.golden.formats import (
    code_max,
    make_slot,
    round_shift,
    saturate,
    slot_accumulator,
    slot_code,
)
from tangente.golden.isa import Flag, Op, Post, Reg
from tangente.golden.loss import softmax_errors, squared_errors
from tangente.golden.machine import Machine

_fast = settings(max_examples=100, deadline=None, derandomize=True, database=None)
_int48 = st.integers(-(1 << 47), (1 << 47) - 1)
_formats = [(2, 5), (2, 12), (3, 5), (4, 8), (8, 8), (15, 1), (11, 5)]


def _clamp(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


# --- formats --------------------------------------------------------------------------------------

@_fast
@given(st.lists(_int48, min_size=1, max_size=20), st.integers(0, 31))
def test_round_shift(values: list[int], shift: int) -> None:
    expected = [round(Fraction(value, 1 << shift)) for value in values]
    assert round_shift(np.array(values), shift).tolist() == expected


@pytest.mark.parametrize("shift", range(1, 32))
def test_round_shift_of_ties(shift: int) -> None:
    values = np.arange(-9, 10, 2) << shift - 1
    assert round_shift(values, shift).tolist() == [-4, -4, -2, -2, 0, 0, 2, 2, 4, 4]


@_fast
@given(st.lists(_int48, min_size=1, max_size=20), st.integers(2, 48))
def test_saturate(values: list[int], bits: int) -> None:
    limit = (1 << (bits - 1)) - 1
    clamped, count = saturate(np.array(values), bits)
    assert clamped.tolist() == [_clamp(value, limit) for value in values]
    assert count == sum(abs(value) > limit for value in values)


@pytest.mark.parametrize(("code_bits", "acc_bits"), [*_formats, (16, 0), (8, 0), (4, 12)])
def test_slots(code_bits: int, acc_bits: int) -> None:
    """A slot is n bits of code, zeros, m bits of accumulator; both are signed."""
    rng = np.random.default_rng(0)
    largest, t = (1 << (code_bits - 1)) - 1, 1 << acc_bits >> 1
    codes = rng.integers(-largest, largest + 1, 500)
    accumulators = rng.integers(-t, max(t, 1), 500)
    left = (codes * 2 ** (16 - code_bits)).astype(np.int16)
    slots = make_slot(left, accumulators.astype(np.int16), acc_bits)
    expected = [(int(c) << 16 - code_bits) % 65536 + int(a) % (1 << acc_bits)
                for c, a in zip(codes, accumulators)]
    assert slots.view(np.uint16).tolist() == expected
    np.testing.assert_array_equal(slot_code(slots, code_bits), left)
    np.testing.assert_array_equal(slot_accumulator(slots, acc_bits), accumulators)
    assert code_max(code_bits) == largest << 16 - code_bits


# --- loss -----------------------------------------------------------------------------------------

def _logits(seed: int, samples: int, outputs: int, spread: float) -> np.ndarray:
    z = np.random.default_rng(seed).normal(0, spread * 1024, (samples, outputs))
    return np.clip(np.rint(z), -32767, 32767).astype(np.int64)


@pytest.mark.parametrize("spread", [0.01, 0.5, 3, 12])
@pytest.mark.parametrize("outputs", [1, 2, 10, 256])
def test_softmax_is_near_torch(outputs: int, spread: float) -> None:
    """p to 0.4 %, half of which is the floor of t; cross-entropy to 4/256 bit and 0.03 %."""
    z = _logits(outputs, 200, outputs, spread)
    label = np.random.default_rng(1).integers(0, outputs, len(z))
    raw, loss, hits, saturated = softmax_errors(z, label, 1, 0, 18)
    assert saturated == 0
    exact = torch.from_numpy(z / 1024)
    p = torch.softmax(exact, 1).numpy() - np.eye(outputs)[label]
    assert np.abs(raw / 32768 - p).max() <= 0.004
    bits = torch.nn.functional.cross_entropy(
        exact, torch.from_numpy(label), reduction="none").numpy() / np.log(2)
    assert (np.abs(loss / 256 - bits) <= 4 / 256 + 3e-4 * bits).all()
    np.testing.assert_array_equal(hits, exact.argmax(1).numpy() == label)


def test_softmax_without_target() -> None:
    """A class number beyond the outputs: p itself, the logarithm of the sum, never a hit."""
    z = _logits(3, 50, 10, 1)
    raw, loss, hits, _ = softmax_errors(z, np.full(50, 10), 1, 0, 18)
    exact = torch.softmax(torch.from_numpy(z / 1024), 1).numpy()
    assert np.abs(raw / 32768 - exact).max() <= 0.004
    largest = exact.max(1)
    assert np.abs(loss / 256 + np.log2(largest)).max() <= 4 / 256
    assert hits.sum() == 0


@_fast
@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 31), st.integers(5, 9),
       st.booleans())
def test_errors_are_rounded_once(seed: int, mantissa: int, shift: int, bits: int,
                                 squared: bool) -> None:
    """raw x mantissa / 2^shift, to nearest even, clamped; counted where it was."""
    z = _logits(seed, 4, 5, 6)
    rng = np.random.default_rng(seed)
    target = rng.integers(-32768, 32768, z.shape) if squared else rng.integers(0, 6, 4)
    function = squared_errors if squared else softmax_errors
    raw, *_ = function(z, target, 1, 0, 18)
    errors, *_, saturated = function(z, target, mantissa, shift, bits)
    limit = (1 << (bits - 1)) - 1
    exact = [round(Fraction(int(value) * mantissa, 1 << shift)) for value in raw.ravel()]
    assert errors.ravel().tolist() == [_clamp(value, limit) for value in exact]
    assert saturated == sum(abs(value) > limit for value in exact)


def test_squared_errors_equal_torch() -> None:
    """Exact: z - target is half the gradient of the squared error."""
    z = _logits(5, 50, 7, 8)
    target = np.random.default_rng(5).integers(-32768, 32768, z.shape)
    raw, loss, hits, _ = squared_errors(z, target, 1, 0, 18)
    exact = torch.from_numpy(z / 1024).requires_grad_()
    error = torch.nn.functional.mse_loss(exact, torch.from_numpy(target / 1024), reduction="none")
    error.sum().backward()
    np.testing.assert_array_equal(raw / 1024, exact.grad.numpy() / 2)
    np.testing.assert_array_equal(loss / 2**20, error.detach().numpy().sum(1))
    assert hits.sum() == 0


# --- update rules ---------------------------------------------------------------------------------

def _all(slots: np.ndarray) -> np.ndarray:
    """All halves of all words change."""
    return np.ones((len(slots), 2), np.bool_)


@_fast
@given(st.integers(0, 2**32 - 1), st.integers(2, 16), st.integers(0, 15))
def test_nearest(seed: int, code_bits: int, shift: int) -> None:
    rng = np.random.default_rng(seed)
    largest = (1 << (code_bits - 1)) - 1
    codes = rng.integers(-largest, largest + 1, (3, 8))
    down = shift + 16 - code_bits
    d = rng.integers(-1 << down + 2, (1 << down + 2) + 1, codes.shape)
    d = np.where(rng.integers(0, 3, d.shape) == 0, d >> down << down | 1 << down >> 1, d)
    slots = (codes << 16 - code_bits).astype(np.int16)
    clamped = update.apply(slots, d, _all(slots), None, 0, update.form(shift, code_bits, 0))
    exact = [int(c) - round(Fraction(int(x), 1 << down)) for c, x in zip(codes.ravel(), d.ravel())]
    assert (slots.ravel() >> 16 - code_bits).tolist() == [_clamp(x, largest) for x in exact]
    assert clamped == sum(abs(x) > largest for x in exact)


def _event_oracle(code: int, accumulator: int, u: int, code_bits: int,
                  acc_bits: int) -> tuple[int, int, bool]:
    """The event rule as docs/architecture.md words it, in Python integers."""
    t, largest = 1 << (acc_bits - 1), (1 << (code_bits - 1)) - 1
    x = _clamp(accumulator - u, 2 * t - 1)
    step = (x >= t) - (x <= -t)
    if abs(code + step) > largest:
        return code, _clamp(x, t - 1), True
    return code + step, x - step * t, False


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(("code_bits", "acc_bits"), _formats)
def test_event(code_bits: int, acc_bits: int, stochastic: bool) -> None:
    """Every slot by itself, with the random bits that :mod:`tangente.golden.lfsr` has for it."""
    rng = np.random.default_rng(code_bits)
    lanes, words, first, state = 4, 16, 37, 0x1234_5678_9ABC_DEF1
    largest, t = (1 << (code_bits - 1)) - 1, 1 << (acc_bits - 1)
    for shift in (0, 3, 12, 23):
        codes = rng.integers(-largest, largest + 1, (words, 2 * lanes))
        accumulators = rng.integers(-t + 1, t, codes.shape)
        d = rng.integers(-3 * t << shift, (3 * t << shift) + 1, codes.shape)
        d[rng.integers(0, 4, d.shape) == 0] = 0
        slots = make_slot((codes << 16 - code_bits).astype(np.int16),
                          accumulators.astype(np.int16), acc_bits)
        random = np.zeros_like(d)
        if stochastic:
            random = lfsr.random_bits(state, np.arange(first, first + words, dtype=np.uint64),
                                      lanes, 15 - shift % 16, shift)
        form = update.form(shift, code_bits, acc_bits, event=True, stochastic=stochastic)
        clamped = update.apply(slots, d, _all(slots), state if stochastic else None, first, form)
        expected, count = [], 0
        for c, a, x, r in zip(codes.ravel().tolist(), accumulators.ravel().tolist(),
                              d.ravel().tolist(), random.ravel().tolist()):
            # A product of zero changes nothing, whatever the random bits.
            u = (x + r) // (1 << shift) if x else 0
            code, accumulator, stopped = _event_oracle(c, a, u, code_bits, acc_bits)
            expected.append((code, accumulator))
            count += stopped
        found = list(zip((slot_code(slots, code_bits).ravel() >> 16 - code_bits).tolist(),
                         slot_accumulator(slots, acc_bits).ravel().tolist()))
        assert found == expected
        assert clamped == count


def test_event_is_unbiased() -> None:
    """Code x T + A changes by -d / 2^shift on average: to 5 standard errors over 64,000 slots."""
    lanes, words, shift, code_bits, acc_bits = 100, 320, 10, 8, 8
    d = np.full((words, 2 * lanes), 700)
    total, count = 0, 0
    state = 1
    for _ in range(3):
        state = lfsr.advance(lfsr.advance(state))
        slots = np.zeros(d.shape, np.int16)
        form = update.form(shift, code_bits, acc_bits, event=True, stochastic=True)
        update.apply(slots, d, _all(slots), state, 0, form)
        total += slot_accumulator(slots, acc_bits).sum()
        count += d.size
    p = 700 / 1024
    assert abs(total / count + p) <= 5 * np.sqrt(p * (1 - p) / count)


@pytest.mark.parametrize("rule", [{}, {"stochastic": True}, {"stochastic": True, "master": True},
                                  {"event": True, "stochastic": True}])
def test_halves_without_a_live_scalar_stay(rule: dict[str, bool]) -> None:
    """Whatever their slots' unused bits hold; the others change as if they were alone."""
    rng = np.random.default_rng(4)
    before = rng.integers(-32768, 32768, (24, 8)).astype(np.int16)
    d = rng.integers(-1 << 16, 1 << 16, before.shape)
    d[rng.integers(0, 3, d.shape) == 0] = 0
    changes = rng.integers(0, 2, (len(before), 2)).astype(np.bool_)
    form = update.form(3, 4, 5, **rule)
    state = 0x1234_5678_9ABC_DEF1 if form.random else None
    slots, alone = before.copy(), before.copy()
    count = update.apply(slots, d, changes, state, 40, form)
    total = 0
    for w, half in np.argwhere(changes):
        only = np.arange(2)[None] == half
        total += update.apply(alone[w:w + 1], d[w:w + 1], only, state, 40 + w, form)
    np.testing.assert_array_equal(slots, alone)
    whole = before.copy()
    update.apply(whole, d, _all(whole), state, 40, form)
    np.testing.assert_array_equal(slots, np.where(changes.repeat(4, axis=1), whole, before))
    assert count == total


@pytest.mark.parametrize("samples", [1, 3, 33])
def test_upd_leaves_halves_alone_whose_scalar_is_zero_in_all_samples(samples: int) -> None:
    """Scanned or not. A half of live scalars and dead errors loses its unused bits."""
    config = preset("tiny")
    machine = Machine(config)
    state, r = machine.state, machine.registers
    state.weights[:] = 0x1235
    state.pairs[:64 * 33:64, :] = 0
    for b in range(samples):
        # Pair 0 lives in the last sample, by one element; pair 1 in none; 2 and 3 in all of them.
        state.pairs[64 * b:64 * b + 4] = [(0, int(b == samples - 1)), (0, 0), (5, -3), (-1, 0)]
    for reg, value in ((Reg.COUNT, samples), (Reg.P, 8), (Reg.Q, 7), (Reg.S_STRIDE, 64),
                       (Reg.CODE_BITS, 8)):
        r[reg] = value
    machine.execute(Op.UPD, 0)
    # Two tiles of each pair.
    expected = np.full((len(state.weights), 2, config.lanes), 0x1235)
    expected[:2, 1] = expected[4:6] = expected[6:8, 0] = 0x1200
    np.testing.assert_array_equal(state.weights.reshape(expected.shape), expected)
    assert state.live.tolist() == [
        [[False, b == samples - 1], [False, False], [True, True], [True, False]]
        for b in range(samples)]


@pytest.mark.parametrize("op", [Op.MVA, Op.MVD, Op.MVR], ids=lambda op: op.name)
@pytest.mark.parametrize(("samples", "erring"), [
    (1, [0]), (1, [1]), (4, [0, 1, 0, 1]), (4, [0, 0, 0, 0]), (4, [1, 0]), (33, 33 * [0])])
def test_products_leave_samples_out(op: Op, samples: int, erring: list[int]) -> None:
    """Nothing is written of them, the others are as ever. Of 33 samples, and those that no LOSS has
    looked at, none is left out."""
    config = preset("tiny")
    flags = Flag.PAIRS | Flag.ROWS | Flag.SLOPE | Post.DELTA | Flag.BIAS_GRADIENT
    found = []
    for wanted in (0, int(Flag.WANTED)):
        machine = Machine(config)
        state, r = machine.state, machine.registers
        for memory in (state.weights, state.pairs, state.rows):
            memory[:] = np.random.default_rng(1).integers(-100, 100, memory.shape)
        state.erring = np.array(erring, np.bool_)
        for reg, value in ((Reg.COUNT, samples), (Reg.P, 7), (Reg.Q, 6), (Reg.S_STRIDE, 8),
                           (Reg.V_STRIDE, 2), (Reg.R_STRIDE, 16), (Reg.CODE_BITS, 8),
                           (Reg.SHIFT, 9 if op is Op.MVR else 16),
                           (Reg.Y_BASE, 2000), (Reg.Y_STRIDE, 5), (Reg.YR_BASE, 1000),
                           (Reg.YR_STRIDE, 3), (Reg.G_BASE, 1000), (Reg.G_STRIDE, 4)):
            r[reg] = value
        before = state.pairs.copy(), state.rows.copy()
        machine.execute(op, flags | wanted)
        found.append(state)
    every, some = found
    left_out = [samples <= 32 and b < len(erring) and not erring[b] for b in range(samples)]
    gradient = np.zeros_like(every.biases)
    for memory, old, base, stride in ((lambda state: state.pairs, before[0], 2000, 5),
                                      (lambda state: state.rows, before[1], 1000, 3)):
        expected = memory(every).copy()
        for b in np.flatnonzero(left_out):
            expected[base + b * stride:base + (b + 1) * stride] = (
                old[base + b * stride:base + (b + 1) * stride])
        np.testing.assert_array_equal(memory(some), expected)
    for b in np.flatnonzero(~np.array(left_out)):
        errors = every.pairs[2000 + b * 5:2000 + b * 5 + (4 if op is Op.MVD else 3)]
        gradient[:len(errors), :, 1] += errors
    np.testing.assert_array_equal(some.biases, gradient)


@_fast
@given(st.integers(-32767, 32767), st.integers(-32768, 32767), st.integers(0, 31))
def test_bias_step(bias: int, gradient: int, shift: int) -> None:
    result, saturated = update.bias_step(np.array([bias]), np.array([gradient]), shift)
    exact = bias - round(Fraction(gradient * 256, 1 << shift))
    assert result.tolist() == [_clamp(exact, 32767)]
    assert saturated == (abs(exact) > 32767)


# --- random bits ----------------------------------------------------------------------------------

def test_advance() -> None:
    """Marsaglia's xorshift 13, 7, 17: its first values from 1."""
    assert lfsr.advance(1) == 1082269761
    assert lfsr.advance(1082269761) == 1152992998833853505
    assert lfsr.advance(0x8000_0000_0000_0001) < 1 << 64


def test_fixed_signs() -> None:
    """Of the first random bit of one state, whatever else is drawn."""
    words = np.arange(300, 400, dtype=np.uint64)
    signs = lfsr.signs(300, 100, 12)
    np.testing.assert_array_equal(
        signs, np.where(lfsr.random_bits(lfsr.SIGN_STATE, words, 12, 0, 3) & 1, -1, 1))
    np.testing.assert_array_equal(lfsr.signs(310, 5, 12), signs[10:15])
    # 100 words of 100 lanes: sums of lanes and words within five deviations.
    many = lfsr.signs(0, 100, 100).astype(np.int64)
    assert np.abs(many.sum(0)).max() <= 5 * 10
    assert np.abs(many.sum(1)).max() <= 5 * 200 ** 0.5
    assert np.abs(many.T @ many - 100 * np.eye(200)).max() <= 6 * 10


@pytest.fixture(scope="module", params=[0, 11, lfsr.PLACES - 8])
def random_bits(request: pytest.FixtureRequest) -> np.ndarray:
    """Eight bits of 200 lanes for 24 words in 4096 updates: (words, updates, lanes)."""
    state, values = 0x9E37_79B9_7F4A_7C15, []
    for _ in range(4096):
        state = lfsr.advance(state)
        values.append(lfsr.random_bits(state, np.array(_WORDS, np.uint64), 100, request.param, 8))
    return np.array(values).transpose(1, 0, 2)


#: Neighbours, and words one address bit apart.
_WORDS = [0, *(1 << k for k in range(16)), 3, 100, 101, 102, 511, 777, 1023]


def _signs(values: np.ndarray) -> np.ndarray:
    """The four upper bits as +-1: (updates, lanes * 4)."""
    bits = values[:, :, None] >> np.arange(4, 8) & 1
    return (2 * bits - 1).reshape(len(values), -1).astype(np.float32)


@pytest.mark.parametrize("lanes", [4, 8, 12, 100, 128])
def test_wires(lanes: int) -> None:
    """All wires differ; one lane's are linearly independent; no two lanes share one nearby."""
    wires, table = lfsr.wires(lanes), lfsr.lane_wires(lanes)
    assert len({frozenset(taps) for taps in wires}) == len(wires)
    assert all(len(set(taps)) == 3 and set(taps) <= set(range(64)) for taps in wires)
    assert len(table) == 2 * lanes
    assert all(len(row) == lfsr.PLACES for row in table)
    for row in table:
        rank, vectors = 0, [sum(1 << tap for tap in wires[wire]) for wire in row]
        while vectors:
            pivot = vectors.pop()
            if pivot:
                rank += 1
                lowest = pivot & -pivot
                vectors = [v ^ pivot if v & lowest else v for v in vectors]
        assert rank == lfsr.PLACES
    for place in range(lfsr.PLACES - lfsr.WINDOW + 1):
        nearby = [wire for row in table for wire in row[place:place + lfsr.WINDOW]]
        assert len(set(nearby)) == len(nearby)


def test_random_values_are_uniform(random_bits: np.ndarray) -> None:
    """Chi-square of each lane's 256 values over all words and updates; 200 lanes, bound 5 sigma."""
    for lane in range(random_bits.shape[2]):
        counts = np.bincount(random_bits[:, :, lane].ravel(), minlength=256)
        expected = counts.sum() / 256
        statistic = ((counts - expected) ** 2).sum() / expected
        assert abs(statistic - 255) <= 5 * np.sqrt(2 * 255)


@pytest.mark.parametrize("lag", [0, 1, 2, 3])
def test_random_bits_of_updates_and_lanes_are_independent(random_bits: np.ndarray,
                                                          lag: int) -> None:
    """Correlations of 800 bits with 800, same word: 5 sigma are expected, 6.5 allowed."""
    signs = _signs(random_bits[0])
    product = signs[lag:].T @ signs[:len(signs) - lag] / np.sqrt(len(signs) - lag)
    if lag == 0:
        np.fill_diagonal(product, 0)
    assert np.abs(product).max() <= 6.5


@pytest.mark.parametrize("other", range(1, len(_WORDS)))
def test_random_bits_of_words_are_independent(random_bits: np.ndarray, other: int) -> None:
    """Any bit of one word with any of another: neighbouring weights round independently."""
    for one in {0, other - 1}:
        product = _signs(random_bits[one]).T @ _signs(random_bits[other])
        assert np.abs(product).max() / np.sqrt(random_bits.shape[1]) <= 6.5
