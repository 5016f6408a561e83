"""Each task against scikit-learn's own calls on labels and numbers, and plain NumPy."""

import itertools
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from samples import Tiny
from sklearn import metrics as reference

from engine.config import Config, Hyper
from engine.console.number import number
from engine.doors import bring
from engine.errors import RequestError
from engine.learners.chosen import learner_of
from engine.scores import answers
from engine.scores.calibration import calibration
from engine.scores.judged import Judged
from engine.sets.columns import Columns
from engine.sets.features import Number
from engine.sweep.results import disagreement
from engine.task import add
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.positions import Positions
from engine.tasks.regression import Regression

quickly = partial(jax.jit, compiler_options=QUICK)


def random_case(seed: int, count: int, classes: int, present: int):
    """Logits biased to a few classes, so that some are absent and some never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present, count).astype(np.int32)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[:, -1] -= 50
    return logits, labels


def numbers(seed: int, count: int, outputs: int):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(count, outputs)).astype(np.float32)
    return (targets + rng.normal(size=targets.shape) * 2).astype(np.float32), targets


def labels(seed: int, count: int, outputs: int):
    """Logits that tell something of labels, the last of which no example has."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, (count, outputs)).astype(np.float32)
    targets[:, -1] = 0
    return (targets + rng.normal(size=targets.shape) - 0.7).astype(np.float32), targets


CASES = [(Classification(), partial(random_case, 0, classes=4, present=4)),
         (Regression(), partial(numbers, 1, outputs=3)), (Multilabel(), partial(labels, 2,
                                                                               outputs=4))]


def measured(task, outputs, targets, valid):
    """A batch's sums, as an evaluation has them."""
    loss = task.loss(outputs, targets, None)
    return task.tally(loss, outputs, targets, valid)


def judged(task, outputs, targets) -> Judged:
    sums, predicted = quickly(lambda o, t: (
        measured(task, o, t, jnp.ones(len(o), bool)), task.predict(o)))(outputs, targets)
    return Judged(sums, np.asarray(predicted), targets, lambda rows: outputs[rows])


@pytest.mark.parametrize("task, case", CASES)
def test_a_masked_row_counts_nothing_even_if_it_is_not_finite(task, case):
    outputs, targets = case(count=12)
    valid, sums = np.arange(12) < 9, quickly(partial(measured, task))
    whole = sums(outputs[:9], targets[:9], valid[:9])
    outputs[9:] = np.nan
    chex.assert_trees_all_close(sums(outputs, targets, valid), whole, rtol=1e-6)
    assert int(whole.count) == 9


@pytest.mark.parametrize("task, case", CASES)
def test_parts_of_a_batch_add_up_to_it(task, case):
    outputs, targets = case(count=12)
    sums = quickly(partial(measured, task))
    parts = [sums(outputs[part], targets[part], np.ones(len(outputs[part]), bool))
             for part in (slice(0, 5), slice(5, 12))]
    whole = sums(outputs, targets, np.ones(12, bool))
    chex.assert_trees_all_close(add(*parts), whole, rtol=1e-6)
    nothing = task.zeros(outputs.shape[1])
    chex.assert_trees_all_equal(add(nothing, whole), whole)
    chex.assert_trees_all_equal_shapes_and_dtypes(nothing, whole)


def positions(count: int, places: int = 5, classes: int = 4):
    logits, targets = random_case(4, count * places, classes, classes)
    targets[::7] = -1
    return logits.reshape(count, places, classes), targets.reshape(count, places)


