"""What the outputs are to become: real targets of class numbers (loss "mse"), and the way back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tangente.golden.isa import LOGIT_FRACTION

from .options import Options

__all__ = ["Targets", "classified", "targets_of", "wanted"]

#: Class numbers, integers (samples,), or real targets (samples, outputs).
Targets = npt.NDArray[np.integer] | npt.NDArray[np.floating]


def targets_of(labels: npt.NDArray[np.integer], classes: int,
               outputs: int) -> npt.NDArray[np.float64]:
    """Targets (samples, outputs) of class numbers (samples,) below ``classes``.

    Of several outputs the class's is 1 and the others are 0; one output has a level for each class,
    evenly from 0 to 1.
    """
    if outputs == 1:
        return labels[:, None] / max(classes - 1, 1)
    return (labels[:, None] == np.arange(outputs)).astype(np.float64)


def classified(logits: npt.NDArray[np.int16], classes: int) -> npt.NDArray[np.int64]:
    """The classes (samples,) that logits (samples, outputs) are nearest to; of equals the first."""
    if logits.shape[1] > 1:
        return logits.argmax(1)
    level = logits[:, 0] * (max(classes - 1, 1) / (1 << LOGIT_FRACTION))
    return np.clip(np.ceil(level - 0.5), 0, classes - 1).astype(np.int64)


def wanted(options: Options, labels: npt.NDArray[np.integer], classes: int) -> Targets:
    """What :meth:`tangente.host.session.Session.train` takes for ``labels``, by the loss."""
    if options.loss == "softmax":
        return labels
    return targets_of(labels, classes, options.layers[-1])
