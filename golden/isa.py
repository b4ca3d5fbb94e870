"""The instruction set: 32-bit words, 64 registers of 24 bits, and what the instructions do.

An instruction is ``op[31:26] rd[25:20] imm[19:0]``. Scalar instructions change registers; a tensor
instruction reads the *descriptor* registers (named below) and its own flags in ``imm``. The same
table makes the assembler, the golden machine, the RTL decoder and docs/isa.md.
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["VERSION", "Op", "Reg", "Flag", "Post", "Rule", "Space", "Cause", "Instruction",
           "encode", "decode", "sign_extend", "REGISTER_BITS", "SIGMOID_ENTRIES", "LOGIT_FRACTION",
           "SHIFT_MAX", "SPECULATIVE_MAX", "LIVE_MAX", "ERROR_SAMPLES", "SIGN_SIZE", "FLAGS",
           "OPERANDS", "FORMATTED", "LISTS"]

VERSION = 1
REGISTER_BITS = 24
#: Entries of the sigmoid table; index 512 is z = 0 and one step is 1/64.
SIGMOID_ENTRIES = 1024
#: Fraction bits of a 16-bit logit: the range is [-32, 32).
LOGIT_FRACTION = 10
#: Largest shift of a lane or of the post-processing unit.
SHIFT_MAX = 31
#: Most results of an MVA with Flag.SPECULATIVE: they wait on their way.
SPECULATIVE_MAX = 128
#: What Flag.SIGNS multiplies by, or its negative.
SIGN_SIZE = 128
#: Most neurons of a DRV with Flag.LIVE, and of the layer below one with deeper ids.
LIVE_MAX = 256
#: Samples of a LOSS of which BZE can tell whether they have errors.
ERROR_SAMPLES = 64


class Op(enum.IntEnum):
    """Operation codes."""

    HALT = 0x00   #: stop; cause DONE
    SET = 0x01    #: rd = imm (20 bits, unsigned)
    SETH = 0x02   #: rd[23:12] = imm[11:0]
    ADD = 0x03    #: rd += imm (20 bits, signed), modulo 2^24
    MOV = 0x04    #: rd = reg[imm[5:0]] + imm[19:6] (14 bits, signed), modulo 2^24
    XOR = 0x05    #: rd ^= reg[imm[5:0]]
    DBNZ = 0x06   #: rd -= 1; if rd != 0 go to imm
    JMP = 0x07    #: go to imm
    BLT = 0x08    #: if rd < reg[imm[5:0]] (unsigned) go to imm[19:6]
    BZE = 0x09    #: if rd is a sample, 0 to 63, of the last LOSS, all of whose error elements are
                  #: zero, go to imm
    MVA = 0x10    #: y[b, q] = sum over p of M[p, q] s[b, p]; results to the post-processing unit
    MVD = 0x11    #: y[b, p] = sum over q of M[p, q] v[b, q]; results to the post-processing unit
    MVR = 0x12    #: y[b, q] = sum over p of V[b, p, q] s[b, p], V from row memory
    UPD = 0x13    #: M[p, q] changed by rule(sum over b of s[b, p] v[b, q]), for each p of
                  #: which an s[b, p] is not zero; other slots stay as they are, unused bits too
    LOSS = 0x14   #: output errors and statistics from logits and targets
    DRV = 0x15    #: derivative rows S_h[id] of a layer's neurons (DPFM)
    SEL = 0x16    #: keep each neuron's K largest derivatives, in place (DPFM)
    BUP = 0x17    #: biases changed by their summed gradients, which are then cleared
    LOAD = 0x18   #: start a transfer DDR -> local memory when all before it is over
    STORE = 0x19  #: transfer local memory -> DDR when all before it is over
    WAIT = 0x1A   #: wait until the transfer is complete
    SRT = 0x1B    #: a vector's K largest elements as a list (DPFM, weight registers)
    TOP = 0x1C    #: gradient-register lists of a layer's neurons, through the topers
    SCT = 0x1D    #: weights changed by rule(error x register) of every register of a layer


class Reg(enum.IntEnum):
    """Register numbers. R0 to R7 are free for the program; the rest describe operands."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    COUNT = 8       #: samples b
    P = 9           #: elements along the pair dimension (two a weight word)
    Q = 10          #: elements along the lane dimension (``lanes`` a tile)
    M_BASE = 11     #: first weight word of the matrix
    S_BASE = 12     #: first scalar pair (input memory or pair memory)
    S_STRIDE = 13   #: pairs between samples
    V_BASE = 14     #: first row (DRV: activations of the layer below; SIGMOID: their slopes);
                    #: TOP: first entry of the layer below's own list
    V_STRIDE = 15   #: rows between samples (MVR: rows between p; TOP: entries of the list)
    Y_BASE = 16     #: first result pair (pair memory, or logit memory)
    Y_STRIDE = 17   #: pairs between samples
    YR_BASE = 18    #: first result row
    YR_STRIDE = 19  #: rows between samples (DRV, SEL: rows between neurons)
    G_BASE = 20     #: first pair of the activations whose slope multiplies (DELTA, DRV)
    G_STRIDE = 21   #: pairs between samples
    F_BASE = 22     #: first slope row written (ACT with Flag.SLOPE_ROWS); TOP: first own entry
    F_STRIDE = 23   #: rows between samples; TOP: own entries
    SHIFT = 24      #: right shift of the full-width sum
    SHIFT2 = 25     #: second right shift (ACT: z to activation; DELTA: after the slope; DRV: own;
                    #: TOP: (register x slope x 2^8) to the scalar that is multiplied)
    B_BASE = 26     #: first bias pair
    B_SHIFT = 27    #: left shift of the bias to the scale of the sum; TOP: as SHIFT2, Flag.SHARED
    CODE_BITS = 28  #: n: bits of a weight's code, at the top of its slot
    ACC_BITS = 29   #: m: bits of its accumulator, at the bottom
    K = 30          #: registers a neuron keeps; DRV's SEL: 0 keeps all
    TILES = 31      #: DRV: tiles of deeper ids; SEL: tiles in all
    MANTISSA = 32   #: learning-rate mantissa, 1 to 255, of 256
    T_BASE = 33     #: first target (16-bit units of the target memory)
    T_STRIDE = 34   #: targets between samples
    E_SHIFT = 35    #: right shift from (raw error x mantissa) to an error element; TOP: from
                    #: (own x 2^8) to a register
    DDR = 36        #: transfer: DDR address in beats, from register DDR_BASE
    LOCAL = 37      #: transfer: first local address, in units of its space
    LENGTH = 38     #: transfer: units of the local space (a weight word is beats_per_word beats)
    R_BASE = 39     #: DRV: first register row of the layer below, of neurons whose activation at
                    #: G_BASE is not zero; TOP: first entry of its lists
    R_STRIDE = 40   #: DRV: rows between these neurons; MVR: rows between samples; TOP: entries of a
                    #: list
    L_BASE = 41     #: SRT, TOP: first list entry written; SCT: read
    ASYMM = 42      #: 1: weights are (2 code + 1) / 2^n, without a zero; 0: code / 2^(n-1)
    REPORT = 43     #: free for the program; the host reads it in register REPORT
    MAX_ERROR = 63  #: largest |error element| of the last LOSS; read only


