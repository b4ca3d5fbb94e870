"""Selection of the gradient registers, in place on rows: twin of tangente.golden.selector."""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from tangente.golden.config import Config
from tangente.golden.timing import (
    SELECTION_BEATS,
    SELECTION_HISTORY,
    SELECTION_TILES,
    selection_digits,
    selection_resident,
)

from .ones import ones, table

__all__ = ["Selector"]

#: Cycles from a row's read to the magnitudes of its first beat.
_ENTER = 3
#: Lanes of a leaf, few enough that a tie's place is one small table; leaves of a branch.
_LEAF, _BRANCH = 4, 4
_SIZE = _LEAF * _BRANCH


class _Slot(data.Struct):
    """What accompanies a beat."""

    valid: 1
    head: 1   # first beat of its row
    first: 1  # first beat of its neuron
    last: 1   # last beat of its neuron
    final: 1  # its row is written
    end: 1    # last row of the job
    digit: 3  # that this pass decides, if there are several passes


class _Lanes(NamedTuple):
    """A beat's lanes at one of the digits, a bit each."""

    high: Value   # the digit
    low: Value
    tied: Value   # the digits before are the threshold's
    above: Value  # they are larger


def _clamp(value: Value, largest: int) -> Value:
    """``value`` in the bits that ``largest`` needs; if it does not fit, at least ``largest``."""
    width = bits_for(largest)
    if len(value) <= width:
        return value
    return value[:width] | value[width:].any().replicate(width)


def _shorten(value: Value, width: int) -> Value:
    """A negative ``value``, or the least of so many bits if it is below; otherwise zero."""
    low = value[:width - 1]
    return Cat(low & value[width - 1:].all().replicate(len(low)), value[-1]).as_signed()


def _delay(m: Module, value, cycles: int) -> list:
    """``value`` and its next ``cycles`` delays, with reset: what is under way ends with it."""
    stages = [value]
    for _ in range(cycles):
        stage = Signal.like(stages[-1], name="stage", reset_less=False)
        m.d.sync += stage.eq(stages[-1])
        stages.append(stage)
    return stages


