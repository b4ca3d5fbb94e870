"""Compiled programs on the golden device: every shape runs, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tangente.golden import tensor
from tangente.golden.config import Config, preset
from tangente.golden.flow import GROUP
from tangente.golden.formats import slot_code
from tangente.golden.isa import Cause, Flag, Op, Post, Reg, Space, decode
from tangente.golden.machine import Machine
from tangente.host.assembler import Label, Program, listing
from tangente.host.compiler import Chunk, Compiled, compile_network
from tangente.host.golden_device import GoldenDevice
from tangente.host.layout import CapacityError
from tangente.host.network import Network
from tangente.host.options import LOSSES, Options
from tangente.host.scales import Rate
from tangente.host.session import Session, ddr_bytes

TINY = preset("tiny")


def make_session(compiled: Compiled, chunk_batches: int = 4) -> Session:
    device = GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, chunk_batches))
    return Session(compiled, device, chunk_batches=chunk_batches)


def samples(options: Options, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(options.seed)
    return (rng.integers(0, 256, (count, options.layers[0])).astype(np.uint8),
            rng.integers(0, options.layers[-1], count))


def trained(compiled: Compiled, count: int, pieces: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The memories after training on ``count`` random samples, in ``pieces`` starts."""
    options = compiled.network.options
    session = make_session(compiled, -(-count // options.batch))
    session.upload(*compiled.network.initial(), options.seed)
    images, labels = samples(options, count)
    step = -(-count // (pieces * options.batch)) * options.batch
    rate = compiled.network.scales.rate(options.lr)
    for first in range(0, count, step):
        session.train(images[first:first + step], labels[first:first + step], rate)
    return session.download()


@st.composite
def networks(draw: st.DrawFn) -> tuple[Options, int]:
    """Options for the preset tiny, and a number of samples that the batch need not divide."""
    hidden = draw(st.lists(st.integers(1, 13), min_size=1, max_size=4))
    layers = (draw(st.integers(1, 21)), *hidden, draw(st.integers(2, 9)))
    bits = draw(st.sampled_from((2, 4, 8, 16)))
    algorithm, feedback = draw(st.sampled_from((
        ("bp", None), ("dpfm", None), ("fa", "memory"), ("fa", "lfsr"))))
    options = Options(
        preset="tiny", layers=layers, algorithm=algorithm, feedback=feedback,
        registers=draw(st.sampled_from((0, 1, 2, 4, 5, 8, 16))),
        output_registers=draw(st.sampled_from((None, 0, 2))), bits=bits,
        update=draw(st.sampled_from(("nearest", "event") if bits < 16 else ("nearest",))),
        activation=draw(st.sampled_from(("relu", "sigmoid"))),
        loss=draw(st.sampled_from(LOSSES)),
        batch=draw(st.integers(1, 32)), lr=0.06, lr_decay=0.0, seed=draw(st.integers(0, 99)))
    return options, draw(st.integers(1, 70))


@settings(max_examples=60, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_every_shape_runs(case: tuple[Options, int]) -> None:
    options, count = case
    compiled = compile_network(options)
    session = make_session(compiled)
    session.upload(*compiled.network.initial(), options.seed)
    images, labels = samples(options, count)
    count = min(count, 4 * options.batch)
    counters = session.train(images[:count], labels[:count],
                             compiled.network.scales.rate(options.lr))
    assert counters.samples == count
    if options.loss == "softmax":
        assert 0 <= counters.correct <= count
        assert 0 < counters.loss < 256 * 60 * count
    else:
        assert counters.correct == 0
        assert 0 < counters.loss < 33 ** 2 * 2 ** 20 * options.layers[-1] * count
    test = session.test(images, labels)
    assert test.samples == len(images)
    weights, biases = session.download()
    codes = slot_code(weights, options.bits)
    assert codes.min() > -1 << 15, "the most negative code is never used"
    assert not biases[:, :, 1].any(), "BUP clears the gradients"
    assert not weights[compiled.network.words:].any(), "memory beyond the network is untouched"
    ones = [np.ones((layer.inputs, layer.outputs)) for layer in compiled.network.layers]
    padding = compiled.network.pack(ones, ones[1:]) == 0
    assert not weights[padding].any(), "lanes beyond a layer stay zero"


@pytest.mark.parametrize("feedback", ["memory", "lfsr"])
def test_fixed_matrices(feedback: str) -> None:
    """One for each layer but the first, drawn beside the weights or made from their places."""
    options = Options(preset="tiny", layers=(9, 8, 7, 3), algorithm="fa", feedback=feedback)
    network = Network(options, options.config)
    bp = Network(dataclasses.replace(options, algorithm="bp", feedback=None), options.config)
    memory, plain = network.initial()[0], bp.initial()[0]
    stored = sum(layer.words for layer in bp.layers[1:]) if feedback == "memory" else 0
    assert network.words == bp.words + stored
    for layer, other in zip(network.layers, bp.layers):
        weights = network.weights(memory, layer)
        np.testing.assert_array_equal(weights, bp.weights(plain, other))
        np.testing.assert_array_equal(bp.feedback(plain, other), weights)
        if layer.index:
            back = network.feedback(memory, layer)
            assert back.shape == weights.shape
            assert not np.array_equal(back, weights)
            assert 0.5 < back.std() / weights.std() < 2
    signs = [np.sign(network.feedback(memory, layer)) for layer in network.layers]
    assert not np.array_equal(signs[0][:8, :7], signs[1][:8, :7])


@pytest.mark.parametrize(("algorithm", "lr"), [("bp", 0.3), ("dpfm", 0.3), ("fa", 0.15)])
def test_training_lowers_the_loss(algorithm: str, lr: float) -> None:
    options = Options(preset="tiny", layers=(9, 8, 7, 3), algorithm=algorithm, registers=4,
                      batch=8, lr=lr, lr_decay=0.0)
    compiled = compile_network(options)
    session = make_session(compiled, 8)
    session.upload(*compiled.network.initial(), 0)
    images, _ = samples(options, 64)
    labels = images[:, :3].argmax(1)
    before = session.test(images, labels)
    for _ in range(40):
        session.train(images, labels, compiled.network.scales.rate(lr))
    after = session.test(images, labels)
    assert after.loss < before.loss / 2
    assert after.correct > 48


@pytest.mark.parametrize("algorithm", ["bp", "dpfm"])
def test_chunks_and_buffering_change_nothing(algorithm: str) -> None:
    options = Options(preset="tiny", layers=(13, 7, 5, 4), algorithm=algorithm, registers=2,
                      bits=4, update="event", batch=5, lr=0.5, lr_decay=0.0)
    double = compile_network(options)
    assert double.layout.double
    single = Compiled(Network(options, dataclasses.replace(TINY, input_beats=16)))
    assert not single.layout.double
    expected = trained(double, 33)
    for other in (trained(single, 33), trained(double, 33, pieces=3)):
        np.testing.assert_array_equal(expected[0], other[0])
        np.testing.assert_array_equal(expected[1], other[1])


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("layers", [(13, 7, 4), (13, 7, 5, 6, 4)])
def test_registers_of_one_sample_or_of_all_change_nothing(layers: tuple[int, ...],
                                                          activation: str) -> None:
    """The outputs' registers of a whole batch, and where rows are missing those of a sample."""
    options = Options(preset="tiny", layers=layers, algorithm="dpfm", registers=4, batch=5,
                      activation=activation, lr=0.5, lr_decay=0.0)
    every = compile_network(options)
    rows = 1 << (every.layout.rows - 1).bit_length() - 1
    single = Compiled(Network(options, dataclasses.replace(TINY, rows=rows)))
    rate, hidden = every.network.scales.rate(0.5), len(layers) - 2
    for compiled, together in ((every, options.batch), (single, 1)):
        layout = compiled.layout
        assert layout.register_samples == together
        assert layout.rows <= compiled.config.rows
        ran = Trace.of(compiled.training(Chunk(options.batch, 0, 0), rate), compiled)
        counts = [r[Reg.COUNT] for op, _, r in ran if op is Op.MVR]
        assert counts == [together] * (hidden * options.batch // together)
        # Where the registers of each sample's outputs go, and how many rows they take.
        rows = [r[Reg.YR_BASE] for op, _, r in ran if op is Op.DRV and r[Reg.P] == layers[-1]]
        length = layers[-1] * layout.register_tiles[hidden]
        assert layout.register_record == length
        first = layout.registers[hidden]
        assert rows == [first + b * length * (together > 1) for b in range(options.batch)]
        assert first + together * length <= layout.rows
    expected, other = trained(every, 13), trained(single, 13)
    np.testing.assert_array_equal(expected[0], other[0])
    np.testing.assert_array_equal(expected[1], other[1])


def test_errors_from_registers_of_one_sample_are_always_made() -> None:
    """Updates read them; those of the whole batch at once leave out what has no errors."""
    options = Options(preset="tiny", layers=(21, 12, 9, 4), algorithm="dpfm", registers=4, batch=5)
    for rows, together in ((TINY.rows, 5), (128, 1)):
        compiled = Compiled(Network(options, dataclasses.replace(TINY, rows=rows)))
        assert compiled.layout.register_samples == together
        ran = Trace.of(compiled.training(Chunk(5, 0, 0), Rate(128, 4)), compiled)
        assert {bool(flags & Flag.WANTED) for op, flags, _ in ran if op is Op.MVR} == {
            together > 1}


@pytest.mark.parametrize(("layers", "left_out"), [
    ((20, 12, 13, 10), True), ((40, 9, 11, 10, 3), True), ((9, 40, 2), True),
    # An update that does not list samples reads all of them.
    ((20, 8, 13, 10), False), ((8, 12, 10), False),
], ids=str)
@pytest.mark.parametrize("batch", [2, 10, 32])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("algorithm", "rows"), [("bp", 2048), ("dpfm", 8192)])
def test_hidden_errors_of_samples_that_err(
        layers: tuple[int, ...], left_out: bool, batch: int, loss: str, algorithm: str, rows: int,
        monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and biases are those of a training that makes the errors of all samples."""
    config = dataclasses.replace(TINY, input_beats=1024, weight_words=2048, target_beats=256,
                                 rows=rows)
    options = Options(layers=layers, batch=batch, preset="tiny", algorithm=algorithm, loss=loss,
                      lr=0.2, bits=8)
    compiled = compile_network(options, config)
    rate = compiled.network.scales.rate(options.lr)
    backward = [flags for op, flags, _ in Trace.of(
        compiled.training(Chunk(3 * batch + 1, 0, 0), rate), compiled)
        if op in (Op.MVA, Op.MVD, Op.MVR) and flags & 3 == Post.DELTA]
    assert backward
    assert {bool(flags & Flag.WANTED) for flags in backward} == {left_out}
    # Half the samples are as good as known, so that whole batches are, too.
    erring: list[bool] = []
    for name in ("softmax_errors", "squared_errors"):
        function = getattr(tensor, name)

        def some(z: np.ndarray, *others: Any, function: Any = function) -> Any:
            errors, *rest = function(z, *others)
            errors[z.sum(1) % 2 == 0] = 0
            erring.extend(errors.any(1))
            return errors, *rest

        monkeypatch.setattr(tensor, name, some)
    found = trained(compiled, 8 * batch + 1)
    assert 0 < sum(erring) < len(erring) == 8 * batch + 1
    monkeypatch.setattr(Compiled, "_leaves_out", False)
    for one, other in zip(found, trained(compile_network(options, config), 8 * batch + 1)):
        np.testing.assert_array_equal(one, other)


def test_seed_decides_random_rounding() -> None:
    def weights(seed: int) -> np.ndarray:
        options = Options(preset="tiny", layers=(8, 6, 3), bits=2, update="event", batch=4, lr=1.0,
                          lr_decay=0.0)
        compiled = compile_network(options)
        session = make_session(compiled)
        session.upload(*compiled.network.initial(), seed)
        session.train(*samples(options, 16), compiled.network.scales.rate(1.0))
        return session.download()[0]

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()


class Trace(Machine):
    """Runs a program's scalar instructions, and records the others with their registers."""

    def __init__(self, compiled: Compiled, erring: bool) -> None:
        super().__init__(compiled.config, ddr_bytes(compiled, 4))
        self.erring = np.array([erring])
        self.ran: list[tuple[Op, int, list[int]]] = []

    def execute(self, op: Op, flags: int) -> None:
        self.ran.append((op, int(flags), list(self.registers)))
        self.state.erring = self.erring

    def move(self, op: Op, space: Space, units: int, local: int, byte: int) -> None:
        word = self.program[self.pc]
        assert word is not None
        self.ran.append((op, word.imm, list(self.registers)))

    @classmethod
    def of(cls, words: list[int], compiled: Compiled, *,
           erring: bool = True) -> list[tuple[Op, int, list[int]]]:
        """``erring``: every loss leaves an error in its first sample."""
        machine = cls(compiled, erring)
        machine.load_program(words)
        machine.start()
        assert machine.run(100_000) is Cause.DONE
        return machine.ran


def runs(base: int, stride: int, count: int, length: int) -> set[int]:
    return {base + b * stride + i for b in range(count) for i in range(length)}


def reads(op: Op, flags: int, r: list[int], config: Config) -> dict[str, set[int]]:
    """What UPD reads, and what any instruction reads of inputs, targets, and who errs."""
    found: dict[str, set[int]] = {}
    if op in (Op.MVA, Op.MVR, Op.UPD):
        pairs = runs(r[Reg.S_BASE], r[Reg.S_STRIDE], r[Reg.COUNT], -(-r[Reg.P] // 2))
        found["inputs" if flags & Flag.INPUT else "pairs"] = pairs
    elif op is Op.SRT and flags & Flag.INPUT:
        found["inputs"] = runs(r[Reg.S_BASE], 0, 1, -(-r[Reg.P] // 2))
    elif op is Op.LOSS:
        found["targets"] = runs(r[Reg.T_BASE], r[Reg.T_STRIDE], r[Reg.COUNT],
                                r[Reg.P] if flags & Flag.POST0 else 1)
    if flags & Flag.WANTED:
        found["errors"] = {0}
    if op is Op.UPD:
        found["rows"] = runs(r[Reg.V_BASE], r[Reg.V_STRIDE], r[Reg.COUNT],
                             config.tiles(r[Reg.Q]))
    return found


def writes(op: Op, flags: int, r: list[int], config: Config) -> dict[str, set[int]]:
    """What the post-processing unit writes of an instruction; what LOAD brings."""
    found: dict[str, set[int]] = {}
    if op in (Op.MVA, Op.MVD, Op.MVR, Op.LOSS):
        width, count = r[Reg.P if op in (Op.MVD, Op.LOSS) else Reg.Q], r[Reg.COUNT]
        tiles = config.tiles(width)
        if op is Op.LOSS:
            found["errors"] = {0}
        if flags & Flag.PAIRS:
            found["pairs"] = runs(r[Reg.Y_BASE], r[Reg.Y_STRIDE], count, -(-width // 2))
        found["rows"] = set()
        if flags & Flag.ROWS:
            found["rows"] |= runs(r[Reg.YR_BASE], r[Reg.YR_STRIDE], count, tiles)
        if flags & Flag.SLOPE_ROWS:
            found["rows"] |= runs(r[Reg.F_BASE], r[Reg.F_STRIDE], count, tiles)
    elif op is Op.LOAD:
        # In pairs and in single targets, four of either a beat.
        space = Space(flags & ~int(Flag.BESIDE))
        name = {Space.INPUT: "inputs", Space.TARGET: "targets"}.get(space)
        if name:
            found[name] = runs(4 * r[Reg.LOCAL], 0, 1, 4 * r[Reg.LENGTH])
    return found


def apart(one: dict[str, set[int]], other: dict[str, set[int]]) -> bool:
    return not any(addresses & other.get(name, set()) for name, addresses in one.items())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(networks())
def test_updates_follow_what_reads_the_weights(case: tuple[Options, int]) -> None:
    """All forward passes and losses of a batch precede its first write; and no weights are read
    that have changed; the next batch's first product reads what has."""
    options, _ = case
    compiled = compile_network(options)
    rate = compiled.network.scales.rate(options.lr)
    ran = Trace.of(compiled.training(Chunk(options.batch, 0, 0), rate), compiled)
    ops = [op for op, *_ in ran]
    first = min(ops.index(Op.UPD), ops.index(Op.BUP))
    assert not set(ops[first:]) & {Op.MVR, Op.DRV, Op.SEL, Op.LOSS}
    changed: set[int] = set()
    inputs = [i for i, (op, flags, _) in enumerate(ran) if op is Op.MVA and flags & Flag.INPUT]
    for i, (op, flags, r) in enumerate(ran):
        if i in inputs[1:]:
            words = runs(r[Reg.M_BASE], 0, 1, -(-r[Reg.P] // 2) * compiled.config.tiles(r[Reg.Q]))
            assert flags & Flag.SPECULATIVE or words <= changed
            continue
        if op in (Op.MVA, Op.MVD):
            assert not changed or flags & 3 == Post.DELTA
        if op in (Op.MVA, Op.MVD, Op.UPD, Op.DRV):
            words = runs(r[Reg.M_BASE], 0, 1, -(-r[Reg.P] // 2) * compiled.config.tiles(r[Reg.Q]))
            assert not words & changed
            changed |= words if op is Op.UPD else set()
    weights = set()
    for layer in compiled.network.layers:
        weights |= set(range(layer.word, layer.word + layer.words))
    assert changed == weights, "every weight changes once, and no fixed matrix"
    assert ops.count(Op.UPD) == ops.count(Op.BUP) == len(options.layers) - 1
    learns = {Op.UPD, Op.BUP, Op.DRV, Op.SEL, Op.MVR}
    assert not learns & {decode(word).op for word in compiled.testing(Chunk(options.batch, 0, 0))}


#: Instructions that are in the array alone.
_ARRAY = (Op.UPD, Op.DRV, Op.SEL)


def check_beside(compiled: Compiled, words: list[int], *, erring: bool = True) -> set[Op]:
    """What runs side by side touches nothing of one another; which operations do so."""
    ran, config = Trace.of(words, compiled, erring=erring), compiled.config
    found = set()
    for i, (op, flags, r) in enumerate(ran):
        awaited = i > 0 and ran[i - 1][1] & Flag.SPECULATIVE and ran[i - 1][0] is Op.MVA
        assert awaited <= (op is Op.LOSS)
        if awaited:
            # The loss and the product before it, in both directions.
            product = ran[i - 1]
            assert apart(reads(*product, config), writes(op, flags, r, config))
            assert apart(writes(*product, config), reads(op, flags, r, config))
        if not flags & Flag.BESIDE:
            continue
        found.add(op)
        mine = writes(op, flags, r, config) if op is Op.LOAD else reads(op, flags, r, config)
        if op is Op.MVA:
            # Pairs that are still being written are awaited.
            mine.pop("pairs", None)
        for before in reversed(ran[:i]):
            if before[0] is Op.LOAD or op in _ARRAY and before[0] in _ARRAY:
                # The latter take turns in the array.
                if not before[1] & Flag.BESIDE and before[0] is not Op.LOAD:
                    break
                continue
            theirs = (reads if op is Op.LOAD else writes)(*before, config)
            assert apart(mine, theirs), (op, before[0])
            if before[0] is Op.LOSS and not erring:
                # A product that began before it may go on.
                continue
            if (not before[1] & Flag.BESIDE
                    or before[0] is Op.MVA and not before[1] & Flag.SPECULATIVE):
                # Nothing else ran any more when this one had begun everywhere.
                break
    return found


@settings(max_examples=30, deadline=None, derandomize=True)
@given(networks())
def test_what_runs_side_by_side_is_apart(case: tuple[Options, int]) -> None:
    options, count = case
    compiled = compile_network(options)
    count = min(count, 4 * options.batch)
    rate = compiled.network.scales.rate(options.lr)
    found = check_beside(compiled, compiled.training(Chunk(count, 0, 0), rate))
    assert found - {Op.DRV, Op.SEL} == (
        {Op.MVA, Op.BUP} | ({Op.UPD} if len(options.layers) > 2 else set())
        | ({Op.LOAD} if compiled.layout.double else set()))
    derivatives = options.algorithm == "dpfm" and len(options.layers) > 2
    check_beside(compiled, compiled.training(Chunk(count, 0, 0), rate), erring=False)
    assert (Op.DRV in found) == (
        derivatives and compiled.layout.register_samples == compiled.layout.batch)
    check_beside(compiled, compiled.testing(Chunk(count, 0, 0)))


@pytest.mark.parametrize("layers", [(64, 32, 10), (64, 32, 32, 10), (64, 32, 32, 32, 10)], ids=str)
@pytest.mark.parametrize("algorithm", ["bp", "fa", "dpfm"])
def test_samples_are_left_out_when_the_loss_is_over(algorithm: str,
                                                    layers: tuple[int, ...]) -> None:
    """Flag.WANTED reads what LOSS finds: nothing that has it is beside one."""
    compiled = compile_network(Options(layers=layers, algorithm=algorithm, batch=10))
    rate = compiled.network.scales.rate(compiled.network.options.lr)
    words = compiled.training(Chunk(20, 0, 0), rate)
    wanted = any(decode(word).imm & Flag.WANTED for word in words
                 if decode(word).op in (Op.MVA, Op.MVD, Op.MVR))
    assert wanted == (algorithm != "fa")
    assert Op.MVA in check_beside(compiled, words)


@pytest.mark.parametrize("own_free", [False, True])
def test_weight_registers_side_by_side(own_free: bool) -> None:
    options = Options(preset="tiny", layers=(9, 7, 6, 3), granularity="weight", registers=4,
                      banks=(3, 1), own_free=own_free, batch=3)
    compiled = compile_network(options)
    rate = compiled.network.scales.rate(options.lr)
    found = check_beside(compiled, compiled.training(Chunk(7, 0, 0), rate))
    assert found == {Op.LOAD, Op.MVA} | ({Op.BUP} if own_free else set())


def test_records_fill_groups_where_there_is_room() -> None:
    """So updates are scanned: layouts of all samples begin alike in their groups of pairs."""
    options = Options(preset="tiny", layers=(21, 13, 9, 3), algorithm="bp", batch=3)
    layout = compile_network(options).layout
    assert layout.pair_record % GROUP == 0
    assert 4 * layout.sample_beats % GROUP == 0
    small = dataclasses.replace(TINY, pairs=64, input_beats=16)
    tight = Compiled(Network(options, small)).layout
    assert tight.pair_record < layout.pair_record
    assert tight.sample_beats == 3


def test_selection_is_left_out_where_all_fits() -> None:
    def selections(registers: int, output: int) -> int:
        options = Options(layers=(64, 9, 8, 10), registers=registers, output_registers=output)
        compiled = compile_network(options)
        words = compiled.training(Chunk(10, 0, 0), compiled.network.scales.rate(0.1))
        return sum(decode(word).op is Op.SEL for word in words)

    assert selections(8, 8) == 2
    assert selections(9, 9) == 1, "nine neurons feed the second layer, seventeen the outputs"
    assert selections(9, 17) == 0
    assert selections(0, 4) == 1


def test_orientation_takes_the_fewer_words() -> None:
    bp = Network(Options(preset="pynq_z2", layers=(784, 100, 100, 10), algorithm="bp"),
                 preset("pynq_z2"))
    assert [layer.input_major for layer in bp.layers] == [True, True, False]
    assert [layer.words for layer in bp.layers] == [392, 50, 5]
    dpfm = Network(Options(preset="pynq_z2", layers=(784, 100, 100, 10)), preset("pynq_z2"))
    assert [layer.input_major for layer in dpfm.layers] == [True, False, False]


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 15, 16])
def test_weights_are_packed_and_unpacked(bits: int) -> None:
    options = Options(preset="tiny", layers=(5, 6, 3), bits=bits,
                      update="event" if bits < 16 else "nearest")
    network = Network(options, TINY)
    spans = [2.0 ** network.scales.gain(layer) for layer in (0, 1)]
    rng = np.random.default_rng(0)
    matrices = [rng.uniform(-span, span, shape) for span, shape in zip(spans, ((5, 6), (6, 3)))]
    memory = network.pack(matrices)
    for layer, matrix, span in zip(network.layers, matrices, spans):
        step = span * 2.0 ** (1 - bits)
        code = network.weights(memory, layer)
        rest = network.accumulators(memory, layer) * step / 2 ** max(
            (options.accumulator_bits or 1) - 1, 0)
        inside = np.abs(matrix) < span - step
        assert np.abs(code - matrix)[inside].max() <= step / 2
        finest = step / 2 ** max(options.accumulator_bits or 1, 1)
        assert np.abs(code + rest - matrix)[inside].max() <= finest


@pytest.mark.parametrize(("options", "message"), [
    (Options(preset="tiny", layers=(784, 100, 10), algorithm="bp", batch=1),
     "784-100-10 by bp with batch 1 needs more than preset tiny has: weight memory 9925 words of "
     "512"),
    (Options(preset="digits", layers=(64, 100, 100, 100, 10), batch=32),
     "64-100-100-100-10 by dpfm with batch 32 needs more than preset digits has: weight memory "
     "959 words of 512, row memory 2996 rows of 1024, pair memory 6560 pairs of 4096"),
    (Options(preset="digits", layers=(1024, 10), algorithm="bp", batch=20),
     "1024-10 by bp with batch 20 needs more than preset digits has: input memory 2560 beats of "
     "2048"),
    (Options(preset="tiny", layers=(4, 4, 200), algorithm="bp", batch=3),
     "4-4-200 by bp with batch 3 needs more than preset tiny has: logit memory 300 pairs of 256, "
     "bias memory 102 pairs of 64"),
])
def test_refusals_have_the_numbers(options: Options, message: str) -> None:
    with pytest.raises(CapacityError, match=f"^{re.escape(message)}$"):
        compile_network(options)


def test_refuses_a_program_that_is_too_long() -> None:
    options = Options(preset="tiny", layers=(6, 5, 4), batch=2)
    words = len(compile_network(options).training(Chunk(3, 0, 0), Rate(200, 4)))
    small = dataclasses.replace(TINY, program_words=64)
    with pytest.raises(CapacityError, match=r"^6-5-4 by dpfm with batch 2 needs more than preset "
                       rf"tiny has: program memory {words} words of 64$"):
        Compiled(Network(options, small))


def test_refuses_a_rate_beyond_the_shifts() -> None:
    message = "lr must be at most 5 for this network, not 20"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        compile_network(Options(lr=20))


@pytest.mark.parametrize(("settings", "message"), [
    ({"device": "gpu"}, "device must be one of golden, sim, not 'gpu'"),
    ({"preset": "big"}, "preset must be one of tiny, digits, pynq_z2, not 'big'"),
    ({"algorithm": "sg"}, "algorithm must be one of dpfm, bp, fa, not 'sg'"),
    ({"algorithm": "fa", "feedback": "none"},
     "feedback must be one of memory, lfsr, not 'none'"),
    ({"algorithm": "bp", "feedback": "lfsr"}, "feedback must be left out for bp, not 'lfsr'"),
    ({"algorithm": "fa", "granularity": "weight"},
     "granularity must be \"neuron\" for fa, which has no registers, not 'weight'"),
    ({"update": "round"}, "update must be one of nearest, stochastic, event, master, not 'round'"),
    ({"activation": "tanh"}, "activation must be one of relu, sigmoid, not 'tanh'"),
    ({"loss": "hinge"}, "loss must be one of softmax, mse, not 'hinge'"),
    ({"layers": (64,)}, "layers must be two or more widths between 1 and 4095, not (64,)"),
    ({"layers": (64, 0, 10)},
     "layers must be two or more widths between 1 and 4095, not (64, 0, 10)"),
    ({"registers": -1}, "registers must lie between 0 (all) and 65535, not -1"),
    ({"output_registers": 65536}, "output_registers must lie between 0 (all) and 65535, not 65536"),
    ({"bits": 1}, "bits must lie between 2 and 16, not 1"),
    ({"bits": 16, "update": "event"},
     "bits must be at most 15 for the event update, which needs an accumulator in the same slot, "
     "not 16"),
    ({"accumulator_bits": 3}, "accumulator_bits must be 0 for the nearest update, not 3"),
    ({"bits": 8, "update": "event", "accumulator_bits": 9},
     "accumulator_bits must lie between 1 and 8 for the event update of 8-bit weights, not 9"),
    ({"batch": 0}, "batch must lie between 1 and 128, not 0"),
    ({"lr": 0.0}, "lr must be positive and at most 64, not 0.0"),
    ({"lr_decay": 1.5}, "lr_decay must lie between 0 and 1, not 1.5"),
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"granularity": "row"}, "granularity must be one of neuron, weight, not 'row'"),
    ({"quantisation": "local"}, "quantisation must be one of symm, asymm, not 'local'"),
    ({"quantisation": "asymm"},
     "bits must be at most 15 for asymm quantisation, whose weights have one bit more, not 16"),
    ({"bits": 16, "update": "master"},
     "bits must be at most 15 for the master update, which needs an accumulator in the same slot, "
     "not 16"),
    ({"update": "stochastic", "accumulator_bits": 2},
     "accumulator_bits must be 0 for the stochastic update, not 2"),
    ({"algorithm": "bp", "granularity": "weight"},
     "granularity must be \"neuron\" for bp, which has no registers, not 'weight'"),
    ({"banks": (12, 4)}, "banks must be left out for neuron registers, not (12, 4)"),
    ({"own_free": False}, "own_free must be true for neuron registers, not False"),
    ({"granularity": "weight", "registers": 17},
     "registers must lie between 1 and 16, those of preset digits's topers, not 17"),
    ({"granularity": "weight", "output_registers": 3},
     "output_registers must be as registers for weight registers, not 3"),
    ({"granularity": "weight", "layers": (64, 10), "own_free": False},
     "own_free must be true for a network without hidden layers, not False"),
    ({"granularity": "weight", "banks": (12, 3)},
     "banks must be one or more numbers from 1 that add up to the 16 registers, not (12, 3)"),
    ({"granularity": "weight", "banks": (16, 0)},
     "banks must be one or more numbers from 1 that add up to the 16 registers, not (16, 0)"),
    ({"skip_below": 1.5}, "skip_below must lie between 0 and 1, not 1.5"),
    ({"samples": 0}, "samples must be at least 1, not 0"),
    ({"seed": -1}, "seed must lie between 0 and 2^32 - 1, not -1"),
])
def test_options_are_validated(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Options(**settings)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(1e-7, 3.0), st.sampled_from((2, 4, 8, 16)), st.sampled_from(("relu", "sigmoid")))
def test_rates_are_exact_to_the_mantissa(lr: float, bits: int, activation: str) -> None:
    options = Options(bits=bits, activation=activation, batch=64)
    scales = Network(options, preset("digits")).scales
    rate = scales.rate(lr)
    assert 1 <= rate.mantissa <= 255
    error = abs(rate.mantissa / 256 * 2.0 ** -rate.shift - lr / 64)
    # 255 stands for 256; the smallest rates have fewer bits.
    assert error <= max(lr / 64 / 256, 2.0 ** -rate.shift / 256)
    assert all(0 <= scales.update(layer, rate) <= 31 and 0 <= scales.bias_update(layer, rate) <= 31
               for layer in range(3))


def test_assembler_repeats_nothing_it_knows() -> None:
    program = Program()
    program.pin(k=3)
    program.set(p=5, q=5)
    program.set(p=5, q=6, k=3)
    loop = program.here()
    program.set(p=5, k=3)
    program.loop(Reg.R0, loop)
    program.halt()
    assert listing(program.words()).splitlines() == [
        "   0  05e00003  SET K, 3", "   1  04900005  SET P, 5", "   2  04a00005  SET Q, 5",
        "   3  04a00006  SET Q, 6", "   4  04900005  SET P, 5", "   5  18000004  DBNZ R0, 4",
        "   6  00000000  HALT R0, 0"]


def test_assembler_refuses() -> None:
    program = Program()
    program.pin(k=3)
    with pytest.raises(ValueError, match=r"^k must stay 3, not 4$"):
        program.set(k=4)
    with pytest.raises(ValueError, match=r"^p must lie between 0 and 2\^24 - 1, not -1$"):
        program.set(p=-1)
    with pytest.raises(ValueError, match=r"^offset must fit in 14 bits, not 8192$"):
        program.move(Reg.P, Reg.Q, 8192)
    with pytest.raises(ValueError, match=r"^value must fit in 20 bits, not 524288$"):
        program.add(Reg.P, 1 << 19)
    program.jump(Label())
    with pytest.raises(ValueError, match=r"^every label must be marked, not 'None'$"):
        program.words()


def test_wide_constants_take_two_instructions() -> None:
    from tangente.golden.machine import Machine

    program = Program()
    program.set(ddr=0xABCDEF)
    program.halt()
    machine = Machine(TINY)
    machine.load_program(program.words())
    machine.start()
    machine.run()
    assert machine.registers[Reg.DDR] == 0xABCDEF


@pytest.mark.parametrize("quantisation", ["symm", "asymm"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_are_the_thesis_ones(bits: int, quantisation: str) -> None:
    """Global ranges, exactly: q = round(x (2^(n-1) - 1)), or round((x + 1) (2^n - 1) / 2) less
    2^(n-1), ties to even, for x in [-1, 1]. Its divisor is one factor, which a gain takes."""
    network = Network(Options(bits=bits, quantisation=quantisation), preset("digits"))
    levels = (1 << bits - 1) - 1 if quantisation == "symm" else Fraction((1 << bits) - 1, 2)
    # Denominators of which every tie and every level is a multiple.
    steps = 2 * int(2 * levels)
    for i in range(-steps, steps + 1):
        x = Fraction(i, steps)
        wanted = round(x * levels) if quantisation == "symm" else (
            round((x + 1) * levels) - (1 << bits - 1))
        weight = float(x * levels) / 2 ** (bits - 1)
        slot = int(network.quantise(np.array([[weight]]), 0)[0, 0])
        assert slot >> 16 - bits == wanted, x
