"""What the RTL counts cycle by cycle: the numbers of its counters, and the units they are about.

A counter counts the cycles of a program in which its event holds; all of them, or those from one
tensor instruction's start to the next one's (register COUNTER_PC).
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Counter", "FIELDS", "UNITS", "Unit"]


class Counter(enum.IntEnum):
    """Numbers of the counters, for register COUNTER_SELECT."""

    CYCLES = 0          #: the program runs
    ENGINE_BUSY = 1     #: a tensor instruction runs
    ENGINE_DATA = 2     #: none runs, and the sequencer waits for a transfer
    ARRAY_BUSY = 3      #: a micro-operation goes to the array
    ARRAY_DRAIN = 4     #: a sum cannot end: the drain still hands on the last one
    ARRAY_QUEUE = 5     #: a sum cannot end: the queue to post-processing is full
    ARRAY_TURN = 6      #: a sum cannot end: the lane units are at another half
    MULTIPLIERS = 7     #: halves of the array that multiply, 0 to 2 a cycle
    LANES_BUSY = 8      #: the lane units take a sum of either half
    DRAIN_BUSY = 9      #: the drain or the reducer hands on a pair of sums
    POST_BUSY = 10      #: post-processing takes a pair of sums or errors, or changes biases
    POST_WRITE = 11     #: a pair of sums waits for post-processing
    LOSS_BUSY = 12      #: LOSS runs
    SELECTOR_BUSY = 13  #: SEL runs
    LISTS_BUSY = 14     #: SRT, TOP or SCT runs
    TRANSFER_BUSY = 15  #: a transfer moves a beat
    TRANSFER_DDR = 16   #: a transfer waits for DDR


#: Where each counter's event stands among all of a cycle: first bit, bits. Two halves multiply.
FIELDS = {counter: (counter + (counter > Counter.MULTIPLIERS),
                    2 if counter is Counter.MULTIPLIERS else 1) for counter in Counter}


@dataclasses.dataclass(frozen=True)
class Unit:
    """Counters of one unit; in the cycles that none of them counts it is idle.

    Members
    -------
    busy : cycles in which it worked.
    stalled : what it waited for, and the cycles. At most one of a unit's counters counts a cycle.
    """

    busy: Counter
    stalled: dict[str, Counter] = dataclasses.field(default_factory=dict)


UNITS = {
    "engine": Unit(Counter.ENGINE_BUSY, {"data": Counter.ENGINE_DATA}),
    "array": Unit(Counter.ARRAY_BUSY, {"drain": Counter.ARRAY_DRAIN, "queue": Counter.ARRAY_QUEUE,
                                       "turn": Counter.ARRAY_TURN}),
    "lanes": Unit(Counter.LANES_BUSY),
    "drain": Unit(Counter.DRAIN_BUSY),
    "post": Unit(Counter.POST_BUSY, {"write": Counter.POST_WRITE}),
    "loss": Unit(Counter.LOSS_BUSY),
    "selector": Unit(Counter.SELECTOR_BUSY),
    "lists": Unit(Counter.LISTS_BUSY),
    "transfer": Unit(Counter.TRANSFER_BUSY, {"ddr": Counter.TRANSFER_DDR}),
}
