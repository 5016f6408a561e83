"""The wider scores against scikit-learn's own calls, their intervals against known distributions,
and the threshold of two classes against every threshold there is."""

import warnings
from functools import partial

import jax
import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve
from test_report import dots_of, read
from test_tasks import judged, labels, numbers, random_case

from engine.config import Config
from engine.drawn import answers as charts
from engine.drawn import pictures
from engine.errors import RequestError, RunError
from engine.learners import threshold
from engine.learners.chosen import learner_of
from engine.scores import answers, bootstrap, classes, values
from engine.scores import labels as of_labels
from engine.scores.calibration import calibration
from engine.scores.judged import Judged
from engine.tasks.classification import Classification, Tally


def of(probability: np.ndarray, targets: np.ndarray) -> Judged:
    """What a classification was judged on; its sums say that all was right, at no loss."""
    count = np.int32(len(targets))
    return Judged(Tally(np.float32(0), count, count), probability, targets, None)


def softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(1, keepdims=True))
    return (power / power.sum(1, keepdims=True)).astype(np.float32)


def drawn(seed: int, count: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, C] and the targets that are drawn from them: calibrated ones."""
    rng = np.random.default_rng(seed)
    probability = softmax(2 * rng.normal(size=(count, number)))
    targets = (probability.cumsum(1) < rng.random((count, 1))).sum(1).clip(max=number - 1)
    return probability, targets.astype(np.int32)


@pytest.mark.parametrize("seed, number, present", [(0, 10, 10), (1, 7, 4), (2, 2, 2), (3, 4, 1)])
def test_classes_wider_scores_equal_scikit_learns(seed, number, present):
    """Where classes are absent, over those that are there, which are counted."""
    logits, targets = random_case(seed, 203, number, present)
    found = of(softmax(logits), targets)
    ours = Classification().summarise(found, tuple(map(str, range(number))))
    p, said = found.predicted.astype(np.float64), logits.argmax(1)
    p /= p.sum(1, keepdims=True)
    there = sorted({*targets})
    with warnings.catch_warnings(action="ignore"):
        assert ours["balanced_accuracy"] == pytest.approx(
            reference.balanced_accuracy_score(targets, said))
        kappa = reference.cohen_kappa_score(targets, said)
    assert ours["matthews_correlation"] == pytest.approx(reference.matthews_corrcoef(targets, said))
    assert ours["cohen_kappa"] == pytest.approx(kappa)
    assert ours["log_loss"] == pytest.approx(
        reference.log_loss(targets, p, labels=range(number)), rel=1e-6)
    off = p - np.eye(number)[targets]
    assert ours["brier"] == pytest.approx((off**2).sum(1).mean() / (2 if number == 2 else 1))
    assert ours["classes_there"] == present
    if present == 1:
        assert ours["roc_auc_macro"] is ours["average_precision_macro"] is None
        return
    aucs = [reference.roc_auc_score(targets == c, p[:, c]) for c in there]
    precisions = [reference.average_precision_score(targets == c, p[:, c]) for c in there]
    assert ours["roc_auc_macro"] == pytest.approx(np.mean(aucs))
    assert ours["average_precision_macro"] == pytest.approx(np.mean(precisions))
    if number == 2:
        assert ours["brier"] == pytest.approx(reference.brier_score_loss(targets, p[:, 1]))
    elif present == number:
        assert ours["roc_auc_macro"] == pytest.approx(
            reference.roc_auc_score(targets, p, multi_class="ovr"))


def test_one_class_alone_has_no_kappa():
    confusion = np.diag([5, 0, 0])
    assert answers.scores(confusion, ("a", "b", "c"))["cohen_kappa"] is None


def test_what_is_no_probability_has_none_of_their_scores():
    """A task of the user's own may tell what it likes."""
    logits, targets = random_case(0, 30, 3, 3)
    found = of(logits, targets)
    ours = Classification().summarise(found, ("a", "b", "c"))
    assert "log_loss" not in ours and "interval" not in ours and "balanced_accuracy" in ours


