"""A CSV file → a table of typed columns, read by pyarrow block after block."""

import codecs
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow

from engine.tables.arrow_file import native
from engine.tables.dialect import UTF8, WINDOWS, Dialect, Unreadable

WORDS = pa.dictionary(pa.int32(), pa.string())
_MOST_READINGS = 32
_BLOCK = 1 << 20  # bytes parsed at once, which stay in the processor's cache; a line has no more
_BLOCK_OF_MANY = 1 << 24  # where there are many columns
_MANY = 1 << 14
_DAYS = "%Y/%m/%d", "%d.%m.%Y"  # beside ISO 8601's, each with a time or not
_TIMES = [arrow.ISO8601, *(day + time for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S"))]


def read(file: BinaryIO, dialect: Dialect, text: Collection[str], pixels: Collection[str],
         most_bytes: int) -> tuple[pa.Table, Dialect]:  # fmt: skip
    """All its rows. Columns are float64, bool, date, timestamp or WORDS; those of `text` WORDS, and
    those of `pixels` uint8 where all of them can be. Types are those of the first block; where a
    cell below is none of its column's, the file is read again with that column as words. The
    dialect comes back in the encoding that it turned out to have. Raises Unreadable."""
    try:
        with _in_utf8(file, dialect.encoding) as written:
            return _typed(written, dialect, text, pixels, most_bytes), dialect
    except UnicodeError:
        dialect = dialect._replace(encoding=WINDOWS)
    return read(file, dialect, text, pixels, most_bytes)


def cells(file: BinaryIO, dialect: Dialect, name: str, most_bytes: int) -> list[str]:
    """Those of the column `name`, to the letter. Raises Unreadable."""
    alone = dialect._replace(wanted=(name,), missing=())
    return read(file, alone, [name], (), most_bytes)[0].column(name).to_pylist()


def _typed(file: BinaryIO, dialect: Dialect, text: Collection[str], pixels: Collection[str],
           most_bytes: int) -> pa.Table:  # fmt: skip
    """`read` of a file in UTF-8. Raises UnicodeError where it isn't."""
    types = _first_types(file, dialect)
    types |= dict.fromkeys(text, WORDS) | dict.fromkeys(pixels, pa.uint8())
    for _ in range(_MOST_READINGS):
        try:
            found = _all(file, dialect, types, most_bytes)
            if not (short := [name for name in types if _is_short(found.column(name))]):
                return found
            types |= dict.fromkeys(short, WORDS)
        except pa.ArrowInvalid as error:
            told = str(error)
            if "invalid UTF8" in told:
                raise UnicodeError(told) from None
            if "conversion error" not in told:
                raise _fault(file, dialect, types, error) from None
            types = _wider(types, dialect.names[int(told.split("#")[1].split(":")[0])])
    raise Unreadable(f"more than {_MOST_READINGS} of its columns hold numbers first, and words "
                     "below", "write each column alike")


def _is_short(column: pa.ChunkedArray) -> bool:
    """Whether it has years of two digits, which were read as those of antiquity. The year 1 is some
    programs' first."""
    if not pa.types.is_timestamp(column.type):
        return False
    years = pc.year(column)
    return bool(pc.any(pc.and_(pc.greater(years, 1), pc.less(years, 100))).as_py())


@contextmanager
def _in_utf8(file: BinaryIO, encoding: str) -> Iterator[BinaryIO]:
    """The file itself, or a temporary copy."""
    if encoding == UTF8:
        yield file
        return
    file.seek(0)
    with tempfile.TemporaryFile() as copy:
        try:
            shutil.copyfileobj(codecs.EncodedFile(file, UTF8, encoding), copy, _BLOCK)
        except UnicodeError:
            raise Unreadable("it is neither UTF-8 nor Latin-1", "save it as CSV in UTF-8") from None
        yield copy


def _opened(file: BinaryIO, dialect: Dialect, types: dict[str, pa.DataType] | None = None,
            threads: bool = True) -> arrow.CSVStreamingReader:  # fmt: skip
    return arrow.open_csv(
        native(file),
        arrow.ReadOptions(use_threads=threads, block_size=_block(dialect),
                          column_names=dialect.names, skip_rows=int(dialect.header)),
        # A cell of a column that isn't wanted may have several lines, which take longer to part.
        arrow.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=bool(dialect.wanted)),
        arrow.ConvertOptions(column_types=types, null_values=dialect.missing,
                             strings_can_be_null=True, decimal_point=dialect.marks.decimal,
                             include_columns=dialect.wanted or None,
                             timestamp_parsers=_TIMES),
    )  # fmt: skip


def _block(dialect: Dialect) -> int:
    return _BLOCK if len(dialect.names) < _MANY else _BLOCK_OF_MANY


def _first_types(file: BinaryIO, dialect: Dialect) -> dict[str, pa.DataType]:
    """Of the first block; whole numbers may have fractions below, and nothing may become words."""
    try:
        with _opened(file, dialect) as reader:
            schema = reader.schema
    except pa.ArrowInvalid as error:
        raise _fault(file, dialect, {}, error) from None
    kept = (pa.types.is_boolean, pa.types.is_date, pa.types.is_timestamp)
    return {
        field.name: pa.float64() if pa.types.is_integer(field.type)
        or pa.types.is_floating(field.type)
        else field.type if any(is_kind(field.type) for is_kind in kept) else WORDS
        for field in schema
    }


def _all(file: BinaryIO, dialect: Dialect, types: dict[str, pa.DataType], most_bytes: int,
         threads: bool = True) -> pa.Table:  # fmt: skip
    batches, size = [], 0
    with _opened(file, dialect, types, threads) as reader:
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > most_bytes:
                raise Unreadable(f"its columns take more than the {most_bytes:,} bytes that can be "
                                 "held", "leave rows or columns out")
    if not sum(batch.num_rows for batch in batches):
        raise Unreadable("it has no rows below its header", "add some")
    return pa.Table.from_batches(batches).unify_dictionaries()


def _wider(types: dict[str, pa.DataType], name: str) -> dict[str, pa.DataType]:
    """For a cell of the column `name` that is none of its type: words, or where it is of pixels
    all of those as any number."""
    if types[name] != pa.uint8():
        return types | {name: WORDS}
    return {name: pa.float64() if kind == pa.uint8() else kind for name, kind in types.items()}


def _fault(file: BinaryIO, dialect: Dialect, types: dict[str, pa.DataType],
           error: Exception) -> Unreadable:  # fmt: skip
    """What is wrong, with its row, which only one thread that reads again can tell."""
    try:
        _all(file, dialect, types, 1 << 62, threads=False)
    except pa.ArrowInvalid as again:
        if "conversion error" not in str(again):
            error = again
    except Unreadable:
        pass
    told = str(error)
    row = found[0].replace("#", "").lower() if (found := re.search(r"Row #\d+", told)) else "a row"
    if counts := re.search(r"Expected (\d+) columns, got (\d+): (.*)", told, re.DOTALL):
        if counts[3].count('"') % 2 or "\n" in counts[3]:
            return Unreadable(f"{row}: a quotation mark is not closed in it", "close it")
        return Unreadable(f"{row}, the header being 1: it has {counts[2]} cells, and the first row "
                          f"{counts[1]}: {counts[3][:60]}", "mend that row, or delete it")
    more_than_one = os.fstat(file.fileno()).st_size > _block(dialect)
    if "straddling" in told or "Could not skip" in told and more_than_one:
        return Unreadable(f"a line has more than {_block(dialect):,} bytes",
                          "see whether it is a table")
    if "Could not skip" in told or "Empty CSV" in told:
        return Unreadable("it has no rows below its header", "add some")
    return Unreadable(told, "mend it")
