"""The files of a table, made alike: the same columns by name, of the same kinds."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from engine.config import Reading
from engine.errors import one_line
from engine.sources import delimited, dialect, frames, parquet, pixels, stored_table
from engine.sources.dataset import MOST_BYTES, is_stored, refused, regular
from engine.sources.dialect import Unreadable
from engine.sources.frames import kind, listed

NAME = "table"
MOST_FEATURES = 1 << 14
_MOST_FILE = 4 * MOST_BYTES  # a pixel is three digits and a comma; Parquet may be streamed
_LEAST_ROWS = 10  # of which fewer can rise by chance
_NAMELESS = "Unnamed: ", "__index_level_"  # as a dialect and pandas call them


class Sheet(NamedTuple):
    """A file's columns, a DataFrame or a StoredTable, its rows as they lie there; what to say of
    it, and the names of those that were left out, as asked."""

    file: str
    columns: Any
    notes: list[str]
    left_out: tuple[str, ...] = ()


def read(
    path: str, reading: Reading, learned: Callable[[list[str]], str | None], reason: str = "",
    text: Collection[str] = (),
) -> Sheet:
    """One file, without the columns to leave out. Of the others those of `text`, and of a CSV file
    that which is `learned` and the groups, are left as they are written; all of them lie in the
    file where there is a `reason` not to hold them. Raises RequestError."""
    columns: Any
    notes: list[str] = []
    with _opened(path) as (file, is_parquet):
        names = _names(file, is_parquet, reading)
        kept = [name for name in names if name not in reading.left_out]
        if reason:
            columns = stored_table.of(path, file, kept, reason, text)
        elif is_parquet:
            columns = frames.of(parquet.read(file, kept, frames.room()), text)
        else:
            text = {learned(kept) or "", reading.group, *text}.intersection(kept)
            columns, notes = _delimited(file, kept, reading, text)
    gone = tuple(name for name in names if name in reading.left_out)
    return Sheet(path, *_without_index(columns, notes), gone)


def names_of(path: str, reading: Reading) -> tuple[str, ...]:
    """Of one file's columns. Raises RequestError."""
    with _opened(path) as (file, is_parquet):
        return _names(file, is_parquet, reading)


def _names(file: BinaryIO, is_parquet: bool, reading: Reading) -> tuple[str, ...]:
    return parquet.names(file) if is_parquet else dialect.of(file, reading.target).names


def cells(path: str, name: str, reading: Reading) -> list[str]:
    """Those of one file's column `name`: of CSV to the letter, of Parquet as Python writes what
    they are, empty where there is none. Raises RequestError."""
    with _opened(path) as (file, is_parquet):
        if is_parquet:
            return [cell or "" for cell in frames.written(parquet.column(file, name).column(name))]
        return delimited.cells(file, dialect.of(file, reading.target), name, frames.room())


@contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, bool]]:
    """The file, and whether it is Parquet. What is wrong with it becomes a RequestError."""
    try:
        is_parquet = path.lower().endswith(parquet.ENDINGS)
        before = regular(path, sys.maxsize if is_parquet else _MOST_FILE)
        # Not to wait, if it has become a pipe meanwhile.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            is_parquet = is_parquet or file.read(4) == b"PAR1"
            file.seek(0)
            yield file, is_parquet
            after = os.fstat(file.fileno())
        if any(getattr(before, field) != getattr(after, field)
               for field in ("st_ino", "st_size", "st_mtime_ns")):
            raise Unreadable("it changed while it was read", "try again once it is whole")
    except Unreadable as error:
        raise refused(NAME, path, one_line(error), error.instead) from None
    except (OSError, ValueError) as error:
        raise refused(NAME, path, error, "type the path of a CSV or Parquet file, or of a folder "
                      "that holds train.csv") from None


