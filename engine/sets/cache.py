"""Decoded splits on disk, each with a checksum that is verified on opening.

One folder a split, decoded/<key>/, holds images.npy, labels.npy and entry.json (class names,
digest, and what was found by decoding, in sentences). It appears whole, by a rename, or not at all,
and may be deleted at any time. A checksum tells of damage, not of malice: where others may write,
nothing is read or kept.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.disk import caches as private
from engine.errors import tell
from engine.examples import Split
from engine.sets.dataset import Dataset
from engine.sets.tabular import is_frame

Decoded = tuple[Split, tuple[str, ...]] | tuple[Split, tuple[str, ...], tuple[str, ...]]
FILES = "images.npy", "labels.npy"  # of a Split's inputs and targets; none here has weights
PARTIAL = ".partial-"  # begins the name of a folder that is being written
ABANDONED_SECONDS = 3600


class Entry(NamedTuple):
    """A decoded split, its class names, the digest of both; sentences for the user."""

    split: Split
    classes: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def seal(self) -> str:
        """A digest of all of it."""
        noted = hashlib.sha256(json.dumps([self.digest, self.notes]).encode()).hexdigest()
        return noted if self.notes else self.digest


def folder() -> Path:
    """Where decoded splits are kept."""
    return private.cache_home() / "decoded"


def entry(split: Split, classes: tuple[str, ...], notes: tuple[str, ...] = ()) -> Entry:
    """With a hex digest of its arrays and names: the same wherever it lies. For inputs that stay in
    files stands their `stamp`."""
    inputs = split.inputs
    if is_frame(inputs):
        inputs = _hashed(inputs)
    elif stamp := getattr(inputs, "stamp", b""):
        inputs = np.frombuffer(stamp, np.uint8)
    arrays = [inputs, split.targets, *([] if split.weights is None else [split.weights])]
    shapes = [[array.shape, array.dtype.str] for array in arrays]
    total = hashlib.sha256(json.dumps([shapes, classes]).encode())
    for array in arrays:
        total.update(np.ascontiguousarray(array).data)
    return Entry(split, classes, total.hexdigest(), notes)


def _hashed(table: Any) -> np.ndarray:
    """Hashes of the names of C columns of a pandas DataFrame, and of its rows, uint64 [C + N]."""
    from pandas import Series, util

    names = util.hash_pandas_object(Series(list(map(str, table.columns))), index=False).to_numpy()
    rows = util.hash_pandas_object(table, index=False).to_numpy()
    return np.concatenate([names, rows])


def key(name: str, files: Mapping[str, os.stat_result], *of: Any) -> str:
    """`name` and a digest of what an entry depends on. Of a file its time of change too, since
    programs set that of modification as they like."""
    stamps = [(file, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
              for file, seen in files.items()]
    return f"{name}-{hashlib.sha256(json.dumps([*of, stamps]).encode()).hexdigest()[:32]}"


def together(name: str, entries: Mapping[str, Entry]) -> Dataset:
    """The set `name` of split → entry; its fingerprint is of their digests."""
    digests = sorted((split, found.digest) for split, found in entries.items())
    fingerprint = hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]
    classes, *_ = (found.classes for found in entries.values())
    splits = {split: found.split for split, found in entries.items()}
    notes = dict.fromkeys(note for found in entries.values() for note in found.notes)
    return Dataset(name, classes, splits, fingerprint, tuple(notes))


def dataset(name: str, key: str, splits: Sequence[str], decode: Callable[..., Decoded]) -> Dataset:
    """The set `name` of the entries `key`-split, or of what `decode` returns of a split's name."""
    where = usable()
    return together(name, {
        split: kept(where, f"{key}-{split}", functools.partial(decode, split)) for split in splits
    })


def usable() -> Path | None:
    """The folder of entries; None, and a line, where it can't be used. It is walked for that, so
    once for all splits. What a killed process had half written goes."""
    if problem := private.cache_problem(folder()):
        tell(f"decoded cache is not used: {problem}")
        return None
    for left in folder().glob(f"{PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):  # another start has ended with it
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    return folder()


def kept(where: Path | None, key: str, build: Callable[[], Decoded]) -> Entry:
    """The entry `key` of the folder `where`, or what `build` returns, kept there for the next time.
    Only `build` raises: what can't be read is built anew, what can't be written is returned all the
    same."""
    if where is None:
        return entry(*build())
    path = where / key
    if path.exists():
        try:
            return _read(path)
        except Exception as error:  # whatever bytes were damaged, they can be made anew
            tell(f"decoded cache {path} is damaged ({error}): rebuilding it")
            shutil.rmtree(path, ignore_errors=True)
    built = entry(*build())
    try:
        _write(path, built)
    except OSError as error:
        tell(f"decoded cache {path} can't be written ({error}): going on")
    return built


def _read(path: Path) -> Entry:
    """The entry at `path`; raises anything where it is damaged."""
    described = json.loads((path / "entry.json").read_text())
    split = Split(*(np.load(path / name, allow_pickle=False) for name in FILES))
    found = entry(split, tuple(described["classes"]), tuple(described.get("notes", ())))
    if found.seal != described["digest"]:
        raise ValueError("its checksum differs")
    return found


def _write(path: Path, entry: Entry) -> None:
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as partial:
        whole = Path(partial) / path.name
        whole.mkdir(mode=0o700)
        for name, array in zip(FILES, entry.split[:2], strict=True):
            np.save(whole / name, array, allow_pickle=False)
        described = {"classes": entry.classes, "digest": entry.seal, "notes": entry.notes}
        (whole / "entry.json").write_text(json.dumps(described))
        # Where another process was first, its entry holds the same bytes.
        if not path.exists():
            whole.rename(path)
