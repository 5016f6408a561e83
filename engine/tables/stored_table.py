"""A table that stays in its Parquet files: a column is read when it is asked for, or some rows."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.errors import one_line
from engine.sets.limits import refused
from engine.sets.stored import check_unchanged, stamp
from engine.tables import frames, parquet
from engine.tables.dialect import Unreadable

_AT_ONCE = 1 << 18  # rows of parquet.COLUMNS typed together, or as many more as a batch has


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    """Whatever is wrong with a file's content becomes a RequestError that names it."""
    try:
        yield
    except Unreadable as error:
        raise refused("table", path, one_line(error), error.instead) from None


class File(NamedTuple):
    """One of a table's files: where each of its row groups begins, and last where they end; what
    each column is of here, number, date or word, as far as that is known of all its rows, and what
    it is `wanted` to be; and which are `text`, as they are written."""

    path: str
    stamp: tuple[int, int, int]
    starts: tuple[int, ...]
    kinds: Mapping[str, str]
    wanted: Mapping[str, str]
    text: Collection[str]

    def opened(self) -> BinaryIO:
        """Raises RunError where it isn't as it was."""
        check_unchanged(self.path, self.stamp)
        return open(self.path, "rb")

    def column(self, name: str) -> pd.Series:
        """Of all its rows. Raises Unreadable."""
        with _refusing(self.path), self.opened() as file:
            found = parquet.column(file, name, self.text)
            return self._typed(found)[name]

    def frames(
        self, rows: np.ndarray, names: Sequence[str]
    ) -> Iterator[tuple[slice, pd.DataFrame]]:
        """Those of its `rows`, which rise: which of them, and the columns `names`."""
        most, done, ready = parquet.at_once(_AT_ONCE, names), 0, 0
        found: list[pa.RecordBatch] = []
        for batch in self._picked(rows, names):
            found.append(batch)
            ready += batch.num_rows
            if ready - done >= most or ready == len(rows):
                with _refusing(self.path):
                    typed = self._typed(pa.Table.from_batches(found))
                yield slice(done, ready), typed
                found, done = [], ready

    def _picked(self, rows: np.ndarray, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        groups = np.unique(np.searchsorted(self.starts, rows, "right") - 1).tolist()
        before, first = -1, 0
        with _refusing(self.path), self.opened() as file:
            for group, batch in parquet.batches(file, groups, names):
                if group != before:
                    before, first = group, self.starts[group]
                start, stop = np.searchsorted(rows, [first, first + batch.num_rows])
                if stop > start:
                    yield batch.take(pa.array(rows[start:stop] - first))
                first += batch.num_rows
                if first > rows[-1]:
                    return

    def _typed(self, found: pa.Table) -> pd.DataFrame:
        """With each column of the kind that is wanted; what are words in all rows are so in some.
        """
        text = {name for name in found.column_names
                if name in self.text or self.kinds.get(name) == "word"}
        brought = {name: frames.brought(column, self.wanted.get(name, ""), self.path)
                   for name, column in frames.of(found, text).items()}
        return pd.DataFrame(brought, copy=False)


class StoredTable:
    """A table of N rows that lies in files, in the place of a DataFrame: the columns `columns` of
    the rows `order` of all `files`, numbered one after another. `reason` is why it isn't in memory;
    `hashes` are of each row, uint64 [N], where they are known. It can be pickled; what is open
    stays behind."""

    def __init__(self, files: tuple[File, ...], columns: Sequence[str], order: np.ndarray,
                 reason: str, hashes: np.ndarray | None = None):
        self.files, self.columns, self.order = files, tuple(columns), order
        self.reason, self.hashes = reason, hashes

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    @property
    def stamp(self) -> bytes:
        """A digest of the columns' names and of its files' names, sizes and times."""
        files = [[os.path.basename(file.path), *file.stamp[:2]] for file in self.files]
        return hashlib.sha256(json.dumps([self.columns, files]).encode()).digest()

    @property
    def kinds(self) -> Mapping[str, str]:
        """What columns are of, or are wanted to be: number, date or word, where that is known."""
        return {**self.files[0].kinds, **self.files[0].wanted}

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), len(self.columns)

    def __getitem__(self, name: str) -> pd.Series:
        if name not in self.columns:
            raise KeyError(name)
        every = [file.column(name) for file in self.files]
        whole = pd.concat(every, ignore_index=True) if every[1:] else every[0]
        return whole.take(self.order)

    def get(self, name: str) -> pd.Series | None:
        """The column, if there is one of that name."""
        return self[name] if name in self.columns else None

    def drop(self, columns: Any, errors: str = "raise") -> "StoredTable":
        """Without them, as a DataFrame's own; `errors` is its way to say that they may lack."""
        gone = {columns} if isinstance(columns, str) else {*columns}
        kept = [name for name in self.columns if name not in gone]
        return StoredTable(self.files, kept, self.order, self.reason)

    def of_kinds(self, wanted: Mapping[str, str], apart: Sequence[str]) -> "StoredTable":
        """The columns that are `wanted` as numbers, dates or words; and as they are those of
        `apart` that it has."""
        files = tuple(file._replace(kinds=dict(wanted), wanted=dict(wanted)) for file in self.files)
        names = [*wanted, *(name for name in apart if name in self.columns)]
        return StoredTable(files, names, self.order, self.reason)

    def take(self, rows: Any, hashes: np.ndarray | None = None) -> "StoredTable":
        """Those rows, in that order, whose `hashes` may be known."""
        return StoredTable(self.files, self.columns, self.order[rows], self.reason, hashes)

    def joined(self, parts: Sequence[tuple[Any, np.ndarray]]) -> "StoredTable":
        """Rows of several, one after another."""
        files = tuple(file for table, _ in parts for file in table.files)
        counts = [sum(file.starts[-1] for file in table.files) for table, _ in parts]
        firsts = np.cumsum([0, *counts[:-1]])
        order = [table.order[rows] + first
                 for (table, rows), first in zip(parts, firsts, strict=True)]
        hashes = [table.hashes[rows] for table, rows in parts if table.hashes is not None]
        return StoredTable(files, self.columns, np.concatenate(order), self.reason,
                           np.concatenate(hashes) if len(hashes) == len(parts) else None)

    def frames(self, rows: np.ndarray, names: Sequence[str]) -> Iterator[tuple[np.ndarray, Any]]:
        """Those rows, a part of them at a time: which of `rows`, and a DataFrame of the columns
        `names`. Raises RunError where a file isn't as it was."""
        wanted = self.order[rows]
        place = np.argsort(wanted, kind="stable")
        rising, first = wanted[place], 0
        for file in self.files:
            start, stop = np.searchsorted(rising, [first, first + file.starts[-1]])
            for part, found in file.frames(rising[start:stop] - first, names):
                yield place[start:stop][part], found
            first += file.starts[-1]


def of(
    path: str, file: BinaryIO, names: Sequence[str], reason: str, text: Collection[str],
    words: Collection[str],
) -> StoredTable:
    """The columns `names` in a file that is open: those of `text` as they are written, those of
    `words` words. Raises Unreadable."""
    starts = parquet.starts(file, names)
    if not starts[-1]:
        raise Unreadable("it has no rows", "add some")
    one = File(os.path.abspath(path), stamp(os.fstat(file.fileno())), tuple(starts),
               parquet.kinds(file) | dict.fromkeys({*words}.intersection(names), "word"), {}, text)
    return StoredTable((one,), names, np.arange(starts[-1]), reason)
