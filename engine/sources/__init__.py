"""Any named source → one `Dataset` of decoded images and labels on the host."""

import os
from collections.abc import Sequence
from pathlib import Path

from engine.config import Reading
from engine.errors import RequestError
from engine.sources import digits, image, image_folder, pictures, records, table, tfds
from engine.sources.dataset import Dataset, Split, TooLarge
from engine.sources.tfds import prepared

__all__ = ["Dataset", "Split", "data_dir", "load", "prepared", "short"]

# Kinds of sets that lie where the user says, as in csv:PATH.
_FROM_PATHS = {image_folder.NAME: image_folder.load, table.NAME: table.load}
_PLAIN = Reading()


def data_dir(flag: str = "") -> Path:
    """The tfds folder: the flag, else $TFDS_DATA_DIR, else tfds's own ~/tensorflow_datasets."""
    chosen = flag or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser().absolute()


def short(name: str) -> str:
    """What to call a set's runs: its name; for csv:~/letters/all.csv, csv-all."""
    kind, _, path = name.partition(":")
    stem = Path(os.path.abspath(os.path.expanduser(path))).stem
    return "-".join(filter(None, (kind, stem))) if kind in _FROM_PATHS else name


def load(
    name: str, data_dir: str = "", reading: Reading = _PLAIN, splits: Sequence[str] | None = None,
    stream: bool = False,
) -> Dataset:
    """Inputs and targets of every split, or of those in `splits`: images NxHxWxC uint8 and labels N
    int32, or a table's columns. With `stream`, and where they don't fit the memory, pictures are
    `stored.Stored`: read as they are needed.

    `digits` is embedded; image_folder:PATH and csv:PATH are the user's own; any other name is a
    tfds set, prepared first where it isn't yet. Raises RequestError for what can't be had as typed
    (unknown name or split, no image or label, sizes that vary), RunError for what failed on the way
    (network, archive, damaged files).
    """
    if reading.image_size < 0:
        raise RequestError(f"image_size is {reading.image_size}: give 0 (the set's own) or more")
    image.colour(reading.background)
    kind, _, path = name.partition(":")
    if kind in _FROM_PATHS and not path:
        raise RequestError(f"--dataset {name} lacks its path: type {kind}:PATH.")
    path, root = os.path.expanduser(path), _root(data_dir)
    if not stream:
        try:
            return _whole(name, path, root, reading, splits)
        except TooLarge as error:
            reason, refusal = error.reason, error
    else:
        reason, refusal = "as asked", None
    if kind == image_folder.NAME:
        return pictures.load(path, reading, splits, reason)
    if kind not in _FROM_PATHS and name != digits.NAME:
        return records.load(name, root, reading.image_size, splits, reason)
    if refusal:
        raise refusal
    return _whole(name, path, root, reading, splits)  # which is in memory anyway


_root = data_dir  # inside `load` the parameter hides the function


def _whole(
    name: str, path: str, root: Path, reading: Reading, splits: Sequence[str] | None
) -> Dataset:
    """In memory. Raises TooLarge where that can't hold it."""
    kind = name.partition(":")[0]
    if name == digits.NAME:
        return digits.load(reading.image_size, splits)
    if kind in _FROM_PATHS:
        return _FROM_PATHS[kind](path, reading, splits)
    return tfds.load(name, root, reading.image_size, splits)
