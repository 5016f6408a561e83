"""Averaged weights by their closed forms, their batch statistics by NumPy; judged, kept and
predicted with; and runs of a sweep that are the runs alone."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK, ROOT
from samples import Normed, Tiny, data_of, random_split

from engine import loaded, segments
from engine.command import scores
from engine.config import Config, Hyper
from engine.devices.mesh import ALONE
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.feed import epoch_order
from engine.job.host import Host
from engine.job.signals import Stopped
from engine.learners.chosen import learner_of
from engine.optim.lengths import Durations
from engine.place import Place
from engine.request import Request
from engine.run import fit
from engine.sets.pieces import Part
from engine.store.folder import history
from engine.stream import choice, restated
from engine.sweep import group, sweep
from engine.sweep.ensembles import members
from engine.sweep.search import Search
from engine.training import Training
from engine.updates import averages

KEY = jax.random.key(5)
CONFIG = Config(model=Normed, batch_size=8, epochs=3, optimizer="sgd", validation_split="test")
HYPER = Hyper(learning_rate=0.1, ema_decay=0.9)
SETS = {"train": random_split(64, side=4), "test": random_split(32, side=4, seed=1)}
quickly = partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(autouse=True)
def afterwards():
    """What a run makes jax's default is the next file's no more."""
    device = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", device)


@pytest.fixture(scope="module")
def small():
    return data_of(SETS["train"], SETS["test"])


@cache
def learner(config):
    return learner_of(config, 4)


def weights(config, hyper, data, steps):
    """The flat params after each of so many updates; the state after the last."""
    own = learner(config)
    state, found = quickly(own.create)(hyper, KEY, data), []
    segment = quickly(own.segment)
    for _ in range(steps):
        state = segment(hyper, KEY, KEY, data.train, state, np.int32(1))
        found.append(flat(state.params))
    return np.array(found), state


def flat(params):
    return np.concatenate([np.ravel(np.float64(x)) for x in jax.tree.leaves(params)])


@pytest.mark.parametrize("decay", [
    0.9, *(pytest.param(decay, marks=pytest.mark.slow) for decay in (0.999, 0.0))])
def test_a_moving_average_is_its_closed_form(decay, small):
    """Σ (1 - d) d^(t-i) w_i over i = 1..t, divided by 1 - d^t."""
    hyper = jax.tree.map(jnp.float32, Hyper(learning_rate=0.5, ema_decay=decay))
    config = replace(CONFIG, model=Tiny)
    found, state = weights(config, hyper, small, 6)
    parts = float(np.float32(decay)) ** np.arange(5, -1, -1.0)
    want = parts @ found / parts.sum()
    np.testing.assert_allclose(flat(state.average["params"]), want, atol=1e-6)
    assert np.abs(want - found[-1]).max() > 1e-3 or not decay


@pytest.mark.parametrize("updates", [1, 2, 6])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_share_of_new_weights_has_a_slope_at_0_too(decay, updates):
    """(1 - d) / (1 - d^t) is 1 over 1 + d + … + d^(t-1)."""
    def found(decay):
        return averages.share(Hyper(ema_decay=decay), Durations(8, 0, 24), jnp.int32(updates))

    powers = np.arange(updates)
    total = (decay ** powers).sum()
    slope = -(powers[1:] * decay ** (powers[1:] - 1)).sum() / total**2
    np.testing.assert_allclose(jax.value_and_grad(found)(decay), (1 / total, slope), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["3st", 1])
def test_a_tails_average_is_the_mean_of_the_weights_after_it(first, small):
    """And the weights themselves until there."""
    config, hyper = replace(CONFIG, model=Tiny, average_from=first), Hyper(learning_rate=0.5)
    start = 3 if first == "3st" else 8
    found, state = weights(config, jax.tree.map(jnp.float32, hyper), small, start + 4)
    np.testing.assert_allclose(flat(state.average["params"]), found[start:].mean(0), atol=1e-6)
    found, state = weights(config, jax.tree.map(jnp.float32, hyper), small, start)
    np.testing.assert_array_equal(flat(state.average["params"]), found[-1])


@pytest.mark.slow
@pytest.mark.parametrize("microbatch", [0, 4])
def test_statistics_of_an_average_are_the_mean_over_batches_of_each_ones_own(small, microbatch):
    config = replace(CONFIG, microbatch=microbatch)
    hyper = jax.tree.map(jnp.float32, HYPER)
    _, state = weights(config, hyper, small, 3)
    made = quickly(learner(config).restated)(KEY, KEY, small.train, state)
    for name in state._fields:
        if name != "average":
            jax.tree.map(np.testing.assert_array_equal, getattr(made, name), getattr(state, name))
    order = np.asarray(epoch_order(KEY, 0, jnp.arange(64)))
    kernel = np.float64(state.average["params"]["Dense_0"]["kernel"])
    inputs = (np.float64(SETS["train"].inputs[order]) / 255).reshape(64, -1) @ kernel
    parts = inputs.reshape(-1, microbatch or 8, 16)
    stats = made.average["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], parts.mean(1).mean(0), atol=2e-6)
    np.testing.assert_allclose(stats["var"], parts.var(1).mean(0), rtol=1e-5, atol=1e-6)
    assert not np.allclose(stats["mean"], state.batch_stats["BatchNorm_0"]["mean"], atol=1e-3)


class Bounded(nn.Module):
    """Its layer keeps what a power iteration has come to."""

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.SpectralNorm(nn.Dense(4))(x.reshape(len(x), -1), update_stats=train)


def test_statistics_that_are_no_means_follow_from_the_trained_ones(small):
    """A power iteration a batch, of the averaged kernel: nothing comes of it from 0."""
    config, hyper = replace(CONFIG, model=Bounded), jax.tree.map(jnp.float32, HYPER)
    _, state = weights(config, hyper, small, 3)
    made = quickly(learner(config).restated)(KEY, KEY, small.train, state)
    kernel = np.float64(state.average["params"]["Dense_0"]["kernel"])
    u = np.float64(state.batch_stats["SpectralNorm_0"]["Dense_0/kernel/u"])
    for _ in range(64 // 8):
        v = u @ kernel.T
        v /= np.linalg.norm(v)
        u = v @ kernel
        u /= np.linalg.norm(u)
    stats = made.average["batch_stats"]["SpectralNorm_0"]
    np.testing.assert_allclose(stats["Dense_0/kernel/u"], u, atol=1e-5)
    np.testing.assert_allclose(stats["Dense_0/kernel/sigma"], (v @ kernel @ u.T)[0, 0], rtol=1e-5)


def place(folder, **more) -> Place:
    return Place(device="cpu", run_dir=str(folder), report=False, **more)


def rows(path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history(path)]


def same(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


ALL = replace(CONFIG, epochs=6, schedule="plateau", plateau_patience=1, patience=2,
              monitor="val_averaged_loss", min_delta=1e-3)
EVERYTHING = HYPER._replace(drop_factor=0.5)


@pytest.mark.slow
def test_a_run_of_all_that_stops_goes_on_and_stops_again(tmp_path, monkeypatch, capsys):
    """Interrupted within an epoch, resumed: the same bits and rows, the end at the same epoch."""
    data = {name: tuple(split) for name, split in SETS.items()}
    config, hyper = replace(ALL, min_delta=0.6), EVERYTHING._replace(learning_rate=1.5)
    run = fit(config, hyper, place(tmp_path / "whole"), data)
    told = " ".join(capsys.readouterr().out.split())
    assert len(run.history) < 6 and "val_averaged_loss has not been better than" in told
    assert "the averaged weights are what is scored and kept; the raw ones: accuracy" in told

    def send(row):
        if row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(segments, "SECONDS", 0.0)
    with pytest.raises(Stopped, match="stopped at step 9 of 48 and saved"):
        fit(config, hyper, place(tmp_path / "parts"), data, loggers=[send])
    again = fit(config, hyper, place(tmp_path / "parts"), data, resume=tmp_path / "parts")
    same(again.state, run.state)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    last = loaded.load(run.path, config, "last").state
    once_more = fit(config, hyper, place(tmp_path / "whole"), data, resume=tmp_path / "whole")
    same(loaded.load(run.path, config, "last").state, last)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert once_more.metrics["epoch"] == run.metrics["epoch"]
    longer = fit(replace(config, patience=5), hyper, place(tmp_path / "parts"), data,
                 resume=tmp_path / "parts")
    assert len(longer.history) > len(run.history)
    rates = [row["learning_rate"] for row in longer.history]
    assert rates[0] == 1.5 and rates[-1] in (1.5 * 0.5**n for n in range(1, 6))
    with pytest.raises(RequestError, match="ema_decay was 0.9, now 0.5"):
        fit(config, hyper._replace(ema_decay=0.5), place(tmp_path / "parts"), data,
            resume=tmp_path / "parts")


@pytest.mark.slow
def test_the_average_is_what_ranks_is_scored_and_predicts(tmp_path):
    data = {name: tuple(split) for name, split in SETS.items()}
    run = fit(CONFIG, HYPER, place(tmp_path / "run"), data, quiet=True)
    best = max(run.history, key=lambda row: (row["val_averaged_accuracy"], row["epoch"]))
    written = json.loads((run.path / "metrics.json").read_text())
    assert written["weights"] == "averaged" and written["epoch"] == best["epoch"]
    assert written["accuracy"] == pytest.approx(best["val_averaged_accuracy"])
    assert written["loss"] == pytest.approx(best["val_averaged_loss"], rel=1e-5)
    assert written["raw"]["loss"] == pytest.approx(best["val_loss"], rel=1e-5)
    assert written["best"]["val_averaged_accuracy"] == best["val_averaged_accuracy"]
    assert abs(best["val_averaged_loss"] - best["val_loss"]) > 1e-3
    state = run.state
    for variables, loss in ((state.model, best["val_averaged_loss"]),
                            (state.variables, best["val_loss"])):
        logits = Normed().apply(variables, np.float32(data["test"][0]) / 255, train=False)
        picked = jax.nn.log_softmax(logits)[np.arange(32), data["test"][1]]
        assert -picked.mean() == pytest.approx(loss, rel=1e-5)
        shown = np.asarray(jax.nn.softmax(logits))
        matches = np.allclose(run.predict(data["test"][0]), shown, atol=1e-6)
        assert matches == (variables is not state.variables and loss != best["val_loss"])
    found = evaluate(run.path, data, "best", CONFIG, place(run.path))
    assert found["loss"] == pytest.approx(written["loss"], rel=1e-6)
    assert "by the averaged weights of the best checkpoint" in scores.lines(found)[0]


def swept(path, config, hyper, *axes, resume="", **search):
    data = {name: tuple(split) for name, split in SETS.items()}
    at = place("" if resume else path)
    return sweep.run(Request(config, hyper, at, data), Search(axes=axes, **search), resume).path


@pytest.mark.slow
@pytest.mark.parametrize("model", [Tiny, Normed])
def test_a_member_is_the_run_alone_where_it_stops_too(tmp_path, model, monkeypatch):
    """To the bit, on one device: each two of the swept values, of runs that stop after epochs of
    their own."""
    monkeypatch.setattr(Host, "spread", lambda *_: ALONE)
    monkeypatch.setattr(group, "over_runs", lambda *_: None)
    config = replace(ALL, model=model)
    data = {name: tuple(split) for name, split in SETS.items()}
    path = swept(tmp_path / "sweep", config, EVERYTHING, "learning_rate=0.02,1.5",
                 "ema_decay=0.5,0.9", "drop_factor=0.1,0.5")
    found = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    assert {row["status"] for row in found} == {"done", "stopped"}
    for row in (found[at] for at in (0, 3, 5, 6)):
        hyper = EVERYTHING._replace(**{name: row[name] for name in
                                       ("learning_rate", "ema_decay", "drop_factor")})
        own = tmp_path / str(row["run"])
        fit(config, hyper, place(own), data, quiet=True)
        assert rows(path / str(row["run"])) == rows(own)
        same(loaded.load(path / str(row["run"]), config, "last").state,
             loaded.load(own, config, "last").state)
        assert row["epochs"] == len(rows(own))
    every = json.loads((path / "ensembles.json").read_text())[0]
    assert every["runs"] == 8
    assert [one.name for one in members(path, 0, config)] == [*map(str, range(8))]
    best = max(found, key=lambda row: row["val_averaged_accuracy"])
    one, = members(path, 1, config)
    assert found[int(one.name)]["val_averaged_accuracy"] == best["val_averaged_accuracy"]
    before = (path / "results.csv").read_text()
    swept(path, config, EVERYTHING, "learning_rate=0.02,1.5", "ema_decay=0.5,0.9",
          "drop_factor=0.1,0.5", resume=str(path))
    assert (path / "results.csv").read_text() == before


MEMBER = """
import flax.linen as nn, jax, numpy as np
from flaxmill import Config, Hyper, Place, fit, load, sweep
from sklearn.datasets import load_digits

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
        return nn.Dense(self.num_classes)(nn.relu(x))

