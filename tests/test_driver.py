"""The driver on the golden device: checks, counters, and what it says when something fails."""

from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pytest

from tangente.golden import registers
from tangente.golden.config import preset
from tangente.golden.isa import Cause, Op, Reg, encode
from tangente.golden.registers import Control, Status
from tangente.host.device import Allocator, DeviceTimeout, open_device
from tangente.host.driver import Counters, Driver, EngineFault, IncompatibleDevice, patience
from tangente.host.golden_device import GoldenDevice

TINY = preset("tiny")
HALT = encode(Op.HALT)


def device() -> GoldenDevice:
    return GoldenDevice(TINY, ddr_bytes=8192)


class Wrong(GoldenDevice):
    """A device with one register that reads otherwise."""

    def __init__(self, name: str, value: int) -> None:
        super().__init__(TINY)
        self._wrong = name, value

    def read(self, name: str, word: int = 0) -> int:
        return self._wrong[1] if name == self._wrong[0] else super().read(name, word)


@pytest.mark.parametrize(("name", "value", "message"), [
    ("ID", 0, "the device's ID is 0x00000000, but the identity is 0x54474e54: it was built for "
     "something else"),
    ("ISA_VERSION", 77, "the device's ISA_VERSION is 0x0000004d, but the instruction set version "
     "is 0x00000001: it was built for something else"),
    ("CONFIG_HASH", 0xABC, "the device's CONFIG_HASH is 0x00000abc, but the configuration hash of "
     f"tiny is 0x{TINY.hash:08x}: it was built for something else"),
])
def test_refuses_another_engine(name: str, value: int, message: str) -> None:
    with pytest.raises(IncompatibleDevice, match=f"^{re.escape(message)}$"):
        Driver(Wrong(name, value))


def test_hash_is_of_every_field() -> None:
    assert dataclasses.replace(TINY, lanes=8).hash != TINY.hash


def test_a_fault_names_cause_and_instruction() -> None:
    with pytest.raises(EngineFault, match=r"^the engine halted with cause OPERAND at word 1: MVA "
                       r"0x0$") as caught:
        Driver(device()).run([encode(Op.SET, Reg.R1, 5), encode(Op.MVA), HALT], timeout_s=5)
    assert (caught.value.cause, caught.value.pc) == (Cause.OPERAND, 1)


def test_an_endless_program_times_out_and_is_stopped() -> None:
    driver = Driver(device())
    with pytest.raises(DeviceTimeout, match=r"^the program has not halted after 0\.05 s: the "
                       r"sequencer is not done, with the program at word 1: JMP R0, 1; it was "
                       r"reset$") as caught:
        driver.run([encode(Op.SET, Reg.R0, 1), encode(Op.JMP, 0, 1)], timeout_s=0.05)
    assert caught.value.unit == "sequencer"
    assert driver.device.read("STATUS") == 0
    assert driver.run([HALT], timeout_s=5).samples == 0


def test_an_interrupted_program_is_in_nobodys_way() -> None:
    """What KeyboardInterrupt leaves running is abandoned by the next program."""
    golden = device()
    driver = Driver(golden)
    golden.load_program([encode(Op.JMP, 0, 0)])
    golden.write("CONTROL", Control.START)
    assert golden.read("STATUS") == Status.RUNNING
    assert driver.run([HALT], timeout_s=5).samples == 0


class Standing(GoldenDevice):
    """A device whose program never halts; each look finds its counters further by so much."""

    def __init__(self, **steps: int) -> None:
        super().__init__(TINY)
        self._steps, self._counts = steps, dict.fromkeys(steps, 0)

    def wait(self, timeout_s: float) -> bool:
        time.sleep(timeout_s)
        for name, step in self._steps.items():
            self._counts[name] = self._counts[name] + step & 0xFFFFFFFF
        return False

    def read(self, name: str, word: int = 0) -> int:
        if name in self._counts and not word:
            return self._counts[name]
        return 0 if name in ("PC", "STATUS", "CYCLES") else super().read(name, word)


