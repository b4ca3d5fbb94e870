"""What to train, and how: the program-time choices of one run."""

from __future__ import annotations

import dataclasses

from tangente.golden.config import PRESETS, Config, preset

__all__ = ["ACCUMULATOR_BITS", "ALGORITHMS", "DEVICES", "FEEDBACKS", "LOSSES", "UPDATES",
           "Options"]

#: Devices that :func:`tangente.host.device.open_device` opens.
DEVICES = ("golden", "sim")

#: Accumulator bits of the event update where none are asked for, by code bits. 2 + 5 bits is the
#: smallest state that trains like 16 bits; a finer code wastes less by a wide accumulator.
ACCUMULATOR_BITS = {2: 5, 3: 5, 4: 5}
_OTHER_ACCUMULATOR_BITS = 6
#: What makes the errors of hidden layers; and where feedback alignment's matrices are.
ALGORITHMS = ("dpfm", "bp", "fa")
FEEDBACKS = ("memory", "lfsr")
#: Update rules; those of the second line keep a state beside or below the code.
UPDATES = ("nearest", "stochastic",
           "event", "master")
_STATEFUL = UPDATES[2:]
#: Softmax with cross-entropy, and (half the) squared error summed over linear outputs.
LOSSES = ("softmax", "mse")
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
    algorithm : "dpfm" (forward, neuron registers), "bp" (backpropagation) or "fa" (feedback
        alignment: errors go back through fixed random matrices, Lillicrap et al. 2016).
    feedback : of fa, where its matrices are: "memory" (drawn like the weights, beside them) or
        "lfsr" (signs that the engine's random generator makes as they are used).
    layers : widths from the inputs to the outputs; two or more.
    registers : gradient registers a hidden neuron keeps (dpfm); 0 keeps all.
    output_registers : the same for output neurons; as ``registers`` by default.
    granularity : "neuron" (a register's id is a neuron) or "weight" (it is a weight: the
        original's).
    banks : registers for the derivatives by the weights of the first layer, the second, ...; the
        last bank is for all layers that are left. Weight granularity only; they add up to
        ``registers``. By default three quarters for the first layer, the rest for the others.
    own_free : a neuron's derivatives by its own weights take no register (weight granularity).
    quantisation : "symm" (codes are odd about zero) or "asymm" (2^n levels without a zero).
    bits : bits n of a weight's code, 2 to 16.
    accumulator_bits : bits m of the accumulator beside it, or of the master below it; 0 for the
        rules without such a state.
    update : "nearest", "stochastic", "event" or "master", see :mod:`tangente.golden.update`.
    skip_below : a batch whose largest output error, 0 to 1, is smaller is not learnt from.
    activation : "relu" or "sigmoid", of the hidden layers.
    loss : "softmax" (with cross-entropy) or "mse" (squared error of the logits; a class is one
        output that is 1, or, with one output only, a level from 0 to 1). The gradient is that of
        half the squared error; an error beyond +-1 counts as 1.
    scales : for each layer of weights, where its binary points stand: the gain (the codes' full
        scale is 2^gain, -4 to 3), and of its activations and errors the fraction bits (0 to 10; 4
        to 12). By default the table in :mod:`tangente.host.scales`; see
        :mod:`tangente.host.calibration`.
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
    feedback: str | None = None
    layers: tuple[int, ...] = (64, 32, 32, 10)
    registers: int = 16
    output_registers: int | None = None
    granularity: str = "neuron"
    banks: tuple[int, ...] | None = None
    own_free: bool = True
    quantisation: str = "symm"
    bits: int = 16
    accumulator_bits: int | None = None
    update: str = "nearest"
    skip_below: float = 0.0
    activation: str = "relu"
    loss: str = "softmax"
    scales: tuple[tuple[int, int, int], ...] | None = None
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
        _among("algorithm", self.algorithm, ALGORITHMS)
        if self.algorithm == "fa":
            if self.feedback is None:
                object.__setattr__(self, "feedback", FEEDBACKS[0])
            assert self.feedback is not None
            _among("feedback", self.feedback, FEEDBACKS)
        elif self.feedback is not None:
            raise ValueError(f"feedback must be left out for {self.algorithm}, "
                             f"not {self.feedback!r}")
        _among("update", self.update, UPDATES)
        _among("granularity", self.granularity, ("neuron", "weight"))
        _among("quantisation", self.quantisation, ("symm", "asymm"))
        _among("activation", self.activation, ("relu", "sigmoid"))
        _among("loss", self.loss, LOSSES)
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
        if self.quantisation == "asymm" and self.bits > 15:
            raise ValueError("bits must be at most 15 for asymm quantisation, whose weights have "
                             f"one bit more, not {self.bits!r}")
        self._check_update()
        self._check_banks()
        self._check_scales()
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
        if not 0 <= self.skip_below <= 1:
            raise ValueError(f"skip_below must lie between 0 and 1, not {self.skip_below!r}")
        if self.lr is None or self.lr_decay is None:
            from .recipes import rate

            lr, decay = rate(self)
            if self.lr is None:
                object.__setattr__(self, "lr", lr)
            if self.lr_decay is None:
                object.__setattr__(self, "lr_decay", decay)

    def _check_update(self) -> None:
        stateful = self.update in _STATEFUL
        if stateful and self.bits > 15:
            raise ValueError(f"bits must be at most 15 for the {self.update} update, which needs "
                             f"an accumulator in the same slot, not {self.bits!r}")
        most = min(12, 16 - self.bits)
        if self.accumulator_bits is None:
            wanted = ACCUMULATOR_BITS.get(self.bits, _OTHER_ACCUMULATOR_BITS)
            object.__setattr__(self, "accumulator_bits", min(wanted, most) if stateful else 0)
        assert self.accumulator_bits is not None
        if not stateful and self.accumulator_bits:
            raise ValueError(f"accumulator_bits must be 0 for the {self.update} update, "
                             f"not {self.accumulator_bits!r}")
        if stateful and not 1 <= self.accumulator_bits <= most:
            raise ValueError(f"accumulator_bits must lie between 1 and {most} for the "
                             f"{self.update} update of {self.bits}-bit weights, "
                             f"not {self.accumulator_bits!r}")

    def _check_scales(self) -> None:
        if self.scales is None:
            return
        object.__setattr__(self, "scales", tuple(tuple(layer) for layer in self.scales))
        limits = ((-4, 3), (0, 10), (4, 12))
        if len(self.scales) != len(self.layers) - 1 or any(
                len(layer) != 3 or any(not low <= value <= high
                                       for value, (low, high) in zip(layer, limits))
                for layer in self.scales):
            raise ValueError(
                f"scales must be (gain -4 to 3, activation 0 to 10, error 4 to 12) for each of the "
                f"{len(self.layers) - 1} layers, not {self.scales!r}")

    def _check_banks(self) -> None:
        if not (self.algorithm == "dpfm" and self.granularity == "weight"):
            if self.granularity == "weight":
                raise ValueError(f'granularity must be "neuron" for {self.algorithm}, which has no '
                                 f"registers, not {self.granularity!r}")
            if self.banks is not None:
                raise ValueError("banks must be left out for neuron registers, "
                                 f"not {self.banks!r}")
            if not self.own_free:
                raise ValueError("own_free must be true for neuron registers, "
                                 f"not {self.own_free!r}")
            return
        most = self.config.toper_registers
        if not 1 <= self.registers <= most:
            raise ValueError(f"registers must lie between 1 and {most}, those of preset "
                             f"{self.preset}'s topers, not {self.registers!r}")
        if self.output_registers != self.registers:
            raise ValueError("output_registers must be as registers for weight registers, "
                             f"not {self.output_registers!r}")
        if len(self.layers) == 2 and not self.own_free:
            raise ValueError("own_free must be true for a network without hidden layers, "
                             f"not {self.own_free!r}")
        if self.banks is None:
            rest = self.registers // 4 if len(self.layers) > 3 else 0
            object.__setattr__(self, "banks", (self.registers - rest, rest)
                               if rest else (self.registers,))
        assert self.banks is not None
        object.__setattr__(self, "banks", tuple(self.banks))
        if not self.banks or min(self.banks) < 1 or sum(self.banks) != self.registers:
            raise ValueError(f"banks must be one or more numbers from 1 that add up to the "
                             f"{self.registers} registers, not {self.banks!r}")

    @property
    def weight_registers(self) -> bool:
        """DPFM with weight registers."""
        return self.algorithm == "dpfm" and self.granularity == "weight"

    def bank(self, layer: int) -> int:
        """The bank of the derivatives by the weights of ``layer``, from 0."""
        assert self.banks is not None
        return min(layer, len(self.banks) - 1)

    @property
    def config(self) -> Config:
        """The build-time configuration that ``preset`` names."""
        return preset(self.preset)


def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
