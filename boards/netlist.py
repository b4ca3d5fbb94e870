"""A netlist of 7 series cells as Yosys writes it (BLIF), and the longest paths through it.

A path runs from a register (flip-flop, block RAM, DSP48E1, LUT memory) or an input to a register or
an output. Counted on it: LUTs, and bits of carry chain. MUXF7, MUXF8 and INV count nothing: they
lie in the slice of a LUT, or in the LUT.

Which of two paths is longer says an estimate in nanoseconds, with the delays of speed grade -1
(UG475's parts; DS187 and Vivado's reports of such designs) and one delay for every net. It orders
paths; only placement knows what they take.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator

__all__ = ["Cell", "Netlist", "Path", "Paths", "longest_paths", "parse_blif"]

#: Picoseconds: a LUT and the net behind it; MUXF7 or MUXF8; into a carry chain, one of its bits,
#: and out of it; a DSP48E1 with no register inside.
_LUT, _NET, _MUX = 124, 600, 220
_CHAIN_IN, _CHAIN_BIT, _CHAIN_OUT = 430, 28, 200
_DSP = 4000
#: From the clock to the output of a register, and what its input needs before the clock.
_CLOCK_TO_OUT = {"FD": 456, "RAMB": 2454, "DSP": 434, "RAM": 1400, "SRL": 1500}
_SETUP = {"FD": 80, "RAMB": 450, "DSP": 500, "RAM": 250, "SRL": 150}

_ALIAS = re.compile(r"^1 1$")
_CONSTANTS = frozenset({"$false", "$true", "$undef"})
#: Inputs that are clocks: no path ends there.
_CLOCKS = re.compile(r"^(C|CLK|WCLK|CLKARDCLK|CLKBWRCLK|REGCLKARDRCLK|REGCLKB)$")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One primitive.

    Members
    -------
    kind : name of the primitive.
    pins : net of each pin; the pins of a bus are named ``S[0]``, ``S[1]``, ...
    parameters : as Yosys writes them, numbers in binary.
    """

    kind: str
    pins: dict[str, str]
    parameters: dict[str, str]

    def number(self, parameter: str) -> int:
        """A parameter's value; 0 where it is not given."""
        return int(self.parameters.get(parameter, "0"), 2)


def registered(cell: Cell) -> bool:
    """Whether every stage of a DSP48E1, A, B, M and P, has its register (UG479).

    An operand that is constant needs none.
    """
    return all(cell.number(stage) or all(
        net in _CONSTANTS for pin, net in cell.pins.items() if pin.startswith(f"{stage[0]}["))
        for stage in ("AREG", "BREG")) and bool(cell.number("MREG") and cell.number("PREG"))


@dataclasses.dataclass
class Netlist:
    """A flat netlist: its ports, its cells, and the nets that are other nets' second names."""

    inputs: list[str]
    outputs: list[str]
    cells: list[Cell]
    aliases: dict[str, str]

    def count(self) -> dict[str, int]:
        """Cells of each kind."""
        counts: dict[str, int] = {}
        for cell in self.cells:
            counts[cell.kind] = counts.get(cell.kind, 0) + 1
        return counts

    def without(self, boxed: Callable[[str], bool]) -> Netlist:
        """The netlist less cells of such kinds: what they drove are inputs, the rest outputs."""
        boxes = [cell for cell in self.cells if boxed(cell.kind)]
        cells = [cell for cell in self.cells if not boxed(cell.kind)]
        driven = {cell.pins[pin] for cell in cells for pin in cell.pins
                  if _is_output(cell.kind, pin)}
        ports = {net for cell in boxes for net in cell.pins.values()} - _CONSTANTS
        own = {self.aliases.get(net, net) for net in ports}
        return Netlist(self.inputs + sorted(own - driven - set(self.inputs)),
                       self.outputs + sorted(own & driven), cells, self.aliases)


@dataclasses.dataclass(frozen=True)
class Path:
    """One path.

    Members
    -------
    start, end : the register's net, or the port, at each end.
    luts : LUTs on it.
    carry_bits : bits of carry chain on it.
    ns : the estimate, clock to clock.
    """

    start: str
    end: str
    luts: int
    carry_bits: int
    ns: float

    def to_json(self) -> dict[str, str | int | float]:
        return {"from": self.start, "to": self.end, "luts": self.luts,
                "carry_bits": self.carry_bits, "ns": self.ns}