class Post(enum.IntEnum):
    """What the post-processing unit makes of a sum (flags bits 1:0 of MVA, MVD, MVR)."""

    ACT = 0     #: z = sat16(rne(sum + bias << B_SHIFT, SHIFT)); activation of rne(z, SHIFT2)
    LOGIT = 1   #: z as for ACT, to the logit memory
    DELTA = 2   #: t = sat16(rne(sum, SHIFT)); error = sat(rne(t x slope, SHIFT2))


class Flag(enum.IntFlag):
    """Flags of tensor instructions, in imm. Bits that an instruction does not use must be zero."""

    POST0 = 1 << 0        #: Post, low bit (LOSS: mean squared error instead of softmax)
    POST1 = 1 << 1        #: Post, high bit
    SIGMOID = 1 << 2      #: the activation is sigmoid, not ReLU (ACT, DELTA with SLOPE, DRV)
    INPUT = 1 << 3        #: scalars come from the input memory, not from pair memory
    PAIRS = 1 << 4        #: write results to pair memory
    ROWS = 1 << 5         #: write results to row memory
    SLOPE_ROWS = 1 << 6   #: ACT: also write the slopes to row memory at F_BASE
    SLOPE = 1 << 7        #: DELTA: multiply by the slope of the activations at G_BASE
    BIAS_GRADIENT = 1 << 8  #: DELTA, LOSS: add the errors to the bias gradients at B_BASE
    EVENT = 1 << 9        #: UPD: event update; otherwise nearest
    STOCHASTIC = 1 << 10  #: UPD, SCT: rounding bits from the random generator
    MASTER = 1 << 11      #: UPD, SCT: code and accumulator are one number of n + m bits
    OWN = 1 << 12         #: TOP: offer the neurons' own derivatives, the list at F_BASE
    SHARED = 1 << 13      #: TOP: offer those of the layer below, the list at V_BASE
    LISTS = 1 << 14       #: TOP: offer the registers of the layer below, lists at R_BASE
    BESIDE = 1 << 15      #: UPD, DRV, SEL, BUP: start while earlier instructions are in units that
                          #: this one does not need (DRV, SEL: not while one writes rows); LOAD of
                          #: inputs or targets: while any instruction runs. What they write must not
                          #: be read or written, nor the reverse. MVA: start in the array while an
                          #: earlier instruction is in the post-processing unit; pairs that it may
                          #: still write are awaited, so that the results of a product may be read
                          #: (WANTED reads what LOSS finds: not beside one)
    LIVE = 1 << 16        #: DRV: only neurons whose own activation, at S_BASE, is not zero, one
                          #: after the other; SEL: as many neurons as the last DRV made rows of;
                          #: MVR: one row after the other for the scalars that are not zero, as
                          #: DRV makes them; TOP: no list for a neuron whose element at S_BASE
                          #: (pairs) is zero
    WANTED = 1 << 17      #: SRT, TOP: nothing, if COUNT elements at Y_BASE (pairs) are all zero;
                          #: UPD that skips zeros: leave out samples of the last LOSS whose errors
                          #: are all zero, as if their scalars were; MVA, MVD, MVR of at most 32
                          #: samples: likewise, nothing is read or written of them
    SIGNS = 1 << 18       #: MVA, MVD: the matrix is not stored: it is +-SIGN_SIZE, the sign of each
                          #: place in the weight memory a fixed random bit (feedback alignment)
    SPECULATIVE = 1 << 19  #: MVA: the sums are made, but there are results only if no sample of the
                          #: LOSS that must be the next tensor instruction has an error that is not
                          #: zero: they are written after it, as the registers say now. COUNT is 1,
                          #: Q at most 128; not with WANTED