x, y = load_digits(return_X_y=True)
data, config = (np.float32(x[:300] / 16), y[:300]), Config(model=Net, epochs=2)
hyper, place = Hyper(1e-2, ema_decay=0.9), lambda name: Place(run_dir=name, report=False)
fit(config, hyper, place("run"), data=data, quiet=True)
sweep(config, {"learning_rate": [1e-2, 2e-2]}, hyper, place("sweep"), data=data, quiet=True)
states = (load(path, config, "last").state.average for path in ("sweep/0", "run"))
jax.tree.map(np.testing.assert_array_equal, *states)
"""


@pytest.mark.slow
def test_a_members_statistics_of_averaged_weights_are_the_runs_alone(tmp_path):
    """Of code that XLA optimizes as it does elsewhere, and for our tests doesn't."""
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", MEMBER], cwd=tmp_path, timeout=300, check=True,
                   env=clean | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})


@pytest.mark.slow
def test_a_sweep_of_which_all_stop_ends_there_and_resumed_says_the_same(tmp_path):
    config = replace(CONFIG, model=Tiny, patience=1, monitor="val_loss", epochs=9)
    path = swept(tmp_path / "sweep", config, Hyper(), "learning_rate=1e-9,1e-8")
    found = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    assert [row["status"] for row in found] == ["stopped"] * 2
    assert all(row["epochs"] < 9 for row in found)
    before = (path / "results.csv").read_text()
    swept(path, config, Hyper(), "learning_rate=1e-9,1e-8", resume=str(path))
    assert (path / "results.csv").read_text() == before


