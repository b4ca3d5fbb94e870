"""Simulated cycles a second of one core: ``python -m tangente.bench.speed``.

Trainings on the compiled RTL alone: nothing is verified, and only the processor time of the harness
counts. The best of some parts is said, since other programs on the machine only ever slow it down.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from tangente.bench.entry import as_program
from tangente.host import data
from tangente.host.compiler import compile_network
from tangente.host.options import Options
from tangente.host.session import Session, ddr_bytes
from tangente.host.sim_device import SimDevice

__all__ = ["PROGRAMS", "measure", "main"]

#: Options of each program.
PROGRAMS: dict[str, dict[str, Any]] = {
    "BP": {"algorithm": "bp"},
    "DPFM, neuron registers": {"algorithm": "dpfm", "registers": 16},
    "DPFM, weight registers": {"algorithm": "dpfm", "registers": 16, "granularity": "weight",
                               "banks": (12, 4)},
    "FA": {"algorithm": "fa", "feedback": "memory"},
    "BP, 2 + 5 bits, event": {"algorithm": "bp", "bits": 2, "update": "event", "batch": 32},
}


def measure(settings: dict[str, Any], preset: str, samples: int, parts: int,
            data_dir: Path | None) -> list[tuple[int, float]]:
    """Cycles and seconds of each part of a training on MNIST."""
    options = Options(device="sim", dataset="mnist", preset=preset, layers=(784, 100, 100, 10),
                      **settings)
    dataset = data.load(options.dataset, data_dir)
    compiled = compile_network(options)
    batches = -(-samples // options.batch)
    with SimDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches), report=print) as device:
        session = Session(compiled, device, chunk_batches=batches)
        session.upload(*compiled.network.initial(), options.seed)
        assert options.lr is not None
        rate = compiled.network.scales.rate(options.lr)
        result = []
        for part in range(parts):
            chosen = slice(part * batches * options.batch, (part + 1) * batches * options.batch)
            cycles, began = device.model.cycles, time.process_time()
            session.train(dataset.train_images[chosen], dataset.train_labels[chosen], rate)
            result.append((device.model.cycles - cycles, time.process_time() - began))
        return result


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--preset", default="pynq_z2")
    parser.add_argument("--samples", type=int, default=100, help="of each part (default: 100)")
    parser.add_argument("--parts", type=int, default=5, help="of each program (default: 5)")
    parser.add_argument("--only", choices=tuple(PROGRAMS), action="append", metavar="PROGRAM",
                        help="measure this one: " + "; ".join(PROGRAMS))
    args = parser.parse_args(arguments)
    for name, settings in PROGRAMS.items():
        if args.only and name not in args.only:
            continue
        parts = measure(settings, args.preset, args.samples, args.parts, args.data)
        speeds = [cycles / seconds / 1000 for cycles, seconds in parts]
        print(f"{name}: {max(speeds):.1f} k cycles/s, slowest part {min(speeds):.1f}; "
              f"{sum(cycles for cycles, _ in parts):,} cycles")


if __name__ == "__main__":
    as_program(main)
