"""The host's side of the engine: registers, program window and interrupt, on AXI4-Lite."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tangente.golden import isa, registers
from tangente.golden.config import Config
from tangente.golden.registers import Access

from .axi import AxiLite, Response

__all__ = ["Control", "ProgramWrite", "counters"]

#: Registers that Control itself holds or knows; every other read-only one is an input port.
_OWN = frozenset({"ID", "ISA_VERSION", "CONFIG_HASH", "STATUS"})


def counters() -> dict[str, int]:
    """Ports of :class:`Control` for the engine's counters: lowercased register name to bits."""
    return {register.name.lower(): 32 * register.words for register in registers.REGISTERS
            if register.access is Access.RO and register.name not in _OWN}


class ProgramWrite(wiring.Signature):
    """Write port of the instruction memory, seen from the writer.

    Members
    -------
    address : Out, log2 of ``program_words`` bits
    data : Out, 32 bits
    enable : Out, 1 bit
    """

    def __init__(self, program_words: int) -> None:
        super().__init__({
            "address": Out(range(program_words)),
            "data": Out(32),
            "enable": Out(1),
        })


class Control(wiring.Component):
    """AXI4-Lite slave of the registers in :mod:`tangente.golden.registers`.

    Answers: DECERR to an address at which there is nothing, read or written; SLVERR to a write to
    a read-only register, to a read of the program window or a write beyond the instruction memory
    or with less than four byte strobes there, and to START while a program runs or a reset waits,
    or together with RESET or STOP. What is not answered OKAY changes nothing. Byte strobes are
    honoured on registers; the two low address bits are ignored. A read is answered one cycle, a
    write two cycles after it is accepted, and the answer waits for the master.

    A register of two words is read as one: reading its low word latches the high word, which is
    what a read of the high word returns. So the low word is read first. Each register has its own
    latch; two hosts that read the same one must take turns.

    Parameters
    ----------
    config : sizes of the engine.

    Members
    -------
    s_axil : In(AxiLite(ADDRESS_BITS))
        The bus. ``awprot`` and ``arprot`` are ignored.
    program : Out(ProgramWrite(program_words))
        The program window's writes, one cycle each.
    start, reset, stop : Out, 1 bit
        One cycle per one written to CONTROL. ``running`` must follow ``start``, and ``resetting``
        or its effect ``reset``, in the next cycle; ``stop`` also comes while nothing runs.
    pc_start : Out, 16 bits
        What was written to PC: where ``start`` begins.
    irq_enable : Out, 1 bit
    ddr_base : Out, 32 bits
        Byte address; the low 12 bits are as written.
    counter_select, counter_pc : Out, 8 and 32 bits
        What was written to COUNTER_SELECT and COUNTER_PC.
    seed : Out, 64 bits
        What was written to SEED.
    seed_load : Out, 1 bit
        One cycle after each write to the high word of SEED: the generator takes ``seed``.
    random_state : In, 64 bits
        What a read of SEED returns: the generator's state now. Read while nothing runs.
    running, halted, resetting : In, 1 bit
    cause : In, 8 bits
        A :class:`tangente.golden.isa.Cause`.
    pc : In, 16 bits
        What a read of PC returns.
    cycles, loss, correct, ... : In, 32 bits times the register's words
        One port for each name of :func:`counters`.
    irq : Out, 1 bit
        ``irq_enable & halted``.

    Raises
    ------
    ValueError
        If the instruction memory is larger than the program window.
    """

    def __init__(self, config: Config) -> None:
        window = (1 << registers.ADDRESS_BITS) - registers.PROGRAM_WINDOW
        if 4 * config.program_words > window:
            raise ValueError(f"program_words must be at most {window // 4} to fit the program "
                             f"window, not {config.program_words!r}")
        self._config = config
        super().__init__({
            "s_axil": In(AxiLite(registers.ADDRESS_BITS)),
            "program": Out(ProgramWrite(config.program_words)),
            "start": Out(1),
            "reset": Out(1),
            "stop": Out(1),
            "pc_start": Out(16),
            "irq_enable": Out(1),
            "ddr_base": Out(32),
            "counter_select": Out(8),
            "counter_pc": Out(32),
            "seed": Out(64),
            "seed_load": Out(1),
            "random_state": In(64),
            "running": In(1),
            "halted": In(1),
            "resetting": In(1),
            "cause": In(8),
            "pc": In(16),
            **{name: In(bits) for name, bits in counters().items()},
            "irq": Out(1),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.d.comb += self.irq.eq(self.irq_enable & self.halted)
        self._elaborate_write(m)
        self._elaborate_read(m)
        return m

    def _elaborate_write(self, m: Module) -> None:
        bus = self.s_axil
        address, word, strobes = Signal(bus.awaddr.shape()), Signal(32), Signal(4)
        have_address, have_word = Signal(), Signal()
        m.d.comb += [
            bus.awready.eq(~have_address),
            bus.wready.eq(~have_word),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address.eq(bus.awaddr), have_address.eq(1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [word.eq(bus.wdata), strobes.eq(bus.wstrb), have_word.eq(1)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        # A write acts, and is answered, once both parts are here and the last answer is taken.
        act = Signal()
        response = Signal(Response)
        m.d.comb += [
            act.eq(have_address & have_word & (~bus.bvalid | bus.bready)),
            response.eq(Response.DECERR),
        ]
        with m.If(act):
            m.d.sync += [
                have_address.eq(0),
                have_word.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(response),
            ]

        m.d.sync += [self.start.eq(0), self.reset.eq(0), self.stop.eq(0), self.seed_load.eq(0)]
        stored = {"PC": self.pc_start, "IRQ_ENABLE": self.irq_enable, "DDR_BASE": self.ddr_base,
                  "SEED": self.seed, "COUNTER_SELECT": self.counter_select,
                  "COUNTER_PC": self.counter_pc}
        for register in registers.REGISTERS:
            for index in range(register.words):
                with m.If(address[2:] == (register.address >> 2) + index):
                    if register.name == "CONTROL":
                        self._elaborate_commands(m, act, response, Mux(strobes[0], word[:8], 0))
                    elif register.access is Access.RO:
                        m.d.comb += response.eq(Response.SLVERR)
                    else:
                        m.d.comb += response.eq(Response.OKAY)
                        target = stored[register.name][32 * index:32 * (index + 1)]
                        with m.If(act):
                            if register.name == "SEED" and index == register.words - 1:
                                m.d.sync += self.seed_load.eq(1)
                            for byte in range(0, len(target), 8):
                                part = target[byte:byte + 8]
                                with m.If(strobes[byte // 8]):
                                    m.d.sync += part.eq(word[byte:byte + 8])

        # The window's size divides its address, so that its bits above are the match.
        window_bits = registers.PROGRAM_WINDOW.bit_length() - 1
        index_bits = len(self.program.address)
        m.d.comb += [
            self.program.address.eq(address[2:]),
            self.program.data.eq(word),
        ]
        with m.If(address[window_bits:] == registers.PROGRAM_WINDOW >> window_bits):
            beyond = address[2 + index_bits:window_bits].any()
            with m.If(beyond | ~strobes.all()):
                m.d.comb += response.eq(Response.SLVERR)
            with m.Else():
                m.d.comb += [response.eq(Response.OKAY), self.program.enable.eq(act)]

    def _elaborate_commands(self, m: Module, act: Signal, response: Signal, bits) -> None:
        start = (bits & registers.Control.START).any()
        reset = (bits & registers.Control.RESET).any()
        stop = (bits & registers.Control.STOP).any()
        # Two writes act at least two cycles apart, so `running` is up to date here.
        with m.If(start & (self.running | self.resetting | reset | stop)):
            m.d.comb += response.eq(Response.SLVERR)
        with m.Else():
            m.d.comb += response.eq(Response.OKAY)
            with m.If(act):
                m.d.sync += [self.start.eq(start), self.reset.eq(reset), self.stop.eq(stop)]

    def _elaborate_read(self, m: Module) -> None:
        bus = self.s_axil
        own = {
            "ID": Const(registers.IDENTITY, 32),
            "ISA_VERSION": Const(isa.VERSION, 32),
            "CONFIG_HASH": Const(self._config.hash, 32),
            "CONTROL": Const(0, 32),
            "STATUS": Cat(self.running, self.halted, self.resetting, Const(0, 5), self.cause),
            "PC": self.pc,
            "IRQ_ENABLE": self.irq_enable,
            "DDR_BASE": self.ddr_base,
            "SEED": self.random_state,
            "COUNTER_SELECT": self.counter_select,
            "COUNTER_PC": self.counter_pc,
        }
        word, response = Signal(32), Signal(Response)
        accept = Signal()
        m.d.comb += [
            bus.arready.eq(~bus.rvalid | bus.rready),
            accept.eq(bus.arvalid & bus.arready),
            response.eq(Response.DECERR),
        ]
        with m.If(accept):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(word), bus.rresp.eq(response)]
        with m.Elif(bus.rready):
            m.d.sync += bus.rvalid.eq(0)

        with m.Switch(bus.araddr[2:]):
            for register in registers.REGISTERS:
                value = own.get(register.name)
                if value is None:
                    value = getattr(self, register.name.lower())
                latched = register.words > 1 and register.access is Access.RO
                if latched:
                    high = Signal(32 * (register.words - 1), name=f"{register.name.lower()}_high")
                    with m.Case(register.address >> 2):
                        m.d.comb += [word.eq(value[:32]), response.eq(Response.OKAY)]
                        with m.If(accept):
                            m.d.sync += high.eq(value[32:])
                for index in range(latched, register.words):
                    with m.Case((register.address >> 2) + index):
                        source = high[32 * (index - 1):] if latched else value[32 * index:]
                        m.d.comb += [word.eq(source[:32]), response.eq(Response.OKAY)]
        window_bits = registers.PROGRAM_WINDOW.bit_length() - 1
        with m.If(bus.araddr[window_bits:] == registers.PROGRAM_WINDOW >> window_bits):
            m.d.comb += response.eq(Response.SLVERR)
