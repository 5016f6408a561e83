"""Pictures as rows of a CSV file: a label and pixels 0..255, as Kaggle's Digit Recognizer has them.

The first row names the columns. `label`, or else the first, is the label's; all others are pixels
in the order H, W, C, as many as a square has in grey (n²) or colour (3n²).
"""

import csv
import functools
import math
import os
import re
import shlex
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np

from engine.errors import RequestError, one_line
from engine.sources import cache, image
from engine.sources.dataset import MOST_BYTES, Dataset, Split, asked, refused, room, varying

NAME = "csv"
_SPLITS = ("train", "validation", "test")
_MOST_FILE = 4 * MOST_BYTES  # a pixel is three digits and a comma
_MOST_LINE = 1 << 24
_MOST_LABEL = 63
_INTEGER = re.compile(r"-?[0-9]+")
_PIXEL = re.compile(r"\s*\+?0*([0-9]{1,3})\s*")
_DECODER = 1  # raise it when the same files would decode to other pixels
_refused = functools.partial(refused, NAME)


class Table(NamedTuple):
    """images uint8 [N, H, W, C], and the label of each as it is written, [N]."""

    images: np.ndarray
    labels: np.ndarray


class _Lines:
    """The lines of a file, of bounded length and number; knows the one it is at.

    A character stands for a byte: NumPy's reader looks others up beyond the end of a C table.
    """

    def __init__(self, path: str, file: TextIO):
        self.path, self.file, self.number, self.text, self.most = path, file, 0, "", 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.text = self.file.readline(_MOST_LINE + 1)
        if not self.text:
            raise StopIteration
        self.number += 1
        if len(self.text) > _MOST_LINE:
            raise self.refused(f"it has more than {_MOST_LINE:,} characters", "shorten it")
        if self.text.count('"') % 2:  # it would swallow the lines that follow
            raise self.refused("a quotation mark is not closed in it", "close it")
        if self.number > self.most:
            raise self.refused("the file holds more than can be read", "split it")
        return self.text

    def refused(self, reason: str, instead: str) -> RequestError:
        return _refused(self.path, f"line {self.number}: {one_line(reason)}", instead)


