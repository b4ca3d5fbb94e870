"""One group of equal instances: the C++ that steps them in a loop, and the cell in their place."""

from __future__ import annotations

import dataclasses

from .lane_nets import Nets
from .lane_operators import Unsupported, choose, folded, kind_of, literal, same

__all__ = ["Instance", "Loop", "Port"]

#: A module of more operators is watched: it is not stepped while nothing changes.
_WATCHED = 200
#: Lanes are filled up to a multiple of it: the elements of the widest vector.
_VECTOR = 16


@dataclasses.dataclass(frozen=True)
class Instance:
    """One of a group: its cell's text, its module, and that module's names and ports."""

    text: str
    module: str
    names: dict[str, str]
    ports: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Port:
    """One port of a group: shared by its instances, or ``stride`` bits for each."""

    name: str
    width: int
    output: bool
    shared: bool

    @property
    def stride(self) -> int:
        """Bits that it takes of each instance."""
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.width)

    def total(self, lanes: int) -> int:
        """Bits of the group's port: whole words, and two at least, so that it is a vector."""
        return max(64, -(-self.stride * (1 if self.shared else lanes) // 32) * 32)


class Loop:
    """One group of equal instances.

    Parameters
    ----------
    name : of the cell in their place.
    module : the netlist of one of them, as in Yosys's JSON.
    group : they.

    Raises
    ------
    Unsupported
        If the module has something that is not translated.
    """

    def __init__(self, name: str, module: dict, group: list[Instance]) -> None:
        self.name, self.lanes = name, len(group)
        self._module, self._group = module, group
        self.ports: list[Port] = []
        #: Of each port: its name in the netlist, and in the group.
        self._names: dict[str, tuple[str, str]] = {}
        for raw, item in module["ports"].items():
            common = group[0].names["\\" + raw]
            if raw == "clk":
                continue
            width, output = len(item["bits"]), item["direction"] == "output"
            if width > 64:
                raise Unsupported
            port = f"p{len(self.ports)}"
            self._names[port] = raw, common
            self.ports.append(Port(port, width, output, not output and all(
                other.ports[common] == group[0].ports[common] for other in group)))
        self._nets = Nets(module, {
            f"i_{port.name}": self._bits(port) for port in self.ports if not port.output})
        # Where an enable is, it says when nothing changes; a small unit is not worth looking.
        self._watched = self._enable() is None and len(self._nets.driver) > _WATCHED
        self._mealy = {port.name for port in self.ports if port.output
                       and self._nets.inputs_of(self._bits(port))}

    def _enable(self) -> Port | None:
        """The shared input without which no register changes, if there is one."""
        found = set()
        for _, cell in self._nets.registers.values():
            nets = cell["connections"]
            places = [self._nets.where.get(bit) for bit in nets["D"]]
            mux = self._nets.driver.get(places[0][0]) if places[0] else None
            if (mux is None or mux["type"] != "$mux" or mux["connections"]["Y"] != nets["D"]
                    or mux["connections"]["A"] != nets["Q"]):
                return None
            found.add(self._nets.where.get(mux["connections"]["S"][0], ("",))[0])
        if len(found) != 1 or self._nets.memories:
            return None
        return next((port for port in self.ports
                     if port.shared and port.width == 1 and f"i_{port.name}" in found), None)

    def _bits(self, port: Port) -> list:
        return self._module["ports"][self._names[port.name][0]]["bits"]

    # C++

    def _loads(self, leaves: set[str]) -> list[str]:
        result = []
        for port in self.ports:
            if f"i_{port.name}" in leaves:
                value = f"c_{port.name}" if port.shared else f"a_{port.name}[l]"
                result.append(f"const {kind_of(port.width)} i_{port.name} = {value};")
        for register, (width, _) in self._nets.registers.items():
            if register in leaves:
                result.append(f"const {kind_of(width)} {register} = s.{register}[l];")
        return result

    def _entry(self, inputs: list[Port]) -> list[str]:
        """What a function does first with its arguments."""
        lines = ["State& s = *static_cast<State*>(handle);"]
        for port in inputs:
            if port.shared:
                lines.append(f"const {kind_of(port.width)} c_{port.name} = "
                             f"get<{kind_of(port.width)}>({port.name});")
            else:
                kind = kind_of(port.width)
                lines.append(
                    f"alignas(64) {kind} a_{port.name}[P]; widen<u{port.stride}, N, P>"
                    f"({port.name}, a_{port.name});")
        return lines

    def _results(self, outputs: list[Port]) -> list[str]:
        if not outputs:
            return []
        statements, leaves = self._nets.evaluate([self._bits(port) for port in outputs])
        lines = [f"alignas(64) {kind_of(port.width)} o_{port.name}[P];" for port in outputs]
        lines += ["LOOP for (int l = 0; l < P; ++l) {", *self._loads(leaves), *statements]
        lines += [f"o_{port.name}[l] = {self._nets.read(self._bits(port))};" for port in outputs]
        lines.append("}")
        lines += [f"narrow<u{port.stride}, N, P>(o_{port.name}, {port.name});"
                  for port in outputs]
        return lines

    def _function(self, kind: str, inputs: list[Port], outputs: list[Port],
                  body: list[str]) -> str:
        arguments = ["void* handle", *(["svBit"] if kind == "settle" else []),
                     *(f"const svBitVecVal* {port.name}" for port in inputs),
                     *(f"svBitVecVal* {port.name}" for port in outputs)]
        lines = "\n".join(f"    {line}" for line in body)
        return (f'extern "C" void {self.name}_{kind}({", ".join(arguments)}) {{\n'
                f"    using namespace {self.name};\n{lines}\n}}\n")

    def _split(self) -> tuple[list[Port], list[Port], list[Port], list[Port]]:
        """Inputs of the step; outputs of registers; inputs of the other outputs; those."""
        inputs = [port for port in self.ports if not port.output]
        moore = [port for port in self.ports if port.output and port.name not in self._mealy]
        mealy = [port for port in self.ports if port.name in self._mealy]
        needed = self._nets.inputs_of([bit for port in mealy for bit in self._bits(port)])
        stepped = [cell["connections"]["D"] for _, cell in self._nets.registers.values()]
        stepped += [bits for memory in self._nets.memories
                    for enable, address, value in memory["writes"]
                    for bits in ([enable], address, value)]
        used = self._nets.inputs_of([bit for bits in stepped for bit in bits])
        return ([port for port in inputs if port.name in used], moore,
                [port for port in inputs if port.name in needed], mealy)

    def code(self) -> str:
        """The C++: state, its making, the step and the outputs."""
        inputs, moore, needed, mealy = self._split()
        padded = -(-self.lanes // _VECTOR) * _VECTOR
        fields = [f"alignas(64) {kind_of(width)} {register}[P];"
                  for register, (width, _) in self._nets.registers.items()]
        fields += [f"alignas(64) {kind_of(memory['width'])} {memory['name']}[{memory['depth']}][P]"
                   " = {};" for memory in self._nets.memories]
        inits = []
        for register, (width, cell) in self._nets.registers.items():
            value = sum(1 << index for index, bit in enumerate(cell["connections"]["Q"])
                        if self._nets.initial.get(bit))
            inits.append(f"{register}[l] = {literal(value, width > 32)};")
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

    def _watch(self, inputs: list[Port], outputs: list[Port], step: list[str]) -> list[str]:
        """``step``, left out where the last one changed nothing and the inputs have not since."""
        def copy(port: Port, to: str, source: str) -> str:
            return f"std::memcpy({to}{port.name}, {source}{port.name}, sizeof s.last_{port.name});"

        same = [f"!std::memcmp(s.last_{port.name}, {port.name}, sizeof s.last_{port.name})"
                for port in inputs]
        return [f"if ({' && '.join(['s.still', *same])}) {{",
                *(copy(port, "", "s.last_") for port in outputs), "return;", "}",
                *(copy(port, "s.last_", "") for port in inputs), *step,
                *(copy(port, "s.last_", "") for port in outputs)]

    def _step(self) -> list[str]:
        wanted = [cell["connections"]["D"] for _, cell in self._nets.registers.values()]
        writes = [(memory, *write) for memory in self._nets.memories for write in memory["writes"]]
        for _, enable, address, value in writes:
            wanted += [[enable], address, value]
        statements, leaves = self._nets.evaluate(wanted)
        lines = ["LOOP for (int l = 0; l < P; ++l) {", *self._loads(leaves), *statements]
        for n, (memory, enable, address, value) in enumerate(writes):
            kind, name = kind_of(memory["width"]), f"s.{memory['name']}"
            lines.append(f"const u32 d{n} = {self._nets.read(address)}; "
                         f"const {kind} w{n} = {self._nets.read(value)};")
            if self._watched:
                lines.append(f"moved |= {self._nets.read([enable])};")
            lines += [
                f"{name}[{word}][l] = " + choose(
                    f"({self._nets.read([enable])} & ({same(f'd{n}', word)}))", f"w{n}",
                    f"{name}[{word}][l]", max(memory["width"], 2)) + ";"
                for word in range(memory["depth"])]
        for register, (width, cell) in self._nets.registers.items():
            value = self._nets.read(cell["connections"]["D"])
            if self._watched:
                lines.append(f"{{ const {kind_of(width)} next = {value}; "
                             f"moved |= {folded(f'(s.{register}[l] ^ next)', width)}; "
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

        def vector(port: Port) -> str:
            return f"bit [{port.total(self.lanes) - 1}:0] {port.name}"

        def imported(kind: str, sources: list[Port], results: list[Port]) -> str:
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
