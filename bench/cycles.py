"""Cycles a sample of each program, after an epoch: ``python -m tangente.bench.cycles``.

Golden trains an epoch and then goes on for two thousand samples, of which its clock, exact to the
cycle, gives the figures: docs/cycles.json, docs/cycles.md. The RTL is held to the same clock by
tests and by ``python -m tangente.bench.rtl``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tangente.bench.entry import as_program
from tangente.host import data
from tangente.host.compiler import compile_network
from tangente.host.cycles import predict
from tangente.host.data import Dataset
from tangente.host.golden_device import GoldenDevice
from tangente.host.options import Options
from tangente.host.session import Session
from tangente.host.trainer import ddr_bytes

__all__ = ["PROGRAMS", "Program", "measure", "main", "options_of", "program_dataset"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_LAYERS = (784, 100, 100, 10)
_CHUNK = 2000
#: Kinds of inputs.
_MNIST, _FASHION, _DENSE = "mnist", "fashion-mnist", "dense random"


@dataclasses.dataclass(frozen=True)
class Program:
    """One line of the table.

    Members
    -------
    settings : of :class:`tangente.host.options.Options`.
    inputs : data set, or random bytes that are never zero.
    floor, goal : cycles a sample that were asked for, or None.
    inference : forward products alone.
    """

    settings: dict[str, Any]
    inputs: str = _MNIST
    floor: int | None = None
    goal: int | None = None
    inference: bool = False


_NEURON = {"algorithm": "dpfm", "registers": 16}
_WEIGHT = {**_NEURON, "granularity": "weight", "banks": (12, 4)}
PROGRAMS = {
    "BP": Program({"algorithm": "bp"}, floor=450, goal=320),
    "BP, Fashion": Program({"algorithm": "bp"}, _FASHION, floor=850),
    "FA, matrices in memory": Program({"algorithm": "fa"}, floor=450, goal=320),
    "FA, signs by the LFSR": Program({"algorithm": "fa", "feedback": "lfsr"}, floor=450, goal=320),
    "FA, signs by the LFSR, Fashion": Program({"algorithm": "fa", "feedback": "lfsr"}, _FASHION,
                                              floor=850),
    "BP, dense random input": Program({"algorithm": "bp"}, _DENSE, floor=1050, goal=920),
    "BP, batch 1": Program({"algorithm": "bp", "batch": 1}),
    "BP, batch 1, rate 0.01": Program({"algorithm": "bp", "batch": 1, "lr": 0.01}),
    "BP, 784-128-10": Program({"algorithm": "bp", "layers": (784, 128, 10)}, floor=550, goal=380),
    "DPFM, neuron registers": Program(_NEURON, floor=650, goal=430),
    "DPFM, neuron registers, Fashion": Program(_NEURON, _FASHION, floor=1000),
    "DPFM, weight registers 12 + 4": Program(_WEIGHT, floor=1000, goal=450),
    "DPFM, weight registers 12 + 4, Fashion": Program(_WEIGHT, _FASHION, floor=1400),
    "inference": Program({"algorithm": "bp"}, floor=250, goal=130, inference=True),
    "inference, Fashion": Program({"algorithm": "bp"}, _FASHION, floor=450, inference=True),
}


def program_dataset(program: Program, folder: Path | None) -> Dataset:
    """What a program is trained on."""
    if program.inputs != _DENSE:
        return data.load(program.inputs, folder)
    dataset = data.load(_MNIST, folder)
    images = np.random.default_rng(1).integers(1, 256, dataset.train_images.shape)
    return dataclasses.replace(dataset, train_images=images.astype(np.uint8))


def options_of(program: Program) -> Options:
    """Of its training."""
    return Options(**{"dataset": "mnist", "preset": "pynq_z2", "layers": _LAYERS, "batch": 10,
                      **program.settings})


def measure(program: Program, dataset: Dataset, trained: int, samples: int) -> dict[str, Any]:
    """Cycles a sample over ``samples`` samples after a training on ``trained``.

    ``stalled`` are the cycles a batch in which the engine waited for data, after the first batch.
    """
    options = options_of(program)
    compiled = compile_network(options)
    batches = -(-_CHUNK // options.batch)
    device = GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches))
    session = Session(compiled, device, chunk_batches=batches)
    session.upload(*compiled.network.initial(), options.seed)
    assert options.lr is not None
    rate = compiled.network.scales.rate(options.lr)
    images, labels = dataset.train_images, dataset.train_labels
    order = np.random.default_rng(options.seed).permutation(len(images))

    def part(first: int, count: int):
        chosen = order[(first + np.arange(count)) % len(order)]
        return images[chosen], labels[chosen]

    for first in range(0, trained, _CHUNK):
        session.train(*part(first, min(_CHUNK, trained - first)), rate)
    clock = device.machine.clock
    cycles = busy = done = 0
    spent: dict[str, int] = {}
    run = (lambda x, y: session.test(x, y)) if program.inference else (
        lambda x, y: session.train(x, y, rate))
    # What comes before the first batch's products is not the program's steady state.
    run(*part(trained, options.batch))
    first_batch, first_stall = clock.now, clock.stalled
    while done < samples:
        run(*part(trained + done, _CHUNK))
        done += _CHUNK
        cycles, busy = cycles + clock.now, busy + clock.busy
        stalled = clock.stalled - first_stall
        for op, count in clock.spent.items():
            spent[op.name] = spent.get(op.name, 0) + count
    return {"cycles_per_sample": cycles / done, "busy": busy / cycles, "samples": done,
            "trained": trained, "first_batch": first_batch, "stalled_after_first": stalled,
            "spent": {name: count / done for name, count in spent.items()},
            "floor": program.floor, "goal": program.goal}


def small_step() -> dict[str, int]:
    """Cycles of a training step of the workshop's net of 61 parameters, by algorithm."""
    return {algorithm: predict(Options(
        dataset="random", preset="pynq_z2", layers=(4, 5, 5, 1), activation="sigmoid", loss="mse",
        algorithm=algorithm, batch=10, samples=10)).step_cycles for algorithm in ("bp", "dpfm")}