class Rule(enum.Enum):
    """Update rules and their UPD flags."""

    NEAREST = Flag(0)
    STOCHASTIC = Flag.STOCHASTIC
    EVENT = Flag.EVENT | Flag.STOCHASTIC
    MASTER = Flag.MASTER | Flag.STOCHASTIC


class Space(enum.IntEnum):
    """Local memories that LOAD (L) and STORE (S) reach, in imm; beats are 64 bits, little-endian"""

    INPUT = 0    #: L; address in beats; eight unsigned bytes
    TARGET = 1   #: L; address in beats; four signed 16-bit targets
    WEIGHT = 2   #: LS; address in words of beats_per_word beats: half 0, then half 1
    BIAS = 3     #: LS; address in pairs; {bias 0, gradient 0, bias 1, gradient 1}, 16 bits each
    LOGIT = 4    #: S; address in pairs; {logit 0, logit 1, 0, 0}, 16 bits each
    PAIR = 5     #: S; address in pairs; {element 0, element 1, 0, 0}, sign-extended to 16 bits
    LIST = 6     #: S; address in entries; {value, sign-extended to 16 bits, 0, id (32 bits)}


class Cause(enum.IntEnum):
    """Why the engine halted (register STATUS)."""

    NONE = 0        #: not halted since reset or start
    DONE = 1        #: HALT
    ILLEGAL = 2     #: unknown op, unused flag set, unknown space
    OPERAND = 3     #: a descriptor register holds a value that the instruction does not take
    ADDRESS = 4     #: an access beyond the end of a memory
    PC = 5          #: the program ran past the instruction memory
    BUS_READ = 6    #: AXI read answered with an error
    BUS_WRITE = 7   #: AXI write answered with an error
    STOPPED = 8     #: stopped by the host


