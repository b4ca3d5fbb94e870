"""The clock: exact cycle counts of a program, instruction by instruction, as the RTL takes them.

The golden machine keeps one; ``tangente cycles`` reads it. Counts do not depend on data. Transfers
are timed for a memory that answers after ``latency`` cycles and then moves one beat a cycle.
"""

from __future__ import annotations

from . import timing
from .config import Config
from .isa import Flag, Op, Post, Reg
from .timing import POST_ERRORS_LATENCY, POST_LATENCY, bias_update, selection

__all__ = ["Clock", "SCALAR_CYCLES", "DDR_LATENCY"]

#: An instruction: fetch, read, check, execute.
SCALAR_CYCLES = 4
#: Cycles between two scattered updates: the second reads what the first has written.
SCATTER_STEP = 6
#: Cycles after which the simulated memory answers a burst.
DDR_LATENCY = 30

# From the step that issues a micro-operation (see tangente.rtl.uop and tangente.rtl.datapath).
_FIRST_STEP = 2       # from start to the first step, less the tiles that are counted in between
_SLOT_DONE = 17       # from the last step of UPD to free
_ROW_DONE = 15        # from the last step of OWN to free
_DEEP_DONE = 20       # from the last step of DEEP to free
_DRAIN_FIRST = 11     # from the step that ends a sum to its first pair being taken
_DRAIN_ACCEPT = 4     # from a pair being taken to its acceptance by the post-processing unit
_REDUCE_ACCEPT = 13   # likewise from the step that ends an MVD sum, less the levels of the tree
_LOAD_OVERHEAD = 4    # to ask, and to see the last beat in its memory
_STORE_OVERHEAD = 12  # to read the first beats, and to see the last answer
_CREDITS = 32         # pairs that may be under way
_TREE_FAN_IN = 4
_SORT_CYCLES = 13     # beside elements, registers and tiles
_TOP_CYCLES = 9       # beside what tangente.golden.lists counts, and the lists' entries
_SCATTER_CYCLES = 28  # of one register

