"""What a model rests on, against scikit-learn's permutation_importance and XGBoost's own gain."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from samples import random_split
from sklearn.inspection import permutation_importance
from test_trees import ready

from engine import run
from engine.config import Config, Hyper
from engine.errors import RequestError
from engine.learners.learner import jitted
from engine.optim.trees import XGBoost
from engine.place import Place
from engine.report import importance

pytestmark = pytest.mark.usefixtures("quickly")


class Estimator:
    """A run's learner, as scikit-learn asks for predictions."""

    def __init__(self, learner, variables):
        self.learner, self.variables = learner, variables

    def fit(self, x, y):
        return self

    def predict(self, x):
        return np.asarray(jitted(self.learner, "predict")(self.variables, np.float32(x)))


@pytest.mark.parametrize("name, model, hyper", [
    ("iris", "xgboost", XGBoost()),
    pytest.param("diabetes", "linear", Hyper(learning_rate=0.1), marks=pytest.mark.slow),
])
def test_importances_are_scikit_learns(name, model, hyper):
    """Of accuracy, which falls; of the squared error, which rises."""
    task = "regression" if name == "diabetes" else "classification"
    there = ready(Config(dataset=name, model=model, task=task, validation_split="0.3"), hyper)
    learner = there.learner
    create, segment = (jax.jit(f) if learner.traced else f for f in (there.create, learner.segment))
    state = segment(**there.inputs, state=create(there.hyper, there.root), count=np.int32(3))
    groups = importance.grouped(there.columns, there.data.train.input_shape[0])
    found = importance.permuted(learner, state.variables, there.data.validation, groups)
    held = there.data.validation

    def scored(estimator, x, y):
        told = estimator.predict(x)
        return float((told.argmax(1) == y).mean() if task == "classification"
                     else -np.square(told[:, 0] - y).mean())

    expected = permutation_importance(
        Estimator(learner, state.variables), np.asarray(held.split.inputs)[held.rows],
        held.targets.ravel(), scoring=scored, n_repeats=importance.REPEATS,
        random_state=importance.SEED)
    assert list(groups) == [c.name for c in there.columns.columns]
    for at, column in enumerate(groups):
        assert found[column]["mean"] == pytest.approx(expected.importances_mean[at], rel=1e-3,
                                                      abs=1e-6)
        assert found[column]["std"] == pytest.approx(expected.importances_std[at], rel=1e-2,
                                                     abs=1e-6)
    means = [value["mean"] for value in found.values()]
    assert means == sorted(means, reverse=True) and means[0] > 0


def test_the_features_of_a_column_are_shuffled_together(here):
    import pandas

    rows = np.arange(40)
    table = pandas.DataFrame({"kind": np.where(rows % 2, "a", "b"), "x": rows % 7, "y": rows % 2})
    table.to_csv("t.csv", index=False)
    there = ready(Config(dataset="table:t.csv", model="xgboost"), XGBoost())
    assert importance.grouped(there.columns, 3) == {"kind": [0, 1], "x": [2]}


@pytest.mark.slow
def test_a_run_writes_what_its_score_rests_on(here, capsys):
    made = run.fit(Config(dataset="iris", model="xgboost", epochs=1), XGBoost(),
                   Place(device="cpu", run_dir="a"), importances=True)
    assert "\nimportances: " in capsys.readouterr().out
    content = json.loads((made.path / "importances.json").read_text())
    assert content["score"] == "accuracy" and content["repeats"] == 5
    assert sum(content["gain"].values()) == pytest.approx(1)
    assert content["gain"].keys() == content["permutation"].keys() == {*made.columns.names}
    page = (made.path / "report.html").read_text().lower()
    assert "change of the validation accuracy" in page and "what splits by each feature" in page
    assert (made.path / "permutation.png").exists() and (made.path / "gain.png").exists()


def test_the_three_that_matter_most_are_told():
    means = {"b": 0.25, "a\n": 0.125, "d": 0.0625, "c": 0.0}
    content = {"score": "accuracy", "repeats": 5,
               "permutation": {name: {"mean": mean, "std": 0.0} for name, mean in means.items()}}
    assert importance.told(content, Path("runs/a")) == (
        "importances: b 0.2500, a\n 0.1250, d 0.0625, by which the validation accuracy gets worse "
        "where each is shuffled; all in runs/a/importances.json")
    assert importance.told({"gain": {"a": 1.0}}, Path("a")) == ""


def test_pictures_have_no_columns(here):
    with pytest.raises(RequestError, match="--importances shuffles a table's columns, and the inp"):
        run.fit(Config(model="linear"), data=random_split(40), quiet=True, importances=True)
    assert not list(here.iterdir())
