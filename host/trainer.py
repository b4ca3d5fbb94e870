"""Trains a network on a device: chunks of shuffled samples, a falling rate, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tangente.golden.registers import SATURATIONS

from .compiler import Compiled, compile_network
from .data import Dataset
from .device import open_device
from .driver import Counters
from .options import Options
from .progress import Event
from .session import Session, ddr_bytes

__all__ = ["CLOCK_MHZ", "EpochPart", "Result", "chunk_batches", "chunks", "learning_rate", "train"]

#: Clock for which times are stated: FCLK0 of the board.
CLOCK_MHZ = 100.0
#: Starts an epoch is divided into: steps of the progress bar and of the learning rate.
_CHUNKS = 32
#: Test samples on the simulated RTL, if the options name no number.
SIM_TEST_SAMPLES = 1000
#: Nats in one unit of register LOSS, 1/256 bit.
_NATS = math.log(2) / 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a training run came to.

    Members
    -------
    options : what was asked for.
    samples : training samples an epoch.
    train_loss : mean loss of the last epoch's samples, as they were met, in nats.
    test_samples, test_accuracy : samples tested, and the share of them that were right.
    cycles : clock cycles of training, predicted on golden.
    saturations : values that saturated in training, by name.
    mismatches : words of memory and counters that differ from golden's; None if not verified.
    wall_s : seconds of training, without building and testing.
    weights, biases : the memories at the end, (weight_words, 2 x lanes) and (bias_pairs, 2, 2).
    """

    options: Options
    samples: int
    train_loss: float
    test_samples: int
    test_accuracy: float
    cycles: int
    saturations: dict[str, int]
    mismatches: int | None
    wall_s: float
    weights: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int16]

    def to_json(self) -> dict[str, Any]:
        """The figures, for a JSON file."""
        import tangente

        trained = self.samples * self.options.epochs
        return {
            **dataclasses.asdict(self.options), "layers": list(self.options.layers),
            "samples": self.samples, "train_loss": self.train_loss,
            "test_samples": self.test_samples, "test_accuracy": self.test_accuracy,
            "cycles": self.cycles,
            "cycles_per_sample": self.cycles / trained,
            "clock_mhz": CLOCK_MHZ, "mismatches": self.mismatches,
            "saturations": self.saturations, "wall_s": self.wall_s,
            # Golden predicts its cycles; it simulates none.
            "cycles_per_second": None if self.options.device == "golden"
            else self.cycles / self.wall_s,
            "version": tangente.__version__,
        }


def learning_rate(options: Options, done: float) -> float:
    """The rate when the part ``done`` of a run, 0 to 1, lies behind.

    It falls linearly to zero over the last part ``lr_decay`` of the run.
    """
    assert options.lr is not None
    if not options.lr_decay:
        return options.lr
    return options.lr * min(1.0, (1.0 - done) / options.lr_decay)


def chunk_batches(options: Options, samples: int) -> int:
    """Batches that one start trains on: an epoch is cut for progress and the learning rate."""
    return math.ceil(math.ceil(samples / options.batch) / _CHUNKS)


@dataclasses.dataclass(frozen=True)
class EpochPart:
    """A part of an epoch that one start trains on, with one learning rate.

    Members
    -------
    epoch, first, samples : which samples of which epoch, from 0.
    lr : the learning rate.
    """

    epoch: int
    first: int
    samples: int
    lr: float


def chunks(options: Options, samples: int) -> Iterator[EpochPart]:
    """All chunks of a run of ``samples`` an epoch."""
    step = chunk_batches(options, samples) * options.batch
    for epoch in range(options.epochs):
        for first in range(0, samples, step):
            size = min(step, samples - first)
            done = (epoch * samples + first + size / 2) / (options.epochs * samples)
            yield EpochPart(epoch, first, size, learning_rate(options, done))


def train(options: Options, dataset: Dataset, *,
          progress: Callable[[Event], None] | None = None, verify: bool = False,
          waves: str | os.PathLike[str] | None = None, quiet: bool = False) -> Result:
    """Train and test a network.

    Parameters
    ----------
    options : what, and how.
    dataset : the samples.
    progress : called after each chunk of an epoch.
    verify : run everything on golden too and compare every word of memory and all counters.
    waves : file for waveforms (device sim only).
    quiet : say nothing on standard error about long steps before the training.

    Raises
    ------
    CapacityError
        If the network does not fit the preset.
    ValueError
        If the options do not suit the data set.
    DeviceTimeout, EngineFault, IncompatibleDevice
        If the device fails.
    """
    compiled = compile_network(options)
    samples = _check(options, dataset)
    step = chunk_batches(options, samples)
    with contextlib.ExitStack() as stack:
        report = None if quiet else lambda line: print(f"tangente: {line}", file=sys.stderr,
                                                       flush=True)
        names = [options.device] + (["golden"] if verify else [])
        sessions = []
        for index, name in enumerate(names):
            device = stack.enter_context(open_device(
                name, compiled.config, ddr_bytes=ddr_bytes(compiled, step),
                waves=Path(waves) if waves is not None and index == 0 else None, report=report))
            sessions.append(Session(compiled, device, chunk_batches=step))
        return _train(options, dataset, compiled, sessions, samples, progress)


