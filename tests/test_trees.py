"""Trees behind the interface of networks: what XGBoost by itself makes of the same."""

import importlib.util
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from samples import random_split

from engine import data, run, segments
from engine.command import flags
from engine.config import Config, Hyper
from engine.doors.checks import check
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.job.host import begin
from engine.loaded import load as loaded
from engine.optim.trees import RandomForest, XGBoost
from engine.parts.reading import load
from engine.place import Place
from engine.pure import train
from engine.request import Request
from engine.settling import settle
from engine.store import digests
from engine.sweep import space, sweep
from engine.sweep.search import Search

xgboost = pytest.importorskip("xgboost")  # an extra
DRAWN = XGBoost(max_depth=3.0, subsample=0.5, colsample_bytree=0.5)


def ready(config: Config, hyper, objects=None):
    host = begin(Place(device="cpu"), quiet=True)
    request, dataset = load(Request(config, hyper, Place(), objects), host)
    return settle(request, dataset, host)


def rounds(there, *counts: int, state=None):
    """The state after segments of so many rounds, each by a learner that knows none before."""
    for count in counts:
        learner = ready(there.config, there.request.hyper, there.request.data).learner
        state = learner.create(there.hyper, there.root, there.data) if state is None else state
        state = learner.segment(**there.inputs, state=state, count=np.int32(count))
    return state


def features(subset: data.Subset) -> tuple[np.ndarray, np.ndarray]:
    inputs = np.asarray(subset.split.inputs)[np.asarray(subset.rows)]
    return inputs.reshape(len(inputs), -1).astype(np.float32), subset.targets


def targets_of(kind: str):
    """Arrays of 4 features, and what is learned of them."""
    x = np.random.default_rng(0).normal(size=(150, 4)).astype(np.float32)
    several = np.stack([x[:, 0] + x[:, 1], x[:, 2]], 1)
    return x, {"classes": np.digitize(x[:, 0], [-0.5, 0.5]), "numbers": several,
               "labels": (several > 0).astype(np.float32)}[kind]


@pytest.mark.parametrize("kind, task, objective", [
    ("classes", "classification", {"objective": "multi:softprob", "num_class": 3}),
    ("numbers", "regression", {"objective": "reg:squarederror"}),
    ("labels", "multilabel", {"objective": "binary:logistic"}),
])
def test_predictions_and_bytes_are_xgboosts_own(kind, task, objective):
    """Of the same parameters and features."""
    config = Config(model="xgboost", task=task, epochs=4)
    there = ready(config, XGBoost(max_depth=3.0, reg_lambda=2.0), targets_of(kind))
    state = rounds(there, 4)
    x, y = features(there.data.train)
    own = xgboost.train(objective | {"max_depth": 3, "reg_lambda": 2}, xgboost.DMatrix(x, y), 4)
    assert state.params["booster"].tobytes() == bytes(own.save_raw("ubj"))
    held, _ = features(there.data.validation)
    expected = own.predict(xgboost.DMatrix(held)).reshape(len(held), -1)
    np.testing.assert_array_equal(there.learner.predict(state.variables, held), expected)
    _, told = there.learner.judge(state.variables, there.data.validation)
    np.testing.assert_array_equal(told, expected)


def test_class_weights_weigh_the_examples_that_are_learnt_from_alone():
    x, y = targets_of("classes")
    config = Config(model="xgboost", epochs=2, class_weights={"0": 3, "1": 1, "2": 0.5})
    there = ready(config, XGBoost(), (x, y))
    train_x, train_y = features(there.data.train)
    weighed = xgboost.DMatrix(train_x, train_y, weight=np.float32([3, 1, 0.5])[train_y])
    own = xgboost.train({"objective": "multi:softprob", "num_class": 3}, weighed, 2)
    state = rounds(there, 2)
    assert state.params["booster"].tobytes() == bytes(own.save_raw("ubj"))
    held_x, held_y = features(there.data.validation)
    probability = own.predict(xgboost.DMatrix(held_x))[np.arange(len(held_y)), held_y]
    (train,), (held,) = (there.learner.evaluate(state.models, subset)
                         for subset in (there.data.train, there.data.validation))  # of one split
    row = there.task.row(held)
    assert int(train.count) == len(train_y)
    assert float(row["loss"]) == pytest.approx(-np.log(probability).mean(), rel=1e-5)


