"""The multiply-accumulate primitive of the 7 series (UG479), in the one form the array uses."""

import pathlib

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DSP48E1", "MODEL"]

#: Our simulation model of the primitive, to be compiled beside the exported Verilog.
MODEL = pathlib.Path(__file__).parent / "verilog" / "DSP48E1.v"

#: OPMODE (UG479 tables 2-7 to 2-9) without the bits that change: X = Y = 0, Z = P.
_OPMODE_HOLD = 0b010_00_00


class DSP48E1(wiring.Component):
    """One DSP48E1: ``p <= (c if clear else p) +- (d if use_d else a) * b``.

    Everything that belongs to one product is presented in the same cycle t; ``p`` holds the sum
    with that product in cycle t + :data:`LATENCY`. One product a cycle. Wraps modulo 2^48.

    Every pipeline register is used: A and D, AD, M and P; two for B, which meets AD; INMODE,
    OPMODE, ALUMODE, CARRYINSEL, CARRYIN. The operand multiplexer is the pre-adder, gated by INMODE
    (table 2-5: 00000 selects A, 00110 selects D), and takes no LUT. OPMODE, ALUMODE and C act two
    cycles after A, so that ``clear``, ``enable``, ``subtract`` and ``c`` pass two flip-flops
    outside; a constant costs none. The copies stay apart where the caller's signals do: drive each
    column from its own registers.

    A low ``enable`` adds nothing: X = Y = 0, Z = P through the registered OPMODE, and not the
    unregistered CEP, which would be the longest wire of the array. The registers have no reset: the
    first product of a sum has ``clear``.

    Members
    -------
    a : signed(25), In. First choice of the multiplicand.
    d : signed(25), In. Second choice of the multiplicand.
    use_d : unsigned(1), In. Multiply ``d``, not ``a``.
    b : signed(18), In. Multiplier.
    c : signed(48), In. Value that a new sum starts from.
    clear : unsigned(1), In. This product starts a new sum, from ``c``. Without ``enable``: ignored.
    enable : unsigned(1), In. Low: ``p`` keeps its value and all other inputs are ignored.
    subtract : unsigned(1), In. Subtract the product.
    p : signed(48), Out. The sum.
    """

    #: Cycles from the inputs to ``p``: A, AD, M, P.
    LATENCY = 4

    a: In(signed(25))
    d: In(signed(25))
    use_d: In(1)
    b: In(signed(18))
    c: In(signed(48))
    clear: In(1)
    enable: In(1)
    subtract: In(1)
    p: Out(signed(48))

    def elaborate(self, platform) -> Module:
        m = Module()

        enable, clear, subtract = self.enable, self.clear & self.enable, self.subtract
        c = self.c
        for stage in range(self.LATENCY - 2):
            delayed = (Signal(name=f"enable_{stage}", reset_less=True),
                       Signal(name=f"clear_{stage}", reset_less=True),
                       Signal(name=f"subtract_{stage}", reset_less=True),
                       Signal(signed(48), name=f"c_{stage}", reset_less=True))
            m.d.sync += [target.eq(value)
                         for target, value in zip(delayed, (enable, clear, subtract, c))]
            enable, clear, subtract, c = delayed

        opmode = Signal(7)
        m.d.comb += opmode.eq(_OPMODE_HOLD | clear << 4 | enable << 2 | enable)

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
            i_CLK=ClockSignal(),
            # A[29:25] does not reach the multiplier: high, as UG479 table 2-2 asks of unused bits.
            i_A=self.a.as_unsigned() | Const(0b11111 << 25, 30),
            i_B=self.b,
            i_C=c,
            i_D=self.d,
            i_INMODE=self.use_d << 1 | self.use_d << 2 | Const(0, 5),
            i_OPMODE=opmode,
            # Only AREG = 2 and INMODE[0] use A1.
            i_CEA1=Const(0, 1),
            # Table 2-10: 0000 is Z + X + Y + CIN, 0011 is Z - (X + Y + CIN).
            i_ALUMODE=Cat(subtract.replicate(2), Const(0, 2)),
            i_CARRYIN=Const(0, 1),
            i_CARRYINSEL=Const(0, 3),
            # Unused cascade inputs: low.
            i_ACIN=Const(0, 30),
            i_BCIN=Const(0, 18),
            i_CARRYCASCIN=Const(0, 1),
            i_MULTSIGNIN=Const(0, 1),
            i_PCIN=Const(0, 48),
            o_P=self.p,
        )
        return m
