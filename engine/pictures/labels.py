"""A table of pictures' labels: a column of files, one of labels, one of splits if there is one.

Its names are only ever looked up among the pictures that were found: none is opened for it.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.errors import some
from engine.sets.limits import refused, regular
from engine.sets.names import columns_in
from engine.sets.splits import split_of
from engine.tables import delimited, dialect, frames, target

_FILES = ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "img",
          "picture", "image_name", "image_path", "img_path", "image_id", "id_code",
          "id")  # fmt: skip
_SPLITS = ("split", "subset", "set", "partition")
_MOST_BYTES = 1 << 30
_INSTEAD = "name a CSV file with the columns file and label"


class Row(NamedTuple):
    """Of each column that is learned its label; these, `split` and `group` are "" where there is
    none."""

    file: str
    labels: tuple[str, ...]
    split: str
    group: str


class Table(NamedTuple):
    """Its rows, the labels' columns, that of groups or "", and sentences on how it was read."""

    rows: list[Row]
    columns: tuple[str, ...]
    group: str
    notes: tuple[str, ...]


def read(path: str, label: str, group: str, pictures: Iterable[str]) -> Table:
    """The table at `path`: its column `label`, or several by commas, or one usually called so, is
    the label; its column `group`, if that is asked for and there. The first row names the columns,
    unless it names one of the `pictures`. Raises RequestError."""
    known = {_plain(_stem(name)) for name in pictures}
    try:
        regular(path, _MOST_BYTES)
        with open(path, "rb") as file:
            written = dialect.of(file, label)
            if any(_plain(_stem(name.replace("\\", "/"))) in known for name in written.names):
                named = ("file", "label", "split")[: len(written.names)]
                written = written._replace(header=False, names=named)
            every, written = delimited.read(file, written, written.names, (), _MOST_BYTES)
    except dialect.Unreadable as error:
        raise refused("labels", path, error, error.instead) from None
    except (OSError, ValueError) as error:
        raise refused("labels", path, error, _INSTEAD) from None
    group = group if group in written.names else ""
    files, learned, *others = _columns(path, list(written.names), label, group)
    cells = [[""] * every.num_rows if name is None else
             [(cell or "").strip() for cell in every.column(name).to_pylist()]
             for name in (files, *others, *learned)]
    rows = [Row(name.replace("\\", "/"), tuple(map(written.marks.pointed, own)),
                split_of(split) or split, among)
            for name, split, among, *own in zip(*cells, strict=True)]
    told = (f"labels are the column{'s' * (len(learned) > 1)} {frames.listed(learned)} of "
            f"{os.path.basename(path)}, files {files!r}")
    if not written.header:
        told += " (it has no header: its first row names a picture)"
    notes = [f"{os.path.basename(path)}: {note}" for note in written.notes() if written.header]
    return Table(rows, learned, group, (told, *notes))


def _columns(
    path: str, names: list[str], label: str, group: str
) -> tuple[str, tuple[str, ...], str | None, str | None]:
    """Those of the file, the labels, the split and the group."""
    for asked in columns_in(label, names):
        if asked not in names:
            raise target.lacking(names, asked)
    folded = {name.casefold(): name for name in reversed(names)}
    split = next((folded[word] for word in _SPLITS if word in folded), None)
    learned = target.named(names, label)
    file = next((folded[word] for word in _FILES if folded.get(word) not in (None, *learned)), None)
    left = [name for name in names if name not in (file, *learned, split, group)]
    first = min(map(names.index, learned), default=len(names))
    if file is None and left and names.index(left[0]) < first:
        file = left.pop(0)
    if not learned and len(left) == 1:
        learned = (left.pop(),)
    if file is None or not learned:
        raise refused("labels", path, f"its columns are {some(names)}: which of them is "
                      "the label, or the file, isn't plain", "call them file and label, or type "
                      "--target COLUMN for the label's")
    return file, learned, split, group or None


def matched(
    path: str, table: Table, pictures: list[str], beside: str
) -> tuple[dict[str, Row], tuple[str, ...]]:
    """Picture → its row, and sentences for the user. A row's file is a name in the folder `beside`
    it, or from the root, or the last part of one, with its ending or without, where that is
    one picture's alone and the folder that the row names holds no pictures. Raises RequestError for
    rows that contradict each other, lead out of the folder, or name none of the pictures."""
    known, table_name = _known(pictures), os.path.basename(path)
    folders = {os.path.dirname(_plain(name)) for name in pictures}
    members: dict[str, Row] = {}
    missing, twice = [], 0
    for row in table.rows:
        name = _picture(path, row.file, known, folders, beside)
        if name is None:
            missing.append(row.file)
        elif name not in members:
            members[name] = row
        elif members[name][1:] == row[1:]:
            twice += 1
        else:
            raise refused("labels", path, f"{row.file!r} is {_told(members[name])} in one row and "
                          f"{_told(row)} in another, or in two splits", "keep one of them")
    if not members:
        such = f", such as {missing[0]!r}" if missing else ""
        raise refused("labels", path, f"it names none of the {len(pictures):,} pictures{such}",
                      "name them as they lie in the folder")
    unlisted = [name for name in pictures if name not in members]
    notes = [*table.notes]
    for names, what in ((missing, "files of it are not there"),
                        (unlisted, "pictures are not in it, and left out")):
        if names:
            notes.append(f"{table_name}: {len(names):,} {what}, {min(names)!r} for one")
    if twice:
        notes.append(f"{table_name}: {twice:,} rows repeat another")
    return members, tuple(notes)


def _told(row: Row) -> str:
    return " and ".join(map(repr, row.labels))


def learned(
    path: str, table: Table, rows: Mapping[str, list[Row]]
) -> tuple[target.Target, dict[str, np.ndarray]]:
    """What the rows of each split teach, as a table's do; and their groups, {} without any. Raises
    RequestError."""
    try:
        labels = {split: {name: _words(row.labels[at] for row in own)
                          for at, name in enumerate(table.columns)} for split, own in rows.items()}
        count = {split: len(own) for split, own in rows.items()}
        groups = {split: _words(row.group for row in own) for split, own in rows.items()}
        return (target.learned(table.columns, labels, count),
                frames.groups(groups if table.group else {}))
    except dialect.Unreadable as error:
        raise refused("labels", path, error, error.instead) from None


def _words(cells: Iterable[str]) -> pd.Series:
    return pd.Series([cell or None for cell in cells], dtype="category")


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


def _picture(
    path: str, file: str, known: dict[str, str | None], folders: set[str], beside: str
) -> str | None:
    """The one picture that `file` names, or None."""
    if file.startswith("/") or file[1:2] == ":" or ".." in file.split("/"):
        raise refused("labels", path, f"{file!r} leads out of the folder", "name files as they lie "
                      "in it")
    plain = _plain(file.removeprefix("./"))
    names = [_plain(beside) + plain, plain]
    if folders.isdisjoint(map(os.path.dirname, names)):  # else train/1.png would be test/1.png
        names.append(os.path.basename(plain))
    for name in names:
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
