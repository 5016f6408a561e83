"""Any named source → one `Dataset` of decoded images and labels on the host."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from engine.config import Reading
from engine.errors import RequestError
from engine.sources import digits, image, image_folder, tfds, values
from engine.sources.dataset import Dataset, Split, TooLarge
from engine.sources.tfds import prepared

__all__ = ["Dataset", "Split", "data_dir", "load", "prepared", "short"]

# Kinds of sets that lie where the user says, as in table:PATH.
TABLES = "table", "csv"
_FROM_PATHS = image_folder.NAME, *TABLES
_SCIKIT = "iris", "wine", "breast_cancer", "diabetes"  # its own tables, embedded
EMBEDDED = digits.NAME, *_SCIKIT
_PLAIN = Reading()
# Which sets a field of Reading is for, where not for all; pictures to predict heed some of them.
_PICTURES = "pictures", image_folder.NAME, "table"
_FOR = {
    "image_size": _PICTURES, "background": _PICTURES, "skip_bad": _PICTURES,
    "labels": (image_folder.NAME,), "target": (image_folder.NAME, "table"),
    "group": (image_folder.NAME, "table"), "weight": ("table",), "embed": ("table", values.NAME),
    "pixels": ("table",),
}


def data_dir(flag: str = "") -> Path:
    """The tfds folder: the flag, else $TFDS_DATA_DIR, else tfds's own ~/tensorflow_datasets."""
    chosen = flag or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser().absolute()


def short(name: str) -> str:
    """What to call a set's runs: its name; for table:~/letters/all.csv, table-all."""
    kind, _, path = name.partition(":")
    stem = Path(os.path.abspath(os.path.expanduser(path))).stem
    return "-".join(filter(None, (kind, stem))) if kind in _FROM_PATHS else name


def unused(name: str, reading: Reading) -> dict[str, Any]:
    """The fields of `reading` that say something, and nothing that the set `name` heeds; objects
    are called arrays."""
    kind = name.partition(":")[0]
    own = "table" if kind in TABLES else kind if kind in (*_FROM_PATHS, values.NAME) else \
        "numbers" if name in _SCIKIT else "pictures"
    return {field: value for field, value in reading._asdict().items()
            if value != getattr(_PLAIN, field) and own not in _FOR.get(field, (own,))}


def check_heeded(name: str, reading: Reading) -> None:
    """Raise RequestError for a field that the set `name` doesn't heed."""
    for field, value in unused(name, reading).items():
        typed = f"--{field}" if value is True else f"--{field} {value}"
        sets = [f"{which}:PATH" if which in _FROM_PATHS else which for which in _FOR[field]]
        own = name == values.NAME
        what, meant = ("data that are objects", "") if own else (
            f"--dataset {name}", tfds.folder_of(name))
        raise RequestError(f"{typed} has no effect with {what}: it is for {' and '.join(sets)}. "
                           f"{f'T{meant[1:]}' if meant else 'Leave it out'}.")


def load(
    name: str, data_dir: str = "", reading: Reading = _PLAIN, splits: Sequence[str] | None = None,
    stream: bool = False, text: Collection[str] = (),
) -> Dataset:
    """Inputs and targets of every split, or of those in `splits`: images NxHxWxC uint8 and labels N
    int32, or a table's columns. With `stream`, and where they don't fit the memory, pictures are
    `stored.Stored` and a Parquet table is a StoredTable: read as they are needed. A table's columns
    of `text` are words, whatever it holds there.

    `digits` and scikit-learn's tables are embedded; image_folder:PATH and table:PATH (csv:PATH is
    the same) are the user's own; any other name is a tfds set, prepared first where it isn't yet.
    Raises RequestError for what can't be had as typed (unknown name or split, no image or label,
    sizes that vary, a reading of no effect), RunError for what failed on the way (network, archive,
    damaged files).
    """
    if reading.image_size < 0:
        raise RequestError(f"image_size is {reading.image_size}: give 0 (the set's own) or more")
    image.colour(reading.background)
    kind, _, path = name.partition(":")
    embedded = name in EMBEDDED
    if not embedded and kind not in _FROM_PATHS:
        tfds.parts(name)  # which tells of a path
    check_heeded(name, reading)
    if kind in _FROM_PATHS and not path:
        raise RequestError(f"--dataset {name} lacks its path: type {kind}:PATH.")
    path, root = os.path.expanduser(path), _root(data_dir)
    stored = not embedded and (kind not in TABLES or _table().is_parquet(path))
    reason = "as asked"
    if not (stream and stored):  # what else there is lies in memory anyway
        try:
            return _whole(name, path, root, reading, splits, text)
        except TooLarge as error:
            if not stored:
                raise
            reason = error.reason
    if kind in TABLES:
        return _table().load(path, reading, splits, reason, text)
    from engine.sources import pictures, records  # late: few sets are streamed

    if kind == image_folder.NAME:
        return pictures.load(path, reading, splits, reason)
    return records.load(name, root, reading, splits, reason)


_root = data_dir  # inside `load` the parameter hides the function


def _whole(
    name: str, path: str, root: Path, reading: Reading, splits: Sequence[str] | None,
    text: Collection[str],
) -> Dataset:
    """In memory. Raises TooLarge where that can't hold it."""
    kind = name.partition(":")[0]
    if name == digits.NAME:
        return digits.load(reading.image_size, splits)
    if name in _SCIKIT:
        from engine.sources import scikit  # late: it imports pandas

        return scikit.load(name, splits)
    if kind not in _FROM_PATHS:
        return tfds.load(name, root, reading, splits)
    if kind == image_folder.NAME:
        return image_folder.load(path, reading, splits)
    return _table().load(path, reading, splits, text=text)


def _table() -> Any:
    from engine.sources import table  # late: it imports pandas

    return table
