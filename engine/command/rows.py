"""The rows of a table to predict, with labels or without: its columns are found by their names."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from engine.config import Reading
from engine.errors import RequestError
from engine.sets.columns import Columns
from engine.sets.names import columns_in
from engine.tables import sheet, table

ROW = "row"
_READ = 1 << 26  # bytes of inputs at once
_ID = re.compile(r"(.*[_ .-])?id|.*[a-z]I[dD]", re.DOTALL)


class Rows:
    """A table's rows in their order, called by their id where it has one, else numbered from 1.

    They are features that `columns` make, or without these pictures of `shape` and `dtype`, in the
    order of the columns `pixels` where these have no numbers. The run predicts the columns `told`.
    Raises RequestError for more files than one, and for what is no such table."""

    def __init__(self, files: Sequence[str], reading: Reading, shape: tuple[int, ...], dtype: str,
                 columns: Columns | None, pixels: Sequence[str] = (), told: Sequence[str] = ()):
        if len(files) > 1:
            raise RequestError(f"predict takes a table alone, and got {len(files):,} files: name "
                               "one at a time.")
        learned = {column.name for column in columns.columns} if columns else set()
        if own := learned.intersection(columns_in(reading.target, learned)):
            raise RequestError(f"--target {reading.target}: the run learned from {min(own)!r}, and "
                               "predicts its own target: leave it out.")
        text = columns.words if columns else ()
        frame = table.frame(files[0], reading, text)  # which may lie in its file
        self._inputs = columns.encode(frame) if columns else table.pictures(
            frame, shape, dtype, pixels)
        names = sheet.names_of(files[0], reading)
        self.key = _id(names, {*learned, *told, *columns_in(reading.target, names),
                               reading.group, reading.weight},
                       columns_in(reading.leave_out, names))
        self.keys = (sheet.cells(files[0], self.key, reading) if self.key else
                     [str(number) for number in range(1, len(frame) + 1)])
        if len(self.keys) != len(frame):
            raise RequestError(f"{files[0]} has changed while it was read: try again.")
        self.key = self.key or ROW

    def batches(self, size: int) -> Iterator[tuple[Sequence[str], Any]]:
        """Keys and inputs of `size` rows, or fewer; those of a file are read some batches at a
        time."""
        example = math.prod(self._inputs.shape[1:]) * self._inputs.dtype.itemsize
        most = size * max(1, _READ // (size * example))
        for first in range(0, len(self.keys), most):
            read = self._inputs[first : first + most]
            for start in range(0, len(read), size):
                at = first + start
                yield self.keys[at : at + size], read[start : start + size]


def _id(names: Sequence[str], used: set[str], left_out: Sequence[str]) -> str:
    """The column that is an id by its name and not `used` by the run, one left out first; or ""."""
    ids = [name for name in names if (_ID.fullmatch(name.lower()) or _ID.fullmatch(name))
           and name not in used]
    return min(ids, key=lambda name: name not in left_out, default="")
