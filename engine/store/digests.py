"""What is known of a saved state beside its arrays: every leaf's SHA-256, its score, its seconds.

Orbax has no checksum of its own: a flipped bit would come back as a number.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.devices import mesh
from engine.disk import files
from engine.disk.files import is_count, is_number, is_text
from engine.errors import one_line

UNMEASURED = -math.inf


class Record(NamedTuple):
    """What is known of a saved state beside its arrays. `leaves`: path → dtype, shape, SHA-256."""

    val_accuracy: float | None  # the validation score, of whatever task: a name of before
    seconds: float
    leaves: dict[str, list[Any]]

    def rank(self, higher: bool) -> float:
        """Orders scores, whatever was measured: NaN compares with nothing."""
        score = self.val_accuracy
        if score is None or not math.isfinite(score):
            return UNMEASURED
        return score if higher else -score

    def digest(self) -> str:
        """Over all of it, so that what was changed by hand doesn't pass unnoticed."""
        return hashlib.sha256(json.dumps(self, sort_keys=True).encode()).hexdigest()


def leaf(array: np.ndarray) -> list[Any]:
    """dtype, shape and SHA-256."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data  # bfloat16 has no buffer
    return [array.dtype.str, list(array.shape), hashlib.sha256(data).hexdigest()]


def digests(state: Any) -> dict[str, list[Any]]:
    """Of every leaf, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf(mesh.on_host(x)) for path, x in leaves}


def fits(shape: list[int], wanted: list[int], free: int) -> bool:
    """Whether a saved leaf's shape is the one wanted, where an axis of -1, and the first `free`,
    may be of any length."""
    return len(shape) == len(wanted) and all(
        at < free or length in (-1, saved)
        for at, (saved, length) in enumerate(zip(shape, wanted, strict=True)))


def read_record(folder: Path) -> Record:
    """The record of the step that names the folder. Raises ValueError where it is damaged, or
    another step's; OSError where it is absent."""
    content = files.parsed(files.read(folder / "record" / "metadata"))
    try:
        record = Record(**content["record"])
        wrong = [name for name, value in zip(record._fields, record, strict=True)
                 if not _KINDS[name](value)]
        same = record.digest() == content["sha256"]
        step = record.leaves[".step"]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its record is not one: {one_line(error)}") from None
    if wrong:
        raise ValueError(f"its record is not one: {wrong[0]} is none")
    if not same:
        raise ValueError("the checksum of its record differs")
    if step != leaf(np.asarray(int(folder.name), np.int32)):
        raise ValueError("it holds another step")
    return record


def _is_leaves(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, list) and len(each) == 3 and is_text(each[0]) and is_text(each[2])
        and isinstance(each[1], list) and all(map(is_count, each[1])) for each in value.values()
    )


_KINDS = {
    "val_accuracy": lambda value: value is None or is_number(value),
    "seconds": is_number, "leaves": _is_leaves,
}
