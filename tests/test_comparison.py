"""Runs compared: differences, their intervals and McNemar's test against independent answers."""

import json
import math
import re
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, log_loss

from engine.command import comparison as command
from engine.command import flags
from engine.config import Config, Hyper
from engine.doors import hypers
from engine.errors import RequestError
from engine.place import Place
from engine.report import comparison
from engine.report.comparison import Compared, Difference, difference
from engine.request import Request
from engine.scores.inverse import inverts
from engine.scores.judged import Judged
from engine.store import record
from engine.task import Task
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression

EXAMPLES = "fingerprint", "test"


def compared(name: str, task, predicted, targets, examples=EXAMPLES, **settings) -> Compared:
    """A run that says so of its examples."""
    judged = Judged(None, np.asarray(predicted), np.asarray(targets), np.asarray)
    score = {"accuracy": 0.5, "mse": 0.5, "f1_micro": 0.5}
    saved = {"config": {"dataset": "digits", "epochs": 1} | settings, "hyper": {}}
    history = [{"epoch": 1, "val_loss": 1.0, "val_accuracy": 0.5}]
    return Compared(name, saved, history, score, task, examples, judged)


def said(right, classes: int = 2) -> np.ndarray:
    """Probabilities that are of class 0 where `right`."""
    return np.eye(classes)[np.where(right, 0, 1)]


def classified(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.random(count) < 0.8
    return a, np.where(rng.random(count) < 0.7, a, rng.random(count) < 0.6)


def test_mcnemars_test_is_that_of_the_binomial_distribution():
    a, b = classified()
    targets = np.zeros(len(a), int)
    runs = [compared(name, Classification(), said(right), targets)
            for name, right in (("a", a), ("b", b))]
    found = difference(*runs)
    alone = int((a & ~b).sum()), int((b & ~a).sum())
    more, total = max(alone), sum(alone)
    chance = 2 * sum(math.comb(total, k) for k in range(more, total + 1)) / 2**total
    assert found.alone == alone and found.probability == pytest.approx(min(1.0, chance))
    assert found.value == pytest.approx(a.mean() - b.mean())
    reference = stats.bootstrap((np.float64(a) - b,), np.mean, method="percentile", rng=1)
    np.testing.assert_allclose(found.interval, reference.confidence_interval, atol=0.012)
    back = difference(*runs[::-1])
    assert back.alone == alone[::-1] and back.value == -found.value


def test_a_run_is_not_told_apart_from_itself():
    right, _ = classified()
    run = compared("a", Classification(), said(right), np.zeros(len(right), int))
    found = difference(run, run._replace(name="b"))
    assert (found.value, found.interval, found.probability) == (0, [0, 0], 1)
    assert comparison.verdict([found]).endswith(
        "not told apart from b: 0 is within the 95% interval.")


def test_a_lead_that_the_exact_test_takes_for_chance_is_none():
    led = Difference("a", "b", 0.02, [0.003, 0.04], alone=(9, 2), probability=0.0654)
    assert comparison.verdict([led]) == "a: not told apart from b: McNemar's p is 0.0654."
    assert "better than b by 0.0200" in comparison.verdict([led._replace(probability=0.01)])


def test_errors_and_labels_have_differences_of_their_own_scores():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(90, 2))
    near, far = targets + 0.1, targets + rng.normal(size=(90, 2))
    found = difference(compared("near", Regression(), near, targets),
                       compared("far", Regression(), far, targets))
    assert found.value == pytest.approx(0.01 - np.square(far - targets).mean(), rel=1e-5)
    assert not found.chance and found.alone is None and found.interval[1] < 0
    runs = [compared("far", Regression(), far, targets)._replace(metrics={"mse": 2.0}),
            compared("near", Regression(), near, targets)]
    assert [run.name for run in comparison.ranked(runs)] == ["near", "far"]
    there = (rng.random((90, 3)) < 0.4).astype(np.float32)
    first, other = np.abs(there - 0.2), rng.random((90, 3))
    found = difference(compared("a", Multilabel(), first, there),
                       compared("b", Multilabel(), other, there))
    assert found.value == pytest.approx(1 - f1_score(there, other >= 0.5, average="micro"))


