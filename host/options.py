"""What to train, and how: the program-time choices of one run."""

from __future__ import annotations

import dataclasses

from tangente.golden.config import PRESETS, Config, preset

__all__ = ["ACCUMULATOR_BITS", "DEVICES", "Options"]

#: Devices that :func:`tangente.host.device.open_device` opens.
DEVICES = ("golden", "sim")

#: Accumulator bits of the event update where none are asked for, by code bits. 2 + 5 bits is the
#: smallest state that trains like 16 bits; a finer code wastes less by a wide accumulator.
ACCUMULATOR_BITS = {2: 5, 3: 5, 4: 5}
_OTHER_ACCUMULATOR_BITS = 6
#: Errors of magnitude 255 of so many samples fit the 16-bit bias gradients.
MAX_BATCH = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """One training run. What is None is filled in from :mod:`tangente.host.recipes`' table.

    Members
    -------
    device : "golden" (NumPy) or "sim" (the compiled RTL).
    preset : build-time configuration, see :data:`tangente.golden.config.PRESETS`.
    dataset : name of the data set; the trainer is given its samples.
    algorithm : "dpfm" (forward, neuron registers) or "bp" (backpropagation).
    layers : widths from the inputs to the outputs; two or more.
    registers : gradient registers a hidden neuron keeps (dpfm); 0 keeps all.
    output_registers : the same for output neurons; as ``registers`` by default.
    bits : bits n of a weight's code, 2 to 16.
    accumulator_bits : bits m of the accumulator beside it; 0 for the nearest rule.
    update : "nearest" or "event".
    activation : "relu" or "sigmoid", of the hidden layers.
    batch : samples an update.
    lr : learning rate of the mean gradient of a batch.
    lr_decay : last part of the run, 0 to 1, in which the rate falls linearly to zero.
    epochs : passes over the training set.
    samples : training samples an epoch; all by default.
    test_samples : test samples; all by default, on the simulated RTL at most 1,000.
    seed : of initial weights, the samples' order and random rounding.

    Raises
    ------
    ValueError
        If one makes no sense, or two do not go together.
    """

    device: str = "golden"
    preset: str = "digits"
    dataset: str = "digits"
    algorithm: str = "dpfm"
    layers: tuple[int, ...] = (64, 32, 32, 10)
    registers: int = 16
    output_registers: int | None = None
    bits: int = 16
    accumulator_bits: int | None = None
    update: str = "nearest"
    activation: str = "relu"
    batch: int = 10
    lr: float | None = None
    lr_decay: float | None = None
    epochs: int = 5
    samples: int | None = None
    test_samples: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        _among("device", self.device, DEVICES)
        _among("preset", self.preset, tuple(PRESETS))
        _among("algorithm", self.algorithm, ("dpfm", "bp"))
        _among("update", self.update, ("nearest", "event"))
        _among("activation", self.activation, ("relu", "sigmoid"))
        if len(self.layers) < 2 or any(not 1 <= width <= 4095 for width in self.layers):
            raise ValueError("layers must be two or more widths between 1 and 4095, "
                             f"not {self.layers!r}")
        if self.output_registers is None:
            object.__setattr__(self, "output_registers", self.registers)
        assert self.output_registers is not None
        for name in ("registers", "output_registers"):
            if not 0 <= getattr(self, name) < 65536:
                raise ValueError(f"{name} must lie between 0 (all) and 65535, "
                                 f"not {getattr(self, name)!r}")
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits must lie between 2 and 16, not {self.bits!r}")
        if self.update == "event" and self.bits > 15:
            raise ValueError("bits must be at most 15 for the event update, which needs an "
                             f"accumulator in the same slot, not {self.bits!r}")
        if self.accumulator_bits is None:
            wanted = ACCUMULATOR_BITS.get(self.bits, _OTHER_ACCUMULATOR_BITS)
            object.__setattr__(self, "accumulator_bits",
                               min(wanted, 16 - self.bits) if self.update == "event" else 0)
        assert self.accumulator_bits is not None
        if self.update == "nearest" and self.accumulator_bits:
            raise ValueError("accumulator_bits must be 0 for the nearest update, "
                             f"not {self.accumulator_bits!r}")
        most = min(12, 16 - self.bits)
        if self.update == "event" and not 1 <= self.accumulator_bits <= most:
            raise ValueError(f"accumulator_bits must lie between 1 and {most} for the event update "
                             f"of {self.bits}-bit weights, not {self.accumulator_bits!r}")
        if not 1 <= self.batch <= MAX_BATCH:
            raise ValueError(f"batch must lie between 1 and {MAX_BATCH}, not {self.batch!r}")
        if self.lr is not None and not 0 < self.lr <= 64:
            raise ValueError(f"lr must be positive and at most 64, not {self.lr!r}")
        if self.lr_decay is not None and not 0 <= self.lr_decay <= 1:
            raise ValueError(f"lr_decay must lie between 0 and 1, not {self.lr_decay!r}")
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs!r}")
        for name in ("samples", "test_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed must lie between 0 and 2^32 - 1, not {self.seed!r}")
        if self.lr is None or self.lr_decay is None:
            from .recipes import rate

            lr, decay = rate(self)
            if self.lr is None:
                object.__setattr__(self, "lr", lr)
            if self.lr_decay is None:
                object.__setattr__(self, "lr_decay", decay)

    @property
    def config(self) -> Config:
        """The build-time configuration that ``preset`` names."""
        return preset(self.preset)


def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
