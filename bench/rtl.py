"""Trainings on the simulated RTL, held to golden: ``python -m tangente.bench.rtl``.

Writes docs/rtl.json and docs/rtl.md: mismatches, cycles (counted by the RTL and predicted), where
they go, and how fast the simulation ran.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from tangente.bench.entry import as_program
from tangente.host import data
from tangente.host.cycles import measure
from tangente.host.options import Options
from tangente.host.trainer import train

__all__ = ["RUNS", "main"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"


def _mnist(**settings: Any) -> Options:
    return Options(**{"device": "sim", "dataset": "mnist", "preset": "pynq_z2",
                      "layers": (784, 100, 100, 10), "epochs": 1, "samples": 1000, **settings})


#: Name and options of each run.
RUNS = {
    "MNIST, BP, 16 bits": _mnist(algorithm="bp"),
    "MNIST, DPFM K = 16, 16 bits": _mnist(algorithm="dpfm"),
    "MNIST, BP, 2 + 5 bits, event": _mnist(algorithm="bp", bits=2, update="event", batch=32),
    "MNIST, DPFM K = 16, 2 + 6 bits, event": _mnist(
        algorithm="dpfm", bits=2, accumulator_bits=6, update="event", batch=20),
    "MNIST, DPFM weight registers 12 + 4, 16 bits": _mnist(
        algorithm="dpfm", granularity="weight", banks=(12, 4), samples=200,
        test_samples=200),
    "MNIST, BP, batch 1, 16 bits": _mnist(algorithm="bp", batch=1),
    "digits, DPFM K = 16, 16 bits": Options(device="sim", epochs=2),
    "MNIST, BP, 16 bits, a whole epoch": _mnist(algorithm="bp", samples=None),
    "MNIST, DPFM K = 16, 16 bits, a whole epoch": _mnist(algorithm="dpfm", samples=None),
}


def _run(name: str, options: Options, data_dir: Path | None) -> dict[str, Any]:
    dataset = data.load(options.dataset, data_dir)

    def progress(event: Any) -> None:
        print(f"\r{name}: {event.samples_done:,}/{event.samples_total:,}", end="",
              file=sys.stderr, flush=True)

    result = train(options, dataset, progress=progress, verify=True, quiet=True)
    print(f": {result.mismatches} mismatches", file=sys.stderr, flush=True)
    # Cycles depend on the data: golden's clock over the same samples, in one part.
    options = dataclasses.replace(options, samples=result.samples)
    report = measure(options, dataset, batches=-(-result.samples // options.batch))
    return {**result.to_json(), "spent": report.spent, "predicted": report.cycles,
            "roof_cycles_per_sample": report.roof, "utilisation": report.utilisation,
            "stalled": report.stalled}


def page(runs: dict[str, dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Training on the simulated RTL", "",
        "Made by `make rtl` (`python -m tangente.bench.rtl`) from docs/rtl.json. Each run trains",
        "on the compiled RTL and on golden from the same program and compares every weight slot,",
        "accumulator, bias, bias gradient, loss, hit, saturation count and cycle.", "",
        "| run | samples | mismatches | cycles a sample | multiplier roof | busy with needed "
        "products | simulated cycles/s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, run in runs.items():
        lines.append(
            f"| {name} | {run['samples'] * run['epochs']:,} | {run['mismatches']} | "
            f"{run['cycles_per_sample']:,.1f} | {run['roof_cycles_per_sample']:,.0f} | "
            f"{run['utilisation']:.0%} | {run['cycles_per_second']:,.0f} |")
    lines += ["", "Where the cycles of an epoch go (predicted, which is what was counted):", "",
              "| run | " + " | ".join(_OPS) + " | waiting for data |",
              "| --- | " + "---: | " * (len(_OPS) + 1)]
    for name, run in runs.items():
        shares = [f"{run['spent'].get(op, 0) / run['predicted']:.1%}" for op in _OPS]
        lines.append(f"| {name} | " + " | ".join(shares)
                     + f" | {run['stalled'] / run['predicted']:.1%} |")
    return "\n".join(lines) + "\n"


_OPS = ("MVA", "MVD", "MVR", "UPD", "LOSS", "DRV", "SEL", "BUP", "SRT", "TOP", "SCT")


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing or asked for, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", choices=tuple(RUNS), action="append",
                        help="run this one again, keep the others")
    args = parser.parse_args(arguments)
    file = _DOCS / "rtl.json"
    runs = json.loads(file.read_text()) if args.only and file.exists() else {}
    for name, options in RUNS.items():
        if not args.only or name in args.only:
            runs[name] = _run(name, options, args.data)
            runs = {key: runs[key] for key in RUNS if key in runs}
            file.write_text(json.dumps(runs, indent=1) + "\n")
            (_DOCS / "rtl.md").write_text(page(runs))
    print(page(runs))
    if any(run["mismatches"] for run in runs.values()):
        raise SystemExit("tangente: the RTL and golden differ")


if __name__ == "__main__":
    as_program(main)