def _delimited(file: BinaryIO, kept: list[str], reading: Reading,
               text: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """The columns `kept` of a CSV file, and how it is written. Raises Unreadable."""
    file.seek(0)
    written = dialect.of(file, reading.target)
    if len(kept) < len(written.names):
        written = written._replace(wanted=tuple(kept))
    others = [name for name in kept if name not in text]
    may_be_pixels = others if reading.pixels or pixels.likely(others) else ()
    table, written = delimited.read(file, written, text, may_be_pixels, frames.room())
    return frames.of(table, text), written.notes()


def _without_index(columns: Any, notes: list[str]) -> tuple[Any, list[str]]:
    """Without columns that have no name and number the rows, or are empty."""
    for name in list(columns):
        if name.startswith(_NAMELESS):
            values = columns[name]
            empty = bool(values.isna().all())
            if empty or frames.kind(values) == "numbers" and _counts(values):
                columns = columns.drop(columns=name)
                what = "is empty" if empty else "numbers the rows"
                notes = [*notes, f"a column without a name {what} and is left out"]
    return columns, notes


def _counts(values: pd.Series) -> bool:
    """Whether they are 0, 1, 2, … or 1, 2, 3, …"""
    numbers = values.to_numpy(np.float64)
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def kinds(sheet: Sheet, apart: tuple[str, ...]) -> dict[str, str]:
    """What each of its columns holds, but for those `apart`: numbers, dates or words."""
    columns = sheet.columns
    known = columns.kinds if is_stored(columns) else {}
    return {name: known.get(name) or kind(columns[name]) for name in columns if name not in apart}


def alike(sheet: Sheet, first: Sheet, wanted: Mapping[str, str], apart: tuple[str, ...]) -> Sheet:
    """The sheet with the columns of the `first` one that are `wanted`, of these kinds and in this
    order, and those of `apart` it has. Raises Unreadable for columns that it lacks, or that are
    words or dates in one of both only."""
    if missing := [name for name in wanted if name not in sheet.columns]:
        raise Unreadable(f"{_name(sheet)} lacks {len(missing):,} of the {len(wanted):,} columns of "
                         f"{_name(first)}: {listed(missing)}", "give both the same columns")
    notes, columns = list(sheet.notes), sheet.columns
    if extra := [name for name in columns if name not in first.columns]:
        notes.append(f"columns that {_name(first)} lacks are left out: {listed(extra)}")
    if is_stored(columns):
        own = wanted if sheet is first else kinds(sheet, (*apart, *extra))
        stored = columns.of_kinds(own, wanted, apart)
        for _ in stored.frames(np.arange(len(stored)), list(wanted)) if sheet is not first else ():
            pass  # which tells of what can't be brought to these kinds
        return sheet._replace(columns=stored, notes=notes)
    found = {name: frames.brought(columns[name], wanted[name], sheet.file) for name in wanted}
    found |= {name: columns[name] for name in apart if name in columns}
    return sheet._replace(columns=pd.DataFrame(found, copy=False), notes=notes)


def _name(sheet: Sheet) -> str:
    return os.path.basename(sheet.file)


def doubtful(columns: Any) -> list[str]:
    """Of the columns that are learned from: how many of each kind, those of one value, and those
    that rise with the rows of the file, as an id does. Raises Unreadable for free text."""
    if not columns.shape[1]:
        raise Unreadable("it has no column besides the one that is learned", "add some")
    if columns.shape[1] > MOST_FEATURES:
        raise Unreadable(f"it has {columns.shape[1]:,} columns that are no pixels, more than the "
                         f"{MOST_FEATURES:,} that can be judged one by one", "leave some out")
    kinds: Counter[str] = Counter()
    texts, strays, constant, rising, nameless = [], [], [], [], []
    for name in columns:
        column = columns[name]  # read now, perhaps
        kinds[kind(column)] += 1
        if _is_text(column):
            texts.append(name)
        if stray := _stray(column):
            strays.append(f"the column {name!r} is of words, as these are no numbers: {stray}")
        if _is_constant(column):
            constant.append(name)
        elif _rises(column):
            rising.append(f"{name!r} ({column.iloc[0]:.15g} to {column.iloc[-1]:.15g})")
        elif name.startswith(_NAMELESS) and _is_index(column):
            nameless.append(name)
    if texts:
        raise Unreadable(f"its {'columns hold' if texts[1:] else 'column holds'} free text: "
                         f"{listed(texts)}", f"leave it out, --leave_out {','.join(texts)}, or "
                         "name the one to learn, --target COLUMN")
    notes = ["its columns: " + ", ".join(f"{count:,} of {what}" for what, count in kinds.items()),
             *strays]
    if constant:
        notes.append(f"columns of one value teach nothing: {listed(constant)}")
    if rising:
        notes.append(f"columns that rise from row to row look like an id: {', '.join(rising[:5])}; "
                     "leave them out if they are, by --leave_out")
    if nameless:
        notes.append("columns without a name, of another whole number in every row, look like an "
                     f"index: {listed(nameless)}; leave them out if they are, by --leave_out")
    return notes


def _is_constant(column: pd.Series) -> bool:
    """Whether its cells that aren't empty have one value, or there are none."""
    if kind(column) == "words":
        return len(column.cat.categories) <= 1
    return bool(column.isna().all() or column.min() == column.max())


def _stray(column: pd.Series) -> str:
    """Words of a column that are no numbers, where most are."""
    if kind(column) != "words":
        return ""
    words = column.cat.categories
    none = np.isnan(frames.numbers_of(words))
    return listed(words[none]) if 2 * none.sum() <= len(words) else ""


def _rises(column: pd.Series) -> bool:
    if kind(column) != "numbers" or len(column) < _LEAST_ROWS:
        return False
    numbers = column.to_numpy(np.float64)  # bytes' differences wrap around
    return bool((np.diff(numbers) > 0).all() and (numbers == np.floor(numbers)).all())


def _is_index(column: pd.Series) -> bool:
    """Whether they are whole numbers, each once: those of rows that were mixed or chosen."""
    if kind(column) != "numbers" or len(column) < _LEAST_ROWS:
        return False
    numbers = column.to_numpy(np.float64)
    return bool((numbers == np.floor(numbers)).all()) and column.is_unique


def _is_text(column: pd.Series) -> bool:
    """Whether most rows have words of their own, of which some are sentences."""
    if kind(column) != "words":
        return False
    words = column.cat.categories
    if len(words) <= max(_LEAST_ROWS, column.count() / 2):
        return False
    return sum(word.count(" ") for word in words) >= 2 * len(words)