@pytest.mark.slow
def test_a_run_stops_by_its_patience_as_a_network_does(tmp_path):
    config = Config(dataset="iris", model="xgboost", epochs=40, patience=3, monitor="val_loss")
    place = Place(device="cpu", run_dir=str(tmp_path / "run"))
    stopped = run.fit(config, XGBoost(), place, quiet=True)
    losses = np.array([row["val_loss"] for row in stopped.history])
    assert len(losses) < 40 and losses.argmin() == len(losses) - 4


@pytest.mark.slow
def test_pictures_are_flat_and_their_score_is_that_of_the_predictions():
    split = random_split(60)
    there = ready(Config(model="xgboost", epochs=2), XGBoost(), split)
    state = rounds(there, 2)
    x, y = features(there.data.validation)
    own = xgboost.train({"objective": "multi:softprob", "num_class": 4},
                        xgboost.DMatrix(*features(there.data.train)), 2)
    probability = own.predict(xgboost.DMatrix(x))
    row = there.task.row(*there.learner.evaluate(state.models, there.data.validation))
    assert float(row["accuracy"]) == pytest.approx((probability.argmax(1) == y).mean())
    expected = -np.log(probability[np.arange(len(y)), y]).mean()
    assert float(row["loss"]) == pytest.approx(expected, rel=1e-5)


def test_segments_of_any_length_make_the_same_bytes():
    """What is drawn in a round is its own, so a run resumes anywhere."""
    config = Config(dataset="iris", model="xgboost", epochs=6)
    there = ready(config, DRAWN)
    whole, parts = rounds(there, 6), rounds(there, 2, 4)
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert int(whole.step) == 6
    x, y = features(there.data.train)
    asked, own = there.learner.parameters(DRAWN), None
    for number in range(6):
        own = xgboost.train(asked | {"seed": number}, xgboost.DMatrix(x, y), 1, xgb_model=own)
        own = bytearray(own.save_raw("ubj"))
    assert whole.params["booster"].tobytes() == bytes(own)


def test_a_seed_decides_what_is_drawn():
    found = [rounds(ready(Config(dataset="iris", model="xgboost", seed=seed), DRAWN), 1)
             for seed in (0, 1, 2**32 - 1)]
    assert len({state.params["booster"].tobytes() for state in found}) == 3


def test_a_forest_is_xgboosts_own():
    there = ready(Config(dataset="iris", model="random_forest", seed=5),
                  RandomForest(num_parallel_tree=9.0, max_depth=4.0))
    state = rounds(there, 1)
    own = xgboost.XGBRFClassifier(n_estimators=9, max_depth=4, random_state=5)
    own.fit(*features(there.data.train))
    held, _ = features(there.data.validation)
    np.testing.assert_array_equal(there.learner.predict(state.variables, held),
                                  own.predict_proba(held))
    np.testing.assert_allclose(there.learner.gain(state.variables, 4), own.feature_importances_,
                               rtol=1e-5)


@pytest.mark.slow
def test_a_run_leaves_what_a_networks_does(here):
    """Resumed to be twice as long it is the run that was that long from the beginning."""
    asked = partial(Config, dataset="iris", model="xgboost")
    run.fit(asked(epochs=1), DRAWN, Place(device="cpu", run_dir="a"), quiet=True)
    longer = run.fit(asked(epochs=2), DRAWN, Place(device="cpu"), resume="a", quiet=True)
    again, whole = loaded("a", checkpoint="last"), rounds(ready(asked(epochs=2), DRAWN), 2)
    np.testing.assert_array_equal(again.state.params["booster"], whole.params["booster"])
    assert [row["epoch"] for row in longer.history] == [1, 2]
    told = evaluate("a")
    assert told["accuracy"] == longer.metrics["accuracy"] and told["step"] == longer.metrics["step"]


@pytest.mark.parametrize("words, said", [
    (["--optimizer", "sgd", "--flip"], "--optimizer and --flip have no effect with --model xgb"),
    (["--batch_size", "8"], "--batch_size has no effect"),
    (["--momentum", "0.9"], "--momentum has no effect with xgboost, whose values are learning_rat"),
    (["--max_dept", "3"], "max_depth"),
    (["--max_depth", "2.5"], "--max_depth 2.5: type a whole number"),
    (["--max_depth", "-1"], "0 or more"),
    (["--summary"], "--summary is of a network's"),
    (["--plan", "8xH100"], "--plan is of a network's"),
    (["lr-find"], "lr-find is of a network's"),
])
def test_what_has_no_effect_beside_trees_is_refused(words, said):
    with pytest.raises(RequestError, match=said):
        flags.parse(["--dataset", "iris", "--model", "xgboost", *words])


