"""The files in a folder of pictures, as they lie there: found, and unchanged when they are read."""

import functools
import os
import unicodedata
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from engine.console.bar import bar
from engine.sets import image
from engine.sets.limits import MOST_EXAMPLES, refused
from engine.sets.names import IMAGE_FOLDER
from engine.sets.stored import stamp

# What systems leave beside a user's own files; names that begin with a dot are left out too.
_SYSTEM = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "lost+found",
           "system volume information", "@eadir"}  # fmt: skip
refuse = functools.partial(refused, IMAGE_FOLDER)


class Tree(NamedTuple):
    """The folder itself, without links; `pictures` and other files by their names relative to it,
    with slashes; how many hidden files and folders were passed by; folders without anything else.
    """

    root: str
    pictures: dict[str, os.stat_result]
    others: dict[str, os.stat_result]
    hidden: int
    empty: list[str]

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)


def walk(path: str) -> Tree:
    """All files in `path` but for hidden ones and those of systems. Raises RequestError."""
    pictures: dict[str, os.stat_result] = {}
    others: dict[str, os.stat_result] = {}
    empty: list[str] = []
    hidden, seen = 0, 0
    try:
        root, left = os.path.realpath(path, strict=True), [""]
        with bar(f"listing {path}", None, silent=True) as moved:
            while left:
                inside = left.pop()
                with os.scandir(os.path.join(root, inside)) as entries:
                    found = list(entries)
                seen += len(found)
                moved(len(found))
                if seen > MOST_EXAMPLES:
                    raise refuse(path, f"it holds more than {MOST_EXAMPLES:,} files",
                                 "name a smaller folder")
                before = hidden
                for entry in found:
                    name = os.path.join(inside, entry.name)
                    if entry.name.startswith(".") or entry.name.lower() in _SYSTEM:
                        hidden += 1
                        continue
                    if entry.is_symlink():
                        _check_link(root, name)
                    if entry.is_dir():
                        left.append(name)
                    else:
                        ending = os.path.splitext(entry.name)[1].lower()
                        (pictures if ending in image.ENDINGS else others)[name] = entry.stat()
                if hidden - before == len(found):
                    empty.append(inside)
    except (OSError, ValueError) as error:
        raise refuse(path, error, "type the path of a folder of pictures") from None
    return Tree(root, pictures, others, hidden, empty)


def ordered(names: Iterable[str], inside: str) -> list[str]:
    """By a SHA-256 of each name from the folder `inside` on: mixed, and the same on every machine,
    however it lists or writes them (macOS writes accents apart)."""
    return sorted(names, key=lambda name: (_mixed(name.removeprefix(inside)), name))


def _mixed(name: str) -> bytes:
    return sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).digest()


def _check_link(root: str, name: str) -> None:
    """That the link leads to a file within `root`. One to a folder might lead round in a circle."""
    try:
        target = os.path.realpath(os.path.join(root, name), strict=True)
        wrong = "to a folder" if os.path.isdir(target) else ""
        if os.path.commonpath([root, target]) != root:
            wrong = f"out of the folder, to {target!r}"
    except OSError as error:
        wrong = f"nowhere ({error.strerror})"
    if wrong:
        raise refuse(root, f"the link {name!r} leads {wrong}", "put the file itself there")


def check_unchanged(root: str, seen: dict[str, os.stat_result]) -> None:
    """Raises RequestError where a file of `root` isn't as it was `seen`."""
    changed = [name for name, before in seen.items() if _stamp(root, name) != stamp(before)]
    if changed:
        raise refuse(root, f"{len(changed):,} of {len(seen):,} files changed or vanished while it "
                     f"was read, {min(changed)!r} for one", "run again when nothing writes there")


def _stamp(root: str, name: str) -> tuple[int, int, int] | None:
    try:
        return stamp(os.stat(os.path.join(root, name)))
    except OSError:
        return None
