"""MLflow: a run in the experiment flaxmill, or in its sweep's; where MLFLOW_TRACKING_URI says, else
mlflow.db in the working folder."""

import logging
import os
import time
from pathlib import Path

# Before MLflow reads them: a server that is away is known to be within seconds, not minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param  # noqa: E402

from engine.loggers.tracking import Told  # noqa: E402

PACKAGE = "mlflow"


class Tracker:
    """A tracking.Tracker."""

    def __init__(self, told: Told):
        self._client = MlflowClient()
        if told.id:
            self._client.update_run(told.id, "RUNNING")
        self._id = told.id or self._begun(told)
        self.known = {"id": self._id}

    def _begun(self, told: Told) -> str:
        """The id of a new run, its values told once: MLflow's can't change."""
        found = self._client.get_experiment_by_name(told.experiment)
        experiment = found.experiment_id if found else \
            self._client.create_experiment(told.experiment)
        id = self._client.create_run(experiment, run_name=told.name).info.run_id
        values = [Param(name, str(value)) for name, value in told.values.items()]
        self._client.log_batch(id, params=values)
        return id

    def row(self, row: dict[str, float]) -> None:
        self._metrics(row, int(row["epoch"]))

    def score(self, epoch: int, scores: dict[str, float], artefacts: list[Path]) -> None:
        self._metrics({f"final.{name}": value for name, value in scores.items()}, epoch)
        for file in artefacts:
            self._client.log_artifact(self._id, str(file))

    def close(self, done: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if done else "FAILED")

    def _metrics(self, values: dict[str, float], epoch: int) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(name, value, now, epoch)
                                         for name, value in values.items() if name != "epoch"])
