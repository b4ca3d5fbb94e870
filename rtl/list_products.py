"""Products of ranked weights and the shared list; see tangente.golden.lists, *shared*."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..golden.config import Config
from ..golden.lists import PRODUCT_BITS
from .delay import delay
from .list_sort import id_layout

__all__ = ["ListProducts"]


class ListProducts(wiring.Component):
    """One product a cycle for every toper of a group: rank by rank, K div a of the a-th.

    The magnitudes' products are rounded half up. Two topers share a multiplier.

    Members
    -------
    keep, length : In. K, and entries of the shared list; they stand.
    write, write_index, write_id, write_value : In. An entry of the shared list.
    start : In. Begin (pulse).
    weight_{t}, size_{t} : In. {id, value} of toper t's present rank, and the value's magnitude; the
        first one's from the cycle after ``start`` on.
    advance : Out. The next rank is the present one from the next cycle on.
    valid : Out. ``id_{t}`` and ``value_{t}`` are to be offered, :data:`LATENCY` cycles after their
        weights stood.
    alive : In. Whether any toper took what was ``valid`` :data:`VERDICT` cycles ago.
    over : Out. The last one's verdict is given in this cycle (pulse).
    """

    #: Cycles from a rank's weight: its register, product, half added.
    LATENCY = 3
    #: From ``valid`` to the verdict: the offer's register, the toper.
    VERDICT = 3

    def __init__(self, config: Config) -> None:
        self.config = config
        bits, topers = config.element_bits, config.toper_lanes
        registers = config.toper_registers
        super().__init__({
            "keep": In(range(registers + 1)), "length": In(range(registers + 1)),
            "write": In(1), "write_index": In(range(registers)), "write_id": In(id_layout(config)),
            "write_value": In(signed(bits)), "start": In(1), "advance": Out(1),
            **{f"weight_{t}": In(config.id_bits + bits) for t in range(topers)},
            **{f"size_{t}": In(bits - 1) for t in range(topers)},
            "valid": Out(1),
            **{f"id_{t}": Out(id_layout(config)) for t in range(topers)},
            **{f"value_{t}": Out(signed(bits)) for t in range(topers)},
            "alive": In(1), "over": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config, bits = self.config, self.config.element_bits
        registers = config.toper_registers
        layout = data.StructLayout({"value": signed(bits), "id": id_layout(config)})
        m.submodules.shared = shared = Memory(
            shape=layout.size, depth=1 << (registers - 1).bit_length(), init=[])
        shared.attrs["ram_style"] = "distributed"
        write, read = shared.write_port(), shared.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.write_index),
                     write.data.eq(Cat(self.write_value, self.write_id))]

        # Entry i of rank a, both from 0, is made if (a + 1) (i + 1) is at most K.
        active, ended = Signal(), Signal()
        index, reach = Signal(range(registers)), Signal(range(2 * registers + 1))
        rank = Signal(range(registers))
        step = rank + 1
        row_ends = (reach + step > self.keep) | (index + 1 == self.length)
        with m.If(self.start):
            m.d.sync += [active.eq(1), rank.eq(0), index.eq(0), reach.eq(1)]
        with m.Elif(ended):
            m.d.sync += active.eq(0)
        with m.Elif(active):
            m.d.sync += [index.eq(index + 1), reach.eq(reach + step)]
            with m.If(row_ends):
                m.d.sync += [index.eq(0), reach.eq(rank + 2), rank.eq(step),
                             active.eq(step != self.keep)]
        m.d.comb += [read.addr.eq(index), self.advance.eq(active & row_ends)]

        under_way = [active]
        for i in range(self.LATENCY + self.VERDICT):
            under_way.append(Signal(name=f"under_way_{i}"))
            m.d.sync += under_way[-1].eq(under_way[-2])
        firsts = delay(m, index == 0, self.LATENCY + self.VERDICT, "first")
        m.d.comb += [
            self.valid.eq(under_way[self.LATENCY]),
            ended.eq(under_way[-1] & firsts & ~self.alive),
            self.over.eq(under_way[-1] & ~under_way[-2]),
        ]
        entry = data.View(layout, delay(m, read.data, 1, "entry"))
        size = delay(m, _magnitude(read.data[:bits]), 1, "size")
        # Magnitudes of two topers side by side make one multiplication.
        wide = 2 * (bits - 1)
        # Zeros between them, in any product of use: of constants Yosys would make no register in
        # the DSP48E1, and with them of none of the operand's bits.
        gap = (~active).replicate(bits - 1)
        for first in range(0, config.toper_lanes, 2):
            both = Signal(wide + bits - 1, name=f"sizes_{first}", reset_less=True)
            product = Signal(2 * wide, name=f"product_{first}", reset_less=True)
            total = Signal(2 * wide, name=f"total_{first}", reset_less=True)
            m.d.sync += [
                both.eq(Cat(getattr(self, f"size_{first}"), gap,
                            getattr(self, f"size_{first + 1}"))),
                product.eq(both * size),
                total.eq(product + (1 << PRODUCT_BITS - 1 | 1 << PRODUCT_BITS - 1 + wide)),
            ]
            for t in (first, first + 1):
                weight = data.View(layout, delay(m, getattr(self, f"weight_{t}"), 1, f"weight_{t}"))
                identity = Signal(id_layout(config), name=f"sum_{t}", reset_less=True)
                negative = delay(m, weight.value[-1] ^ entry.value[-1], 2, f"negative_{t}")
                amount = total.word_select(t - first, wide)[PRODUCT_BITS:]
                m.d.sync += [
                    identity.word.eq(entry.id.word + weight.id.word),
                    identity.half.eq(entry.id.half | weight.id.half),
                    identity.lane.eq(entry.id.lane | weight.id.lane),
                ]
                m.d.comb += [
                    getattr(self, f"value_{t}").eq(
                        (amount ^ negative.replicate(bits)) + negative),
                    getattr(self, f"id_{t}").eq(delay(m, identity.as_value(), 1, f"id_{t}")),
                ]
        return m


def _magnitude(value):
    """Of a signed value whose most negative code does not occur."""
    return (value ^ value[-1].replicate(len(value)))[:-1] + value[-1]
