"""What a sweep says: medians and spreads, pairs, files of figures, plots."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .network import History
from .run import Run
from .sweep import Sweep

__all__ = ["Cell", "cells", "curves_plot", "kept", "need_matplotlib", "sections_plot", "table",
           "write_csv"]

#: Epochs at which sections are taken, beside the last.
SECTIONS = (50, 100, 150, 200, 250)
#: What predicting the mean costs: the variance of the sum of four numbers uniform in [0, 1).
VARIANCE = 1 / 3


def kept(registers: int) -> str:
    """A count of registers for a person."""
    return "all" if registers == 0 else str(registers)


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs of one corpus size and one K, at one epoch.

    Members
    -------
    samples, registers, epoch, seeds : which they are.
    loss, val_loss : (lowest, first quartile, median, third quartile, highest).
    better : seeds whose validation loss is below that of the same seed with all registers; None if
        that was not run, or is this one.
    p : of Wilcoxon's signed-rank test of those pairs (two-sided), 1 if none differ; None likewise.
        Many cells are tested: a single p of 0.05 says little.
    """

    samples: int
    registers: int
    epoch: int
    seeds: int
    loss: tuple[float, ...]
    val_loss: tuple[float, ...]
    better: int | None
    p: float | None


def _five(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.percentile(values, (0, 25, 50, 75, 100)))


def cells(plan: Sweep, results: Mapping[Run, History], epoch: int | None = None) -> list[Cell]:
    """Every cell of ``plan`` after ``epoch`` epochs (all of them if None)."""
    from scipy.stats import wilcoxon

    at = plan.common.epochs if epoch is None else epoch
    found = []
    for samples in plan.samples:
        def final(registers: int, which: str, samples: int = samples) -> npt.NDArray[np.float64]:
            return np.array([getattr(results[dataclasses.replace(
                plan.common, samples=samples, registers=registers, seed=seed)], which)[at - 1]
                for seed in range(plan.seeds)])

        for registers in plan.registers:
            better = p = None
            val_loss = final(registers, "val_loss")
            if registers and 0 in plan.registers:
                gain = final(0, "val_loss") - val_loss
                better = int((gain > 0).sum())
                p = float(wilcoxon(gain).pvalue) if gain.any() else 1.0
            found.append(Cell(samples, registers, at, plan.seeds, _five(final(registers, "loss")),
                              _five(val_loss), better, p))
    return found


def table(found: Sequence[Cell]) -> str:
    """A Markdown table: median (lowest to highest) of the validation loss, and pairs won."""
    registers = list(dict.fromkeys(cell.registers for cell in found))
    lines = ["| N | " + " | ".join(f"K = {kept(k)}" for k in registers) + " |",
             "| ---: |" + " ---: |" * len(registers)]
    for samples in dict.fromkeys(cell.samples for cell in found):
        row = []
        for cell in found:
            if cell.samples == samples:
                low, _, median, _, high = cell.val_loss
                pairs = "" if cell.better is None else f"; {cell.better}/{cell.seeds}"
                row.append(f"{median:.4f} ({low:.4f} to {high:.4f}){pairs}")
        lines.append(f"| {samples} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def write_csv(folder: Path, plan: Sweep, results: Mapping[Run, History]) -> list[Path]:
    """runs.csv (a line a run), curves.csv (medians and spread by epoch) and sections.csv."""
    paths = [folder / name for name in ("runs.csv", "curves.csv", "sections.csv")]
    folder.mkdir(parents=True, exist_ok=True)
    fields = [field.name for field in dataclasses.fields(Run)]
    _rows(paths[0], [*fields, "loss", "val_loss"], (
        [*dataclasses.astuple(run), history.loss[-1], history.val_loss[-1]]
        for run, history in results.items()))
    _rows(paths[1], ["samples", "registers", "epoch", *_FIVE], (
        [samples, registers, epoch + 1, *five]
        for samples in plan.samples for registers in plan.registers
        for epoch, five in enumerate(_by_epoch(plan, results, samples, registers))))
    _rows(paths[2], ["samples", "registers", "epoch", "seeds", *_FIVE, "better", "p"], (
        [cell.samples, cell.registers, cell.epoch, cell.seeds, cell.loss[2], cell.loss[0],
         cell.loss[4], cell.val_loss[2], cell.val_loss[0], cell.val_loss[4], cell.better, cell.p]
        for epoch in _epochs(plan) for cell in cells(plan, results, epoch)))
    return paths


_FIVE = [f"{which}_{what}" for which in ("loss", "val_loss") for what in ("median", "low", "high")]


def _epochs(plan: Sweep) -> list[int]:
    last = plan.common.epochs
    return [epoch for epoch in SECTIONS if epoch < last] + [last]


def _by_epoch(plan: Sweep, results: Mapping[Run, History], samples: int, registers: int
              ) -> npt.NDArray[np.float64]:
    """(epochs, 6): the columns of :data:`_FIVE`."""
    chosen = [results[dataclasses.replace(plan.common, samples=samples, registers=registers,
                                          seed=seed)] for seed in range(plan.seeds)]
    columns = []
    for which in ("loss", "val_loss"):
        values = np.stack([getattr(history, which) for history in chosen])
        columns += [np.median(values, 0), values.min(0), values.max(0)]
    return np.stack(columns, 1)


def _rows(path: Path, header: Sequence[str], rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)


def need_matplotlib() -> Any:
    """matplotlib.pyplot, drawing to files.

    Raises
    ------
    ImportError
        If it is missing; the message says what goes without it.
    """
    try:
        import matplotlib
    except ImportError:
        raise ImportError("matplotlib is missing, which draws the plots: pip install matplotlib, "
                          "or leave the plots out with --no-plots") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.dpi": 100,
                            "savefig.bbox": "tight", "font.size": 9, "svg.hashsalt": "tangente"})
    return pyplot


