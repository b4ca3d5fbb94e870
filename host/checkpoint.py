"""Checkpoints: everything that a training needs to go on with the same bits, in one ``.npz`` file.

A file is written beside its final name, synced and then moved into place, so that the name always
has a whole checkpoint: the last one or the one before. No pickle is written or read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .driver import Counters
from .options import Options

__all__ = ["FORMAT", "Checkpoint", "CheckpointError"]

#: Of the file; a larger one was written by a newer version.
FORMAT = 1

_ARRAYS = ("format", "state", "weights", "biases", "random")


class CheckpointError(ValueError):
    """A checkpoint is damaged, or is not of this training; the message says which and what to do.
    """


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A training between two batches.

    Members
    -------
    options : of the training; the device may change.
    dataset : :attr:`tangente.host.data.Dataset.digest` of its samples.
    weights : int16, (weight_words, 2 x lanes), the weight memory.
    biases : int16, (bias_pairs, 2, 2), the bias memory with its gradients.
    random : state of the random generator, 64 bits.
    epoch, first : the sample that comes next, in its epoch's order; the epoch after the last one
        when all is done.
    epoch_counters, totals : of the samples of this epoch and of the run before that one.
    mismatches : words that had differed from golden's by then, if the run was verified.
    wall_s : seconds trained.
    """

    options: Options
    dataset: str
    weights: npt.NDArray[np.int16]
    biases: npt.NDArray[np.int16]
    random: int
    epoch: int
    first: int
    epoch_counters: Counters
    totals: Counters
    mismatches: int | None
    wall_s: float

    def save(self, path: Path) -> None:
        """Write the file; a process that is killed meanwhile leaves the old one.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        state = {
            "options": dataclasses.asdict(self.options), "engine": self.options.config.hash,
            "dataset": self.dataset, "epoch": self.epoch, "first": self.first,
            "epoch_counters": dataclasses.asdict(self.epoch_counters),
            "totals": dataclasses.asdict(self.totals), "mismatches": self.mismatches,
            "wall_s": self.wall_s}
        partial = path.with_name(path.name + ".part")
        with open(partial, "wb") as file:
            np.savez(file, format=np.int64(FORMAT), state=np.array(json.dumps(state)),
                     weights=self.weights, biases=self.biases, random=np.uint64(self.random))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        # The new name, too, must be on the disk before anything relies on it.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """The checkpoint in ``path``.

        Raises
        ------
        CheckpointError
            If it is none, is damaged, or is of another version of tangente.
        OSError
            If it cannot be read.
        """
        try:
            with open(path, "rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise ValueError("it is a single array")
                with archive:
                    version = int(archive["format"])
                    if version > FORMAT:
                        raise CheckpointError(
                            f"{path} has checkpoint format {version}, but this tangente knows "
                            f"formats up to {FORMAT}: resume with the newer version")
                    arrays = {name: archive[name] for name in _ARRAYS}
            state = json.loads(str(arrays["state"]))
            return cls._made(path, state, arrays)
        except (CheckpointError, OSError):
            raise
        # Whatever a byte turned over makes of a zip file, its arrays or its JSON.
        except (ValueError, KeyError, TypeError, EOFError, IndexError, zipfile.BadZipFile,
                zlib.error, NotImplementedError, RuntimeError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise CheckpointError(f"{path} is no checkpoint or is damaged ({text}); resume from "
                                  "another, or begin anew without it") from error

    @classmethod
    def _made(cls, path: Path, state: dict[str, Any], arrays: dict[str, Any]) -> Checkpoint:
        names = {field.name for field in dataclasses.fields(Options)}
        if set(state["options"]) != names:
            others = ", ".join(sorted(set(state["options"]) ^ names))
            raise CheckpointError(f"{path} was written by another version of tangente, whose "
                                  f"options differ: {others}; resume with that version")
        options = Options(**{name: _tuples(value) for name, value in state["options"].items()})
        config = options.config
        if state["engine"] != config.hash:
            raise CheckpointError(
                f"{path} was written for an engine with configuration hash "
                f"0x{state['engine']:08x}, but preset {config.name} has 0x{config.hash:08x}: "
                "resume with the version of tangente that wrote it")
        for name, shape in (("weights", (config.weight_words, 2 * config.lanes)),
                            ("biases", (config.bias_pairs, 2, 2))):
            if arrays[name].shape != shape or arrays[name].dtype != np.int16:
                raise ValueError(f"{name} are {arrays[name].dtype} of shape {arrays[name].shape}")
        counters = {name: Counters(**{**state[name], "saturations":
                                      tuple(state[name]["saturations"])})
                    for name in ("epoch_counters", "totals")}
        return cls(options=options, dataset=state["dataset"], weights=arrays["weights"],
                   biases=arrays["biases"], random=int(arrays["random"]), epoch=state["epoch"],
                   first=state["first"], epoch_counters=counters["epoch_counters"],
                   totals=counters["totals"], mismatches=state["mismatches"],
                   wall_s=state["wall_s"])

    def check(self, path: Path, options: Options, dataset: str) -> None:
        """Refuse to go on with other options (the device apart) or with other samples.

        Raises
        ------
        CheckpointError
            Which names every difference.
        """
        saved, given = dataclasses.asdict(self.options), dataclasses.asdict(options)
        differences = [f"{name} {saved[name]!r}, not {given[name]!r}"
                       for name in saved if name != "device" and saved[name] != given[name]]
        if differences:
            raise CheckpointError(f"{path} is of a training with {'; '.join(differences)}")
        if self.dataset != dataset:
            raise CheckpointError(f"{path} is of a training with other samples than those of "
                                  f"{options.dataset}: their sha256 differs")


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
