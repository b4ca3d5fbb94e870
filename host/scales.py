"""Where the binary points stand: fraction bits of every tensor, and the shifts that follow.

A stored integer v of a tensor with f fraction bits is worth v / 2^f. All choices stand here:

=================  =======================  ====================================================
tensor             fraction bits            why
=================  =======================  ====================================================
input              8                        a byte is a fraction of 256
weight             15 - gain                a code lies in [-1, 1) as 16 bits; 2^gain scales it
bias               12                       range +-8
logit, z           10                       fixed by the loss unit; range +-32
activation         E - 4 (ReLU), E - 1      ReLU 0 to 8; the sigmoid's table fixes its own
register (dz/dz)   E - 2 (ReLU), E          range +-2; sigmoids' slopes are at most 1/4
output error       E - 1                    |p - y| is at most 1, and |z - target| is cut there;
                                            includes the rate's mantissa
hidden error       E                        range +-1/2: products of small weights
=================  =======================  ====================================================

with E = ``element_bits``. Learning rate: lr / batch = mantissa / 256 x 2^-rate. The mantissa (128
to 255) multiplies the output error before its only rounding, the power of two is part of every
update's shift. So an update moves a weight by lr / batch x sum of error x input, however wide its
code is: for a code of small gain that is the low-bit rule "a code moves by lr x g / gain".
"""

from __future__ import annotations

import dataclasses
import math

from tangente.golden.activation import SLOPE_FRACTION
from tangente.golden.isa import LOGIT_FRACTION, SHIFT_MAX, SIGN_SIZE

from .options import Options

__all__ = ["Rate", "Scales"]

INPUT_FRACTION = 8
BIAS_FRACTION = 12
#: Fraction bits of p - y, and of z - target.
_RAW_ERROR_FRACTION = {"softmax": 15, "mse": LOGIT_FRACTION}
_MANTISSA_BITS = 8
_SIGN_FRACTION = SIGN_SIZE.bit_length() - 1
_SIGMOID_Z_FRACTION = 6
#: Fraction bits that a hidden error keeps until it is multiplied by a sigmoid's slope.
_SLOPE_GUARD = 5

#: How far the span of a layer's weights is above the deviation of its initial weights,
#: sqrt(2 / inputs), in powers of two by code bits. Few codes must be small steps: 2-bit weights of
#: 784-100-100-10 are 0 or +-1/8 in the first layer and +-1/4 above. The narrow layers' larger steps
#: keep the registers of deeper ids as large as a neuron's own (DPFM 2 + 6 bits: 96.5 % after 3
#: epochs; 94.9 % with +-1/8 everywhere). Wider codes span +-2.
_SPANS = {2: 2, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3, 8: 3}
_LARGEST_GAIN = 1
#: Biases have 16 bits; beside weights of few bits they take this power of two less of the rate.
_BIAS_RATE = {2: 2, 3: 2, 4: 1}


@dataclasses.dataclass(frozen=True)
class Rate:
    """A learning rate as the engine applies it: mantissa / 256 x 2^-shift an error sum."""

    mantissa: int
    shift: int


