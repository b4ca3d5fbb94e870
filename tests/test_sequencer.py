"""The sequencer against the golden machine, with an engine and a transfer that take any time."""

from __future__ import annotations

import dataclasses
import functools
import random

import numpy as np
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from programs import TENSOR, Assembler, listing
from unit_bench import UnitBench

from tangente.golden.config import preset
from tangente.golden.isa import FLAGS, Cause, Flag, Op, Reg, Space, encode
from tangente.golden.machine import Machine
from tangente.golden.state import beats_per_unit
from tangente.golden.tensor import Fault
from tangente.rtl.descriptor import WIDTHS
from tangente.rtl.sequencer import Sequencer

CONFIG = preset("tiny")
#: More than any transfer can reach: bus errors are made by the stub alone.
_DDR_BYTES = 1 << 28
_LIMIT = 150
BACKGROUND = (Space.INPUT, Space.TARGET)
#: Operations that hold the array, and the post-processing unit.
_IN_ARRAY = set(TENSOR) - {Op.LOSS, Op.BUP}
_IN_POST = {Op.MVA, Op.MVD, Op.MVR, Op.LOSS, Op.BUP}


@dataclasses.dataclass(frozen=True)
class Start:
    """A tensor instruction that the engine is told to run."""

    op: Op
    flags: int
    registers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Move:
    """A transfer."""

    store: bool
    space: int
    byte: int
    local: int
    beats: int


class Recorder(Machine):
    """Golden, and what it starts. LOSS leaves errors that depend on how many there were."""

    def __init__(self) -> None:
        super().__init__(CONFIG, _DDR_BYTES)
        self.events: list[Start | Move] = []
        self.max_errors: list[int] = []
        self.erring: list[list[bool]] = []
        self.kept: list[bool] = []  # a speculative product got its results
        self.faulty: int | None = None  # the tensor instruction that met a bad address
        self.faulty_late = False    # when it got its results

    def execute(self, op: Op, flags: int) -> None:
        registers = tuple(self.registers[reg] & (1 << width) - 1 for reg, width in WIDTHS.items())
        start, place = Start(op, flags, registers), self.pc
        try:
            super().execute(op, flags)
        except Fault as fault:
            if fault.cause is Cause.ADDRESS:
                self.faulty_late = self.pc != place
                self.faulty = len(self.max_errors) - self.faulty_late
                self.kept.append(self.faulty_late)
                self.events.append(start)
            raise
        self.events.append(start)
        if op is Op.LOSS:
            self.state.max_error = (37 * len(self.events)) % 256
            self.state.erring = np.unpackbits(np.uint8([self.state.max_error]))[:6].astype(bool)
        self.max_errors.append(self.state.max_error)
        self.erring.append(self.state.erring.tolist())
        self.kept.append(op is Op.LOSS and bool(self.state.kept))

    def move(self, op: Op, space: Space, units: int, local: int, byte: int) -> None:
        self.events.append(Move(op is Op.STORE, space, byte & 0xFFFFFFFF, local,
                                units * beats_per_unit(space, CONFIG)))


@dataclasses.dataclass
class Ran:
    """What the sequencer did until it halted."""

    cause: Cause
    pc: int
    events: list[Start | Move]
    registers: list[int]
    cycles: int
    quiet: bool  # no transfer was under way when it halted


#: What the engine says.
_ENGINE = ("engine_busy", "array_busy", "post_busy", "loss_busy", "kept", "array_fault",
           "post_fault")