@dataclasses.dataclass(frozen=True)
class Paths:
    """The longest paths of a netlist; None where there is none.

    Members
    -------
    longest : from register to register, by the estimate.
    most_luts : the most LUTs on any path from register to register.
    most_carry : the most bits of carry chain on one.
    input_luts, output_luts, through_luts : the most LUTs from an input to a register, from a
        register to an output, and from an input to an output: what neighbours add to.
    """

    longest: Path | None
    most_luts: int
    most_carry: int
    input_luts: int
    output_luts: int
    through_luts: int


def parse_blif(text: str) -> Netlist:
    """The netlist of ``write_blif -gates -param``, of one flat module.

    Raises
    ------
    ValueError
        If a line is none that Yosys writes there.
    """
    netlist = Netlist([], [], [], {})
    names: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        keyword, rest = words[0], words[1:]
        if keyword in (".gate", ".subckt"):
            pins = dict(pin.split("=", 1) for pin in rest[1:])
            netlist.cells.append(Cell(rest[0], pins, {}))
        elif keyword == ".param":
            netlist.cells[-1].parameters[rest[0]] = rest[1].strip('"') if len(rest) > 1 else ""
        elif keyword == ".inputs":
            netlist.inputs += rest
        elif keyword == ".outputs":
            netlist.outputs += rest
        elif keyword == ".names":
            names = rest
            if len(names) > 2:
                raise ValueError(f"line {number} must be a mapped cell or a second name, "
                                 f"not {line[:60]!r}")
        elif _ALIAS.match(line) and len(names) == 2:
            netlist.aliases[names[1]] = names[0]
        elif keyword not in (".model", ".end", "1"):
            raise ValueError(f"line {number} must be one of a mapped netlist, not {line[:60]!r}")
    return netlist


@dataclasses.dataclass(frozen=True)
class _Arc:
    """Through a cell: from one net to another."""

    source: str
    delay: int
    luts: int = 0
    bits: int = 0


@dataclasses.dataclass
class _Arrival:
    """What reaches a net: the slowest path, and the most of each thing counted."""

    ps: int
    luts: int
    bits: int
    start: str
    most_luts: int
    most_bits: int


