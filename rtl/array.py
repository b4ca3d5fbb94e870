"""The array: two halves of DSP48E1 lanes, with their operands' registers and what sums start from.

Per lane: U is the weight's code with what D adds, or D alone (the DSP's pre-adder), V is the lane's
element of the row or the half's scalar. Half 1 works one cycle after half 0.

No operand takes a LUT: each bit has flip-flops of its own, whose set and reset pins are driven by
the constants and scalars that all lanes share (UG474, FDRE and FDSE). A mask resets; a scalar's
zeros reset a row of ones.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..golden import lfsr
from ..golden.config import Config
from .delay import delay
from .dsp48e1 import DSP48E1
from .rule import Pools, StartRule

__all__ = ["MacArray", "HalfControl"]


class HalfControl(wiring.Signature):
    """Control of one half. Times count from the product's operands at the DSP48E1."""

    def __init__(self) -> None:
        super().__init__({
            "load": Out(1),        # -1: the word is of use
            "mask": Out(16),       # -1: bits of its slots that are
            "v_scalar": Out(signed(9)),  # -1
            "enable": Out(1),      # 0: a product this cycle
            "clear": Out(1),       # 0: it starts a sum
            "only_d": Out(1),      # 0: U is D, without the weight
            "d": Out(signed(25)),  # 0
        })


