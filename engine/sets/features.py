"""A table's column as float32 features: numbers standardised, words one by one. N: rows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from engine.errors import RequestError, one_line, tell, visible

MOST_ONE_HOT = 32
MOST_WORDS = 1 << 16
# What pandas finds in a column of Python objects, and what it is here.
_OBJECTS = {"boolean": "number", "integer": "number", "floating": "number", "decimal": "number",
            "mixed-integer-float": "number", "date": "date", "datetime": "date",
            "datetime64": "date", "string": "word",
            "mixed-integer": "word"}


class Number(NamedTuple):
    """A column of numbers, or of dates as days since 1970.

    `mean` and `scale`, the standard deviation, are of the values that are there, 0 and 1 where
    these are zeros and ones, which stay; `scale` is 0 where all are the same. `missing`: some are
    not there, and a feature of its own says which.
    """

    name: str
    kind: str
    median: float
    mean: float
    scale: float
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Of its features."""
        return (self.name, f"{self.name} missing") if self.missing else (self.name,)

    def fill(self, features_NxF: np.ndarray, column: Any, _told: bool = True) -> None:
        """Write a column's features; a value that isn't there is the median."""
        found_N = _numbers(self.name, self.kind, column)
        absent_N = np.isnan(found_N)
        if self.scale:
            filled_N = np.where(absent_N, self.median, found_N)
            with np.errstate(over="ignore"):
                features_NxF[:, 0] = (filled_N - self.mean) / self.scale
            if not np.isfinite(features_NxF[:, 0]).all():
                raise RequestError(f"column {self.name!r} holds a number that is too far from "
                                   "those it was fitted to: mend it.")
        if self.missing:
            features_NxF[:, 1] = absent_N


class Words(NamedTuple):
    """A column of words: a feature for each of its `values`, in their order as text, and one for
    none where some are `missing`. `embedded` ones are one feature, a code: 0 for a word that isn't
    known, then the values, then none."""

    name: str
    values: tuple[str, ...]
    missing: bool
    embedded: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Of its features."""
        if self.embedded:
            return (self.name,)
        none = (f"{self.name} missing",) * self.missing
        return tuple(f"{self.name}={value}" for value in self.values) + none

    @property
    def codes(self) -> int:
        return 1 + len(self.values) + self.missing

    def codes_of(self, column: Any, told: bool = True) -> np.ndarray:
        """int [N] below `codes`; of words that aren't known, 0, a line tells if `told`."""
        code_N, words = _words(self.name, column)
        known = {value: number for number, value in enumerate(self.values, 1)}
        strange = [word for word in words if word not in known]
        if strange and told:
            tell(one_line(f"column {self.name!r} holds {len(strange)} of {len(words)} words that "
                          f"its training part has not, such as {strange[0]!r}: they are unknown"))
        none = self.codes - 1 if self.missing else 0
        return np.array([*(known.get(word, 0) for word in words), none])[code_N]

    def fill(self, features_NxF: np.ndarray, column: Any, told: bool = True) -> None:
        """Write a column's features; a word that isn't known has none."""
        code_N = self.codes_of(column, told)
        if self.embedded:
            features_NxF[:, 0] = code_N
        else:
            rows_N = np.flatnonzero(code_N)
            features_NxF[rows_N, code_N[rows_N] - 1] = 1


