"""Learning studies on the golden model: ``python -m tangente.bench.learning``, ``make learning``.

Writes docs/learning.json and docs/learning.md: weight registers (banks, own_free, ties, and what
lazy offers save), update rules by bits, and event-driven learning. A run is kept as long as its
options are the same, so an interrupted call goes on where it stopped; ``--anew`` forgets them.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tangente.bench.entry import as_program
from tangente.golden.isa import Flag, Op, Reg
from tangente.golden.machine import Machine
from tangente.host import data
from tangente.host.options import UPDATES, Options
from tangente.host.trainer import train

__all__ = ["STUDIES", "Study", "main"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_LAYERS = (784, 100, 100, 10)


@dataclasses.dataclass(frozen=True)
class Study:
    """One run.

    Members
    -------
    options : of the training.
    pixels : seed of a permutation of the inputs, 0 for none: ties go to the lowest index.
    offers : count what the topers are offered.
    """

    options: Options
    pixels: int = 0
    offers: bool = False

    def settings(self) -> dict[str, Any]:
        """What identifies the run, for a JSON file."""
        text = json.dumps({**dataclasses.asdict(self.options), "pixels": self.pixels})
        settings: dict[str, Any] = json.loads(text)
        return settings


def _options(**settings: Any) -> Options:
    return Options(**{"dataset": "mnist", "preset": "pynq_z2", "layers": _LAYERS, **settings})


def _weights(**settings: Any) -> Options:
    return _options(granularity="weight", epochs=1, lr=0.3, lr_decay=1.0,
                    **{"samples": 20_000, **settings})


def _registers() -> dict[str, Study]:
    studies = {}
    for banks in ((16,), (8, 8), (12, 4), (14, 2)):
        for own_free in (True, False):
            own = "free" if own_free else "in registers"
            studies[f"banks {'+'.join(map(str, banks))}, own {own}"] = Study(
                _weights(banks=banks, own_free=own_free), offers=banks == (12, 4) and own_free)
    for seed in (1, 2):
        studies[f"banks 12+4, own free, pixels in random order {seed}"] = Study(
            _weights(banks=(12, 4)), pixels=seed)
    return studies


def _rules() -> dict[str, Study]:
    studies = {}
    for bits in (2, 3, 4, 5, 6, 7, 8, 16):
        for update in UPDATES:
            if bits == 16 and update in ("event", "master"):
                continue
            for quantisation in ("symm", "asymm") if bits in (2, 4, 8) else ("symm",):
                studies[f"{bits} bits, {update}, {quantisation}"] = Study(_options(
                    algorithm="bp", bits=bits, update=update, quantisation=quantisation, batch=32,
                    epochs=1, samples=12_000, lr_decay=0.5))
    return studies


def _events() -> dict[str, Study]:
    return {f"skip below {below:g}": Study(_options(
        algorithm="bp", batch=1, lr=0.02, lr_decay=0.5, epochs=1, samples=15_000,
        skip_below=below)) for below in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)}


#: The studies by section.
STUDIES = {"registers": _registers(), "rules": _rules(), "events": _events()}


class _Counter:
    """Adds up what every TOP's topers were offered, by its sources."""

    def __init__(self) -> None:
        self.streams: dict[str, dict[str, int]] = {}

    def install(self) -> None:
        """Count in every golden machine of this process from now on."""
        execute = Machine.execute

        def counting(machine: Machine, op: Op, flags: int) -> None:
            execute(machine, op, flags)
            if op is Op.TOP:
                self.add(machine, flags)

        Machine.execute = counting  # type: ignore[method-assign]

    def add(self, machine: Machine, flags: int) -> None:
        """One TOP is over."""
        r, offers = machine.registers, machine.state.offers
        lengths = {name: r[reg] for name, flag, reg in (
            ("own", Flag.OWN, Reg.F_STRIDE), ("inputs", Flag.SHARED, Reg.V_STRIDE),
            ("registers", Flag.LISTS, Reg.R_STRIDE)) if flags & flag}
        neurons, inputs = r[Reg.Q], r[Reg.P]
        name = f"{neurons} neurons, {inputs} inputs, K = {r[Reg.K]}, from {' and '.join(lengths)}"
        naive = neurons * sum(length * (1 if source == "own" else inputs)
                              for source, length in lengths.items())
        stream = self.streams.setdefault(name, dict.fromkeys(
            ("streams", "naive", "offered", "entered", "summed", "issued", "cycles", "layers"), 0))
        for key, value in (("streams", neurons), ("naive", naive), ("layers", 1),
                           ("offered", offers.offered), ("entered", offers.entered),
                           ("summed", offers.summed), ("issued", offers.issued),
                           ("cycles", offers.cycles)):
            stream[key] += value


