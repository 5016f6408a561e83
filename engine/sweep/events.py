"""What happened to the runs of a sweep besides training."""

from pathlib import Path
from typing import Any

from engine.disk.files import is_count, is_text
from engine.store import folder

FILE = "events.jsonl"
REFUSED = "refused"
STOPPED = "stopped"  # by its patience
DROPPED = "dropped"
COPIED = "copied"
DIVERGED = "diverged"
EVENT = {"group": is_count, "step": is_count, "run": is_count, "event": is_text}


class Events:
    """events.jsonl: which run diverged, was dropped or refused, or went on as a copy of which."""

    def __init__(self, path: Path):
        self._path = path

    def add(self, group: int, step: int, run: int, event: str, **more: Any) -> None:
        row = {"group": group, "step": step, "run": run, "event": event} | more
        folder.append_history(self._path, row, FILE)

    def forget(self, group: int, after_step: int) -> None:
        """Drop the group's events later than its checkpoint, which will happen again, and that it
        was refused, which may not."""
        rows = [row for row in self._rows() if row["group"] != group
                or row["step"] <= after_step and row["event"] != REFUSED]
        folder.write_rows(self._path / FILE, rows)

    def _rows(self) -> list[dict[str, Any]]:
        return folder.history(self._path, name=FILE, needed=EVENT)

    def last(self) -> dict[int, dict[str, Any]]:
        """What happened last to every run that something happened to."""
        return {row["run"]: row for row in self._rows()}

    def status(self) -> dict[int, str]:
        """Of every run that didn't simply finish; a copied run is whole again."""
        found = {run: row["event"] for run, row in self.last().items()}
        return {run: event for run, event in found.items() if event != COPIED}
