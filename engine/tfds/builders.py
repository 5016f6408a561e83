"""The archives of CIFAR and MNIST → tfds's standard folders, without TensorFlow.

tfds's own builders say what a set is, so that plain `tfds.data_source` reads what is written. They
would call TensorFlow to read an archive and to encode an image; here that is done for them.
"""

import contextlib
import gzip
import io
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from engine.errors import RunError

# What the official archives expand to: CIFAR to 184 MB, MNIST's training images to 47,040,016 B.
_MOST_TAR = 200_000_000
_MOST_IDX = 48_000_000
Examples = Iterator[tuple[int, dict[str, Any]]]  # each with tfds's own key


def write(name: str, archives: Sequence[Path], root: Path) -> None:
    """Prepares a set from its `archives` into root/name/version, or not at all. Raises RunError."""
    builder: Any = tfds.builder(name, data_dir=root, file_format="array_record")
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        splits = _cifar(builder, *archives) if name.startswith("cifar") else _mnist(archives)
        builder._split_generators = lambda dl_manager: splits
        # tfds prints to stdout, which belongs to the caller's own output.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, ValueError) as error:
        raise RunError(f"preparing {name} in {root} failed: {error}") from error


def _cifar(builder: Any, archive: Path) -> dict[str, Examples]:
    """By split; the class names go into the builder's features."""
    about = builder._cifar_info  # which files are what, and the order of a record's labels
    files = *about.label_files, *about.train_files, *about.test_files
    held = members(archive, [about.prefix + file for file in files])
    for label, file in zip(about.label_keys, about.label_files, strict=True):
        builder.info.features[label].names = held[about.prefix + file].decode().split()
    splits = {"train": about.train_files, "test": about.test_files}
    return {split: _records(split, about.label_keys, b"".join(held[about.prefix + f] for f in own))
            for split, own in splits.items()}


def _records(split: str, labels: Sequence[str], records: bytes) -> Examples:
    """Of a byte a label, then 3 × 32 × 32 pixels."""
    rows = np.frombuffer(records, np.uint8).reshape(-1, len(labels) + 3072)
    for index, row in enumerate(rows):
        classes = dict(zip(labels, row.tolist(), strict=False))
        pixels_HxWxC = row[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
        yield index, {"id": f"{split}_{index:05d}", "image": _png(pixels_HxWxC), **classes}


def _mnist(archives: Sequence[Path]) -> dict[str, Examples]:
    paths = {path.name.split("-idx")[0]: path for path in archives}
    return {split: _pairs(idx(paths[f"{begin}-images"], 3), idx(paths[f"{begin}-labels"], 1))
            for split, begin in (("train", "train"), ("test", "t10k"))}


def _pairs(images: np.ndarray, labels: np.ndarray) -> Examples:
    for index, (pixels_HxW, label) in enumerate(zip(images, labels, strict=True)):
        yield index, {"image": _png(pixels_HxW), "label": int(label)}


def members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The named files of a .tar.gz, read in memory: nothing is ever extracted to the disk, and what
    leads elsewhere is passed over. Raises RunError where one is missing, comes twice or is no plain
    file, and where the archive is damaged or expands to more than CIFAR's do."""
    found: dict[str, bytes] = {}
    with _expanded(archive, _MOST_TAR) as data, tarfile.open(fileobj=data, mode="r:") as tar:
        for member in tar:
            if member.name in names:
                file = tar.extractfile(member) if member.isreg() else None
                # A sparse file is as large as it says, and its archive need not be.
                if file is None or member.issparse() or member.name in found:
                    raise ValueError(f"{member.name} is no plain file, or comes twice")
                found[member.name] = file.read()
        if missing := sorted(set(names) - set(found)):
            raise ValueError(f"it holds no {', '.join(missing)}")
    return found


def idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` axes in a gzipped IDX file. Raises RunError for any other, and for
    one that expands to more than MNIST's do."""
    with _expanded(path, _MOST_IDX) as file:
        data = file.getvalue()
        if data[:4] != bytes([0, 0, 8, ndim]):
            raise ValueError(f"no IDX file of bytes in {ndim} axes: it begins {data[:4]!r}")
        shape = np.frombuffer(data, ">i4", ndim, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)


@contextlib.contextmanager
def _expanded(archive: Path, most: int) -> Iterator[io.BytesIO]:
    """What a .gz expands to, `most` bytes; its faults, and those of what reads it, as RunError."""
    try:
        with gzip.open(archive) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"it expands to more than {most:,} bytes")
        yield io.BytesIO(data)
    except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError, RecursionError) as error:
        raise RunError(f"{archive} can't be read: {error}") from error


def _png(pixels: np.ndarray) -> io.BytesIO:
    # tfds stores the bytes of a file object as they are; it would encode an array by TensorFlow.
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    encoded.seek(0)
    return encoded
