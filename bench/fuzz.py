"""Random programs and register writes on the RTL against golden: ``make fuzz``.

Two kinds of programs take turns. *Tame* ones are valid instructions with random operands among
scalar instructions and loops; cause, PC, counters, cycles and the generator's state must be
golden's, and of one in eight every stored memory. *Wild* ones hold random words, branches anywhere
and registers that hold anything; they must halt with golden's cause and PC, or, where golden runs
on, after STOP. Before each, and while it runs, random registers are written: what may not be
written must be answered with an error, and change nothing. Each program finds a model just
made, so that every one can be repeated alone: ``--first N --programs 1``.

What golden does not say is not compared: memories after a fault of an address or of the bus, and
PC after the latter (docs/architecture.md, section 7).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tangente.bench.entry import as_program
from tangente.golden import registers
from tangente.golden.config import Config, preset
from tangente.golden.isa import (
    FLAGS,
    OPERANDS,
    Cause,
    Flag,
    Op,
    Post,
    Reg,
    Space,
    decode,
    encode,
)
from tangente.golden.machine import Machine
from tangente.golden.registers import Access, Control, address
from tangente.golden.state import LOADABLE, STORABLE, beats_per_unit, depth
from tangente.sim.build import build
from tangente.sim.model import Model, ResponseError

__all__ = ["Difference", "Outcome", "main", "one"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_DDR_BYTES = 1 << 17
#: Instructions that golden executes before a program counts as endless.
_ENDLESS = 400
#: And when it must have come to the end that the RTL has come to.
_LONG = 50_000
#: Cycles in which a program of so many instructions must have ended on tiny, and after STOP.
_BOUND = 3_000_000
_TENSOR = tuple(OPERANDS)
_DUMPED = 8


class Difference(AssertionError):
    """The RTL did something else than golden; the message says what, and how to repeat it."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one program ended, on both.

    Members
    -------
    wild : its kind.
    cause : why it halted; STOPPED also if it was endless.
    compared : memories were compared.
    cycles : of the RTL.
    refused : register accesses that were answered with an error, as they must be.
    """

    wild: bool
    cause: Cause
    compared: bool
    cycles: int
    refused: int


class _Writer:
    """Writes a program's words."""

    def __init__(self, rng: np.random.Generator, config: Config) -> None:
        self.rng, self.config = rng, config
        self.words: list[int] = []
        self.speculates = False  # a product may await a LOSS

    def below(self, end: int) -> int:
        return int(self.rng.integers(0, end))

    def set(self, reg: Reg, value: int) -> None:
        self.words.append(encode(Op.SET, reg, value & 0xFFFFF))
        if value >> 20:
            self.words.append(encode(Op.SETH, reg, value >> 12 & 0xFFF))

    def transfer(self, op: Op, wild: bool) -> None:
        spaces = LOADABLE if op is Op.LOAD else STORABLE
        space = spaces[self.below(len(spaces))]
        units = 1 + self.below(min(40, depth(space, self.config)))
        first, beside = 0, 0
        if not wild and op is Op.LOAD and space is Space.INPUT and self.below(2):
            # Beside what runs, where no tame program reads.
            first, beside = depth(space, self.config) // 2, int(Flag.BESIDE)
        self.set(Reg.LENGTH, self.anything() if wild else units)
        self.set(Reg.LOCAL, first + self.below(depth(space, self.config) - first - units + 1))
        beats = units * beats_per_unit(space, self.config)
        self.set(Reg.DDR, self.below(_DDR_BYTES // 8 - beats))
        self.words.append(encode(op, 0, self.below(8) if wild else beside | space))

    def anything(self) -> int:
        """A value with which something may go wrong."""
        edges = (0, 1, 15, 16, 17, 31, 32, 255, 256, 511, 512, 1023, 1024, 2047, 2048, 4095, 4096,
                 65535, 65536, (1 << 24) - 1)
        return self.below(1 << 24) if self.rng.random() < 0.3 else edges[self.below(len(edges))]

    def scalar(self, wild: bool) -> None:
        """A scalar instruction; tame ones use the free registers and do not branch back."""
        ops = (Op.SET, Op.SETH, Op.ADD, Op.MOV, Op.XOR)
        op = ops[self.below(len(ops))]
        if wild:
            self.words.append(encode(op, self.below(64), self.below(1 << 20)))
            return
        source = Reg.MAX_ERROR if self.rng.random() < 0.2 else self.below(8)
        imm = self.below(1 << 14) << 6 | source if op in (Op.MOV, Op.XOR) else self.below(1 << 20)
        self.words.append(encode(op, self.below(8), imm))

    def operands(self) -> dict[Reg, int]:
        """Registers with which every instruction is valid; reads and writes lie apart."""
        config, below = self.config, self.below
        third, half, quarter = config.rows // 3, config.pairs // 2, config.list_entries // 4
        operand, result, slopes = (third * int(i) for i in self.rng.permutation(3))
        source, target = (half * int(i) for i in self.rng.permutation(2))
        own, shared, lists, made = (quarter * int(i) for i in self.rng.permutation(4))
        code_bits = int(self.rng.choice([2, 3, 4, 8, 16]))
        room = third - 120
        return {
            Reg.COUNT: 1 + below(4), Reg.P: 1 + below(9), Reg.Q: 1 + below(9),
            Reg.M_BASE: below(config.weight_words - 28), Reg.S_BASE: source + below(200),
            Reg.S_STRIDE: below(12), Reg.V_BASE: operand + below(room), Reg.V_STRIDE: below(8),
            Reg.Y_BASE: target + below(half - 60), Reg.Y_STRIDE: below(9),
            Reg.YR_BASE: result + below(room), Reg.YR_STRIDE: below(9),
            Reg.G_BASE: source + below(half - 60), Reg.G_STRIDE: below(9),
            Reg.F_BASE: slopes + below(room), Reg.F_STRIDE: below(9), Reg.SHIFT: below(14),
            Reg.SHIFT2: below(10), Reg.B_BASE: below(config.bias_pairs - 7),
            Reg.B_SHIFT: below(12), Reg.CODE_BITS: code_bits,
            Reg.ACC_BITS: 1 + below(min(12, 16 - code_bits)) if code_bits < 16 else 0,
            Reg.ASYMM: below(1 + (code_bits < 16)), Reg.K: 1 + below(config.toper_registers),
            Reg.TILES: 1 + below(3), Reg.MANTISSA: below(256), Reg.E_SHIFT: below(20),
            Reg.T_BASE: below(config.target_beats * 4 - 45), Reg.T_STRIDE: below(8),
            Reg.R_BASE: operand + below(room), Reg.R_STRIDE: below(9),
            Reg.L_BASE: made, Reg.R0: own, Reg.R1: shared, Reg.R2: lists,
        }

    def tensor(self, values: dict[Reg, int], wild: bool) -> None:
        """A tensor instruction, with what it needs beside ``values``, and its flags."""
        op = _TENSOR[self.below(len(_TENSOR))]
        if self.emit(op, values, wild) & Flag.SPECULATIVE and (not wild or self.below(2)):
            # The LOSS that the product awaits, and what may lie between them.
            for _ in range(self.below(12)):
                if self.below(8):
                    self.scalar(wild and self.below(4) == 0)
                else:
                    self.transfer(Op.LOAD if self.below(2) else Op.STORE, False)
                    self.words.append(encode(Op.WAIT))
            self.emit(Op.LOSS, values, wild)
            # Whether its first samples err is known before the product is over.
            self.set(Reg.R6, self.below(5))
            self.words.append(encode(Op.BZE, Reg.R6, len(self.words) + 1))

    def emit(self, op: Op, values: dict[Reg, int], wild: bool) -> int:
        """``op`` with all that it needs; its flags."""
        changed: dict[Reg, int] = {}
        flags = 0
        for flag in Flag:
            if FLAGS[op] & flag and flag not in (Flag.POST0, Flag.POST1) and self.below(2):
                flags |= flag
        if op in (Op.MVA, Op.MVD, Op.MVR):
            post = Post(self.below(3))
            flags |= post
            if post is Post.LOGIT:
                changed[Reg.Y_BASE] = self.below(self.config.logit_pairs - 40)
        elif op is Op.LOSS:
            flags |= self.below(2) * Flag.POST0
            changed[Reg.S_BASE] = self.below(self.config.logit_pairs - 52)
            if self.speculates:
                # No errors, often.
                changed[Reg.MANTISSA] = self.below(2) * values[Reg.MANTISSA]
                if wild:
                    # With operands anywhere, it would write what the product beside it reads.
                    flags &= ~int(Flag.PAIRS)
        elif op in (Op.UPD, Op.SCT):
            if not values[Reg.ACC_BITS] or flags & Flag.EVENT and flags & Flag.MASTER:
                flags &= ~int(Flag.EVENT | Flag.MASTER)
        elif op is Op.TOP:
            changed = {Reg.F_BASE: values[Reg.R0], Reg.V_BASE: values[Reg.R1],
                       Reg.R_BASE: values[Reg.R2], Reg.SHIFT2: 8, Reg.B_SHIFT: 8, Reg.E_SHIFT: 8,
                       Reg.F_STRIDE: 1 + self.below(9), Reg.V_STRIDE: 1 + self.below(9),
                       Reg.R_STRIDE: 1 + self.below(9)}
        elif op is Op.SRT:
            place = (Reg.R0, Reg.R1, Reg.R2)[self.below(3)]
            changed = {Reg.L_BASE: values[place] + self.below(20)}
        if flags & Flag.SPECULATIVE:
            self.speculates = True
            changed[Reg.COUNT] = 1
            flags &= ~int(Flag.WANTED)
        if wild and self.below(2):
            names = [reg for reg in values if reg >= Reg.COUNT]
            if flags & Flag.SPECULATIVE:
                # Whether a product that is dropped gets to an address beyond a memory is a matter
                # of time.
                names = [reg for reg in names if reg not in (Reg.P, Reg.M_BASE, Reg.S_BASE)]
            changed[names[self.below(len(names))]] = self.anything()
            flags ^= 1 << self.below(20) if self.below(4) == 0 else 0
        if wild or flags & Flag.WANTED:
            # With operands anywhere, what runs side by side would read what the other writes; who
            # is wanted is what a loss before it finds.
            flags &= ~int(Flag.BESIDE)
        for reg, value in changed.items():
            self.set(reg, value)
        self.words.append(encode(op, 0, int(flags)))
        for reg in changed:
            self.set(reg, values.get(reg, 0))
        return int(flags) if op is Op.MVA else 0


def _program(rng: np.random.Generator, config: Config, wild: bool) -> list[int]:
    """The words of one program."""
    w = _Writer(rng, config)
    for space, units in ((Space.INPUT, 60), (Space.TARGET, 40), (Space.WEIGHT, 60),
                         (Space.BIAS, 30)):
        w.set(Reg.LENGTH, units)
        w.set(Reg.LOCAL, 0)
        w.set(Reg.DDR, w.below(8000))
        w.words.append(encode(Op.LOAD, 0, space))
    w.words.append(encode(Op.WAIT))
    values = w.operands()
    values[Reg.M_BASE] %= 30
    for reg, value in values.items():
        w.set(reg, value)
    # Something in pair memory, whatever comes.
    w.set(Reg.S_BASE, 0)
    w.words.append(encode(Op.MVA, 0, Flag.INPUT | Flag.PAIRS | Flag.ROWS | Post.ACT))
    w.set(Reg.S_BASE, values[Reg.S_BASE])
    for _ in range(1 + w.below(6)):
        kind = w.rng.random()
        if kind < 0.55:
            w.tensor(values, wild)
        elif kind < 0.65:
            w.transfer(Op.LOAD if w.below(2) else Op.STORE, wild and w.below(3) == 0)
            w.words.append(encode(Op.WAIT))
        elif kind < 0.9:
            w.scalar(wild and w.below(4) == 0)
        elif wild:
            target = w.below(len(w.words) + 20) if w.below(8) else w.below(1 << 20)
            op = (Op.JMP, Op.DBNZ, Op.BLT, Op.BZE)[w.below(4)]
            imm = (target & 0x3FFF) << 6 | w.below(64) if op is Op.BLT else target
            w.words.append(encode(op, w.below(10), imm))
            if w.below(4) == 0:
                w.words.append(w.below(1 << 32))
        else:
            w.set(Reg.R7, 1 + w.below(3))
            here = len(w.words)
            w.scalar(False)
            w.words[-1] &= ~(0x3F << 20) | 3 << 20
            w.words.append(encode(Op.DBNZ, Reg.R7, here))
    if not wild or w.below(8):
        w.words.append(encode(Op.HALT))
    return w.words


def _dump(config: Config) -> list[int]:
    """A program that stores every memory that can be to DDR from the start."""
    words, beat = [], 0
    for space in STORABLE:
        units = depth(space, config)
        for reg, value in ((Reg.LENGTH, units), (Reg.LOCAL, 0), (Reg.DDR, beat)):
            words.append(encode(Op.SET, reg, value))
        words.append(encode(Op.STORE, 0, space))
        beat += units * beats_per_unit(space, config)
    assert 8 * beat <= _DDR_BYTES
    return [*words, encode(Op.HALT)]


class _Pair:
    """A golden machine and a model of the RTL, both just made."""

    def __init__(self, library: Path, config: Config, data: np.ndarray, name: str) -> None:
        self.config, self.name = config, name
        self.golden = Machine(config, _DDR_BYTES)
        self.golden.state.ddr[:] = data
        self.model = Model(library, ddr_bytes=_DDR_BYTES)
        self.model.ddr[:] = data
        self.model.reset()
        self.golden.ddr_base = 0
        for register, value in (("DDR_BASE", self.model.ddr_address), ("IRQ_ENABLE", 1)):
            self.model.write(address(register), value)

    def fail(self, text: str) -> None:
        raise Difference(f"program {self.name}: {text}; repeat it with python -m "
                         f"tangente.bench.fuzz --first {self.name} --programs 1")

    def wide(self, name: str, words: int = 1) -> int:
        return sum(self.model.read(address(name, i)) << 32 * i for i in range(words))

    def load(self, words: list[int], pc: int = 0) -> None:
        for i, word in enumerate(words):
            self.model.write(registers.PROGRAM_WINDOW + 4 * i, word)
        self.golden.load_program(words)
        self.model.write(address("PC"), pc)

    def access(self, rng: np.random.Generator, running: bool) -> int:
        """A random access; 1 if it was refused, as it must be."""
        rows = [row for row in registers.REGISTERS if row.name != "DDR_BASE"]
        row = rows[int(rng.integers(len(rows)))]
        where = address(row.name, int(rng.integers(row.words)))
        value = int(rng.integers(1 << 32))
        expected = None
        if rng.random() < 0.15:
            # Between the last register and the instruction memory there is nothing.
            last = max(row.address + 4 * row.words for row in registers.REGISTERS)
            where, expected = int(rng.integers(last // 4, 0x2000 // 4)) * 4, "DECERR"
        elif row.access is Access.RO:
            expected = "SLVERR"
        elif row.name == "CONTROL":
            # Two commands at once that exclude each other do nothing.
            value = int(Control.START | (Control.STOP, Control.RESET)[value & 1])
            expected = "SLVERR"
        elif row.name == "IRQ_ENABLE":
            value = 1
        elif row.name in ("PC", "SEED") and running:
            return 0
        try:
            self.model.write(where, value)
            found = None
        except ResponseError as error:
            found = error.response
        if found != expected:
            self.fail(f"a write to 0x{where:04x} was answered {found}, not {expected}")
        if expected is None and row.name == "SEED":
            # The generator takes the seed with the high word.
            self.golden.state.random = self.wide("SEED", 2)
        return int(expected is not None)

    def compare(self, name: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.fail(f"{name} is {found} on the RTL and {wanted} on golden")


def one(library: Path, config: Config, number: int) -> Outcome:
    """Run program ``number`` on both.

    Raises
    ------
    Difference
        If they differ, or the RTL hangs.
    """
    rng = np.random.default_rng((number, 20261121))
    wild = bool(number % 2)
    data = rng.integers(0, 256, _DDR_BYTES, dtype=np.uint8)
    pair = _Pair(library, config, data, str(number))
    with contextlib.closing(pair.model) as model:
        words = _program(rng, config, wild)
        refused = sum(pair.access(rng, False) for _ in range(int(rng.integers(4))))
        pair.load(words)
        seed = int(rng.integers(1, 1 << 63))
        for i in (0, 1):
            model.write(address("SEED", i), seed >> 32 * i & 0xFFFFFFFF)
        golden = pair.golden
        golden.state.random = seed
        golden.start()
        model.write(address("CONTROL"), Control.START)
        if rng.random() < 0.3:
            for _ in range(int(rng.integers(1, 4))):
                model.run(int(rng.integers(1, 400)))
                # It may have ended already, and golden has not begun: the seed is left alone.
                refused += pair.access(rng, True)
        cause = golden.run(_ENDLESS)
        if cause is Cause.NONE:
            model.run(int(rng.integers(1, 20_000)))
            model.write(address("CONTROL"), Control.STOP)
        try:
            model.wait(_BOUND)
        except RuntimeError as error:
            pair.fail(f"it hangs: {error}")
        found = Cause(pair.wide("STATUS") >> 8 & 0xFF)
        if cause is Cause.NONE and found is Cause.STOPPED:
            return Outcome(wild, found, False, pair.wide("CYCLES", 2), refused)
        if cause is Cause.NONE:
            # It ended before STOP, or with a fault of what STOP waited for.
            cause = golden.run(_LONG)
        pair.compare("the cause", found.name, cause.name)
        if cause not in (Cause.BUS_READ, Cause.BUS_WRITE):
            pair.compare("PC", pair.wide("PC"), golden.pc & 0xFFFF)
        defined = cause not in (Cause.ADDRESS, Cause.BUS_READ, Cause.BUS_WRITE)
        if cause is Cause.DONE:
            pair.compare("CYCLES", pair.wide("CYCLES", 2), golden.clock.now)
        compared = False
        cycles = pair.wide("CYCLES", 2)
        if defined and not wild:
            state = golden.state
            for name, wanted, length in (
                    ("LOSS", state.loss, 2), ("CORRECT", state.correct, 1),
                    ("SAMPLES", state.samples, 1), ("SEED", state.random, 2),
                    ("REPORT", golden.registers[Reg.REPORT], 1),
                    *((f"SAT_{key.upper()}", count, 1)
                      for key, count in state.saturations.items())):
                pair.compare(name, pair.wide(name, length), wanted)
            compared = number % _DUMPED == 0
        if compared:
            pair.load(_dump(config))
            golden.start()
            pair.compare("the dump's cause", Cause.DONE, golden.run())
            model.write(address("CONTROL"), Control.START)
            model.wait(_BOUND)
            different = np.flatnonzero(model.ddr != golden.state.ddr)
            if different.size:
                pair.fail(f"{different.size} bytes of DDR differ, first {different[0]}: "
                          + "; ".join(str(decode(word)) for word in words[-40:]))
        return Outcome(wild, cause, compared, cycles, refused)


def _share(library: Path, config: Config, numbers: range) -> list[Outcome]:
    return [one(library, config, number) for number in numbers]


def campaign(programs: int, first: int = 0, processes: int = 2) -> Iterator[Outcome]:
    """Run ``programs`` programs from number ``first`` on preset tiny, in any order."""
    config = preset("tiny")
    library = build(config)
    if processes == 1:
        for number in range(first, first + programs):
            yield one(library, config, number)
        return
    context = multiprocessing.get_context("spawn")
    step = 250
    with concurrent.futures.ProcessPoolExecutor(processes, context) as pool:
        jobs = [pool.submit(_share, library, config,
                            range(start, min(start + step, first + programs)))
                for start in range(first, first + programs, step)]
        for job in concurrent.futures.as_completed(jobs):
            yield from job.result()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tangente.bench.fuzz", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=100_000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="write the counts there; default: docs/fuzz.json for 100,000 from 0")
    args = parser.parse_args(argv)
    target = args.json
    if target is None and (args.programs, args.first) == (100_000, 0):
        target = _DOCS / "fuzz.json"
    began = time.monotonic()
    causes: dict[str, Counter[str]] = {"tame": Counter(), "wild": Counter()}
    totals: Counter[str] = Counter()
    outcomes = campaign(args.programs, args.first, args.processes)
    for outcome in tqdm(outcomes, total=args.programs, unit="program", file=sys.stderr):
        causes["wild" if outcome.wild else "tame"][outcome.cause.name] += 1
        totals["memories_compared"] += outcome.compared
        totals["cycles"] += outcome.cycles
        totals["accesses_refused"] += outcome.refused
    report = {"programs": args.programs, "first": args.first, "differences": 0, "hangs": 0,
              "causes": {kind: dict(sorted(counts.items())) for kind, counts in causes.items()},
              **totals, "wall_s": round(time.monotonic() - began, 1)}
    if target is not None:
        target.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    as_program(main)
