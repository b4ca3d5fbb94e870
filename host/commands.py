"""What each command of ``tangente`` does: one function a command, from its arguments to a code."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .cli import FAILURE, LARGE_LAYERS, UsageError
from .options import Options
from .progress import Event, Progress

__all__ = ["calibrate", "cycles", "demo", "doctor", "isa", "results", "train",
           "write_json"]

#: Test accuracy that the demo must reach.
DEMO_FLOOR = 0.93

#: Preset and layers of the data sets that Options' defaults are not for.
_LARGE = {"preset": "pynq_z2", "layers": LARGE_LAYERS}

#: Keys of the figures that are known before the first sample.
_SETTINGS = tuple(field.name for field in dataclasses.fields(Options))
#: Keys that only the end of a run brings.
_OUTCOMES = ("train_loss", "test_accuracy", "cycles", "cycles_per_sample", "clock_mhz",
             "mismatches", "saturations", "skipped", "wall_s", "cycles_per_second")


def train(args: argparse.Namespace) -> int:
    """``tangente train``."""
    options, files = _options(args), {}
    if args.waves is not None and options.device != "sim":
        raise UsageError("--waves needs --device sim: only the RTL has waveforms")
    path = args.checkpoint or args.resume
    if path is not None:
        files = {"checkpoint": path, "checkpoint_every": args.checkpoint_every,
                 "resume": args.resume}
    elif args.checkpoint_every is not None:
        raise UsageError("--checkpoint-every needs --checkpoint: the file to write")
    again = ["tangente", "train", "--resume", str(path)]
    if args.data is not None:
        again += ["--data", str(args.data)]
    return _run(options, data_dir=args.data, verify=args.verify, waves=args.waves,
                quiet=args.quiet, target=args.json, again=again, files=files)


def demo(args: argparse.Namespace) -> int:
    """``tangente demo``: fails if a bit differs or the network has not learnt."""
    options = _make(device="sim", algorithm="dpfm", registers=16, epochs=3)
    print("Training on the simulated RTL: DPFM, 16 gradient registers a neuron, "
          f"{_dashed(options.layers)}, on scikit-learn's handwritten digits.", flush=True)
    figures: dict[str, Any] = {}
    code = _run(options, data_dir=None, verify=True, waves=None, quiet=False, target=args.json,
                figures=figures)
    if code:
        return code
    if figures["test_accuracy"] < DEMO_FLOOR:
        raise RuntimeError(f"the network reached {100 * figures['test_accuracy']:.2f} % of the "
                           f"test set, less than the {100 * DEMO_FLOOR:.0f} % that it must")
    print(f"The RTL's memory and the golden model's are equal, bit for bit. Figures: {args.json}")
    return 0


def cycles(args: argparse.Namespace) -> int:
    """``tangente cycles``."""
    from .cycles import measure, predict

    options = _options(args)
    if args.batches < 1:
        raise UsageError(f"--batches must be at least 1, not {args.batches!r}")
    if args.measure or args.plot is not None:
        return _activity(args, options)
    if options.weight_registers or options.skip_below:
        # Offers and skipped batches depend on the data: some of it is trained on.
        from . import data

        report = measure(options, data.load(options.dataset, args.data))
    else:
        report = predict(options)
    if args.json != "-":
        print(report.text())
    write_json(args.json, report.to_json())
    return 0


def _activity(args: argparse.Namespace, options: Options) -> int:
    """``tangente cycles --measure`` and ``--plot``: code 1 if the golden clock differs."""
    from . import activity, data

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if args.plot is not None:
        # Missing, it is missed before minutes of measuring.
        importlib.import_module("matplotlib")
    measured = activity.measure_activity(options, data.load(options.dataset, args.data),
                                         batches=args.batches, draw=args.plot is not None,
                                         report=progress)
    if args.json != "-":
        print(measured.text())
    write_json(args.json, measured.to_json())
    if args.plot is not None:
        activity.plot(measured, args.plot)
        progress(f"wrote {args.plot}")
    return FAILURE if measured.differences else 0


def calibrate(args: argparse.Namespace) -> int:
    """``tangente calibrate``."""
    from . import data
    from .calibration import calibrate as measure
    from .targets import wanted

    options = _options(args)
    if args.measure < 1:
        raise UsageError(f"--measure must be at least 1, not {args.measure!r}")
    dataset = data.load(options.dataset, args.data)
    result = measure(options, dataset.train_images[:args.measure],
                     wanted(options, dataset.train_labels[:args.measure], dataset.classes))
    if args.json != "-":
        print(result.text())
    write_json(args.json, result.to_json())
    return 0


def doctor(args: argparse.Namespace) -> int:
    """``tangente doctor``: code 1 if something that the demo needs is missing."""
    from . import doctor as examination

    checks = examination.examine(args.data)
    if args.json != "-":
        print(examination.table(checks))
    write_json(args.json, [dataclasses.asdict(check) for check in checks])
    return FAILURE if any(check.needed and not check.found for check in checks) else 0


def results(args: argparse.Namespace) -> int:
    """``tangente results``: the recipes' figures, and README's table from them."""
    from . import recipes, reference

    with Progress() as progress:
        recipes.results(docs=args.docs, data_dir=args.data, progress=progress)
    table = reference.section((args.docs / "results.md").read_text(encoding="utf-8"), "results")
    readme = args.docs.parent / "README.md"
    readme.write_text(reference.fill(readme.read_text(encoding="utf-8"), "results", table),
                      encoding="utf-8")
    print(f"wrote {args.docs / 'results.md'} and the table of {readme}")
    return 0


def isa(args: argparse.Namespace) -> int:
    """``tangente isa``."""
    from . import reference

    pages = reference.pages()
    if args.write is None:
        print("\n".join(pages.values()), end="")
        return 0
    args.write.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (args.write / name).write_text(text, encoding="utf-8")
        print(f"wrote {args.write / name}")
    return 0


def _options(args: argparse.Namespace) -> Options:
    """The options of train or cycles; what was not given is left to Options' own defaults, or to
    the checkpoint that is resumed."""
    given = {name: getattr(args, name) for name in _SETTINGS
             if getattr(args, name, None) is not None}
    if args.preset == "auto":
        del given["preset"]
    if isinstance(given.get("scales"), Path):
        from .calibration import load_scales

        try:
            given["scales"] = load_scales(given["scales"])
        except ValueError as error:
            raise UsageError(str(error)) from error
    if getattr(args, "resume", None) is not None:
        from .checkpoint import Checkpoint

        saved = dataclasses.asdict(Checkpoint.load(args.resume).options)
        return _make(**{**saved, **given})
    if args.dataset not in (None, "digits"):
        given = {**_LARGE, **given}
    return _make(**given)


def _make(**settings: Any) -> Options:
    try:
        return Options(**settings)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _run(options: Options, *, data_dir: Path | None, verify: bool, waves: Path | None, quiet: bool,
         target: str | None, figures: dict[str, Any] | None = None,
         again: Sequence[str] = (), files: Mapping[str, Any] | None = None) -> int:
    """Train, show, write. Returns the exit code.

    ``figures`` receives the result's; ``again`` is the command that resumes; ``files`` are the
    trainer's arguments about checkpoints.
    """
    from . import data, trainer

    dataset = data.load(options.dataset, data_dir)
    figures = {} if figures is None else figures
    start = time.monotonic()
    last: list[Event] = []
    saved: Path | None = None
    with Progress() as bar, _deferred_interrupt() as interrupt:
        def progress(event: Event) -> None:
            last[:] = [event]
            if not quiet:
                bar(event)

        try:
            result = trainer.train(options, dataset, progress=progress, verify=verify, waves=waves,
                                   quiet=quiet, stop=interrupt.asked, **(files or {}))
            figures.update(result.to_json())
        except (trainer.Interrupted, KeyboardInterrupt) as error:
            figures.update(_partial(options, last, time.monotonic() - start))
            saved = getattr(error, "checkpoint", None)
            interrupt.number = interrupt.number or signal.SIGINT
    write_json(target, figures)
    if not quiet and target != "-":
        print(_summary(figures))
    code = 0
    if figures.get("interrupted"):
        code = 128 + interrupt.number
        how = "" if saved is None else f"; to go on: {shlex.join(again)}"
        print(f"tangente: interrupted{how}", file=sys.stderr)
    elif figures["mismatches"]:
        print(f"tangente: error: mismatches between {options.device} and golden: "
              f"{figures['mismatches']:,}; please report this run's options", file=sys.stderr)
        code = FAILURE
    return code


class _Interrupt:
    """A signal that asked for the end; ``number`` is 0 before it comes."""

    number = 0

    def asked(self) -> bool:
        return self.number != 0


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[_Interrupt]:
    """Ctrl-C and SIGTERM are only noted; the second one acts at once.

    What fails while one waits counts as the interruption: Ctrl-C reaches compilers, too.
    """
    interrupt = _Interrupt()

    def handler(signum: int, frame: object) -> None:
        interrupt.number = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        print("\ntangente: finishing this batch; Ctrl-C again to end at once", file=sys.stderr)

    before = {number: signal.signal(number, handler)
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    except Exception as error:
        if interrupt.asked():
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _partial(options: Options, last: list[Event], wall: float) -> dict[str, Any]:
    """The figures of an interrupted run: what is not known is None."""
    import tangente

    figures: dict[str, Any] = {name: getattr(options, name) for name in _SETTINGS}
    figures.update(dict.fromkeys(_OUTCOMES), wall_s=wall, version=tangente.__version__,
                   interrupted=True, epochs_done=0, samples_done=0)
    if last:
        event = last[0]
        figures.update(train_loss=event.loss, cycles=event.cycles,
                       cycles_per_second=event.cycles / wall if event.cycles else None,
                       samples_done=event.samples_done,
                       epochs_done=event.epoch - (event.samples_done < event.samples_total))
    return figures


def write_json(target: str | None, value: object) -> None:
    """``--json``: to a file, to the screen ("-"), or nowhere."""
    if target is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(text, encoding="utf-8")


def _dashed(layers: tuple[int, ...]) -> str:
    return "-".join(str(width) for width in layers)


def _summary(figures: dict[str, Any]) -> str:
    """The figures for a person; a figure that is not known has no line."""
    def kept(count: int | None) -> str:
        return "all" if count == 0 else str(count)

    network = f"{_dashed(figures['layers'])}, {figures['algorithm']}"
    if figures["feedback"] is not None:
        network += f" (feedback: {figures['feedback']})"
    if figures["algorithm"] == "dpfm":
        network += f", {kept(figures['registers'])} registers a neuron"
        if figures["granularity"] == "weight":
            banks = "+".join(str(bank) for bank in figures["banks"])
            network += f" (of weights, banks {banks}{', own free' if figures['own_free'] else ''})"
    if figures["loss"] != "softmax":
        network += f", loss {figures['loss']}"
    plus = f"+{figures['accumulator_bits']}" if figures["accumulator_bits"] else ""
    network += (f", {figures['bits']}{plus}-bit weights, {figures['update']} update, "
                f"batch {figures['batch']}")
    lines = [("network", network),
             ("device", f"{figures['device']}, preset {figures['preset']}, "
                        f"dataset {figures['dataset']}, seed {figures['seed']}")]
    if figures.get("interrupted"):
        lines.append(("interrupted", f"after {figures['epochs_done']} whole epochs, "
                                     f"{figures['samples_done']:,} samples into the last"))
    if figures["train_loss"] is not None:
        lines.append(("train loss", f"{figures['train_loss']:.4f}"))
    if figures["test_accuracy"] is not None:
        lines.append(("test accuracy", f"{100 * figures['test_accuracy']:.2f} %"))
    if figures["cycles"]:
        text = f"{figures['cycles']:,}"
        if figures["cycles_per_sample"] is not None:
            text += (f", {figures['cycles_per_sample']:,.1f} a sample: "
                     f"{figures['cycles_per_sample'] / figures['clock_mhz']:,.2f} µs at "
                     f"{figures['clock_mhz']:g} MHz")
        lines.append(("cycles", text))
    if figures["saturations"] is not None:
        counts = [f"{name} {count:,}" for name, count in figures["saturations"].items() if count]
        lines.append(("saturations", ", ".join(counts) or "none"))
    if figures["skip_below"] and figures["skipped"] is not None:
        lines.append(("skipped", f"{100 * figures['skipped']:.1f} % of the batches: no error "
                                 f"reached {figures['skip_below']:g}"))
    wall = f"{figures['wall_s']:.1f} s"
    if figures["cycles_per_second"]:
        wall += f", {figures['cycles_per_second'] / 1000:,.0f} k simulated cycles a second"
    lines.append(("time", wall))
    if figures["mismatches"] is not None:
        lines.append(("mismatches", f"{figures['mismatches']:,} against golden"))
    return "\n".join(f"  {name:14} {text}" for name, text in lines)
