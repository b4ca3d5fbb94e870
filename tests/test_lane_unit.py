"""The lane unit against golden: update rules of weight slots, and rounded register values."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import lfsr, update
from tangente.golden.config import Config, preset
from tangente.golden.formats import requantise
from tangente.rtl.lane_unit import LaneUnit
from tangente.rtl.rule import Decoder, Pools, StartRule

CONFIG = preset("tiny")
#: Bounds of a rounded sum: DEEP adds 4095 products of a 16-bit code, a slope and an element.
SUM_MAX = 32768 * 255 * 255 * 4095
_SETTINGS = settings(max_examples=80, derandomize=True, deadline=None)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A job's format; the names are those of Decoder."""

    value: int = 0
    update: int = 0
    event: int = 0
    stochastic: int = 0
    master: int = 0
    asymm: int = 0
    code_bits: int = 9
    acc_bits: int = 4
    shift: int = 0


class Ruled(wiring.Component):
    """A lane unit with the decoder of its rule."""

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            **{field.name: In(5) for field in dataclasses.fields(Rule)},
            "sum0": In(signed(48)), "sum1": In(signed(48)), "tie0": In(1), "tie1": In(1),
            "half": In(1), "slot": In(16), "slot_half": In(1),
            "start": Out(StartRule()),
            "value_out": Out(signed(config.element_bits)), "value_clipped": Out(1),
            "slot_out": Out(16), "slot_clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.decoder = decoder = Decoder(self.config)
        m.submodules.unit = self.unit = unit = LaneUnit(self.config)
        wiring.connect(m, decoder.lane, unit.rule)
        wiring.connect(m, decoder.start, wiring.flipped(self.start))
        m.d.comb += [getattr(decoder, field.name).eq(getattr(self, field.name))
                     for field in dataclasses.fields(Rule)]
        m.d.comb += [
            unit.sum0.eq(self.sum0), unit.sum1.eq(self.sum1), unit.tie0.eq(self.tie0),
            unit.tie1.eq(self.tie1), unit.half.eq(self.half),
            unit.slot0.eq(Mux(self.slot_half, 0, self.slot & decoder.slot_mask)),
            unit.slot1.eq(Mux(self.slot_half, self.slot & decoder.slot_mask, 0)),
            self.value_out.eq(unit.value), self.value_clipped.eq(unit.value_clipped),
            self.slot_out.eq(unit.slot_out), self.slot_clipped.eq(unit.slot_clipped),
        ]
        return m


class LaneBench(UnitBench):
    """Runs pairs of product sum and slot, one a cycle, the halves in turn or as told."""

    async def task(self, ctx, rule: Rule, products: list[int], random: list[int],
                   slots: list[int], halves: list[int]) -> list[tuple[int, int, int, int]]:
        """Of each sum (value, value_clipped, slot_out, slot_clipped).

        products : what the multipliers add to the sum's start. random : the lane's random places.
        """
        dut = self.dut
        for field in dataclasses.fields(rule):
            ctx.set(getattr(dut, field.name), getattr(rule, field.name))
        await ctx.tick().repeat(LaneUnit.SLOT_LATENCY + 1)
        mask, top = ctx.get(dut.start.mask), ctx.get(dut.start.top)
        places = 0
        for index, pool in enumerate(Pools):
            if ctx.get(dut.start.random) >> index & 1:
                places |= sum(1 << place for place in pool)
        values, changed = [], []
        for cycle in range(len(products) + LaneUnit.SLOT_LATENCY):
            half = halves[cycle] if cycle < len(products) else 0
            start = mask & ~(places & random[cycle] if cycle < len(products) else 0)
            start |= top * (-1 << lfsr.PLACES)
            total = start + (products[cycle] if cycle < len(products) else 0)
            # As the pattern detector: all ones where the start is, and two places above.
            tie = ~total & (start << 2 | 3) & (1 << 48) - 1 == 0
            ctx.set(dut.half, half)
            # The other half's sum is unfinished: anything.
            ctx.set(dut.sum1 if half else dut.sum0, total)
            ctx.set(dut.sum0 if half else dut.sum1, ~total)
            ctx.set(dut.tie1 if half else dut.tie0, tie)
            ctx.set(dut.tie0 if half else dut.tie1, not tie)
            late = cycle - 3
            ctx.set(dut.slot, slots[late] if 0 <= late < len(products) else 0x5A5A)
            ctx.set(dut.slot_half, halves[late] if 0 <= late < len(products) else 0)
            values.append((ctx.get(dut.value_out), ctx.get(dut.value_clipped)))
            changed.append((ctx.get(dut.slot_out), ctx.get(dut.slot_clipped)))
            await ctx.tick()
        values = values[LaneUnit.VALUE_LATENCY:]
        return [(*value, *slot) for value, slot in zip(values, changed[LaneUnit.SLOT_LATENCY:])]


@functools.cache
def bench(element_bits: int = CONFIG.element_bits) -> LaneBench:
    return LaneBench(Ruled(dataclasses.replace(CONFIG, element_bits=element_bits)))


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


def products(rule: Rule, sums: list[int]) -> list[int]:
    """What the array adds for these sums: for slots, the negative, shifted to their place."""
    return [-total << 15 - rule.shift % 16 for total in sums] if rule.update else sums


def run(rule: Rule, sums: list[int], random: list[int], before: list[int], data: st.DataObject,
        element_bits: int = CONFIG.element_bits) -> list[tuple[int, int, int, int]]:
    halves = data.draw(st.lists(st.integers(0, 1), min_size=len(before), max_size=len(before)))
    return bench(element_bits).run(rule, products(rule, sums), random, before, halves)


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
    random = lfsr.random_bits(state or 1, 7 + np.arange(len(totals), dtype=np.uint64), 1, 0,
                              lfsr.PLACES)
    rule = Rule(update=1, shift=shift, code_bits=code_bits, acc_bits=acc_bits, asymm=asymm,
                **RULES[name])
    result = run(rule, d, random.ravel().tolist(), before, data)
    count = update.apply(expected, totals, np.ones((len(totals), 2), np.bool_), state, 7, form)
    assert [changed for _, _, changed, _ in result] == (
        expected.view(np.uint16).ravel().tolist())
    assert sum(clipped for *_, clipped in result) == count


@_SETTINGS
@given(element_bits=st.sampled_from((5, 9)), shift=st.integers(0, 31), data=st.data())
def test_values(element_bits: int, shift: int, data: st.DataObject) -> None:
    """DRV: rounded to nearest even, saturated to an element."""
    total = data.draw(st.lists(sums(shift, 2 << element_bits, SUM_MAX), min_size=1, max_size=24))
    rule = Rule(value=1, shift=shift)
    result = run(rule, total, [0] * len(total), [0x5A5A] * len(total), data, element_bits)
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
    rule = Rule(update=1, code_bits=code_bits, acc_bits=acc_bits, asymm=asymm, **RULES[name])
    result = bench().run(rule, products(rule, d), [0] * len(d), before,
                         [i % 2 for i in range(len(cases))])
    expected = as_array(before).reshape(-1, 2).copy()
    count = update.apply(expected, np.array(d, np.int64).reshape(-1, 2),
                         np.ones((len(expected), 2), np.bool_), None, 0, form)
    assert [changed for _, _, changed, _ in result] == (
        expected.view(np.uint16).ravel().tolist())
    assert sum(clipped for *_, clipped in result) == count
