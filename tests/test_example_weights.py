"""A weight of each example's own multiplies its loss in training, and nothing else."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import QUICK
from samples import Normed, Tiny, data_of, random_split
from test_stream import assert_same_runs, ran

from engine.config import Config, Hyper, Reading
from engine.data import named, whole
from engine.doors import weights
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.examples import Split
from engine.feed import Data
from engine.job.host import begin
from engine.objects import arrays
from engine.parts.reading import load
from engine.place import Place
from engine.pure import train
from engine.request import Request
from engine.settling import settle
from engine.stream import choice
from engine.tables import table
from flaxmill.sklearn import Classifier

quickly = partial(jax.jit, static_argnums=0, compiler_options=QUICK)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 3)).astype("f4"), (np.arange(24) % 3).astype("i4")
W = RNG.uniform(0, 4, 24).astype("f4")


def weighted(split: Split, own: np.ndarray | None) -> Split:
    return split._replace(weights=own)


def params(config: Config, data: Data, **hyper) -> list[np.ndarray]:
    state, _ = quickly(train)(config, Hyper(**hyper), jax.random.key(0), data)
    return jax.tree.leaves(state.params)


def test_an_update_of_softmax_regression_is_that_by_hand():
    data = data_of(Split(X, Y, W), Split(X, Y), 3)
    config = Config(model="linear", optimizer="sgd", epochs=1, batch_size=24)
    before = params(dataclasses.replace(config), data, learning_rate=0.0)
    state, history = quickly(train)(config, Hyper(learning_rate=0.5), jax.random.key(0), data)
    bias, kernel = (np.float64(x) for x in before)
    logits = X @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slope = W[:, None] * (shares - np.eye(3)[Y]) / 24
    for got, want in zip(jax.tree.leaves(state.params),
                         (bias - 0.5 * slope.sum(0), kernel - 0.5 * X.T @ slope), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    loss = -W * np.log(shares[np.arange(24), Y])
    assert history["loss"][0] == pytest.approx(loss.mean(), rel=1e-5)


@pytest.mark.parametrize("model", [Tiny, pytest.param(Normed, marks=pytest.mark.slow)])
def test_weights_of_one_change_no_bit_and_those_of_zero_hide_an_example(model):
    """Of batches that aren't full, over microbatches."""
    config = Config(model=model, epochs=2, batch_size=16, microbatch=4)
    split, validation = random_split(37), random_split(12, seed=1)
    plain = params(config, data_of(split, validation))
    ones = params(config, data_of(weighted(split, np.ones(37, "f4")), validation))
    for x, y in zip(plain, ones, strict=True):
        np.testing.assert_array_equal(x, y)
    if model is Normed:
        return  # whose statistics are of every example
    shown = np.float32(np.arange(37) % 3 > 0)
    other = split.inputs.copy()
    other[shown == 0] = 255 - other[shown == 0]
    for x, y in zip(params(config, data_of(weighted(split, shown), validation)),
                    params(config, data_of(Split(other, split.targets, shown), validation)),
                    strict=True):
        np.testing.assert_array_equal(x, y)
    assert any(not np.array_equal(x, y) for x, y in zip(plain, params(
        config, data_of(weighted(split, shown), validation)), strict=True))


def test_they_go_through_vmap_and_the_validation_knows_none():
    config = Config(model="linear", epochs=1, batch_size=8)
    keys = jax.random.split(jax.random.key(0), 2)
    heavy = data_of(Split(X, Y), Split(X, Y, 100 * W), 3)
    light = data_of(Split(X, Y), Split(X, Y), 3)
    found = [quickly(lambda *of: jax.vmap(train, (None, None, 0, None))(*of)[1])(
        config, Hyper(), keys, data) for data in (heavy, light)]
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


