"""The column to learn: which it is, and its cells as classes or as numbers to predict."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.errors import RequestError, nearest, some, unknown
from engine.examples import UNLABELLED
from engine.sets.names import columns_in
from engine.sets.rounding import unheld
from engine.sets.values import MOST_CLASSES
from engine.tables import pixels
from engine.tables.dialect import WORDS, Unreadable
from engine.tables.frames import kind

_MOST_COUNTED = 100  # whole numbers of more values than that are no classes
_LEAST_COUNTED = 20  # nor are they where most rows have one of their own, and these are as many
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_LABEL = 200
_SHOWN = 5
_TRUTHS = {"true": 1, "false": 0}
Counted = tuple[dict[str, int], np.ndarray]


class Target(NamedTuple):
    """Targets by split, int32 [N], float32 [N], or of K columns [N, K]; the classes' names, or the
    numbers'; what to say."""

    targets: dict[str, np.ndarray]
    classes: tuple[str, ...]
    notes: list[str]


def named(names: Sequence[str], asked: str = "") -> tuple[str, ...]:
    """The targets among the columns: those that are asked for, else one of WORDS in any case, of
    which the first wins, if there is one."""
    if asked:
        return tuple(name for name in columns_in(asked, names) if name in names)
    folded = {name.casefold(): name for name in reversed(names)}
    return tuple(folded[word] for word in WORDS if word in folded)[:1]


def chosen(names: Sequence[str], asked: str = "") -> tuple[str, ...]:
    """`named`, else the only one beside a picture's pixels, else the last column. Raises
    RequestError for one that isn't there, Unreadable where all are numbered and one is too many for
    a picture."""
    if absent := [name for name in columns_in(asked, names) if name not in names]:
        raise lacking(names, absent[0])
    if found := named(names, asked):
        return found
    numbered = pixels.numbered(names)
    others = [name for name in names if name not in numbered] if len(numbered) > 3 else []
    if len(others) == 1 and pixels.likely(numbered):
        return (others[0],)
    if len(numbered) == len(names) and pixels.likely(names[1:]):
        raise Unreadable(f"its {len(names):,} columns are numbered, and one of them is no pixel",
                         f"say which: --target {names[0]} for the first, --target {names[-1]} for "
                         "the last")
    return (names[-1],)


def lacking(names: Sequence[str], asked: str) -> RequestError:
    """That there is no column of that name: the nearest, or the first ones."""
    near = nearest(asked, names[:10_000])
    return unknown("column of the table", asked, near or names[:10])


def learned(names: Sequence[str], found: Mapping[str, Any], rows: Mapping[str, int]) -> Target:
    """What the columns `names` hold in each split: of `found` its table, or None, and how many
    `rows` it has; one that lacks them is unlabelled. Raises Unreadable."""
    written = {name: _written(name, found) for name in names}
    if len(names) == 1:
        return _of_one(names[0], written[names[0]], rows)
    columns = []
    for name, labels in written.items():
        if strange := [one for one in _every(labels) if not is_number(one)
                       and one.casefold() not in _TRUTHS]:
            raise Unreadable(f"its target {name!r} holds {strange[0][:40]!r}, and of several each "
                             "is a number, or true or false", "learn it alone, or write numbers")
        columns.append(_numbers(name, labels, rows))
    targets = {split: np.stack([column[split] for column in columns], axis=1) for split in rows}
    return Target(targets, tuple(names), [])


def _written(name: str, found: Mapping[str, Any]) -> dict[str, Counted]:
    """The labels of the column in each split that has it. Raises Unreadable where it is of dates,
    or empty."""
    columns = {split: table.get(name) for split, table in found.items()}
    present = {split: column for split, column in columns.items() if column is not None}
    if any(kind(column) == "date" for column in present.values()):
        raise Unreadable(f"its target {name!r} is a date", "name another one, --target COLUMN")
    written = {split: counted(column) for split, column in present.items()}
    if not _every(written):
        raise Unreadable(f"its target {name!r} is empty in every row", "name another, --target "
                         "COLUMN")
    return written


def _every(written: Mapping[str, Counted]) -> Counter[str]:
    """The labels of all splits, each with its number of rows."""
    every: Counter[str] = Counter()
    for labels, _ in written.values():
        every.update(labels)
    return every


def _of_one(name: str, written: Mapping[str, Counted], rows: Mapping[str, int]) -> Target:
    """Words are classes, and so are whole numbers of few values; other numbers are predicted.
    Labels that differ in case, Unicode form or in how a number is written are one class, called as
    most are. Classes are sorted: by value where all are numbers, else as text. Raises Unreadable.
    """
    every = _every(written)
    if all(map(is_number, every)) and (why := are_numbers(every)):
        return Target(_numbers(name, written, rows), (name,),
                      [f"{name!r} holds {why}: numbers to predict"])
    number, names, notes = _classes(name, every)
    targets = {split: np.full(count, UNLABELLED, np.int32) for split, count in rows.items()}
    for split, (labels, codes) in written.items():
        targets[split] = np.array([*(number[label] for label in labels), UNLABELLED],
                                  np.int32)[codes]
    return Target(targets, names, notes)


