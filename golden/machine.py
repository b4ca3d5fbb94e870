"""The golden machine: executes programs of :mod:`tangente.golden.isa`, bit for bit as the RTL."""

from __future__ import annotations

from collections.abc import Sequence

from .clock import Clock
from .config import Config
from .isa import (
    FLAGS,
    LISTS,
    REGISTER_BITS,
    Cause,
    Flag,
    Instruction,
    Op,
    Reg,
    Space,
    decode,
    sign_extend,
)
from .state import LOADABLE, STORABLE, State, beats_per_unit, depth
from .tensor import Fault, execute, finish

__all__ = ["Machine"]

_MASK = (1 << REGISTER_BITS) - 1
_WRITABLE = frozenset(r for r in Reg if r is not Reg.MAX_ERROR)
_READERS = frozenset({Op.MOV, Op.XOR, Op.BLT})
_SCALAR = frozenset({Op.SET, Op.SETH, Op.ADD, Op.MOV, Op.XOR, Op.DBNZ, Op.BLT, Op.BZE})


class Machine:
    """A sequencer with its state.

    Members
    -------
    state : memories and counters.
    registers : 64 integers of 24 bits.
    pc : the current instruction, or the one that halted.
    cause : why it halted; NONE while it can go on.
    clock : the cycles that the RTL would take.
    """

    def __init__(self, config: Config, ddr_bytes: int = 1 << 20) -> None:
        self.config = config
        self.state = State(config, ddr_bytes)
        self.registers = [0] * 64
        self.program: list[Instruction | None] = [decode(0)] * config.program_words
        self.pc = 0
        self.ddr_base = 0
        self._speculative = 0
        self.cause = Cause.NONE
        self.clock = Clock(config)

    def load_program(self, words: Sequence[int], first: int = 0) -> None:
        """Write instruction words from address ``first``.

        Raises
        ------
        ValueError
            If they do not fit.
        """
        if first + len(words) > self.config.program_words:
            raise ValueError(
                f"the program must end at or before word {self.config.program_words}, "
                f"not {first + len(words)!r}")
        self.program[first:first + len(words)] = [decode(word) for word in words]

    def start(self, pc: int = 0) -> None:
        """Clear the counters and begin at ``pc``; the registers keep their values."""
        self.pc, self.cause = pc, Cause.NONE
        self.state.clear_counters()
        self.registers[Reg.MAX_ERROR] = 0
        self.clock.start()

    def run(self, max_instructions: int | None = None) -> Cause:
        """Execute until a halt, or for ``max_instructions``; returns the cause so far."""
        left = max_instructions
        while self.cause is Cause.NONE and (left is None or left > 0):
            try:
                self.step()
            except Fault as fault:
                self.cause = fault.cause
            if left is not None:
                left -= 1
        return self.cause

    def step(self) -> None:
        """Execute one instruction.

        Raises
        ------
        Fault
            If it halts; ``pc`` stays at it.
        """
        if self.pc >= self.config.program_words:
            raise Fault(Cause.PC)
        instruction = self.program[self.pc]
        if instruction is None:
            raise Fault(Cause.ILLEGAL)
        op, rd, imm, r = instruction.op, instruction.rd, instruction.imm, self.registers
        next_pc = None
        self.clock.fetch(quick=self._quick(op, rd, imm))
        if op in _SCALAR:
            if rd not in _WRITABLE and not (op is Op.BLT and rd == Reg.MAX_ERROR):
                raise Fault(Cause.ILLEGAL)
            rs = imm & 63
            if op in (Op.MOV, Op.XOR, Op.BLT) and rs not in _WRITABLE and rs != Reg.MAX_ERROR:
                raise Fault(Cause.ILLEGAL)
            if Reg.MAX_ERROR in (rd, rs) and op in _READERS:
                self.clock.read_max_error()
            if op is Op.SET:
                r[rd] = imm
            elif op is Op.SETH:
                r[rd] = (imm & 0xFFF) << 12 | r[rd] & 0xFFF
            elif op is Op.ADD:
                r[rd] = r[rd] + sign_extend(imm, 20) & _MASK
            elif op is Op.MOV:
                r[rd] = r[rs] + sign_extend(imm >> 6, 14) & _MASK
            elif op is Op.XOR:
                r[rd] ^= r[rs]
            elif op is Op.DBNZ:
                r[rd] = r[rd] - 1 & _MASK
                if r[rd]:
                    next_pc = imm
            elif op is Op.BZE:
                self.clock.read_errors()
                erring = self.state.erring
                if r[rd] < len(erring) and not erring[r[rd]]:
                    next_pc = imm
            elif r[rd] < r[rs]:
                next_pc = imm >> 6
        elif op is Op.JMP:
            next_pc = imm
        elif op is Op.HALT:
            self.clock.halt()
            raise Fault(Cause.DONE)
        else:
            if imm & ~FLAGS[op]:
                raise Fault(Cause.ILLEGAL)
            if op in (Op.LOAD, Op.STORE):
                self._transfer(op, imm)
            elif op is Op.WAIT:
                self.clock.wait_transfer()
            else:
                self.clock.pc = self.pc
                self.execute(op, imm)
                r[Reg.MAX_ERROR] = self.state.max_error
        if next_pc is None:
            self.pc += 1
        else:
            self.pc = next_pc
            self.clock.jump()

    @staticmethod
    def _quick(op: Op, rd: int, imm: int) -> bool:
        """Whether an instruction waits for nothing: scalar, and of registers that hold still."""
        if op in _READERS:
            return Reg.MAX_ERROR not in (rd, imm & 63)
        return op is Op.JMP or (op in _SCALAR and op is not Op.BZE)

    def execute(self, op: Op, flags: int) -> None:
        """Execute a tensor instruction; to be overridden by what only counts."""
        execute(op, self.state, self.registers, flags)
        if op is Op.MVA and flags & Flag.SPECULATIVE:
            self._speculative = self.pc
        elif op is Op.LOSS:
            loss, self.pc = self.pc, self._speculative
            finish(self.state)
            self.pc = loss
        self.clock.tensor(op, self.registers, flags,
                          self.state.list_cycles if op in LISTS else 0,
                          self.state.live if op in (Op.MVA, Op.UPD, Op.DRV) else None,
                          self.state.below, self.state.selected if op is Op.SEL else None,
                          self.state.wanted if op in (Op.MVA, Op.MVD, Op.MVR) else None,
                          self.state.kept if op is Op.LOSS else None)

    def move(self, op: Op, space: Space, units: int, local: int, byte: int) -> None:
        """Move data between DDR and a local memory; likewise."""
        if op is Op.LOAD:
            self.state.load(space, local, units, byte)
        else:
            self.state.store(space, local, units, byte)

    def _transfer(self, op: Op, flags: int) -> None:
        number, beside = flags & ~int(Flag.BESIDE), flags & Flag.BESIDE != 0
        allowed = LOADABLE if op is Op.LOAD else STORABLE
        if number not in allowed or (beside and number > Space.TARGET):
            raise Fault(Cause.ILLEGAL)
        space, r = Space(number), self.registers
        units, local = r[Reg.LENGTH], r[Reg.LOCAL]
        if not 1 <= units < 65536 or local >= 65536:
            raise Fault(Cause.OPERAND)
        if local + units > depth(space, self.config):
            raise Fault(Cause.ADDRESS)
        byte = self.ddr_base + 8 * r[Reg.DDR]
        beats = units * beats_per_unit(space, self.config)
        if byte + 8 * beats > self.state.ddr.size:
            raise Fault(Cause.BUS_READ if op is Op.LOAD else Cause.BUS_WRITE)
        self.move(op, space, units, local, byte)
        self.clock.transfer(space, byte, beats, op is Op.STORE,
                            op is Op.LOAD and space <= Space.TARGET, beside)
