"""The figures of docs/forward-mode.md, from the library and the net themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tangente.golden.autofore import AutoFore, Variable, largest

from .arrays import Arrays
from .corpus import Corpus
from .network import Floats, places, step
from .report import kept, need_matplotlib
from .run import Run

__all__ = ["FIGURES", "alignment", "draw", "neuron_derivatives"]

#: Registers of the figures.
_COUNTS = (2, 4, 8, 16, 32)
_TEAL, _SAND, _PLUM, _GREY = "#1b7f79", "#e0a458", "#7b3f61", "#9a9a9a"


def neuron_derivatives(seed: int = 0) -> list[list[Variable]]:
    """The sums before activation of the workshop's net at its first weights, for its first sample,
    layer by layer, each with all of its derivatives."""
    corpus = Corpus.of(Run(samples=50, epochs=1, seed=seed))
    graph = AutoFore()
    for value in corpus.weights:
        graph.val(float(value)).derivable()
    values: list[Any] = corpus.x[0].tolist()
    layers = []
    for own_places in places(Run().layers):
        sums = [graph.neuron([graph.weights[i] for i in own], values, graph.weights[bias])
                for *own, bias in own_places.tolist()]
        layers.append(sums)
        values = [z.sigmoid() for z in sums]
    return layers


def alignment(run: Run, registers: tuple[int, ...] = _COUNTS) -> dict[int, Floats]:
    """How the pruned gradient points while all derivatives train: (epochs,) for each K, the cosine
    of its angle to the true gradient of the whole training part, before each epoch."""
    corpus = Corpus.of(run)
    weights = corpus.weights.copy()
    whole = Arrays(run.layers, 0, run.slope)
    pruned = {k: Arrays(run.layers, k, run.slope) for k in registers}
    found: dict[int, list[float]] = {k: [] for k in registers}
    for order in corpus.orders:
        _, true = whole.gradient(weights, corpus.x, corpus.y)
        for k, form in pruned.items():
            _, other = form.gradient(weights, corpus.x, corpus.y)
            norms = float(np.linalg.norm(true) * np.linalg.norm(other))
            found[k].append(float(true @ other) / norms if norms else 0.0)
        for first in range(0, len(order), run.batch):
            chosen = order[first:first + run.batch]
            _, gradient = whole.gradient(weights, corpus.x[chosen], corpus.y[chosen])
            step(weights, gradient, run.update, run.rate)
    return {k: np.array(values) for k, values in found.items()}


def _graph_figure(pyplot: Any) -> Any:
    """e = (a + b)(b + 1): every node with its value and its derivatives."""
    graph = AutoFore()
    a, b = graph.val(2).derivable(), graph.val(1).derivable()
    c, d = a + b, b + 1
    e = c * d
    figure, axis = pyplot.subplots(figsize=(6.5, 3.6))
    nodes = {"a": (a, 0, 0), "b": (b, 2, 0), "c = a + b": (c, 0.5, 1), "d = b + 1": (d, 2, 1),
             "e = c d": (e, 1.25, 2)}
    for start, end, slope in (("a", "c = a + b", 1), ("b", "c = a + b", 1), ("b", "d = b + 1", 1),
                              ("c = a + b", "e = c d", d.value), ("d = b + 1", "e = c d", c.value)):
        (_, x0, y0), (_, x1, y1) = nodes[start], nodes[end]
        axis.annotate("", (x1, y1 - 0.22), (x0, y0 + 0.22),
                      arrowprops={"arrowstyle": "->", "color": _GREY})
        axis.text((x0 + x1) / 2 + 0.06, (y0 + y1) / 2, f"× {slope:g}", color=_TEAL)
    for name, (node, x, y) in nodes.items():
        axis.text(x, y, f"{name} = {node.value:g}\nby a: {node.get(a):g}   by b: {node.get(b):g}",
                  ha="center", va="center",
                  bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": _TEAL})
    axis.set(xlim=(-0.6, 2.7), ylim=(-0.4, 2.4))
    axis.axis("off")
    return figure


def _slope_figure(pyplot: Any) -> Any:
    """The sigmoid's slope, right and as the workshop computed it."""
    x = np.linspace(-8, 8, 321)
    figure, axis = pyplot.subplots(figsize=(5.5, 2.8))
    for slope, colour, name in (("right", _TEAL, "s (1 - s)"),
                                ("original", _SAND, "1 / (4 cosh(s / 2)²), the original's")):
        graph = AutoFore(slope=slope)
        w = graph.var().derivable()
        values = []
        for w.value in x:
            values.append(w.sigmoid().get(w))
        axis.plot(x, values, color=colour, label=name)
    axis.set(xlabel="x, the sum before the activation", ylabel="slope of sigmoid(x)",
             ylim=(0, 0.27))
    axis.legend(loc="lower center")
    return figure


