"""The issue unit: its micro-operations against plain loops, for every kind of job."""

from __future__ import annotations

import functools
import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from unit_bench import UnitBench

from tangente.golden.config import preset
from tangente.rtl.issue import Issue
from tangente.rtl.uop import Kind

CONFIG = preset("tiny")
LANES = CONFIG.lanes
DRAINED = (Kind.MVA, Kind.MVR)
SUMMED = (Kind.UPD, Kind.OWN, Kind.DEEP)
FIELDS = ("weight", "row", "scalar", "lane", "target", "first", "last", "final", "odd")


def loops(kind: Kind, job: dict[str, int]) -> list[dict[str, int]]:
    """Micro-operations of a job; what a kind does not use is left out."""
    j, tiles, pairs = job, -(-job["q"] // LANES), -(-job["p"] // 2)
    outer, middle, inner = {
        Kind.MVA: (j["count"], tiles, pairs), Kind.MVD: (j["count"], pairs, tiles),
        Kind.MVR: (j["count"], tiles, j["p"]), Kind.UPD: (pairs, tiles, j["count"]),
        Kind.OWN: (pairs, tiles, 1), Kind.DEEP: (pairs, j["tiles"], j["q"]),
    }[kind]
    result = []
    for a, b, c in itertools.product(range(outer), range(middle), range(inner)):
        uop = {"first": int(c == 0), "last": int(c == inner - 1),
               "final": int((a, b, c) == (outer - 1, middle - 1, inner - 1))}
        if kind is Kind.MVA:
            uop |= {"weight": j["m_base"] + c * tiles + b,
                    "scalar": 2 * (j["s_base"] + a * j["s_stride"] + c)}
        elif kind is Kind.MVD:
            uop |= {"weight": j["m_base"] + b * tiles + c,
                    "row": j["v_base"] + a * j["v_stride"] + c}
        elif kind is Kind.MVR:
            uop |= {"row": j["v_base"] + c * j["v_stride"] + b,
                    "scalar": 2 * (j["s_base"] + a * j["s_stride"]) + c}
        elif kind is Kind.UPD:
            uop |= {"weight": j["m_base"] + a * tiles + b,
                    "row": j["v_base"] + c * j["v_stride"] + b,
                    "scalar": 2 * (j["s_base"] + c * j["s_stride"] + a)}
        else:
            odd = int(2 * a + 1 < j["p"])
            uop["odd"] = odd
            if kind is Kind.OWN:
                uop |= {"weight": j["m_base"] + a * tiles + b, "row": j["v_base"] + b,
                        "target": j["yr_base"] + j["tiles"] + 2 * a * j["yr_stride"] + b}
            else:
                uop |= {"weight": j["m_base"] + a * tiles + c // LANES, "lane": c % LANES,
                        "row": j["r_base"] + c * j["r_stride"] + b,
                        "scalar": 2 * j["g_base"] + c,
                        "target": j["yr_base"] + 2 * a * j["yr_stride"] + b}
        result.append(uop)
    return result


def is_bad(kind: Kind, job: dict[str, int], uop: dict[str, int]) -> bool:
    """Whether one of its addresses is beyond its memory."""
    from_input = job["input"] and kind is not Kind.DEEP
    last = uop.get("target", 0) + (job["yr_stride"] if uop.get("odd") else 0)
    return (uop.get("weight", 0) >= CONFIG.weight_words or uop.get("row", 0) >= CONFIG.rows
            or uop.get("scalar", 0) // 2 >= (4 * CONFIG.input_beats if from_input
                                             else CONFIG.pairs)
            or "target" in uop and last >= CONFIG.rows)


class IssueBench(UnitBench):
    """Runs a job; returns micro-operations, the cycles they came in, sums drained, and the end."""

    async def task(self, ctx, kind: Kind, job: dict[str, int], share: float, seed: int,
                   stop: int | None) -> tuple[list[dict[str, int]], list[int], list[int], str]:
        """share : of cycles in which results can be taken. stop : cycle of a reset, if any."""
        dut, generator = self.dut, random.Random(seed)
        ctx.set(dut.reset_job, 1)
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(3)
        ctx.set(dut.reset_job, 0)
        ctx.set(dut.kind.kind, kind)
        for name, value in job.items():
            ctx.set(dut.job.flags.input if name == "input" else getattr(dut.job, name), value)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        uops: list[dict[str, int]] = []
        cycles: list[int] = []
        drained: list[int] = []
        credits = 0
        for cycle in range(4000):
            free = generator.random() < share
            # What a kind does not look at may have any value.
            ctx.set(dut.drain_busy, not free if kind in DRAINED else generator.getrandbits(1))
            ctx.set(dut.credit, free if kind is Kind.MVD else generator.getrandbits(1))
            ctx.set(dut.reset_job, cycle == stop)
            drain, credit = ctx.get(dut.drain), ctx.get(dut.take_credit)
            assert not drain or free and kind in DRAINED
            assert not credit or free and kind is Kind.MVD
            if drain:
                drained.append(ctx.get(dut.drain_pairs))
            credits += credit
            if ctx.get(dut.uop.valid):
                uops.append({name: ctx.get(getattr(dut.uop, name)) for name in FIELDS})
                cycles.append(cycle)
            done, fault = ctx.get(dut.done), ctx.get(dut.fault)
            assert not (done and fault)
            await ctx.tick()
            if done or fault or cycle == stop:
                break
        else:
            raise AssertionError("neither done nor fault in 4000 cycles")
        ctx.set(dut.reset_job, 0)
        for _ in range(8):
            assert not ctx.get(dut.uop.valid)
            assert not ctx.get(dut.done)
            assert not ctx.get(dut.fault)
            await ctx.tick()
        if kind is Kind.MVD:
            drained = [credits]
        return uops, cycles, drained, "done" if done else "fault" if fault else "stopped"


