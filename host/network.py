"""The network as the engine stores it: orientation, weight words, initial slots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tangente.golden.config import Config
from tangente.golden.formats import make_slot, slot_accumulator, slot_code
from tangente.golden.isa import SIGN_SIZE
from tangente.golden.lfsr import signs as signs_of

from .options import Options
from .scales import BIAS_FRACTION, Scales

__all__ = ["Layer", "Network"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One fully connected layer.

    Members
    -------
    index : from 0, the one that reads the inputs.
    inputs, outputs : widths.
    input_major : weights stored as M[input, output]; otherwise as M[output, input].
    word : first weight word.
    words : weight words taken.
    back : first word of the matrix by which the errors below come: the layer's own (bp), a fixed
        one's (fa in memory), or the place whose signs are taken (fa by the generator).
    bias : first bias pair.
    """

    index: int
    inputs: int
    outputs: int
    input_major: bool
    word: int
    words: int
    back: int
    bias: int

    @property
    def p(self) -> int:
        """Elements along the pair dimension of the stored matrix."""
        return self.inputs if self.input_major else self.outputs

    @property
    def q(self) -> int:
        """Elements along the lane dimension."""
        return self.outputs if self.input_major else self.inputs


class Network:
    """Layers with their places in the weight and bias memories.

    The first layer is stored input-major: its inputs come as scalars. The other layers of DPFM with
    neuron registers are output-major, as DRV reads them, those with weight registers input-major,
    as TOP does; BP and FA store each the way that takes fewer words. Behind a layer's words lie
    those of FA's fixed matrix, if it is stored.

    Members
    -------
    layers : in forward order.
    words, bias_pairs : memory taken.
    """

    def __init__(self, options: Options, config: Config) -> None:
        self.options = options
        self.config = config
        self.scales = Scales(options, config.element_bits)
        layers, word, bias = [], 0, 0
        for index, (inputs, outputs) in enumerate(zip(options.layers, options.layers[1:])):
            by_input = math.ceil(inputs / 2) * config.tiles(outputs)
            by_output = math.ceil(outputs / 2) * config.tiles(inputs)
            input_major = (index == 0 or options.weight_registers
                           or options.algorithm != "dpfm" and by_input <= by_output)
            words = by_input if input_major else by_output
            stored = options.feedback == "memory" and index > 0
            layers.append(Layer(index, inputs, outputs, input_major, word, words,
                                word + words if stored else word, bias))
            word += 2 * words if stored else words
            bias += math.ceil(outputs / 2)
        self.layers = tuple(layers)
        self.words = word
        self.bias_pairs = bias

    def initial(self) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
        """The weight memory (weight_words, 2 x lanes) and bias memory (bias_pairs, 2, 2) at first.

        Weights are normal with deviation sqrt(2 / inputs) (He et al. 2015, for ReLU) or
        sqrt(2 / (inputs + outputs)) x 2 (Glorot and Bengio 2010, scaled for the logistic sigmoid),
        rounded to codes; what the rounding leaves goes into the accumulators. Biases are zero. FA's
        stored matrices are drawn like the weights, after them.
        """
        rng = np.random.default_rng(self.options.seed)

        def draw(layer: Layer) -> npt.NDArray[np.float64]:
            deviation = (2 * math.sqrt(2 / (layer.inputs + layer.outputs))
                         if self.options.activation == "sigmoid" else math.sqrt(2 / layer.inputs))
            return rng.normal(0, deviation, (layer.inputs, layer.outputs))

        matrices = [draw(layer) for layer in self.layers]
        stored = self.options.feedback == "memory"
        fixed = [draw(layer) for layer in self.layers[1:]] if stored else []
        return self.pack(matrices, fixed), np.zeros((self.config.bias_pairs, 2, 2), np.int16)

    def quantise(self, weights: npt.NDArray[np.float64], gain: int) -> npt.NDArray[np.int16]:
        """Slots of weights within +-2^gain: the nearest code, the rest in the accumulator."""
        n, m = self.options.bits, self.options.accumulator_bits or 0
        asymm, master = self.options.quantisation == "asymm", self.options.update == "master"
        exact = weights * 2.0 ** (n - 1 - gain) - (0.5 if asymm else 0.0)
        low, high = -(1 << (n - 1)) + (not asymm), (1 << (n - 1)) - 1
        if master:
            # What is cut off is half a code too much: ASYMM's codes stand half a code higher.
            steps = np.floor((exact + 0.5) * 2.0 ** m)
            steps = np.clip(steps, low << m, (high << m) + (1 << m) - 1)
            return (steps.astype(np.int16) << np.int16(16 - n - m)).astype(np.int16)
        code = np.clip(np.rint(exact), low, high)
        rest = np.zeros_like(code)
        if m:
            most = (1 << (m - 1)) - 1
            rest = np.clip(np.rint((exact - code) * 2.0 ** (m - 1)), -most, most)
        return make_slot((code.astype(np.int16) << np.int16(16 - n)).astype(np.int16),
                         rest.astype(np.int16), m)

    def pack(self, matrices: Sequence[npt.NDArray[np.float64]],
             fixed: Sequence[npt.NDArray[np.float64]] = ()) -> npt.NDArray[np.int16]:
        """The weight memory, (weight_words, 2 x lanes), of real matrices (inputs, outputs).

        ``fixed`` are those of FA in memory, from the second layer on.
        """
        lanes = self.config.lanes
        memory = np.zeros((self.config.weight_words, 2 * lanes), np.int16)
        places = [*((layer, layer.word, matrix) for layer, matrix in zip(self.layers, matrices)),
                  *((layer, layer.back, matrix) for layer, matrix in zip(self.layers[1:], fixed))]
        for layer, word, matrix in places:
            slots = self.quantise(matrix, self.scales.gain(layer.index))
            if not layer.input_major:
                slots = slots.T
            rows, tiles = math.ceil(layer.p / 2), self.config.tiles(layer.q)
            padded = np.zeros((2 * rows, tiles * lanes), np.int16)
            padded[:layer.p, :layer.q] = slots
            words = padded.reshape(rows, 2, tiles, lanes).transpose(0, 2, 1, 3)
            memory[word:word + layer.words] = words.reshape(-1, 2 * lanes)
        return memory

    def slots(self, memory: npt.NDArray[np.int16], layer: Layer) -> npt.NDArray[Any]:
        """The slots (inputs, outputs) of ``layer`` in a weight memory."""
        return self._matrix(memory[layer.word:layer.word + layer.words], layer)

    def _matrix(self, words: npt.NDArray[Any], layer: Layer) -> npt.NDArray[Any]:
        """Words as (inputs, outputs)."""
        rows, tiles = math.ceil(layer.p / 2), self.config.tiles(layer.q)
        matrix = words.reshape(rows, tiles, 2, self.config.lanes).transpose(0, 2, 1, 3)
        matrix = matrix.reshape(2 * rows, -1)[:layer.p, :layer.q]
        return matrix if layer.input_major else matrix.T

    def weights(self, memory: npt.NDArray[np.int16],
                layer: Layer) -> npt.NDArray[np.float64]:
        """The real weights (inputs, outputs) of ``layer``, without the accumulators."""
        return self._codes(self.slots(memory, layer), layer)

    def _codes(self, slots: npt.NDArray[np.int16], layer: Layer) -> npt.NDArray[np.float64]:
        code = slot_code(slots, self.options.bits).astype(np.float64)
        if self.options.quantisation == "asymm":
            code += 1 << (15 - self.options.bits)
        return code / 2.0 ** self.scales.weight(layer.index)

    def feedback(self, memory: npt.NDArray[np.int16],
                 layer: Layer) -> npt.NDArray[np.float64]:
        """The real matrix (inputs, outputs) by which errors of ``layer`` go to the one below."""
        if self.options.feedback == "lfsr":
            signs = signs_of(layer.back, layer.words, self.config.lanes)
            return (self._matrix(signs, layer) * float(SIGN_SIZE)
                    / 2.0 ** self.scales.feedback(layer.index))
        return self._codes(self._matrix(memory[layer.back:layer.back + layer.words], layer), layer)

    def accumulators(self, memory: npt.NDArray[np.int16], layer: Layer) -> npt.NDArray[np.int16]:
        """The accumulators (inputs, outputs) of ``layer``."""
        return slot_accumulator(self.slots(memory, layer), self.options.accumulator_bits or 0)

    def biases(self, memory: npt.NDArray[np.int16], layer: Layer) -> npt.NDArray[np.float64]:
        """The real biases (outputs,) of ``layer`` in a bias memory (bias_pairs, 2, 2)."""
        pairs = memory[layer.bias:layer.bias + math.ceil(layer.outputs / 2), :, 0]
        return pairs.reshape(-1)[:layer.outputs].astype(np.float64) / 2.0 ** BIAS_FRACTION
