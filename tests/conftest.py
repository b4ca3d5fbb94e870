"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tangente.golden.config import preset
from tangente.host import data
from tangente.sim.build import build

#: Beside the repository: the data sets, where the machine has them.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_style() -> Iterator[None]:
    """What a test's plots set for all of matplotlib is gone after it."""
    try:
        import matplotlib
    except ImportError:
        yield
        return
    with matplotlib.rc_context():
        yield


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """A folder whose mnist/ has the four files; skips, and says what is missing, without one."""
    for place in (SHARED, None):
        if place is not None and not place.is_dir():
            continue
        folder = data.find("mnist", place)
        if folder is not None:
            return folder.parent if folder.name == "mnist" else folder
    pytest.skip("the MNIST files are missing: neither ../shared/data, TANGENTE_DATA nor the cache "
                "has them")


@pytest.fixture(scope="session")
def tiny_library() -> Path:
    """The compiled accelerator of preset `tiny`, for :class:`tangente.sim.model.Model`."""
    return build(preset("tiny"))
