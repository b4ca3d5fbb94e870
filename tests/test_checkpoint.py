"""Checkpoints: whatever interrupts a training, it ends in the bits of one that nothing did."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tangente.golden.config import preset
from tangente.host import checkpoint, trainer
from tangente.host.checkpoint import FORMAT, Checkpoint, CheckpointError
from tangente.host.data import Dataset
from tangente.host.driver import Counters
from tangente.host.options import Options
from tangente.host.trainer import Interrupted, Result, train

#: Random bits are used up (event), biases move, and the last batch of an epoch is short.
SMALL = Options(preset="tiny", layers=(12, 6, 5, 3), registers=4, bits=4, update="event", batch=4,
                epochs=2, seed=3)
PLAIN = dataclasses.replace(SMALL, algorithm="bp", update="nearest", accumulator_bits=0, bits=16)


def bars(seed: int = 0) -> Dataset:
    """Three positions of a bright bar, 12 pixels: 150 to train, 50 to test."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 200).astype(np.uint8)
    images = rng.integers(0, 90, (200, 12))
    for row, label in zip(images, labels):
        row[4 * label:4 * label + 4] += 120
    images = images.astype(np.uint8)
    return Dataset(name="bars", train_images=images[:150], train_labels=labels[:150],
                   test_images=images[150:], test_labels=labels[150:], classes=3, shape=(3, 4))


DATA = bars()


class Stop:
    """Says stop from the call numbered ``after`` on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def assert_equal(one: Result, other: Result, *, cycles: bool = True) -> None:
    np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(one.biases, other.biases)
    for name in ("train_loss", "test_accuracy", "saturations", "samples", "test_samples"):
        assert getattr(one, name) == getattr(other, name), name
    if cycles:
        assert one.cycles == other.cycles


@pytest.fixture(scope="module")
def whole() -> Result:
    return train(SMALL, DATA)


def test_a_checkpoint_changes_nothing(whole: Result, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    assert_equal(train(SMALL, DATA, checkpoint=path, checkpoint_every=3), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    end = Checkpoint.load(path)
    assert (end.epoch, end.first, end.totals.cycles) == (2, 0, whole.cycles)
    np.testing.assert_array_equal(end.weights, whole.weights)
    # It was the end: only the test is left.
    assert_equal(train(SMALL, DATA, resume=path), whole)


@pytest.mark.parametrize("after", [0, 1, 2, 18, 19, 20, 37, 38, 39])
def test_stopped_anywhere_and_resumed(after: int, whole: Result, tmp_path: Path) -> None:
    """The stand-in says stop between parts, and within them where golden looks often enough."""
    path = tmp_path / "run.npz"
    with pytest.raises(Interrupted, match="^the training was interrupted; it can be resumed from "
                       + re.escape(str(path)) + "$") as caught:
        train(SMALL, DATA, checkpoint=path, stop=Stop(after))
    assert caught.value.checkpoint == path
    assert_equal(train(SMALL, DATA, checkpoint=path, resume=path), whole)
    assert Checkpoint.load(path).epoch == 2


def test_stopped_without_a_file(whole: Result) -> None:
    with pytest.raises(Interrupted, match="^the training was interrupted$") as caught:
        train(SMALL, DATA, stop=Stop(3))
    assert caught.value.checkpoint is None


@pytest.mark.parametrize("device", ["golden", "sim"])
def test_stopped_within_a_part(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                               ) -> None:
    """One part an epoch, cut at a batch by the program's new end; golden trains on as much."""
    monkeypatch.setattr(trainer, "_CHUNKS", 1)
    monkeypatch.setattr("tangente.host.driver._LOOK_S", 0.0)
    monkeypatch.setattr("tangente.host.sim_device._FIRST", 300)
    options = dataclasses.replace(SMALL, device=device)
    expected = train(options, DATA)
    path, firsts = tmp_path / "run.npz", []
    with pytest.raises(Interrupted):
        train(options, DATA, checkpoint=path, verify=True, stop=Stop(6))
    while True:
        firsts.append(Checkpoint.load(path).first)
        assert Checkpoint.load(path).mismatches == 0
        try:
            result = train(options, DATA, checkpoint=path, resume=path, verify=True,
                           stop=Stop(6 if len(firsts) < 4 else 10**9))
            break
        except Interrupted:
            pass
    # At a batch, and not only at the epoch's end.
    assert len(firsts) == 4
    assert all(first % options.batch == 0 or first == 150 for first in firsts)
    assert any(0 < first < 150 for first in firsts)
    assert_equal(result, expected, cycles=False)
    assert result.mismatches == 0
    # Each cut costs another start.
    assert expected.cycles < result.cycles < 1.1 * expected.cycles


