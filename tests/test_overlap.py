"""Instructions side by side (Flag.BESIDE): bits and cycles are golden's, and so are faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from programs import (
    Assembler,
    Image,
    Outcome,
    complete,
    differences,
    listing,
    run_golden,
    run_model,
)

from tangente.golden.config import preset
from tangente.golden.isa import Cause, Flag, Op, Post, Reg, Space, encode
from tangente.golden.machine import Machine
from tangente.sim.model import Model

CONFIG = preset("tiny")
_SEEDS = st.integers(0, (1 << 32) - 1)
#: Everything is read from the first parts of the memories and written to the others.
_APART = {"y_base": 2048, "yr_base": 700, "f_base": 1400, "b_base": 0, "t_base": 0, "t_stride": 3,
          "code_bits": 8, "acc_bits": 4, "asymm": 0, "mantissa": 200, "e_shift": 6, "b_shift": 3}
#: Flags of products: results in every memory, at one and at two cycles a pair.
_RESULTS = (Flag.PAIRS | Post.DELTA | Flag.SLOPE, Flag.ROWS | Flag.PAIRS | Post.DELTA,
            Flag.ROWS | Flag.SLOPE_ROWS | Flag.PAIRS | Post.ACT, int(Post.LOGIT),
            Flag.PAIRS | Post.DELTA | Flag.BIAS_GRADIENT)
_UPDATES = (int(Flag.BESIDE), Flag.BESIDE | Flag.EVENT | Flag.STOCHASTIC,
            Flag.BESIDE | Flag.INPUT | Flag.STOCHASTIC)


def sources() -> list[list[int]]:
    """Fill what is read: pairs and rows of the first parts."""
    parts = [{"s_base": 8 + 300 * i, "y_base": 900 * i, "yr_base": 300 * i} for i in (0, 1)]
    return [Assembler().set(**_APART | part, count=10, p=21, q=40, m_base=7, s_stride=16,
                            y_stride=90, yr_stride=30, shift=12, shift2=1)
            .op(Op.MVA, Flag.INPUT | Flag.PAIRS | Flag.ROWS | Post.ACT).words for part in parts]


def instruction(rng: np.random.Generator, op: Op, flags: int) -> list[int]:
    """One of any sizes; UPD's samples often lie alike in their groups of pairs."""
    def below(end: int) -> int:
        return int(rng.integers(0, end))

    values = _APART | {
        "count": 1 + below(6), "p": 1 + below(40), "q": 1 + below(40), "m_base": below(200),
        "s_base": below(1400), "s_stride": 8 * below(4) if below(2) else below(40),
        "v_base": below(400), "v_stride": below(12), "y_stride": 20 + below(9),
        "yr_stride": 10 + below(9), "g_base": below(1400), "g_stride": below(40),
        "f_stride": 10 + below(9), "shift": 8 + below(8), "shift2": below(4)}
    if op is Op.UPD and below(5) == 0:
        values |= {"count": 31 + below(4), "p": 1 + below(6), "s_stride": 8}
    if op in (Op.MVA, Op.MVD) and flags & 3 != Post.LOGIT and below(5) == 0:
        values |= {"count": 31 + below(4), "p": 1 + below(6), "q": 1 + below(6),
                   "s_stride": 2 + below(7), "g_stride": 8, "v_stride": below(8)}
    if op is Op.LOSS:
        values |= {"p": 1 + below(9), "s_base": below(100), "s_stride": below(25)}
    if flags & 3 == Post.LOGIT and op is not Op.LOSS:
        # Samples of products with 20 pairs.
        values |= {"y_base": below(40), "y_stride": 20}
    return Assembler().set(**values).op(op, flags).words


def some_err(rng: np.random.Generator, image: Image) -> list[int]:
    """A LOSS of which no, few, half or nearly all samples have an error; it writes nothing."""
    count = int(rng.choice([1, 2, 5, 6, 31, 32, 34, 64]))
    targets = image.targets(CONFIG)
    first = int(rng.integers(0, targets.size - count))
    # Errors are the targets: no product writes the last logits.
    targets[first:first + count] = 3000 * (rng.random(count) < rng.choice([0, 0.1, 0.5, 0.9]))
    return Assembler().set(count=count, p=1, s_base=CONFIG.logit_pairs - 1, s_stride=0, e_shift=10,
                           mantissa=200, t_base=first, t_stride=1, y_base=0, y_stride=0, yr_base=0,
                           yr_stride=0).op(Op.LOSS, Flag.POST0).words


