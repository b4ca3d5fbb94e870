"""The workshop's bound on an FPGA, measured: ``python -m tangente.bench.bound``.

The simulated RTL trains one batch of the workshop's net; its counters say what the step and the
second hidden layer take: 10 samples x 5 neurons x 5 weights x (a value and 16 derivatives), for
which the workshop claimed 20 cycles.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tangente.bench.entry import as_program
from tangente.golden.config import preset
from tangente.golden.counters import Counter
from tangente.golden.isa import OPERANDS, Op, decode
from tangente.golden.registers import COUNTER_ONE
from tangente.host.compiler import Chunk, compile_network
from tangente.host.golden_device import GoldenDevice
from tangente.host.options import Options
from tangente.host.reference import fill
from tangente.host.session import Session, buffer_beats, ddr_bytes
from tangente.host.sim_device import SimDevice
from tangente.study.corpus import Corpus
from tangente.study.integers import as_bytes
from tangente.study.network import places
from tangente.study.run import Run

__all__ = ["CLAIM", "PROGRAMS", "Bound", "main", "measure", "table"]

#: Products of the layer, and the cycles and multipliers that the workshop gave it.
CLAIM = {"products": 10 * 5 * 5 * 17, "multipliers": 220, "cycles": 20}
#: Programs, and for each the instructions that are the second hidden layer's: (operation, its
#: number among those of the program, from 0).
PROGRAMS: dict[str, tuple[dict[str, Any], tuple[tuple[Op, int], ...]]] = {
    "BP": ({"algorithm": "bp"}, ((Op.MVA, 1),)),
    "DPFM, neuron registers": ({"algorithm": "dpfm"}, ((Op.MVD, 0), (Op.DRV, 0))),
    "DPFM, weight registers": ({"algorithm": "dpfm", "granularity": "weight"},
                               ((Op.MVA, 1), (Op.SRT, 0), (Op.TOP, 0))),
}


@dataclasses.dataclass(frozen=True)
class Bound:
    """Cycles of one program on the RTL.

    Members
    -------
    program : its name.
    step : of a batch of ten, from START to HALT.
    layer : of the instructions of the second hidden layer, by operation.
    """

    program: str
    step: int
    layer: dict[str, int]


def measure(program: str, size: str = "pynq_z2",
            report: Callable[[str], None] = lambda line: None) -> Bound:
    """Train one batch on the simulated RTL of preset ``size``, and count.

    Raises
    ------
    RuntimeError
        If the golden clock says otherwise.
    """
    settings, wanted = PROGRAMS[program]
    run = Run(samples=13, epochs=1)
    corpus = Corpus.of(run)
    registers = min(16, preset(size).toper_registers)
    if "granularity" in settings:
        settings = {**settings, "banks": (registers,)}
    options = Options(dataset="corpus", preset=size, layers=run.layers, activation="sigmoid",
                      registers=registers, loss="mse", batch=run.batch, lr=0.1, **settings)
    compiled = compile_network(options)
    network = compiled.network
    assert options.lr is not None
    rate = network.scales.rate(options.lr)
    memory = network.pack([corpus.weights[own[:, :-1]].T for own in places(run.layers)])
    words = compiled.training(Chunk(run.batch, *buffer_beats(compiled, 1)), rate)
    found: dict[Op, list[int]] = {}
    for pc, word in enumerate(words):
        instruction = decode(word)
        if instruction is not None and instruction.op in OPERANDS:
            found.setdefault(instruction.op, []).append(pc)
    chosen = {f"{op.name}": found[op][number] for op, number in wanted}

    def train(session: Session) -> int:
        session.upload(memory, network.initial()[1], 0)
        return session.train(as_bytes(corpus.x), corpus.y[:, None], rate).cycles

    with GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, 1)) as golden:
        session = Session(compiled, golden, chunk_batches=1)
        expected = train(session), {name: golden.machine.clock.cycles_of.get(pc, 0)
                                    for name, pc in chosen.items()}
    with SimDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, 1), report=report) as device:
        session = Session(compiled, device, chunk_batches=1)
        step, layer = train(session), {}
        for name, pc in chosen.items():
            device.write("COUNTER_PC", COUNTER_ONE | pc)
            device.write("COUNTER_SELECT", Counter.CYCLES)
            train(session)
            layer[name] = device.read("COUNTER")
    if (step, layer) != expected:
        raise RuntimeError(f"{program}: the RTL counts {step}, {layer}, the golden clock "
                           f"{expected[0]}, {expected[1]}")
    return Bound(program, step, layer)


def table(found: list[Bound]) -> str:
    """A Markdown table beside the claim."""
    lines = ["| program | cycles of the layer | of them | cycles of a training step |",
             "| --- | ---: | --- | ---: |",
             f"| claimed: {CLAIM['products']:,} products on {CLAIM['multipliers']} multipliers | "
             f"{CLAIM['cycles']} | | |"]
    for bound in found:
        parts = ", ".join(f"{name} {cycles:,}" for name, cycles in bound.layer.items())
        lines.append(f"| {bound.program} | {sum(bound.layer.values()):,} | {parts} | "
                     f"{bound.step:,} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="pynq_z2", help="default: %(default)s")
    parser.add_argument("--write", type=Path, metavar="DIR",
                        help="fill the table of workshop.md there")
    args = parser.parse_args(arguments)

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    text = table([measure(program, args.preset, report) for program in PROGRAMS])
    print(text)
    if args.write is not None:
        page = args.write / "workshop.md"
        page.write_text(fill(page.read_text(), "bound", text))


if __name__ == "__main__":
    as_program(main)
