"""Who works when, from the RTL's counters: ``python -m tangente.bench.activity``.

Each program trains some batches on the simulated RTL of preset pynq_z2; its counters say who was
busy, who was stalled and on what, and how many of the multipliers multiplied: docs/activity.json,
docs/activity.md, and a picture of one batch of each.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tangente.bench.entry import as_program
from tangente.host.activity import measure_activity, plot

from .cycles import PROGRAMS, options_of, program_dataset

__all__ = ["NAMES", "main", "page"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Programs of :data:`tangente.bench.cycles.PROGRAMS` that are measured.
NAMES = ("BP, dense random input", "BP", "FA, signs by the LFSR", "DPFM, neuron registers",
         "DPFM, weight registers 12 + 4")


def picture(name: str) -> str:
    """File name of a program's picture."""
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    return f"activity-{'-'.join(words)}.png"


def page(runs: dict[str, dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Who works when", "",
        "Made by `make activity` (`python -m tangente.bench.activity`): the RTL's counters over",
        "the first batches of a training, preset pynq_z2, 784-100-100-10, batch 10.", "",
        "| program | batches | cycles a sample | multipliers busy | stalled: most of a unit | "
        "golden clock |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for name, run in runs.items():
        unit, on, share = max(
            ((unit, on, cycles / run["cycles"]) for unit, counts in run["units"].items()
             for on, cycles in counts["stalled"].items()),
            key=lambda stall: stall[2], default=("", "", 0.0))
        lines.append(
            f"| {name} | {run['batches']} | {run['cycles_per_sample']:,.1f} | "
            f"{run['multipliers_busy']:.1%} | {unit} on {on}, {share:.1%} | "
            f"{'equal' if run['golden_equal'] else 'differs'} |")
    for name, run in runs.items():
        lines += ["", f"## {name}", "", "```", run["text"], "```", "",
                  f"![one batch of {name}]({picture(name)})"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--batches", type=int, default=20, help="to measure (default: 20)")
    parser.add_argument("--only", choices=NAMES, action="append",
                        help="measure this one again, keep the others")
    args = parser.parse_args(arguments)
    file = _DOCS / "activity.json"
    runs = json.loads(file.read_text()) if args.only and file.exists() else {}
    for name in NAMES:
        if args.only and name not in args.only:
            continue
        program = PROGRAMS[name]
        options = options_of(program)
        activity = measure_activity(
            options, program_dataset(program, args.data), batches=args.batches, draw=True,
            report=lambda line, name=name: print(f"{name}: {line}", file=sys.stderr, flush=True))
        plot(activity, _DOCS / picture(name))
        runs[name] = {"batches": args.batches, **activity.to_json(), "text": activity.text()}
        runs = {key: runs[key] for key in NAMES if key in runs}
        file.write_text(json.dumps(runs, indent=1) + "\n")
        (_DOCS / "activity.md").write_text(page(runs))
        print(activity.text(), flush=True)
    if not all(run["golden_equal"] for run in runs.values()):
        raise SystemExit("tangente: the RTL's counters and the golden clock differ")


if __name__ == "__main__":
    as_program(main)
