"""The files of a table, made alike: the same columns by name, of the same kinds."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from engine.config import Reading
from engine.errors import one_line
from engine.sets.limits import MOST_BYTES, free_bytes, refused, regular
from engine.sets.names import TABLE, columns_in
from engine.sets.tabular import is_stored
from engine.tables import delimited, dialect, frames, parquet, pixels, stored_table
from engine.tables.dialect import Dialect, Marks, Unreadable
from engine.tables.frames import kind, listed

_MOST_FILE = 4 * MOST_BYTES  # a pixel is three digits and a comma; Parquet may be streamed


class Sheet(NamedTuple):
    """A file's columns, a DataFrame or a StoredTable, its rows as they lie there; what to say of
    it, and the names of those that were left out, as asked."""

    file: str
    columns: Any
    notes: list[str]
    left_out: tuple[str, ...] = ()


def read(
    path: str, reading: Reading, learned: Callable[[list[str]], Collection[str]], reason: str = "",
    text: Collection[str] = (), wanted: Collection[str] | None = None,
) -> Sheet:
    """One file, without the columns to leave out, and without an index of pandas that is none of
    those `wanted`; None keeps all. Of the others those of `text`, that which is `learned` and the
    groups are left as they are written; all of them lie in the file where there is a `reason` not
    to hold them. Raises RequestError."""
    columns: Any
    notes: list[str] = []
    with _opened(path) as (file, is_parquet):
        written = None if is_parquet else dialect.of(file, reading.target)
        names, index = (written.names, ()) if written else parquet.names(file)
        left_out = columns_in(reading.leave_out, names)
        vain = [] if wanted is None else [
            name for name in index if name not in (*wanted, *left_out)]
        kept = [name for name in names if name not in (*vain, *left_out)]
        learns = [name for name in learned(kept) if name in kept] if kept else []
        as_written = {*learns, reading.group, *text}.intersection(kept)
        if reason:
            columns = stored_table.of(path, file, kept, reason, as_written, text)
        elif not written:
            columns = frames.of(
                parquet.read(file, kept, free_bytes(times=2), as_written), as_written)
        else:
            columns, notes = _delimited(file, written, kept, reading, as_written, learns)
    if vain:
        notes = [*notes, f"the index that pandas wrote into the file is left out: {listed(vain)}"]
    gone = tuple(name for name in names if name in left_out)
    return Sheet(path, *_without_index(columns, notes), gone)


def names_of(path: str, reading: Reading) -> tuple[str, ...]:
    """Of one file's columns. Raises RequestError."""
    with _opened(path) as (file, is_parquet):
        return tuple(parquet.names(file)[0]) if is_parquet else \
            dialect.of(file, reading.target).names


def cells(path: str, name: str, reading: Reading) -> list[str]:
    """Those of one file's column `name`: of CSV to the letter, of Parquet as Python writes what
    they are, empty where there is none. Raises RequestError."""
    with _opened(path) as (file, is_parquet):
        if is_parquet:
            found = parquet.column(file, name, ()).column(name)
            return [cell or "" for cell in frames.written(found)]
        return delimited.cells(file, dialect.of(file, reading.target), name, free_bytes(times=2))


@contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, bool]]:
    """The file, and whether it is Parquet. What is wrong with it becomes a RequestError."""
    try:
        is_parquet = path.lower().endswith(dialect.PARQUET)
        before = regular(path, sys.maxsize if is_parquet else _MOST_FILE)
        if path.lower().endswith(dialect.OTHERS):
            raise Unreadable(f"a file that ends in {os.path.splitext(path)[1]} is none that is "
                             "read", f"save it as {' or '.join(dialect.TABLES)}")
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
        raise refused(TABLE, path, one_line(error), error.instead) from None
    except (OSError, ValueError) as error:
        raise refused(TABLE, path, error, "type the path of a CSV or Parquet file, or of a folder "
                      "that holds train.csv") from None


def _delimited(
    file: BinaryIO, written: Dialect, kept: list[str], reading: Reading, text: Collection[str],
    learned: Collection[str],
) -> tuple[pd.DataFrame, list[str]]:
    """The columns `kept` of a CSV file that is `written` so, of which some are `learned`, and how
    it turned out to be written. Raises Unreadable."""
    if len(kept) < len(written.names):
        written = written._replace(wanted=tuple(kept))
    others = [name for name in kept if name not in text]
    may_be_pixels = others if reading.pixels or pixels.likely(others) else ()
    table, written = delimited.read(file, written, text, may_be_pixels, free_bytes(times=2))
    columns = frames.of(table, text, written.marks.pointed)
    for name in learned if written.marks != Marks() else ():  # text, whose numbers are read later
        pointed = columns[name].map(written.marks.pointed, na_action="ignore")
        columns[name] = pointed.astype("category")
    return columns, written.notes()


def _without_index(columns: Any, notes: list[str]) -> tuple[Any, list[str]]:
    """Without columns that have no name and number the rows, or are empty."""
    for name in list(columns):
        if name.startswith(frames.NAMELESS):
            values = columns[name]
            empty = bool(values.isna().all())
            if empty or frames.kind(values) == "number" and _counts(values):
                columns = columns.drop(columns=name)
                what = "is empty" if empty else "numbers the rows"
                notes = [*notes, f"a column without a name {what} and is left out"]
    return columns, notes


def _counts(values: pd.Series) -> bool:
    """Whether they are 0, 1, 2, … or 1, 2, 3, …"""
    numbers = values.to_numpy(np.float64)
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def kinds(sheet: Sheet, apart: tuple[str, ...]) -> dict[str, str]:
    """What each of its columns is of, but for those `apart`: number, date or word."""
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
        stored = columns.of_kinds(wanted, apart)
        for _ in stored.frames(np.arange(len(stored)), list(wanted)) if sheet is not first else ():
            pass  # which tells of what can't be brought to these kinds
        return sheet._replace(columns=stored, notes=notes)
    found = {name: frames.brought(columns[name], wanted[name], sheet.file) for name in wanted}
    found |= {name: columns[name] for name in apart if name in columns}
    return sheet._replace(columns=pd.DataFrame(found, copy=False), notes=notes)


def _name(sheet: Sheet) -> str:
    return os.path.basename(sheet.file)
