"""The sequencer is never stuck, if the units that it waits for are not."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal

from tangente.golden.config import Config
from tangente.golden.isa import OPERANDS, Cause, Op
from tangente.rtl.sequencer import Sequencer, State

from .harness import Free, after, count_while

__all__ = ["COVERED", "sequencer"]

#: Cycles after which the engine's units, and the transfer, are assumed to be done.
_DONE = 3
#: Cycles of one instruction, four of its own and the waits for array, post-processing unit and
#: transfer, one after the other; a fault's flush is bounded by itself.
_STUCK = 4 + 3 * (_DONE + 1)
#: Halts that are covered, by cause. Those of the bus lie beyond what the solver unrolls in time;
#: tests/test_sequencer.py has them.
COVERED = (Cause.DONE, Cause.ILLEGAL, Cause.OPERAND, Cause.ADDRESS, Cause.PC, Cause.STOPPED)


def sequencer(config: Config) -> Free:
    """Any program, host, engine and transfer that keep their part: it advances, or it halts."""
    def rules(m: Module, dut: Sequencer) -> None:
        accepted = dut.command.valid & dut.command.ready
        engine, transfer = dut.engine_busy, dut.transfer_busy
        units = {"array": dut.array_busy, "post": dut.post_busy}
        ages = {name: count_while(m, busy, _DONE, f"{name}_age") for name, busy in units.items()}
        fault = dut.array_fault | dut.post_fault
        transfer_age = count_while(m, transfer, _DONE, "transfer_age")
        # The engine is busy from the cycle after its start, and while it is may report a fault.
        for name, busy in units.items():
            m.d.comb += [
                Assume(~busy | after(m, busy | dut.engine_start | dut.engine_follow,
                                     f"started_{name}")),
                Assume(~getattr(dut, f"{name}_fault") | busy),
                Assume(ages[name] <= _DONE),
            ]
        # A product that awaits a LOSS, which then runs and decides on it; if it has its results the
        # post-processing unit goes on with them.
        waiting, decides = Signal(), Signal()
        forgotten = fault | dut.reset_job | dut.clear
        with m.If(forgotten | ~dut.loss_busy | dut.kept):
            m.d.sync += decides.eq(0)
        with m.If(dut.engine_start):
            m.d.sync += [waiting.eq(dut.engine_speculative),
                         decides.eq(waiting & (dut.engine_op == Op.LOSS))]
        with m.If(forgotten):
            m.d.sync += waiting.eq(0)
        m.d.comb += [
            Assume(~dut.loss_busy | dut.post_busy),
            Assume(~dut.loss_busy | after(m, dut.loss_busy | dut.engine_start
                                          & (dut.engine_op == Op.LOSS), "started_loss")),
            Assume(~dut.kept | decides & dut.loss_busy & ~fault & ~dut.reset_job),
            Assume(~after(m, dut.kept, "was_kept") | dut.post_busy & ~dut.loss_busy),
            Assume(engine == (dut.array_busy | dut.post_busy)),
            Assume(engine | ~after(m, dut.engine_start | dut.engine_follow, "begins")),
            Assume(~after(m, fault | dut.reset_job, "dropped") | ~engine),
            # So is the transfer, from the cycle after a command; its errors come before it is over.
            Assume(~transfer | after(m, transfer | accepted, "sent")),
            Assume(transfer | ~after(m, accepted, "sends")),
            Assume(~(dut.error_read | dut.error_write) | transfer),
            Assume(transfer_age <= _DONE),
            # Taken by the transfer whenever it is idle.
            Assume(dut.command.ready == (~transfer & ~dut.abandon)),
            # The register slave does not let the host start what runs.
            Assume(~dut.start | ~(dut.running | dut.resetting)),
        ]

        state, running = dut.state, dut.running
        halting = state == State.HALT
        # An instruction is over when the next word is read or fetched, behind QUICK or EXECUTE.
        executes = (state == State.QUICK) | (state == State.EXECUTE)
        over = (((state == State.READ) | (state == State.FETCH))
                & after(m, executes, "executed"))
        # READ goes back to FETCH only to halt there.
        returned = Signal()
        m.d.sync += returned.eq((state == State.READ) | returned & (state == State.FETCH))
        returns = returned & (state == State.FETCH)
        going = running & ~halting & ~over
        stuck = count_while(m, going, _STUCK, "stuck")
        # Every cycle, it goes on or one of them is busy; none begins anew before it is over.
        waits = []
        for busy, age, name in (*((units[name], ages[name], name) for name in units),
                                (transfer, transfer_age, "transfer")):
            wait = Signal(range(_DONE + 3), name=f"waited_{name}")
            # A product that awaits the post-processing unit keeps the array busy itself.
            own = dut.apart & (name == "array")
            with m.If(~going):
                m.d.sync += wait.eq(0)
            with m.Elif(busy & ~own):
                m.d.sync += wait.eq(wait + 1)
            m.d.comb += [Assert(Mux((age != 0) & going & ~own, wait <= age, wait <= _DONE + 1)),
                         Assert(~busy | (age != 0) | (wait == 0) | ~going | own)]
            waits.append(wait)
        # Cycles of an instruction before each of its states.
        before = {State.FETCH: 0, State.READ: 1, State.CHECK: 2, State.QUICK: 2, State.EXECUTE: 3}
        place = Signal(2)
        with m.Switch(state):
            for at, cycles in before.items():
                with m.Case(at):
                    m.d.comb += place.eq(Mux(returns, 2, cycles))
        flushing = count_while(m, halting & ~dut.reset & ~(fault & running), 64,
                               "flushing")
        others = dut.engine_op.matches(*(op for op in OPERANDS if op is not Op.LOSS))
        m.d.comb += [
            # A command is only offered when it is taken: the stream's rules hold.
            Assert(~dut.command.valid | dut.command.ready),
            Assert(stuck <= _STUCK), Assert(~returns | dut.ends),
            Assert((stuck <= place + sum(waits)) | ~running | halting | over),
            # A fault or a reset ends within one pass of the flush.
            Assert(~halting | (flushing == dut.flush)),
            Assert(~halting | ~transfer | (transfer_age >= flushing)),
            Assert(~dut.resetting | halting), Assert(~dut.fault_pending | halting),
            Assert((state == State.IDLE) | running | dut.resetting),
            Assert((state != State.IDLE) | ~running),
            Assert(~(dut.halted & running)),
            Assert(state.as_value() <= State.HALT.value),
            Assert(~dut.apart | (state == State.EXECUTE) | halting),
            # STOP comes after the LOSS that is awaited, but only as long as PC goes up.
            Assert(~dut.unstopped | dut.awaits),
            Assert((state == State.IDLE) | (state == State.FETCH) | halting
                   | (dut.ahead == (dut.word + 1)[:20])),
            Assert(~(dut.unstopped & after(m, dut.unstopped, "unstopped_before")) | halting
                   | (dut.word == (after(m, dut.word, "word_before") + over)[:20])),
            # Other tensor instructions than it are refused; they do not wait.
            Assert(~(dut.awaits & (state == State.EXECUTE) & others) | dut.refused),
        ]
        m.d.comb += [Cover(dut.halted & (dut.cause == cause)) for cause in COVERED]
        m.d.comb += Cover(dut.resetting & dut.flush.any())
    return Free(Sequencer(config), rules)
