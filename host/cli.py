"""The command line: ``tangente``. This file is its grammar; host/commands.py does the work.

Commands that need what the host does not know are added from above, by tangente/__main__.py.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from tangente.golden.config import PRESETS

from .data import DATASETS
from .options import (
    ALGORITHMS,
    DEVICES,
    FEEDBACKS,
    LOSSES,
    UPDATES,
    Options,
)

__all__ = ["Command", "UsageError", "main", "make_parser"]

#: Layers for MNIST and Fashion-MNIST where none are given.
LARGE_LAYERS = (784, 100, 100, 10)

#: Exit codes, beside 0: a failure, a wrong command line, Ctrl-C (128 + SIGINT; SIGTERM: 143).
FAILURE, USAGE, INTERRUPTED = 1, 2, 130

_EPILOG = """\
a first tour:
  tangente doctor                     what is installed, what is missing and what that costs
  tangente demo                       train on the simulated RTL, compare every bit with golden
  tangente train                      the digits, on the NumPy model: seconds
  tangente train --dataset mnist --epochs 5 --verify --device sim
  tangente cycles --dataset mnist --layers 784-100-100-10
  tangente synth --block Issue        its area and longest path

`tangente COMMAND --help` says more of each.
"""

_TRAIN_EPILOG = """\
examples:
  tangente train --registers 4                       DPFM, four gradient registers a neuron
  tangente train --algorithm bp --epochs 3           backpropagation
  tangente train --algorithm fa --feedback lfsr      feedback alignment with no matrix stored
  tangente train --device sim --verify               on the RTL, every bit compared
  tangente train --device sim --samples 20 --waves run.vcd
  tangente train --granularity weight --banks 12,4   the original's registers: one a weight
  tangente train --dataset mnist --layers 784-100-100-10 --registers 16 --json run.json
  tangente train --dataset mnist --algorithm bp --bits 2 --accumulator-bits 5 \\
      --update event --batch 32 --epochs 5

  tangente train --dataset mnist --epochs 5 --checkpoint run.npz
  tangente train --resume run.npz                    the options are the checkpoint's

Every device gives equal bits: golden runs the program in NumPy, sim on the compiled RTL.
Ctrl-C (or SIGTERM) ends the run after its present batch, with a checkpoint if one was asked for,
and still writes --json; twice ends it at once. A run that was interrupted or killed and resumed,
also on the other device, ends in the same bits as one that was not.
"""

_CYCLES_EPILOG = """\
examples:
  tangente cycles                                    the demo's network
  tangente cycles --dataset mnist --algorithm bp --layers 784-100-100-10 --batch 10
  tangente cycles --algorithm bp --measure           who is busy, stalled on what, idle
  tangente cycles --algorithm bp --plot step.png     who works when

The figure equals what the simulated RTL counts, cycle for cycle.
"""


_CALIBRATE_EPILOG = """\
examples:
  tangente calibrate --dataset mnist --json scales.json
  tangente train --dataset mnist --scales scales.json     after a look at the file, or a change

Each layer has [gain, fraction bits of its activations, of its errors]: weights reach 2^gain,
elements of 9 bits with f fraction bits reach 2^(8 - f). `tangente train` counts what saturates.
"""


class UsageError(ValueError):
    """A wrong command line; the message says what to write instead."""


class Command(Protocol):
    """A command that something above the host adds: a module will do."""

    #: What is typed.
    NAME: str

    def add(self, commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
        """Add and return its parser; it gets ``--json``."""

    def run(self, args: argparse.Namespace,
            write_json: Callable[[str | None, object], None]) -> int:
        """Do it and return the exit code. Raises :class:`argparse.ArgumentError` if what was typed
        is wrong."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"tangente: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(USAGE)


def _dashed(layers: tuple[int, ...]) -> str:
    return "-".join(str(width) for width in layers)


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", "-").split("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be widths joined by dashes, such as 64-32-10, not {text!r}") from None


def _registers(text: str) -> int:
    """A count, or "all", which the program counts as 0."""
    if text == "all":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f'must be a number from 1 on or "all", not {text!r}')
    return int(text)


def _banks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be counts joined by commas, such as 12,4, not {text!r}") from None


