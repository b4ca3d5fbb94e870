"""The sequencer: fetches instructions, keeps the registers, starts tensor units and transfers.

Beside the tensor instruction that runs, a scalar instruction takes two cycles (read, execute), any
other three (read, check, execute): the word after it is read meanwhile. Where the next word is not
that one, behind a branch that is taken, it is fetched in a cycle of its own. A tensor instruction
waits in execute until the one before is over.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.isa import (
    ERROR_SAMPLES,
    FLAGS,
    FORMATTED,
    LIVE_MAX,
    OPERANDS,
    REGISTER_BITS,
    SPECULATIVE_MAX,
    Cause,
    Flag,
    Op,
    Reg,
    Space,
)
from ..golden.state import LOADABLE, STORABLE, depth
from .control import ProgramWrite
from .descriptor import WIDTHS, Descriptor
from .transfer import TransferCommand

__all__ = ["Sequencer"]

#: Cycles for which the units are reset after a fault, so that nothing is under way any more.
_FLUSH_BITS = 6


class State(enum.Enum, shape=3):
    """Where the sequencer stands."""

    IDLE = 0
    FETCH = 1
    READ = 2
    CHECK = 3
    EXECUTE = 4
    QUICK = 5  # execute, without a check
    HALT = 6


class Sequencer(wiring.Component):
    """Executes the program.

    Members
    -------
    program : In. Writes to the instruction memory.
    start, pc_start : In. Begin (pulse); ignored while ``running``.
    stop : In. Halt before the next instruction (pulse).
    reset : In. Return to the reset state (pulse); ``resetting`` until the bus is quiet.
    ddr_base : In. Byte address that transfers count from.
    running, halted, resetting, cause, pc : Out. For the host.
    clear : Out. Counters are to be zeroed (pulse).
    engine_start, engine_apart, engine_follow, engine_speculative, engine_op, job : Out;
        max_error, loss_busy, kept : In.
    sample : Out, 6; erring : In. See :class:`tangente.rtl.engine.Engine`.
    engine_busy, array_busy, post_busy, array_fault, post_fault : In. See
        :class:`tangente.rtl.engine.Engine`.
    reset_job : Out. The engine's units are to be reset.
    command : Out, stream. Transfers.
    transfer_busy, error_read, error_write : In; abandon : Out.
    report : Out. The program's register REPORT.
    waiting : Out. WAIT, LOAD or STORE waits for a transfer in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "program": In(ProgramWrite(config.program_words)),
            "start": In(1), "pc_start": In(16), "stop": In(1), "reset": In(1), "ddr_base": In(32),
            "running": Out(1), "halted": Out(1), "resetting": Out(1), "cause": Out(8),
            "pc": Out(16), "clear": Out(1),
            "engine_start": Out(1), "engine_apart": Out(1), "engine_follow": Out(1),
            "engine_speculative": Out(1), "loss_busy": In(1), "kept": In(1),
            "engine_op": Out(6), "job": Out(Descriptor()),
            "engine_busy": In(1), "array_busy": In(1), "post_busy": In(1),
            "array_fault": In(1), "post_fault": In(1),
            "max_error": In(config.element_bits - 1), "reset_job": Out(1),
            "sample": Out(range(ERROR_SAMPLES)), "erring": In(1),
            "command": Out(stream.Signature(TransferCommand)),
            "transfer_busy": In(1), "error_read": In(1), "error_write": In(1), "abandon": Out(1),
            "waiting": Out(1), "report": Out(REGISTER_BITS),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.memory = ram = memory.Memory(shape=32, depth=config.program_words, init=[])
        write, read = ram.write_port(), ram.read_port()
        # The word that is executed, and the one after it.
        pc, ahead = self.word, self.ahead = Signal(20), Signal(20)
        fetching = Signal()
        m.d.comb += [write.addr.eq(self.program.address), write.data.eq(self.program.data),
                     write.en.eq(self.program.enable),
                     read.addr.eq(Mux(fetching, pc, ahead))]

        registers = {reg: Signal(REGISTER_BITS, name=reg.name.lower()) for reg in Reg
                     if reg is not Reg.MAX_ERROR}
        self.registers = registers
        m.d.comb += self.report.eq(registers[Reg.REPORT])
        bank = Array([registers[Reg(i)] if i in Reg._value2member_map_ and i != Reg.MAX_ERROR
                      else Const(0, REGISTER_BITS) for i in range(63)] + [self.max_error])
        exists = Array([Const(i in Reg._value2member_map_, 1) for i in range(64)])

        ir = Signal(32)
        op, rd, imm, rs = ir[26:], ir[20:26], ir[:20], ir[:6]
        a, b = Signal(REGISTER_BITS), Signal(REGISTER_BITS)
        legal_rd, legal_rs = Signal(), Signal()
        result, writes = Signal(REGISTER_BITS), Signal()
        target, taken = Signal(20), Signal()

        stopping, bus_error = Signal(), Signal(8)
        with m.If(self.stop & self.running):
            m.d.sync += stopping.eq(1)
        with m.If(self.error_read & ~bus_error.any()):
            m.d.sync += bus_error.eq(Cause.BUS_READ)
        with m.Elif(self.error_write & ~bus_error.any()):
            m.d.sync += bus_error.eq(Cause.BUS_WRITE)

        # What is asked for, and whether it may be: decoded while it is checked.
        kind = {name: Signal(name=f"is_{name}") for name in (
            "scalar", "tensor", "transfer", "wait", "halt")}
        m.d.sync += [
            kind["scalar"].eq(
                op.matches(Op.SET, Op.SETH, Op.ADD, Op.DBNZ, Op.BZE) & legal_rd
                | op.matches(Op.MOV, Op.XOR) & legal_rd & legal_rs
                | (op == Op.BLT) & (legal_rd | (rd == Reg.MAX_ERROR)) & legal_rs
                | (op == Op.JMP)),
            kind["tensor"].eq(op.matches(*OPERANDS)),
            kind["transfer"].eq(op.matches(Op.LOAD, Op.STORE)),
            kind["wait"].eq((op == Op.WAIT) & (imm == 0)), kind["halt"].eq(op == Op.HALT),
        ]
        # An MVA awaits its LOSS.
        awaits = self.awaits = Signal()
        refused, cause = self._elaborate_checks(m, op, imm)
        self.refused = refused
        transfer_refused, transfer_cause, command_ready = self._elaborate_transfer(m, op, imm)
        # Where the instructions are that the array and the post-processing unit work on.
        array_pc, post_pc = Signal(20), Signal(20)
        beside = (imm & Flag.BESIDE).any()
        beside_array, beside_post, product = Signal(), Signal(), Signal()
        m.d.sync += [beside_array.eq(beside & (op != Op.BUP)),
                     beside_post.eq(beside & (op == Op.BUP) | awaits), product.eq(op == Op.MVA)]
        # An MVA runs in the array, and awaits the post-processing unit.
        apart = self.apart = Signal()
        speculative = (imm & Flag.SPECULATIVE).any()
        m.d.comb += self.engine_speculative.eq(product & speculative)
        units_busy = Mux(beside_array, self.array_busy,
                         Mux(beside_post, self.post_busy, self.engine_busy))
        flush = self.flush = Signal(_FLUSH_BITS)
        fault_pending = self.fault_pending = Signal()
        reads_max_error = Signal()
        m.d.comb += reads_max_error.eq(
            (op == Op.MOV) & (rs == Reg.MAX_ERROR) | (op == Op.XOR) & (rs == Reg.MAX_ERROR)
            | (op == Op.BLT) & ((rs == Reg.MAX_ERROR) | (rd == Reg.MAX_ERROR)))

        halt_cause, halt_now = Signal(8), Signal()
        advance = Signal()
        synchronous = Signal()  # the transfer under way must be over before anything goes on

        def halt(cause):
            """Halt once nothing runs any more: an earlier fault comes first."""
            with m.If(~self.engine_busy):
                m.d.comb += [halt_now.eq(1), halt_cause.eq(cause)]

        m.d.comb += [self.engine_op.eq(op), self.pc.eq(pc)]
        state = self.state = Signal(State)

        def go_on(held=0):
            """The instruction is over: the next word is there, or must be fetched."""
            with m.If(taken):
                m.d.sync += [pc.eq(target), unstopped.eq(0)]
            with m.Else():
                m.d.sync += [pc.eq(ahead), ahead.eq(ahead + 1)]
            with m.If(taken | held):
                m.d.sync += state.eq(State.FETCH)
            with m.Else():
                m.d.sync += state.eq(State.READ)

        # START forgets what awaits a LOSS: STOP comes after it, unless there is a branch between.
        unstopped, stops = Signal(), Signal()
        self.unstopped = unstopped
        m.d.comb += stops.eq(stopping & ~unstopped)
        ends = self.ends = stops | (bus_error != 0) | (pc >= config.program_words)
        m.d.comb += fetching.eq((state == State.IDLE) | (state == State.FETCH))
        self._elaborate_scalar(m, op, imm, a, b, result, writes, target, taken)
        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(self.start & ~self.resetting):
                    m.d.comb += self.clear.eq(1)
                    m.d.sync += [self.running.eq(1), self.halted.eq(0), self.cause.eq(0),
                                 pc.eq(self.pc_start), stopping.eq(0), bus_error.eq(0),
                                 awaits.eq(0), unstopped.eq(0),
                                 synchronous.eq(self.transfer_busy)]
                    m.d.sync += state.eq(State.FETCH)
            with m.Case(State.FETCH):
                m.d.sync += ahead.eq(pc + 1)
                with m.If(ends):
                    halt(Mux(stops, Cause.STOPPED, Mux(bus_error != 0, bus_error, Cause.PC)))
                with m.Elif(synchronous & self.transfer_busy):
                    m.d.comb += self.waiting.eq(1)
                with m.Else():
                    m.d.sync += synchronous.eq(0)
                    m.d.sync += state.eq(State.READ)
            with m.Case(State.READ):
                word = read.data
                m.d.sync += [
                    ir.eq(word), a.eq(bank[word[20:26]]), b.eq(bank[word[:6]]),
                    legal_rd.eq(exists[word[20:26]] & (word[20:26] != Reg.MAX_ERROR)),
                    legal_rs.eq(exists[word[:6]]),
                ]
                with m.If(ends):
                    m.d.sync += state.eq(State.FETCH)
                with m.Elif(self._quick(word, exists)):
                    m.d.sync += state.eq(State.QUICK)
                with m.Else():
                    m.d.sync += state.eq(State.CHECK)
            with m.Case(State.CHECK):
                # a and b may be stale for MAX_ERROR only; see reads_max_error.
                with m.If(reads_max_error):
                    m.d.sync += [a.eq(bank[rd]), b.eq(bank[rs])]
                with m.If(Mux(op == Op.BZE, ~self.loss_busy, ~reads_max_error | ~self.engine_busy)):
                    m.d.sync += state.eq(State.EXECUTE)
            with m.Case(State.QUICK):
                m.d.comb += advance.eq(1)
                go_on()
            with m.Case(State.EXECUTE):
                holds = Signal()
                with m.If(apart):
                    with m.If(~self.post_busy):
                        m.d.comb += [self.engine_follow.eq(1), advance.eq(1)]
                        m.d.sync += [apart.eq(0), post_pc.eq(pc)]
                with m.Elif(kind["scalar"]):
                    m.d.comb += advance.eq(1)
                with m.Elif(kind["tensor"]):
                    with m.If(refused):
                        halt(cause)
                    with m.Elif(~units_busy & ~fault_pending):
                        m.d.comb += [
                            self.engine_start.eq(1),
                            self.engine_apart.eq(product & (self.post_busy | speculative)),
                            advance.eq(~self.engine_apart | speculative),
                        ]
                        m.d.sync += [apart.eq(self.engine_apart & ~speculative),
                                     awaits.eq(self.engine_speculative),
                                     unstopped.eq(self.engine_speculative)]
                        with m.If((op != Op.BUP) & (op != Op.LOSS)):
                            m.d.sync += array_pc.eq(pc)
                        with m.If(op.matches(Op.MVA, Op.MVD, Op.MVR, Op.LOSS, Op.BUP)
                                  & ~self.engine_apart):
                            m.d.sync += post_pc.eq(pc)
                with m.Elif(kind["transfer"]):
                    with m.If(transfer_refused):
                        halt(transfer_cause)
                    with m.Elif(command_ready):
                        m.d.comb += self.command.valid.eq(1)
                        with m.If(self.command.ready):
                            m.d.comb += [advance.eq(1), holds.eq((op == Op.STORE)
                                                                 | (imm[:15] > Space.TARGET))]
                            m.d.sync += synchronous.eq(holds)
                    with m.Elif(self.transfer_busy):
                        m.d.comb += self.waiting.eq(1)
                with m.Elif(kind["wait"]):
                    with m.If(~self.transfer_busy):
                        m.d.comb += advance.eq(1)
                    with m.Else():
                        m.d.comb += self.waiting.eq(1)
                with m.Elif(kind["halt"]):
                    with m.If(~self.transfer_busy):
                        halt(Mux(bus_error != 0, bus_error, Cause.DONE))
                    with m.Elif(~self.engine_busy):
                        m.d.comb += self.waiting.eq(1)
                with m.Else():
                    halt(Cause.ILLEGAL)
                with m.If(advance):
                    go_on(holds)
            with m.Case(State.HALT):
                # The units are reset until nothing of a faulty job is under way.
                m.d.comb += self.reset_job.eq(1)
                m.d.sync += [apart.eq(0), awaits.eq(0), unstopped.eq(0)]
                m.d.sync += flush.eq(flush + 1)
                with m.If(flush.all()):
                    m.d.sync += [fault_pending.eq(0)]
                    with m.If(self.resetting):
                        with m.If(~self.transfer_busy):
                            m.d.sync += [self.resetting.eq(0), self.running.eq(0),
                                         self.halted.eq(0), self.cause.eq(0)]
                            m.d.sync += state.eq(State.IDLE)
                    with m.Else():
                        m.d.sync += [self.running.eq(0), self.halted.eq(1)]
                        m.d.sync += state.eq(State.IDLE)
        with m.If(halt_now):
            m.d.sync += [self.cause.eq(halt_cause), self.running.eq(0), self.halted.eq(1)]
            m.d.sync += state.eq(State.IDLE)
        # What awaited a LOSS goes on behind it.
        with m.If(self.kept):
            m.d.sync += post_pc.eq(array_pc)
        # A fault of the engine ends the program, whatever the sequencer does meanwhile.
        with m.If((self.array_fault | self.post_fault) & self.running):
            m.d.comb += advance.eq(0)
            m.d.sync += [self.cause.eq(Cause.ADDRESS),
                         pc.eq(Mux(self.array_fault, array_pc, post_pc)), fault_pending.eq(1),
                         flush.eq(0), self.running.eq(1), self.halted.eq(0)]
            m.d.sync += state.eq(State.HALT)
        with m.If(self.reset):
            m.d.sync += [self.resetting.eq(1), flush.eq(0), self.halted.eq(0),
                         self.running.eq(0), self.cause.eq(0)]
            m.d.sync += state.eq(State.HALT)
        m.d.comb += self.abandon.eq(self.resetting)

        for reg, signal in registers.items():
            with m.If(writes & advance & (rd == reg)):
                m.d.sync += signal.eq(result)
        for reg, width in WIDTHS.items():
            m.d.comb += getattr(self.job, reg.name.lower()).eq(registers[reg][:width])
        m.d.comb += self.job.flags.as_value().eq(imm)
        return m

    @staticmethod
    def _quick(word, exists) -> Value:
        """Whether an instruction is scalar and legal, and waits for nothing."""
        op, rd, rs = word[26:], word[20:26], word[:6]
        legal_rd = exists[rd] & (rd != Reg.MAX_ERROR)
        legal_rs = exists[rs] & (rs != Reg.MAX_ERROR)
        return (op.matches(Op.SET, Op.SETH, Op.ADD, Op.DBNZ) & legal_rd
                | op.matches(Op.MOV, Op.XOR, Op.BLT) & legal_rd & legal_rs | (op == Op.JMP))

    def _elaborate_scalar(self, m: Module, op, imm, a, b, result, writes, target, taken) -> None:
        with m.Switch(op):
            with m.Case(Op.SET):
                m.d.comb += [result.eq(imm), writes.eq(1)]
            with m.Case(Op.SETH):
                m.d.comb += [result.eq(Cat(a[:12], imm[:12])), writes.eq(1)]
            with m.Case(Op.ADD):
                m.d.comb += [result.eq(a + imm.as_signed()), writes.eq(1)]
            with m.Case(Op.MOV):
                m.d.comb += [result.eq(b + imm[6:].as_signed()), writes.eq(1)]
            with m.Case(Op.XOR):
                m.d.comb += [result.eq(a ^ b), writes.eq(1)]
            with m.Case(Op.DBNZ):
                m.d.comb += [result.eq(a - 1), writes.eq(1)]
                m.d.comb += [target.eq(imm), taken.eq(a != 1)]
            with m.Case(Op.JMP):
                m.d.comb += [target.eq(imm), taken.eq(1)]
            with m.Case(Op.BZE):
                m.d.comb += [self.sample.eq(a), target.eq(imm),
                             taken.eq(~self.erring & (a < ERROR_SAMPLES))]
            with m.Case(Op.BLT):
                m.d.comb += [target.eq(imm[6:]), taken.eq(a < b)]

    def _elaborate_checks(self, m: Module, op, imm):
        """Whether a tensor instruction is refused, and the cause, a cycle later."""
        registers, config = self.registers, self.config

        def held(name: str, value) -> Signal:
            """``value`` of registers alone, which stand for cycles before it is asked for."""
            signal = Signal(name=name, reset_less=True)
            m.d.sync += signal.eq(value)
            return signal

        def nonzero_below(reg: Reg, end: int) -> Value:
            return (registers[reg] != 0) & (registers[reg] < end)

        in_count = {reg: held(f"count_{reg.name}", nonzero_below(reg, 1 << 12))
                    for reg in (Reg.COUNT, Reg.P, Reg.Q)}
        in_place = {reg: held(f"place_{reg.name}", registers[reg][16:] == 0)
                    for reg in dict.fromkeys(reg for _, bases, _ in OPERANDS.values()
                                             for reg in bases)}
        in_shift = {reg: held(f"shift_{reg.name}", registers[reg][5:] == 0)
                    for reg in dict.fromkeys(reg for *_, shifts in OPERANDS.values()
                                             for reg in shifts)}
        n, acc = registers[Reg.CODE_BITS], registers[Reg.ACC_BITS]
        event, master = (imm & Flag.EVENT).any(), (imm & Flag.MASTER).any()
        speculative = (imm & Flag.SPECULATIVE).any()
        asymm = registers[Reg.ASYMM]
        formatted = held("formatted", (n >= 2) & (n <= 16) & (acc <= 12)
                         & (n[:5] + acc[:4] <= 16)
                         & (asymm <= 1) & ((n <= 15) | (asymm == 0)))
        # The shift of a rule other than the event's goes down to the code's place in the slot.
        down, down_master = (
            held(f"down_{name}", registers[Reg.SHIFT][:5] + 16 - (n[:5] + below)[:5] < 32)
            for name, below in (("code", 0), ("master", acc[:4])))
        accumulates = held("accumulates", acc != 0)
        rule = (~(event & master) & (accumulates | ~(event | master))
                & (event | Mux(master, down_master, down)))
        most = config.toper_registers + 1
        kept = held("kept", nonzero_below(Reg.K, most))
        lengths = [held(f"length_{reg.name}", nonzero_below(reg, most)) | ~(imm & flag).any()
                   for reg, flag in ((Reg.F_STRIDE, Flag.OWN), (Reg.V_STRIDE, Flag.SHARED),
                                     (Reg.R_STRIDE, Flag.LISTS))]
        in_list = {reg: held(f"list_{reg.name}", registers[reg] <= LIVE_MAX)
                   for reg in (Reg.P, Reg.Q)}
        no_tiles = held("no_tiles", registers[Reg.TILES] == 0)
        few_tiles = held("few_tiles", registers[Reg.TILES] < 256)
        further = {
            Op.MVA: ~speculative | held("waits", (registers[Reg.COUNT] == 1)
                                        & (registers[Reg.Q] <= SPECULATIVE_MAX)),
            Op.UPD: rule,
            Op.SCT: rule & kept,
            Op.SRT: kept,
            Op.TOP: (kept & Cat(lengths).all()
                     & held("queued", registers[Reg.P] < config.queue_entries)),
            Op.LOSS: held("outputs", (registers[Reg.P] <= config.max_outputs)
                          & (registers[Reg.MANTISSA] < 256)),
            Op.DRV: (few_tiles & (~(imm & Flag.LIVE).any() | in_list[Reg.P])
                     & (no_tiles | in_list[Reg.Q])),
            Op.SEL: ~no_tiles & few_tiles,
        }
        legal, fits = Signal(), Signal()
        with m.Switch(op):
            for operation, (counts, bases, shifts) in OPERANDS.items():
                with m.Case(operation):
                    legal_flags = (imm & ~FLAGS[operation] & 0xFFFFF) == 0
                    if operation in (Op.MVA, Op.MVD, Op.MVR):
                        legal_flags &= imm[:2] != 3
                    if operation is Op.MVA:
                        legal_flags &= ~(speculative & (imm & Flag.WANTED).any())
                    if operation is not Op.LOSS:
                        legal_flags &= ~self.awaits
                    checks = [in_count[reg] for reg in counts]
                    checks += [in_place[reg] for reg in bases]
                    checks += [in_shift[reg] for reg in shifts]
                    if operation in FORMATTED:
                        checks.append(formatted)
                    if operation in further:
                        checks.append(further[operation])
                    m.d.comb += [legal.eq(legal_flags), fits.eq(Cat(checks).all())]
        refused, cause = Signal(), Signal(8)
        m.d.sync += [refused.eq(~(legal & fits)),
                     cause.eq(Mux(legal, Cause.OPERAND, Cause.ILLEGAL))]
        return refused, cause

    def _elaborate_transfer(self, m: Module, op, imm):
        """Fills ``command``; whether it is refused, the cause, and that it may go."""
        registers, config = self.registers, self.config
        length, local = registers[Reg.LENGTH], registers[Reg.LOCAL]
        limit, legal, whole = Signal(18), Signal(), Signal()
        beside = (imm & Flag.BESIDE).any()
        for space in Space:
            with m.If((imm & (0xFFFFF ^ Flag.BESIDE)) == space):
                m.d.comb += [limit.eq(depth(space, config)),
                             whole.eq(space is Space.WEIGHT),
                             legal.eq(Mux(op == Op.LOAD, (space in LOADABLE)
                                          & (~beside | (space <= Space.TARGET)),
                                          (space in STORABLE) & ~beside))]
        fits = (length != 0) & (length[16:] == 0) & (local[16:] == 0)
        refused, cause = Signal(), Signal(8)
        # A multiplier's two registers: LENGTH has stood for two cycles when the command goes.
        weight_beats, weight_beats_now, whole_now = Signal(24), Signal(24), Signal()
        m.d.sync += [
            weight_beats.eq(length[:16] * config.beats_per_word),
            weight_beats_now.eq(weight_beats), whole_now.eq(whole),
            refused.eq(~legal | ~fits | (local[:16] + length[:16] > limit)),
            cause.eq(Mux(~legal, Cause.ILLEGAL, Mux(~fits, Cause.OPERAND, Cause.ADDRESS))),
        ]
        m.d.comb += [
            self.command.payload.store.eq(op == Op.STORE),
            self.command.payload.space.eq(imm),
            self.command.payload.ddr.eq(self.ddr_base + (registers[Reg.DDR] << 3)),
            self.command.payload.local.eq(local),
            self.command.payload.length.eq(Mux(whole_now, weight_beats_now, length)),
        ]
        free = Signal()
        # What an instruction before it still reads must not be overwritten.
        m.d.comb += free.eq(~self.transfer_busy & (beside | ~self.engine_busy))
        return refused, cause, free
