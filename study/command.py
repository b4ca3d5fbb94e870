"""``tangente study``: its grammar, and what it does."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .run import SHAPES, SLOPES, UPDATES, Run

__all__ = ["NAME", "add", "run"]

NAME = "study"

_EPILOG = """\
studies:
  tangente study workshop             the DPFM workshop's experiments, with its switches
  tangente study cost                 products, weight reads, register traffic by algorithm
  tangente study figures              the figures of docs/forward-mode.md

`tangente study STUDY --help` says more of each.
"""

_WORKSHOP_EPILOG = """\
examples:
  tangente study workshop                            168 runs: about a minute on two cores
  tangente study workshop --samples 100 --registers 16,all --seeds 30
  tangente study workshop --slope original           the published "pruning improves validation"
  tangente study workshop --slope original --parameters 45 --epochs 50
  tangente study workshop --update sgd               the rule of the workshop's Keras runs
  tangente study workshop --json figures.json        or - for the screen
  tangente study workshop --write docs               every variant, and docs/workshop.md

The net learns the sum of four numbers: 4-5-5-1, sigmoid, squared error. A neuron keeps the K
largest of its derivatives, once, before its activation. Runs of equal seed share corpus, first
weights and shuffles whatever K is, so they are pairs; a loss of 0.333 is that of predicting the
mean. docs/workshop.md has the finding, docs/forward-mode.md teaches what is computed.

A finished run is kept (--cache) until its settings or its code change: Ctrl-C loses at most the
runs under way, and the same command goes on from there.
"""

_COST_EPILOG = """\
examples:
  tangente study cost                                784-100-100-10, K = 16, batch 10
  tangente study cost --layers 4-5-5-1 --registers 8,16,all --lazy
  tangente study cost --write docs                   docs/cost.md

Every closed form is what study/counting.py counts while it trains; tests compare them.
"""


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command's parser and return it."""
    raw = argparse.RawDescriptionHelpFormatter
    study: argparse.ArgumentParser = commands.add_parser(
        NAME, help="reproduce the experiments that tangente comes from", formatter_class=raw,
        description="Experiments in floats, beside the machine: what the originals claimed, with "
        "seeds and spreads.", epilog=_EPILOG)
    studies = study.add_subparsers(dest="study", metavar="STUDY", required=True)
    _add_workshop(studies)
    _add_cost(studies)
    _add_figures(studies)
    return study


def _add_json(parser: Any) -> None:
    # `tangente study --json FILE workshop` is the outer parser's; here for who types it last.
    parser.add_argument("--json", metavar="FILE", default=argparse.SUPPRESS,
                        help='write the figures there; "-" is the screen')


def _add_cost(studies: argparse._SubParsersAction[Any]) -> None:
    cost = studies.add_parser(
        "cost", help="products, weight reads and register traffic by algorithm, for any layers",
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_COST_EPILOG,
        description="Count what a training step of a dense net costs by each algorithm, in closed "
        "form; lazy offers depend on the data and are counted in a run.")
    cost.add_argument("--layers", type=_widths, default="784-100-100-10", metavar="N-N-…",
                      help="widths from inputs to outputs; default: %(default)s")
    cost.add_argument("--registers", type=_counts, default="16", metavar="K,K…",
                      help="derivatives a neuron keeps, or all (0); default: %(default)s")
    cost.add_argument("--batch", type=int, default=10, metavar="N", help="default: %(default)s")
    cost.add_argument("--lazy", action="store_true",
                      help="also run lazy offers on a random net and count (seconds)")
    cost.add_argument("--write", type=Path, metavar="DIR",
                      help="write cost.md, cost.json and cost.png there instead")
    _add_json(cost)


def _add_figures(studies: argparse._SubParsersAction[Any]) -> None:
    figures = studies.add_parser(
        "figures", help="draw the figures of docs/forward-mode.md",
        description="Draw what docs/forward-mode.md teaches with: values and derivatives that the "
        "library and the workshop's net compute.")
    figures.add_argument("--out", type=Path, default=Path("build/study"), metavar="DIR",
                         help="where the PNG go; default: %(default)s")
    _add_json(figures)


def _add_workshop(studies: argparse._SubParsersAction[Any]) -> None:
    workshop = studies.add_parser(
        "workshop", help="the DPFM workshop: examples, and the sweep over K",
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_WORKSHOP_EPILOG,
        description="Reproduce the workshop's examples and its sweep over corpus size N and "
        "registers K, with medians and spreads.")
    grid = workshop.add_argument_group("the grid")
    grid.add_argument("--samples", type=_counts, default="50,100,200,400", metavar="N,N…",
                      help="corpus sizes, of which four fifths train; default: %(default)s")
    grid.add_argument("--registers", type=_counts, default="2,4,8,16,32,64,all", metavar="K,K…",
                      help="derivatives a neuron keeps, or all (0); default: %(default)s")
    grid.add_argument("--seeds", type=int, default=6, metavar="N",
                      help="runs of each cell; default: %(default)s")
    switches = workshop.add_argument_group("the workshop's switches")
    switches.add_argument("--slope", choices=SLOPES, default=Run.slope,
                          help="of the sigmoid: s (1 - s), or what the workshop computed; "
                               "default: %(default)s")
    switches.add_argument("--update", choices=UPDATES, default=Run.update,
                          help="the weight with the largest gradient moves by the rate, or plain "
                               "SGD; default: %(default)s")
    switches.add_argument("--parameters", type=int, choices=sorted(SHAPES, reverse=True),
                          default=Run.parameters,
                          help="weights that live: 45 behind the published curves; "
                               "default: %(default)s")
    switches.add_argument("--epochs", type=int, default=Run.epochs, metavar="N",
                          help="default: %(default)s")
    switches.add_argument("--batch", type=int, default=Run.batch, metavar="N",
                          help="default: %(default)s")
    switches.add_argument("--rate", type=float, default=Run.rate, metavar="RATE",
                          help="default: %(default)s")
    output = workshop.add_argument_group("the work and its files")
    output.add_argument("--workers", type=int, metavar="N", help="threads; default: all cores")
    output.add_argument("--cache", type=Path, metavar="DIR",
                        help="where finished runs are kept; default: the user's cache")
    output.add_argument("--refresh", action="store_true", help="train again what is known already")
    output.add_argument("--out", type=Path, default=Path("build/study"), metavar="DIR",
                        help="where CSV and PNG go; default: %(default)s")
    output.add_argument("--no-plots", action="store_true", help="CSV only: needs no matplotlib")
    output.add_argument("--write", type=Path, metavar="DIR",
                        help="train every variant of the switches and write workshop.md, its "
                             "figures and plots there")
    output.add_argument("--quiet", action="store_true", help="no bar, no summary")
    _add_json(output)


