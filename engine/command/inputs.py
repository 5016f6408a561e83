"""The files that predict is asked about: named, in folders, by globs, or listed on standard input.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from engine.errors import RequestError, some, visible
from engine.pictures import tree
from engine.sets import image
from engine.sets.limits import MOST_EXAMPLES
from engine.tables import dialect

_LONGEST = 1 << 16  # bytes of a line: a path has 4,096
_MAGIC = frozenset("*?[")


def files(words: Sequence[str], of_columns: bool = False) -> list[str]:
    """The files of `words`, in their order: a folder stands for the pictures in it, by name; a glob
    that names no file for what it matches, by name; - for the paths on standard input, one a line.

    Raises RequestError for what isn't there, for a folder, glob or list without any, and for
    pictures where a run learned from a table's columns, `of_columns`.
    """
    if not words:
        raise RequestError("predict needs something to predict: predict --run_dir R image.png ..., "
                           "a folder of pictures, 'photos/*.jpg', test.csv, or - for a list of "
                           "paths on standard input.")
    named = [path for word in words for path in _paths(word)]
    if absent := [path for path in named if not os.path.exists(path)]:
        raise RequestError(f"{shown(absent)}: no such file.")
    pictures = [path for path in named if os.path.isdir(path) or _ending(path) in image.ENDINGS]
    if of_columns and pictures:
        raise RequestError(f"the run learned from a table's columns, and these are none: "
                           f"{shown(pictures)}. Name a CSV or Parquet file.")
    found = [file for path in named for file in (_inside(path) if os.path.isdir(path) else [path])]
    if len(found) > MOST_EXAMPLES:
        raise RequestError(f"predict takes {MOST_EXAMPLES:,} files at a time, and got "
                           f"{len(found):,}: type some of them.")
    return found


def has_tables(files: Sequence[str]) -> bool:
    """Whether one of them is a table by its name."""
    return any(_ending(file) in dialect.TABLES for file in files)


def shown(names: Sequence[str]) -> str:
    """`some` of the names of files."""
    return some([visible(name, "") for name in names])


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _paths(word: str) -> Iterable[str]:
    if word == "-":
        return _listed()
    if os.path.lexists(word) or _MAGIC.isdisjoint(word):
        return [word]
    found = sorted(glob.glob(word, recursive=True))
    if not found:
        raise RequestError(f"{visible(word, '')} matches no file: type a folder, or another "
                           "pattern.")
    return found


def _listed() -> Iterator[str]:
    """The paths on standard input. Raises RequestError where there is none."""
    found = False
    while line := sys.stdin.buffer.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise RequestError(f"standard input has a line of {_LONGEST:,} bytes or more, which is "
                               "no path: write one path a line.")
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            found = True
            yield name
    if not found:
        raise RequestError("standard input names no file: write one path a line, as in "
                           "find photos -name '*.jpg' | flaxmill predict --run_dir R -.")


def _inside(folder: str) -> list[str]:
    """The pictures in it, by name. Raises RequestError."""
    found = sorted(tree.walk(folder).pictures)
    if not found:
        raise RequestError(f"{visible(folder, '')} holds no {', '.join(image.ENDINGS)}: name a "
                           "folder of pictures.")
    return [os.path.join(folder, name) for name in found]
