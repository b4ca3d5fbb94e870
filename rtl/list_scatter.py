"""SCT's issue: the registers of outputs with an error, one a cycle; see tangente.golden.scatter."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..golden.config import Config
from ..golden.scatter import INTERLOCK, OUTPUTS_AHEAD, REGISTERS_AHEAD
from . import uop as stage
from .delay import delay
from .descriptor import Descriptor
from .list_memory import ListMemory
from .primitives import equal
from .ram import Ram

__all__ = ["ListScatter"]

#: From the last issue's end until its slot is written.
_LAST = stage.SLOT_WRITE + 2


class ListScatter(wiring.Component):
    """Walks over the outputs of COUNT samples, then over the registers of those with an error.

    Members
    -------
    start : In. Begin (pulse); ``job`` stands until it is over.
    pair_address : Out, 17; error_pair : In, 2E. Errors, Ram.LATENCY later.
    bank, address : Out; id, value : In. A register, ListMemory.LATENCY later.
    issue : Out. An update of the weight ``issued_id``; ``issued_error``, ``issued_value`` with it.
    done : Out. The last one has been written (pulse).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        bits = config.element_bits
        super().__init__({
            "start": In(1), "job": In(Descriptor()),
            "pair_address": Out(17), "error_pair": In(2 * bits),
            "bank": Out(range(config.toper_lanes)),
            "address": Out(bits_for(config.list_entries - 1)),
            "id": In(config.id_bits), "value": In(signed(bits)),
            "issue": Out(1), "issued_id": Out(config.id_bits),
            "issued_error": Out(signed(bits)), "issued_value": Out(signed(bits)),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job, bits = self.config, self.job, self.config.element_bits
        entry_bits, bank_bits = len(self.address), len(self.bank)
        m.submodules.outputs = outputs = SyncFIFO(
            width=bits + bank_bits + entry_bits, depth=OUTPUTS_AHEAD)
        m.submodules.registers = registers = SyncFIFO(
            width=config.id_bits + 2 * bits, depth=REGISTERS_AHEAD)
        room = Signal(range(OUTPUTS_AHEAD + 1), init=OUTPUTS_AHEAD)
        places = Signal(range(REGISTERS_AHEAD + 1), init=REGISTERS_AHEAD)

        # Outputs, one a cycle.
        active, look = Signal(), Signal()
        sample, output = Signal(12), Signal(12)
        lane, bank = Signal(range(config.lanes)), Signal(bank_bits)
        first, sample_first = Signal(entry_bits), Signal(entry_bits)
        sample_pair = Signal(17)
        last_output = delay(m, (job.p - 1)[:len(output)], 1, "last_output")
        m.d.comb += look.eq(active & (room != 0))
        with m.If(self.start):
            m.d.sync += [active.eq(1), sample.eq(1), output.eq(0), lane.eq(0), bank.eq(0),
                         first.eq(job.l_base), sample_first.eq(job.l_base),
                         self.pair_address.eq(job.s_base), sample_pair.eq(job.s_base)]
        with m.Elif(look):
            m.d.sync += [output.eq(output + 1), lane.eq(lane + 1), bank.eq(bank + 1),
                         self.pair_address.eq(self.pair_address + output[0])]
            with m.If((bank == config.toper_lanes - 1) | (lane == config.lanes - 1)):
                m.d.sync += [bank.eq(0), first.eq(first + job.k)]
            with m.If(lane == config.lanes - 1):
                m.d.sync += lane.eq(0)
            with m.If(output == last_output):
                m.d.sync += [
                    sample.eq(sample + 1), output.eq(0), lane.eq(0), bank.eq(0),
                    first.eq(sample_first + job.r_stride),
                    sample_first.eq(sample_first + job.r_stride),
                    self.pair_address.eq(sample_pair + job.s_stride),
                    sample_pair.eq(sample_pair + job.s_stride), active.eq(sample != job.count)]
        odd = delay(m, output[0], Ram.LATENCY, "odd")
        place = delay(m, Cat(bank, first), Ram.LATENCY, "place")
        looked = delay(m, look, Ram.LATENCY, "looked")
        error = Signal(signed(bits))
        m.d.comb += [
            error.eq(Mux(odd, self.error_pair[bits:], self.error_pair[:bits])),
            outputs.w_en.eq(looked & error.any()), outputs.w_data.eq(Cat(error, place)),
        ]

        # The registers of one, one a cycle.
        number, read, end = Signal(range(config.toper_registers)), Signal(), Signal()
        m.d.comb += [
            read.eq(outputs.r_rdy & (places != 0)), end.eq(read & (number + 1 == job.k)),
            outputs.r_en.eq(end),
            self.bank.eq(outputs.r_data[bits:]),
            self.address.eq(outputs.r_data[bits + bank_bits:] + number),
        ]
        with m.If(read):
            m.d.sync += number.eq(Mux(end, 0, number + 1))
        arrived = delay(m, read, ListMemory.LATENCY, "arrived")
        m.d.comb += [
            registers.w_en.eq(arrived & self.value.any()),
            registers.w_data.eq(Cat(
                self.id, self.value,
                delay(m, outputs.r_data[:bits], ListMemory.LATENCY, "error"))),
        ]
        m.d.sync += [
            room.eq(room - look + end + (looked & ~error.any())),
            places.eq(places - read + self.issue + (arrived & ~self.value.any())),
        ]

        # Updates; those on their way are looked through.
        m.d.comb += Cat(self.issued_id, self.issued_value, self.issued_error).eq(registers.r_data)
        met, under_way = [], Cat(self.issue, self.issued_id)
        for i in range(INTERLOCK - 1):
            later = Signal(1 + config.id_bits, name=f"under_way_{i}")
            m.d.sync += later.eq(under_way)
            met.append(equal(m, platform, later[0], later[1:], self.issued_id, f"met_{i}"))
            if i == 0:
                # A lane's sum starts from random bits that were loaded a cycle early.
                met.append(later[0] & job.flags.stochastic)
            under_way = later
        m.d.comb += [self.issue.eq(registers.r_rdy & ~Cat(met).any()),
                     registers.r_en.eq(self.issue)]

        running, waited = Signal(), Signal(range(_LAST))
        idle = Signal()
        m.d.comb += [
            idle.eq(running & ~active & (room == OUTPUTS_AHEAD) & (places == REGISTERS_AHEAD)),
            self.done.eq(idle & (waited == _LAST - 1)),
        ]
        with m.If(self.start):
            m.d.sync += [running.eq(1), waited.eq(0)]
        with m.Elif(idle):
            m.d.sync += waited.eq(waited + 1)
            with m.If(self.done):
                m.d.sync += running.eq(0)
        return m
