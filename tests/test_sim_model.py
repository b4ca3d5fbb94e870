"""The compiled RTL as a device: registers, DDR, time and faults, with a small machine inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benches.small import DEPTH, HALT, Small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tangente.golden.config import preset
from tangente.golden.isa import Cause, Space
from tangente.golden.registers import IDENTITY, PROGRAM_WINDOW, Control, Status, address
from tangente.rtl.export import to_verilog
from tangente.sim.model import Model, ResponseError, SimulationError
from tangente.sim.verilator import build_library

CONFIG = preset("tiny")
LOAD, STORE = 0, 1
#: A command: direction, space, byte offset in DDR, first local unit, beats.
Command = tuple[int, Space, int, int, int]


@pytest.fixture(scope="module")
def library() -> Path:
    return build_library(to_verilog(Small(CONFIG), "accelerator"))


@pytest.fixture
def model(library: Path) -> Iterator[Model]:
    with Model(library, ddr_bytes=1 << 20) as model:
        yield model


def start(model: Model, *commands: Command) -> None:
    words = []
    for store, space, ddr, local, beats in commands:
        words += [store << 31 | space, ddr, local, beats]
    for index, word in enumerate([*words, HALT]):
        model.write(PROGRAM_WINDOW + 4 * index, word)
    model.write(address("DDR_BASE"), model.ddr_address)
    model.write(address("IRQ_ENABLE"), 1)
    model.write(address("PC"), 0)
    model.write(address("CONTROL"), Control.START)


def halted(cause: Cause) -> int:
    return Status.HALTED | cause << 8


def run(model: Model, *commands: Command, bound: int = 100_000) -> int:
    """Run a program to its end; return the cycles that it took."""
    start(model, *commands)
    model.wait(bound)
    assert model.read(address("STATUS")) == halted(Cause.DONE)
    return model.read(address("CYCLES"))


def test_starts_as_configured(model: Model) -> None:
    assert model.cycles == 0
    assert not model.irq
    assert not model.ddr.any()
    assert model.read(address("ID")) == IDENTITY
    assert model.read(address("CONFIG_HASH")) == CONFIG.hash
    assert model.read(address("STATUS")) == 0
    model.ddr[:] = 0xA5
    run(model, (STORE, Space.BIAS, 64, 0, 100))
    assert not model.ddr[64:864].any()
    assert (model.ddr[:64] == 0xA5).all()
    assert (model.ddr[864:] == 0xA5).all()


def test_models_are_separate(library: Path) -> None:
    with Model(library) as one, Model(library) as other:
        one.write(address("DDR_BASE"), 5)
        assert (one.read(address("DDR_BASE")), other.read(address("DDR_BASE"))) == (5, 0)
        assert one.cycles != other.cycles


def test_ddr_outlives_the_model(library: Path) -> None:
    model = Model(library, ddr_bytes=4096)
    ddr = model.ddr
    model.close()
    model.close()
    ddr[:] = 7
    for use in (lambda: model.cycles, lambda: model.read(0), lambda: model.run(1)):
        with pytest.raises(SimulationError, match=r"^the model is closed$"):
            use()


def weight_beat(space: Space, local: int, beat: int) -> int:
    """Place in the small machine's memory."""
    per_word = CONFIG.beats_per_word
    return local * per_word + beat if space == Space.WEIGHT else local + beat


@st.composite
def command(draw: st.DrawFn) -> Command:
    store = draw(st.sampled_from((LOAD, STORE)))
    space = draw(st.sampled_from((Space.INPUT, Space.WEIGHT)))
    beats = draw(st.one_of(st.integers(1, 40), st.integers(1, 200)))
    # Around a boundary of 4 KiB as often as anywhere.
    start = draw(st.one_of(st.integers(0, 4096 - 200), st.integers(512 - 40, 512 + 8)))
    return store, space, 8 * start, draw(st.integers(0, 500)), beats


@settings(max_examples=40, derandomize=True, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=st.lists(command(), min_size=1, max_size=5), seed=st.integers(1, 1 << 32),
       stall=st.sampled_from((0.0, 0.1, 0.6)), latency=st.sampled_from((1, 7, 30)),
       outstanding=st.sampled_from((1, 3, 8)))
