"""Columns as a pandas DataFrame: each of numbers, dates or words; and the rows' one order.

Numbers and truths are float64 (or float32 as a Parquet file has them), NaN where a cell is empty,
or uint8 where they may be pixels; dates datetime64[us] in UTC, NaT where empty; words `category`.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.errors import some
from engine.sets.features import as_word
from engine.tables.dialect import MISSING, Unreadable

_SHOWN = 5
_TYPES = {"number": "float64", "date": "datetime64[us]", "word": "category"}
NAMELESS = "Unnamed: ", "__index_level_"  # as a dialect and pandas call columns without a name
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MIXED = np.uint64(0x9E3779B97F4A7C15)  # the golden ratio's bits, odd


def of(
    table: pa.Table, text: Collection[str] = (), pointed: Callable[[str], str] = str
) -> pd.DataFrame:
    """Its columns, typed; words that are numbers, every one, once they are `pointed` as numbers,
    are numbers, but those of `text` are words, whatever they hold. Raises Unreadable for infinite
    numbers."""
    columns = {name: table.column(name) for name in table.column_names}
    del table  # a column is let go of once it is typed
    typed = {name: _typed(name, columns.pop(name), name in text, pointed) for name in list(columns)}
    return pd.DataFrame(typed, copy=False)


def ordered(hashes: np.ndarray, *values: np.ndarray) -> np.ndarray:
    """An order of the rows, int64 [N], that is their content's, whatever the file's: by `hashes` of
    what is learned from, uint64 [N], and by the target and the weight, of equal rows by the file's.
    """
    for values_N in (column for each in values for column in each.reshape(len(each), -1).T):
        hashes = _mix(hashes, pd.util.hash_array(np.ascontiguousarray(values_N)))
    return np.argsort(hashes, kind="stable")


def hashed(columns: Any) -> np.ndarray:
    """A hash of each row of a DataFrame or a StoredTable, uint64 [N], by its columns' names."""
    return mixed(pd.util.hash_pandas_object(columns[name], index=False).to_numpy()
                 for name in sorted(columns.columns))


def mixed(hashes: Iterable[np.ndarray]) -> np.ndarray:
    """One hash of those of a row's parts, uint64 [N] each."""
    return functools.reduce(_mix, hashes, np.zeros(1, np.uint64))


def _mix(total: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    total = (total ^ hashes) * _MIXED
    return total ^ (total >> np.uint64(29))


def taken(frame: pd.DataFrame, order: np.ndarray) -> pd.DataFrame:
    """Its rows in that order, bytes as float64."""
    return pd.DataFrame({
        name: column.array.take(order).astype(np.float64 if column.dtype == np.uint8
                                              else column.dtype, copy=False)
        for name, column in frame.items()}, copy=False)  # fmt: skip


def listed(names: Iterable[object]) -> str:
    """`some` names as they would be typed in Python."""
    return some([repr(name) for name in names], _SHOWN)


def kind(column: pd.Series) -> str:
    """What its cells are: number, date or word."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "word"
    return "date" if column.dtype.kind == "M" else "number"


def brought(column: pd.Series, wanted: str, file: str) -> pd.Series:
    """The column as one of the `wanted` kind, if any: empty cells are of all. Raises Unreadable."""
    if not wanted or kind(column) == wanted:
        return column
    if column.isna().all():
        return column.astype(object).astype(_TYPES[wanted])
    raise Unreadable(f"the column {column.name!r} of {os.path.basename(file)} holds "
                     f"{kind(column)}s, and {wanted}s in training", "write both alike")


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


def numbers_of(words: Sequence[str]) -> np.ndarray:
    """float64 [N], NaN for a word that is no number."""
    return pd.to_numeric(pd.Series(words, dtype=object), errors="coerce").to_numpy(np.float64)


def _values(words: list[str]) -> np.ndarray | None:
    """Numbers, truths or dates, and last the one that stands for none; None of other words."""
    numbers = numbers_of(words)
    if np.isfinite(numbers).all():  # of no words too
        return np.append(numbers, np.nan)
    for kind, none in ((pa.bool_(), np.nan), (pa.timestamp("us"), np.datetime64("NaT", "us"))):
        with contextlib.suppress(pa.ArrowInvalid):
            return np.append(pa.array(words).cast(kind).to_numpy(zero_copy_only=False), none)
    return None


def _typed(
    name: str, column: pa.ChunkedArray, text: bool, pointed: Callable[[str], str]
) -> pd.Series:
    is_of, of_type = pa.types, column.type
    if is_of.is_dictionary(of_type) or is_of.is_string(of_type) or is_of.is_large_string(of_type):
        return _words(name, column, text, pointed)
    if text:
        return _words(name, pa.chunked_array([pa.array(written(column), pa.string())]), text, str)
    if is_of.is_timestamp(of_type) or is_of.is_date(of_type):
        return pd.Series(column.cast(pa.timestamp("us"), safe=False).to_numpy(), copy=False)
    if of_type == pa.uint8() and not column.null_count:
        return pd.Series(column.to_numpy(), copy=False)
    if is_of.is_time(of_type) or is_of.is_duration(of_type):
        whole = column.cast(pa.int32() if is_of.is_time32(of_type) else pa.int64())
        return pd.Series(whole.cast(pa.float64(), safe=False).to_numpy() / _A_SECOND[of_type.unit])
    if is_of.is_boolean(of_type):
        column = column.cast(pa.uint8())
    if of_type != pa.float32():
        column = column.cast(pa.float64(), safe=False)
    numbers = column.to_numpy()
    if infinite := int(np.isinf(numbers).sum()):
        raise Unreadable(f"its column {name!r} holds infinity in {infinite:,} of its rows",
                         "write a number, or leave those cells empty")
    return pd.Series(numbers, copy=False)


def written(column: pa.ChunkedArray) -> list[str | None]:
    """Its values as words; None where there is none, or NaN."""
    return [None if value is None or value != value else as_word(value)
            for value in column.to_pylist()]


def _words(
    name: str, column: pa.ChunkedArray, text: bool, pointed: Callable[[str], str]
) -> pd.Series:
    """Without spaces around, sorted; unless `text` numbers, truths or dates where all are."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    found = column.to_pandas().cat
    if any("\n" in word or "\r" in word for word in found.categories):
        raise Unreadable(f"a cell of its column {name!r} has several lines",
                         "close its quotation mark, or leave such text out")
    written = [word.strip() for word in found.categories]
    kept = sorted(set(written).difference(MISSING))
    place = {word: at for at, word in enumerate(kept)}
    codes = np.array([*(place.get(word, -1) for word in written), -1])[found.codes]
    if not text and (values := _values([*map(pointed, kept)])) is not None:
        return pd.Series(values[codes])
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(kept, dtype=object)))
