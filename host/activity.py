"""Who works when: the RTL's counters over a training, instruction by instruction.

The counters count all cycles, or those from one tensor instruction's start to the next one's. Equal
programs on equal data take equal cycles, so the training is run again for each instruction, and
what it needs is known of every phase and unit. The golden clock must say the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tangente.golden.config import Config
from tangente.golden.counters import FIELDS, UNITS, Counter
from tangente.golden.isa import OPERANDS, Instruction, Op, Post, decode
from tangente.golden.registers import COUNTER_ONE

from .compiler import Chunk, compile_network
from .data import Dataset
from .golden_device import GoldenDevice
from .options import Options
from .session import Session, buffer_beats, ddr_bytes
from .sim_device import SimDevice
from .targets import wanted
from .trainer import CLOCK_MHZ

__all__ = ["Activity", "Step", "measure_activity", "phase", "plot"]

#: Phases, in a step's order; the first has the cycles before any tensor instruction.
PHASES = ("start", "forward", "loss", "registers", "lists", "backward", "update")
_PHASES = {Op.LOSS: "loss", Op.UPD: "update", Op.BUP: "update", Op.SCT: "update",
           Op.DRV: "registers", Op.SEL: "registers", Op.SRT: "lists", Op.TOP: "lists"}
#: Batches of which the second is drawn: nothing is drawn of the first loads.
_DRAWN = 3
#: Columns of the picture.
_COLUMNS = 700

Counts = dict[Counter, int]


def phase(instruction: Instruction) -> str:
    """The part of a training step that a tensor instruction belongs to."""
    if instruction.op in _PHASES:
        return _PHASES[instruction.op]
    return "backward" if instruction.imm & 3 == Post.DELTA else "forward"


@dataclasses.dataclass(frozen=True)
class Step:
    """One batch on the RTL, cycle by cycle.

    Members
    -------
    cycles : of the step.
    instructions : name, phase, first cycle and end of each tensor instruction, to the next one's.
    events : of each counter, what it adds in every cycle.
    """

    cycles: int
    instructions: list[tuple[str, str, int, int]]
    events: dict[Counter, npt.NDArray[np.int64]]


@dataclasses.dataclass(frozen=True)
class Activity:
    """What was counted.

    Members
    -------
    options, config : the training and the engine.
    samples : trained on.
    phases : counts of each phase that the program has.
    total : counts of all cycles.
    differences : instructions whose cycles the golden clock has otherwise.
    step : one batch, if it was recorded.
    """

    options: Options
    config: Config
    samples: int
    phases: dict[str, Counts]
    total: Counts
    differences: list[str]
    step: Step | None = None

    def to_json(self) -> dict[str, Any]:
        """Every figure, for a JSON file; units in cycles."""
        return {"samples": self.samples, "preset": self.config.name,
                "cycles_per_sample": self.total[Counter.CYCLES] / self.samples,
                "clock_mhz": CLOCK_MHZ, "golden_equal": not self.differences,
                "differences": self.differences, **_units(self.total),
                "phases": {name: _units(counts) for name, counts in self.phases.items()}}

    def text(self) -> str:
        """The report for a person."""
        cycles, layers = self.total[Counter.CYCLES], "-".join(map(str, self.options.layers))
        lines = [
            f"{layers}, {self.options.algorithm}, batch {self.options.batch}, preset "
            f"{self.config.name}, {self.samples:,} samples of {self.options.dataset}, from the "
            "RTL's counters",
            f"  {cycles / self.samples:,.1f} cycles a sample; "
            f"multipliers busy {_busy(self.total):.1%}",
            "",
            f"  {'phase':10} {'cycles a sample':>15} {'share':>7} {'multipliers':>11}  busy: "
            + " ".join(f"{name:>8}" for name in UNITS)]
        for name, counts in [*self.phases.items(), ("all", self.total)]:
            own = counts[Counter.CYCLES]
            units = " ".join(f"{counts[unit.busy] / own if own else 0:8.1%}"
                             for unit in UNITS.values())
            lines.append(f"  {name:10} {own / self.samples:15,.1f} {own / cycles:7.1%} "
                         f"{_busy(counts):11.1%}        {units}")
        lines += ["", f"  {'unit':10} {'busy':>7} {'stalled':>8} {'idle':>7}  stalled on"]
        for name, unit in UNITS.items():
            busy = self.total[unit.busy] / cycles
            stalled = {what: self.total[counter] / cycles
                       for what, counter in unit.stalled.items()}
            on = ", ".join(f"{what} {share:.1%}" for what, share in stalled.items() if share)
            lines.append(f"  {name:10} {busy:7.1%} {sum(stalled.values()):8.1%} "
                         f"{1 - busy - sum(stalled.values()):7.1%}  {on}".rstrip())
        lines += ["", "  the golden clock says the same of every instruction" if not
                  self.differences else "  the golden clock differs: " + ", ".join(
                      self.differences)]
        return "\n".join(lines)


def _busy(counts: Counts) -> float:
    """Share of the multipliers' cycles in which they multiply."""
    cycles = counts[Counter.CYCLES]
    return counts[Counter.MULTIPLIERS] / (2 * cycles) if cycles else 0.0


