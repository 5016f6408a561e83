"""What a sweep leaves of one run: a folder as an ordinary run's."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import RunError
from engine.optim.lengths import Durations
from engine.request import Request
from engine.setup import Setup
from engine.store import checkpoint, folder, gaps
from engine.sweep.events import COPIED, DIVERGED, DROPPED, STOPPED
from engine.sweep.population import Member
from engine.sweep.space import Trial


def _check(
    path: Path, rows: list[dict[str, Any]], step: int, lengths: Durations, last: dict[str, Any]
) -> None:
    """Raises RunError where a folder isn't as the sweep left it at `step`: it was trained on by
    itself, or its history's `rows` lack epochs. `last` is what happened to the member last."""
    event, left = last.get("event"), lengths.total
    if event in (DROPPED, STOPPED):
        left = last["step"]
    with checkpoint.Checkpoints(path / "checkpoints", read_only=True) as saved:
        further = saved.latest()
    if further > left:
        raise RunError(f"{path} was trained on by itself, to step {further}, and the sweep, which "
                       f"left it at step {left}, would take that back: copy it elsewhere and "
                       f"delete its checkpoints after {left}, or leave the sweep as it is.", 2)
    done = min(step, left) // lengths.epoch
    if event == COPIED:  # it may have diverged before, and has no row of those epochs
        done = int(step == lengths.total)
    if event != DIVERGED and (lost := gaps.missing(path, rows, step, done, "sweep")):
        raise RunError(lost, 2)


def rewind(path: Path, trial: Trial, ready: Setup, step: int, last: dict[str, Any]) -> None:
    """A member's folder as it was at `step`: later epochs will come again."""
    rows = folder.history(path)
    _check(path, rows, step, ready.lengths, last)
    write_config(path, trial, ready)
    folder.rewind_history(path, rows, step)


def save(path: Path, step: int, member: Member, score: float) -> None:
    """A member, on the host, as an ordinary run's checkpoint in its own folder."""
    state = member.state._replace(step=np.int32(step))  # type: ignore[arg-type]  # on the host
    with checkpoint.Checkpoints(path / "checkpoints") as saved:
        if saved.latest() < step:  # else it was saved before the sweep was resumed
            saved.save(state, score, 0.0)


def write_config(path: Path, trial: Trial, ready: Setup) -> None:
    path.mkdir(exist_ok=True)
    folder.write_columns(path, ready.columns)
    place = dataclasses.replace(ready.request.place, run_dir=str(path))
    request, facts = Request(trial.config, trial.hyper, place), dict(ready.facts)
    if trial.fold:  # whose examples are others than those of the first, which were counted
        del facts["data"]
    folder.write_config(path, folder.described(request, **facts))


def model(path: Path, ready: Setup) -> dict[str, Any]:
    """The variables that the run in `path` predicts with, of its last checkpoint."""
    return checkpoint.restored(path, ready.state_shapes).model
