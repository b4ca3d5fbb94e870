"""DPFM's part of a training program: gradient registers, sample by sample.

*Neuron* registers are derivative rows (Op.DRV, Op.SEL) that make the errors of the hidden layers
(Op.MVR), from which weights change as in backpropagation. *Weight* registers are lists (Op.SRT,
Op.TOP) that name the weights to be changed (Op.SCT).
"""

from __future__ import annotations

from tangente.golden.isa import Flag, Op, Post, Reg

from .assembler import Label, Program
from .conventions import (
    COUNT,
    INPUT_PAIRS,
    LIST_RECORD,
    NO_FLAGS,
    PAIR_RECORD,
    REGISTER_RECORD,
    ROW_RECORD,
    RULES,
    SAMPLE_INPUT,
    SAMPLES,
)
from .layout import Layout
from .network import Layer, Network
from .scales import Rate

__all__ = ["GradientRegisters"]


class GradientRegisters:
    """Writes the registers' instructions into a program.

    Members
    -------
    layout, network : where the registers are, and what they are of.
    """

    def __init__(self, layout: Layout, network: Network) -> None:
        self.layout, self.network = layout, network

    def neuron(self, p: Program, made: Flag) -> None:
        """The outputs' registers of a sample, or of all; times their errors: the errors below.

        ``made``: Flag.WANTED if errors are made of the samples alone that have output errors.
        """
        layout, network = self.layout, self.network
        every = layout.register_samples == layout.batch
        p.set(**{SAMPLES.name: 0, PAIR_RECORD.name: 0, ROW_RECORD.name: 0,
                 REGISTER_RECORD.name: 0})
        sample, done = p.here(), Label()
        p.jump_if_no_error(SAMPLES, done)
        for layer in network.layers[1:]:
            # Only the loss unit may still be at work, which writes no rows.
            self._derivatives(p, layer, Flag.BESIDE if every else NO_FLAGS)
        p.mark(done)
        if not every:
            p.set(count=1)
            self._collect(p, made)
        p.add(PAIR_RECORD, layout.pair_record)
        p.add(ROW_RECORD, layout.row_record)
        if every:
            p.add(REGISTER_RECORD, layout.register_record)
        p.next_sample(SAMPLES, COUNT, sample)
        p.move(Reg.COUNT, COUNT)
        if every:
            p.set(**{PAIR_RECORD.name: 0, ROW_RECORD.name: 0})
            p.set(s_stride=layout.pair_record, y_stride=layout.pair_record,
                  yr_stride=layout.row_record, r_stride=layout.register_record)
            self._collect(p, made)

    def _collect(self, p: Program, made: Flag) -> None:
        """Errors of the hidden layers, of the samples whose outputs' registers there are."""
        layout, network = self.layout, self.network
        last = network.layers[-1]
        for layer in network.layers[:-1]:
            # Registers hold dz / dz: no slope is left to multiply. Those of outputs with errors.
            flags = Flag(Post.DELTA) | Flag.BIAS_GRADIENT | Flag.LIVE | made
            if layer.index in layout.error_pairs:
                flags |= Flag.PAIRS
                p.move(Reg.Y_BASE, PAIR_RECORD, layout.error_pairs[layer.index])
            if layer.index in layout.error_rows:
                flags |= Flag.ROWS
                p.move(Reg.YR_BASE, ROW_RECORD, layout.error_rows[layer.index])
            p.move(Reg.S_BASE, PAIR_RECORD, layout.error_pairs[last.index])
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
            p.move(Reg.YR_BASE, REGISTER_RECORD, layout.registers[layer.index])
        else:
            p.set(yr_base=layout.registers[layer.index])
        sigmoid = options.activation == "sigmoid"
        p.move(Reg.V_BASE, ROW_RECORD,
               (layout.slope_rows if sigmoid else layout.activation_rows)[layer.index - 1])
        selection = flags
        flags |= Flag.SIGMOID if sigmoid else NO_FLAGS
        is_output = layer is self.network.layers[-1]
        # A neuron without a slope hands nothing on, an output without an error changes nothing.
        flags |= Flag.LIVE
        selection |= Flag.LIVE
        p.move(Reg.S_BASE, PAIR_RECORD, layout.error_pairs[layer.index] if is_output
               else layout.activation_pairs[layer.index])
        if deep:
            p.move(Reg.G_BASE, PAIR_RECORD, layout.activation_pairs[layer.index - 1])
            p.set(r_base=layout.registers[layer.index - 1], r_stride=deep)
        p.tensor(Op.DRV, flags)
        keep = options.output_registers if is_output else options.registers
        ids = sum(below.outputs for below in self.network.layers[:layer.index])
        if keep and keep < ids:
            p.tensor(Op.SEL, selection, k=keep, tiles=tiles)

    def weight(self, p: Program) -> None:
        """Weight registers: sample by sample, the lists of all layers up to the outputs."""
        layout, network, options = self.layout, self.network, self.network.options
        last = network.layers[-1]
        assert options.banks is not None
        # Nothing is made for samples and neurons that learn nothing.
        p.set(**{SAMPLES.name: 0, PAIR_RECORD.name: 0, LIST_RECORD.name: 0})
        p.move(SAMPLE_INPUT, INPUT_PAIRS)
        sample, done = p.here(), Label()
        p.jump_if_no_error(SAMPLES, done)
        for index, entry in layout.own_lists.items():
            layer, flags = network.layers[index], NO_FLAGS
            p.set(m_base=layer.word, p=layer.p, q=layer.q, l_base=entry,
                  k=options.banks[options.bank(index)])
            if index == 0:
                flags |= Flag.INPUT
                p.move(Reg.S_BASE, SAMPLE_INPUT)
            else:
                p.move(Reg.S_BASE, PAIR_RECORD, layout.activation_pairs[index - 1])
            p.tensor(Op.SRT, flags)
        for (index, bank), entry in sorted(layout.lists.items()):
            layer, below = network.layers[index], network.layers[index - 1]
            own, shared, lists = layout.list_sources(index, bank)
            shifts = network.scales.topers(index, bank, lists)
            flags = Flag.LIVE
            if options.activation == "sigmoid":
                flags |= Flag.SIGMOID
            p.set(m_base=layer.word, p=layer.p, q=layer.q, k=options.banks[bank], shift=shifts[0])
            p.move(Reg.G_BASE, PAIR_RECORD, layout.activation_pairs[below.index])
            p.move(Reg.S_BASE, PAIR_RECORD, layout.error_pairs[index] if layer is last
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
                p.move(Reg.L_BASE, LIST_RECORD, entry)
            else:
                p.set(l_base=entry)
            p.tensor(Op.TOP, flags)
        p.mark(done)
        p.add(PAIR_RECORD, layout.pair_record)
        p.add(LIST_RECORD, layout.list_record)
        p.add(SAMPLE_INPUT, 4 * layout.sample_beats)
        p.next_sample(SAMPLES, COUNT, sample)

    def scatter(self, p: Program, rate: Rate) -> None:
        """Weight registers: updates of all weights that the outputs' registers name."""
        layout, network, options = self.layout, self.network, self.network.options
        last = network.layers[-1]
        assert options.banks is not None
        p.set(p=last.outputs, s_base=layout.error_pairs[last.index], s_stride=layout.pair_record,
              r_stride=layout.list_record)
        for bank, keep in enumerate(options.banks):
            if (last.index, bank) in layout.lists:
                p.tensor(Op.SCT, RULES[options.update].value, k=keep,
                         l_base=layout.lists[last.index, bank],
                         shift=network.scales.scatter(last.index, bank, rate))
