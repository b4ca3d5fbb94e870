"""Random programs for the engine, and the means to run them on golden and on the RTL alike."""

from __future__ import annotations

import dataclasses

import numpy as np

from tangente.golden import registers
from tangente.golden.config import Config
from tangente.golden.isa import Cause, Flag, Op, Reg, Space, encode
from tangente.golden.machine import Machine
from tangente.golden.state import beats_per_unit, depth

#: DDR layout in beats: what a program loads, zeros, and what it stores.
_IMAGE, _ZEROS, _DUMP = 0, 1 << 14, 1 << 15
_DDR_BYTES = 1 << 22


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
        for space, values in (
                (Space.INPUT, rng.integers(0, 256, size[Space.INPUT]).astype(np.uint8)),
                (Space.TARGET, rng.integers(-3000, 3000, size[Space.TARGET] // 2).astype(np.int16)),
                (Space.WEIGHT, weights),
                (Space.BIAS, rng.integers(-3000, 3000, size[Space.BIAS] // 2).astype(np.int16))):
            raw = values.view(np.uint8)
            data[at[space]:at[space] + raw.size] = raw
        # The first input pair copies rows to weights in the dump.
        data[at[Space.INPUT]:at[Space.INPUT] + 2] = (64, 0)
        return cls(config, data)

    @staticmethod
    def _sizes(config: Config) -> dict[Space, int]:
        return {space: 8 * depth(space, config) * beats_per_unit(space, config)
                for space in (Space.INPUT, Space.TARGET, Space.WEIGHT, Space.BIAS)}

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

        for space in (Space.PAIR, Space.LOGIT, Space.BIAS, Space.WEIGHT):
            store(space)
        chunk = min(config.weight_words, config.rows, 4095 // config.lanes)
        for row in range(0, config.rows, chunk):
            program.set(ddr=_ZEROS, local=0, length=chunk).op(Op.LOAD, Space.WEIGHT)
            program.set(count=1, p=1, q=chunk * config.lanes, m_base=0, s_base=0, s_stride=0,
                        v_base=row, v_stride=0, shift=0, code_bits=16, acc_bits=0)
            if row + chunk > config.rows:
                program.set(q=(config.rows - row) * config.lanes)
            program.op(Op.UPD, Flag.INPUT)
            program.set(ddr=at, local=0, length=chunk).op(Op.STORE, Space.WEIGHT)
            at += chunk * config.beats_per_word
        program.op(Op.HALT)
        return 8 * (at - _DUMP)


@dataclasses.dataclass
class Outcome:
    """All that a program leaves behind."""

    cause: Cause
    pc: int
    counters: dict[str, int]
    dump: np.ndarray
    random: int


COUNTERS = ("LOSS", "CORRECT", "SAMPLES",
            *(f"SAT_{name.upper()}" for name in registers.SATURATIONS))


def run_golden(config: Config, image: Image, words: list[int], seed: int, size: int) -> Outcome:
    machine = Machine(config, _DDR_BYTES)
    machine.state.ddr[:] = image.data
    machine.state.random = seed
    machine.load_program(words)
    machine.start()
    cause = machine.run()
    state = machine.state
    counters = {"LOSS": state.loss, "CORRECT": state.correct, "SAMPLES": state.samples,
                **{f"SAT_{name.upper()}": count for name, count in state.saturations.items()}}
    return Outcome(cause, machine.pc, counters, state.ddr[8 * _DUMP:8 * _DUMP + size].copy(),
                   state.random)


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
                   np.array(model.ddr[8 * _DUMP:8 * _DUMP + size]), read("SEED"))


def differences(config: Config, one: Outcome, two: Outcome) -> list[str]:
    """What differs, in words, at most a dozen lines."""
    lines = []
    for name in ("cause", "pc", "counters", "random"):
        if getattr(one, name) != getattr(two, name):
            lines.append(f"{name}: {getattr(one, name)} against {getattr(two, name)}")
    at = 0
    parts = [(space.name, depth(space, config) * beats_per_unit(space, config))
             for space in (Space.PAIR, Space.LOGIT, Space.BIAS, Space.WEIGHT)]
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
