"""The multiply-accumulate primitive of the 7 series (UG479), in the one form the array uses."""

import pathlib

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BEHAVIOUR", "DSP48E1", "MODEL"]

#: Our simulation model of the primitive, to be compiled beside the exported Verilog.
MODEL = pathlib.Path(__file__).parent / "verilog" / "DSP48E1.v"

#: The platform for which :class:`DSP48E1` is made of operators, not of the primitive.
BEHAVIOUR = "behaviour"

#: Bits of ``a`` and ``d`` that the pre-adder takes.
_MULTIPLICAND = 25


class DSP48E1(wiring.Component):
    """One DSP48E1: ``p <= (c if clear else p) +- (d if only_d else a + d) * b``; or ``p + below``.

    The operands of one product are presented in cycle t; what is done with it (``c``, ``clear``,
    ``enable``, ``subtract``) in cycle t + :data:`CONTROL`, because these registers stand behind the
    multiplier's; ``p`` holds the sum with that product in cycle t + :data:`LATENCY`. One product a
    cycle. Wraps modulo 2^48.

    Every pipeline register is used: A and D, AD, M and P; two for B, which meets AD; INMODE,
    OPMODE, ALUMODE, CARRYINSEL, CARRYIN. The operand multiplexer is the pre-adder, gated by INMODE
    (table 2-5: 00100 adds D to A, 00110 selects D), and takes no LUT. The copies stay apart where
    the caller's signals do: drive each column from its own registers.

    A low ``enable`` adds nothing: X = Y = 0, Z = P through the registered OPMODE, and not the
    unregistered CEP, which would be the longest wire of the array. The registers have no reset: the
    first product of a sum has ``clear``.

    Where a sum starts from 2^(n - 1) - 1, its high part, from bit n on, is the products' sum
    rounded to nearest, ties down; ``tie`` is the pattern detector's (section Convergent Rounding,
    ROUNDING_MODE2: the mask follows C): the low n + 1 bits are all ones, so that it was a tie and
    the result is odd: one more makes it even.

    Members
    -------
    a : signed(25), In. First summand of the multiplicand.
    d : signed(25), In. Second summand of the multiplicand; wraps modulo 2^25.
    only_d : unsigned(1), In. Multiply ``d``, not ``a + d``.
    b : signed(18), In. Multiplier.
    c : signed(48), In. Value that a new sum starts from; for ``tie``, in all of its products.
    clear : unsigned(1), In. This product starts a new sum, from ``c``. Not without ``enable``.
    enable : unsigned(1), In. Low: ``p`` keeps its value.
    subtract : unsigned(1), In. Subtract the product; with ``enable``.
    fold : unsigned(1), In. Instead of a product ``below`` is added; without ``enable``.
    below : signed(48), In. ``above`` of the DSP48E1 beneath it in its column, and of no other.
    above : signed(48), Out. ``p``, by the cascade (PCOUT to PCIN).
    p : signed(48), Out. The sum.
    tie : unsigned(1), Out. See above.
    """

    #: Cycles from the operands to ``p``: A, AD, M, P.
    LATENCY = 4
    #: Cycles from the operands to their ``c``, ``clear``, ``enable``.
    CONTROL = 2

    a: In(signed(_MULTIPLICAND))
    d: In(signed(_MULTIPLICAND))
    only_d: In(1)
    b: In(signed(18))
    c: In(signed(48))
    clear: In(1)
    enable: In(1)
    subtract: In(1)
    fold: In(1)
    below: In(signed(48))
    above: Out(signed(48))
    p: Out(signed(48))
    tie: Out(1)

    def elaborate(self, platform) -> Module:
        return self._behaviour() if platform == BEHAVIOUR else self._instance()

    def _behaviour(self) -> Module:
        """The same in registers and operators, for tools that know no primitives."""
        m = Module()

        def register(name: str, value: Value) -> Signal:
            result = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += result.eq(value)
            return result

        a, d, only_d = (register(name, getattr(self, name)) for name in ("a", "d", "only_d"))
        total = Signal(signed(48))
        p = register("p_q", total)
        multiplicand = register("ad", (Mux(only_d, 0, a) + d)[:_MULTIPLICAND].as_signed())
        product = register("m", multiplicand * register("b2", register("b1", self.b)))
        c, clear, enable, subtract, fold = (
            register(f"{name}_q", getattr(self, name))
            for name in ("c", "clear", "enable", "subtract", "fold"))
        start, change = Mux(clear, c, p), Mux(enable, product, Mux(fold, self.below, 0))
        m.d.comb += [total.eq(Mux(subtract, start - change, start + change)), self.p.eq(p),
                     self.above.eq(p), self.tie.eq(register(
                         "found", (total.as_unsigned() | ~Cat(Const(3, 2), c[:46])).all()))]
        return m

    def _instance(self) -> Module:
        m = Module()

        # OPMODE (UG479 tables 2-7 to 2-9): X, Y = M or 0, Z = P or C; to fold X = P, Z = PCIN.
        opmode = Cat(self.enable, self.fold, self.enable, Const(0, 1), self.clear | self.fold,
                     ~self.fold, Const(0, 1))

        enables = ("A2", "AD", "ALUMODE", "B1", "B2", "C", "CARRYIN", "CTRL", "D", "INMODE", "M",
                   "P")
        resets = ("A", "ALLCARRYIN", "ALUMODE", "B", "C", "CTRL", "D", "INMODE", "M", "P")
        registers = {"A": 1, "ACASC": 1, "AD": 1, "ALUMODE": 1, "B": 2, "BCASC": 2, "C": 1,
                     "CARRYIN": 1, "CARRYINSEL": 1, "D": 1, "INMODE": 1, "M": 1, "OPMODE": 1,
                     "P": 1}
        m.submodules.primitive = Instance(
            "DSP48E1",
            *(("p", f"{name}REG", count) for name, count in registers.items()),
            *(("i", f"CE{name}", Const(1, 1)) for name in enables),
            *(("i", f"RST{name}", Const(0, 1)) for name in resets),
            p_USE_DPORT="TRUE",
            p_USE_PATTERN_DETECT="PATDET", p_SEL_MASK="ROUNDING_MODE2",
            p_PATTERN=Const(-1, 48),
            i_CLK=ClockSignal(),
            # A[29:25] does not reach the multiplier: high, as UG479 table 2-2 asks of unused bits.
            i_A=self.a.as_unsigned() | Const(0b11111 << 25, 30),
            i_B=self.b,
            i_C=self.c,
            i_D=self.d,
            i_INMODE=Cat(Const(0, 1), self.only_d, Const(1, 3)),
            i_OPMODE=opmode,
            # Only AREG = 2 and INMODE[0] use A1.
            i_CEA1=Const(0, 1),
            # Table 2-10: 0000 is Z + X + Y + CIN, 0011 is Z - (X + Y + CIN).
            i_ALUMODE=Cat(self.subtract.replicate(2), Const(0, 2)),
            i_CARRYIN=Const(0, 1),
            i_CARRYINSEL=Const(0, 3),
            # Unused cascade inputs: low.
            i_ACIN=Const(0, 30),
            i_BCIN=Const(0, 18),
            i_CARRYCASCIN=Const(0, 1),
            i_MULTSIGNIN=Const(0, 1),
            i_PCIN=self.below,
            o_P=self.p,
            o_PCOUT=self.above,
            o_PATTERNDETECT=self.tie,
        )
        return m