def _check(options: Options, dataset: Dataset) -> int:
    """Samples an epoch."""
    features, classes = dataset.train_images.shape[1], dataset.classes
    if options.layers[0] != features:
        raise ValueError(f"layers must begin with the {features} inputs of {dataset.name}, "
                         f"not {options.layers[0]!r}")
    if options.layers[-1] < classes:
        raise ValueError(f"layers must end with the {classes} classes of {dataset.name}, "
                         f"not {options.layers[-1]!r}")
    available = len(dataset.train_images)
    if options.samples is not None and options.samples > available:
        raise ValueError(f"samples must be at most the {available} of {dataset.name}, "
                         f"not {options.samples!r}")
    return options.samples or available


def _test_samples(options: Options, dataset: Dataset) -> int:
    """How many are tested: a simulated RTL takes minutes for the 10,000 of MNIST."""
    wanted = options.test_samples or (SIM_TEST_SAMPLES if options.device == "sim" else None)
    return min(wanted or len(dataset.test_images), len(dataset.test_images))


def _train(options: Options, dataset: Dataset, compiled: Compiled, sessions: list[Session],
           samples: int, progress: Callable[[Event], None] | None) -> Result:
    start = _State(*compiled.network.initial())
    for session in sessions:
        session.upload(start.weights, start.biases, options.seed)
    totals = [Counters() for _ in sessions]
    differing = 0
    began, wall = time.monotonic(), 0.0
    epoch_counters = Counters()
    orders = list(_orders(options, len(dataset.train_images), samples))
    for chunk in chunks(options, samples):
        chosen = orders[chunk.epoch][chunk.first:chunk.first + chunk.samples]
        rate = compiled.network.scales.rate(chunk.lr)
        if chunk.first == 0:
            epoch_counters = Counters()
        for index, session in enumerate(sessions):
            began = time.monotonic()
            counters = session.train(dataset.train_images[chosen], dataset.train_labels[chosen],
                                     rate)
            totals[index] += counters
            if index == 0:
                wall += time.monotonic() - began
                epoch_counters += counters
        if progress is not None:
            done = chunk.first + chunk.samples
            progress(Event(
                epoch=chunk.epoch + 1, epochs=options.epochs, samples_done=done,
                samples_total=samples, loss=epoch_counters.loss * _NATS / done,
                accuracy=epoch_counters.correct / done, cycles=totals[0].cycles))
    count = _test_samples(options, dataset)
    tests = [session.test(dataset.test_images[:count], dataset.test_labels[:count])
             for session in sessions]
    ends = [_State(*session.download()) for session in sessions]
    for counters, test, end in zip(totals[1:], tests[1:], ends[1:]):
        differing += end.differing(ends[0])
        differing += _differing_counters(counters, totals[0]) + _differing_counters(test, tests[0])
    return Result(
        options=options, samples=samples, train_loss=epoch_counters.loss * _NATS / samples,
        test_samples=count, test_accuracy=tests[0].correct / count, cycles=totals[0].cycles,
        saturations=dict(zip(SATURATIONS, totals[0].saturations)),
        mismatches=differing if len(sessions) > 1 else None, wall_s=wall,
        weights=ends[0].weights, biases=ends[0].biases)


def _orders(options: Options, available: int,
            samples: int) -> Iterator[npt.NDArray[np.int64]]:
    """The samples of each epoch, in their order: a function of the seed alone."""
    rng = np.random.default_rng((options.seed, 1))
    for _ in range(options.epochs):
        yield rng.permutation(available)[:samples]


@dataclasses.dataclass(frozen=True)
class _State:
    weights: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int16]

    def differing(self, other: _State) -> int:
        """Slots, biases and bias gradients that differ."""
        return int(np.count_nonzero(self.weights != other.weights)
                   + np.count_nonzero(self.biases != other.biases))


def _differing_counters(one: Counters, other: Counters) -> int:
    """Counters that differ: golden predicts the cycles too."""
    pairs = [(one.cycles, other.cycles), (one.loss, other.loss), (one.correct, other.correct),
             (one.samples, other.samples), *zip(one.saturations, other.saturations)]
    return sum(a != b for a, b in pairs)
