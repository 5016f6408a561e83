"""A Parquet file → a table of plain columns, one column of it, or the rows of a row group."""

import contextlib
import itertools
import json
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
from pyarrow import compute, parquet

from engine.errors import repeated
from engine.sets.limits import MOST_EXAMPLES, TooLarge
from engine.tables.arrow_file import native
from engine.tables.dialect import MOST_COLUMNS, Unreadable

_ROWS = 1 << 16  # decoded at once, of COLUMNS; fewer of more
COLUMNS = 64


def read(
    file: BinaryIO, names: Sequence[str], most_bytes: int, text: Collection[str] = ()
) -> pa.Table:
    """All rows of these columns, words as dictionaries; truths of the columns `text` are words, as
    pandas writes them into CSV. Columns within columns are refused, and so are bytes. Raises
    Unreadable, or TooLarge for more rows than MOST_EXAMPLES, or more than `most_bytes`."""
    opened = _opened(file)
    _check(opened, names)
    rows = opened.metadata.num_rows
    if rows > MOST_EXAMPLES or 8 * rows * len(names) > most_bytes:
        raise TooLarge("table", f"its {rows:,} rows of {len(names):,} columns are more than the "
                       f"{MOST_EXAMPLES:,} rows, and the {most_bytes:,} bytes, that can be held",
                       "leave rows or columns out, or write all its files as Parquet, to be "
                       "streamed")
    return _rows(file, opened, names, text)


def column(file: BinaryIO, name: str, text: Collection[str]) -> pa.Table:
    """`read` of one column alone, however many rows there are."""
    return _rows(file, _opened(file), [name], text)


def starts(file: BinaryIO, names: Sequence[str]) -> list[int]:
    """The number of the first row of each row group, and of all rows. Raises Unreadable, for what
    the columns `names` hold too."""
    opened = _opened(file)
    _check(opened, names)
    groups = range(opened.metadata.num_row_groups)
    counts = [opened.metadata.row_group(group).num_rows for group in groups]
    return [0, *itertools.accumulate(counts)]


def names(file: BinaryIO) -> tuple[list[str], list[str]]:
    """Those of its columns; and those of the ones that were the index of a DataFrame, as pandas
    says in the file's metadata. Raises Unreadable."""
    opened = _opened(file)
    index: list[str] = []
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):  # others wrote it
        said = json.loads((opened.metadata.metadata or {})[b"pandas"])["index_columns"]
        index = [name for name in said if isinstance(name, str)]  # a range is no column
    return opened.schema_arrow.names, index


def kinds(file: BinaryIO) -> dict[str, str]:
    """Which columns hold numbers, and which dates, by their types; words may turn out to be any."""
    return {field.name: "date" if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)
            else "number"
            for field in _opened(file).schema_arrow
            if not _is_words(field.type) and not pa.types.is_dictionary(field.type)}


def at_once(rows: int, names: Sequence[str]) -> int:
    """As many cells of the columns `names` as `rows` of COLUMNS have, in rows, one at least."""
    return max(1, rows * COLUMNS // max(COLUMNS, len(names)))


def batches(
    file: BinaryIO, groups: Sequence[int], names: Sequence[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of some row groups, columns `names` of them, each with its group. Raises
    Unreadable."""
    with _telling():
        opened = parquet.ParquetFile(native(file))
        for group in groups:
            for batch in opened.iter_batches(at_once(_ROWS, names), [group], list(names)):
                yield group, batch.select(names)  # a name may be another's beginning, up to a point


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"it is no Parquet file, or a damaged one ({error})",
                         "write it again") from None


def _opened(file: BinaryIO) -> parquet.ParquetFile:
    with _telling():
        opened = parquet.ParquetFile(native(file))
    if (count := opened.metadata.num_columns) > MOST_COLUMNS:  # before a schema is made of them
        raise Unreadable(f"it has {count:,} columns, more than the {MOST_COLUMNS:,} that can be "
                         "read", "leave some out")
    if twice := repeated(opened.schema_arrow.names):
        raise Unreadable(f"it names two columns {twice[0]!r}", "name each once")
    return opened


def _check(opened: parquet.ParquetFile, names: Sequence[str]) -> None:
    schema = opened.schema_arrow
    for name in names:
        if not _plain(kind := schema.field(name).type):
            raise Unreadable(f"its column {name!r} holds {kind}, neither a number, a date nor a "
                             "word", f"leave it out, --leave_out {shlex.quote(name)}, or make a "
                             "column of each of its parts")


def _rows(file: BinaryIO, opened: parquet.ParquetFile, names: Sequence[str],
          text: Collection[str]) -> pa.Table:  # fmt: skip
    schema = opened.schema_arrow
    words = [name for name in names if _is_words(schema.field(name).type)]
    with _telling():
        again = parquet.ParquetFile(native(file), read_dictionary=words)
        schema = again.schema_arrow  # made anew by each look
        wanted = pa.schema([schema.field(name) for name in names])
        found = pa.Table.from_batches(
            [batch.select(names) for batch in again.iter_batches(_ROWS, columns=list(names))],
            wanted)
    if not found.num_rows:
        raise Unreadable("it has no rows", "add some")
    for at, field in enumerate(wanted):
        if field.name in text and pa.types.is_boolean(field.type):
            told = compute.if_else(found.column(at), "True", "False")
            found = found.set_column(at, field.name, told)
    return found.unify_dictionaries()


def _is_words(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _plain(kind: pa.DataType) -> bool:
    """Whether it holds a number, a date, a word or nothing a row."""
    if pa.types.is_dictionary(kind):
        return _is_words(kind.value_type)
    types = pa.types
    return any(is_kind(kind) for is_kind in (
        types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_date,
        types.is_timestamp, types.is_time, types.is_duration, types.is_null, _is_words))
