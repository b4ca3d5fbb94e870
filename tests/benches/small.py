"""A small machine with the accelerator's ports: it moves beats as its program says, then halts.

Each command is four program words: {store in bit 31, space in bits 2:0}, offset from DDR_BASE in
bytes, first local unit, beats. A first word of all ones halts. All spaces share one memory of
64-bit beats; a weight word takes ``beats_per_word`` of them.
"""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from tangente.golden.config import Config
from tangente.golden.isa import Cause, Space
from tangente.golden.registers import ADDRESS_BITS
from tangente.rtl.axi import Axi3, AxiLite
from tangente.rtl.control import Control
from tangente.rtl.transfer import Transfer, TransferCommand

__all__ = ["Small"]

DEPTH = 4096
HALT = 0xFFFFFFFF


class Small(wiring.Component):
    """Control, Transfer, one memory and a few states."""

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({
            "s_axil": In(AxiLite(ADDRESS_BITS)),
            "m_axi": Out(Axi3()),
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.control = control = Control(self._config)
        m.submodules.transfer = transfer = Transfer(self._config)
        connect(m, flipped(self.s_axil), control.s_axil)
        connect(m, transfer.m_axi, flipped(self.m_axi))
        m.d.comb += self.irq.eq(control.irq)
        self._elaborate_memory(m, transfer)

        m.submodules.program = program = memory.Memory(
            shape=32, depth=self._config.program_words, init=[])
        write, read = program.write_port(), program.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(control.program.address),
            write.data.eq(control.program.data),
            write.en.eq(control.program.enable),
            read.addr.eq(control.pc),
        ]

        command = Signal(TransferCommand)
        failed_read, failed_write = Signal(), Signal()
        m.d.comb += [
            transfer.command.payload.eq(command),
            transfer.abandon.eq(control.resetting),
        ]
        with m.If(control.running):
            m.d.sync += control.cycles.eq(control.cycles + 1)
        with m.If(control.seed_load):
            m.d.sync += control.random_state.eq(control.seed)
        with m.If(transfer.error_read):
            m.d.sync += failed_read.eq(1)
        with m.If(transfer.error_write):
            m.d.sync += failed_write.eq(1)

        def halt(cause):
            m.d.sync += [control.running.eq(0), control.halted.eq(1), control.cause.eq(cause)]
            m.next = "IDLE"

        advance = control.pc.eq(control.pc + 1)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(control.start):
                    m.d.sync += [
                        control.running.eq(1), control.halted.eq(0), control.cause.eq(Cause.NONE),
                        control.cycles.eq(0), control.pc.eq(control.pc_start),
                        failed_read.eq(0), failed_write.eq(0),
                    ]
                    m.next = "SPACE"
                with m.If(control.resetting):
                    m.next = "RESETTING"
            with m.State("SPACE"):
                m.d.sync += [advance, command.space.eq(read.data), command.store.eq(read.data[31])]
                m.next = "DDR"
                with m.If(read.data == HALT):
                    m.d.sync += control.pc.eq(control.pc)
                    halt(Cause.DONE)
                with m.If(control.resetting):
                    m.next = "RESETTING"
            with m.State("DDR"):
                m.d.sync += [advance, command.ddr.eq(control.ddr_base + read.data)]
                m.next = "LOCAL"
            with m.State("LOCAL"):
                m.d.sync += [advance, command.local.eq(read.data)]
                m.next = "LENGTH"
            with m.State("LENGTH"):
                m.d.sync += [advance, command.length.eq(read.data)]
                m.next = "COMMAND"
            with m.State("COMMAND"):
                m.d.comb += transfer.command.valid.eq(1)
                with m.If(transfer.command.ready):
                    m.next = "WAIT"
                with m.If(control.resetting):
                    m.next = "RESETTING"
            with m.State("WAIT"):
                with m.If(~transfer.busy):
                    m.next = "SPACE"
                    with m.If(failed_read):
                        halt(Cause.BUS_READ)
                    with m.Elif(failed_write):
                        halt(Cause.BUS_WRITE)
                with m.Elif(control.stop):
                    m.next = "STOPPING"
                with m.If(control.resetting):
                    m.next = "RESETTING"
            with m.State("STOPPING"):
                with m.If(~transfer.busy):
                    halt(Cause.STOPPED)
                with m.If(control.resetting):
                    m.next = "RESETTING"
            with m.State("RESETTING"):
                with m.If(transfer.idle):
                    m.d.sync += control.resetting.eq(0)
                    m.next = "IDLE"
        with m.If(control.reset):
            m.d.sync += control.resetting.eq(1)
        with m.If(control.reset | control.resetting):
            m.d.sync += [control.running.eq(0), control.halted.eq(0),
                         control.cause.eq(Cause.NONE)]
        return m

    def _elaborate_memory(self, m: Module, transfer: Transfer) -> None:
        m.submodules.memory = local = memory.Memory(shape=64, depth=DEPTH, init=[])
        write, read = local.write_port(), local.read_port()

        def place(request):
            word = request.unit * self._config.beats_per_word + request.beat
            return Mux(request.space == Space.WEIGHT, word, request.unit)

        # The read port's enable holds an answer that is not taken.
        answer = transfer.local_data
        m.d.comb += [
            transfer.local_write.ready.eq(1),
            write.addr.eq(place(transfer.local_write.p)),
            write.data.eq(transfer.local_write.p.data),
            write.en.eq(transfer.local_write.valid),
            read.addr.eq(place(transfer.local_read.p)),
            transfer.local_read.ready.eq(~answer.valid | answer.ready),
            read.en.eq(transfer.local_read.ready),
            answer.payload.eq(read.data),
        ]
        with m.If(transfer.local_read.ready):
            m.d.sync += answer.valid.eq(transfer.local_read.valid)
