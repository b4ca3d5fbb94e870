"""Runs programs on a device, and says what went wrong if one does not end well."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tangente.golden import isa, registers
from tangente.golden.isa import Cause, decode
from tangente.golden.registers import SATURATIONS, Control, Status

from .device import Device, DeviceTimeout

__all__ = ["Counters", "Driver", "EngineFault", "IncompatibleDevice"]


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
    saturations : by name, in the order of the registers.
    """

    cycles: int = 0
    loss: int = 0
    correct: int = 0
    samples: int = 0
    saturations: tuple[int, ...] = (0,) * len(SATURATIONS)

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            self.cycles + other.cycles, self.loss + other.loss, self.correct + other.correct,
            self.samples + other.samples,
            tuple(a + b for a, b in zip(self.saturations, other.saturations)))


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
        device.write("DDR_BASE", device.ddr_base)

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

    def run(self, words: Sequence[int], *, timeout_s: float) -> Counters:
        """Load a program, run it to its end, and read the counters.

        Raises
        ------
        EngineFault
            If it halts otherwise than by HALT.
        DeviceTimeout
            If it has not halted after ``timeout_s`` seconds; it is then stopped.
        """
        device = self.device
        if len(words) > device.config.program_words:
            raise ValueError(f"the program must have at most {device.config.program_words} words, "
                             f"not {len(words)!r}")
        device.load_program(words)
        device.write("PC", 0)
        device.write("CONTROL", Control.START)
        try:
            device.wait(timeout_s)
        except DeviceTimeout:
            device.write("CONTROL", Control.RESET)
            raise
        status = device.read("STATUS")
        cause = Cause(status >> 8 & 0xFF)
        if not status & Status.HALTED or cause is not Cause.DONE:
            pc = device.read("PC")
            text = str(decode(words[pc])) if pc < len(words) else "beyond the program"
            raise EngineFault(f"the engine halted with cause {cause.name} at word {pc}: {text}",
                              cause, pc)
        return Counters(
            self._wide("CYCLES"), self._wide("LOSS"), device.read("CORRECT"),
            device.read("SAMPLES"),
            tuple(device.read(f"SAT_{name.upper()}") for name in SATURATIONS))

    def _wide(self, name: str) -> int:
        return self.device.read(name, 0) | self.device.read(name, 1) << 32
