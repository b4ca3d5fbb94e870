"""Cycle counts: what golden's clock says against registers CYCLES, BUSY and STALL_LOAD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from programs import (
    TENSOR,
    TIMES,
    Assembler,
    Image,
    complete,
    listing,
    random_instruction,
    run_golden,
    run_model,
)

from tangente.golden.clock import DDR_LATENCY, Clock
from tangente.golden.config import preset
from tangente.golden.isa import Cause, Flag, Op, Post, Reg, Space, encode
from tangente.sim.model import Model

CONFIG = preset("tiny")
_SEEDS = st.integers(0, (1 << 32) - 1)
_FAST = settings(derandomize=True, deadline=None, max_examples=40,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])
_SIZES = ((1, 1, 1), (1, 9, 4), (3, 9, 9), (5, 20, 13), (4, 2, 40), (2, 64, 3), (40, 3, 5))
_FLAGS = {
    **{op: (Post.ACT, Post.LOGIT, Post.DELTA | Flag.SLOPE, int(Flag.SLOPE_ROWS),
            int(Flag.SLOPE_ROWS | Flag.ROWS | Flag.PAIRS)) for op in (Op.MVA, Op.MVD, Op.MVR)},
    Op.UPD: (0, Flag.EVENT | Flag.STOCHASTIC), Op.LOSS: (0, Flag.POST0), Op.DRV: (0,),
    Op.SEL: (0,), Op.BUP: (0,), Op.SRT: (0, Flag.INPUT), Op.SCT: (0,),
    Op.TOP: (0, Flag.OWN, Flag.SHARED,
             Flag.OWN | Flag.SHARED | Flag.LISTS | Flag.LIVE | Flag.WANTED),
}


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.random(CONFIG, np.random.default_rng(1))


def _times(library: Path, image: Image, words: list[int],
           refused: bool = False) -> tuple[dict[str, int], dict[str, int]]:
    """Golden's counts and the RTL's."""
    with Model(library, ddr_bytes=image.data.size) as model:
        model.reset()
        simulated = run_model(model, image, words, 1, 0)
    golden = run_golden(CONFIG, image, words, 1, 0)
    assert simulated.cause == golden.cause
    assert golden.cause is Cause.DONE or refused
    assert tuple(golden.times) == TIMES
    return golden.times, simulated.times


@pytest.mark.parametrize("op", TENSOR, ids=lambda op: op.name)
def test_single_instructions(tiny_library: Path, image: Image, op: Op) -> None:
    for count, p, q in _SIZES:
        for flags in _FLAGS[op]:
            choices = ((1, 0), (3, 2), (2, 40)) if op in (Op.DRV, Op.SEL) else ((1, 0),)
            if op in (Op.SRT, Op.TOP, Op.SCT):
                choices = ((1, 1), (1, 8))
            for tiles, k in choices:
                program = Assembler().set(count=count, p=p, q=q, tiles=tiles, k=k, code_bits=8,
                                          acc_bits=4)
                if op is Op.TOP:
                    # A list and activations, so that there is something to offer.
                    program.set(ddr=0, local=0, length=8).op(Op.LOAD, Space.INPUT)
                    program.op(Op.WAIT).set(s_base=0, y_base=0, shift=10)
                    program.op(Op.SRT, Flag.INPUT).op(Op.MVA, Flag.INPUT | Flag.PAIRS)
                    program.set(f_stride=k, v_stride=k, r_stride=k, r_base=16, l_base=300,
                                b_shift=8, e_shift=8, shift2=8)
                program.op(op, flags).op(op, flags).op(Op.HALT)
                golden, simulated = _times(tiny_library, image, program.words)
                note = f"{op.name} flags 0x{int(flags):x} count {count} p {p} q {q} tiles {tiles}"
                assert simulated == golden, note


@pytest.mark.parametrize("flags", [Flag.SHARED, Flag.SHARED | Flag.OWN, Flag.OWN | Flag.LISTS,
                                   Flag.SHARED | Flag.LISTS], ids=str)
@pytest.mark.parametrize("p", [1, 2, 6])
def test_few_offers(tiny_library: Path, image: Image, p: int, flags: Flag) -> None:
    """Groups that are made sooner than the last one's lists are stored."""
    for q in (1, 3, 9):
        for keep, length in ((8, 8), (8, 1), (3, 2), (1, 1)):
            program = Assembler()
            image.load(program)
            program.set(count=1, p=40, q=40, k=8, code_bits=8, acc_bits=4, m_base=0, s_base=0,
                        l_base=0, y_base=0, b_base=0, shift=8, shift2=8, e_shift=8, b_shift=6,
                        v_base=0, f_base=0, f_stride=length, v_stride=length, r_base=40,
                        r_stride=keep)
            program.op(Op.MVA, Flag.INPUT | Flag.PAIRS | Flag.SIGMOID | Post.ACT)
            program.op(Op.SRT, Flag.INPUT).set(p=p, q=q, k=keep, l_base=300)
            program.op(Op.TOP, flags).op(Op.HALT)
            golden, simulated = _times(tiny_library, image, program.words)
            assert simulated == golden, f"q {q} k {keep} of {length}"


