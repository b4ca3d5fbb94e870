"""The toper and its relatives, measured: ``python -m tangente.bench.toper``, for docs/toper.md.

Cycles by Amaranth's simulator, cells by Yosys. Only what stands between this script's marks in
docs/toper.md, and the keys `blocks` and `workshop` of docs/toper.json, is replaced.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from amaranth.sim import Simulator

from tangente.bench.entry import as_program
from tangente.boards.blocks import Block
from tangente.boards.synth import measure as synthesise
from tangente.golden.config import Config, preset
from tangente.golden.timing import selection
from tangente.rtl.merger import Merger
from tangente.rtl.selector import Selector
from tangente.rtl.toper import Toper
from tangente.rtl.toper_tree import ToperTree

__all__ = ["Measurement", "measure", "workshop", "main"]

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_ID_BITS = 18
#: Candidates of the workshop's example, and of a neuron of 100 inputs.
_FEW, _MANY = 20, 100
_MARKS = ("<!-- toper:begin -->", "<!-- toper:end -->")


@dataclasses.dataclass
class Measurement:
    """One block. Cycles count from the first offer to the last entry of the list, both included."""

    block: str
    registers: int
    value_bits: int
    distinct: float        # offers a cycle, no id twice
    equal: float | None    # offers a cycle, each id held; None if ids cannot repeat
    cycles_few: int | None     # for _FEW candidates with distinct ids
    cycles_many: int | None    # for _MANY
    lut: int = 0
    ff: int = 0


def workshop(registers: int, candidates: int) -> int:
    """Cycles of the DPFM workshop's prototype: each comparison of one candidate takes three."""
    return registers * (candidates - registers) * 3


def _stream(dut: wiring.Component, inputs: list[tuple[Any, list[tuple[int, int]]]], result: Any,
            keep: int, verdicts: Callable[[], Any] | None) -> tuple[int, int]:
    """Cycles until all of ``inputs`` were taken, and until all of ``result`` came."""
    taken, total = 0, 0

    async def testbench(ctx) -> None:
        nonlocal taken, total
        ctx.set(dut.keep, keep)
        ctx.set(result.ready, 1)
        left = [list(entries) for _, entries in inputs]
        quiet, count = 0, 0
        while count < keep:
            for (port, _), entries in zip(inputs, left):
                ctx.set(port.valid, bool(entries))
                if entries:
                    payload = dict(zip(("id", "value"), entries[0]))
                    if hasattr(port.p, "last"):
                        payload["last"] = len(entries) == 1
                    ctx.set(port.p, payload)
            for (port, _), entries in zip(inputs, left):
                if ctx.get(port.valid & port.ready):
                    entries.pop(0)
                    quiet, taken = 0, total + 1
            quiet += not any(left)
            if verdicts is not None:
                # In the cycle of the last verdict: two after the one that took its offer.
                ctx.set(verdicts(), quiet == Toper.VERDICT_LATENCY + 1)
            count += ctx.get(result.valid)
            await ctx.tick()
            total += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()
    return taken, total


def _candidates(count: int, ids: int) -> list[tuple[int, int]]:
    rng = random.Random(0)
    return [(i % ids, rng.choice((-1, 1)) * rng.randint(1, 120)) for i in range(count)]


def _toper(registers: int, value_bits: int, summing: bool) -> Measurement:
    def make() -> Toper:
        return Toper(registers, _ID_BITS, value_bits, summing=summing)

    def cycles(offers: list[tuple[int, int]]) -> tuple[int, int]:
        dut = make()
        return _stream(dut, [(dut.offers, offers)], dut.lists, registers, lambda: dut.close)

    held = _candidates(registers, registers) + [(0, 1)] * _MANY
    return Measurement(
        "Toper" if summing else "Toper, distinct ids only", registers, value_bits,
        distinct=_MANY / cycles(_candidates(_MANY, _MANY))[0],
        equal=_MANY / (cycles(held)[0] - registers) if summing else None,
        cycles_few=cycles(_candidates(_FEW, _FEW))[1],
        cycles_many=cycles(_candidates(_MANY, _MANY))[1],
        **_cells(make(), registers, value_bits, summing))


def _merger(registers: int, value_bits: int) -> Measurement:
    def cycles(shared: bool) -> tuple[int, int]:
        dut = Merger(registers, _ID_BITS, value_bits)
        a = [(i, 120 - i) for i in range(registers)]
        b = [(i if shared else 1000 + i, 110 - i) for i in range(registers)]
        return _stream(dut, [(dut.a, a), (dut.b, b)], dut.merged, registers, None)

    return Measurement(
        f"Merger, two lists of {registers}", registers, value_bits,
        distinct=2 * registers / cycles(False)[0], equal=2 * registers / cycles(True)[0],
        cycles_few=None, cycles_many=None,
        **_cells(Merger(registers, _ID_BITS, value_bits), registers, value_bits))


