"""A set of tensorflow-datasets whose records are read as they are needed."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import Reading
from engine.console.bar import bar
from engine.examples import Split
from engine.sets import image
from engine.sets.content import content_of
from engine.sets.dataset import Dataset, asked
from engine.sets.limits import MOST_EXAMPLES, TooLarge, varying
from engine.sets.stored import Stored, check_unchanged, stamp
from engine.tfds import decoded


class Records(Stored):
    """The pictures of a split of the prepared `folder`, uint8 [N, H, W, C]; `source` is tfds's,
    which opens its files where it is used; `hashes` are of the records' pictures, uint64 [N]."""

    def __init__(self, folder: Path, source: Any, image_HxWxC: tuple[int, ...], background: str,
                 reason: str, hashes: np.ndarray):
        super().__init__((len(source), *image_HxWxC), np.uint8, reason, hashes)
        self.folder, self.source, self.background = folder, source, background
        self.stamps = {str(path): stamp(path.stat()) for path in folder.iterdir()
                       if path.is_file()}

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for path, seen in self.stamps.items():
            check_unchanged(path, seen)
        height, width, depth = self.shape[1:]
        with decoded.telling(self.folder):
            for at, record in decoded.each(self.source, rows):
                out[at] = image.decode(io.BytesIO(record["image"]), image.MODES[depth],
                                       (width, height), self.background)


def load(
    name: str, root: Path, reading: Reading, splits: Sequence[str] | None, reason: str
) -> Dataset:
    """The set `name` as `decoded.load` gives it, its pictures read when needed; the fingerprint
    is of names, sizes and times. Labels are read at once, and the pictures' headers where nothing
    else says their size."""
    folder = decoded.found(name, root)
    held: dict[str, Split] = {}
    classes: tuple[str, ...] = ()
    for split in asked(name, decoded.held(folder), splits):
        with decoded.telling(folder):
            source, channels, classes = decoded.encoded(name, folder, split)
            if len(source) > MOST_EXAMPLES:
                raise TooLarge(name, f"its {len(source):,} examples are more than the "
                                     f"{MOST_EXAMPLES:,} that can be held")
            told = f"listing {name} {split}"
            shape, labels, hashes = _judged(name, source, reading.image_size, told)
            inputs = Records(folder, source, (*shape, channels), reading.background, reason,
                             hashes)
            held[split] = Split(inputs, labels)
    total = json.dumps([decoded.files_digest(folder), reading.image_size, reading.background])
    return Dataset(name, classes, held, hashlib.sha256(total.encode()).hexdigest()[:16])


def _judged(
    name: str, source: Any, size: int, told: str
) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """Height and width of all; the labels, int32 [N], and a hash of each one's bytes."""
    sides: tuple[int, int] = (size, size)
    labels, hashes = np.empty(len(source), np.int32), np.empty(len(source), np.uint64)
    with bar(told, len(source)) as moved:
        for row, record in decoded.each(source, np.arange(len(source))):
            labels[row], hashes[row] = record["label"], content_of(record["image"])
            if not size:
                found = image.sides(io.BytesIO(record["image"]))
                sides = sides if row else found
                if found != sides:
                    raise varying(name, sides, found)
            moved(1)
    return sides, labels, hashes
