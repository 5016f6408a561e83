"""A table's columns as float32 features, as they were fitted to its training part. N: rows, F:
features."""

import hashlib
import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import Reading
from engine.disk.files import is_number, is_text
from engine.errors import RequestError, repeated, some
from engine.sets import features
from engine.sets.asking import reading
from engine.sets.features import MOST_ONE_HOT, MOST_WORDS, Number, Words
from engine.sets.limits import room
from engine.sets.stored import Stored
from engine.sets.tabular import is_stored

FILE = "columns.json"
MOST_FEATURES = 1 << 20


@dataclass(frozen=True)
class Columns:
    """Those of a table that are learned from, embedded ones last; and what standardised its targets
    where they are numbers, K means and standard deviations, else ()."""

    columns: tuple[Number | Words, ...]
    target_mean: tuple[float, ...] = ()
    target_scale: tuple[float, ...] = ()

    @classmethod
    def fit(cls, frame: Any, reading: Reading, targets: np.ndarray | None = None,
            plain: str = "") -> "Columns":
        """Of the training rows, a pandas DataFrame or a StoredTable, and of their `targets` float32
        [N, K] where these are numbers. A column without any value is left out. Raises RequestError
        for columns that can't be features, nor be embedded by a model, `plain`, that does none."""
        found = (features.fitted(name, column) for name, column in _each(frame))
        columns = sorted((c for c in found if c is not None), key=_embedded)
        if not columns:
            raise RequestError("the table has no column with values to learn from.")
        many = [c for c in columns if isinstance(c, Words) and c.embedded]
        if many and (plain or not reading.embed):
            told = some([f"{c.name!r} ({len(c.values):,})" for c in many])
            names = filter(None, [reading.leave_out, *(c.name for c in many)])
            without = f"--leave_out {shlex.quote(','.join(names))}"
            raise RequestError(
                f"of words more than {MOST_ONE_HOT} different ones are no features: {told}" + (
                    f", and model {plain} embeds nothing. Type {without}, or --model mlp --embed."
                    if plain else ". Type --embed to learn an embedding of each, or leave these "
                    f"columns out: {without}."))
        mean, scale = _moments(targets)
        return cls(tuple(columns), mean, scale)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features, F."""
        return tuple(name for column in self.columns for name in column.names)

    @property
    def embeddings(self) -> tuple[int, ...]:
        """Of each of the last features, which are codes, how many there are."""
        return tuple(c.codes for c in self.columns if isinstance(c, Words) and c.embedded)

    @property
    def words(self) -> tuple[str, ...]:
        """The names of those of words, which are read as they are written: 01 is no 1."""
        return tuple(c.name for c in self.columns if isinstance(c, Words))

    def encode(self, table: Any) -> Any:
        """float32 [N, F] of a pandas DataFrame, or of a mapping of columns, which are found by
        their names; others are left alone. Of a StoredTable they are made as they are needed.
        Raises RequestError for those that are missing, or of another type."""
        if isinstance(table, Mapping):
            import pandas

            with reading("predict", "as a table, it", "give columns of one length"):
                table = pandas.DataFrame(table)
        given = list(map(str, table.columns))
        if missing := [repr(c.name) for c in self.columns if c.name not in given]:
            raise RequestError(f"the table lacks {len(missing)} of the {len(self.columns)} columns "
                               f"that are learned from: {some(missing)}; it has "
                               f"{some(list(map(repr, given)))}.")
        width = len(self.names)
        if is_stored(table):
            for column in self.columns:
                if isinstance(column, Words):
                    column.codes_of(table[column.name])  # which tells of words unknown, once
            found = Encoded(table, self, width)
            found[:1]  # which tells of a column of another kind, now
            return found
        if len(table) > room((width,), 4):
            raise RequestError(f"{len(table):,} rows of {width:,} features are more than can be "
                               "held: leave rows or columns out, or type --stream for a Parquet "
                               "file.")
        return self.features_of(table).view(Features)

    def features_of(self, frame: Any, told: bool = True) -> np.ndarray:
        """float32 [N, F] of a DataFrame that has all columns; unless `told`, unknown words are
        passed over in silence."""
        given, at = _named(frame), 0
        found = np.zeros((len(frame), len(self.names)), np.float32)
        for column in self.columns:
            upto = at + len(column.names)
            column.fill(found[:, at:upto], given[column.name], told)
            at = upto
        return found

    @property
    def text(self) -> str:
        """JSON, which `read` reads."""
        columns = [{"type": type(c).__name__} | c._asdict() for c in self.columns]
        return json.dumps({"columns": columns, "target_mean": self.target_mean,
                           "target_scale": self.target_scale}, indent=1) + "\n"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class Features(np.ndarray):
    """float32 [N, F] that Columns made, as its slices tell: a table's own numbers look alike."""


