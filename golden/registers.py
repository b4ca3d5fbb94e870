"""The AXI-Lite register map, once, for gateware, driver and docs/registers.md.

Byte addresses; every register is 32 bits. The instruction memory is a write-only window of 32-bit
words at :data:`PROGRAM_WINDOW`.
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Access", "Register", "REGISTERS", "Control", "Status", "PROGRAM_WINDOW",
           "ADDRESS_BITS", "COUNTER_ONE", "IDENTITY", "SATURATIONS", "address"]

#: Value of register ID: "TGNT" in ASCII, big-endian.
IDENTITY = 0x54474E54
#: First byte address of the instruction memory; it ends with the address space.
PROGRAM_WINDOW = 0x2000
#: Width of the AXI-Lite address: 16 KiB.
ADDRESS_BITS = 14


class Access(enum.Enum):
    """How the host may use a register. A write to a read-only one is answered SLVERR."""

    RO = "read-only"
    RW = "read-write"
    WO = "write-only"


class Control(enum.IntFlag):
    """Bits of register CONTROL. Writing a one acts; it reads as zero."""

    START = 1    #: clear STATUS and counters, then run from PC
    RESET = 2    #: abandon the program, let the bus finish, return every unit to its reset state
    STOP = 4     #: halt with cause STOPPED before the next instruction


class Status(enum.IntFlag):
    """Bits of register STATUS; bits 15:8 hold the :class:`tangente.golden.isa.Cause`."""

    RUNNING = 1     #: a program runs
    HALTED = 2      #: a program ended; bits 15:8 say why. The interrupt, if IRQ_ENABLE is 1
    RESETTING = 4   #: a reset waits for the bus


@dataclasses.dataclass(frozen=True)
class Register:
    """One register: ``words`` > 1 are consecutive, least significant first."""

    name: str
    address: int
    access: Access
    doc: str
    words: int = 1


#: Bit of register COUNTER_PC: only one tensor instruction's cycles count.
COUNTER_ONE = 1 << 31

#: The saturation counters, in the order of their registers.
SATURATIONS = ("logit", "activation", "error", "derivative", "weight", "bias")

REGISTERS = (
    Register("ID", 0x00, Access.RO, "identity, 0x54474E54"),
    Register("ISA_VERSION", 0x04, Access.RO, "version of the instruction set"),
    Register("CONFIG_HASH", 0x08, Access.RO, "hash of the build-time configuration"),
    Register("CONTROL", 0x0C, Access.WO, "START 1, RESET 2, STOP 4"),
    Register("STATUS", 0x10, Access.RO, "RUNNING 1, HALTED 2, RESETTING 4; cause in 15:8"),
    Register("PC", 0x14, Access.RW, "written: where START begins; read: the current instruction, "
             "or the one that halted"),
    Register("IRQ_ENABLE", 0x18, Access.RW, "1: the interrupt line follows HALTED"),
    Register("DDR_BASE", 0x1C, Access.RW, "byte address that transfer addresses count from; "
             "a multiple of 4096"),
    Register("SEED", 0x20, Access.RW, "random generator: written, low word first, its new "
             "state; read while halted, its state", 2),
    Register("CYCLES", 0x28, Access.RO, "clock cycles of the program that runs or ran last", 2),
    Register("LOSS", 0x30, Access.RO, "summed loss: softmax in 1/256 bit, squared error in "
             "2^-20", 2),
    Register("CORRECT", 0x38, Access.RO, "samples whose largest logit is the target's"),
    Register("SAMPLES", 0x3C, Access.RO, "samples that LOSS has seen"),
    Register("STALL_LOAD", 0x40, Access.RO, "cycles WAIT, LOAD and STORE waited for a transfer"),
    Register("BUSY", 0x44, Access.RO, "cycles in which a tensor instruction ran"),
    *(Register(f"SAT_{name.upper()}", 0x48 + 4 * i, Access.RO, f"saturated {name} values")
      for i, name in enumerate(SATURATIONS)),
    Register("REPORT", 0x48 + 4 * len(SATURATIONS), Access.RO, "what the program left in its "
             "register REPORT (24 bits): the compiler's programs count skipped batches there"),
    Register("COUNTER_SELECT", 0x4C + 4 * len(SATURATIONS), Access.RW, "number of the counter that "
             "COUNTER shows"),
    Register("COUNTER_PC", 0x50 + 4 * len(SATURATIONS), Access.RW, "with bit 31: the counters "
             "count only from the start of the tensor instruction at the word in 15:0 to the next "
             "one's; to be written while nothing runs"),
    Register("COUNTER", 0x54 + 4 * len(SATURATIONS), Access.RO, "cycles of the program that runs "
             "or ran last in which the selected counter's event held, modulo 2^32; a few cycles "
             "old"),
)

_BY_NAME = {register.name: register for register in REGISTERS}


def address(name: str, word: int = 0) -> int:
    """Byte address of word ``word`` of the register called ``name``.

    Raises
    ------
    KeyError
        If there is no such register.
    """
    return _BY_NAME[name].address + 4 * word
