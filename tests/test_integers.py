"""study/integers.py and bench/bound.py: the ladder's last rungs and the workshop's bound."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tangente.bench import bound
from tangente.study.compiled import train_run
from tangente.study.corpus import Corpus
from tangente.study.integers import as_bytes, train_integers
from tangente.study.run import Run

SGD = Run(samples=100, registers=0, update="sgd", rate=0.1, epochs=15)


@pytest.fixture(scope="module")
def floats():
    return train_run(SGD)


@pytest.mark.parametrize("algorithm", ["dpfm", "bp"])
def test_the_integer_machine_trains_as_the_floats_do(floats, algorithm):
    integers = train_integers(SGD, algorithm=algorithm).history
    # In the first epoch errors are cut at 1; then there is nothing but rounding.
    np.testing.assert_allclose(integers.loss[1:], floats.loss[1:], rtol=0.03)
    np.testing.assert_allclose(integers.val_loss[1:], floats.val_loss[1:], rtol=0.03)
    np.testing.assert_allclose(integers.weights, floats.weights, atol=0.01)
    # The training has gone further than rounding reaches.
    assert np.abs(floats.weights - Corpus.of(SGD).weights).max() > 0.1


@pytest.mark.usefixtures("tiny_library")
@pytest.mark.parametrize("registers", [0, 4])
def test_the_rtl_ends_in_the_same_bits(registers):
    run = dataclasses.replace(SGD, registers=registers, epochs=2)
    golden, rtl = train_integers(run), train_integers(run, "sim")
    for ours, theirs in zip(golden.memory, rtl.memory):
        assert ours.tobytes() == theirs.tobytes()
    assert golden.cycles == rtl.cycles > 0
    for name in ("loss", "val_loss", "weights"):
        assert getattr(golden.history, name).tobytes() == getattr(rtl.history, name).tobytes()


def test_registers_matter_to_the_machine():
    few, every = (train_integers(dataclasses.replace(SGD, registers=k, epochs=3)).memory[0]
                  for k in (2, 0))
    assert few.tobytes() != every.tobytes()


def test_inputs_are_bytes():
    assert as_bytes(np.array([0, 0.001, 0.002, 0.5, 0.999, 1.0])).tolist() == [
        0, 0, 1, 128, 255, 255]


def test_what_the_machine_does_not_train():
    with pytest.raises(ValueError, match="^" + re.escape(
            "the machine trains slope='right', update='sgd', not 'original', 'max-normalised'")
            + "$"):
        train_integers(Run(slope="original"))


@pytest.mark.usefixtures("tiny_library")
def test_the_bound_is_counted_on_the_rtl(capsys, tmp_path):
    page = tmp_path / "workshop.md"
    page.write_text("<!-- bound:begin -->\n<!-- bound:end -->\n")
    bound.main(["--preset", "tiny", "--write", str(tmp_path)])
    printed = capsys.readouterr().out.rstrip() + "\n"
    assert "| claimed: 4,250 products on 220 multipliers | 20 | | |" in printed
    assert printed in page.read_text()
    for name in bound.PROGRAMS:
        row = re.search(rf"^\| {name} \| ([\d,]+) \| (.*) \| ([\d,]+) \|$", printed, re.M)
        layer, step = (int(row[i].replace(",", "")) for i in (1, 3))
        parts = [int(part.replace(",", "")) for part in re.findall(r"[A-Z]+ (\d[\d,]*\d)", row[2])]
        # Ten samples, one cycle each at least, and less than the step.
        assert 10 * len(parts) < layer == sum(parts) < step


@pytest.mark.usefixtures("tiny_library")
def test_a_clock_that_differs_is_told(monkeypatch):
    class Late(bound.GoldenDevice):
        """Counts a cycle more."""

        def read(self, name, word=0):
            return super().read(name, word) + (name == "CYCLES" and word == 0)

    monkeypatch.setattr(bound, "GoldenDevice", Late)
    with pytest.raises(RuntimeError,
                       match=r"^BP: the RTL counts \d+, {.*}, the golden clock \d+, {.*}$"):
        bound.measure("BP", "tiny")