def load(path: str, image_size: int = 0, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8 and labels N int32 of the CSV file `path`, the split `train`; or of
    train.csv, and validation.csv and test.csv where they are, in the folder `path`.

    Classes are the labels of all splits: sorted by value where all are integers, else as text.
    Raises RequestError for what can't be had: no such file, columns that make no square, rows that
    are damaged.
    """
    files, stamps = _files(path)
    read = functools.cache(functools.partial(_all, files, image_size))

    def decode(split: str) -> tuple[Split, tuple[str, ...]]:
        print(f"reading {NAME} {split} from {files[split]}", file=sys.stderr)
        tables, classes = read()
        numbers = {name: number for number, name in enumerate(classes)}
        labels = [numbers[label] for label in tables[split].labels.tolist()]
        return Split(tables[split].images, np.array(labels, np.int32)), classes

    key = cache.key(NAME, _DECODER, image_size, stamps)
    return cache.dataset(NAME, key, asked(NAME, files, splits), decode)


def _files(path: str) -> tuple[dict[str, str], list[tuple[str, int, int, int]]]:
    """Split → file, and what changes where a file's content may have. Raises RequestError."""
    files, stamps = {"train": path}, []
    try:
        if os.path.isdir(path):
            all_files = {split: os.path.join(path, f"{split}.csv") for split in _SPLITS}
            files = {split: file for split, file in all_files.items() if os.path.lexists(file)}
            if "train" not in files:
                raise _refused(path, "the folder holds no train.csv",
                               "name the file, or call it that")
        for split, file in files.items():
            seen = os.stat(file)
            if not stat.S_ISREG(seen.st_mode):  # opening a pipe would wait for its writer
                raise _refused(file, "it is no regular file", "name a CSV file")
            if seen.st_size > _MOST_FILE:
                raise _refused(file, f"it has more than {_MOST_FILE:,} bytes", "split the file")
            stamps.append(cache.stamp(split, seen))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _refused(path, reason, "type the path of a CSV file") from None
    return files, stamps


def _all(files: dict[str, str], image_size: int) -> tuple[dict[str, Table], tuple[str, ...]]:
    """Every split's table, and the class names. Raises RequestError."""
    tables = {split: _table(file) for split, file in files.items()}
    first, *others = (found.images.shape[1:] for found in tables.values())
    for split, shape in zip(list(files)[1:], others, strict=True):
        if shape[2] != first[2]:
            raise _refused(files[split], "one of it and train.csv is grey, the other in colour",
                           "write both alike")
        if not image_size and shape != first:
            raise varying(NAME, first[:2], shape[:2])
    if image_size:
        tables = {split: found._replace(images=image.resize(found.images, image_size))
                  for split, found in tables.items()}
    names = {label for found in tables.values() for label in found.labels.tolist()}
    numeric = all(_INTEGER.fullmatch(name) for name in names)
    return tables, tuple(sorted(names, key=lambda name: (int(name) if numeric else 0, name)))


def _table(path: str) -> Table:
    """The content of a CSV file, in UTF-8 with or without a byte order mark."""
    try:
        with open(path, encoding="latin-1") as file:
            return _parsed(_Lines(path, file))
    except OSError as error:
        raise _refused(path, error.strerror, "name a file that can be read") from None


def _parsed(lines: _Lines) -> Table:
    names, place = _header(lines)
    shape = _square(lines, names, place)
    lines.most = lines.number + room(shape)
    # NumPy's reader fills a record a row, in C, and minds the number of its columns.
    kind = np.dtype([("before", np.uint8, (place,)), ("label", f"U{_MOST_LABEL + 1}"),
                     ("after", np.uint8, (len(names) - 1 - place,))])  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rows = np.loadtxt(lines, kind, comments=None, delimiter=",", quotechar='"', ndmin=1)
    except UserWarning:
        raise _refused(lines.path, "it has no rows below its header", "add some") from None
    except (ValueError, Warning) as error:
        fault = _fault(_decoded(lines.text), names, place) or str(error)
        raise lines.refused(fault, "mend that line, or delete it") from None
    images_NxP = np.concatenate([rows["before"], rows["after"]], axis=1)
    return Table(images_NxP.reshape(-1, *shape), _labels(lines.path, rows["label"]))


def _decoded(text: str) -> str:
    """UTF-8 of which a character stands for a byte; wrong bytes become what can't be printed."""
    return text.encode("latin-1").decode("utf-8-sig", "surrogateescape")


def _header(lines: _Lines) -> tuple[list[str], int]:
    """The columns' names, and which is the label's. Raises RequestError."""
    try:
        names = [name.strip() for name in next(csv.reader([_decoded(next(lines, ""))]), [])]
    except csv.Error as error:
        raise lines.refused(str(error), "write a header, such as label,pixel0,pixel1") from None
    if not all(map(str.isprintable, names)):
        raise _refused(lines.path, "its header is no text in UTF-8", "save it as CSV in UTF-8")
    if not names:
        raise _refused(lines.path, "it begins with no header",
                       "write one, such as label,pixel0,pixel1")
    if "label" not in names and names[1:] and all(map(_is_pixel, names[1:])):
        above = f"1i label$(seq -s '' -f ,%g {len(names) - 1})"
        raise _refused(lines.path, "its first row holds numbers in place of the columns' names",
                       f'write a header above it (sed -i "{above}" {shlex.quote(lines.path)}), or '
                       "call its first column label")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise lines.refused(f"{len(twice):,} names come more than once, such as {twice[0]!r}",
                            "rename those columns")
    return names, names.index("label") if "label" in names else 0


def _square(lines: _Lines, names: list[str], place: int) -> tuple[int, int, int]:
    """The shape [H, W, C] of a row's pixels. Raises RequestError."""
    count = len(names) - 1
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side and side * side * channels == count:
            return side, side, channels
    taken = "" if names[place] == "label" else " (the first, as none is called label)"
    raise lines.refused(
        f"it names {count:,} columns besides the label's, {names[place]!r}{taken}: neither n² for "
        "grey pictures nor 3n² for colour", "keep the label and the pixels alone",
    )


def _is_pixel(text: str) -> bool:
    found = _PIXEL.fullmatch(text)
    return found is not None and int(found[1]) <= 255


def _fault(text: str, names: list[str], place: int) -> str:
    """What is wrong with a line that NumPy refused, or '' where that isn't seen."""
    cells = next(csv.reader([text]))
    if len(cells) != len(names):
        return f"it has {len(cells):,} fields, and the header {len(names):,}"
    wrong = (f"its {name!r} is {cell!r}, which is no whole number of 0 to 255"
             for number, (name, cell) in enumerate(zip(names, cells, strict=True))
             if number != place and not _is_pixel(cell))  # fmt: skip
    return next(wrong, "")


def _labels(path: str, written_N: np.ndarray) -> np.ndarray:
    """The labels in UTF-8, without spaces around. Raises RequestError for what names no class."""
    names, rows, inverse_N = np.unique(written_N, return_index=True, return_inverse=True)
    labels = [_decoded(name).strip() for name in names.tolist()]
    for written, label, row in zip(names.tolist(), labels, rows.tolist(), strict=True):
        if not label:
            fault = "has no label"
        elif len(written) > _MOST_LABEL:
            fault = f"has a label of more than {_MOST_LABEL} bytes, {label!r}"
        elif not label.isprintable():
            fault = f"has a label that can't be printed, {label!r}"
        else:
            continue
        raise _refused(path, f"row {row + 1} below the header {fault}", "label it with a word")
    return np.array(labels)[inverse_N]