@pytest.mark.parametrize("task, case", [*CASES, (Positions(), positions)])
def test_scores_of_ones_own_are_means_of_examples_beside_ours(task, case):
    class Own(type(task)):
        score = "first"

        def scores(self, outputs, targets):
            return super().scores(outputs, targets) | {
                "first": outputs.reshape(len(outputs), -1)[:, 0]}

    outputs, targets = case(count=12)
    first, valid = outputs.reshape(12, -1)[:, 0], np.arange(12) < 9
    sums, ours = (quickly(partial(measured, each))(outputs, targets, valid)
                  for each in (Own(), task))
    row = Own().row(sums)
    assert row.pop("first") == pytest.approx(first[:9].mean(), rel=1e-5)
    chex.assert_trees_all_equal(row, task.row(ours))
    chex.assert_trees_all_equal_shapes_and_dtypes(
        Own().zeros(outputs.shape[-1], outputs[:1]), sums)
    told = Own().summarise(judged(Own(), outputs, targets), tuple("abcd"[:outputs.shape[-1]]))
    assert told["first"] == pytest.approx(first.mean(), rel=1e-5)
    assert f"first {number(told['first'])}" in Own().line(told)


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.3])
def test_smoothed_cross_entropy_is_that_of_soft_labels(smoothing):
    logits, targets = random_case(3, 31, 5, 5)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(1, keepdims=True))
    soft = np.eye(5)[targets] * (1 - (smoothing or 0)) + (smoothing or 0) / 5
    got = Classification().loss(logits, targets, Hyper(label_smoothing=smoothing))
    np.testing.assert_allclose(got, -(soft * log_p).sum(1), rtol=1e-5)


@pytest.mark.parametrize("seed, classes, present", [(0, 10, 10), (1, 7, 4), (2, 3, 3), (3, 20, 1)])
def test_classifications_scores_equal_scikit_learns(seed, classes, present):
    logits, targets = random_case(seed, 203, classes, present)
    found, every = judged(Classification(), logits, targets), range(classes)
    ours = Classification().summarise(found, tuple(f"c{i}" for i in every))
    predicted = logits.argmax(1)
    scored = partial(reference.precision_recall_fscore_support, targets, predicted, labels=every,
                     zero_division=0)
    for average in ("macro", "weighted"):  # as whoever calls it without labels has them
        wanted = reference.precision_recall_fscore_support(targets, predicted, average=average,
                                                           zero_division=0)
        for name, want in zip(("precision", "recall", "f1"), wanted, strict=False):
            assert ours[f"{name}_{average}"] == pytest.approx(want, abs=1e-12)
    assert ours["classes_left_out"] == classes - len({*targets} | {*predicted})
    got = np.array([list(row.values()) for row in ours["per_class"].values()])
    np.testing.assert_allclose(got.T, scored(), atol=1e-12)
    np.testing.assert_array_equal(
        ours["confusion"], reference.confusion_matrix(targets, predicted, labels=every)
    )
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert ours["num_examples"] == 203
    probability = np.exp(logits.astype(np.float64))
    probability /= probability.sum(1, keepdims=True)
    np.testing.assert_allclose(found.predicted, probability, atol=1e-6)
    want = -np.log(probability[np.arange(203), targets]).mean()
    assert ours["loss"] == pytest.approx(want, rel=1e-5)
    if classes > 5:
        want = reference.top_k_accuracy_score(targets, logits, k=5, labels=every)
        assert ours["top5_accuracy"] == pytest.approx(want)
    else:
        assert "top5_accuracy" not in ours
    row = Classification().row(found.sums)
    assert [float(row[name]) for name in ("loss", "accuracy")] == pytest.approx(
        [ours["loss"], ours["accuracy"]])


def test_of_seven_even_ones_none_is_among_the_five_likeliest():
    """Logits so far below the best that float32 has no probability for them."""
    logits = np.float32([[200, 0, -1, -2, -3, -4, -5]] * 2)
    ours = Classification().summarise(judged(Classification(), logits, np.int32([6, 0])),
                                      tuple("abcdefg"))
    assert ours["top5_accuracy"] == 0.5 and ours["interval"]["top5_accuracy"] == [0, 1]


