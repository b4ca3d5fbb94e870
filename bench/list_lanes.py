"""The list unit by its number of topers: ``python -m tangente.bench.list_lanes``.

LUTs by Yosys (:mod:`tangente.boards.synth`, cached), cycles by golden's clock, exact to the cycle:
784-100-100-10, weight registers in banks of 12 and 4, batch 10, over 1,000 samples after 20,000.
What is measured is kept in docs/list_lanes.json and not measured again, but with ``--anew``; the
table stands between this script's marks in docs/toper.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tangente.bench.entry import as_program
from tangente.boards.synth import synthesise
from tangente.golden.config import Config, preset
from tangente.host import data
from tangente.host.compiler import compile_network
from tangente.host.golden_device import GoldenDevice
from tangente.host.options import Options
from tangente.host.session import Session
from tangente.host.trainer import ddr_bytes

__all__ = ["TOPERS", "config_of", "cycles", "table", "main"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_MARKS = ("<!-- lanes:begin -->", "<!-- lanes:end -->")
#: Numbers of topers: even ones, since the list memory's banks are used in pairs.
TOPERS = (4, 6, 8, 10, 12, 20)
_PRESET = "pynq_z2"
_CHUNK, _TRAINED = 1000, 20000
_SPENT = ("TOP", "SRT", "SCT")


def config_of(topers: int) -> Config:
    """The preset with so many topers, and at least its list memory."""
    base = preset(_PRESET)
    if topers == base.toper_lanes:
        return base
    entries = 1
    while topers * entries < base.toper_lanes * base.list_entries:
        entries *= 2
    return dataclasses.replace(base, name=f"{_PRESET}_{topers}", toper_lanes=topers,
                               list_entries=entries)


def cycles(topers: int, folder: Path | None) -> dict[str, float]:
    """Cycles a sample, and those of the instructions on lists."""
    options = Options(dataset="mnist", preset=_PRESET, layers=(784, 100, 100, 10), batch=10,
                      algorithm="dpfm", registers=16, granularity="weight", banks=(12, 4))
    compiled = compile_network(options, config_of(topers))
    batches = _CHUNK // options.batch
    device = GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches))
    session = Session(compiled, device, chunk_batches=batches)
    session.upload(*compiled.network.initial(), options.seed)
    assert options.lr is not None
    rate = compiled.network.scales.rate(options.lr)
    dataset = data.load("mnist", folder)
    order = np.random.default_rng(options.seed).permutation(len(dataset.train_images))
    images, labels = dataset.train_images[order], dataset.train_labels[order]
    for first in range(0, _TRAINED + _CHUNK, _CHUNK):
        chosen = slice(first, first + _CHUNK)
        session.train(images[chosen], labels[chosen], rate)
    clock = device.machine.clock
    spent = {op.name: count for op, count in clock.spent.items()}
    return {"cycles": clock.now / _CHUNK,
            **{name: spent.get(name, 0) / _CHUNK for name in _SPENT}}


def area(topers: int) -> dict[str, Any]:
    """LUTs, FFs, DSP48E1 and block RAM of the list unit."""
    measured = synthesise(config_of(topers), blocks=("ListUnit",),
                          report=lambda line: print(line, file=sys.stderr, flush=True)).blocks[0]
    return {"lut": measured.area.lut, "ff": measured.area.ff, "dsp": measured.area.dsp,
            "bram36": measured.area.bram36}


def table(record: dict[str, dict[str, Any]]) -> str:
    """The measurements in Markdown."""
    lines = ["| topers | LUT | FF | DSP48E1 | BRAM36 | cycles a sample | TOP | SRT | SCT |",
             "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for topers, row in sorted(record.items(), key=lambda item: int(item[0])):
        cells = [f"{row[name]:,.0f}" if name in row else "" for name in ("lut", "ff", "dsp")]
        cells.append(f"{row['bram36']:g}" if "bram36" in row else "")
        cells += [f"{row[name]:,.0f}" if name in row else "" for name in ("cycles", *_SPENT)]
        lines.append(f"| {topers} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tangente.bench.list_lanes",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--topers", type=int, nargs="+", default=TOPERS)
    parser.add_argument("--only", choices=("area", "cycles"))
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--anew", action="store_true", help="measure again what is known")
    args = parser.parse_args(argv)
    path, page = _DOCS / "list_lanes.json", _DOCS / "toper.md"
    for topers in args.topers:
        for kind, key in (("cycles", "cycles"), ("area", "lut")):
            if args.only not in (None, kind):
                continue
            record = json.loads(path.read_text()) if path.exists() else {}
            if key in record.get(str(topers), {}) and not args.anew:
                continue
            found = cycles(topers, args.data) if kind == "cycles" else area(topers)
            record = json.loads(path.read_text()) if path.exists() else {}
            record.setdefault(str(topers), {}).update(found)
            path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            print(f"{topers} topers: {found}", file=sys.stderr, flush=True)
    record = json.loads(path.read_text())
    text = page.read_text()
    page.write_text(re.sub(f"({_MARKS[0]}\n).*?({_MARKS[1]})",
                           lambda found: f"{found[1]}{table(record)}\n{found[2]}", text,
                           flags=re.S))
    print(table(record))
    return 0


if __name__ == "__main__":
    as_program(main)
