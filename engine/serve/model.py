"""A run as it is served: what it takes, what it says, in batches of few sizes, compiled once each.

N: examples, K: outputs.
"""

import itertools
from typing import Any

import numpy as np

from engine.command.output import named
from engine.errors import RequestError
from engine.export import card
from engine.serve.refused import Refused
from engine.trained import Run, in_batches

SIZES = 1, 8, 32  # of the batches that are computed


class Model:
    """A run, or the mean of a sweep's."""

    def __init__(self, run: Run):
        self.run, self.task, self.names = run, run.learner.task, run.classes
        self.kind = card.inputs(run)["kind"]

    def compile(self) -> None:
        """Before the first request: it waits for nothing but its own. Raises RequestError for a run
        whose predictions have no names, are of positions, or depend on who asks at once."""
        if self.task.kind == "positions":
            raise RequestError(f"{self.run.path} predicts a class of each position, which isn't "
                               "served: predict in Python, or python launch.py predict --output "
                               "FOLDER.")
        if any(run.learner.mixes for run in getattr(self.run, "runs", (self.run,))):
            raise RequestError(f"{self.run.path} has a network whose examples see each other, and "
                               "requests that come at once are computed together: predict in "
                               "Python, or python launch.py predict.")
        for size in SIZES:
            one = np.zeros((size, *self.run.input_shape), self.run.input_dtype)
            named(self.run, self.run.predicted(one))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """float32 [N, K] of inputs [N, ...]."""
        return in_batches(self.run.learner, self.run.predicted, inputs, *SIZES)

    def told(self, predicted_NxK: np.ndarray) -> list[dict[str, Any]]:
        """What is said of each example, for JSON. Raises Refused where it is no number."""
        if not np.isfinite(predicted_NxK).all():
            raise Refused(422, "the model's answer to these inputs is no number: are they of the "
                               "size of what it was trained on?")
        task: Any = self.task
        said = task.said(predicted_NxK) if task.kind == "classes" else None
        found = []
        for row, values in enumerate(predicted_NxK.tolist()):
            each = dict(zip(self.names, values, strict=True))
            if said is not None:
                name = self.names[said[row]]
                found.append({"class": name, "probability": each[name], "probabilities": each})
            elif task.kind == "labels":
                there = predicted_NxK[row] >= getattr(task, "threshold", 0.5)  # float32's 0.7, too
                found.append({"labels": [*itertools.compress(self.names, there)],
                              "probabilities": each})
            else:
                found.append({"values": each})
        return found
