"""Addresses of SRT, TOP and SCT, checked before anything is done."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .delay import delay
from .descriptor import Descriptor

__all__ = ["ListCheck", "Job"]


class Job(enum.Enum, shape=2):
    """What the list unit does."""

    SRT = 0
    TOP = 1
    SCT = 2


class ListCheck(wiring.Component):
    """Tiles of both dimensions by subtraction, then one multiplication after the other.

    Members
    -------
    start : In. Begin (pulse); ``kind`` and ``job`` stand until the unit's job is over.
    counted : Out. Tiles and width stand from the next cycle on (pulse).
    tiles : Out, 12. Of Q.
    width : Out, 12. Lanes of Q's last tile.
    done, good : Out. Checked (pulse), and whether all addresses exist.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1), "kind": In(Job), "job": In(Descriptor()),
            "counted": Out(1), "tiles": Out(12), "width": Out(12), "done": Out(1), "good": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job = self.config, self.job
        top, sct = self.kind == Job.TOP, self.kind == Job.SCT
        # Of the lists of one layer, each tile has as many in a bank.
        rows = -(-config.lanes // config.toper_lanes)
        rows_p, rows_q = Signal(16), Signal(16)
        # What is left of P beyond this tile, less one; whether there is more.
        rest_p, more_p, more_q = Signal(signed(13), init=-1), Signal(), Signal()
        step, checking, beyond = Signal(4), Signal(), Signal()
        # Step 0.
        counting = Signal()
        with m.If(self.start):
            m.d.sync += [self.width.eq(job.q), self.tiles.eq(1), rows_p.eq(rows), rows_q.eq(rows),
                         more_q.eq(~sct & (job.q > config.lanes)),
                         checking.eq(1), counting.eq(1), step.eq(0), beyond.eq(0)]
        left_p = Mux(self.start, job.p, rest_p) - Mux(self.start, config.lanes + 1, config.lanes)
        with m.If(self.start | more_p):
            m.d.sync += rest_p.eq(left_p)
        m.d.comb += [more_p.eq(~rest_p[-1]),
                     self.counted.eq(counting & ~(more_p | more_q))]
        with m.If(counting):
            with m.If(more_p):
                m.d.sync += rows_p.eq(rows_p + rows)
            with m.If(more_q):
                m.d.sync += [self.width.eq(self.width - config.lanes),
                             more_q.eq(self.width > 2 * config.lanes),
                             self.tiles.eq(self.tiles + 1), rows_q.eq(rows_q + rows)]
            m.d.sync += [counting.eq(more_p | more_q), step.eq(~(more_p | more_q))]
        with m.Elif(checking):
            m.d.sync += step.eq(step + 1)

        # In a DSP48E1: a product and its bound, base - limit - 1, are negative where all is well.
        one, other = Signal(16, reset_less=True), Signal(16, reset_less=True)
        product = Signal(32, reset_less=True)
        base, bound, end = (Signal(signed(bits), name=name, reset_less=True)
                            for bits, name in ((19, "base"), (19, "bound"), (34, "end")))
        # The limit's complement, -limit - 1.
        limit = Signal(signed(19), reset_less=True)
        m.d.sync += [product.eq(one * other), bound.eq(base + limit), end.eq(product + bound)]
        pairs = (job.p + 1)[1:]
        before = (job.count - 1)[:12]
        used = top & job.flags.lists
        with m.Switch(step):
            with m.Case(1):
                m.d.sync += [one.eq(Mux(sct, before, pairs)),
                             other.eq(Mux(sct, job.r_stride, self.tiles)),
                             base.eq(Mux(sct, job.l_base, job.m_base)),
                             limit.eq(Mux(sct, ~config.list_entries, ~config.weight_words))]
            with m.Case(2):
                m.d.sync += [one.eq(Mux(sct, before, rows_p)),
                             other.eq(Mux(sct, job.s_stride, Mux(used, job.r_stride, 0))),
                             base.eq(Mux(sct, job.s_base + pairs, Mux(used, job.r_base, 0))),
                             limit.eq(Mux(sct, ~config.pairs, ~config.list_entries))]
            with m.Case(4):
                # SCT: after the last sample's first entry, whose bound stands now.
                m.d.sync += [one.eq(Mux(top, rows_q, Mux(sct, rows_p, 1))), other.eq(job.k),
                             base.eq(Mux(sct, end[:19].as_signed(), job.l_base)),
                             limit.eq(Mux(sct, 0, ~config.list_entries))]
        scalars = Mux(job.flags.input, config.input_beats * 4, config.pairs)

        # What asks for no multiplication, in two cycles: the job stands, and step 1 comes later.
        def exceeds(base, size, end):
            return delay(m, base + size, 1, "simple_end") > end

        simple = Signal()
        m.d.sync += simple.eq(
            (~sct & job.flags.wanted & exceeds(job.y_base, (job.count + 1)[1:], config.pairs))
            | (self.kind == Job.SRT) & exceeds(job.s_base, pairs, scalars)
            | top & (exceeds(job.g_base, pairs, config.pairs)
                     | job.flags.live & exceeds(job.s_base, (job.q + 1)[1:], config.pairs)
                     | job.flags.own & exceeds(job.f_base, job.f_stride, config.list_entries)
                     | job.flags.shared & exceeds(job.v_base, job.v_stride, config.list_entries)))
        m.d.comb += [self.done.eq(checking & (step == 8)), self.good.eq(~beyond)]
        # What a step asks for is known three steps later.
        with m.If(checking & ((step == 4) | (step == 5) | (step == 7)) & ~end[-1]):
            m.d.sync += beyond.eq(1)
        with m.If(checking & (step == 1) & simple):
            m.d.sync += beyond.eq(1)
        with m.If(self.done):
            m.d.sync += checking.eq(0)
        return m
