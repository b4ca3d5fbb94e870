"""The one interface through which the host reaches an engine, whatever it is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tangente.golden.config import Config

__all__ = ["Allocator", "Buffer", "Device", "DeviceTimeout", "open_device"]

#: DDR buffers begin at multiples of this: a page, which no AXI burst may cross.
PAGE = 4096


class DeviceTimeout(TimeoutError):
    """A device did not do something in time; the message says what was waited for.

    Members
    -------
    unit : "transfer" (DDR does not answer), "engine", "sequencer", "reset" (the bus does not
        finish) or "clock": what had not come to its end.
    """

    def __init__(self, message: str, unit: str) -> None:
        super().__init__(message)
        self.unit = unit


@dataclasses.dataclass(frozen=True)
class Buffer:
    """A piece of DDR that both sides see.

    Members
    -------
    array : its bytes, uint8.
    offset : of its first byte, from DDR_BASE.
    """

    array: npt.NDArray[np.uint8]
    offset: int

    @property
    def beat(self) -> int:
        """``offset`` in 64-bit beats, as transfers count."""
        return self.offset // 8


class Device(Protocol):
    """An engine with its DDR. A context manager that closes it.

    Members
    -------
    name : as ``--device`` takes it.
    config : what it was built with, or is believed to be; the driver compares hashes.
    ddr_base : value for register DDR_BASE.
    """

    name: str
    config: Config
    ddr_base: int

    def read(self, name: str, word: int = 0) -> int:
        """Word ``word`` of the register called ``name``."""

    def write(self, name: str, value: int, word: int = 0) -> None:
        """Set word ``word`` of the register called ``name``."""

    def load_program(self, words: Sequence[int], first: int = 0) -> None:
        """Write instruction words from address ``first``, also while a program runs."""

    def allocate(self, size: int) -> Buffer:
        """``size`` bytes of DDR, zero; raises MemoryError if there is no room."""

    def to_device(self, buffer: Buffer) -> None:
        """Make what the host wrote into ``buffer`` visible to the engine."""

    def from_device(self, buffer: Buffer) -> None:
        """Make what the engine wrote into ``buffer`` visible to the host."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until STATUS says HALTED, ``timeout_s`` seconds at most; return whether it does."""

    def close(self) -> None:
        """Give back what the device holds."""

    def __enter__(self) -> Device: ...

    def __exit__(self, *_: object) -> None: ...


class Allocator:
    """Gives out pieces of a DDR array, page by page; nothing is taken back.

    Parameters
    ----------
    ddr : all of it.
    """

    def __init__(self, ddr: npt.NDArray[np.uint8]) -> None:
        self._ddr = ddr
        self._next = 0

    def allocate(self, size: int) -> Buffer:
        """The next ``size`` bytes.

        Raises
        ------
        MemoryError
            If they are not there.
        """
        first = self._next
        if first + size > self._ddr.size:
            raise MemoryError(f"DDR has {self._ddr.size - first:,} bytes left of "
                              f"{self._ddr.size:,}, but {size:,} are needed")
        self._next = first + -(-size // PAGE) * PAGE
        return Buffer(self._ddr[first:first + size], first)


def open_device(name: str, config: Config, *, ddr_bytes: int, waves: Path | None = None,
                report: Callable[[str], None] | None = None) -> Device:
    """The device called ``name``.

    Parameters
    ----------
    name : one of :data:`tangente.host.options.DEVICES`.
    ddr_bytes : DDR that will be allocated from, at least.
    waves : file for waveforms (sim only).
    report : called with a line of text before each long step.

    Raises
    ------
    ValueError
        If there is no device of that name.
    """
    if name == "golden":
        from .golden_device import GoldenDevice

        return GoldenDevice(config, ddr_bytes=ddr_bytes)
    if name == "sim":
        from .sim_device import SimDevice

        return SimDevice(config, ddr_bytes=ddr_bytes, waves=waves, report=report)
    raise ValueError(f"device must be one of golden, sim, not {name!r}")
