# amaranth: UnusedElaboratable=no
"""The host's registers: the bench on the bus, and the ports that the register map makes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from benches.runner import run_bench

from tangente.golden.config import preset
from tangente.rtl.axi import AxiLite
from tangente.rtl.control import Control, counters
from tangente.rtl.export import to_verilog

CONFIG = preset("tiny")


def test_bench(tmp_path: Path) -> None:
    run_bench(Control(CONFIG), "control", tmp_path)


def test_counters_come_from_the_register_map() -> None:
    assert counters() == {
        "cycles": 64, "loss": 64, "correct": 32, "samples": 32, "stall_load": 32, "busy": 32,
        "sat_logit": 32, "sat_activation": 32, "sat_error": 32, "sat_derivative": 32,
        "sat_weight": 32, "sat_bias": 32, "report": 32, "counter": 32}


def test_program_must_fit_its_window() -> None:
    Control(dataclasses.replace(CONFIG, program_words=2048))
    with pytest.raises(ValueError, match=r"^program_words must be at most 2048 to fit the program "
                                         r"window, not 4096$"):
        Control(dataclasses.replace(CONFIG, program_words=4096))


@pytest.mark.parametrize("bits", [1, 65, 3.0])
def test_address_bits(bits: object) -> None:
    with pytest.raises(ValueError, match=rf"^address_bits must be an integer between 2 and 64, not "
                                         rf"{bits}$"):
        AxiLite(bits)  # type: ignore[arg-type]


def test_verilog_ports_have_the_bus_names() -> None:
    text = to_verilog(Control(CONFIG), "control")
    for port in ("input [13:0] s_axil_awaddr;", "output [31:0] s_axil_rdata;", "input clk;",
                 "input rst;", "output irq;"):
        assert f"  {port}\n" in text
    assert "s_axil__" not in text[:text.index(");")]
