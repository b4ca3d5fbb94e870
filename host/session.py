"""One device with one compiled network in it: parameters up and down, chunks of samples through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tangente.golden.isa import LOGIT_FRACTION

from .compiler import Chunk, Compiled
from .device import PAGE, Buffer, Device
from .driver import Counters, Driver
from .scales import Rate
from .targets import Targets, targets_of

__all__ = ["Session", "buffer_beats", "ddr_bytes", "random_state"]

Memory = npt.NDArray[np.int16]


def random_state(seed: int) -> int:
    """State of the random generator, 64 bits and not zero, at first; ``seed`` has 32 bits."""
    # An odd multiplier spreads the seeds.
    return (seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64) or 1


def _sizes(compiled: Compiled, chunk_batches: int) -> tuple[int, int, int, int, int]:
    """Bytes of the buffers: inputs, targets (one batch more than used), weights, biases, logits."""
    layout, config = compiled.layout, compiled.config
    batches = chunk_batches + 1
    return (8 * batches * layout.batch_beats, 8 * batches * layout.target_beats,
            8 * config.weight_words * config.beats_per_word, 8 * config.bias_pairs,
            8 * chunk_batches * layout.batch * layout.logit_stride)


def ddr_bytes(compiled: Compiled, chunk_batches: int) -> int:
    """DDR that a session takes."""
    return sum(-(-size // PAGE) * PAGE for size in _sizes(compiled, chunk_batches))


def buffer_beats(compiled: Compiled, chunk_batches: int) -> tuple[int, int]:
    """DDR addresses, in beats, of a session's inputs and targets on a device of its own."""
    return 0, -(-_sizes(compiled, chunk_batches)[0] // PAGE) * PAGE // 8


class Session:
    """Programs of one network on one device.

    Parameters
    ----------
    compiled : the network.
    device : an open one of the same configuration.
    chunk_batches : batches that one start takes at most.
    timeout_s : for one start.

    Raises
    ------
    IncompatibleDevice
        If the device is another engine.
    """

    def __init__(self, compiled: Compiled, device: Device, *, chunk_batches: int,
                 timeout_s: float = 1200.0) -> None:
        self.compiled = compiled
        self.device = device
        self.driver = Driver(device)
        self._chunk_batches = chunk_batches
        self._timeout_s = timeout_s
        self._whole = False
        self._inputs, self._targets, self._weights, self._biases, self._logits = (
            device.allocate(size) for size in _sizes(compiled, chunk_batches))

    def upload(self, slots: Memory, biases: Memory, seed: int) -> None:
        """Begin: :meth:`restore` with the random generator set from ``seed`` of 32 bits."""
        self.restore(slots, biases, random_state(seed))

    def restore(self, slots: Memory, biases: Memory, random: int) -> None:
        """Fill the weight memory (weight_words, 2 x lanes) and the bias memory (bias_pairs, 2, 2),
        and set the random generator's state, 64 bits."""
        self._whole = True
        for buffer, memory in ((self._weights, slots), (self._biases, biases)):
            buffer.array[:] = np.ascontiguousarray(memory, "<i2").view(np.uint8).ravel()
            self.device.to_device(buffer)
        self.driver.seed(random)
        self._run(self.compiled.setup(self._weights.beat, self._biases.beat))

    def download(self) -> tuple[Memory, Memory]:
        """The weight and bias memories, whole, as :meth:`upload` takes them."""
        self._run(self.compiled.readout(self._weights.beat, self._biases.beat))
        config = self.compiled.config

        def words(buffer: Buffer) -> Memory:
            self.device.from_device(buffer)
            return buffer.array.view("<i2").astype(np.int16)

        return (words(self._weights).reshape(config.weight_words, 2 * config.lanes),
                words(self._biases).reshape(config.bias_pairs, 2, 2))

    @property
    def random_state(self) -> int:
        """State of the random generator, as :meth:`restore` takes it."""
        return self.driver.random_state

    def train(self, images: npt.NDArray[np.uint8], labels: Targets, rate: Rate,
              stop: Callable[[], bool] | None = None) -> Counters:
        """Train on at most ``chunk_batches`` batches of images and labels.

        Parameters
        ----------
        images : uint8, (samples, inputs).
        labels : integers, (samples,), from 0 on. For the loss "mse" also real targets, (samples,
            outputs), within the logits' -32 to 32 and rounded to their 10 fraction bits; integers
            become one-hot targets, or, with one output, the targets 0 and 1.
        rate : the learning rate.
        stop : called some times a second. When it says True, training ends with the batch that is
            computed: ``Counters.samples`` says how many were trained on. Bits and counters are
            those of a training on so many.

        Raises
        ------
        ValueError
            If an array is not as said, or too long.
        RuntimeError
            If the engine holds no whole network, because none was uploaded or a program failed.
        DeviceTimeout, EngineFault
            As :meth:`tangente.host.driver.Driver.run`.
        """
        words = self.compiled.training(self._fill(images, labels), rate)
        return self._run(words, stop)

    def test(self, images: npt.NDArray[np.uint8], labels: Targets,
             stop: Callable[[], bool] | None = None) -> Counters:
        """Counters of any number of samples, fewer if ``stop`` says True; nothing is learnt.

        The loss "mse" counts no hits: :meth:`predict` and compare.
        Arguments and errors are those of :meth:`train`.
        """
        step = self._chunk_batches * self.compiled.layout.batch
        total = Counters()
        _check_any(images)
        for first in range(0, len(images), step):
            chunk = self._fill(images[first:first + step], labels[first:first + step])
            total += self._run(self.compiled.testing(chunk), stop)
            if stop is not None and stop():
                break
        return total

    def predict(self, images: npt.NDArray[np.uint8]) -> Memory:
        """The logits, int16 with 10 fraction bits, (samples, outputs), of any number of samples.

        Errors are those of :meth:`train`.
        """
        layout, outputs = self.compiled.layout, self.compiled.network.layers[-1].outputs
        step = self._chunk_batches * layout.batch
        parts = []
        _check_any(images)
        for first in range(0, len(images), step):
            part = images[first:first + step]
            chunk = self._fill(part, np.zeros(len(part), np.uint8))
            self._run(self.compiled.predicting(chunk, self._logits.beat))
            self.device.from_device(self._logits)
            # A beat has two logits and two zeros. The next part comes into the same buffer.
            beats = self._logits.array.view("<i2").reshape(-1, layout.logit_stride, 4)
            logits = beats[:len(part), :, :2].astype(np.int16)
            parts.append(logits.reshape(len(part), -1)[:, :outputs])
        return np.concatenate(parts)

    def _fill(self, images: npt.NDArray[np.uint8], labels: Targets) -> Chunk:
        layout = self.compiled.layout
        units = self._units(images, labels)
        samples = len(images)
        if not 1 <= samples <= self._chunk_batches * layout.batch:
            raise ValueError(f"samples must be between 1 and {self._chunk_batches * layout.batch}, "
                             f"not {samples!r}")
        inputs = self._inputs.array.reshape(-1, 8 * layout.sample_beats)
        inputs[:samples, :images.shape[1]] = images
        targets = self._targets.array.view("<i2").reshape(-1, 4 * layout.target_beats)
        for batch, first in enumerate(range(0, samples, layout.batch)):
            part = units[first:first + layout.batch].ravel()
            targets[batch, :len(part)] = part
        self.device.to_device(self._inputs)
        self.device.to_device(self._targets)
        return Chunk(samples, self._inputs.beat, self._targets.beat)

    def _units(self, images: npt.NDArray[np.uint8], labels: Targets) -> npt.NDArray[np.integer]:
        """What the target memory holds of ``labels``, when they and ``images`` are in order."""
        layers = self.compiled.network.layers
        outputs = layers[-1].outputs
        _check_images(images, layers[0].inputs)
        if self.compiled.network.options.loss == "softmax":
            _check_labels(labels, len(images), outputs)
            return labels.astype(np.int16)
        if not np.issubdtype(labels.dtype, np.floating):
            _check_labels(labels, len(images), max(outputs, 2))
            labels = targets_of(labels.astype(np.int64), 2, outputs)
        if labels.shape != (len(images), outputs):
            raise ValueError(f"targets must have the shape ({len(images)}, {outputs}), "
                             f"not {labels.shape!r}")
        units = np.rint(labels.astype(np.float64) * (1 << LOGIT_FRACTION))
        # So written, NaN is refused, too.
        if len(labels) and not -1 << 15 <= units.min() <= units.max() < 1 << 15:
            raise ValueError(f"targets must lie between -32 and 32 - 2^-{LOGIT_FRACTION}, not from "
                             f"{labels.min()} to {labels.max()}")
        return units.astype(np.int16)

    def _run(self, words: list[int], stop: Callable[[], bool] | None = None) -> Counters:
        if not self._whole:
            raise RuntimeError("the engine holds no whole network: upload one, also after a "
                               "program that failed or was interrupted")
        self._whole = False
        counters = self.driver.run(words, timeout_s=self._timeout_s, stop=stop,
                                   ending=self.compiled.ending(words) if stop else None)
        self._whole = True
        return counters


def _check_any(images: npt.NDArray[np.uint8]) -> None:
    if len(images) == 0:
        raise ValueError("samples must be at least 1, not 0")


def _check_images(images: npt.NDArray[np.uint8], inputs: int) -> None:
    if images.dtype != np.uint8:
        raise ValueError(f"images must be of type uint8, not {images.dtype}")
    if images.ndim != 2 or images.shape[1] != inputs:
        raise ValueError(f"images must have the shape (samples, {inputs}), not {images.shape!r}")


def _check_labels(labels: Targets, samples: int, classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, not {labels.dtype}")
    if labels.shape != (samples,):
        raise ValueError(f"labels must have the shape ({samples},), not {labels.shape!r}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must lie between 0 and {classes - 1}, "
                         f"not from {labels.min()} to {labels.max()}")
