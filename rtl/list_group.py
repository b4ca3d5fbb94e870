"""Which neurons get a list, and which topers serve them next; see tangente.golden.lists."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
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
    last_tile, tile_number : Out. The present one.
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
        left = [Signal(topers, name=f"left_{row}") for row in range(rows)]
        sorts = self.kind == Job.SRT
        tiles_less = Signal(12, reset_less=True)
        m.d.sync += tiles_less.eq(self.tiles - 1)
        m.d.comb += [
            self.last_tile.eq(self.tile_number == tiles_less),
            width.eq(Mux(self.last_tile, self.width, config.lanes)),
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
        final = delay(m, self.scanning & last, Ram.LATENCY, "final")
        m.d.sync += self.known.eq(final)
        # Of the last group, elements up to the tile's last one.
        end = Cat(~width[0], (pairs + skipped - 1)[:3])
        end = delay(m, end, Ram.LATENCY, "end")
        all_there = Const((1 << size) - 1, size)
        there = Cat(self.group.word_select(e, bits).any() | ~job.flags.live for e in range(size))
        there &= Mux(final, all_there >> ~end, all_there)
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

        # Of each toper, the lowest two.
        mine = [[left[row][t] for row in range(rows) if row * topers + t < config.lanes]
                for t in range(topers)]
        firsts, seconds = [], []
        for lanes in mine:
            firsts.append([lane & ~Cat(lanes[:row]).any() for row, lane in enumerate(lanes)])
            seconds.append(_seconds(lanes))
        # Who has none left helps, or who has but one and is helped. The last one helps the first.
        # Known a cycle after what is left, as it is when a group is taken.
        some, more = Signal(topers), Signal(topers)
        first_rows, second_rows = ([Signal(self._row_bits, name=f"{name}_{t}")
                                    for t in range(topers)] for name in ("first", "second"))
        for t in range(topers):
            none, one = _none_one(mine[t])
            m.d.sync += [some[t].eq(~none), more[t].eq(~none & ~one),
                         first_rows[t].eq(_number(firsts[t])),
                         second_rows[t].eq(_number(seconds[t]))]
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
        for t in range(topers):
            following = (t + 1) % topers
            chosen = self.rows.word_select(t, self._row_bits)
            with m.If(self.take):
                m.d.sync += [
                    self.chosen[t].eq(~helps[t] | some[following]),
                    self.helps[t].eq(helps[t]),
                    chosen.eq(Mux(helps[t], first_rows[following], Mux(
                        helps[t - 1], second_rows[t], first_rows[t]))),
                ]
            for row, bit in enumerate(mine[t]):
                group, e = divmod(row * topers + t, size)
                with m.If(begun):
                    m.d.sync += bit.eq(0)
                with m.Elif(arrived & (number == Mux(beyond[e >> 1], group + 1, group))):
                    m.d.sync += bit.eq(turned[e])
                with m.Elif(self.take & (firsts[t][row]
                                         | seconds[t][row] & helps[t - 1] & ~helps[t])):
                    m.d.sync += bit.eq(0)
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


def _none_one(bits):
    """Whether none of them is set; whether exactly one is."""
    if not bits:
        return Const(1, 1), Const(0, 1)
    if len(bits) == 1:
        return ~bits[0], bits[0]
    half = 1 << (len(bits) - 1).bit_length() - 1
    (none, one), (no_other, other) = _none_one(bits[:half]), _none_one(bits[half:])
    return none & no_other, one & no_other | none & other


def _seconds(bits):
    """Of each bit, whether it is the second lowest that is set: in blocks of four, a LUT each."""
    seconds = []
    for first in range(0, len(bits), 4):
        none, one = _none_one(bits[:first])
        for i, bit in enumerate(block := bits[first:first + 4]):
            none_here, one_here = _none_one(block[:i])
            seconds.append(bit & (one & none_here | none & one_here))
    return seconds


def _number(one_hot):
    """The number of the bit that is set; 0 if none is."""
    bits = range(max(1, (len(one_hot) - 1).bit_length()))
    return Cat(Cat(bit for row, bit in enumerate(one_hot) if row >> b & 1).any() for b in bits)


def _times(value, factor: int):
    """``value * factor`` by additions: a DSP48E1 is too good for it."""
    return sum((value << i for i in range(factor.bit_length()) if factor >> i & 1), 0)
