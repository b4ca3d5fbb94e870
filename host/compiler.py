"""From a network to the engine's programs.

A training program runs over all batches of a chunk that lies in DDR. For each batch: forward
products of all layers and all samples, output errors, errors of the hidden layers, then the updates
of weights and biases. The hidden errors come from products with the transposed weights (BP), with
fixed random matrices in their place (FA) or, sample by sample, from gradient registers (DPFM): each
layer's neurons combine the registers of the layer below and keep their K largest (Op.DRV, Op.SEL),
and the outputs' registers, weighted by the output errors, are the errors (Op.MVR). A sample without
an output error that is left after rounding has no registers, nor has an output without one.

The next batch is loaded while one is computed, if the memories hold two. A last batch may be
shorter; its update uses the same rate a sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tangente.golden.config import Config
from tangente.golden.flow import GROUP, SCANNED_SAMPLES
from tangente.golden.isa import (
    SHIFT_MAX,
    SPECULATIVE_MAX,
    Flag,
    Op,
    Post,
    Reg,
    Space,
    decode,
    encode,
)

from .assembler import Label, Program
from .conventions import (
    ACTIVATIONS,
    BATCHES,
    COUNT,
    DDR_INPUT,
    DDR_LOGITS,
    DDR_TARGET,
    INPUT_PAIRS,
    LAST_ACTIVATIONS,
    LAST_INPUT,
    NEXT_INPUT,
    NEXT_TARGET,
    NO_FLAGS,
    PAIR_RECORD,
    RULES,
    THRESHOLD,
)
from .gradient_registers import GradientRegisters
from .layout import Layout, check_capacity
from .network import Layer, Network
from .options import Options
from .scales import Rate

__all__ = ["Chunk", "Compiled", "compile_network"]

#: So few rows of weights, or errors of a sample, that to list the samples which have errors costs
#: more than it saves.
_FEW = 8

#: Algorithms that leave nearly every sample an error: after an epoch of MNIST by FA, each.
_SELDOM_SURE = ("fa",)


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Samples in DDR that one start trains on or tests.

    Members
    -------
    samples : how many, at least 1.
    inputs : DDR address, in beats from DDR_BASE, of the inputs, ``Layout.sample_beats`` each.
    targets : that of the targets: ``Layout.target_beats`` a batch, 16 bits each.

    Where batches are loaded ahead, one batch beyond the last is read, and must be within DDR.
    """

    samples: int
    inputs: int
    targets: int


