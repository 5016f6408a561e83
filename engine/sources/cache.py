"""Decoded splits on disk, each with a checksum that is verified on opening.

One folder a split, ${XDG_CACHE_HOME:-~/.cache}/flaxmill/decoded/<key>/, holds images.npy,
labels.npy and entry.json (class names, digest). A folder appears whole, by a rename, or not at
all. Any of them may be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.sources.dataset import Split


class Entry(NamedTuple):
    """A decoded split, its class names, and the digest of both."""

    split: Split
    classes: tuple[str, ...]
    digest: str


def folder() -> Path:
    """Where decoded splits are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "flaxmill" / "decoded"


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


def kept(key: str, build: Callable[[], tuple[Split, tuple[str, ...]]]) -> Entry:
    """The entry `key`, or what `build` returns, kept for the next time.

    A damaged entry is rebuilt, and one that can't be written is returned all the same, each with
    a word on stderr. Only `build` raises.
    """
    path = folder() / key
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            print(f"decoded cache {path} is damaged ({error}): rebuilding it", file=sys.stderr)
            shutil.rmtree(path, ignore_errors=True)
    split, classes = build()
    entry = Entry(split, classes, digest(split, classes))
    try:
        _write(path, entry)
    except OSError as error:
        print(f"decoded cache {path} can't be written ({error}): going on", file=sys.stderr)
    return entry


def _read(path: Path) -> Entry:
    """The entry at `path`; raises OSError or ValueError where it is damaged."""
    described = json.loads((path / "entry.json").read_text())
    arrays = [np.load(path / f"{name}.npy", allow_pickle=False) for name in Split._fields]
    split, classes = Split(*arrays), tuple(described["classes"])
    if digest(split, classes) != described["digest"]:
        raise ValueError("its checksum differs")
    return Entry(split, classes, described["digest"])


def _write(path: Path, entry: Entry) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=path.parent))
    try:
        for name, array in entry.split._asdict().items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        described = {"classes": entry.classes, "digest": entry.digest}
        (partial / "entry.json").write_text(json.dumps(described))
        # Where another process was first, its entry holds the same bytes.
        if not path.exists():
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