def _units(counts: Counts) -> dict[str, Any]:
    cycles, units = counts[Counter.CYCLES], {}
    for name, unit in UNITS.items():
        stalled = {what: counts[counter] for what, counter in unit.stalled.items()}
        units[name] = {"busy": counts[unit.busy], "stalled": stalled,
                       "idle": cycles - counts[unit.busy] - sum(stalled.values())}
    return {"cycles": cycles, "multipliers_busy": _busy(counts), "units": units}


def measure_activity(options: Options, dataset: Dataset, *, batches: int = 40, draw: bool = False,
                     report: Callable[[str], None] = lambda line: None) -> Activity:
    """Count the cycles of a training on the first batches of ``dataset``, on the simulated RTL.

    Parameters
    ----------
    options : the training.
    batches : to train on.
    draw : also record one batch.
    report : called with a line of text before each long step.

    Raises
    ------
    CapacityError
        If the network does not fit the preset.
    RuntimeError
        If the RTL cannot be compiled.
    """
    compiled = compile_network(options)
    images = dataset.train_images
    labels = wanted(options, dataset.train_labels, dataset.classes)
    samples = min(options.samples or len(images), batches * options.batch)
    assert options.lr is not None
    rate = compiled.network.scales.rate(options.lr)
    initial = compiled.network.initial()

    def tensor(count: int) -> dict[int, Instruction]:
        """The tensor instructions of the program for so many samples, by their words."""
        words = compiled.training(Chunk(count, *buffer_beats(compiled, batches)), rate)
        decoded = ((pc, decode(word)) for pc, word in enumerate(words))
        return {pc: instruction for pc, instruction in decoded
                if instruction is not None and instruction.op in OPERANDS}

    report("on the golden model")
    with GoldenDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches)) as golden:
        session = Session(compiled, golden, chunk_batches=batches)
        session.upload(*initial, options.seed)
        session.train(images[:samples], labels[:samples], rate)
        clock = golden.machine.clock
    with SimDevice(compiled.config, ddr_bytes=ddr_bytes(compiled, batches),
                   report=report) as device:
        session = Session(compiled, device, chunk_batches=batches)

        def run(count: int, pc: int | None) -> Counts:
            session.upload(*initial, options.seed)
            device.write("COUNTER_PC", 0 if pc is None else COUNTER_ONE | pc)
            device.model.record(draw)
            session.train(images[:count], labels[:count], rate)
            counts = {}
            for counter in Counter:
                device.write("COUNTER_SELECT", counter)
                counts[counter] = device.read("COUNTER")
            return counts

        report("on the RTL")
        total = run(samples, None)
        rest, differences = dict(total), []
        phases: dict[str, Counts] = {}
        program = tensor(samples)
        for number, (pc, instruction) in enumerate(program.items(), 1):
            report(f"on the RTL: {instruction.op.name}, {number} of {len(program)}")
            counts = run(samples, pc)
            own = phases.setdefault(phase(instruction), dict.fromkeys(Counter, 0))
            for counter, count in counts.items():
                own[counter] += count
                rest[counter] -= count
            expected = clock.cycles_of.get(pc, 0)
            if counts[Counter.CYCLES] != expected:
                differences.append(f"{instruction.op.name} at word {pc}: {expected:,} cycles, "
                                   f"the RTL {counts[Counter.CYCLES]:,}")
        phases["start"] = rest
        step = None
        if draw:
            report("recording a batch")
            step = _record(device, run, tensor, min(samples, _DRAWN * options.batch))
    return Activity(options, compiled.config, samples,
                    {name: phases[name] for name in PHASES if name in phases}, total, differences,
                    step)


