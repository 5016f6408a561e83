"""--rank_by: another score of the task ranks checkpoints and runs, counted as scikit-learn does."""

import dataclasses
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import Tiny
from sklearn import metrics

from engine import load
from engine.config import Config, Hyper
from engine.doors import bring
from engine.doors.checks import check
from engine.errors import RequestError
from engine.optim import patience
from engine.place import Place
from engine.pure import data_for, train
from engine.run import fit
from engine.scores.counts import SCORES
from engine.sweep.space import axis
from engine.task import Task, add
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.positions import Positions
from engine.tasks.regression import Regression

RNG = np.random.default_rng(0)


def row_of(task, outputs, targets):
    """Of two batches' sums, each with an example that only fills it up."""
    def sums(outputs, targets):
        valid = jnp.arange(len(targets)) < len(targets) - 1
        return task.tally(jnp.zeros(len(targets)), outputs, targets, valid)

    filled = [np.concatenate([x[part], x[:1]]) for part in (slice(5), slice(5, None))
              for x in (outputs, targets)]
    return task.row(add(sums(*filled[:2]), sums(*filled[2:])))


REFERENCE = {
    "f1_macro": lambda y, said: metrics.f1_score(y, said, average="macro", zero_division=0),
    "balanced_accuracy": lambda y, said: metrics.recall_score(
        y, said, average="macro", labels=np.unique(y)),
    "matthews_correlation": metrics.matthews_corrcoef,
}
assert {*REFERENCE} == {*SCORES}


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("there, said", [(4, 4), (3, 4), (4, 2), (1, 3), (3, 1), (1, 1)])
def test_the_scores_of_classes_are_scikit_learns(name, there, said):
    """Where classes are absent, or never said, too."""
    targets = RNG.integers(0, there, 60).astype(np.int32)
    outputs = RNG.normal(size=(60, 5)).astype(np.float32)
    outputs[:, said:] -= 50
    want = REFERENCE[name](targets, outputs.argmax(-1))
    row = row_of(Classification(ranked_by=name), outputs, targets)
    assert row[name] == pytest.approx(want, rel=1e-5, abs=1e-6)

    targets, outputs = targets.reshape(12, 5), outputs.reshape(12, 5, 5)
    targets[::3, 1] = -1
    known = targets >= 0
    want = REFERENCE[name](targets[known], outputs.argmax(-1)[known])
    row = row_of(Positions(ranked_by=name), outputs, targets)
    assert row[name] == pytest.approx(want, rel=1e-5, abs=1e-6)


def test_f1_of_labels_is_scikit_learns():
    targets = RNG.integers(0, 2, (40, 4)).astype(np.float32)
    targets[:, 3] = 0
    outputs = RNG.normal(size=(40, 4)).astype(np.float32)
    row = row_of(Multilabel(ranked_by="f1_macro"), outputs, targets)
    want = metrics.f1_score(targets, outputs >= 0, average="macro", zero_division=0)
    assert row["f1_macro"] == pytest.approx(want) and "f1_macro" not in row_of(
        Multilabel(), outputs, targets)


class Losing(Task):
    errors = ("off",)

    def loss(self, outputs, targets, hyper):
        return jnp.square(outputs - targets).mean(-1)

    def scores(self, outputs, targets):
        return {"off": abs(outputs - targets).mean(-1)}


@pytest.mark.parametrize("task, name, higher", [
    (Classification, "f1_macro", True), (Classification, "loss", False),
    (Classification, "accuracy", True), (Positions, "mean_iou", True), (Positions, "loss", False),
    (Regression, "mae", False), (Multilabel, "f1_macro", True), (Losing, "off", False),
])
def test_what_ranks_is_watched_and_the_task_another(task, name, higher):
    made = bring.task(Config(task=task, rank_by=name))
    assert patience.monitor(made, "", False) == patience.Monitor(f"val_{name}", higher)
    assert (made.score, made.higher) == (name, higher)
    assert made == pickle.loads(pickle.dumps(made)) == dataclasses.replace(made) != task()
    assert pickle.loads(pickle.dumps(made)).score == name
    assert bring.task(Config(task=task(), rank_by=name)) == made  # of an object too
    assert task().score == task.score and bring.task(Config(task=task)) == task()


