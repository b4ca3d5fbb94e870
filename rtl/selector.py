"""Selection of the gradient registers, in place on rows: twin of tangente.golden.selector."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from tangente.golden.config import Config
from tangente.golden.timing import SELECTION_GROUP

__all__ = ["Selector"]

#: Lanes of a leaf of the tree of counts: few enough that a tie's place is one small table.
_LEAF = 4
#: Levels above the leaves in the tree of 128 lanes, the widest configuration.
_HEIGHT = 5
#: Stage (cycles after a row's read) in which its comparisons, its count, its neuron's count and the
#: places of its ties are registered.
_COMPARED, _TOTAL, _SUMMED, _PLACED = 3, 5, 6, 10
#: Cycles between the read that counts a row's ties and the read that writes it. Odd: the former
#: come every second cycle.
_AGAIN = _PLACED - _COMPARED


class _Slot(data.Struct):
    """What accompanies a row."""

    final: 1   # the threshold is known
    first: 1   # first tile of its neuron
    last: 1    # last tile of its neuron
    end: 1     # last row of the job
    neuron: unsigned(bits_for(SELECTION_GROUP - 1))


def _clamp(value: Value, largest: int) -> Value:
    """``value`` in the bits that ``largest`` needs; if it does not fit, at least ``largest``."""
    width = bits_for(largest)
    if len(value) <= width:
        return value
    return value[:width] | value[width:].any().replicate(width)


def _less(value: Value, count: Value) -> Value:
    """max(0, value - count), unsigned."""
    difference = value - count
    return difference[:len(value)] & ~difference[-1].replicate(len(value))


def _table(word: Value, function: Callable[[int], int]) -> Value:
    """Bit 0 of ``function`` of ``word``, as a table: adders of so few bits would cost more."""
    entries = sum((function(i) & 1) << i for i in range(1 << len(word)))
    return Const(entries, 1 << len(word)).bit_select(word, 1)


def _counted(level: int) -> int:
    """Stage in which the counts of a level of the tree are registered."""
    return _COMPARED + 1 if level < 3 else _TOTAL


def _delay(m: Module, value, cycles: int, *, reset_less: bool = True) -> list:
    """``value`` and its next ``cycles`` delays."""
    stages = [value]
    for _ in range(cycles):
        stage = Signal.like(stages[-1], name="stage", reset_less=reset_less)
        m.d.sync += stage.eq(stages[-1])
        stages.append(stage)
    return stages


class Selector(wiring.Component):
    """Zeroes all but the ``keep`` largest magnitudes of each neuron's rows.

    Neuron n's tile t is row ``base`` + n ``stride`` + t; the rule is that of
    :func:`tangente.golden.selector.select`: ties go to the lowest (tile, lane). The most negative
    code must not occur.

    A neuron's threshold, the magnitude of the smallest value kept, is found from its most
    significant bit down: each pass over the rows counts the magnitudes that reach a candidate.
    Then every row is read twice more: once to count the values at the threshold, whose places are
    handed down the same tree that counted them, and once to be written. The second read costs a
    cycle and saves a row's delay of ``lanes`` x ``element_bits`` shift registers. Neurons pass in
    groups of :data:`tangente.golden.timing.SELECTION_GROUP`, which hides the pipeline.

    A job takes exactly :func:`tangente.golden.timing.selection` cycles from ``start`` to ``done``:
    1,044 for 100 neurons of one tile and 9-bit elements. 100 lanes of 9 bits take 2,041 LUTs (an
    estimated 1,701 logic cells), 144 SRL16E, 405 CARRY4 and 2,447 flip-flops, with at most 7 LUTs
    between registers (Yosys 0.70, ``synth_xilinx -family xc7 -flatten -abc9``).

    Members
    -------
    start : unsigned(1), In. Begins a job; not between a ``start`` and its ``done``.
    base : unsigned(16), In. First row; taken at ``start``, as are the next four.
    stride : unsigned(16), In. Rows between neurons.
    tiles : unsigned(8), In. Rows of a neuron, at least 1.
    neurons : unsigned(16), In. At least 1.
    keep : unsigned(16), In. Values that a neuron keeps, at least 1.
    done : unsigned(1), Out. High for one cycle, that of the last write.
    read_enable : unsigned(1), Out. A row is read.
    read_row : unsigned(16), Out. Its address.
    read_data : unsigned(lanes * element_bits), In. The row two cycles later: element l, signed, at
        bit l * element_bits.
    write_enable : unsigned(1), Out. A row is written.
    write_row : unsigned(16), Out. Its address.
    write_data : unsigned(lanes * element_bits), Out. Its elements.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        row = config.lanes * config.element_bits
        super().__init__({
            "start": In(1),
            "base": In(16),
            "stride": In(16),
            "tiles": In(8),
            "neurons": In(16),
            "keep": In(16),
            "done": Out(1),
            "read_enable": Out(1),
            "read_row": Out(16),
            "read_data": In(row),
            "write_enable": Out(1),
            "write_row": Out(16),
            "write_data": Out(row),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        keep = Signal(16)
        with m.If(self.start):
            m.d.sync += keep.eq(self.keep)

        valid, slot, below, row = self._addresses(m)
        # Alone to be reset: what is under way at a reset must not be written.
        valids = _delay(m, valid, _AGAIN + _COMPARED + 1, reset_less=False)
        slots = _delay(m, slot, _AGAIN + _COMPARED + 1)
        rows = _delay(m, row, _AGAIN + _COMPARED + 1)
        again = [valid & slot.final for valid, slot in zip(valids[_AGAIN:], slots[_AGAIN:])]
        m.d.comb += [
            self.read_enable.eq(valid | again[0]),
            self.read_row.eq(Mux(again[0], rows[_AGAIN], row)),
        ]

        # Thresholds so far. A new neuron's is zero, whatever the last one in its place left.
        width = self.config.element_bits - 1
        m.submodules.thresholds = thresholds = Memory(
            shape=unsigned(width), depth=SELECTION_GROUP, init=[])
        known = thresholds.read_port(domain="comb")
        below_1, final_1 = _delay(m, below, 1)[1], slots[1].final | again[1]
        threshold = Signal(width)
        target = Signal(width, reset_less=True)
        m.d.comb += [
            known.addr.eq(Mux(again[1], slots[_AGAIN + 1].neuron, slots[1].neuron)),
            threshold.eq(Mux(below_1[-1] & ~final_1, 0, known.data)),
        ]
        m.d.sync += target.eq(threshold | Mux(final_1, 0, below_1))

        above, equal = self._compare(m, target)
        final_3 = slots[_COMPARED].final
        counts, total = self._count(m, [Mux(final_3, e, a) for a, e in zip(above, equal)])

        # A neuron's count, summed over its tiles; then the decision on one bit.
        count = Signal(16, reset_less=True)
        m.d.sync += count.eq(Mux(slots[_TOTAL].first, 0, count) + total)
        reached = count >= keep
        decided = valids[_SUMMED] & slots[_SUMMED].last & ~slots[_SUMMED].final
        below_6 = _delay(m, below_1, _SUMMED - 1)[-1]
        update = thresholds.write_port()
        m.d.comb += [
            update.en.eq(decided),
            update.addr.eq(slots[_SUMMED].neuron),
            update.data.eq(_delay(m, threshold, _SUMMED - 1)[-1]
                           | Mux(reached, below_6 + 1, 0)),
        ]

        # The candidate that failed last is the threshold + 1, or none did and nothing lies above:
        # the rest of ``keep`` are ties.
        m.submodules.larger = larger = Memory(
            shape=unsigned(16), depth=SELECTION_GROUP, init=[])
        failed = larger.write_port()
        m.d.comb += [
            failed.en.eq(decided & (~reached | below_6[-1])),
            failed.addr.eq(slots[_SUMMED].neuron),
            failed.data.eq(Mux(reached, 0, count)),
        ]
        beyond = larger.read_port(domain="comb")
        m.d.comb += beyond.addr.eq(slots[_TOTAL - 1].neuron)
        ties = Signal(16, reset_less=True)
        rest = Signal(16, reset_less=True)
        here = Mux(slots[_TOTAL].first, ties, rest)
        share = Signal(bits_for(self.config.lanes), reset_less=True)
        m.d.sync += [ties.eq(keep - beyond.data), share.eq(_clamp(here, self.config.lanes))]
        with m.If(valids[_TOTAL]):
            m.d.sync += rest.eq(_less(here, total))

        self._write(m, above, equal, self._places(m, counts, share))
        m.d.comb += [
            self.write_enable.eq(again[_COMPARED + 1]),
            self.write_row.eq(rows[-1]),
            self.done.eq(again[_COMPARED + 1] & slots[-1].end),
        ]
        return m

    def _addresses(self, m: Module) -> tuple[Signal, data.View, Signal, Signal]:
        """First reads: whether there is one, its slot, the bits below the one sought, the row."""
        width = self.config.element_bits - 1
        stride, left = Signal(16), Signal(16)
        tiles, tile = Signal(8), Signal(8)
        index = Signal(range(SELECTION_GROUP))
        group_row, neuron_row, row = Signal(16), Signal(16), Signal(16)
        below = Signal(width - 1)
        slot, valid = Signal(_Slot), Signal()
        guard, drain, odd = Signal(range(_SUMMED)), Signal(range(_AGAIN)), Signal()

        whole = left <= SELECTION_GROUP
        last_tile = tile == tiles
        last_index = Mux(whole, index + 1 == left, index == SELECTION_GROUP - 1)
        pass_end = last_tile & last_index
        # A pass waits until its first neuron's threshold is decided.
        ready = ~((index == 0) & (tile == 0) & guard.any())
        next_row = Signal(16)
        m.d.comb += [
            next_row.eq(neuron_row + stride),
            slot.first.eq(tile == 0),
            slot.last.eq(last_tile),
            slot.neuron.eq(index),
            slot.end.eq(pass_end & whole),
        ]

        with m.If(valid):
            with m.If(~last_tile):
                m.d.sync += [tile.eq(tile + 1), row.eq(row + 1)]
            with m.Else():
                m.d.sync += [tile.eq(0), index.eq(Mux(last_index, 0, index + 1))]
                with m.If(last_index & ~slot.final):
                    m.d.sync += [row.eq(group_row), neuron_row.eq(group_row)]
                with m.Else():
                    m.d.sync += [row.eq(next_row), neuron_row.eq(next_row)]
        with m.If(valid & last_tile & (index == 0)):
            m.d.sync += guard.eq(_SUMMED - 1)
        with m.Elif(guard.any()):
            m.d.sync += guard.eq(guard - 1)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    row.eq(self.base), neuron_row.eq(self.base), group_row.eq(self.base),
                    stride.eq(self.stride), tiles.eq(self.tiles - 1), left.eq(self.neurons),
                    below.eq(-1),
                ]
                with m.If(self.start):
                    m.next = "SEARCH"
            with m.State("SEARCH"):
                m.d.comb += valid.eq(ready)
                with m.If(ready & pass_end):
                    m.d.sync += below.eq(below >> 1)
                    with m.If(below == 0):
                        m.next = "FINAL"
            with m.State("FINAL"):
                m.d.comb += [valid.eq(ready & ~odd), slot.final.eq(1)]
                m.d.sync += [odd.eq(valid), drain.eq(_AGAIN - 1)]
                with m.If(valid & pass_end):
                    m.d.sync += [odd.eq(0), left.eq(left - SELECTION_GROUP), below.eq(-1)]
                    m.next = "IDLE"
                    with m.If(~whole):
                        m.next = "DRAIN"
            with m.State("DRAIN"):
                # The reads that write this group's rows come first.
                m.d.sync += [drain.eq(drain - 1), group_row.eq(row)]
                with m.If(drain == 0):
                    m.next = "SEARCH"
        return valid, slot, below, row

    def _compare(self, m: Module, target: Signal) -> tuple[list[Signal], list[Signal]]:
        """Lanes whose magnitude is above ``target``, and those where it equals it (stage 3)."""
        bits = self.config.element_bits
        above, equal = [], []
        for lane in range(self.config.lanes):
            value = self.read_data[lane * bits:(lane + 1) * bits]
            sign, ones = value[-1], value[:-1] ^ value[-1].replicate(bits - 1)
            # |value| = ones + sign. The sign as a bit of its own below both: one carry chain.
            difference = (Cat(Const(0, 1), target) - Cat(sign, ones))[1:bits + 1]
            above.append(Signal(name=f"above_{lane}", reset_less=True))
            equal.append(Signal(name=f"equal_{lane}", reset_less=True))
            m.d.sync += [above[-1].eq(difference[-1]), equal[-1].eq(difference == 0)]
        return above, equal

    def _count(self, m: Module, ones: list[Value]) -> tuple[list[list[Value]], Value]:
        """Counts of the tree's nodes, leaves first, at :meth:`_counted`; the total at _TOTAL."""
        nodes = [
            Cat(_table(Cat(ones[lane:lane + _LEAF]), lambda word, bit=bit: word.bit_count() >> bit)
                for bit in range(bits_for(_LEAF)))
            for lane in range(0, len(ones), _LEAF)]
        counts: list[list[Value]] = []
        while True:
            counts.append([_delay(m, node, 1)[1] for node in nodes])
            level = len(counts)
            if len(nodes) == 1:
                return counts, _delay(m, counts[-1][0], _TOTAL - _counted(level - 1))[-1]
            if _counted(level) != _counted(level - 1):
                nodes = counts[-1]
            nodes = ([left + right for left, right in zip(nodes[::2], nodes[1::2])]
                     + nodes[len(nodes) & ~1:])

    def _places(self, m: Module, counts: list[list[Value]], share: Value) -> list[Value]:
        """How many ties each leaf keeps (stage _PLACED) of the ``share`` of the row (_SUMMED).

        A node's left half takes what it can, the right half what is left over.
        """
        shares, now = [share], _SUMMED
        for level in range(len(counts) - 1, 0, -1):
            # A stage for each level but the last, whose two sums are short.
            stage = min(_SUMMED + _HEIGHT - level, _PLACED - 1)
            shares, now = [_delay(m, value, stage - now)[-1] for value in shares], stage
            lanes = _LEAF << level - 1
            halves = []
            for node, value in enumerate(shares):
                left, *right = counts[level - 1][2 * node:2 * node + 2]
                halves.append(_clamp(value, lanes))
                if right:
                    left = _delay(m, left, stage - _counted(level - 1))[-1]
                    halves.append(_clamp(_less(value, left), lanes))
            shares = halves
        return [_delay(m, value, _PLACED - now)[-1] for value in shares]

    def _write(self, m: Module, above: list[Signal], equal: list[Signal],
               places: list[Value]) -> None:
        """The row of the second read, without what is not kept."""
        bits = self.config.element_bits
        row = _delay(m, self.read_data, 1)[1]
        for lane in range(self.config.lanes):
            group, place = divmod(lane, _LEAF)
            before = equal[lane - place:lane]
            tie = _table(Cat(before, places[group]), lambda word, place=place:
                         (word & (1 << place) - 1).bit_count() < word >> place)
            element = slice(lane * bits, (lane + 1) * bits)
            kept = Signal(bits, name=f"kept_{lane}", reset_less=True)
            m.d.comb += self.write_data[element].eq(kept)
            with m.If(above[lane] | equal[lane] & tie):
                m.d.sync += kept.eq(row[element])
            with m.Else():
                m.d.sync += kept.eq(0)
