"""A module's netlist, as Yosys writes it, and C++ expressions of its bits."""

from __future__ import annotations

from collections.abc import Iterator

from .lane_operators import OPERATORS, Unsupported, kind_of, literal, mask, same

__all__ = ["Nets"]

#: A memory of more words is left to Verilator, with the module it is in.
_WORDS = 32


class Nets:
    """The cells of one module, each result in a variable of C++.

    Parameters
    ----------
    module : as in Yosys's JSON.
    inputs : of each input's variable, ``i_NAME``, its bits.

    Members
    -------
    where : of each bit its variable, its place in it, and the variable's width.
    driver : of each variable that is computed, its cell.
    registers : of each register's variable, its width and its cell.
    memories : name, width, depth and writes: enable, address and data.
    initial : of each bit that begins with something, what that is.

    Raises
    ------
    Unsupported
        If it has something that is not translated.
    """

    def __init__(self, module: dict, inputs: dict[str, list]) -> None:
        self.where: dict[int, tuple[str, int, int]] = {}
        self.driver: dict[str, dict] = {}
        self.registers: dict[str, tuple[int, dict]] = {}
        self.memories: list[dict] = []
        self.initial: dict[int, bool] = {}
        for variable, bits in inputs.items():
            self._place(variable, bits)
        self._index(module)

    def _place(self, variable: str, bits: list) -> None:
        if len(bits) > 64:
            raise Unsupported
        for index, bit in enumerate(bits):
            self.where[bit] = variable, index, len(bits)

    def _index(self, module: dict) -> None:
        for number, cell in enumerate(module["cells"].values()):
            kind, nets = cell["type"], cell["connections"]
            if kind == "$dff":
                self._place(f"q{number}", nets["Q"])
                self.registers[f"q{number}"] = len(nets["Q"]), cell
            elif kind == "$mem_v2":
                self._index_memory(number, cell)
            elif kind in OPERATORS:
                self._place(f"v{number}", nets["Y"])
                self.driver[f"v{number}"] = cell
            else:
                raise Unsupported
        for net in module["netnames"].values():
            value = net["attributes"].get("init")
            if value is not None:
                for bit, digit in zip(net["bits"], reversed(value)):
                    self.initial[bit] = digit == "1"

    def _index_memory(self, number: int, cell: dict) -> None:
        parameters, nets = cell["parameters"], cell["connections"]
        width, abits = int(parameters["WIDTH"], 2), int(parameters["ABITS"], 2)
        reads, writes = int(parameters["RD_PORTS"], 2), int(parameters["WR_PORTS"], 2)
        enables = [nets["WR_EN"][port * width:port * width + width] for port in range(writes)]
        if (int(parameters["RD_CLK_ENABLE"], 2) or width > 64 or int(parameters["OFFSET"], 2)
                or 1 << abits > _WORDS
                or any(len(set(bits)) != 1 for bits in enables)
                or "1" in parameters["INIT"]):
            raise Unsupported
        memory = {
            "name": f"m{number}", "width": width, "depth": 1 << abits,
            "writes": [(enables[port][0], nets["WR_ADDR"][port * abits:port * abits + abits],
                        nets["WR_DATA"][port * width:port * width + width])
                       for port in range(writes)]}
        self.memories.append(memory)
        for port in range(reads):
            variable = f"v{number}_{port}"
            self._place(variable, nets["RD_DATA"][port * width:port * width + width])
            self.driver[variable] = {
                "type": "$read", "memory": memory,
                "connections": {"A": nets["RD_ADDR"][port * abits:port * abits + abits]}}

    def inputs_of(self, bits: list) -> set[str]:
        """Inputs on which ``bits`` depend through no register."""
        found, seen, left = set(), set(), list(bits)
        while left:
            place = self.where.get(left.pop())
            if place is None or place[0] in seen:
                continue
            seen.add(place[0])
            if place[0].startswith("i_"):
                found.add(place[0][2:])
            elif place[0] in self.driver:
                cell = self.driver[place[0]]
                left += [bit for name, nets in cell["connections"].items() if name != "Y"
                         for bit in nets]
        return found

    def read(self, bits: list) -> str:
        """An expression of what ``bits`` hold, the lowest first, as an unsigned number."""
        parts, at = [], 0
        wide = len(bits) > 32
        constant = sum(1 << index for index, bit in enumerate(bits) if bit == "1")
        while at < len(bits):
            place = self.where.get(bits[at]) if not isinstance(bits[at], str) else None
            if place is None:
                if not isinstance(bits[at], str):
                    raise Unsupported
                at += 1
                continue
            variable, low, width = place
            length = 1
            while (at + length < len(bits)
                   and self.where.get(bits[at + length]) == (variable, low + length, width)):
                length += 1
            # Copies of one bit, such as a sign's, are one negation.
            copies = 1
            while length == 1 and at + copies < len(bits) and bits[at + copies] == bits[at]:
                copies += 1
            text = f"({variable} >> {low})" if low else variable
            if low + length < width:
                text = f"({text} & {mask(length)})"
            if wide:
                text = f"u64({text})"
            elif width > 32:
                text = f"u32({text})"
            if copies > 1:
                kind = "u64" if wide else "u32"
                text = f"({kind}(0) - {text})"
                text = f"({text} & {mask(copies)})" if copies < (64 if wide else 32) else text
                length = copies
            parts.append(f"({text} << {at})" if at else text)
            at += length
        if constant or not parts:
            parts.append(literal(constant, wide))
        return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"

    def evaluate(self, wanted: list[list]) -> tuple[list[str], set[str]]:
        """Statements that compute what the bits of ``wanted`` need, and the variables read."""
        statements: list[str] = []
        done: set[str] = set()
        leaves: set[str] = set()

        def visit(bits: list) -> Iterator[list]:
            for bit in bits:
                place = self.where.get(bit) if not isinstance(bit, str) else None
                if place is None or place[0] in done:
                    continue
                done.add(place[0])
                cell = self.driver.get(place[0])
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
            address = self.read(cell["connections"]["A"])
            zero, kind = literal(0, width > 32), kind_of(width)
            value = " | ".join(
                f"(s.{memory['name']}[{word}][l] & ({zero} - {kind}({same(address, word)})))"
                for word in range(memory["depth"]))
        else:
            value = OPERATORS[cell["type"]](self, cell, width)
        return f"const {kind_of(width)} {variable} = {value};"

    def extended(self, cell: dict, name: str, width: int, signed: bool | None = None) -> str:
        """An operand, ``width`` wide."""
        bits = cell["connections"][name]
        if signed is None:
            signed = "1" in cell["parameters"][f"{name}_SIGNED"]
        bits = bits[:width] + [bits[-1] if signed else "0"] * (width - len(bits))
        return self.read(bits)

    def signed(self, cell: dict, name: str, width: int) -> str:
        """An operand as a signed number of at least ``width`` bits."""
        bits = cell["connections"][name]
        top = 64 if width > 32 else 32
        return f"(i{top}(u{top}({self.read(bits)}) << {top - len(bits)}) >> {top - len(bits)})"
