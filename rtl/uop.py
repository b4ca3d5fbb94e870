"""The micro-operation: what the issue unit tells the array each cycle, and the pipeline's stages.

All times count from the cycle in which a micro-operation stands at the issue unit's output. Half 1
is one cycle later in everything.
"""

from __future__ import annotations

import enum

from amaranth.lib import data

from .dsp48e1 import DSP48E1
from .ram import Ram

__all__ = ["Kind", "Uop", "WEIGHT_READ", "ROW_READ", "OPERANDS", "SUM", "DEEP", "PAIR",
           "SLOT_READ", "SLOT_WRITE", "ROW_WRITE", "CAPTURED"]


class Kind(enum.IntEnum):
    """What the array does for a whole job; DRV is a job of kind OWN, then one of kind DEEP."""

    MVA = 0
    MVD = 1
    MVR = 2
    UPD = 3
    OWN = 4
    DEEP = 5
    OFFER = 6     #: micro-operations from the list unit: TOP
    SCATTER = 7   #: likewise: SCT


#: One micro-operation. ``scalar`` is an element address (its low bit picks the element of a pair);
#: ``lane`` the lane whose weight is the scalar (DEEP) or whose slot changes (SCATTER); ``first``
#: starts a sum and ``last`` ends it; ``final`` is the job's last; ``even``, ``odd`` say which
#: halves of the word have a turn of the lane units: neurons whose rows are wanted (OWN, DEEP), the
#: one that ``odd`` names (OFFER, SCATTER), or, from :data:`PAIR` on, those that have a scalar which
#: is not zero (UPD).
Uop = data.StructLayout({
    "valid": 1, "weight": 16, "row": 16, "scalar": 18, "lane": 7, "target": 16,
    "first": 1, "last": 1, "final": 1, "even": 1, "odd": 1,
})

#: Weight and row addresses wait for the scalar's broadcast register; the row has one register more.
WEIGHT_READ = 2
ROW_READ = 1
#: The pair of scalars stands, before it is broadcast.
PAIR = 2
#: Operands stand at the DSP's inputs.
OPERANDS = WEIGHT_READ + Ram.LATENCY
#: The sum with the product stands at P.
SUM = OPERANDS + DSP48E1.LATENCY
#: DEEP: cycles that everything but the weight's and the slope's addresses waits, for the lane's
#: weight to be picked (2), multiplied (2) and broadcast.
DEEP = 4
#: UPD: the slot's address, so that it meets the rounded sum.
SLOT_READ = SUM + 3 - Ram.LATENCY
#: UPD: the changed slot is written.
SLOT_WRITE = SUM + 6
#: OWN, DEEP: the rounded row is written.
ROW_WRITE = SUM + 5
#: MVA, MVR: the sum of both halves is captured.
CAPTURED = SUM + 2