@pytest.mark.parametrize("number", [2, 10, 100])
def test_the_calibration_curve_is_scikit_learns(number, figures):
    probability, targets = drawn(number, 3000, number)
    found = calibration(probability, targets)
    hit = probability.argmax(1) == targets
    accuracy, confidence = calibration_curve(hit, probability.max(1), n_bins=15)
    curve = found.curve
    assert [row["accuracy"] for row in curve] == pytest.approx(accuracy)
    assert [row["confidence"] for row in curve] == pytest.approx(confidence)
    count = np.array([row["count"] for row in curve])
    assert count.sum() == 3000
    assert found.error == pytest.approx((count * abs(accuracy - confidence)).sum() / 3000)
    assert found.error < 0.03 < calibration(softmax(3 * np.log(probability)), targets).error
    chart = charts.calibration(curve)
    pictures.panels(chart)
    (panel,) = figures[0].axes
    places = panel.get_lines()[0].get_xydata()
    np.testing.assert_allclose(read(panel, places), np.stack([confidence, accuracy], 1), atol=2e-3)
    (dots,) = dots_of(panel)
    np.testing.assert_array_equal(dots.get_offsets(), places)
    area = (np.sqrt(dots.get_sizes()) / 2 / pictures.POINT - 3) ** 2
    np.testing.assert_allclose(area, 81 * count / count.max())
    assert f"{count.max():,} at most" in panel.get_title()


@pytest.mark.parametrize("outputs", [1, 3])
def test_regressions_wider_scores_equal_scikit_learns(outputs):
    predicted, targets = numbers(5, 60, outputs)
    ours = values.scores(predicted, targets)
    assert ours["median_absolute_error"] == pytest.approx(
        reference.median_absolute_error(targets, predicted))
    assert ours["explained_variance"] == pytest.approx(
        reference.explained_variance_score(targets, predicted))
    assert values.scores(predicted[:1], targets[:1])["explained_variance"] is None
    assert {*values.intervals(predicted[:1], targets[:1])} == {"mse", "mae"}


def test_labels_wider_scores_equal_scikit_learns():
    logits, targets = labels(7, 90, 4)
    targets[:, 0] = 1
    p, there = 1 / (1 + np.exp(-logits)), targets > 0.5
    ours = of_labels.scores(p, there, p >= 0.4)
    assert ours["labels_there"] == 2  # all have the first, and none the last
    assert ours["roc_auc_macro"] == pytest.approx(
        reference.roc_auc_score(there[:, 1:3], p[:, 1:3], average="macro"))
    assert ours["label_ranking_average_precision"] == pytest.approx(
        reference.label_ranking_average_precision_score(there, p))
    assert ours["hamming_loss"] == pytest.approx(((p >= 0.4) != there).mean())
    assert ours["subset_accuracy"] == pytest.approx(((p >= 0.4) == there).all(1).mean())
    assert ours["brier"] == pytest.approx(((p - targets) ** 2).mean(), rel=1e-5)


@pytest.fixture
def resamples(monkeypatch) -> list[np.ndarray]:
    """Five resamples of 60 examples, which intervals are of."""
    rows = [np.random.default_rng(n).integers(60, size=60) for n in range(5)]
    monkeypatch.setattr(bootstrap, "_means", lambda numbers: np.stack(
        [numbers[:, some].sum(axis=1) / 60 for some in rows]))
    return rows


def ends(score, resamples, *given: np.ndarray) -> list[float]:
    found = [score(*(a[some] for a in given)) for some in resamples]
    return pytest.approx(np.percentile(found, (2.5, 97.5)))


def test_intervals_are_those_of_the_scores_of_resamples(resamples):
    """Of classes too that a resample lacks."""
    probability, targets = drawn(0, 60, 6)
    targets[targets == 4] = 0
    targets[7] = 4
    said = probability.argmax(1)
    found = classes.intervals(probability, targets, said)
    per = {"average": "macro", "zero_division": 0}
    for name, score in (
        ("accuracy", reference.accuracy_score),
        ("f1_macro", partial(reference.f1_score, **per)),
        ("precision_macro", partial(reference.precision_score, **per)),
        ("recall_macro", partial(reference.recall_score, **per)),
        ("balanced_accuracy", reference.balanced_accuracy_score),
        ("matthews_correlation", reference.matthews_corrcoef),
        ("cohen_kappa", reference.cohen_kappa_score),
    ):
        with warnings.catch_warnings(action="ignore"):
            assert found[name] == ends(score, resamples, targets, said), name
    for name, score in (
        ("log_loss", partial(reference.log_loss, labels=range(6))),
        ("top5_accuracy", partial(reference.top_k_accuracy_score, k=5, labels=range(6))),
    ):
        whole = probability / probability.sum(1, keepdims=True, dtype=np.float64)
        assert found[name] == ends(score, resamples, targets, whole), name
    predicted, true = numbers(5, 60, 2)
    found = values.intervals(predicted, true)
    for name, score in (
        ("mse", reference.mean_squared_error), ("mae", reference.mean_absolute_error),
        ("r2", reference.r2_score), ("explained_variance", reference.explained_variance_score),
    ):
        assert found[name] == ends(score, resamples, true, predicted), name
    logits, there = labels(7, 60, 4)
    found = of_labels.intervals(there > 0, logits > 0)
    for name, score in (
        ("f1_micro", partial(reference.f1_score, average="micro", zero_division=0)),
        ("f1_macro", partial(reference.f1_score, **per)),
        ("hamming_loss", reference.hamming_loss), ("subset_accuracy", reference.accuracy_score),
    ):
        assert found[name] == ends(score, resamples, there > 0, logits > 0), name


