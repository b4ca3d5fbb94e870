"""The whole accelerator on hesitating buses: random programs against golden, in cocotb."""

from __future__ import annotations

from pathlib import Path

from benches.accelerator import CONFIG
from benches.accelerator_edge import AcceleratorEdge
from benches.runner import run_bench

from tangente import rtl


def test_bench(tmp_path: Path) -> None:
    models = sorted(Path(next(iter(rtl.__path__))).glob("verilog/*.v"))
    run_bench(AcceleratorEdge(CONFIG), "accelerator", tmp_path, models)