def _registers_figure(pyplot: Any) -> Any:
    """The derivatives of one neuron of each layer, by rank; which of them K = 8 registers hold."""
    figure, axes = pyplot.subplots(1, 3, sharey=True, figsize=(8, 2.8))
    starts = [int(part.min()) for part in places(Run().layers)]
    for layer, neurons in enumerate(neuron_derivatives()):
        entries = neurons[0].registers
        held = {i for i, _ in largest(entries, 8)}
        for depth, name in enumerate(("its own weights", "one layer below", "two layers below")):
            bars = [(rank, abs(value), identity in held)
                    for rank, (identity, value) in enumerate(entries, 1)
                    if layer - depth == sum(identity >= start for start in starts) - 1]
            for held_ones, alpha in ((True, 1.0), (False, 0.35)):
                chosen = [bar[:2] for bar in bars if bar[2] is held_ones]
                if chosen:
                    axes[layer].bar(*zip(*chosen), alpha=alpha, width=0.9,
                                    color=(_TEAL, _SAND, _PLUM)[depth], label=name)
        axes[layer].set(yscale="log", xlabel="rank", title=f"layer {layer + 1}: {len(entries)}",
                        xlim=(0.4, max(len(entries), 8) + 0.6))
        axes[layer].axvline(8.5, color="black", linewidth=1)
    axes[0].set_ylabel("|derivative|")
    # One entry for each layer: held ones are the same colour, full.
    entries_of = dict(zip(*reversed(axes[2].get_legend_handles_labels())))
    figure.legend(entries_of.values(), entries_of.keys(), loc="lower center", ncols=3,
                  bbox_to_anchor=(0.5, -0.2))
    return figure


def _growth_figure(pyplot: Any) -> Any:
    """Derivatives that all neurons of a layer carry, in a net of hidden layers of equal width."""
    figure, axis = pyplot.subplots(figsize=(5.5, 2.8))
    layers, width = range(1, 9), 20
    axis.plot(layers, [width * sum([width * (width + 1)] * (n - 1), 0) + width * (width + 1)
                       for n in layers], "o-", color="black", label="all")
    for k, colour in zip((32, 16, 8), pyplot.get_cmap("viridis")(np.linspace(0.2, 0.8, 3))):
        axis.plot(layers, [width * min(k, width + 1 if n == 1 else k) for n in layers], "o-",
                  color=colour, label=f"K = {k}")
    axis.set(yscale="log", xlabel="layer (20 neurons each)", ylabel="derivatives carried")
    axis.legend(loc="center right")
    return figure


def _alignment_figure(pyplot: Any) -> Any:
    """The cosine between pruned and true gradient while all derivatives train."""
    figure, axis = pyplot.subplots(figsize=(5.5, 2.8))
    found = alignment(Run(samples=100, epochs=150))
    for (k, cosines), colour in zip(found.items(), pyplot.get_cmap("viridis")(
            np.linspace(0, 0.9, len(found)))):
        axis.plot(np.arange(1, len(cosines) + 1), cosines, color=colour, label=f"K = {kept(k)}")
    axis.set(xlabel="epoch (N = 100, all derivatives train)", ylabel="cosine to the gradient",
             ylim=(-1.05 if min(c.min() for c in found.values()) < 0 else 0, 1.05))
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


#: What is drawn, by file name.
FIGURES = {"forward-graph.png": _graph_figure, "forward-slope.png": _slope_figure,
           "forward-registers.png": _registers_figure, "forward-growth.png": _growth_figure,
           "forward-alignment.png": _alignment_figure}


def draw(folder: Path) -> list[Path]:
    """Draw every figure into ``folder`` and return their paths.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    pyplot = need_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in FIGURES.items():
        figure = make(pyplot)
        figure.savefig(folder / name)
        pyplot.close(figure)
        paths.append(folder / name)
    return paths