@pytest.mark.parametrize("true", [
    [0.0] * 48 + [1.0, 1.0], [0.0] * 59 + [1.0], [0.0, 0.1], [0.0, 0.1, 0.3], [0.1] * 9,
])
def test_resamples_whose_targets_are_equal_say_nothing_of_r2(true):
    """Of what rounding leaves of their variance, ends were 1e17; of none, NaN."""
    true = np.float32(true)[:, None]
    predicted = true + np.random.default_rng(0).normal(size=true.shape).astype(np.float32)
    with warnings.catch_warnings(action="error"):
        found = values.intervals(predicted, true)
    rng = np.random.default_rng(bootstrap.SEED)
    rows = [rows for rows in rng.integers(len(true), size=(bootstrap.RESAMPLES, len(true)))
            if np.ptp(true[rows])]
    for name, score in (("r2", reference.r2_score),
                        ("explained_variance", reference.explained_variance_score)):
        if len(rows) > 0.7 * bootstrap.RESAMPLES:
            assert found[name] == ends(score, rows, true.astype(float), predicted), name
        else:
            assert name not in found


@pytest.mark.parametrize("count", [200, 200_000])
def test_an_interval_is_the_normal_ones_of_a_mean_however_many_examples(count, monkeypatch):
    """Of 200,000 groups are drawn; in an order of their values, consecutive ones would have too
    narrow an interval, or too wide."""
    monkeypatch.setattr(bootstrap, "UNITS", 1000)
    sample = np.sort(np.random.default_rng(0).normal(size=count))
    (low, high) = bootstrap.intervals(sample[None], lambda m: {"mean": m[:, 0]})["mean"]
    error = 1.96 * sample.std() / np.sqrt(count)
    assert (low, high) == pytest.approx((sample.mean() - error, sample.mean() + error),
                                        abs=0.2 * error)


def test_95_of_100_intervals_cover_the_truth(monkeypatch):
    """The accuracy of coins that fall right 7 times in 10, and a mean of exponential numbers."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 300)
    rng, covered = np.random.default_rng(0), np.zeros(2)
    for _ in range(300):
        both = np.stack([rng.random(150) < 0.7, rng.exponential(size=150)]).astype(np.float64)
        found = bootstrap.intervals(both, lambda m: {"share": m[:, 0], "mean": m[:, 1]})
        covered += [low <= truth <= high for (low, high), truth in
                    zip((found["share"], found["mean"]), (0.7, 1.0), strict=True)]
    assert ((covered / 300 > 0.91) & (covered / 300 < 0.98)).all(), covered / 300


def two(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Rare positives whose probabilities are too low for 0.5."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < 0.2).astype(np.int32)
    p = (0.4 / (1 + np.exp(-(rng.normal(size=count) + 2 * targets)))).astype(np.float32)
    return np.stack([1 - p, p], 1), targets


def f1(true: np.ndarray, said: np.ndarray) -> float:
    return 2 * (true & said).sum() / max(true.sum() + said.sum(), 1)


def youden(true: np.ndarray, said: np.ndarray) -> float:
    return said[true].mean() - said[~true].mean()


@pytest.mark.parametrize("by, score", [
    ("f1", f1), ("youden", youden), ("balanced_accuracy", lambda *a: (1 + youden(*a)) / 2),
])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_other_threshold_is_better(by, score, seed):
    probability, targets = two(seed)
    found = of(probability, targets)
    task, choice = threshold.chosen(Classification(), found, ("no", "yes"), by, "held")
    every = {at: score(targets == 1, found.predicted[:, 1] >= at)
             for at in found.predicted[:, 1]}
    told = choice["threshold_choice"]
    assert told["score"] == pytest.approx(max(every.values())) and told["class"] == "yes"
    assert told["score_at_half"] == pytest.approx(
        score(targets == 1, found.predicted[:, 1] >= 0.5))
    # Half way: no probability is nearer to it than half of the gap.
    below, above = (found.predicted[:, 1][side] for side in (
        found.predicted[:, 1] < task.threshold, found.predicted[:, 1] >= task.threshold))
    assert task.threshold - below.max() == pytest.approx(above.min() - task.threshold, rel=1e-3)
    ours = task.summarise(found, ("no", "yes"))
    said = (found.predicted[:, 1] >= task.threshold).astype(int)
    assert ours["threshold"] == task.threshold == choice["threshold"]
    assert ours["accuracy"] == pytest.approx((said == targets).mean())
    assert ours["confusion"] == reference.confusion_matrix(targets, said).tolist()
    assert ours["per_class"]["yes"]["f1"] == pytest.approx(reference.f1_score(targets, said))
    assert ours["roc_auc_macro"] == Classification().summarise(found, ("no", "yes"))[
        "roc_auc_macro"]
    for row, number in zip(found.predicted[:9], said, strict=False):
        name = ("no", "yes")[number]
        assert task.told(row, ("no", "yes")) == f"{name}\t{row[number]:.4f}"


@pytest.mark.parametrize("by", ["f1", "youden"])
@pytest.mark.parametrize("probability, targets, said", [
    ([0.0, 0.0, 0.0, 0.3], [1, 1, 1, 0], [0, 0, 0, 1]),  # best from 0 on, which says it of all
    ([0.0, 1e-45, 2e-38, 0.2], [0, 0, 1, 1], [0, 0, 1, 1]),
    ([1e-45, 2e-38, 0.2, 0.2], [0, 1, 1, 1], [0, 1, 1, 1]),  # half of which is 0 to XLA
    ([0.5, 0.99999994, 1.0, 1.0], [0, 0, 1, 1], [0, 1, 1, 1]),
    ([0.0, 0.0, 0.0, 0.0], [0, 0, 1, 1], [0, 0, 0, 0]),
])
def test_a_chosen_threshold_lies_within_0_and_1(by, probability, targets, said):
    """Of those that are there, where others can't be told apart from 0 and 1."""
    probability = np.float32(probability)
    at = threshold.best(probability, np.array(targets) == 1, by)
    task = Classification(threshold=at)
    both = np.stack([1 - probability, probability], 1)
    assert 0 < at < 1 and task.said(both).tolist() == said
    assert jax.jit(task.said)(both).tolist() == said