@pytest.mark.parametrize("given", [
    (X, Y, W), {"x": X, "y": Y, "sample_weight": W}, (X.tolist(), Y.tolist(), W.tolist()),
    [{"x": x, "sample_weights": w, "y": y} for x, y, w in zip(X, Y, W, strict=True)],
    (pd.DataFrame(X, columns=list("abc")), Y, pd.Series(W)), (jnp.asarray(X), Y, jnp.asarray(W)),
], ids=["tuple", "mapping", "lists", "sequence", "table", "jax"])
def test_they_come_with_objects(given):
    found = arrays.of({"train": given, "test": given[:2] if type(given) is tuple else given})
    np.testing.assert_allclose(found.splits["train"].weights, W)
    assert found.splits["train"].weights.dtype == np.float32
    assert (found.splits["test"].weights is None) == (type(given) is tuple)
    assert found.fingerprint != arrays.of({"train": (X, Y, 2 * W), "test": (X, Y)}).fingerprint
    both = named(found, "train[:5]+test[10:]")
    own = W if both.split.weights[5] != 1 else np.ones(24)
    np.testing.assert_allclose(weights.of_examples(both), [*W[:5], *own[10:]])


def test_they_are_read_with_a_sequence_that_is_streamed():
    rows = [{"x": x, "sample_weight": w, "y": y} for x, y, w in zip(X, Y, W, strict=True)]
    np.testing.assert_array_equal(arrays.of(rows, stream=True).splits["train"].weights, W)


@pytest.mark.parametrize("own, said", [
    (W[:5], "its weights are float32 (5,), one number for each of 24 examples is needed"),
    (np.ones((24, 1)), "are float64 (24, 1), one number"), (np.array(["1"] * 24), "are <U1 (24,)"),
    (np.where(W > 2, np.nan, W), "NaN or infinite in"), (W - 9, "are negative, NaN or infinite in "
                                                                "24 of 24 examples"),
])
def test_what_is_no_weight_is_refused(own, said):
    with pytest.raises(RequestError) as told:
        arrays.of((X, Y, own))
    assert str(told.value).startswith("arrays:train: its weights are") and said in str(told.value)
    assert str(told.value).endswith("; give each example a finite number of 0 or more.")


def test_none_is_no_weight_and_no_target():
    assert arrays.of((X, Y, None)).splits["train"].weights is None
    with pytest.raises(RequestError, match="but targets of"):
        arrays.of((X, None))


def settled(config: Config, hyper=None, objects=None):
    host = begin(Place(device="cpu"), quiet=True)
    request, dataset = load(Request(config, hyper or Hyper(), Place(), objects), host)
    return settle(request, dataset, host)


def test_mixing_and_weights_that_are_all_zero_are_refused():
    config = Config(model="linear", batch_size=8)
    with pytest.raises(RequestError, match="weights of all 22 training examples are zero"):
        settled(config, objects=(X, Y, np.zeros(24)))
    for name in ("mixup", "cutmix"):
        hyper, split = Hyper(**{name: 0.2}), weighted(random_split(24), W)
        for ask in (lambda: settled(config, hyper, tuple(split)),  # noqa: B023
                    lambda: train(config, hyper, jax.random.key(0),  # noqa: B023
                                  Data(whole(split), whole(split), 4))):  # noqa: B023
            with pytest.raises(RequestError, match=f"--{name} 0.2 mixes examples, and each has"):
                ask()


