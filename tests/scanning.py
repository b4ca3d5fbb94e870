"""What the scanner must issue, as plain loops; and a memory of pairs to read groups from."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from tangente.golden.flow import GROUP

__all__ = ["Step", "Pairs", "product_steps", "update_steps"]


@dataclasses.dataclass(frozen=True)
class Step:
    """A micro-operation; None is what nobody looks at."""

    weight: int | None
    vector: int | None
    pair: int
    first: int
    ends: int
    final: int
    last_tile: int | None


class Pairs:
    """A memory of pairs, zero or not: runs of zeros in it, and nothing zero beyond ``known``."""

    def __init__(self, size: int, pair_bits: int, share: float, run: int, seed: int) -> None:
        """share : of pairs that are not zero. run : length of runs of zeros."""
        generator = random.Random(seed)
        self.pair_bits = pair_bits
        self.size = -(-size // GROUP) * GROUP
        self._values: list[int] = []
        while len(self._values) < self.size:
            if generator.random() < share:
                # One element of a pair is often zero, and one bit makes a pair live.
                half = pair_bits // 2
                value = generator.choice((generator.getrandbits(pair_bits),
                                          generator.getrandbits(half),
                                          generator.getrandbits(half) << half,
                                          1 << generator.randrange(pair_bits)))
                self._values.append(value or 1)
            else:
                self._values += [0] * generator.randint(1, run)

    def __getitem__(self, address: int) -> int:
        return self._values[address] if address < self.size else self._beyond

    def __setitem__(self, address: int, value: int) -> None:
        self._values[address] = value

    @property
    def _beyond(self) -> int:
        """What a read beyond the memory finds: never zero."""
        return (1 << self.pair_bits) - 1

    def group(self, address: int) -> int:
        """The eight pairs of a group, as one word."""
        return sum(self[GROUP * address + i] << i * self.pair_bits for i in range(GROUP))

    def live(self, base: int, stride: int, pairs: int,
             samples: int) -> list[list[tuple[bool, bool]]]:
        """Of each sample, which halves of its pairs are not zero."""
        return [[self.halves(base + b * stride + i) for i in range(pairs)] for b in range(samples)]

    def halves(self, address: int) -> tuple[bool, bool]:
        """Which elements of a pair are not zero."""
        high, low = divmod(self[address], 1 << self.pair_bits // 2)
        return low != 0, high != 0


def product_steps(memory: Pairs, job: dict[str, Any]) -> list[Step]:
    """MVA: for each sample and tile its live pairs; the end of a sum comes with its last group.

    Of the samples that are ``erring``, if there is such a list.
    """
    result, erring = [], job.get("erring")
    made = [b for b in range(job["samples"]) if not erring or erring[b]]
    for sample in made:
        base = job["base"] + sample * job["stride"]
        for tile in range(job["tiles"]):
            last_tile = int(tile == job["tiles"] - 1)
            final = int(last_tile and sample == made[-1])
            found = [i for i in range(job["pairs"]) if memory[base + i]]
            last_group = (base + job["pairs"] - 1) // GROUP
            # The last group ends the sum, with a product with zero if nothing lives in it.
            trails = not found or (base + found[-1]) // GROUP != last_group
            steps = [(job["weight_base"] + i * job["tiles"] + tile, memory[base + i])
                     for i in found] + [(None, 0)] * trails
            for k, (weight, pair) in enumerate(steps):
                end = k == len(steps) - 1
                result.append(Step(weight, None, pair, int(k == 0), int(end), int(end and final),
                                   last_tile))
    return result


def update_steps(memory: Pairs, job: dict[str, Any]) -> list[Step]:
    """UPD: for each pair and tile the samples in which the pair lives; then one to end it all.

    Of the samples that are ``erring``, if there is such a list.
    """
    result, erring = [], job.get("erring")
    for i in range(job["pairs"]):
        values = [memory[job["base"] + b * job["stride"] + i] if not erring or erring[b] else 0
                  for b in range(job["samples"])]
        found = [b for b, value in enumerate(values) if value]
        for tile in range(job["tiles"]):
            for b in found:
                result.append(Step(
                    job["weight_base"] + i * job["tiles"] + tile,
                    job["vector_base"] + b * job["vector_stride"] + tile, values[b],
                    int(b == found[0]), int(b == found[-1]), 0, int(tile == job["tiles"] - 1)))
    result.append(Step(None, None, 0, 1, 0, 1, None))
    return result
