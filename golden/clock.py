"""The clock: exact cycle counts of a program, instruction by instruction, as the RTL takes them.

The golden machine keeps one; ``tangente cycles`` reads it. Counts depend on which scalars are zero
(:mod:`tangente.golden.flow`) and on what the topers take; without data, nothing is zero. Transfers
are timed for a memory that answers after ``latency`` cycles and then moves one beat a cycle.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from . import flow, timing
from .config import Config
from .isa import LISTS, Flag, Op, Post, Reg, Space
from .timing import POST_ERRORS_LATENCY, POST_LATENCY, bias_update, selection

__all__ = ["Clock", "DDR_LATENCY"]

#: Cycles after which the simulated memory answers a burst.
DDR_LATENCY = 30

_READ_EXECUTE = 2     # of every instruction
_CHECK = 1            # of those that may wait, or be refused for what their operands hold
_FETCH = 1            # of one that does not follow the one before
# From the step that issues a micro-operation (see tangente.rtl.uop and tangente.rtl.datapath).
_FIRST_STEP = 2       # from start to the first step, less the tiles that are counted in between
_SLOT_DONE = 17       # from the last step of UPD to free
_SCANNED_DONE = 18    # likewise if it is scanned
_FIRST_ACCEPT = 2     # from start to the first pair that could be accepted, or sample left out
_WRITTEN = 15         # from a pair's acceptance until its write shows
_EMPTIED = 12         # from the last step of MVA, MVD, MVR until the array is free
_ROW_DONE = 16        # from the last step of OWN to free
_DEEP_DONE = 21       # from the last step of DEEP to free
_REDUCE_ACCEPT = 13   # likewise from the step that ends an MVD sum, less the levels of the tree
_LOAD_OVERHEAD = 4    # to ask, and to see the last beat in its memory
_STORE_OVERHEAD = 12  # to read the first beats, and to see the last answer
_PICK_CYCLES = 4      # of a beat of weights, for its slots to be picked
_PICK_OVERHEAD = 2    # for the first of them, beside these
_TREE_FAN_IN = 5
_LIST_CYCLES = 10     # of SRT, TOP and SCT: their checks, beside tiles

#: A cycle in which no loss is over yet.
_NEVER = 1 << 40

_POST_ONLY = (Op.LOSS, Op.BUP)
_PRODUCTS = (Op.MVA, Op.MVD, Op.MVR)
_FIELDS = {
    Op.MVA: (Reg.COUNT, Reg.P, Reg.Q, Reg.S_BASE, Reg.S_STRIDE),
    Op.MVD: (Reg.COUNT, Reg.P, Reg.Q), Op.MVR: (Reg.COUNT, Reg.P, Reg.Q),
    Op.UPD: (Reg.COUNT, Reg.P, Reg.Q, Reg.S_BASE, Reg.S_STRIDE),
    Op.LOSS: (Reg.COUNT, Reg.P), Op.SEL: (Reg.P, Reg.TILES, Reg.K),
    Op.DRV: (Reg.P, Reg.Q, Reg.TILES, Reg.S_BASE, Reg.G_BASE),
    Op.BUP: (Reg.P,),
    Op.SRT: (Reg.P, Reg.Q), Op.TOP: (Reg.P, Reg.Q), Op.SCT: (Reg.P,),
}


@dataclasses.dataclass(frozen=True)
class _Product:
    """The last product: what of it an MVA beside it meets; cycles as the clock's.

    Members
    -------
    accepted : of each pair of results.
    drained : cycle from which on the drain is free of it.
    written : whether the pairs are written to pair memory; from ``base`` on, ``stride`` between
        samples, which are ``samples``, of as many ``pairs``.
    """

    accepted: npt.NDArray[np.int64]
    drained: int
    written: bool
    base: int
    stride: int
    samples: npt.NDArray[np.int64]
    pairs: int

    def groups(self) -> npt.NDArray[np.int64]:
        """Of each pair, the group of pair memory that it is written to."""
        pairs = self.base + self.stride * self.samples[:, None] + np.arange(self.pairs)
        return pairs.reshape(-1) // flow.GROUP


@dataclasses.dataclass(frozen=True)
class _Speculative:
    """An MVA with Flag.SPECULATIVE: since when it runs in the array, on what, and beside what."""

    began: int
    registers: list[int]
    flags: int
    live: npt.NDArray[np.bool_] | None
    ahead: flow.Ahead


def _levels(lanes: int) -> int:
    count = 0
    while lanes > 1:
        lanes = -(-lanes // _TREE_FAN_IN)
        count += 1
    return count


class Clock:
    """Counts the cycles of a program while it is executed.

    Members
    -------
    now : cycles since START up to the execute stage of the current instruction.
    stalled : cycles that WAIT, LOAD and STORE waited for a transfer.
    busy : cycles in which a tensor instruction ran.
    spent : cycles by tensor instruction; those beside an earlier one are that one's.
    array_free, post_free, loss_free : cycles from which on these units are free.
    pc : word of the instruction that is executed; the machine sets it.
    cycles_of : cycles from a tensor instruction's start to the next one's, or the end, by its
        word; -1: before the first. They add up to ``now``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._durations: dict[tuple[int, ...], tuple[int, int, flow.Flow | None]] = {}
        self.start()

    def start(self) -> None:
        """START: the first instruction is fetched in the next cycle."""
        self.now = 0
        self.stalled = self.busy = 0
        self.array_free = self.post_free = self.loss_free = 0
        self.transfer_free = 0
        self._product: _Product | None = None
        self._speculative: _Speculative | None = None
        self.synchronous, self._fetches = False, True
        self.spent: dict[Op, int] = {}
        self.pc, self._last, self._since = 0, -1, 0
        self.cycles_of: dict[int, int] = {}

    def _attribute(self) -> None:
        """The cycles up to now are those of the tensor instruction that started last."""
        self.cycles_of[self._last] = self.cycles_of.get(self._last, 0) + self.now - self._since
        self._last, self._since = self.pc, self.now

    @property
    def engine_free(self) -> int:
        """The cycle from which on no tensor instruction runs."""
        return max(self.array_free, self.post_free)

    def _await_transfer(self, now: int) -> int:
        """The cycle from which on no transfer is under way; the engine's idle ones are stalls."""
        self.stalled += max(0, self.transfer_free - max(now, self.engine_free))
        return max(now, self.transfer_free)

    def fetch(self, *, quick: bool) -> None:
        """An instruction is read and stands in execute: a ``quick`` one without a check."""
        if self.synchronous:
            # The transfer under way holds the fetch.
            self.now = self._await_transfer(self.now + 1) - 1
            self.synchronous = False
            self._fetches = True
        self.now += _READ_EXECUTE + (not quick) * _CHECK + self._fetches * _FETCH
        self._fetches = False

    def jump(self) -> None:
        """The next instruction is not the next word, or not known to be."""
        self._fetches = True

    def wait_engine(self) -> None:
        """Execute waits until the engine is free."""
        self.now = max(self.now, self.engine_free)

    def read_max_error(self) -> None:
        """Check waits until the engine is free."""
        self.now = max(self.now, self.engine_free + 1)

    def read_errors(self) -> None:
        """Check waits until the loss unit is free."""
        self.now = max(self.now, self.loss_free + 1)

    def wait_transfer(self) -> None:
        """Execute waits until no transfer is under way."""
        self.now = self._await_transfer(self.now)

    def tensor(self, op: Op, registers: list[int], flags: int, lists: int = 0,
               live: npt.NDArray[np.bool_] | None = None,
               below: npt.NDArray[np.int64] | None = None, selected: int | None = None,
               wanted: npt.NDArray[np.bool_] | None = None, kept: bool | None = None) -> None:
        """A tensor instruction starts.

        Parameters
        ----------
        lists : the cycles that depend on lists.
        live : (samples, pairs of P, 2), for MVA and UPD, of the samples that are not left out:
            which scalars are not zero;
            (1, pairs of P, 2), for DRV: which own activations. None: all.
        below : for DRV, the activations of the layer below that are not zero.
        selected : for SEL, how many neurons are selected.
        wanted : (COUNT,), for products: samples that Flag.WANTED does not leave out; None: all.
        kept : for LOSS, whether it lets the MVA with Flag.SPECULATIVE have its results; None: there
            is none, or it has none.
        """
        beside = flags & Flag.BESIDE != 0
        if op is Op.BUP and beside or self._speculative is not None:
            self.now = max(self.now, self.post_free)
        else:
            self.now = max(self.now, self.array_free if beside else self.engine_free)
        self._attribute()
        speculative = op is Op.MVA and flags & Flag.SPECULATIVE != 0
        # From where it is in the post-processing unit too: a product may begin there later.
        began, posts = self.now, max(self.now, self.post_free) if op in _PRODUCTS else self.now
        ahead = self._ahead(began, posts, registers, flags) if posts > began else None
        if speculative:
            assert live is None or len(live)
            ahead = flow.ALONE if ahead is None else ahead
            self._speculative = _Speculative(began, [*registers], flags, live, ahead)
            ahead = ahead._replace(begins=_NEVER)
        way: flow.Flow | None = None
        if op is Op.DRV and live is not None and below is not None:
            left = cycles = self._derivatives(registers, flags, live, below)
        elif ahead is not None or live is not None and (op is Op.MVA or flow.scanned_update(
                registers[Reg.COUNT], registers[Reg.S_STRIDE])):
            if live is None:
                live = self._all(registers)
            left, cycles, way = self._scanned(op, registers, flags, live, wanted, ahead)
        elif wanted is not None:
            made = self._reduced if op is Op.MVD else self._drained
            left, cycles, way = made(registers, flags, wanted)
        else:
            if selected is not None:
                registers = [*registers]
                registers[Reg.P] = selected
            key = (op, flags, *(registers[reg] for reg in _FIELDS[op]))
            known = self._durations.get(key)
            if known is None:
                known = self._durations[key] = self.duration(op, registers, flags)
            left, cycles, way = known[0] + lists, known[1] + lists, known[2]
        before = max(began + 1, self.engine_free)
        if op not in _POST_ONLY:
            self.array_free = began + left
        if op in _POST_ONLY or op in _PRODUCTS and not speculative:
            self.post_free = began + cycles
            self._product = self._way_of(op, registers, flags, wanted, began, way)
        # It rests in the cycle that begins the post-processing, if the array is free before.
        rests = posts > began and self.array_free <= posts and not speculative
        more = max(0, self.engine_free - before - rests)
        self.busy += more
        self.spent[op] = self.spent.get(op, 0) + more
        if op is Op.LOSS:
            self.loss_free = self.post_free
            self._decide(bool(kept))
        if not speculative:
            self.now = posts

    def _decide(self, kept: bool) -> None:
        """A LOSS is over: what becomes of the product that awaited it."""
        pending, self._speculative = self._speculative, None
        if pending is None:
            return
        busy = self.engine_free
        if kept:
            begins = self.post_free - 1 - pending.began + _FIRST_ACCEPT
            live = self._all(pending.registers) if pending.live is None else pending.live
            left, cycles, way = self._scanned(
                Op.MVA, pending.registers, pending.flags, live, None,
                pending.ahead._replace(begins=begins))
            self.array_free, self.post_free = pending.began + left, pending.began + cycles
            self._product = self._way_of(Op.MVA, pending.registers, pending.flags, None,
                                         pending.began, way)
        else:
            self.array_free = self.post_free
        self.busy += self.engine_free - busy
        self.spent[Op.MVA] += self.engine_free - busy

    @staticmethod
    def _all(registers: list[int]) -> npt.NDArray[np.bool_]:
        """No scalar of an MVA or UPD is zero: (COUNT, pairs of P, 2)."""
        return np.ones((registers[Reg.COUNT], (registers[Reg.P] + 1) // 2, 2), np.bool_)

    def _way_of(self, op: Op, registers: list[int], flags: int,
                wanted: npt.NDArray[np.bool_] | None, began: int,
                way: flow.Flow | None) -> _Product | None:
        if way is None:
            return None
        count, width = registers[Reg.COUNT], registers[Reg.P if op is Op.MVD else Reg.Q]
        pairs = (width + 1) // 2
        last = 0 if op is Op.MVD else self._rest(width)
        samples = np.arange(count) if wanted is None else np.flatnonzero(wanted)
        return _Product(began + way.accepted, began + way.last + last,
                        flags & Flag.PAIRS != 0 and flags & 3 != Post.LOGIT,
                        registers[Reg.Y_BASE], registers[Reg.Y_STRIDE], samples, pairs)

    def _ahead(self, began: int, posts: int, registers: list[int], flags: int) -> flow.Ahead:
        """What an MVA meets that begins in the array alone, and at ``posts`` in the other unit."""
        accepted = writes = written = np.zeros(0, np.int64)
        draining, before = 0, self._product
        if before is not None:
            accepted = before.accepted - began
            first = (_FIRST_STEP + self.config.tiles(registers[Reg.Q])
                     + self._listed(registers, flags))
            draining = max(0, before.drained - began - first)
            if before.written:
                writes, written = accepted + _WRITTEN, before.groups()
        return flow.Ahead(accepted, posts - began + _FIRST_ACCEPT, draining, writes, written,
                          0 if flags & Flag.INPUT else posts - began)

    def transfer(self, space: Space, ddr: int, beats: int, store: bool, background: bool,
                 beside: bool = False) -> None:
        """LOAD or STORE starts: ``beats`` of ``space`` from byte address ``ddr``."""
        self.now = self._await_transfer(self.now)
        if not beside:
            self.now = max(self.now, self.engine_free)
        self.transfer_free = self.now + self.transfer_cycles(space, ddr, beats, store)
        self.synchronous = not background

    def halt(self) -> int:
        """HALT executes; returns the count that register CYCLES shows."""
        self.wait_engine()
        self.wait_transfer()
        self._attribute()
        return self.now

    def transfer_cycles(self, space: Space, ddr: int, beats: int, store: bool) -> int:
        """From the cycle that starts a transfer to the one in which it is known to be over.

        A burst ends at a multiple of 128 bytes: a first burst of one beat costs a cycle more. A
        STORE of weights picks its slots one by one.
        """
        if store:
            if space is Space.WEIGHT:
                beats = _PICK_CYCLES * beats + _PICK_OVERHEAD
            return beats + DDR_LATENCY + _STORE_OVERHEAD
        alone = beats > 1 and ddr // 8 % 16 == 15
        return beats + DDR_LATENCY + _LOAD_OVERHEAD + alone

    def duration(self, op: Op, registers: list[int],
                 flags: int) -> tuple[int, int, flow.Flow | None]:
        """Cycles from the execute stage that starts ``op``: until the array, and all, is free.

        And the way of its results, of products that have any.
        """
        result = self._duration(op, registers, flags)
        return result if isinstance(result, tuple) else (result, result, None)

    def _duration(self, op: Op, registers: list[int],
                  flags: int) -> int | tuple[int, int, flow.Flow | None]:
        count, p, q = registers[Reg.COUNT], registers[Reg.P], registers[Reg.Q]
        pairs, tiles = (p + 1) // 2, self.config.tiles(q)
        first = _FIRST_STEP + tiles
        if op is Op.UPD:
            if flow.scanned_update(count, registers[Reg.S_STRIDE]):
                return self._scanned(op, registers, flags, self._all(registers))
            return first + self._spaced(pairs * tiles, count) + _SLOT_DONE
        if op is Op.DRV:
            return self._derivatives(registers, flags, np.ones((1, pairs, 2), np.bool_),
                                     np.arange(q))
        if op is Op.LOSS:
            squared = bool(flags & Flag.POST0)
            return 1 + timing.loss(count, p, squared) + POST_ERRORS_LATENCY
        if op is Op.SEL:
            if registers[Reg.K] == 0 or p == 0:
                return 4
            return 3 + selection(p, registers[Reg.TILES], self.config.element_bits) + 1
        if op is Op.BUP:
            return 1 + bias_update(p) + 1
        if op in LISTS:
            # The list unit counts tiles of P and Q side by side.
            widest = p if op is Op.SCT else max(p, q)
            return _LIST_CYCLES + self.config.tiles(widest)
        if op is Op.MVD:
            return self._reduced(registers, flags, np.ones(count, np.bool_))
        if op is Op.MVA:
            return self._scanned(op, registers, flags, self._all(registers))
        return self._drained(registers, flags, np.ones(count, np.bool_))

    @staticmethod
    def _gap(flags: int) -> int:
        """Cycles between acceptances of a product's pairs by the post-processing unit."""
        return 2 if flags & 3 == Post.ACT and flags & Flag.SLOPE_ROWS else 1

    def _reduced(self, registers: list[int], flags: int,
                 wanted: npt.NDArray[np.bool_]) -> tuple[int, int, flow.Flow | None]:
        """Cycles of an MVD of the ``wanted`` samples."""
        tiles = self.config.tiles(registers[Reg.Q])
        first = _FIRST_STEP + tiles + self._listed(registers, flags)
        if not wanted.any():
            return self._nothing(first, wanted.size)
        return self._times(flow.reduced(
            first, (registers[Reg.P] + 1) // 2, wanted, tiles,
            _REDUCE_ACCEPT + _levels(self.config.lanes), self._gap(flags)))

    def _drained(self, registers: list[int], flags: int,
                 wanted: npt.NDArray[np.bool_]) -> tuple[int, int, flow.Flow | None]:
        """Cycles of an MVR of the ``wanted`` samples."""
        q = registers[Reg.Q]
        tiles = self.config.tiles(q)
        first = _FIRST_STEP + tiles + self._listed(registers, flags)
        if not wanted.any():
            return self._nothing(first, wanted.size)
        return self._times(flow.drained(first, registers[Reg.P], wanted, tiles,
                                        self.config.lanes // 2, self._rest(q), self._gap(flags)))

    @staticmethod
    def _listed(registers: list[int], flags: int) -> int:
        """Cycles in which the samples that are wanted are listed: a cycle each."""
        count = registers[Reg.COUNT]
        return count + 1 if flags & Flag.WANTED and count <= flow.SCANNED_SAMPLES else 0

    @staticmethod
    def _nothing(first: int, samples: int, begins: int = _FIRST_ACCEPT) -> tuple[int, int, None]:
        """Of a product of samples that are all left out."""
        return first + _EMPTIED, begins + samples - 1 + POST_LATENCY + 1, None

    @staticmethod
    def _times(way: flow.Flow) -> tuple[int, int, flow.Flow]:
        """Until array, and all, is free; and the way there."""
        return way.last + _EMPTIED, way.over + POST_LATENCY + 1, way

    def _rest(self, width: int) -> int:
        """Pairs of a vector's last tile."""
        return (width - (self.config.tiles(width) - 1) * self.config.lanes + 1) // 2

    def _scanned(self, op: Op, registers: list[int], flags: int,
                 live: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_] | None = None,
                 ahead: flow.Ahead | None = None) -> tuple[int, int, flow.Flow | None]:
        """Cycles of an instruction whose scalars are scanned for zeros."""
        q, base, stride = registers[Reg.Q], registers[Reg.S_BASE], registers[Reg.S_STRIDE]
        tiles = self.config.tiles(q)
        first = _FIRST_STEP + tiles + self._listed(registers, flags)
        if op is Op.UPD:
            free = flow.update(live, base, tiles, first) + _SCANNED_DONE
            return free, free, None
        if ahead is None:
            ahead = flow.ALONE
        if len(live) == 0:
            return self._nothing(first, registers[Reg.COUNT], max(ahead.begins, _FIRST_ACCEPT))
        pairs = live[:, :, 0] | live[:, :, 1]
        return self._times(flow.product(pairs, base, stride, tiles, self.config.lanes // 2,
                                        self._rest(q), first, self._gap(flags), wanted, ahead))

    def _derivatives(self, registers: list[int], flags: int, live: npt.NDArray[np.bool_],
                     below: npt.NDArray[np.int64]) -> int:
        """Cycles of a DRV."""
        q, deep = registers[Reg.Q], registers[Reg.TILES]
        tiles, only_live = self.config.tiles(q), flags & Flag.LIVE != 0
        listed = 0
        if deep:
            listed = flow.live_list(below, registers[Reg.G_BASE], (q + 1) // 2, _FIRST_STEP)
        first = _FIRST_STEP + tiles
        if only_live:
            first = max(first, listed + 1)
            own = flow.update(live, registers[Reg.S_BASE], tiles, first) + 1
        else:
            own = first + self._spaced(live.shape[1] * tiles, 1)
        free = own + _ROW_DONE
        words = int(live.any(2).sum())
        if not deep or words == 0:
            return free
        return (max(free + tiles, listed) + self._spaced(words * deep, max(len(below), 1))
                + _DEEP_DONE)

    @staticmethod
    def _spaced(sums: int, steps: int) -> int:
        """From the first step to the last, of sums that end at least two cycles apart."""
        return (sums - 1) * max(steps, 2) + steps - 1
