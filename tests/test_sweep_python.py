"""flaxmill.sweep: a population asked for in Python, and what it found."""

import dataclasses
import json
import re
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from samples import Tiny, random_split

from engine.sweep import asked
from engine.sweep.search import Search
from flaxmill import Config, Hyper, Place, RequestError, Sweep, evaluate, fit, load, sweep

DATA = {"train": tuple(random_split(40)), "test": tuple(random_split(20, seed=1))}
CONFIG = Config(model=Tiny, batch_size=8, epochs=2)


def place(path) -> Place:
    return Place(device="cpu", run_dir=str(path), report=False)


@pytest.mark.slow
def test_networks_that_are_objects_are_swept(tmp_path):
    """Arrays too; the best setting is that of the best mean, trains as its run did, and the folder
    holds what is returned."""
    rates = np.logspace(-4, -1, 2)
    found = sweep(CONFIG, {"learning_rate": rates}, place=place(tmp_path / "s"), data=DATA, seeds=2,
                  quiet=True)
    assert isinstance(found, Sweep) and repr(found) == f"Sweep('{tmp_path}/s': 4 runs)"
    written = (found.path / "results.jsonl").read_text().splitlines()
    assert found.results == [json.loads(line) for line in written]
    assert [row["learning_rate"] for row in found.results] == [1e-4, 1e-4, 0.1, 0.1]
    scores = np.array([row["val_accuracy"] for row in found.results]).reshape(2, 2)
    config, hyper = found.best
    assert hyper == Hyper(learning_rate=rates[scores.mean(axis=1).argmax()])
    assert config.model is Tiny
    alone = fit(*found.best, place(tmp_path / "alone"), DATA, quiet=True)
    row = next(r for r in found.results if r["learning_rate"] == hyper.learning_rate)
    assert alone.history[-1]["val_accuracy"] == row["val_accuracy"]
    together = load(found, CONFIG)
    assert len(together.runs) == 4
    alike = sum(run.predict(DATA["test"][0]) for run in together.runs) / 4
    np.testing.assert_allclose(together.predict(DATA["test"][0]), alike, rtol=1e-6)
    assert evaluate(found, DATA, config=CONFIG, best_of=2)["runs"]
    shown = found._repr_html_()
    assert "4 runs" in shown and "<td>0.1000</td>" in shown and "diverged" not in shown
    again = sweep(CONFIG, place=place(tmp_path / "s"), data=DATA, resume=found, quiet=True)
    assert again.results == found.results and again.best == found.best
    with pytest.raises(RequestError, match="searches as it was begun: leave axes"):
        sweep(CONFIG, {"learning_rate": [1.0]}, data=DATA, resume=found, quiet=True)


@pytest.mark.slow
def test_a_disk_without_room_refuses_a_sweep_before_it_trains(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 1000}))
    with pytest.raises(RequestError, match="a run's checkpoints need .*: make room"):
        sweep(CONFIG, {"learning_rate": [0.1, 0.2]}, place=place(tmp_path / "s"), data=DATA,
              quiet=True)
    assert not list(tmp_path.glob("s/checkpoints/0/[0-9]*"))
    assert not any(file.read_text() for file in tmp_path.glob("s/*/history.jsonl"))


@pytest.mark.parametrize("axes, search, words", [
    ({"learning_rate": "log:1e-4:1e-1:4"}, {}, Search(("learning_rate=log:1e-4:1e-1:4",))),
    ({"batch_size": (8, np.int64(16)), "nesterov": [True, False]}, {"seeds": np.int32(3)},
     Search(("batch_size=8,16", "nesterov=True,False"), seeds=3)),
    ({"optimizer": ["adam", "lion"], "epochs": range(1, 3)}, {"folds": 2, "same_data_order": True},
     Search(("optimizer=adam,lion", "epochs=1,2"), folds=2, same_data_order=True)),
    ({"learning_rate": "lin:0:1"}, {"samples": 5, "pbt": True},
     Search(("learning_rate=lin:0:1",), samples=5, pbt=True)),
])
def test_what_is_asked_is_what_would_be_typed(monkeypatch, axes, search, words):
    seen = []
    monkeypatch.setattr(asked.runs, "run", lambda *given: seen.append(given))
    sweep(CONFIG, axes, Hyper(weight_decay=0.5), data=DATA, resume=None, **search)
    [(request, found, resume, quiet)] = seen
    assert found == words and resume == "" and not quiet
    assert request.hyper.weight_decay == 0.5 and request.data is DATA
    assert request.config.model is Tiny


