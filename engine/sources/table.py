"""Pictures as rows of a CSV file: a label and pixels 0..255, as Kaggle's Digit Recognizer has them.

The first row names the columns. `label`, or else the first, is the label's; all others are pixels
in the order H, W, C, as many as a square has in grey (n²) or colour (3n²).
"""

import csv
import functools
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np

from engine.config import Reading
from engine.errors import RequestError, one_line, tell
from engine.sources import cache, image
from engine.sources.dataset import MOST_BYTES, Dataset, Split, asked, fits, refused, regular, room

NAME = "csv"
_SPLITS = ("train", "validation", "test")
_MOST_FILE = 4 * MOST_BYTES  # a pixel is three digits and a comma
_MOST_LINE = 1 << 24
_MOST_LABEL = 63
_PIXEL = re.compile(r"1?[0-9]{1,2}|2[0-4][0-9]|25[0-5]")
_DECODER = 1  # raise it when the same files would decode to other pixels
_refused = functools.partial(refused, NAME)


class _Lines:
    """The lines of a file, of bounded length and number; knows the one it is at.

    A character stands for a byte: NumPy's reader looks others up beyond the end of a C table.
    """

    def __init__(self, path: str, file: TextIO):
        self.path, self.file, self.number = path, file, 0

    def up_to(self, most: int) -> Iterator[str]:
        while text := self.file.readline(_MOST_LINE + 1):
            self.number += 1
            if len(text) > _MOST_LINE or self.number > most:
                raise self.refused("it, or the file, holds more than can be read", "split it")
            if text.count('"') % 2:  # it would swallow the lines that follow
                raise self.refused("a quotation mark is not closed in it", "close it")
            yield text

    def refused(self, reason: str, instead: str) -> RequestError:
        return _refused(self.path, f"line {self.number}: {one_line(reason)}", instead)


def load(path: str, reading: Reading, splits: Sequence[str] | None = None) -> Dataset:
    """Images NxHxWxC uint8 and labels N int32 of the CSV file `path`, the split `train`; or of
    train.csv, and validation.csv and test.csv where they are, in the folder `path`.

    Classes are the labels of all splits: sorted by value where all are integers, else as text.
    Raises RequestError."""
    try:
        files = {"train": path}
        if os.path.isdir(path):
            all_files = {split: os.path.join(path, f"{split}.csv") for split in _SPLITS}
            files = {split: file for split, file in all_files.items()
                     if split == "train" or os.path.lexists(file)}
        seen = {split: regular(file, _MOST_FILE) for split, file in files.items()}
    except (OSError, ValueError) as error:
        raise _refused(path, error, "type the path of a CSV file, or of a folder that holds "
                       "train.csv") from None
    read = functools.cache(functools.partial(_all, files, reading.image_size))

    def decode(split: str) -> tuple[Split, tuple[str, ...]]:
        tell(f"reading {NAME} {split} from {files[split]}")
        found, classes = read()
        return found[split], classes

    key = cache.key(NAME, seen, _DECODER, reading.image_size)
    return cache.dataset(NAME, key, asked(NAME, files, splits), decode)


def _all(files: dict[str, str], image_size: int) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Every split, and the class names. Raises RequestError."""
    tables = {split: _table(file) for split, file in files.items()}
    first = tables["train"].inputs.shape[1:]
    for split, file in files.items():
        shape = tables[split].inputs.shape[1:]
        if shape[2] != first[2] or (shape != first and not image_size):
            raise _refused(file, f"its pictures are {shape}, those of train.csv {first}",
                           "write both alike, or pass --image_size where the sides alone differ")
    if image_size:
        count = sum(len(table.targets) for table in tables.values())
        fits(NAME, count, (image_size, image_size, first[2]))
    names = {label for table in tables.values() for label in table.targets.tolist()}
    numeric = all(re.fullmatch("-?[0-9]+", name) for name in names)
    classes = tuple(sorted(names, key=lambda name: (int(name) if numeric else 0, name)))
    numbers = {name: number for number, name in enumerate(classes)}
    return {
        split: Split(image.resize(images, image_size) if image_size else images,
                     np.array([numbers[label] for label in labels.tolist()], np.int32))
        for split, (images, labels) in tables.items()
    }, classes


def _table(path: str) -> Split:
    """Images uint8 [N, H, W, C], and labels as they are written, [N]. Raises RequestError."""
    try:
        with open(path, encoding="latin-1") as file, warnings.catch_warnings():
            warnings.simplefilter("error")
            lines = _Lines(path, file)
            names, place, shape = _header(lines)
            # NumPy's reader fills a record a row, in C, and minds the number of its columns.
            kind = np.dtype([("before", np.uint8, (place,)), ("label", f"U{_MOST_LABEL + 1}"),
                             ("after", np.uint8, (len(names) - 1 - place,))])  # fmt: skip
            rows = np.loadtxt(lines.up_to(1 + room(shape)), kind, comments=None, delimiter=",",
                              quotechar='"', ndmin=1)
    except OSError as error:
        raise _refused(path, error, "name a file that can be read") from None
    except UserWarning:
        raise _refused(path, "it has no rows below its header", "add some") from None
    except (ValueError, Warning) as error:  # which names the cell and its column, or counts them
        fault = re.sub(r" at row \d+|; use .*|\.$", "", _decoded(str(error)))
        raise lines.refused(fault, "mend that line, or delete it; pixels are whole numbers of 0 to "
                            "255") from None
    images_NxP = np.concatenate([rows["before"], rows["after"]], axis=1)
    return Split(images_NxP.reshape(-1, *shape), _labels(path, rows["label"]))


def _decoded(text: str) -> str:
    """UTF-8 of which a character stands for a byte; wrong bytes become what can't be printed."""
    return text.encode("latin-1").decode("utf-8-sig", "surrogateescape")


def _header(lines: _Lines) -> tuple[list[str], int, tuple[int, int, int]]:
    """The columns' names, which of them is the label's, and the shape [H, W, C] of a picture."""
    try:
        columns = next(csv.reader([_decoded(next(lines.up_to(1), ""))]), [])
    except csv.Error:  # a field that is larger than a name is
        columns = []
    names = [name.strip() for name in columns]
    if not names or not all(map(str.isprintable, names)):
        raise _refused(lines.path, "it begins with no header",
                       "write one, such as label,pixel0,pixel1, in UTF-8")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise _refused(lines.path, f"it names two columns {twice[0]!r}", "name each once")
    if "label" not in names and names[1:] and all(map(_PIXEL.fullmatch, names[1:])):
        raise _refused(lines.path, "its first row holds numbers in place of the columns' names",
                       "write a header above it, or call its first column label")
    place, count = names.index("label") if "label" in names else 0, len(names) - 1
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side and side * side * channels == count:
            return names, place, (side, side, channels)
    raise lines.refused(f"it names {count:,} columns besides the label's, {names[place]!r}: neither"
                        " n² for grey pictures nor 3n² for colour",
                        "keep the label, called `label` or first, and the pixels alone")


def _labels(path: str, written_N: np.ndarray) -> np.ndarray:
    """The labels in UTF-8, without spaces around. Raises RequestError for what names no class."""
    names, rows, inverse_N = np.unique(written_N, return_index=True, return_inverse=True)
    labels = [_decoded(name).strip() for name in names.tolist()]
    for written, label, row in zip(names.tolist(), labels, rows.tolist(), strict=True):
        if not label or len(written) > _MOST_LABEL or not label.isprintable():
            raise _refused(path, f"row {row + 1} below the header has the label {label!r}",
                           f"label it with a word of {_MOST_LABEL} bytes at most")
    return np.array(labels)[inverse_N]
