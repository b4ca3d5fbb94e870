"""One device with one compiled network in it: parameters up and down, chunks of samples through."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .compiler import Chunk, Compiled
from .device import PAGE, Buffer, Device
from .driver import Counters, Driver
from .scales import Rate

__all__ = ["Session", "buffer_beats", "ddr_bytes"]

Memory = npt.NDArray[np.int16]


def _sizes(compiled: Compiled, chunk_batches: int) -> tuple[int, int, int, int]:
    """Bytes of the buffers: inputs, targets (one batch more than used), weights, biases."""
    layout, config = compiled.layout, compiled.config
    batches = chunk_batches + 1
    return (8 * batches * layout.batch_beats, 8 * batches * layout.target_beats,
            8 * config.weight_words * config.beats_per_word, 8 * config.bias_pairs)


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
        self._inputs, self._targets, self._weights, self._biases = (
            device.allocate(size) for size in _sizes(compiled, chunk_batches))

    def upload(self, slots: Memory, biases: Memory, seed: int) -> None:
        """Fill the weight memory (weight_words, 2 x lanes) and the bias memory (bias_pairs, 2, 2),
        and set the random generator from ``seed``, any integer of 32 bits."""
        for buffer, memory in ((self._weights, slots), (self._biases, biases)):
            buffer.array[:] = np.ascontiguousarray(memory, "<i2").view(np.uint8).ravel()
            self.device.to_device(buffer)
        # An odd multiplier spreads the seeds over 64 bits; the state must not be zero.
        self.driver.seed((seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64) or 1)
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

    def train(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer],
              rate: Rate) -> Counters:
        """Train on at most ``chunk_batches`` batches of images (samples, inputs) and labels."""
        return self._run(self.compiled.training(self._fill(images, labels), rate))

    def test(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> Counters:
        """Counters of any number of samples; nothing is learnt."""
        step = self._chunk_batches * self.compiled.layout.batch
        total = Counters()
        for first in range(0, len(images), step):
            chunk = self._fill(images[first:first + step], labels[first:first + step])
            total += self._run(self.compiled.testing(chunk))
        return total

    def _fill(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> Chunk:
        layout, samples = self.compiled.layout, len(images)
        if not 1 <= samples <= self._chunk_batches * layout.batch:
            raise ValueError(f"samples must be between 1 and {self._chunk_batches * layout.batch}, "
                             f"not {samples!r}")
        inputs = self._inputs.array.reshape(-1, 8 * layout.sample_beats)
        inputs[:samples, :images.shape[1]] = images
        targets = self._targets.array.view("<i2").reshape(-1, 4 * layout.target_beats)
        for batch, first in enumerate(range(0, samples, layout.batch)):
            part = labels[first:first + layout.batch]
            targets[batch, :len(part)] = part
        self.device.to_device(self._inputs)
        self.device.to_device(self._targets)
        return Chunk(samples, self._inputs.beat, self._targets.beat)

    def _run(self, words: list[int]) -> Counters:
        return self.driver.run(words, timeout_s=self._timeout_s)