class Cubed(Task):
    def loss(self, outputs, targets, hyper):
        return jnp.abs(outputs - targets).mean(-1) ** 3


class ByLoss(Classification):
    score, higher = "loss", False


class Ratio(Cubed):
    score = "ratio"


class Folded(Cubed):
    def predict(self, outputs):
        return jnp.abs(outputs)


def test_the_score_of_a_task_of_ones_own_is_what_is_compared():
    rng = np.random.default_rng(0)
    targets, one, other = rng.normal(size=(3, 90, 2)).astype(np.float32)

    def apart(task):
        return difference(*(compared(name, task, said, targets)._replace(
            metrics={"loss": 0.5, "ratio": 0.5}) for name, said in (("a", one), ("b", other))))

    cubes = [np.abs(said - targets).mean(1) ** 3 for said in (one, other)]
    found = apart(Cubed())
    assert found.value == pytest.approx((cubes[0] - cubes[1]).mean(), rel=1e-4)
    assert found.interval[0] < found.value < found.interval[1] and found.alone is None
    for task in (Ratio(), Folded()):
        assert "no mean over examples" in apart(task).why


def test_classes_ranked_by_their_loss_are_compared_by_it():
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet(np.ones(3), (2, 90)).astype(np.float32)
    classes = rng.integers(0, 3, 90).astype(np.int32)
    found = difference(*(compared(name, ByLoss(), said, classes)._replace(metrics={"loss": 0.5})
                         for name, said in (("a", one), ("b", other))))
    assert found.value == pytest.approx(log_loss(classes, one) - log_loss(classes, other), rel=1e-4)
    assert found.alone is None and found.probability is None


@pytest.mark.parametrize("examples, targets", [
    (("another", "test"), [0, 0]), (("fingerprint", "validation"), [0, 0]), (EXAMPLES, [0, 1]),
])
def test_other_examples_are_not_compared(examples, targets):
    runs = [compared("a", Classification(), said([1, 0]), [0, 0]),
            compared("b", Classification(), said([1, 0]), targets, examples)]
    assert "judged on other examples" in difference(*runs).why
    assert "judged on other examples" in comparison.verdict([difference(*runs)])
    other = difference(runs[0], compared("c", Classification(), said([0, 1]), [0, 0]))
    told = comparison.verdict([other, difference(*runs)])
    assert "No test of b, since a and b were judged on other examples." in told


def test_the_page_has_what_differs_and_no_more(tmp_path):
    right, other = classified()
    evil = "<script>alert(1)</script>"
    targets = np.zeros(len(right), int)
    a, b, c = (compared(name, Classification(), said(own), targets, examples, optimizer=optimizer)
               for name, own, examples, optimizer in (
                   ("a", right, EXAMPLES, "sgd"), (evil, other, EXAMPLES, "adam"),
                   ("c", other, ("of another set", "test"), "adam")))
    comparison.write(tmp_path / "page.html", [a, b, c], [difference(a, b), difference(a, c)])
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text and "alert(1)&lt;/script" in text
    assert "<td>optimizer</td><td>sgd</td><td>adam</td>" in text and "<td>epochs</td>" not in text
    assert "c: no test, since a and c were judged on other examples" in text
    assert text.count("<figure") == 2 and "http:" not in text


def folder(path, **fields):
    """A run's folder, as far as it is read before anything is computed."""
    path.mkdir()
    config = Config(**fields)
    saved = record.to_json(Request(config, hypers.kind_of(config)(), Place()))
    (path / "config.json").write_text(json.dumps(saved))
    return str(path)