@functools.cache
def bench() -> IssueBench:
    return IssueBench(Issue(CONFIG))


@st.composite
def jobs(draw: st.DrawFn, near_end: bool) -> dict[str, int]:
    def base(end: int) -> int:
        return draw(st.integers(max(0, end - 40), end) if near_end and draw(st.booleans())
                    else st.integers(0, end // 2))

    sizes = st.integers(1, 11)
    return {"count": draw(st.integers(1, 5)), "p": draw(sizes), "q": draw(sizes),
            "tiles": draw(st.integers(1, 3)), "input": draw(st.integers(0, 1)),
            "m_base": base(CONFIG.weight_words), "v_base": base(CONFIG.rows),
            "r_base": base(CONFIG.rows), "yr_base": base(CONFIG.rows),
            "s_base": base(draw(st.sampled_from((CONFIG.pairs, 4 * CONFIG.input_beats)))),
            "g_base": base(CONFIG.pairs),
            **{name: draw(st.one_of(st.integers(0, 12), st.just(65535) if near_end
                                    else st.integers(0, 40)))
               for name in ("s_stride", "v_stride", "r_stride", "yr_stride")}}


def check(kind: Kind, job: dict[str, int], share: float, seed: int,
          stop: int | None = None) -> None:
    expected = loops(kind, job)
    first_bad = next((i for i, uop in enumerate(expected) if is_bad(kind, job, uop)), None)
    uops, cycles, drained, end = bench().run(kind, job, share, seed, stop)
    assert len(uops) <= len(expected)
    for uop, want in zip(uops, expected):
        assert {name: uop[name] for name in want} == want
    if end == "stopped":
        return
    assert end == ("done" if first_bad is None else "fault")
    good = expected[:first_bad]
    assert len(uops) == len(good)
    # A sum that the drain takes is announced with its pairs of neurons.
    last_tile = (job["q"] - 1) % LANES // 2 + 1
    tiles = -(-job["q"] // LANES)
    sums = [uop for uop in good if uop["last"]]
    if kind in DRAINED:
        wanted = [last_tile if i % tiles == tiles - 1 else LANES // 2 for i in range(len(sums))]
        assert drained == wanted
    else:
        assert drained == ([len(sums)] if kind is Kind.MVD else [])
    ends = [cycle for cycle, uop in zip(cycles, good) if uop["last"]]
    if kind in SUMMED:
        assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(ends))
    if share == 1 and cycles:
        # Nothing else takes time: setup as golden.clock counts it, then one a cycle.
        assert cycles[0] == tiles + 1
        waits = sum(uop["first"] & uop["last"] for uop in good[1:]) if kind in SUMMED else 0
        assert cycles[-1] - cycles[0] == len(good) - 1 + waits


#: Those that the issue unit runs itself.
_KINDS = st.sampled_from([kind for kind in Kind if kind < Kind.OFFER])
_SETTINGS = settings(max_examples=60, derandomize=True, deadline=None)


@_SETTINGS
@given(kind=_KINDS, job=jobs(near_end=False), share=st.sampled_from((0.2, 0.6, 1.0)),
       seed=st.integers(0, 1 << 32))
def test_loops(kind: Kind, job: dict[str, int], share: float, seed: int) -> None:
    check(kind, job, share, seed)


@_SETTINGS
@given(kind=_KINDS, job=jobs(near_end=True), share=st.sampled_from((0.5, 1.0)),
       seed=st.integers(0, 1 << 32))
def test_addresses_beyond_the_end(kind: Kind, job: dict[str, int], share: float,
                                  seed: int) -> None:
    check(kind, job, share, seed)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(kind=_KINDS, job=jobs(near_end=False), stop=st.integers(0, 30), seed=st.integers(0, 1 << 32))
def test_stops_at_once(kind: Kind, job: dict[str, int], stop: int, seed: int) -> None:
    check(kind, job, 0.7, seed, stop)
    check(kind, job, 1.0, seed)
