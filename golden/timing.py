"""Cycle counts of the units, exact: what ``tangente cycles`` adds up and the RTL is tested against."""

from __future__ import annotations

__all__: list[str] = []
