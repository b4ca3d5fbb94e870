"""What the harness notices: a master that breaks AXI, a slave that does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tangente.sim.model import Model, ResponseError, SimulationError
from tangente.sim.verilator import build_library

ROGUE = Path(__file__).parent / "benches" / "rogue.v"


@pytest.fixture(scope="module")
def library() -> Path:
    return build_library(ROGUE.read_text(), trace=True)


@pytest.fixture
def model(library: Path) -> Iterator[Model]:
    with Model(library, ddr_bytes=1 << 16) as model:
        yield model


def test_keeping_the_rules_is_fine(model: Model) -> None:
    model.ddr[:16] = 1
    model.write(0, 0)
    model.run(200)
    assert not model.ddr[:16].any()


@pytest.mark.parametrize(("sin", "message"), [
    (1, "burst of beats other than 8 bytes (address 0x10000000"),
    (2, "burst that does not increment (address 0x10000000"),
    (3, "burst of more than 16 beats (address 0x10000000"),
    (4, "burst at an address that is no multiple of 8 (address 0x10000004"),
    (5, "burst across a boundary of 4096 bytes (address 0x10000ff8"),
    (6, "AW changed before AWREADY (address 0x10000"),
    (7, "AR changed before ARREADY (address 0x10000"),
    (8, "W changed before WREADY (address 0x"),
    (9, "WLAST on the wrong beat (address 0x10000000"),
    (10, "WLAST on the wrong beat (address 0x10000008"),
    (11, "WID other than the burst's AWID (address 0x10000000"),
    (12, "W changed before WREADY (address 0x"),
])
def test_breaking_a_rule_is_named(model: Model, sin: int, message: str) -> None:
    # Nothing is taken at once, so that what must not change has the time to.
    model.timing(stall=0.9, seed=1)

    def commit() -> None:
        model.write(0, sin)
        model.run(500)

    with pytest.raises(SimulationError) as caught:
        commit()
    assert str(caught.value).startswith(f"AXI protocol: {message}")
    assert f"cycle {model.cycles - 1})" in str(caught.value)
    with pytest.raises(SimulationError, match=r"^AXI protocol: "):
        model.read(0)


@pytest.mark.parametrize(("where", "missing"),
                         [(0x10, "AWREADY"), (0x14, "WREADY"), (0x18, "BVALID")])
def test_unanswered_write_is_named(model: Model, where: int, missing: str) -> None:
    with pytest.raises(SimulationError,
                       match=rf"^write to 0x00{where:02x}: no {missing} in 50 cycles$"):
        model.write(where, 1, bound=50)
    assert model.cycles == 50


@pytest.mark.parametrize(("where", "missing"), [(0x10, "ARREADY"), (0x18, "RVALID")])
def test_unanswered_read_is_named(model: Model, where: int, missing: str) -> None:
    with pytest.raises(SimulationError,
                       match=rf"^read from 0x00{where:02x}: no {missing} in 1000 cycles$"):
        model.read(where)


def test_exclusive_answer_is_an_error(model: Model) -> None:
    with pytest.raises(ResponseError, match=r"^read from 0x0020: answered EXOKAY$"):
        model.read(0x20)


def test_trace(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "wave.vcd"
    model.trace(path)
    model.write(0, 0)
    model.run(50)
    model.trace(None)
    text = path.read_text()
    assert "m_axi_awvalid" in text
    assert len(text.splitlines()) > 200
    size = path.stat().st_size
    model.run(50)
    assert path.stat().st_size == size
    with pytest.raises(SimulationError, match=r"^no trace in .*: it cannot be written, or"):
        model.trace(tmp_path / "missing" / "wave.vcd")


def test_models_end_in_any_order(tiny_library: Path) -> None:
    """Also one that was not looked at since another of its thread ended."""
    one, other = Model(tiny_library, ddr_bytes=4096), Model(tiny_library, ddr_bytes=4096)
    other.close()
    one.close()
    with Model(tiny_library, ddr_bytes=4096) as model:
        model.reset()
