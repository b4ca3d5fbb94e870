"""Equal instances side by side as one loop: a design's text, and C++ that the compiler vectorises.

Verilator makes straight-line code of every instance of a module. A hundred lanes are megabytes of
it, which no cache holds. Here a module that stands side by side with its equals (``unit0``,
``unit1``, ...) is translated once, from the netlist that Yosys makes of its RTLIL, to a loop over
the instances; in the design one cell takes their place, whose Verilog calls it (DPI-C).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

from .lane_loop import Instance, Loop
from .lane_operators import Unsupported

__all__ = ["Folded", "fold"]

#: Fewer cells than this in a module are left to Verilator.
_WORTH = 20

_CELL = re.compile(r"  cell (\S+) (\S+)\n((?:    .*\n)*)  end\n")
_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Folded:
    """A design with its equal instances folded.

    Members
    -------
    rtlil : the design, with one cell for each group of instances.
    verilog : the modules of those cells.
    code : their C++.
    """

    rtlil: str
    verilog: str
    code: str


def fold(rtlil: str, netlist: Callable[[str], str]) -> Folded:
    """``rtlil``, as Amaranth writes it, with equal instances folded.

    Parameters
    ----------
    rtlil : the design.
    netlist : makes of RTLIL text the JSON text of its optimised netlist.
    """
    modules = {match[1]: match[0] for match in _MODULE.finditer(rtlil)}
    groups: dict[tuple[str, str, str], list[Instance]] = {}
    for parent, text in modules.items():
        for match in _CELL.finditer(text):
            kind, cell, ports = match.groups()
            if kind not in modules or "\n  cell \\" in modules[kind]:
                continue
            if modules[kind].count("\n  cell $") < _WORTH:
                continue
            shape, names = _shape(modules[kind])
            groups.setdefault((parent, re.sub(r"\d+$", "", cell), shape), []).append(
                Instance(match[0], kind, names, _connections(ports, names)))
    chosen = [(parent, sorted(group, key=lambda instance: -len(instance.ports)))
              for (parent, *_), group in groups.items() if len(group) > 1]
    nets = json.loads(netlist("\n".join(modules[group[0].module] for _, group in chosen)))
    verilog, code = [], [_PREAMBLE]
    for index, (parent, group) in enumerate(chosen):
        try:
            unit = Loop(f"lanes{index}", nets["modules"][group[0].module[1:]], group)
            texts = unit.verilog(), unit.code()
        except Unsupported:
            continue
        verilog.append(texts[0])
        code.append(texts[1])
        for instance in group:
            modules[parent] = modules[parent].replace(instance.text, "")
            del modules[instance.module]
        modules[parent] = modules[parent].removesuffix("end\n") + unit.cell() + "end\n"
    header = rtlil[:next(_MODULE.finditer(rtlil)).start()]
    top = next(iter(modules))
    modules[top] = modules[top].replace("\\rst [0]", "\\steady [0]").replace(
        f"module {top}\n", f"module {top}\n  wire width 1 \\steady\n").removesuffix("end\n") + (
        "  cell \\steady \\steady_reset\n"
        "    connect \\from \\rst\n    connect \\to \\steady\n  end\nend\n")
    return Folded(header + "\n".join(modules.values()), "\n".join([_STEADY, *verilog]),
                  "\n".join(code))


def _shape(text: str) -> tuple[str, dict[str, str]]:
    """A module's text without what differs between equals, and its names there.

    That are its own name, numbered names, and which of its signals its parent uses.
    """
    names: dict[str, str] = {}

    def named(word: str) -> str:
        return names.setdefault(word, f"${len(names)}" if "$" in word else word)

    declarations, body, attributes = [], [], []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["attribute"]:
            attributes += words
            continue
        if words[:1] == ["wire"]:
            declarations.append((attributes, words))
        elif words[:1] != ["module"]:
            body += attributes + [named(word) for word in words]
        attributes = []
    wires = []
    for attributes, words in declarations:
        # wire width 8 output 12 \name
        kind = ["input"] if "input" in words else []
        wires.append(" ".join([*attributes, words[2], *kind, named(words[-1])]))
    return " ".join(body + sorted(wires)), names


def _connections(text: str, names: dict[str, str]) -> dict[str, str]:
    """Ports, as :func:`_shape` names them, and what they are connected to."""
    return {names[name]: signal for name, signal in
            re.findall(r"^    connect (\S+) (.*)$", text, re.MULTILINE)}


#: Verilator computes what depends on an input by gates alone twice a cycle. With the reset that is
#: half of a design; this one's output changes by an edge.
_STEADY = """\
module steady (input wire from, output reg to);
  initial to = 1'b0;
  always @(posedge from or negedge from) to <= from;
endmodule
"""

_PREAMBLE = """\
// Loops over equal instances: written by tangente.sim.lanes.
#pragma GCC optimize("O3")
#ifdef __AVX512F__
#pragma GCC target("prefer-vector-width=512")
#endif
#include "svdpi.h"
#include <cstdint>
#include <cstring>
using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i32 = int32_t;
using i64 = int64_t;
#define LOOP _Pragma("GCC ivdep")
inline u32 parity(u64 x) {
    for (int by = 32; by; by /= 2) x ^= x >> by;
    return x & 1;
}
// Between elements of a port and of a loop: whose vectors would be as short as its narrowest type.
template <class From, int N, int P, class To> void widen(const svBitVecVal* from, To* to) {
    alignas(64) From values[P] = {};
    std::memcpy(values, from, N * sizeof(From));
    for (int l = 0; l < P; ++l) to[l] = values[l];
}
template <class To, int N, int P, class From> void narrow(const From* from, svBitVecVal* to) {
    alignas(64) To values[P];
    for (int l = 0; l < P; ++l) values[l] = To(from[l]);
    std::memcpy(to, values, N * sizeof(To));
}
template <class T> T get(const svBitVecVal* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
"""
