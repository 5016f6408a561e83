"""history.csv in the run's folder: a line an epoch, for a spreadsheet."""

import csv
import io
from typing import Any

from engine.disk import files
from engine.loggers.tracking import Told

PACKAGE = ""  # it needs none


class Tracker:
    """A tracking.Tracker. The first row's names are the columns."""

    id = ""

    def __init__(self, told: Told):
        self._file = told.path / "history.csv"
        self._columns: list[str] = []
        if self._file.exists():
            text = files.read(self._file).decode()
            self._columns = next(csv.reader(text.splitlines()), [])

    def row(self, row: dict[str, float]) -> None:
        if not self._columns:
            self._columns = [*row]
            self._append(self._columns)
        self._append([row.get(name, "") for name in self._columns])

    def _append(self, values: list[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(values)
        files.append(self._file, line.getvalue())

    def score(self, *_: Any) -> None:
        """metrics.json has them."""

    def close(self, done: bool) -> None:
        """Nothing is open."""
