"""A Parquet file → a table of plain columns."""

from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from engine.sources.dialect import MOST_COLUMNS, Unreadable

ENDINGS = (".parquet", ".pq")
_ROWS = 1 << 16  # decoded at once


def read(file: BinaryIO, most_bytes: int) -> pa.Table:
    """All its rows, words as dictionaries. Columns within columns are refused, and so are bytes.
    Raises Unreadable."""
    try:
        opened = parquet.ParquetFile(file)
        names = [field.name for field in opened.schema_arrow]
        if nested := [field.name for field in opened.schema_arrow if not _plain(field.type)]:
            kind = opened.schema_arrow.field(names.index(nested[0])).type
            raise Unreadable(f"its column {nested[0]!r} holds {kind}, neither a number, a date nor "
                             "a word", "leave it out, or make a column of each of its parts")
        if len(names) > MOST_COLUMNS or len(set(names)) < len(names):
            raise Unreadable(f"its {len(names):,} columns are too many, or two have one name",
                             f"name {MOST_COLUMNS:,} at most, each once")
        if 8 * opened.metadata.num_rows * len(names) > most_bytes:
            raise Unreadable(f"its {opened.metadata.num_rows:,} rows of {len(names):,} columns are "
                             f"more than the {most_bytes:,} bytes that can be held",
                             "leave rows or columns out")
        words = [field.name for field in opened.schema_arrow if _is_words(field.type)]
        opened = parquet.ParquetFile(file, read_dictionary=words)
        found = pa.Table.from_batches(opened.iter_batches(_ROWS), opened.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"it is no Parquet file, or a damaged one ({error})",
                         "write it again") from None
    if not found.num_rows:
        raise Unreadable("it has no rows", "add some")
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