@pytest.mark.slow
def test_streamed_examples_are_read_once_more_for_statistics(tmp_path, monkeypatch):
    """In chunks, the last of which isn't full: the resident run's bits and rows."""
    data = {name: tuple(split) for name, split in SETS.items()}
    config = replace(CONFIG, batch_size=12, microbatch=3, epochs=2)  # of 64 examples
    one = fit(config, HYPER, place(tmp_path / "resident"), data, quiet=True)
    monkeypatch.setattr(choice, "CHUNK", 24 * SETS["train"].inputs[0].size)
    monkeypatch.setattr(restated, "Part", spied := mock.Mock(wraps=Part))
    two = fit(config, HYPER, place(tmp_path / "streamed", stream=True, workers=0), data,
              quiet=True)
    same(jax.device_get(two.state), jax.device_get(one.state))
    assert rows(two.path) == rows(one.path)
    assert [(len(call.args[1]), *call.args[2:4]) for call in spied.call_args_list] == \
        [(60, 6, 4)] * 2  # of two devices three each


def test_within_an_epoch_an_average_has_the_trained_weights_statistics(small):
    state = learner(CONFIG).create(jax.tree.map(jnp.float32, HYPER), KEY, small)
    state = state._replace(step=np.int32(3), batch_stats=jax.tree.map(lambda x: x + 5,
                                                                      state.batch_stats))
    within = SimpleNamespace(ready=SimpleNamespace(lengths=SimpleNamespace(epoch=8)))
    same(Training._restated(within, state).average,
         {"params": state.average["params"], "batch_stats": state.batch_stats})


