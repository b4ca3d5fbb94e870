"""Trains a network on a device: chunks of shuffled samples, a falling rate, and what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tangente.golden.isa import LOGIT_FRACTION
from tangente.golden.registers import SATURATIONS

from .checkpoint import Checkpoint, CheckpointError
from .compiler import compile_network
from .data import Dataset
from .device import open_device
from .driver import Counters
from .options import Options
from .progress import Event
from .session import Session, ddr_bytes, random_state
from .targets import classified, wanted

__all__ = ["CLOCK_MHZ", "LOSS_UNITS", "EpochPart", "Interrupted", "Result", "chunk_batches",
           "chunks", "learning_rate", "orders", "train"]

#: Clock for which times are stated: FCLK0 of the board.
CLOCK_MHZ = 100.0
#: Starts an epoch is divided into: steps of the progress bar and of the learning rate.
_CHUNKS = 32
#: Seconds between two checkpoints, at least, if nothing else is asked for.
_CHECKPOINT_S = 10.0
#: Test samples on the simulated RTL, if the options name no number.
SIM_TEST_SAMPLES = 1000
#: What one unit of register LOSS is worth: in nats (1/256 bit), or in squared error.
LOSS_UNITS = {"softmax": math.log(2) / 256, "mse": 2.0 ** (-2 * LOGIT_FRACTION)}


class Interrupted(RuntimeError):
    """The training was stopped before its end.

    Members
    -------
    checkpoint : file from which it can be resumed, or None.
    """

    def __init__(self, checkpoint: Path | None) -> None:
        super().__init__("the training was interrupted" + (
            "" if checkpoint is None else f"; it can be resumed from {checkpoint}"))
        self.checkpoint = checkpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a training run came to.

    Members
    -------
    options : what was asked for.
    samples : training samples an epoch.
    train_loss : mean loss of the last epoch's samples, as they were met, in nats or,
        for the loss "mse", squared error summed over the outputs.
    test_samples, test_accuracy : samples tested, and the share of them that were right: whose
        largest output, or, of one output, whose nearest level, is the class's.
    cycles : clock cycles of training, predicted on golden.
    saturations : values that saturated in training, by name.
    skipped : share of the batches that were not learnt from (``Options.skip_below``).
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
    skipped: float
    mismatches: int | None
    wall_s: float
    weights: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int16]

    def to_json(self) -> dict[str, Any]:
        """The figures, for a JSON file."""
        import tangente

        trained = self.samples * self.options.epochs
        return {
            # As JSON has it: lists for tuples.
            **json.loads(json.dumps(dataclasses.asdict(self.options))),
            "samples": self.samples, "train_loss": self.train_loss,
            "test_samples": self.test_samples, "test_accuracy": self.test_accuracy,
            "cycles": self.cycles,
            "cycles_per_sample": self.cycles / trained,
            "clock_mhz": CLOCK_MHZ, "mismatches": self.mismatches,
            "saturations": self.saturations, "skipped": self.skipped, "wall_s": self.wall_s,
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
          waves: str | os.PathLike[str] | None = None, quiet: bool = False,
          checkpoint: str | os.PathLike[str] | None = None, checkpoint_every: int | None = None,
          resume: str | os.PathLike[str] | None = None,
          stop: Callable[[], bool] | None = None) -> Result:
    """Train and test a network.

    Parameters
    ----------
    options : what, and how.
    dataset : the samples.
    progress : called after each part of an epoch.
    verify : run everything on golden too and compare every word of memory and all counters.
    waves : file for waveforms (device sim only).
    quiet : say nothing on standard error about long steps before the training.
    checkpoint : file to which the state is written: at first, after parts of an epoch, when
        ``stop`` ends the training, and at its end.
    checkpoint_every : parts of an epoch (there are 32) from one to the next; by default as few as
        ten seconds take.
    resume : checkpoint to go on from. Weights, biases, losses and hits end as they would have
        without the interruption, on any device; so do cycles, unless ``stop`` cut a part of an
        epoch in two, which costs one more start.
    stop : called some times a second; when it says True, the training ends with the present batch.

    Raises
    ------
    CapacityError
        If the network does not fit the preset.
    CheckpointError
        If ``resume`` is damaged, or of another training; if ``checkpoint`` exists and is not
        ``resume``.
    ValueError
        If the options do not suit the data set.
    Interrupted
        If ``stop`` said True.
    DeviceTimeout, EngineFault, IncompatibleDevice
        If the device fails.
    """
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, not {checkpoint_every!r}")
    compiled = compile_network(options)
    samples = _check(options, dataset)
    keeper = _Keeper(options, dataset, checkpoint, checkpoint_every, resume)
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
        run = _Run(options, dataset, sessions, samples, keeper, stop or (lambda: False))
        run.train(progress)
        return run.test()


def _check(options: Options, dataset: Dataset) -> int:
    """Samples an epoch."""
    features, classes = dataset.train_images.shape[1], dataset.classes
    if options.layers[0] != features:
        raise ValueError(f"layers must begin with the {features} inputs of {dataset.name}, "
                         f"not {options.layers[0]!r}")
    if options.loss == "mse" and options.layers[-1] not in (1, *range(classes, 4096)):
        raise ValueError(f"layers must end with 1 output or the {classes} classes of "
                         f"{dataset.name}, not {options.layers[-1]!r}")
    if options.loss == "softmax" and options.layers[-1] < classes:
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


class _Keeper:
    """Where checkpoints go, when one is due, and the one to begin from, if any."""

    def __init__(self, options: Options, dataset: Dataset,
                 path: str | os.PathLike[str] | None, every: int | None,
                 resume: str | os.PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path)
        self.digest = ""
        self._every = every
        self._parts = 0
        self._last = time.monotonic()
        self.start: Checkpoint | None = None
        if path is not None or resume is not None:
            self.digest = dataset.digest
        if resume is not None:
            self.start = Checkpoint.load(Path(resume))
            self.start.check(Path(resume), options, self.digest)
        if self.path is not None and self.path.exists() and (
                resume is None or not self.path.samefile(resume)):
            raise CheckpointError(f"{self.path} exists: resume it, or remove it first")

    def due(self) -> bool:
        """Whether a checkpoint is to be written after a part of an epoch; asked after each."""
        self._parts += 1
        if self.path is None:
            return False
        if self._every is not None:
            return self._parts % self._every == 0
        return time.monotonic() - self._last >= _CHECKPOINT_S

    def save(self, checkpoint: Checkpoint) -> None:
        if self.path is not None:
            checkpoint.save(self.path)
            self._last = time.monotonic()


class _Run:
    """One training on one device, and on golden too if it is verified.

    Members
    -------
    sessions : one a device; the first is the one asked for.
    """

    def __init__(self, options: Options, dataset: Dataset, sessions: list[Session], samples: int,
                 keeper: _Keeper, stop: Callable[[], bool]) -> None:
        self._options, self._dataset, self._samples = options, dataset, samples
        self._network = sessions[0].compiled.network
        self._keeper, self._stop = keeper, stop
        self._targets = wanted(options, dataset.train_labels, dataset.classes)
        self._loss_unit = LOSS_UNITS[options.loss]
        self.sessions = sessions
        start = keeper.start
        if start is None:
            start = Checkpoint(
                options=options, dataset=keeper.digest, random=random_state(options.seed),
                epoch=0, first=0, epoch_counters=Counters(), totals=Counters(),
                mismatches=0 if len(sessions) > 1 else None, wall_s=0.0,
                **dict(zip(("weights", "biases"), self._network.initial())))
            # A file that cannot be written is found out now, not after hours.
            keeper.save(start)
        for session in sessions:
            session.restore(start.weights, start.biases, start.random)
        self._epoch, self._first = start.epoch, start.first
        self._epoch_counters, self._wall = start.epoch_counters, start.wall_s
        self._totals = [start.totals for _ in sessions]
        self._mismatches = start.mismatches or 0

    def train(self, progress: Callable[[Event], None] | None) -> None:
        """Train on what is left."""
        order = list(orders(self._options, len(self._dataset.train_images), self._samples))
        self._break_off()
        for part in chunks(self._options, self._samples):
            end = part.first + part.samples
            if (part.epoch, end) <= (self._epoch, self._first):
                continue
            if (part.epoch, part.first) < (self._epoch, self._first):
                part = dataclasses.replace(part, first=self._first, samples=end - self._first)
            self._part(part, order[part.epoch][part.first:end])
            if progress is not None:
                counters = self._epoch_counters
                progress(Event(
                    epoch=part.epoch + 1, epochs=self._options.epochs,
                    samples_done=counters.samples, samples_total=self._samples,
                    loss=counters.loss * self._loss_unit / counters.samples,
                    accuracy=(counters.correct / counters.samples
                              if self._options.loss == "softmax" else None),
                    cycles=self._totals[0].cycles))
            self._break_off()
            if self._keeper.due():
                self._keeper.save(self._checkpoint())
        self._epoch, self._first = self._options.epochs, 0
        self._keeper.save(self._checkpoint())

    def _part(self, part: EpochPart, chosen: npt.NDArray[np.int64]) -> None:
        if part.first == 0:
            self._epoch_counters = Counters()
        images, targets = self._dataset.train_images, self._targets
        rate = self._network.scales.rate(part.lr)
        for index, session in enumerate(self.sessions):
            began = time.monotonic()
            counters = session.train(images[chosen], targets[chosen], rate,
                                     self._stop if index == 0 else None)
            self._totals[index] += counters
            if index == 0:
                # As many as the first device trained on before it was stopped.
                chosen = chosen[:counters.samples]
                self._wall += time.monotonic() - began
                self._epoch_counters += counters
        self._epoch, self._first = part.epoch, part.first + len(chosen)

    def _break_off(self) -> None:
        if self._stop():
            self._keeper.save(self._checkpoint())
            raise Interrupted(self._keeper.path)

    def _checkpoint(self) -> Checkpoint:
        states = [_State(*session.download()) for session in self.sessions]
        return Checkpoint(
            options=self._options, dataset=self._keeper.digest, weights=states[0].weights,
            biases=states[0].biases, random=self.sessions[0].random_state, epoch=self._epoch,
            first=self._first, epoch_counters=self._epoch_counters, totals=self._totals[0],
            mismatches=self._differing(states) if len(states) > 1 else None, wall_s=self._wall)

    def _differing(self, states: list[_State]) -> int:
        differing = self._mismatches
        for counters, state in zip(self._totals[1:], states[1:]):
            differing += state.differing(states[0]) + _differing_counters(counters, self._totals[0])
        return differing

    def test(self) -> Result:
        """What the training came to."""
        options, dataset = self._options, self._dataset
        count = _test_samples(options, dataset)
        images, labels = dataset.test_images[:count], dataset.test_labels[:count]
        targets, tests = wanted(options, labels, dataset.classes), []
        for session in self.sessions:
            tests.append(session.test(images, targets, self._stop))
            if self._stop():
                raise Interrupted(self._keeper.path)
        correct = tests[0].correct
        if options.loss == "mse":
            found = classified(self.sessions[0].predict(images), dataset.classes)
            correct = int(np.count_nonzero(found == labels))
        states = [_State(*session.download()) for session in self.sessions]
        differing = self._differing(states) + sum(
            _differing_counters(test, tests[0]) for test in tests[1:])
        totals = self._totals[0]
        return Result(
            options=options, samples=self._samples,
            train_loss=self._epoch_counters.loss * self._loss_unit / self._samples,
            test_samples=count, test_accuracy=correct / count, cycles=totals.cycles,
            saturations=dict(zip(SATURATIONS, totals.saturations)),
            skipped=totals.skipped / (options.epochs * math.ceil(self._samples / options.batch)),
            mismatches=differing if len(states) > 1 else None, wall_s=self._wall,
            weights=states[0].weights, biases=states[0].biases)


def orders(options: Options, available: int, samples: int,
           skip: int = 0) -> Iterator[npt.NDArray[np.int64]]:
    """The samples of each epoch, in their order: a function of the seed alone.

    ``samples`` of ``available`` are chosen; ``skip`` epochs lie behind.
    """
    rng = np.random.default_rng((options.seed, 1))
    for epoch in range(skip + options.epochs):
        order = rng.permutation(available)[:samples]
        if epoch >= skip:
            yield order


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
             (one.samples, other.samples), (one.skipped, other.skipped),
             *zip(one.saturations, other.saturations)]
    return sum(a != b for a, b in pairs)
