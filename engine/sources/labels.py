"""A table of pictures' labels: a column of files, one of labels, one of splits if there is one.

Its names are only ever looked up among the pictures that were found: none is opened for it.
"""

import csv
import math
import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from engine.errors import one_line, unknown
from engine.sources.dataset import MOST_EXAMPLES, refused, regular
from engine.sources.layout import split_of

NAME = "labels.csv"
_FILES = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "img",
          "picture", "image_name", "image_path", "img_path", "image_id", "id_code",
          "id")  # fmt: skip
_LABELS = ("label", "target", "class", "y", "labels", "class_name", "category")
_SPLITS = ("split", "subset", "set", "partition")
_MOST_FILE = 1 << 30
_MOST_LINE = 1 << 16
_NONE = {"", "nan", "<na>", "null"}  # no label, as pandas writes it


class Row(NamedTuple):
    """`label` is "" where there is none; `split` is "" where the table says nothing of it."""

    file: str
    label: str
    split: str


class Table(NamedTuple):
    """Its rows, the label's column, and a sentence on what was taken from which."""

    rows: list[Row]
    column: str
    note: str


def read(path: str, target: str, pictures: Iterable[str]) -> Table:
    """The table at `path`: its column `target`, or one usually called so, is the label. The first
    row names the columns, unless it names one of the `pictures`. Raises RequestError."""
    try:
        regular(path, _MOST_FILE)
        text, encoding = _opened(path)
        with text as file:
            first = file.readline(_MOST_LINE)
            file.seek(0)
            separator = max(",;\t|", key=first.count)
            rows = [[cell.strip() for cell in row]
                    for row in csv.reader(_lines(file), delimiter=separator) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise refused("labels", path, one_line(getattr(error, "strerror", None) or error),
                      "name a CSV file with the columns file and label") from None
    if not rows:
        raise refused("labels", path, "it is empty", "write a row a picture: file,label")
    known = {_stem(name) for name in pictures}
    headless = any(_stem(cell.replace("\\", "/")) in known for cell in rows[0])
    head = ["file", "label", "split"][: len(rows[0])] if headless else rows.pop(0)
    named, label, split = _columns(path, head, target)
    for number, row in enumerate(rows, 2 - headless):
        if len(row) != len(head):
            raise refused("labels", path, f"row {number} has {len(row)} columns, its first row "
                          f"{len(head)}", "write as many in each")
    told = (f"labels are the column {head[label]!r} of {os.path.basename(path)}, files "
            f"{head[named]!r}")
    if headless:
        told += " (it has no header: its first row names a picture)"
    if encoding != "utf-8-sig":
        told += "; it is no UTF-8, and read as Latin-1"
    return Table([Row(row[named].replace("\\", "/"), _label(row[label]),
                      "" if split is None else split_of(row[split]) or row[split])
                  for row in rows], head[label], told)  # fmt: skip


def _opened(path: str) -> tuple[TextIO, str]:
    """The text, and its encoding: UTF-8, else Latin-1, which any bytes are."""
    with open(path, "rb") as file:
        try:
            for line in iter(lambda: file.readline(_MOST_LINE), b""):
                line.decode()
            encoding = "utf-8-sig"
        except UnicodeDecodeError:
            encoding = "latin-1"
    return open(path, encoding=encoding, newline=""), encoding


def _lines(file: TextIO) -> Iterator[str]:
    """Its lines, of bounded length and number."""
    for number in range(2 + MOST_EXAMPLES):
        if not (line := file.readline(_MOST_LINE + 1)):
            return
        if len(line) > _MOST_LINE or number > MOST_EXAMPLES:
            raise ValueError(f"line {number + 1}: it, or the file, holds more than can be read")
        yield line


def _columns(path: str, head: list[str], target: str) -> tuple[int, int, int | None]:
    """Where file, label and split stand."""
    plain = [name.casefold() for name in head]
    if len(set(head)) < len(head):
        raise refused("labels", path, f"two of its columns are called alike: {', '.join(head)}",
                      "name each once")
    if target and target not in head:
        raise unknown(f"column of {path}", target, head)
    split = _first(_SPLITS, plain)
    label = head.index(target) if target else _first(_LABELS, plain)
    file = next((plain.index(name) for name in _FILES
                 if name in plain and plain.index(name) != label), None)
    left = [place for place in range(len(head)) if place not in (file, label, split)]
    if file is None and left and (label is None or left[0] < label):
        file = left.pop(0)
    if label is None and len(left) == 1:
        label = left.pop()
    if file is None or label is None:
        raise refused("labels", path, f"its columns are {', '.join(head)}: which of them is the "
                      "label, or the file, isn't plain", "call them file and label, or type "
                      "--target COLUMN for the label's")
    return file, label, split


def _first(names: Iterable[str], plain: list[str]) -> int | None:
    return next((plain.index(name) for name in names if name in plain), None)


def _label(text: str) -> str:
    return "" if text.casefold() in _NONE else text


def fractions(labels: Iterable[str]) -> bool:
    """Whether all are finite numbers, and not all of them whole: quantities, not classes."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return False
    return all(map(math.isfinite, numbers)) and not all(map(float.is_integer, numbers))


def matched(
    path: str, table: Table, pictures: list[str], beside: str
) -> tuple[dict[str, Row], tuple[str, ...]]:
    """Picture → its row, and sentences for the user. A row's file is a name in the folder `beside`
    it, or from the root, or the last part of one, with its ending or without, where that is
    one picture's alone. Raises RequestError for rows that contradict each other, lead out of the
    folder, or name none of the pictures."""
    known, table_name = _known(pictures), os.path.basename(path)
    members: dict[str, Row] = {}
    missing, twice = [], 0
    for row in table.rows:
        name = _picture(path, row.file, known, beside)
        if name is None:
            missing.append(row.file)
        elif name not in members:
            members[name] = row
        elif members[name][1:] == row[1:]:
            twice += 1
        else:
            raise refused("labels", path, f"{row.file!r} is {members[name].label!r} in one row and "
                          f"{row.label!r} in another, or in two splits", "keep one of them")
    if not members:
        some = f", such as {missing[0]!r}" if missing else ""
        raise refused("labels", path, f"it names none of the {len(pictures):,} pictures{some}",
                      "name them as they lie in the folder")
    unlisted = [name for name in pictures if name not in members]
    notes = [table.note]
    for names, what in ((missing, "files of it are not there"),
                        (unlisted, "pictures are not in it, and left out")):
        if names:
            notes.append(f"{table_name}: {len(names):,} {what}, {min(names)!r} for one")
    if twice:
        notes.append(f"{table_name}: {twice:,} rows repeat another")
    return members, tuple(notes)


def _known(pictures: list[str]) -> dict[str, str | None]:
    """What each picture may be called → its name; None where several are. The longest come first,
    so that a/x.png is itself, whatever lies in b/a/."""
    known: dict[str, str | None] = {}
    for shortened in (str, _unended, os.path.basename, _stem):
        found: dict[str, str | None] = {}
        for name in pictures:
            short = _plain(shortened(name))
            found[short] = None if short in found else name
        known = {**found, **known}
    return known


def _picture(path: str, file: str, known: dict[str, str | None], beside: str) -> str | None:
    """The one picture that `file` names, or None."""
    if file.startswith("/") or file[1:2] == ":" or ".." in file.split("/"):
        raise refused("labels", path, f"{file!r} leads out of the folder", "name files as they lie "
                      "in it")
    plain = _plain(file.removeprefix("./"))
    for name in (_plain(beside) + plain, plain, os.path.basename(plain)):
        if name in known:
            if known[name] is None:
                raise refused("labels", path, f"{file!r} may be several pictures",
                              "name it with its folder and its ending")
            return known[name]
    return None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _unended(name: str) -> str:
    return os.path.splitext(name)[0]


def _stem(name: str) -> str:
    return _unended(os.path.basename(name))
