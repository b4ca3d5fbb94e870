"""The performance counters: the block against sums, the accelerator against its own record, the
golden clock, and what is written of them for a person."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import Assembler
from unit_bench import UnitBench

from tangente.golden import registers
from tangente.golden.config import preset
from tangente.golden.counters import FIELDS, UNITS, Counter
from tangente.golden.isa import Cause, Op, decode
from tangente.host.compiler import compile_network
from tangente.host.golden_device import GoldenDevice
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes
from tangente.host.sim_device import SimDevice
from tangente.rtl.counters import Counters, Events

CONFIG = preset("tiny")
#: count, clear, events.
Cycle = tuple[bool, bool, int]


class CountersBench(UnitBench):
    """Runs cycles, then reads every counter."""

    async def task(self, ctx, cycles: list[Cycle]) -> list[int]:
        dut = self.dut
        for count, clear, events in cycles:
            ctx.set(dut.count, count)
            ctx.set(dut.clear, clear)
            ctx.set(dut.events.as_value(), events)
            await ctx.tick()
        ctx.set(dut.count, 0)
        ctx.set(dut.clear, 0)
        values = []
        for counter in Counter:
            ctx.set(dut.select, counter)
            await ctx.tick().repeat(Counters.LATENCY)
            values.append(ctx.get(dut.value))
        return values


@functools.cache
def bench() -> CountersBench:
    return CountersBench(Counters())


def _sums(cycles: list[Cycle]) -> list[int]:
    values = [0] * len(Counter)
    for count, clear, events in cycles:
        for counter in Counter:
            first, bits = FIELDS[counter]
            if clear:
                values[counter] = 0
            elif count:
                values[counter] += events >> first & (1 << bits) - 1
    return values


#: All that can happen in a cycle: of two halves, two multiply.
_MOST = sum((2 if counter is Counter.MULTIPLIERS else 1) << first
            for counter, (first, _) in FIELDS.items())
_EVENTS = st.one_of(st.just(0), st.just(_MOST),
                    st.integers(0, (1 << Events.size) - 1).map(lambda bits: bits & _MOST))


@settings(derandomize=True, deadline=None, max_examples=12)
@given(runs=st.lists(st.tuples(st.booleans(), st.sampled_from((False, False, False, True)), _EVENTS,
                               st.integers(1, 80)), max_size=5))
def test_against_sums(runs: list[tuple[bool, bool, int, int]]) -> None:
    """Runs of equal cycles, some longer than the turns of all counters."""
    cycles: list[Cycle] = [(False, True, 0)]
    for count, clear, events, length in runs:
        cycles += [(count, clear, events)] + [(count, False, events)] * (length - 1)
    assert bench().run(cycles) == _sums(cycles)


@pytest.fixture(scope="module")
def step(tiny_library: Path):
    """One training step of BP on both devices, recorded on the RTL: the two, and the record."""
    options = Options(preset="tiny", algorithm="bp", layers=(9, 6, 5, 3), batch=3, lr=0.1)
    compiled = compile_network(options)
    rng = np.random.default_rng(3)
    images, labels = rng.integers(0, 256, (3, 9), np.uint8), rng.integers(0, 3, 3)
    rate = compiled.network.scales.rate(options.lr)
    devices = []
    for kind in (GoldenDevice, SimDevice):
        device = kind(CONFIG, ddr_bytes=ddr_bytes(compiled, 1))
        session = Session(compiled, device, chunk_batches=1)
        session.upload(*compiled.network.initial(), 1)
        if kind is SimDevice:
            device.model.record(True)
        session.train(images, labels, rate)
        devices.append(device)

    def again(pc: int | None) -> None:
        """The same step, with the counters on one instruction, or on all."""
        session.upload(*compiled.network.initial(), 1)
        device.write("COUNTER_PC", 0 if pc is None else registers.COUNTER_ONE | pc)
        session.train(images, labels, rate)

    words = compiled.training(session._fill(images, labels), rate)
    device.model.record(False)
    yield *devices, device.model.recorded, words, again
    device.close()


def _count(device, counter: Counter) -> int:
    device.write("COUNTER_SELECT", counter)
    return device.read("COUNTER")


def _fields(record) -> dict[Counter, np.ndarray]:
    """Of each change, what every counter adds a cycle from then on."""
    events = record[:, 1].astype(np.int64)
    return {counter: events >> first & (1 << bits) - 1
            for counter, (first, bits) in FIELDS.items()}


def test_the_fields_are_the_rtls() -> None:
    assert FIELDS == {counter: (Events[counter.name.lower()].offset,
                                Events[counter.name.lower()].width) for counter in Counter}


def test_every_counter_is_its_record(step) -> None:
    _, device, record, _, _ = step
    lengths = np.diff(record[:, 0].astype(np.int64), append=record[-1, 0])
    for counter, field in _fields(record).items():
        assert _count(device, counter) == int(field @ lengths), counter.name
    assert record[-1, 1] == 0


def test_busy_stalled_and_idle_add_up(step) -> None:
    """No unit is busy and stalled at once, so that what is left of the cycles is idle."""
    _, device, record, _, _ = step
    fields = _fields(record)
    cycles = _count(device, Counter.CYCLES)
    assert cycles == device.read("CYCLES")
    for name, unit in UNITS.items():
        together = sum(fields[counter] for counter in (unit.busy, *unit.stalled.values()))
        assert together.max() == (0 if name in ("selector", "lists") else 1), name
        assert (together <= fields[Counter.CYCLES]).all(), name
    assert sorted([Counter.CYCLES, Counter.MULTIPLIERS, *(
        counter for unit in UNITS.values()
        for counter in (unit.busy, *unit.stalled.values()))]) == list(Counter)


def test_a_training_step_is_the_golden_clocks(step) -> None:
    golden, device, _, words, again = step
    clock = golden.machine.clock
    assert _count(device, Counter.CYCLES) == clock.now == _count(golden, Counter.CYCLES)
    assert _count(device, Counter.ENGINE_BUSY) == clock.busy == _count(golden, Counter.ENGINE_BUSY)
    assert sum(clock.cycles_of.values()) == clock.now
    tensor = [pc for pc, word in enumerate(words) if decode(word).op.name in clock_names(clock)]
    assert set(clock.cycles_of) == {-1, *tensor}
    for pc in tensor:
        again(pc)
        golden.write("COUNTER_PC", registers.COUNTER_ONE | pc)
        assert _count(device, Counter.CYCLES) == clock.cycles_of[pc] == _count(
            golden, Counter.CYCLES), str(decode(words[pc]))
    again(None)
    golden.write("COUNTER_PC", 0)
    assert _count(device, Counter.CYCLES) == clock.now


def clock_names(clock) -> set[str]:
    return {op.name for op in clock.spent}


def test_micro_operations_of_a_product(tiny_library: Path) -> None:
    """MVD: samples x pairs x tiles, both halves; in other instructions the array is idle."""
    with SimDevice(CONFIG) as device:
        program = Assembler().set(count=3, p=10, q=9, code_bits=8).op(Op.MVD).op(Op.HALT).words
        device.load_program(program)
        device.write("PC", 0)
        device.write("IRQ_ENABLE", 1)
        device.write("CONTROL", registers.Control.START)
        assert device.wait(10)
        assert device.read("STATUS") >> 8 == Cause.DONE
        counts = {counter: _count(device, counter) for counter in Counter}
    assert counts[Counter.ARRAY_BUSY] == 3 * 5 * 3
    assert counts[Counter.MULTIPLIERS] == 2 * counts[Counter.ARRAY_BUSY]
    assert counts[Counter.DRAIN_BUSY] == counts[Counter.POST_BUSY] == 3 * 5
    assert counts[Counter.LANES_BUSY] == counts[Counter.TRANSFER_BUSY] == 0


def test_golden_keeps_only_what_its_clock_does() -> None:
    with GoldenDevice(CONFIG) as device:
        with pytest.raises(RuntimeError, match=r"^counter LANES_BUSY is the RTL's: take the device "
                                               r"sim$"):
            _count(device, Counter.LANES_BUSY)