def _add_network(parser: argparse.ArgumentParser) -> None:
    """The options that say what is trained, and how: one set for train and cycles.

    An option that is not given is left to the defaults of Options.
    """
    group = parser.add_argument_group("the network and its training")

    def add(flag: str, says: str, **kind: Any) -> None:
        default = getattr(Options, flag[2:].replace("-", "_"))
        if default is not None:
            says += f"; default: {default}"
        group.add_argument(flag, help=says, **kind)

    group.add_argument("--preset", choices=("auto", *PRESETS), default="auto",
                       help="the engine's size; auto: digits for digits, else pynq_z2")
    group.add_argument("--dataset", choices=DATASETS,
                       help=f"default: {Options.dataset}, which needs no download")
    group.add_argument("--layers", type=_layers, metavar="N-N-…",
                       help="widths from inputs to outputs; default: "
                            f"{_dashed(Options.layers)} for digits, else {_dashed(LARGE_LAYERS)}")
    add("--algorithm", "forward-mode with gradient registers, backpropagation, or feedback "
        "alignment", choices=ALGORITHMS)
    add("--feedback", "where feedback alignment's fixed matrices are: in memory (fa's default), or "
        "made by the random generator", choices=FEEDBACKS)
    add("--registers", "gradient registers a neuron keeps (dpfm), or all", type=_registers,
        metavar="K")
    add("--output-registers", "the same for the output neurons, else as --registers",
        type=_registers, metavar="K")
    add("--granularity", "what a register's id is: a neuron, or a weight", choices=("neuron",
                                                                                     "weight"))
    add("--banks", "registers for derivatives by the first layer's weights, the second's, ...; the "
        "last are for all other layers (weight); else three quarters and the rest", type=_banks,
        metavar="N,N…")
    add("--own-free", "derivatives by a neuron's own weights take no register (weight)",
        action=argparse.BooleanOptionalAction, default=None)
    add("--quantisation", "codes odd about zero, or 2^n levels without a zero",
        choices=("symm", "asymm"))
    add("--bits", "bits of a weight's code, 2 to 16", type=int, metavar="N")
    add("--accumulator-bits", "bits of the accumulator beside it (event), or below it (master)",
        type=int, metavar="M")
    add("--update", "rounded to nearest or at random, events of a carried accumulator, or a master "
        "of more bits", choices=UPDATES)
    add("--skip-below", "learn only from batches whose largest output error, 0 to 1, is no smaller",
        type=float, metavar="E")
    add("--activation", "of the hidden layers", choices=("relu", "sigmoid"))
    add("--loss", "softmax with cross-entropy, or mean squared error of linear outputs: one a "
        "class, or one for all", choices=LOSSES)
    group.add_argument("--scales", type=Path, metavar="FILE",
                       help="where the binary points stand: a file of tangente calibrate --json, "
                            "to be edited at will; default: the table in host/scales.py")
    add("--batch", "samples an update", type=int, metavar="N")
    add("--lr", "learning rate of a batch's mean gradient, else the recipe's (by "
        "weight bits; less for batches of less than ten)", type=float, metavar="RATE")
    add("--lr-decay", "last part of the run, 0 to 1, in which the rate falls to zero, else the "
        "recipe's", type=float, metavar="PART")
    add("--epochs", "passes over the training set", type=int, metavar="N")
    add("--samples", "training samples an epoch, else all", type=int, metavar="N")
    add("--test-samples", "test samples, else all (sim: at most 1,000)", type=int, metavar="N")
    add("--seed", "of weights, order and random rounding: equal seeds, equal bits", type=int,
        metavar="N")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help='write the figures there; "-" is the screen')


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="folder with the MNIST files; else TANGENTE_DATA, cache, download")


