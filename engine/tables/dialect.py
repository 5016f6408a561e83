"""How a CSV file is written: its separator, decimal point, encoding and header, from its head."""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from engine.errors import repeated

PARQUET = (".parquet", ".pq")
TABLES = (".csv", ".tsv", ".txt", *PARQUET)  # what the names of files end in
OTHERS = (".json", ".jsonl", ".ndjson", ".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z",
          ".xlsx", ".xlsm", ".ods", ".feather", ".arrow", ".orc", ".avro", ".npy", ".npz", ".h5",
          ".hdf5", ".pkl", ".pickle", ".sqlite", ".xml", ".html", ".pdf")  # never a table to us
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
MOST_COLUMNS = 1 << 17  # each is an object to the reader: so many pixels take a GB and 45 s
MOST_LINE = 1 << 24
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NAN", "NULL", "null",
           "None")  # fmt: skip
WORDS = ("label", "target", "class", "y")  # what the target is called where nobody says
UTF8, WINDOWS = "utf-8", "cp1252"
HEAD = 1 << 16  # bytes below the first row that are looked at, or as many as it has
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_MARKED = re.compile(r"[+-]?(?=\d*[.,])(?=[.,]*\d)[\d.,]+([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}((?:\1\d{3})*)((?:(?!\1)[.,]\d*)?)")


class Unreadable(ValueError):
    """A file that is refused: why, and what to do instead."""

    def __init__(self, reason: str, instead: str):
        super().__init__(reason)
        self.instead = instead


class Marks(NamedTuple):
    """A number's decimal mark; and one of the file's numbers whose thousands the other mark groups,
    if there are some."""

    decimal: str = "."
    grouped: str = ""

    @property
    def said(self) -> str:
        """How grouped numbers are read."""
        return f"with marks between thousands ({self.grouped} is {self.pointed(self.grouped)})"

    def pointed(self, text: str) -> str:
        """A number as it is written with a point and no other mark; other text as it is."""
        if self == Marks():
            return text
        found = _GROUPED.fullmatch(text)
        if found and found[1] != self.decimal:
            return text.replace(found[1], "").replace(self.decimal, ".")
        is_number = self.decimal != "." and _NUMBER.fullmatch(text)
        return text.replace(self.decimal, ".") if is_number else text


class Dialect(NamedTuple):
    """How the file is written. `header` is whether its first row holds the `names`; without it they
    are 0, 1, 2, … A name of a column without one is Unnamed: N, as pandas has it. Of the columns
    those that are `wanted` are read, or all; a cell that is one of `missing` is empty."""

    names: tuple[str, ...]
    header: bool
    delimiter: str = ","
    marks: Marks = Marks()
    encoding: str = UTF8
    wanted: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING

    def notes(self) -> list[str]:
        """What is worth saying of it: nothing of a file with commas in UTF-8."""
        told = []
        if self.delimiter != ",":
            told.append(f"separated by {DELIMITERS[self.delimiter]}")
        if self.marks.decimal != ".":
            told.append("with decimal commas")
        if self.marks.grouped:
            told.append(self.marks.said)
        if self.encoding != UTF8:
            told.append("in Latin-1 (Windows-1252)")
        said = ["it is " + ", ".join(told)] if told else []
        if not self.header:
            said.append(f"it has no header, so its columns are called 0 to {len(self.names) - 1}")
        return said


def of(file: BinaryIO, target: str = "") -> Dialect:
    """Of a file that is open at its beginning; `target` is the wanted column, if anybody said.
    Raises Unreadable for what is no table, or a header that can't be one."""
    head = file.readline(MOST_LINE + 1)
    if b"\r" not in head and len(head) > MOST_LINE:
        raise Unreadable(f"its first line has more than {MOST_LINE:,} bytes",
                         "see whether it is a table")
    head += file.read(max(HEAD, len(head)))
    if not head:
        raise Unreadable("it is empty", "write a header, and rows below it")
    if _BINARY.search(head):
        raise Unreadable("it holds control characters, as no text in UTF-8 does",
                         "save it as CSV, in UTF-8")
    text, encoding = _decoded(head)
    if text.startswith("sep="):
        raise Unreadable(f"its first line, {text.splitlines()[0]}, is for Excel, and no header",
                         "delete that line")
    delimiter, rows = separated(text)
    names = tuple(name.strip() for name in rows[0]) if rows else ()
    if not any(names) or not all(map(str.isprintable, names)):
        raise Unreadable("it begins with no header", "write one, such as label,pixel0,pixel1")
    if len(names) > MOST_COLUMNS:
        raise Unreadable(f"it has {len(names):,} columns, more than the {MOST_COLUMNS:,} that can "
                         "be read", "leave some out")
    header = _is_header(names, rows[1:], target)
    called = _named(names) if header else tuple(map(str, range(len(names))))
    return Dialect(called, header, delimiter, marks(turned(rows[1:]), delimiter), encoding)


