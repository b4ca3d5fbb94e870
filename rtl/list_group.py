"""Which neurons get a list, and which topers serve them next; see tangente.golden.lists."""

from __future__ import annotations

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.config import Config
from ..golden.flow import GROUP
from .delay import delay
from .descriptor import Descriptor
from .list_check import Job
from .ram import Ram

__all__ = ["ListGroup"]


class ListGroup(wiring.Component):
    """Live lanes of a tile, by toper and *row*: lane = row x topers + toper.

    Members
    -------
    kind, job, tiles, width : In. They stand; tiles of Q, lanes of the last one.
    start : In. Begin (pulse). SRT: toper 0 is the group, its list at L_BASE.
    tile : In. Find the next tile's live lanes (pulse); ``known``, Out: they are.
    scanning, pair_address, group : Out, Out, In. S_BASE's aligned groups of eight pairs,
        Ram.LATENCY later.
    any : Out. Some lane is left, from the cycle after ``known`` on, and two cycles after a take.
    take : In. The lowest that is left of each toper is the next group from the next cycle on; a
        toper that has none serves the next one's lowest, and that one its second lowest.
    last_tile, tile_number : Out. The present one; ``last_tile`` a cycle later.
    chosen, helps, rows, lanes : Out. Of the next group: a bit a toper, whether it serves a lane,
        and one of the next toper's; the lane's row; the lane.
    move : In. The next group is the present one from the next cycle on.
    valid, helped, second, firsts : Out. Of the present group: a bit a toper, whether it has a lane,
        one of the next toper's, the second lowest of its own; the first entry of each list.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        topers = config.toper_lanes
        self._rows = -(-config.lanes // topers)
        self._row_bits = max(1, bits_for(self._rows - 1))
        self._entry_bits = bits_for(config.list_entries - 1)
        super().__init__({
            "kind": In(Job), "job": In(Descriptor()), "tiles": In(12), "width": In(12),
            "start": In(1), "tile": In(1), "known": Out(1),
            "scanning": Out(1), "pair_address": Out(17),
            "group": In(2 * config.element_bits * GROUP),
            "any": Out(1), "take": In(1), "move": In(1), "last_tile": Out(1),
            "tile_number": Out(12), "chosen": Out(topers), "helps": Out(topers),
            "valid": Out(topers), "helped": Out(topers), "second": Out(topers),
            "rows": Out(topers * self._row_bits),
            "lanes": Out(topers * config.lane_bits), "firsts": Out(topers * self._entry_bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job = self.config, self.job
        topers, rows, bits = config.toper_lanes, self._rows, config.element_bits
        first_tile, width = Signal(), Signal(range(config.lanes + 1))
        base = Signal(self._entry_bits)
        # A bit a lane; as rows, of a bit a toper.
        left = Signal(config.lanes)
        sorts = self.kind == Job.SRT
        tiles_less = Signal(12, reset_less=True)
        last_tile = Signal()
        m.d.sync += [tiles_less.eq(self.tiles - 1), self.last_tile.eq(last_tile)]
        m.d.comb += [
            last_tile.eq(self.tile_number == tiles_less),
            width.eq(Mux(last_tile, self.width, config.lanes)),
        ]

        # Live lanes: all of the tile, or those whose element is not zero. All are looked at.
        pairs, size = (width + 1)[1:], 2 * GROUP
        unread, begun = Signal(range(config.lanes // 2 + 2 * GROUP)), Signal()
        # The tile's first pair, of which the low bits are its place in a group.
        place = Signal(17)
        skipped = place[:3]
        with m.If(self.start):
            m.d.sync += [first_tile.eq(1), self.tile_number.eq(0), base.eq(job.l_base),
                         place.eq(Mux(job.flags.live, job.s_base, 0))]
        with m.Elif(self.tile):
            m.d.sync += first_tile.eq(0)
            with m.If(~first_tile):
                m.d.sync += [self.tile_number.eq(self.tile_number + 1),
                             base.eq(base + _times(job.k, rows)),
                             place.eq(place + config.lanes // 2)]
        m.d.sync += begun.eq(self.tile)
        last = Signal()
        m.d.comb += last.eq(unread <= GROUP)
        with m.If(begun):
            m.d.sync += [self.scanning.eq(1), unread.eq(pairs + skipped),
                         self.pair_address.eq(Cat(Const(0, 3), place[3:]))]
        with m.Elif(self.scanning):
            m.d.sync += [unread.eq(unread - GROUP), self.scanning.eq(~last),
                         self.pair_address.eq(self.pair_address + GROUP)]
        arrived = delay(m, self.scanning, Ram.LATENCY, "arrived")
        ends = delay(m, self.scanning & last, Ram.LATENCY - 1, "ends")
        final = delay(m, ends, 1, "final")
        m.d.sync += self.known.eq(final)
        # Of the last group, elements up to the tile's last one.
        end = Cat(~width[0], (pairs + skipped - 1)[:3])
        end = delay(m, end, Ram.LATENCY - 1, "end")
        all_there = Const((1 << size) - 1, size)
        within = Signal(size, reset_less=True)
        m.d.sync += within.eq(Mux(ends, all_there >> ~end, all_there))
        there = Cat(self.group.word_select(e, bits).any() | ~job.flags.live for e in range(size))
        there &= within
        # Lane l is element l + 2 skipped of what is read: an element of a group, turned.
        groups = -(-(config.lanes + size - 2) // size)
        number = Signal(range(groups + 1))
        turned, beyond = Signal(size), Signal(GROUP)
        m.d.comb += [
            turned.eq(Cat(there, there) >> (skipped << 1)),
            # A pair of the tile's that is in the next group.
            beyond.eq(Cat(skipped + i >= GROUP for i in range(GROUP))),
        ]
        with m.If(begun):
            m.d.sync += number.eq(0)
        with m.Elif(arrived):
            m.d.sync += number.eq(number + 1)

        # Of each toper, the lowest two: all topers' in one vector, row by row.
        of_row = [Signal(topers, name=f"left_{row}") for row in range(rows)]
        m.d.comb += [lanes.eq(left[row * topers:(row + 1) * topers])
                     for row, lanes in enumerate(of_row)]
        firsts, seconds = self._lowest_two(m, of_row)
        # Who has none left helps, or who has but one and is helped. The last one helps the first.
        # Known a cycle after what is left, as it is when a group is taken.
        some, more = Signal(topers), Signal(topers)
        first_rows, second_rows = ([Signal(topers, name=f"{name}_row_{bit}")
                                    for bit in range(self._row_bits)]
                                   for name in ("first", "second"))
        none, one = _none_one(of_row, topers)
        m.d.sync += [some.eq(~none), more.eq(~none & ~one)]
        for numbers, one_hot in ((first_rows, firsts), (second_rows, seconds)):
            m.d.sync += [number.eq(value) for number, value in zip(numbers, _number(one_hot))]
        # Of so many topers up to each one: whether one helps the last of them; whether all hand on.
        helps, span = Signal(topers), 1
        none_left, hands_on = list(~some), list(~more)
        while span < topers:
            none_left, hands_on = (
                [none_left[t] | hands_on[t] & (
                    none_left[t - span] | hands_on[t - span] & none_left[(t - 2 * span) % topers])
                 for t in range(topers)],
                [hands_on[t] & hands_on[t - span] & hands_on[(t - 2 * span) % topers]
                 for t in range(topers)])
            span *= 3
        m.d.comb += [helps.eq(Cat(none_left)), self.any.eq(some.any())]

        # Elements of the group that has arrived; else, what is taken is left no more.
        takes, takes_second = Signal(topers), Signal(topers)
        taken = Cat(first & takes | second & takes_second for first, second in zip(firsts, seconds))
        at, later, begins = Signal(groups + 1), Signal(size), Signal(groups * size)
        m.d.comb += [
            takes.eq(self.take.replicate(topers)),
            takes_second.eq(takes & helps.rotate_left(1) & ~helps),
            at.eq(Cat(arrived & (number == group) for group in range(groups + 1))),
            later.eq(Cat(bit.replicate(2) for bit in beyond)),
            begins.eq(Cat(at[group + 1].replicate(size) & later
                          | at[group].replicate(size) & ~later for group in range(groups))),
        ]
        with m.If(begun):
            m.d.sync += left.eq(0)
        with m.Else():
            m.d.sync += left.eq(begins & turned.replicate(groups) | left & ~begins & ~taken)
        def row_of(numbers: list[Signal], toper: int) -> Value:
            return Cat(bit[toper] for bit in numbers)

        for t in range(topers):
            following = (t + 1) % topers
            chosen = self.rows.word_select(t, self._row_bits)
            with m.If(self.take):
                m.d.sync += [
                    self.chosen[t].eq(~helps[t] | some[following]),
                    self.helps[t].eq(helps[t]),
                    chosen.eq(Mux(helps[t], row_of(first_rows, following), Mux(
                        helps[t - 1], row_of(second_rows, t), row_of(first_rows, t)))),
                ]
            lane = (0 if rows == 1 else _times(Cat(chosen, 0), topers)) + Mux(
                self.helps[t], following, t)
            m.d.comb += self.lanes.word_select(t, self.config.lane_bits).eq(lane)
            place = base + sum((Mux(bit, job.k << i, 0) for i, bit in enumerate(chosen)), 0)
            with m.If(self.move | sorts):
                m.d.sync += self.firsts.word_select(t, self._entry_bits).eq(
                    Mux(sorts, job.l_base, place) if t == 0 else place)
        with m.If(self.start | sorts):
            m.d.sync += [self.valid.eq(1), self.helped.eq(0), self.second.eq(0)]
        with m.Elif(self.move):
            m.d.sync += [self.valid.eq(self.chosen), self.helped.eq(self.helps),
                         self.second.eq(self.helps.rotate_left(1) & ~self.helps)]
        return m

    def _lowest_two(self, m: Module, of_row: list[Signal]) -> tuple[list[Value], list[Value]]:
        """Of each row, in which places its bit is the lowest, the second lowest, that is set.

        In blocks of four rows: a LUT each, with what is known of the rows below the block.
        """
        width = len(of_row[0])
        firsts, seconds = [], []
        for first in range(0, len(of_row), 4):
            below, block = of_row[:first], of_row[first:first + 4]
            none, one = (Signal(width, name=f"{name}_below_{first}") for name in ("none", "one"))
            m.d.comb += [signal.eq(value)
                         for signal, value in zip((none, one), _none_one(below, width))]
            for i, lanes in enumerate(block):
                none_here, one_here = _none_one(block[:i], width)
                firsts.append(lanes & none & none_here)
                seconds.append(lanes & (one & none_here | none & one_here))
        for name, values in (("first", firsts), ("second", seconds)):
            for row, value in enumerate(values):
                values[row] = Signal(width, name=f"{name}_{row}")
                m.d.comb += values[row].eq(value)
        return firsts, seconds


def _none_one(bits: list[Value], width: int) -> tuple[Value, Value]:
    """In which places none of these vectors of ``width`` bits has a bit set; in which just one."""
    if not bits:
        return Const((1 << width) - 1, width), Const(0, width)
    if len(bits) == 1:
        return ~bits[0], bits[0]
    half = 1 << (len(bits) - 1).bit_length() - 1
    (none, one), (no_other, other) = (_none_one(bits[:half], width),
                                      _none_one(bits[half:], width))
    return none & no_other, one & no_other | none & other


def _number(one_hot: list[Value]) -> list[Value]:
    """Bits of the number of the vector whose bit is set; 0 if none is."""
    bits = range(max(1, (len(one_hot) - 1).bit_length()))
    return [reduce(or_, (vector for row, vector in enumerate(one_hot) if row >> b & 1),
                   Const(0, len(one_hot[0]))) for b in bits]


def _times(value, factor: int):
    """``value * factor`` by additions: a DSP48E1 is too good for it."""
    return sum((value << i for i in range(factor.bit_length()) if factor >> i & 1), 0)
