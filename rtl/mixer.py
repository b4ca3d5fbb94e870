"""The random generator of stochastic rounding, twin of golden.lfsr."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden.lfsr import DIFFUSIONS, KEYS, SIGN_STATE
from .delay import delay

__all__ = ["Mixer"]


def _diffuse(value: Value, counts: tuple[int, ...]) -> Value:
    return reduce(xor, (value.rotate_left(count) for count in counts), value)


def _add(one: Value, two: Value) -> Value:
    """Both halves of 32 bits: a carry chain of 64 would be too long."""
    return Cat((one[at:at + 32] + two[at:at + 32])[:32] for at in (0, 32))


class Mixer(wiring.Component):
    """64-bit xorshift state, and its mix with a word's address.

    Members
    -------
    load, seed : In. Set the state.
    advance : In. One step of the state; ``state`` holds it in the next cycle.
    state : Out.
    word : In, 16. Address of a weight word.
    signs : In. Mix it with golden.lfsr.SIGN_STATE instead; stable while a job runs.
    random : Out, 64. Its mix, :data:`LATENCY` cycles later.
    """

    LATENCY = 4

    load: In(1)
    seed: In(64)
    advance: In(1)
    state: Out(64, init=1)
    word: In(16)
    signs: In(1)
    random: Out(64)

    def elaborate(self, platform) -> Module:
        m = Module()
        first, second = Signal(64), Signal(64)
        m.d.comb += [first.eq(self.state ^ self.state << 13),
                     second.eq(first ^ first >> 7)]
        with m.If(self.advance):
            m.d.sync += self.state.eq(second ^ second << 17)
        with m.If(self.load):
            m.d.sync += self.state.eq(self.seed)

        spread, one, two = (Signal(64, name=f"mix_{i}", reset_less=True) for i in range(3))
        state = Mux(self.signs, Const(SIGN_STATE, 64), self.state)
        keys = [delay(m, state, stages, f"key_{stages}") for stages in (1, 2)]
        m.d.sync += [
            spread.eq(_diffuse(state ^ self.word.replicate(4), DIFFUSIONS[0])),
            one.eq(_add(spread, keys[0].rotate_left(KEYS[0]))),
            two.eq(_add(_diffuse(one, DIFFUSIONS[1]), keys[1].rotate_left(KEYS[1]))),
            self.random.eq(_diffuse(two, DIFFUSIONS[2])),
        ]
        return m