def page(results: dict[str, dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [
        "# Cycles a sample", "",
        "Made by `make cycles` (`python -m tangente.bench.cycles`) from docs/cycles.json: preset",
        "pynq_z2, 784-100-100-10 and batch 10 where nothing else is said, golden's clock (exact:",
        "tests and docs/rtl.md hold the RTL to it), over "
        + f"{min(r['samples'] for r in results.values()):,} real samples after a training on",
        " and ".join(f"{count:,}" for count in sorted({r["trained"] for r in results.values()}))
        + " samples.", "",
        "| program | cycles a sample | floor | goal | stalls for data after the first batch |",
        "| --- | ---: | ---: | ---: | ---: |"]
    for name, result in results.items():
        cells = [f"{result[key]:,}" if result[key] else "" for key in ("floor", "goal")]
        lines.append(f"| {name} | {result['cycles_per_sample']:,.1f} | {' | '.join(cells)} | "
                     f"{result['stalled_after_first']:,} |")
    one, slow, ten = (results.get(name) for name in ("BP, batch 1", "BP, batch 1, rate 0.01", "BP"))
    if one and slow and ten:
        ratio, slower = (r["cycles_per_sample"] / ten["cycles_per_sample"] for r in (one, slow))
        lines += ["", f"Batch 1 takes {ratio:.2f} times the cycles of batch 10 "
                  f"(floor 1.6, goal 1.3) with its default rate, 0.02; {slower:.2f} times with the "
                  "tenth of batch 10's, which leaves more samples an error to learn from."]
    small = small_step()
    lines += ["", "A training step of the net of 61 parameters (4-5-5-1, sigmoid, squared error, "
              f"batch 10), nothing of it zero: {small['bp']:,} cycles by BP, {small['dpfm']:,} by "
              "DPFM (floor 800, goal 400)."]
    ops = list(dict.fromkeys(op for result in results.values() for op in result["spent"]))
    lines += ["", "Where they go (what runs beside an earlier instruction is that one's):", "",
              "| program | " + " | ".join(ops) + " | other |",
              "| --- | " + "---: | " * (len(ops) + 1)]
    for name, result in results.items():
        other = result["cycles_per_sample"] * (1 - result["busy"])
        lines.append(f"| {name} | " + " | ".join(
            f"{result['spent'].get(op, 0):,.1f}" for op in ops) + f" | {other:,.1f} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", choices=tuple(PROGRAMS), action="append", metavar="PROGRAM",
                        help="measure this one again, keep the others: " + "; ".join(PROGRAMS))
    parser.add_argument("--trained", type=int, default=60_000,
                        help="samples of training before (default: an epoch of MNIST)")
    parser.add_argument("--samples", type=int, default=2000, help="samples that are measured")
    args = parser.parse_args(arguments)
    file = _DOCS / "cycles.json"
    results = json.loads(file.read_text()) if args.only and file.exists() else {}
    for name, program in PROGRAMS.items():
        if args.only and name not in args.only:
            continue
        print(f"{name}: training on {args.trained:,} samples", file=sys.stderr, flush=True)
        results[name] = measure(program, program_dataset(program, args.data), args.trained,
                                args.samples)
        print(f"{name}: {results[name]['cycles_per_sample']:,.1f} cycles a sample",
              file=sys.stderr, flush=True)
        results = {key: results[key] for key in PROGRAMS if key in results}
        file.write_text(json.dumps(results, indent=1) + "\n")
        (_DOCS / "cycles.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    as_program(main)
