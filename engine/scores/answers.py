"""Scores of the classes that are said. N examples, C classes."""

from typing import Any

import numpy as np

from engine.task import Judged

MISTAKES = 25


def scores(confusion_CxC: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    """Precision, recall and F1 of each class and their means: a class never predicted has precision
    0 and one without examples recall 0; macro means are scikit-learn's, over the classes that are
    there or predicted, `classes_left_out` are the others.

    Balanced accuracy is the mean recall of the `classes_there`, which have examples; Matthews
    correlation is 0, and Cohen's kappa None, where one class is all that is there and said."""
    from sklearn.metrics import (
        cohen_kappa_score,
        matthews_corrcoef,
        precision_recall_fscore_support,
    )

    true, said = np.nonzero(confusion_CxC)
    weight = confusion_CxC[true, said]
    *each, _ = precision_recall_fscore_support(
        true, said, labels=np.arange(len(names)), zero_division=0, sample_weight=weight)
    columns = dict(zip(("precision", "recall", "f1"), each, strict=True))
    support = confusion_CxC.sum(axis=1)
    there, met = support > 0, (support > 0) | (confusion_CxC.sum(axis=0) > 0)
    found: dict[str, Any] = {}
    for name, values in columns.items():
        found[f"{name}_macro"] = float(values[met].mean())
        found[f"{name}_weighted"] = float(values @ support / support.sum())
    several = met.sum() > 1
    found |= {
        "balanced_accuracy": float(columns["recall"][there].mean()),
        "matthews_correlation":
        float(matthews_corrcoef(true, said, sample_weight=weight)) if several else 0.0,
        "cohen_kappa":
        float(cohen_kappa_score(true, said, sample_weight=weight)) if several else None,
        "classes_there": int(there.sum()), "classes_left_out": int((~met).sum()),
        "zero_division": 0.0,
    }
    columns["support"] = support
    return found | {
        "per_class": {name: dict(zip(columns, row, strict=True)) for name, *row in zip(
            names, *(values.tolist() for values in columns.values()), strict=True)},
        "confusion": confusion_CxC.tolist(),
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
