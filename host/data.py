"""Data sets: scikit-learn's digits, MNIST and Fashion-MNIST, as unsigned bytes.

MNIST's files are looked for in the folder that the caller names, then in ``TANGENTE_DATA``, then in
the user's cache, and are downloaded into that cache at last. Every file is checked (sha256 of what
it holds, and its IDX header) before one byte of it is used. The format: LeCun, Cortes and Burges,
"The MNIST database of handwritten digits".
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import logging
import math
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

__all__ = ["DATASETS", "DataError", "Dataset", "find", "load"]

#: Names that :func:`load` takes.
DATASETS = ("digits", "mnist", "fashion-mnist")

#: Test samples of the digits, of 1,797.
_DIGITS_TEST = 360

Bytes = npt.NDArray[np.uint8]


class DataError(RuntimeError):
    """A data set is missing or a file of it is damaged; the message says which and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A data set for classification. The arrays are read-only.

    Members
    -------
    name : "digits", "mnist" or "fashion-mnist".
    train_images : uint8, (samples, features), 0 to 255.
    train_labels : uint8, (samples,), 0 to classes - 1.
    test_images : uint8, (samples, features).
    test_labels : uint8, (samples,).
    classes : number of classes.
    shape : (height, width) of an image, row by row, or any whose product is the features.

    Raises
    ------
    ValueError
        If an array is of another type or shape, a set is empty, or a label is no class.
    """

    name: str
    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    classes: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            self._check(part, images, labels)
            images.flags.writeable = labels.flags.writeable = False

    def _check(self, part: str, images: Bytes, labels: Bytes) -> None:
        for kind, array in (("images", images), ("labels", labels)):
            if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
                raise ValueError(f"{part}_{kind} must be a NumPy array of uint8, "
                                 f"not {getattr(array, 'dtype', type(array).__name__)}")
        if images.ndim != 2 or len(images) == 0 or images.shape[1] != self.features:
            raise ValueError(f"{part}_images must have the shape (samples, {self.features}) with "
                             f"at least one sample, not {images.shape!r}")
        if labels.shape != (len(images),):
            raise ValueError(f"{part}_labels must have the shape ({len(images)},), "
                             f"not {labels.shape!r}")
        if labels.max() >= self.classes:
            raise ValueError(f"{part}_labels must lie between 0 and {self.classes - 1}, "
                             f"not {labels.max()}")

    @property
    def digest(self) -> str:
        """sha256 of the training images and labels, in hexadecimal."""
        result = hashlib.sha256(repr(self.train_images.shape).encode())
        for array in (self.train_images, self.train_labels):
            result.update(np.ascontiguousarray(array).tobytes())
        return result.hexdigest()

    @property
    def features(self) -> int:
        """Inputs of a network for this data set."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class _File:
    """One gzip-compressed IDX file.

    ``archive`` is the sha256 of the file as the mirrors serve it, ``content`` that of the IDX data
    inside, which a recompressed copy shares. Sizes follow from ``shape``.
    """

    name: str
    shape: tuple[int, ...]
    archive: str
    content: str

    @property
    def header(self) -> bytes:
        """The IDX header: two zeros, type 8 (unsigned byte), dimensions, sizes big-endian."""
        return bytes([0, 0, 8, len(self.shape)]) + b"".join(
            size.to_bytes(4, "big") for size in self.shape)

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file."""
        return len(self.header) + int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where a data set comes from: mirrors (tried in turn), and files in the order of Dataset."""

    mirrors: tuple[str, ...]
    files: tuple[_File, _File, _File, _File]


