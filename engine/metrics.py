"""Sums on the device, scores derived from them once on the host. B: batch, C: classes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

T = TypeVar("T")


class Tally(NamedTuple):
    """Sums over valid examples: float32 loss, int32 correct and count; scalars."""

    loss_sum: Array
    correct: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls


class Evaluation(NamedTuple):
    """A Tally, int32 top-5 hits, and confusion int32 [C, C]: rows true, columns predicted."""

    tally: Tally
    top5: Array
    confusion: Array


def zeros() -> Tally:
    return Tally(jnp.float32(0), jnp.int32(0), jnp.int32(0))


def zero_evaluation(num_classes: int) -> Evaluation:
    return Evaluation(zeros(), jnp.int32(0), jnp.zeros((num_classes, num_classes), jnp.int32))


def add(a: T, b: T) -> T:
    """The sums of two batches, of any of these tuples."""
    return jax.tree.map(jnp.add, a, b)


def measure(loss_B: Array, logits_BxC: Array, labels_B: Array, valid_B: Array) -> Tally:
    """A batch's sums. A masked row counts nothing, even where its loss is not finite."""
    correct_B = (jnp.argmax(logits_BxC, axis=-1).astype(labels_B.dtype) == labels_B) & valid_B
    return Tally(
        jnp.where(valid_B, loss_B, 0.0).sum(),
        correct_B.sum(dtype=jnp.int32),
        valid_B.sum(dtype=jnp.int32),
    )


def evaluate(loss_B: Array, logits_BxC: Array, labels_B: Array, valid_B: Array) -> Evaluation:
    """A batch's sums with its confusion matrix and its hits among the five likeliest classes."""
    num_classes = logits_BxC.shape[-1]
    predicted_B = jnp.argmax(logits_BxC, axis=-1)
    cells = jnp.zeros((num_classes, num_classes), jnp.int32)
    confusion_CxC = cells.at[labels_B, predicted_B].add(valid_B.astype(jnp.int32))
    own_Bx1 = jnp.take_along_axis(logits_BxC, labels_B[:, None], axis=-1)
    rank_B = (logits_BxC > own_Bx1).sum(axis=-1)
    top5 = ((rank_B < 5) & valid_B).sum(dtype=jnp.int32)
    return Evaluation(measure(loss_B, logits_BxC, labels_B, valid_B), top5, confusion_CxC)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where whole is 0, as scikit-learn's zero_division=0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def summarise(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """Scores in float64 as plain Python values, ready for JSON.

    A class never predicted has precision 0 and one without examples recall 0 (`zero_division`);
    macro means are over all of `classes`. Raises ValueError for no examples.
    """
    confusion = np.asarray(evaluation.confusion, np.float64)
    count = int(evaluation.tally.count)
    if not count:
        raise ValueError("no examples to evaluate")
    hits, support = np.diagonal(confusion), confusion.sum(axis=1)
    precision = _ratio(hits, confusion.sum(axis=0))
    recall = _ratio(hits, support)
    f1 = _ratio(2 * precision * recall, precision + recall)
    scores: dict[str, Any] = {
        "accuracy": float(hits.sum() / count),
        "loss": float(evaluation.tally.loss_sum) / count,
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores[f"{name}_macro"] = float(values.mean())
        scores[f"{name}_weighted"] = float(values @ support / count)
    if len(classes) > 5:
        scores["top5_accuracy"] = int(evaluation.top5) / count
    per_class = {
        name: {"precision": p, "recall": r, "f1": f, "support": int(n)}
        for name, p, r, f, n in zip(
            classes, precision.tolist(), recall.tolist(), f1.tolist(), support, strict=True
        )
    }
    return scores | {
        "per_class": per_class,
        "confusion": confusion.astype(int).tolist(),
        "num_examples": count,
        "zero_division": 0.0,
    }


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
