"""Proofs: the toper, the rules of streams, AXI, the sequencer. Induction, but where it says not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Module
from formal import axi, toper
from formal.harness import Free
from formal.prove import Proof, prove
from formal.sequencer import sequencer
from formal.streams import Queue, close_in_time, stream_rules

from tangente.golden.config import preset
from tangente.rtl.datapath import Datapath
from tangente.rtl.engine import Engine
from tangente.rtl.merger import Merger
from tangente.rtl.toper import Toper
from tangente.rtl.toper_tree import Heads, ToperTree
from tangente.rtl.uop import Kind

#: Four lanes, and every memory as small as it may be.
SMALL = dataclasses.replace(preset("tiny"), **{
    field: 16 for field in ("weight_words", "rows", "pairs", "input_beats", "target_beats",
                            "logit_pairs", "bias_pairs", "program_words", "max_outputs")})


def test_toper_sums(tmp_path: Path) -> None:
    """Sorted, nothing twice or summed away, verdicts, cadence, lists: 3 registers, 4-bit values."""
    prove(toper.Sums(3, 3, 4), tmp_path, steps=1, cover=12, covers=5)


def test_toper_largest(tmp_path: Path) -> None:
    """Distinct ids: exactly the K largest, ties to the first: 3 registers, 4-bit values."""
    prove(toper.Largest(3, 3, 4), tmp_path, steps=1, cover=12, covers=3)


def test_harness_finds_what_is_wrong(tmp_path: Path) -> None:
    """A proof that could not fail would prove nothing."""
    def rules(m: Module, dut) -> None:
        m.d.comb += Assert(~dut.clipped)
    with pytest.raises(AssertionError, match="Assert failed"):
        Proof(Free(Toper(1, 1, 2), rules), tmp_path).holds(8)


@pytest.mark.parametrize(("harness", "steps", "cover"), [
    (lambda: stream_rules(Heads(2, 3), ["merged"], ["a", "b"]), 1, 6),
    (lambda: stream_rules(Merger(2, 2, 3), ["merged"], ["a", "b"]), 4, 10),
    (lambda: stream_rules(ToperTree(2, 2, 2, 3), ["lists"], contract=close_in_time), 2, 8),
], ids=["Heads", "Merger", "ToperTree"])
def test_streams(harness, steps: int, cover: int, tmp_path: Path) -> None:
    prove(harness(), tmp_path, steps, cover, covers=1)


def _one_product(m: Module, dut: Datapath) -> None:
    """The same job of one sum throughout."""
    job = dut.job
    m.d.comb += [Assume(dut.kind == Kind.MVD), Assume(~dut.reset_job),
                 *(Assume(value == 1) for value in (job.count, job.p, job.q)),
                 *(Assume(value == 0) for value in (job.m_base, job.v_base, job.v_stride))]


def _no_job(m: Module, dut: Engine) -> None:
    m.d.comb += [Assume(~dut.start), Assume(~dut.reset_job)]


@pytest.mark.parametrize(("harness", "covering", "cover"), [
    # The payload is a queue's: its own proof is below.
    (lambda contract: stream_rules(Datapath(SMALL), ["sums"], unless=lambda d: d.reset_job | d.drop,
                                   payload=False, contract=contract), _one_product, 34),
    (lambda contract: stream_rules(Engine(SMALL), ["local_data"], payload=False,
                                   contract=contract), _no_job, 12),
], ids=["Datapath", "Engine"])
def test_large_streams(harness, covering, cover: int, tmp_path: Path) -> None:
    """The rules hold whatever the block is asked for; that they are met is shown in one case."""
    proof = Proof(harness(None), tmp_path)
    proof.holds(3)
    proof.inducts(2)
    case = tmp_path / "case"
    case.mkdir()
    assert Proof(harness(covering), case).covers(cover) == 1


def test_queue(tmp_path: Path) -> None:
    """Amaranth's, bounded: 10 cycles of two places."""
    proof = Proof(stream_rules(Queue(1, 2), ["given"]), tmp_path)
    proof.holds(10)
    assert proof.covers(6) == 1


def test_register_slave(tmp_path: Path) -> None:
    prove(axi.slave(SMALL), tmp_path, steps=3, cover=6, covers=5)


def test_transfer_master(tmp_path: Path) -> None:
    """Both its AXI3 channels and its local streams; commands of up to 127 beats within 8 KiB."""
    prove(axi.master(SMALL), tmp_path, steps=1, cover=12, covers=8)


def test_sequencer_is_never_stuck(tmp_path: Path) -> None:
    prove(sequencer(SMALL), tmp_path, steps=1, cover=10, covers=7)
