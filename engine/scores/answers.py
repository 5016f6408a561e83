"""Scores of the classes that are said. N examples, C classes, R resamples."""

from typing import Any

import numpy as np

from engine.scores.judged import Judged

MISTAKES = 25


def scores(confusion_CxC: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Precision, recall and F1 of each class and their means: a class never predicted has precision
    0 and one without examples recall 0; macro means are scikit-learn's, over the classes that are
    there or predicted, `classes_left_out` are the others.

    Balanced accuracy is the mean recall of the `classes_there`, which have examples; Matthews
    correlation is 0, and Cohen's kappa None, where one class is all that is there and said."""
    hits, true, said = (np.asarray(x, np.float64) for x in (
        np.diagonal(confusion_CxC), confusion_CxC.sum(axis=1), confusion_CxC.sum(axis=0)))
    count, each = true.sum(), of_each(hits, true, said)
    means = of_counts(count, hits, true, said)
    found: dict[str, Any] = {}
    for name, values in each.items():
        found[f"{name}_macro"] = float(means[f"{name}_macro"])
        found[f"{name}_weighted"] = float(values @ true / count)
    matthews, kappa = means["matthews_correlation"], means["cohen_kappa"]
    columns = each | {"support": confusion_CxC.sum(axis=1)}
    return found | {
        "balanced_accuracy": float(means["balanced_accuracy"]),
        "matthews_correlation": 0.0 if np.isnan(matthews) else float(matthews),
        "cohen_kappa": None if np.isnan(kappa) else float(kappa),
        "classes_there": int((true > 0).sum()),
        "classes_left_out": int((true + said == 0).sum()), "zero_division": 0.0,
        "per_class": {name: dict(zip(columns, row, strict=True)) for name, *row in zip(
            names, *(values.tolist() for values in columns.values()), strict=True)},
        "confusion": confusion_CxC.tolist(),
    }


def of_each(hits: np.ndarray, true: np.ndarray, said: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, as `of_counts` takes them; 0 of none."""
    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    return {"precision": share(hits, said), "recall": share(hits, true),
            "f1": share(2 * hits, true + said)}


def of_counts(
    count: float, hits: np.ndarray, true: np.ndarray, said: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of `count` examples by how many of them are of each class, are said to be, and both,
    float64 [C] or of resamples [R, C]; or by shares, whose count is 1. NaN is Cohen's kappa where
    one class is all that is there and said, Matthews correlation where one is all of either."""
    met, there = (true + said) > 0, true > 0
    each = of_each(hits, true, said)

    def mean(values: np.ndarray, over: np.ndarray) -> np.ndarray:
        return values.sum(axis=-1) / over.sum(axis=-1)  # others add 0

    right, whole = hits.sum(axis=-1), count**2
    by_chance, both_true, both_said = (
        (a * b).sum(axis=-1) for a, b in ((true, said), (true, true), (said, said)))
    above = right * count - by_chance
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = above / (whole - by_chance)
        matthews = above / np.sqrt((whole - both_true) * (whole - both_said))
    return {
        "accuracy": right / count, **{f"{name}_macro": mean(each[name], met) for name in each},
        "balanced_accuracy": mean(each["recall"], there),
        "matthews_correlation": matthews, "cohen_kappa": kappa,
    }


def confusion(targets_N: np.ndarray, said_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C]: rows true, columns said."""
    from sklearn.metrics import confusion_matrix

    return confusion_matrix(targets_N, said_N, labels=np.arange(classes))


def note(scores: dict[str, Any]) -> str:
    """Which classes means are without, in words."""
    told, count = "", len(scores["per_class"])
    if left_out := scores["classes_left_out"]:
        told += (f" Macro means leave {left_out} of {count} classes out, of which there is no "
                 "example and which were never predicted.")
    if (there := scores["classes_there"]) < count:
        told += (f" Balanced accuracy, ROC-AUC and average precision are over the {there} of "
                 f"{count} classes that have examples.")
    return told


def mistakes(
    judged: Judged, said_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The most confident wrong answers, falling: inputs, classes, predicted classes with their
    probability [N]."""
    probability_N = judged.predicted[np.arange(len(said_N)), said_N]
    wrong = np.flatnonzero(said_N != judged.targets)
    worst = wrong[np.argsort(-probability_N[wrong], kind="stable")][:MISTAKES]
    return judged.inputs(worst), judged.targets[worst], said_N[worst], probability_N[worst]
