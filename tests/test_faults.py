"""What the host says when the bus or the engine fails, and that the device can be used afterwards.

On the compiled RTL, with a memory that answers errors or does not answer at all.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tangente.golden.config import preset
from tangente.golden.isa import Cause, Op, Reg, Space, encode
from tangente.golden.registers import Control, Status
from tangente.host.compiler import Compiled, compile_network
from tangente.host.device import DeviceTimeout
from tangente.host.driver import Driver, EngineFault, patience
from tangente.host.golden_device import GoldenDevice
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes
from tangente.host.sim_device import SimDevice

TINY = preset("tiny")
OPTIONS = Options(preset="tiny", layers=(13, 6, 5, 3), registers=3, bits=4, update="event", batch=4,
                  lr=0.4, lr_decay=0.0, seed=1)
BATCHES = 6


def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (count, 13)).astype(np.uint8), rng.integers(0, 3, count)


class Bench:
    """A session on the simulated RTL, and what golden makes of the same training."""

    def __init__(self, device: SimDevice) -> None:
        self.compiled: Compiled = compile_network(OPTIONS)
        self.rate = self.compiled.network.scales.rate(0.4)
        self.device = device
        self.model = device.model
        self.session = Session(self.compiled, device, chunk_batches=BATCHES)
        golden = GoldenDevice(TINY, ddr_bytes=ddr_bytes(self.compiled, BATCHES))
        self.expected = self.trained(Session(self.compiled, golden, chunk_batches=BATCHES))

    def trained(self, session: Session) -> tuple[np.ndarray, np.ndarray, int]:
        session.upload(*self.compiled.network.initial(), 7)
        session.train(*samples(23), self.rate)
        return *session.download(), session.random_state

    def assert_usable(self) -> None:
        """The device trains as ever."""
        for found, wanted in zip(self.trained(self.session), self.expected):
            np.testing.assert_array_equal(found, wanted)


@pytest.fixture(scope="module")
def opened(tiny_library: Path) -> Iterator[Bench]:
    with SimDevice(TINY, ddr_bytes=1 << 17) as device:
        yield Bench(device)


@pytest.fixture
def bench(opened: Bench) -> Iterator[Bench]:
    """The one device for all tests: each must leave it usable."""
    yield opened
    opened.model.answer(True)
    opened.model.fail_reads(0, 0)
    opened.model.fail_writes(0, 0)
    opened.assert_usable()


def test_a_dead_memory_while_weights_are_loaded(bench: Bench) -> None:
    bench.model.answer(False)
    began = time.monotonic()
    with pytest.raises(DeviceTimeout) as caught:
        bench.session.upload(*bench.compiled.network.initial(), 7)
    assert str(caught.value) == (
        "DDR has not answered for 81,920 cycles: the transfer is not done, with the program at "
        "word 4: SET DDR, 2048; the reset waits for bursts that the bus has not finished; DDR does "
        "not answer")
    assert caught.value.unit == "transfer"
    assert time.monotonic() - began < 20
    # As long as it is dead nothing can be done with the device; that is said, not hung.
    for _ in range(2):
        with pytest.raises(DeviceTimeout, match=r"^the reset waits for bursts that the bus has not "
                           r"finished; DDR does not answer$") as caught:
            Driver(bench.device).run([encode(Op.HALT)], timeout_s=5)
        assert caught.value.unit == "reset"


def test_a_memory_that_dies_at_any_moment(bench: Bench) -> None:
    """Reads of the next batch, or none at all: then the training ends well."""
    draw, stalled = random.Random(3), 0
    device, wait = bench.device, bench.device.wait
    for _ in range(6):
        bench.model.answer(True)
        bench.trained(bench.session)
        moment = draw.randrange(12_000)

        def dying(timeout_s: float, moment: int = moment) -> bool:
            bench.model.run(moment)
            bench.model.answer(False)
            del device.wait
            return wait(timeout_s)

        device.wait = dying
        cycles, found = bench.model.cycles, None
        try:
            bench.session.train(*samples(23), bench.rate)
        except DeviceTimeout as error:
            found = error
        if found is not None:
            stalled += 1
            assert found.unit == "transfer"
            assert re.match(r"DDR has not answered for 81,920 cycles: the transfer is not done, "
                            r"with the program at word \d+: (WAIT|LOAD|HALT)", str(found))
            # The stated time, and less than two looks more.
            assert bench.model.cycles - cycles < 12_000 + patience(TINY) + 300_000
            bench.model.answer(True)
            with pytest.raises(RuntimeError, match="^the engine holds no whole network: upload "
                               "one, also after a program that failed or was interrupted$"):
                bench.session.download()
    assert stalled >= 2


def test_slow_is_not_dead(bench: Bench) -> None:
    """Sixty times slower than usual, and the training ends in its bits."""
    bench.model.timing(latency=200, stall=0.95, outstanding=1)
    bench.assert_usable()
    bench.model.timing()


def address(bench: Bench, buffer: str, offset: int) -> int:
    """Byte address in a session's buffer, as the bus sees it."""
    return bench.device.ddr_base + getattr(bench.session, f"_{buffer}").offset + offset