class Selector(wiring.Component):
    """Zeroes all but the ``keep`` largest magnitudes of each neuron's rows.

    Neuron n's tile t is row ``base`` + n ``stride`` + t, and no two of these are the same row; the
    rule is that of :func:`tangente.golden.selector.select`: ties go to the lowest (tile, lane). The
    most negative code must not occur.

    A neuron's threshold, the magnitude of the smallest value kept, is found digit by digit of two
    bits, the most significant first: of the lanes that tie with the digits so far, those whose next
    digit is at least 1, 2 and 3 are counted, and that decides it. Each digit has hardware of its
    own, through which the rows stream. A row enters as ``beats`` shares of its lanes, one a cycle;
    a neuron's beats wait in LUT memory for its decision. Then the places of the ties are found, and
    zeros are written where nothing is kept.

    A job takes exactly :func:`tangente.golden.timing.selection` cycles from ``start`` to ``done``:
    ``beats`` a row and 23 more for neurons of one row, 31 for neurons of two. Neurons of more rows
    than :data:`~tangente.golden.timing.SELECTION_TILES` take a pass for each digit and one to
    write. 100 lanes of 9 bits in two beats take 3,378 LUTs, of which 692 are memory, 172 CARRY4 and
    5,354 flip-flops, with at most 8 LUTs between registers (Yosys 0.70, ``synth_xilinx -family xc7
    -flatten -abc9``).

    Parameters
    ----------
    config : lanes, element bits and rows.
    beats : cycles of a row.

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
    write_zero : unsigned(lanes), Out. Elements of ``write_row`` that become zero.
    write_row : unsigned(16), Out.

    Raises
    ------
    ValueError
        If a row takes less than two beats.
    """

    def __init__(self, config: Config, beats: int = SELECTION_BEATS) -> None:
        self.config, self.beats = config, beats
        self.digits = selection_digits(config.element_bits)
        if beats < 2:
            raise ValueError(f"beats must be at least 2, not {beats!r}")
        #: Lanes of a beat.
        self.share = -(-config.lanes // beats)
        #: Cycles from digit to digit, of neurons of one row, of two, ...
        self.steps = [beats * tiles + 2 for tiles in range(1, SELECTION_TILES + 1)
                      if selection_resident(tiles, config.element_bits, beats)]
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
            "write_zero": Out(config.lanes),
            "write_row": Out(16),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        #: Neurons stay for all digits; which of the ``steps`` they take.
        self._resident, self._pace = Signal(), Signal(range(len(self.steps)))
        self._time = Signal(range(SELECTION_HISTORY))
        m.d.sync += self._time.eq(self._time + 1)
        slot, row = self._addresses(m)
        slots = _delay(m, slot, _ENTER)
        digits, counted = self._magnitudes(m, slots[_ENTER - 1].head)

        # What is still to be kept, below zero; a neuron has no more values than its memory.
        most = (1 << bits_for(min(255, self.config.rows) * self.config.lanes)) - 1
        keep = Signal(bits_for(most), reset_less=True)
        left = Signal(signed(len(keep) + 1), reset_less=True)
        m.d.sync += left.eq(-keep)
        with m.If(self.start):
            m.d.sync += keep.eq(_clamp(self.keep, most))
        now = slots[_ENTER]
        high, low = digits[0]
        lanes = _Lanes(high, low, Const(0), Const(0))
        for index in range(self.digits):
            stages = _delay(m, now, self.steps[-1] - 1)
            digit, left = self._decide(m, index, stages, counted, left)
            lanes, counted = self._next(m, index, digits, lanes, digit)
            now = Signal(_Slot, name=f"slot_{index + 1}")
            m.d.sync += now.eq(Array(stages[step - 1] for step in self.steps)[self._pace])
        self._write(m, slot, row, now, lanes, left)
        return m

    def _addresses(self, m: Module) -> tuple[data.View, Signal]:
        """The beat whose lanes are read, and its row."""
        stride, left, row, neuron = Signal(16), Signal(16), Signal(16), Signal(16)
        tiles, tile = Signal(8), Signal(8)
        beat = Signal(range(self.beats))
        slot, valid, digit = Signal(_Slot), Signal(), Signal(3)
        last_beat, last_tile = beat == self.beats - 1, tile == tiles
        following = Signal(16)
        m.d.comb += [
            slot.valid.eq(valid),
            slot.digit.eq(digit),
            slot.head.eq(beat == 0),
            slot.first.eq(slot.head & (tile == 0)),
            slot.last.eq(last_beat & last_tile),
            slot.final.eq(self._resident | (digit == self.digits)),
            slot.end.eq(last_tile & (left == 1)),
            following.eq(neuron + stride),
        ]
        with m.If(valid):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            with m.If(last_beat & ~last_tile):
                m.d.sync += [tile.eq(tile + 1), row.eq(row + 1)]
            with m.Elif(last_beat):
                m.d.sync += tile.eq(0)
                with m.If(slot.final):
                    m.d.sync += [digit.eq(0), left.eq(left - 1), neuron.eq(following),
                                 row.eq(following), valid.eq(left != 1)]
                with m.Else():
                    m.d.sync += [digit.eq(digit + 1), row.eq(neuron)]
        with m.If(self.start):
            resident = self.tiles <= len(self.steps)
            m.d.sync += [
                valid.eq(1), row.eq(self.base), neuron.eq(self.base), left.eq(self.neurons),
                stride.eq(self.stride), tiles.eq(self.tiles - 1),
                self._resident.eq(resident), self._pace.eq(Mux(resident, self.tiles - 1, 0)),
            ]
        return slot, row

    def _magnitudes(self, m: Module,
                    head: Value) -> tuple[list[tuple[Value, Value]], list[Value]]:
        """The digits (high, low bits) of a beat's lanes; those whose first is at least 1, 2, 3."""
        bits, share = self.config.element_bits, self.share
        held = Signal.like(self.read_data, reset_less=True)
        beat = Signal(range(self.beats))
        with m.If(head):
            m.d.sync += [held.eq(self.read_data), beat.eq(1)]
        with m.Else():
            m.d.sync += beat.eq(beat + 1)

        def plane(row: Value, share_index: int, bit: int) -> Value:
            first = share_index * share
            return Cat(row[lane * bits + bit]
                       for lane in range(first, min(first + share, self.config.lanes)))

        values = []
        for bit in range(bits):
            value = Signal(share, name=f"value_{bit}")
            later = Array(plane(held, i, bit) for i in range(1, self.beats))
            m.d.comb += value.eq(Mux(head, plane(self.read_data, 0, bit),
                                     later[beat - 1] if len(later) > 1 else later[0]))
            values.append(value)
        # The negative of a number: every bit above the lowest one is inverted.
        magnitude: list[Value] = []
        early: list[Value] = []
        below: Value = Const(0, share)
        for bit, value in enumerate(values[:-1]):
            absolute = Signal(share, name=f"magnitude_{bit}", reset_less=True)
            early.append(value ^ values[-1] & below)
            m.d.sync += absolute.eq(early[-1])
            below = below | value
            magnitude.append(absolute)
        for values in (magnitude, early):
            values += [Const(0, share)] * (len(values) % 2)
        low, high = early[-2:]
        reached = [Signal(share, name=f"reach_0_{least}", reset_less=True) for least in (1, 2, 3)]
        m.d.sync += [signal.eq(value) for signal, value in
                     zip(reached, (high | low, high, high & low))]
        return list(zip(magnitude[::-2], magnitude[-2::-2])), reached

    def _decide(self, m: Module, index: int, stages: list, counted: list[Value],
                left: Signal) -> tuple[Signal, Signal]:
        """A digit of the threshold, and the rest to be kept of those that tie with it.

        ``counted`` are the lanes that tie so far and whose digit is at least 1, 2, 3.
        """
        after = stages[1]
        reached, sums = [], []
        for least, lanes in enumerate(counted, 1):
            count = Signal(range(self.share + 1), name=f"count_{index}_{least}", reset_less=True)
            total = Signal.like(left, name=f"sum_{index}_{least}", reset_less=True)
            following = Signal.like(left, name=f"following_{index}_{least}")
            m.d.comb += following.eq(Mux(after.first, left, total) + count)
            m.d.sync += [count.eq(ones(lanes)), total.eq(following)]
            reached.append(~following[-1])
            sums.append(total)
        before = Signal.like(left, name=f"before_{index}", reset_less=True)
        with m.If(after.first):
            m.d.sync += before.eq(left)

        digit = Signal(2, name=f"digit_{index}", reset_less=True)
        decided = Signal(name=f"decided_{index}")
        rest = Signal.like(left, name=f"left_{index}", reset_less=True)
        decides = after.valid & after.last & (self._resident | (after.digit == index))
        m.d.sync += decided.eq(decides)
        with m.If(decides):
            m.d.sync += digit.eq(Cat(reached[2] | reached[0] & ~reached[1], reached[1]))
        with m.If(decided):
            m.d.sync += rest.eq(Array([*sums, before])[digit])
        return digit, rest

    def _next(self, m: Module, index: int, digits: list[tuple[Value, Value]], lanes: _Lanes,
              digit: Signal) -> tuple[_Lanes, list[Value]]:
        """The lanes at the digit after ``index``, whose ``digit`` is decided; those to count."""
        share = self.share
        waiting = [lanes.high, lanes.low] if index == 0 else list(lanes)
        high, low, *rest = self._later(m, waiting, 1)
        tied, above = rest or (Const(-1, share), Const(0, share))
        one, two = digit[0].replicate(share), digit[1].replicate(share)
        unlike = high ^ two
        counted: list[Value] = []
        result = _Lanes(*(Signal(share, name=f"{name}_{index + 1}", reset_less=True)
                          for name in _Lanes._fields))
        still = tied & ~unlike & ~(low ^ one)
        m.d.sync += [
            result.tied.eq(still),
            result.above.eq(above | tied & (high & ~two | ~unlike & low & ~one)),
        ]
        if index + 1 < self.digits:
            high, low = self._later(m, digits[index + 1], index + 1)
            counted = [Signal(share, name=f"reach_{index + 1}_{least}", reset_less=True)
                       for least in (1, 2, 3)]
            m.d.sync += [
                result.high.eq(high), result.low.eq(low),
                *(target.eq(still & value) for target, value in
                  zip(counted, (high | low, high, high & low)))]
        return result, counted

    def _later(self, m: Module, values: Sequence[Value], digits: int) -> list[Value]:
        """``values`` of so many digits ago, in the cycle in which lanes are compared."""
        width = len(values[0])
        m.submodules += (memory := Memory(
            shape=unsigned(len(values) * width), depth=SELECTION_HISTORY, init=[],
            attrs={"ram_style": "distributed"}))
        write, read = memory.write_port(), memory.read_port(domain="comb")
        word = Signal(len(values) * width, reset_less=True)
        # Each memory has addresses of its own, later than the last one's: shared ones would have to
        # reach them all.
        written = Signal.like(self._time, init=(self._time.init - 1) % SELECTION_HISTORY)
        back = Signal.like(self._time)
        ago = Array(step * digits - 2 for step in self.steps)[self._pace]
        m.d.sync += [written.eq(self._time), back.eq(self._time - ago), word.eq(read.data)]
        self._time = written
        m.d.comb += [write.en.eq(1), write.addr.eq(written), write.data.eq(Cat(values)),
                     read.addr.eq(back)]
        return [word[i * width:(i + 1) * width] for i in range(len(values))]

    def _write(self, m: Module, entering, row: Signal, slot, lanes: _Lanes, left: Signal) -> None:
        """Second reads and writes, of what lies above and of the first of the ties."""
        config, share = self.config, self.share
        slots = _delay(m, slot, self.beats + 3)
        again = [slot.valid & slot.head & slot.final for slot in slots[self.beats:]]
        m.submodules.rows = rows = Memory(shape=unsigned(16), depth=32, init=[],
                                          attrs={"ram_style": "distributed"})
        write, read = rows.write_port(), rows.read_port(domain="comb")
        write_row = _delay(m, read.data, 3)[-1]
        m.d.sync += [write.addr.eq(write.addr + write.en), read.addr.eq(read.addr + again[0])]
        m.d.comb += [
            write.en.eq(entering.valid & entering.head & entering.final),
            write.data.eq(row),
            self.read_enable.eq(entering.valid & entering.head),
            self.read_row.eq(row),
            self.write_row.eq(write_row),
            self.done.eq(again[3] & slots[-1].end),
        ]
        flags = self._flags(m, slots[1], lanes, left)
        shares = [flags]
        for _ in range(self.beats - 1):
            earlier = Signal(share, reset_less=True)
            m.d.sync += earlier.eq(shares[0])
            shares.insert(0, earlier)
        dropped = Signal(config.lanes, reset_less=True)
        m.d.sync += dropped.eq(~Cat(shares)[:config.lanes])
        m.d.comb += self.write_zero.eq(dropped & again[3].replicate(config.lanes))

    def _flags(self, m: Module, slot, lanes: _Lanes, left: Signal) -> Signal:
        """Lanes that are kept, three cycles later; ``slot`` is one later."""
        share = self.share
        # Ties before each leaf in its branch, and of each branch.
        before, branches = [], []
        for branch in range(0, share, _SIZE):
            part = lanes.tied[branch:min(branch + _SIZE, share)]
            leaves = -(-len(part) // _LEAF)
            for leaf in range(leaves + 1):
                ties = Signal(range(_LEAF * leaf + 1), name=f"ties_{branch}_{leaf}",
                              reset_less=True)
                if leaf:
                    m.d.sync += ties.eq(ones(part[:_LEAF * leaf]))
                (before if leaf < leaves else branches).append(ties)
        total = sum(branches, Const(0, 1))
        rest, after = (Signal.like(left, name=name, reset_less=True) for name in ("rest", "after"))
        m.d.comb += after.eq(Mux(slot.first, left, rest) + total)
        with m.If(after[-1]):
            m.d.sync += rest.eq(after)
        with m.Else():
            m.d.sync += rest.eq(0)
        # How many more ties than may be kept lie before each branch, in -_SIZE..0.
        width = bits_for(len(branches) * _SIZE - 1) + 1
        short = _delay(m, _shorten(left, width), 1)[-1]
        here = Mux(slot.first, short, _shorten(rest, width))
        excess = []
        for branch in range(len(branches)):
            few = Signal(signed(bits_for(_SIZE)), name=f"excess_{branch}", reset_less=True)
            reached = Signal(signed(width + 1), name=f"reached_{branch}")
            m.d.comb += reached.eq(here + sum(branches[:branch], Const(0, 1)))
            m.d.sync += few.eq(_shorten(reached, len(few)))
            excess.append(few)

        tied, above = _delay(m, lanes.tied, 2)[-1], _delay(m, lanes.above, 2)[-1]
        places = [_delay(m, ties, 1)[-1] for ties in before]
        flags = Signal(share, reset_less=True)
        for lane in range(share):
            leaf, place = divmod(lane, _LEAF)
            if place == 0:
                lies = excess[lane // _SIZE] + places[leaf]
                few = Signal(range(_LEAF + 1), name=f"few_{leaf}")
                m.d.comb += few.eq(Mux(lies[-1], Mux(lies < -_LEAF, _LEAF, -lies), 0))
            first = table(Cat(tied[lane - place:lane], few), lambda word, place=place:
                           (word & (1 << place) - 1).bit_count() < word >> place)
            m.d.sync += flags[lane].eq(above[lane] | tied[lane] & first)
        return flags
