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
    bottom: int
    low_code: int
    acc_mask: int
    acc_sign: int
    event: int

    @classmethod
    def value(cls, shift: int) -> Rule:
        """A rounded value, no slot."""
        return cls(shift=shift, low_mask=(1 << shift) - 1, tie=int(shift > 0), unit=1,
                   code_mask=0xFF00, bottom=0x8100, low_code=0x7F00, acc_mask=15, acc_sign=8,
                   event=0)

    @classmethod
    def make(cls, shift: int, code_bits: int, acc_bits: int, *, event: bool = False,
             stochastic: bool = False, master: bool = False, asymm: bool = False) -> Rule:
        """An update rule; the same arguments make golden's :func:`update.form`."""
        total = code_bits + (acc_bits if master else 0)
        unit, code = 1 << (16 - total), 1 << (16 - code_bits)
        nearest = not (event or stochastic)
        dropped = shift + 16 - total if nearest else 0
        return cls(shift=shift, low_mask=(1 << dropped) - 1, tie=int(dropped > 0), unit=unit,
                   code_mask=-unit & 0xFFFF, bottom=0x8000 | (0 if asymm else code),
                   low_code=-code & 0x7FFF, acc_mask=(1 << acc_bits) - 1,
                   acc_sign=1 << acc_bits >> 1, event=int(event))


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


#: The rules, as keywords of Rule.make and update.form; whether their random bits are zero.
RULES = {"nearest": {}, "stochastic": {"stochastic": True}, "master": {"stochastic": True,
         "master": True}, "master, floor": {"master": True, "stochastic": False},
         "event": {"event": True, "stochastic": True}, "event, floor": {"event": True}}


def draw_format(name: str, data: st.DataObject) -> tuple[int, int, bool, int]:
    """Code bits, accumulator bits, asymm, shift that the rule called ``name`` takes."""
    stateful = name.split(",")[0] in ("event", "master")
    code_bits = data.draw(st.integers(2, 15 if stateful else 16))
    acc_bits = data.draw(st.integers(int(stateful), min(12, 16 - code_bits)))
    asymm = data.draw(st.booleans()) and code_bits < 16
    total = code_bits + (acc_bits if "master" in name else 0)
    shift = data.draw(st.integers(0, 31 if "event" in name else 15 + total))
    return code_bits, acc_bits, asymm, shift


@pytest.mark.parametrize("name", RULES)
@_SETTINGS
@given(data=st.data())
def test_rules(name: str, data: st.DataObject) -> None:
    code_bits, acc_bits, asymm, shift = draw_format(name, data)
    form = update.form(shift, code_bits, acc_bits, asymm=asymm, **RULES[name])
    reach = (2 << acc_bits) if form.threshold else 1 << code_bits
    d = data.draw(st.lists(sums(form.down, reach, 4095 * 255 * 255), min_size=1, max_size=24))
    before = [data.draw(slots(code_bits, acc_bits)) for _ in d]
    # Two lanes a word: half 0 and half 1 of one lane.
    d += d[:len(d) % 2]
    before += before[:len(before) % 2]
    state = data.draw(st.integers(1, (1 << 64) - 1)) if form.random else None
    expected = as_array(before).reshape(-1, 2).copy()
    totals = np.array(d, np.int64).reshape(-1, 2)
    start = np.full_like(totals, (1 << form.down >> 1) if form.nearest else 0)
    if state is not None:
        start += lfsr.random_bits(state, 7 + np.arange(len(totals), dtype=np.uint64), 1,
                                  form.down)
    rule = Rule.make(shift, code_bits, acc_bits, asymm=asymm, **RULES[name])
    result = run(rule, (totals + start).ravel().tolist(), before, data)
    count = update.apply(expected, totals, np.ones(len(totals), np.bool_), state, 7, form)
    assert [changed for _, _, changed, _ in result] == (
        expected.view(np.uint16).ravel().tolist())
    assert sum(clipped for *_, clipped in result) == count


@_SETTINGS
@given(element_bits=st.sampled_from((5, 9)), shift=st.integers(0, 31), data=st.data())
def test_values(element_bits: int, shift: int, data: st.DataObject) -> None:
    """DRV: rounded to nearest even, saturated to an element."""
    total = data.draw(st.lists(sums(shift, 2 << element_bits, SUM_MAX), min_size=1, max_size=24))
    rule = Rule.value(shift)
    preloaded = [value + (1 << shift >> 1) for value in total]
    result = run(rule, preloaded, [0] * len(total), data, element_bits)
    for value, (rounded, clipped, *_) in zip(total, result):
        expected, count = requantise(np.array([value]), shift, element_bits)
        assert (rounded, clipped) == (int(expected[0]), count)


@pytest.mark.parametrize("asymm", [False, True])
@pytest.mark.parametrize("name", ["nearest", "master, floor", "event, floor"])
@pytest.mark.parametrize("code_bits", [2, 3, 5])
def test_every_slot(code_bits: int, name: str, asymm: bool) -> None:
    """All slots of a small format, all steps that differ, exhaustively."""
    acc_bits = 3
    codes = [code << (16 - code_bits) for code in range(1 << code_bits)]
    form = update.form(0, code_bits, acc_bits, asymm=asymm, **RULES[name])
    # The accumulator, or what stands in its place at the master's low end.
    place = (16 - code_bits - acc_bits) if name.startswith("master") else 0
    cases = [(step, code | acc << place) for code in codes for acc in range(1 << acc_bits)
             for step in range(-10, 11)]
    before = [slot for _, slot in cases]
    d = [step << form.down for step, _ in cases]
    rule = Rule.make(0, code_bits, acc_bits, asymm=asymm, **RULES[name])
    half = (1 << form.down >> 1) if form.nearest else 0
    result = bench().run(rule, [total + half for total in d], before,
                         [i % 2 for i in range(len(cases))])
    expected = as_array(before).reshape(-1, 2).copy()
    totals = np.array(d, np.int64).reshape(-1, 2)
    count = update.apply(expected, totals, np.ones(len(totals), np.bool_), None, 0, form)
    assert [changed for _, _, changed, _ in result] == (
        expected.view(np.uint16).ravel().tolist())
    assert sum(clipped for *_, clipped in result) == count
