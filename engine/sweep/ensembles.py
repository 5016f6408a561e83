"""The members of a sweep together: the mean of their probabilities, judged. R runs, N examples."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from engine.data import Subset
from engine.evaluation import has_own_test, held_for_evaluation
from engine.learners.gradient import Gradient
from engine.setup import Setup
from engine.sweep import population
from engine.sweep.space import Study


class Standing(NamedTuple):
    """What a group leaves: its learner; its whole members' numbers and stacked variables [R]."""

    learner: Gradient
    numbers: list[int]
    variables: Any


def _ensemble(
    name: str, numbers: set[int], standings: list[Standing], split: str, subset: Subset
) -> dict[str, Any] | None:
    """The mean of these members' probabilities, judged; None for fewer than two."""
    total, predicted = 0.0, []
    for learner, found, variables in standings:
        chosen = np.array([at for at, number in enumerate(found) if number in numbers], int)
        if len(chosen):
            some = jax.tree.map(lambda x, chosen=chosen: x[chosen], variables)
            summed_NxC, each_RxN = jax.device_get(
                jax.jit(partial(population.predictions, learner))(some, subset)
            )
            total = total + summed_NxC
            predicted.append(each_RxN)
    if sum(map(len, predicted)) < 2:
        return None
    predicted_RxN = np.concatenate(predicted)
    labels_N = np.asarray(subset.split.targets)[np.asarray(subset.rows)]
    mean_NxC = np.asarray(total) / len(predicted_RxN)
    return {
        "name": name, "runs": len(predicted_RxN), "split": split,
        "accuracy": float((mean_NxC.argmax(axis=1) == labels_N).mean()),
        "mean_accuracy": float((predicted_RxN == labels_N).mean()),
        "ece": calibration_error(mean_NxC, labels_N),
        "disagreement": disagreement(predicted_RxN),
    }


def ensembles(
    study: Study, standings: list[Standing], best: dict[str, Any], ready: Setup
) -> list[dict[str, Any]]:
    """All whole runs, and the best setting's; none where folds leave no common examples, nor of
    what is no class."""
    if ready.task.kind != "classes":
        return []
    if study.search.folds and not has_own_test(ready):
        return []
    everyone = {number for standing in standings for number in standing.numbers}
    own = everyone & set(best["runs"])
    asked = {"all runs": everyone} | ({"the best setting's": own} if own < everyone else {})
    judged = held_for_evaluation(ready)
    found = [_ensemble(name, numbers, standings, *judged) for name, numbers in asked.items()]
    return [e for e in found if e is not None]


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
    members = len(predicted_RxN)
    votes_CxN = np.stack([
        (predicted_RxN == label).sum(axis=0) for label in range(predicted_RxN.max() + 1)
    ])
    agreeing_N = (votes_CxN * (votes_CxN - 1)).sum(axis=0)
    return float(1.0 - agreeing_N.mean() / (members * (members - 1)))
