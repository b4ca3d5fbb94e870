"""The issue unit: three nested loops and four address generators that drive the array."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from .descriptor import Descriptor
from .uop import Kind, Uop

__all__ = ["Issue", "AddressGenerator"]

_BITS = 18


class AddressGenerator(wiring.Component):
    """address = base + outer * a + middle * b + inner * c, by additions.

    Members
    -------
    base, a, b, c : In. Fixed while a job runs.
    restart : In. Load ``base``.
    step : In. Advance; ``end_inner`` and ``end_middle`` say which loops this step wraps.
    address : Out. Of the current iteration.
    """

    def __init__(self, bits: int = _BITS) -> None:
        self.bits = bits
        super().__init__({
            "base": In(bits), "a": In(bits), "b": In(bits), "c": In(bits),
            "restart": In(1), "step": In(1), "end_inner": In(1), "end_middle": In(1),
            "address": Out(bits),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        outer, middle = Signal(self.bits), Signal(self.bits)
        with m.If(self.restart):
            m.d.sync += [outer.eq(self.base), middle.eq(self.base), self.address.eq(self.base)]
        with m.Elif(self.step):
            with m.If(~self.end_inner):
                m.d.sync += self.address.eq(self.address + self.c)
            with m.Elif(~self.end_middle):
                m.d.sync += [middle.eq(middle + self.b), self.address.eq(middle + self.b)]
            with m.Else():
                m.d.sync += [outer.eq(outer + self.a), middle.eq(outer + self.a),
                             self.address.eq(outer + self.a)]
        return m


class Issue(wiring.Component):
    """Turns one job into micro-operations, one a cycle.

    Loops (outer, middle, inner) of each kind::

        MVA   samples, tiles, pairs of P      sum over the inner loop
        MVD   samples, pairs of P, tiles      sum over the inner loop, in the reducer
        MVR   samples, tiles, P               sum over the inner loop
        UPD   pairs of P, tiles, samples      sum over the inner loop
        OWN   pairs of P, tiles, 1            no sum
        DEEP  pairs of P, deep tiles, Q       sum over the inner loop

    The end of a sum waits while ``drain_busy`` (MVA, MVR) or without ``credit`` (MVD). Sums that
    the lane unit takes (UPD, OWN, DEEP) end at least two cycles apart, one for each half.

    Members
    -------
    start : In. Begin the job that ``job`` and ``kind`` hold, stable until ``done``.
    uop : Out. The current micro-operation, registered.
    drain_busy, credit : In. See above.
    take_credit : Out. An MVD sum has been issued.
    drain : Out. An MVA or MVR sum has been issued: ``drain_pairs`` pairs of it are to be drained.
    done : Out. All micro-operations are issued (pulse).
    fault : Out. An address is beyond its memory (pulse); the job is over.
    reset_job : In. Stop at once.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "job": In(Descriptor()),
            "kind": In(data.StructLayout({"kind": 3})),
            "uop": Out(Uop),
            "drain_busy": In(1),
            "credit": In(1),
            "take_credit": Out(1),
            "drain": Out(1),
            "drain_pairs": Out(8),
            "done": Out(1),
            "fault": Out(1),
            "reset_job": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, job, kind = self.config, self.job, self.kind.kind
        lanes = config.lanes
        is_kind = {k: Signal(name=f"is_{k.name.lower()}") for k in Kind}
        m.d.comb += [signal.eq(kind == k) for k, signal in is_kind.items()]
        summed_by_lane_unit = is_kind[Kind.UPD] | is_kind[Kind.OWN] | is_kind[Kind.DEEP]
        drained = is_kind[Kind.MVA] | is_kind[Kind.MVR]

        # Setup: tiles of Q, one subtraction a cycle.
        rest, tiles = Signal(12), Signal(12)
        pairs = Signal(12)
        m.d.comb += pairs.eq((job.p + 1) >> 1)

        outer_count, middle_count, inner_count = Signal(12), Signal(12), Signal(12)
        outer, middle, inner = Signal(12), Signal(12), Signal(12)
        end_outer, end_middle, end_inner = Signal(), Signal(), Signal()
        with m.Switch(kind):
            for k, loops in {
                Kind.MVA: (job.count, tiles, pairs),
                Kind.MVD: (job.count, pairs, tiles),
                Kind.MVR: (job.count, tiles, job.p),
                Kind.UPD: (pairs, tiles, job.count),
                Kind.OWN: (pairs, tiles, Const(1)),
                Kind.DEEP: (pairs, job.tiles, job.q),
            }.items():
                with m.Case(k):
                    m.d.comb += [outer_count.eq(loops[0]), middle_count.eq(loops[1]),
                                 inner_count.eq(loops[2])]
        m.d.comb += [end_outer.eq(outer + 1 == outer_count),
                     end_middle.eq(middle + 1 == middle_count),
                     end_inner.eq(inner + 1 == inner_count)]

        restart, step = Signal(), Signal()
        m.submodules.weight = weight = AddressGenerator()
        m.submodules.row = row = AddressGenerator()
        m.submodules.scalar = scalar = AddressGenerator(_BITS + 1)
        m.submodules.target = target = AddressGenerator()
        for generator in (weight, row, scalar, target):
            m.d.comb += [generator.restart.eq(restart), generator.step.eq(step),
                         generator.end_inner.eq(end_inner), generator.end_middle.eq(end_middle)]

        lane = Signal(range(lanes))
        lane_end = Signal()
        m.d.comb += lane_end.eq(lane == lanes - 1)
        twice = Cat(Const(0, 1), job.s_stride)
        m.d.comb += [weight.base.eq(job.m_base), row.base.eq(job.v_base),
                     scalar.base.eq(Cat(Const(0, 1), job.s_base)),
                     target.base.eq(job.yr_base), target.a.eq(job.yr_stride << 1), target.b.eq(1)]
        with m.Switch(kind):
            with m.Case(Kind.MVA):
                m.d.comb += [weight.b.eq(1), weight.c.eq(tiles), scalar.a.eq(twice), scalar.c.eq(2)]
            with m.Case(Kind.MVD):
                m.d.comb += [weight.b.eq(tiles), weight.c.eq(1), row.a.eq(job.v_stride),
                             row.c.eq(1)]
            with m.Case(Kind.MVR):
                m.d.comb += [row.b.eq(1), row.c.eq(job.v_stride), scalar.a.eq(twice),
                             scalar.c.eq(1)]
            with m.Case(Kind.UPD):
                m.d.comb += [weight.a.eq(tiles), weight.b.eq(1), row.b.eq(1),
                             row.c.eq(job.v_stride), scalar.a.eq(2), scalar.c.eq(twice)]
            with m.Case(Kind.OWN):
                m.d.comb += [weight.a.eq(tiles), weight.b.eq(1), row.b.eq(1),
                             target.base.eq(job.yr_base + job.tiles)]
            with m.Case(Kind.DEEP):
                m.d.comb += [weight.a.eq(tiles), weight.c.eq(lane_end), row.base.eq(job.r_base),
                             row.b.eq(1), row.c.eq(job.r_stride),
                             scalar.base.eq(Cat(Const(0, 1), job.g_base)), scalar.c.eq(1)]

        # Which addresses a kind uses, and where their memories end.
        scalar_end = Mux(job.flags.input & ~is_kind[Kind.DEEP], config.input_beats * 4,
                         config.pairs)
        weight_bad = ~is_kind[Kind.MVR] & (weight.address >= config.weight_words)
        row_bad = ~is_kind[Kind.MVA] & (row.address >= config.rows)
        scalar_bad = (~is_kind[Kind.MVD] & ~is_kind[Kind.OWN]
                      & ((scalar.address >> 1) >= scalar_end))
        odd = Signal()
        m.d.comb += odd.eq(~(end_outer & job.p[0]))
        target_bad = ((is_kind[Kind.OWN] | is_kind[Kind.DEEP])
                      & (target.address + Mux(odd, job.yr_stride, 0) >= config.rows))
        bad = Signal()
        m.d.comb += bad.eq(weight_bad | row_bad | scalar_bad | target_bad)

        last, wait, spaced = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq(end_inner),
            wait.eq(last & (drained & self.drain_busy | is_kind[Kind.MVD] & ~self.credit
                            | summed_by_lane_unit & ~spaced)),
        ]
        running = Signal()
        m.d.sync += [self.done.eq(0), self.fault.eq(0), self.uop.valid.eq(0), spaced.eq(1)]
        m.d.comb += [
            self.drain.eq(step & last & drained),
            self.drain_pairs.eq(Mux(end_middle, (rest + 1) >> 1, lanes // 2)),
            self.take_credit.eq(step & last & is_kind[Kind.MVD]),
            step.eq(running & ~wait & ~bad & ~self.reset_job),
        ]
        with m.If(running & bad):
            m.d.sync += [running.eq(0), self.fault.eq(1)]
        with m.If(step):
            m.d.sync += [
                self.uop.valid.eq(1),
                self.uop.weight.eq(weight.address),
                self.uop.row.eq(row.address),
                self.uop.scalar.eq(scalar.address),
                self.uop.lane.eq(lane),
                self.uop.target.eq(target.address),
                self.uop.first.eq(inner == 0),
                self.uop.last.eq(last),
                self.uop.final.eq(end_inner & end_middle & end_outer),
                self.uop.odd.eq(odd),
                inner.eq(inner + 1),
                lane.eq(Mux(lane_end, 0, lane + 1)),
            ]
            with m.If(last):
                m.d.sync += [inner.eq(0), middle.eq(middle + 1), lane.eq(0), spaced.eq(0)]
                with m.If(end_middle):
                    m.d.sync += [middle.eq(0), outer.eq(outer + 1)]
                    with m.If(end_outer):
                        m.d.sync += [running.eq(0), self.done.eq(1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [rest.eq(job.q), tiles.eq(1), outer.eq(0), middle.eq(0), inner.eq(0),
                             lane.eq(0)]
                with m.If(self.start):
                    m.next = "SETUP"
            with m.State("SETUP"):
                with m.If(rest > lanes):
                    m.d.sync += [rest.eq(rest - lanes), tiles.eq(tiles + 1)]
                with m.Else():
                    m.d.comb += restart.eq(1)
                    m.d.sync += running.eq(1)
                    m.next = "RUN"
                with m.If(self.reset_job):
                    m.next = "IDLE"
            with m.State("RUN"):
                with m.If(~running):
                    m.next = "IDLE"
        with m.If(self.reset_job):
            m.d.sync += [running.eq(0), self.uop.valid.eq(0)]
        return m