def test_deeper_registers_may_be_absent(tiny_library: Path, image: Image) -> None:
    program = Assembler().set(count=1, p=9, q=11, tiles=0, code_bits=8).op(Op.DRV).op(Op.HALT)
    golden, simulated = _times(tiny_library, image, program.words)
    assert simulated == golden


@_FAST
@given(op=st.sampled_from((Op.LOAD, Op.STORE)), space=st.sampled_from(Space),
       ddr=st.integers(0, 1000), units=st.integers(1, 64))
def test_transfers(tiny_library: Path, image: Image, op: Op, space: Space, ddr: int,
                   units: int) -> None:
    program = Assembler().set(ddr=ddr, local=0, length=units).op(op, space).op(Op.WAIT)
    program.op(op, space).op(Op.HALT)
    golden, simulated = _times(tiny_library, image, program.words, refused=True)
    assert simulated == golden


@_FAST
@given(image_seed=_SEEDS, between=st.integers(0, 3),
       steps=st.lists(st.tuples(st.sampled_from(TENSOR), _SEEDS), min_size=1, max_size=8))
def test_random_programs(tiny_library: Path, image_seed: int, between: int,
                         steps: list[tuple[Op, int]]) -> None:
    """Transfers of all memories, and instructions among which transfers and scalars run."""
    image = Image.random(CONFIG, np.random.default_rng(image_seed))
    bodies = []
    for op, seed in steps:
        rng = np.random.default_rng(seed)
        body = random_instruction(rng, CONFIG, op)
        background = Assembler().set(ddr=int(rng.integers(0, 500)), local=0,
                                     length=1 + int(rng.integers(0, 60)))
        spaces = (Space.INPUT, Space.TARGET, Space.WEIGHT, Space.BIAS)
        background.op(Op.LOAD, spaces[rng.integers(len(spaces))])
        body += background.words * int(rng.integers(0, 3))
        body += [encode(Op.MOV, Reg.R1, Reg.MAX_ERROR)] * int(rng.integers(0, 2))
        body += Assembler().set(r0=3).words * between
        bodies.append(body)
    words, _ = complete(image, bodies)
    note("\n".join(listing(body) for body in bodies))
    golden, simulated = _times(tiny_library, image, words)
    assert simulated == golden


def test_the_memory_of_the_simulation_is_the_one_that_is_counted(tiny_library: Path,
                                                                 image: Image) -> None:
    """With another latency the counts differ by exactly that."""
    words = Assembler().set(ddr=0, local=0, length=1).op(Op.LOAD, Space.INPUT).op(Op.HALT).words
    with Model(tiny_library, ddr_bytes=image.data.size) as model:
        model.reset()
        model.timing(latency=DDR_LATENCY + 7)
        slower = run_model(model, image, words, 1, 0).times
    golden = run_golden(CONFIG, image, words, 1, 0).times
    assert slower["CYCLES"] == golden["CYCLES"] + 7
    assert slower["STALL_LOAD"] == golden["STALL_LOAD"] + 7


def test_spent_adds_up_to_busy() -> None:
    clock = Clock(CONFIG)
    registers = [0] * 64
    for reg, value in ((Reg.COUNT, 3), (Reg.P, 9), (Reg.Q, 7), (Reg.TILES, 2), (Reg.K, 3)):
        registers[reg] = value
    for op in TENSOR:
        clock.tensor(op, registers, 0)
    assert set(clock.spent) == set(TENSOR)
    assert sum(clock.spent.values()) == clock.busy
    clock.start()
    assert (clock.now, clock.busy, clock.spent) == (0, 0, {})