def both(library: Path, image: Image, words: list[int], size: int) -> tuple[Outcome, Outcome]:
    with Model(library, ddr_bytes=image.data.size) as model:
        model.reset()
        simulated = run_model(model, image, words, 5, size, bound=1_000_000)
    return run_golden(CONFIG, image, words, 5, size), simulated


def equal(library: Path, image: Image, bodies: list[list[int]]) -> dict[str, int]:
    """Run on both; everything must be equal. The cycles."""
    words, size = complete(image, [*sources(), *bodies])
    golden, simulated = both(library, image, words, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times
    return golden.times


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.random(CONFIG, np.random.default_rng(3))


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[Op, int]]:
    """Products, losses, updates and bias steps, most of them beside what is before them."""
    result = []
    for _ in range(draw(st.integers(1, 3))):
        op = draw(st.sampled_from((Op.MVA, Op.MVD, Op.MVR, Op.LOSS)))
        flags = Flag.PAIRS | Flag.ROWS | Flag.BIAS_GRADIENT
        if op is not Op.LOSS:
            flags = draw(st.sampled_from(_RESULTS))
        result.append((op, int(flags)))
        for op in draw(st.lists(st.sampled_from((Op.UPD, Op.UPD, Op.BUP)), max_size=4)):
            flags = draw(st.sampled_from(_UPDATES)) if op is Op.UPD else Flag.BESIDE
            alone = draw(st.integers(0, 4)) == 0
            result.append((op, int(flags) & ~(alone * int(Flag.BESIDE))))
    return result


@settings(max_examples=40, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image_seed=_SEEDS, seed=_SEEDS, ran=steps())
def test_random_orders(tiny_library: Path, image_seed: int, seed: int,
                       ran: list[tuple[Op, int]]) -> None:
    rng = np.random.default_rng(seed)
    bodies = [instruction(rng, op, flags) for op, flags in ran]
    note("\n".join(listing(body) for body in bodies))
    equal(tiny_library, Image.random(CONFIG, np.random.default_rng(image_seed)), bodies)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[Op, int, dict[str, int]]]:
    """Instructions, and products beside them that read what they write, or anything else."""
    result: list[tuple[Op, int, dict[str, int]]] = []
    place = 2048
    for _ in range(draw(st.integers(1, 3))):
        op = draw(st.sampled_from((Op.MVA, Op.MVA, Op.MVD, Op.MVR, Op.LOSS, Op.BUP, Op.UPD)))
        flags = {Op.UPD: 0, Op.BUP: 0, Op.LOSS: int(Flag.PAIRS)}.get(op)
        if flags is None:
            flags = int(draw(st.sampled_from(_RESULTS)))
        stride, count = draw(st.integers(20, 28)), draw(st.integers(1, 6))
        result.append((op, flags, {"y_base": place, "y_stride": stride, "count": count}))
        for _ in range(draw(st.integers(1, 3))):
            if draw(st.integers(0, 3)) == 0:
                result.append((draw(st.sampled_from((Op.UPD, Op.BUP))), int(Flag.BESIDE), {}))
            flags = int(draw(st.sampled_from(_RESULTS)) | Flag.BESIDE)
            values = {"y_base": place + 250, "y_stride": draw(st.integers(20, 28)),
                      "count": draw(st.integers(1, 6))}
            if draw(st.integers(0, 4)):
                values |= {"s_base": place + draw(st.integers(0, 9)), "s_stride": stride}
                stride, place = values["y_stride"], place + 250
            elif draw(st.booleans()):
                flags |= Flag.INPUT
                values |= {"s_base": draw(st.integers(0, 99)), "s_stride": 8}
            result.append((Op.MVA, flags, values))
            if flags & 3 == Post.LOGIT:
                break
        place = 2048 if place > 2900 else place + 250
    return result


