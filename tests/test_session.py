"""A session: logits, an early end at a batch, and arrays that it refuses."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tangente.golden.isa import Op, decode
from tangente.host.compiler import compile_network
from tangente.host.device import Device, open_device
from tangente.host.driver import EngineFault
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes, random_state

OPTIONS = Options(preset="tiny", layers=(9, 6, 5, 3), registers=4, batch=4, lr=0.1, lr_decay=0.0)
BATCHES = 5


def opened(options: Options = OPTIONS, device: str = "golden") -> tuple[Session, Device]:
    compiled = compile_network(options)
    device = open_device(device, compiled.config, ddr_bytes=ddr_bytes(compiled, BATCHES))
    session = Session(compiled, device, chunk_batches=BATCHES)
    session.upload(*compiled.network.initial(), options.seed)
    return session, device


def samples(count: int, inputs: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, inputs)).astype(np.uint8), rng.integers(0, 3, count)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(layers=st.lists(st.integers(1, 13), min_size=2, max_size=4), batch=st.integers(1, 40),
       count=st.integers(1, 70), bits=st.sampled_from((4, 16)))
def test_logits_are_the_networks(layers: list[int], batch: int, count: int, bits: int) -> None:
    """Against float64, and the hits that LOSS counts."""
    options = Options(preset="tiny", layers=tuple(layers), algorithm="bp", batch=batch, bits=bits,
                      lr=0.1, lr_decay=0.0)
    session, _ = opened(options)
    network = session.compiled.network
    images, _ = samples(count, layers[0])
    before = session.download()
    logits = session.predict(images)
    assert logits.shape == (count, layers[-1])
    values = images / 256
    for layer in network.layers:
        if layer.index:
            # ReLU, rounded to elements of five fraction bits.
            values = np.minimum(np.rint(np.maximum(values, 0) * 32), 255) / 32
        values = values @ network.weights(before[0], layer)
    np.testing.assert_allclose(logits / 1024, values, atol=0.08 * len(layers))
    # The first of equals, as the loss unit has it.
    assert session.test(images, logits.argmax(1)).correct == count
    for one, other in zip(session.download(), before):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_logits_of_many_parts(outputs: int) -> None:
    """Each part's logits stay when the next part is computed."""
    session, _ = opened(dataclasses.replace(OPTIONS, layers=(9, 5, outputs)))
    images, _ = samples(3 * BATCHES * OPTIONS.batch + 1)
    alone = [session.predict(image[None]) for image in images]
    np.testing.assert_array_equal(session.predict(images), np.concatenate(alone))


def test_logits_on_the_rtl(tiny_library) -> None:
    golden, _ = opened()
    sim, device = opened(device="sim")
    with device:
        for session in (golden, sim):
            session.train(*samples(18), session.compiled.network.scales.rate(0.1))
        for count in (1, 4, 19, 20, 21, 43):
            images, _ = samples(count)
            np.testing.assert_array_equal(sim.predict(images), golden.predict(images))


@pytest.mark.parametrize("changes", [{}, {"batch": 40, "layers": (57, 6, 5, 3)},
                                     {"algorithm": "bp", "layers": (9, 3)}, {"skip_below": 0.7},
                                     {"granularity": "weight"}],
                         ids=str)
@pytest.mark.parametrize("batches", [1, 2, 4])
def test_an_early_end_is_an_end(changes: dict, batches: int) -> None:
    """A program with its new ending does what one for so few batches does, in as many cycles."""
    options = Options(**{"preset": "tiny", "layers": (9, 6, 5, 3), "registers": 4, "batch": 4,
                         "lr": 0.1, "lr_decay": 0.0, **changes})
    compiled, ends = compile_network(options), []
    assert compiled.layout.double == (options.batch == 4)
    rate = compiled.network.scales.rate(0.1)
    images, labels = samples(4 * options.batch + 3, options.layers[0])
    for early in (True, False):
        session, device = opened(options)
        if early:
            words = compiled.training(session._fill(images, labels), rate)
            address, word = compiled.ending(words)
            assert decode(words[address]).op is Op.DBNZ

            def cut_short(timeout_s: float, device=device, address=address, word=word) -> bool:
                while device.machine.state.samples < batches * options.batch:
                    assert device.machine.run(1) == 0
                device.load_program([word], address)
                del device.wait
                return device.wait(timeout_s)

            device.wait = cut_short
            counters = session._run(words)
        else:
            count = batches * options.batch
            counters = session.train(images[:count], labels[:count], rate)
        ends.append((counters, session.download()))
    assert ends[0][0] == ends[1][0]
    assert ends[0][0].samples == batches * options.batch
    for one, other in zip(ends[0][1], ends[1][1]):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_done_without_a_network() -> None:
    message = ("^the engine holds no whole network: upload one, also after a program that failed "
               "or was interrupted$")
    compiled = compile_network(OPTIONS)
    device = open_device("golden", compiled.config, ddr_bytes=ddr_bytes(compiled, BATCHES))
    session = Session(compiled, device, chunk_batches=BATCHES)
    for use in (session.download, lambda: session.predict(samples(3)[0])):
        with pytest.raises(RuntimeError, match=message):
            use()
    session.upload(*compiled.network.initial(), 0)
    session.predict(samples(3)[0])
    # A transfer beyond DDR fails; what the memories hold then is anything.
    device.write("DDR_BASE", 1 << 30)
    with pytest.raises(EngineFault, match="BUS_READ"):
        session.predict(samples(3)[0])
    with pytest.raises(RuntimeError, match=message):
        session.download()
    session.driver.reset()
    session.upload(*compiled.network.initial(), 0)
    session.download()


