"""The accelerator: host registers, sequencer, transfer and engine behind two AXI interfaces."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden import registers as map_
from ..golden.config import Config
from .axi import Axi3, AxiLite
from .control import Control
from .counters import Counters, Events
from .engine import Engine
from .sequencer import Sequencer
from .transfer import Transfer

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """The whole machine of docs/architecture.md.

    Members
    -------
    s_axil : In. Registers and instruction memory.
    m_axi : Out. DDR.
    irq : Out. A program has halted and the host asked to be told.
    events : Out. What was counted a cycle ago: for a logic analyser, or a simulation's record.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "s_axil": In(AxiLite(map_.ADDRESS_BITS)),
            "m_axi": Out(Axi3()),
            "irq": Out(1),
            "events": Out(Events),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.control = control = Control(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.transfer = transfer = Transfer(config)
        m.submodules.engine = engine = Engine(config)
        wiring.connect(m, wiring.flipped(self.s_axil), control.s_axil)
        wiring.connect(m, transfer.m_axi, wiring.flipped(self.m_axi))
        wiring.connect(m, control.program, sequencer.program)
        wiring.connect(m, sequencer.command, transfer.command)
        wiring.connect(m, transfer.local_write, engine.local_write)
        wiring.connect(m, transfer.local_read, engine.local_read)
        wiring.connect(m, engine.local_data, transfer.local_data)
        m.d.comb += [
            self.irq.eq(control.irq),
            sequencer.start.eq(control.start), sequencer.stop.eq(control.stop),
            sequencer.reset.eq(control.reset), sequencer.pc_start.eq(control.pc_start),
            sequencer.ddr_base.eq(control.ddr_base),
            control.running.eq(sequencer.running), control.halted.eq(sequencer.halted),
            control.resetting.eq(sequencer.resetting), control.cause.eq(sequencer.cause),
            control.pc.eq(sequencer.pc),
            engine.start.eq(sequencer.engine_start), engine.op.eq(sequencer.engine_op),
            engine.apart.eq(sequencer.engine_apart), engine.follow.eq(sequencer.engine_follow),
            engine.speculative.eq(sequencer.engine_speculative),
            sequencer.loss_busy.eq(engine.loss_busy), sequencer.kept.eq(engine.kept),
            engine.job.eq(sequencer.job), engine.reset_job.eq(sequencer.reset_job),
            engine.clear.eq(sequencer.clear),
            engine.seed_load.eq(control.seed_load), engine.seed.eq(control.seed),
            control.random_state.eq(engine.random_state),
            sequencer.engine_busy.eq(engine.busy), sequencer.array_busy.eq(engine.array_busy),
            sequencer.post_busy.eq(engine.post_busy),
            sequencer.array_fault.eq(engine.array_fault),
            sequencer.post_fault.eq(engine.post_fault),
            sequencer.max_error.eq(engine.max_error),
            engine.sample.eq(sequencer.sample), sequencer.erring.eq(engine.erring),
            sequencer.transfer_busy.eq(transfer.busy),
            sequencer.error_read.eq(transfer.error_read),
            sequencer.error_write.eq(transfer.error_write),
            transfer.abandon.eq(sequencer.abandon),
        ]
        # Counters of the program that runs or ran last.
        cycles, stalled, busy = Signal(64), Signal(32), Signal(32)
        # In two halves: the upper one follows a cycle later.
        carry = Signal()
        m.d.sync += [carry.eq(sequencer.running & cycles[:32].all()),
                     cycles[32:].eq(cycles[32:] + carry)]
        with m.If(sequencer.clear):
            m.d.sync += [cycles.eq(0), carry.eq(0), stalled.eq(0), busy.eq(0)]
        with m.Elif(sequencer.running):
            m.d.sync += [cycles[:32].eq(cycles[:32] + 1),
                         stalled.eq(stalled + (sequencer.waiting & ~engine.busy)),
                         busy.eq(busy + engine.busy)]
        m.d.comb += [
            control.cycles.eq(cycles), control.stall_load.eq(stalled), control.busy.eq(busy),
            control.loss.eq(engine.loss), control.correct.eq(engine.correct),
            control.samples.eq(engine.samples), control.report.eq(sequencer.report),
            *(getattr(control, f"sat_{name}").eq(getattr(engine, f"sat_{name}"))
              for name in map_.SATURATIONS),
        ]
        self._elaborate_events(m, control, sequencer, transfer, engine)
        return m

    def _elaborate_events(self, m: Module, control, sequencer, transfer, engine) -> None:
        """The performance counters, of all cycles or of one tensor instruction's."""
        m.submodules.counters = counters = Counters()
        bus, events = transfer.m_axi, counters.events
        beat = (bus.rvalid & bus.rready) | (bus.wvalid & bus.wready)
        began, last = Signal(), Signal(16)
        with m.If(sequencer.clear):
            m.d.sync += began.eq(0)
        with m.Elif(sequencer.engine_start):
            m.d.sync += [began.eq(1), last.eq(sequencer.pc)]
        only, wanted = control.counter_pc[31], control.counter_pc[:16]
        m.d.comb += [
            events.eq(engine.events), events.cycles.eq(1),
            events.engine_data.eq(sequencer.waiting & ~engine.busy),
            events.transfer_busy.eq(beat), events.transfer_ddr.eq(transfer.busy & ~beat),
            counters.count.eq(sequencer.running & (~only | began & (last == wanted))),
            counters.clear.eq(sequencer.clear), counters.select.eq(control.counter_select),
            control.counter.eq(counters.value), self.events.eq(counters.seen),
        ]
