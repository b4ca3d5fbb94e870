"""Tables of costs, docs/cost.md and its plot."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tangente.host.reference import fill

from .cost import ALGORITHMS, Cost, cost
from .counting import Net, lazy
from .report import kept, need_matplotlib

__all__ = ["Row", "break_even", "measure_lazy", "rows", "table", "write"]

_LAZY = "DPFM, weight registers, lazy"
#: Nets of the page: the workshop's, ours, and the thesis's (hidden layers x units), with batches.
_WORKSHOP, _OURS = (4, 5, 5, 1), (784, 100, 100, 10)
_THESIS = {"1 x 4": (784, 4, 10), "6 x 20": (784, *[20] * 6, 10), "2 x 50": (784, 50, 50, 10),
           "3 x 50": (784, 50, 50, 50, 10), "2 x 100": (784, 100, 100, 10),
           "3 x 100": (784, 100, 100, 100, 10)}
_COUNTS = (4, 8, 16, 32, 0)


@dataclasses.dataclass(frozen=True)
class Row:
    """One algorithm on one net.

    Members
    -------
    algorithm, layers, batch : which it is.
    registers : K, or None where the algorithm has none.
    cost : of the whole batch.
    """

    algorithm: str
    layers: tuple[int, ...]
    batch: int
    registers: int | None
    cost: Cost

    def sample(self, count: str) -> float:
        """A count a sample; what waits for a backward pass is told as it is."""
        value: int = getattr(self.cost, count)
        return value if count == "kept" else value / self.batch


def measure_lazy(layers: tuple[int, ...], *, batch: int, keep: int, seed: int = 0) -> Cost:
    """What lazy offers cost in one batch of a random net and random inputs."""
    draw = np.random.default_rng(seed)
    x = draw.random((batch, layers[0]))
    y = np.eye(layers[-1])[draw.integers(0, layers[-1], batch)]
    meter, _ = lazy(Net(layers, seed), x, y, keep)
    return meter.cost()


def rows(layers: tuple[int, ...], *, batch: int = 10, keep: int = 16, lazy: bool = False
         ) -> list[Row]:
    """Every algorithm on one net; with ``lazy`` also lazy offers, from a run.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    found = []
    for name in ALGORITHMS:
        registers = keep if name.startswith("DPFM") else None
        found.append(Row(name, layers, batch, registers, cost(name, layers, batch=batch,
                                                              keep=keep)))
        if lazy and "naive" in name:
            found.append(Row(_LAZY, layers, batch, keep,
                             measure_lazy(layers, batch=batch, keep=keep)))
    return found


def break_even(row: Row) -> float | None:
    """How many products a weight's read must be worth for ``row`` to cost less than BP, registers
    for nothing: 0 if it costs less anyway, None if it reads no less."""
    bp = Row("BP", row.layers, row.batch, None, cost("BP", row.layers, batch=row.batch))
    saved = bp.cost.weight_reads - row.cost.weight_reads
    return max(row.cost.products - bp.cost.products, 0) / saved if saved > 0 else None


_COLUMNS = {"products": "products", "weight_reads": "weight reads", "feedback_reads":
            "feedback reads", "register_reads": "register reads", "register_writes":
            "register writes", "offers": "offers", "kept": "values kept"}


def table(found: Sequence[Row]) -> str:
    """A Markdown table of one net: counts a sample, and the break-even with BP."""
    first = found[0]
    lines = [f"| {'-'.join(map(str, first.layers))}, batch {first.batch} | K | "
             + " | ".join(_COLUMNS.values()) + " | a read for |",
             "| --- | ---: |" + " ---: |" * (len(_COLUMNS) + 1)]
    for row in found:
        worth = break_even(row) if row.registers is not None else None
        cells = [row.algorithm, "" if row.registers is None else kept(row.registers),
                 *(f"{row.sample(count):,.0f}" for count in _COLUMNS),
                 "" if worth is None else f"{worth:,.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _thesis_table() -> str:
    """Products a sample of the thesis's nets, batch 64."""
    lines = ["| hidden layers x units | " + " | ".join(ALGORITHMS) + " |",
             "| --- |" + " ---: |" * len(ALGORITHMS)]
    for name, layers in _THESIS.items():
        lines.append(f"| {name} | " + " | ".join(
            f"{row.sample('products'):,.0f}" for row in rows(layers, batch=64)) + " |")
    return "\n".join(lines) + "\n"


def plot(path: Path) -> None:
    """Products a sample by depth and by K."""
    pyplot = need_matplotlib()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    depths = range(1, 9)
    colours = pyplot.get_cmap("tab10").colors
    styles: dict[str, dict[str, Any]] = {name: {"color": colour, "marker": "o", "markersize": 3}
                                         for name, colour in zip(ALGORITHMS, colours)}
    # The same but for where the errors' weights come from.
    styles["FA"].update(linestyle=":", linewidth=3)
    for name in ALGORITHMS:
        left.plot(depths, [cost(name, (784, *[50] * depth, 10)).products / 10 for depth in depths],
                  label=name, **styles[name])
        if name.startswith("DPFM"):
            counts = [2, 4, 8, 16, 32, 64]
            right.plot(counts, [cost(name, _OURS, keep=k).products / 10 for k in counts],
                       **styles[name])
        else:
            right.axhline(cost(name, _OURS).products / 10, color=styles[name]["color"],
                          linestyle=styles[name].get("linestyle", "-"))
    left.plot(depths, [cost("DPFM, weight registers, naive", (784, *[50] * depth, 10),
                            keep=0).products / 10 for depth in depths], color="black",
              label="forward mode, all derivatives")
    left.set(yscale="log", xlabel="hidden layers of 50, K = 16", ylabel="products a sample")
    right.set(xscale="log", yscale="log", xlabel="K, 784-100-100-10")
    right.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"], minor=False)
    right.minorticks_off()
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=3,
                  bbox_to_anchor=(0.5, -0.2))
    figure.savefig(path)
    pyplot.close(figure)


def write(folder: Path) -> list[Path]:
    """Fill ``folder``/cost.md; write cost.json and cost.png. Returns their paths.

    Raises
    ------
    OSError, ValueError
        If the page is missing, or has lost its marks.
    """
    paths = [folder / name for name in ("cost.md", "cost.json", "cost.png")]
    text = paths[0].read_text(encoding="utf-8")
    small = rows(_WORKSHOP, lazy=True)
    large = rows(_OURS, lazy=True)
    by_count = [row for keep in _COUNTS for row in rows(_WORKSHOP, keep=keep, lazy=True)
                if row.registers is not None]
    for name, content in (("small", table(small)), ("large", table(large)),
                          ("registers", table(by_count)), ("thesis", _thesis_table())):
        text = fill(text, name, content)
    paths[0].write_text(text, encoding="utf-8")
    paths[1].write_text(json.dumps([dataclasses.asdict(row) for row in (*small, *large, *by_count)],
                                   indent=1) + "\n", encoding="utf-8")
    plot(paths[2])
    return paths
