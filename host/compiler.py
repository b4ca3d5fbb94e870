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
from tangente.golden.isa import SHIFT_MAX, Flag, Op, Post, Reg, Rule, Space, decode, encode

from .assembler import Label, Program
from .layout import Layout, check_capacity
from .network import Layer, Network
from .options import Options
from .scales import Rate

__all__ = ["Chunk", "Compiled", "compile_network"]

# What the free registers hold throughout a program.
_BATCHES = Reg.R0
_DDR_INPUT = Reg.R1
_DDR_TARGET = Reg.R2
_INPUT_PAIRS = Reg.R3     # scalars of the batch that is computed
_NEXT_INPUT = Reg.R4      # input memory, beat to which the next batch is loaded
_NEXT_TARGET = Reg.R5
_PAIR_RECORD = Reg.R6     # pairs of the sample whose registers are computed; scratch elsewhere
_COUNT = Reg.R7           # samples of the batch
# Transfers take copies of their registers, so these are free while samples are walked over.
_ROW_RECORD = Reg.DDR
_SAMPLES = Reg.LENGTH
_REGISTER_RECORD = Reg.LOCAL
# Registers of lists are free without them.
_LAST_INPUT = Reg.L_BASE
# Registers of DRV are free where nothing is learnt.
_DDR_LOGITS = Reg.R_BASE

# Weight registers walk over lists and inputs too.
_LIST_RECORD = Reg.DDR
_SAMPLE_INPUT = Reg.LOCAL
_THRESHOLD = Reg.R_STRIDE

#: So few rows of weights, or errors of a sample, that to list the samples which have errors costs
#: more than it saves.
_FEW = 8

#: Algorithms that leave nearly every sample an error: after an epoch of MNIST by FA, each.
_SELDOM_SURE = ("fa",)

