"""What a sweep leaves of one run: a folder as an ordinary run's."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.request import Request
from engine.setup import Setup
from engine.store import checkpoint, folder
from engine.sweep.population import Member
from engine.sweep.space import Trial


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
    request, facts = Request(trial.config, trial.hyper, place), ready.facts
    if trial.fold:  # whose examples are others than those of the first, which were counted
        del facts["data"]
    folder.write_config(path, folder.described(request, **facts))


def model(path: Path, ready: Setup) -> dict[str, Any]:
    """The variables that the run in `path` predicts with, of its last checkpoint."""
    with checkpoint.Checkpoints(path / "checkpoints", read_only=True) as saved:
        return saved.restore(ready.state_shapes)[0].model