_FIELDS = {
    Op.MVA: (Reg.COUNT, Reg.P, Reg.Q), Op.MVD: (Reg.COUNT, Reg.P, Reg.Q),
    Op.MVR: (Reg.COUNT, Reg.P, Reg.Q), Op.UPD: (Reg.COUNT, Reg.P, Reg.Q),
    Op.LOSS: (Reg.COUNT, Reg.P), Op.DRV: (Reg.P, Reg.Q, Reg.TILES),
    Op.SEL: (Reg.P, Reg.TILES, Reg.K), Op.BUP: (Reg.P,),
    Op.SRT: (Reg.P, Reg.Q, Reg.K), Op.TOP: (Reg.Q, Reg.K), Op.SCT: (Reg.P, Reg.K),
}


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
    spent : cycles by tensor instruction.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._durations: dict[tuple[int, ...], int] = {}
        self.start()

    def start(self) -> None:
        """START: the first instruction is fetched in the next cycle."""
        self.now = 0
        self.stalled = self.busy = 0
        self.engine_free = self.transfer_free = 0
        self.synchronous = False
        self.spent: dict[Op, int] = {}

    def fetch(self) -> None:
        """An instruction passes fetch, read and check, and stands in execute."""
        if self.synchronous:
            # The transfer under way holds the fetch.
            wait = max(0, self.transfer_free - (self.now + 1))
            self.stalled += wait
            self.now += wait
            self.synchronous = False
        self.now += SCALAR_CYCLES

    def wait_engine(self) -> None:
        """Execute waits until the engine is free."""
        self.now = max(self.now, self.engine_free)

    def read_max_error(self) -> None:
        """Check waits until the engine is free."""
        self.now = max(self.now, self.engine_free + 1)

    def wait_transfer(self) -> None:
        """Execute waits until no transfer is under way."""
        self.stalled += max(0, self.transfer_free - self.now)
        self.now = max(self.now, self.transfer_free)

    def tensor(self, op: Op, registers: list[int], flags: int, offers: int = 0) -> None:
        """A tensor instruction starts; ``offers`` are the cycles that TOP's offers take."""
        self.wait_engine()
        key = (op, flags, *(registers[reg] for reg in _FIELDS[op]))
        cycles = self._durations.get(key)
        if cycles is None:
            cycles = self._durations[key] = self.duration(op, registers, flags)
        cycles += offers
        self.busy += cycles - 1
        self.spent[op] = self.spent.get(op, 0) + cycles - 1
        self.engine_free = self.now + cycles

    def transfer(self, ddr: int, beats: int, store: bool, background: bool) -> None:
        """LOAD or STORE starts: ``beats`` from byte address ``ddr``."""
        self.stalled += max(0, self.transfer_free - self.now)
        self.now = max(self.now, self.transfer_free, self.engine_free)
        self.transfer_free = self.now + self.transfer_cycles(ddr, beats, store)
        self.synchronous = not background

    def halt(self) -> int:
        """HALT executes; returns the count that register CYCLES shows."""
        self.wait_engine()
        self.wait_transfer()
        return self.now

    def transfer_cycles(self, ddr: int, beats: int, store: bool) -> int:
        """From the cycle that starts a transfer to the one in which it is known to be over.

        A burst ends at a multiple of 128 bytes: a first burst of one beat costs a cycle more.
        """
        if store:
            return beats + DDR_LATENCY + _STORE_OVERHEAD
        alone = beats > 1 and ddr // 8 % 16 == 15
        return beats + DDR_LATENCY + _LOAD_OVERHEAD + alone

    def duration(self, op: Op, registers: list[int], flags: int) -> int:
        """Cycles from the execute stage that starts ``op`` until the engine is free again."""
        count, p, q = registers[Reg.COUNT], registers[Reg.P], registers[Reg.Q]
        pairs, tiles = (p + 1) // 2, self.config.tiles(q)
        first = _FIRST_STEP + tiles
        if op is Op.UPD:
            words = pairs * tiles
            return first + self._spaced(words, count) + _SLOT_DONE
        if op is Op.DRV:
            free = first + self._spaced(pairs * tiles, 1) + _ROW_DONE
            if registers[Reg.TILES]:
                again = free - 1 + 1 + tiles
                free = again + self._spaced(pairs * registers[Reg.TILES], q) + _DEEP_DONE
            return free
        if op is Op.LOSS:
            squared = bool(flags & Flag.POST0)
            return 1 + timing.loss(count, p, squared) + POST_ERRORS_LATENCY
        if op is Op.SEL:
            if registers[Reg.K] == 0:
                return 4
            return 3 + selection(p, registers[Reg.TILES], self.config.element_bits) + 1
        if op is Op.BUP:
            return 1 + bias_update(p) + 1
        twice = flags & 3 == Post.ACT and bool(flags & Flag.SLOPE_ROWS)
        if op is Op.SRT:
            return _SORT_CYCLES + tiles + p + registers[Reg.K]
        if op is Op.TOP:
            return _TOP_CYCLES + tiles + q * registers[Reg.K]
        if op is Op.SCT:
            return _SCATTER_CYCLES + (p * registers[Reg.K] - 1) * SCATTER_STEP
        if op is Op.MVD:
            return self._reduced(first, count * pairs, tiles, twice) + POST_LATENCY + 1
        inner = pairs if op is Op.MVA else p
        wanted = [self.config.lanes // 2] * (tiles - 1)
        wanted.append((q - (tiles - 1) * self.config.lanes + 1) // 2)
        return self._drained(first, inner, wanted * count, twice) + POST_LATENCY + 1

    @staticmethod
    def _spaced(sums: int, steps: int) -> int:
        """From the first step to the last, of sums that end at least two cycles apart."""
        return (sums - 1) * max(steps, 2) + steps - 1

    @staticmethod
    def _drained(first: int, inner: int, wanted: list[int], twice: bool) -> int:
        """The cycle in which the last pair is accepted, of sums that are drained."""
        accepted: list[int] = []
        begin, free, taken = first, 0, 0
        for pairs in wanted:
            last = max(begin + inner - 1, free)
            begin = last + 1
            taken = last + _DRAIN_FIRST - 1
            for _ in range(pairs):
                taken += 1
                if len(accepted) >= _CREDITS:
                    taken = max(taken, accepted[-_CREDITS] + 1)
                accept = taken + _DRAIN_ACCEPT
                if accepted:
                    accept = max(accept, accepted[-1] + (2 if twice else 1))
                accepted.append(accept)
            free = taken + 1
        return accepted[-1]

    def _reduced(self, first: int, results: int, tiles: int, twice: bool) -> int:
        """The cycle in which the last pair is accepted, of sums that the reducer makes."""
        latency = _REDUCE_ACCEPT + _levels(self.config.lanes)
        accepted: list[int] = []
        last = first - 1
        for _ in range(results):
            last += tiles
            if len(accepted) >= _CREDITS:
                last = max(last, accepted[-_CREDITS] + 1)
            accept = last + latency
            if accepted:
                accept = max(accept, accepted[-1] + (2 if twice else 1))
            accepted.append(accept)
        return accepted[-1]
