"""Transfers between DDR and the engine's memories: the accelerator's AXI3 master."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tangente.golden.config import Config
from tangente.golden.isa import Space

from .axi import Axi3, Response

__all__ = ["TransferCommand", "LocalWrite", "LocalRead", "Transfer"]

#: Beats of the longest AXI3 burst.
_BURST = 16
#: Beats that may be promised to the bus and not yet moved: eight full bursts, what a Zynq port
#: accepts (UG585, 5.2), and enough to cover a latency of over 100 cycles.
_AHEAD = 8 * _BURST
#: Bursts written whose answer may be missing.
_ANSWERS = 8
#: Beats that are read from a local memory ahead of the bus.
_BUFFER = 32

#: What is to be moved. ``ddr``: byte address, a multiple of 8; ``local``: first unit of ``space``;
#: ``length``: beats, at least 1.
TransferCommand = data.StructLayout({
    "store": 1, "space": 3, "ddr": 32, "local": 16, "length": 24})
#: One beat for a local memory.
LocalWrite = data.StructLayout({"space": 3, "unit": 17, "beat": 8, "data": 64})
#: Request for one beat of a local memory.
LocalRead = data.StructLayout({"space": 3, "unit": 17, "beat": 8})


class _Place(wiring.Component):
    """Walks over the beats of a space: ``beat`` counts through a unit, then ``unit`` goes on."""

    def __init__(self, beats_per_word: int) -> None:
        self._beats_per_word = beats_per_word
        super().__init__({
            "load": In(1),
            "local": In(16),
            "step": In(1),
            "space": In(3),
            "unit": Out(17),
            "beat": Out(8),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        last = Mux(self.space == Space.WEIGHT, self._beats_per_word - 1, 0)
        with m.If(self.load):
            m.d.sync += [self.unit.eq(self.local), self.beat.eq(0)]
        with m.Elif(self.step):
            with m.If(self.beat == last):
                m.d.sync += [self.unit.eq(self.unit + 1), self.beat.eq(0)]
            with m.Else():
                m.d.sync += self.beat.eq(self.beat + 1)
        return m


class _Task:
    """What the parts of :class:`Transfer` share of the command in progress."""

    def __init__(self, config: Config) -> None:
        self.command = Signal(TransferCommand)
        self.accept = Signal()                          # a command is taken
        self.dropping = Signal()                        # it was abandoned
        self.place = _Place(config.beats_per_word)
        self.promised = Signal(range(_AHEAD + 1))       # beats in bursts begun and not yet moved
        self.moved = Signal()                           # a beat moves
        self.answers = Signal(range(_ANSWERS + 1))      # write answers that are missing
        self.address = Signal(29)                       # of the next burst, in beats
        self.remaining = Signal(24)                     # beats that no burst asked for yet
        self.to_send = Signal(24)                       # beats to be written
        self.position = Signal(ceil_log2(_BURST))       # of the next of them, as in its address


class Transfer(wiring.Component):
    """Moves beats between DDR and local memories, one command at a time.

    A burst ends where its address is a multiple of 128 bytes or where the transfer ends, so that
    it has at most 16 beats and never crosses a boundary of 4 KiB. Reads and writes sustain one
    beat a cycle: up to 128 beats are asked for ahead, up to eight write answers may be missing.

    A unit of a space is one beat, but for ``Space.WEIGHT``, whose word has
    ``config.beats_per_word``. ``unit`` has a bit more than ``local`` so that running past the end
    of a memory shows; Transfer itself knows no memory's size.

    After an answer other than OKAY the transfer runs to its end on the bus; the beats read by a
    LOAD from then on are dropped.

    Parameters
    ----------
    config : sizes of the engine.

    Members
    -------
    m_axi : Out(Axi3())
        The bus. Identifier 0, incrementing bursts of 8-byte beats, cache 0b0011 (bufferable,
        modifiable), every byte strobe set, or none in what is written after ``abandon``.
    command : In(stream of TransferCommand)
        Taken while ``idle`` and not ``abandon``. ``length`` 0 moves nothing.
    local_write : Out(stream of LocalWrite)
        Beats that a LOAD brings, in order.
    local_read : Out(stream of LocalRead)
        Beats that a STORE asks for, in order.
    local_data : In(stream of 64 bits)
        One answer to each request of ``local_read``, in order, after any time, also while
        ``abandon``. ``ready`` is never low when an answer is due, so a memory need not look at it.
    busy : Out, 1 bit
        From the cycle after a command is taken until it is complete: LOAD, ``local_write`` took
        the last beat; STORE, the last burst is answered.
    idle : Out, 1 bit
        Nothing is outstanding here or on the bus: not ``busy``.
    error_read, error_write : Out, 1 bit
        One cycle for each read beat or write burst answered other than OKAY, before ``busy``
        falls.
    abandon : In, 1 bit
        High for one cycle or more: of the command in progress, no further burst begins, read beats
        are dropped, and bursts begun are written to their end with no byte strobe set. ``busy``
        falls when the bus is quiet.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({
            "m_axi": Out(Axi3()),
            "command": In(stream.Signature(TransferCommand)),
            "local_write": Out(stream.Signature(LocalWrite)),
            "local_read": Out(stream.Signature(LocalRead)),
            "local_data": In(stream.Signature(unsigned(64))),
            "busy": Out(1),
            "idle": Out(1),
            "error_read": Out(1),
            "error_write": Out(1),
            "abandon": In(1),
        })

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        t = self.task = _Task(self._config)
        self._elaborate_constants(m)
        m.d.comb += [
            self.idle.eq(~self.busy),
            self.command.ready.eq(~self.busy & ~self.abandon),
            t.accept.eq(self.command.valid & self.command.ready),
        ]
        with m.If(t.accept):
            m.d.sync += [t.command.eq(self.command.payload), self.busy.eq(1), t.dropping.eq(0)]
        with m.If(self.busy & self.abandon):
            m.d.sync += t.dropping.eq(1)

        m.submodules.place = t.place
        m.d.comb += [
            t.place.load.eq(t.accept),
            t.place.local.eq(self.command.p.local),
            t.place.space.eq(t.command.space),
        ]
        bursts_left = self._elaborate_bursts(m, t)
        load_left = self._elaborate_load(m, t)
        store_left = self._elaborate_store(m, t)
        with m.If(self.busy & ~bursts_left & ~load_left & ~store_left):
            m.d.sync += self.busy.eq(0)
        return m

    def _elaborate_constants(self, m: Module) -> None:
        bus = self.m_axi
        for channel in ("aw", "ar"):
            m.d.comb += [
                getattr(bus, f"{channel}id").eq(0),
                getattr(bus, f"{channel}size").eq(3),
                getattr(bus, f"{channel}burst").eq(1),
                getattr(bus, f"{channel}lock").eq(0),
                getattr(bus, f"{channel}cache").eq(0b0011),
                getattr(bus, f"{channel}prot").eq(0),
            ]
        m.d.comb += bus.wid.eq(0)

    def _elaborate_bursts(self, m: Module, t: _Task) -> Signal:
        """Bursts, on the channel that the command needs. High: some, or their beats, are left."""
        bus = self.m_axi
        address, remaining = t.address, t.remaining
        length = Signal(range(_BURST + 1))
        issue, left = Signal(), Signal()
        to_boundary = _BURST - address[:ceil_log2(_BURST)]
        m.d.comb += [
            length.eq(Mux(remaining < to_boundary, remaining, to_boundary)),
            issue.eq(self.busy & (remaining != 0) & ~t.dropping & ~self.abandon
                     & ~bus.awvalid & ~bus.arvalid
                     & (t.promised <= _AHEAD - _BURST) & (t.answers != _ANSWERS)),
            left.eq(bus.awvalid | bus.arvalid | (t.promised != 0)
                    | ((remaining != 0) & ~t.dropping)),
        ]
        with m.If(t.accept):
            m.d.sync += [
                address.eq(self.command.p.ddr[3:]),
                remaining.eq(self.command.p.length),
            ]
        for channel, mine in (("aw", t.command.store), ("ar", ~t.command.store)):
            valid = getattr(bus, f"{channel}valid")
            with m.If(issue & mine):
                m.d.sync += [
                    valid.eq(1),
                    getattr(bus, f"{channel}addr").eq(address << 3),
                    getattr(bus, f"{channel}len").eq(length - 1),
                ]
            with m.Elif(getattr(bus, f"{channel}ready")):
                m.d.sync += valid.eq(0)
        with m.If(issue):
            m.d.sync += [address.eq(address + length), remaining.eq(remaining - length)]
        m.d.sync += t.promised.eq(t.promised + Mux(issue, length, 0) - t.moved)

        answered = bus.bvalid & bus.bready
        m.d.comb += bus.bready.eq(t.answers != 0)
        m.d.sync += [
            t.answers.eq(t.answers + (issue & t.command.store) - answered),
            self.error_write.eq(answered & (bus.bresp != Response.OKAY)),
        ]
        return left

    def _elaborate_load(self, m: Module, t: _Task) -> Signal:
        """Beats read, to ``local_write``. High: one is on its way."""
        bus = self.m_axi
        out = self.local_write
        failed, error, take = Signal(), Signal(), Signal()
        m.d.comb += [
            bus.rready.eq(self.busy & ~t.command.store & (~out.valid | out.ready)),
            take.eq(bus.rvalid & bus.rready),
            error.eq(take & (bus.rresp != Response.OKAY)),
        ]
        m.d.sync += self.error_read.eq(error)
        with m.If(t.accept):
            m.d.sync += failed.eq(0)
        with m.Elif(error):
            m.d.sync += failed.eq(1)

        with m.If(take):
            m.d.comb += [t.moved.eq(1), t.place.step.eq(1)]
        with m.If(take & ~error & ~failed & ~t.dropping & ~self.abandon):
            m.d.sync += [
                out.valid.eq(1),
                out.p.space.eq(t.command.space),
                out.p.unit.eq(t.place.unit),
                out.p.beat.eq(t.place.beat),
                out.p.data.eq(bus.rdata),
            ]
        with m.Elif(out.ready):
            m.d.sync += out.valid.eq(0)
        return out.valid

    def _elaborate_store(self, m: Module, t: _Task) -> Signal:
        """Beats of ``local_data`` to the bus. High: an answer, of either side, is missing."""
        bus = self.m_axi
        m.submodules.buffer = buffer = fifo.SyncFIFOBuffered(width=64, depth=_BUFFER)

        # Requests: a place in the buffer is kept for each answer that is due.
        request = self.local_read
        to_ask = Signal(24)
        due = Signal(range(_BUFFER + 1))        # asked for, not yet taken from the buffer
        ask, left = Signal(), Signal()
        m.d.comb += ask.eq(self.busy & t.command.store & (to_ask != 0) & ~t.dropping
                           & ~self.abandon & (due != _BUFFER) & (~request.valid | request.ready))
        with m.If(t.accept):
            m.d.sync += to_ask.eq(self.command.p.length)
        with m.If(ask):
            m.d.comb += t.place.step.eq(1)
            m.d.sync += [
                request.valid.eq(1),
                request.p.space.eq(t.command.space),
                request.p.unit.eq(t.place.unit),
                request.p.beat.eq(t.place.beat),
                to_ask.eq(to_ask - 1),
            ]
        with m.Elif(request.ready):
            m.d.sync += request.valid.eq(0)
        m.d.comb += [
            buffer.w_data.eq(self.local_data.payload),
            buffer.w_en.eq(self.local_data.valid),
            self.local_data.ready.eq(buffer.w_rdy),
        ]

        # Bursts end on aligned addresses, so the last beat of each shows in the address alone.
        position, to_send, send = t.position, t.to_send, Signal()
        m.d.comb += [
            send.eq(t.command.store & (t.promised != 0) & (~bus.wvalid | bus.wready)
                    & (buffer.r_rdy | t.dropping)),
            buffer.r_en.eq(send | t.dropping),
            left.eq((due != 0) | (t.answers != 0)),
        ]
        m.d.sync += due.eq(due + ask - (buffer.r_en & buffer.r_rdy))
        with m.If(t.accept):
            m.d.sync += [
                position.eq(self.command.p.ddr[3:]),
                to_send.eq(self.command.p.length),
            ]
        with m.If(send):
            m.d.comb += t.moved.eq(1)
            m.d.sync += [
                bus.wvalid.eq(1),
                bus.wdata.eq(buffer.r_data),
                bus.wstrb.eq(Mux(t.dropping, 0, 0xFF)),
                bus.wlast.eq(position.all() | (to_send == 1)),
                position.eq(position + 1),
                to_send.eq(to_send - 1),
            ]
        with m.Elif(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
        return left
