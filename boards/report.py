"""A synthesis for a person: on the screen, and in docs/ with how it moved."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .synth import Synthesis

__all__ = ["docs_section", "last_commit", "text", "write_docs"]

#: A register's input may lie behind so many LUTs, or so many bits of one carry chain.
MOST_LUTS, MOST_CARRY = 8, 48
_NAMES = {"lut": "LUT", "ff": "FF", "dsp": "DSP48E1", "bram36": "BRAM36"}
_MARKS = ("<!-- area:begin -->\n", "<!-- area:end -->")


def text(result: Synthesis) -> str:
    """The figures of ``tangente synth``."""
    data = result.to_json()
    width = max([len(name) for name in data["blocks"]] + [len("sum of the blocks")])
    lines = [f"{data['preset']} by {data['toolchain']} {data['version']}",
             f"  {'':{width}} {'LUT':>7} {'FF':>7} {'DSP':>4} {'BRAM36':>6}  "
             "longest path from register to register"]
    rows = list(data["blocks"].items())
    if data["whole"] is not None:
        rows.append(("accelerator", data["whole"]))
    for name, block in rows:
        lines.append(f"  {name:{width}} {_figures(block)}  {_path(block)}".rstrip())
    if data["total_of"] != "accelerator":
        lines.append(f"  {'sum of the blocks':{width}} {_figures(data)}")
    limits, share = data["limits"], data["share"]
    lines.append(f"  {'may be used':{width}} {_figures(limits)}")
    lines.append("  of the " + data["part"]["name"] + ": " + ", ".join(
        f"{_NAMES[name]} {share[name]:.0%} of at most {data['part']['shares'][name]:.0%}"
        for name in limits))
    over = [f"{_NAMES[name]} {data[name]:,.10g} of {limits[name]:,}" for name in limits
            if data[name] > limits[name]]
    verdict = "not all blocks were measured" if data["fits"] is None else (
        f"does not fit: {', '.join(over)}" if over else "fits")
    lines.append(f"  {verdict}")
    deep = _deep(data)
    if deep:
        lines.append(f"  deeper than {MOST_LUTS} LUTs or {MOST_CARRY} carry bits: "
                     + ", ".join(deep))
    lines += [f"  {name}: {block['how']}" for name, block in rows if block["how"]]
    unregistered = [f"{name} {block['unregistered_dsp']}" for name, block in rows
                    if block["unregistered_dsp"]]
    if unregistered:
        lines.append("  DSP48E1 without a register in every stage: " + ", ".join(unregistered))
    return "\n".join(lines)


def _figures(figures: dict[str, Any]) -> str:
    return (f"{figures['lut']:>7,} {figures['ff']:>7,} {figures['dsp']:>4} "
            f"{figures['bram36']:>6.5g}")


def _path(block: dict[str, Any]) -> str:
    path = block["longest_path"]
    if path is None:
        return ""
    carry = f" + {path['carry_bits']} carry bits" if path["carry_bits"] else ""
    return f"{path['luts']} LUTs{carry}, {path['ns']:.1f} ns: {path['from']} to {path['to']}"


def _deep(data: dict[str, Any]) -> list[str]:
    """Blocks with a path that breaks the rule of the house."""
    return [f"{name} ({block['most_luts']} LUTs, {block['most_carry']} carry bits)"
            for name, block in data["blocks"].items()
            if block["most_luts"] > MOST_LUTS or block["most_carry"] > MOST_CARRY]


def last_commit(root: Path) -> str:
    """Subject of the last commit of the project's clone: what the figures are labelled with.

    Raises
    ------
    RuntimeError
        If git or its history is missing.
    """
    try:
        return subprocess.run(["git", "log", "-1", "--format=%s"], cwd=root, check=True, text=True,
                              capture_output=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise RuntimeError(f"{root} has no git history to label the figures with; "
                           "give --label TEXT") from None


def write_docs(result: Synthesis, docs: Path, label: str) -> list[Path]:
    """Write area.json, area_history.json and the table of architecture.md; returns their paths.

    The history keeps one entry a label: measuring twice replaces the first.
    """
    figures, history = docs / "area.json", docs / "area_history.json"
    page = docs / "architecture.md"
    data = result.to_json()
    entries = [entry for entry in json.loads(history.read_text() if history.is_file() else "[]")
               if entry["label"] != label]
    entries.append({"label": label, **{name: data[name] for name in _NAMES}, "blocks": {
        name: {field: block[field] for field in _NAMES} for name, block in data["blocks"].items()}})
    figures.write_text(json.dumps(data, indent=1) + "\n")
    history.write_text(json.dumps(entries, indent=1) + "\n")
    before, mark, rest = page.read_text().partition(_MARKS[0])
    _, end, after = rest.partition(_MARKS[1])
    if not mark or not end:
        raise RuntimeError(f"{page} has no place for the table: it needs the lines "
                           f"{_MARKS[0].strip()} and {_MARKS[1]}")
    page.write_text(before + mark + docs_section(data, entries) + "\n" + end + after)
    return [figures, history, page]


def docs_section(data: dict[str, Any], history: list[dict[str, Any]]) -> str:
    """Markdown of area.json and area_history.json."""
    lines = ["| block | LUT | FF | DSP48E1 | BRAM36 | longest path |",
             "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, block in data["blocks"].items():
        path, shown = block["longest_path"], ""
        if path is not None:
            carry = f" + {path['carry_bits']} carry bits" if path["carry_bits"] else ""
            shown = f"{path['luts']} LUTs{carry}"
        lines.append(f"| {name} | {_cells(block)} | {shown} |")
    lines.append(f"| **{data['total_of']}** | {_cells(data)} | |")
    lines.append(f"| of the {data['part']['name']} | "
                 + " | ".join(f"{data['share'][name]:.0%}" for name in _NAMES) + " | |")
    lines += ["", "How it moved:", "", "| after | LUT | FF | DSP48E1 | BRAM36 |",
              "| --- | ---: | ---: | ---: | ---: |"]
    lines += [f"| {entry['label']} | {_cells(entry)} |" for entry in history]
    return "\n".join(lines)


def _cells(figures: dict[str, Any]) -> str:
    return (f"{figures['lut']:,.0f} | {figures['ff']:,.0f} | {figures['dsp']:,.0f} | "
            f"{figures['bram36']:,.1f}")
