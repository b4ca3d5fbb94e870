"""The random generator of stochastic rounding, twin of golden.lfsr."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Mixer"]


class Mixer(wiring.Component):
    """64-bit xorshift state, and its mix with a word's address.

    Members
    -------
    load, seed : In. Set the state.
    advance : In. One step of the state; ``state`` holds it in the next cycle.
    state : Out.
    word : In, 16. Address of a weight word.
    random : Out, 64. Its mix, :data:`LATENCY` cycles later.
    """

    LATENCY = 4

    load: In(1)
    seed: In(64)
    advance: In(1)
    state: Out(64, init=1)
    word: In(16)
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

        start, one, two, three = (Signal(64, name=f"mix_{i}", reset_less=True) for i in range(4))
        m.d.comb += start.eq(self.state ^ self.word.replicate(4))
        m.d.sync += one.eq(start + start.rotate_left(8))
        middle = Signal(64)
        m.d.comb += middle.eq(one ^ one >> 29)
        m.d.sync += [
            two.eq(middle + middle.rotate_left(24)),
            three.eq(two ^ two >> 32),
            self.random.eq(three),
        ]
        return m