def _tree(zones: int, registers: int, value_bits: int) -> Measurement:
    id_bits = _ID_BITS - (zones - 1).bit_length()

    def cycles(count: int, ids: int) -> tuple[int, int]:
        dut = ToperTree(zones, registers, id_bits, value_bits)
        offers = _candidates(count // zones, ids)
        return _stream(dut, [(port, offers) for port in dut.offers], dut.lists, registers,
                       lambda: dut.close)

    return Measurement(
        f"ToperTree, {zones} zones", registers, value_bits,
        distinct=_MANY / cycles(_MANY, _MANY)[0],
        equal=zones / 2, cycles_few=cycles(_FEW, _FEW)[1], cycles_many=cycles(_MANY, _MANY)[1],
        **_cells(ToperTree(zones, registers, id_bits, value_bits), zones, registers, value_bits))


def _selector(lanes: int, beats: int) -> Measurement:
    config = dataclasses.replace(preset("pynq_z2"), lanes=lanes)
    return Measurement(
        f"Selector, {lanes} lanes (any K), {beats} cycles a row", lanes, config.element_bits,
        distinct=lanes / beats, equal=None, cycles_few=None,
        cycles_many=selection(1, 1, config.element_bits, beats),
        **_cells(Selector(config, beats), lanes, beats))


@dataclasses.dataclass(frozen=True)
class _Made(Block):
    """A block that is there already."""

    component_made: wiring.Component | None = None

    def make(self, config: Config) -> Any:
        return self.component_made


def _cells(component: wiring.Component, *arguments: Any) -> dict[str, int]:
    kind = type(component)
    name = "_".join([kind.__name__, *(str(argument) for argument in arguments)])
    block = _Made(name, kind.__module__.rpartition(".")[2], kind.__name__, lambda _: arguments,
                  component_made=component)
    area = synthesise(block, preset("pynq_z2"), lambda line: None).area
    return {"lut": round(area.lut), "ff": round(area.ff)}


def measure(report: Callable[[str], None]) -> list[Measurement]:
    """Every block of the table."""
    blocks: list[Callable[[], Measurement]] = []
    for value_bits in (9, 16):
        for registers in (4, 8, 16):
            blocks.append(lambda k=registers, w=value_bits: _toper(k, w, True))
        blocks.append(lambda w=value_bits: _toper(16, w, False))
        blocks.append(lambda w=value_bits: _merger(16, w))
    blocks += [lambda z=zones: _tree(z, 16, 9) for zones in (2, 4)]
    blocks += [lambda b=beats: _selector(100, b) for beats in (2, 4, 5)]
    result = []
    for block in blocks:
        result.append(block())
        report(f"measured {result[-1].block}, {result[-1].registers} registers")
    return result


def table(blocks: list[Measurement]) -> str:
    """The measurements in Markdown, the workshop's formula beside them."""
    lines = [
        f"| block | K | value bits | offers a cycle, distinct | equal ids | cycles for {_FEW} "
        f"| workshop | cycles for {_MANY} | workshop | LUT | FF |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]

    def text(value: float | int | None, form: str = ",.0f") -> str:
        return "" if value is None else format(value, form)

    for b in blocks:
        few = workshop(b.registers, _FEW) if b.cycles_few is not None else None
        many = (workshop(b.registers, _MANY)
                if b.cycles_many is not None and b.cycles_few is not None else None)
        k = "" if b.block.startswith("Selector") else b.registers
        lines.append(
            f"| {b.block} | {k} | {b.value_bits} | {b.distinct:.2f} | {text(b.equal, '.2f')} | "
            f"{text(b.cycles_few)} | {text(few)} | {text(b.cycles_many)} | {text(many)} | "
            f"{b.lut:,} | {b.ff:,} |")
    return "\n".join(lines)


_PAGE = f"""# The toper and its relatives

By `make toper`: cells by Yosys (`synth_xilinx -family xc7 -flatten -abc9`), each block by itself,
ids of {_ID_BITS} bits; cycles by Amaranth's simulator, from the first offer to the last entry of
the list, both included. "workshop" is its prototype's registers x (candidates - registers) x 3. A
Selector's row holds {_MANY} candidates, and its cycles are those of one neuron alone; the others
follow at the cycles a row. The trees have K registers in every zone and are
offered the same ids in all of them.

{_MARKS[0]}
{_MARKS[1]}
"""


def main(arguments: list[str] | None = None) -> None:
    """Measure; write docs/toper.json and the table of docs/toper.md."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog=main.__doc__).parse_args(
        arguments)
    blocks = measure(lambda line: print(line, file=sys.stderr, flush=True))
    record, page = _DOCS / "toper.json", _DOCS / "toper.md"
    content = json.loads(record.read_text()) if record.exists() else {}
    content["blocks"] = [dataclasses.asdict(block) for block in blocks]
    content["workshop"] = {"registers": 16, "candidates": _FEW, "cycles": workshop(16, _FEW)}
    record.write_text(json.dumps(content, indent=1) + "\n")
    text = page.read_text() if page.exists() else _PAGE
    page.write_text(re.sub(
        f"({_MARKS[0]}\n).*?({_MARKS[1]})",
        lambda found: f"{found[1]}{table(blocks)}\n{found[2]}", text, flags=re.S))
    print(table(blocks))


if __name__ == "__main__":
    as_program(main)
