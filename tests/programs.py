"""Random programs for the engine, and the means to run them on golden and on the RTL alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tangente.golden import registers
from tangente.golden.config import Config
from tangente.golden.isa import FLAGS, Cause, Flag, Op, Post, Reg, Space, decode, encode
from tangente.golden.machine import Machine
from tangente.golden.state import beats_per_unit, depth

#: DDR layout in beats: what a program loads, zeros, and what it stores.
_IMAGE, _ZEROS, _DUMP = 0, 1 << 14, 1 << 15
_DDR_BYTES = 1 << 22
_STORED = (Space.PAIR, Space.LOGIT, Space.BIAS, Space.LIST, Space.WEIGHT)


class Assembler:
    """Collects instruction words."""

    def __init__(self) -> None:
        self.words: list[int] = []

    def set(self, **values: int) -> Assembler:
        for name, value in values.items():
            reg = Reg[name.upper()]
            self.words.append(encode(Op.SET, reg, value & 0xFFFFF))
            if value >> 12 > 0xFF:
                self.words.append(encode(Op.SETH, reg, value >> 12))
        return self

    def op(self, op: Op, flags: int = 0) -> Assembler:
        self.words.append(encode(op, 0, int(flags)))
        return self


@dataclasses.dataclass
class Image:
    """What a program finds in DDR: random contents for every loadable memory."""

    config: Config
    data: np.ndarray

    @classmethod
    def random(cls, config: Config, rng: np.random.Generator, code_bits: int = 16) -> Image:
        data = np.zeros(_DDR_BYTES, np.uint8)
        size = cls._sizes(config)
        at = {space: sum(list(size.values())[:i]) for i, space in enumerate(size)}
        weights = rng.integers(-32767, 32768, size[Space.WEIGHT] // 2).astype(np.int16)
        targets = rng.integers(-3000, 3000, size[Space.TARGET] // 2)
        targets[::3] %= 8  # classes that exist
        for space, values in (
                (Space.INPUT, cls._inputs(rng, size[Space.INPUT])),
                (Space.TARGET, targets.astype(np.int16)),
                (Space.WEIGHT, weights),
                (Space.BIAS, rng.integers(-3000, 3000, size[Space.BIAS] // 2).astype(np.int16))):
            raw = values.view(np.uint8)
            data[at[space]:at[space] + raw.size] = raw
        # The first input pair copies rows to weights in the dump.
        data[at[Space.INPUT]:at[Space.INPUT] + 2] = (64, 0)
        return cls(config, data)

    @staticmethod
    def _inputs(rng: np.random.Generator, size: int) -> np.ndarray:
        """Inputs of which some, many or nearly all are zero, in runs of every length.

        At times also one element of many pairs.
        """
        values = rng.integers(0, 256, size).astype(np.uint8)
        length = 1 << rng.integers(0, 7)
        share = rng.choice([0.0, 0.5, 0.8, 0.97])
        values[np.repeat(rng.random(-(-size // length)) < share, length)[:size]] = 0
        values[rng.random(size) < rng.choice([0.0, 0.0, 0.4])] = 0
        return values

    @staticmethod
    def _sizes(config: Config) -> dict[Space, int]:
        return {space: 8 * depth(space, config) * beats_per_unit(space, config)
                for space in (Space.INPUT, Space.TARGET, Space.WEIGHT, Space.BIAS)}

    def targets(self, config: Config) -> np.ndarray:
        """The targets in it, to be changed."""
        size = self._sizes(config)
        at = size[Space.INPUT]
        return self.data[at:at + size[Space.TARGET]].view(np.int16)

    def inputs(self, config: Config) -> np.ndarray:
        """Likewise the inputs."""
        return self.data[:self._sizes(config)[Space.INPUT]]

    def load(self, program: Assembler) -> None:
        at = 0
        for space, size in self._sizes(self.config).items():
            program.set(ddr=_IMAGE + at // 8, local=0, length=depth(space, self.config))
            program.op(Op.LOAD, space)
            at += size
        program.op(Op.WAIT)

    def dump(self, program: Assembler) -> int:
        """Store every memory; returns the bytes that are stored."""
        config, at = self.config, _DUMP

        def store(space: Space) -> None:
            nonlocal at
            units = depth(space, config)
            program.set(ddr=at, local=0, length=units).op(Op.STORE, space)
            at += units * beats_per_unit(space, config)

        for space in _STORED:
            store(space)
        chunk = min(config.weight_words, config.rows, 4095 // config.lanes)
        for row in range(0, config.rows, chunk):
            program.set(ddr=_ZEROS, local=0, length=chunk).op(Op.LOAD, Space.WEIGHT)
            program.set(count=1, p=1, q=chunk * config.lanes, m_base=0, s_base=0, s_stride=0,
                        v_base=row, v_stride=0, shift=0, code_bits=16, acc_bits=0, asymm=0)
            if row + chunk > config.rows:
                program.set(q=(config.rows - row) * config.lanes)
            program.op(Op.UPD, Flag.INPUT)
            program.set(ddr=at, local=0, length=chunk).op(Op.STORE, Space.WEIGHT)
            at += chunk * config.beats_per_word
        program.op(Op.HALT)
        return 8 * (at - _DUMP)


#: Every tensor instruction.
TENSOR = (Op.MVA, Op.MVD, Op.MVR, Op.UPD, Op.LOSS, Op.DRV, Op.SEL, Op.BUP, Op.SRT, Op.TOP, Op.SCT)
_PRODUCTS = (Op.MVA, Op.MVD, Op.MVR)


def random_registers(rng: np.random.Generator, config: Config, op: Op) -> dict[str, int]:
    """Registers with which ``op`` is valid, in small sizes.

    What one instruction reads and what it writes lie apart: where they overlap, the order of its
    accesses shows, which golden does not say. So do the neurons of a SEL.
    """
    def below(end: int) -> int:
        return int(rng.integers(0, end))

    third, half = config.rows // 3, config.pairs // 2
    operand, result, slope = (third * int(i) for i in rng.permutation(3))
    source, target = (half * int(i) for i in rng.permutation(2))
    code_bits = int(rng.choice([2, 3, 4, 8, 16]))
    acc_bits = int(rng.integers(1, min(12, 16 - code_bits) + 1)) if code_bits < 16 else 0
    room = third - 120
    wide: dict[str, int] = {}
    if op in (Op.MVA, Op.UPD) and rng.random() < 0.5:
        # What a scanner sees: several groups of pairs, and samples that lie alike in them.
        stride, count = 8 * below(5) if rng.random() < 0.7 else below(40), 1 + below(6)
        if op is Op.UPD and rng.random() < 0.2:
            count = 30 + below(6)
        pairs = 1 + below(min(45, (config.weight_words - 1) // config.tiles(13)))
        most = (half - pairs - 1) // max(count - 1, 1)
        stride, v_stride = min(stride, most & -8 if stride % 8 == 0 else most), below(4)
        wide = {"p": 2 * pairs - below(2), "s_stride": stride, "count": count, "y_stride": 7,
                "m_base": below(config.weight_words - pairs * config.tiles(13)),
                "s_base": source + below(half - pairs - (count - 1) * stride),
                "v_stride": v_stride,
                "v_base": below(config.rows - (count - 1) * v_stride - config.tiles(13))}
    if op in (Op.SRT, Op.TOP, Op.SCT):
        return _list_registers(rng, config, op, code_bits, acc_bits)
    values = {
        "count": 1 + below(5), "p": 1 + below(13), "q": 1 + below(13),
        "m_base": below(config.weight_words - 28),
        "s_base": source + below(half - 60), "s_stride": below(12),
        "v_base": operand + below(room), "v_stride": below(8),
        "y_base": target + below(half - 60), "y_stride": below(9),
        "yr_base": result + below(room), "yr_stride": below(9),
        "g_base": source + below(half - 60), "g_stride": below(9),
        "f_base": slope + below(room), "f_stride": below(9),
        "shift": below(20), "shift2": below(10),
        "b_base": below(config.bias_pairs - 7), "b_shift": below(12),
        "code_bits": code_bits, "acc_bits": acc_bits, "asymm": below(1 + (code_bits < 16)),
        "k": below(9), "tiles": 1 + below(3) if op is Op.SEL else below(4),
        "mantissa": below(256), "e_shift": below(20),
        "t_base": below(config.target_beats * 4 - 45), "t_stride": below(8),
        "r_base": operand + below(room), "r_stride": below(9),
    } | wide
    if op is Op.SEL:
        values["yr_stride"] = max(values["yr_stride"], values["tiles"])
    return values


def _list_registers(rng: np.random.Generator, config: Config, op: Op, code_bits: int,
                    acc_bits: int) -> dict[str, int]:
    """The same for instructions on lists: what they read and write are quarters of the memory."""
    def below(end: int) -> int:
        return int(rng.integers(0, end))

    # Places are those of whole tiles: of 13 lanes and the largest K there must be room twice.
    rows = -(-13 // config.lanes) * -(-config.lanes // config.toper_lanes)
    keep, below_keep = 1 + below(config.toper_registers), 1 + below(config.toper_registers)
    room = rows * config.toper_registers
    free = config.list_entries - 3 * config.toper_registers
    lists, result = (3 * config.toper_registers + free // 2 * int(i) + below(free // 2 - 3 * room)
                     for i in rng.permutation(2))
    return {
        "count": 1 + below(4), "p": 1 + below(13), "q": 1 + below(13), "k": keep,
        "m_base": below(config.weight_words - 28), "s_base": below(config.pairs - 60),
        "s_stride": below(12), "y_base": below(config.pairs - 8),
        "g_base": below(config.pairs - 8), "f_base": config.toper_registers,
        "f_stride": 1 + below(config.toper_registers),
        "v_base": 0, "v_stride": 1 + below(config.toper_registers), "r_base": lists,
        "r_stride": below_keep if op is Op.TOP else below(room // 2),
        "l_base": below(3 * config.toper_registers - keep) if op is Op.SRT else result,
        "shift": below(20), "shift2": 4 + below(9), "b_shift": 4 + below(9),
        "e_shift": 4 + below(9),
        "code_bits": code_bits, "acc_bits": acc_bits, "asymm": below(1 + (code_bits < 16)),
    }


def _lists_before(rng: np.random.Generator, config: Config, values: dict[str, int],
                  flags: int) -> list[int]:
    """What TOP is to find: vectors' lists, of which the shared one's ids are distinct only if it is
    one, and lists of the layer below."""
    program = Assembler()
    for flag, base, length in ((Flag.OWN, "f_base", "f_stride"),
                               (Flag.SHARED, "v_base", "v_stride")):
        if flags & flag:
            program.set(**values | {
                "l_base": values[base], "k": values[length], "p": 1 + int(rng.integers(0, 40)),
                "q": values["q" if flag is Flag.OWN else "p"],
                "m_base": int(rng.integers(0, config.weight_words // 2)),
                "s_base": int(rng.integers(0, 4 * config.input_beats - 60))})
            program.op(Op.SRT, Flag.INPUT)
    if flags & Flag.LISTS and rng.random() < 0.7:
        # A layer of its own: its neurons are this one's inputs.
        program.set(**values | {
            "l_base": values["r_base"], "k": values["r_stride"], "q": values["p"],
            "p": 1 + int(rng.integers(0, 13)), "g_base": int(rng.integers(0, config.pairs - 8)),
            "m_base": int(rng.integers(0, config.weight_words - 28)), "shift": 8})
        program.op(Op.TOP, Flag.OWN if flags & Flag.OWN else Flag.SHARED & flags)
    return program.words


def random_instruction(rng: np.random.Generator, config: Config, op: Op,
                       **sizes: int) -> list[int]:
    """Words that set every register for ``op``, and a valid ``op`` with random flags.

    ``sizes`` replace random values of registers; a Y_BASE only where pair memory is written.
    """
    values = random_registers(rng, config, op) | sizes
    flags = 0
    for flag in Flag:
        if (FLAGS[op] & flag and flag not in (Flag.POST0, Flag.POST1, Flag.BESIDE, Flag.SPECULATIVE)
                and rng.random() < 0.5):
            flags |= flag
    if op in _PRODUCTS:
        post = Post(rng.integers(3))
        flags |= post
        if post is Post.LOGIT:
            values["y_base"] = 0 if sizes else int(rng.integers(0, config.logit_pairs - 40))
    elif op is Op.LOSS:
        flags |= int(rng.integers(2)) * Flag.POST0
        values["s_base"] = sizes.get("s_base", int(rng.integers(0, config.logit_pairs - 52)))
        if not sizes and rng.random() < 0.7:
            # Only the largest errors are left: some samples have one, for Flag.WANTED.
            values["p"] = 1 + int(rng.integers(0, 3))
            largest = (3000 if flags & Flag.POST0 else 1 << 15) * values["mantissa"]
            values["e_shift"] = min(largest.bit_length(), 31)
    elif op in (Op.UPD, Op.SCT):
        if not values["acc_bits"] or flags & Flag.EVENT and flags & Flag.MASTER:
            flags &= ~int(Flag.EVENT | Flag.MASTER)
        if not flags & Flag.EVENT:
            total = values["code_bits"] + (values["acc_bits"] if flags & Flag.MASTER else 0)
            values["shift"] = min(int(rng.integers(0, 16 + min(total, 8))), 15 + total)
    if flags & Flag.INPUT and "s_base" not in sizes:
        # SRT has one sample.
        reach = (values.get("count", 1) - 1) * values.get("s_stride", 0) + values["p"]
        values["s_base"] = int(rng.integers(0, 4 * config.input_beats - reach))
    if op is Op.TOP and not sizes:
        return (_lists_before(rng, config, values, flags)
                + Assembler().set(**values).op(op, flags).words)
    return Assembler().set(**values).op(op, flags).words


def complete(image: Image, bodies: Sequence[list[int]]) -> tuple[list[int], int]:
    """The program that loads ``image``, executes ``bodies`` and stores everything; bytes stored."""
    program = Assembler()
    image.load(program)
    for body in bodies:
        program.words += body
    size = image.dump(program)
    return program.words, size


def random_program(rng: np.random.Generator, config: Config, operations: Sequence[Op],
                   length: int) -> tuple[Image, list[int], int]:
    """``length`` random instructions of ``operations``: what they find, the words, bytes stored."""
    image = Image.random(config, rng)
    bodies = [random_instruction(rng, config, operations[rng.integers(len(operations))])
              for _ in range(length)]
    return image, *complete(image, bodies)


def listing(words: Sequence[int]) -> str:
    """Instructions, one a line."""
    return "\n".join(f"{i:4} {decode(word) or hex(word)}" for i, word in enumerate(words))


@dataclasses.dataclass
class Outcome:
    """All that a program leaves behind."""

    cause: Cause
    pc: int
    counters: dict[str, int]
    dump: np.ndarray
    random: int
    times: dict[str, int]


#: Counters of cycles; :func:`differences` leaves them out, since they depend on the bus.
TIMES = ("CYCLES", "BUSY", "STALL_LOAD")
COUNTERS = ("LOSS", "CORRECT", "SAMPLES",
            *(f"SAT_{name.upper()}" for name in registers.SATURATIONS))


def run_golden(config: Config, image: Image, words: list[int], seed: int, size: int,
               machine: Machine | None = None) -> Outcome:
    """Run a program, on memories of zeros or on a ``machine`` that has run others before."""
    machine = machine or Machine(config, _DDR_BYTES)
    machine.state.ddr[:] = image.data
    machine.state.random = seed
    machine.load_program(words)
    machine.start()
    cause = machine.run()
    state = machine.state
    counters = {"LOSS": state.loss, "CORRECT": state.correct, "SAMPLES": state.samples,
                **{f"SAT_{name.upper()}": count for name, count in state.saturations.items()}}
    clock = machine.clock
    return Outcome(cause, machine.pc, counters, state.ddr[8 * _DUMP:8 * _DUMP + size].copy(),
                   state.random, dict(zip(TIMES, (clock.now, clock.busy, clock.stalled))))


def run_model(model, image: Image, words: list[int], seed: int, size: int,
              bound: int = 10_000_000) -> Outcome:
    """As :func:`run_golden` on a :class:`tangente.sim.model.Model`, just reset."""
    address = registers.address
    model.ddr[:image.data.size] = image.data
    for i, word in enumerate(words):
        model.write(registers.PROGRAM_WINDOW + 4 * i, word)
    for name, value in (("PC", 0), ("DDR_BASE", model.ddr_address), ("IRQ_ENABLE", 1)):
        model.write(address(name), value)
    model.write(address("SEED"), seed & 0xFFFFFFFF)
    model.write(address("SEED", 1), seed >> 32)
    model.write(address("CONTROL"), registers.Control.START)
    model.wait(bound)
    by_name = {register.name: register for register in registers.REGISTERS}

    def read(name: str) -> int:
        return sum(model.read(address(name, i)) << 32 * i for i in range(by_name[name].words))

    return Outcome(Cause(read("STATUS") >> 8 & 0xFF), read("PC"),
                   {name: read(name) for name in COUNTERS},
                   np.array(model.ddr[8 * _DUMP:8 * _DUMP + size]), read("SEED"),
                   {name: read(name) for name in TIMES})


def differences(config: Config, one: Outcome, two: Outcome) -> list[str]:
    """What differs, in words, at most a dozen lines."""
    lines = []
    for name in ("cause", "pc", "counters", "random"):
        if getattr(one, name) != getattr(two, name):
            lines.append(f"{name}: {getattr(one, name)} against {getattr(two, name)}")
    at = 0
    parts = [(space.name, depth(space, config) * beats_per_unit(space, config))
             for space in _STORED]
    parts.append(("ROWS", one.dump.size // 8 - sum(size for _, size in parts)))
    for name, beats in parts:
        a, b = (x.dump[8 * at:8 * (at + beats)].view(np.int16) for x in (one, two))
        wrong = np.flatnonzero(a != b)
        if wrong.size:
            width = {"WEIGHT": 2 * config.lanes, "ROWS": 2 * config.lanes}.get(name, 4)
            shown = [f"[{i // width},{i % width}] {a[i]} against {b[i]}" for i in wrong[:4]]
            lines.append(f"{name}: {wrong.size} differ: " + "; ".join(shown))
        at += beats
    return lines
