"""Recipes: default learning rates, and the trainings behind docs/results.md.

:func:`rate` is the one table of default rates. :data:`RECIPES` are the runs whose mean test
accuracy over :data:`SEEDS` has a floor; :func:`results` trains them, on two processes, and writes
``results.json`` and ``results.md``. A run is kept as long as its options and what the golden model
makes of them (a fingerprint: the weights after a short training) stay the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Options
from .progress import Event

if TYPE_CHECKING:
    from .data import Dataset

__all__ = ["RECIPES", "SEEDS", "Recipe", "rate", "results"]

SEEDS = (0, 1, 2)
_PROCESSES = 2
#: Samples of the fingerprint's training.
_SHORT = 200

#: Learning rate by code bits for ReLU; other widths take that of 16 bits. The coarser the code, the
#: larger the rate that makes events of it.
_RATES = {2: 1.0, 3: 1.0, 4: 0.4, 5: 0.4, 6: 0.2, 7: 0.2, 8: 0.2}
_OTHER_RATE = 0.1
#: Sigmoids' slopes are a quarter at most, in each layer.
_SIGMOID_FACTOR = 10.0
_LARGEST_RATE = 2.0
#: The batch that the rates are of. Smaller ones take a smaller rate, a batch of one a fifth: less
#: than in proportion (Goyal et al. 2017, arXiv:1706.02677, 2.1), more than by the root (Krizhevsky
#: 2014, arXiv:1404.5997, 5). Batches of one learn MNIST as well with a tenth (97.06 % after an
#: epoch, for 97.08; three seeds), but leave errors in 40 samples of 100 for 34.
_RATES_BATCH = 10
_RATES_POWER = math.log10(5)
#: Weight registers reach few weights a sample, and learn with a rate that falls from the start.
_LISTS_RATE = 0.5, 1.0
_DECAY = 0.5


def rate(options: Options) -> tuple[float, float]:
    """Default learning rate and decay, by code bits, activation, and batches smaller than ten."""
    lr, decay = _RATES.get(options.bits, _OTHER_RATE), _DECAY
    if options.weight_registers:
        lr, decay = _LISTS_RATE
    elif options.activation == "sigmoid":
        lr = min(lr * _SIGMOID_FACTOR, _LARGEST_RATE)
    return lr * (min(options.batch, _RATES_BATCH) / _RATES_BATCH) ** _RATES_POWER, decay


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One line of the results.

    Members
    -------
    name : unique.
    floor : mean test accuracy that it must reach, in percent.
    options : of the run with seed 0.
    """

    name: str
    floor: float
    options: Options


def _mnist(**settings: Any) -> Options:
    return Options(dataset="mnist", preset="pynq_z2", layers=(784, 100, 100, 10), **settings)


RECIPES = (
    Recipe("DPFM, 1 epoch", 95.5, _mnist(algorithm="dpfm", epochs=1, lr=0.2, lr_decay=1.0)),
    Recipe("DPFM, 5 epochs", 97.2, _mnist(algorithm="dpfm", epochs=5, lr=0.1, lr_decay=0.5)),
    Recipe("BP, 5 epochs", 97.3, _mnist(algorithm="bp", epochs=5, lr=0.1, lr_decay=0.5)),
    Recipe("DPFM, weight registers 12 + 4, 4 epochs", 89.0, _mnist(
        algorithm="dpfm", granularity="weight", banks=(12, 4), epochs=4, lr=0.5, lr_decay=1.0)),
    Recipe("BP, 2 + 5 bits, 5 epochs", 96.8, _mnist(
        algorithm="bp", bits=2, accumulator_bits=5, update="event", batch=32, epochs=5, lr=1.0,
        lr_decay=0.5)),
    Recipe("DPFM, 2 + 6 bits, 3 epochs", 95.5, _mnist(
        algorithm="dpfm", bits=2, accumulator_bits=6, update="event", batch=20, epochs=3, lr=1.0,
        lr_decay=1.0)),
)