def _numbers(
    name: str, written: Mapping[str, Counted], rows: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """float32 [N] by split, NaN where there is none. Raises Unreadable for what float32 can't
    hold."""
    targets = {split: np.full(count, np.nan, np.float32) for split, count in rows.items()}
    for split, (labels, codes) in written.items():
        values = np.array([*(float(_TRUTHS.get(one.casefold(), one)) for one in labels), np.nan])
        if np.abs(values[:-1]).max(initial=0) > np.finfo(np.float32).max:
            raise Unreadable(f"its target {name!r} is beyond float32", "scale it")
        numbers = values[codes]
        why, instead = unheld(numbers)
        if why:
            raise Unreadable(f"the numbers of its target {name!r} {why}", instead)
        targets[split] = numbers.astype(np.float32)
    return targets


def counted(column: pd.Series) -> Counted:
    """Its labels as text, each with its number of rows, and their places among these, int [N], -1
    where the cell is empty."""
    if kind(column) == "word":
        names, codes = list(column.cat.categories), column.cat.codes.to_numpy().astype(np.int64)
    else:
        codes, values = pd.factorize(column.to_numpy())
        names = [str(int(x)) if x == int(x) else repr(float(x)) for x in values]
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True)), codes


def is_number(label: str) -> bool:
    return bool(_NUMBER.fullmatch(label)) and math.isfinite(float(label))


def are_numbers(every: Mapping[str, int]) -> str:
    """Why these labels, all numbers, are numbers to predict, and no classes; else ""."""
    values, rows = set(map(float, every)), sum(every.values())
    if not all(map(float.is_integer, values)):
        return "fractions"
    many = len(values) > _MOST_COUNTED or _LEAST_COUNTED <= len(values) > rows / 2
    return f"{len(values):,} different whole numbers in {rows:,} rows" if many else ""


def strays(every: Mapping[str, int]) -> list[str]:
    """The few labels without which all others were numbers to predict; [] where there are none."""
    rest = {label: rows for label, rows in every.items() if is_number(label)}
    few = len(every) - len(rest) < len(rest)
    return [label for label in every if label not in rest] if few and are_numbers(rest) else []


def _classes(name: str, every: Mapping[str, int]) -> tuple[dict[str, int], tuple[str, ...],
                                                           list[str]]:  # fmt: skip
    """Label → its class's number, the classes' names, and which labels are joined."""
    if odd := [label for label in every if not label.isprintable() or len(label) > _MOST_LABEL]:
        raise Unreadable(f"its target {name!r} has the label {odd[0][:40]!r}", "label with words "
                         f"that can be printed, of {_MOST_LABEL} characters at most")
    spelled: dict[Any, list[str]] = {}
    for label in sorted(every, key=lambda label: -every[label]):  # of as many the first split's
        spelled.setdefault(_key(label), []).append(label)
    rows = sum(every.values())
    if len(spelled) > MOST_CLASSES or _MOST_COUNTED < len(spelled) > rows / 2:
        few = some([*map(repr, strays(every))], _SHOWN)
        but = f"; all are numbers but {few}" if few else ""
        raise Unreadable(f"its target {name!r} has {len(spelled):,} different labels in {rows:,} "
                         f"rows, no classes{but}", "mend or empty those cells" if few else
                         "name another, --target COLUMN")
    called = {_called(key, labels): labels for key, labels in spelled.items()}
    numeric = all(map(is_number, called))
    names = sorted(called, key=lambda name: (float(name) if numeric else 0, name))
    number = {label: place for place, name in enumerate(names) for label in called[name]}
    joined = [" and ".join(map(repr, sorted(labels))) for labels in called.values()
              if len(labels) > 1]
    told = f"labels that are written in several ways are one class: {some(joined, _SHOWN)}"
    notes = [told] if joined else []
    return number, tuple(names), notes


def _key(label: str) -> tuple[bool, float, str]:
    """The same for all labels that are one class."""
    if is_number(label):
        return False, float(label), ""
    return True, 0.0, unicodedata.normalize("NFC", label).casefold()


def _called(key: tuple[bool, float, str], labels: list[str]) -> str:
    """As it is written most often, but without a plus, or a fraction of nothing."""
    word, value, _ = key
    if word or not value.is_integer() or re.fullmatch(r"-?[0-9]+", labels[0]):
        return unicodedata.normalize("NFC", labels[0])
    return str(int(value))
