"""SCT's order in time: which registers are scattered, and when. :func:`scattering` counts cycles.

Three stages, with a queue between each: outputs are looked at one a cycle and those without an
error dropped; the registers of one are read one a cycle and zeros dropped; updates are issued one
a cycle, or every two cycles where they take random bits, but not while one of the same weight is on
its way: it is to read what that has written.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["OUTPUTS_AHEAD", "REGISTERS_AHEAD", "INTERLOCK", "scattering"]

#: Outputs, and registers, that are read ahead.
OUTPUTS_AHEAD, REGISTERS_AHEAD = 8, 16
#: Cycles from an update's issue until one of the same weight may be issued.
INTERLOCK = 6

# From a look at an output until its registers can be read, from that until they can be issued.
_READ_CYCLES = 3
# From the last stage's end until the instruction's.
_LAST_CYCLES = 16


@numba.njit(cache=True)
def _scattering(errors: npt.NDArray[np.int64], ids: npt.NDArray[np.int32],
                values: npt.NDArray[np.int16], outputs_ahead: int, registers_ahead: int,
                interlock: int, read: int, spaced: bool) -> int:
    outputs, keep = values.shape
    # When the i-th of those that wait has come; whether it goes on; a place is free again when it
    # has gone or is known not to go on.
    seen, first, passed = 0, np.empty(outputs, np.int64), 0
    here = np.empty(outputs, np.int64)
    room, places = outputs_ahead, registers_ahead
    give_output = np.zeros(4096, np.int64)
    give_register = np.zeros(4096, np.int64)
    came = np.empty(outputs * keep, np.int64)
    which = np.empty(outputs * keep, np.int64)
    begun = ended = issued = 0
    k = 0
    last = np.full(interlock, -1, np.int64)
    now = 0
    while True:
        room += give_output[now & 4095]
        places += give_register[now & 4095]
        give_output[now & 4095] = give_register[now & 4095] = 0
        if seen == outputs and begun == passed and ended == issued:
            # All that is on its way has been dropped.
            idle = room == outputs_ahead and places == registers_ahead
            if idle:
                return now
        # Issue.
        last[now % interlock] = -1
        if issued < ended and came[issued] <= now:
            identity = ids.ravel()[which[issued]]
            free = not spaced or last[(now - 1) % interlock] < 0
            for other in last:
                free &= other != identity
            if free:
                last[now % interlock] = identity
                issued += 1
                give_register[now + 1 & 4095] += 1
        # Registers.
        if begun < passed and first[begun] <= now and places:
            at = here[begun] * keep + k
            places -= 1
            if values.ravel()[at]:
                came[ended], which[ended] = now + read, at
                ended += 1
            else:
                give_register[now + read & 4095] += 1
            k += 1
            if k == keep:
                k = 0
                begun += 1
                give_output[now + 1 & 4095] += 1
        # Outputs.
        if seen < outputs and room:
            room -= 1
            if errors[seen]:
                first[passed], here[passed] = now + read, seen
                passed += 1
            else:
                give_output[now + read & 4095] += 1
            seen += 1
        now += 1


def scattering(errors: npt.NDArray[np.int64], ids: npt.NDArray[np.int32],
               values: npt.NDArray[np.int16], spaced: bool) -> int:
    """Cycles of SCT beside its check: errors (outputs of all samples,), lists (outputs, K).

    ``spaced``: by a rule that takes random bits.
    """
    return _LAST_CYCLES + int(_scattering(errors, ids, values, OUTPUTS_AHEAD, REGISTERS_AHEAD,
                                          INTERLOCK, _READ_CYCLES, spaced))