@pytest.mark.parametrize(("images", "labels", "message"), [
    (np.zeros((3, 9)), np.zeros(3, int), "images must be of type uint8, not float64"),
    (np.full((3, 9), np.nan), np.zeros(3, int), "images must be of type uint8, not float64"),
    (np.zeros((3, 8), np.uint8), np.zeros(3, int),
     "images must have the shape (samples, 9), not (3, 8)"),
    (np.zeros((3, 3, 3), np.uint8), np.zeros(3, int),
     "images must have the shape (samples, 9), not (3, 3, 3)"),
    (np.zeros((3, 9), np.uint8), np.zeros(3), "labels must be integers, not float64"),
    (np.zeros((3, 9), np.uint8), np.zeros(2, int), "labels must have the shape (3,), not (2,)"),
    (np.zeros((3, 9), np.uint8), np.array([0, 3, 1]),
     "labels must lie between 0 and 2, not from 0 to 3"),
    (np.zeros((3, 9), np.uint8), np.array([0, -1, 1]),
     "labels must lie between 0 and 2, not from -1 to 1"),
    (np.zeros((0, 9), np.uint8), np.zeros(0, int), "samples must be between 1 and 20, not 0"),
    (np.zeros((21, 9), np.uint8), np.zeros(21, int), "samples must be between 1 and 20, not 21"),
])
def test_bad_arrays(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    session, device = opened()

    def run(*args: object) -> None:
        raise AssertionError("something ran")

    device.wait = run
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        session.train(images, labels, session.compiled.network.scales.rate(0.1))
    if 0 < len(images) < 21:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            session.test(images, labels)


@pytest.mark.parametrize(("outputs", "labels", "message"), [
    (3, np.zeros((2, 3)), "targets must have the shape (3, 3), not (2, 3)"),
    (3, np.zeros(3), "targets must have the shape (3, 3), not (3,)"),
    (3, np.full((3, 3), 32.0),
     "targets must lie between -32 and 32 - 2^-10, not from 32.0 to 32.0"),
    (1, np.full((3, 1), -32.001),
     "targets must lie between -32 and 32 - 2^-10, not from -32.001 to -32.001"),
    (1, np.array([[0.0], [np.nan], [1.0]]),
     "targets must lie between -32 and 32 - 2^-10, not from nan to nan"),
    (3, np.array([0, 3, 1]), "labels must lie between 0 and 2, not from 0 to 3"),
    (1, np.array([0, 2, 1]), "labels must lie between 0 and 1, not from 0 to 2"),
    (1, np.zeros(2, int), "labels must have the shape (3,), not (2,)"),
])
def test_bad_targets(outputs: int, labels: np.ndarray, message: str) -> None:
    session, _ = opened(dataclasses.replace(OPTIONS, layers=(9, 5, outputs), loss="mse"))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        session.test(np.zeros((3, 9), np.uint8), labels)


@pytest.mark.parametrize("outputs", [1, 3])
def test_squared_errors_are_counted(outputs: int) -> None:
    """Of targets from -32 to 32, and of labels, over whole batches and a shorter one."""
    session, _ = opened(dataclasses.replace(OPTIONS, layers=(9, 5, outputs), loss="mse"))
    images, labels = samples(11)
    labels %= max(outputs, 2)
    logits = session.predict(images).astype(np.int64)
    targets = np.random.default_rng(1).integers(-1 << 15, 1 << 15, logits.shape)
    one_hot = 1024 * (labels[:, None] == (np.arange(outputs) if outputs > 1 else 1))
    # A third of a unit is rounded away.
    for asked, units in ((targets / 1024 + 1 / 3072, targets), (labels, one_hot)):
        counters = session.test(images, asked)
        assert counters.loss == ((logits - units) ** 2).sum()
        assert (counters.correct, counters.samples) == (0, 11)


@pytest.mark.parametrize("use", ["test", "predict"])
def test_no_samples(use: str) -> None:
    session, _ = opened()
    images, labels = samples(3)
    with pytest.raises(ValueError, match=r"^samples must be at least 1, not 0$"):
        session.test(images[:0], labels[:0]) if use == "test" else session.predict(images[:0])


def test_random_states_are_spread() -> None:
    states = {random_state(seed) for seed in (*range(2000), *range((1 << 32) - 2000, 1 << 32))}
    assert len(states) == 4000
    assert 0 not in states
    assert all(state < 1 << 64 for state in states)
