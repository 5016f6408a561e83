"""Scores of a trained model, or of a sweep's as one, again from a checkpoint."""

import os
from typing import Any

from engine.augmentations import views
from engine.config import Config
from engine.disk import whereabouts
from engine.job.host import undisturbed
from engine.judging import judge
from engine.learners import threshold
from engine.place import Place
from engine.store import folder
from engine.sweep import ensembles


@undisturbed()
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