class MacArray(wiring.Component):
    """2 x lanes multiply-accumulators.

    Members
    -------
    control0, control1 : In. Of each half; half 1's one cycle after half 0's.
    words0, words1 : In, lanes x 16. The word for each half, a cycle before its operands.
    row : In, lanes x E. The row, two cycles before half 0's operands.
    use_row : In. V is the row's element, not the scalar; stable while a job runs.
    use_slope : In. V is the slope of ReLU at the element; likewise.
    random, starting : In, 64 and 1. The mixed word of half 0's operands; they start a sum. Both a
        cycle earlier where half 1's operands stand with half 0's.
    start : In. See :class:`tangente.rtl.rule.StartRule`.
    fold : In. Half 1's sums become those of both halves, a cycle after their last product of which
        half 0's operands came two cycles ago; neither half has a product instead.
    signs : In. Products are subtracted in the lanes whose random bit at place 0 is set; stable
        while a job runs.
    slots0, slots1 : Out, lanes x 16. The masked word of each half.
    ties0, ties1 : Out, lanes bits. See :class:`DSP48E1`.
    sums0, sums1 : Out, lanes signed(48) each: ``sums0_{l}``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        lanes, bits = config.lanes, config.element_bits
        members = {}
        for half in (0, 1):
            members |= {
                f"control{half}": In(HalfControl()),
                f"words{half}": In(lanes * 16), f"slots{half}": Out(lanes * 16),
                f"ties{half}": Out(lanes),
                **{f"sums{half}_{lane}": Out(signed(48)) for lane in range(lanes)},
            }
        super().__init__(members | {
            "row": In(lanes * bits), "use_row": In(1), "use_slope": In(1), "random": In(64),
            "starting": In(1), "start": In(StartRule()), "signs": In(1), "fold": In(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = self.config.lanes
        starts = self._elaborate_starts(m)
        subtracts = self._elaborate_signs(m)
        rows = self._elaborate_rows(m)
        fold, below = delay(m, self.fold, DSP48E1.CONTROL, "fold"), []
        for half in (0, 1):
            control = getattr(self, f"control{half}")
            words = getattr(self, f"words{half}")
            slots = []
            for lane in range(lanes):
                slot = Signal(16, name=f"slot{half}_{lane}", reset_less=True)
                with m.If(control.load):
                    m.d.sync += slot.eq(Cat(Mux(control.mask[k], words[lane * 16 + k], 0)
                                            for k in range(16)))
                slots.append(slot)
            m.d.comb += getattr(self, f"slots{half}").eq(Cat(slots))
            enable = delay(m, control.enable, DSP48E1.CONTROL, f"enable{half}")
            clear = delay(m, control.clear & control.enable, DSP48E1.CONTROL, f"clear{half}")
            for lane in range(lanes):
                m.submodules[f"dsp{half}_{lane}"] = dsp = DSP48E1()
                m.d.comb += [
                    dsp.a.eq(slots[lane].as_signed()),
                    dsp.d.eq(control.d),
                    dsp.only_d.eq(control.only_d),
                    dsp.b.eq(rows[half][lane].as_signed()),
                    dsp.c.eq(starts[half][lane]),
                    dsp.clear.eq(clear), dsp.enable.eq(enable),
                    dsp.subtract.eq(subtracts[half][lane]),
                    dsp.fold.eq(fold if half else 0), dsp.below.eq(below[lane] if half else 0),
                    getattr(self, f"sums{half}_{lane}").eq(dsp.p),
                    getattr(self, f"ties{half}")[lane].eq(dsp.tie),
                ]
                if not half:
                    below.append(dsp.above)
        return m

    def _elaborate_rows(self, m: Module) -> list[list[Signal]]:
        """V of each half: the row, or a row of ones of which the scalar's zeros are reset."""
        bits = self.config.element_bits
        ones = Const(-1, bits)
        early = []
        for lane in range(self.config.lanes):
            element = self.row[lane * bits:lane * bits + bits]
            above_zero = ~element[-1] & element.any()
            value = Mux(self.use_slope, above_zero, element)
            first = Signal(bits, name=f"element{lane}", reset_less=True)
            m.d.sync += first.eq(Mux(self.use_row, value, ones))
            early.append(first)
        rows = []
        for half in (0, 1):
            keep = Signal(bits, name=f"keep{half}")
            m.d.comb += keep.eq(getattr(self, f"control{half}").v_scalar
                                | self.use_row.replicate(bits))
            operands = []
            for lane, value in enumerate(early):
                operand = Signal(bits, name=f"v{half}_{lane}", reset_less=True)
                m.d.sync += operand.eq(Cat(
                    Mux(keep[k], value[k], 0) for k in range(bits)))
                operands.append(operand)
            rows.append(operands)
            early = [delay(m, value, 1, f"element{lane}") for lane, value in enumerate(early)]
        return rows

    def _elaborate_signs(self, m: Module) -> list[list[Value]]:
        """Whether a product is subtracted, with its ``enable`` at the DSP48E1."""
        wires, lanes = lfsr.wires(self.config.lanes), self.config.lanes
        table = lfsr.lane_wires(lanes)
        signed_now = self.signs & self.control0.enable
        result: list[list[Value]] = []
        for half in (0, 1):
            values = []
            for lane in range(lanes):
                a, b, c = wires[table[half * lanes + lane][0]]
                bit = signed_now & (self.random[a] ^ self.random[b] ^ self.random[c])
                # Half 1's operands are a cycle later.
                values.append(delay(m, bit, DSP48E1.CONTROL + half, f"sign{half}_{lane}"))
            result.append(values)
        return result

    def _elaborate_starts(self, m: Module) -> list[list[Value]]:
        """What sums start from: wires of the mixed word that the lanes share, or ones; masked.

        Loaded for the first product of a sum; zero once where no sum starts from anything.
        """
        start, lanes = self.start, self.config.lanes
        wires = Cat(self.random[a] ^ self.random[b] ^ self.random[c]
                    for a, b, c in lfsr.wires(lanes))
        pools = []
        for index in range(len(Pools)):
            pool = Signal(len(wires), name=f"pool{index}", reset_less=True)
            with m.If(self.starting & start.used):
                # Complemented: see tangente.rtl.rule.
                m.d.sync += pool.eq(Mux(start.random[index], ~wires, Const(-1, len(wires))))
            pools.append(pool)
        # A reset, which the start values outlive, has to make them zero.
        used = Signal(init=1)
        with m.If(self.starting):
            m.d.sync += used.eq(start.used)
        loads = delay(m, self.starting & (start.used | used), 1, "loads")
        table = lfsr.lane_wires(lanes)
        starts: list[list[Value]] = []
        for half in (0, 1):
            values: list[Value] = []
            for lane in range(lanes):
                value = Signal(lfsr.PLACES, name=f"start{half}_{lane}", reset_less=True)
                chosen = table[half * lanes + lane]
                with m.If(loads):
                    m.d.sync += value.eq(Cat(
                        Mux(start.mask[place], pool[chosen[place]], 0)
                        for pool, places in zip(pools, Pools) for place in places))
                values.append(Cat(value, start.top.replicate(48 - lfsr.PLACES)).as_signed())
            starts.append(values)
            # Another sum may start in the next cycle.
            loads = delay(m, loads, 1, f"loads{half}")
            pools = [delay(m, pool, 1, f"pool{index}") for index, pool in enumerate(pools)]
        return starts


def pick(m: Module, values: list, index: Signal, name: str):
    """``values[index]`` of a cycle ago: registered within groups of four, one LUT a bit."""
    high = Signal(range(max(2, -(-len(values) // 4))), name=f"{name}_high", reset_less=True)
    m.d.sync += high.eq(index[2:])
    groups = []
    for group, value in enumerate(_fours(values, index)):
        part = Signal.like(values[0], name=f"{name}_group{group}", reset_less=True)
        m.d.sync += part.eq(value)
        groups.append(part)
    while len(groups) > 1:
        groups, high = _fours(groups, high), high[2:]
    return groups[0]


def _fours(values: list, index: Value) -> list:
    """Of each four values the one that the lowest bits of ``index`` say; the last may be fewer."""
    result = []
    for group in range(0, len(values), 4):
        few = [values[min(group + i, len(values) - 1)] for i in range(4)]
        pairs = [few[i] if group + i + 1 >= len(values) else Mux(index[0], few[i + 1], few[i])
                 for i in (0, 2)]
        result.append(pairs[0] if group + 2 >= len(values) else Mux(index[1], pairs[1], pairs[0]))
    return result
