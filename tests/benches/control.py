"""cocotb bench of Control: a host that hesitates on every channel."""

from __future__ import annotations

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from tangente.golden import isa, registers
from tangente.golden.config import preset
from tangente.golden.registers import Access, address
from tangente.rtl.control import counters

CONFIG = preset("tiny")
#: A test that waits for an answer in vain fails.
BOUND = {"timeout_time": 100, "timeout_unit": "us"}
WINDOW = registers.PROGRAM_WINDOW
INPUTS = ("running", "halted", "resetting", "cause", "pc", "random_state", *counters())


def hesitation(seed: int, share: float):
    generator = random.Random(seed)
    while True:
        yield generator.random() < share


class TB:
    """The device, a bus master and a record of the pulses that the engine would see."""

    def __init__(self, dut) -> None:
        self.dut = dut
        self.random = random.Random(20)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.pulses: list[str] = []
        self.program: list[tuple[int, int]] = []
        for name in INPUTS:
            getattr(dut, name).value = 0
        dut.s_axil_awprot.value = 7
        dut.s_axil_arprot.value = 7

    async def begin(self, idle: float = 0.0, pressure: float = 0.0) -> None:
        write, read = self.master.write_if, self.master.read_if
        for index, channel in enumerate((write.aw_channel, write.w_channel, read.ar_channel)):
            channel.set_pause_generator(hesitation(index, idle))
        for index, channel in enumerate((write.b_channel, read.r_channel)):
            channel.set_pause_generator(hesitation(9 + index, pressure))
        self.dut.rst.value = 1
        await self.clocks(3)
        self.dut.rst.value = 0
        await self.clocks(2)
        cocotb.start_soon(self.watch())

    async def clocks(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def watch(self) -> None:
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            for name in ("start", "reset", "stop", "seed_load"):
                if getattr(dut, name).value:
                    self.pulses.append(name)
            if dut.program_enable.value:
                self.program.append((int(dut.program_address.value), int(dut.program_data.value)))

    async def write(self, where: int, value: int, length: int = 4) -> AxiResp:
        answer = await self.master.write(where, value.to_bytes(length, "little"))
        await self.clocks(2)
        return answer.resp

    async def read(self, where: int) -> tuple[AxiResp, int]:
        answer = await self.master.read(where, 4)
        return answer.resp, int.from_bytes(answer.data, "little")

    async def value(self, name: str, word: int = 0) -> int:
        response, value = await self.read(address(name, word))
        assert response == AxiResp.OKAY
        return value


@cocotb.test(**BOUND)
async def constants_and_defaults(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    assert await tb.value("ID") == registers.IDENTITY
    assert await tb.value("ISA_VERSION") == isa.VERSION
    assert await tb.value("CONFIG_HASH") == CONFIG.hash
    for register in registers.REGISTERS[3:]:
        for word in range(register.words):
            assert await tb.value(register.name, word) == 0
    for name in ("pc_start", "irq_enable", "ddr_base", "seed"):
        assert getattr(dut, name).value == 0


@cocotb.test(**BOUND)
@cocotb.parametrize(idle=[0.0, 0.5], pressure=[0.0, 0.5])
async def stores_bytes(dut, idle: float, pressure: float) -> None:
    """Writes of every alignment against a plain array of bytes, engine and read-back."""
    tb = TB(dut)
    await tb.begin(idle, pressure)
    places = {"PC": (address("PC"), "pc_start", 2), "IRQ_ENABLE": (address("IRQ_ENABLE"), None, 1),
              "DDR_BASE": (address("DDR_BASE"), "ddr_base", 4),
              "SEED": (address("SEED"), "seed", 8)}
    kept = {name: bytearray(size) for name, (_, _, size) in places.items()}
    dut.pc.value = 0x1234
    for _ in range(60):
        name = tb.random.choice(sorted(places))
        where, port, size = places[name]
        offset = tb.random.randrange(max(size, 4))
        length = tb.random.randint(1, 4 - offset % 4)
        data = bytes(tb.random.randrange(256) for _ in range(length))
        answer = await tb.master.write(where + offset, data)
        assert answer.resp == AxiResp.OKAY
        for index, byte in enumerate(data, offset):
            if index < size:
                kept[name][index] = byte
        if name == "IRQ_ENABLE":
            kept[name][0] &= 1
        await tb.clocks(1)
        expected = int.from_bytes(kept[name], "little")
        if port:
            assert getattr(dut, port).value == expected
        if name in ("IRQ_ENABLE", "DDR_BASE"):
            assert await tb.value(name) == expected
    assert await tb.value("PC") == 0x1234
    assert not {"start", "stop", "reset"} & set(tb.pulses)


@cocotb.test(**BOUND)
@cocotb.parametrize(idle=[0.0, 0.6], pressure=[0.0, 0.6])
async def overlapping_accesses(dut, idle: float, pressure: float) -> None:
    """Many accesses under way at once are answered in order, none lost, none doubled."""
    tb = TB(dut)
    await tb.begin(idle, pressure)
    words = [tb.random.getrandbits(32) for _ in range(40)]
    writes = [cocotb.start_soon(tb.master.write(WINDOW + 4 * i, word.to_bytes(4, "little")))
              for i, word in enumerate(words)]
    reads = [cocotb.start_soon(tb.master.read(address(name), 4))
             for name in ("ID", "CONFIG_HASH") * 20]
    answers = [await read for read in reads]
    assert [int.from_bytes(answer.data, "little") for answer in answers] == [
        registers.IDENTITY, CONFIG.hash] * 20
    for write in writes:
        assert (await write).resp == AxiResp.OKAY
    await tb.clocks(2)
    assert tb.program == list(enumerate(words))


@cocotb.test(**BOUND)
async def seed_loads_with_its_high_word(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    dut.random_state.value = 0x0123456789ABCDEF
    await tb.write(address("SEED"), 0x55667788)
    assert tb.pulses == []
    await tb.write(address("SEED", 1), 0x11223344)
    assert tb.pulses == ["seed_load"]
    assert dut.seed.value == 0x1122334455667788
    assert [await tb.value("SEED", word) for word in (0, 1)] == [0x89ABCDEF, 0x01234567]


@cocotb.test(**BOUND)
async def errors_are_answered_and_change_nothing(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    used = {register.address + 4 * word: register for register in registers.REGISTERS
            for word in range(register.words)}
    end = max(used) + 4
    holes = [*range(end, end + 64, 4), 0x100, 0x1000, WINDOW - 4]
    for where in holes:
        assert await tb.write(where, 0xFFFFFFFF) == AxiResp.DECERR
        assert await tb.read(where) == (AxiResp.DECERR, 0)
    for where, register in used.items():
        if register.access is Access.RO:
            assert await tb.write(where, 0xFFFFFFFF) == AxiResp.SLVERR
    size = 4 * CONFIG.program_words
    for where in (WINDOW, WINDOW + size - 4, WINDOW + size, (1 << registers.ADDRESS_BITS) - 4):
        assert (await tb.read(where))[0] == AxiResp.SLVERR
    for where in (WINDOW + size, (1 << registers.ADDRESS_BITS) - 4):
        assert await tb.write(where, 1) == AxiResp.SLVERR
    for offset, length in ((0, 1), (1, 2), (2, 2), (0, 3), (3, 1)):
        assert await tb.write(WINDOW + offset, 1, length) == AxiResp.SLVERR
    assert tb.program == []
    assert tb.pulses == []
    assert await tb.write(WINDOW + size - 4, 0x89ABCDEF) == AxiResp.OKAY
    assert tb.program == [(CONFIG.program_words - 1, 0x89ABCDEF)]


@cocotb.test(**BOUND)
async def commands(dut) -> None:
    """Every value of CONTROL in every state of the engine."""
    tb = TB(dut)
    await tb.begin()
    bits = (registers.Control.START, registers.Control.RESET, registers.Control.STOP)
    names = ("start", "reset", "stop")
    for running, resetting, value in itertools.product((0, 1), (0, 1), range(16)):
        dut.running.value, dut.resetting.value = running, resetting
        tb.pulses.clear()
        refused = value & 1 and (running or resetting or value & 6)
        answer = await tb.write(address("CONTROL"), value)
        assert answer == (AxiResp.SLVERR if refused else AxiResp.OKAY)
        asked = [name for name, bit in zip(names, bits) if value & bit]
        assert tb.pulses == ([] if refused else asked)
        assert await tb.value("CONTROL") == 0
    # The bits lie in the lowest byte; without its strobe nothing is asked for.
    tb.pulses.clear()
    assert await tb.write(address("CONTROL") + 1, 0xFF, 1) == AxiResp.OKAY
    assert tb.pulses == []


@cocotb.test(**BOUND)
async def status_and_interrupt(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    for running, halted, resetting, cause in itertools.product((0, 1), (0, 1), (0, 1), (0, 5, 255)):
        dut.running.value, dut.halted.value = running, halted
        dut.resetting.value, dut.cause.value = resetting, cause
        expected = running | halted << 1 | resetting << 2 | cause << 8
        assert await tb.value("STATUS") == expected
        for enable in (1, 0):
            await tb.write(address("IRQ_ENABLE"), enable)
            assert dut.irq.value == (halted and enable)
    dut.pc.value = 0xBEEF
    assert await tb.value("PC") == 0xBEEF


@cocotb.test(**BOUND)
async def counters_are_coherent(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    values = {}
    for name, width in counters().items():
        values[name] = tb.random.getrandbits(width)
        getattr(dut, name).value = values[name]
    for register in registers.REGISTERS:
        name = register.name.lower()
        if name in values:
            for word in range(register.words):
                assert await tb.value(register.name, word) == values[name] >> 32 * word & 0xFFFFFFFF
    # Between the two reads the low word overflows, and another counter is read.
    dut.cycles.value, dut.loss.value = 0x7_FFFFFFFF, 0x3_00000000
    assert await tb.value("CYCLES") == 0xFFFFFFFF
    assert await tb.value("LOSS") == 0
    dut.cycles.value, dut.loss.value = 0x8_00000000, 0x4_00000001
    await tb.clocks(3)
    assert await tb.value("CYCLES", 1) == 7
    assert await tb.value("LOSS", 1) == 3
    assert await tb.value("CYCLES", 0) == 0
    assert await tb.value("CYCLES", 1) == 8
