"""host/data.py: what is loaded, where it is looked for, and that a bad file is never used."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from tangente.host import data

NAMES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
SHAPES = ((6, 3, 2), (6,), (2, 3, 2), (2,))
CURE = "; delete it and run again, or name a folder with good files by --data"


def _idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


class Small:
    """A data set of four small files, which stands in MNIST's place."""

    def __init__(self, mirrors=()):
        rng = np.random.default_rng(1)
        self.arrays = [rng.integers(0, 10, shape, np.uint8) for shape in SHAPES]
        self.contents = [_idx(array) for array in self.arrays]
        self.archives = [gzip.compress(content, mtime=0) for content in self.contents]
        self.source = data._Source(mirrors, tuple(
            data._File(name, shape, hashlib.sha256(archive).hexdigest(),
                       hashlib.sha256(content).hexdigest())
            for name, shape, archive, content
            in zip(NAMES, SHAPES, self.archives, self.contents)))

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, archive in zip(NAMES, self.archives):
            (folder / name).write_bytes(archive)
        return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own, and no TANGENTE_DATA."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(data, "_cache", lambda: folder)
    monkeypatch.delenv("TANGENTE_DATA", raising=False)
    return folder


@pytest.fixture
def small(monkeypatch):
    made = Small()
    monkeypatch.setitem(data._SOURCES, "mnist", made.source)
    return made


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Two folders behind an HTTP server of this machine, as the mirrors of a small data set."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    root = tmp_path / "mirrors"
    folders = root / "a", root / "b"
    for folder in folders:
        folder.mkdir(parents=True)
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        made = Small((f"{base}/a/", f"{base}/b/"))
        monkeypatch.setitem(data._SOURCES, "mnist", made.source)
        yield made, folders
        server.shutdown()


def test_digits_are_scaled_and_split_as_documented():
    from sklearn.datasets import load_digits

    digits = data.load("digits")
    original, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(1797)
    images = np.concatenate((digits.train_images, digits.test_images))
    assert digits.train_images.shape == (1437, 64)
    assert digits.test_images.shape == (360, 64)
    assert (digits.name, digits.classes, digits.shape) == ("digits", 10, (8, 8))
    assert digits.features == 64
    assert images.dtype == np.uint8
    assert np.array_equal(np.ceil(images / 16), original[order])
    assert set(np.unique(images)) == {*range(0, 256, 16), 255}
    assert np.array_equal(np.concatenate((digits.train_labels, digits.test_labels)), labels[order])
    # Every class is there often enough for an accuracy to mean something.
    assert np.bincount(digits.test_labels).min() >= 25


def test_arrays_are_read_only():
    digits = data.load("digits")
    with pytest.raises(ValueError, match="read-only"):
        digits.train_images[0, 0] = 1


def test_unknown_name():
    with pytest.raises(ValueError, match=re.escape(
            "dataset must be one of digits, mnist, fashion-mnist, not 'cifar'")):
        data.load("cifar")


@pytest.mark.parametrize("below", ["mnist", "."])
def test_small_set_is_read_from_the_folder_given(small, tmp_path, below):
    folder = tmp_path / "mine"
    small.write(folder / below)
    loaded = data.load("mnist", folder)
    assert loaded.shape == (3, 2)
    assert np.array_equal(loaded.train_images, small.arrays[0].reshape(6, 6))
    assert np.array_equal(loaded.train_labels, small.arrays[1])
    assert np.array_equal(loaded.test_images, small.arrays[2].reshape(2, 6))
    assert np.array_equal(loaded.test_labels, small.arrays[3])


def test_places_are_asked_in_turn(small, tmp_path, monkeypatch, cache):
    assert data.find("mnist") is None
    small.write(cache / "mnist")
    assert data.find("mnist") == cache / "mnist"
    environment = small.write(tmp_path / "environment" / "mnist")
    monkeypatch.setenv("TANGENTE_DATA", str(environment.parent))
    assert data.find("mnist") == environment
    mine = small.write(tmp_path / "mine")
    assert data.find("mnist", mine) == mine
    (tmp_path / "empty").mkdir()
    assert data.find("mnist", tmp_path / "empty") == environment