_NO_FLAGS = Flag(0)
_RULES = {"nearest": Rule.NEAREST, "stochastic": Rule.STOCHASTIC, "event": Rule.EVENT,
          "master": Rule.MASTER}


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
                 and instruction.rd == _BATCHES)
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
        for register, value in ((_BATCHES, max(whole, 1)), (_COUNT, options.batch if whole else
                                                            rest),
                                (_DDR_INPUT, chunk.inputs), (_DDR_TARGET, chunk.targets),
                                (_INPUT_PAIRS, 0), (_NEXT_INPUT, 0), (_NEXT_TARGET, 0)):
            p.set(**{register.name: value})
        p.set(t_base=0, report=0)
        if logits is not None:
            p.set(**{_DDR_LOGITS.name: logits})
        if layout.double:
            self._load(p)
        learn, go_on = rate is not None, Label()
        threshold = self.network.scales.skip_below(rate) if rate is not None else 0
        # Nothing is learnt of a batch of one without an error that is left after rounding.
        alone = learn and not threshold and options.batch == 1
        early = learn and self._early
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
            p.set(**{_PAIR_RECORD.name: 0})
            p.jump_if_no_error(_PAIR_RECORD, go_on)
        if rate is not None:
            if layout.weight_registers:
                if layout.lists:
                    self._lists(p)
                    self._scatter(p, rate)
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
        p.loop(_BATCHES, loop)
        if whole and rest:
            end = Label()
            p.set(**{_PAIR_RECORD.name: options.batch, _BATCHES.name: 1})
            p.jump_if_less(_COUNT, _PAIR_RECORD, end)
            p.set(**{_COUNT.name: rest})
            p.jump(loop)
            p.mark(end)
        if layout.double:
            p.wait()
        p.halt()
        return p.words()

    # --- parts of a program -----------------------------------------------------------------------

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
        options, hidden = self.network.options, self.network.layers[:-1]
        return (options.algorithm not in (*_SELDOM_SURE, "dpfm")
                and 1 < options.batch <= SCANNED_SAMPLES
                and all(min(layer.p, layer.outputs) > _FEW for layer in hidden)
                and self.layout.pair_record % GROUP == 0
                and 4 * self.layout.sample_beats % GROUP == 0)

    def _begin(self, p: Program, *, learn: bool) -> None:
        """Await the batch's data, and set the first product's operands."""
        if not self.layout.double:
            self._load(p)
        p.wait()
        p.move(Reg.COUNT, _COUNT)
        self._product(p, self.network.layers[0], learn=learn)

    def _prepare(self, p: Program) -> None:
        """What may be set of the next batch's beginning while the last product runs."""
        first, scales = self.network.layers[0], self.network.scales
        shift, shift2, b_shift = scales.forward(first.index)
        p.move(_LAST_INPUT, _INPUT_PAIRS)
        self._next_inputs(p)
        p.set(m_base=first.word, b_shift=b_shift, shift=shift, shift2=shift2)

    def _next_inputs(self, p: Program) -> None:
        """The inputs that have been loaded are the present ones."""
        if self.layout.double:
            p.toggle(_INPUT_PAIRS, 4 * self.layout.batch_beats, _PAIR_RECORD)

    def _next_targets(self, p: Program) -> None:
        """Likewise the targets."""
        if self.layout.double:
            p.toggle(Reg.T_BASE, 4 * self.layout.target_beats, _PAIR_RECORD)

    def _load(self, p: Program, flags: Flag = _NO_FLAGS) -> None:
        """Start the transfers of the next batch, the short one first: it is waited for."""
        layout = self.layout
        p.move(Reg.DDR, _DDR_TARGET)
        p.move(Reg.LOCAL, _NEXT_TARGET)
        p.set(length=layout.target_beats)
        p.load(Space.TARGET, flags)
        p.move(Reg.DDR, _DDR_INPUT)
        p.move(Reg.LOCAL, _NEXT_INPUT)
        p.set(length=layout.batch_beats)
        p.load(Space.INPUT, flags)
        p.add(_DDR_TARGET, layout.target_beats)
        p.add(_DDR_INPUT, layout.batch_beats)
        if layout.double:
            p.toggle(_NEXT_TARGET, layout.target_beats, _PAIR_RECORD)
            p.toggle(_NEXT_INPUT, layout.batch_beats, _PAIR_RECORD)

    def _scalars(self, p: Program, layer: Layer, inputs: Reg = _INPUT_PAIRS) -> Flag:
        """S_BASE and S_STRIDE of what an input-major layer multiplies."""
        if layer.index == 0:
            p.move(Reg.S_BASE, inputs)
            p.set(s_stride=4 * self.layout.sample_beats)
            return Flag.INPUT
        p.set(s_base=self.layout.activation_pairs[layer.index - 1],
              s_stride=self.layout.pair_record)
        return _NO_FLAGS

    def _product(self, p: Program, layer: Layer, *, learn: bool) -> tuple[Op, Flag]:
        """Set the operands of a forward product; the instruction."""
        layout, network = self.layout, self.network
        shift, shift2, b_shift = network.scales.forward(layer.index)
        p.set(m_base=layer.word, p=layer.p, q=layer.q, b_base=layer.bias, b_shift=b_shift,
              shift=shift)
        op, flags = Op.MVA, _NO_FLAGS
        if layer.input_major:
            flags |= self._scalars(p, layer)
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
            p.set(y_base=layout.activation_pairs[layer.index], y_stride=layout.pair_record)
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
        flags = self._error_results(p, layer) if learn else _NO_FLAGS
        if self.network.options.loss == "mse":
            flags |= Flag.POST0
        p.tensor(Op.LOSS, flags, p=layer.outputs, s_base=0, s_stride=self.layout.logit_stride,
                 e_shift=self.network.scales.output_error)

    def _store_logits(self, p: Program) -> None:
        """The whole batch's, and on to where the next batch's go."""
        beats = self.layout.batch * self.layout.logit_stride
        p.move(Reg.DDR, _DDR_LOGITS)
        p.set(local=0, length=beats)
        p.store(Space.LOGIT)
        p.add(_DDR_LOGITS, beats)

    def _backward(self, p: Program, rate: Rate) -> None:
        """Errors of each hidden layer from those of the layer above, whose weights then change.

        By its weights (BP) or a fixed matrix in their orientation (FA).

        An update runs beside the last errors' way to memory: they are the layer's below.
        """
        layout, network = self.layout, self.network
        for layer in reversed(network.layers[1:]):
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
            p.set(m_base=layer.back, p=layer.p, q=layer.q, shift=shift, shift2=shift2,
                  g_base=layout.activation_pairs[below.index])
            if layer.input_major:
                p.tensor(Op.MVD, flags, v_base=layout.error_rows[layer.index],
                         v_stride=layout.row_record)
            else:
                p.tensor(Op.MVA, flags, s_base=layout.error_pairs[layer.index],
                         s_stride=layout.pair_record)
            self._weights(p, layer, rate, Flag.BESIDE)
        self._weights(p, network.layers[0], rate, _NO_FLAGS)
        for layer in network.layers:
            self._biases(p, layer, rate)

    def _registers(self, p: Program, rate: Rate) -> None:
        """DPFM: sample by sample, registers up to the outputs, then errors of the hidden layers."""
        network = self.network
        if len(network.layers) > 1:
            self._register_rows(p)
        flags = _NO_FLAGS
        for layer in reversed(network.layers):
            self._weights(p, layer, rate, flags)
            flags = Flag.BESIDE
        for layer in network.layers:
            self._biases(p, layer, rate)

    def _register_rows(self, p: Program) -> None:
        """The outputs' registers of a sample, or of all; times their errors: the errors below."""
        layout, network = self.layout, self.network
        every = layout.register_samples == layout.batch
        p.set(**{_SAMPLES.name: 0, _PAIR_RECORD.name: 0, _ROW_RECORD.name: 0,
                 _REGISTER_RECORD.name: 0})
        sample, done = p.here(), Label()
        p.jump_if_no_error(_SAMPLES, done)
        for layer in network.layers[1:]:
            # Only the loss unit may still be at work, which writes no rows.
            self._derivatives(p, layer, Flag.BESIDE if every else _NO_FLAGS)
        p.mark(done)
        if not every:
            p.set(count=1)
            self._collect(p)
        p.add(_PAIR_RECORD, layout.pair_record)
        p.add(_ROW_RECORD, layout.row_record)
        if every:
            p.add(_REGISTER_RECORD, layout.register_record)
        p.next_sample(_SAMPLES, _COUNT, sample)
        p.move(Reg.COUNT, _COUNT)
        if every:
            p.set(**{_PAIR_RECORD.name: 0, _ROW_RECORD.name: 0})
            p.set(s_stride=layout.pair_record, y_stride=layout.pair_record,
                  yr_stride=layout.row_record, r_stride=layout.register_record)
            self._collect(p)

    def _collect(self, p: Program) -> None:
        """Errors of the hidden layers, of the samples whose outputs' registers there are."""
        layout, network = self.layout, self.network
        last = network.layers[-1]
        for layer in network.layers[:-1]:
            # Registers hold dz / dz: no slope is left to multiply. Those of outputs with errors.
            flags = Flag(Post.DELTA) | Flag.BIAS_GRADIENT | Flag.LIVE
            if layer.index in layout.error_pairs:
                flags |= Flag.PAIRS
                p.move(Reg.Y_BASE, _PAIR_RECORD, layout.error_pairs[layer.index])
            if layer.index in layout.error_rows:
                flags |= Flag.ROWS
                p.move(Reg.YR_BASE, _ROW_RECORD, layout.error_rows[layer.index])
            p.move(Reg.S_BASE, _PAIR_RECORD, layout.error_pairs[last.index])
            p.tensor(Op.MVR, flags, p=last.outputs, q=layer.outputs, b_base=layer.bias,
                     v_base=layout.registers[last.index] + layout.register_offset[layer.index],
                     v_stride=layout.register_tiles[last.index],
                     shift=network.scales.collect(layer.index), shift2=0)

    def _derivatives(self, p: Program, layer: Layer, flags: Flag) -> None:
        """Registers of the neurons of ``layer``, for the sample whose records are walked over."""
        layout, options = self.layout, self.network.options
        deep, tiles = layout.register_tiles[layer.index - 1], layout.register_tiles[layer.index]
        shift, shift2 = self.network.scales.registers(layer.index)
        p.set(p=layer.p, q=layer.q, m_base=layer.word, yr_stride=tiles, tiles=deep, shift=shift,
              shift2=shift2)
        if layer is self.network.layers[-1]:
            p.move(Reg.YR_BASE, _REGISTER_RECORD, layout.registers[layer.index])
        else:
            p.set(yr_base=layout.registers[layer.index])
        sigmoid = options.activation == "sigmoid"
        p.move(Reg.V_BASE, _ROW_RECORD,
               (layout.slope_rows if sigmoid else layout.activation_rows)[layer.index - 1])
        selection = flags
        flags |= Flag.SIGMOID if sigmoid else _NO_FLAGS
        is_output = layer is self.network.layers[-1]
        # A neuron without a slope hands nothing on, an output without an error changes nothing.
        flags |= Flag.LIVE
        selection |= Flag.LIVE
        p.move(Reg.S_BASE, _PAIR_RECORD, layout.error_pairs[layer.index] if is_output
               else layout.activation_pairs[layer.index])
        if deep:
            p.move(Reg.G_BASE, _PAIR_RECORD, layout.activation_pairs[layer.index - 1])
            p.set(r_base=layout.registers[layer.index - 1], r_stride=deep)
        p.tensor(Op.DRV, flags)
        keep = options.output_registers if is_output else options.registers
        ids = sum(below.outputs for below in self.network.layers[:layer.index])
        if keep and keep < ids:
            p.tensor(Op.SEL, selection, k=keep, tiles=tiles)

    def _lists(self, p: Program) -> None:
        """Weight registers: sample by sample, the lists of all layers up to the outputs."""
        layout, network, options = self.layout, self.network, self.network.options
        last = network.layers[-1]
        assert options.banks is not None
        # Nothing is made for samples and neurons that learn nothing.
        p.set(**{_SAMPLES.name: 0, _PAIR_RECORD.name: 0, _LIST_RECORD.name: 0})
        p.move(_SAMPLE_INPUT, _INPUT_PAIRS)
        sample, done = p.here(), Label()
        p.jump_if_no_error(_SAMPLES, done)
        for index, entry in layout.own_lists.items():
            layer, flags = network.layers[index], _NO_FLAGS
            p.set(m_base=layer.word, p=layer.p, q=layer.q, l_base=entry,
                  k=options.banks[options.bank(index)])
            if index == 0:
                flags |= Flag.INPUT
                p.move(Reg.S_BASE, _SAMPLE_INPUT)
            else:
                p.move(Reg.S_BASE, _PAIR_RECORD, layout.activation_pairs[index - 1])
            p.tensor(Op.SRT, flags)
        for (index, bank), entry in sorted(layout.lists.items()):
            layer, below = network.layers[index], network.layers[index - 1]
            own, shared, lists = layout.list_sources(index, bank)
            shifts = network.scales.topers(index, bank, lists)
            flags = Flag.LIVE
            if options.activation == "sigmoid":
                flags |= Flag.SIGMOID
            p.set(m_base=layer.word, p=layer.p, q=layer.q, k=options.banks[bank], shift=shifts[0])
            p.move(Reg.G_BASE, _PAIR_RECORD, layout.activation_pairs[below.index])
            p.move(Reg.S_BASE, _PAIR_RECORD, layout.error_pairs[index] if layer is last
                   else layout.activation_pairs[index])
            if own:
                flags |= Flag.OWN
                p.set(f_base=layout.own_lists[index], e_shift=shifts[3],
                      f_stride=options.banks[options.bank(index)])
            if shared:
                flags |= Flag.SHARED
                p.set(v_base=layout.own_lists[index - 1], b_shift=shifts[2],
                      v_stride=options.banks[options.bank(index - 1)])
            if lists:
                flags |= Flag.LISTS
                p.set(r_base=layout.lists[index - 1, bank], shift2=shifts[1],
                      r_stride=options.banks[bank])
            if layer is last:
                p.move(Reg.L_BASE, _LIST_RECORD, entry)
            else:
                p.set(l_base=entry)
            p.tensor(Op.TOP, flags)
        p.mark(done)
        p.add(_PAIR_RECORD, layout.pair_record)
        p.add(_LIST_RECORD, layout.list_record)
        p.add(_SAMPLE_INPUT, 4 * layout.sample_beats)
        p.next_sample(_SAMPLES, _COUNT, sample)

    def _scatter(self, p: Program, rate: Rate) -> None:
        """Weight registers: updates of all weights that the outputs' registers name."""
        layout, network, options = self.layout, self.network, self.network.options
        last = network.layers[-1]
        assert options.banks is not None
        p.set(p=last.outputs, s_base=layout.error_pairs[last.index], s_stride=layout.pair_record,
              r_stride=layout.list_record)
        for bank, keep in enumerate(options.banks):
            if (last.index, bank) in layout.lists:
                p.tensor(Op.SCT, _RULES[options.update].value, k=keep,
                         l_base=layout.lists[last.index, bank],
                         shift=network.scales.scatter(last.index, bank, rate))

    def _skip(self, p: Program, threshold: int, go_on: Label) -> None:
        """Event-driven learning: a batch whose output errors are all small ends here, counted."""
        learn, last = Label(), self.network.layers[-1]
        p.set(**{_THRESHOLD.name: threshold})
        p.jump_unless_less(Reg.MAX_ERROR, _THRESHOLD, learn)
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
        self._weights(p, layer, rate, _NO_FLAGS)
        self._biases(p, layer, rate)

    def _weights(self, p: Program, layer: Layer, rate: Rate, flags: Flag) -> None:
        """The update of a layer's weights."""
        layout, network = self.layout, self.network
        flags |= _RULES[network.options.update].value
        if (network.options.batch > 1 and layer.p > _FEW
                and network.options.algorithm not in _SELDOM_SURE):
            # Samples without an error are passed over.
            flags |= Flag.WANTED
        p.set(m_base=layer.word, p=layer.p, q=layer.q,
              shift=network.scales.update(layer.index, rate), v_stride=layout.row_record)
        if layer.input_major:
            flags |= self._scalars(p, layer, _LAST_INPUT if self._early else _INPUT_PAIRS)
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
