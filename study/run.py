"""What decides a training of the workshop's net. Imports nothing that takes time."""

from __future__ import annotations

import dataclasses

__all__ = ["Run", "SHAPES", "SLOPES", "UPDATES"]

#: Layers by the number of weights. The workshop published "61 parameters" (4-5-5-1, sigmoid, linear
#: output), but its bias column lay over the last hidden neuron: what learnt was 4-4-4-1.
SHAPES = {61: (4, 5, 5, 1), 45: (4, 4, 4, 1)}
SLOPES = ("right", "original")
UPDATES = ("max-normalised", "sgd")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """All that decides a training, and nothing else.

    Members
    -------
    samples : of the corpus; four fifths train, the rest validate.
    registers : K a neuron keeps; 0 for all.
    seed : of corpus, first weights and order. K does not enter what is drawn: runs that differ in K
        alone are pairs.
    slope : of the sigmoid, see :class:`tangente.golden.autofore.AutoFore`.
    update : "max-normalised" moves the weight with the largest gradient of a batch by ``rate`` and
        others in proportion (the workshop's); "sgd" subtracts ``rate`` times the gradient.
    parameters : 61, or the 45 that the workshop's published curves came from.
    epochs, batch : of the training.
    rate : of the update.

    Raises
    ------
    ValueError
        If a member is out of range.
    """

    samples: int = 200
    registers: int = 16
    seed: int = 0
    slope: str = "right"
    update: str = "max-normalised"
    parameters: int = 61
    epochs: int = 250
    batch: int = 10
    rate: float = 0.01

    def __post_init__(self) -> None:
        for name, choices in (("slope", SLOPES), ("update", UPDATES), ("parameters", SHAPES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not "
                                 f"{getattr(self, name)!r}")
        for name, least in (("samples", 5), ("registers", 0), ("seed", 0), ("epochs", 1),
                            ("batch", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate!r}")

    @property
    def layers(self) -> tuple[int, ...]:
        """Widths from inputs to outputs."""
        return SHAPES[self.parameters]