@pytest.mark.parametrize("given, said", [
    ({"axes": {"learning_rat": [1]}}, "field to sweep 'learning_rat': did you mean learning_rate"),
    ({"axes": [("learning_rate", 1)]}, "axes is a list: give values by name"),
    ({"axes": {"learning_rate": 0.1}}, "learning_rate is 0.1: give a list of values, or a range"),
    ({"axes": {"learning_rate": ["much"]}}, "'much' is not a number"),
    ({"axes": {"learning_rate": []}}, "it has no values"),
    ({"axes": {"model": [Tiny()]}}, "a sweep takes numbers, and names without a comma"),
    ({"axes": {"augment": ["flip,crop"]}}, "'flip,crop': a sweep takes numbers, and names"),
    ({"seed": 3}, "unknown option of sweep 'seed': did you mean seeds"),
    ({"study": "journal"}, "unknown option of sweep 'study'"),
    ({"seeds": "many"}, "seeds can't be 'many'"),
    ({"seeds": [1, 2]}, r"seeds can't be \[1, 2\]; seeds, samples, folds and halving are counts"),
    ({"seeds": 0}, "--seeds 0: type 1 or more"),
    ({"hyper": 3}, "hyper is a int: give Hyper"),
    ({"resume": "nowhere"}, "nowhere"),
    ({"config": Config(model="mlp", task="classification", rank_by="loss"), "axes":
      {"loss": ["hinge", "focal"]}}, "by loss hinge and loss focal, .*: type --rank_by accuracy"),
])
def test_what_can_not_be_swept_is_refused(here, given, said):
    with pytest.raises(RequestError, match=said):
        sweep(**{"config": CONFIG, "data": DATA, "place": place("s")} | given)
    assert not [*here.iterdir()]


@pytest.mark.slow
def test_a_sweep_of_another_generator_is_not_gone_on_with(here):
    with jax.default_prng_impl("rbg"):
        found = sweep(CONFIG, {"learning_rate": [0.1]}, data=DATA, place=place("s"), quiet=True)
    kept = json.loads(Path("s/0/config.json").read_text())["jax"]
    assert kept == {"jax_default_prng_impl": "rbg", "jax_threefry_partitionable": True}
    with pytest.raises(RequestError, match="jax_default_prng_impl 'rbg', now 'threefry2x32'"):
        sweep(CONFIG, data=DATA, resume=found, quiet=True)


def test_a_threshold_is_chosen_by_a_run_of_its_own():
    with pytest.raises(RequestError, match="--choose_threshold f1 chooses at the end of a run of"):
        sweep(Config(model=Tiny, choose_threshold="f1", task="multilabel"), data=DATA)


class Inverse(nn.Module):
    """No answer to what is 0 throughout."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs)(x / x.sum(-1, keepdims=True))


@pytest.mark.slow
def test_a_mean_of_what_is_no_number_is_not_scored(tmp_path, capsys):
    x, y = np.random.default_rng(0).uniform(size=(40, 3)), np.arange(40) % 3
    test = np.where(np.arange(10)[:, None] < 7, x[:10], 0), np.zeros(10, int)
    found = sweep(dataclasses.replace(CONFIG, model=Inverse, epochs=1), {"learning_rate": [1, 2]},
                  place=place(tmp_path / "s"), data={"train": (x, y), "test": test}, quiet=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "all runs: 3 of 10 predictions on test are no numbers, so that it isn't scored" in told
    assert json.loads((found.path / "ensembles.json").read_text()) == []


@pytest.mark.parametrize("best_of", [-1, -3, 1.0, "2", None, True, [1]])
def test_what_is_no_count_of_the_best_is_refused(best_of, tmp_path):
    """Before the folder is looked at."""
    said = f"--best_of {best_of!r}: type a whole number, 1 or more"
    for door in (load, evaluate):
        with pytest.raises(RequestError, match=re.escape(said)):
            door(tmp_path, best_of=best_of)