class _Graph:
    """Arcs into each net, nets where paths start, and pins where they end."""

    def __init__(self, netlist: Netlist) -> None:
        self._aliases = netlist.aliases
        self._titles = {net: name for name, net in netlist.aliases.items() if name[0] not in "$\\_"}
        self.arcs: dict[str, list[_Arc]] = {}
        self.starts: dict[str, int] = {}
        self.ends: list[tuple[str, int, str]] = []
        self._driver: dict[str, str] = {}
        for cell in netlist.cells:
            for pin in cell.pins:
                if _is_output(cell.kind, pin):
                    self._driver[cell.pins[pin]] = cell.kind
        for cell in netlist.cells:
            self._add(cell)

    def net(self, name: str) -> str:
        while name in self._aliases:
            name = self._aliases[name]
        return name

    def title(self, name: str) -> str:
        """A net for a person: the designer's name if it has one, and what drives it."""
        driver = self._driver.get(name, "FD")
        text = self._titles.get(name, name).replace("\\", "")
        return text if driver.startswith("FD") else f"{driver} {text}"

    def _arc(self, cell: Cell, pin: str, delay: int, luts: int = 0, bits: int = 0) -> _Arc | None:
        if pin not in cell.pins:
            return None
        source = self.net(cell.pins[pin])
        if source in _CONSTANTS:
            return None
        return _Arc(source, delay + self._wire(source, cell.kind, pin), luts, bits)

    def _wire(self, source: str, kind: str, pin: str) -> int:
        """A net's delay; within a slice there is none."""
        driver = self._driver.get(source, "")
        inside = (pin == "CI" or kind == "INV"
                  or kind == "CARRY4" and driver.startswith("LUT")
                  and not (driver == "LUT6_2" and pin.startswith("DI"))
                  or kind.startswith("MUXF") and pin != "S")
        return 0 if inside else _NET

    def _add(self, cell: Cell) -> None:
        kind = cell.kind
        family = next((name for name in _CLOCK_TO_OUT if kind.startswith(name)), "")
        if re.fullmatch(r"LUT[1-6]", kind):
            self._through(cell, "O", [p for p in cell.pins if p != "O"], _LUT, 1)
        elif kind == "LUT6_2":
            for output, inputs in _dependences(cell).items():
                self._through(cell, output, inputs, _LUT, 1)
        elif kind in ("MUXF7", "MUXF8"):
            self._through(cell, "O", ["I0", "I1", "S"], _MUX)
        elif kind == "INV":
            self._through(cell, "O", ["I"], 0)
        elif kind == "CARRY4":
            self._add_carry(cell)
        elif kind == "DSP48E1" and not any(
                cell.number(name) for name in ("AREG", "BREG", "MREG", "PREG")):
            inputs = [p for p in cell.pins if not _is_output(kind, p) and not _CLOCKS.match(p)]
            for pin in cell.pins:
                if _is_output(kind, pin):
                    self._through(cell, pin, inputs, _DSP)
        elif family:
            self._add_register(cell, family)
        else:
            raise ValueError(f"cell must be one that paths are known of, not {kind!r}")

    def _through(self, cell: Cell, output: str, inputs: Iterable[str], delay: int,
                 luts: int = 0) -> None:
        if output in cell.pins:
            arcs = [self._arc(cell, pin, delay, luts) for pin in inputs]
            self.arcs[cell.pins[output]] = [arc for arc in arcs if arc is not None]

    def _add_carry(self, cell: Cell) -> None:
        """Bit i: O[i] is S[i] with the carry into it, CO[i] the carry out of it."""
        for i in range(4):
            carried: list[_Arc | None] = [
                self._arc(cell, "CI", _CHAIN_BIT * i, bits=i),
                self._arc(cell, "CYINIT", _CHAIN_IN + _CHAIN_BIT * i, bits=i)]
            for j in range(i):
                carried += [self._arc(cell, f"{pin}[{j}]", _CHAIN_IN + _CHAIN_BIT * (i - j),
                                      bits=i - j) for pin in ("S", "DI")]
            into = [arc for arc in carried if arc is not None]
            own = [self._arc(cell, f"{pin}[{i}]", _CHAIN_IN, bits=1) for pin in ("S", "DI")]
            for name, delay, more in ((f"CO[{i}]", _CHAIN_BIT, own), (f"O[{i}]", _CHAIN_OUT,
                                                                     own[:1])):
                if name in cell.pins:
                    self.arcs[cell.pins[name]] = [
                        dataclasses.replace(arc, delay=arc.delay + delay, bits=arc.bits + 1)
                        for arc in into] + [arc for arc in more if arc is not None]

    def _add_register(self, cell: Cell, family: str) -> None:
        # A LUT memory is read without a clock: a path also leads through it.
        reads = [p for p in cell.pins
                 if family in ("RAM", "SRL") and re.match(r"(A|DPRA|ADDR)[A-D]?\d*(\[\d+\])?$", p)]
        for pin, net in cell.pins.items():
            if _is_output(cell.kind, pin):
                self.starts[net] = _CLOCK_TO_OUT[family]
                # RAM64M and its like: DOA is read at ADDRA, and so on.
                port = f"ADDR{pin[2]}" if pin.startswith("DO") else ""
                self._through(cell, pin, [p for p in reads if p.startswith(port)], _LUT, 1)
            elif not _CLOCKS.match(pin):
                source = self.net(net)
                if source not in _CONSTANTS:
                    own = next((n for p, n in cell.pins.items() if _is_output(cell.kind, p)), net)
                    self.ends.append((source, _SETUP[family] + _NET, own))

    def order(self) -> Iterator[str]:
        """Nets, each after those that it depends on.

        Raises
        ------
        ValueError
            If nets depend on each other in a circle.
        """
        state: dict[str, int] = {}
        for root in self.arcs:
            stack = [(root, iter(self.arcs[root]))] if root not in state else []
            state.setdefault(root, 1)
            while stack:
                net, arcs = stack[-1]
                for arc in arcs:
                    seen = state.get(arc.source)
                    if seen == 1 and arc.source in self.arcs:
                        raise ValueError("netlist must have no combinational loop, not one "
                                         f"through {arc.source!r}")
                    if seen is None and arc.source in self.arcs:
                        state[arc.source] = 1
                        stack.append((arc.source, iter(self.arcs[arc.source])))
                        break
                else:
                    state[net] = 2
                    stack.pop()
                    yield net