def _record(device: SimDevice, run: Callable[[int, int | None], Counts],
            tensor: Callable[[int], dict[int, Instruction]], samples: int) -> Step:
    """The second batch of a short training, or the only one."""
    def events() -> dict[Counter, npt.NDArray[np.int64]]:
        record = device.model.recorded.astype(np.int64)
        lengths = np.diff(record[:, 0])
        return {counter: np.repeat(record[:-1, 1] >> first & (1 << bits) - 1, lengths)
                for counter, (first, bits) in FIELDS.items()}

    run(samples, None)
    whole = events()
    # What is recorded of one instruction begins where all is recorded: at the model's same cycle.
    running = np.flatnonzero(whole[Counter.CYCLES])
    first, end = int(running[0]), int(running[-1]) + 1
    spans: list[tuple[str, str, int, int]] = []
    for pc, instruction in tensor(samples).items():
        run(samples, pc)
        mine = events()[Counter.CYCLES]
        edges = np.flatnonzero(np.diff(mine, prepend=0, append=0))
        spans += [(instruction.op.name, phase(instruction), int(a), int(b))
                  for a, b in zip(edges[::2], edges[1::2])]
    spans.sort(key=lambda span: span[2])
    # A step begins where forward follows something else.
    begins = [span[2] for span, before in zip(spans, [None, *spans]) if span[1] == "forward"
              and (before is None or before[1] != "forward")]
    if len(begins) > 2:
        first, end = begins[1], begins[2]
    return Step(end - first, [(name, part, a - first, b - first) for name, part, a, b in spans
                              if first <= a < end],
                {counter: field[first:end] for counter, field in whole.items()})


def plot(activity: Activity, path: Path) -> None:
    """Draw the recorded batch: instructions above, the units' work below.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If nothing was recorded.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    step = activity.step
    if step is None:
        raise ValueError("activity must have a recorded step, not None")
    edges = np.unique(np.linspace(0, step.cycles, _COLUMNS + 1).astype(int))
    widths = np.diff(edges)

    def shares(counters: list[Counter]) -> npt.NDArray[np.float64]:
        total = sum((step.events[counter] for counter in counters),
                    np.zeros(step.cycles, np.int64))
        return np.add.reduceat(total, edges[:-1]) / widths

    rows: list[tuple[str, list[Counter], list[Counter], int]] = [
        ("multipliers", [Counter.MULTIPLIERS], [], 2)]
    rows += [(name, [unit.busy], list(unit.stalled.values()), 1) for name, unit in UNITS.items()]
    figure, axes = plt.subplots(figsize=(12, 6), layout="constrained")
    pastel = plt.get_cmap("Pastel1")
    colours: dict[str, Any] = {part: pastel(number) for number, part in enumerate(PHASES)}
    for name, part, first, end in step.instructions:
        axes.broken_barh([(first, end - first)], (len(rows) + 0.1, 0.8), color=colours[part],
                         edgecolor="white", linewidth=0.5)
        if end - first > step.cycles / 40:
            axes.text((first + end) / 2, len(rows) + 0.5, name, ha="center", va="center",
                      fontsize=7)
    for place, (_, busy, stalled, most) in enumerate(reversed(rows)):
        work, wait = shares(busy) / most, shares(stalled)
        for low, high, colour in ((0 * work, work, "tab:blue"), (work, work + wait, "tab:red")):
            axes.fill_between(edges, place + 0.1 + 0.8 * np.append(low, low[-1]),
                              place + 0.1 + 0.8 * np.append(high, high[-1]), color=colour,
                              step="post", linewidth=0)
    axes.set_yticks(np.arange(len(rows) + 1) + 0.5, [*(row[0] for row in reversed(rows)),
                                                     "instruction"])
    axes.set(xlim=(0, step.cycles), ylim=(0, len(rows) + 1), xlabel="clock cycle of one step")
    parts = [part for part in PHASES if any(span[1] == part for span in step.instructions)]
    shown: dict[str, Any] = {"busy": "tab:blue", "stalled": "tab:red",
                             **{part: colours[part] for part in parts}}
    axes.legend([Patch(color=colour) for colour in shown.values()], list(shown),
                ncols=len(shown), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False,
                fontsize=8)
    layers = "-".join(map(str, activity.options.layers))
    axes.set_title(f"{layers}, {activity.options.algorithm}, batch {activity.options.batch}, "
                   f"{activity.config.name}: {step.cycles:,} cycles, multipliers busy "
                   f"{step.events[Counter.MULTIPLIERS].mean() / 2:.0%}", pad=24, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