@settings(max_examples=80, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image_seed=_SEEDS, seed=_SEEDS, ran=chains())
def test_products_beside(tiny_library: Path, image_seed: int, seed: int,
                         ran: list[tuple[Op, int, dict[str, int]]]) -> None:
    """A product begins in the array while the results that it reads are on their way."""
    rng, bodies = np.random.default_rng(seed), []
    for op, flags, values in ran:
        body = instruction(rng, op, flags)
        if flags & 3 == Post.LOGIT and op is not Op.LOSS:
            values = {name: value for name, value in values.items() if not name.startswith("y_")}
        bodies.append([*body[:-1], *Assembler().set(**values).words, body[-1]])
    note("\n".join(listing(body) for body in bodies))
    equal(tiny_library, Image.random(CONFIG, np.random.default_rng(image_seed)), bodies)


#: What may be under way when a speculative product begins, or begin while it is.
_AROUND = st.lists(st.sampled_from(((Op.MVA, Flag.PAIRS | Flag.BESIDE), (Op.MVD, _RESULTS[0]),
                                    (Op.UPD, Flag.BESIDE), (Op.BUP, Flag.BESIDE),
                                    (Op.LOSS, Flag.PAIRS))), max_size=3)


@settings(max_examples=120, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image_seed=_SEEDS, seed=_SEEDS, before=_AROUND, after=_AROUND,
       results=st.sampled_from(_RESULTS), more=st.sampled_from((Flag.BESIDE, Flag(0))),
       inputs=st.booleans(), idle=st.integers(0, 60))
def test_speculative(tiny_library: Path, image_seed: int, seed: int,
                     before: list[tuple[Op, Flag]], after: list[tuple[Op, Flag]], results: int,
                     more: Flag, inputs: bool, idle: int) -> None:
    """A product runs in the array beside a loss, which drops it if a sample has an error."""
    rng = np.random.default_rng(seed)
    image = Image.random(CONFIG, np.random.default_rng(image_seed))
    bodies = [instruction(rng, op, int(flags)) for op, flags in before]
    product = instruction(rng, Op.MVA, int(results | more | Flag.SPECULATIVE))
    values = {"count": 1}
    if rng.integers(2):
        # Longer than the loss.
        values |= {"p": 160, "q": 1 + int(rng.integers(0, 4)), "m_base": 0}
    if inputs:
        values["s_base"] = int(rng.integers(0, 60))
        product[-1] |= Flag.INPUT
    bodies += [[*product[:-1], *Assembler().set(**values).words, product[-1]],
               Assembler().set(r1=1).words * idle, some_err(rng, image),
               [encode(Op.BZE, Reg.R2, 0), *Assembler().set(r1=1, r3=3).words]]
    bodies += [instruction(rng, op, int(flags)) for op, flags in after]
    words, size = complete(image, [*sources(), [encode(Op.SET, Reg.R2, 0)], *bodies])
    branch = words.index(encode(Op.BZE, Reg.R2, 0))
    words[branch] = encode(Op.BZE, Reg.R2, branch + 3)
    note("\n".join(listing(body) for body in bodies))
    golden, simulated = both(tiny_library, image, words, size)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, simulated) == []
    assert simulated.times == golden.times


@pytest.mark.parametrize("size", [9, 160])
@pytest.mark.parametrize("then", [Op.HALT, Op.UPD, Op.JMP], ids=lambda op: op.name)
@pytest.mark.parametrize("second", [Op.LOSS, Op.MVA, Op.MVD, Op.UPD], ids=lambda op: op.name)
def test_a_product_whose_loss_never_comes(tiny_library: Path, image: Image, size: int, then: Op,
                                          second: Op) -> None:
    """The next program runs as if it had not been: bits and cycles."""
    first = Assembler()
    for body in sources():
        first.words += body
    first.set(**_VALID | {"count": 1, "p": size, "q": 9, "m_base": 0})
    first.op(Op.MVA, Flag.SPECULATIVE | Flag.PAIRS | Flag.ROWS)
    first.op(then, CONFIG.program_words if then is Op.JMP else 0).op(Op.HALT)
    rng = np.random.default_rng(size)
    image = Image(CONFIG, image.data.copy())
    loss = some_err(rng, image)
    image.targets(CONFIG)[:] = 0  # no errors: what awaited it would have its results
    bodies = [Assembler().set(**_VALID).op(second).words, loss, *sources(),
              instruction(rng, Op.MVA, int(Flag.PAIRS))]
    words, bytes_stored = complete(image, bodies)
    machine = Machine(CONFIG, image.data.size)
    with Model(tiny_library, ddr_bytes=image.data.size) as model:
        model.reset()
        for program, stored in ((first.words, 0), (words, bytes_stored)):
            simulated = run_model(model, image, program, 5, stored, bound=1_000_000)
            golden = run_golden(CONFIG, image, program, 5, stored, machine)
            assert (simulated.cause, simulated.pc) == (golden.cause, golden.pc)
        assert golden.cause is Cause.DONE
        assert differences(CONFIG, golden, simulated) == []
        assert simulated.times == golden.times


