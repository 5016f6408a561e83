"""Any named source → one `Dataset` of decoded images and labels on the host."""

import os
from collections.abc import Sequence
from pathlib import Path

from engine.config import Reading
from engine.errors import RequestError
from engine.sources import digits, image, image_folder, table, tfds
from engine.sources.dataset import Dataset, Split
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
    name: str, data_dir: str = "", reading: Reading = _PLAIN, splits: Sequence[str] | None = None
) -> Dataset:
    """Inputs and targets of every split, or of those in `splits`: images NxHxWxC uint8 and labels N
    int32, or a table's columns.

    `digits` is embedded; image_folder:PATH and csv:PATH are the user's own; any other name is a
    tfds set, prepared first where it isn't yet. Raises RequestError for what can't be had as typed
    (unknown name or split, no image or label, sizes that vary), RunError for what failed on the way
    (network, archive, damaged files).
    """
    if reading.image_size < 0:
        raise RequestError(f"image_size is {reading.image_size}: give 0 (the set's own) or more")
    image.colour(reading.background)
    kind, _, path = name.partition(":")
    if name == digits.NAME:
        return digits.load(reading.image_size, splits)
    if kind not in _FROM_PATHS:
        return tfds.load(name, _root(data_dir), reading.image_size, splits)
    if not path:
        raise RequestError(f"--dataset {name} lacks its path: type {kind}:PATH.")
    return _FROM_PATHS[kind](os.path.expanduser(path), reading, splits)


_root = data_dir  # inside `load` the parameter hides the function