@pytest.mark.parametrize("options", [SMALL, PLAIN], ids=["event", "nearest"])
def test_another_device_goes_on(options: Options, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with pytest.raises(Interrupted):
        train(options, DATA, checkpoint=path, stop=Stop(12))
    on_sim = dataclasses.replace(options, device="sim")
    with pytest.raises(Interrupted):
        train(on_sim, DATA, checkpoint=path, resume=path, stop=Stop(12))
    result = train(options, DATA, resume=path)
    assert_equal(result, train(options, DATA), cycles=False)


def test_every_tenth_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saves = [0.0], []
    monkeypatch.setattr(trainer.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: saves.append(now[0]))

    def later(event: object) -> None:
        now[0] += 1.5

    train(SMALL, DATA, checkpoint=tmp_path / "run.npz", progress=later)
    assert saves[:4] == [0.0, 10.5, 21.0, 31.5]


def sample() -> Checkpoint:
    config = preset("tiny")
    rng = np.random.default_rng(1)
    return Checkpoint(
        options=SMALL, dataset=DATA.digest, random=(1 << 64) - 3, epoch=1, first=20,
        weights=rng.integers(-99, 99, (config.weight_words, 8)).astype(np.int16),
        biases=rng.integers(-9, 9, (config.bias_pairs, 2, 2)).astype(np.int16),
        epoch_counters=Counters(1, 2, 3, 4, (5, 6, 7, 8, 9, 10)),
        totals=Counters(1 << 60, 2, 3, 4, (0, 6, 7, 8, 9, 10)), mismatches=None, wall_s=0.1)


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    for field in dataclasses.fields(Checkpoint):
        np.testing.assert_equal(getattr(one, field.name), getattr(other, field.name))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    sample().save(tmp_path / "a")
    assert_same(Checkpoint.load(tmp_path / "a"), sample())


def test_tuples_are_tuples_again(tmp_path: Path) -> None:
    options = Options(granularity="weight", registers=8, banks=(6, 2))
    config = options.config
    dataclasses.replace(
        sample(), options=options, biases=np.zeros((config.bias_pairs, 2, 2), np.int16),
        weights=np.zeros((config.weight_words, 2 * config.lanes), np.int16)).save(tmp_path / "a")
    assert Checkpoint.load(tmp_path / "a").options == options


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step: str, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    sample().save(path)

    def fail(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np if step == "savez" else checkpoint.os, step, fail)
        with pytest.raises(OSError, match="No space left on device"):
            dataclasses.replace(sample(), epoch=0).save(path)
    assert_same(Checkpoint.load(path), sample())
    dataclasses.replace(sample(), epoch=0).save(path)
    assert Checkpoint.load(path).epoch == 0
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def test_a_file_that_cannot_be_written_is_found_out_at_once(tmp_path: Path) -> None:
    events: list[object] = []
    with pytest.raises(FileNotFoundError):
        train(SMALL, DATA, checkpoint=tmp_path / "no" / "run.npz", progress=events.append)
    assert not events


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A bit turned over or an end cut off is found out, or changes nothing."""
    path, draw = tmp_path / "run.npz", random.Random(5)
    sample().save(path)
    good = path.read_bytes()
    refused = 0
    for number in range(300):
        if number % 3:
            place = draw.randrange(len(good))
            raw = (good[:place] + bytes([good[place] ^ 1 << draw.randrange(8)]) + good[place + 1:])
        else:
            raw = good[:draw.randrange(len(good))]
        path.write_bytes(raw)
        message = ""
        try:
            assert_same(Checkpoint.load(path), sample())
        except CheckpointError as error:
            refused, message = refused + 1, str(error)
        assert not message or re.fullmatch(
            re.escape(str(path)) + r" is no checkpoint or is damaged \(.+\); resume from another, "
            "or begin anew without it|" + re.escape(str(path)) + " (was written|has checkpoint) .*",
            message)
    assert refused > 250


def test_pickles_are_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "run.npz"
    for name in ("state", "format"):
        sample().save(path)
        with np.load(path) as archive:
            arrays = dict(archive)
        arrays[name] = np.array(Evil(), dtype=object)
        np.savez(path, **arrays)
        with pytest.raises(CheckpointError, match=r"Object arrays cannot be loaded when "
                           r"allow_pickle=False"):
            Checkpoint.load(path)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match=r"damaged \(it is a single array\)"):
        Checkpoint.load(tmp_path / "single.npy")
    assert not (tmp_path / "harm").exists()


def rewrite(path: Path, **changes: object) -> None:
    """A checkpoint with changed arrays or, under other names, changed state."""
    sample().save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    state = json.loads(str(arrays["state"]))
    for name, value in changes.items():
        if name in arrays:
            arrays[name] = value
        else:
            state[name] = value
    arrays["state"] = np.array(json.dumps(state))
    np.savez(path, **arrays)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    cases = [
        ({"format": np.int64(FORMAT + 1)}, f"has checkpoint format {FORMAT + 1}, but this tangente "
         f"knows formats up to {FORMAT}: resume with the newer version"),
        ({"options": {**dataclasses.asdict(SMALL), "gate": 1}}, "was written by another version of "
         "tangente, whose options differ: gate; resume with that version"),
        ({"engine": 255}, "was written for an engine with configuration hash 0x000000ff, but "
         f"preset tiny has 0x{preset('tiny').hash:08x}: resume with the version of tangente that "
         "wrote it"),
        ({"weights": np.zeros((3, 8), np.int16)}, "is no checkpoint or is damaged (weights are "
         "int16 of shape (3, 8)); resume from another, or begin anew without it"),
        ({"biases": np.zeros((64, 2, 2))}, "is no checkpoint or is damaged (biases are float64 of "
         "shape (64, 2, 2)); resume from another, or begin anew without it"),
    ]
    for changes, message in cases:
        rewrite(path, **changes)
        with pytest.raises(CheckpointError, match=f"^{re.escape(f'{path} {message}')}$"):
            train(SMALL, DATA, resume=path)


def test_other_trainings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    train(PLAIN, DATA, checkpoint=path)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} is of a training with "
                       rf"batch 4, not 5; lr {re.escape(str(PLAIN.lr))}, not 0\.2; "
                       r"epochs 2, not 3$"):
        train(dataclasses.replace(PLAIN, epochs=3, lr=0.2, batch=5), DATA, resume=path)
    with pytest.raises(CheckpointError, match=f"^{re.escape(str(path))} is of a training with "
                       "other samples than those of digits: their sha256 differs$"):
        train(PLAIN, bars(1), resume=path)
    with pytest.raises(CheckpointError,
                       match=f"^{re.escape(str(path))} exists: resume it, or remove it first$"):
        train(PLAIN, DATA, checkpoint=path)
    shutil.copy(path, tmp_path / "other.npz")
    with pytest.raises(CheckpointError, match="exists: resume it, or remove it first$"):
        train(PLAIN, DATA, checkpoint=path, resume=tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"^checkpoint_every must be at least 1, not 0$"):
        train(PLAIN, DATA, checkpoint=tmp_path / "new.npz", checkpoint_every=0)


def command(path: Path, *more: str) -> list[str]:
    """`tangente train` as a process: new, or from the checkpoint if there is one."""
    start = [sys.executable, "-m", "tangente.host.cli", "train", "--quiet"]
    if path.exists():
        return [*start, "--resume", str(path), "--checkpoint-every", "1", *more]
    return [*start, "--preset", "tiny", "--layers", "64-8-10", "--bits", "4", "--update", "event",
            "--epochs", "5", "--test-samples", "20", "--samples", "320", "--checkpoint", str(path),
            "--checkpoint-every", "1", *more]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("undisturbed") / "run.npz"
    subprocess.run(command(path), check=True)
    return Checkpoint.load(path)


def wait_for_news(process: subprocess.Popen, path: Path, seconds: float) -> None:
    """Until the checkpoint is another one, or the process has ended."""
    before, deadline = path.stat().st_mtime_ns if path.exists() else 0, time.monotonic() + seconds
    while process.poll() is None and (not path.exists() or path.stat().st_mtime_ns == before):
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.002)


def test_killed_at_any_moment(undisturbed: Checkpoint, tmp_path: Path,
                              tiny_library: Path) -> None:
    """Killed before the first checkpoint, then on either device; Ctrl-C; then to the end."""
    path, draw = tmp_path / "run.npz", random.Random(2)
    for number, device in enumerate(("golden", "golden", "sim", "sim")):
        process = subprocess.Popen(command(path, "--device", device))
        if number:
            wait_for_news(process, path, 60)
            time.sleep(draw.uniform(0, 0.1))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert path.exists() == (number > 0)
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    wait_for_news(process, path, 60)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors == (
        "\ntangente: finishing this batch; Ctrl-C again to end at once\n"
        f"tangente: interrupted; to go on: tangente train --resume {path}\n")
    assert Checkpoint.load(path).epoch < 5
    subprocess.run(command(path, "--device", "sim"), check=True)
    end = Checkpoint.load(path)
    np.testing.assert_array_equal(end.weights, undisturbed.weights)
    np.testing.assert_array_equal(end.biases, undisturbed.biases)
    assert (end.random, end.epoch, end.totals, end.epoch_counters) == (
        undisturbed.random, undisturbed.epoch, undisturbed.totals, undisturbed.epoch_counters)
