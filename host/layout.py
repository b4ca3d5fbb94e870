"""Where a network's operands lie in the engine's memories, and whether they fit.

Pair memory and row memory hold one *record* a sample, all of one length: addresses of sample b are
a constant plus b times one stride, so that a program walks over samples with one register a memory.
"""

from __future__ import annotations

import math

from tangente.golden.flow import GROUP

from .network import Network

__all__ = ["CapacityError", "Layout", "check_capacity"]


class CapacityError(ValueError):
    """The network does not fit the configuration; the message has the numbers."""


class Layout:
    """Local addresses of one network with one batch size.

    Parameters
    ----------
    network : its layers.

    Members
    -------
    pair_record, row_record : pairs and rows of one sample.
    activation_pairs, activation_rows, slope_rows : offset in the record by hidden layer.
    turns : pairs between two places of the first hidden layer's activations that take turns, for
        batches of one; 0 if there is one place.
    error_pairs, error_rows : offset in the record by layer.
    registers : by layer, the first of its register rows (DPFM).
    register_tiles : by layer, rows that one neuron's registers take.
    register_record, register_samples : rows of the outputs' registers of a sample, and of how many
        samples there is room for: of all or of one.
    register_offset : by hidden layer, its first tile among the output's registers.
    own_lists : by layer, the first entry of the list of its input vector (weight registers).
    lists : by layer and bank, the first entry of its neurons' registers, of the first sample.
    list_record : entries of a sample's output registers.
    sample_beats, batch_beats, target_beats : beats of a sample's input, of a batch's, of its
        targets.
    sample_targets : targets of a sample: its class, or a value for each output.
    double : input and target memory hold two batches: one is loaded while one is computed.

    Raises
    ------
    CapacityError
        If something does not fit.
    """

    def __init__(self, network: Network) -> None:
        options, config = network.options, network.config
        self.network = network
        self.batch = options.batch
        self.weight_registers = options.weight_registers
        # Derivative rows: the DPFM of neuron registers.
        self.dpfm = options.algorithm == "dpfm" and not self.weight_registers
        layers, last = network.layers, len(network.layers) - 1
        self.activation_pairs: dict[int, int] = {}
        self.activation_rows: dict[int, int] = {}
        self.slope_rows: dict[int, int] = {}
        self.error_pairs: dict[int, int] = {}
        self.error_rows: dict[int, int] = {}
        pairs = rows = 0
        for layer in layers:
            width, tiles = math.ceil(layer.outputs / 2), config.tiles(layer.outputs)
            if layer.index < last:
                # BP's slopes and DRV's, of all layers but the first, read the activations as pairs.
                if not self.dpfm or layer.index > 0 or layers[layer.index + 1].input_major:
                    self.activation_pairs[layer.index] = pairs
                    pairs += width
                if not layers[layer.index + 1].input_major:
                    self.activation_rows[layer.index] = rows
                    rows += tiles
                if self.dpfm and options.activation == "sigmoid":
                    self.slope_rows[layer.index] = rows
                    rows += tiles
            if not layer.input_major or (options.algorithm == "dpfm" and layer.index == last):
                self.error_pairs[layer.index] = pairs
                pairs += width
            if layer.input_major:
                self.error_rows[layer.index] = rows
                rows += tiles
        # Records and inputs in whole groups of pairs, where there is room: so updates are scanned.
        padded = GROUP * math.ceil(pairs / GROUP)
        self.pair_record = padded if self.batch * padded <= config.pairs else pairs
        self.row_record = rows
        self.turns = 0
        if (self.batch == 1 and options.algorithm != "dpfm" and last and layers[1].input_major
                and 2 * self.pair_record <= config.pairs):
            self.turns = self.pair_record
        self._place_registers(self.batch * rows)
        self._place_lists()
        self.logit_stride = math.ceil(layers[last].outputs / 2)
        self.sample_targets = layers[last].outputs if options.loss == "mse" else 1
        self.target_beats = math.ceil(self.batch * self.sample_targets / 4)
        beats = math.ceil(layers[0].inputs / 8)
        self.sample_beats = 2 * math.ceil(beats / 2)
        self.double = self._fits_twice()
        if not self.double:
            self.sample_beats = beats
            self.double = self._fits_twice()
        self.batch_beats = self.batch * self.sample_beats
        self._check()

    def _fits_twice(self) -> bool:
        config = self.network.config
        return (2 * self.batch * self.sample_beats <= config.input_beats
                and 2 * self.target_beats <= config.target_beats)

    def _place_registers(self, first: int) -> None:
        """Register rows: a layer's are needed only by the next, so two areas take turns."""
        layers, config = self.network.layers, self.network.config
        self.registers: dict[int, int] = {}
        self.register_tiles: dict[int, int] = {0: 0}
        self.register_offset: dict[int, int] = {}
        size = [0, 0]
        self.register_record, self.register_samples, rows = 0, 1, 0
        if self.dpfm:
            last, hidden = len(layers) - 1, [0, 0]
            for layer in layers[1:]:
                below = self.register_tiles[layer.index - 1]
                self.register_offset[layer.index - 1] = below
                self.register_tiles[layer.index] = below + config.tiles(layer.inputs)
                # DRV's bounds are those of whole pairs of neurons.
                area = layer.index % 2
                rows = 2 * math.ceil(layer.outputs / 2) * self.register_tiles[layer.index]
                size[area] = max(size[area], rows)
                if layer.index < last:
                    hidden[area] = max(hidden[area], rows)
                self.registers[layer.index] = area
            self.register_record = rows
            # The outputs' registers of all samples, where there is room: apart from the areas, in
            # which the next sample's hidden layers take turns.
            every = self.batch * self.register_record
            if last and first + sum(hidden) + every <= config.rows:
                size = [*hidden, every]
                self.register_samples = self.batch
                self.registers[last] = 2
            for index, area in self.registers.items():
                self.registers[index] = first + sum(size[:area])
        self.rows = first + sum(size)

    def _place_lists(self) -> None:
        """Lists: those of vectors and hidden layers are needed for one sample, the outputs' of all.

        Entries are those of a bank. Lists of vectors lie in the first one alone, and at its start.
        A layer's places are those of all its lanes: the outputs' come before the hidden layers', so
        that what is beyond the last sample's neurons is there.
        """
        options, layers, config = self.network.options, self.network.layers, self.network.config
        self.own_lists: dict[int, int] = {}
        self.lists: dict[tuple[int, int], int] = {}
        self.list_record = 0
        self.lists_end = 0
        if not self.weight_registers:
            return
        assert options.banks is not None
        last, entry, offset = len(layers) - 1, 0, 0
        for layer in layers[:last + (not options.own_free)]:
            self.own_lists[layer.index] = entry
            entry += options.banks[options.bank(layer.index)]
        # Rows of a bank: a place a list.
        rows = -(-config.lanes // config.toper_lanes)
        width = layers[last].outputs
        needed = (width // config.lanes * rows
                  + -(-(width % config.lanes) // config.toper_lanes))
        for bank, keep in enumerate(options.banks):
            if any(self.list_sources(last, bank)):
                self.lists[last, bank] = entry + offset
                offset += keep * needed
        self.list_record = offset
        end = entry + self.batch * offset
        self.lists_end = max([end, *(
            self.lists[last, bank] + (self.batch - 1) * offset
            + keep * rows * config.tiles(width)
            for bank, keep in enumerate(options.banks) if (last, bank) in self.lists)])
        entry = end
        for layer in layers[1:last]:
            for bank, keep in enumerate(options.banks):
                if any(self.list_sources(layer.index, bank)):
                    self.lists[layer.index, bank] = entry
                    entry += keep * rows * config.tiles(layer.outputs)
        self.lists_end = max(self.lists_end, entry)

    def list_sources(self, layer: int, bank: int) -> tuple[bool, bool, bool]:
        """Which derivatives a layer's bank holds: own ones, the layer below's own, its registers.

        The first layer's registers are its inputs: the list of a vector either way.
        """
        options = self.network.options
        own = not options.own_free and options.bank(layer) == bank
        shared = (options.own_free or layer == 1) and options.bank(layer - 1) == bank
        return own, shared, layer > 1 and any(self.list_sources(layer - 1, bank))

    def _check(self) -> None:
        config, network = self.network.config, self.network
        needs = (
            ("weight memory", network.words, config.weight_words, "words"),
            ("row memory", self.rows, config.rows, "rows"),
            ("pair memory", self.batch * self.pair_record, config.pairs, "pairs"),
            ("input memory", self.batch_beats, config.input_beats, "beats"),
            ("target memory", self.target_beats, config.target_beats, "beats"),
            ("logit memory", self.batch * self.logit_stride, config.logit_pairs, "pairs"),
            ("bias memory", network.bias_pairs, config.bias_pairs, "pairs"),
            ("loss unit", network.layers[-1].outputs, config.max_outputs, "outputs"),
            ("derivative unit", max(self.register_tiles.values()), 255, "tiles"),
            ("list memory's banks", self.lists_end, config.list_entries, "entries"),
            ("topers' queue", max((layer.inputs for layer in network.layers[1:]), default=0) + 1
             if self.weight_registers else 0, config.queue_entries, "sources"),
        )
        check_capacity(network, needs)


def check_capacity(network: Network, needs: tuple[tuple[str, int, int, str], ...]) -> None:
    """Refuse if one of ``needs`` (what, needed, available, unit) is not met.

    Raises
    ------
    CapacityError
        With every number that is too large.
    """
    short = [f"{what} {needed} {unit} of {available}"
             for what, needed, available, unit in needs if needed > available]
    if short:
        options = network.options
        widths = "-".join(str(width) for width in options.layers)
        raise CapacityError(
            f"{widths} by {options.algorithm} with batch {options.batch} needs more than preset "
            f"{network.config.name} has: {', '.join(short)}")