def make_parser(more: Sequence[Command] = ()) -> argparse.ArgumentParser:
    """The parser of the whole command line, with ``more`` commands."""
    import tangente

    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="tangente", formatter_class=raw, epilog=_EPILOG, description=(
        "Train small neural networks inside an FPGA, or on its bit-exact models."))
    parser.add_argument("--version", action="version", version=f"tangente {tangente.__version__}")
    parser.add_argument("--traceback", action="store_true",
                        help="show where an error arose, for a report")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a network", formatter_class=raw,
                                description="Train a network and test it.", epilog=_TRAIN_EPILOG)
    train.add_argument("--device", choices=DEVICES,
                       help="what runs the program: NumPy, or the compiled RTL; default: "
                            f"{Options.device}")
    _add_network(train)
    _add_data(train)
    train.add_argument("--verify", action="store_true",
                       help="compare every weight, accumulator and bias with golden's at the end")
    train.add_argument("--waves", type=Path, metavar="FILE",
                       help="write waveforms there (sim): use few --samples")
    train.add_argument("--checkpoint", type=Path, metavar="FILE",
                       help="write the state there, at the end of parts of an epoch and at the "
                            "training's end; default: the file that is resumed")
    train.add_argument("--checkpoint-every", type=int, metavar="N",
                       help="parts (an epoch has 32) from one checkpoint to the next, else as few "
                            "as ten seconds take")
    train.add_argument("--resume", type=Path, metavar="FILE",
                       help="go on from a checkpoint, with its options")
    train.add_argument("--quiet", action="store_true", help="no progress, no summary")
    _add_output(train)

    demo = commands.add_parser(
        "demo", help="train on the simulated RTL and compare every bit",
        description="Train the digits with DPFM (16 neuron registers) on the simulated RTL, "
        "compare every weight, accumulator and bias with the golden model, and test.")
    demo.add_argument("--json", metavar="FILE", default="build/demo.json",
                      help="where the figures go; default: %(default)s")

    calibrate = commands.add_parser(
        "calibrate", help="measure where the binary points should stand", formatter_class=raw,
        description="Measure weights, activations and errors of a network on some samples, and "
        "choose each layer's gain and fraction bits; beside them, the table's.",
        epilog=_CALIBRATE_EPILOG)
    _add_network(calibrate)
    _add_data(calibrate)
    calibrate.add_argument("--measure", type=int, default=500, metavar="N",
                           help="training samples to measure; default: %(default)s")
    _add_output(calibrate)

    cycles = commands.add_parser(
        "cycles", help="predict the clock cycles of a training step", formatter_class=raw,
        description="Predict the cycles of a training step, the roof that the multipliers set, and "
        "how much of it is used.", epilog=_CYCLES_EPILOG)
    _add_network(cycles)
    _add_data(cycles)
    cycles.add_argument("--measure", action="store_true",
                        help="train some batches on the simulated RTL and read its counters: who "
                             "is busy, stalled and idle in each phase")
    cycles.add_argument("--batches", type=int, default=40, metavar="N",
                        help="batches to measure; default: %(default)s")
    cycles.add_argument("--plot", type=Path, metavar="FILE",
                        help="draw who works when in one step, from the simulated RTL (png, pdf, "
                             "svg)")
    _add_output(cycles)

    doctor = commands.add_parser(
        "doctor", help="say what is installed, what is missing and what that costs",
        description="Look for every tool, package and data set that tangente can use. Exit code 1 "
        "if the demo could not run.")
    _add_data(doctor)
    _add_output(doctor)

    results = commands.add_parser(
        "results", help="train every recipe anew and write docs/results.md",
        description="Train the recipes of docs/results.md with their seeds, and write its table "
        "and README's.")
    _add_data(results)
    results.add_argument("--docs", type=Path, metavar="DIR", default=Path("docs"),
                         help="folder of results.md; default: %(default)s")

    isa = commands.add_parser(
        "isa", help="print the instruction set and the register map",
        description="Print the reference of the instructions and of the registers, from golden.")
    isa.add_argument("--write", type=Path, metavar="DIR",
                     help="write isa.md and registers.md there instead")
    for command in more:
        _add_output(command.add(commands))
    return parser


def main(argv: Sequence[str] | None = None, more: Sequence[Command] = ()) -> int:
    """Run ``tangente`` with ``argv`` (the process's own by default) and return its exit code.

    ``more`` are commands that the host does not know.

    An error is one line on standard error that names the cause and the cure: code 2 for a wrong
    command line, 1 for a failure, 130 after Ctrl-C.
    """
    from . import commands

    args = make_parser(more).parse_args(argv)
    others = {command.NAME: command for command in more}
    try:
        code: int = (others[args.command].run(args, commands.write_json)
                     if args.command in others else getattr(commands, args.command)(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("tangente: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`tangente isa | head`): let Python's own last flush go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except (argparse.ArgumentError, OSError, RuntimeError, ValueError, ImportError) as error:
        if args.traceback:
            traceback.print_exc()
        print(f"tangente: error: {_message(error)}", file=sys.stderr)
        return USAGE if isinstance(error, (UsageError, argparse.ArgumentError)) else FAILURE


def _message(error: Exception) -> str:
    """The error on one line, with a cure where Python's own message has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        return f"{text}; `tangente doctor` says how to install what is missing"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return text


if __name__ == "__main__":
    raise SystemExit(main())
