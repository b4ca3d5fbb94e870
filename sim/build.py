"""The accelerator as a library: configuration to Verilog to :class:`tangente.sim.model.Model`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tangente.golden.config import Config

from .verilator import build_library

__all__ = ["build"]


def build(config: Config, *, trace: bool = False,
          progress: Callable[[str], None] | None = None) -> Path:
    """The simulation library of the accelerator of one configuration, built unless it is cached.

    Parameters
    ----------
    config : what to build.
    trace : make a library that can write waveforms; it is slower.
    progress : called with a line of text before each long step.

    Raises
    ------
    RuntimeError
        As :func:`tangente.sim.verilator.build_library`.
    """
    # Amaranth takes a second to import, and whoever only opens a model needs none of it.
    from tangente import rtl
    from tangente.rtl.accelerator import Accelerator
    from tangente.rtl.export import to_verilog

    if progress:
        progress(f"generating Verilog of {config.name}")
    text = to_verilog(Accelerator(config), "accelerator")
    sources = sorted(Path(next(iter(rtl.__path__))).glob("verilog/*.v"))
    return build_library(text, sources=sources, trace=trace, progress=progress)
