"""cocotb bench of Transfer: a bus and local memories that hesitate on every channel."""

from __future__ import annotations

import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiSlave

from tangente.golden.config import preset
from tangente.golden.isa import Space

CONFIG = preset("tiny")
#: A test that waits in vain fails.
BOUND = {"timeout_time": 1, "timeout_unit": "ms"}
SIZE = 1 << 16
LOAD, STORE = 0, 1


class Memory:
    """DDR; bytes in ``bad`` are answered SLVERR."""

    def __init__(self, seed: int) -> None:
        self.bytes = bytearray(random.Random(seed).randbytes(SIZE))
        self.bad = range(0)
        self.reads: list[int] = []
        self.writes: list[int] = []

    async def read(self, address: int, length: int) -> bytes:
        self.reads.append(address)
        if address in self.bad:
            raise ValueError("bad")
        return bytes(self.bytes[address:address + length])

    async def write(self, address: int, data: bytes) -> None:
        self.writes.append(address)
        if address in self.bad:
            raise ValueError("bad")
        self.bytes[address:address + len(data)] = data


class TB:
    """The device, DDR, local memories, and checks of every channel that the device drives."""

    def __init__(self, dut, seed: int = 1, idle: float = 0.0, pressure: float = 0.0) -> None:
        self.dut = dut
        self.random = random.Random(seed)
        self.memory = Memory(seed)
        self.pressure = pressure
        self.idle = idle
        self.delay = 1                                  # of every local answer, in cycles
        self.written: list[tuple[int, int, int, int]] = []
        self.asked: list[tuple[int, int, int]] = []
        self.errors = {"read": 0, "write": 0}
        self.bursts: list[tuple[str, int, int]] = []    # channel, address, beats
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        self.slave = slave = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst,
                                      target=self.memory)
        write, read = slave.write_if, slave.read_if
        for channel in (write.b_channel, read.r_channel):
            channel.set_pause_generator(self.hesitation(idle))
        for channel in (write.aw_channel, write.w_channel, read.ar_channel):
            channel.set_pause_generator(self.hesitation(pressure))
        dut.command_valid.value = 0
        dut.command_payload.value = 0
        dut.abandon.value = 0
        dut.local_write_ready.value = 0
        dut.local_read_ready.value = 0
        dut.local_data_valid.value = 0

    def hesitation(self, share: float):
        generator = random.Random(self.random.random())
        while True:
            yield generator.random() < share

    async def clocks(self, count: int) -> None:
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def begin(self) -> None:
        self.dut.rst.value = 1
        await self.clocks(3)
        self.dut.rst.value = 0
        await self.clocks(1)
        for task in (self.local(), self.watch(), self.check_bus()):
            cocotb.start_soon(task)

    @staticmethod
    def content(space: int, unit: int, beat: int) -> int:
        """What a local memory holds there: no two places the same."""
        return (space << 40 | unit << 8 | beat) * 0x9E3779B97F4A7C15 & (1 << 64) - 1

    async def local(self) -> None:
        """The local memories: ready when they like, answers after any time, in order."""
        dut = self.dut
        answers: deque[tuple[int, int]] = deque()       # due, data
        now = 0
        while True:
            await RisingEdge(dut.clk)
            now += 1
            if dut.local_write_valid.value and dut.local_write_ready.value:
                word = int(dut.local_write_payload.value)
                self.written.append((word & 7, word >> 3 & 0x1FFFF, word >> 20 & 0xFF, word >> 28))
            if dut.local_data_valid.value:
                assert dut.local_data_ready.value, "an answer that was asked for was not taken"
                answers.popleft()
            if dut.local_read_valid.value and dut.local_read_ready.value:
                word = int(dut.local_read_payload.value)
                place = word & 7, word >> 3 & 0x1FFFF, word >> 20 & 0xFF
                self.asked.append(place)
                delay = self.delay
                if self.random.random() < self.idle:
                    delay += self.random.randrange(20)
                answers.append((now + delay, self.content(*place)))
            dut.local_write_ready.value = self.random.random() >= self.pressure
            dut.local_read_ready.value = self.random.random() >= self.pressure
            due = bool(answers) and answers[0][0] <= now
            dut.local_data_valid.value = due
            dut.local_data_payload.value = answers[0][1] if due else self.random.getrandbits(64)

    async def watch(self) -> None:
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            for kind in self.errors:
                if getattr(dut, f"error_{kind}").value:
                    self.errors[kind] += 1
                    assert dut.busy.value, "an error came after the transfer was complete"
            assert dut.idle.value != dut.busy.value

    async def check_bus(self) -> None:
        """What AXI3 asks of a master, and the stream rules, cycle by cycle."""
        dut = self.dut
        channels = {"m_axi_aw": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot"),
                    "m_axi_ar": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot"),
                    "m_axi_w": ("id", "data", "strb", "last"),
                    "local_write_": ("payload",), "local_read_": ("payload",)}
        held: dict[str, tuple[int, ...]] = {}
        outstanding = {"m_axi_aw": 0, "m_axi_ar": 0}
        while True:
            await RisingEdge(dut.clk)
            for prefix, fields in channels.items():
                valid = int(getattr(dut, f"{prefix}valid").value)
                assert valid or prefix not in held, f"{prefix}valid fell before {prefix}ready"
                if not valid:
                    continue
                ready = int(getattr(dut, f"{prefix}ready").value)
                values = tuple(int(getattr(dut, f"{prefix}{field}").value) for field in fields)
                assert held.pop(prefix, values) == values, f"{prefix} changed before {prefix}ready"
                if not ready:
                    held[prefix] = values
                elif prefix in outstanding:
                    number, address, length, *constant = values
                    assert (number, *constant) == (0, 3, 1, 0, 3, 0)
                    assert length < 16
                    assert address % 8 == 0
                    assert address // 4096 == (address + 8 * length + 7) // 4096
                    self.bursts.append((prefix, address, length + 1))
                    outstanding[prefix] += 1
            if dut.m_axi_bvalid.value and dut.m_axi_bready.value:
                outstanding["m_axi_aw"] -= 1
            if dut.m_axi_rvalid.value and dut.m_axi_rready.value and dut.m_axi_rlast.value:
                outstanding["m_axi_ar"] -= 1
            if dut.idle.value:
                assert outstanding == {"m_axi_aw": 0, "m_axi_ar": 0}, "idle with bursts open"
                for prefix in channels:
                    assert not getattr(dut, f"{prefix}valid").value, f"idle with {prefix}valid"

    async def command(self, store: int, space: Space, ddr: int, local: int, length: int) -> None:
        dut = self.dut
        dut.command_payload.value = (store | space << 1 | ddr << 4 | local << 36 | length << 52)
        dut.command_valid.value = 1
        await RisingEdge(dut.clk)
        while not dut.command_ready.value:
            await RisingEdge(dut.clk)
        dut.command_valid.value = 0
        dut.command_payload.value = self.random.getrandbits(76)
        await RisingEdge(dut.clk)
        assert dut.busy.value or length == 0

    async def quiet(self, bound: int = 20_000) -> int:
        for cycle in range(bound):
            await RisingEdge(self.dut.clk)
            if not self.dut.busy.value:
                return cycle
        raise AssertionError(f"still busy after {bound} cycles")

    def some_command(self) -> tuple[int, Space, int, int, int]:
        store = self.random.choice((LOAD, STORE))
        spaces = [Space.WEIGHT, Space.BIAS, Space.LOGIT if store else Space.INPUT]
        length = self.random.choice((1, 2, 15, 16, 17, self.random.randint(1, 200)))
        near = 4096 * self.random.randint(1, 10) - 8 * self.random.randint(0, 20)
        anywhere = 8 * self.random.randrange((SIZE - 1600) // 8)
        return (store, self.random.choice(spaces), self.random.choice((near, anywhere)),
                self.random.choice((0, 65535, self.random.randrange(65536))), length)


def places(space: Space, local: int, length: int) -> list[tuple[int, int, int]]:
    """Where each beat of a command lies locally."""
    per_unit = CONFIG.beats_per_word if space == Space.WEIGHT else 1
    return [(space, local + i // per_unit, i % per_unit) for i in range(length)]


def word(data: bytes | bytearray, ddr: int) -> int:
    return int.from_bytes(data[ddr:ddr + 8], "little")


@cocotb.test(**BOUND)
@cocotb.parametrize(idle=[0.0, 0.4], pressure=[0.0, 0.4])
async def moves_every_beat_to_its_place(dut, idle: float, pressure: float) -> None:
    tb = TB(dut, 5 + int(10 * idle + 100 * pressure), idle, pressure)
    await tb.begin()
    expected = bytearray(tb.memory.bytes)
    for _ in range(12):
        store, space, ddr, local, length = tb.some_command()
        tb.written.clear()
        tb.asked.clear()
        tb.bursts.clear()
        await tb.command(store, space, ddr, local, length)
        await tb.quiet()
        where = places(space, local, length)
        if store:
            assert tb.asked == where
            assert tb.written == []
            expected[ddr:ddr + 8 * length] = b"".join(
                tb.content(*place).to_bytes(8, "little") for place in where)
        else:
            assert tb.asked == []
            assert tb.written == [(*place, word(expected, ddr + 8 * i))
                                  for i, place in enumerate(where)]
        assert tb.memory.bytes == expected
        # As few bursts as the boundaries of 128 bytes allow.
        assert len(tb.bursts) == (ddr + 8 * length - 1) // 128 - ddr // 128 + 1
    assert tb.errors == {"read": 0, "write": 0}


@cocotb.test(**BOUND)
async def empty_command_moves_nothing(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    for store in (LOAD, STORE):
        await tb.command(store, Space.BIAS, 0, 0, 0)
        assert await tb.quiet() < 3
    assert (tb.bursts, tb.written, tb.asked) == ([], [], [])


@cocotb.test(**BOUND)
@cocotb.parametrize(idle=[0.0, 0.4], pressure=[0.0, 0.4])
async def errors_are_counted_and_the_bus_is_finished(dut, idle: float, pressure: float) -> None:
    tb = TB(dut, 3, idle, pressure)
    await tb.begin()
    for _ in range(5):
        length = tb.random.randint(1, 120)
        ddr = 8 * tb.random.randrange(4096)
        first = tb.random.randrange(length)
        count = tb.random.randint(1, 40)
        tb.memory.bad = range(ddr + 8 * first, ddr + 8 * (first + count))
        hit = min(count, length - first)
        tb.errors.update(read=0, write=0)
        tb.written.clear()
        tb.memory.reads.clear()
        await tb.command(LOAD, Space.INPUT, ddr, 7, length)
        await tb.quiet()
        assert tb.errors == {"read": hit, "write": 0}
        assert tb.memory.reads == list(range(ddr, ddr + 8 * length, 8))
        assert [unit for _, unit, _, _ in tb.written] == list(range(7, 7 + first))

        tb.errors.update(read=0)
        tb.memory.writes.clear()
        await tb.command(STORE, Space.BIAS, ddr, 0, length)
        await tb.quiet()
        bad_bursts = len({(ddr + 8 * i) // 128 for i in range(first, first + hit)})
        assert tb.errors == {"read": 0, "write": bad_bursts}

        tb.memory.bad = range(0)
        tb.errors.update(write=0)
        tb.written.clear()
        await tb.command(LOAD, Space.INPUT, ddr, 7, length)
        await tb.quiet()
        assert len(tb.written) == length
        assert tb.errors == {"read": 0, "write": 0}


@cocotb.test(**BOUND)
@cocotb.parametrize(idle=[0.0, 0.4], pressure=[0.0, 0.4])
async def abandoned_commands_end_legally(dut, idle: float, pressure: float) -> None:
    tb = TB(dut, 4, idle, pressure)
    await tb.begin()
    for store in (LOAD, STORE) * 6:
        before = bytearray(tb.memory.bytes)
        ddr, length = 8 * tb.random.randrange(4096), tb.random.randint(1, 400)
        tb.written.clear()
        await tb.command(store, Space.WEIGHT, ddr, 0, length)
        await tb.clocks(tb.random.randrange(120))
        was_busy = bool(dut.busy.value)
        dut.abandon.value = 1
        # The pulse may be one cycle long, or outlast the command.
        hold = tb.random.choice((1, 3, 0))
        await tb.clocks(2)
        if hold == 1:
            dut.abandon.value = 0
        begun = len(tb.bursts) + bool(dut.m_axi_awvalid.value) + bool(dut.m_axi_arvalid.value)
        if was_busy:
            # 128 beats promised, each of which may hesitate.
            await tb.quiet(2500)
        assert len(tb.bursts) <= begun
        if hold != 1:
            assert not dut.command_ready.value
            dut.abandon.value = 0
            await tb.clocks(1)
        where = places(Space.WEIGHT, 0, length)
        if store:
            # A part was written, from the start on; the rest is as before.
            wanted = b"".join(tb.content(*place).to_bytes(8, "little") for place in where)
            done = 0
            while done < length and word(tb.memory.bytes, ddr + 8 * done) == word(wanted, 8 * done):
                done += 1
            before[ddr:ddr + 8 * done] = wanted[:8 * done]
            assert tb.memory.bytes == before
        else:
            assert tb.written == [(*place, word(before, ddr + 8 * i))
                                  for i, place in enumerate(where)][:len(tb.written)]
        # The next command is a whole one.
        tb.written.clear()
        await tb.command(LOAD, Space.INPUT, 0, 3, 20)
        await tb.quiet()
        assert tb.written == [(Space.INPUT, 3 + i, 0, word(tb.memory.bytes, 8 * i))
                              for i in range(20)]
    assert tb.errors == {"read": 0, "write": 0}


@cocotb.test(**BOUND)
async def abandon_before_a_command_holds_it_back(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    dut.abandon.value = 1
    waiting = cocotb.start_soon(tb.command(LOAD, Space.INPUT, 64, 0, 4))
    await tb.clocks(50)
    assert not waiting.done()
    assert dut.idle.value
    dut.abandon.value = 0
    await waiting
    await tb.quiet()
    assert [data for _, _, _, data in tb.written] == [word(tb.memory.bytes, 64 + 8 * i)
                                                      for i in range(4)]


@cocotb.test(**BOUND)
@cocotb.parametrize(abandon=[False, True])
async def a_store_asks_ahead_no_more_than_it_can_keep(dut, abandon: bool) -> None:
    tb = TB(dut)
    await tb.begin()
    for channel in (tb.slave.write_if.aw_channel, tb.slave.write_if.w_channel):
        channel.clear_pause_generator()
        channel.pause = True
    before = bytes(tb.memory.bytes)
    await tb.command(STORE, Space.BIAS, 0, 0, 200)
    await tb.clocks(200)
    assert len(tb.asked) in (32, 33)        # one may wait at the bus itself
    assert tb.bursts == []
    if abandon:
        dut.abandon.value = 1
        await tb.clocks(100)
        assert dut.busy.value
    for channel in (tb.slave.write_if.aw_channel, tb.slave.write_if.w_channel):
        channel.pause = False
    await tb.quiet(600)
    dut.abandon.value = 0
    if abandon:
        # The one burst that was begun is written, and writes nothing but a first beat on the bus.
        assert tb.bursts == [("m_axi_aw", 0, 16)]
        assert tb.memory.bytes[8:] == before[8:]
    else:
        assert len(tb.asked) == 200
    tb.asked.clear()
    await tb.command(STORE, Space.BIAS, 8192, 500, 40)
    await tb.quiet()
    assert tb.asked == places(Space.BIAS, 500, 40)
    assert tb.memory.bytes[8192:8192 + 320] == b"".join(
        tb.content(*place).to_bytes(8, "little") for place in tb.asked)


@cocotb.test(**BOUND)
async def an_abandoned_store_waits_for_slow_memories(dut) -> None:
    tb = TB(dut)
    await tb.begin()
    tb.delay = 150
    before = bytes(tb.memory.bytes)
    await tb.command(STORE, Space.BIAS, 0, 0, 100)
    await tb.clocks(20)
    asked = len(tb.asked)
    dut.abandon.value = 1
    await tb.clocks(2)
    dut.abandon.value = 0
    assert await tb.quiet() > 100
    assert asked <= len(tb.asked) <= asked + 2
    assert tb.memory.bytes == before
    tb.delay = 1
    await tb.command(STORE, Space.BIAS, 8192, 500, 40)
    await tb.quiet()
    assert tb.memory.bytes[8192:8192 + 320] == b"".join(
        tb.content(*place).to_bytes(8, "little") for place in places(Space.BIAS, 500, 40))