@pytest.mark.slow
def test_a_sweep_reads_streamed_examples_once_more_for_all_its_members(tmp_path, monkeypatch):
    """Three runs on two devices, of which one fills up: rows and states of the sweep in memory,
    whose averages' statistics aren't the trained weights'."""
    config = replace(CONFIG, batch_size=12, epochs=2)
    sets = {name: tuple(split) for name, split in SETS.items()}
    monkeypatch.setattr(choice, "CHUNK", 24 * SETS["train"].inputs[0].size)
    monkeypatch.setattr(restated, "Part", spied := mock.Mock(wraps=Part))
    paths = [sweep.run(
        Request(config, HYPER, place(tmp_path / str(stream), stream=stream, workers=0), sets),
        Search(axes=("ema_decay=0.5,0.9,0.99",))).path for stream in (False, True)]
    assert [(len(call.args[1]), *call.args[2:4]) for call in spied.call_args_list] == \
        [(60, 12, 2)] * 2
    for own, streamed in zip(*(members(path, 0, config) for path in paths), strict=True):
        assert rows(own) == rows(streamed)
        one, two = (loaded.load(path, config, "last").state for path in (own, streamed))
        same(two, one)
        assert np.abs(jax.tree.leaves(one.average["batch_stats"])[0]
                      - jax.tree.leaves(one.batch_stats)[0]).max() > 1e-3
