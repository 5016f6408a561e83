"""Scores of several labels an example. N examples, L labels, R resamples."""

from typing import Any

import numpy as np

from engine.scores import bootstrap


def scores(
    probability_NxL: np.ndarray, there_NxL: np.ndarray, said_NxL: np.ndarray
) -> dict[str, Any]:
    """Hamming loss and subset accuracy of the labels `said_NxL`, bool; of the probabilities the
    ranking's precision, the Brier score, and ROC-AUC's mean over the `labels_there`, those that
    some example has and some has not, or None."""
    from sklearn.metrics import (
        accuracy_score,
        hamming_loss,
        label_ranking_average_precision_score,
        roc_auc_score,
    )

    both = np.flatnonzero(there_NxL.any(axis=0) & ~there_NxL.all(axis=0))
    aucs = [roc_auc_score(there_NxL[:, at], probability_NxL[:, at]) for at in both]
    return {
        "roc_auc_macro": float(np.mean(aucs)) if aucs else None,
        "label_ranking_average_precision": float(
            label_ranking_average_precision_score(there_NxL, probability_NxL)),
        "brier": float(np.square(probability_NxL.astype(np.float64) - there_NxL).mean()),
        "hamming_loss": float(hamming_loss(there_NxL, said_NxL)),
        "subset_accuracy": float(accuracy_score(there_NxL, said_NxL)),
        "labels_there": len(both),
    }


def f1(there_NxL: np.ndarray, said_NxL: np.ndarray) -> tuple[np.ndarray, float]:
    """Of each label [L], 0 where it is neither there nor said, and of all decisions together;
    scikit-learn takes a single label for two classes."""
    hits_L, wrong_L = (there_NxL & said_NxL).sum(axis=0), (there_NxL != said_NxL).sum(axis=0)
    return _f1(hits_L, wrong_L), float(_f1(hits_L.sum(), wrong_L.sum()))


def intervals(there_NxL: np.ndarray, said_NxL: np.ndarray) -> dict[str, list[float]]:
    """Bootstrap intervals of F1, micro and macro, of the Hamming loss and subset accuracy."""
    wrong_NxL = there_NxL != said_NxL
    whole_Nx1 = ~wrong_NxL.any(axis=1, keepdims=True)
    columns_NxK = np.hstack([there_NxL & said_NxL, wrong_NxL, whole_Nx1]).astype(np.float64)

    def of_means(means_RxK: np.ndarray) -> dict[str, np.ndarray]:
        hits_RxL, wrong_RxL = np.split(means_RxK[:, :-1], 2, axis=1)
        return {"f1_micro": _f1(hits_RxL.sum(axis=1), wrong_RxL.sum(axis=1)),
                "f1_macro": _f1(hits_RxL, wrong_RxL).mean(axis=1),
                "hamming_loss": wrong_RxL.mean(axis=1), "subset_accuracy": means_RxK[:, -1]}

    return bootstrap.intervals(columns_NxK.T, of_means)


def _f1(hits: Any, wrong: Any) -> np.ndarray:
    """0 where nothing is there or said, as elsewhere here."""
    whole = np.asarray(2 * hits + wrong, np.float64)
    return np.divide(2 * hits, whole, out=np.zeros_like(whole), where=whole > 0)
