"""history.csv in the run's folder: a line an epoch, for a spreadsheet."""

import csv
import io
from typing import Any

from engine.disk import files
from engine.loggers.tracking import Told

PACKAGE = ""  # it needs none


class Tracker:
    """A tracking.Tracker. The first row's names are the columns. A last line without its end, as a
    full disk leaves it, is cut off and told again."""

    def __init__(self, told: Told):
        self._file = told.path / "history.csv"
        content = files.read(self._file) if self._file.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            files.replace(self._file, whole)
        rows = csv.DictReader(io.StringIO(whole.decode()))
        self._columns = [*(rows.fieldnames or ())]
        self.known = {"epoch": max((int(row["epoch"]) for row in rows), default=0)}

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