@pytest.fixture
def folder(tmp_path):
    """A table whose rows weigh by a column that the test's lack."""
    frame = pd.DataFrame(X, columns=list("abc")).assign(cost=W, label=[f"c{y}" for y in Y])
    for split, part in (("train", frame), ("test", frame.drop(columns="cost"))):
        part.to_parquet(tmp_path / f"{split}.parquet", index=False)
        part.to_csv(tmp_path / f"{split}.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_tables_column_is_its_weight_and_no_feature(folder, ending):
    for file in folder.glob("*.*"):
        if not file.name.endswith(ending):
            file.unlink()
    found = table.load(str(folder), Reading(weight="cost"))
    split = found.splits["train"]
    assert list(split.inputs) == list("abc") and found.splits["test"].weights is None
    own = dict(zip(X[:, 0].tolist(), W.tolist(), strict=True))
    np.testing.assert_allclose(split.weights, [own[np.float32(a)] for a in split.inputs["a"]])
    config = Config(dataset=f"table:{folder}", weight="cost", model="linear", batch_size=8)
    assert settled(config).data.train.input_shape == (3,)
    with pytest.raises(RequestError, match="unknown column of the table 'dear': choose from a"):
        settled(dataclasses.replace(config, weight="dear",
                                    dataset=f"table:{folder}/train.{ending}"))
    assert table.load(str(folder), Reading(leave_out="cost")).fingerprint != found.fingerprint


def test_a_tables_fingerprint_is_its_contents_whatever_the_order_of_equal_rows(tmp_path):
    rows = [f"{a},{label},{weight}" for a, label in ((1, "x"), (2, "y")) for weight in (1, 2, 3)]
    found = []
    for order in (rows, rows[::-1]):
        (tmp_path / "t.csv").write_text("\n".join(["a,label,cost", *order, ""]))
        found.append(table.load(str(tmp_path / "t.csv"), Reading(weight="cost")).fingerprint)
    assert found[0] == found[1]


@pytest.mark.parametrize("reading, said", [
    (Reading(weight="label", target="c"), "the weights 'label' of train.csv are words"),
    (Reading(weight="a"), "the weights 'a' of train.csv are negative, NaN or infinite in"),
    (Reading(weight="cost", target="cost"), "names the column 'cost', which is what is learned"),
    (Reading(weight="cost", group="cost"), "names the column 'cost', which is what --group names"),
    (Reading(weight="cost", leave_out="cost"), "'cost' is what --weight names"),
])
def test_a_column_that_is_no_weight_is_refused(folder, reading, said):
    with pytest.raises(RequestError) as told:
        table.load(str(folder / "train.csv"), reading)
    assert said in str(told.value), str(told.value)


@pytest.mark.slow
def test_a_run_with_them_judges_a_table_without(folder, tmp_path):
    """Or with others: a score counts every example once."""
    for file in folder.glob("*.parquet"):
        file.unlink()
    config = Config(dataset=f"table:{folder / 'train.csv'}", model="linear", batch_size=8, epochs=1,
                    weight="cost")
    run = ran(tmp_path / "run", config)
    other = dataclasses.replace(config, dataset=f"table:{folder / 'test.csv'}",
                                validation_split="train")
    again = dataclasses.replace(other, dataset=f"table:{folder / 'again.csv'}")
    (folder / "again.csv").write_text((folder / "train.csv").read_text().replace("c1", "c2"))
    assert evaluate(run.path, config=other)["num_examples"] == 24
    assert evaluate(run.path, config=again)["num_examples"] == 24


@pytest.mark.slow
def test_a_streamed_table_learns_with_them_what_the_resident_one_does(folder, tmp_path,
                                                                      monkeypatch):
    for file in folder.glob("*.csv"):
        file.unlink()
    monkeypatch.setattr(choice, "SCATTERED", 2 * 8 * 3 * 4)
    config = Config(dataset=f"table:{folder}", model=Tiny, batch_size=8, epochs=2, weight="cost")
    resident = ran(tmp_path / "resident", config)
    assert_same_runs(resident, ran(tmp_path / "streamed", config, stream=True))
    other = ran(tmp_path / "other", dataclasses.replace(config, weight="", leave_out="cost"))
    assert resident.history[-1]["loss"] != other.history[-1]["loss"]


def test_trees_learn_what_xgboost_learns_of_them():
    xgboost = pytest.importorskip("xgboost")  # an extra
    from engine.optim.trees import XGBoost

    config = Config(model="xgboost", epochs=3)
    there = settled(config, XGBoost(max_depth=3.0), {"train": (X, Y, W), "test": (X, Y)})
    state = there.learner.create(there.hyper, there.root, there.data)
    state = there.learner.segment(**there.inputs, state=state, count=np.int32(3))
    rows = np.asarray(there.data.train.rows)
    matrix = xgboost.DMatrix(X[rows], Y[rows], weight=W[rows])
    asked = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3}
    alone = xgboost.train(asked, matrix, 3)
    np.testing.assert_allclose(there.learner.predict(state.variables, X),
                               alone.predict(xgboost.DMatrix(X)), rtol=1e-5)


def test_scikit_learns_sample_weight():
    """Of one class alone: nothing else is ever said."""
    only = Classifier("linear", epochs=20, learning_rate=0.1, random_state=0).fit(
        X, Y, sample_weight=np.float64(Y == 2))
    assert (only.predict(X) == 2).all()
    with pytest.raises(ValueError, match="are negative"):
        Classifier("linear", epochs=1).fit(X, Y, sample_weight=-W)
