"""Scores of the probabilities of one class of several, and of all its scores the intervals. N
examples, C classes, R resamples.

A score over classes is the mean of those that are there: without an example, or without another
class's, none of them is defined.
"""

from typing import Any

import numpy as np

from engine.scores import answers, bootstrap
from engine.scores.calibration import calibration

TOP = 5


def are_probabilities(predicted: np.ndarray, classes: int) -> bool:
    """Whether a task's predictions are [N, C] that sum to 1: one of the user's own may tell what it
    likes."""
    return (np.shape(predicted)[1:] == (classes,) and len(predicted) > 0
            and bool((predicted >= 0).all())
            and np.allclose(predicted.sum(axis=1), 1, atol=1e-3))


def scores(
    probability_NxC: np.ndarray, targets_N: np.ndarray, said_N: np.ndarray
) -> dict[str, Any]:
    """How often the own class is among the likeliest TOP, where there are more; log loss, Brier
    score, calibration error with its curve; ROC-AUC and average precision of a class against the
    rest, their means, None where only one class is there; and the intervals."""
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    classes, there = np.arange(probability_NxC.shape[1]), np.unique(targets_N)
    each = [(targets_N == c, probability_NxC[:, c]) for c in there if len(there) > 1]
    aucs = [roc_auc_score(own, p) for own, p in each]
    precisions = [average_precision_score(own, p) for own, p in each]
    found = calibration(probability_NxC, targets_N)
    top = {"top5_accuracy": float(_is_top(probability_NxC, targets_N).mean())}
    return (top if len(classes) > TOP else {}) | {
        "log_loss": float(log_loss(targets_N, _summed_to_one(probability_NxC), labels=classes)),
        "brier": float(_brier(probability_NxC, targets_N).mean()),
        "ece": found.error,
        "roc_auc_macro": float(np.mean(aucs)) if aucs else None,
        "average_precision_macro": float(np.mean(precisions)) if precisions else None,
        "calibration": found.curve,
        "interval": intervals(probability_NxC, targets_N, said_N),
    }


def _summed_to_one(probability_NxC: np.ndarray) -> np.ndarray:
    """In float64: scikit-learn minds how far float32 is from it."""
    probability_NxC = probability_NxC.astype(np.float64)
    return probability_NxC / probability_NxC.sum(axis=1, keepdims=True)


def _brier(probability_NxC: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """The squared distance to the true class's corner [N] (Brier 1950); of two classes half of it,
    the square of one's, as scikit-learn has it."""
    off_NxC = probability_NxC.astype(np.float64)
    off_NxC[np.arange(len(targets_N)), targets_N] -= 1
    return np.square(off_NxC).sum(axis=1) / (2 if off_NxC.shape[1] == 2 else 1)


def _is_top(probability_NxC: np.ndarray, targets_N: np.ndarray) -> np.ndarray:
    """Whether the own class is among the TOP likeliest, bool [N]; of those that are even with it,
    as where all have underflowed to 0, none comes behind it."""
    own_N = probability_NxC[np.arange(len(targets_N)), targets_N]
    return (probability_NxC >= own_N[:, None]).sum(axis=1) <= TOP


def intervals(
    probability_NxC: np.ndarray, targets_N: np.ndarray, said_N: np.ndarray
) -> dict[str, list[float]]:
    """Bootstrap intervals of the scores that are sums over examples, or follow from such sums."""
    from scipy import sparse

    count, classes = probability_NxC.shape
    every_N, one_N = np.arange(count), np.ones(count)
    log_N = -np.log(np.maximum(_summed_to_one(probability_NxC)[every_N, targets_N],
                               np.finfo(np.float64).eps))
    hit_N = said_N == targets_N

    def onehot(of_N: np.ndarray, value_N: np.ndarray) -> Any:
        return sparse.csr_array((value_N, (of_N, every_N)), (classes, count))

    def of_means(means_RxK: np.ndarray) -> dict[str, np.ndarray]:
        log_R, brier_R, top_R = means_RxK[:, :3].T
        found = {"log_loss": log_R, "brier": brier_R, "top5_accuracy": top_R}
        if classes <= TOP:
            del found["top5_accuracy"]
        return answers.of_counts(1, *np.split(means_RxK[:, 3:], 3, axis=1)) | found

    plain = np.stack([log_N, _brier(probability_NxC, targets_N),
                      _is_top(probability_NxC, targets_N)])
    return bootstrap.intervals(sparse.vstack([
        sparse.csr_array(plain), onehot(targets_N, hit_N.astype(np.float64)),
        onehot(targets_N, one_N), onehot(said_N, one_N),
    ], format="csr"), of_means)
