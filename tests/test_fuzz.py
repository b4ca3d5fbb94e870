"""A share of `make fuzz`: random programs and register writes on the RTL against golden."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tangente.bench import fuzz
from tangente.golden import tensor
from tangente.golden.config import preset
from tangente.golden.isa import Cause

CONFIG = preset("tiny")


@pytest.mark.parametrize("part", range(4))
def test_random_programs(tiny_library: Path, part: int) -> None:
    """Causes, PCs, counters and memories; every cause that a program can bring about occurs."""
    outcomes = [fuzz.one(tiny_library, CONFIG, number)
                for number in range(150 * part, 150 * (part + 1))]
    causes = Counter(outcome.cause for outcome in outcomes)
    assert {Cause.DONE, Cause.ILLEGAL, Cause.OPERAND, Cause.ADDRESS, Cause.STOPPED} <= set(causes)
    assert causes[Cause.DONE] > 75
    assert sum(outcome.compared for outcome in outcomes) > 5
    assert sum(outcome.refused for outcome in outcomes) > 50


def test_a_difference_is_found_and_can_be_repeated(tiny_library: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden with one rule broken: the message says which program, and how to run it again."""
    monkeypatch.setitem(tensor._METHODS, tensor.Op.BUP, lambda self: None)
    message = re.compile(r"^program (\d+): .*; repeat it with python -m tangente\.bench\.fuzz "
                         r"--first \1 --programs 1$")
    with pytest.raises(fuzz.Difference, match=message):
        for number in range(0, 400, 2):
            fuzz.one(tiny_library, CONFIG, number)