@pytest.mark.parametrize(("steps", "unit", "what"), [
    ({"CYCLES": 0}, "clock", "the program has not halted after 0.25 s"),
    ({"CYCLES": 900, "BUSY": 900}, "engine", "the program has not halted after 0.25 s"),
    ({"CYCLES": 900, "BUSY": 900, "PC": 1}, "sequencer", "the program has not halted after 0.25 s"),
    ({"CYCLES": 900}, "sequencer", "the program has not halted after 0.25 s"),
    ({"CYCLES": 900, "STALL_LOAD": 890}, "sequencer", "the program has not halted after 0.25 s"),
    ({"CYCLES": 900, "STALL_LOAD": 897}, "transfer", "the program has not halted after 0.25 s"),
    ({"CYCLES": 90_000, "STALL_LOAD": 89_990}, "transfer",
     "DDR has not answered for 81,920 cycles"),
])
def test_the_unit_that_is_not_done_is_named(steps: dict[str, int], unit: str, what: str) -> None:
    assert patience(TINY) == 4 * 4096 + 65536 == 81_920
    with pytest.raises(DeviceTimeout) as caught:
        Driver(Standing(**steps)).run([HALT] * 9, timeout_s=0.25)
    assert caught.value.unit == unit
    assert re.fullmatch(re.escape(f"{what}: the {unit} is not done, with the program at "
                                  "word ")
                        + r"\d: HALT R0, 0; it was reset", str(caught.value))


def test_a_program_that_is_too_long() -> None:
    with pytest.raises(ValueError, match=r"^the program must have at most 1024 words, not 1025$"):
        Driver(device()).run([HALT] * 1025, timeout_s=5)


def test_seed_is_64_bits_and_not_zero() -> None:
    driver = Driver(device())
    driver.seed(0x0123456789ABCDEF)
    assert (driver.device.read("SEED", 0), driver.device.read("SEED", 1)) == (
        0x89ABCDEF, 0x01234567)
    with pytest.raises(ValueError, match=r"^seed must lie between 1 and 2\^64 - 1, not 0$"):
        driver.seed(0)


def test_registers_of_the_golden_device() -> None:
    golden = device()
    for register in registers.REGISTERS:
        assert 0 <= golden.read(register.name) < 1 << 32
    with pytest.raises(ValueError, match=r"^register must be writable, not 'ID'$"):
        golden.write("ID", 1)
    with pytest.raises(KeyError):
        golden.read("NOTHING")
    golden.load_program([HALT])
    golden.write("CONTROL", Control.START)
    assert golden.read("STATUS") == Status.RUNNING
    assert golden.wait(1)
    assert golden.read("STATUS") == Status.HALTED | Cause.DONE << 8


def test_stop_has_its_own_cause() -> None:
    golden = device()
    golden.load_program([encode(Op.JMP, 0, 0)])
    golden.write("CONTROL", Control.START)
    golden.write("CONTROL", Control.STOP)
    assert golden.read("STATUS") == Status.HALTED | Cause.STOPPED << 8


def test_buffers_are_pages_of_ddr() -> None:
    allocator = Allocator(np.zeros(3 * 4096, np.uint8))
    first, second = allocator.allocate(5000), allocator.allocate(4096)
    assert (first.offset, first.beat, second.offset, second.beat) == (0, 0, 8192, 1024)
    assert first.array.size == 5000
    with pytest.raises(MemoryError, match=r"^DDR has 0 bytes left of 12,288, but 1 are needed$"):
        allocator.allocate(1)


def test_open_device_refuses_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"^device must be one of golden, sim, not 'board'$"):
        open_device("board", TINY, ddr_bytes=4096)


def test_counters_add_up() -> None:
    one = Counters(1, 2, 3, 4, (1, 0, 0, 0, 0, 2))
    assert one + one == Counters(2, 4, 6, 8, (2, 0, 0, 0, 0, 4))