class SequencerBench(UnitBench):
    """The sequencer between a host, an engine and a transfer."""

    async def task(self, ctx, words: list[int], golden: Recorder, seed: int,
                   options: dict) -> Ran:
        if ctx.get(self.dut.running):  # a test has failed midway
            await self._recover(ctx)
        return await self._play(ctx, words, golden, seed, **options)

    async def _recover(self, ctx) -> None:
        for name in ("start", "stop", *_ENGINE, "transfer_busy", "error_read", "error_write"):
            ctx.set(getattr(self.dut, name), 0)
        ctx.set(self.dut.reset, 1)
        await ctx.tick()
        ctx.set(self.dut.reset, 0)
        await ctx.tick().until(~self.dut.resetting)

    async def _play(self, ctx, words: list[int], golden: Recorder, seed: int, *, slow: int = 12,
                    stops: tuple[int, ...] = (), go_on: bool = True, reset: int | None = None,
                    error: tuple[str, int] | None = None, pc: int = 0, base: int = 0) -> Ran:
        """Run ``words`` to their end.

        slow : longest time of a job. stops : cycles in which STOP comes; with ``go_on``, START
        then goes on from PC. reset : cycle of RESET. error : "read" or "write" of the n-th
        transfer fails.
        """
        dut, generator = self.dut, random.Random(seed)
        for i, word in enumerate(words):
            ctx.set(dut.program.address, i)
            ctx.set(dut.program.data, word)
            ctx.set(dut.program.enable, 1)
            await ctx.tick()
        ctx.set(dut.program.enable, 0)
        ctx.set(dut.ddr_base, base)
        events: list[Start | Move] = []
        # Cycles until each unit is free, and which start it works on.
        left, works_on = {"array": 0, "post": 0}, {"array": 0, "post": 0}
        transfer = starts = moves = fails = 0
        faulty_unit = ""
        last_move: Move | None = None
        max_error, erring = 0, []
        started = apart = False
        awaits: int | None = None   # the start of a product that awaits a loss
        losing = decides = False    # a loss runs; and decides on that product
        pending_stops = list(stops)
        resume = pc
        for cycle in range(4000):
            begin = not started
            stopping = bool(pending_stops) and cycle == pending_stops[0] and not begin
            if stopping:
                pending_stops.pop(0)
            resetting = cycle == reset
            engine = max(left.values())
            ctx.set(dut.start, begin)
            ctx.set(dut.pc_start, resume)
            ctx.set(dut.stop, stopping)
            ctx.set(dut.reset, resetting)
            ctx.set(dut.engine_busy, engine > 0)
            fault = False
            for unit in left:
                now = (left[unit] == 1 and works_on[unit] == golden.faulty
                       and faulty_unit == unit)
                fault |= now
                ctx.set(getattr(dut, f"{unit}_busy"), left[unit] > 0)
                ctx.set(getattr(dut, f"{unit}_fault"), now)
            keeps = decides and left["post"] == 1 and not fault and golden.kept[works_on["post"]]
            ctx.set(dut.kept, keeps)
            ctx.set(dut.loss_busy, losing)
            # While a job runs MAX_ERROR changes.
            ctx.set(dut.max_error, generator.getrandbits(8) if engine else max_error)
            sample = ctx.get(dut.sample)
            ctx.set(dut.erring, generator.getrandbits(1) if losing
                    else sample >= len(erring) or erring[sample])
            ctx.set(dut.transfer_busy, transfer > 0)
            ctx.set(dut.command.ready, transfer == 0)
            failing = error is not None and transfer == fails > 0 and moves - 1 == error[1]
            for name in ("read", "write"):
                ctx.set(getattr(dut, f"error_{name}"), bool(failing and error[0] == name))
            assert ctx.get(dut.clear) == begin
            running = ctx.get(dut.running)
            assert not ctx.get(dut.waiting) or running and transfer
            abandoned = ctx.get(dut.reset_job)
            if engine:
                left = {unit: 0 if fault else max(0, cycles - 1) for unit, cycles in left.items()}
                if not any(left.values()) and starts <= len(golden.max_errors):
                    max_error = golden.max_errors[starts - 1]
                if not left["post"] and losing:
                    losing = False
                    if works_on["post"] < len(golden.erring):
                        erring = golden.erring[works_on["post"]]
                if keeps:
                    assert awaits is not None
                    left["post"], works_on["post"] = generator.randint(2, slow), awaits
                    left["post"] = max(left.values())
                if decides and not losing:
                    decides, awaits = False, None
            if transfer:
                transfer -= 1
                if ctx.get(dut.abandon):
                    transfer = min(transfer, 5)
            if abandoned:
                left, losing, decides, awaits = dict.fromkeys(left, 0), False, False, None
            if ctx.get(dut.engine_start):
                assert running
                op, beside = Op(ctx.get(dut.engine_op)), ctx.get(dut.job.flags.beside)
                busy = ctx.get({(Op.UPD, 1): dut.array_busy, (Op.DRV, 1): dut.array_busy,
                                (Op.SEL, 1): dut.array_busy, (Op.MVA, 1): dut.array_busy,
                                (Op.BUP, 1): dut.post_busy}.get((op, beside), dut.engine_busy))
                if awaits is not None:
                    assert op is Op.LOSS
                    busy = ctx.get(dut.post_busy)
                assert not busy
                # Only the next batch may be on its way beside an instruction.
                assert not transfer or last_move.space in BACKGROUND and not last_move.store
                registers = tuple(ctx.get(getattr(dut.job, reg.name.lower())) for reg in WIDTHS)
                events.append(Start(op, ctx.get(dut.job.flags.as_value()), registers))
                units = [unit for unit, ops in (("array", _IN_ARRAY), ("post", _IN_POST))
                         if op in ops]
                apart = ctx.get(dut.engine_apart)
                speculative = bool(op is Op.MVA and ctx.get(dut.job.flags.speculative))
                assert ctx.get(dut.engine_speculative) == speculative
                assert apart == (op is Op.MVA and left["post"] > 0 or speculative)
                for unit in units[:1] if apart else units:
                    # The array is the first to be rid of a product.
                    most = slow if unit == "post" else max(2, slow // len(units))
                    left[unit], works_on[unit] = generator.randint(2, most), starts
                if units == ["array", "post"] and not apart:
                    left["post"] = max(left.values())
                if op is Op.LOSS:
                    losing, decides = True, awaits is not None
                    if decides:
                        left["array"] = max(left["array"], left["post"])
                if starts == golden.faulty:
                    faulty_unit = generator.choice(units)
                    if speculative:
                        faulty_unit = "post" if golden.faulty_late else "array"
                apart = apart and not speculative
                if speculative or op is Op.LOSS and not decides:
                    awaits = starts if speculative else None
                starts += 1
            if ctx.get(dut.engine_follow):
                # The product that began in the array alone, with the same operands.
                assert running
                assert apart
                assert not ctx.get(dut.post_busy)
                assert events[-1].registers == tuple(
                    ctx.get(getattr(dut.job, reg.name.lower())) for reg in WIDTHS)
                left["post"], works_on["post"] = generator.randint(2, slow), starts - 1
                left["post"] = max(left.values())
                apart = False
            if ctx.get(dut.command.valid):
                assert running
                assert ctx.get(dut.command.ready)
                payload = dut.command.payload
                move = Move(*(ctx.get(getattr(payload, name)) for name in
                              ("store", "space", "ddr", "local", "length")))
                assert not ctx.get(dut.engine_busy) or (
                    ctx.get(dut.job.flags.beside) and move.space in BACKGROUND)
                events.append(move)
                last_move = move
                transfer = generator.randint(1, 3 * slow)
                fails = generator.randint(1, transfer)
                moves += 1
            await ctx.tick()
            if begin:
                started = True
                continue
            if ctx.get(dut.resetting):
                assert not ctx.get(dut.running)
                assert not ctx.get(dut.halted)
                continue
            if reset is not None and cycle >= reset:
                assert transfer == 0
                assert ctx.get(dut.cause) == 0
                break
            if ctx.get(dut.halted):
                assert not ctx.get(dut.running)
                assert not any(left.values())
                awaits = None
                if ctx.get(dut.cause) == Cause.STOPPED and go_on:
                    resume, started = ctx.get(dut.pc), False
                    continue
                break
            assert ctx.get(dut.running)
            assert ctx.get(dut.cause) == 0 or golden.faulty is not None
        else:
            raise AssertionError("no halt in 4000 cycles")
        result = Ran(Cause(ctx.get(dut.cause)), ctx.get(dut.pc), events,
                     [ctx.get(dut.registers[reg]) if reg in dut.registers else 0
                      for reg in range(64)], cycle, transfer == 0)
        for name in ("stop", "reset", "error_read", "error_write", *_ENGINE, "start"):
            ctx.set(getattr(dut, name), 0)
        while transfer > 0:  # as long as it takes; the next program finds the bus quiet
            transfer -= 1
            await ctx.tick()
        ctx.set(dut.transfer_busy, 0)
        for _ in range(3):
            await ctx.tick()
            assert not ctx.get(dut.running)
        return result


@functools.cache
def bench() -> SequencerBench:
    return SequencerBench(Sequencer(CONFIG))


def run_bench(words: list[int], golden: Recorder, seed: int, **options) -> Ran:
    return bench().run(words, golden, seed, options)


def golden_of(words: list[int], pc: int = 0, base: int = 0) -> Recorder:
    machine = Recorder()
    machine.ddr_base = base
    machine.load_program(words)
    machine.start(pc)
    machine.run(_LIMIT)
    return machine


_FREE = st.integers(0, 7)
_DESCRIPTORS = st.sampled_from([reg for reg in Reg if 8 <= reg < 63])
_REGISTERS = st.one_of(_FREE, _FREE, _DESCRIPTORS, st.just(Reg.MAX_ERROR), st.integers(0, 63))
_WRITABLE = st.one_of(_FREE, _FREE, _FREE, _DESCRIPTORS)
_IMM20 = st.one_of(st.integers(0, 20), st.integers(0, (1 << 20) - 1))
_IMM14 = st.one_of(st.integers(0, 20), st.integers(0, (1 << 14) - 1))


@st.composite
def instruction(draw: st.DrawFn, place: int, length: int) -> int:
    """A word: what changes registers mostly, all else at times, and rarely anything."""
    kind = draw(st.sampled_from(
        ["set", "set", "seth", "add", "mov", "mov", "xor", "dbnz", "blt", "blt", "jmp", "bze",
         "bze", "tensor", "tensor", "tensor", "transfer", "transfer", "wait", "loss", "read",
         "odd"]))
    target = draw(st.one_of(st.integers(place + 1, length), st.integers(max(0, place - 2), length)))
    if kind == "set":
        return encode(Op.SET, draw(_WRITABLE), draw(_IMM20))
    if kind == "seth":
        return encode(Op.SETH, draw(_FREE), draw(_IMM20))
    if kind == "add":
        return encode(Op.ADD, draw(_WRITABLE), draw(_IMM20))
    if kind in ("mov", "read"):
        source = Reg.MAX_ERROR if kind == "read" else draw(_WRITABLE)
        return encode(Op.MOV, draw(_FREE), draw(_IMM14) << 6 | source)
    if kind == "xor":
        return encode(Op.XOR, draw(_FREE), draw(st.one_of(_FREE, st.just(Reg.MAX_ERROR))))
    if kind == "dbnz":
        return encode(Op.DBNZ, draw(_FREE), target)
    if kind == "blt":
        return encode(Op.BLT, draw(st.one_of(_FREE, st.just(Reg.MAX_ERROR))),
                      target << 6 | draw(st.one_of(_FREE, st.just(Reg.MAX_ERROR))))
    if kind == "bze":
        return encode(Op.BZE, draw(_FREE), target)
    if kind == "jmp":
        return encode(Op.JMP, 0, draw(st.one_of(st.just(target), st.just(target), _IMM20)))
    if kind in ("tensor", "loss"):
        op = Op.LOSS if kind == "loss" else draw(st.sampled_from(TENSOR))
        flags = draw(st.one_of(st.just(0), st.integers(0, (1 << 11) - 1)))
        flags = int(flags | draw(st.sampled_from((0, Flag.BESIDE)))) & FLAGS[op]
        if op in (Op.MVA, Op.MVD, Op.MVR) and flags & 3 == 3:
            flags ^= draw(st.integers(1, 3))
        if op is Op.UPD and not flags & Flag.EVENT:
            flags &= int(Flag.INPUT | Flag.BESIDE)
        if op is Op.MVA and not draw(st.integers(0, 2)):
            flags |= int(Flag.SPECULATIVE)
        return encode(op, draw(_FREE), flags)
    if kind == "transfer":
        beside = draw(st.booleans())
        if beside and draw(st.integers(0, 3)):
            return encode(Op.LOAD, 0, int(Flag.BESIDE) | draw(st.sampled_from(BACKGROUND)))
        return encode(draw(st.sampled_from((Op.LOAD, Op.STORE))), 0,
                      beside * int(Flag.BESIDE) | draw(st.integers(0, 5)))
    if kind == "wait":
        return encode(Op.WAIT)
    return draw(st.one_of(
        st.integers(0, (1 << 32) - 1),
        st.builds(encode, st.sampled_from(Op), _REGISTERS, _IMM20)))


@st.composite
def programs(draw: st.DrawFn, most: int = 30) -> list[int]:
    """Registers that make every tensor instruction valid, mostly; instructions; HALT."""
    values = {"count": draw(st.integers(1, 2)), "p": 3, "q": 5, "code_bits": 8, "acc_bits": 4,
              "tiles": 1, "length": 3, "mantissa": draw(st.sampled_from((0, 9))),
              **{f"r{i}": draw(st.integers(0, 6)) for i in range(8)}}
    rest = {reg.name.lower(): draw(st.integers(0, 12)) for reg in Reg
            if 8 <= reg < 63 and reg.name.lower() not in values}
    preamble = Assembler().set(**values, **rest).words
    first, count = len(preamble), draw(st.integers(1, most))
    body = []
    for i in range(count):
        body.append(draw(instruction(first + i, first + count)))
        if body[-1] >> 26 == Op.MVA and body[-1] & Flag.SPECULATIVE:
            # What follows, at once or not, is the loss.
            body += [encode(Op.SET, Reg.R1, i)] * draw(st.integers(0, 9))
            body.append(encode(Op.LOSS))
    return [*preamble, *body, encode(Op.HALT)]


def compare(golden: Recorder, ran: Ran) -> None:
    assert (ran.cause, ran.pc) == (golden.cause, golden.pc & 0xFFFF), (golden.cause, golden.pc, ran)
    if golden.faulty is not None:
        # Others may have started beside it.
        beside = ran.events[len(golden.events):]
        assert all(isinstance(event, Move) and event.space in BACKGROUND
                   or isinstance(event, Start) and event.flags & Flag.BESIDE for event in beside)
        del ran.events[len(golden.events):]
    assert ran.events == golden.events
    if golden.faulty is None:  # beside an instruction that fails, registers go on changing
        expected = list(golden.registers)
        expected[Reg.MAX_ERROR] = 0
        assert ran.registers == expected


_SETTINGS = settings(max_examples=40, derandomize=True, deadline=None)
_SEEDS = st.integers(0, 1 << 32)


@_SETTINGS
@given(words=programs(), seed=_SEEDS, slow=st.sampled_from((2, 12, 60)),
       base=st.sampled_from((0, 0x1000_0000)))
def test_random_programs(words: list[int], seed: int, slow: int, base: int) -> None:
    note(listing(words))
    golden = golden_of(words)
    for index, event in enumerate(golden.events):
        if isinstance(event, Move):
            golden.events[index] = dataclasses.replace(event, byte=event.byte + base & 0xFFFFFFFF)
    assume(golden.cause is not Cause.NONE)
    compare(golden, run_bench(words, golden, seed, slow=slow, base=base))


_EDGES = (0, 1, 2, 0xFFF, 0x1000, 0x7FFFFF, 0x800000, 0xFFFFFE, 0xFFFFFF)
_VALUES = st.one_of(st.sampled_from(_EDGES), st.integers(0, 0xFFFFFF))


@pytest.mark.parametrize("op", [Op.SET, Op.SETH, Op.ADD, Op.MOV, Op.XOR, Op.DBNZ, Op.BLT, Op.BZE,
                                Op.JMP],
                         ids=lambda op: op.name)
@settings(max_examples=25, derandomize=True, deadline=None)
@given(a=_VALUES, b=_VALUES, imm=st.one_of(st.sampled_from((0, 1, 0x7FFFF, 0x80000, 0xFFFFF)),
                                           st.integers(0, (1 << 20) - 1)))
def test_scalars(op: Op, a: int, b: int, imm: int) -> None:
    """One instruction on any two values: what it leaves, and which of two HALTs it leads to."""
    if op in (Op.MOV, Op.XOR):
        imm = imm & ~63 | 1
    elif op in (Op.DBNZ, Op.BZE, Op.JMP):
        imm = 6
    elif op is Op.BLT:
        imm = 6 << 6 | 1
    words = [word for reg, value in ((0, a), (1, b)) for word in
             (encode(Op.SET, reg, value & 0xFFFFF), encode(Op.SETH, reg, value >> 12))]
    words += [encode(op, 0, imm), encode(Op.HALT), encode(Op.HALT)]
    golden = golden_of(words)
    ran = run_bench(words, golden, 1)
    assert (ran.cause, ran.pc) == (golden.cause, golden.pc)
    assert ran.registers[:2] == golden.registers[:2]


@settings(max_examples=12, derandomize=True, deadline=None)
@given(words=programs(most=15), seed=_SEEDS, data=st.data())
def test_stop_and_go_on(words: list[int], seed: int, data: st.DataObject) -> None:
    """A program that is stopped, and started where it stopped, does what it does at one go."""
    note(listing(words))
    golden = golden_of(words)
    assume(golden.cause is not Cause.NONE and golden.faulty is None)
    whole = run_bench(words, golden, seed)
    times = st.lists(st.integers(1, whole.cycles + 20), max_size=3, unique=True)
    stops = tuple(sorted(data.draw(times)))
    compare(golden, run_bench(words, golden, seed, stops=stops))


@settings(max_examples=12, derandomize=True, deadline=None)
@given(words=programs(most=15), seed=_SEEDS, data=st.data())
def test_reset(words: list[int], seed: int, data: st.DataObject) -> None:
    """RESET in any cycle; then the program runs as if nothing had been."""
    note(listing(words))
    golden = golden_of(words)
    assume(golden.cause is not Cause.NONE)
    whole = run_bench(words, golden, seed)
    reset = data.draw(st.integers(1, max(1, whole.cycles - 1)))
    broken = run_bench(words, golden, seed, reset=reset)
    assert broken.cause is Cause.NONE
    compare(golden, run_bench(words, golden, seed + 1))


def test_stops_a_loop() -> None:
    words = [encode(Op.JMP, 0, 1), encode(Op.JMP, 0, 0)]
    ran = run_bench(words, Recorder(), 1, stops=(500,), go_on=False)
    assert ran.cause is Cause.STOPPED
    assert ran.pc in (0, 1)
    assert ran.cycles <= 505


def test_going_on_waits_for_a_transfer_that_was_waited_for() -> None:
    """STOP while a STORE is under way, in any cycle; then START."""
    zeros = {reg.name.lower(): 0 for reg in Reg if reg is not Reg.MAX_ERROR}
    values = zeros | {"count": 2, "p": 3, "q": 5, "code_bits": 8, "length": 3}
    program = Assembler().set(**values)
    first = 4 * len(program.words)
    words = program.op(Op.STORE, Space.PAIR).op(Op.UPD).op(Op.HALT).words
    golden = golden_of(words)
    for stop in range(first, run_bench(words, golden, 1).cycles):
        compare(golden, run_bench(words, golden, 1, stops=(stop,)))


@pytest.mark.parametrize(("op", "space", "then"), [
    *((op, space, then) for op in (Op.LOAD, Op.STORE)
      for space in (Space.WEIGHT, Space.INPUT, Space.PAIR)
      for then in (Op.WAIT, Op.HALT, Op.JMP))])
def test_bus_errors(op: Op, space: Space, then: Op) -> None:
    """A failed transfer ends the program with its cause, whatever waits for it or does not."""
    program = Assembler().set(length=3, local=0, ddr=0).op(op, space)
    where = len(program.words)
    program.op(then, where if then is Op.JMP else 0).op(Op.HALT)
    legal = op is Op.STORE and space is not Space.INPUT or op is Op.LOAD and space is not Space.PAIR
    for seed in range(4):
        kind = "read" if op is Op.LOAD else "write"
        ran = run_bench(program.words, Recorder(), seed, error=(kind, 0))
        expected = Cause.BUS_READ if op is Op.LOAD else Cause.BUS_WRITE
        assert ran.cause is (expected if legal else Cause.ILLEGAL)
        assert ran.pc in (where - 1, where, where + 1)


def test_a_bus_error_ends_a_program_that_waits_for_nothing() -> None:
    program = Assembler().set(length=3, local=0, ddr=0).op(Op.LOAD, Space.INPUT)
    where = len(program.words)
    for _ in range(300):
        program.op(Op.ADD, 1)
    program.op(Op.HALT)
    for seed in range(4):
        ran = run_bench(program.words, Recorder(), seed, error=("read", 0))
        assert ran.cause is Cause.BUS_READ
        assert where < ran.pc < len(program.words) - 1


@pytest.mark.parametrize("op", [Op.SET, Op.WAIT])
def test_behind_the_last_word(op: Op) -> None:
    """The instruction memory has no first word behind its last one."""
    last = CONFIG.program_words - 1
    words = [encode(Op.JMP, 0, last), *[encode(Op.HALT, 0, 0)] * (last - 1), encode(op, 0, 0)]
    golden = golden_of(words)
    ran = run_bench(words, golden, 1)
    for machine in (golden, ran):
        assert (machine.cause, machine.pc) == (Cause.PC, CONFIG.program_words)


_VALID = {"count": 2, "p": 3, "q": 5, "code_bits": 8, "acc_bits": 4, "tiles": 1, "length": 3,
          "local": 0, "mantissa": 9}


@pytest.mark.parametrize(("op", "flags", "values", "cause"), [
    (Op.MVA, 3, {}, Cause.ILLEGAL),
    (Op.MVA, 3, {"p": 0}, Cause.ILLEGAL),
    (Op.MVA, 3, {"m_base": 65535}, Cause.ILLEGAL),
    (Op.MVD, Flag.INPUT, {}, Cause.ILLEGAL),
    (Op.MVR, 1 << 11, {}, Cause.ILLEGAL),
    (Op.WAIT, 1, {}, Cause.ILLEGAL),
    (Op.LOAD, Space.LOGIT, {}, Cause.ILLEGAL),
    (Op.LOAD, 6, {}, Cause.ILLEGAL),
    (Op.LOAD, Flag.BESIDE | Space.INPUT, {}, Cause.DONE),
    (Op.LOAD, Flag.BESIDE | Space.TARGET, {}, Cause.DONE),
    (Op.LOAD, Flag.BESIDE | Space.WEIGHT, {}, Cause.ILLEGAL),
    (Op.LOAD, Flag.BESIDE | Space.BIAS, {}, Cause.ILLEGAL),
    (Op.LOAD, Flag.BESIDE | Space.PAIR, {}, Cause.ILLEGAL),
    (Op.LOAD, Flag.BESIDE | 8, {}, Cause.ILLEGAL),
    (Op.LOAD, Flag.BESIDE | Space.INPUT, {"local": 510}, Cause.ADDRESS),
    (Op.STORE, Flag.BESIDE | Space.PAIR, {}, Cause.ILLEGAL),
    (Op.STORE, Flag.BESIDE | Space.WEIGHT, {}, Cause.ILLEGAL),
    (Op.MVD, Flag.BESIDE, {}, Cause.ILLEGAL),
    (Op.LOSS, Flag.BESIDE, {}, Cause.ILLEGAL),
    (Op.SCT, Flag.BESIDE, {"k": 1}, Cause.ILLEGAL),
    (Op.UPD, Flag.BESIDE, {"shift": 24}, Cause.OPERAND),
    (Op.BUP, Flag.BESIDE, {"b_base": 63}, Cause.ADDRESS),
    (Op.UPD, Flag.BESIDE, {}, Cause.DONE),
    (Op.STORE, Space.TARGET, {}, Cause.ILLEGAL),
    (Op.STORE, 8, {}, Cause.ILLEGAL),
    (Op.LOAD, Space.INPUT, {"length": 0}, Cause.OPERAND),
    (Op.LOAD, Space.INPUT, {"length": 65536}, Cause.OPERAND),
    (Op.LOAD, Space.INPUT, {"local": 65536}, Cause.OPERAND),
    (Op.STORE, Space.PAIR, {"local": 4094}, Cause.ADDRESS),
    (Op.STORE, Space.PAIR, {"local": 65535, "length": 65535}, Cause.ADDRESS),
    (Op.MVA, 0, {"count": 0}, Cause.OPERAND),
    (Op.MVA, 0, {"q": 4096}, Cause.OPERAND),
    (Op.MVA, 0, {"f_stride": 65536}, Cause.OPERAND),
    (Op.MVA, 0, {"shift": 32}, Cause.OPERAND),
    (Op.MVA, 0, {"code_bits": 1}, Cause.OPERAND),
    (Op.MVA, 0, {"code_bits": 17, "acc_bits": 0}, Cause.OPERAND),
    (Op.MVA, 0, {"code_bits": 3, "acc_bits": 13}, Cause.OPERAND),
    (Op.MVA, 0, {"code_bits": 13}, Cause.OPERAND),
    (Op.MVA, 0, {"code_bits": 8 + (1 << 20)}, Cause.OPERAND),
    (Op.MVA, 0, {"acc_bits": 1 << 20}, Cause.OPERAND),
    (Op.MVA, Flag.SPECULATIVE, {}, Cause.OPERAND),
    (Op.MVA, Flag.SPECULATIVE, {"count": 1}, Cause.DONE),
    (Op.MVA, Flag.SPECULATIVE, {"count": 1, "q": 128}, Cause.DONE),
    (Op.MVA, Flag.SPECULATIVE, {"count": 1, "q": 129}, Cause.OPERAND),
    (Op.MVA, Flag.SPECULATIVE, {"count": 1, "m_base": 65535}, Cause.ADDRESS),
    (Op.MVA, Flag.SPECULATIVE | Flag.PAIRS, {"count": 1, "y_base": 65535}, Cause.DONE),
    (Op.MVA, Flag.SPECULATIVE | 3, {"count": 1}, Cause.ILLEGAL),
    (Op.MVA, Flag.SPECULATIVE | Flag.WANTED, {"count": 1}, Cause.ILLEGAL),
    (Op.MVD, Flag.SPECULATIVE, {"count": 1}, Cause.ILLEGAL),
    (Op.UPD, Flag.SPECULATIVE, {"count": 1}, Cause.ILLEGAL),
    (Op.LOSS, Flag.SPECULATIVE, {"count": 1}, Cause.ILLEGAL),
    (Op.UPD, 0, {"shift": 24}, Cause.OPERAND),
    (Op.UPD, Flag.EVENT, {"acc_bits": 0}, Cause.OPERAND),
    (Op.UPD, Flag.STOCHASTIC, {"shift": 24}, Cause.OPERAND),
    (Op.UPD, Flag.MASTER, {"shift": 28}, Cause.OPERAND),
    (Op.UPD, Flag.MASTER, {"acc_bits": 0}, Cause.OPERAND),
    (Op.UPD, Flag.MASTER | Flag.EVENT, {}, Cause.OPERAND),
    (Op.UPD, Flag.OWN, {}, Cause.ILLEGAL),
    (Op.MVD, 0, {"asymm": 2}, Cause.OPERAND),
    (Op.DRV, 0, {"asymm": 1, "code_bits": 16, "acc_bits": 0}, Cause.OPERAND),
    (Op.SRT, 0, {"k": 0}, Cause.OPERAND),
    (Op.SRT, Flag.SHARED, {"k": 1}, Cause.ILLEGAL),
    (Op.SRT, 0, {"k": 9}, Cause.OPERAND),
    (Op.TOP, 0, {"k": 9}, Cause.OPERAND),
    (Op.TOP, 0, {"k": 8, "p": 256}, Cause.OPERAND),
    (Op.TOP, Flag.OWN, {"k": 8, "v_stride": 1, "r_stride": 1}, Cause.OPERAND),
    (Op.TOP, Flag.SHARED, {"k": 8, "f_stride": 1, "r_stride": 1}, Cause.OPERAND),
    (Op.TOP, Flag.LISTS, {"k": 8, "v_stride": 1, "f_stride": 1}, Cause.OPERAND),
    (Op.TOP, Flag.EVENT, {"k": 8}, Cause.ILLEGAL),
    (Op.SCT, 0, {"k": 9}, Cause.OPERAND),
    (Op.SCT, Flag.MASTER, {"k": 3, "acc_bits": 0}, Cause.OPERAND),
    (Op.SCT, 0, {"k": 3, "code_bits": 17}, Cause.OPERAND),
    (Op.LOSS, 0, {"p": 257}, Cause.OPERAND),
    (Op.LOSS, 0, {"mantissa": 256}, Cause.OPERAND),
    (Op.DRV, 0, {"tiles": 256}, Cause.OPERAND),
    (Op.SEL, 0, {"tiles": 0}, Cause.OPERAND),
    (Op.SEL, 0, {"tiles": 256}, Cause.OPERAND),
    (Op.SEL, 0, {"k": 65536}, Cause.OPERAND),
    (Op.SEL, 0, {"yr_base": 2048}, Cause.ADDRESS),
    (Op.BUP, 0, {"b_base": 63}, Cause.ADDRESS),
    (Op.JMP, 1024, {}, Cause.PC),
    (Op.JMP, (1 << 20) - 1, {}, Cause.PC),
    (Op.SET, 0, {}, Cause.DONE),
])
def test_causes(op: Op, flags: int, values: dict[str, int], cause: Cause) -> None:
    zeros = {reg.name.lower(): 0 for reg in Reg if reg is not Reg.MAX_ERROR}
    words = Assembler().set(**zeros | _VALID | values).op(op, flags).op(Op.HALT).words
    golden = golden_of(words)
    assert golden.cause is cause
    compare(golden, run_bench(words, golden, 1))


def speculative(flags: int = 0, **values: int) -> Assembler:
    """An MVA that awaits its LOSS."""
    zeros = {reg.name.lower(): 0 for reg in Reg if reg is not Reg.MAX_ERROR}
    return Assembler().set(**zeros | _VALID | {"count": 1} | values).op(
        Op.MVA, Flag.SPECULATIVE | flags)


@pytest.mark.parametrize("idle", [0, 1, 30])
@pytest.mark.parametrize("op", [*TENSOR, Op.LOAD, Op.STORE, Op.WAIT], ids=lambda op: op.name)
def test_what_may_follow_a_speculative_product(op: Op, idle: int) -> None:
    """Only LOSS, of the tensor instructions; ILLEGAL even if its operands are wrong as well."""
    for values, flags in (({}, 0), ({}, int(Flag.BESIDE)), ({"p": 0}, 0)):
        program = speculative()
        program.words += [encode(Op.SET, Reg.R1, 7)] * idle
        program.set(**values)
        where = len(program.words)
        words = program.op(op, flags & FLAGS[op]).op(Op.LOSS).op(Op.HALT).words
        golden = golden_of(words)
        if op in TENSOR and op is not Op.LOSS:
            assert (golden.cause, golden.pc) == (Cause.ILLEGAL, where)
        for seed in range(3):
            compare(golden, run_bench(words, golden, seed))
            # What awaited its LOSS is forgotten.
            again = speculative().words[:-1] + [encode(Op.BUP), encode(Op.HALT)]
            compare(golden_of(again), run_bench(again, golden_of(again), seed))


@pytest.mark.parametrize("op", [Op.HALT, Op.LOSS, Op.BUP, Op.MVD], ids=lambda op: op.name)
@pytest.mark.parametrize("mantissa", [0, 9])
def test_faults_of_speculative_results(op: Op, mantissa: int) -> None:
    """They are the MVA's, and only if no sample has an error."""
    program = speculative(int(Flag.PAIRS), y_base=65535, mantissa=mantissa)
    where = len(program.words) - 1
    program.op(Op.LOSS).set(y_base=0, r1=3).op(op).op(Op.HALT)
    golden = golden_of(program.words)
    assert golden.cause is (Cause.DONE if mantissa else Cause.ADDRESS)
    assert mantissa or golden.pc == where
    for seed in range(20):
        compare(golden, run_bench(program.words, golden, seed))


@pytest.mark.parametrize("mantissa", [0, 9])
def test_stop_comes_after_the_loss(mantissa: int) -> None:
    """In any cycle; what awaits it would be forgotten."""
    program = speculative(mantissa=mantissa)
    first = 2 * len(program.words)
    program.words += [encode(Op.SET, Reg.R1, 7)] * 5
    words = program.op(Op.LOSS).set(r2=1).op(Op.BUP).op(Op.HALT).words
    golden = golden_of(words)
    where = len(program.words) - 4
    for stop in range(first, run_bench(words, golden, 1).cycles):
        compare(golden, run_bench(words, golden, 1, stops=(stop,)))
        ran = run_bench(words, golden, 1, stops=(stop,), go_on=False)
        started = {event.op for event in ran.events}
        assert started in (set(), {Op.MVA, Op.LOSS}, {Op.MVA, Op.LOSS, Op.BUP}), ran
        assert started == set() or ran.pc >= where


def test_stop_comes_before_the_loss_in_a_loop() -> None:
    """Else it would never; START forgets the product."""
    program = speculative()
    where = len(program.words)
    words = program.op(Op.JMP, where).op(Op.LOSS).words
    golden = golden_of(words)
    for stop in range(3 * where, 3 * where + 12):
        ran = run_bench(words, golden, 1, stops=(stop,), go_on=False)
        assert (ran.cause, ran.cycles <= stop + 20) == (Cause.STOPPED, True)
        again = [*words[:where], encode(Op.BUP), encode(Op.HALT)]
        ran = run_bench(again, golden_of(again[where:]), 1, pc=where)
        assert (ran.cause, [event.op for event in ran.events]) == (Cause.DONE, [Op.BUP])


@pytest.mark.parametrize("code", sorted(set(range(64)) - set(Op)))
def test_unknown_operations(code: int) -> None:
    ran = run_bench([code << 26, encode(Op.HALT)], Recorder(), code)
    assert (ran.cause, ran.pc) == (Cause.ILLEGAL, 0)


@pytest.mark.parametrize("op", [Op.SET, Op.SETH, Op.ADD, Op.MOV, Op.XOR, Op.DBNZ, Op.BLT])
def test_unknown_registers(op: Op) -> None:
    """Every number as rd and as rs."""
    sources = op in (Op.MOV, Op.XOR, Op.BLT)
    for rd, rs in [(rd, 0) for rd in range(41, 64)] + [(1, rs) for rs in range(41, 64) if sources]:
        words = [encode(op, rd, 1 << 6 | rs if sources else 1), encode(Op.HALT)]
        golden = golden_of(words)
        ran = run_bench(words, golden, 1)
        assert (ran.cause, ran.pc) == (golden.cause, golden.pc)


def test_start_is_ignored_while_a_reset_waits_for_the_bus() -> None:
    zeros = {reg.name.lower(): 0 for reg in Reg if reg is not Reg.MAX_ERROR}
    program = Assembler().set(**zeros | {"length": 3}).op(Op.LOAD, Space.INPUT).op(Op.WAIT)
    words = program.op(Op.HALT).words
    golden = golden_of(words)
    ran = run_bench(words, golden, 3, slow=200, reset=4 * len(words))
    assert ran.cause is Cause.NONE
    compare(golden, run_bench(words, golden, 4))
