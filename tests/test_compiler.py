"""Compiled programs on the golden device: every shape runs, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tangente.golden.config import preset
from tangente.golden.formats import slot_code
from tangente.golden.isa import Op, Reg, decode
from tangente.host.assembler import Label, Program, listing
from tangente.host.compiler import Chunk, Compiled, compile_network
from tangente.host.golden_device import GoldenDevice
from tangente.host.layout import CapacityError
from tangente.host.network import Network
from tangente.host.options import Options
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
    options = Options(
        preset="tiny", layers=layers, algorithm=draw(st.sampled_from(("bp", "dpfm"))),
        registers=draw(st.sampled_from((0, 1, 2, 4, 5, 8, 16))),
        output_registers=draw(st.sampled_from((None, 0, 2))), bits=bits,
        update=draw(st.sampled_from(("nearest", "event") if bits < 16 else ("nearest",))),
        activation=draw(st.sampled_from(("relu", "sigmoid"))),
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
    assert 0 <= counters.correct <= count
    assert 0 < counters.loss < 256 * 60 * count
    test = session.test(images, labels)
    assert test.samples == len(images)
    weights, biases = session.download()
    codes = slot_code(weights, options.bits)
    assert codes.min() > -1 << 15, "the most negative code is never used"
    assert not biases[:, :, 1].any(), "BUP clears the gradients"
    assert not weights[compiled.network.words:].any(), "memory beyond the network is untouched"
    ones = [np.ones((layer.inputs, layer.outputs)) for layer in compiled.network.layers]
    padding = compiled.network.pack(ones) == 0
    assert not weights[padding].any(), "lanes beyond a layer stay zero"


@pytest.mark.parametrize("algorithm", ["bp", "dpfm"])
def test_training_lowers_the_loss(algorithm: str) -> None:
    options = Options(preset="tiny", layers=(9, 8, 7, 3), algorithm=algorithm, registers=4,
                      batch=8, lr=0.3, lr_decay=0.0)
    compiled = compile_network(options)
    session = make_session(compiled, 8)
    session.upload(*compiled.network.initial(), 0)
    images, _ = samples(options, 64)
    labels = images[:, :3].argmax(1)
    before = session.test(images, labels)
    for _ in range(40):
        session.train(images, labels, compiled.network.scales.rate(0.3))
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


@settings(max_examples=30, deadline=None, derandomize=True)
@given(networks())
def test_forward_precedes_the_first_write(case: tuple[Options, int]) -> None:
    options, _ = case
    compiled = compile_network(options)
    rate = compiled.network.scales.rate(options.lr)
    ops = [decode(word).op for word in compiled.training(Chunk(options.batch, 0, 0), rate)]
    first = min(ops.index(Op.UPD), ops.index(Op.BUP))
    assert not set(ops[first:]) & {Op.MVA, Op.MVD, Op.MVR, Op.DRV, Op.SEL, Op.LOSS}
    assert ops.count(Op.UPD) == len(options.layers) - 1
    learns = {Op.UPD, Op.BUP, Op.DRV, Op.SEL, Op.MVR}
    assert not learns & {decode(word).op for word in compiled.testing(Chunk(options.batch, 0, 0))}


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
     "959 words of 512, row memory 3668 rows of 1024, pair memory 6560 pairs of 4096"),
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
    ({"algorithm": "fa"}, "algorithm must be one of dpfm, bp, not 'fa'"),
    ({"update": "round"}, "update must be one of nearest, stochastic, event, master, not 'round'"),
    ({"activation": "tanh"}, "activation must be one of relu, sigmoid, not 'tanh'"),
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