def test_mistakes_are_the_most_confident_first():
    predicted = np.array([[0.1, 0.9], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    found = answers.mistakes(Judged(None, predicted, np.array([0, 0, 1, 0]), lambda rows: rows),
                             predicted.argmax(1))
    assert found[0].tolist() == [0, 3, 1] and found[3].tolist() == [0.9, 0.7, 0.6]
    assert found[1].tolist() == [0, 0, 0] and found[2].tolist() == [1, 1, 1]


def test_no_examples_is_an_error_not_a_nan():
    empty = Classification().tally(*(jnp.zeros(shape, dtype) for shape, dtype in (
        (0, "f4"), ((0, 3), "f4"), (0, "i4"), (0, bool))))
    with pytest.raises(ValueError, match="no examples"):
        Classification().summarise(Judged(empty, None, None, None), ("a", "b", "c"))


@pytest.mark.parametrize("name, each", [
    ("", np.square), ("mean_squared", np.square), ("mean_absolute", np.abs),
    ("huber", lambda off: np.where(abs(off) < 1, off**2 / 2, abs(off) - 0.5)),
])
def test_regressions_losses_are_numpys(name, each):
    outputs, targets = numbers(4, 50, 3)
    got = Regression(loss_name=name).loss(outputs, targets, Hyper())
    np.testing.assert_allclose(got, each(outputs - targets).mean(1), rtol=1e-5)


@pytest.mark.parametrize("made, said", [
    (lambda: Regression("hubr").loss(jnp.ones((2, 1)), jnp.ones((2, 1)), None), "mean huber"),
    (lambda: bring.task(Config(task="regression", loss="hubr")), "mean huber"),
    (lambda: bring.task(Config(task=Regression(), loss="huber")), "--loss huber has no effect"),
    (lambda: bring.task(Config(task=Multilabel(0.3), threshold=0.7)), "--threshold 0.7 has no eff"),
])
def test_a_loss_that_nothing_would_use_is_refused(made, said):
    with pytest.raises(RequestError, match=said):
        made()
    assert bring.task(Config(task="regression", loss="huber")) == Regression("huber")
    assert bring.task(Config(task="multilabel", threshold=0.7)) == Multilabel(0.7)


@pytest.mark.parametrize("outputs", [1, 3])
def test_regressions_scores_equal_scikit_learns(outputs):
    predicted, targets = numbers(5, 60, outputs)
    task, names = Regression(loss_name="huber"), tuple("abc"[:outputs])
    found = judged(task, predicted, targets)
    ours = task.summarise(found, names)
    calls = {"mse": reference.mean_squared_error, "mae": reference.mean_absolute_error,
             "r2": reference.r2_score}
    for score, call in calls.items():
        assert ours[score] == pytest.approx(call(targets, predicted), rel=1e-5)
        each = [row[score] for row in ours["per_output"].values()]
        assert each == pytest.approx(call(targets, predicted, multioutput="raw_values"), rel=1e-5)
    assert list(ours["per_output"]) == list(names) and ours["num_examples"] == 60
    assert ours["loss"] == pytest.approx(float(task.loss(predicted, targets, None).mean()))
    np.testing.assert_array_equal(found.predicted, predicted)


@pytest.mark.parametrize("loss", Regression.losses)
def test_standardised_targets_are_learned_and_scored_in_their_own_units(loss):
    """Two outputs of other sizes: the loss is that of standardised targets, whatever their units;
    predictions and scores are in these."""
    outputs, small = numbers(5, 60, 2)
    mean, scale = np.array([150.0, -2.0]), np.array([70.0, 0.01])
    targets = (small * scale + mean).astype("f4")
    task = Regression(loss, tuple(mean), tuple(scale))
    found = judged(task, outputs, targets)
    np.testing.assert_allclose(found.predicted, outputs * scale + mean, rtol=1e-5)
    np.testing.assert_allclose(task.loss(outputs, targets, None),
                               Regression(loss).loss(outputs, small, None), rtol=5e-3, atol=1e-3)
    ours = task.summarise(found, ("a", "b"))
    assert ours["mse"] == pytest.approx(reference.mean_squared_error(targets, found.predicted),
                                        rel=1e-5)
    assert ours["mae"] == pytest.approx(reference.mean_absolute_error(targets, found.predicted),
                                        rel=1e-5)
    row = task.row(found.sums)
    assert float(row["mse"]) == pytest.approx(ours["mse"], rel=1e-5)


def test_a_subclass_may_have_a_loss_that_minds_the_units():
    """So that it gets a table's numbers as they are."""
    class Own(Regression):
        pass

    columns = Columns((Number("a", "number", 0.0, 0.0, 1.0, False),), (150.0,), (70.0,))
    tasks = [learner_of(Config(model=Tiny, task=task), 1, columns=columns).task
             for task in (Regression(), Own())]
    assert [task.mean for task in tasks] == [(150.0,), ()]


def test_r2_of_one_example_is_no_number():
    ours = Regression().summarise(judged(Regression(), *numbers(6, 1, 2)), ("a", "b"))
    assert ours["r2"] is None and ours["per_output"]["b"]["r2"] is None and ours["mse"] > 0


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_multilabels_scores_equal_scikit_learns(threshold):
    logits, targets = labels(7, 90, 4)
    task, names = Multilabel(threshold), tuple("abcd")
    found = judged(task, logits, targets)
    ours = task.summarise(found, names)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    said = probability >= threshold
    np.testing.assert_allclose(found.predicted, probability, atol=1e-6)
    f1 = partial(reference.f1_score, targets, said, zero_division=0)
    assert ours["f1_micro"] == pytest.approx(f1(average="micro"))
    assert ours["f1_macro"] == pytest.approx(f1(average="macro"))
    precision = reference.average_precision_score(targets[:, :3], probability[:, :3], average=None)
    assert ours["average_precision_macro"] == pytest.approx(precision.mean())
    rows = ours["per_label"]
    assert [rows[name]["average_precision"] for name in "abc"] == pytest.approx(precision)
    assert rows["d"] == {"f1": 0.0, "average_precision": None, "support": 0}
    assert [row["f1"] for row in rows.values()] == pytest.approx(f1(average=None))
    assert [row["support"] for row in rows.values()] == targets.sum(0).tolist()
    row = task.row(found.sums)
    assert float(row["f1_micro"]) == pytest.approx(ours["f1_micro"])
    cross = -np.where(targets > 0, np.log(probability), np.log1p(-probability)).mean()
    assert ours["loss"] == pytest.approx(cross, rel=1e-5) == pytest.approx(float(row["loss"]))


def test_the_threshold_itself_counts():
    sums = measured(Multilabel(0.5), jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones(1, bool))
    assert sums.true_positives.tolist() == [1, 1] and not sums.false_negatives.any()
    assert Multilabel(0.5).told(np.array([0.5, 0.4]), ("a", "b")) == "a\t0.5000"


def test_probabilities_that_hold_are_calibrated_and_sharper_ones_are_not():
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from their softmax
    honest, sharp, flat = (np.exp(k * logits) / np.exp(k * logits).sum(1, keepdims=True)
                           for k in (1, 3, 0.3))
    assert calibration(honest, labels).error < 0.01
    assert calibration(sharp, labels).error > 0.1
    assert calibration(flat, labels).error > 0.1


def confident(*confidence: float) -> np.ndarray:
    """Class 0 with so much probability, the rest over four others."""
    first = np.array(confidence)[:, None]
    return np.concatenate([first, np.repeat((1 - first) / 4, 4, axis=1)], axis=1)


@pytest.mark.parametrize("there, said, f1", [
    ([1, 0, 1, 0, 0], [1, 0, 0, 0, 0], 2 / 3), ([0, 0, 0], [0, 0, 0], 0.0), ([1, 1], [1, 1], 1.0)])
def test_a_single_label_has_the_f1_of_a_label_and_not_of_two_classes(there, said, f1):
    logits, targets = np.where(said, 3.0, -3.0)[:, None], np.float32(there)[:, None]
    scores = Multilabel().summarise(judged(Multilabel(), logits, targets), ("only",))
    assert [scores["f1_micro"], scores["f1_macro"], scores["per_label"]["only"]["f1"]] == \
        pytest.approx([f1] * 3)


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
    got = calibration(confident(*confidence), np.array(labels), bins).error
    assert got == pytest.approx(want)


@pytest.mark.parametrize("predicted, want", [
    ([[3, 1, 0]] * 4, 0.0),
    ([[0, 1], [0, 2], [1, 0]], (0.5 + 1.0 + 1.0) / 3),
    ([[0, 1], [0, 2], [1, 1]], (0.5 + 0.5 + 1.0) / 3),
    ([[0, 1, 2, 3], [0, 1, 2, 0]], 0.25),
    ([[0, 0], [1, 1]], 1.0),
])
def test_disagreement_by_hand(predicted, want):
    assert disagreement(np.array(predicted)) == pytest.approx(want)


@pytest.mark.parametrize("members, classes, count", [(2, 3, 50), (5, 10, 31), (16, 2, 7)])
def test_disagreement_is_the_mean_over_pairs_of_members(members, classes, count):
    predicted = np.random.default_rng(0).integers(0, classes, (members, count)).astype(np.int32)
    want = np.mean([(a != b).mean() for a, b in itertools.combinations(predicted, 2)])
    assert disagreement(predicted) == pytest.approx(want)


@pytest.mark.parametrize("task, case, card, head", [
    (*CASES[0], "accuracy", ["class", "precision", "recall", "f1", "support"]),
    (*CASES[1], "mse", ["output", "mse", "mae", "r2"]),
    (*CASES[2], "f1 micro", ["label", "f1", "average_precision", "support"]),
])
def test_a_report_has_the_headline_and_a_row_for_each(task, case, card, head, monkeypatch):
    monkeypatch.setattr(type(task), "drawn", lambda *_: [])
    found = judged(task, *case(count=12))
    names = tuple("abcd"[:found.predicted.shape[1]])
    scores = task.summarise(found, names)
    shown = task.shown(scores, found, names)
    name = card.replace(" ", "_")
    low, high = scores["interval"][name]
    assert shown.cards[0] == (card, f"{scores[name]:.4f}", f"{low:.4f} to {high:.4f}")
    assert [card, scores[name], low, high] in shown.scores
    assert shown.table[0] == head and [row[0] for row in shown.table[1]] == list(names)
    assert shown.names[0] == "loss" and task.score in shown.names


@pytest.mark.parametrize("task, case, by, others", [
    (*CASES[0], "f1_macro", "accuracy [^,]*, loss [^,]*, precision [^,]*, recall [^,]* .macro."),
    (*CASES[1], "mae", "loss .*, mse .*"), (*CASES[2], "f1_macro", "loss .*, f1_micro .*"),
])
def test_what_ranks_is_told_first_with_its_interval(task, case, by, others, monkeypatch):
    monkeypatch.setattr(type(task), "drawn", lambda *_: [])
    task, found = task.ranked(by), judged(task, *case(count=12))
    names = tuple("abcd"[:found.predicted.shape[1]])
    scores = task.summarise(found, names)
    low, high = scores["interval"][by]
    told = re.escape(f"{by} {scores[by]:.4f} [{low:.4f}, {high:.4f}], ") + others
    assert re.fullmatch(told, task.line(scores))
    cards = task.shown(scores, found, names).cards
    assert cards[0][:2] == (by.replace("_", " "), f"{scores[by]:.4f}")
    assert len({card[0] for card in cards}) == len(cards)


def hinge_case():
    """Scores of which some are within the margin, some wrong, some far right."""
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 4, 60).astype(np.int32)
    scores = rng.normal(size=(60, 4)).astype(np.float32)
    scores[np.arange(60), targets] += 2
    return scores, targets


def test_hinge_is_crammer_and_singers():
    scores, targets = hinge_case()
    loss_B = quickly(lambda s: Classification(loss_name="hinge").loss(s, targets, None))(scores)
    want = reference.hinge_loss(targets, scores, labels=range(4))
    assert float(loss_B.mean()) == pytest.approx(want, rel=1e-5)
    assert (loss_B == 0).any() and (loss_B > 1).any()


def test_squared_hinge_is_least_where_linear_svc_ends():
    """One against the rest. LinearSVC's C is 1/(N · decay), and it decays its biases too."""
    from sklearn.svm import LinearSVC

    x, decay = np.random.default_rng(4).normal(size=(60, 5)).astype(np.float32), 0.1
    _, targets = hinge_case()
    x[:, 0] += targets
    fitted = LinearSVC(C=1 / (60 * decay), tol=1e-8, max_iter=100_000).fit(x, targets)
    params = jnp.float32(fitted.coef_.T), jnp.float32(fitted.intercept_)

    def objective(params):
        outputs = x @ params[0] + params[1]
        loss = Classification(loss_name="squared_hinge").loss(outputs, targets, None).mean()
        return loss + decay / 2 * sum(jnp.square(p).sum() for p in params)

    loss, slope = quickly(jax.value_and_grad(objective))(params)
    margins = 1 - (2 * np.eye(4)[targets] - 1) * fitted.decision_function(x)
    plain = (np.maximum(margins, 0) ** 2).sum(1).mean()
    size = sum((np.asarray(p) ** 2).sum() for p in params)
    assert float(loss) == pytest.approx(plain + decay / 2 * size, rel=1e-5)
    assert max(float(jnp.abs(part).max()) for part in slope) < 1e-3


def test_a_hinge_loss_smooths_no_labels_and_says_what_its_probabilities_are(monkeypatch):
    monkeypatch.setattr(Classification, "drawn", lambda *_: [])
    scores, targets = hinge_case()
    task = Classification(loss_name="hinge")
    with pytest.raises(RequestError, match="--label_smoothing has no effect with a hinge loss"):
        task.loss(scores, targets, Hyper(label_smoothing=0.1))
    with pytest.raises(RequestError, match="unknown loss_name .* 'hing': did you mean hinge"):
        Classification(loss_name="hing").loss(scores, targets, None)
    found = judged(task, scores, targets)
    told = task.summarise(found, tuple("abcd"))
    assert "margins" in task.shown(told, found, tuple("abcd")).note
    assert not Classification().caution


@pytest.mark.parametrize("asked, want", [
    ({"model": "svm"}, "hinge"), ({"model": "svm", "loss": "squared_hinge"}, "squared_hinge"),
    ({"model": "linear", "loss": "hinge"}, "hinge"), ({"model": "linear"}, ""),
])
def test_svm_is_learned_by_a_hinge_loss(asked, want):
    assert bring.task(Config(**asked)).loss_name == want


@pytest.mark.parametrize("asked, said", [
    ({"loss": "softmax_cross_entropy"}, "--loss softmax_cross_entropy would make --model svm the "
                                        "model linear: type --model linear, or --loss hinge or "),
    ({"task": "regression"}, "learned by the loss hinge or squared_hinge, which task regression "),
    ({"task": "multilabel"}, "task multilabel doesn't have: type --model linear."),
    ({"task": Classification()}, "task Classification doesn't have"),
])
def test_svm_learned_by_another_loss_is_refused(asked, said):
    with pytest.raises(RequestError, match=said):
        bring.task(Config(model="svm", **asked))


def test_a_task_given_as_an_object_is_written_as_before():
    assert bring.written(Classification()) == "<Classification()>"
    assert bring.written(Classification(loss_name="hinge")) == "<Classification(loss_name='hinge')>"
