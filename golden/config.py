"""The build-time configuration: what one bitstream, and one Verilator model, is made with."""

from __future__ import annotations

import dataclasses
import hashlib
import json

__all__ = ["Config", "PRESETS", "preset"]


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one engine, fixed when it is built and passed to every block.

    Everything else (layers, batch, registers, bits, rule, activation, algorithm) is
    program-time: see :mod:`tangente.golden.isa`.

    Members
    -------
    name : preset or user name; part of the hash.
    lanes : output lanes of each of the two halves, a multiple of 4; 2 x lanes DSP48E1.
    weight_words : depth of the weight memory, in words of 2 x lanes 16-bit slots.
    rows : depth of the row memory, in rows of ``lanes`` elements.
    pairs : depth of the pair memory, in pairs of elements.
    input_beats : depth of the input memory, in 64-bit beats of eight unsigned bytes.
    target_beats : depth of the target memory, in 64-bit beats of four 16-bit targets.
    logit_pairs : depth of the logit memory, in pairs of 16-bit logits.
    bias_pairs : depth of the bias memory, in pairs of (16-bit bias, 16-bit gradient).
    program_words : depth of the instruction memory, in 32-bit words.
    element_bits : width of an element (activation, error, register value), signed.
    max_outputs : widest layer that the loss unit takes.
    toper_lanes : topers, an even number, each of which makes one neuron's list at a time.
    toper_registers : registers of a toper: the largest K of weight registers.
    list_entries : depth of each toper's bank of the list memory, in (id, value) entries.
    queue_entries : sources that wait for their next offer: one for each input of a layer, and one.

    Raises
    ------
    ValueError
        If a size is out of range.
    """

    name: str
    lanes: int
    weight_words: int
    rows: int
    pairs: int
    input_beats: int
    target_beats: int
    logit_pairs: int
    bias_pairs: int
    program_words: int = 1024
    element_bits: int = 9
    max_outputs: int = 256
    toper_lanes: int = 2
    toper_registers: int = 16
    list_entries: int = 512
    queue_entries: int = 256

    def __post_init__(self) -> None:
        if self.lanes < 4 or self.lanes > 128 or self.lanes % 4:
            raise ValueError(
                f"lanes must be a multiple of 4 between 4 and 128, not {self.lanes!r}")
        for field in ("weight_words", "rows", "pairs", "input_beats", "target_beats",
                      "logit_pairs", "bias_pairs", "program_words", "max_outputs",
                      "list_entries", "queue_entries"):
            value = getattr(self, field)
            if not _is_power_of_two(value) or not 16 <= value <= 65536:
                raise ValueError(
                    f"{field} must be a power of two between 16 and 65536, not {value!r}")
        if not 5 <= self.element_bits <= 9:
            raise ValueError(
                f"element_bits must lie between 5 and 9, not {self.element_bits!r}")

        for field, most in (("toper_lanes", self.lanes), ("toper_registers", 64)):
            value = getattr(self, field)
            if not 1 <= value <= most:
                raise ValueError(f"{field} must lie between 1 and {most}, not {value!r}")
        if self.toper_lanes % 2:
            raise ValueError(f"toper_lanes must be even, not {self.toper_lanes!r}")

    @property
    def lane_bits(self) -> int:
        """Bits of a lane's number."""
        return (self.lanes - 1).bit_length()

    @property
    def id_bits(self) -> int:
        """Bits of a weight's id, which is its place: {word, half, lane}."""
        return (self.weight_words - 1).bit_length() + 1 + self.lane_bits

    @property
    def element_max(self) -> int:
        """Largest magnitude of an element: 255 for 9 bits. The most negative code is never used."""
        return (1 << (self.element_bits - 1)) - 1

    @property
    def beats_per_word(self) -> int:
        """64-bit beats (of four slots) in one weight word."""
        return 2 * self.lanes // 4

    @property
    def multipliers(self) -> int:
        """Multipliers in the array."""
        return 2 * self.lanes

    def tiles(self, width: int) -> int:
        """Rows (of ``lanes`` elements) that a vector of ``width`` elements takes."""
        return -(-width // self.lanes)

    @property
    def hash(self) -> int:
        """32-bit hash of every field, read back from register CONFIG_HASH by the driver."""
        from . import isa
        text = json.dumps({"isa": isa.VERSION, **dataclasses.asdict(self)}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


PRESETS = {
    "tiny": Config(
        name="tiny", lanes=4, weight_words=512, rows=2048, pairs=4096, input_beats=512,
        target_beats=64, logit_pairs=256, bias_pairs=64, toper_lanes=2, toper_registers=8),
    "digits": Config(
        name="digits", lanes=16, weight_words=512, rows=1024, pairs=4096, input_beats=2048,
        target_beats=64, logit_pairs=512, bias_pairs=256, toper_lanes=4, list_entries=1024),
    "pynq_z2": Config(
        name="pynq_z2", lanes=100, weight_words=1024, rows=512, pairs=4096, input_beats=4096,
        target_beats=512, logit_pairs=512, bias_pairs=512, program_words=512,
        toper_lanes=8, list_entries=512),
}


def preset(name: str) -> Config:
    """The preset called ``name``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return PRESETS[name]
