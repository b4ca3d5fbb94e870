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
from collections.abc import Callable, Iterator

__all__ = ["Folded", "fold"]

#: Fewer cells than this in a module are left to Verilator.
_WORTH = 20
#: A module of more operators is watched: it is not stepped while nothing changes.
_WATCHED = 200
#: A memory of more words is left to Verilator, with the module it is in.
_WORDS = 32
#: Lanes are filled up to a multiple of it: the elements of the widest vector.
_VECTOR = 16

_CELL = re.compile(r"  cell (\S+) (\S+)\n((?:    .*\n)*)  end\n")
_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.MULTILINE | re.DOTALL)


class _Unsupported(Exception):
    """The module has something that is not translated."""


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


@dataclasses.dataclass(frozen=True)
class _Instance:
    """One of a group: its cell's text, its module, and that module's names and ports."""

    text: str
    module: str
    names: dict[str, str]
    ports: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _Port:
    """One port of a group: shared by its instances, or ``stride`` bits for each."""

    name: str
    width: int
    output: bool
    shared: bool

    @property
    def stride(self) -> int:
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.width)

    def total(self, lanes: int) -> int:
        """Bits of the group's port: whole words, and two at least, so that it is a vector."""
        return max(64, -(-self.stride * (1 if self.shared else lanes) // 32) * 32)


def fold(rtlil: str, netlist: Callable[[str], str]) -> Folded:
    """``rtlil``, as Amaranth writes it, with equal instances folded.

    Parameters
    ----------
    rtlil : the design.
    netlist : makes of RTLIL text the JSON text of its optimised netlist.
    """
    modules = {match[1]: match[0] for match in _MODULE.finditer(rtlil)}
    groups: dict[tuple[str, str, str], list[_Instance]] = {}
    for parent, text in modules.items():
        for match in _CELL.finditer(text):
            kind, cell, ports = match.groups()
            if kind not in modules or "\n  cell \\" in modules[kind]:
                continue
            if modules[kind].count("\n  cell $") < _WORTH:
                continue
            shape, names = _shape(modules[kind])
            groups.setdefault((parent, re.sub(r"\d+$", "", cell), shape), []).append(
                _Instance(match[0], kind, names, _connections(ports, names)))
    chosen = [(parent, sorted(group, key=lambda instance: -len(instance.ports)))
              for (parent, *_), group in groups.items() if len(group) > 1]
    nets = json.loads(netlist("\n".join(modules[group[0].module] for _, group in chosen)))
    verilog, code = [], [_PREAMBLE]
    for index, (parent, group) in enumerate(chosen):
        try:
            unit = _Unit(f"lanes{index}", nets["modules"][group[0].module[1:]], group)
            texts = unit.verilog(), unit.code()
        except _Unsupported:
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


class _Unit:
    """One group of instances."""

    def __init__(self, name: str, module: dict, group: list[_Instance]) -> None:
        self.name, self.lanes = name, len(group)
        self._module, self._group = module, group
        self.ports: list[_Port] = []
        #: Of each port: its name in the netlist, and in the group.
        self._names: dict[str, tuple[str, str]] = {}
        for raw, item in module["ports"].items():
            common = group[0].names["\\" + raw]
            if raw == "clk":
                continue
            width, output = len(item["bits"]), item["direction"] == "output"
            if width > 64:
                raise _Unsupported
            port = f"p{len(self.ports)}"
            self._names[port] = raw, common
            self.ports.append(_Port(port, width, output, not output and all(
                other.ports[common] == group[0].ports[common] for other in group)))
        #: Bit to (variable, index, width of the variable).
        self._where: dict[int, tuple[str, int, int]] = {}
        self._driver: dict[str, dict] = {}
        self._registers: dict[str, tuple[int, dict]] = {}
        self._memories: list[dict] = []
        self._index()
        # Where an enable is, it says when nothing changes; a small unit is not worth looking.
        self._watched = self._enable() is None and len(self._driver) > _WATCHED
        self._mealy = {port.name for port in self.ports if port.output
                       and self._inputs_of(self._bits(port))}

    def _enable(self) -> _Port | None:
        """The shared input without which no register changes, if there is one."""
        found = set()
        for _, cell in self._registers.values():
            nets = cell["connections"]
            places = [self._where.get(bit) for bit in nets["D"]]
            mux = self._driver.get(places[0][0]) if places[0] else None
            if (mux is None or mux["type"] != "$mux" or mux["connections"]["Y"] != nets["D"]
                    or mux["connections"]["A"] != nets["Q"]):
                return None
            found.add(self._where.get(mux["connections"]["S"][0], ("",))[0])
        if len(found) != 1 or self._memories:
            return None
        return next((port for port in self.ports
                     if port.shared and port.width == 1 and f"i_{port.name}" in found), None)

    def _bits(self, port: _Port) -> list:
        return self._module["ports"][self._names[port.name][0]]["bits"]

    def _place(self, variable: str, bits: list) -> None:
        if len(bits) > 64:
            raise _Unsupported
        for index, bit in enumerate(bits):
            self._where[bit] = variable, index, len(bits)

    def _index(self) -> None:
        for port in self.ports:
            if not port.output:
                self._place(f"i_{port.name}", self._bits(port))
        for number, cell in enumerate(self._module["cells"].values()):
            kind, nets = cell["type"], cell["connections"]
            if kind == "$dff":
                self._place(f"q{number}", nets["Q"])
                self._registers[f"q{number}"] = len(nets["Q"]), cell
            elif kind == "$mem_v2":
                self._index_memory(number, cell)
            elif kind in _OPERATORS:
                self._place(f"v{number}", nets["Y"])
                self._driver[f"v{number}"] = cell
            else:
                raise _Unsupported
        self._initial = {}
        for net in self._module["netnames"].values():
            value = net["attributes"].get("init")
            if value is not None:
                for bit, digit in zip(net["bits"], reversed(value)):
                    self._initial[bit] = digit == "1"

    def _index_memory(self, number: int, cell: dict) -> None:
        parameters, nets = cell["parameters"], cell["connections"]
        width, abits = int(parameters["WIDTH"], 2), int(parameters["ABITS"], 2)
        reads, writes = int(parameters["RD_PORTS"], 2), int(parameters["WR_PORTS"], 2)
        enables = [nets["WR_EN"][port * width:port * width + width] for port in range(writes)]
        if (int(parameters["RD_CLK_ENABLE"], 2) or width > 64 or int(parameters["OFFSET"], 2)
                or 1 << abits > _WORDS
                or any(len(set(bits)) != 1 for bits in enables)
                or "1" in parameters["INIT"]):
            raise _Unsupported
        memory = {
            "name": f"m{number}", "width": width, "depth": 1 << abits,
            "writes": [(enables[port][0], nets["WR_ADDR"][port * abits:port * abits + abits],
                        nets["WR_DATA"][port * width:port * width + width])
                       for port in range(writes)]}
        self._memories.append(memory)
        for port in range(reads):
            variable = f"v{number}_{port}"
            self._place(variable, nets["RD_DATA"][port * width:port * width + width])
            self._driver[variable] = {
                "type": "$read", "memory": memory,
                "connections": {"A": nets["RD_ADDR"][port * abits:port * abits + abits]}}

    def _inputs_of(self, bits: list) -> set[str]:
        """Inputs on which ``bits`` depend through no register."""
        found, seen, left = set(), set(), list(bits)
        while left:
            place = self._where.get(left.pop())
            if place is None or place[0] in seen:
                continue
            seen.add(place[0])
            if place[0].startswith("i_"):
                found.add(place[0][2:])
            elif place[0] in self._driver:
                cell = self._driver[place[0]]
                left += [bit for name, nets in cell["connections"].items() if name != "Y"
                         for bit in nets]
        return found

    # C++

    def _read(self, bits: list) -> str:
        """An expression of what ``bits`` hold, the lowest first, as an unsigned number."""
        parts, at = [], 0
        wide = len(bits) > 32
        constant = sum(1 << index for index, bit in enumerate(bits) if bit == "1")
        while at < len(bits):
            place = self._where.get(bits[at]) if not isinstance(bits[at], str) else None
            if place is None:
                if not isinstance(bits[at], str):
                    raise _Unsupported
                at += 1
                continue
            variable, low, width = place
            length = 1
            while (at + length < len(bits)
                   and self._where.get(bits[at + length]) == (variable, low + length, width)):
                length += 1
            # Copies of one bit, such as a sign's, are one negation.
            copies = 1
            while length == 1 and at + copies < len(bits) and bits[at + copies] == bits[at]:
                copies += 1
            text = f"({variable} >> {low})" if low else variable
            if low + length < width:
                text = f"({text} & {_mask(length)})"
            if wide:
                text = f"u64({text})"
            elif width > 32:
                text = f"u32({text})"
            if copies > 1:
                kind = "u64" if wide else "u32"
                text = f"({kind}(0) - {text})"
                text = f"({text} & {_mask(copies)})" if copies < (64 if wide else 32) else text
                length = copies
            parts.append(f"({text} << {at})" if at else text)
            at += length
        if constant or not parts:
            parts.append(_literal(constant, wide))
        return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"

    def _evaluate(self, wanted: list[list]) -> tuple[list[str], set[str]]:
        """Statements that compute what the bits of ``wanted`` need, and the variables read."""
        statements: list[str] = []
        done: set[str] = set()
        leaves: set[str] = set()

        def visit(bits: list) -> Iterator[list]:
            for bit in bits:
                place = self._where.get(bit) if not isinstance(bit, str) else None
                if place is None or place[0] in done:
                    continue
                done.add(place[0])
                cell = self._driver.get(place[0])
                if cell is None:
                    leaves.add(place[0])
                    continue
                for name, nets in cell["connections"].items():
                    if name != "Y":
                        yield nets
                statements.append(self._statement(place[0], place[2], cell))

        for bits in wanted:
            stack = [visit(bits)]
            while stack:
                inner = next(stack[-1], None)
                if inner is None:
                    stack.pop()
                else:
                    stack.append(visit(inner))
        return statements, leaves

    def _statement(self, variable: str, width: int, cell: dict) -> str:
        if cell["type"] == "$read":
            memory = cell["memory"]
            # One of all words, as a gate would: vectors know no addresses.
            address = self._read(cell["connections"]["A"])
            zero, kind = _literal(0, width > 32), _type(width)
            value = " | ".join(
                f"(s.{memory['name']}[{word}][l] & ({zero} - {kind}({_same(address, word)})))"
                for word in range(memory["depth"]))
        else:
            value = _OPERATORS[cell["type"]](self, cell, width)
        return f"const {_type(width)} {variable} = {value};"

    def _extended(self, cell: dict, name: str, width: int, signed: bool | None = None) -> str:
        """An operand, ``width`` wide."""
        bits = cell["connections"][name]
        if signed is None:
            signed = "1" in cell["parameters"][f"{name}_SIGNED"]
        bits = bits[:width] + [bits[-1] if signed else "0"] * (width - len(bits))
        return self._read(bits)

    def _signed(self, cell: dict, name: str, width: int) -> str:
        """An operand as a signed number of at least ``width`` bits."""
        bits = cell["connections"][name]
        top = 64 if width > 32 else 32
        return f"(i{top}(u{top}({self._read(bits)}) << {top - len(bits)}) >> {top - len(bits)})"

    def _loads(self, leaves: set[str]) -> list[str]:
        result = []
        for port in self.ports:
            if f"i_{port.name}" in leaves:
                value = f"c_{port.name}" if port.shared else f"a_{port.name}[l]"
                result.append(f"const {_type(port.width)} i_{port.name} = {value};")
        for register, (width, _) in self._registers.items():
            if register in leaves:
                result.append(f"const {_type(width)} {register} = s.{register}[l];")
        return result

    def _entry(self, inputs: list[_Port]) -> list[str]:
        """What a function does first with its arguments."""
        lines = ["State& s = *static_cast<State*>(handle);"]
        for port in inputs:
            if port.shared:
                lines.append(f"const {_type(port.width)} c_{port.name} = "
                             f"get<{_type(port.width)}>({port.name});")
            else:
                kind = _type(port.width)
                lines.append(
                    f"alignas(64) {kind} a_{port.name}[P]; widen<u{port.stride}, N, P>"
                    f"({port.name}, a_{port.name});")
        return lines

    def _results(self, outputs: list[_Port]) -> list[str]:
        if not outputs:
            return []
        statements, leaves = self._evaluate([self._bits(port) for port in outputs])
        lines = [f"alignas(64) {_type(port.width)} o_{port.name}[P];" for port in outputs]
        lines += ["LOOP for (int l = 0; l < P; ++l) {", *self._loads(leaves), *statements]
        lines += [f"o_{port.name}[l] = {self._read(self._bits(port))};" for port in outputs]
        lines.append("}")
        lines += [f"narrow<u{port.stride}, N, P>(o_{port.name}, {port.name});"
                  for port in outputs]
        return lines

    def _function(self, kind: str, inputs: list[_Port], outputs: list[_Port],
                  body: list[str]) -> str:
        arguments = ["void* handle", *(["svBit"] if kind == "settle" else []),
                     *(f"const svBitVecVal* {port.name}" for port in inputs),
                     *(f"svBitVecVal* {port.name}" for port in outputs)]
        lines = "\n".join(f"    {line}" for line in body)
        return (f'extern "C" void {self.name}_{kind}({", ".join(arguments)}) {{\n'
                f"    using namespace {self.name};\n{lines}\n}}\n")

    def _split(self) -> tuple[list[_Port], list[_Port], list[_Port], list[_Port]]:
        """Inputs of the step; outputs of registers; inputs of the other outputs; those."""
        inputs = [port for port in self.ports if not port.output]
        moore = [port for port in self.ports if port.output and port.name not in self._mealy]
        mealy = [port for port in self.ports if port.name in self._mealy]
        needed = self._inputs_of([bit for port in mealy for bit in self._bits(port)])
        stepped = [cell["connections"]["D"] for _, cell in self._registers.values()]
        stepped += [bits for memory in self._memories for enable, address, value in memory["writes"]
                    for bits in ([enable], address, value)]
        used = self._inputs_of([bit for bits in stepped for bit in bits])
        return ([port for port in inputs if port.name in used], moore,
                [port for port in inputs if port.name in needed], mealy)

    def code(self) -> str:
        """The C++: state, its making, the step and the outputs."""
        inputs, moore, needed, mealy = self._split()
        padded = -(-self.lanes // _VECTOR) * _VECTOR
        fields = [f"alignas(64) {_type(width)} {register}[P];"
                  for register, (width, _) in self._registers.items()]
        fields += [f"alignas(64) {_type(memory['width'])} {memory['name']}[{memory['depth']}][P]"
                   " = {};" for memory in self._memories]
        inits = []
        for register, (width, cell) in self._registers.items():
            value = sum(1 << index for index, bit in enumerate(cell["connections"]["Q"])
                        if self._initial.get(bit))
            inits.append(f"{register}[l] = {_literal(value, width > 32)};")
        if self._watched:
            fields += [f"svBitVecVal last_{port.name}[{port.total(self.lanes) // 32}] = {{}};"
                       for port in (*inputs, *moore)]
        text = [f"namespace {self.name} {{", f"constexpr int N = {self.lanes}, P = {padded};",
                "struct State {", "    bool still = false;", *(f"    {field}" for field in fields),
                "    State() { for (int l = 0; l < P; ++l) {", *(f"        {i}" for i in inits),
                "    } }", "};", "}",
                f'extern "C" void* {self.name}_make() {{ return new {self.name}::State; }}',
                f'extern "C" void {self.name}_end(void* handle) '
                f"{{ delete static_cast<{self.name}::State*>(handle); }}"]
        step = self._entry(inputs) + self._step() + self._results(moore)
        if self._watched:
            step[1:] = self._watch(inputs, moore, step[1:])
        text += [self._function("step", inputs, moore, step),
                 self._function("begin", [], moore, self._entry([]) + self._results(moore))]
        if mealy:
            text.append(self._function("settle", needed, mealy,
                                       self._entry(needed) + self._results(mealy)))
        return "\n".join(text)

    def _watch(self, inputs: list[_Port], outputs: list[_Port], step: list[str]) -> list[str]:
        """``step``, left out where the last one changed nothing and the inputs have not since."""
        def copy(port: _Port, to: str, source: str) -> str:
            return f"std::memcpy({to}{port.name}, {source}{port.name}, sizeof s.last_{port.name});"

        same = [f"!std::memcmp(s.last_{port.name}, {port.name}, sizeof s.last_{port.name})"
                for port in inputs]
        return [f"if ({' && '.join(['s.still', *same])}) {{",
                *(copy(port, "", "s.last_") for port in outputs), "return;", "}",
                *(copy(port, "s.last_", "") for port in inputs), *step,
                *(copy(port, "s.last_", "") for port in outputs)]

    def _step(self) -> list[str]:
        wanted = [cell["connections"]["D"] for _, cell in self._registers.values()]
        writes = [(memory, *write) for memory in self._memories for write in memory["writes"]]
        for _, enable, address, value in writes:
            wanted += [[enable], address, value]
        statements, leaves = self._evaluate(wanted)
        lines = ["LOOP for (int l = 0; l < P; ++l) {", *self._loads(leaves), *statements]
        for n, (memory, enable, address, value) in enumerate(writes):
            kind, name = _type(memory["width"]), f"s.{memory['name']}"
            lines.append(f"const u32 d{n} = {self._read(address)}; "
                         f"const {kind} w{n} = {self._read(value)};")
            if self._watched:
                lines.append(f"moved |= {self._read([enable])};")
            lines += [
                f"{name}[{word}][l] = " + _choose(
                    f"({self._read([enable])} & ({_same(f'd{n}', word)}))", f"w{n}",
                    f"{name}[{word}][l]", max(memory["width"], 2)) + ";"
                for word in range(memory["depth"])]
        for register, (width, cell) in self._registers.items():
            value = self._read(cell["connections"]["D"])
            if self._watched:
                lines.append(f"{{ const {_type(width)} next = {value}; "
                             f"moved |= {_folded(f'(s.{register}[l] ^ next)', width)}; "
                             f"s.{register}[l] = next; }}")
            else:
                lines.append(f"s.{register}[l] = {value};")
        lines.append("}")
        if self._watched:
            lines = ["u32 moved = 0;", *lines, "s.still = moved == 0;"]
        return lines

    # The design

    def cell(self) -> str:
        """RTLIL: wires for the group's ports, and the cell."""
        wires, connects, joins = [], [], []
        for port in self.ports:
            # An output that nobody reads is no port.
            signals = [other.ports.get(self._names[port.name][1], "") for other in self._group]
            if port.shared:
                pad = port.total(self.lanes) - port.width
                filler = f"{pad}'{'0' * pad} " if pad else ""
                connects.append((port.name, f"{{ {filler}{signals[0]} }}"))
            elif not port.output:
                pad = port.stride - port.width
                filler = f"{pad}'{'0' * pad} " if pad else ""
                rest = port.total(self.lanes) - port.stride * self.lanes
                top = f"{rest}'{'0' * rest} " if rest else ""
                connects.append((port.name, "{ " + top + " ".join(
                    filler + signal for signal in reversed(signals)) + " }"))
            else:
                wire = f"\\{self.name}_{port.name}"
                wires.append(f"  wire width {port.total(self.lanes)} {wire}\n")
                connects.append((port.name, wire))
                for lane, signal in enumerate(signals):
                    low = lane * port.stride
                    if signal:
                        joins.append(f"  connect {signal} {wire} [{low + port.width - 1}:{low}]\n")
        ports = "".join(f"    connect \\{name} {signal}\n" for name, signal in connects)
        return ("".join(wires) + f"  cell \\{self.name} \\{self.name}\n"
                f"    connect \\clk \\clk [0]\n{ports}  end\n" + "".join(joins))

    def verilog(self) -> str:
        """The module that calls the C++."""
        inputs, moore, needed, mealy = self._split()

        def vector(port: _Port) -> str:
            return f"bit [{port.total(self.lanes) - 1}:0] {port.name}"

        def imported(kind: str, sources: list[_Port], results: list[_Port]) -> str:
            arguments = ["input chandle handle", *(f"input {vector(port)}" for port in sources),
                         *(f"output {vector(port)}" for port in results)]
            return (f'  import "DPI-C" function void {self.name}_{kind}('
                    f"{', '.join(arguments)});")

        def call(kind: str, *names: str) -> str:
            return f"{self.name}_{kind}({', '.join(['handle', *names])});"

        ports = ["input wire clk", *(
            f"{'output' if port.output else 'input'} {vector(port)}" for port in self.ports)]
        lines = [f"module {self.name} ({', '.join(ports)});",
                 f'  import "DPI-C" function chandle {self.name}_make();',
                 f'  import "DPI-C" function void {self.name}_end(input chandle handle);',
                 imported("step", inputs, moore), imported("begin", [], moore)]
        lines += ["  chandle handle;", "  bit stepped = 1'b0;"]
        lines += [f"  bit [{port.total(self.lanes) - 1}:0] next_{port.name};" for port in moore]
        sources, results = [port.name for port in inputs], [f"next_{port.name}" for port in moore]
        enable = self._enable()
        condition = f" if ({enable.name}[0])" if enable else ""
        lines += ["  initial begin", f"    handle = {self.name}_make();",
                  f"    {call('begin', *(port.name for port in moore))}", "  end",
                  f"  final {self.name}_end(handle);",
                  f"  always @(posedge clk){condition} begin",
                  f"    {call('step', *sources, *results)}",
                  *(f"    {port.name} <= next_{port.name};" for port in moore),
                  "    stepped <= ~stepped;", "  end"]
        if mealy:
            # What the registers hold is not in sight: `stepped` says that it changed.
            lines[4:4] = [imported("settle", needed, mealy).replace(
                "input chandle handle", "input chandle handle, input bit stepped")]
            lines += ["  always @*", "    " + call(
                "settle", "stepped", *(port.name for port in (*needed, *mealy)))]
        lines.append("endmodule\n")
        return "\n".join(lines)


def _type(width: int) -> str:
    return "u64" if width > 32 else "u32"


def _folded(text: str, width: int) -> str:
    """Something in 32 bits that is zero where ``text`` is."""
    return f"u32({text} | ({text} >> 32))" if width > 32 else text


def _literal(value: int, wide: bool) -> str:
    return f"0x{value:x}{'ULL' if wide else 'U'}"


def _mask(width: int) -> str:
    return _literal((1 << width) - 1, width > 32)


def _trimmed(text: str, width: int) -> str:
    """``text``, of which only ``width`` bits count."""
    return text if width in (32, 64) else f"({text}) & {_mask(width)}"


def _bitwise(symbol: str, inverted: bool = False) -> Callable[[_Unit, dict, int], str]:
    def write(unit: _Unit, cell: dict, width: int) -> str:
        text = f"{unit._extended(cell, 'A', width)} {symbol} {unit._extended(cell, 'B', width)}"
        return _trimmed(f"~({text})", width) if inverted else text
    return write


def _arithmetic(symbol: str) -> Callable[[_Unit, dict, int], str]:
    def write(unit: _Unit, cell: dict, width: int) -> str:
        signed = all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB")
        return _trimmed(f"{unit._extended(cell, 'A', width, signed)} {symbol} "
                        f"{unit._extended(cell, 'B', width, signed)}", width)
    return write


def _multiply(unit: _Unit, cell: dict, width: int) -> str:
    if all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB"):
        product = f"u64({unit._signed(cell, 'A', 64)} * {unit._signed(cell, 'B', 64)})"
        return f"{_type(width)}({_trimmed(product, width)})"
    raise _Unsupported


def _compare(symbol: str) -> Callable[[_Unit, dict, int], str]:
    def write(unit: _Unit, cell: dict, width: int) -> str:
        nets = cell["connections"]
        size = max(len(nets["A"]), len(nets["B"]))
        if all("1" in cell["parameters"][f"{name}_SIGNED"] for name in "AB"):
            return f"{unit._signed(cell, 'A', size)} {symbol} {unit._signed(cell, 'B', size)}"
        left, right = (unit._extended(cell, name, size, False) for name in "AB")
        return f"{left} {symbol} {right}"
    return write


def _equal(unit: _Unit, cell: dict, width: int) -> str:
    return f"1U ^ ({_unequal(unit, cell, width)})"


def _unequal(unit: _Unit, cell: dict, width: int) -> str:
    nets = cell["connections"]
    size = max(len(nets["A"]), len(nets["B"]))
    return _carry(f"({unit._extended(cell, 'A', size)} ^ {unit._extended(cell, 'B', size)})", size)


def _carry(text: str, width: int) -> str:
    """Whether ``text`` is not zero, as a number and without a comparison.

    The compiler makes a table of two comparisons with one value, and then no vector.
    """
    if width == 1:
        return text
    if width in (32, 64):
        return f"u32(({text} | ({_literal(0, width > 32)} - {text})) >> {width - 1})"
    return f"u32(({text} + {_mask(width)}) >> {width})"


def _not(unit: _Unit, cell: dict, width: int) -> str:
    return _trimmed(f"~{unit._extended(cell, 'A', width)}", width)


def _negate(unit: _Unit, cell: dict, width: int) -> str:
    return _trimmed(f"{_literal(0, width > 32)} - {unit._extended(cell, 'A', width)}", width)


def _same(text: str, number: int) -> str:
    """Whether ``text``, of less than 31 bits, is ``number``."""
    return f"((({text} ^ {number}U) - 1U) >> 31)"


def _any(unit: _Unit, cell: dict, width: int) -> str:
    bits = cell["connections"]["A"]
    return _carry(unit._read(bits), len(bits))


def _none(unit: _Unit, cell: dict, width: int) -> str:
    return f"1U ^ ({_any(unit, cell, width)})"


def _all(unit: _Unit, cell: dict, width: int) -> str:
    bits = cell["connections"]["A"]
    return f"1U ^ ({_carry(f'({unit._read(bits)} ^ {_mask(len(bits))})', len(bits))})"


def _parity(unit: _Unit, cell: dict, width: int) -> str:
    return f"parity({unit._read(cell['connections']['A'])})"


def _choose(select: str, high: str, low: str, width: int) -> str:
    """One of two by masks, which every vector unit has."""
    kind = _type(width)
    if width == 1:
        return f"({select} & {high}) | (~{select} & {low} & 1U)"
    return f"{low} ^ (({low} ^ {high}) & ({kind}(0) - {kind}({select})))"


def _mux(unit: _Unit, cell: dict, width: int) -> str:
    nets = cell["connections"]
    return _choose(unit._read(nets["S"]), unit._read(nets["B"]), unit._read(nets["A"]), width)


def _muxes(unit: _Unit, cell: dict, width: int) -> str:
    nets = cell["connections"]
    text = unit._read(nets["A"])
    for index, select in enumerate(nets["S"]):
        part = nets["B"][index * width:index * width + width]
        text = f"({_choose(unit._read([select]), unit._read(part), text, width)})"
    return text


_OPERATORS: dict[str, Callable[[_Unit, dict, int], str]] = {
    "$and": _bitwise("&"), "$or": _bitwise("|"), "$xor": _bitwise("^"),
    "$xnor": _bitwise("^", inverted=True), "$not": _not, "$neg": _negate,
    "$add": _arithmetic("+"), "$sub": _arithmetic("-"), "$mul": _multiply,
    "$eq": _equal, "$ne": _unequal, "$lt": _compare("<"), "$le": _compare("<="),
    "$gt": _compare(">"), "$ge": _compare(">="),
    "$reduce_or": _any, "$reduce_bool": _any, "$logic_not": _none, "$reduce_and": _all,
    "$reduce_xor": _parity, "$mux": _mux, "$pmux": _muxes,
}

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
