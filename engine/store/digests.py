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
        return hashlib.sha256(json.dumps(self, sort_keys=True).encode()).hexdigest()


def _leaf(array: np.ndarray) -> list[Any]:
    data = np.ascontiguousarray(array).data
    return [array.dtype.str, list(array.shape), hashlib.sha256(data).hexdigest()]


def digests(state: Any) -> dict[str, list[Any]]:
    """dtype, shape and SHA-256 of every leaf, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): _leaf(mesh.on_host(x)) for path, x in leaves}


def read_record(folder: Path) -> Record:
    """A step's record. Raises ValueError where it is damaged, OSError where it is absent."""
    content = json.loads((folder / "record" / "metadata").read_text())
    try:
        record = Record(**content["record"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"its record is not one: {error}") from None
    if record.digest() != content["sha256"]:
        raise ValueError("the checksum of its record differs")
    return record
