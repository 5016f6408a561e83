"""What a run's folder has lost, without which the run can't go on."""

from pathlib import Path
from typing import Any

from engine import segments
from engine.errors import RequestError


def missing(
    path: Path, rows: list[dict[str, Any]], step: int, done: int, what: str = "run"
) -> str:
    """In words, that the `rows` of history.jsonl lack some of the `done` epochs up to `step`, where
    they do; else ""."""
    kept = sum(row["step"] <= step for row in rows)
    return "" if kept >= done else (
        f"{path}/history.jsonl has {kept} of the {done} epochs that were trained: put it back, or "
        f"start a new {what} in another --run_dir.")


def check(path: Path, rows: list[dict[str, Any]], step: int, done: int) -> None:
    """Raise RequestError where epochs are `missing`, or at step 0 are there of which a checkpoint
    was."""
    if lost := missing(path, rows, step, done):
        raise RequestError(lost)
    if not step and rows and ((path / "metrics.json").exists() or _saved(rows)):
        raise RequestError(f"{path}/history.jsonl has {len(rows)} epochs, and {path}/checkpoints "
                           "no checkpoint of them: put them back, or start a new run in another "
                           "--run_dir.")


def _saved(rows: list[dict[str, Any]]) -> bool:
    """Whether a save was surely done, whenever the run was killed: one that was due may have been
    under way, and that of the next row is due once its own has waited for it."""
    due, seconds = 0, 0.0
    for row in rows[:-1]:
        seconds += row["seconds"]
        if seconds > segments.APART:
            due, seconds = due + 1, 0.0
    return due > 1