def test_fashion_needs_its_own_folder(small, tmp_path, monkeypatch):
    monkeypatch.setitem(data._SOURCES, "fashion-mnist", small.source)
    folder = small.write(tmp_path / "flat")
    assert data.find("fashion-mnist", folder) is None
    assert data.find("mnist", folder) == folder


def test_a_folder_that_is_none(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match=re.escape(
            f"--data names {tmp_path / 'no'}, which is not a folder; correct it or leave it away")):
        data.load("mnist", tmp_path / "no")
    monkeypatch.setenv("TANGENTE_DATA", str(tmp_path / "no"))
    with pytest.raises(data.DataError, match="^TANGENTE_DATA names "):
        data.load("mnist")


def test_a_folder_with_some_of_the_files(small, tmp_path):
    folder = small.write(tmp_path / "mine")
    (folder / NAMES[1]).unlink()
    (folder / NAMES[3]).unlink()
    with pytest.raises(data.DataError, match=re.escape(
            f"{folder} has some files of mnist but not {NAMES[1]}, {NAMES[3]}; put them there, or "
            "name another folder with --data")):
        data.load("mnist", folder)


def _flip(raw, place):
    return raw[:place] + bytes([raw[place] ^ 0x40]) + raw[place + 1:]


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda raw, idx: raw[:-12], "is truncated: it ends within its compressed data"),
    (lambda raw, idx: b"", "is not a gzip file but something else of 0 bytes"),
    (lambda raw, idx: b"\n<!DOCTYPE html><title>404</title>",
     "is not a gzip file but a web page of 34 bytes"),
    (lambda raw, idx: _flip(raw, -6), "is damaged: CRC check failed"),
    (lambda raw, idx: gzip.compress(idx[:-5]), "holds 47 bytes, not 52"),
    (lambda raw, idx: gzip.compress(idx + b"\0"), "holds 53 bytes, not 52"),
    (lambda raw, idx: gzip.compress(_flip(idx, 7)),
     "has the IDX header 00000803000000460000000300000002, not 00000803000000060000000300000002"),
    (lambda raw, idx: gzip.compress(b""), "has the IDX header nothing, not 0000080300"),
    (lambda raw, idx: gzip.compress(_flip(idx, 30)), "holds other data: sha256 "),
])
def test_a_bad_file_is_named_with_its_fault_and_cure(small, tmp_path, spoil, says):
    folder = small.write(tmp_path / "mine")
    (folder / NAMES[0]).write_bytes(spoil(small.archives[0], small.contents[0]))
    with pytest.raises(data.DataError, match=re.escape(f"{folder / NAMES[0]} {says}")) as caught:
        data.load("mnist", folder)
    assert str(caught.value).endswith(CURE)


def test_a_recompressed_file_is_as_good(small, tmp_path):
    folder = small.write(tmp_path / "mine")
    (folder / NAMES[0]).write_bytes(gzip.compress(small.contents[0], 1, mtime=7))
    assert data.load("mnist", folder).train_images.shape == (6, 6)


def test_download_tries_the_mirrors_in_turn(served, cache, capsys):
    small, (first, second) = served
    small.write(first)
    small.write(second)
    (first / NAMES[0]).write_bytes(b"<html>moved</html>")   # found, but wrong
    (first / NAMES[2]).unlink()                             # not found
    assert np.array_equal(data.load("mnist").train_labels, small.arrays[1])
    assert sorted(path.name for path in (cache / "mnist").iterdir()) == sorted(NAMES)
    assert f"mnist is not here; downloading it to {cache / 'mnist'}" in capsys.readouterr().err
    # The second time nothing is fetched.
    for folder in (first, second):
        for path in folder.iterdir():
            path.unlink()
    assert data.load("mnist").classes == 10


def test_a_failed_download_leaves_nothing(served, cache):
    small, (first, second) = served
    small.write(first)
    (first / NAMES[0]).write_bytes(small.archives[0][:-9])
    with pytest.raises(data.DataError) as caught:
        data.load("mnist")
    assert re.fullmatch(
        rf"{NAMES[0]} of mnist could not be downloaded \(http://127\.0\.0\.1:\d+/a/: SHA256 hash "
        r"of downloaded file .*; http://127\.0\.0\.1:\d+/b/: HTTP status 404\); check the network, "
        r"or put the four \.gz files into a folder and name it with --data", str(caught.value))
    assert not (cache / "mnist").exists()
    # What did arrive is kept, and the rest is fetched the next time.
    small.write(first)
    (first / NAMES[3]).unlink()
    with pytest.raises(data.DataError, match=f"^{NAMES[3]} of mnist could not be downloaded"):
        data.load("mnist")
    assert len(list((cache / "mnist").iterdir())) == 3
    small.write(second)
    assert data.load("mnist").test_images.shape == (2, 6)


