"""The compiled accelerator against golden: random programs of tensor instructions, every bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from programs import (
    TENSOR,
    Assembler,
    Image,
    Outcome,
    complete,
    differences,
    listing,
    random_instruction,
    random_registers,
    run_golden,
    run_model,
)

from tangente.golden.config import preset
from tangente.golden.isa import ERROR_SAMPLES, Cause, Flag, Op, Post, Reg, encode
from tangente.golden.machine import Machine
from tangente.sim.model import Model

CONFIG = preset("tiny")
_SEEDS = st.integers(0, (1 << 32) - 1)


def _both(library: Path, image: Image, words: list[int], seed: int, size: int,
          machine: Machine | None = None) -> tuple[Outcome, Outcome]:
    golden = run_golden(CONFIG, image, words, seed, size, machine)
    with Model(library, ddr_bytes=image.data.size) as model:
        model.reset()
        return golden, run_model(model, image, words, seed, size, bound=1_000_000)


@settings(max_examples=60, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=_SEEDS, seed=st.integers(1, (1 << 64) - 1),
       steps=st.lists(st.tuples(st.sampled_from(TENSOR), _SEEDS), min_size=1, max_size=12))
def test_random_programs(tiny_library: Path, image: int, seed: int,
                         steps: list[tuple[Op, int]]) -> None:
    start = Image.random(CONFIG, np.random.default_rng(image))
    bodies = [random_instruction(np.random.default_rng(step), CONFIG, op) for op, step in steps]
    words, size = complete(start, bodies)
    note("\n".join(listing(body) for body in bodies))
    golden, simulated = _both(tiny_library, start, words, seed, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []


@pytest.mark.parametrize("op", TENSOR, ids=lambda op: op.name)
def test_every_instruction_at_full_size(tiny_library: Path, op: Op) -> None:
    """Widths far beyond a word's lanes and the queues' depths; operands in the two halves."""
    rng = np.random.default_rng(op)
    image = Image.random(CONFIG, rng)
    sizes = {"count": 6, "p": 41, "q": 37, "m_base": 0, "s_base": 0, "s_stride": 21, "v_base": 0,
             "v_stride": 10, "y_base": 2048, "y_stride": 22, "yr_base": 700, "yr_stride": 13,
             "g_base": 0, "g_stride": 23, "f_base": 1400, "f_stride": 12, "r_base": 11,
             "r_stride": 10, "tiles": 3, "t_base": 0, "t_stride": 40, "b_base": 0}
    bodies = []
    if op in (Op.SRT, Op.TOP, Op.SCT):
        # Something to sort, lists of inputs and of neurons to offer or to scatter.
        sizes |= {"f_base": 0, "v_base": 8, "l_base": 16 if op is Op.SRT else 300, "s_base": 0,
                  "f_stride": 8, "v_stride": 6, "r_base": 30, "r_stride": 8, "count": 5}
        activations = {**sizes, "y_base": 0, "shift": 12, "shift2": 1, "s_stride": 0}
        bodies.append(random_instruction(rng, CONFIG, Op.MVA, **activations))
        bodies[0][-1] = encode(Op.MVA, 0, Flag.INPUT | Flag.PAIRS | Post.ACT)
        for first, q, keep in ((0, 37, 8), (8, 41, 6)):
            bodies.append(Assembler().set(p=41, q=q, k=keep, m_base=0, l_base=first, s_base=first
                                          ).op(Op.SRT, Flag.INPUT).words)
        # The shared list's ids are those of a matrix whose outputs are the second one's inputs.
        layer = random_registers(rng, CONFIG, Op.TOP) | sizes
        bodies.append(Assembler().set(**layer | {"q": 41, "l_base": 30, "k": 8, "shift": 9,
                                                 "b_shift": 8}).op(Op.TOP, Flag.SHARED).words)
        if op is Op.SCT:
            bodies.append(Assembler().set(l_base=300).op(Op.TOP, Flag.SHARED).words)
    bodies += [random_instruction(rng, CONFIG, op, **sizes) for _ in range(4)]
    words, size = complete(image, bodies)
    golden, simulated = _both(tiny_library, image, words, 7, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []


def _list_program(body: Assembler, **sizes: int) -> tuple[Image, list[int], int]:
    """Inputs in pair memory and their list, then ``body``; the memories, words and bytes stored."""
    image = Image.random(CONFIG, np.random.default_rng(1))
    program = Assembler().set(count=1, p=40, q=40, k=8, code_bits=8, acc_bits=4, m_base=0, s_base=0,
                              l_base=0, y_base=0, yr_base=0, shift=8, shift2=8, e_shift=8,
                              b_shift=6, b_base=0, v_base=0, f_base=0, f_stride=8, v_stride=8,
                              r_base=40, r_stride=8, tiles=0)
    # Activations: no pair of them is zero.
    program.op(Op.MVA, Flag.INPUT | Flag.PAIRS | Flag.SIGMOID | Post.ACT).op(Op.SRT, Flag.INPUT)
    program.set(**sizes)
    return image, *complete(image, [program.words + body.words])


@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("p", [1, 3, 5, 15, 17])
def test_what_follows_an_odd_vector(tiny_library: Path, p: int, place: int) -> None:
    """TOP reads pairs: the element after the last one is none of its inputs."""
    body = Assembler().set(p=p, q=9, g_base=place, l_base=40).op(Op.TOP, Flag.SHARED)
    body.set(l_base=300, r_base=40).op(Op.TOP, Flag.OWN | Flag.LISTS)
    image, words, size = _list_program(body)
    machine = Machine(CONFIG, image.data.size)
    golden, simulated = _both(tiny_library, image, words, 7, size, machine)
    assert machine.state.pairs[place + p // 2].all(), "nothing would show"
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times


@pytest.mark.parametrize("op", [Op.MVA, Op.MVD, Op.UPD, Op.DRV, Op.SRT, Op.TOP, Op.SCT],
                         ids=lambda op: op.name)
def test_a_shared_list_that_nobody_takes(tiny_library: Path, op: Op) -> None:
    """Its entries are under way when TOP ends, and mean nothing to the next instruction."""
    body = Assembler().set(p=7, q=3, l_base=300, g_base=0, s_base=2048).op(
        Op.TOP, Flag.SHARED | Flag.LIVE)
    body.set(l_base=40, s_base=0, v_base=8, yr_base=700, y_base=2048, s_stride=0, v_stride=0).op(op)
    image, words, size = _list_program(body)
    golden, simulated = _both(tiny_library, image, words, 7, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times


@pytest.mark.parametrize("flags", [
    Flag(0), Flag.STOCHASTIC, Flag.EVENT, Flag.EVENT | Flag.STOCHASTIC,
    Flag.MASTER | Flag.STOCHASTIC], ids=str)
def test_updates_of_half_a_pair(tiny_library: Path, flags: Flag) -> None:
    """A half without a live scalar has no turn of the lane units: words follow each other at once.

    Of one sample, of two and of more than are scanned; the unused bits of its slots stay.
    """
    rng = np.random.default_rng(int(flags))
    image = Image.random(CONFIG, rng)
    inputs = image.inputs(CONFIG)
    inputs[2:] = rng.integers(1, 256, inputs.size - 2) * (rng.random(inputs.size - 2) < 0.5)
    program = Assembler()
    image.load(program)
    program.set(count=40, p=9, q=8, m_base=0, s_base=8, s_stride=8, v_base=0, v_stride=2,
                y_base=0, y_stride=4, yr_base=0, yr_stride=2, b_base=0, shift=14, shift2=0,
                b_shift=0, code_bits=7, acc_bits=4)
    program.op(Op.MVA, Flag.INPUT | Flag.ROWS | Post.ACT)
    first = 0
    for count, q, pairs in ((1, 4, 60), (1, 8, 30), (2, 4, 40), (33, 8, 20)):
        program.set(count=count, p=2 * pairs, q=q, m_base=first, s_base=5 + first,
                    s_stride=pairs + 8 - pairs % 8, shift=3)
        program.op(Op.UPD, Flag.INPUT | flags)
        first += pairs * CONFIG.tiles(q)
    size = image.dump(program)
    golden, simulated = _both(tiny_library, image, program.words, 7, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times


@pytest.mark.parametrize("count", [1, 5, 64, 70])
def test_samples_without_errors(tiny_library: Path, count: int) -> None:
    """BZE after a LOSS of ``count`` samples, of which some have no target that is not met."""
    rng = np.random.default_rng(count)
    image = Image.random(CONFIG, rng)
    program = Assembler()
    image.load(program)
    # Logits of zero: the squared errors are the targets.
    program.set(count=count, p=3, q=3, m_base=0, s_base=0, s_stride=0, v_base=0, v_stride=0,
                y_base=0, y_stride=2, yr_base=0, yr_stride=0, g_base=0, g_stride=0, f_base=0,
                f_stride=0, b_base=0, shift=31, shift2=0, b_shift=0, code_bits=8, acc_bits=0)
    program.op(Op.MVA, Flag.INPUT | Post.LOGIT)
    program.set(s_base=0, s_stride=2, t_base=0, t_stride=3, mantissa=255, e_shift=10,
                y_base=0, y_stride=2)
    targets = image.targets(CONFIG)
    targets[:3 * count] = 0
    wrong = rng.random(count) < 0.4
    targets[3 * np.flatnonzero(wrong) + rng.integers(0, 3, wrong.sum())] = 500
    program.op(Op.LOSS, Flag.PAIRS | Flag.POST0)
    # A sample that has no error is counted in R1, in the pair that a MVA then writes.
    program.set(r0=0, r1=0, r2=100)
    loop = len(program.words)
    program.words += [encode(Op.BZE, Reg.R0, loop + 2), encode(Op.ADD, Reg.R1, 1),
                      encode(Op.ADD, Reg.R0, 1), encode(Op.BLT, Reg.R0, loop << 6 | Reg.R2),
                      encode(Op.MOV, Reg.Y_BASE, Reg.R1)]
    program.set(count=1, q=2, s_base=0)
    program.op(Op.MVA, Flag.INPUT | Flag.PAIRS | Post.DELTA)
    size = image.dump(program)
    golden, simulated = _both(tiny_library, image, program.words, 7, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times
    machine = Machine(CONFIG, image.data.size)
    run_golden(CONFIG, image, program.words, 7, size, machine)
    known = min(count, ERROR_SAMPLES)
    assert machine.registers[Reg.R1] == 100 - (~wrong[:known]).sum()


_VALUES = st.one_of(st.integers(0, 70), st.integers(0, 4096), st.integers(0, (1 << 24) - 1),
                    st.sampled_from((255, 256, 257, 2047, 2048, 4095, 4096, 65535, 65536)))


@settings(max_examples=40, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.sampled_from(TENSOR), seed=_SEEDS,
       name=st.sampled_from(sorted(random_registers(np.random.default_rng(0), CONFIG, Op.MVA))),
       value=_VALUES)
def test_faults(tiny_library: Path, op: Op, seed: int, name: str, value: int) -> None:
    """One register holds anything: cause and PC are golden's, and the next program is not hurt."""
    rng = np.random.default_rng(seed)
    *registers, tensor = random_instruction(rng, CONFIG, op)
    words = [*registers, *Assembler().set(**{name: value}).words, tensor, encode(Op.HALT)]
    image = Image.random(CONFIG, rng)
    note(listing(words))
    sizes = {"count": 4, "p": 7, "q": 7, "code_bits": 8, "acc_bits": 8, "s_base": 0, "y_base": 0,
             "s_stride": 5, "y_stride": 5, "t_base": 0, "t_stride": 9, "b_base": 0, "m_base": 0,
             "b_shift": 0, "shift": 8, "e_shift": 8}
    after = [random_instruction(rng, CONFIG, op, **sizes) for op in (Op.MVA, Op.LOSS, Op.BUP)]
    after[0][-1] = encode(Op.MVA, 0, Flag.INPUT | Post.LOGIT)
    after[1][-1] = encode(Op.LOSS, 0, Flag.BIAS_GRADIENT)
    again, size = complete(image, after)
    with Model(tiny_library, ddr_bytes=image.data.size) as model:
        model.reset()
        golden, faulty = (run_golden(CONFIG, image, words, 1, 0),
                          run_model(model, image, words, 1, 0, bound=1_000_000))
        assert (faulty.cause, faulty.pc) == (golden.cause, golden.pc)
        golden, healthy = (run_golden(CONFIG, image, again, 1, size),
                           run_model(model, image, again, 1, size, bound=1_000_000))
    # The other memories keep what the first program left there.
    assert golden.cause is Cause.DONE
    assert [line for line in differences(CONFIG, golden, healthy)
            if not line.startswith(("PAIR", "LOGIT", "ROWS"))] == []
