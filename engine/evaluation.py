"""Scores of a trained model: after its training, and again from a checkpoint."""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from rich.console import Console

from engine.augmentations import views
from engine.config import Config
from engine.data import Subset, named_validation
from engine.devices import mesh
from engine.learners.learner import Learner, jitted
from engine.loggers.bar import waiting
from engine.place import Place
from engine.scores import lost, threshold
from engine.segments import watched
from engine.setup import Setup
from engine.store import folder, whereabouts
from engine.stream import judging
from engine.task import Judged, Task


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


def evaluate(
    run: str | os.PathLike[str], data: Any = None, checkpoint: str = "best",
    config: Config | None = None, place: Place | None = None, tta: str = "", best_of: int = 0,
) -> dict[str, Any]:
    """Scores of the `best` checkpoint by validation, or the `last`, of the run in the folder `run`,
    as metrics.json has them. `data` as `fit` takes it, where the run had objects; `config` where
    its own can't be read again, since its network was one. Of a sweep's folder, the mean of what
    its finished runs predict is judged, or of the `best_of` so many by validation.

    The classes of another set than the run's are found by their names: examples of those that the
    run doesn't know are counted in `left_out`, and not scored. `tta` names views of each picture,
    "flip", "shift" or both, over which predictions are averaged. Raises RequestError where there is
    nothing to judge."""
    from engine.scores import judge  # late: it judges with what is here
    from engine.sweep import ensembles

    path = whereabouts.given(run)
    views.words_of(tta)
    if ensembles.of(path, best_of):
        return ensembles.evaluate(path, data, checkpoint, config, place, tta, best_of)
    by = judge.judge_of(path, data, config, place, tta)
    chosen = by.learner.config.choose_threshold != threshold.OFF
    learner = threshold.kept(by.learner, path, metrics := folder.metrics(path) if chosen else {})
    state, told = judge.restored(path, by, learner, checkpoint)
    scores = learner.task.summarise(told, by.names) | by.facts
    if learner is not by.learner:
        scores["threshold_choice"] = metrics["threshold_choice"]
    return scores | {"checkpoint": checkpoint, "step": int(state.step)} | (
        {"weights": "averaged"} if state.average else {}) | ({"tta": tta} if tta else {})
