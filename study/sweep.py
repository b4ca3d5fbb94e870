"""Many runs on all cores, each kept in a file of its own as soon as it is finished."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
from tqdm import tqdm

from .network import History
from .run import Run

__all__ = ["Sweep", "cores", "default_cache", "digest", "sweep"]

#: What a run's figures depend on beside its configuration.
_SOURCES = ("run.py", "network.py", "corpus.py", "compiled.py")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """A grid of runs.

    Members
    -------
    samples, registers : the values of each, in the order of the report.
    seeds : how many, from 0.
    common : every other member of the runs.

    Raises
    ------
    ValueError
        If there is nothing to run, or a run is refused.
    """

    samples: tuple[int, ...] = (50, 100, 200, 400)
    registers: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 0)
    seeds: int = 6
    common: Run = Run()

    def __post_init__(self) -> None:
        for name in ("samples", "registers"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} must have a value")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must differ, not {', '.join(map(str, values))}")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, not {self.seeds!r}")
        self.runs()

    def runs(self) -> list[Run]:
        """All of them, the longest first: the cores end together."""
        return [dataclasses.replace(self.common, samples=samples, registers=registers, seed=seed)
                for samples in sorted(self.samples, reverse=True)
                for registers in self.registers for seed in range(self.seeds)]


def default_cache() -> Path:
    """Where finished runs are kept: a folder of the user's cache."""
    return platformdirs.user_cache_path("tangente") / "study"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _code() -> str:
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in _SOURCES)).hexdigest()


def digest(run: Run) -> str:
    """Names ``run`` and the code that trains it, in 20 hexadecimal digits."""
    text = json.dumps([dataclasses.asdict(run), _code()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _load(path: Path) -> History | None:
    """What a file keeps; None if there is none, or it is no such file."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return History(*(np.array(kept[name], float) for name in ("loss", "val_loss", "weights")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(path: Path, run: Run, history: History) -> None:
    """Write the file at once or not at all."""
    kept = {"run": dataclasses.asdict(run), "loss": history.loss.tolist(),
            "val_loss": history.val_loss.tolist(), "weights": history.weights.tolist()}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False,
                                     encoding="utf-8") as file:
        json.dump(kept, file)
    os.replace(file.name, path)


def sweep(runs: Iterable[Run], *, cache: Path, workers: int | None = None, refresh: bool = False,
          train: Callable[[Run], History] | None = None, quiet: bool = False
          ) -> dict[Run, History]:
    """Train every run that ``cache`` does not have, on ``workers`` threads (all cores).

    Compiled training holds no lock of the interpreter, so threads do. A file that is damaged is as
    good as none.

    Parameters
    ----------
    cache : folder of the finished runs, made if it is missing.
    refresh : train them all anew.
    train : what trains a run; :func:`tangente.study.compiled.train_run` if None.
    quiet : no bar.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C, after the runs that were under way have been kept: seconds.
    OSError
        If the cache cannot be written.
    ValueError
        If ``workers`` is below 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers!r}")
    if train is None:
        from .compiled import train_run

        train = train_run
    trains = train
    cache.mkdir(parents=True, exist_ok=True)
    wanted: Sequence[Run] = list(dict.fromkeys(runs))
    results: dict[Run, History] = {}
    for run in wanted:
        known = None if refresh else _load(cache / f"{digest(run)}.json")
        if known is not None:
            results[run] = known
    missing = [run for run in wanted if run not in results]

    def finish(run: Run) -> History:
        history = trains(run)
        _save(cache / f"{digest(run)}.json", run, history)
        return history

    # `disable=None`: no bar where there is no terminal.
    with tqdm(total=len(wanted), initial=len(results), unit=" runs", desc="training",
              disable=True if quiet else None, dynamic_ncols=True) as bar:
        pool = concurrent.futures.ThreadPoolExecutor(workers or cores())
        try:
            jobs = {pool.submit(finish, run): run for run in missing}
            for job in concurrent.futures.as_completed(jobs):
                results[jobs[job]] = job.result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return {run: results[run] for run in wanted}
