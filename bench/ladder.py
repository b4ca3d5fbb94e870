"""The ladder's times beside PyTorch's, in one run: ``python -m tangente.bench.ladder``.

Every rung trains the workshop's net on the same corpus in the same order; what each ends in is
compared with the first's. Keras is measured too where it is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tangente.bench.entry import as_program
from tangente.study.arrays import Arrays
from tangente.study.compiled import train_run
from tangente.study.corpus import Corpus
from tangente.study.integers import train_integers
from tangente.study.network import History, places, train
from tangente.study.plain import Plain
from tangente.study.run import Run
from tangente.study.symbolic import Symbolic

__all__ = ["RUNGS", "keras_run", "main", "measure", "torch_run"]


def torch_run(run: Run) -> History:
    """PyTorch's own loop: modules, autograd, its SGD; float64, one thread.

    Raises
    ------
    ValueError
        If the run asks for what PyTorch's loop has not: registers, the original's slope or update.
    """
    import torch

    _plain_sgd(run)
    torch.set_num_threads(1)
    corpus = Corpus.of(run)
    linear = [torch.nn.Linear(a, b, dtype=torch.float64)
              for a, b in zip(run.layers, run.layers[1:])]
    with torch.no_grad():
        for module, own in zip(linear, places(run.layers)):
            module.weight.copy_(torch.from_numpy(corpus.weights[own[:, :-1]]))
            module.bias.copy_(torch.from_numpy(corpus.weights[own[:, -1]]))
    model = torch.nn.Sequential(linear[0], torch.nn.Sigmoid(), linear[1], torch.nn.Sigmoid(),
                                linear[2])
    optimiser = torch.optim.SGD(model.parameters(), run.rate)
    x, y, val_x, val_y = (torch.from_numpy(part) for part in (
        corpus.x, corpus.y[:, None], corpus.val_x, corpus.val_y[:, None]))
    losses, val_losses = [], []
    for order in torch.from_numpy(corpus.orders):
        total = []
        for chosen in order.split(run.batch):
            optimiser.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x[chosen]), y[chosen])
            loss.backward()
            optimiser.step()
            total.append(loss.detach())
        losses.append(float(sum(total)) / len(total))
        with torch.no_grad():
            val_losses.append(float(torch.nn.functional.mse_loss(model(val_x), val_y)))
    flat = [np.hstack([module.weight.detach().numpy(), module.bias.detach().numpy()[:, None]])
            for module in linear]
    return History(np.array(losses), np.array(val_losses),
                   np.concatenate([part.ravel() for part in flat]))


def keras_run(run: Run) -> History:
    """Keras's own ``fit``, an epoch a call so that the order is ours; float64.

    Raises
    ------
    ValueError
        As :func:`torch_run`.
    """
    import keras

    _plain_sgd(run)
    keras.backend.set_floatx("float64")
    corpus = Corpus.of(run)
    model = keras.Sequential([
        keras.Input((run.layers[0],)), keras.layers.Dense(run.layers[1], "sigmoid"),
        keras.layers.Dense(run.layers[2], "sigmoid"), keras.layers.Dense(run.layers[3])])
    model.set_weights([part for own in places(run.layers) for part in (
        corpus.weights[own[:, :-1]].T, corpus.weights[own[:, -1]])])
    model.compile(keras.optimizers.SGD(run.rate), "mse")
    losses, val_losses = [], []
    for order in corpus.orders:
        fitted = model.fit(corpus.x[order], corpus.y[order], batch_size=run.batch, verbose=0,
                           shuffle=False, validation_data=(corpus.val_x, corpus.val_y))
        losses.append(fitted.history["loss"][0])
        val_losses.append(fitted.history["val_loss"][0])
    parts = model.get_weights()
    flat = [np.hstack([matrix.T, bias[:, None]]).ravel()
            for matrix, bias in zip(parts[::2], parts[1::2])]
    return History(np.array(losses), np.array(val_losses), np.concatenate(flat))


def _plain_sgd(run: Run) -> None:
    if (run.registers, run.slope, run.update) != (0, "right", "sgd"):
        raise ValueError("another library trains registers=0, slope='right', update='sgd', not "
                         f"{run.registers}, {run.slope!r}, {run.update!r}")


#: What is measured, from the first rung on.
RUNGS: dict[str, Callable[[Run], History]] = {
    "symbolic (SymPy's function)": lambda run: train(run, Symbolic(run.layers)),
    "Python (autofore)": lambda run: train(run, Plain(run.layers, run.registers)),
    "NumPy": lambda run: train(run, Arrays(run.layers, run.registers)),
    "Numba": train_run,
}
#: The rungs on the machine: their registers are of neurons.
MACHINES: dict[str, Callable[[Run], History]] = {
    "integer machine (golden)": lambda run: train_integers(run).history,
    "simulated RTL (preset tiny)": lambda run: train_integers(run, "sim").history,
}
_OTHERS: dict[str, tuple[str, Callable[[Run], History]]] = {
    "PyTorch": ("torch", torch_run), "Keras": ("keras", keras_run)}


def measure(run: Run, repeats: int = 3) -> list[dict[str, Any]]:
    """Wall seconds of each rung, with all registers and with K of ``run`` where it has registers.

    The best of ``repeats`` for what takes less than a second. ``difference`` is the largest of the
    weights to the rung before (of another library to Numba's), with all registers; ``val_loss``
    what the training ended in.
    """
    whole = dataclasses.replace(run, registers=0)
    rows: list[dict[str, Any]] = []
    before: History | None = None
    numba: History | None = None
    rungs = {**RUNGS, **MACHINES}
    for name, (module, function) in _OTHERS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
        else:
            rungs[name] = function
    for name, function in rungs.items():
        print(f"training: {name}", file=sys.stderr, flush=True)
        # Compilation and first imports are not the training's.
        function(dataclasses.replace(whole, epochs=1))
        seconds, history = _time(function, whole, repeats)
        pruned = None
        if run.registers and name in list(RUNGS)[1:]:
            pruned, _ = _time(function, run, repeats)
        other = numba if name in _OTHERS else before
        rows.append({"rung": name, "seconds": seconds, "seconds_pruned": pruned,
                     "val_loss": float(history.val_loss[-1]), "difference": (
                         None if other is None
                         else float(np.abs(history.weights - other.weights).max()))})
        before = history
        if name == "Numba":
            numba = history
    return rows


def _time(function: Callable[[Run], History], run: Run, repeats: int) -> tuple[float, History]:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        history = function(run)
        best = min(best, time.perf_counter() - began)
        if best > 1:
            break
    return best, history


def text(run: Run, rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = [f"| {run.epochs} epochs, N = {run.samples} | all derivatives | K = {run.registers} | "
             "validation loss | largest difference of a weight |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        pruned = "" if row["seconds_pruned"] is None else f"{row['seconds_pruned']:.3f} s"
        difference = "" if row["difference"] is None else f"{row['difference']:.1g}"
        lines.append(f"| {row['rung']} | {row['seconds']:.3f} s | {pruned} | "
                     f"{row['val_loss']:.6f} | {difference} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=200, help="corpus size (default: 200)")
    parser.add_argument("--registers", type=int, default=16, help="K (default: 16)")
    parser.add_argument("--epochs", type=int, default=250, help="default: 250")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--write", type=Path, metavar="DIR",
                        help="fill the table of workshop.md there")
    args = parser.parse_args(arguments)
    run = Run(samples=args.samples, registers=args.registers, epochs=args.epochs, update="sgd")
    rows = measure(run)
    print(text(run, rows))
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    if args.write is not None:
        from tangente.host.reference import fill

        page = args.write / "workshop.md"
        page.write_text(fill(page.read_text(), "ladder", text(run, rows)))


if __name__ == "__main__":
    as_program(main)