def _run(study: Study, data_dir: Path | None) -> dict[str, Any]:
    dataset = data.load(study.options.dataset, data_dir)
    if study.pixels:
        order = np.random.default_rng(study.pixels).permutation(dataset.train_images.shape[1])
        dataset = dataclasses.replace(
            dataset, train_images=np.ascontiguousarray(dataset.train_images[:, order]),
            test_images=np.ascontiguousarray(dataset.test_images[:, order]))
    counter = _Counter()
    if study.offers:
        counter.install()
    figures = train(study.options, dataset, quiet=True).to_json()
    keep = ("test_accuracy", "train_loss", "cycles_per_sample", "skipped", "saturations")
    return {"settings": study.settings(), **{key: figures[key] for key in keep},
            **({"streams": counter.streams} if study.offers else {})}


# --- the page -------------------------------------------------------------------------------------

def _percent(run: dict[str, Any] | None) -> str:
    return f"{100 * run['test_accuracy']:.2f}" if run else "-"


def page(runs: dict[str, dict[str, Any]]) -> str:
    """The Markdown page of all ``runs``, by name."""
    lines = ["# Learning studies", "", "Written by `make learning` from docs/learning.json; golden "
             "model, MNIST, 784-100-100-10, seed 0 and one pass over part of the training set: for "
             "comparison, not for records. The records are in [results.md](results.md).", "",
             "## Weight registers: banks, own_free, ties", "",
             "K = 16, 20,000 samples, batch 10, rate 0.3 falling to zero; test accuracy in "
             "percent. *own free*: derivatives by a neuron's own weights take no register. Ties go "
             "to the lowest pixel; a random order of the pixels makes that a random tie rule.", "",
             "| banks | own free | own in registers |", "| --- | ---: | ---: |"]
    for banks in ("16", "8+8", "12+4", "14+2"):
        cells = [_percent(runs.get(f"banks {banks}, own {own}"))
                 for own in ("free", "in registers")]
        lines.append(f"| {banks} | {' | '.join(cells)} |")
    lines += [f"| 12+4, pixels in random order {seed} | "
              f"{_percent(runs.get(f'banks 12+4, own free, pixels in random order {seed}'))} | |"
              for seed in (1, 2)]
    lines += ["", "## Lazy offers on that traffic", "",
              "The run of banks 12+4, own free: means a stream (one neuron, one bank, one sample) "
              "of all that the topers were offered. *Naive* is every entry of every source; "
              "*issued* are offers to a group of neurons side by side, with the cycles of a whole "
              "layer.", "",
              "| streams | naive | offered | entered | summed | issued a layer | cycles a layer |",
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for run in runs.values():
        for name, counts in run.get("streams", {}).items():
            each = [f"{counts[key] / counts['streams']:.1f}"
                    for key in ("naive", "offered", "entered", "summed")]
            layer = [f"{counts[key] / counts['layers']:,.0f}" for key in ("issued", "cycles")]
            lines.append(f"| {name} | {' | '.join(each + layer)} |")
    lines += ["", "## Update rules by bits", "",
              "BP, 12,000 samples, batch 32, the default rate of each width; test accuracy in "
              "percent. The accumulator (event) or the part below the code (master) has "
              "the default bits: 5 beside 2 to 4, 6 beside 5 to 8.", "",
              "| bits | " + " | ".join(UPDATES) + " |",
              "| --- |" + " ---: |" * len(UPDATES)]
    for bits in (2, 3, 4, 5, 6, 7, 8, 16):
        for quantisation in ("symm", "asymm"):
            cells = [_percent(runs.get(f"{bits} bits, {update}, {quantisation}"))
                     for update in UPDATES]
            if set(cells) != {"-"}:
                lines.append(f"| {bits} {quantisation} | {' | '.join(cells)} |")
    lines += ["", "## Event-driven learning", "",
              "BP online (batch 1, rate 0.02), 15,000 samples: a sample whose largest output error "
              "is below the threshold is not learnt from.", "",
              "| threshold | skipped | cycles a sample | saved | test accuracy |",
              "| ---: | ---: | ---: | ---: | ---: |"]
    base = runs.get("skip below 0")
    for name, run in runs.items():
        if name.startswith("skip below") and base:
            saved = 1 - run["cycles_per_sample"] / base["cycles_per_sample"]
            lines.append(f"| {run['settings']['skip_below']:g} | {100 * run['skipped']:.1f} % | "
                         f"{run['cycles_per_sample']:,.0f} | {100 * saved:.1f} % | "
                         f"{_percent(run)} |")
    lines += ["", "![accuracy and cycles by threshold](learning.png)", ""]
    return "\n".join(lines)


def _plot(runs: dict[str, dict[str, Any]], path: Path) -> None:
    """Accuracy and cycles a sample by the share of samples skipped."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    events = [run for name, run in runs.items() if name.startswith("skip below")]
    skipped = [100 * run["skipped"] for run in events]
    figure, left = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    left.plot(skipped, [100 * run["test_accuracy"] for run in events], "o-", color="C0")
    left.set_xlabel("samples skipped, %")
    left.set_ylabel("test accuracy, %", color="C0")
    for x, run in zip(skipped, events):
        left.annotate(f"{run['settings']['skip_below']:g}", (x, 100 * run["test_accuracy"]),
                      textcoords="offset points", xytext=(4, 5), fontsize=8)
    right = left.twinx()
    right.plot(skipped, [run["cycles_per_sample"] for run in events], "s--", color="C1")
    right.set_ylabel("cycles a sample", color="C1")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tangente.bench.learning",
                                     description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with the data sets")
    parser.add_argument("--section", choices=tuple(STUDIES), action="append",
                        help="only this one (repeatable)")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--anew", action="store_true", help="forget the runs that are there")
    args = parser.parse_args(argv)
    path = _DOCS / "learning.json"
    known: dict[str, dict[str, Any]] = {}
    if path.exists() and not args.anew:
        known = json.loads(path.read_text(encoding="utf-8"))
    every = {name: study for section in STUDIES.values() for name, study in section.items()}
    runs = {name: known[name] for name, study in every.items()
            if known.get(name, {}).get("settings") == study.settings()}
    missing = {name: study for section in args.section or STUDIES
               for name, study in STUDIES[section].items() if name not in runs}

    def write() -> None:
        ordered = {name: runs[name] for name in every if name in runs}
        path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        (_DOCS / "learning.md").write_text(page(ordered), encoding="utf-8")
        if any(name.startswith("skip below") for name in ordered):
            _plot(ordered, _DOCS / "learning.png")

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.processes, context,
                                                max_tasks_per_child=1) as pool:
        jobs = {pool.submit(_run, study, args.data): name for name, study in missing.items()}
        for job in tqdm(concurrent.futures.as_completed(jobs), total=len(jobs), unit="run",
                        file=sys.stderr, disable=not jobs):
            runs[jobs[job]] = job.result()
            write()
    write()
    print(f"wrote {path} and {_DOCS / 'learning.md'}")
    return 0


if __name__ == "__main__":
    as_program(main)
