"""Sweeps of what the user brought, as typed: a network, an optimizer with values of its own, and a
task of which less is better."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from samples import Tiny, random_split

import launch as program
from engine.command import flags
from engine.config import Config, Hyper
from engine.drawn import pictures
from engine.errors import RequestError
from engine.place import Place
from engine.request import Request
from engine.sweep import results, space, sweep
from engine.sweep.search import Search

OWN = """
from typing import NamedTuple

import flax.linen as nn
import optax

class Values(NamedTuple):
    rate: float = 3e-3
    slope: float = 0.9

def adamax(hyper: Values, durations):
    return optax.adamax(hyper.rate, b1=hyper.slope)

class Small(nn.Module):
    num_classes: int
    width: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes)(x)

class Other(Small):
    width: int = 8
"""
DIGITS = ("--dataset", "digits", "--image_size", "8", "--batch_size", "200", "--epochs", "2",
          "--device", "cpu")


@pytest.fixture(autouse=True)
def own(here, monkeypatch) -> Path:
    """A folder with the user's file, in which they are."""
    monkeypatch.setattr(pictures, "DPI", 50)
    monkeypatch.setattr(results.sweep_report, "write", lambda *_: None)
    (here / "my.py").write_text(OWN)
    return here


def table(path: Path) -> list[dict[str, str]]:
    with (path / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_an_optimizer_of_the_users_sweeps_its_own_values_and_its_best_runs_again(own, capsys):
    words = ("--model", "my.py:Small", "--optimizer", "my.py:adamax", *DIGITS)
    assert program.main(["sweep", *words, "--sweep", "slope=0.8,0.9", "--run_dir", "s"]) == 0
    rows = table(own / "s")
    assert [row["slope"] for row in rows] == ["0.8", "0.9"]
    assert {row["status"] for row in rows} == {"done"}
    best = max(rows, key=lambda row: float(row["val_accuracy"]))
    command = ["--config", "s/best.py", "--device", "cpu", "--run_dir", "again"]
    request = flags.parse(command).request
    assert request.hyper._asdict() == {"rate": 3e-3, "slope": float(best["slope"])}
    assert program.main(command) == 0, capsys.readouterr().err
    again = [json.loads(line) for line in (own / "again/history.jsonl").read_text().splitlines()]
    assert again[-1]["val_loss"] == pytest.approx(float(best["val_loss"]), rel=1e-3)
    capsys.readouterr()
    assert program.main(["sweep", "--resume", "s"]) == 0, capsys.readouterr().err
    assert table(own / "s") == rows
    (own / "my.py").write_text(OWN + "\n")
    assert program.main(["sweep", "--resume", "s"]) == 2
    assert "my.py has changed since" in capsys.readouterr().err


@pytest.mark.slow
def test_networks_of_the_users_are_swept(own, capsys):
    words = ("sweep", *DIGITS, "--sweep", "model=my.py:Small,my.py:Other", "--run_dir", "nets")
    assert program.main(list(words)) == 0, capsys.readouterr().err
    assert [row["model"] for row in table(own / "nets")] == ["my.py:Small", "my.py:Other"]
    assert "2 programs, compiled one by one for model" in capsys.readouterr().out
    member = json.loads((own / "nets/1/config.json").read_text())
    assert member["config"]["model"] == f"{own}/my.py:Other"  # found from any folder
    (own / "my.py").write_text(OWN + "\n")
    assert program.main(["sweep", "--resume", "nets"]) == 2
    assert "a swept file, or what --init_from names, has changed since" in capsys.readouterr().err


def test_optimizers_of_different_values_are_no_axis(own):
    config = Config(model="my.py:Small", optimizer="adam")
    with pytest.raises(RequestError, match="adamax has the values rate, slope, and others learn"):
        space.of(Request(config, Hyper()), Search(("optimizer=adam,my.py:adamax",)))


@pytest.mark.slow
@pytest.mark.parametrize("pbt", [False, True])
def test_of_a_regression_the_lowest_error_is_the_best(own, capsys, pbt):
    """In the results, the recipe, what is printed, and among those whom others copy."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(48, 3)).astype(np.float32)
    targets = inputs @ np.float32([[1.0], [-2.0], [0.5]])
    config = Config(model=Tiny, task="regression", validation_split="test", batch_size=8, epochs=3)
    search = Search(("learning_rate=1e-6,1e-2,1e-5",), pbt=pbt)
    data = {"train": (inputs[:32], targets[:32]), "test": (inputs[32:], targets[32:])}
    path = sweep.run(Request(config, Hyper(), Place(device="cpu", run_dir="r"), data), search).path
    rows, printed = table(path), capsys.readouterr().out
    errors = [float(row["val_mse"]) for row in rows]
    assert "val_accuracy" not in rows[0]
    assert all(float(row["best_val_mse"]) <= error for row, error in zip(rows, errors, strict=True))
    best = rows[int(np.argmin(errors))]
    recipe = (path / "best.py").read_text()
    assert f"val mse {min(errors):.4f}" in recipe
    assert f"learning_rate={float(best['learning_rate']):.3g}" in recipe or pbt
    assert f"1. learning_rate {best['learning_rate']}: mse {min(errors):.4f}" in printed
    assert "best val_mse" in printed
    if pbt:
        copies = [json.loads(x) for x in (path / "events.jsonl").read_text().splitlines()]
        assert copies[0]["source"] == 1
    else:
        assert int(np.argmin(errors)) == 1
    assert json.loads((path / "ensembles.json").read_text()) == []


@pytest.mark.slow
def test_a_sweep_of_an_optimizer_given_in_python_is_its_own_too(own, monkeypatch):
    """Whose values are in no file: population-based training leaves them in the folders."""
    monkeypatch.syspath_prepend(own)
    import my  # as the user would

    request = Request(
        Config(model=Tiny, optimizer=my.adamax, batch_size=8, epochs=2), my.Values(),
        Place(device="cpu", run_dir="p"),
        {"train": random_split(32, side=8), "test": random_split(16, side=8)},
    )
    path = sweep.run(request, Search(("slope=0.1,0.8,0.9",), pbt=True)).path
    slopes = [float(row["slope"]) for row in table(path)]
    assert len(slopes) == 3 and set(slopes) != {0.1, 0.8, 0.9}
