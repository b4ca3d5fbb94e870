"""The reference pages docs/isa.md and docs/registers.md, from golden; marked sections of pages."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterable, Sequence

from tangente.golden import isa, registers
from tangente.golden.counters import Counter

__all__ = ["fill", "pages", "section"]

_NOTE = ("<!-- Generated from golden/ by `make docs` (`tangente isa --write docs`). Do not edit: a "
         "test compares. -->\n")


def pages() -> dict[str, str]:
    """File name to text of the generated pages."""
    return {"isa.md": _isa_page(), "registers.md": _register_page()}


def section(text: str, name: str) -> str:
    """What stands between ``<!-- name:begin -->`` and ``<!-- name:end -->`` in ``text``.

    Raises
    ------
    ValueError
        If the marks are not there.
    """
    start, end = _bounds(text, name)
    return text[start:end]


def fill(text: str, name: str, content: str) -> str:
    """``text`` with the marked section ``name`` replaced by ``content``."""
    start, end = _bounds(text, name)
    return text[:start] + content + text[end:]


def _bounds(text: str, name: str) -> tuple[int, int]:
    match = re.search(rf"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", text, re.DOTALL)
    if match is None:
        raise ValueError(f"the page has no section between <!-- {name}:begin --> and "
                         f"<!-- {name}:end -->")
    return match.span(1)


def _docs(kind: type[enum.Enum]) -> dict[str, str]:
    """The ``#:`` comment of each member: golden's own words, which stand once."""
    found = re.findall(r"^ +(\w+) = .*?#: (.*(?:\n +#: .*)*)$", inspect.getsource(kind),
                       re.MULTILINE)
    docs = {name: re.sub(r"\s*\n +#: ", " ", text).replace("``", "`").strip()
            for name, text in found}
    # Only R0 to R7 have none.
    return {**dict.fromkeys(kind.__members__, "free for the program"), **docs}


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
                     for line in lines) + "\n"


def _members(kind: type[enum.IntEnum] | type[enum.IntFlag], head: str, form: str) -> str:
    docs = _docs(kind)
    return _table((head, "name", "meaning"),
                  [(format(int(member), form), f"`{name}`", docs[name])
                   for name, member in kind.__members__.items()])


def _names(members: Iterable[enum.Enum]) -> str:
    return ", ".join(f"`{member.name}`" for member in members) or "none"


def _isa_page() -> str:
    flags = []
    for op, mask in isa.FLAGS.items():
        if op in (isa.Op.LOAD, isa.Op.STORE):
            names = "a space, in bits 2:0"
        else:
            names = _names(flag for flag in isa.Flag if mask & flag)
        flags.append((f"`{op.name}`", names))
    operands = [(f"`{op.name}`", *(_names(group) for group in groups))
                for op, groups in isa.OPERANDS.items()]
    return "\n".join((
        "# The instruction set", _NOTE,
        f"Version {isa.VERSION}. An instruction is 32 bits: `op[31:26] rd[25:20] imm[19:0]`. There "
        f"are 64 registers of {isa.REGISTER_BITS} bits. Scalar instructions change registers; a "
        "tensor instruction reads the descriptor registers and its own flags in `imm`. What does "
        "not exist, or makes no sense, halts with a cause.\n",
        "## Instructions\n", _members(isa.Op, "op", "#04x"),
        "## Registers\n", _members(isa.Reg, "number", "d"),
        "## Flags of tensor instructions\n",
        "A flag that an instruction does not use must be zero.\n",
        _members(isa.Flag, "bit", "#05x"), _table(("instruction", "flags"), flags),
        "## Ranges of operands\n",
        "Beyond them the engine halts with cause OPERAND, whether or not the flags make use of the "
        f"register. {_names(isa.FORMATTED)} also need weights of a format: 2 <= `CODE_BITS` <= 16, "
        "`ACC_BITS` <= 12, and together at most 16 bits.\n",
        _table(("instruction", "1 to 4095", "below 65536", "below 32"), operands),
        "## What post-processing makes of a sum\n", _members(isa.Post, "code", "d"),
        "## Spaces of LOAD and STORE\n", _members(isa.Space, "space", "d"),
        "## Causes of a halt\n", _members(isa.Cause, "cause", "d")))


def _register_page() -> str:
    rows = []
    for register in registers.REGISTERS:
        last = register.address + 4 * (register.words - 1)
        where = f"0x{register.address:02X}" + (f" to 0x{last:02X}" if register.words > 1 else "")
        rows.append((where, f"`{register.name}`", register.access.value, register.doc))
    end = (1 << registers.ADDRESS_BITS) - 1
    return "\n".join((
        "# The registers", _NOTE,
        "AXI-Lite, byte addresses, 32 bits each. Of two words the lower address is the less "
        "significant. A write to a read-only register is answered SLVERR.\n",
        _table(("address", "name", "access", "meaning"), rows),
        f"`0x{registers.PROGRAM_WINDOW:04X}` to `0x{end:04X}` is the instruction memory, 32-bit "
        "words, write-only.\n",
        "## Bits of CONTROL\n", _members(registers.Control, "value", "d"),
        "## Bits of STATUS\n", _members(registers.Status, "value", "d"),
        "## Counters\n",
        "Register `COUNTER` shows the one whose number is in `COUNTER_SELECT`: in how many cycles "
        "it was so that\n", _members(Counter, "number", "d")))