#: Flags that each tensor instruction may set.
_POST_FLAGS = (Flag.POST0 | Flag.POST1 | Flag.SIGMOID | Flag.PAIRS | Flag.ROWS | Flag.SLOPE_ROWS
               | Flag.SLOPE | Flag.BIAS_GRADIENT)
FLAGS: dict[Op, int] = {
    Op.MVA: int(_POST_FLAGS | Flag.INPUT | Flag.BESIDE | Flag.WANTED | Flag.SIGNS
                | Flag.SPECULATIVE),
    Op.MVD: int(_POST_FLAGS | Flag.WANTED | Flag.SIGNS),
    Op.MVR: int(_POST_FLAGS | Flag.LIVE | Flag.WANTED),
    Op.UPD: int(Flag.INPUT | Flag.EVENT | Flag.STOCHASTIC | Flag.MASTER | Flag.BESIDE
                | Flag.WANTED),
    Op.LOSS: int(Flag.POST0 | Flag.PAIRS | Flag.ROWS | Flag.BIAS_GRADIENT),
    Op.DRV: int(Flag.SIGMOID | Flag.LIVE | Flag.BESIDE),
    Op.SEL: int(Flag.LIVE | Flag.BESIDE),
    Op.BUP: int(Flag.BESIDE),
    Op.LOAD: int(7 | Flag.BESIDE),
    Op.STORE: 7,
    Op.WAIT: 0,
    Op.SRT: int(Flag.INPUT | Flag.WANTED),
    Op.TOP: int(Flag.SIGMOID | Flag.OWN | Flag.SHARED | Flag.LISTS | Flag.LIVE | Flag.WANTED),
    Op.SCT: int(Flag.EVENT | Flag.STOCHASTIC | Flag.MASTER),
}


_MATRIX = (Reg.M_BASE, Reg.S_BASE, Reg.S_STRIDE, Reg.V_BASE, Reg.V_STRIDE)
_RESULTS = (Reg.Y_BASE, Reg.Y_STRIDE, Reg.YR_BASE, Reg.YR_STRIDE, Reg.G_BASE, Reg.G_STRIDE,
            Reg.F_BASE, Reg.F_STRIDE, Reg.B_BASE)
