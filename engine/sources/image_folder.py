"""A folder of pictures, PATH/<split>/<class>/… or PATH/<class>/…, whose folders' names say it all.

Where PATH holds a folder named train, validation or test, the folders in it are splits; else they
are the classes of the one split `train`. A class's pictures may lie in folders of their own.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from engine.config import Reading
from engine.devices import choose as devices
from engine.errors import RequestError, tell
from engine.sources import cache, image
from engine.sources.dataset import MOST_EXAMPLES, Dataset, Split, asked, fits, refused, varying

NAME = "image_folder"
_SPLITS = {"train", "validation", "test"}
_BLOCK = 256
_AT_ONCE = 4 * image.MOST_PIXELS  # pixels that all threads decode at the same time
_DECODER = 1  # raise it when the same files would decode to other pixels
_refused = functools.partial(refused, NAME)


def load(path: str, reading: Reading, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8 and labels N int32 of the folder `path`, in the order of their names.

    Classes are the names of the class folders in any split, sorted as text: 10 comes before 9. C is
    1 where every picture is grey, else 3; alpha is dropped. Raises RequestError, as where sizes
    vary without an `image_size`."""
    root, pictures = _tree(path)
    members = _members(root, pictures)
    classes = tuple(sorted({name for found in members.values() for name in found.values()}))
    paths = [path for found in members.values() for path in found]
    judge = functools.cache(functools.partial(_shape, root, paths, reading.image_size))

    def decode(split: str) -> tuple[Split, tuple[str, ...]]:
        tell(f"decoding {NAME} {split} from {path}")
        labels = np.searchsorted(classes, [*members[split].values()]).astype(np.int32)
        return Split(_decoded([*members[split]], *judge()), labels), classes

    key = cache.key(NAME, pictures, _DECODER, reading.image_size)
    return cache.dataset(NAME, key, asked(NAME, members, splits), decode)


def _tree(path: str) -> tuple[str, dict[str, os.stat_result]]:
    """The folder itself, and the pictures in it but for names that begin with a dot: sorted, by
    names relative to it, with slashes. Raises RequestError."""
    pictures, others, seen = {}, [], 0
    try:
        root, left = os.path.realpath(path, strict=True), [""]
        while left:
            inside = left.pop()
            with os.scandir(os.path.join(root, inside)) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_EXAMPLES:
                        raise _refused(path, f"it holds more than {MOST_EXAMPLES:,} files",
                                       "name a smaller folder")
                    name = os.path.join(inside, entry.name)
                    if entry.name.startswith(".") or entry.name == "Thumbs.db":
                        continue
                    if entry.is_symlink():
                        _check_link(root, name)
                    if entry.is_dir():
                        left.append(name)
                    elif PurePosixPath(name).suffix.lower() in image.ENDINGS:
                        pictures[name] = entry.stat()
                    else:
                        others.append(name)
    except (OSError, ValueError) as error:
        raise _refused(path, error, "type the path of a folder of pictures") from None
    if others:
        tell(f"{NAME}: {len(others)} files are no {', '.join(image.ENDINGS)} and left out: "
              f"{min(others)!r} is one")  # fmt: skip
    return root, dict(sorted(pictures.items()))


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
        raise _refused(root, f"the link {name!r} leads {wrong}", "put the file itself there")


def _members(root: str, pictures: Iterable[str]) -> dict[str, dict[str, str]]:
    """Split → path of a picture → class. Raises RequestError."""
    depth = 1 if _SPLITS.isdisjoint(name.split("/")[0] for name in pictures) else 2
    members: dict[str, dict[str, str]] = {}
    for name in pictures:
        *parts, _ = name.split("/")
        if not name.isprintable():  # nor UTF-8, perhaps: it could be neither printed nor saved
            raise _refused(root, f"the name {ascii(name)} can't be printed", "rename it")
        if len(parts) < depth:
            raise _refused(root, f"{name!r} lies in no class's folder",
                           f"put it in {'<split>/' * (depth - 1)}<class>/, or elsewhere")
        split = parts[0] if depth == 2 else "train"
        members.setdefault(split, {})[os.path.join(root, name)] = parts[depth - 1]
    if not members:
        raise _refused(root, f"it holds no {', '.join(image.ENDINGS)}",
                       "put pictures in folders named after their classes")
    return members


def _shape(root: str, paths: list[str], image_size: int) -> tuple[tuple[int, int, int], int]:
    """[H, W, C] that all pictures decode to, and the pixels of the largest as it lies there, from
    their headers. Raises RequestError where they don't make one array."""
    shapes = _on_all_cores(image.check, paths, devices.cores())
    height, width, _ = shapes[0]
    for other in shapes:
        if not image_size and other[:2] != (height, width):
            raise varying(NAME, (height, width), other[:2])
    found = (image_size or height, image_size or width, max(c for _, _, c in shapes))
    fits(f"{NAME}:{root}", len(paths), found)
    return found, max(height * width for height, width, _ in shapes)


def _decoded(paths: list[str], image_HxWxC: tuple[int, int, int], largest: int) -> np.ndarray:
    """Their pixels [N, H, W, C]; none has more than `largest` before it is brought to that."""
    images = np.empty((len(paths), *image_HxWxC), np.uint8)

    def fill(row: int) -> None:
        images[row] = image.read(paths[row], image_HxWxC)

    _on_all_cores(fill, range(len(paths)), min(devices.cores(), _AT_ONCE // largest))
    return images


def _on_all_cores(work: Callable[[Any], Any], of: Iterable[Any], threads: int) -> list[Any]:
    """What `work` returns of each: Pillow lets go of the lock. Its faults get a word of advice."""
    try:
        with ThreadPool(threads) as pool:
            return list(pool.imap(work, of, _BLOCK))
    except RequestError as error:
        raise RequestError(f"{error} Mend it, or take it out of the folder.") from None