def _decoded(head: bytes) -> tuple[str, str]:
    """The text of the first bytes, as far as lines are whole, and its encoding."""
    whole = head[: max(head.rfind(b"\n"), head.rfind(b"\r")) + 1] or head
    try:
        return whole.decode("utf-8-sig"), UTF8
    except UnicodeDecodeError:
        return whole.decode(WINDOWS, "replace"), WINDOWS


def separated(text: str) -> tuple[str, list[list[str]]]:
    """The separator and the cells of the first rows: that under which most rows have as many cells
    as the first one has, and it several."""
    found: dict[str, list[list[str]]] = {}
    for delimiter in DELIMITERS:
        lines = io.StringIO(text, newline="")
        csv.field_size_limit(MOST_LINE)
        try:
            found[delimiter] = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            found[delimiter] = []

    def agreeing(delimiter: str) -> tuple[int, int]:
        rows = found[delimiter]
        count = len(rows[0]) if rows else 0
        return (sum(len(row) == count for row in rows) if count > 1 else 0), count

    best = max(DELIMITERS, key=agreeing)
    return best, found[best]


def turned(rows: Iterable[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """The cells of each column, without spaces around, empty where a row is short."""
    return itertools.zip_longest(*(map(str.strip, row) for row in rows), fillvalue="")


def _is_header(names: Sequence[str], below: Sequence[Sequence[str]], target: str) -> bool:
    """Whether the first row names the columns. Raises Unreadable where that can't be told: where
    each of its cells is a number or a word as the cell below is, one a number at least, and no name
    among them is a target's."""
    second = next((row for row in below if len(row) == len(names)), None)
    numbers = [bool(_NUMBER.fullmatch(name)) for name in names]
    if not any(numbers) or second is None and not all(numbers):
        return True
    asked = [target] if target in names else target.split(",")
    alike = second is None or numbers == [bool(_NUMBER.fullmatch(cell.strip())) for cell in second]
    words = {name.casefold() for name in names}
    counted = [str(number) for number in range(len(names) + 1)]  # the names that pandas and R give
    if (not alike or words.intersection(WORDS) or list(names) in (counted[:-1], counted[1:])
            or any(name in names and not _NUMBER.fullmatch(name) for name in asked)
            or any(f"{name}.1" in names for name in names)):  # what pandas makes of a name's second
        return True
    if all(name.isdecimal() and int(name) < len(names) for name in asked):
        return False
    raise Unreadable("its first row holds numbers in place of the columns' names", "write a header "
                     "above it; or say which column is to be learnt, by its number: --target 0 is "
                     f"the first, --target {len(names) - 1} the last")


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each its own. Raises Unreadable where one comes twice."""
    if twice := repeated(filter(None, names)):
        raise Unreadable(f"it names two columns {twice[0]!r}", "name each once")
    return tuple(name or f"Unnamed: {place}" for place, name in enumerate(names))


def marks(columns: Iterable[Sequence[str]], delimiter: str) -> Marks:
    """Of the cells of a table's columns: where commas part these, a point. Else a mark is decimal
    that has other than three digits behind it, or the other one before it, and groups thousands
    where the other is decimal or a number has it twice. Of numbers such as 85,068 alone several are
    thousands, but between semicolons, which part cells where commas are decimal; 47.259 is a
    fraction. A column of what is no number, 1,2,3 say, tells nothing."""
    decimal, groups, either = set[str](), set[str](), dict[str, list[str]]()
    for column in columns if delimiter != "," else ():
        marked = [cell for cell in column if _MARKED.fullmatch(cell)]
        grouped = [found for found in map(_GROUPED.fullmatch, marked) if found]
        plain = [cell for cell in marked if not _GROUPED.fullmatch(cell)]
        if not all(map(_NUMBER.fullmatch, plain)):
            continue
        decimal.update("".join(plain))
        for found in grouped:
            mark, more, fraction = found.groups()
            decimal.update(fraction[:1])
            if more or fraction:
                groups.add(mark)
            either.setdefault(mark, []).append(found[0])
    readings = [Marks(mark, either.get(other, [""])[0]) for mark, other in (".,", ",.")
                if other not in decimal and mark not in groups]
    if len(readings) == 2:  # nothing is sure
        commas = 0 if "." in either else len(either.get(",", ()))
        return readings[commas == 1 or (commas > 1 and delimiter == ";")]
    return readings[0] if readings else Marks()
