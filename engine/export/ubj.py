"""XGBoost's own model file, in UBJSON: what a run of trees has learned, as XGBoost saves it."""

from pathlib import Path

import numpy as np

from engine.learners.boosting import BYTES
from engine.trained import Run

LOADED = """import xgboost
model = xgboost.Booster(model_file="{file}")
predictions = model.predict(xgboost.DMatrix(x.reshape(len(x), -1)))"""


def write(run: Run, path: Path) -> None:
    path.write_bytes(np.asarray(run.state.params[BYTES]).tobytes())


def said(run: Run, path: Path, inputs: np.ndarray) -> np.ndarray:
    import xgboost

    rows_NxF = inputs.reshape(len(inputs), -1).astype(np.float32)
    found = xgboost.Booster(model_file=path).predict(xgboost.DMatrix(rows_NxF))
    return found.reshape(len(inputs), -1)
