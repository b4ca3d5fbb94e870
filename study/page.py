"""docs/workshop.md: every variant of the workshop's switches, beside what others measured."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tangente.host.reference import fill

from . import report
from .network import History
from .report import Cell, cells, kept
from .run import SHAPES, SLOPES, UPDATES, Run
from .sweep import Sweep, sweep

__all__ = ["KERAS", "PUBLISHED", "REPLICATION", "Agreement", "agreement", "sections", "variants",
           "write"]

#: An independent replication (61 weights, max-normalised, 250 epochs, medians of six seeds of the
#: final validation loss), by N, slope and K.
REPLICATION: dict[tuple[int, str], dict[int, float]] = {
    (100, "original"): {0: .166, 2: .336, 4: .322, 8: .273, 16: .077, 32: .202},
    (100, "right"): {0: .0009, 2: .336, 4: .324, 8: .155, 16: .0014, 32: .0015},
    (400, "original"): {0: .322, 2: .276, 4: .122, 8: .307, 16: .320, 32: .294},
    (400, "right"): {0: .0018, 2: .277, 4: .211, 8: .0017, 16: .0016, 32: .0014},
}
#: What the workshop published: (N, epochs) to K to (loss, validation loss); one run each, unseeded.
PUBLISHED: dict[tuple[int, int], dict[int, tuple[float, float]]] = {
    (200, 50): {2: (.279, .268), 4: (.277, .262), 8: (.249, .238), 16: (.201, .187),
                32: (.176, .156), 64: (.179, .160), 0: (.179, .160)},
    (100, 250): {8: (.016, .013), 16: (.149, .138), 32: (.211, .192), 0: (.171, .150)},
}
#: The same of its Keras run, of plain SGD: (N, epochs) to (loss, validation loss).
KERAS = {(200, 50): (.2588, .2454)}
#: Seeds of the variants that are not the main ones (61 weights, max-normalised).
_FEW = 6
#: Medians of six that the interval is taken from.
_DRAWS = 4000


@dataclasses.dataclass(frozen=True)
class Agreement:
    """One median of the replication beside ours.

    Members
    -------
    samples, slope, registers : of the runs.
    theirs, ours : medians of six seeds, and of all of ours.
    low, high : between which 95 % of the medians lie that six of our seeds, drawn with replacement,
        have (the bootstrap of B. Efron, 1979).
    """

    samples: int
    slope: str
    registers: int
    theirs: float
    ours: float
    low: float
    high: float

    @property
    def within(self) -> bool:
        """Whether theirs, of which the last digit is rounded, lies in our interval."""
        rounding = 5e-5 if self.theirs < 0.01 else 5e-4
        return self.low - rounding <= self.theirs <= self.high + rounding


def agreement(results: Mapping[Run, History]) -> list[Agreement]:
    """Every median of :data:`REPLICATION` whose runs are in ``results``."""
    draws = np.random.default_rng(0)
    found = []
    for (samples, slope), medians in REPLICATION.items():
        for registers, theirs in medians.items():
            # Of any number of epochs: the caller gives the runs that are to be compared.
            ours = np.array([history.val_loss[-1] for run, history in results.items()
                             if (run.samples, run.slope, run.registers, run.update, run.parameters)
                             == (samples, slope, registers, "max-normalised", 61)])
            if len(ours):
                medians_of_six = np.median(draws.choice(ours, (_DRAWS, 6)), axis=1)
                low, high = np.percentile(medians_of_six, (2.5, 97.5))
                found.append(Agreement(samples, slope, registers, theirs, float(np.median(ours)),
                                       float(low), float(high)))
    return found


def variants(plan: Sweep) -> dict[str, Sweep]:
    """Every variant of the switches: the two main ones with the seeds of ``plan``."""
    found = {}
    for update in UPDATES:
        for parameters in SHAPES:
            for slope in SLOPES:
                main = update == UPDATES[0] and parameters == 61
                found[f"{slope} slope, {update}, {parameters} weights"] = dataclasses.replace(
                    plan, seeds=plan.seeds if main else min(_FEW, plan.seeds),
                    common=dataclasses.replace(plan.common, slope=slope, update=update,
                                               parameters=parameters))
    return found


def _claims(found: Sequence[Cell]) -> str:
    """For each N, what K = 8 and 16 have against all registers."""
    lines = ["| N | K | median of all registers | of K | seeds better with K | p |",
             "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    by_cell = {(cell.samples, cell.registers): cell for cell in found}
    for (samples, registers), cell in by_cell.items():
        if registers in (8, 16, 32) and cell.better is not None:
            whole = by_cell[samples, 0]
            lines.append(f"| {samples} | {registers} | {whole.val_loss[2]:.4f} | "
                         f"{cell.val_loss[2]:.4f} | {cell.better} of {cell.seeds} | {cell.p:.2g} |")
    return "\n".join(lines) + "\n"


def _agreement_table(found: Sequence[Agreement]) -> str:
    lines = ["| N | slope | K | replication | ours | 95 % of our medians of six | |",
             "| ---: | --- | ---: | ---: | ---: | ---: | --- |"]
    lines += [f"| {a.samples} | {a.slope} | {kept(a.registers)} | {a.theirs:g} | {a.ours:.4f} | "
              f"{a.low:.4f} to {a.high:.4f} | {'within' if a.within else '**outside**'} |"
              for a in found]
    within = sum(a.within for a in found)
    return "\n".join(lines) + f"\n\n{within} of {len(found)} lie within.\n"


def _variants_table(plans: Mapping[str, Sweep], results: Mapping[Run, History]) -> str:
    """Medians by variant, one table for each N."""
    parts = []
    first = next(iter(plans.values()))
    for samples in first.samples:
        lines = [f"N = {samples}:", "",
                 "| variant | " + " | ".join(f"K = {kept(k)}" for k in first.registers) + " |",
                 "| --- |" + " ---: |" * len(first.registers)]
        for name, plan in plans.items():
            row = [f"{cell.val_loss[2]:.4f}" for cell in cells(plan, results)
                   if cell.samples == samples]
            lines.append(f"| {name} | " + " | ".join(row) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _published_table(plans: Mapping[str, Sweep], results: Mapping[Run, History]) -> str:
    """The published figures beside ours, of 45 and of 61 weights."""
    lines = ["| N, epochs | K | published | 45 weights | 61 weights |",
             "| --- | ---: | ---: | ---: | ---: |"]

    def row(where: tuple[int, int], registers: int, name: str, figures: tuple[float, float],
            slope: str, update: str) -> None:
        samples, epochs = where
        parts = [f"| {samples}, {epochs} | {name} | {figures[0]:.3f} / {figures[1]:.3f}"]
        for parameters in (45, 61):
            plan = plans[f"{slope} slope, {update}, {parameters} weights"]
            match = [cell for cell in cells(plan, results, min(epochs, plan.common.epochs))
                     if (cell.samples, cell.registers) == (samples, registers)]
            parts.append("" if not match else f"{match[0].loss[2]:.3f} / "
                         f"{match[0].val_loss[2]:.3f} ({match[0].val_loss[0]:.3f} to "
                         f"{match[0].val_loss[4]:.3f})")
        lines.append(" | ".join(parts) + " |")

    for where, by_registers in PUBLISHED.items():
        for registers, figures in by_registers.items():
            row(where, registers, kept(registers), figures, "original", UPDATES[0])
        if where in KERAS:
            row(where, 0, "Keras, SGD", KERAS[where], "right", "sgd")
    return "\n".join(lines) + "\n"


def sections(plans: Mapping[str, Sweep], results: Mapping[Run, History]) -> dict[str, str]:
    """The marked sections of the page, by name."""
    right, original = ("right slope, max-normalised, 61 weights",
                       "original slope, max-normalised, 61 weights")
    main = {name: cells(plans[name], results) for name in (right, original)}
    return {
        "right": report.table(main[right]), "original": report.table(main[original]),
        "claims-right": _claims(main[right]), "claims-original": _claims(main[original]),
        "agreement": _agreement_table(agreement(results)),
        "published": _published_table(plans, results),
        "variants": _variants_table(plans, results),
    }


def write(folder: Path, plan: Sweep, *, cache: Path, workers: int | None, refresh: bool,
          quiet: bool) -> int:
    """Train every variant and fill ``folder``/workshop.md; returns the exit code.

    Raises
    ------
    OSError, ValueError
        If the page is missing, or has lost its marks.
    """
    page = folder / "workshop.md"
    text = page.read_text(encoding="utf-8")
    plans = variants(plan)
    results = sweep((run for part in plans.values() for run in part.runs()), cache=cache,
                    workers=workers, refresh=refresh, quiet=quiet)
    for name, content in sections(plans, results).items():
        text = fill(text, name, content)
    page.write_text(text, encoding="utf-8")
    paths = [page, folder / "workshop.json"]
    figures: dict[str, Any] = {
        "run": dataclasses.asdict(plan.common), "variants": {
            name: [dataclasses.asdict(cell) for cell in cells(part, results)]
            for name, part in plans.items()},
        "agreement": [{**dataclasses.asdict(a), "within": a.within} for a in agreement(results)]}
    paths[1].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for slope in SLOPES:
        part = plans[f"{slope} slope, max-normalised, 61 weights"]
        for name, plot in (("curves", report.curves_plot), ("sections", report.sections_plot)):
            paths.append(folder / f"workshop-{name}-{slope}.png")
            plot(paths[-1], part, results)
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)
    return 0
