"""Checks of a tensor instruction's operands, and views of runs in the memories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .isa import Cause

__all__ = ["Fault", "operand", "address", "pairs", "last", "runs", "write_runs"]


class Fault(Exception):
    """The instruction halts the engine; ``cause`` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.name)
        self.cause = cause


def operand(condition: bool) -> None:
    if not condition:
        raise Fault(Cause.OPERAND)


def address(condition: bool) -> None:
    if not condition:
        raise Fault(Cause.ADDRESS)


def pairs(width: int) -> int:
    return (width + 1) // 2


def last(base: int, stride: int, count: int, length: int) -> int:
    """One past the highest address of ``count`` runs of ``length``."""
    return base + (count - 1) * stride + length


def runs(memory: npt.NDArray[np.generic], base: int, stride: int, count: int,
          length: int) -> npt.NDArray[np.generic]:
    """A view of ``count`` runs of ``length`` units: (count, length, elements of a unit).

    The caller has checked the addresses.
    """
    unit, element = memory.strides
    return np.ndarray((count, length, memory.shape[1]), memory.dtype, memory, base * unit,
                      (stride * unit, unit, element))


def write_runs(memory: npt.NDArray[np.int16], base: int, stride: int,
                values: npt.NDArray[np.integer]) -> None:
    """Write ``values`` (count, length, elements); where runs overlap, the later one stays."""
    count, length = values.shape[:2]
    if stride >= length or count == 1:
        runs(memory, base, stride, count, length)[:] = values
        return
    for b in range(count):
        memory[base + b * stride:base + b * stride + length] = values[b]
