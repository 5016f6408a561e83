"""Sets of tensorflow-datasets, read without TensorFlow.

tfds itself is imported only to decode a set for the first time: with a valid cache, the folder's
own JSON says everything that is needed.
"""

import contextlib
import functools
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import Reading
from engine.console.bar import bar
from engine.errors import RequestError, RunError
from engine.examples import Split
from engine.sets import cache, image
from engine.sets.dataset import Dataset, asked
from engine.sets.limits import fits, varying
from engine.tfds.prepared import find

_BLOCK = 256  # records read at once
_DECODER = 2  # raise it when the same files would decode to other pixels


def load(name: str, root: Path, reading: Reading, splits: Sequence[str] | None) -> Dataset:
    """The set `name` (also name/config, name:version) of `root`; see `engine.sources.load`."""
    folder = found(name, root)
    wanted = asked(name, held(folder), splits)
    key = f"{name.replace('/', '-').replace(':', '-')}-{files_digest(folder)}-{reading.image_size}"
    if reading.background != image.WHITE:
        key += "-" + hashlib.sha256(reading.background.encode()).hexdigest()[:16]
    return cache.dataset(name, key, wanted, functools.partial(_decode, name, folder, reading))


def found(name: str, root: Path) -> Path:
    """The prepared folder of `name`, which is prepared where it isn't yet."""
    folder = find(name, root)
    if folder is None:
        from engine.tfds import prepare  # late: it imports tfds

        prepare.prepare(name, root)
        folder = find(name, root)
    if folder is None:
        raise RunError(f"{name} was prepared, but isn't in {root}")
    return folder


def held(folder: Path) -> list[str]:
    """The splits that hold examples, of dataset_info.json, in the set's order."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        stored = info.get("fileFormat", "tfrecord")
        present = [str(split["name"]) for split in info.get("splits", [])
                   if any(int(n) for n in split.get("shardLengths", []))]
    except Exception as error:  # whatever a stranger's JSON holds
        raise _unreadable(folder, error) from error
    if stored != "array_record":
        raise RequestError(f"{folder} is stored as {stored}, which can't be read without "
                           "TensorFlow: prepare it with file_format='array_record' in another "
                           "--data_dir")
    return present


def files_digest(folder: Path) -> str:
    """Changes when the prepared files do: their text, and the records' names, sizes and times."""
    total = hashlib.sha256(f"decoder {_DECODER}".encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        text, seen = path.suffix in (".json", ".txt"), path.stat()
        total.update(path.name.encode())
        total.update(path.read_bytes() if text else f"{seen.st_size} {seen.st_mtime_ns}".encode())
    return total.hexdigest()[:16]


def _decode(
    name: str, folder: Path, reading: Reading, split: str
) -> tuple[Split, tuple[str, ...]]:
    """One split's images and labels, and the class names."""
    with telling(folder):
        source, channels, classes = encoded(name, folder, split)
        with bar(f"decoding {name} {split} from {folder}", len(source)) as moved:
            return _pixels(name, source, image.MODES[channels], reading, moved), classes


@contextlib.contextmanager
def telling(folder: Path) -> Iterator[None]:
    """Around a folder's records, whatever they hold: their faults as RunError."""
    try:
        yield
    except (RequestError, RunError):
        raise
    except Exception as error:
        raise _unreadable(folder, error) from error


def encoded(name: str, folder: Path, split: str) -> tuple[Any, int, tuple[str, ...]]:
    """A split's records, their pictures as bytes; channels and class names."""
    import tensorflow_datasets as tfds

    only_tfds_features(folder)
    builder = tfds.builder_from_directory(folder)
    channels, classes = _features(name, builder.info.features)
    # tfds would decode with OpenCV where it is installed, and to slightly other pixels.
    source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return source, channels, classes


def each(source: Any, rows: np.ndarray) -> Iterator[tuple[int, Any]]:
    """The records `rows` of a data source, each with its place among these."""
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK].tolist()
        yield from zip(range(start, start + len(some)), source.__getitems__(some), strict=True)


def only_tfds_features(folder: Path) -> None:
    """Raises RequestError where features.json names a class of others: tfds would import it."""
    named: list[Any] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # A feature of the set may be called `type` too: then it is described by a dict.
        named.extend(value for key, value in pairs
                     if key in ("pythonClassName", "type") and not isinstance(value, dict))
        return dict(pairs)

    json.loads((folder / "features.json").read_text(), object_pairs_hook=note)
    for found in named:
        if not str(found).startswith("tensorflow_datasets.core.features."):
            raise RequestError(f"the data set in {folder} can't be used: its features.json names "
                               f"{found}, which is not tfds's own")


def _features(name: str, features: Any) -> tuple[int, tuple[str, ...]]:
    """(channels, class names); RequestError unless there are a uint8 image and a class label."""
    from tensorflow_datasets.core.features import ClassLabel, Image

    held: dict[str, Any] = dict(features) if hasattr(features, "keys") else {}
    picture, label = held.get("image"), held.get("label")
    if isinstance(picture, Image) and isinstance(label, ClassLabel):
        if picture.np_dtype == np.uint8:
            return picture.shape[-1] or 3, tuple(label.names)
    raise RequestError(f"data set {name} can't be used: it needs an 8-bit feature `image` and a "
                       f"class feature `label`, and has {', '.join(sorted(held)) or 'no names'}")


def _pixels(
    name: str, source: Any, mode: str, reading: Reading, moved: Callable[[int], None]
) -> Split:
    """Decoded images NxHxWxC uint8 and labels N int32 of a tfds data source."""
    sides = (reading.image_size, reading.image_size) if reading.image_size else None
    labels, images = np.empty(len(source), np.int32), np.empty(0, np.uint8)
    for row, record in each(source, np.arange(len(source))):
        pixels_HxWxC = image.decode(io.BytesIO(record["image"]), mode, sides, reading.background)
        if row == 0:
            fits(name, len(source), pixels_HxWxC.shape)
            images = np.empty((len(source), *pixels_HxWxC.shape), np.uint8)
        if pixels_HxWxC.shape != images.shape[1:]:
            raise varying(name, images.shape[1:3], pixels_HxWxC.shape[:2])
        images[row], labels[row] = pixels_HxWxC, record["label"]
        moved(1)
    return Split(images, labels)


def _unreadable(folder: Path, error: Exception) -> RunError:
    return RunError(f"{folder} can't be read ({type(error).__name__}: {error}): remove that folder "
                    "and run again to prepare it anew")