def test_moves_what_it_is_told(library: Path, commands: list[Command], seed: int, stall: float,
                               latency: int, outstanding: int) -> None:
    local = np.zeros(DEPTH, dtype=np.uint64)
    with Model(library, ddr_bytes=8 * 4096) as model:
        model.timing(latency=latency, stall=stall, seed=seed, outstanding=outstanding)
        beats = model.ddr.view(np.uint64)
        beats[:] = np.random.default_rng(seed).integers(0, 1 << 64, 4096, dtype=np.uint64)
        expected = beats.copy()
        for store, space, ddr, unit, length in commands:
            memory = slice(first := weight_beat(space, unit, 0), first + length)
            outside = slice(ddr // 8, ddr // 8 + length)
            if store:
                expected[outside] = local[memory]
            else:
                local[memory] = expected[outside]
        run(model, *commands)
        np.testing.assert_array_equal(beats, expected)


@pytest.mark.parametrize("direction", [LOAD, STORE])
@pytest.mark.parametrize("offset", [0, 8, 120])
def test_moves_one_beat_a_cycle(model: Model, direction: int, offset: int) -> None:
    # A fixed 50 for the latency of 30, the program's steps and the last answer.
    assert run(model, (direction, Space.INPUT, offset, 0, 4000)) < 4050


@pytest.mark.parametrize("direction", [LOAD, STORE])
def test_asks_for_128_beats_ahead(model: Model, direction: int) -> None:
    # With a long latency that is what the time tells: 31 rounds of 128 beats, and a last one.
    model.timing(latency=400, outstanding=100)
    assert 32 * 400 < run(model, (direction, Space.INPUT, 0, 0, 32 * 128)) < 32 * 440


def test_stalls_take_time(model: Model) -> None:
    quick = run(model, (LOAD, Space.INPUT, 0, 0, 1000))
    model.timing(stall=0.5, seed=9)
    slow = run(model, (LOAD, Space.INPUT, 0, 0, 1000))
    assert slow > 1.5 * quick
    model.timing(stall=0.5, seed=9)
    assert run(model, (LOAD, Space.INPUT, 0, 0, 1000)) == slow
    model.timing(stall=0.5, seed=10)
    assert run(model, (LOAD, Space.INPUT, 0, 0, 1000)) != slow


def test_latency_is_what_was_asked(model: Model) -> None:
    times = {}
    for latency in (1, 30, 200):
        model.timing(latency=latency)
        times[latency] = run(model, (LOAD, Space.INPUT, 0, 0, 1))
    assert times[30] - times[1] == 29
    assert times[200] - times[1] == 199


@pytest.mark.parametrize(("direction", "cause"),
                         [(LOAD, Cause.BUS_READ), (STORE, Cause.BUS_WRITE)])
def test_errors_halt(model: Model, direction: int, cause: Cause) -> None:
    def status_of(*commands: Command) -> int:
        start(model, *commands)
        model.wait(10_000)
        return model.read(address("STATUS"))

    command = (direction, Space.INPUT, 0, 0, 100)
    fail = model.fail_writes if direction == STORE else model.fail_reads
    assert status_of(command) == halted(Cause.DONE)
    for bad in (0, 8 * 57, 8 * 99 + 7):
        fail(model.ddr_address + bad, 1)
        assert status_of(command) == halted(cause)
    fail(model.ddr_address + 800, 8)
    assert status_of(command) == halted(Cause.DONE)
    fail(0, 0)
    beyond = (direction, Space.INPUT, model.ddr.size - 8, 0, 2)
    assert status_of(beyond) == halted(cause)
    assert status_of((direction, Space.INPUT, model.ddr.size - 8, 0, 1)) == halted(Cause.DONE)
    assert status_of((direction, Space.INPUT, -8 & 0xFFFFFFFF, 0, 1)) == halted(cause)


def test_failed_reads_change_nothing_local(model: Model) -> None:
    model.ddr[:400] = 1
    model.fail_reads(model.ddr_address + 160, 8)
    start(model, (LOAD, Space.INPUT, 0, 0, 50))
    model.wait(10_000)
    model.fail_reads(0, 0)
    run(model, (STORE, Space.BIAS, 4096, 0, 50))
    assert (model.ddr[4096:4096 + 160] == 1).all()
    assert not model.ddr[4096 + 160:4096 + 400].any()


@pytest.mark.parametrize("direction", [LOAD, STORE])
@pytest.mark.parametrize("after", [0, 20, 45, 75])
def test_hung_memory_is_named_and_reset_from(model: Model, direction: int, after: int) -> None:
    model.ddr[:8000] = 0x5A
    run(model, (LOAD, Space.INPUT, 0, 0, 1000))
    start(model, (direction, Space.INPUT, 16384, 0, 1000))
    model.run(after)
    model.answer(False)
    with pytest.raises(SimulationError, match=r"^no interrupt in 5000 cycles$"):
        model.wait(5000)
    model.write(address("CONTROL"), Control.RESET)
    model.run(1000)
    assert model.read(address("STATUS")) == Status.RESETTING
    with pytest.raises(ResponseError, match=r"^write to 0x000c: answered SLVERR$"):
        model.write(address("CONTROL"), Control.START)
    model.answer(True)
    model.run(300)
    assert model.read(address("STATUS")) == 0
    # Bursts begun are ended without writing what was not written before.
    assert set(np.unique(model.ddr[16384:24384])) <= {0, 0x5A}
    model.ddr[:] = 3
    run(model, (LOAD, Space.INPUT, 0, 0, 40), (STORE, Space.INPUT, 8192, 0, 40))
    assert (model.ddr[8192:8192 + 320] == 3).all()


def test_reset_line(model: Model) -> None:
    run(model, (LOAD, Space.INPUT, 0, 0, 40))
    assert model.irq
    start(model, (LOAD, Space.INPUT, 0, 0, 1000))
    model.run(30)
    model.reset()
    assert model.read(address("STATUS")) == 0
    assert model.read(address("DDR_BASE")) == 0
    run(model, (LOAD, Space.INPUT, 0, 0, 40))


def test_stop(model: Model) -> None:
    start(model, (LOAD, Space.INPUT, 0, 0, 2000), (LOAD, Space.INPUT, 0, 0, 2000))
    model.run(100)
    assert model.read(address("STATUS")) == Status.RUNNING
    model.write(address("CONTROL"), Control.STOP)
    model.wait(2100)
    assert model.read(address("STATUS")) == halted(Cause.STOPPED)


def test_accesses_answered_with_errors(model: Model) -> None:
    with pytest.raises(ResponseError, match=r"^write to 0x0000: answered SLVERR$") as caught:
        model.write(0, 1)
    assert caught.value.response == "SLVERR"
    with pytest.raises(ResponseError, match=r"^read from 0x1000: answered DECERR$") as caught:
        model.read(0x1000)
    assert caught.value.response == "DECERR"
    assert model.read(0) == IDENTITY


def test_strobes(model: Model) -> None:
    model.write(address("DDR_BASE"), 0x11223344)
    model.write(address("DDR_BASE"), 0xAABBCCDD, strobes=0b0101)
    assert model.read(address("DDR_BASE")) == 0x11BB33DD
    # What stands in a byte without its strobe is no command.
    start(model, (LOAD, Space.INPUT, 0, 0, 2000))
    model.write(address("CONTROL"), 0xFFFFFFFF, strobes=0b1110)
    model.wait(3000)
    assert model.read(address("STATUS")) == halted(Cause.DONE)
    model.write(address("CONTROL"), 0xFFFFFFFF, strobes=0b1110)
    assert model.read(address("STATUS")) == halted(Cause.DONE)


def test_long_runs_count(model: Model) -> None:
    before = model.cycles
    model.run(600_000)
    assert model.cycles - before == 600_000
    with pytest.raises(SimulationError, match=r"^no interrupt in 600000 cycles$"):
        model.wait(600_000)
    assert model.cycles - before == 1_200_000
    run(model)
    assert model.wait(10) == 0


@pytest.mark.parametrize(("arguments", "message"), [
    ({"ddr_bytes": 12}, r"ddr_bytes must be a positive multiple of 8, not 12"),
    ({"ddr_bytes": 0}, r"ddr_bytes must be a positive multiple of 8, not 0"),
    ({"ddr_address": 100},
     r"ddr_address must be a multiple of 4096 with all of DDR below 2\^32, not 100"),
    ({"ddr_address": 0xFFFFF000},
     r"ddr_address must be a multiple of 4096 with all of DDR below 2\^32, not 4294963200"),
])
def test_bad_sizes(library: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Model(library, **arguments)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"latency": 0}, r"latency must be at least 1, not 0"),
    ({"stall": 1}, r"stall must lie between 0 and below 1, not 1"),
    ({"seed": 0}, r"seed must not be 0, not 0"),
    ({"outstanding": 0}, r"outstanding must be at least 1, not 0"),
])
def test_bad_timing(model: Model, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        model.timing(**arguments)


def test_trace_needs_its_own_library(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "wave.vcd"
    with pytest.raises(SimulationError) as caught:
        model.trace(path)
    assert str(caught.value) == (f"no trace in {path}: it cannot be written, or the library was "
                                 "built without trace=True")
    model.trace(None)