@dataclasses.dataclass(frozen=True)
class Scales:
    """The fraction bits and shifts of one network.

    Parameters
    ----------
    options : bits, activation, loss, batch and, where given, scales are used.
    element_bits : E of the configuration.
    """

    options: Options
    element_bits: int

    def gain(self, layer: int) -> int:
        """The full scale of a layer's codes is 2^gain."""
        if self.options.weight_registers:
            # Layers that share a bank share the scale of their updates, and so their gain.
            bank = self.options.bank(layer)
            layers = range(len(self.options.layers) - 1)
            return max(self._gain(other) for other in layers if self.options.bank(other) == bank)
        return self._gain(layer)

    def _gain(self, layer: int) -> int:
        if self.options.scales is not None:
            return self.options.scales[layer][0]
        if self.options.bits not in _SPANS:
            return _LARGEST_GAIN
        deviation = round(0.5 * math.log2(2 / self.options.layers[layer]))
        return min(deviation + _SPANS[self.options.bits], _LARGEST_GAIN)

    def weight(self, layer: int) -> int:
        """Fraction bits of a layer's codes, left-aligned in 16 bits."""
        return 15 - self.gain(layer)

    @property
    def _sigmoid(self) -> bool:
        return self.options.activation == "sigmoid"

    def activation(self, layer: int) -> int:
        """Fraction bits of the activations of hidden layer ``layer``."""
        if self._sigmoid:
            return self.element_bits - 1
        if self.options.scales is not None:
            return self.options.scales[layer][1]
        return self.element_bits - 4

    def input(self, layer: int) -> int:
        """Fraction bits of what layer ``layer`` (from 0) multiplies."""
        return self.activation(layer - 1) if layer else INPUT_FRACTION

    @property
    def register(self) -> int:
        """Fraction bits of a gradient register."""
        return self.element_bits - (0 if self._sigmoid else 2)

    def error(self, layer: int) -> int:
        """Fraction bits of the errors of layer ``layer``."""
        if layer == len(self.options.layers) - 2:
            return self.element_bits - 1
        if self.options.scales is not None:
            return self.options.scales[layer][2]
        return self.element_bits

    @property
    def slope(self) -> int:
        """Fraction bits of a slope."""
        return SLOPE_FRACTION if self._sigmoid else 0

    # --- shifts of the instructions ---------------------------------------------------------------

    def forward(self, layer: int) -> tuple[int, int, int]:
        """SHIFT, SHIFT2, B_SHIFT of a layer's forward product."""
        total = self.weight(layer) + self.input(layer)
        z = _SIGMOID_Z_FRACTION
        if not self._sigmoid and layer < len(self.options.layers) - 2:
            z = self.activation(layer)
        return total - LOGIT_FRACTION, LOGIT_FRACTION - z, total - BIAS_FRACTION

    def backward(self, layer: int) -> tuple[int, int]:
        """SHIFT, SHIFT2 of the errors that layer ``layer`` sends to the one below (BP, FA)."""
        total = self.feedback(layer) + self.error(layer) - self.error(layer - 1)
        guard = min(_SLOPE_GUARD, total) if self._sigmoid else 0
        return total - guard, self.slope + guard

    def feedback(self, layer: int) -> int:
        """Fraction bits of the matrix by which the errors of ``layer`` are multiplied.

        Random signs are as large as the initial weights: a power of two near sqrt(2 / inputs).
        """
        if self.options.feedback != "lfsr":
            return self.weight(layer)
        return _SIGN_FRACTION + max(1, round(0.5 * math.log2(self.options.layers[layer] / 2)))

    def registers(self, layer: int) -> tuple[int, int]:
        """SHIFT (ids of the registers below) and SHIFT2 (own ids) of a layer's DRV."""
        shift = self.weight(layer) + self.slope
        return shift, shift - self.register

    def collect(self, layer: int) -> int:
        """SHIFT of a hidden layer's errors from the output's registers (DPFM)."""
        return self.register + self.error(len(self.options.layers) - 2) - self.error(layer)

    # --- weight registers -------------------------------------------------------------------------

    def list_entry(self, layer: int, bank: int) -> int:
        """Fraction bits of a layer's weight registers in one bank.

        Derivatives by weights are inputs, then products of inputs and weights, of which those that
        learn most grow beyond 1: registers by the first layer's weights get a bit more of range in
        each layer (90.6 % on MNIST in 4 epochs; with +-1 throughout it diverges in the third).
        """
        if self._sigmoid:
            # All inputs are fractions, and so are all derivatives.
            return self.element_bits - 1
        sources = [source for source in range(layer + 1) if self.options.bank(source) == bank]
        if len(sources) > 1 or sources[0] > 0:
            return self.element_bits - 4
        return max(INPUT_FRACTION - layer, self.element_bits - 4)

    def topers(self, layer: int, bank: int, lists: bool) -> tuple[int, int, int, int]:
        """SHIFT, SHIFT2, B_SHIFT, E_SHIFT of a layer's TOP for one bank.

        ``lists`` : the layer below has registers there.
        """
        result = self.list_entry(layer, bank)
        below = self.list_entry(layer - 1, bank) if lists else self.input(layer - 1)
        one = 8 + self.slope
        # A ranked weight carries 8 fraction bits of the slope, of which the products lose as many.
        return (self.weight(layer) + below - result, one,
                8 + max(self.slope - 8, 0) + self.input(layer - 1) - below,
                8 + self.input(layer) - result)

    def scatter(self, layer: int, bank: int, rate: Rate) -> int:
        """SHIFT of SCT over the registers of the output layer ``layer``."""
        source = min(source for source in range(layer + 1) if self.options.bank(source) == bank)
        return self._scatter_base(layer, source) + rate.shift

    def _scatter_base(self, layer: int, source: int) -> int:
        return (self.list_entry(layer, self.options.bank(source)) + self.error(layer)
                - self.weight(source) + self._event_base)

    @property
    def output_error(self) -> int:
        """E_SHIFT: from raw error x mantissa to an element."""
        return (_RAW_ERROR_FRACTION[self.options.loss] + _MANTISSA_BITS
                - self.error(len(self.options.layers) - 2))

    def skip_below(self, rate: Rate) -> int:
        """Output errors, as elements, below which a batch is skipped: in [0, 2^(E-1)]."""
        last = len(self.options.layers) - 2
        return math.ceil(self.options.skip_below * rate.mantissa / 256
                         * (1 << self.error(last)))

    def _update_base(self, layer: int) -> int:
        last = len(self.options.layers) - 2
        if self.options.weight_registers and (layer < last or not self.options.own_free):
            return self._scatter_base(last, layer)
        return (self.input(layer) + self.error(layer) - self.weight(layer) + self._event_base)

    @property
    def _event_base(self) -> int:
        """A code is 2^(16-n) of a slot and worth 2^(m-1) accumulator units."""
        if self.options.update != "event":
            return 0
        assert self.options.accumulator_bits is not None
        return 17 - self.options.bits - self.options.accumulator_bits

    def update(self, layer: int, rate: Rate) -> int:
        """SHIFT of UPD."""
        return self._update_base(layer) + rate.shift

    def bias_update(self, layer: int, rate: Rate) -> int:
        """SHIFT of BUP: gradients carry 8 more bits there."""
        return (self.error(layer) + 8 - BIAS_FRACTION + rate.shift
                + _BIAS_RATE.get(self.options.bits, 0))

    def rate(self, lr: float) -> Rate:
        """The engine's form of a learning rate of the batch's mean gradient.

        Raises
        ------
        ValueError
            If it is larger than the shifts can express.
        """
        per_sample = lr / self.options.batch
        layers = range(len(self.options.layers) - 1)
        least = max([0, *(-self._update_base(layer) for layer in layers),
                     *(-self.bias_update(layer, Rate(0, 0)) for layer in layers)])
        # All rules but the event's shift by the code's place in the slot, too.
        state = (self.options.accumulator_bits or 0) if self.options.update == "master" else 0
        room = SHIFT_MAX - (16 - self.options.bits - state if self.options.update != "event" else 0)
        most = min([*(room - self._update_base(layer) for layer in layers),
                    *(SHIFT_MAX - self.bias_update(layer, Rate(0, 0)) for layer in layers)])
        if per_sample > 2.0 ** -least:
            raise ValueError(f"lr must be at most {2.0 ** -least * self.options.batch:g} for this "
                             f"network, not {lr!r}")
        shift = min(max(math.floor(-math.log2(per_sample)), least), most)
        mantissa = round(per_sample * 2.0 ** shift * 256)
        return Rate(min(max(mantissa, 1), 255), shift)
