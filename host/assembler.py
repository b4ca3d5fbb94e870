"""Writes programs: labels, loops, and register settings without needless repetition."""

from __future__ import annotations

from tangente.golden.isa import Flag, Op, Reg, Space, decode, encode

__all__ = ["Label", "Program", "listing"]


class Label:
    """A place in a program, to be marked with :meth:`Program.mark`."""

    def __init__(self) -> None:
        self.address: int | None = None


class Program:
    """A program being written.

    It remembers what each register holds and leaves out settings that change nothing. Where paths
    meet (:meth:`mark`) it forgets all but the pinned registers.
    """

    def __init__(self) -> None:
        self._code: list[tuple[Op, int, int, Label | None]] = []
        # Values, or what they are copies of.
        self._known: dict[Reg, int | tuple[Reg, int]] = {}
        self._pinned: dict[Reg, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    def words(self) -> list[int]:
        """The instruction words.

        Raises
        ------
        ValueError
            If a label was used but not marked.
        """
        result = []
        for op, rd, imm, label in self._code:
            if label is not None:
                if label.address is None:
                    raise ValueError("every label must be marked, not 'None'")
                imm |= label.address << 6 if op is Op.BLT else label.address
            result.append(encode(op, rd, imm))
        return result

    def mark(self, label: Label) -> None:
        """``label`` is here."""
        label.address = len(self._code)
        self._known = dict(self._pinned)

    def here(self) -> Label:
        """A label of this place."""
        label = Label()
        self.mark(label)
        return label

    # --- scalar instructions ----------------------------------------------------------------------

    def set(self, **values: int) -> None:
        """Registers by their names in lower case: ``set(p=784, q=100)``."""
        for name, value in values.items():
            register = Reg[name.upper()]
            if not 0 <= value < 1 << 24:
                raise ValueError(f"{name} must lie between 0 and 2^24 - 1, not {value!r}")
            if self._known.get(register) == value:
                continue
            if register in self._pinned:
                raise ValueError(f"{name} must stay {self._pinned[register]}, not {value!r}")
            self._emit(Op.SET, register, value & 0xFFFFF)
            if value >> 20:
                self._emit(Op.SETH, register, value >> 12)
            self._known[register] = value

    def pin(self, **values: int) -> None:
        """As :meth:`set`, for registers that no later instruction changes."""
        for name, value in values.items():
            self.set(**{name: value})
            self._pinned[Reg[name.upper()]] = value

    def move(self, register: Reg, source: Reg, offset: int = 0) -> None:
        """``register`` = ``source`` + ``offset``.

        Raises
        ------
        ValueError
            If ``offset`` does not fit in 14 signed bits.
        """
        if not -(1 << 13) <= offset < 1 << 13:
            raise ValueError(f"offset must fit in 14 bits, not {offset!r}")
        if self._known.get(register) == (source, offset):
            return
        self._emit(Op.MOV, register, (offset & 0x3FFF) << 6 | source)
        if register != source:
            self._known[register] = source, offset

    def add(self, register: Reg, value: int) -> None:
        """``register`` += ``value``.

        Raises
        ------
        ValueError
            If ``value`` does not fit in 20 signed bits.
        """
        if not -(1 << 19) <= value < 1 << 19:
            raise ValueError(f"value must fit in 20 bits, not {value!r}")
        self._emit(Op.ADD, register, value & 0xFFFFF)

    def toggle(self, register: Reg, value: int, scratch: Reg) -> None:
        """``register`` ^= ``value``, by way of ``scratch``: 0 and ``value`` take turns."""
        if value:
            self.set(**{scratch.name: value})
            self._emit(Op.XOR, register, scratch)

    def loop(self, register: Reg, label: Label) -> None:
        """Count ``register`` down; go back to ``label`` until it is zero."""
        self._emit(Op.DBNZ, register, 0, label)

    def jump(self, label: Label) -> None:
        """Go to ``label``."""
        self._emit(Op.JMP, Reg.R0, 0, label)

    def jump_if_less(self, register: Reg, other: Reg, label: Label) -> None:
        """Go to ``label`` if ``register`` < ``other``."""
        self._emit(Op.BLT, register, int(other), label)

    def jump_unless_less(self, register: Reg, other: Reg, label: Label) -> None:
        """Go to ``label`` if ``register`` >= ``other``."""
        below = Label()
        self.jump_if_less(register, other, below)
        self.jump(label)
        self.mark(below)

    def jump_if_no_error(self, register: Reg, label: Label) -> None:
        """Go to ``label`` if all errors of sample ``register`` of the last LOSS are zero."""
        self._emit(Op.BZE, register, 0, label)

    def next_sample(self, register: Reg, count: Reg, label: Label) -> None:
        """Count ``register`` up; go back to ``label`` unless it is ``count``."""
        self.add(register, 1)
        self.jump_if_less(register, count, label)

    def halt(self) -> None:
        """Stop with cause DONE."""
        self._emit(Op.HALT, Reg.R0, 0)

    # --- tensor instructions ----------------------------------------------------------------------

    def tensor(self, op: Op, flags: Flag | int = 0, **operands: int) -> None:
        """Set ``operands`` and execute ``op``."""
        self.set(**operands)
        self._emit(op, Reg.R0, int(flags))

    def load(self, space: Space, flags: Flag | int = 0) -> None:
        """Start a transfer from DDR, address LOCAL, DDR and LENGTH."""
        self._emit(Op.LOAD, Reg.R0, int(space) | int(flags))

    def store(self, space: Space) -> None:
        """Start a transfer to DDR."""
        self._emit(Op.STORE, Reg.R0, int(space))

    def wait(self) -> None:
        """Wait for the transfer."""
        self._emit(Op.WAIT, Reg.R0, 0)

    def _emit(self, op: Op, rd: Reg, imm: int, label: Label | None = None) -> None:
        self._code.append((op, int(rd), imm, label))
        if op < Op.MVA and op not in (Op.BLT, Op.BZE):
            self._known.pop(rd, None)
            for register, known in list(self._known.items()):
                if isinstance(known, tuple) and known[0] == rd:
                    del self._known[register]


def listing(words: list[int]) -> str:
    """One line an instruction: address, word, text."""
    return "\n".join(f"{address:4}  {word:08x}  {decode(word) or '?'}"
                     for address, word in enumerate(words))
