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