_WANTED = st.sampled_from([(op, int(flags | Flag.WANTED)) for op in (Op.MVA, Op.MVD, Op.MVR)
                           for flags in _RESULTS])


@settings(max_examples=60, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image_seed=_SEEDS, seed=_SEEDS, ran=st.lists(st.tuples(
    st.lists(_WANTED, min_size=1, max_size=3),
    st.lists(st.sampled_from((Op.UPD, Op.BUP)), max_size=2)), min_size=1, max_size=3))
def test_samples_that_err(tiny_library: Path, image_seed: int, seed: int,
                          ran: list[tuple[list[tuple[Op, int]], list[Op]]]) -> None:
    """Flag.WANTED of products, and updates beside them."""
    image = Image.random(CONFIG, np.random.default_rng(image_seed))
    rng, bodies = np.random.default_rng(seed), []
    for products, others in ran:
        bodies.append(some_err(rng, image))
        bodies += [instruction(rng, op, flags) for op, flags in products]
        bodies += [instruction(rng, op, int(Flag.BESIDE | (op is Op.UPD) * Flag.WANTED))
                   for op in others]
    note("\n".join(listing(body) for body in bodies))
    equal(tiny_library, image, bodies)


@pytest.mark.parametrize("op", [Op.MVA, Op.MVD, Op.MVR], ids=lambda op: op.name)
@pytest.mark.parametrize(("wrong", "values"), [
    ([0, 0], {}), ([1, 0], {}), ([0, 1], {}),
    # What is not made is not written beyond a memory; what is made is.
    ([1, 1, 0], {"y_base": 4096 - 20 - 20}), ([1, 0, 1], {"y_base": 4096 - 20 - 20}),
    ([0, 0, 0], {"y_base": 65535, "yr_base": 65535, "g_base": 65535, "b_base": 65535}),
    ([0, 1, 1], {"yr_base": 2046, "yr_stride": 1}), ([0, 0, 1], {"g_base": 4090, "g_stride": 3}),
    # Far beyond, and the address is never within again.
    ([1] + 8 * [0] + [1], {"y_stride": 58254}), ([1] + 30 * [0] + [1], {"yr_stride": 65536 // 4}),
    ([1] + 15 * [0] + [1], {"g_stride": 32768}),
    # The post-processing unit is at the samples between them when the last one's sum comes.
    ([1] + 30 * [0] + [1], {"p": 1, "q": 1}), ([1] + 30 * [0] + [1, 0], {"p": 1, "q": 1}),
    # Operands are looked at as without the flag.
    ([1, 0], {"m_base": 512 - 14}), ([0, 0], {"m_base": 512 - 14}), ([0], {"m_base": 512 - 14}),
    ([1, 0], {"s_base": 4090, "v_base": 2046}), ([0, 0], {"s_base": 4090, "v_base": 2046}),
    ([0], {"s_base": 4092, "v_base": 2047}), ([1], {"s_base": 4092, "v_base": 2047}),
    ([1] + 16 * [0] + [1], {"s_stride": 65535, "v_stride": 65535}),
    # Of the rows of a sample's registers the first.
    ([1, 0], {"r_stride": 2040}), ([1, 0], {"r_stride": 2047}), ([1, 0], {"r_stride": 2048}),
    ([0, 0], {"r_stride": 2048}), ([0, 1], {"r_stride": 2040}), ([0, 1], {"r_stride": 2024}),
    ([1] + 16 * [0] + [1], {"r_stride": 65535}), ([1] + 30 * [0] + [1], {"r_stride": 32768}),
], ids=str)
def test_faults_of_samples_that_err(tiny_library: Path, op: Op, wrong: list[int],
                                    values: dict[str, int]) -> None:
    """Cause and PC are golden's, and so is all that a program without a fault leaves."""
    image = Image.random(CONFIG, np.random.default_rng(7))
    image.targets(CONFIG)[:len(wrong)] = 3000 * np.array(wrong)
    loss = Assembler().set(count=len(wrong), p=1, s_base=CONFIG.logit_pairs - 1, s_stride=0,
                           e_shift=10, mantissa=200, t_base=0, t_stride=1, y_base=0, y_stride=0,
                           yr_base=0, yr_stride=0, g_base=0, g_stride=0, f_base=0, f_stride=0,
                           b_base=0).op(Op.LOSS, Flag.POST0)
    product = Assembler().set(**_VALID | {"count": len(wrong), "p": 9, "q": 9, "y_stride": 20,
                                          "yr_stride": 4, "s_stride": 4, "v_stride": 3,
                                          "g_stride": 3, "r_stride": 30} | values)
    product.op(op, Flag.WANTED | Flag.PAIRS | Flag.ROWS | Post.DELTA | Flag.SLOPE
               | Flag.BIAS_GRADIENT)
    words, size = complete(image, [*sources(), loss.words, product.words])
    golden, simulated = both(tiny_library, image, words, size)
    assert (simulated.cause, simulated.pc) == (golden.cause, golden.pc)
    assert golden.cause in (Cause.DONE, Cause.ADDRESS)
    if golden.cause is Cause.DONE:
        assert differences(CONFIG, golden, simulated) == []
        assert simulated.times == golden.times


@pytest.mark.parametrize("op", [Op.MVA, Op.MVD, Op.MVR, Op.LOSS], ids=lambda op: op.name)
def test_beside_saves_time_and_nothing_else(tiny_library: Path, image: Image, op: Op) -> None:
    """An update and two bias steps, beside a product's results' way to memory or a loss."""
    def program(beside: int, count: int) -> list[list[int]]:
        first = Assembler().set(**_APART, count=count, p=9, q=9, m_base=0, s_base=0, s_stride=8,
                                v_base=0, v_stride=5, y_stride=20, yr_stride=10, g_base=0,
                                g_stride=20, f_stride=10, shift=12, shift2=1)
        flags = Flag.PAIRS | Flag.ROWS
        flags |= Flag.BIAS_GRADIENT if op is Op.LOSS else Flag.SLOPE_ROWS | Post.ACT
        first.op(op, flags).set(m_base=60, s_base=64).op(Op.UPD, beside)
        first.set(p=40).op(Op.BUP, beside).set(b_base=30, p=20).op(Op.BUP, beside)
        return [first.words]

    for count in (1, 4):
        beside, alone = (equal(tiny_library, image, program(flag, count))
                         for flag in (int(Flag.BESIDE), 0))
        assert beside["BUSY"] < alone["BUSY"]
        assert beside["CYCLES"] < alone["CYCLES"]


_LATE = Flag.ROWS | Flag.SLOPE_ROWS | Post.ACT
_VALID = _APART | {"count": 4, "p": 20, "q": 20, "m_base": 0, "s_base": 0, "s_stride": 8,
                   "v_base": 0, "v_stride": 5, "y_stride": 20, "yr_stride": 10, "g_base": 0,
                   "g_stride": 20, "f_stride": 10, "shift": 12, "shift2": 1}


@pytest.mark.parametrize("first", [Op.MVA, Op.MVD, Op.MVR], ids=lambda op: op.name)
@pytest.mark.parametrize(("broken", "second", "values"), [
    # The product's last rows lie beyond the memory, which shows when the update runs.
    (0, Op.UPD, {"yr_base": 2048 - 34}),
    (1, Op.UPD, {"m_base": 505}), (1, Op.UPD, {"s_base": 4090}), (1, Op.UPD, {"v_base": 2040}),
    # An update that is not scanned meets its fault at its end.
    (1, Op.UPD, {"v_base": 2048 - 33, "v_stride": 1, "count": 33, "p": 1}),
    (1, Op.BUP, {"b_base": 60}), (0, Op.BUP, {"yr_base": 2048 - 34}),
    # A product that begins in the array alone.
    (0, Op.MVA, {"yr_base": 2048 - 34}), (1, Op.MVA, {"m_base": 505}),
    (1, Op.MVA, {"s_base": 4090}),
], ids=lambda value: getattr(value, "name", None))
def test_a_fault_of_one_of_two(tiny_library: Path, image: Image, first: Op, broken: int,
                               second: Op, values: dict[str, int]) -> None:
    """Cause and PC are those of the instruction that met it; the next program is not hurt."""
    program = Assembler()
    for body in sources():
        program.words += body
    program.set(**_VALID | (values if broken == 0 else {})).op(first, _LATE)
    # What differs is set while the product runs.
    changed = values if broken else {name: _VALID[name] for name in values}
    beside = program.set(**changed).op(second, Flag.BESIDE).set(**_VALID)
    # More bias steps, so that something runs when the last fault comes.
    program = beside.op(Op.BUP, Flag.BESIDE).op(Op.HALT)
    again, size = complete(image, [*sources(), Assembler().set(**_VALID).op(first, _LATE).words])
    with Model(tiny_library, ddr_bytes=image.data.size) as model:
        model.reset()
        golden, faulty = (run_golden(CONFIG, image, program.words, 1, 0),
                          run_model(model, image, program.words, 1, 0, bound=1_000_000))
        assert golden.cause is Cause.ADDRESS
        assert (faulty.cause, faulty.pc) == (golden.cause, golden.pc)
        golden, healthy = (run_golden(CONFIG, image, again, 1, size),
                           run_model(model, image, again, 1, size, bound=1_000_000))
    # The other memories keep what the first program left there.
    assert [line for line in differences(CONFIG, golden, healthy)
            if not line.startswith(("PAIR", "LOGIT", "ROWS"))] == []


@pytest.mark.parametrize("op", [Op.MVA, Op.MVD, Op.MVR, Op.UPD, Op.LOSS, Op.DRV, Op.SEL, Op.BUP],
                         ids=lambda op: op.name)
@pytest.mark.parametrize("space", [Space.INPUT, Space.TARGET], ids=lambda space: space.name)
def test_loads_beside(tiny_library: Path, image: Image, op: Op, space: Space) -> None:
    """A LOAD begins while any instruction runs; what it brings is there after WAIT."""
    def program(flag: int) -> list[list[int]]:
        p = Assembler().set(**_VALID | {"tiles": 2, "k": 2, "r_base": 0, "r_stride": 3})
        p.op(op, Flag.PAIRS if op in (Op.MVA, Op.MVD, Op.MVR) else 0)
        p.set(ddr=77, local=40, length=24).op(Op.LOAD, space | flag).op(Op.WAIT)
        if space is Space.INPUT:
            p.set(s_base=4 * 40, count=1, p=192, q=4, m_base=0, shift=14)
            p.op(Op.MVA, Flag.INPUT | Flag.PAIRS)
        else:
            p.set(count=4, p=3, s_base=0, t_base=4 * 50, e_shift=8)
            p.op(Op.LOSS, Flag.POST0 | Flag.PAIRS)
        return [p.words]

    beside, alone = (equal(tiny_library, image, program(flag)) for flag in (int(Flag.BESIDE), 0))
    assert beside["CYCLES"] < alone["CYCLES"]
    assert beside["STALL_LOAD"] < alone["STALL_LOAD"]


@pytest.mark.parametrize("word", [
    *(encode(Op.LOAD, 0, Flag.BESIDE | space) for space in Space if space > Space.TARGET),
    *(encode(Op.STORE, 0, Flag.BESIDE | space) for space in Space),
    *(encode(op, 0, int(Flag.BESIDE)) for op in (Op.MVD, Op.MVR, Op.LOSS, Op.SRT,
                                                 Op.TOP, Op.SCT, Op.WAIT)),
], ids=hex)
def test_nothing_else_is_beside(tiny_library: Path, image: Image, word: int) -> None:
    program = Assembler().set(**_VALID | {"length": 2, "local": 0, "ddr": 0, "k": 1, "tiles": 1})
    where = len(program.words)
    program.words += [word, encode(Op.HALT)]
    golden, simulated = both(tiny_library, image, program.words, 0)
    assert (golden.cause, golden.pc) == (Cause.ILLEGAL, where)
    assert (simulated.cause, simulated.pc) == (Cause.ILLEGAL, where)