class Compiled:
    """A network laid out for a configuration, and its programs.

    Members
    -------
    network, layout : what the programs compute, and where.

    Raises
    ------
    CapacityError
        If it does not fit.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.layout = Layout(network)
        self.config = network.config
        self._gradient_registers = GradientRegisters(self.layout, network)
        assert network.options.lr is not None
        rate = network.scales.rate(network.options.lr)
        # A whole batch and a shorter one: the longest program.
        words = len(self.training(Chunk(max(2 * network.options.batch - 1, 1), 0, 0), rate))
        check_capacity(network, (("program memory", words, self.config.program_words, "words"),))

    # --- programs ---------------------------------------------------------------------------------

    def setup(self, weights: int, biases: int) -> list[int]:
        """Load the whole weight and bias memories from these DDR beats."""
        return self._transfer(Program.load, weights, biases)

    def readout(self, weights: int, biases: int) -> list[int]:
        """Store the whole weight and bias memories to these DDR beats."""
        return self._transfer(Program.store, weights, biases)

    def _transfer(self, move: Callable[[Program, Space], None], weights: int,
                  biases: int) -> list[int]:
        program = Program()
        for space, ddr, units in ((Space.WEIGHT, weights, self.config.weight_words),
                                  (Space.BIAS, biases, self.config.bias_pairs)):
            program.set(local=0, ddr=ddr, length=units)
            move(program, space)
        program.wait()
        program.halt()
        return program.words()

    def training(self, chunk: Chunk, rate: Rate) -> list[int]:
        """Train on ``chunk`` with one learning rate."""
        return self._batches(chunk, rate)

    def testing(self, chunk: Chunk) -> list[int]:
        """Forward products and loss statistics of ``chunk``; nothing is learnt."""
        return self._batches(chunk, None)

    def predicting(self, chunk: Chunk, logits: int) -> list[int]:
        """Forward products of ``chunk``; the logits go to DDR beat ``logits`` and those after it.

        A whole batch is written for each begun: ``Layout.logit_stride`` beats a sample, each with
        two logits (int16, 10 fraction bits) and two zeros. What follows the last sample's, up to
        the end of its batch, means nothing.
        """
        return self._batches(chunk, None, logits)

    def ending(self, words: list[int]) -> tuple[int, int]:
        """Address and word that make the program ``words`` end after the batch that it computes.

        The word replaces the branch of the loop over batches, also while the program runs; it ends
        as if the batches before were all there are.
        """
        instructions = [decode(word) for word in words]
        loop, = (address for address, instruction in enumerate(instructions)
                 if instruction is not None and instruction.op is Op.DBNZ
                 and instruction.rd == BATCHES)
        return loop, encode(Op.JMP, 0, len(words) - (2 if self.layout.double else 1))

    def _batches(self, chunk: Chunk, rate: Rate | None, logits: int | None = None) -> list[int]:
        layout, options, p = self.layout, self.network.options, Program()
        whole, rest = divmod(chunk.samples, options.batch)
        p.pin(code_bits=options.bits, acc_bits=options.accumulator_bits or 0,
              asymm=int(options.quantisation == "asymm"),
              t_stride=layout.sample_targets, mantissa=rate.mantissa if rate else 0,
              g_stride=layout.pair_record)
        if not layout.weight_registers:
            # TOP has other uses for these.
            p.pin(e_shift=self.network.scales.output_error, f_stride=layout.row_record)
        for register, value in ((BATCHES, max(whole, 1)), (COUNT, options.batch if whole else
                                                            rest),
                                (DDR_INPUT, chunk.inputs), (DDR_TARGET, chunk.targets),
                                (INPUT_PAIRS, 0), (NEXT_INPUT, 0), (NEXT_TARGET, 0)):
            p.set(**{register.name: value})
        p.set(t_base=0, report=0)
        if logits is not None:
            p.set(**{DDR_LOGITS.name: logits})
        if layout.double:
            self._load(p)
        learn, go_on = rate is not None, Label()
        threshold = self.network.scales.skip_below(rate) if rate is not None else 0
        # Nothing is learnt of a batch of one without an error that is left after rounding.
        alone = learn and not threshold and options.batch == 1
        early = learn and self._early
        if rate is not None and self._speculative:
            self._one_by_one(p, rate)
            return p.words()
        if early:
            self._begin(p, learn=learn)
        loop = p.here()
        if not early:
            self._begin(p, learn=learn)
        for layer in self.network.layers:
            if layer.index:
                p.tensor(*self._product(p, layer, learn=learn))
            else:
                # Its operands are set.
                p.tensor(*self._product(Program(), layer, learn=learn))
            if layer.index == 0 and layout.double:
                # Nothing runs any more that reads the memories' other halves.
                self._load(p, Flag.BESIDE)
        if early:
            self._prepare(p)
        if logits is None:
            self._loss(p, learn=learn)
        else:
            self._store_logits(p)
        if threshold:
            self._skip(p, threshold, go_on)
        if early:
            self._next_targets(p)
            self._begin(p, learn=learn)
        if alone:
            p.set(**{PAIR_RECORD.name: 0})
            p.jump_if_no_error(PAIR_RECORD, go_on)
        if rate is not None:
            if layout.weight_registers:
                if layout.lists:
                    self._gradient_registers.weight(p)
                    self._gradient_registers.scatter(p, rate)
                for layer in self.network.layers:
                    self._update(p, layer, rate)
            else:
                (self._registers if layout.dpfm else self._backward)(p, rate)
        if early:
            self._begin(p, learn=learn)
        if threshold or alone:
            p.mark(go_on)
        if not early:
            self._next_inputs(p)
            self._next_targets(p)
        p.loop(BATCHES, loop)
        if whole and rest:
            end = Label()
            p.set(**{PAIR_RECORD.name: options.batch, BATCHES.name: 1})
            p.jump_if_less(COUNT, PAIR_RECORD, end)
            p.set(**{COUNT.name: rest})
            p.jump(loop)
            p.mark(end)
        if layout.double:
            p.wait()
        p.halt()
        return p.words()

    def _one_by_one(self, p: Program, rate: Rate) -> None:
        """Batches of one. The next sample's first product is made in the array beside the loss, and
        again after the updates if there is an error: it is rarer that there is one.

        The second layer's update is made last, while the sums of that product leave the array.
        """
        layout, layers, go_on = self.layout, self.network.layers, Label()
        if layout.turns:
            p.set(**{ACTIVATIONS.name: layout.activation_pairs[0]})
        self._begin(p, learn=True)
        p.tensor(*self._product(Program(), layers[0], learn=True))
        loop = p.here()
        self._load_inputs(p, Flag.BESIDE)
        for layer in layers[1:-1]:
            p.tensor(*self._product(p, layer, learn=True))
        p.move(LAST_INPUT, INPUT_PAIRS)
        self._next_inputs(p)
        if len(layers) > 1:
            last = self._product(p, layers[-1], learn=True)
            if not layers[-1].input_major:
                # It leaves alone what the next one needs of these.
                self._scalars(p, layers[0], INPUT_PAIRS, None)
                p.set(shift2=self.network.scales.forward(0)[1])
            p.wait()
            p.tensor(*last)
        else:
            p.wait()
        op, flags = self._product(p, layers[0], learn=True)
        p.tensor(op, flags | Flag.SPECULATIVE)
        self._loss(p, learn=True)
        # Targets are wanted later than inputs; this is where there is time.
        self._load_targets(p, Flag.BESIDE)
        self._next_targets(p)
        # What comes if there is an error is prepared meanwhile.
        if len(layers) > 1:
            self._back(p, layers[-1])
        p.set(**{PAIR_RECORD.name: 0})
        p.jump_if_no_error(PAIR_RECORD, go_on)
        self._backward(p, rate)
        if layout.turns:
            there = layout.activation_pairs[0]
            p.move(LAST_ACTIVATIONS, ACTIVATIONS)
            p.toggle(ACTIVATIONS, there ^ (there + layout.turns), PAIR_RECORD)
        p.tensor(*self._product(p, layers[0], learn=True))
        if layout.turns:
            self._weights(p, layers[1], rate, Flag.BESIDE)
        p.mark(go_on)
        p.loop(BATCHES, loop)
        p.wait()
        p.halt()

    # --- parts of a program -----------------------------------------------------------------------

    @property
    def _speculative(self) -> bool:
        """Whether a sample's first product is begun before it is known whether the one before it
        changes the weights."""
        first = self.network.layers[0]
        return (self._early and self.network.options.algorithm not in _SELDOM_SURE
                and first.input_major and first.outputs <= SPECULATIVE_MAX)

    @property
    def _early(self) -> bool:
        """Whether a batch begins before the last one's errors are known to be zero, or not."""
        options, layout = self.network.options, self.layout
        return (options.batch == 1 and options.skip_below == 0 and layout.double
                and options.algorithm != "dpfm")

    @property
    def _leaves_out(self) -> bool:
        """Whether errors of hidden layers are made of the samples that have output errors only.

        Then what reads them must leave out the others too: all of these layers' updates list the
        samples, and their scalars lie so that Flag.WANTED has an effect.
        """
        options, hidden, layout = self.network.options, self.network.layers[:-1], self.layout
        # Where not all samples' registers are held at once, errors are made sample by sample.
        return (options.algorithm not in _SELDOM_SURE and not layout.weight_registers
                and (not layout.dpfm or layout.register_samples == layout.batch)
                and 1 < options.batch <= SCANNED_SAMPLES
                and all(min(layer.p, layer.outputs) > _FEW for layer in hidden)
                and self.layout.pair_record % GROUP == 0
                and 4 * self.layout.sample_beats % GROUP == 0)

    def _begin(self, p: Program, *, learn: bool) -> None:
        """Await the batch's data, and set the first product's operands."""
        if not self.layout.double:
            self._load(p)
        p.wait()
        p.move(Reg.COUNT, COUNT)
        self._product(p, self.network.layers[0], learn=learn)

    def _prepare(self, p: Program) -> None:
        """What may be set of the next batch's beginning while the last product runs."""
        first, scales = self.network.layers[0], self.network.scales
        shift, shift2, b_shift = scales.forward(first.index)
        p.move(LAST_INPUT, INPUT_PAIRS)
        self._next_inputs(p)
        p.set(m_base=first.word, b_shift=b_shift, shift=shift, shift2=shift2)

    def _next_inputs(self, p: Program) -> None:
        """The inputs that have been loaded are the present ones."""
        if self.layout.double:
            p.toggle(INPUT_PAIRS, 4 * self.layout.batch_beats, PAIR_RECORD)

    def _next_targets(self, p: Program) -> None:
        """Likewise the targets."""
        if self.layout.double:
            p.toggle(Reg.T_BASE, 4 * self.layout.target_beats, PAIR_RECORD)

    def _load(self, p: Program, flags: Flag = NO_FLAGS) -> None:
        """Start the transfers of the next batch, the short one first: it is waited for."""
        self._load_targets(p, flags)
        self._load_inputs(p, flags)

    def _load_targets(self, p: Program, flags: Flag = NO_FLAGS) -> None:
        self._load_space(p, Space.TARGET, DDR_TARGET, NEXT_TARGET, self.layout.target_beats, flags)

    def _load_inputs(self, p: Program, flags: Flag = NO_FLAGS) -> None:
        self._load_space(p, Space.INPUT, DDR_INPUT, NEXT_INPUT, self.layout.batch_beats, flags)

    def _load_space(self, p: Program, space: Space, ddr: Reg, local: Reg, beats: int,
                    flags: Flag) -> None:
        p.move(Reg.DDR, ddr)
        p.move(Reg.LOCAL, local)
        p.set(length=beats)
        p.load(space, flags)
        p.add(ddr, beats)
        if self.layout.double:
            p.toggle(local, beats, PAIR_RECORD)

    def _scalars(self, p: Program, layer: Layer, inputs: Reg, activations: Reg | None) -> Flag:
        """S_BASE and S_STRIDE of what an input-major layer multiplies."""
        if layer.index == 0:
            p.move(Reg.S_BASE, inputs)
            p.set(s_stride=4 * self.layout.sample_beats)
            return Flag.INPUT
        self._activations(p, Reg.S_BASE, layer.index - 1, activations)
        p.set(s_stride=self.layout.pair_record)
        return NO_FLAGS

    def _activations(self, p: Program, register: Reg, layer: int, turn: Reg | None) -> None:
        """Where a layer's activations lie, to ``register``: the first one's by ``turn``, in a
        program in which they have two places."""
        if layer == 0 and turn is not None and self.layout.turns and self._speculative:
            p.move(register, turn)
        else:
            p.set(**{register.name: self.layout.activation_pairs[layer]})

    def _product(self, p: Program, layer: Layer, *, learn: bool) -> tuple[Op, Flag]:
        """Set the operands of a forward product; the instruction.

        One that skips zeros begins while the last one's results, or a loss, are on their way.
        """
        layout, network = self.layout, self.network
        shift, shift2, b_shift = network.scales.forward(layer.index)
        p.set(m_base=layer.word, p=layer.p, q=layer.q, b_base=layer.bias, b_shift=b_shift,
              shift=shift)
        op, flags = Op.MVA, NO_FLAGS
        if layer.input_major:
            flags |= Flag.BESIDE | self._scalars(p, layer, INPUT_PAIRS,
                                                 ACTIVATIONS if learn else None)
        else:
            op = Op.MVD
            p.set(v_base=layout.activation_rows[layer.index - 1], v_stride=layout.row_record)
        if layer is network.layers[-1]:
            p.set(y_base=0, y_stride=layout.logit_stride)
            return op, flags | Flag(Post.LOGIT)
        if network.options.activation == "sigmoid":
            flags |= Flag.SIGMOID
        if layer.index in layout.activation_pairs:
            flags |= Flag.PAIRS
            self._activations(p, Reg.Y_BASE, layer.index, ACTIVATIONS if learn else None)
            p.set(y_stride=layout.pair_record)
        if layer.index in layout.activation_rows:
            flags |= Flag.ROWS
            p.set(yr_base=layout.activation_rows[layer.index], yr_stride=layout.row_record)
        if layer.index in layout.slope_rows and learn:
            flags |= Flag.SLOPE_ROWS
            p.set(f_base=layout.slope_rows[layer.index])
        p.set(shift2=shift2)
        return op, flags | Flag(Post.ACT)

    def _error_results(self, p: Program, layer: Layer) -> Flag:
        """Where the errors of ``layer`` go, of all samples."""
        layout, flags = self.layout, Flag.BIAS_GRADIENT
        if layer.index in layout.error_pairs:
            flags |= Flag.PAIRS
            p.set(y_base=layout.error_pairs[layer.index], y_stride=layout.pair_record)
        if layer.index in layout.error_rows:
            flags |= Flag.ROWS
            p.set(yr_base=layout.error_rows[layer.index], yr_stride=layout.row_record)
        p.set(b_base=layer.bias)
        return flags

    def _loss(self, p: Program, *, learn: bool) -> None:
        layer = self.network.layers[-1]
        flags = self._error_results(p, layer) if learn else NO_FLAGS
        if self.network.options.loss == "mse":
            flags |= Flag.POST0
        p.tensor(Op.LOSS, flags, p=layer.outputs, s_base=0, s_stride=self.layout.logit_stride,
                 e_shift=self.network.scales.output_error)

    def _store_logits(self, p: Program) -> None:
        """The whole batch's, and on to where the next batch's go."""
        beats = self.layout.batch * self.layout.logit_stride
        p.move(Reg.DDR, DDR_LOGITS)
        p.set(local=0, length=beats)
        p.store(Space.LOGIT)
        p.add(DDR_LOGITS, beats)

    def _backward(self, p: Program, rate: Rate) -> None:
        """Errors of each hidden layer from those of the layer above, whose weights then change.

        By its weights (BP) or a fixed matrix in their orientation (FA).

        An update runs beside the last errors' way to memory: they are the layer's below.
        """
        network, turns = self.network, self._speculative and self.layout.turns
        for layer in reversed(network.layers[1:]):
            p.tensor(*self._back(p, layer))
            if layer.index > 1 or not turns:
                self._weights(p, layer, rate, Flag.BESIDE)
        self._weights(p, network.layers[0], rate, NO_FLAGS)
        for layer in reversed(network.layers) if turns else network.layers:
            self._biases(p, layer, rate)

    def _back(self, p: Program, layer: Layer) -> tuple[Op, Flag]:
        """Set the operands of the errors of the layer below ``layer``; the instruction."""
        layout, network = self.layout, self.network
        below = network.layers[layer.index - 1]
        shift, shift2 = network.scales.backward(layer.index)
        flags = Flag(Post.DELTA) | Flag.SLOPE | self._error_results(p, below)
        if network.options.activation == "sigmoid":
            flags |= Flag.SIGMOID
        if network.options.feedback == "lfsr":
            flags |= Flag.SIGNS
        if self._leaves_out:
            # Nothing reads what is not made: updates and the next product leave it out too.
            flags |= Flag.WANTED
        p.set(m_base=layer.back, p=layer.p, q=layer.q, shift=shift, shift2=shift2)
        self._activations(p, Reg.G_BASE, below.index, ACTIVATIONS)
        if layer.input_major:
            p.set(v_base=layout.error_rows[layer.index], v_stride=layout.row_record)
            return Op.MVD, flags
        # Not the first: the loss, which says what samples are wanted, must be over.
        if layer is not network.layers[-1]:
            flags |= Flag.BESIDE
        p.set(s_base=layout.error_pairs[layer.index], s_stride=layout.pair_record)
        return Op.MVA, flags

    def _registers(self, p: Program, rate: Rate) -> None:
        """DPFM: sample by sample, registers up to the outputs, then errors of the hidden layers."""
        network = self.network
        if len(network.layers) > 1:
            self._gradient_registers.neuron(p, Flag.WANTED if self._leaves_out else NO_FLAGS)
        flags = NO_FLAGS
        for layer in reversed(network.layers):
            self._weights(p, layer, rate, flags)
            flags = Flag.BESIDE
        for layer in network.layers:
            self._biases(p, layer, rate)

    def _skip(self, p: Program, threshold: int, go_on: Label) -> None:
        """Event-driven learning: a batch whose output errors are all small ends here, counted."""
        learn, last = Label(), self.network.layers[-1]
        p.set(**{THRESHOLD.name: threshold})
        p.jump_unless_less(Reg.MAX_ERROR, THRESHOLD, learn)
        p.add(Reg.REPORT, 1)
        # The output errors are in the bias gradients: a step of nothing clears them.
        p.tensor(Op.BUP, p=last.outputs, b_base=last.bias, shift=SHIFT_MAX)
        p.jump(go_on)
        p.mark(learn)

    def _update(self, p: Program, layer: Layer, rate: Rate) -> None:
        """Weight registers: what is not learnt by them."""
        layout, network = self.layout, self.network
        last = layer is network.layers[-1]
        if layout.weight_registers and not (last and network.options.own_free):
            # The registers have changed these weights; hidden biases have no registers.
            if last:
                p.tensor(Op.BUP, p=layer.outputs, b_base=layer.bias,
                         shift=network.scales.bias_update(layer.index, rate))
            return
        self._weights(p, layer, rate, NO_FLAGS)
        self._biases(p, layer, rate)

    def _weights(self, p: Program, layer: Layer, rate: Rate, flags: Flag) -> None:
        """The update of a layer's weights."""
        layout, network = self.layout, self.network
        flags |= RULES[network.options.update].value
        if (network.options.batch > 1 and layer.p > _FEW
                and network.options.algorithm not in _SELDOM_SURE):
            # Samples without an error are passed over.
            flags |= Flag.WANTED
        p.set(m_base=layer.word, p=layer.p, q=layer.q,
              shift=network.scales.update(layer.index, rate), v_stride=layout.row_record)
        if layer.input_major:
            flags |= self._scalars(p, layer, LAST_INPUT if self._early else INPUT_PAIRS,
                                   LAST_ACTIVATIONS)
            p.set(v_base=layout.error_rows[layer.index])
        else:
            p.set(s_base=layout.error_pairs[layer.index], s_stride=layout.pair_record,
                  v_base=layout.activation_rows[layer.index - 1])
        p.tensor(Op.UPD, flags)

    def _biases(self, p: Program, layer: Layer, rate: Rate) -> None:
        """The update of a layer's biases, beside that of weights."""
        p.tensor(Op.BUP, Flag.BESIDE, p=layer.outputs, b_base=layer.bias,
                 shift=self.network.scales.bias_update(layer.index, rate))


def compile_network(options: Options, config: Config | None = None) -> Compiled:
    """The programs of ``options``, for its preset's configuration or another one.

    Raises
    ------
    CapacityError
        If the network does not fit.
    ValueError
        If the learning rate cannot be expressed.
    """
    return Compiled(Network(options, config or options.config))
