"""Delays without reset, which become shift registers in LUTs (UG474, SRL16E)."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay"]


def delay(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value``, ``cycles`` cycles later, through registers called after ``name``."""
    for stage in range(cycles):
        delayed = Signal(value.shape(), reset_less=True, name=f"{name}_{stage + 1}")
        m.d.sync += delayed.eq(value)
        value = delayed
    return value
