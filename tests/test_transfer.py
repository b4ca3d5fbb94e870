"""The accelerator's AXI master: the bench on the bus.

Its speed is measured in test_sim_model.py, with a memory that answers a beat a cycle.
"""

from __future__ import annotations

from pathlib import Path

from benches.runner import run_bench
from benches.transfer_edge import TransferEdge

from tangente.golden.config import preset


def test_bench(tmp_path: Path) -> None:
    run_bench(TransferEdge(preset("tiny")), "transfer", tmp_path)
