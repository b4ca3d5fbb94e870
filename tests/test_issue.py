"""The issue unit: its micro-operations against plain loops, for every kind of job."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scanning import Pairs, product_steps, update_steps
from unit_bench import UnitBench

from tangente.golden import flow
from tangente.golden.config import preset
from tangente.golden.flow import scanned_update
from tangente.rtl.issue import Issue
from tangente.rtl.ram import Ram
from tangente.rtl.uop import Kind

CONFIG = preset("tiny")
LANES = CONFIG.lanes
DRAINED = (Kind.MVA, Kind.MVR)
#: They may leave samples out, and have loops of their own.
DENSE = (Kind.MVD, Kind.MVR)
SUMMED = (Kind.UPD, Kind.OWN, Kind.DEEP)
DERIVATIVES = (Kind.OWN, Kind.DEEP)
FIELDS = ("weight", "row", "scalar", "lane", "target", "first", "last", "final", "even", "odd")
ELEMENT = (1 << CONFIG.element_bits) - 1


def loops(kind: Kind, job: dict[str, int]) -> list[dict[str, int]]:
    """Micro-operations of a job; what a kind does not use is left out."""
    j, tiles, pairs = job, -(-job["q"] // LANES), -(-job["p"] // 2)
    outer, middle, inner = {
        Kind.MVA: (j["count"], tiles, pairs), Kind.MVD: (j["count"], pairs, tiles),
        Kind.MVR: (j["count"], tiles, j["p"]), Kind.UPD: (pairs, tiles, j["count"]),
    }[kind]
    result = []
    samples = made(kind, job) if kind in DENSE else list(range(outer))
    for a, b, c in itertools.product(samples, range(middle), range(inner)):
        uop = {"first": int(c == 0), "last": int(c == inner - 1),
               "final": int((a, b, c) == (samples[-1], middle - 1, inner - 1))}
        if kind is Kind.MVA:
            uop |= {"weight": j["m_base"] + c * tiles + b,
                    "scalar": 2 * (j["s_base"] + a * j["s_stride"] + c)}
        elif kind is Kind.MVD:
            uop |= {"weight": j["m_base"] + b * tiles + c,
                    "row": j["v_base"] + a * j["v_stride"] + c}
        elif kind is Kind.MVR:
            uop |= {"row": j["v_base"] + a * j["r_stride"] + c * j["v_stride"] + b,
                    "scalar": 2 * (j["s_base"] + a * j["s_stride"]) + c}
        else:
            uop |= {"weight": j["m_base"] + a * tiles + b,
                    "row": j["v_base"] + c * j["v_stride"] + b,
                    "scalar": 2 * (j["s_base"] + c * j["s_stride"] + a)}
        result.append(uop)
    return result


def is_listed(kind: Kind, job: dict[str, int]) -> bool:
    """Whether samples without errors are left out."""
    return bool(job["wanted"]) and job["count"] <= flow.SCANNED_SAMPLES and (
        kind in (Kind.MVA, *DENSE) or kind is Kind.UPD and is_scanned(kind, job))


def made(kind: Kind, job: dict[str, int]) -> list[int]:
    """The samples that are not left out."""
    return [b for b in range(job["count"]) if not is_listed(kind, job) or job["erring"] >> b & 1]


def is_refused(kind: Kind, job: dict[str, int]) -> bool:
    """Whether a listed job is over before it begins: by the operands of all samples.

    Of MVD any; of MVR scalars, and the first row of each sample.
    """
    tiles = -(-job["q"] // LANES)
    return any(is_bad(kind, job, uop if kind is Kind.MVD or i % (tiles * job["p"]) % job["p"] == 0
                      else uop | {"row": 0})
               for i, uop in enumerate(loops(kind, job | {"wanted": 0})))


def is_bad(kind: Kind, job: dict[str, int], uop: dict[str, int]) -> bool:
    """Whether one of its addresses is beyond its memory."""
    return (uop.get("weight", 0) >= CONFIG.weight_words or uop.get("row", 0) >= CONFIG.rows
            or uop.get("scalar", 0) // 2 >= (4 * CONFIG.input_beats if job["input"]
                                             else CONFIG.pairs))


def is_scanned(kind: Kind, job: dict[str, int]) -> bool:
    """Whether it leaves out what is zero."""
    return (kind is Kind.MVA or kind is Kind.OWN and bool(job["live"])
            or kind is Kind.UPD and scanned_update(job["count"], job["s_stride"]))


def scanned(kind: Kind, job: dict[str, int], memory: Pairs) -> list[dict[str, int]]:
    """What a scanner makes of a job."""
    operands = {"base": job["s_base"], "stride": job["s_stride"], "pairs": -(-job["p"] // 2),
                "samples": job["count"], "tiles": -(-job["q"] // LANES),
                "weight_base": job["m_base"], "vector_base": job["v_base"],
                "vector_stride": job["v_stride"]}
    if is_listed(kind, job):
        operands["erring"] = [bool(job["erring"] >> b & 1) for b in range(job["count"])]
    steps = (product_steps if kind is Kind.MVA else update_steps)(memory, operands)
    result = []
    for step in steps:
        uop = {"pair": step.pair, "first": step.first, "last": step.ends, "final": step.final}
        if step.weight is not None:
            uop["weight"] = step.weight
        if step.vector is not None:
            uop["row"] = step.vector
        if kind is Kind.MVA:
            uop["target"] = (job["q"] - 1) % LANES // 2 + 1 if step.last_tile else LANES // 2
        result.append(uop)
    return result


def activations(memory: Pairs, base: int, pairs: int) -> list[tuple[int, int]]:
    """Neurons of a vector that live, and their activations."""
    values = [memory[base + i // 2] >> i % 2 * CONFIG.element_bits & ELEMENT
              for i in range(2 * pairs)]
    return [(i, value) for i, value in enumerate(values) if value]


def own_rows(job: dict[str, int], memory: Pairs) -> list[dict[str, int]]:
    """OWN: for each pair of neurons, of live ones or of all, and each tile a row of its own ids."""
    j, tiles, pairs = job, -(-job["q"] // LANES), -(-job["p"] // 2)
    live = dict(activations(memory, j["s_base"], pairs))
    result, row = [], j["yr_base"] + j["tiles"]
    for a in range(pairs):
        even, odd = (2 * a in live, 2 * a + 1 in live) if j["live"] else (True, 2 * a + 1 < j["p"])
        for b in range(tiles if even or odd else 0):
            result.append({"weight": j["m_base"] + a * tiles + b, "row": j["v_base"] + b,
                           "target": row + b, "even": int(even), "odd": int(odd),
                           "first": 1, "last": 1, "final": 0})
        # Rows of live neurons lie one after the other.
        row += (even + odd) * j["yr_stride"]
    if j["live"]:
        return result + [{"pair": 0, "even": 0, "odd": 0, "final": 1, "last": 0}]
    result[-1]["final"] = 1
    return result


def deep_rows(job: dict[str, int], memory: Pairs) -> list[dict[str, int]]:
    """DEEP: for each pair of neurons that OWN has seen, and deep tile, a sum over live ones below.
    """
    j, tiles = job, -(-job["q"] // LANES)
    first_tile = [uop for uop in own_rows(job, memory)
                  if "weight" in uop and (uop["weight"] - j["m_base"]) % tiles == 0]
    below = activations(memory, j["g_base"], -(-j["q"] // 2))
    result = []
    for own, b in itertools.product(first_tile, range(j["tiles"])):
        # Where nothing lives below, a product with zero makes the row.
        for c, (neuron, value) in enumerate(below or [(None, 0)]):
            uop = {"row": j["r_base"] + c * j["r_stride"] + b, "pair": value * (ELEMENT + 2),
                   "target": own["target"] - j["tiles"] + b, "even": own["even"],
                   "odd": own["odd"], "first": int(c == 0),
                   "last": int(c == max(len(below), 1) - 1), "final": 0}
            if neuron is not None:
                uop |= {"weight": own["weight"] + neuron // LANES, "lane": neuron % LANES}
            result.append(uop)
    if result:
        result[-1]["final"] = 1
    return result


def is_beyond(job: dict[str, int]) -> bool:
    """Whether a DRV may need an address that is beyond its memory, if all neurons live."""
    j, tiles, pairs, below = job, -(-job["q"] // LANES), -(-job["p"] // 2), -(-job["q"] // 2)
    neurons = 2 * pairs if j["live"] else j["p"]
    return (j["m_base"] + pairs * tiles > CONFIG.weight_words or j["v_base"] + tiles > CONFIG.rows
            or j["live"] and j["s_base"] + pairs > CONFIG.pairs
            or j["yr_base"] + (neurons - 1) * j["yr_stride"] + j["tiles"] + tiles > CONFIG.rows
            or j["tiles"] > 0 and (
                j["g_base"] + below > CONFIG.pairs
                or j["r_base"] + (2 * below - 1) * j["r_stride"] + j["tiles"] > CONFIG.rows))


@dataclasses.dataclass
class Issued:
    """What one of a run's jobs came to.

    Members
    -------
    uops, cycles : its micro-operations, and the cycles after its start they came in.
    drained : sums that the drain took, or that credits were taken for.
    end : done, fault or stopped; over : when.
    began : cycles from the start of the run to its own.
    """

    uops: list[dict[str, int]] = dataclasses.field(default_factory=list)
    cycles: list[int] = dataclasses.field(default_factory=list)
    drained: list[int] = dataclasses.field(default_factory=list)
    end: str = "stopped"
    over: int = -1
    began: int = 0


class IssueBench(UnitBench):
    """Runs jobs with the same operands, one after the other: DRV is two."""

    async def task(self, ctx, kinds: tuple[Kind, ...], job: dict[str, int], memory: Pairs,
                   share: float, seed: int, stop: int | None) -> list[Issued]:
        """share : of cycles in which results can be taken. stop : cycle of a reset, if any."""
        dut = self.dut
        ctx.set(dut.reset_job, 1)
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(3)
        ctx.set(dut.reset_job, 0)
        self._erring = job["erring"]
        for name, value in job.items():
            if name != "erring":
                flag = name in ("input", "live", "wanted")
                ctx.set(getattr(dut.job.flags if flag else dut.job, name), value)
        self._memory, self._share, self._generator = memory, share, random.Random(seed)
        self._groups = [0] * Ram.LATENCY
        self._now = 0
        result: list[Issued] = []
        for kind in kinds:
            result.append(await self._job(ctx, kind, job, stop))
            if result[-1].end != "done":
                break
        ctx.set(dut.reset_job, 0)
        for _ in range(8):
            assert not ctx.get(dut.uop.valid)
            assert not ctx.get(dut.done)
            assert not ctx.get(dut.fault)
            await ctx.tick()
        return result

    async def _job(self, ctx, kind: Kind, job: dict[str, int], stop: int | None) -> Issued:
        dut, generator, result = self.dut, self._generator, Issued()
        ctx.set(dut.kind.kind, kind)
        ctx.set(dut.start, 1)
        self._serve(ctx)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert ctx.get(dut.carried) == (is_scanned(kind, job) or kind is Kind.DEEP)
        result.began = self._now
        credits = 0
        # A scanned micro-operation may stand one cycle after `done`. OWN's addresses are looked at
        # beside its first rows, the last of them at most six cycles after it is done; MVD's and
        # MVR's beside their list of samples.
        beside = kind is Kind.OWN or kind in DENSE and is_listed(kind, job)
        after = generator.randint(6, 12) if beside else 1
        for cycle in range(4000):
            free = generator.random() < self._share
            # What a kind does not look at may have any value.
            ctx.set(dut.drain_ready, free if kind in DRAINED else generator.getrandbits(1))
            ctx.set(dut.credit, free if kind is Kind.MVD else generator.getrandbits(1))
            stops = self._now == stop
            ctx.set(dut.reset_job, stops)
            self._serve(ctx)
            drain, credit = ctx.get(dut.drain), ctx.get(dut.take_credit)
            assert not drain or free and kind in DRAINED
            assert not credit or free and kind is Kind.MVD
            if drain:
                result.drained.append(ctx.get(dut.drain_pairs))
            credits += credit
            if ctx.get(dut.uop.valid):
                result.uops.append({name: ctx.get(getattr(dut.uop, name)) for name in FIELDS}
                                   | {"pair": ctx.get(dut.pair)})
                result.cycles.append(cycle)
            done, fault = ctx.get(dut.done), ctx.get(dut.fault)
            assert not (done and fault)
            assert result.over < 0 or not done and (beside or not fault)
            await ctx.tick()
            self._now += 1
            if stops:
                result.end = "stopped"
                break
            if done or fault:
                result.over, result.end = cycle, "done" if done else "fault"
            if result.over >= 0 and (fault or cycle >= result.over + after):
                break
        else:
            raise AssertionError("neither done nor fault in 4000 cycles")
        if kind is Kind.MVD:
            result.drained = [credits]
        if kind is Kind.OWN and result.end == "done":
            assert ctx.get(dut.live) == (
                len(activations(self._memory, job["s_base"], -(-job["p"] // 2))) if job["live"]
                else job["p"])
        return result

    def _serve(self, ctx) -> None:
        """The pair memory, two cycles after it is asked."""
        ctx.set(self.dut.group_data, self._memory.group(self._groups[-Ram.LATENCY]))
        self._groups.append(ctx.get(self.dut.group))
        ctx.set(self.dut.erring, self._erring >> ctx.get(self.dut.sample) & 1)


@functools.cache
def bench() -> IssueBench:
    return IssueBench(Issue(CONFIG))


@st.composite
def jobs(draw: st.DrawFn, near_end: bool) -> dict[str, int]:
    def base(end: int) -> int:
        return draw(st.integers(max(0, end - 40), end) if near_end and draw(st.booleans())
                    else st.integers(0, end // 2))

    sizes = st.integers(1, 11)
    return {"count": draw(st.one_of(st.integers(1, 5), st.integers(1, 40))),
            "p": draw(sizes), "q": draw(sizes),
            "tiles": draw(st.integers(0, 3)), "input": draw(st.integers(0, 1)),
            "live": draw(st.integers(0, 1)),
            "m_base": base(CONFIG.weight_words), "v_base": base(CONFIG.rows),
            "r_base": base(CONFIG.rows), "yr_base": base(CONFIG.rows),
            "s_base": base(draw(st.sampled_from((CONFIG.pairs, 4 * CONFIG.input_beats)))),
            "g_base": base(CONFIG.pairs),
            **{name: draw(st.one_of(st.integers(0, 12), st.just(65535) if near_end
                                    else st.integers(0, 40)))
               for name in ("v_stride", "r_stride", "yr_stride")},
            # Samples often lie alike in their groups of pairs.
            "s_stride": draw(st.one_of(st.integers(0, 12), st.integers(0, 5).map(lambda i: 8 * i),
                                       st.just(65528) if near_end else st.just(0)))}


def listed_jobs(near_end: bool) -> st.SearchStrategy[dict[str, int]]:
    """Jobs that may leave samples out: a bit of ``erring`` for each that has errors."""
    return st.builds(lambda job, wanted, erring: job | {"wanted": wanted, "erring": erring},
                     jobs(near_end), st.integers(0, 1),
                     st.one_of(st.just(0), st.integers(0, (1 << 40) - 1)))


def match(uops: list[dict[str, int]], expected: list[dict[str, int]]) -> None:
    """No more micro-operations than expected, each as expected where that says anything.

    Of a row that is far beyond the memory's end, which is found while others are made, ``target``
    has the lower bits.
    """
    assert len(uops) <= len(expected)
    for uop, want in zip(uops, expected):
        if "target" in want:
            want = want | {"target": want["target"] % (1 << 16)}
        assert {name: uop[name] for name in want} == want


def pairs_of(seed: int) -> Pairs:
    return Pairs(CONFIG.pairs, 2 * CONFIG.element_bits, seed % 5 / 4, 1 + seed % 7, seed)


def check(kind: Kind, job: dict[str, int], share: float, seed: int,
          stop: int | None = None) -> None:
    listed = kind in DENSE and is_listed(kind, job)
    expected = loops(kind, job)
    first_bad = next((i for i, uop in enumerate(
        expected if listed else loops(kind, job | {"wanted": 0})) if is_bad(kind, job, uop)), None)
    refused = listed and is_refused(kind, job)
    memory = pairs_of(seed)
    scans = is_scanned(kind, job)
    if scans:
        # The addresses of a scanned job are checked before its first step.
        expected = scanned(kind, job, memory)
        first_bad = None if first_bad is None else 0
    result, = bench().run((kind,), job, memory, share, seed, stop)
    uops, cycles, drained, end = result.uops, result.cycles, result.drained, result.end
    match(uops, expected)
    if end == "stopped":
        return
    assert end == ("done" if first_bad is None and not refused else "fault")
    if refused:
        # At most what is issued until the last address is known to be beyond.
        assert len(uops) <= 2
        return
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
        check_turns(result, scans)
    if kind in DRAINED:
        assert not set(cycles) & {cycle + 1 for cycle in ends}, "a sum is folded after its end"
    if share == 1 and cycles and not scans:
        # Nothing else takes time: setup as golden.clock counts it, then one a cycle. Scanned jobs'
        # times are in test_scanner.py.
        assert cycles[0] == tiles + 1 + (job["count"] + 1 if is_listed(kind, job) else 0)
        waits = sum(uop["first"] & uop["last"] for uop in good[1:]) if kind in SUMMED else (
            sum(uop["last"] for uop in good[:-1]) if kind in DRAINED else 0)
        assert cycles[-1] - cycles[0] == len(good) - 1 + waits


def check_turns(result: Issued, scans: bool) -> None:
    """No two halves meet in the lane units, half 1's turn is a cycle after half 0's.

    Where zeros are left out, a half without a scalar that is not zero takes none.
    """
    taken: set[int] = set()
    pair = 0
    for uop, cycle in zip(result.uops, result.cycles):
        pair = uop["pair"] | (0 if uop["first"] else pair)
        if uop["last"]:
            odd, even = divmod(pair, ELEMENT + 1)
            turns = {cycle + half for half, live in enumerate((even, odd)) if live or not scans}
            assert not taken & turns
            taken |= turns


def check_derivatives(job: dict[str, int], seed: int, stop: int | None = None) -> None:
    memory = pairs_of(seed)
    expected = {Kind.OWN: own_rows(job, memory), Kind.DEEP: deep_rows(job, memory)}
    # Without deeper ids, or without a neuron that has any, there is no second job.
    kinds = DERIVATIVES if expected[Kind.DEEP] else (Kind.OWN,)
    results = bench().run(kinds, job, memory, 1.0, seed, stop)
    for kind, result in zip(kinds, results):
        match(result.uops, expected[kind])
        check_turns(result, is_scanned(kind, job))
    if results[-1].end == "stopped":
        return
    assert results[-1].end == ("fault" if is_beyond(job) else "done")
    if is_beyond(job):
        return
    for kind, result in zip(kinds, results, strict=True):
        assert len(result.uops) == len(expected[kind])
        check_cycles(kind, job, memory, result)


def check_cycles(kind: Kind, job: dict[str, int], memory: Pairs, result: Issued) -> None:
    """When the first and the last micro-operation came: as golden.clock has it."""
    tiles, pairs, below = -(-job["q"] // LANES), -(-job["p"] // 2), -(-job["q"] // 2)
    begin = tiles - 1
    if job["tiles"] and (kind is Kind.DEEP or job["live"]):
        # The list of live activations below is made from the start of OWN on.
        neurons = np.array([i for i, _ in activations(memory, job["g_base"], below)], np.int64)
        begin = max(begin, flow.live_list(neurons, job["g_base"], below, 0) - result.began)
    if is_scanned(kind, job):
        live = np.array(memory.live(job["s_base"], 0, pairs, 1))
        assert result.over == flow.update(live, job["s_base"], tiles, begin + 1) + 1
    else:
        assert result.cycles[0] == begin + 2
        waits = sum(uop["first"] & uop["last"] for uop in result.uops[1:])
        assert result.cycles[-1] - result.cycles[0] == len(result.uops) - 1 + waits


#: Those that the issue unit runs itself, DRV's two aside.
_KINDS = st.sampled_from([kind for kind in Kind if kind < Kind.OWN])
_SETTINGS = settings(max_examples=60, derandomize=True, deadline=None)


@_SETTINGS
@given(kind=_KINDS, job=listed_jobs(near_end=False), share=st.sampled_from((0.2, 0.6, 1.0)),
       seed=st.integers(0, 1 << 32))
def test_loops(kind: Kind, job: dict[str, int], share: float, seed: int) -> None:
    check(kind, job, share, seed)


@pytest.mark.parametrize("erring", [0, 1, 0b100, 0b1011011, (1 << 32) - 1, 1 << 31 | 9])
@pytest.mark.parametrize("count", [1, 2, 7, 32, 33])
@pytest.mark.parametrize("kind", [Kind.MVA, Kind.MVD, Kind.UPD], ids=lambda kind: kind.name)
def test_listed_samples(kind: Kind, count: int, erring: int) -> None:
    job = {"count": count, "p": 5, "q": 6, "tiles": 0, "input": 0, "live": 0, "wanted": 1,
           "m_base": 7, "v_base": 11, "r_base": 0, "yr_base": 0, "s_base": 13, "g_base": 0,
           "v_stride": 5, "r_stride": 0, "yr_stride": 0, "s_stride": 8, "erring": erring}
    check(kind, job, 1.0, 12345 + count)


@_SETTINGS
@given(kind=_KINDS, job=listed_jobs(near_end=True), share=st.sampled_from((0.5, 1.0)),
       seed=st.integers(0, 1 << 32))
def test_addresses_beyond_the_end(kind: Kind, job: dict[str, int], share: float,
                                  seed: int) -> None:
    check(kind, job, share, seed)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(kind=_KINDS, job=listed_jobs(near_end=False), stop=st.integers(0, 30),
       seed=st.integers(0, 1 << 32))
def test_stops_at_once(kind: Kind, job: dict[str, int], stop: int, seed: int) -> None:
    check(kind, job, 0.7, seed, stop)
    check(kind, job, 1.0, seed)


def _derivatives(near_end: bool) -> st.SearchStrategy[dict[str, int]]:
    """Jobs of DRV, some of whose vectors take more groups than two."""
    return st.builds(lambda job, p, q: job | {"p": p, "q": q, "input": 0, "wanted": 0,
                                               "erring": 0}, jobs(near_end),
                     st.integers(1, 11),
                     st.one_of(st.integers(1, 11), st.integers(1, 40)))


@settings(max_examples=20, derandomize=True, deadline=None)
@given(job=_derivatives(near_end=False), seed=st.integers(0, 1 << 32))
def test_derivatives(job: dict[str, int], seed: int) -> None:
    check_derivatives(job, seed)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(job=_derivatives(near_end=True), seed=st.integers(0, 1 << 32))
@example(job={"count": 5, "p": 3, "q": 1, "tiles": 2, "input": 0, "live": 0, "m_base": 472,
              "v_base": 2008, "r_base": 593, "yr_base": 348, "s_base": 2008, "g_base": 659,
              "v_stride": 65535, "r_stride": 0, "yr_stride": 65535, "s_stride": 65528, "wanted": 0,
              "erring": 0}, seed=0)
def test_derivatives_beyond_the_end(job: dict[str, int], seed: int) -> None:
    check_derivatives(job, seed)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(job=_derivatives(near_end=False), stop=st.integers(0, 60), seed=st.integers(0, 1 << 32))
def test_derivatives_stop_at_once(job: dict[str, int], stop: int, seed: int) -> None:
    check_derivatives(job, seed, stop)
    check_derivatives(job, seed)
