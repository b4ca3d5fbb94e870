"""The lane unit against golden: update rules of weight slots, and rounded register values."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import lfsr, update
from tangente.golden.config import preset
from tangente.golden.formats import requantise
from tangente.rtl.lane_unit import LaneUnit

CONFIG = preset("tiny")
#: Bounds of a rounded sum: DEEP adds 4095 products of a 16-bit code, a slope and an element.
SUM_MAX = 32768 * 255 * 255 * 4095
_SETTINGS = settings(max_examples=80, derandomize=True, deadline=None)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the datapath decodes for the lanes; the names are those of LaneRule."""

    shift: int
    low_mask: int
    tie: int
    unit: int
    code_mask: int
    acc_mask: int
    acc_sign: int
    event: int

    @classmethod
    def make(cls, shift: int, dropped: int, code_bits: int, acc_bits: int, event: bool,
             slots: bool) -> Rule:
        """``dropped``: bits of the sum that rounding to nearest drops, 0 to floor."""
        unit = 1 << (16 - code_bits)
        return cls(shift=shift, low_mask=(1 << dropped) - 1, tie=int(dropped > 0),
                   unit=unit if slots else 1, code_mask=-unit & 0xFFFF,
                   acc_mask=(1 << acc_bits) - 1, acc_sign=1 << acc_bits >> 1, event=int(event))


class LaneBench(UnitBench):
    """Runs pairs of sum and slot, one a cycle, the halves in turn or as told."""

    async def task(self, ctx, rule: Rule, sums: list[int], slots: list[int],
                   halves: list[int]) -> list[tuple[int, int, int, int]]:
        """Of each sum (value, value_clipped, slot_out, slot_clipped)."""
        dut = self.dut
        for field in dataclasses.fields(rule):
            ctx.set(getattr(dut.rule, field.name), getattr(rule, field.name))
        await ctx.tick().repeat(dut.SLOT_LATENCY)
        values, changed = [], []
        for cycle in range(len(sums) + dut.SLOT_LATENCY):
            half = halves[cycle] if cycle < len(sums) else 0
            total = sums[cycle] if cycle < len(sums) else 0
            ctx.set(dut.half, half)
            # The other half's sum is unfinished: anything.
            ctx.set(dut.sum1 if half else dut.sum0, total)
            ctx.set(dut.sum0 if half else dut.sum1, ~total)
            ctx.set(dut.slot, slots[cycle - 3] if 3 <= cycle < len(sums) + 3 else 0x5A5A)
            values.append((ctx.get(dut.value), ctx.get(dut.value_clipped)))
            changed.append((ctx.get(dut.slot_out), ctx.get(dut.slot_clipped)))
            await ctx.tick()
        values = values[dut.VALUE_LATENCY:dut.VALUE_LATENCY + len(sums)]
        return [(*value, *slot) for value, slot in zip(values, changed[dut.SLOT_LATENCY:])]


@functools.cache
def bench(element_bits: int = CONFIG.element_bits) -> LaneBench:
    return LaneBench(LaneUnit(dataclasses.replace(CONFIG, element_bits=element_bits)))


@st.composite
def sums(draw: st.DrawFn, shift: int, reach: int, largest: int) -> int:
    """A sum: anything, or near a multiple of 2^shift, of which ``reach`` matter; often a tie."""
    half = 1 << shift >> 1
    near = st.builds(lambda level, by: (level << shift) + by, st.integers(-reach, reach),
                     st.sampled_from((0, half, -half, half + 1, half - 1, 1, -1)))
    value = draw(st.one_of(near, st.integers(-largest, largest), st.integers(-300, 300),
                           st.sampled_from((largest, -largest, 0))))
    return max(-largest, min(largest, value))


@st.composite
def slots(draw: st.DrawFn, code_bits: int, acc_bits: int) -> int:
    """A slot: anything, or the codes and accumulators at which something happens."""
    limit = (1 << (code_bits - 1)) - 1
    code = draw(st.sampled_from((limit, limit - 1, 0, -1, 1 - limit, -limit, -limit - 1)))
    t = 1 << acc_bits >> 1
    acc = draw(st.sampled_from((0, t - 1, t - 2, -t, 1 - t, 1, -1)))
    special = (code << (16 - code_bits) | acc & (1 << acc_bits) - 1) & 0xFFFF
    return draw(st.one_of(st.just(special), st.integers(0, 0xFFFF)))


def run(rule: Rule, preloaded: list[int], before: list[int], data: st.DataObject,
        element_bits: int = CONFIG.element_bits) -> list[tuple[int, int, int, int]]:
    halves = data.draw(st.lists(st.integers(0, 1), min_size=len(before), max_size=len(before)))
    return bench(element_bits).run(rule, preloaded, before, halves)


