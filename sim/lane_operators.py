"""Yosys's cells as C++ that a compiler makes vectors of: expressions of unsigned numbers.

An operand or a result of up to 32 bits is a ``u32``, of up to 64 a ``u64``, whose upper bits are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["OPERATORS", "Operator", "Reader", "Unsupported", "choose", "folded", "kind_of",
           "literal", "mask", "same"]


class Unsupported(Exception):
    """The module has something that is not translated."""


class Reader(Protocol):
    """What reads a cell's operands."""

    def read(self, bits: list) -> str:
        """``bits``, the lowest first."""

    def extended(self, cell: dict, name: str, width: int, signed: bool | None = None) -> str:
        """Operand ``name``, ``width`` wide."""

    def signed(self, cell: dict, name: str, width: int) -> str:
        """Operand ``name`` as a signed number of at least ``width`` bits."""


#: Of a cell with a result of so many bits: the expression.
Operator = Callable[[Reader, dict, int], str]


def kind_of(width: int) -> str:
    """The C++ type of so many bits, at most 64."""
    return "u64" if width > 32 else "u32"


def folded(text: str, width: int) -> str:
    """Something in 32 bits that is zero where ``text`` is."""
    return f"u32({text} | ({text} >> 32))" if width > 32 else text


def literal(value: int, wide: bool) -> str:
    """``value`` in C++, of 64 bits if it is ``wide``, else of 32."""
    return f"0x{value:x}{'ULL' if wide else 'U'}"


def mask(width: int) -> str:
    """So many ones in C++."""
    return literal((1 << width) - 1, width > 32)


def _trimmed(text: str, width: int) -> str:
    """``text``, of which only ``width`` bits count."""
    return text if width in (32, 64) else f"({text}) & {mask(width)}"


def _size(cell: dict) -> int:
    """Bits of the wider operand."""
    return max(len(cell["connections"][name]) for name in "AB")


def _bitwise(symbol: str, inverted: bool = False) -> Operator:
    def write(nets: Reader, cell: dict, width: int) -> str:
        text = f"{nets.extended(cell, 'A', width)} {symbol} {nets.extended(cell, 'B', width)}"
        return _trimmed(f"~({text})", width) if inverted else text
    return write


def _arithmetic(symbol: str) -> Operator:
    def write(nets: Reader, cell: dict, width: int) -> str:
        signed = all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB")
        return _trimmed(f"{nets.extended(cell, 'A', width, signed)} {symbol} "
                        f"{nets.extended(cell, 'B', width, signed)}", width)
    return write


def _multiply(nets: Reader, cell: dict, width: int) -> str:
    if all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB"):
        product = f"u64({nets.signed(cell, 'A', 64)} * {nets.signed(cell, 'B', 64)})"
        return f"{kind_of(width)}({_trimmed(product, width)})"
    raise Unsupported


def _compare(symbol: str) -> Operator:
    def write(nets: Reader, cell: dict, width: int) -> str:
        size = _size(cell)
        if all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB"):
            return f"{nets.signed(cell, 'A', size)} {symbol} {nets.signed(cell, 'B', size)}"
        left, right = (nets.extended(cell, name, size, False) for name in "AB")
        return f"{left} {symbol} {right}"
    return write


def _equal(nets: Reader, cell: dict, width: int) -> str:
    return f"1U ^ ({_unequal(nets, cell, width)})"


def _unequal(nets: Reader, cell: dict, width: int) -> str:
    size = _size(cell)
    return _carry(f"({nets.extended(cell, 'A', size)} ^ {nets.extended(cell, 'B', size)})", size)


def _carry(text: str, width: int) -> str:
    """Whether ``text`` is not zero, as a number and without a comparison.

    The compiler makes a table of two comparisons with one value, and then no vector.
    """
    if width == 1:
        return text
    if width in (32, 64):
        return f"u32(({text} | ({literal(0, width > 32)} - {text})) >> {width - 1})"
    return f"u32(({text} + {mask(width)}) >> {width})"


def _not(nets: Reader, cell: dict, width: int) -> str:
    return _trimmed(f"~{nets.extended(cell, 'A', width)}", width)


def _negate(nets: Reader, cell: dict, width: int) -> str:
    return _trimmed(f"{literal(0, width > 32)} - {nets.extended(cell, 'A', width)}", width)


def same(text: str, number: int) -> str:
    """Whether ``text``, of less than 31 bits, is ``number``."""
    return f"((({text} ^ {number}U) - 1U) >> 31)"


def _any(nets: Reader, cell: dict, width: int) -> str:
    bits = cell["connections"]["A"]
    return _carry(nets.read(bits), len(bits))


def _none(nets: Reader, cell: dict, width: int) -> str:
    return f"1U ^ ({_any(nets, cell, width)})"


def _all(nets: Reader, cell: dict, width: int) -> str:
    bits = cell["connections"]["A"]
    return f"1U ^ ({_carry(f'({nets.read(bits)} ^ {mask(len(bits))})', len(bits))})"


def _parity(nets: Reader, cell: dict, width: int) -> str:
    return f"parity({nets.read(cell['connections']['A'])})"


def choose(select: str, high: str, low: str, width: int) -> str:
    """One of two by masks, which every vector unit has."""
    kind = kind_of(width)
    if width == 1:
        return f"({select} & {high}) | (~{select} & {low} & 1U)"
    return f"{low} ^ (({low} ^ {high}) & ({kind}(0) - {kind}({select})))"


def _mux(nets: Reader, cell: dict, width: int) -> str:
    high, low, select = (nets.read(cell["connections"][name]) for name in "BAS")
    return choose(select, high, low, width)


def _muxes(nets: Reader, cell: dict, width: int) -> str:
    bits = cell["connections"]
    text = nets.read(bits["A"])
    for index, select in enumerate(bits["S"]):
        part = bits["B"][index * width:index * width + width]
        text = f"({choose(nets.read([select]), nets.read(part), text, width)})"
    return text


#: By Yosys's name of the cell.
OPERATORS: dict[str, Operator] = {
    "$and": _bitwise("&"), "$or": _bitwise("|"), "$xor": _bitwise("^"),
    "$xnor": _bitwise("^", inverted=True), "$not": _not, "$neg": _negate,
    "$add": _arithmetic("+"), "$sub": _arithmetic("-"), "$mul": _multiply,
    "$eq": _equal, "$ne": _unequal, "$lt": _compare("<"), "$le": _compare("<="),
    "$gt": _compare(">"), "$ge": _compare(">="),
    "$reduce_or": _any, "$reduce_bool": _any, "$logic_not": _none, "$reduce_and": _all,
    "$reduce_xor": _parity, "$mux": _mux, "$pmux": _muxes,
}
