import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from engine import metrics


def random_case(seed: int, count: int, classes: int, present: int):
    """Logits biased to a few classes, so that some are absent and some never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present, count).astype(np.int32)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[:, -1] -= 50
    return rng.exponential(size=count).astype(np.float32), logits, labels


@pytest.mark.parametrize("seed, classes, present", [(0, 10, 10), (1, 7, 4), (2, 3, 3), (3, 20, 1)])
def test_scores_equal_scikit_learns(seed, classes, present):
    loss, logits, labels = random_case(seed, 203, classes, present)
    result = jax.jit(metrics.evaluate)(loss, logits, labels, np.ones(203, bool))
    ours = metrics.summarise(result, [f"c{i}" for i in range(classes)])
    predicted, every = logits.argmax(1), range(classes)
    for average in ("macro", "weighted"):
        p, r, f, _ = reference.precision_recall_fscore_support(
            labels, predicted, labels=every, average=average, zero_division=0
        )
        for name, want in (("precision", p), ("recall", r), ("f1", f)):
            assert ours[f"{name}_{average}"] == pytest.approx(want, abs=1e-6)
    each = reference.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    got = np.array([list(row.values()) for row in ours["per_class"].values()])
    np.testing.assert_allclose(got.T, each, atol=1e-6)
    np.testing.assert_array_equal(
        ours["confusion"], reference.confusion_matrix(labels, predicted, labels=every)
    )
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-6)
    assert ours["loss"] == pytest.approx(loss.mean(), rel=1e-5)
    if classes > 5:
        want = reference.top_k_accuracy_score(labels, logits, k=5, labels=every)
        assert ours["top5_accuracy"] == pytest.approx(want, abs=1e-6)
    else:
        assert "top5_accuracy" not in ours


def test_a_masked_row_counts_nothing_even_if_it_is_not_finite():
    loss, logits, labels = random_case(0, 12, 4, 4)
    valid = np.arange(12) < 9
    whole = metrics.evaluate(loss[:9], logits[:9], labels[:9], valid[:9])
    loss[9:], logits[9:] = np.nan, np.inf
    chex.assert_trees_all_close(metrics.evaluate(loss, logits, labels, valid), whole, rtol=1e-6)


def test_parts_of_a_batch_add_up_to_it():
    loss, logits, labels = random_case(0, 12, 4, 4)
    valid = np.ones(12, bool)
    sums = metrics.zero_evaluation(4)
    for part in (slice(0, 5), slice(5, 12)):
        new = metrics.evaluate(loss[part], logits[part], labels[part], valid[part])
        sums = metrics.add(sums, new)
    chex.assert_trees_all_close(sums, metrics.evaluate(loss, logits, labels, valid), rtol=1e-6)
    assert sums.confusion.dtype == jnp.int32


def test_no_examples_is_an_error_not_a_nan():
    with pytest.raises(ValueError, match="no examples"):
        metrics.summarise(metrics.zero_evaluation(3), ["a", "b", "c"])


def test_probabilities_that_hold_are_calibrated_and_sharper_ones_are_not():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from their softmax
    honest, sharp, flat = (np.asarray(jax.nn.softmax(jnp.asarray(logits * k, jnp.float32)))
                           for k in (1, 3, 0.3))
    assert metrics.calibration_error(honest, labels) < 0.01
    assert metrics.calibration_error(sharp, labels) > 0.1
    assert metrics.calibration_error(flat, labels) > 0.1


def confident(*confidence: float) -> np.ndarray:
    """Class 0 with so much probability, the rest over four others."""
    first = np.array(confidence)[:, None]
    return np.concatenate([first, np.repeat((1 - first) / 4, 4, axis=1)], axis=1)


@pytest.mark.parametrize("confidence, labels, bins, want", [
    ((0.4, 0.4, 0.9, 0.7), (0, 1, 0, 1), 2, (2 * 0.1 + 2 * 0.3) / 4),
    ((0.4, 0.9), (0, 1), 2, (0.6 + 0.9) / 2),  # opposite gaps don't cancel across bins
    ((0.4, 0.45), (0, 1), 2, 0.15 / 2),  # but do within one
    ((0.5, 0.4), (0, 1), 2, 0.1 / 2),  # an edge belongs to the bin below it
    ((1.0, 0.95), (1, 0), 15, 0.95 / 2),  # confidence 1 lies in the last bin
    ((1.0, 1.0), (0, 0), 15, 0.0),
    ((1.0, 1.0, 1.0, 1.0), (0, 0, 0, 4), 15, 0.25),
])
def test_calibration_error_by_hand(confidence, labels, bins, want):
    got = metrics.calibration_error(confident(*confidence), np.array(labels), bins)
    assert got == pytest.approx(want)


@pytest.mark.parametrize("predicted, want", [
    ([[3, 1, 0]] * 4, 0.0),
    ([[0, 1], [0, 2], [1, 0]], (0.5 + 1.0 + 1.0) / 3),
    ([[0, 1], [0, 2], [1, 1]], (0.5 + 0.5 + 1.0) / 3),
    ([[0, 1, 2, 3], [0, 1, 2, 0]], 0.25),
    ([[0, 0], [1, 1]], 1.0),
])
def test_disagreement_by_hand(predicted, want):
    assert metrics.disagreement(np.array(predicted)) == pytest.approx(want)


@pytest.mark.parametrize("members, classes, count", [(2, 3, 50), (5, 10, 31), (16, 2, 7)])
def test_disagreement_is_the_mean_over_pairs_of_members(members, classes, count):
    predicted = np.random.default_rng(0).integers(0, classes, (members, count)).astype(np.int32)
    want = np.mean([(a != b).mean() for a, b in itertools.combinations(predicted, 2)])
    assert metrics.disagreement(predicted) == pytest.approx(want)