@pytest.mark.slow
def test_each_run_of_a_sweep_is_the_run_alone_and_a_lost_one_comes_again(here, monkeypatch):
    monkeypatch.setattr(segments, "APART", 0.0)
    asked = Config(dataset="iris", model="xgboost", epochs=3)
    request = Request(asked, DRAWN, Place(device="cpu", run_dir="s"))
    search = Search(("max_depth=1,3", "subsample=0.5,1"), folds=2)
    sweep.run(request, search)
    results = Path("s/results.jsonl").read_text()
    rows = [json.loads(line) for line in results.splitlines()]
    assert [row["epochs"] for row in rows] == [3] * 8
    for row in rows[1], rows[6]:
        alone = replace(asked, validation_split=row["fold"])
        values = DRAWN._replace(max_depth=row["max_depth"], subsample=row["subsample"])
        there = ready(alone, values)
        whole = rounds(there, 3)
        (judged,) = there.learner.evaluate(whole.models, there.data.validation)
        assert row["val_loss"] == pytest.approx(float(there.task.row(judged)["loss"]))
        member = loaded(f"s/{row['run']}", checkpoint="last")
        np.testing.assert_array_equal(member.state.params["booster"], whole.params["booster"])
    best = flags.parse(["--config", "s/best.py"]).request
    assert best.config.model == "xgboost" and isinstance(best.hyper, XGBoost)
    for lost in Path("s/checkpoints/6"), Path("s/6"), Path("s/checkpoints/2/3"):
        shutil.rmtree(lost)
    sweep.run(request, search, resume="s")
    assert Path("s/results.jsonl").read_text() == results


@pytest.mark.parametrize("words, said", [
    (["--halving", "2"], "--halving is of runs in one compiled program"),
    (["--pbt"], "--pbt is of runs in one compiled program"),
])
def test_a_sweep_of_trees_compares_no_runs_within_a_program(words, said):
    asked = flags.parse(["sweep", "--dataset", "iris", "--model", "xgboost", "--sweep",
                         "max_depth=1,2,3,4", *words])
    with pytest.raises(RequestError, match=said):
        space.of(asked.request, asked.search)


def test_what_trees_follow_comes_from_the_command_line():
    request = flags.parse(["--model", "xgboost", "--learning_rate", "0.1", "--max_depth", "3",
                           "--epochs", "20", "--validation_split", "2/5", "--seed", "3"]).request
    assert request.hyper == XGBoost(learning_rate=0.1, max_depth=3.0)
    assert request.config.epochs == 20


@pytest.mark.parametrize("config, hyper, said", [
    (Config(model="xgboost"), Hyper(), "follows the values learning_rate, max_depth"),
    (Config(model="xgboost"), XGBoost(max_depth=2.5), "--max_depth 2.5: type a whole number"),
    (Config(model="random_forest", epochs=3), RandomForest(), "--epochs 3: a random forest is one"),
])
def test_other_values_are_refused(config, hyper, said):
    with pytest.raises(RequestError, match=said):
        check(config, hyper)


@pytest.mark.parametrize("more, hyper, place, said", [
    ({}, XGBoost(subsample=2.0), Place(), "value 2 for Parameter subsample exceed bound"),
    ({"loss": "huber", "task": "regression", "dataset": "diabetes"}, XGBoost(), Place(),
     "--loss huber is none that"),
    ({}, XGBoost(), Place(stream=True), "would be streamed .as asked., and xgboost learns from"),
    ({}, XGBoost(), Place(fsdp=True), "leave --fsdp out"),
])
def test_what_trees_cannot_do_is_refused_before_a_folder_is_made(here, more, hyper, place, said):
    config = Config(**{"dataset": "iris", "model": "xgboost"} | more)
    with pytest.raises(RequestError, match=said):
        run.fit(config, hyper, place, quiet=True)
    assert not list(here.iterdir())


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match="pip install 'flaxmill.trees.'"):
        flags.parse(["--model", "random_forest"])


def test_trees_are_no_pure_function():
    with pytest.raises(RequestError, match="train is of a network's"):
        train(Config(model="xgboost"), XGBoost(), jax.random.key(0), None)


@pytest.mark.parametrize("saved, wanted, free, fit", [
    ([3, 4], [3, 4], 0, True), ([7], [-1], 0, True), ([3], [3, 4], 0, False),
    ([2, 4], [3, 4], 0, False), ([2, 4], [3, 4], 1, True), ([2, 5], [3, 4], 1, False),
])
def test_a_grown_axis_is_as_long_as_it_was_saved(saved, wanted, free, fit):
    assert digests.fits(saved, wanted, free) == fit