def fitted(name: str, column: Any) -> Number | Words | None:
    """A column's features by its training part, a pandas Series; None where it holds no value.

    Booleans are zeros and ones. Words are `embedded` where they are more than MOST_ONE_HOT. Raises
    RequestError for what is neither numbers, booleans, dates nor words.
    """
    if column.isna().all():
        return None
    if (kind := _kind(name, column)) == "word":
        code_N, words = _words(name, column)
        if len(words) > MOST_WORDS:
            raise RequestError(f"column {name!r} holds {len(words):,} different words, more than "
                               f"the {MOST_WORDS:,} that can be learned: leave it out.")
        return Words(name, tuple(sorted(words)), bool((code_N < 0).any()),
                     len(words) > MOST_ONE_HOT)
    found_N = _numbers(name, kind, column)
    there = found_N[~np.isnan(found_N)]
    missing, median = len(there) < len(found_N), float(np.median(there))
    if there.min() == there.max():
        return Number(name, kind, median, median, 0.0, missing)
    if np.isin(there, (0, 1)).all():
        return Number(name, kind, median, 0.0, 1.0, missing)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(there.mean()), float(there.std())
    if not np.isfinite(scale):
        raise RequestError(f"column {name!r} holds numbers too large to standardise: scale them.")
    return Number(name, kind, median, mean, scale, missing)


def _kind(name: str, column: Any) -> str:
    """number, date or word, of a column that holds some."""
    from pandas.api import types

    dtype = column.dtype
    if isinstance(dtype, types.CategoricalDtype):
        return "word"
    if types.is_datetime64_any_dtype(dtype):
        return "date"
    if types.is_bool_dtype(dtype) or types.is_any_real_numeric_dtype(dtype):
        return "number"
    found = types.infer_dtype(column, skipna=True)
    if found not in _OBJECTS:
        raise RequestError(f"column {name!r} holds values of type {found}: give numbers, booleans, "
                           "dates or words, or leave it out.")
    return _OBJECTS[found]


def _numbers(name: str, kind: str, column: Any) -> np.ndarray:
    """float64 [N], NaN where there is none. Raises RequestError for a column of another kind."""
    import pandas

    if column.isna().all():
        return np.full(len(column), np.nan)
    found = _kind(name, column)
    if (found, kind) == ("word", "date"):  # which is how pandas reads a CSV's
        dates = pandas.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
        if len(strange := column[dates.isna() & column.notna()]):
            raise RequestError(f"column {name!r} holds {visible(str(strange.iloc[0]))!r}, which is "
                               "no date such as 2024-05-31: mend it, or leave the cell empty.")
        column, found = dates, kind
    if found != kind:
        raise RequestError(f"column {name!r} holds {found}s, and {kind}s where it was fitted: "
                           "bring both to one type.")
    if kind == "date":
        # Microseconds: nanoseconds end in 2262, and 9999-12-31 is many a table's "never".
        when = pandas.to_datetime(column, utc=True).dt.tz_localize(None)
        return (when.to_numpy("datetime64[us]") - np.datetime64(0, "us")) / np.timedelta64(1, "D")
    found_N = column.to_numpy(np.float64, na_value=np.nan)
    if np.isinf(found_N).any():
        raise RequestError(f"column {name!r} holds an infinite number: mend it, or leave it out.")
    return found_N


def _words(name: str, column: Any) -> tuple[np.ndarray, list[str]]:
    """The number of each row's word, -1 where there is none, int [N]; and the words that occur."""
    import pandas

    if column.isna().all():
        return np.full(len(column), -1), []
    if _kind(name, column) == "date":
        raise RequestError(f"column {name!r} holds dates, and words where it was fitted: bring "
                           "both to one type.")
    code_N, values = pandas.factorize(column)
    # Of objects the number 1 and the text 1 are one word.
    number_W, words = pandas.factorize(np.array([*map(as_word, values)], object))
    return np.append(number_W, -1)[code_N], list(words)


def as_word(value: Any) -> str:
    """1.0 is 1: a column of whole numbers is one of floats where some are missing."""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def described(columns: Iterable[Number | Words]) -> str:
    """How many there are of each kind: 3 of numbers, 1 of dates, 2 of words, 1 of embedded words.
    """
    counts = Counter(c.kind if isinstance(c, Number) else "embedded word" * c.embedded or "word"
                     for c in columns)
    return ", ".join(f"{count} of {kind}s" for kind, count in counts.items())
