"""Recipes: default learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .options import Options

__all__ = ["rate"]


def rate(options: Options) -> tuple[float, float]:
    """Default learning rate and decay of ``options``."""
    return 0.1, 0.5