@pytest.mark.parametrize(("buffer", "offset"), [
    ("weights", 0), ("weights", 4088), ("biases", 256), ("inputs", 0), ("inputs", 160),
    ("targets", 8)])
def test_an_error_answer_to_a_read(buffer: str, offset: int, bench: Bench) -> None:
    bench.session.upload(*bench.compiled.network.initial(), 7)
    bench.model.fail_reads(address(bench, buffer, offset), 1)
    with pytest.raises(EngineFault, match=r"^the engine halted with cause BUS_READ at word \d+: "
                       ) as caught:
        bench.trained(bench.session)
    assert caught.value.cause is Cause.BUS_READ
    assert f"at word {caught.value.pc}: " in str(caught.value)


@pytest.mark.parametrize("buffer", ["weights", "biases"])
def test_an_error_answer_to_a_write(buffer: str, bench: Bench) -> None:
    bench.session.upload(*bench.compiled.network.initial(), 7)
    bench.model.fail_writes(address(bench, buffer, 8), 1)
    with pytest.raises(EngineFault, match=r"^the engine halted with cause BUS_WRITE at word \d+: "
                       ) as caught:
        bench.session.download()
    assert caught.value.cause is Cause.BUS_WRITE


@pytest.mark.parametrize("op", [Op.LOAD, Op.STORE])
def test_a_decode_error(op: Op, bench: Bench) -> None:
    """Beyond DDR there is nothing: DECERR, and the same in golden."""
    beyond = bench.device.model.ddr.size // 8
    words = [encode(Op.SET, Reg.DDR, beyond), encode(Op.SET, Reg.LOCAL, 0),
             encode(Op.SET, Reg.LENGTH, 3), encode(op, 0, Space.BIAS), encode(Op.WAIT),
             encode(Op.HALT)]
    cause = Cause.BUS_READ if op is Op.LOAD else Cause.BUS_WRITE
    for device in (bench.device, GoldenDevice(TINY, ddr_bytes=8 * beyond)):
        with pytest.raises(EngineFault) as caught:
            Driver(device).run(words, timeout_s=20)
        assert caught.value.cause is cause
        # Golden moves all at once; the RTL notices at the instruction that waits.
        where = "3: " + op.name + " 0x3" if caught.value.pc == 3 else "4: WAIT 0x0"
        assert str(caught.value) == f"the engine halted with cause {cause.name} at word {where}"


def test_reset_in_the_middle_of_anything(bench: Bench) -> None:
    """At random cycles of loading, training and reading back; after each the bits are right."""
    compiled, session, device = bench.compiled, bench.session, bench.device
    draw = random.Random(8)
    programs = [compiled.setup(session._weights.beat, session._biases.beat),
                compiled.readout(session._weights.beat, session._biases.beat),
                compiled.training(session._fill(*samples(23)), bench.rate)]
    for number in range(24):
        words = programs[number % 3]
        device.load_program(words)
        device.write("PC", 0)
        device.write("CONTROL", Control.START)
        bench.model.run(draw.randrange(10 if number < 6 else 3000 if number % 3 < 2 else 12_000))
        session.driver.reset()
        assert device.read("STATUS") == 0
        if number % 4 == 0:
            bench.assert_usable()


def test_a_reset_line(bench: Bench) -> None:
    """The hard reset, which the driver's own registers do not outlive."""
    device = bench.device
    device.load_program([encode(Op.JMP, 0, 0)])
    device.write("CONTROL", Control.START)
    bench.model.run(50)
    assert device.read("STATUS") == Status.RUNNING
    bench.model.reset()
    assert device.read("DDR_BASE") == 0
    bench.session.driver.reset()
    bench.assert_usable()


def test_stop_from_the_host(bench: Bench) -> None:
    wait, device = bench.device.wait, bench.device

    def stopping(timeout_s: float) -> bool:
        bench.model.run(500)
        device.write("CONTROL", Control.STOP)
        return wait(timeout_s)

    bench.session.upload(*bench.compiled.network.initial(), 7)
    device.wait = stopping
    try:
        with pytest.raises(EngineFault, match=r"^the engine halted with cause STOPPED at word"):
            bench.session.train(*samples(23), bench.rate)
    finally:
        del device.wait
