"""The members of a sweep together: the mean of their probabilities, judged. R runs, N examples."""

from typing import Any, NamedTuple

import jax
import numpy as np

from engine.data import Subset
from engine.evaluation import has_own_test, held_for_evaluation
from engine.learners.gradient import Gradient
from engine.setup import Setup
from engine.sweep.population import select
from engine.sweep.space import Study, Trial


class Standing(NamedTuple):
    """What a group leaves: its learner; its runs with the values that they ended with; its whole
    members' numbers and stacked variables [R]."""

    learner: Gradient
    trials: list[Trial]
    numbers: list[int]
    variables: Any


def _ensemble(
    name: str, numbers: set[int], standings: list[Standing], split: str, subset: Subset
) -> dict[str, Any]:
    """The mean of these members' probabilities, judged."""
    inputs, predicted = subset.split.inputs[subset.rows], []
    summed_NxC: np.ndarray = np.float32(0)  # type: ignore[assignment]
    for learner, _, found, variables in standings:
        predict = jax.jit(learner.predict)
        for at in (at for at, number in enumerate(found) if number in numbers):
            own_NxC = np.asarray(predict(select(variables, at), inputs))
            summed_NxC = summed_NxC + own_NxC
            predicted.append(own_NxC.argmax(axis=1))  # not all, which would grow with their number
    predicted_RxN, mean_NxC = np.stack(predicted), summed_NxC / len(predicted)
    labels_N = np.asarray(subset.split.targets)[np.asarray(subset.rows)]
    return {
        "name": name, "runs": len(predicted), "split": split,
        "accuracy": float((mean_NxC.argmax(axis=1) == labels_N).mean()),
        "mean_accuracy": float((predicted_RxN == labels_N).mean()),
        "ece": calibration_error(mean_NxC, labels_N),
        "disagreement": disagreement(predicted_RxN),
    }


def ensembles(
    study: Study, standings: list[Standing], best: list[int], ready: Setup
) -> list[dict[str, Any]]:
    """All whole runs, and those of the `best` setting, of two or more; none where folds leave no
    common examples, nor of what is no class."""
    if ready.task.kind != "classes" or study.search.folds and not has_own_test(ready):
        return []
    everyone = {number for standing in standings for number in standing.numbers}
    own = everyone & {*best}
    asked = {"all runs": everyone} | ({"the best setting's": own} if own < everyone else {})
    judged = held_for_evaluation(ready)
    return [_ensemble(name, numbers, standings, *judged) for name, numbers in asked.items()
            if len(numbers) > 1]


def calibration_error(probability_NxC: np.ndarray, labels_N: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: |accuracy - confidence| weighted over equal-width bins.

    Guo et al. 2017, "On Calibration of Modern Neural Networks". Probabilities sum to 1.
    """
    confidence_N = probability_NxC.max(axis=1)
    hit_N = (probability_NxC.argmax(axis=1) == labels_N).astype(np.float64)
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(bin_N, hit_N - confidence_N, minlength=bins)
    return float(np.abs(gap).sum() / len(labels_N))


def disagreement(predicted_RxN: np.ndarray) -> float:
    """The share of examples on which two of R members differ, averaged over pairs of members."""
    from scipy.spatial.distance import pdist

    return float(pdist(predicted_RxN, "hamming").mean())
