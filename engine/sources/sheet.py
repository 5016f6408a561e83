"""The files of a table, made alike: the same columns by name, of the same kinds; and what to say of
them."""

import os
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.sources import frames
from engine.sources.dialect import Unreadable
from engine.sources.frames import kind, listed

MOST_FEATURES = 1 << 14
_LEAST_ROWS = 10  # of which fewer can rise by chance


class Sheet(NamedTuple):
    """A file's columns, its rows as they lie there; and what to say of it."""

    file: str
    columns: pd.DataFrame
    notes: list[str]


def alike(sheet: Sheet, first: Sheet, apart: tuple[str, ...]) -> Sheet:
    """The sheet with the columns of the `first` one, in its order, and those of `apart` it has.
    Raises Unreadable for columns that it lacks, or that are words or dates in one of both only."""
    wanted = [name for name in first.columns if name not in apart]
    if missing := [name for name in wanted if name not in sheet.columns]:
        raise Unreadable(f"{_name(sheet)} lacks {len(missing):,} of the {len(wanted):,} columns of "
                         f"{_name(first)}: {listed(missing)}", "give both the same columns")
    notes, columns = list(sheet.notes), sheet.columns
    if extra := [name for name in columns if name not in first.columns]:
        notes.append(f"columns that {_name(first)} lacks are left out: {listed(extra)}")
    found = {name: _as(columns[name], first.columns[name], sheet) for name in wanted}
    found |= {name: columns[name] for name in apart if name in columns}
    return Sheet(sheet.file, pd.DataFrame(found, copy=False), notes)


def _name(sheet: Sheet) -> str:
    return os.path.basename(sheet.file)


def _as(column: pd.Series, like: pd.Series, sheet: Sheet) -> pd.Series:
    """The column as one of the other's kind: empty cells are of any, and numbers may be words."""
    if kind(column) == kind(like):
        return column
    if column.isna().all():
        return column.astype(object).astype(like.dtype)
    if kind(column) == "numbers" and kind(like) == "words":
        words = column.map(lambda x: np.nan if np.isnan(x) else f"{x:.15g}")
        return words.astype("category")
    raise Unreadable(f"the column {column.name!r} of {_name(sheet)} holds {kind(column)}, and "
                     f"{kind(like)} in training", "write both alike")


def groups(columns: Mapping[str, pd.Series]) -> dict[str, np.ndarray]:
    """By split, int32 [N]: the same number for the same name in all. Raises Unreadable where a row
    has none."""
    if not columns:
        return {}
    for split, column in columns.items():
        if empty := int(column.isna().sum()):
            raise Unreadable(f"its group {column.name!r} is empty in {empty:,} rows of {split}",
                             "fill them in")
    every = pd.concat([column.astype(str) for column in columns.values()])
    ends = np.cumsum([len(column) for column in columns.values()])[:-1]
    numbers = np.split(pd.factorize(every)[0].astype(np.int32), ends)
    return dict(zip(columns, numbers, strict=True))


def doubtful(columns: pd.DataFrame) -> list[str]:
    """Of the columns that are learned from: how many of each kind, those of one value, and those
    that rise with the rows of the file, as an id does. Raises Unreadable for free text."""
    if columns.empty:
        raise Unreadable("it has no column besides the one that is learned", "add some")
    if columns.shape[1] > MOST_FEATURES:
        raise Unreadable(f"it has {columns.shape[1]:,} columns that are no pixels, more than the "
                         f"{MOST_FEATURES:,} that can be judged one by one", "leave some out")
    kinds = Counter(kind(columns[name]) for name in columns)
    notes = ["its columns: " + ", ".join(f"{count:,} of {what}" for what, count in kinds.items())]
    if texts := [name for name in columns if _is_text(columns[name])]:
        raise Unreadable(f"its {'columns hold' if texts[1:] else 'column holds'} free text: "
                         f"{listed(texts)}", "leave it out of the table, or name the one to learn, "
                         "--target COLUMN")
    for name in columns:
        if stray := _stray(columns[name]):
            notes.append(f"the column {name!r} is of words, as these are no numbers: {stray}")
    if constant := [name for name in columns if _is_constant(columns[name])]:
        notes.append(f"columns of one value teach nothing: {listed(constant)}")
    rising = [f"{name!r} ({columns[name].iloc[0]:.15g} to {columns[name].iloc[-1]:.15g})"
              for name in columns if name not in constant and _rises(columns[name])]
    if rising:
        notes.append(f"columns that rise from row to row look like an id: {', '.join(rising[:5])}; "
                     "leave them out if they are")
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
    numbers = column.to_numpy()
    return bool((np.diff(numbers) > 0).all() and (numbers == np.floor(numbers)).all())


def _is_text(column: pd.Series) -> bool:
    """Whether most rows have words of their own, of which some are sentences."""
    if kind(column) != "words":
        return False
    words = column.cat.categories
    if len(words) <= max(_LEAST_ROWS, column.count() / 2):
        return False
    return sum(word.count(" ") for word in words) >= 2 * len(words)
