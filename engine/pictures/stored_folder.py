"""A folder of pictures that are read as they are needed."""

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.config import Reading
from engine.console.bar import bar
from engine.examples import Split
from engine.pictures import image_folder
from engine.sets import image
from engine.sets.content import MOST_COMPARED, content_of
from engine.sets.dataset import Dataset, asked
from engine.sets.names import IMAGE_FOLDER
from engine.sets.stored import Stored, check_unchanged, stamp

# Of a Reading's fields those that a fingerprint has; what came in later is a table's own.
_READ = ("image_size", "background", "labels", "skip_bad", "target", "group", "weight", "embed")


class Pictures(Stored):
    """Files of pictures, uint8 [N, H, W, C], by their `names` in the folder `root`; `stamps` tell
    whether one has changed."""

    def __init__(
        self, root: str, names: list[str], stamps: list[tuple[int, int, int]],
        image_HxWxC: tuple[int, ...], background: str, reason: str,
    ):
        super().__init__((len(names), *image_HxWxC), np.uint8, reason)
        self.root, self.names, self.stamps, self.background = root, names, stamps, background

    @functools.cached_property
    def hashes(self) -> np.ndarray | None:
        """Read once, though each group of a sweep asks."""
        if sum(size for size, _, _ in self.stamps) > MOST_COMPARED:
            return None
        found = np.empty(len(self), np.uint64)
        with bar("comparing pictures", len(self), silent=True) as moved:
            for row in range(len(self)):
                found[row] = content_of(Path(self._path(row)).read_bytes())
                moved(1)
        return found

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for at, row in enumerate(rows.tolist()):
            out[at] = image.read(self._path(row), self.shape[1:], self.background)

    def _path(self, row: int) -> str:
        """Raises RunError where the file isn't as it was."""
        path = os.path.join(self.root, self.names[row])
        check_unchanged(path, self.stamps[row])
        return path


def load(path: str, reading: Reading, splits: Sequence[str] | None, reason: str) -> Dataset:
    """The set as `image_folder.load` gives it, in the same order, its pictures read as they are
    needed; the fingerprint is of names, sizes and times. Raises RequestError."""
    listing = image_folder.listed(path, reading)
    held, named = {}, []
    for split in asked(IMAGE_FOLDER, listing.splits, splits):
        names, targets = listing.splits[split]
        stamps = [stamp(listing.seen[name]) for name in names]
        pictures = Pictures(listing.root, names, stamps, listing.shape, reading.background, reason)
        held[split] = Split(pictures, targets)
        sizes_and_times = [stamp[:2] for stamp in stamps]
        named.append([split, targets.tolist(), names, sizes_and_times])
    how = [getattr(reading, name) for name in _READ]
    total = json.dumps([image_folder.DECODER, how, listing.classes, listing.shape, named])
    fingerprint = hashlib.sha256(total.encode()).hexdigest()[:16]
    groups = {split: listing.groups[split] for split in held if split in listing.groups}
    return Dataset(IMAGE_FOLDER, listing.classes, held, fingerprint, listing.notes, groups)
