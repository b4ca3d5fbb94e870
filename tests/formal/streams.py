"""The rules of every stream that a block of rtl/ makes: offered, it stays until it is taken."""

from __future__ import annotations

from amaranth.hdl import Assume, Cat, Const, Cover, Module, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .harness import Free, after, stands, stands_assumed

__all__ = ["Queue", "close_in_time", "stream_rules"]


def _named(dut, name: str):
    for part in name.split("."):
        dut = getattr(dut, part)
    return dut


def stream_rules(dut, outputs, inputs=(), unless=None, payload=True, contract=None) -> Free:
    """Streams called ``outputs`` obey, if those called ``inputs`` do.

    Members
    -------
    unless : the condition, of the block, under which it drops what it offers.
    payload : False looks at ``valid`` alone: the payload is a queue's, which has a proof of its
        own.
    contract : adds what the block asks of its user, or what the induction needs.
    """
    def rules(m: Module, dut) -> None:
        if contract:
            contract(m, dut)
        for name in inputs:
            port = _named(dut, name)
            stands_assumed(m, port.valid, port.ready, port.payload)
        dropped = Value.cast(unless(dut)) if unless else Const(0)
        for name in outputs:
            port = _named(dut, name)
            ready = Value.cast(port.ready)
            stands(m, port.valid, ready, port.payload if payload else Const(0), dropped)
            # Offered, not taken at once, then taken.
            m.d.comb += Cover(after(m, port.valid & ~ready & ~dropped) & port.valid & ready)
    return Free(dut, rules)


def close_in_time(m: Module, dut) -> None:
    """``close`` of a tree: not before the last verdict; and the same ``keep`` throughout."""
    m.d.comb += Assume((dut.keep == after(m, dut.keep)) | ~after(m, Const(1)))
    took = Cat(port.valid & port.ready for port in dut.offers).any()
    m.d.comb += Assume(~(dut.close & after(m, took)))


class Queue(wiring.Component):
    """Amaranth's queue, with the ports of streams."""

    def __init__(self, width: int, depth: int) -> None:
        self._queue = SyncFIFOBuffered(width=width, depth=depth)
        super().__init__({"taken": In(stream.Signature(width)),
                          "given": Out(stream.Signature(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = self._queue
        m.d.comb += [
            queue.w_data.eq(self.taken.payload), queue.w_en.eq(self.taken.valid),
            self.taken.ready.eq(queue.w_rdy), self.given.payload.eq(queue.r_data),
            self.given.valid.eq(queue.r_rdy), queue.r_en.eq(self.given.ready),
        ]
        return m
