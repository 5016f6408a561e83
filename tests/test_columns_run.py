"""Runs on tables: features fitted to their own training part, kept, and made again by it alone."""

import json
import shutil

import flax.linen as nn
import numpy as np
import pandas as pd
import pytest
from test_columns import titanic

from engine import Config, Hyper, RequestError, evaluate, fit, load, partition
from engine.command.summary import summary
from engine.job.host import begin
from engine.objects import arrays
from engine.parts.reading import featured
from engine.place import Place
from engine.request import Request
from engine.sets.columns import Columns
from engine.sweep import group, space
from engine.sweep.search import Search

pytestmark = pytest.mark.usefixtures("quickly")


def passengers(count: int = 200, seed: int = 0):
    """Names of many, and whether a passenger is a woman or paid much."""
    frame = titanic(count, seed).assign(name=[f"n{i % 40}" for i in range(count)])
    return frame, np.where((frame["sex"] == "female") | (frame["fare"] > 60), "yes", "no")


class Plain(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs)(x)


def config(**changes) -> Config:
    return Config(**{"model": "mlp", "epochs": 2, "validation_split": "0.2", "embed": True}
                  | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "run"
    return fit(config(), Hyper(1e-2), Place(run_dir=str(path), report=False), data=passengers(),
               quiet=True)


def test_a_run_keeps_the_columns_of_its_training_part(run):
    frame, _ = passengers()
    found = partition(arrays.of(passengers()), config())
    fitted = Columns.fit(frame.iloc[found.train.rows], config().reading)
    assert run.columns == fitted != Columns.fit(frame, config().reading)
    assert (run.path / "columns.json").read_text() == fitted.text
    content = json.loads((run.path / "config.json").read_text())
    assert content["columns"] == fitted.digest
    assert content["image_shape"] == [len(fitted.names)] and content["input_dtype"] == "float32"
    assert run.metrics["accuracy"] > 0.8  # 0.6 are of one class


def test_predict_takes_a_table_by_its_columns_names(run, capsys):
    frame, y = passengers(30, seed=1)
    again = load(run.path)
    assert again.columns == run.columns
    want = again.predict(run.columns.encode(frame))
    shuffled = frame[frame.columns[::-1]].assign(more="?")
    np.testing.assert_array_equal(again.predict(shuffled), want)
    np.testing.assert_array_equal(run.predict(shuffled), want)
    assert "taken for" not in capsys.readouterr().err
    features, said = np.asarray(run.columns.encode(frame)), "learned from a table: taken for what"
    np.testing.assert_array_equal(again.predict(features), want)
    assert f"{said} run.columns.encode makes" in " ".join(capsys.readouterr().err.split())
    for data in ((features, y), {"test": (features, y)}, [*zip(features, y, strict=True)]):
        evaluate(run.path, data, config=config())
        assert said in " ".join(capsys.readouterr().err.split())
    with pytest.raises(RequestError, match="lacks 1 of the 8 .*: 'sex'"):
        again.predict(frame.drop(columns="sex"))


@pytest.mark.slow
def test_eval_makes_the_features_as_the_run_did(run):
    """Of another table, whose own mean and words are others."""
    frame, y = passengers(60, seed=2)
    frame["fare"] *= 10
    frame = frame[frame["port"] != "C"]
    y = y[frame.index]
    scores = evaluate(run.path, {"train": (frame[:40], y[:40]), "test": (frame, y)},
                      config=config(validation_split="test"))
    said = np.array(run.classes)[run.predict(frame).argmax(1)]
    assert scores["accuracy"] == pytest.approx((said == y).mean())
    other = Columns.fit(frame, config().reading)
    assert other.names != run.columns.names
    features = run.columns.encode(frame)
    again = evaluate(run.path, {"train": (features[:40], y[:40]), "test": (features, y)},
                     config=config(validation_split="test"))
    assert again["accuracy"] == scores["accuracy"]


@pytest.mark.slow
def test_a_run_goes_on_with_the_columns_that_it_has(run, tmp_path):
    path = shutil.copytree(run.path, tmp_path / "run")
    longer = fit(config(epochs=3), Hyper(1e-2), data=passengers(), resume=path, quiet=True)
    assert len(longer.history) == 3 and longer.columns == run.columns
    content = json.loads((path / "config.json").read_text()) | {"columns": "0" * 64}
    (path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match="whose table became other features"):
        fit(config(epochs=5), Hyper(1e-2), data=passengers(), resume=path, quiet=True)


@pytest.mark.parametrize("damage, words", [
    (lambda file: file.unlink(), r"columns.json can't be read \(No such file"),
    (lambda file: file.write_bytes(file.read_bytes()[:-9]), "is not the one that the run wrote"),
    (lambda file: file.write_text(file.read_text().replace('"mean": ', '"mean": 1')), "not the"),
])
def test_columns_that_are_damaged_or_gone_are_told_in_a_line(run, tmp_path, damage, words):
    path = shutil.copytree(run.path, tmp_path / "run")
    damage(path / "columns.json")
    for use in (load, lambda path: evaluate(path, passengers())):
        with pytest.raises(RequestError, match=words) as caught:
            use(path)
        assert len(str(caught.value).splitlines()) == 1


def test_what_no_network_can_take_is_told_before_a_folder_is_made(tmp_path):
    for model, words in (("linear", "linear embeds nothing"), ("cnn", "cnn embeds nothing")):
        with pytest.raises(RequestError, match=words):
            fit(config(model=model), place=Place(run_dir=str(tmp_path / "no")), data=passengers(),
                quiet=True)
    frame, y = passengers()
    for changes, words in (({"embed": False}, r"'name' \(40\). Type --embed"),
                           ({"embed": False, "leave_out": "age"}, "out: --leave_out age,name.$"),
                           ({"model": "linear", "embed": False}, r"'name' \(40\), and model linear "
                            "embeds nothing. Type --leave_out name, or --model mlp --embed.$"),
                           ({"model": Plain}, "model Plain embeds nothing. Type --leave_out name"),
                           ({"model": "xgboost"}, "model xgboost embeds nothing. Type --leave_out"),
                           ({"model": "cnn"}, "does not fit 12 inputs.*--model mlp or linear")):
        kept = frame.drop(columns="name") if changes == {"model": "cnn"} else frame
        with pytest.raises(RequestError, match=words):
            fit(config(**changes), place=Place(run_dir=str(tmp_path / "no")), data=(kept, y),
                quiet=True)
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_a_run_of_arrays_takes_no_table(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    run = fit(config(model="linear", epochs=1), data=(x, y), quiet=True,
              place=Place(run_dir=str(tmp_path / "run"), report=False))
    assert run.columns is None and not (run.path / "columns.json").exists()
    assert "columns" not in json.loads((run.path / "config.json").read_text())
    with pytest.raises(RequestError, match=r"a table or a mapping: .*float32 arrays of \(2,\)"):
        load(run.path).predict(pd.DataFrame(x))
    with pytest.raises(RequestError, match="learned from arrays, and arrays is a table: give arr"):
        evaluate(run.path, (pd.DataFrame(x), y))


@pytest.mark.slow
def test_numbers_are_learned_standardised_and_told_as_they_are(tmp_path):
    """Of a line far from 0, by plain gradient descent at a rate that suits any table: a squared
    gradient of 600 a unit would diverge at once."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(5, 3, 300), "b": rng.normal(-1000, 200, 300)})
    y = 5_000 + 300 * frame["a"] - 2 * frame["b"] + rng.normal(0, 20, 300)
    run = fit(Config(model="linear", optimizer="sgd", epochs=6, validation_split="0.2"),
              Hyper(0.2), Place(run_dir=str(tmp_path / "run"), report=False), data=(frame, y),
              quiet=True)
    rows = partition(arrays.of((frame, y), "numbers"), Config(validation_split="0.2")).train.rows
    assert run.columns.target_mean == pytest.approx((np.float32(y)[rows].mean(),))
    assert run.columns.target_scale == pytest.approx((np.float32(y)[rows].std(),))
    assert run.metrics["r2"] > 0.999 and run.metrics["loss"] < 1e-3
    np.testing.assert_allclose(load(run.path).predict(frame)[:, 0], y, atol=100)
    held = np.setdiff1d(np.arange(300), rows)
    error = run.predict(frame.iloc[held])[:, 0] - y[held]
    assert run.metrics["mse"] == pytest.approx(np.square(error).mean(), rel=1e-4)


def test_each_fold_of_a_table_has_features_of_its_own():
    """So that the folds of a sweep, which share a program of pictures, are apart."""
    dataset = arrays.of(passengers())
    request = Request(config(validation_split="auto"), Hyper(), Place(), None)
    made = space.of(request, Search(axes=("learning_rate=0.1,0.01",), folds=4)).trials
    groups = group.grouped(made, dataset)
    assert [{t.fold for t in members} for members in groups] == [{f"{n}/4"} for n in range(1, 5)]
    assert [len(members) for members in groups] == [2] * 4
    x, y = np.zeros((200, 3), "f4"), passengers()[1]
    assert len(group.grouped(made, arrays.of((x, y)))) == 1
    fitted = {featured(request._replace(config=members[0].config), dataset)[2]
              for members in groups}
    assert len(fitted) == 4


@pytest.mark.slow
def test_a_sweep_over_folds_is_each_folds_own_run(tmp_path):
    """The members of a sweep are the runs that `fit` makes of their folds, with their columns."""
    from engine.sweep import sweep

    request = Request(config(model="linear", embed=False, epochs=2,
                             validation_split="auto"), Hyper(1e-2),
                      Place(run_dir=str(tmp_path / "sweep"), report=False),
                      (passengers()[0].drop(columns="name"), passengers()[1]))
    path = sweep.run(request, Search(folds=2)).path
    for number, fold in enumerate(("1/2", "2/2")):
        alone = fit(config(model="linear", embed=False, epochs=2, validation_split=fold),
                    Hyper(1e-2), Place(run_dir=str(tmp_path / fold[0]), report=False),
                    data=request.data, quiet=True)
        member = load(path / str(number))
        assert member.columns == alone.columns
        assert member.history[-1]["val_loss"] == pytest.approx(alone.history[-1]["val_loss"])
    assert load(path / "0").columns != load(path / "1").columns


def test_a_summary_is_of_the_features():
    host = begin(Place(device="cpu"), quiet=True)
    told = summary(Request(config(), Hyper(), Place(), passengers()), host)
    assert told.partition("Embed_0")[2].split()[0] == "13"  # features
