"""A folder of pictures, PATH/<split>/<class>/… or PATH/<class>/…, whose folders' names say it all.

Where PATH holds a folder named train, validation or test, the folders in it are splits; else they
are the classes of the one split `train`. A class's pictures may lie in folders of their own.
"""

import functools
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np

from engine.devices import choose as devices
from engine.errors import RequestError
from engine.sources import cache, image
from engine.sources.dataset import MOST_EXAMPLES, Dataset, Split, asked, refused, room, varying

NAME = "image_folder"
_SPLITS = {"train", "validation", "test"}
_SPLIT = re.compile(r"[\w.-]{1,64}")
_BLOCK = 256
_AT_ONCE = 4 * image.MOST_PIXELS  # pixels that all threads decode at the same time
_DECODER = 1  # raise it when the same files would decode to other pixels
_refused = functools.partial(refused, NAME)
T = TypeVar("T")


class Tree(NamedTuple):
    """What lies in a folder, by names relative to it, with slashes: sorted."""

    root: str
    pictures: dict[str, os.stat_result]
    folders: list[str]


class Shape(NamedTuple):
    """What all pictures decode to, and the pixels of the largest as it lies there."""

    image_HxWxC: tuple[int, int, int]
    largest: int


def load(path: str, image_size: int = 0, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8 and labels N int32 of the folder `path`, in the order of their names.

    Classes are the names of the class folders in any split, sorted as text: 10 comes before 9. C is
    1 where every picture is grey, else 3; alpha is dropped. Raises RequestError for what can't be
    had: no such folder, pictures outside of classes, empty classes, links that lead out of the
    folder, sizes that vary without an `image_size`, damaged files.
    """
    tree = _tree(path)
    members, classes = _sorted_out(tree)
    judge = functools.cache(functools.partial(_shape, tree, image_size))

    def decode(split: str) -> tuple[Split, tuple[str, ...]]:
        print(f"decoding {NAME} {split} from {path}", file=sys.stderr)
        return _decoded(tree.root, members[split], classes, judge()), classes

    files = [cache.stamp(name, seen) for name, seen in tree.pictures.items()]
    key = cache.key(NAME, _DECODER, image_size, files)
    return cache.dataset(NAME, key, asked(NAME, members, splits), decode)


def _tree(path: str) -> Tree:
    """Everything in the folder but what begins with a dot. Raises RequestError."""
    pictures, folders, others, seen = {}, [], [], 0
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
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.name.startswith(".") or entry.name == "Thumbs.db":
                        continue
                    if entry.is_symlink():
                        _check_link(root, name)
                    if entry.is_dir():
                        left.append(name)
                        folders.append(name)
                    elif PurePosixPath(name).suffix.lower() in image.ENDINGS:
                        pictures[name] = entry.stat()
                    else:
                        others.append(name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refused(path, reason, "type the path of a folder of pictures") from None
    if others:
        print(f"{NAME}: {len(others)} files are no {', '.join(image.ENDINGS)} and left out: "
              f"{min(others)!r} is one", file=sys.stderr)  # fmt: skip
    return Tree(root, dict(sorted(pictures.items())), sorted(folders))


def _check_link(root: str, name: str) -> None:
    """Raises RequestError unless the link leads to a file within `root`.

    One to a folder may lead round in a circle, or count pictures twice.
    """
    try:
        target = os.path.realpath(os.path.join(root, name), strict=True)
    except OSError as error:
        raise _refused(root, f"the link {name!r} leads nowhere ({error.strerror})",
                       "take it away") from None
    if os.path.commonpath([root, target]) != root:
        raise _refused(root, f"the link {name!r} leads out of the folder, to {target!r}",
                       "put the file itself there")
    if os.path.isdir(target):
        raise _refused(root, f"the link {name!r} leads to a folder", "put the folder itself there")


def _sorted_out(tree: Tree) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Split → picture → class, and all the classes. Raises RequestError."""
    depth = 1 if _SPLITS.isdisjoint(tree.folders) else 2
    classes = {name.split("/")[-1] for name in tree.folders if name.count("/") == depth - 1}
    members: dict[str, dict[str, str]] = {}
    for name, seen in tree.pictures.items():
        *parts, _ = name.split("/")
        if not name.isprintable():  # nor UTF-8, perhaps: it could be neither printed nor saved
            raise _refused(tree.root, f"the name {ascii(name)} can't be printed", "rename it")
        if len(parts) < depth:
            layout = "<split>/<class>/" if depth == 2 else "<class>/"
            raise _refused(tree.root, f"{name!r} lies in no class's folder",
                           f"put it in {layout}, or elsewhere")
        if not stat.S_ISREG(seen.st_mode):  # opening a pipe would wait for its writer
            raise _refused(tree.root, f"{name!r} is no regular file", "take it away")
        split = parts[0] if depth == 2 else "train"
        members.setdefault(split, {})[name] = parts[depth - 1]
    if not members:
        raise _refused(tree.root, f"it holds no {', '.join(image.ENDINGS)}",
                       "put pictures in folders named after their classes")
    for split in members:
        if not _SPLIT.fullmatch(split):
            raise _refused(tree.root, f"the split {split!r} has a name that can't be typed",
                           "name it with letters, digits, _, - and dots")
    if empty := sorted(classes.difference(*(found.values() for found in members.values()))):
        raise _refused(tree.root, f"the class {empty[0]!r} holds no {', '.join(image.ENDINGS)}",
                       "fill its folder, or take it away")
    return members, tuple(sorted(classes))


def _in_blocks(work: Callable[[range], T], count: int, threads: int | None = None) -> Iterator[T]:
    """What `work` returns of each block of rows, on all cores: Pillow lets go of the lock.

    Its faults get a word of advice.
    """
    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(work, blocks)
    except RequestError as error:
        raise RequestError(f"{error} Mend it, or take it out of the folder.") from None


def _shape(tree: Tree, image_size: int) -> Shape:
    """From the headers of all pictures. Raises RequestError where they don't make one array."""
    paths = [os.path.join(tree.root, name) for name in tree.pictures]

    def headers(rows: range) -> list[tuple[int, int, int]]:
        return [image.check(paths[row]) for row in rows]

    shapes = list(itertools.chain.from_iterable(_in_blocks(headers, len(paths))))
    height, width, _ = shapes[0]
    for other in shapes:
        if not image_size and other[:2] != (height, width):
            raise varying(NAME, (height, width), other[:2])
    channels = max(channels for _, _, channels in shapes)
    found = (image_size or height, image_size or width, channels)
    if len(paths) > room(found):
        raise _refused(tree.root, f"its {len(paths):,} pictures of {' × '.join(map(str, found))} "
                       f"are more than the {room(found):,} that can be held",
                       "type a smaller --image_size, or name a smaller folder")
    return Shape(found, max(height * width for height, width, _ in shapes))


def _decoded(root: str, found: dict[str, str], classes: tuple[str, ...], shape: Shape) -> Split:
    """The pixels and labels of a split's pictures → classes."""
    paths = [os.path.join(root, name) for name in found]
    images = np.empty((len(paths), *shape.image_HxWxC), np.uint8)

    def fill(rows: range) -> None:
        for row in rows:
            images[row] = image.read(paths[row], shape.image_HxWxC)

    threads = min(devices.cores(), _AT_ONCE // shape.largest)
    for _ in _in_blocks(fill, len(paths), threads):
        pass
    numbers = {name: number for number, name in enumerate(classes)}
    return Split(images, np.array([numbers[name] for name in found.values()], np.int32))
