"""The compiled RTL as a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tangente.golden import registers
from tangente.golden.config import Config
from tangente.golden.registers import PROGRAM_WINDOW

from .device import PAGE, Allocator, Buffer

__all__ = ["SimDevice"]

#: Simulated cycles between two looks at the clock: first, fewest and most; and what they should
#: take, in seconds.
_FIRST, _FEWEST, _MOST = 1 << 12, 1 << 8, 1 << 20
_SLICE_S = 0.05


class SimDevice:
    """Drives the simulated accelerator; the model is compiled first if it is not cached.

    Parameters
    ----------
    config : of the accelerator.
    ddr_bytes : DDR to allocate from.
    waves : file for waveforms; the model is then a slower one that can write them.
    report : called with a line of text before each long step.

    Members
    -------
    model : the simulation itself.

    Raises
    ------
    RuntimeError
        If the model cannot be built; the message names the tool that is missing.
    """

    name = "sim"

    def __init__(self, config: Config, *, ddr_bytes: int = 1 << 24, waves: Path | None = None,
                 report: Callable[[str], None] | None = None) -> None:
        from tangente.sim.build import build
        from tangente.sim.model import Model

        self.config = config
        library = build(config, trace=waves is not None, progress=report)
        self.model = Model(library, ddr_bytes=-(-ddr_bytes // PAGE) * PAGE)
        if waves is not None:
            self.model.trace(waves)
        self.model.reset()
        self.ddr_base = self.model.ddr_address
        self._allocator = Allocator(self.model.ddr)
        self._slice = _FIRST

    def __enter__(self) -> SimDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, name: str, word: int = 0) -> int:
        """Word ``word`` of the register called ``name``."""
        return self.model.read(registers.address(name, word))

    def write(self, name: str, value: int, word: int = 0) -> None:
        """Set word ``word`` of the register called ``name``."""
        self.model.write(registers.address(name, word), value)

    def load_program(self, words: Sequence[int], first: int = 0) -> None:
        """Write instruction words from address ``first``, also while a program runs."""
        for index, word in enumerate(words, first):
            self.model.write(PROGRAM_WINDOW + 4 * index, word)

    def allocate(self, size: int) -> Buffer:
        """``size`` bytes of DDR, zero."""
        return self._allocator.allocate(size)

    def to_device(self, buffer: Buffer) -> None:
        """Nothing: the simulated DDR is the same array."""

    def from_device(self, buffer: Buffer) -> None:
        """Nothing: the simulated DDR is the same array."""

    def wait(self, timeout_s: float) -> bool:
        """Simulate until the interrupt line says that the program halted.

        Returns False if it has not after about ``timeout_s`` seconds of wall time.
        """
        from tangente.sim.model import SimulationError

        began = now = time.monotonic()
        while not self.model.irq:
            if now - began >= timeout_s:
                return False
            try:
                self.model.wait(self._slice)
            except SimulationError:
                # Not halted yet, or a broken bus: that one is raised again here.
                self.model.run(1)
                before, now = now, time.monotonic()
                wanted = int(self._slice * _SLICE_S / max(now - before, 1e-6))
                self._slice = min(max(wanted, _FEWEST), _MOST)
        return True

    def close(self) -> None:
        """End the simulation. Views of its buffers are gone with it."""
        self.model.close()
