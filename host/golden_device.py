"""The golden machine as a device: its registers, emulated."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tangente.golden import isa, registers
from tangente.golden.config import Config
from tangente.golden.counters import Counter
from tangente.golden.isa import Cause
from tangente.golden.machine import Machine
from tangente.golden.registers import Access, Control, Status

from .device import PAGE, Allocator, Buffer

__all__ = ["GoldenDevice"]

#: Instructions between two looks at the clock.
_SLICE = 100
_ACCESS = {register.name: register.access for register in registers.REGISTERS}


class GoldenDevice:
    """Executes programs in NumPy; CYCLES, STALL_LOAD and BUSY are what the RTL would count.

    Parameters
    ----------
    config : of the machine.
    ddr_bytes : DDR to allocate from.

    Members
    -------
    machine : the golden machine itself.
    """

    name = "golden"
    ddr_base = 0

    def __init__(self, config: Config, *, ddr_bytes: int = 1 << 24) -> None:
        self.config = config
        self.machine = Machine(config, -(-ddr_bytes // PAGE) * PAGE)
        self._allocator = Allocator(self.machine.state.ddr)
        self._running = False
        self._start_pc = 0
        self._counter = {"COUNTER_SELECT": 0, "COUNTER_PC": 0}

    def __enter__(self) -> GoldenDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, name: str, word: int = 0) -> int:
        """Word ``word`` of the register called ``name``.

        Raises
        ------
        KeyError
            If there is none.
        RuntimeError
            If it is COUNTER, and the clock does not keep the selected one.
        """
        if _ACCESS[name] is Access.WO:
            return 0
        return self._value(name) >> 32 * word & 0xFFFFFFFF

    def _value(self, name: str) -> int:
        machine, state = self.machine, self.machine.state
        if name == "STATUS":
            if self._running:
                return int(Status.RUNNING)
            halted = Status.HALTED if machine.cause is not Cause.NONE else 0
            return int(halted) | int(machine.cause) << 8
        if name in self._counter:
            return self._counter[name]
        if name == "COUNTER":
            return self._count()
        if name.startswith("SAT_"):
            return state.saturations[name[4:].lower()]
        return {
            "ID": registers.IDENTITY, "ISA_VERSION": isa.VERSION, "CONFIG_HASH": self.config.hash,
            "PC": machine.pc, "DDR_BASE": machine.ddr_base, "SEED": state.random,
            "CYCLES": machine.clock.now, "STALL_LOAD": machine.clock.stalled,
            "BUSY": machine.clock.busy, "LOSS": state.loss, "CORRECT": state.correct,
            "SAMPLES": state.samples, "REPORT": machine.registers[isa.Reg.REPORT],
        }.get(name, 0)

    def _count(self) -> int:
        """The counters that the clock keeps, too."""
        clock, only = self.machine.clock, self._counter["COUNTER_PC"]
        counter = Counter(self._counter["COUNTER_SELECT"])
        if counter is Counter.CYCLES and only & registers.COUNTER_ONE:
            return clock.cycles_of.get(only & 0xFFFF, 0)
        known = {Counter.CYCLES: clock.now, Counter.ENGINE_BUSY: clock.busy}
        if counter not in known or only & registers.COUNTER_ONE:
            raise RuntimeError(f"counter {counter.name} is the RTL's: take the device sim")
        return known[counter]

    def write(self, name: str, value: int, word: int = 0) -> None:
        """Set word ``word`` of the register called ``name``.

        Raises
        ------
        ValueError
            If it is read-only.
        KeyError
            If there is none.
        """
        if _ACCESS[name] is Access.RO:
            raise ValueError(f"register must be writable, not {name!r}")
        machine = self.machine
        if name == "CONTROL":
            self._control(Control(value))
        elif name == "PC":
            self._start_pc = value
        elif name == "DDR_BASE":
            machine.ddr_base = value
        elif name in self._counter:
            self._counter[name] = value
        elif name == "SEED":
            mask = 0xFFFFFFFF << 32 * word
            machine.state.random = machine.state.random & ~mask | value << 32 * word

    def _control(self, value: Control) -> None:
        machine = self.machine
        if value & (Control.RESET | Control.STOP) and self._running:
            machine.cause = Cause.NONE if value & Control.RESET else Cause.STOPPED
            self._running = False
        elif value & Control.START:
            machine.start(self._start_pc)
            self._running = True

    def load_program(self, words: Sequence[int], first: int = 0) -> None:
        """Write instruction words from address ``first``, also while a program runs."""
        self.machine.load_program(words, first)

    def allocate(self, size: int) -> Buffer:
        """``size`` bytes of DDR, zero."""
        return self._allocator.allocate(size)

    def to_device(self, buffer: Buffer) -> None:
        """Nothing: the machine works on the same array."""

    def from_device(self, buffer: Buffer) -> None:
        """Nothing: the machine works on the same array."""

    def wait(self, timeout_s: float) -> bool:
        """Execute until the program halts, about ``timeout_s`` seconds at most.

        Returns whether it did; if not, another wait goes on.
        """
        deadline = time.monotonic() + timeout_s
        while self._running:
            if self.machine.run(_SLICE) is not Cause.NONE:
                self._running = False
            elif time.monotonic() > deadline:
                return False
        return True

    def close(self) -> None:
        """Nothing is held but memory."""
