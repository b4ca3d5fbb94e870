"""Runs programs on a device, and says what went wrong if one does not end well."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from tangente.golden import isa, registers
from tangente.golden.config import Config
from tangente.golden.isa import Cause, Space, decode
from tangente.golden.registers import SATURATIONS, Control, Status
from tangente.golden.state import beats_per_unit, depth

from .device import Device, DeviceTimeout

__all__ = ["Counters", "Driver", "EngineFault", "IncompatibleDevice", "patience"]

#: Seconds between two looks at a program that runs.
_LOOK_S = 0.1
#: Reads of STATUS in which a reset must be over. The bus has at most 8 + 8 bursts to finish.
_RESET_READS = 4096
_COUNT_MASK = 0xFFFFFFFF


def patience(config: Config) -> int:
    """Clock cycles that one transfer may take before the bus counts as stalled.

    Four a beat of the longest transfer there can be, and 2^16: 0.7 ms at 100 MHz for preset tiny,
    2.7 ms for pynq_z2.
    """
    longest = max(depth(space, config) * beats_per_unit(space, config) for space in Space)
    return 4 * longest + (1 << 16)


class IncompatibleDevice(RuntimeError):
    """The device is not the engine that this program was compiled for."""


class EngineFault(RuntimeError):
    """A program halted with another cause than DONE.

    Members
    -------
    cause : why.
    pc : address of the instruction.
    """

    def __init__(self, message: str, cause: Cause, pc: int) -> None:
        super().__init__(message)
        self.cause = cause
        self.pc = pc


@dataclasses.dataclass(frozen=True)
class Counters:
    """What the registers counted during one program.

    Members
    -------
    cycles : clock cycles.
    loss : summed loss as register LOSS counts it.
    correct, samples : hits of the samples that LOSS saw.
    skipped : batches that were not learnt from (register REPORT).
    saturations : by name, in the order of the registers.
    """

    cycles: int = 0
    loss: int = 0
    correct: int = 0
    samples: int = 0
    saturations: tuple[int, ...] = (0,) * len(SATURATIONS)
    skipped: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.cycles + other.cycles, self.loss + other.loss, self.correct + other.correct,
            self.samples + other.samples,
            tuple(a + b for a, b in zip(self.saturations, other.saturations)),
            self.skipped + other.skipped)


@dataclasses.dataclass(frozen=True)
class _Look:
    """Where a program stands: PC, and cycles so far in all, waiting for DDR, in tensor work."""

    pc: int
    cycles: int
    waited: int
    busy: int

    def unit(self, before: _Look) -> str:
        """What has been at work since ``before``."""
        if self.cycles == before.cycles:
            return "clock"
        if self.pc != before.pc:
            return "sequencer"
        # The registers are read one after the other: a few cycles lie between.
        cycles = self.cycles - before.cycles
        if 100 * (self.waited - before.waited & _COUNT_MASK) >= 99 * cycles:
            return "transfer"
        return "engine" if self.busy != before.busy else "sequencer"


class Driver:
    """A device that has been checked.

    Parameters
    ----------
    device : what to drive.

    Raises
    ------
    IncompatibleDevice
        If it is no engine, or one of another instruction set or configuration.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        for name, expected, what in (
                ("ID", registers.IDENTITY, "identity"),
                ("ISA_VERSION", isa.VERSION, "instruction set version"),
                ("CONFIG_HASH", device.config.hash,
                 f"configuration hash of {device.config.name}")):
            found = device.read(name)
            if found != expected:
                raise IncompatibleDevice(f"the device's {name} is 0x{found:08x}, but the {what} is "
                                         f"0x{expected:08x}: it was built for something else")
        self._prepare()

    def _prepare(self) -> None:
        self.device.write("DDR_BASE", self.device.ddr_base)
        self.device.write("IRQ_ENABLE", 1)

    def reset(self) -> None:
        """Abandon what runs; the memories keep what they hold, whole or not.

        Raises
        ------
        DeviceTimeout
            If the bus does not finish the bursts that it has begun. The device can be used as soon
            as it has, after another reset.
        """
        self.device.write("CONTROL", Control.RESET)
        for _ in range(_RESET_READS):
            if not self.device.read("STATUS") & Status.RESETTING:
                self._prepare()
                return
        raise DeviceTimeout("the reset waits for bursts that the bus has not finished; DDR does "
                            "not answer", "reset")

    @property
    def random_state(self) -> int:
        """State of the random generator, 64 bits, while nothing runs."""
        return self._wide("SEED")

    def seed(self, value: int) -> None:
        """Set the state of the random generator, 64 bits and not zero.

        Raises
        ------
        ValueError
            If it is zero or too large.
        """
        if not 0 < value < 1 << 64:
            raise ValueError(f"seed must lie between 1 and 2^64 - 1, not {value!r}")
        self.device.write("SEED", value & 0xFFFFFFFF, 0)
        self.device.write("SEED", value >> 32, 1)

    def run(self, words: Sequence[int], *, timeout_s: float,
            ending: tuple[int, int] | None = None,
            stop: Callable[[], bool] | None = None) -> Counters:
        """Load a program, run it to its end, and read the counters.

        Parameters
        ----------
        words : of the program.
        timeout_s : seconds that it may take, for a program that does not end.
        ending : as :meth:`tangente.host.compiler.Compiled.ending` returns it.
        stop : called some times a second; when it says True, ``ending`` is put into the program.

        Raises
        ------
        EngineFault
            If it halts otherwise than by HALT.
        DeviceTimeout
            If DDR has not answered for :func:`patience` cycles, or the program has not halted after
            ``timeout_s`` seconds. The device has then been reset, unless the message says that the
            reset waits, too.
        """
        device = self.device
        if len(words) > device.config.program_words:
            raise ValueError(f"the program must have at most {device.config.program_words} words, "
                             f"not {len(words)!r}")
        if device.read("STATUS") & (Status.RUNNING | Status.RESETTING):
            self.reset()
        device.load_program(words)
        device.write("PC", 0)
        device.write("CONTROL", Control.START)
        self._wait(words, timeout_s, ending, stop)
        status = device.read("STATUS")
        cause = Cause(status >> 8 & 0xFF)
        if not status & Status.HALTED or cause is not Cause.DONE:
            pc = device.read("PC")
            raise EngineFault(f"the engine halted with cause {cause.name} at word {pc}: "
                              f"{_text(words, pc)}", cause, pc)
        return Counters(
            self._wide("CYCLES"), self._wide("LOSS"), device.read("CORRECT"),
            device.read("SAMPLES"),
            tuple(device.read(f"SAT_{name.upper()}") for name in SATURATIONS),
            device.read("REPORT"))

    def _wait(self, words: Sequence[int], timeout_s: float, ending: tuple[int, int] | None,
              stop: Callable[[], bool] | None) -> None:
        deadline = time.monotonic() + timeout_s
        limit, waited, look = patience(self.device.config), 0, self._look()
        while not self.device.wait(min(_LOOK_S, max(0.0, deadline - time.monotonic()))):
            if ending is not None and stop is not None and stop():
                self.device.load_program(ending[1:], ending[0])
                ending = None
            before, look = look, self._look()
            unit = look.unit(before)
            waited = waited + look.cycles - before.cycles if unit == "transfer" else 0
            if waited > limit:
                self._give_up(words, f"DDR has not answered for {limit:,} cycles", unit, look.pc)
            if time.monotonic() >= deadline:
                self._give_up(words, f"the program has not halted after {timeout_s:g} s", unit,
                              look.pc)

    def _give_up(self, words: Sequence[int], what: str, unit: str, pc: int) -> None:
        try:
            self.reset()
            after = "it was reset"
        except DeviceTimeout as error:
            after = str(error)
        raise DeviceTimeout(f"{what}: the {unit} is not done, with the program at word {pc}: "
                            f"{_text(words, pc)}; {after}", unit)

    def _look(self) -> _Look:
        cycles = self._wide("CYCLES")
        return _Look(self.device.read("PC"), cycles, self.device.read("STALL_LOAD"),
                     self.device.read("BUSY"))

    def _wide(self, name: str) -> int:
        return self.device.read(name, 0) | self.device.read(name, 1) << 32


def _text(words: Sequence[int], pc: int) -> str:
    return str(decode(words[pc])) if pc < len(words) else "beyond the program"
