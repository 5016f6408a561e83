"""Weights & Biases: a run of the project flaxmill (or WANDB_PROJECT's), a sweep's in one group.
Its files lie in ./wandb or WANDB_DIR: there are links among them, which a run's folder may not
hold. WANDB_MODE=offline leaves them there, for `wandb sync`."""

import os
import secrets
from pathlib import Path

import wandb

from engine.loggers.tracking import EXPERIMENT, Told

# Nothing is printed but our own line where it fails, and no server waited for without an end.
_SETTINGS = wandb.Settings(silent=True, console="off", disable_code=True, disable_git=True,
                           init_timeout=30, finish_timeout=60, reinit="create_new")
PACKAGE = "wandb"


class Tracker:
    """A tracking.Tracker."""

    def __init__(self, told: Told):
        self._id = told.id or secrets.token_hex(4)
        self.known = {"id": self._id}
        self._run = wandb.init(
            id=self._id, resume="allow", name=told.name, config=told.values,
            project=os.environ.get("WANDB_PROJECT", EXPERIMENT), allow_val_change=True,
            group=None if told.experiment == EXPERIMENT else told.experiment, settings=_SETTINGS,
        )

    def row(self, row: dict[str, float]) -> None:
        self._run.log(row, step=int(row["epoch"]))

    def score(self, epoch: int, scores: dict[str, float], artefacts: list[Path]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in scores.items()})
        report = wandb.Artifact(f"report-{self._id}", type="report")
        for file in artefacts:
            report.add_file(str(file))
        self._run.log_artifact(report)

    def close(self, done: bool) -> None:
        self._run.finish(exit_code=0 if done else 1)