def _dependences(cell: Cell) -> dict[str, list[str]]:
    """Of each output of a LUT6_2, the inputs that it depends on (UG953: O5 has no I5)."""
    pins = [f"I{k}" for k in range(6)]
    fixed = {k: cell.pins.get(pin) == "$true" for k, pin in enumerate(pins)
             if cell.pins.get(pin, "$false") in _CONSTANTS}
    table = cell.number("INIT")
    result = {}
    for output, size in (("O5", 5), ("O6", 6)):
        places = [place for place in range(1 << size)
                  if all(place >> k & 1 == value for k, value in fixed.items() if k < size)]
        result[output] = [pins[k] for k in range(size) if k not in fixed and any(
            (table >> place ^ table >> (place ^ 1 << k)) & 1 for place in places)]
    return result


def _is_output(kind: str, pin: str) -> bool:
    name = pin.partition("[")[0]
    if kind == "DSP48E1":
        return name in ("P", "ACOUT", "BCOUT", "PCOUT", "CARRYCASCOUT", "CARRYOUT", "MULTSIGNOUT",
                        "OVERFLOW", "UNDERFLOW", "PATTERNDETECT", "PATTERNBDETECT")
    if kind.startswith("RAMB"):
        return name.startswith(("DO", "CASCADEOUT", "DBITERR", "SBITERR", "ECCPARITY", "RDADDRECC"))
    if kind.startswith("RAM"):
        return name in ("O", "SPO", "DPO") or name.startswith("DO")
    return name in ("O", "O5", "O6", "Q", "Q15", "Q31", "CO")


def _arrivals(graph: _Graph, starts: dict[str, int], order: list[str]) -> dict[str, _Arrival]:
    at = {net: _Arrival(ps, 0, 0, net, 0, 0) for net, ps in starts.items()}
    for net in order:
        best = at.get(net)
        for arc in graph.arcs[net]:
            before = at.get(arc.source)
            if before is None:
                continue
            ps = before.ps + arc.delay
            most_luts, most_bits = before.most_luts + arc.luts, before.most_bits + arc.bits
            if best is None:
                best = _Arrival(ps, before.luts + arc.luts, before.bits + arc.bits, before.start,
                                most_luts, most_bits)
                continue
            if ps > best.ps:
                best.ps, best.luts, best.bits = ps, before.luts + arc.luts, before.bits + arc.bits
                best.start = before.start
            best.most_luts = max(best.most_luts, most_luts)
            best.most_bits = max(best.most_bits, most_bits)
        if best is not None:
            at[net] = best
    return at


def longest_paths(netlist: Netlist) -> Paths:
    """The longest paths of a netlist.

    Raises
    ------
    ValueError
        If it has a cell of another family, or a combinational loop.
    """
    graph = _Graph(netlist)
    order = list(graph.order())
    inside = _arrivals(graph, graph.starts, order)
    outside = _arrivals(graph, {graph.net(name): 0 for name in netlist.inputs}, order)
    longest, most_luts, most_carry, input_luts = None, 0, 0, 0
    for source, setup, name in graph.ends:
        arrival = inside.get(source)
        if arrival is not None:
            most_luts = max(most_luts, arrival.most_luts)
            most_carry = max(most_carry, arrival.most_bits)
            ns = (arrival.ps + setup) / 1000
            if longest is None or ns > longest.ns:
                longest = Path(graph.title(arrival.start), graph.title(name), arrival.luts,
                               arrival.bits, ns)
        if source in outside:
            input_luts = max(input_luts, outside[source].most_luts)
    leaving = [graph.net(name) for name in netlist.outputs]
    return Paths(
        longest, most_luts, most_carry, input_luts,
        max((inside[net].most_luts for net in leaving if net in inside), default=0),
        max((outside[net].most_luts for net in leaving if net in outside), default=0))