_SOURCES = {
    "mnist": _Source(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/",
         "https://storage.googleapis.com/cvdf-datasets/mnist/",
         "http://yann.lecun.com/exdb/mnist/"),
        (_File("train-images-idx3-ubyte.gz", (60000, 28, 28),
               "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
               "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
         _File("train-labels-idx1-ubyte.gz", (60000,),
               "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
               "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
         _File("t10k-images-idx3-ubyte.gz", (10000, 28, 28),
               "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
               "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
         _File("t10k-labels-idx1-ubyte.gz", (10000,),
               "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
               "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"))),
    "fashion-mnist": _Source(
        ("https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
         "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
         "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"),
        (_File("train-images-idx3-ubyte.gz", (60000, 28, 28),
               "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
               "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
         _File("train-labels-idx1-ubyte.gz", (60000,),
               "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
               "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
         _File("t10k-images-idx3-ubyte.gz", (10000, 28, 28),
               "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
               "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
         _File("t10k-labels-idx1-ubyte.gz", (10000,),
               "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
               "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"))),
}


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The data set called ``name``.

    "digits" is ``sklearn.datasets.load_digits`` (8 x 8 pixels of 0 to 16): a pixel v becomes
    min(16 v, 255), and the samples are put in the order ``RandomState(0).permutation(1797)``, a
    stream that NumPy keeps frozen; the last 360 are the test set, the 1,437 before it train.
    "mnist" and "fashion-mnist" are the published 60,000 and 10,000 in their own order.

    Parameters
    ----------
    name : one of :data:`DATASETS`.
    data_dir : folder with the four .gz files, or with a folder called ``name`` of them. Without
        them there, ``TANGENTE_DATA`` and the user's cache are asked, then the mirrors.

    Raises
    ------
    ValueError
        If there is no data set of that name.
    DataError
        If a file is missing, damaged or cannot be downloaded.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, not {name!r}")
    if name == "digits":
        return _load_digits()
    folder = find(name, data_dir)
    if folder is None:
        folder = _download(name)
    source = _SOURCES[name]
    arrays = [_read(folder / file.name, file) for file in source.files]
    return Dataset(
        name=name, train_images=arrays[0].reshape(len(arrays[0]), -1), train_labels=arrays[1],
        test_images=arrays[2].reshape(len(arrays[2]), -1), test_labels=arrays[3], classes=10,
        shape=(int(arrays[0].shape[1]), int(arrays[0].shape[2])))


def find(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """The first folder that holds files of "mnist" or "fashion-mnist"; None if none does.

    Looks into ``data_dir``, ``TANGENTE_DATA`` and the user's cache, each with and without a folder
    called ``name``. Only "mnist" may lie there without its own folder: the two sets' files have
    equal names.

    Raises
    ------
    DataError
        If a folder that was named does not exist, or only some of the files are there.
    """
    places = [(Path(data_dir), "--data")] if data_dir is not None else []
    if os.environ.get("TANGENTE_DATA"):
        places.append((Path(os.environ["TANGENTE_DATA"]), "TANGENTE_DATA"))
    for place, origin in places:
        if not place.is_dir():
            raise DataError(f"{origin} names {place}, which is not a folder; correct it or leave "
                            "it away")
    places.append((_cache(), "cache"))
    names = [file.name for file in _SOURCES[name].files]
    for place, _ in places:
        for folder in (place / name, place) if name == "mnist" else (place / name,):
            missing = [file for file in names if not (folder / file).is_file()]
            if not missing:
                return folder
            if len(missing) < len(names) and folder != _cache() / name:
                raise DataError(f"{folder} has some files of {name} but not {', '.join(missing)}; "
                                "put them there, or name another folder with --data")
    return None


def _cache() -> Path:
    return platformdirs.user_cache_path("tangente")


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits  # a second to import: only where it is needed

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.target))
    images = np.minimum(16 * bunch.data[order], 255).astype(np.uint8)
    labels = bunch.target[order].astype(np.uint8)
    return Dataset(
        name="digits", train_images=images[:-_DIGITS_TEST], train_labels=labels[:-_DIGITS_TEST],
        test_images=images[-_DIGITS_TEST:], test_labels=labels[-_DIGITS_TEST:], classes=10,
        shape=(8, 8))


def _read(path: Path, file: _File) -> Bytes:
    """The array in ``path``, whole and checked.

    Raises
    ------
    DataError
        If it is not the file that ``file`` describes.
    """
    cure = "delete it and run again, or name a folder with good files by --data"
    try:
        compressed = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {cure}") from error
    if compressed[:2] != b"\x1f\x8b":
        looks = "a web page" if compressed.lstrip()[:1] == b"<" else "something else"
        raise DataError(f"{path} is not a gzip file but {looks} of {len(compressed):,} bytes; "
                        f"{cure}")
    try:
        content = gzip.decompress(compressed)
    except EOFError as error:
        raise DataError(f"{path} is truncated: it ends within its compressed data; {cure}"
                        ) from error
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; {cure}") from error
    if content[:len(file.header)] != file.header:
        raise DataError(f"{path} has the IDX header {content[:len(file.header)].hex() or 'nothing'}"
                        f", not {file.header.hex()}; {cure}")
    if len(content) != file.size:
        raise DataError(f"{path} holds {len(content):,} bytes, not {file.size:,}; {cure}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.content:
        raise DataError(f"{path} holds other data: sha256 {digest}, not {file.content}; {cure}")
    # A copy, for an array of its own memory without the header's misalignment.
    return np.frombuffer(content, np.uint8, offset=len(file.header)).reshape(file.shape).copy()


def _download(name: str) -> Path:
    """Fetch the missing files of ``name`` into the user's cache and return their folder.

    pooch writes to a temporary file and moves it into place after its sha256 agreed, so a failed
    download leaves nothing behind.

    Raises
    ------
    DataError
        If no mirror delivers a file.
    """
    import pooch

    folder = _cache() / name
    # Its messages would stand between ours; what fails is told below.
    pooch.get_logger().setLevel(logging.ERROR)
    print(f"tangente: {name} is not here; downloading it to {folder}", file=sys.stderr)
    for file in _SOURCES[name].files:
        if (folder / file.name).is_file():
            continue
        failures = []
        for mirror in _SOURCES[name].mirrors:
            try:
                pooch.retrieve(
                    mirror + file.name, f"sha256:{file.archive}", fname=file.name, path=folder,
                    downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30))
                break
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                failures.append(f"{mirror}: {_short(error)}")
        else:
            with contextlib.suppress(OSError):  # it is not empty: other files had arrived
                folder.rmdir()
            raise DataError(
                f"{file.name} of {name} could not be downloaded ({'; '.join(failures)}); check the "
                "network, or put the four .gz files into a folder and name it with --data")
    return folder


def _short(error: Exception) -> str:
    """What went wrong, on one line; a refused connection's long story is left out."""
    if isinstance(error, ValueError) or hasattr(error, "strerror") and error.strerror:
        return (str(error).splitlines() or [""])[0][:80]
    response = getattr(error, "response", None)
    return type(error).__name__ if response is None else f"HTTP status {response.status_code}"