def test_a_given_threshold_counts_in_an_epochs_row_too():
    probability, targets = two(3)
    task = Classification(threshold=0.3)
    found = judged(task, np.log(probability), targets)
    want = ((probability[:, 1] >= 0.3) == targets).mean()
    assert float(task.row(found.sums)["accuracy"]) == pytest.approx(want)
    assert task.summarise(found, ("a", "b"))["accuracy"] == pytest.approx(want)


@pytest.mark.parametrize("asked, outputs, words", [
    ({"threshold": 0.3, "task": "classification"}, 3, "--threshold 0.3 is for two classes"),
    ({"choose_threshold": "f1", "task": "classification"}, 3, "and there are 3: leave it out"),
    ({"choose_threshold": "f1", "task": "regression"}, 1, "and not for regression: leave it out"),
    ({"choose_threshold": "youden", "task": "multilabel"}, 2, "whose --threshold you type"),
    ({"choose_threshold": "f1", "threshold": 0.3, "task": "classification"}, 2, "leave one out"),
])
def test_a_threshold_of_anything_but_two_classes_is_refused(asked, outputs, words):
    with pytest.raises(RequestError, match="threshold") as told:
        learner_of(Config(model="linear", **asked), outputs)
    assert words in str(told.value)


def test_a_chosen_threshold_is_read_again_or_refused(tmp_path, capsys):
    learner = learner_of(Config(model="linear", task="classification", choose_threshold="f1"), 2)
    choice = {"by": "f1", "class": "b", "split": "v", "score": 1.0, "score_at_half": 0.5}
    kept = partial(threshold.kept, learner, tmp_path)
    assert kept({"threshold": 0.25, "threshold_choice": choice}).task.threshold == 0.25
    assert kept({}) is learner and "has chosen no threshold yet" in capsys.readouterr().err
    with pytest.raises(RequestError, match="--resume .* --choose_threshold f1"):
        kept({"accuracy": 1.0})
    with pytest.raises(RequestError, match="has chosen no threshold by f1"):
        kept({"threshold": 0.25, "threshold_choice": choice | {"by": "youden"}})
    for damaged in ({"threshold": 1.5, "threshold_choice": choice},
                    {"threshold": 0.5, "threshold_choice": choice | {"score": "1"}}):
        with pytest.raises(RunError, match="damaged"):
            kept(damaged)
    other = learner_of(Config(model="linear", task="classification"), 2)
    assert threshold.kept(other, tmp_path, {"threshold": 0.25}) is other