def test_what_cant_be_compared_is_refused_before_anything_is_computed(tmp_path):
    a = folder(tmp_path / "a", task="classification")
    b = folder(tmp_path / "b", task="regression")
    (tmp_path / "swept").mkdir()
    (tmp_path / "swept/sweep.json").write_text("{}")
    for words, message in [
        ([], "two folders or more"), ([a], "two folders or more"), ([a, f"{a}/"], "two folders"),
        ([a, str(tmp_path)], "no run in"), ([a, b], "only runs of one task"),
        ([a, str(tmp_path / "swept")], "is a sweep's folder"),
    ]:
        with pytest.raises(RequestError, match=message):
            command.tell(Place(), words, str(tmp_path / "page.html"))
    for file, message in (("page.csv", "type a name that ends in .html"),
                          (str(tmp_path / "nowhere/page.html"), "there is no folder .*/nowhere")):
        with pytest.raises(RequestError, match=message):
            command.tell(Place(), [a, b], file)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(RequestError, match="can't be written there"):
        command.tell(Place(), [a, b], str(tmp_path / "folder.html"))
    (tmp_path / "folder.html").rmdir()
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize("other, said", [
    ({"model": "xgboost"}, "(loss mean_squared of targets over 2.5) and lossc learned Regression "
     "(loss mean_squared): only runs of one task can be compared, and by their loss only those of"),
    ({"loss": "huber"}, "over 2.5) and lossc learned Regression (loss huber of targets over 2.5)"),
])
def test_losses_of_other_functions_or_units_are_not_compared(here, monkeypatch, other, said):
    """Trees learn the targets as they are, a network standardised ones."""
    columns = types.SimpleNamespace(target_mean=(1.0,), target_scale=(2.5,))
    monkeypatch.setattr("engine.store.folder.columns", lambda *_: columns)
    for score in ("loss", "mse"):
        own = {"model": "linear", "task": "regression", "rank_by": score}
        words = [folder(Path(score + name), **given)
                 for name, given in (("a", own), ("b", own), ("c", own | other))]
        assert len(command._read(words[:2])) == 2
        if score == "mse":
            assert len(command._read(words)) == 3
            continue
        with pytest.raises(RequestError, match=re.escape(said)):
            command._read(words)


@pytest.mark.parametrize("word", ["--epochs=3", "--run_dir=x", "--learning_rate=0.1"])
def test_a_flag_that_shapes_a_run_is_refused(word):
    with pytest.raises(RequestError, match="no effect with report"):
        flags.parse(["report", "a", "b", word])
    asked = flags.parse(["report", "a", "b", "--output=x.html", "--device=cpu"])
    assert (asked.name, asked.inputs, asked.output) == ("report", ["a", "b"], "x.html")


@pytest.mark.slow
def test_two_runs_are_judged_again_and_compared(here, launch):
    from engine.run import fit

    for name, rate in (("a", 1e-3), ("b", 1e-5)):
        fit(Config(dataset="digits", model="linear", epochs=1), Hyper(learning_rate=rate),
            Place(run_dir=name, device="cpu"), quiet=True)
    done = launch("report", "a", "b", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    scores = [json.loads((here / name / "metrics.json").read_text()) for name in "ab"]
    head, first, second, verdict, told = done.stdout.splitlines()
    assert first.split()[:2] == ["a", f"{scores[0]['accuracy']:.4f}"]
    assert second.split()[:3] == ["b", f"{scores[1]['accuracy']:.4f}",
                                  f"{scores[1]['accuracy'] - scores[0]['accuracy']:.4f}"]
    assert "a: better than b by" in verdict and max(map(len, (head, first, second))) <= 80
    text = (here / "comparison.html").read_text()
    assert "McNemar" in text and "<td>learning_rate</td>" in text and told.endswith(".html")


def test_predictions_of_another_width_are_no_inverse_however_they_would_spread():
    half = np.full((4, 3), 0.5, np.float32)
    assert inverts(half + 1e-5, half)
    assert not inverts(half[:, :1], half) and not inverts(half[:, :2], half)
    assert not inverts(half + 0.01, half)
