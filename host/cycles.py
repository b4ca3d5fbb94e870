"""Predicts the cycles of training: the compiled program is walked through, nothing is computed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tangente.golden.clock import Clock
from tangente.golden.config import Config
from tangente.golden.isa import Cause, Op, Space
from tangente.golden.machine import Machine

from . import compiler
from .compiler import Compiled, compile_network
from .data import Dataset
from .golden_device import GoldenDevice
from .options import Options
from .session import Session, buffer_beats, ddr_bytes
from .targets import wanted
from .trainer import CLOCK_MHZ, chunk_batches, chunks

__all__ = ["CyclesReport", "measure", "predict"]

#: Samples of an epoch when the options name no number: the digits' training set, or MNIST's.
_DIGITS_SAMPLES, _MNIST_SAMPLES = 1437, 60_000
#: DDR of the machine that only counts: none of it is touched.
_DDR_BYTES = 1 << 30


class _Counter(Machine):
    """A machine that executes control flow and keeps the clock, but computes and moves nothing."""

    def execute(self, op: Op, flags: int) -> None:
        self.clock.tensor(op, self.registers, flags)

    def move(self, op: Op, space: Space, units: int, local: int, byte: int) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class CyclesReport:
    """Predicted cycles.

    Members
    -------
    options : the training.
    config : the engine.
    samples : an epoch.
    step_samples, step_cycles : one training step (batch) by itself, from START to HALT.
    steady_cycles : what a further batch adds to a program: a step's cost in training.
    cycles : the first epoch, in the chunks that :func:`tangente.host.trainer.train` makes of it.
    stalled : cycles of the epoch in which the sequencer waited for data.
    busy : cycles of the epoch in which a tensor instruction ran.
    spent : those, by instruction.
    products : multiplications that the training of one sample needs, with every weight dense.
    measured : samples on which the figures were measured; None where they depend on no data.
    """

    options: Options
    config: Config
    samples: int
    step_samples: int
    step_cycles: int
    steady_cycles: int
    cycles: int
    stalled: int
    busy: int
    spent: dict[str, int]
    products: int
    measured: int | None = None

    @property
    def cycles_per_sample(self) -> float:
        return self.cycles / self.samples

    @property
    def roof(self) -> float:
        """Cycles a sample if every multiplier of the array made a needed product every cycle."""
        return self.products / self.config.multipliers

    @property
    def utilisation(self) -> float:
        """Share of the multipliers' cycles in which they make a needed product."""
        return self.roof / self.cycles_per_sample

    def to_json(self) -> dict[str, Any]:
        """Every figure, for a JSON file."""
        options = dataclasses.asdict(self.options)
        return {
            **{name: list(value) if isinstance(value, tuple) else value
               for name, value in options.items()}, "samples": self.samples,
            "step_samples": self.step_samples, "step_cycles": self.step_cycles,
            "steady_cycles": self.steady_cycles,
            "cycles": self.cycles, "cycles_per_sample": self.cycles_per_sample,
            "stalled": self.stalled, "busy": self.busy, "spent": self.spent,
            "multipliers": self.config.multipliers, "products_per_sample": self.products,
            "roof_cycles_per_sample": self.roof, "utilisation": self.utilisation,
            "clock_mhz": CLOCK_MHZ, "measured_samples": self.measured,
        }

    def text(self) -> str:
        """The report for a person."""
        layers = "-".join(map(str, self.options.layers))
        lines = [
            f"{layers}, {self.options.algorithm}, batch {self.options.batch}, "
            f"preset {self.config.name} ({self.config.multipliers} multipliers)",
            *([f"  measured on the first {self.measured:,} samples of a training: the offers to "
               "the topers depend on the data"] if self.measured else []),
            f"  one step          {self.step_cycles:>13,} cycles, {self.step_samples} samples, "
            "from START to HALT",
            f"  one more step     {self.steady_cycles:>13,} cycles, in the same program: a step's "
            "cost in training",
            f"  one epoch         {self.cycles:>13,} cycles, {self.samples:,} samples: "
            f"{self.cycles_per_sample:,.1f} a sample, "
            f"{self.cycles_per_sample / CLOCK_MHZ:,.2f} µs at {CLOCK_MHZ:g} MHz",
            f"  waiting for data  {self.stalled:>13,} cycles",
            f"  multiplier roof   {self.roof:>13,.1f} cycles a sample "
            f"({self.products:,} products)",
            f"  utilisation       {self.utilisation:>13.1%}",
            "  by instruction, of the epoch:",
        ]
        lines += [f"    {name:<5} {cycles:>13,}  {cycles / self.cycles:6.1%}"
                  for name, cycles in sorted(self.spent.items(), key=lambda item: -item[1])]
        lines.append(f"    {'other':<5} {self.cycles - self.busy:>13,}  "
                     f"{1 - self.busy / self.cycles:6.1%}")
        return "\n".join(lines)


