"""The random generator of stochastic rounding against golden.lfsr."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden import lfsr
from tangente.rtl.mixer import Mixer

#: load, seed, advance, word of one cycle.
Cycle = tuple[bool, int, bool, int]


class MixerBench(UnitBench):
    """Runs cycles; returns the states and the mixed words seen in each."""

    async def task(self, ctx, cycles: list[Cycle]) -> tuple[list[int], list[int]]:
        dut, states, mixed = self.dut, [], []
        for load, seed, advance, word in [*cycles, *[(False, 0, False, 0)] * Mixer.LATENCY]:
            ctx.set(dut.load, load)
            ctx.set(dut.seed, seed)
            ctx.set(dut.advance, advance)
            ctx.set(dut.word, word)
            states.append(ctx.get(dut.state))
            mixed.append(ctx.get(dut.random))
            await ctx.tick()
        return states[:len(cycles)], mixed[Mixer.LATENCY:]


class SignsBench(MixerBench):
    """The same with ``signs`` high throughout."""

    async def task(self, ctx, cycles: list[Cycle]) -> tuple[list[int], list[int]]:
        ctx.set(self.dut.signs, 1)
        return await super().task(ctx, cycles)


@functools.cache
def bench() -> MixerBench:
    return MixerBench(Mixer())


_STATES = st.one_of(st.integers(1, (1 << 64) - 1), st.sampled_from((1, 1 << 63, (1 << 64) - 1)))
_CYCLES = st.tuples(st.booleans(), _STATES, st.booleans(), st.integers(0, 0xFFFF))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=_STATES, cycles=st.lists(_CYCLES, min_size=1, max_size=30))
def test_against_golden(seed: int, cycles: list[Cycle]) -> None:
    cycles = [(True, seed, True, 0), *cycles]
    states, mixed = bench().run(cycles)
    state = states[0]
    for (load, new, advance, word), seen, random in zip(cycles, states, mixed):
        assert seen == state
        assert random == int(lfsr.mix(state, np.array([word]))[0])
        state = new if load else lfsr.advance(state) if advance else state


def test_state_after_configuration() -> None:
    states, _ = MixerBench(Mixer()).run([(False, 0, False, 0)])
    assert states == [1]


@settings(max_examples=20, derandomize=True, deadline=None)
@given(seed=_STATES, words=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=10))
def test_signs_are_of_one_state(seed: int, words: list[int]) -> None:
    unit = SignsBench(Mixer())
    _, mixed = unit.run([(True, seed, False, 0), *((False, 0, False, word) for word in words)])
    assert mixed[1:] == [int(random) for random in lfsr.mix(lfsr.SIGN_STATE, np.array(words))]