def results(*, docs: Path = Path("docs"), data_dir: Path | None = None,
            progress: Callable[[Event], None] | None = None,
            recipes: tuple[Recipe, ...] = RECIPES, seeds: tuple[int, ...] = SEEDS,
            processes: int = _PROCESSES) -> None:
    """Train what is missing of the recipes and write results.json and results.md into ``docs``.

    The JSON file is written after each run, so that an interrupted call goes on where it stopped.

    Parameters
    ----------
    data_dir : as :func:`tangente.host.data.load` takes it.
    progress : called after each run.
    recipes, seeds, processes : what to train, and on how many cores.

    Raises
    ------
    DataError
        If a data set cannot be had.
    RuntimeError
        If a floor is not reached; the files are written all the same.
    """
    path = docs / "results.json"
    runs: dict[str, dict[str, Any]] = {}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    jobs = []
    for recipe in recipes:
        mark = _fingerprint(recipe.options, data_dir)
        for seed in seeds:
            options = dataclasses.replace(recipe.options, seed=seed)
            key = f"{recipe.name}, seed {seed}"
            settings = json.loads(json.dumps(dataclasses.asdict(options)))
            old = before.get(key, {})
            if old.get("fingerprint") == mark and old.get("options") == settings:
                runs[key] = old
            else:
                jobs.append((key, options, settings, mark))
    docs.mkdir(parents=True, exist_ok=True)
    # The longest first, so that the processes end together.
    jobs.sort(key=lambda job: -job[1].epochs * (2 if job[1].algorithm == "dpfm" else 1))
    total = sum(job[1].epochs for job in jobs)
    done = 0
    # Fresh interpreters, one thread each: BLAS threads of two processes would fight for the cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with concurrent.futures.ProcessPoolExecutor(
            processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_run, job[1], data_dir): job for job in jobs}
        for future in concurrent.futures.as_completed(futures):
            key, options, settings, mark = futures[future]
            runs[key] = {"options": settings, "fingerprint": mark, **future.result()}
            _write(path, json.dumps(dict(sorted(runs.items())), indent=1) + "\n")
            done += options.epochs
            if progress is not None:
                progress(Event(epoch=1, epochs=1, samples_done=done, samples_total=total,
                               loss=runs[key]["train_loss"], accuracy=runs[key]["test_accuracy"],
                               cycles=0))
    _write(path, json.dumps(dict(sorted(runs.items())), indent=1) + "\n")
    _write(docs / "results.md", _page(recipes, seeds, runs))
    short = [f"{recipe.name} {_mean(recipe, seeds, runs):.2f} % of {recipe.floor:g} %"
             for recipe in recipes if _mean(recipe, seeds, runs) < recipe.floor]
    if short:
        raise RuntimeError(f"floors were not reached: {', '.join(short)}")


def _fingerprint(options: Options, data_dir: Path | None) -> str:
    """What golden makes of ``options`` in a short training: changes of behaviour change it."""
    from .trainer import train

    short = dataclasses.replace(options, epochs=1, samples=_SHORT, test_samples=10)
    result = train(short, _load(options.dataset, data_dir), quiet=True)
    digest = hashlib.sha256(result.weights.tobytes() + result.biases.tobytes())
    return digest.hexdigest()[:16]


def _load(name: str, data_dir: Path | None) -> Dataset:
    from . import data

    return data.load(name, data_dir)


def _run(options: Options, data_dir: Path | None) -> dict[str, Any]:
    """One training, in a process of its own: the figures that results.json keeps."""
    from .trainer import train

    start = time.monotonic()
    figures = train(options, _load(options.dataset, data_dir), quiet=True).to_json()
    return {"test_accuracy": figures["test_accuracy"], "train_loss": figures["train_loss"],
            "saturations": figures["saturations"], "version": figures["version"],
            "wall_s": round(time.monotonic() - start, 1)}


def _write(path: Path, text: str) -> None:
    """Write at once, so that an interruption leaves the old file or the new one."""
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _accuracies(recipe: Recipe, seeds: tuple[int, ...],
                runs: dict[str, dict[str, Any]]) -> list[float]:
    return [100 * runs[f"{recipe.name}, seed {seed}"]["test_accuracy"] for seed in seeds]


def _mean(recipe: Recipe, seeds: tuple[int, ...], runs: dict[str, dict[str, Any]]) -> float:
    return statistics.fmean(_accuracies(recipe, seeds, runs))


def _page(recipes: tuple[Recipe, ...], seeds: tuple[int, ...],
          runs: dict[str, dict[str, Any]]) -> str:
    """results.md; the part between the marks is also README's."""
    table = ["| MNIST, 784-100-100-10 | weights | batch | test accuracy | floor |",
             "| --- | --- | --- | --- | --- |"]
    detail = ["| run | registers | lr, decay | " + " | ".join(f"seed {seed}" for seed in seeds)
              + " | deviation |", "|" + " --- |" * (len(seeds) + 4)]
    for recipe in recipes:
        o, found = recipe.options, _accuracies(recipe, seeds, runs)
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        bits = f"{o.bits} + {o.accumulator_bits}" if o.accumulator_bits else f"{o.bits}"
        table.append(f"| {recipe.name} | {bits} bits | {o.batch} | {statistics.fmean(found):.2f} % "
                     f"({min(found):.2f} to {max(found):.2f}) | {recipe.floor:g} % |")
        kept = "all" if o.registers == 0 else str(o.registers)
        detail.append(f"| {recipe.name} | {kept if o.algorithm == 'dpfm' else '-'} | {o.lr:g}, "
                      f"{o.lr_decay:g} | " + " | ".join(f"{value:.2f}" for value in found)
                      + f" | {spread:.2f} |")
    return "\n".join((
        "# Results", "",
        "<!-- Generated by `make results` (`tangente results`) from results.json. Do not edit. -->",
        "",
        f"Test accuracy on MNIST's 10,000 test images: mean of {len(seeds)} seeds (lowest to "
        "highest), trained on the golden model, which the RTL equals bit for bit. DPFM keeps 16 "
        "gradient registers a neuron.", "",
        "<!-- results:begin -->", *table, "<!-- results:end -->", "",
        "Each seed, and the deviation of a run (in points). lr falls linearly to zero over the "
        "last part `decay` of the run. Cycles a sample: [cycles.md](cycles.md).", "", *detail,
        ""))
