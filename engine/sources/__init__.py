"""Any named source → one `Dataset` of decoded images and labels on the host."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from engine.config import Reading
from engine.errors import RequestError
from engine.examples import Split
from engine.pictures import image_folder
from engine.sets import image
from engine.sets.dataset import Dataset
from engine.sets.limits import TooLarge
from engine.sets.names import (
    DIGITS,
    EMBEDDED,
    FROM_PATHS,
    IMAGE_FOLDER,
    PLAIN,
    SCIKIT,
    TABLES,
    check_heeded,
)
from engine.sources import digits
from engine.tfds import decoded
from engine.tfds.prepared import parts, prepared

__all__ = ["Dataset", "Split", "data_dir", "load", "prepared"]

def data_dir(flag: str = "") -> Path:
    """The tfds folder: the flag, else $TFDS_DATA_DIR, else tfds's own ~/tensorflow_datasets. Raises
    RequestError where there is no such home folder."""
    chosen = flag or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError:
        raise RequestError(f"data sets lie in {chosen}, and there is no such home folder: type "
                           "--data_dir FOLDER, or set TFDS_DATA_DIR or HOME.") from None


def load(
    name: str, data_dir: str = "", reading: Reading = PLAIN, splits: Sequence[str] | None = None,
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
    if not embedded and kind not in FROM_PATHS:
        parts(name)  # which tells of a path
    check_heeded(name, reading)
    if kind in FROM_PATHS and not path:
        raise RequestError(f"--dataset {name} lacks its path: type {kind}:PATH.")
    path = os.path.expanduser(path)
    stored = not embedded and (kind not in TABLES or _table().is_parquet(path))
    reason = "as asked"
    if not (stream and stored):  # what else there is lies in memory anyway
        try:
            return _whole(name, path, data_dir, reading, splits, text)
        except TooLarge as error:
            if not stored:
                raise
            reason = error.reason
    if kind in TABLES:
        return _table().load(path, reading, splits, reason, text)
    from engine.pictures import stored_folder
    from engine.tfds import records  # late: few sets are streamed

    if kind == IMAGE_FOLDER:
        return stored_folder.load(path, reading, splits, reason)
    return records.load(name, _root(data_dir), reading, splits, reason)


_root = data_dir  # inside `load` and `_whole` the parameter hides the function


def _whole(
    name: str, path: str, data_dir: str, reading: Reading, splits: Sequence[str] | None,
    text: Collection[str],
) -> Dataset:
    """In memory. Raises TooLarge where that can't hold it."""
    kind = name.partition(":")[0]
    if name == DIGITS:
        return digits.load(reading.image_size, splits)
    if name in SCIKIT:
        from engine.sources import scikit  # late: it imports pandas

        return scikit.load(name, splits)
    if kind not in FROM_PATHS:
        return decoded.load(name, _root(data_dir), reading, splits)
    if kind == IMAGE_FOLDER:
        return image_folder.load(path, reading, splits)
    return _table().load(path, reading, splits, text=text)


def _table() -> Any:
    from engine.tables import table  # late: it imports pandas

    return table
