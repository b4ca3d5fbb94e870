"""Neural networks that learn inside an FPGA, in fixed point.

The public names: a build-time configuration (:class:`Config`, :func:`preset`), a data set
(:func:`load`, :class:`Dataset`), what to train (:class:`Options`) and the training itself
(:func:`train`, which returns a :class:`Result`)::

    import tangente
    options = tangente.Options(dataset="digits", algorithm="dpfm", registers=16)
    result = tangente.train(options, tangente.load("digits"))
    print(result.to_json()["test_accuracy"])

:class:`Classifier` is the same engine with scikit-learn's interface.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tangente.golden.config import Config, preset
    from tangente.host.data import Dataset, load
    from tangente.host.estimator import Classifier
    from tangente.host.options import Options
    from tangente.host.trainer import Result, train

__all__ = ["Classifier", "Config", "Dataset", "Options", "Result", "__version__", "load", "preset",
           "train"]

__version__ = importlib.metadata.version("tangente")

# Imported on first use: `tangente --help` need not wait for NumPy and Numba.
_HOME = {
    "Config": "tangente.golden.config", "preset": "tangente.golden.config",
    "Classifier": "tangente.host.estimator",
    "Dataset": "tangente.host.data", "load": "tangente.host.data",
    "Options": "tangente.host.options",
    "Result": "tangente.host.trainer", "train": "tangente.host.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tangente' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