def _colours(pyplot: Any, registers: Sequence[int]) -> dict[int, Any]:
    """From few registers to many; all registers are black."""
    limited = [k for k in registers if k]
    shades = pyplot.get_cmap("viridis")(np.linspace(0, 0.9, max(len(limited), 1)))
    return {**{k: shade for k, shade in zip(limited, shades)}, 0: "black"}


def curves_plot(path: Path, plan: Sweep, results: Mapping[Run, History]) -> None:
    """Medians of loss and validation loss by epoch: a column a corpus size."""
    pyplot = need_matplotlib()
    figure, axes = pyplot.subplots(2, len(plan.samples), sharex=True, sharey=True, squeeze=False,
                                   figsize=(2 + 2.6 * len(plan.samples), 5))
    colours = _colours(pyplot, plan.registers)
    for column, samples in enumerate(plan.samples):
        for registers in plan.registers:
            lines = _by_epoch(plan, results, samples, registers)
            for row, which in enumerate(("loss", "validation loss")):
                axis = axes[row, column]
                axis.semilogy(np.arange(1, len(lines) + 1), lines[:, 3 * row],
                              color=colours[registers], label=f"K = {kept(registers)}")
                axis.axhline(VARIANCE, color="grey", linestyle=":", linewidth=1)
                if column == 0:
                    axis.set_ylabel(which)
        axes[0, column].set_title(f"N = {samples}")
        axes[1, column].set_xlabel("epoch")
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(_title(plan))
    figure.savefig(path)
    pyplot.close(figure)


def sections_plot(path: Path, plan: Sweep, results: Mapping[Run, History]) -> None:
    """Validation loss against K after some epochs: medians, bars from lowest to highest."""
    pyplot = need_matplotlib()
    figure, axes = pyplot.subplots(1, len(plan.samples), sharey=True, squeeze=False,
                                   figsize=(1 + 2.8 * len(plan.samples), 3.2))
    epochs = sorted({_epochs(plan)[0], plan.common.epochs})
    places = np.arange(len(plan.registers))
    for axis, samples in zip(axes[0], plan.samples):
        for shift, epoch in zip((-0.1, 0.1), epochs):
            rows = [cell.val_loss for cell in cells(plan, results, epoch)
                    if cell.samples == samples]
            low, _, median, _, high = np.array(rows).T
            axis.errorbar(places + shift, median, [median - low, high - median], marker="o",
                          capsize=2, label=f"epoch {epoch}")
        axis.axhline(VARIANCE, color="grey", linestyle=":", linewidth=1)
        axis.set_yscale("log")
        axis.set_xticks(places, [kept(k) for k in plan.registers])
        axis.set_xlabel("K, registers a neuron")
        axis.set_title(f"N = {samples}")
    axes[0, 0].set_ylabel("validation loss")
    axes[0, -1].legend()
    figure.suptitle(_title(plan), y=1.03)
    figure.savefig(path)
    pyplot.close(figure)


def _title(plan: Sweep) -> str:
    run = plan.common
    return (f"{run.parameters} weights, {run.slope} slope, {run.update} update; medians of "
            f"{plan.seeds} seeds; dotted: predicting the mean")