def _products(compiled: Compiled) -> int:
    """Products one sample needs: forward and update of every weight, and the hidden errors."""
    sizes = compiled.network.options.layers
    weights = [n * m for n, m in zip(sizes, sizes[1:])]
    total = 2 * sum(weights)
    if compiled.network.options.algorithm != "dpfm":
        return total + sum(weights[1:])
    if compiled.network.options.weight_registers:
        # Candidates are counted as offers, not as products.
        return sum(weights) + weights[-1] * compiled.network.options.own_free
    # DPFM: own derivatives of every layer past the first, sums over the registers of the layer
    # below, and the outputs' registers times their errors. Registers hold at most K values.
    options = compiled.network.options
    keep = options.registers or sum(sizes[1:-1])
    for layer in range(1, len(weights)):
        total += weights[layer]
        below = sum(sizes[1:layer])
        total += weights[layer] * min(keep, below)
    outputs = options.output_registers
    outputs = keep if outputs is None else outputs or sum(sizes[1:-1])
    return total + sizes[-1] * min(outputs, sum(sizes[1:-1]))


def _run(compiled: Compiled, samples: int, chunk_batches: int, lr: float,
         cache: dict[tuple[int, ...], Clock]) -> Clock:
    """The clock after training on a chunk; equal programs take equal cycles."""
    chunk = compiler.Chunk(samples, *buffer_beats(compiled, chunk_batches))
    words = tuple(compiled.training(chunk, compiled.network.scales.rate(lr)))
    if words not in cache:
        machine = _Counter(compiled.config, _DDR_BYTES)
        machine.load_program(words)
        machine.start()
        cause = machine.run()
        assert cause is Cause.DONE, cause
        cache[words] = machine.clock
    return cache[words]


def predict(options: Options) -> CyclesReport:
    """The cycles that training with ``options`` takes, equal to the simulated count.

    Raises
    ------
    CapacityError
        If the network does not fit the preset.
    """
    compiled = compile_network(options)
    samples = options.samples or (
        _DIGITS_SAMPLES if options.dataset == "digits" else _MNIST_SAMPLES)
    cycles = stalled = busy = 0
    spent: dict[str, int] = {}
    cache: dict[tuple[int, ...], Clock] = {}
    lr, step = 0.0, chunk_batches(options, samples)
    for chunk in chunks(options, samples):
        if chunk.epoch > 0:
            break
        lr = lr or chunk.lr
        clock = _run(compiled, chunk.samples, step, chunk.lr, cache)
        cycles, stalled, busy = cycles + clock.now, stalled + clock.stalled, busy + clock.busy
        for op, count in clock.spent.items():
            spent[op.name] = spent.get(op.name, 0) + count
    one = min(options.batch, samples)
    # The first batches' loads hide behind nothing.
    two, three = (_run(compiled, batches * one, step, lr, cache).now for batches in (2, 3))
    return CyclesReport(options, compiled.config, samples, one,
                        _run(compiled, one, 1, lr, cache).now, three - two, cycles, stalled, busy,
                        spent, _products(compiled))


def measure(options: Options, dataset: Dataset, *, batches: int = 40) -> CyclesReport:
    """The cycles that training takes on ``dataset``, from golden's clock over ``batches`` batches.

    For weight registers, whose offers depend on the data, and for skipped batches. The epoch is
    that part repeated.

    Raises
    ------
    CapacityError
        If the network does not fit the preset.
    """
    compiled = compile_network(options)
    available = options.samples or len(dataset.train_images)
    samples = min(available, batches * options.batch)
    one = min(options.batch, samples)
    assert options.lr is not None
    rate = compiled.network.scales.rate(options.lr)
    device = GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches))
    session = Session(compiled, device, chunk_batches=batches)
    session.upload(*compiled.network.initial(), options.seed)
    clock = device.machine.clock
    images = dataset.train_images[:samples]
    labels = wanted(options, dataset.train_labels[:samples], dataset.classes)
    session.train(images[:one], labels[:one], rate)
    step = clock.now
    session.train(images, labels, rate)
    further = math.ceil(samples / options.batch) - 1

    def whole(cycles: int) -> int:
        return round(cycles * available / samples)

    return CyclesReport(
        options, compiled.config, available, one, step,
        round((clock.now - step) / further) if further else step, whole(clock.now),
        whole(clock.stalled), whole(clock.busy),
        {op.name: whole(cycles) for op, cycles in clock.spent.items()},
        _products(compiled), samples)
