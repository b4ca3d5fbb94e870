"""Progress of a training run: the event that the trainer sends, and what the terminal shows."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Event", "Progress"]

#: Seconds between two plain lines where there is no terminal.
LINE_INTERVAL = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """The state of a run after one chunk of samples.

    Members
    -------
    epoch : epoch that runs, from 1.
    epochs : epochs in all.
    samples_done : samples of this epoch that have been trained on.
    samples_total : samples of this epoch.
    loss : mean loss of this epoch's samples so far, in nats (softmax) or squared error.
    accuracy : fraction of this epoch's samples so far, 0 to 1, whose largest logit was right; None
        for the loss "mse", which counts no hits.
    cycles : clock cycles of the run so far; 0 where the device counts none.
    """

    epoch: int
    epochs: int
    samples_done: int
    samples_total: int
    loss: float
    accuracy: float | None
    cycles: int


class Progress:
    """Shows events: a bar an epoch on a terminal, a line every few seconds elsewhere.

    A callable for ``trainer.train(progress=…)`` and a context manager that closes the bar.

    Parameters
    ----------
    stream : where to write; standard error by default, so that standard output stays clean.
    clock : seconds, monotonic; a test passes its own.
    """

    def __init__(self, stream: TextIO | None = None, *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._bar: tqdm | None = None
        self._epoch = 0
        self._last_line = clock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, event: Event) -> None:
        """Show ``event``."""
        if self._terminal:
            self._draw(event)
        elif (event.samples_done >= event.samples_total
              or self._clock() - self._last_line >= LINE_INTERVAL):
            self._last_line = self._clock()
            print(f"epoch {event.epoch}/{event.epochs}  "
                  f"{event.samples_done:,}/{event.samples_total:,} samples  {_figures(event)}",
                  file=self._stream, flush=True)

    def close(self) -> None:
        """End the bar and leave it on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, event: Event) -> None:
        if event.epoch != self._epoch:
            self.close()
            from tqdm import tqdm  # only a terminal needs it

            self._epoch = event.epoch
            self._bar = tqdm(total=event.samples_total, unit=" samples", file=self._stream,
                             desc=f"epoch {event.epoch}/{event.epochs}", dynamic_ncols=True,
                             bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} "
                                        "{rate_fmt} {remaining}{postfix}")
        assert self._bar is not None
        self._bar.set_postfix_str(_figures(event), refresh=False)
        self._bar.update(event.samples_done - self._bar.n)
        if event.samples_done >= event.samples_total:
            self._bar.refresh()


def _figures(event: Event) -> str:
    text = f"loss {event.loss:.4f}"
    return text if event.accuracy is None else f"{text}  accuracy {100 * event.accuracy:.1f} %"