@pytest.mark.mnist
def test_the_real_mnist(mnist_dir: Path):
    mnist = data.load("mnist", mnist_dir)
    assert mnist.train_images.shape == (60000, 784)
    assert mnist.test_images.shape == (10000, 784)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert int((mnist.train_images > 0).sum()) == 8994156


@pytest.mark.mnist
def test_the_real_fashion_mnist(mnist_dir: Path):
    if data.find("fashion-mnist", mnist_dir) is None:
        pytest.skip(f"the Fashion-MNIST files are missing: {mnist_dir} has none")
    fashion = data.load("fashion-mnist", mnist_dir)
    assert fashion.name == "fashion-mnist"
    assert fashion.train_images.shape == (60000, 784)
    assert fashion.test_images.shape == (10000, 784)
    assert fashion.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert np.bincount(fashion.train_labels).tolist() == [6000] * 10
    assert np.bincount(fashion.test_labels).tolist() == [1000] * 10
    assert 375 < (fashion.train_images > 0).sum(1).mean() < 400
    assert fashion.digest != data.load("mnist", mnist_dir).digest


GOOD = {"name": "none", "train_images": np.zeros((4, 6), np.uint8),
        "train_labels": np.array([0, 1, 2, 1], np.uint8),
        "test_images": np.zeros((2, 6), np.uint8), "test_labels": np.zeros(2, np.uint8),
        "classes": 3, "shape": (2, 3)}


@pytest.mark.parametrize(("changes", "message"), [
    ({"train_images": np.zeros((4, 6))},
     "train_images must be a NumPy array of uint8, not float64"),
    ({"train_images": np.full((4, 6), np.nan)},
     "train_images must be a NumPy array of uint8, not float64"),
    ({"test_images": [[0] * 6] * 2}, "test_images must be a NumPy array of uint8, not list"),
    ({"train_labels": np.zeros(4, np.int64)},
     "train_labels must be a NumPy array of uint8, not int64"),
    ({"train_images": np.zeros((4, 2, 3), np.uint8)}, "train_images must have the shape "
     "(samples, 6) with at least one sample, not (4, 2, 3)"),
    ({"train_images": np.zeros((4, 5), np.uint8)}, "train_images must have the shape "
     "(samples, 6) with at least one sample, not (4, 5)"),
    ({"test_images": np.zeros((0, 6), np.uint8), "test_labels": np.zeros(0, np.uint8)},
     "test_images must have the shape (samples, 6) with at least one sample, not (0, 6)"),
    ({"train_labels": np.zeros(3, np.uint8)}, "train_labels must have the shape (4,), not (3,)"),
    ({"test_labels": np.array([0, 3], np.uint8)},
     "test_labels must lie between 0 and 2, not 3"),
])
def test_a_data_set_is_checked(changes, message):
    data.Dataset(**GOOD)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        data.Dataset(**{**GOOD, **changes})


def test_the_digest_is_of_the_training_samples():
    digest = data.Dataset(**GOOD).digest
    images, labels = np.zeros((4, 6), np.uint8), np.array([0, 1, 2, 2], np.uint8)
    images[3, 5] = 1
    changes = [{"train_images": images}, {"train_labels": labels},
               {"train_images": np.zeros((4, 7), np.uint8), "shape": (7,),
                "test_images": np.zeros((2, 7), np.uint8)}]
    others = [data.Dataset(**{**GOOD, **change}).digest for change in changes]
    assert len({digest, *others}) == 4
    assert data.Dataset(**{**GOOD, "test_labels": np.ones(2, np.uint8)}).digest == digest
    # Not of how the array lies in memory.
    spread = np.zeros((4, 12), np.uint8)[:, ::2]
    assert data.Dataset(**{**GOOD, "train_images": spread}).digest == digest
