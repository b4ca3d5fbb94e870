"""One simulated accelerator: registers, DDR and clock of a compiled design."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

__all__ = ["Model", "SimulationError", "ResponseError"]

#: Cycles between two looks for a keyboard interrupt.
_CHUNK = 1 << 18
#: What an access that was not answered waited for, by the harness's return value.
_WAITS = {4: "AWREADY", 5: "WREADY", 6: "BVALID", 7: "ARREADY", 8: "RVALID"}
_RESPONSES = {1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


class SimulationError(RuntimeError):
    """The design did not do something in its time, or broke the bus protocol."""


class ResponseError(SimulationError):
    """An access was answered with an error.

    Members
    -------
    response : "SLVERR", "DECERR" or "EXOKAY".
    """

    def __init__(self, message: str, response: str) -> None:
        super().__init__(message)
        self.response = response


class Model:
    """A design compiled by :func:`tangente.sim.verilator.build_library`.

    It begins as after an FPGA's configuration: registers and memories hold their initial values,
    DDR is zero, no reset was given. A context manager that closes the model.

    Parameters
    ----------
    library : path of the library.
    ddr_bytes : size of DDR, a multiple of 8; only what is used takes memory.
    ddr_address : byte address of its first byte, a multiple of 4096. An access elsewhere is
        answered DECERR.

    Members
    -------
    ddr : uint8 array of ``ddr_bytes``, shared with the design.
    ddr_address : its byte address, for register DDR_BASE.

    Raises
    ------
    ValueError
        If a size or an address is not as said above.
    """

    def __init__(self, library: str | os.PathLike[str], *, ddr_bytes: int = 1 << 26,
                 ddr_address: int = 0x1000_0000) -> None:
        self._handle: int | None = None
        if ddr_bytes < 8 or ddr_bytes % 8:
            raise ValueError(f"ddr_bytes must be a positive multiple of 8, not {ddr_bytes!r}")
        if ddr_address < 0 or ddr_address % 4096 or ddr_address + ddr_bytes > 1 << 32:
            raise ValueError("ddr_address must be a multiple of 4096 with all of DDR below 2^32, "
                             f"not {ddr_address!r}")
        self.ddr = np.zeros(ddr_bytes, dtype=np.uint8)
        self.ddr_address = ddr_address
        self._library = _load(Path(library))
        self._handle = self._library.harness_create(self.ddr.ctypes.data, ddr_bytes, ddr_address)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the model. ``ddr`` keeps its contents; closing twice is harmless."""
        if self._handle:
            self._library.harness_destroy(self._handle)
            self._handle = None

    @property
    def _open(self) -> int:
        if not self._handle:
            raise SimulationError("the model is closed")
        return self._handle

    @property
    def cycles(self) -> int:
        """Clock cycles since the model was made, of accesses and resets too."""
        return self._library.harness_cycles(self._open)

    @property
    def irq(self) -> bool:
        """Level of the interrupt line."""
        return bool(self._library.harness_irq(self._open))

    def reset(self, cycles: int = 4) -> None:
        """Hold the design's reset, and forget what is on the bus. Memories keep their contents."""
        self._library.harness_reset(self._open, cycles)

    def write(self, address: int, value: int, *, strobes: int = 0xF, bound: int = 1000) -> None:
        """Write a 32-bit word at a byte address over AXI-Lite.

        Raises
        ------
        ResponseError
            If the answer is not OKAY.
        SimulationError
            If there is none in ``bound`` cycles, or the design broke the protocol.
        """
        code = self._library.harness_write(self._open, address, value & 0xFFFFFFFF, strobes, bound)
        self._check(code, f"write to 0x{address:04x}", bound)

    def read(self, address: int, *, bound: int = 1000) -> int:
        """Read a 32-bit word at a byte address over AXI-Lite.

        Raises
        ------
        ResponseError, SimulationError
            As :meth:`write`.
        """
        word = ctypes.c_uint32()
        code = self._library.harness_read(self._open, address, ctypes.byref(word), bound)
        self._check(code, f"read from 0x{address:04x}", bound)
        return word.value

    def run(self, cycles: int) -> None:
        """Run that many clock cycles.

        Raises
        ------
        SimulationError
            If the design broke the protocol.
        """
        self._run(cycles, until_irq=False)

    def wait(self, bound: int) -> int:
        """Run until the interrupt line is high; return the cycles run.

        Raises
        ------
        SimulationError
            If it is not high after ``bound`` cycles, or the design broke the protocol.
        """
        done = self._run(bound, until_irq=True)
        if not self.irq:
            raise SimulationError(f"no interrupt in {bound} cycles")
        return done

    def timing(self, *, latency: int = 30, stall: float = 0.0, seed: int = 1,
               outstanding: int = 8) -> None:
        """How DDR answers from now on.

        Parameters
        ----------
        latency : cycles from a read's address to its first beat, and from the last beat written
            to the answer; at least 1. Beats then follow one a cycle.
        stall : probability that a ready or a new valid is held back for a cycle, 0 to below 1.
        seed : of the stalls, not 0.
        outstanding : bursts of each direction that are taken before the first is answered.

        Raises
        ------
        ValueError
            If one is not as said.
        """
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        if not 0 <= stall < 1:
            raise ValueError(f"stall must lie between 0 and below 1, not {stall!r}")
        if seed == 0:
            raise ValueError(f"seed must not be 0, not {seed!r}")
        if outstanding < 1:
            raise ValueError(f"outstanding must be at least 1, not {outstanding!r}")
        self._library.harness_timing(self._open, latency, int(stall * 65536),
                                     seed & 0xFFFFFFFFFFFFFFFF, outstanding)

    def fail_reads(self, address: int, size: int) -> None:
        """Answer SLVERR to beats read from these bytes; size 0 ends it."""
        self._library.harness_fail(self._open, 0, address, size)

    def fail_writes(self, address: int, size: int) -> None:
        """Answer SLVERR to bursts that write to these bytes, and drop their beats there."""
        self._library.harness_fail(self._open, 1, address, size)

    def answer(self, on: bool) -> None:
        """Let DDR answer, or have it take and answer nothing from the next cycle on."""
        self._library.harness_answering(self._open, on)

    def trace(self, path: str | os.PathLike[str] | None) -> None:
        """Write waveforms (VCD) to a file from now on; None ends it.

        Raises
        ------
        SimulationError
            If the library was built without tracing, or the file cannot be written.
        """
        if path is None:
            self._library.harness_trace(self._open, None)
        elif not self._library.harness_trace(self._open, os.fsencode(path)):
            raise SimulationError(f"no trace in {os.fspath(path)}: it cannot be written, or the "
                                  "library was built without trace=True")

    def record(self, on: bool) -> None:
        """Begin to record the port ``events`` of every cycle, or end it."""
        self._library.harness_record(self._open, on)

    @property
    def recorded(self) -> npt.NDArray[np.uint64]:
        """What was recorded, (changes, 2): a cycle, and the bits of ``events`` from then on."""
        count = ctypes.c_uint64()
        data = self._library.harness_recorded(self._open, ctypes.byref(count))
        if count.value == 0:
            return np.zeros((0, 2), np.uint64)
        return np.ctypeslib.as_array(data, (count.value, 2)).copy()

    def _run(self, cycles: int, *, until_irq: bool) -> int:
        done = 0
        while done < cycles:
            chunk = min(_CHUNK, cycles - done)
            ran = self._library.harness_run(self._open, chunk, until_irq)
            done += ran
            self._check_protocol()
            if ran < chunk:
                break
        return done

    def _check(self, code: int, what: str, bound: int) -> None:
        self._check_protocol()
        if code in _WAITS:
            raise SimulationError(f"{what}: no {_WAITS[code]} in {bound} cycles")
        if code:
            name = _RESPONSES[code]
            raise ResponseError(f"{what}: answered {name}", name)

    def _check_protocol(self) -> None:
        fault = self._library.harness_fault(self._open).decode()
        if fault:
            raise SimulationError(f"AXI protocol: {fault}")


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(os.fspath(path.resolve()))
    handle, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    signatures = {
        "create": (handle, [handle, u64, u64]),
        "destroy": (None, [handle]),
        "cycles": (u64, [handle]),
        "irq": (ctypes.c_int, [handle]),
        "fault": (ctypes.c_char_p, [handle]),
        "reset": (None, [handle, u64]),
        "write": (ctypes.c_int, [handle, u32, u32, u32, u64]),
        "read": (ctypes.c_int, [handle, u32, ctypes.POINTER(u32), u64]),
        "run": (u64, [handle, u64, ctypes.c_int]),
        "timing": (None, [handle, u32, u32, u64, u32]),
        "fail": (None, [handle, ctypes.c_int, u64, u64]),
        "answering": (None, [handle, ctypes.c_int]),
        "trace": (ctypes.c_int, [handle, ctypes.c_char_p]),
        "record": (None, [handle, ctypes.c_int]),
        "recorded": (ctypes.POINTER(u64), [handle, ctypes.POINTER(u64)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"harness_{name}")
        function.restype = result
        function.argtypes = arguments
    return library