_SHIFTS = (Reg.SHIFT, Reg.SHIFT2, Reg.B_SHIFT)
#: Registers that each tensor instruction checks (cause OPERAND): those that must lie in 1..4095,
#: those that must lie below 2^16, those that must lie below 32. Checked whether or not the flags
#: make use of them. Further rules stand in :func:`tangente.golden.tensor.execute`.
OPERANDS: dict[Op, tuple[tuple[Reg, ...], tuple[Reg, ...], tuple[Reg, ...]]] = {
    Op.MVA: ((Reg.COUNT, Reg.P, Reg.Q), _MATRIX + _RESULTS, _SHIFTS),
    Op.MVD: ((Reg.COUNT, Reg.P, Reg.Q), _MATRIX + _RESULTS, _SHIFTS),
    Op.MVR: ((Reg.COUNT, Reg.P, Reg.Q), (*_MATRIX, *_RESULTS, Reg.R_STRIDE), _SHIFTS),
    Op.UPD: ((Reg.COUNT, Reg.P, Reg.Q), _MATRIX, (Reg.SHIFT,)),
    Op.LOSS: ((Reg.COUNT, Reg.P), (Reg.S_BASE, Reg.S_STRIDE, Reg.T_BASE, Reg.T_STRIDE, *_RESULTS),
              (Reg.E_SHIFT,)),
    Op.DRV: ((Reg.P, Reg.Q), (Reg.M_BASE, Reg.S_BASE, Reg.V_BASE, Reg.G_BASE, Reg.R_BASE,
                              Reg.R_STRIDE, Reg.YR_BASE, Reg.YR_STRIDE), (Reg.SHIFT, Reg.SHIFT2)),
    Op.SEL: ((Reg.P,), (Reg.YR_BASE, Reg.YR_STRIDE, Reg.K), ()),
    Op.BUP: ((Reg.P,), (Reg.B_BASE,), (Reg.SHIFT,)),
    Op.SRT: ((Reg.COUNT, Reg.P, Reg.Q), (Reg.M_BASE, Reg.S_BASE, Reg.Y_BASE, Reg.L_BASE, Reg.K),
             ()),
    Op.TOP: ((Reg.COUNT, Reg.P, Reg.Q),
             (Reg.M_BASE, Reg.S_BASE, Reg.Y_BASE, Reg.G_BASE, Reg.V_BASE, Reg.V_STRIDE, Reg.F_BASE,
              Reg.F_STRIDE, Reg.R_BASE, Reg.R_STRIDE, Reg.L_BASE, Reg.K),
             (Reg.SHIFT, Reg.SHIFT2, Reg.B_SHIFT, Reg.E_SHIFT)),
    Op.SCT: ((Reg.COUNT, Reg.P), (Reg.S_BASE, Reg.S_STRIDE, Reg.R_STRIDE, Reg.L_BASE, Reg.K),
             (Reg.SHIFT,)),
}
#: Instructions whose weights have a format: 2 <= n <= 16, m <= 12, n + m <= 16, ASYMM <= 1, and
#: n <= 15 if ASYMM.
FORMATTED = (Op.MVA, Op.MVD, Op.UPD, Op.DRV, Op.TOP, Op.SCT)
#: Instructions of the list unit.
LISTS = (Op.SRT, Op.TOP, Op.SCT)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One decoded instruction."""

    op: Op
    rd: int = 0
    imm: int = 0

    def __str__(self) -> str:
        if self.op >= Op.MVA:
            return f"{self.op.name} 0x{self.imm:x}"
        name = Reg(self.rd).name if self.rd in Reg._value2member_map_ else f"r{self.rd}"
        return f"{self.op.name} {name}, {self.imm}"


def sign_extend(value: int, bits: int) -> int:
    """The signed value of the low ``bits`` bits of ``value``."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def encode(op: Op, rd: int = 0, imm: int = 0) -> int:
    """The 32-bit word of an instruction.

    Raises
    ------
    ValueError
        If a field does not fit.
    """
    if not 0 <= rd < 64:
        raise ValueError(f"rd must lie between 0 and 63, not {rd!r}")
    if not -(1 << 19) <= imm < 1 << 20:
        raise ValueError(f"imm must fit in 20 bits, not {imm!r}")
    return int(op) << 26 | rd << 20 | imm & 0xFFFFF


def decode(word: int) -> Instruction | None:
    """The instruction that ``word`` encodes, or None if its op does not exist."""
    op = word >> 26
    if op not in Op._value2member_map_:
        return None
    return Instruction(Op(op), word >> 20 & 63, word & 0xFFFFF)
