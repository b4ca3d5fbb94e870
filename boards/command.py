"""``tangente synth``: its grammar, and what it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tangente.golden.config import PRESETS, preset

__all__ = ["NAME", "TOOLCHAINS", "add", "run"]

NAME = "synth"
#: What measures; Vivado and an open bitstream flow have room here.
TOOLCHAINS = ("yosys",)

_EPILOG = """\
examples:
  tangente synth                                     every block of pynq_z2
  tangente synth --preset tiny --block Issue --block Drain
  tangente synth --json area.json                    or - for the screen
  tangente synth --whole                             also the accelerator as one design
  tangente synth --write docs                        area.json, its history, architecture.md

A block is synthesised by itself, and what lies between the blocks with boxes in their places; a
block that grows by the lane is measured with a few lanes and the line carried on, unless
--all-lanes is given. A path runs from register to register; its LUTs and its bits of carry chain
are counted (F7 and F8 multiplexers lie in a LUT's slice), and which is the longest says an estimate
in ns, with 0.6 ns for every net: placement decides.

The Verilog that was measured lies in build/synth/PRESET; it passes verilator --lint-only -Wall with
the waivers of boards/lint.vlt. What was measured is kept there until its sources change: a second
look is free, and Ctrl-C loses nothing that is finished.
"""


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command's parser and return it."""
    synth: argparse.ArgumentParser = commands.add_parser(
        NAME, help="measure area and longest paths, and whether they fit the part",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Synthesise every block: LUT, FF, DSP48E1 and BRAM36 against the part's "
        "limits, and the longest path of each.", epilog=_EPILOG)
    synth.add_argument("--preset", choices=tuple(PRESETS), default="pynq_z2",
                       help="the engine's size; default: %(default)s")
    synth.add_argument("--toolchain", choices=TOOLCHAINS, default=TOOLCHAINS[0],
                       help="what measures; default: %(default)s")
    synth.add_argument("--block", action="append", default=[], metavar="NAME",
                       help="measure only this block; may be given again")
    synth.add_argument("--whole", action="store_true",
                       help="also measure the accelerator as one design: its area is the total, "
                            "its paths cross blocks (pynq_z2: an hour)")
    synth.add_argument("--all-lanes", action="store_true",
                       help="measure the blocks that grow by the lane with all lanes (minutes)")
    synth.add_argument("--refresh", action="store_true",
                       help="measure again what is known already")
    synth.add_argument("--write", type=Path, metavar="DIR",
                       help="write area.json, area_history.json and the table of architecture.md "
                            "there")
    synth.add_argument("--label", metavar="TEXT",
                       help="what the history calls this state; default: the last commit's subject")
    return synth


def run(args: argparse.Namespace, write_json: Callable[[str | None, object], None]) -> int:
    """Do it.

    Raises
    ------
    argparse.ArgumentError
        If the arguments do not go together.
    """
    # Only this command needs the gateware, which takes a second to import.
    from . import report
    from .blocks import PARTS
    from .synth import synthesise

    names = [block.name for block in PARTS]
    for name in args.block:
        if name not in names:
            raise argparse.ArgumentError(
                None, f"--block must be one of {', '.join(names)}, not {name!r}")
    if args.block and args.write is not None:
        raise argparse.ArgumentError(None, "--write needs every block: leave --block away")
    if args.label is not None and args.write is None:
        raise argparse.ArgumentError(None, "--label needs --write: the history that it goes to")

    def progress(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        result = synthesise(preset(args.preset), blocks=args.block, whole=args.whole,
                            all_lanes=args.all_lanes, refresh=args.refresh, report=progress)
    except KeyboardInterrupt:
        progress("tangente: the finished blocks are kept; the same command goes on from there")
        raise
    if args.json != "-":
        print(report.text(result))
    write_json(args.json, result.to_json())
    if args.write is not None:
        label = args.label or report.last_commit(args.write)
        for path in report.write_docs(result, args.write, label):
            print(f"wrote {path}", file=sys.stderr)
    return 0