def _counts(text: str) -> tuple[int, ...]:
    """Counts joined by commas; "all" is 0."""
    try:
        return tuple(0 if part == "all" else int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be counts joined by commas, such as 8,16,32, not {text!r}") from None


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", "-").split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be widths joined by dashes, such as 64-32-10, not {text!r}") from None


def run(args: argparse.Namespace, write_json: Callable[[str | None, object], None]) -> int:
    """Do it.

    Raises
    ------
    argparse.ArgumentError
        If the arguments do not go together.
    """
    works = {"workshop": _workshop, "figures": _figures, "cost": _cost}
    return works[args.study](args, write_json)


def _cost(args: argparse.Namespace, write_json: Callable[[str | None, object], None]) -> int:
    from . import cost_page

    target = getattr(args, "json", None)
    if args.write is not None:
        for path in cost_page.write(args.write):
            print(f"wrote {path}", file=sys.stderr)
        return 0
    try:
        rows = [row for keep in args.registers for row in cost_page.rows(
            args.layers, batch=args.batch, keep=keep, lazy=args.lazy)
            if keep == args.registers[0] or row.registers is not None]
    except ValueError as error:
        raise argparse.ArgumentError(None, f"--{error}") from None
    if target != "-":
        print(cost_page.table(rows))
    write_json(target, [dataclasses.asdict(row) for row in rows])
    return 0


def _figures(args: argparse.Namespace, write_json: Callable[[str | None, object], None]) -> int:
    from .figures import draw

    paths = draw(args.out)
    for path in paths:
        print(f"wrote {path}", file=sys.stderr)
    write_json(getattr(args, "json", None), {"files": [str(path) for path in paths]})
    return 0


def _workshop(args: argparse.Namespace, write_json: Callable[[str | None, object], None]) -> int:
    # Numba and SciPy take seconds to import: only this command waits for them.
    from . import examples, report
    from .sweep import Sweep, default_cache, sweep

    try:
        plan = Sweep(samples=args.samples, registers=args.registers, seeds=args.seeds, common=Run(
            slope=args.slope, update=args.update, parameters=args.parameters, epochs=args.epochs,
            batch=args.batch, rate=args.rate))
    except ValueError as error:
        raise argparse.ArgumentError(None, f"--{error}") from None
    if args.workers is not None and args.workers < 1:
        raise argparse.ArgumentError(None, f"--workers must be at least 1, not {args.workers!r}")
    if not args.no_plots:
        report.need_matplotlib()
    cache = default_cache() if args.cache is None else args.cache
    began = time.monotonic()
    try:
        if args.write is not None:
            from . import page

            return page.write(args.write, plan, cache=cache, workers=args.workers,
                              refresh=args.refresh, quiet=args.quiet)
        results = sweep(plan.runs(), cache=cache, workers=args.workers, refresh=args.refresh,
                        quiet=args.quiet)
    except KeyboardInterrupt:
        print("tangente: the finished runs are kept; the same command goes on from there",
              file=sys.stderr)
        raise
    wall = time.monotonic() - began
    paths = report.write_csv(args.out, plan, results)
    if not args.no_plots:
        for name, plot in (("curves.png", report.curves_plot),
                           ("sections.png", report.sections_plot)):
            plot(args.out / name, plan, results)
            paths.append(args.out / name)
    value, derivative = examples.colah()
    system = examples.polynomials()
    cells = report.cells(plan, results)
    target = getattr(args, "json", None)
    if target != "-" and not args.quiet:
        print(f"colah's example: value {value:g}, derivative {derivative:g}")
        print(f"polynomials: coefficients within {system.error:.3f} after "
              f"{', '.join(f'{steps:,}' for steps in system.steps)} steps")
        print(f"\nvalidation loss after {plan.common.epochs} epochs: median (lowest to highest) of "
              f"{plan.seeds} seeds; seeds better than with all registers\n")
        print(report.table(cells))
        print(f"{len(results)} runs, {wall:.1f} s; files in {args.out}")
    write_json(target, {
        "colah": {"value": value, "derivative": derivative},
        "polynomials": dataclasses.asdict(system),
        "run": dataclasses.asdict(plan.common), "seeds": plan.seeds, "wall_s": wall,
        "cells": [dataclasses.asdict(cell) for cell in cells],
        "files": [str(path) for path in paths]})
    return 0
