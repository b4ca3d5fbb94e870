"""The blocks whose area and paths are measured, and the parts that they must fit."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from tangente.golden.config import Config
from tangente.golden.flow import GROUP

__all__ = ["BETWEEN", "BLOCKS", "Block", "PARTS", "Part", "XC7Z020", "WHOLE"]


@dataclasses.dataclass(frozen=True)
class Part:
    """A part: what it has, and how much of that may be used so that it can still be routed.

    Members
    -------
    name : of the part.
    lut, ff, dsp, bram36 : what it has.
    shares : the part of each that may be used.
    """

    name: str
    lut: int
    ff: int
    dsp: int
    bram36: int
    shares: dict[str, float]

    @property
    def limits(self) -> dict[str, int]:
        """The most of each that may be used."""
        return {name: int(getattr(self, name) * share + 1e-9)
                for name, share in self.shares.items()}


#: The PYNQ-Z2's (DS190).
XC7Z020 = Part("xc7z020", lut=53_200, ff=106_400, dsp=220, bram36=140,
               shares={"lut": 0.85, "ff": 0.85, "dsp": 1.0, "bram36": 0.95})


@dataclasses.dataclass(frozen=True)
class Block:
    """A component that is synthesised by itself.

    Members
    -------
    name : of the block; also of its Verilog module.
    module : where in :mod:`tangente.rtl` it is.
    component : the class.
    arguments : what the class is made with.
    per_lane : its area grows by the lane: a few lanes tell that of all.
    few : so many, from which the line is carried on.
    copies : how many the engine has.
    place : of its instances in the accelerator, a regular expression.
    period : picoseconds, by the mapper's own delays, that a path may take. Where there is time
        left it saves LUTs; else it would make every path as short as it can. Chosen so that none
        takes more than eight LUTs.
    flow : of Yosys's scripts for the mapper (``abc9.script.FLOW``); by default its own choice.
        ``flow3`` maps three times and keeps the best, which saves some blocks a tenth.
    """

    name: str
    module: str
    component: str
    arguments: Callable[[Config], tuple[Any, ...]] = lambda config: (config,)
    per_lane: bool = False
    copies: int = 1
    place: str = ""
    few: tuple[int, int] = (8, 16)
    period: int = 5000
    flow: str = ""

    def make(self, config: Config) -> Any:
        """The component, to be elaborated."""
        module = importlib.import_module(f"tangente.rtl.{self.module}")
        return getattr(module, self.component)(*self.arguments(config))


def _memory(name: str, place: str, shape: Callable[[Config], tuple[int, ...]], copies: int = 1,
            per_lane: bool = False, component: str = "Ram") -> Block:
    return Block(name, "ram", component, shape, per_lane, copies, f"engine.{place}")


#: As in :class:`tangente.rtl.engine.Engine` and :class:`tangente.rtl.accelerator.Accelerator`.
BLOCKS = (
    # Lanes share random wires, of which there are more from lane to lane at first.
    Block("MacArray", "array", "MacArray", per_lane=True, place="engine.datapath.array",
          few=(32, 48)),
    Block("LaneUnits", "lane_unit", "LaneUnits", per_lane=True, place="engine.datapath.lane_units"),
    Block("Reducer", "reducer", "Reducer", place="engine.datapath.reducer"),
    Block("Drain", "drain", "Drain", place="engine.datapath.drain"),
    Block("Issue", "issue", "Issue", place="engine.datapath.issue", period=4000, flow="flow3"),
    Block("Mixer", "mixer", "Mixer", lambda config: (), place="engine.datapath.mixer"),
    Block("Selector", "selector", "Selector", place="engine.selector", period=3000),
    Block("ListUnit", "lists", "ListUnit", place="engine.lists", period=4000, flow="flow3"),
    Block("PostProcessor", "post", "PostProcessor", place="engine.post", flow="flow3"),
    Block("Loss", "loss", "Loss", place="engine.loss_unit"),
    Block("Sequencer", "sequencer", "Sequencer", place="sequencer", period=4000,
          flow="flow3"),
    Block("Transfer", "transfer", "Transfer", place="transfer"),
    Block("Control", "control", "Control", place="control"),
    Block("Counters", "counters", "Counters", lambda config: (), place="counters"),
    _memory("WeightMemory", "weights[01]", lambda c: (16 * c.lanes, c.weight_words, 16), copies=2,
            per_lane=True, component="DualRam"),
    _memory("RowMemory", "rows", lambda c: (c.lanes * c.element_bits, c.rows, c.element_bits),
            per_lane=True),
    _memory("PairMemory", "pairs", lambda c: (2 * c.element_bits * GROUP, c.pairs // GROUP,
                                              2 * c.element_bits)),
    _memory("SlopeMemory", "slopes", lambda c: (2 * c.element_bits, c.pairs)),
    _memory("InputMemory", "inputs", lambda c: (128, c.input_beats // 2, 64)),
    _memory("TargetMemory", "targets", lambda c: (64, c.target_beats)),
    _memory("LogitMemory", "logits", lambda c: (32, c.logit_pairs)),
)

#: Everything, synthesised block by block and then flattened, so that paths cross blocks.
WHOLE = Block("Accelerator", "accelerator", "Accelerator")
#: What lies between the blocks: the accelerator with black boxes in their places.
BETWEEN = Block("Interconnect", "accelerator", "Accelerator")
#: All that is summed.
PARTS = (*BLOCKS, BETWEEN)
