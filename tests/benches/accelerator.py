"""cocotb bench of the accelerator: random programs, with buses that hesitate on every channel.

It is the preset `tiny` with smaller memories: filling and reading them all takes most of the time.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiResp, AxiSlave

from tangente.golden import registers
from tangente.golden.config import preset
from tangente.golden.isa import Cause, Op, Space, encode
from tangente.golden.machine import Machine
from tangente.golden.registers import Control, Status, address

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from programs import (
    COUNTERS,
    TENSOR,
    Assembler,
    Image,
    Outcome,
    differences,
    random_program,
    run_golden,
)

CONFIG = dataclasses.replace(
    preset("tiny"), name="bench", weight_words=64, rows=512, pairs=256, input_beats=64,
    target_beats=16, logit_pairs=64, bias_pairs=16, program_words=1024)
BASE = 0x1000_0000
#: Keeps its memories from test to test, as the simulation does.
GOLDEN = Machine(CONFIG, 1 << 22)


class Memory:
    """DDR from BASE on; bytes in ``bad`` are answered SLVERR."""

    def __init__(self, data: np.ndarray) -> None:
        self.bytes = bytearray(data.tobytes())
        self.bad = range(0)

    def _at(self, where: int, length: int) -> slice:
        where -= BASE
        if where in self.bad or not 0 <= where <= len(self.bytes) - length:
            raise ValueError("bad address")
        return slice(where, where + length)

    async def read(self, where: int, length: int) -> bytes:
        return bytes(self.bytes[self._at(where, length)])

    async def write(self, where: int, data: bytes) -> None:
        self.bytes[self._at(where, len(data))] = data


class TB:
    """The device, a host and DDR."""

    def __init__(self, dut, data: np.ndarray, pauses: float, seed: int) -> None:
        self.dut = dut
        self.random = random.Random(seed)
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.memory = Memory(data)
        self.ddr = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst,
                            target=self.memory)
        if pauses:
            for interface in (self.host.write_if, self.ddr.write_if):
                for channel in (interface.aw_channel, interface.w_channel, interface.b_channel):
                    channel.set_pause_generator(self.hesitation(pauses))
            for interface in (self.host.read_if, self.ddr.read_if):
                for channel in (interface.ar_channel, interface.r_channel):
                    channel.set_pause_generator(self.hesitation(pauses))

    def hesitation(self, share: float):
        generator = random.Random(self.random.random())
        while True:
            yield generator.random() < share

    async def begin(self) -> None:
        self.dut.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for name, value in (("DDR_BASE", BASE), ("IRQ_ENABLE", 1)):
            await self.write(address(name), value)

    async def write(self, where: int, value: int) -> None:
        answer = await self.host.write(where, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def load(self, words: list[int]) -> None:
        """A program, its words written with none waiting for the one before."""
        answer = await self.host.write(registers.PROGRAM_WINDOW,
                                       np.array(words, "<u4").tobytes())
        assert answer.resp == AxiResp.OKAY

    async def read(self, name: str) -> int:
        register = next(r for r in registers.REGISTERS if r.name == name)
        value = 0
        for word in range(register.words):
            answer = await self.host.read(address(name, word), 4)
            assert answer.resp == AxiResp.OKAY
            value |= int.from_bytes(answer.data, "little") << 32 * word
        return value

    async def run(self, words: list[int], seed: int, size: int = 0) -> Outcome:
        await self.load(words)
        await self.write(address("PC"), 0)
        await self.write(address("SEED"), seed & 0xFFFFFFFF)
        await self.write(address("SEED", 1), seed >> 32)
        await self.write(address("CONTROL"), Control.START)
        for _ in range(4):  # the interrupt of the program before ends
            await RisingEdge(self.dut.clk)
        if not self.dut.irq.value:
            await with_timeout(RisingEdge(self.dut.irq), 2, "ms")
        assert await self.read("STATUS") & 7 == Status.HALTED
        dump = 8 << 15
        return Outcome(Cause(await self.read("STATUS") >> 8), await self.read("PC"),
                       {name: await self.read(name) for name in COUNTERS},
                       np.frombuffer(bytes(self.memory.bytes[dump:dump + size]), np.uint8),
                       await self.read("SEED"), {})


@cocotb.test()
@cocotb.parametrize(pauses=[0.0, 0.5])
async def random_programs(dut, pauses: float) -> None:
    seed = int(10 * pauses)
    image, words, size = random_program(np.random.default_rng(seed), CONFIG, TENSOR, 10)
    tb = TB(dut, image.data, pauses, seed)
    await tb.begin()
    assert await tb.read("CONFIG_HASH") == CONFIG.hash
    random_state = tb.random.getrandbits(64) | 1
    ran = await tb.run(words, random_state, size)
    golden = run_golden(CONFIG, image, words, random_state, size, GOLDEN)
    assert golden.cause is Cause.DONE
    assert differences(CONFIG, golden, ran) == []


@cocotb.test()
@cocotb.parametrize(store=[False, True])
async def bus_errors(dut, store: bool) -> None:
    """A transfer that fails halts with its cause, and the next program runs."""
    image = Image.random(CONFIG, np.random.default_rng(1))
    tb = TB(dut, image.data, 0.2, 5)
    await tb.begin()
    program = Assembler().set(ddr=0, local=0, length=40)
    program.op(*((Op.STORE, Space.PAIR) if store else (Op.LOAD, Space.INPUT))).op(Op.WAIT)
    words = program.op(Op.HALT).words
    tb.memory.bad = range(128, 256)
    ran = await tb.run(words, 1)
    assert ran.cause is (Cause.BUS_WRITE if store else Cause.BUS_READ)
    tb.memory.bad = range(0)
    assert (await tb.run(words, 1)).cause is Cause.DONE


@cocotb.test()
async def stop_and_reset(dut) -> None:
    """STOP ends a loop; RESET ends one in the midst of a transfer, and the next program runs."""
    image = Image.random(CONFIG, np.random.default_rng(2))
    tb = TB(dut, image.data, 0.2, 6)
    await tb.begin()
    program = Assembler().set(ddr=0, local=0, length=60)
    loop = len(program.words)
    words = [*program.op(Op.LOAD, Space.INPUT).words, encode(Op.JMP, 0, loop)]
    await tb.load(words)
    for control in (Control.STOP, Control.RESET):
        await tb.write(address("CONTROL"), Control.START)
        for _ in range(300):
            await RisingEdge(dut.clk)
        assert await tb.read("STATUS") & Status.RUNNING
        await tb.write(address("CONTROL"), control)
        for _ in range(600):
            await RisingEdge(dut.clk)
        expected = Cause.STOPPED << 8 | Status.HALTED if control is Control.STOP else 0
        assert await tb.read("STATUS") == expected
        await tb.write(address("PC"), 0)
    ran = await tb.run([encode(Op.HALT)], 3)
    assert (ran.cause, ran.pc, ran.random) == (Cause.DONE, 0, 3)