class Encoded(Stored):
    """The features of a table's rows, made as they are needed."""

    scattered = True

    def __init__(self, table: Any, columns: Columns, width: int):
        super().__init__((len(table), width), np.float32, table.reason, table.hashes)
        self.table, self.columns = table, columns

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        names = [column.name for column in self.columns.columns]
        for which, frame in self.table.frames(rows, names):
            out[which] = self.columns.features_of(frame, told=False)


def taken_as_features(path: Any, got: str, columns: Columns) -> str:
    """Of arrays that nobody can tell from a table's own numbers."""
    names = some([repr(column.name) for column in columns.columns])
    return (f"{got}, and the run in {path} learned from a table: taken for what run.columns.encode "
            f"makes. Of the table's own numbers give a DataFrame with the columns {names}.")


def plain(features: Any) -> Any:
    """The same as an array of no kind of its own; what is read as it is needed as it is."""
    return features.view(np.ndarray) if isinstance(features, Features) else features


def _embedded(column: Number | Words) -> bool:
    return isinstance(column, Words) and column.embedded


def _each(table: Any) -> Iterable[tuple[str, Any]]:
    """Names and columns, those of a StoredTable one at a time."""
    if is_stored(table):
        return ((name, table[name]) for name in table.columns)
    return _named(table).items()


def _named(frame: Any) -> dict[str, Any]:
    """The columns by name. Raises RequestError where two have one."""
    names = list(map(str, frame.columns))
    if twice := repeated(names):
        raise RequestError(f"two columns are named {twice[0]!r}: name each once.")
    return {name: frame.iloc[:, at] for at, name in enumerate(names)}


def _moments(targets: np.ndarray | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and the standard deviation of each of K targets, 1 where all are the same."""
    if targets is None:
        return (), ()
    numbers_NxK = np.asarray(targets, np.float64)
    mean, scale = numbers_NxK.mean(0), numbers_NxK.std(0)
    return tuple(mean.tolist()), tuple(np.where(scale > 0, scale, 1.0).tolist())


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _is_values(value: Any) -> bool:
    return (isinstance(value, list) and len(value) <= MOST_WORDS and all(map(is_text, value))
            and len({*value}) == len(value))


def _is_flag(value: Any) -> bool:
    return type(value) is bool


_TYPES: dict[str, Any] = {"Number": Number, "Words": Words}
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "name": is_text, "kind": ("number", "date").__contains__, "median": _is_finite,
    "mean": _is_finite, "scale": lambda value: _is_finite(value) and value >= 0,
    "missing": _is_flag, "values": _is_values, "embedded": _is_flag,
}


def _read_column(content: Mapping[str, Any]) -> Number | Words:
    kind = _TYPES[content["type"]]
    for name in kind._fields:
        if not _FIELDS[name](content[name]):
            raise ValueError(f"a column's {name} can't be {content[name]!r:.40}")
    given = {name: content[name] for name in kind._fields}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def read(content: Any) -> Columns:
    """Of `Columns.text`'s JSON. Raises ValueError, KeyError or TypeError for what is none."""
    columns = tuple(map(_read_column, content["columns"]))
    embedded = list(map(_embedded, columns))
    if not columns or len({c.name for c in columns}) < len(columns) or embedded != sorted(embedded):
        raise ValueError("its columns are none, out of order, or twice the same")
    if sum(len(c.names) for c in columns) > MOST_FEATURES:
        raise ValueError("it has too many features")
    mean, scale = content["target_mean"], content["target_scale"]
    if not (_are_finite(mean) and _are_finite(scale) and len(mean) == len(scale)
            and all(value > 0 for value in scale)):
        raise ValueError("its targets' mean and scale are no numbers")
    return Columns(columns, tuple(mean), tuple(scale))


def _are_finite(value: Sequence[Any]) -> bool:
    return isinstance(value, list) and all(map(_is_finite, value))