def as_array(words: list[int]) -> np.ndarray:
    return np.array([words], np.uint16).view(np.int16)


@_SETTINGS
@given(code_bits=st.integers(2, 16), data=st.data())
def test_nearest(code_bits: int, data: st.DataObject) -> None:
    acc_bits = data.draw(st.integers(0, min(12, 16 - code_bits)))
    shift = data.draw(st.integers(0, 15 + code_bits))
    down = shift + 16 - code_bits
    d = data.draw(st.lists(sums(down, 1 << code_bits, 4095 * 255 * 255), min_size=1, max_size=24))
    before = [data.draw(slots(code_bits, acc_bits)) for _ in d]
    rule = Rule.make(shift, down, code_bits, acc_bits, event=False, slots=True)
    result = run(rule, [total + (1 << down >> 1) for total in d], before, data)
    for total, slot, (_, _, changed, clipped) in zip(d, before, result):
        expected = as_array([slot])
        count = update.nearest(expected, np.array([[total]], np.int64), shift, code_bits)
        assert (changed, clipped) == (int(expected[0, 0]) & 0xFFFF, count)


@_SETTINGS
@given(code_bits=st.integers(2, 15), random=st.booleans(), data=st.data())
def test_event(code_bits: int, random: bool, data: st.DataObject) -> None:
    acc_bits = data.draw(st.integers(1, min(12, 16 - code_bits)))
    shift = data.draw(st.integers(0, 31))
    d = data.draw(st.lists(sums(shift, 2 << acc_bits, 4095 * 255 * 255), min_size=1, max_size=24))
    before = [data.draw(slots(code_bits, acc_bits)) for _ in d]
    # Two lanes a word: half 0 and half 1 of one lane.
    d += d[:len(d) % 2]
    before += before[:len(before) % 2]
    state = data.draw(st.integers(1, (1 << 64) - 1)) if random else None
    expected = as_array(before).reshape(-1, 2).copy()
    totals = np.array(d, np.int64).reshape(-1, 2)
    bits = np.zeros_like(totals)
    if state is not None:
        bits = lfsr.random_bits(state, 7 + np.arange(len(totals), dtype=np.uint64), 1, shift)
    rule = Rule.make(shift, 0, code_bits, acc_bits, event=True, slots=True)
    result = run(rule, (totals + bits).ravel().tolist(), before, data)
    count = update.event(expected, totals, state, 7, shift, code_bits, acc_bits)
    assert [changed for _, _, changed, _ in result] == (
        expected.view(np.uint16).ravel().tolist())
    assert sum(clipped for *_, clipped in result) == count


@_SETTINGS
@given(element_bits=st.sampled_from((5, 9)), shift=st.integers(0, 31), data=st.data())
def test_values(element_bits: int, shift: int, data: st.DataObject) -> None:
    """DRV: rounded to nearest even, saturated to an element."""
    total = data.draw(st.lists(sums(shift, 2 << element_bits, SUM_MAX), min_size=1, max_size=24))
    rule = Rule.make(shift, shift, 8, 4, event=False, slots=False)
    preloaded = [value + (1 << shift >> 1) for value in total]
    result = run(rule, preloaded, [0] * len(total), data, element_bits)
    for value, (rounded, clipped, *_) in zip(total, result):
        expected, count = requantise(np.array([value]), shift, element_bits)
        assert (rounded, clipped) == (int(expected[0]), count)


@pytest.mark.parametrize("code_bits", [2, 3, 5])
def test_every_slot(code_bits: int) -> None:
    """All slots of a small format, all steps that differ: both rules, exhaustively."""
    acc_bits = 3
    codes = [code << (16 - code_bits) for code in range(1 << code_bits)]
    steps = range(-10, 11)
    cases = [(step, code | acc) for code in codes for acc in range(1 << acc_bits)
             for step in steps]
    before = [slot for _, slot in cases]
    halves = [i % 2 for i in range(len(cases))]
    for event in (False, True):
        shift = 0
        down = 0 if event else 16 - code_bits
        d = [step << down for step, _ in cases]
        rule = Rule.make(shift, down, code_bits, acc_bits, event=event, slots=True)
        result = bench().run(rule, [total + (1 << down >> 1) for total in d], before, halves)
        expected, totals = as_array(before).copy(), np.array([d], np.int64)
        if event:
            mixed, table = np.zeros(1, np.uint64), np.zeros((len(d), 0, 3), np.uint8)
            count = update._event(expected, totals, mixed, table, shift, code_bits, acc_bits)
        else:
            count = update.nearest(expected, totals, shift, code_bits)
        assert [changed for _, _, changed, _ in result] == expected.view(np.uint16)[0].tolist()
        assert sum(clipped for *_, clipped in result) == count