class Own(Task):
    def __init__(self, sharp):
        object.__setattr__(self, "sharp", sharp)


@pytest.mark.parametrize("refused, said", [
    (lambda: bring.task(Config(rank_by="f1")), "score of Classification to --rank_by 'f1': .*f1_m"),
    (lambda: bring.task(Config(task="regression", rank_by="r2")), "choose from loss, mae, mse"),
    (lambda: bring.task(Config(task=Own(2.0), rank_by="loss")), "can't be told to Own: give its"),
    (lambda: axis("rank_by=loss,accuracy"), "start a sweep for each"),
    (lambda: patience.monitor(Classification(), "val_f1_macro", False), "type --rank_by f1_macro"),
])
def test_what_cannot_rank_is_refused(refused, said):
    with pytest.raises(RequestError, match=said):
        refused()


X = RNG.normal(size=(300, 4, 4, 1)).astype(np.float32)
Y = np.where(X[:, 0, 0, 0] > 1.2, 2, (X[:, 0, 1, 0] > 0).astype(int))


def test_the_best_is_kept_by_it_and_resumed_by_it_alone(tmp_path):
    """On this set macro F1 and accuracy don't agree on which epoch is the best."""
    config = Config(model=Tiny, epochs=8, batch_size=8, rank_by="f1_macro", seed=2,
                    validation_split=0.3)
    hyper, place = Hyper(learning_rate=0.05), Place(device="cpu", run_dir=str(tmp_path / "run"))
    run = fit(config, hyper, place, data=(X, Y), quiet=True)
    scores = {name: np.array([row[f"val_{name}"] for row in run.history])
              for name in ("f1_macro", "accuracy")}
    best = int(scores["f1_macro"].argmax())
    assert scores["accuracy"][best] < scores["accuracy"].max()
    assert run.metrics["epoch"] == best + 1
    assert run.metrics["f1_macro"] == pytest.approx(float(scores["f1_macro"][best]), rel=1e-6)
    assert load(run.path, config).metrics["f1_macro"] == run.metrics["f1_macro"]
    plain = fit(dataclasses.replace(config, rank_by=""), hyper, data=(X, Y), quiet=True,
                place=Place(device="cpu", run_dir=str(tmp_path / "plain")))
    assert [row["val_loss"] for row in run.history] == [row["val_loss"] for row in plain.history]
    assert plain.metrics["epoch"] != best + 1 and "val_f1_macro" not in plain.history[0]
    with pytest.raises(RequestError, match="rank_by was 'f1_macro', now 'accuracy'"):
        fit(dataclasses.replace(config, rank_by="accuracy", epochs=9), hyper, data=(X, Y),
            resume=run.path, quiet=True)


class Times(Task):
    """No dataclass: what it was given is its own."""

    def __init__(self, factor):
        self.factor = factor

    def loss(self, outputs, targets, hyper):
        return self.factor * jnp.square(outputs - targets).mean(-1)


def test_tasks_of_other_values_are_other_tasks():
    """Programs are shared by what is equal."""
    assert Times(1.0) == Times(1.0) and hash(Times(1.0)) == hash(Times(1.0))
    assert Times(1.0) != Times(100.0) and repr(Times(100.0)) == "Times(factor=100.0)"
    config = Config(model=nn.Dense(1), epochs=1, batch_size=8)
    given = np.eye(9), np.arange(9.0)[:, None]
    data = data_for(dataclasses.replace(config, task=Times(1.0)), given)
    run = jax.jit(train, static_argnums=0)
    losses = [run(dataclasses.replace(config, task=Times(factor)), Hyper(), jax.random.key(0),
                  data)[1]["loss"] for factor in (1.0, 100.0)]
    assert losses[1][0] > 50 * losses[0][0]
    with pytest.raises(RequestError, match="can't be hashed"):
        check(dataclasses.replace(config, task=Times(np.ones(3))), Hyper())
