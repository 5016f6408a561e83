"""What is doubtful of a table's columns: which look like ids, texts or an index; and of its labels.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.errors import some
from engine.tables import frames, target
from engine.tables.dialect import Unreadable
from engine.tables.frames import kind, listed

MOST_FEATURES = 1 << 14
_EXACT = 1 << 53  # float64 holds every whole number up to it
_LEAST_ROWS = 10  # of which fewer can rise by chance
_LEAST_TOLD, _MOST_TOLD = 50, 10_000  # rows: fewer can agree by chance, and more needn't
_ON_A_LINE = 1 - 1e-6  # a correlation beyond rounding


def doubtful(columns: Any, targets: np.ndarray) -> list[str]:
    """Of the columns that are learned from: how many of each kind, those of one value, those that
    rise with the rows of the file, as an id does, and those that alone tell the `targets` [N, ...],
    as what is only known afterwards does. Raises Unreadable for free text."""
    if not columns.shape[1]:
        raise Unreadable("it has no column besides the one that is learned", "add some")
    if columns.shape[1] > MOST_FEATURES:
        raise Unreadable(f"it has {columns.shape[1]:,} columns that are no pixels, more than the "
                         f"{MOST_FEATURES:,} that can be judged one by one", "leave some out")
    kinds: Counter[str] = Counter()
    texts, strays, constant, coarse, rising, nameless, telling = [], [], [], [], [], [], []
    for name in columns:
        column = columns[name]  # read now, perhaps
        kinds[kind(column)] += 1
        if _is_text(column):
            texts.append(name)
        if stray := _stray(column):
            strays.append(f"the column {name!r} is of words, as these are no numbers: {stray}")
        if _is_constant(column) and _is_coarse(column):
            coarse.append(name)
        elif _is_constant(column):
            constant.append(name)
        elif _rises(column):
            rising.append(f"{name!r} ({column.iloc[0]:.15g} to {column.iloc[-1]:.15g})")
        elif name.startswith(frames.NAMELESS) and _is_index(column):
            nameless.append(name)
        elif _tells(column, targets):
            telling.append(name)
    if texts:
        raise Unreadable(f"its {'columns hold' if texts[1:] else 'column holds'} free text: "
                         f"{listed(texts)}", "leave it out, --leave_out "
                         f"{shlex.quote(','.join(texts))}, or name the one to learn, --target "
                         "COLUMN; docs/own.md makes tokens of it")
    notes = ["its columns: " + ", ".join(f"{count:,} of {what}s" for what, count in kinds.items()),
             *strays]
    if constant:
        notes.append(f"columns of one value teach nothing: {listed(constant)}")
    if coarse:
        notes.append("numbers are read to 16 digits, in which these columns have one value: "
                     f"{listed(coarse)}; leave them out, or write words, such as n7")
    if rising:
        notes.append(f"columns that rise from row to row look like an id: {some(rising, 5)}; "
                     "leave them out if they are, by --leave_out")
    if nameless:
        notes.append("columns without a name, of another whole number in every row, look like an "
                     f"index: {listed(nameless)}; leave them out if they are, by --leave_out")
    if telling:
        notes.append(f"columns of which each alone tells what is learned: {listed(telling)}; leave "
                     "them out, by --leave_out, if they aren't known beforehand")
    return notes


def of_target(parts: Mapping[str, Any], learned: Sequence[str]) -> list[str]:
    """Of tables by split: which labels of the one column that is `learned` make classes of what
    would be numbers to predict without them, and in which row."""
    found = []
    for split, columns in parts.items() if len(learned) == 1 else ():
        column = columns.get(learned[0])
        if column is None or kind(column) != "word":
            continue
        labels, codes = target.counted(column)
        if odd := target.strays(labels):
            row = int(np.array([*(label in odd for label in labels), False])[codes].argmax()) + 1
            found.append(f"{split}: all labels of {learned[0]!r} but {len(odd):,} are numbers to "
                         f"predict, and so they are classes: {listed(odd)}, in row {row:,} below "
                         "the header; mend or empty it for --task regression")
    return found


def _is_constant(column: pd.Series) -> bool:
    """Whether its cells that aren't empty have one value, or there are none."""
    if kind(column) == "word":
        return len(column.cat.categories) <= 1
    return bool(column.isna().all() or column.min() == column.max())


def _is_coarse(column: pd.Series) -> bool:
    """Whether its numbers are so large that float64 may take other ones for them."""
    return kind(column) == "number" and abs(column.max()) >= _EXACT


def _stray(column: pd.Series) -> str:
    """Words of a column that are no numbers, where most are."""
    if kind(column) != "word":
        return ""
    words = column.cat.categories
    none = np.isnan(frames.numbers_of(words))
    return listed(words[none]) if 2 * none.sum() <= len(words) else ""


def _rises(column: pd.Series) -> bool:
    """Whether they are whole numbers, each larger than the one before."""
    return _are_whole(column) and column.is_monotonic_increasing and column.is_unique


def _is_index(column: pd.Series) -> bool:
    """Whether they are whole numbers, each once: those of rows that were mixed or chosen."""
    return _are_whole(column) and column.is_unique


def _are_whole(column: pd.Series) -> bool:
    """Whether they are whole numbers, in rows enough."""
    if kind(column) != "number" or len(column) < _LEAST_ROWS:
        return False
    numbers = column.to_numpy(np.float64)
    return bool((numbers == np.floor(numbers)).all())


def _tells(column: pd.Series, targets: np.ndarray) -> bool:
    """Whether its values, or that there is none, decide the classes or the numbers to predict in
    every row: as values that are there ten times, as numbers apart, or on a line."""
    step, classes = max(1, len(column) // _MOST_TOLD), targets.dtype.kind == "i"
    column, targets = column.iloc[::step], targets[::step]
    if targets.ndim > 1 or len(column) < _LEAST_TOLD:
        return False
    known = targets >= 0 if classes else np.isfinite(targets)
    own, told = column[known], targets[known]
    if len(np.unique(told)) < 2:
        return False
    codes, values = pd.factorize(own, sort=True, use_na_sentinel=False)
    first = np.zeros(len(values), told.dtype)
    first[codes] = told
    decided, repeated = bool((first[codes] == told).all()), 10 * len(values) <= len(own)
    if repeated or kind(own) == "word":
        return decided and repeated
    if classes:
        return bool(decided and np.count_nonzero(np.diff(first)) < len(np.unique(told)))
    there = own.notna().to_numpy()
    with np.errstate(all="ignore"):  # infinities are on no line, nor is what is constant there
        return 2 * there.sum() >= len(own) and bool(abs(np.corrcoef(
            own[there].to_numpy(np.float64), told[there])[0, 1]) > _ON_A_LINE)


def _is_text(column: pd.Series) -> bool:
    """Whether most rows have words of their own, of which some are sentences."""
    if kind(column) != "word":
        return False
    words = column.cat.categories
    if len(words) <= max(_LEAST_ROWS, column.count() / 2):
        return False
    return sum(word.count(" ") for word in words) >= 2 * len(words)
