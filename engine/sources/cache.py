"""Decoded splits on disk, each with a checksum that is verified on opening.

One folder a split, ${XDG_CACHE_HOME:-~/.cache}/flaxmill/decoded/<key>/, holds images.npy,
labels.npy and entry.json (class names, digest). A folder appears whole, by a rename, or not at
all. Any of them may be deleted at any time. A checksum tells of damage, not of malice: where
others may write, nothing is read or kept.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.sources.dataset import Dataset, Split
from engine.store import caches as private

FILES = "images", "labels"  # of a Split's inputs and targets


class Entry(NamedTuple):
    """A decoded split, its class names, and the digest of both."""

    split: Split
    classes: tuple[str, ...]
    digest: str


def folder() -> Path:
    """Where decoded splits are kept."""
    return private.cache_home() / "decoded"


def digest(split: Split, classes: tuple[str, ...]) -> str:
    """A hex digest of the pixels, labels and class names: the same wherever they lie."""
    shapes = [[array.shape, array.dtype.str] for array in split]
    total = hashlib.sha256(json.dumps([shapes, classes]).encode())
    for array in split:
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def fingerprint(digests: Mapping[str, str]) -> str:
    """One hex digest for a set, from split name → digest."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:16]


def stamp(name: str, seen: os.stat_result) -> tuple[str, int, int, int]:
    """Of a file, what changes where its content may have: the time of change too, since programs
    set that of modification as they like."""
    return name, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def key(name: str, *of: Any) -> str:
    """`name` and a digest of all that an entry depends on, of JSON's types."""
    return f"{name}-{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:32]}"


def dataset(
    name: str, key: str, splits: Sequence[str],
    decode: Callable[[str], tuple[Split, tuple[str, ...]]],
) -> Dataset:
    """The set `name` of the entries `key`-split, or of what `decode` returns of a split's name."""
    entries = {
        split: kept(f"{key}-{split}", functools.partial(decode, split)) for split in splits
    }
    digests = {split: entry.digest for split, entry in entries.items()}
    found = {split: entry.split for split, entry in entries.items()}
    return Dataset(name, entries[splits[0]].classes, found, fingerprint(digests))


def kept(key: str, build: Callable[[], tuple[Split, tuple[str, ...]]]) -> Entry:
    """The entry `key`, or what `build` returns, kept for the next time.

    A damaged entry is rebuilt, and one that can't be written is returned all the same, each with
    a word on stderr. Only `build` raises.
    """
    path = folder() / key
    try:
        private.make(path.parent)
        doubt = private.doubt(path.parent)
    except OSError as error:
        doubt = f"{path.parent}: {error.strerror or error}"
    if doubt:
        print(f"decoded cache is not used: {doubt}", file=sys.stderr)
        return _entry(*build())
    if path.exists():
        try:
            return _read(path)
        except Exception as error:  # whatever bytes were damaged, they can be made anew
            print(f"decoded cache {path} is damaged ({error}): rebuilding it", file=sys.stderr)
            shutil.rmtree(path, ignore_errors=True)
    entry = _entry(*build())
    try:
        _write(path, entry)
    except OSError as error:
        print(f"decoded cache {path} can't be written ({error}): going on", file=sys.stderr)
    return entry


def _entry(split: Split, classes: tuple[str, ...]) -> Entry:
    return Entry(split, classes, digest(split, classes))


def _read(path: Path) -> Entry:
    """The entry at `path`; raises anything where it is damaged."""
    described = json.loads((path / "entry.json").read_text())
    split = Split(*(_array(path / f"{name}.npy") for name in FILES))
    entry = _entry(split, tuple(described["classes"]))
    if entry.digest != described["digest"]:
        raise ValueError("its checksum differs")
    return entry


def _array(path: Path) -> np.ndarray:
    # np.load would take a damaged file for a zip or a pickle.
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _write(path: Path, entry: Entry) -> None:
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
    try:
        for name, array in zip(FILES, entry.split, strict=True):
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        described = {"classes": entry.classes, "digest": entry.digest}
        (partial / "entry.json").write_text(json.dumps(described))
        # Where another process was first, its entry holds the same bytes.
        if not path.exists():
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
