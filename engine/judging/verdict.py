"""What a trained model says of the examples that judge it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from rich.console import Console

from engine.console.bar import waiting
from engine.data import named_validation
from engine.devices import mesh
from engine.examples import Subset
from engine.learners import threshold
from engine.learners.learner import Learner, jitted
from engine.scores import lost
from engine.scores.judged import Judged
from engine.segments import watched
from engine.setup import Setup
from engine.stream import judging
from engine.task import Task


def held_for_evaluation(ready: Setup) -> tuple[str, Subset]:
    """The name and the examples of what judges the model, on the device, or of a streamed set on
    the host."""
    if ready.judged is None:
        subset = ready.data.validation
        return ready.judges, ready.stream.on_host(subset) if ready.stream else subset
    return ready.judges, ready.judged if ready.stream else mesh.put(ready.judged, ready.everywhere)


def found(ready: Setup, variables: Any, subset: Subset) -> Judged:
    """What a model says of a subset."""
    workers = ready.stream.workers if ready.stream else None
    with watched(ready.request.place):
        return found_by(ready.learner, variables, subset, ready.everywhere, ready.host.console,
                        workers)


def with_threshold(ready: Setup, variables: Any) -> tuple[Task, dict[str, Any]]:
    """The task with the threshold that the run asks to have chosen on its validation, and what is
    kept of the choice; as it is, where none is asked for."""
    by, subset = ready.config.choose_threshold, ready.data.validation
    if by == threshold.OFF:
        return ready.task, {}
    told = found(ready, variables, ready.stream.on_host(subset) if ready.stream else subset)
    name = named_validation(ready.dataset, ready.config.parts)
    return threshold.chosen(ready.task, told, ready.dataset.classes, by, name)


def found_by(
    learner: Learner, variables: Any, subset: Subset, where: Sharding, console: Console,
    workers: int | None = None,
) -> Judged:
    """The same of a subset on the devices of `where`; or on the host, read by so many `workers`.
    Raises RunError where not all of it are numbers, of which any score would be wrong."""
    with waiting(f"scoring {len(subset.rows):,} examples", console):
        if workers is not None:
            sums, predicted = judging.judged(learner, where, workers, variables, subset)
        else:
            judge = jitted(learner, "judge", platform=mesh.platform(where))
            sums, predicted = jax.device_get(judge(variables, subset))
    lost.refuse(sums, predicted)
    return Judged(sums, predicted, subset.targets,
                  lambda which: np.asarray(subset.split.inputs[np.asarray(subset.rows)[which]]))
