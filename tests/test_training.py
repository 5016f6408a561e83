"""The host's loop over epochs, asked by Python for runs of a tiny network: what is recorded, saved
and told, and when it stops."""

import itertools
import json
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from samples import Tiny, random_split

from engine import loaded, segments, training
from engine.config import Config, Hyper
from engine.errors import RequestError, RunError
from engine.evaluation import evaluate
from engine.job.host import begin
from engine.job.signals import Stopped
from engine.judging import verdict
from engine.judging.verdict import held_for_evaluation
from engine.place import Place
from engine.report import run as report
from engine.request import Request
from engine.run import fit
from engine.segments import Pace
from engine.settling import setup
from engine.store.checkpoint import Checkpoints
from engine.store.digests import read_record
from engine.stream import streamed

pytestmark = pytest.mark.usefixtures("quickly", "undrawn")

CONFIG = Config(model=Tiny, validation_split="test", epochs=3, batch_size=16, schedule="linear")
HYPER = Hyper(learning_rate=0.003)
EPOCH, TOTAL = 8, 24  # updates


@pytest.fixture(scope="module")
def data():
    """128 and 40 examples; no batch of the test split is full."""
    return {"train": tuple(random_split(128)), "test": tuple(random_split(40, seed=1))}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The run that nothing interrupts."""
    return fit(CONFIG, HYPER, place(tmp_path_factory.mktemp("whole") / "run"), data)


def place(folder, **more) -> Place:
    return Place(device="cpu", run_dir=str(folder), **more)


def rows(run) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in
               zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_every_rows_rate_is_that_of_its_last_update(whole):
    for row in whole.history:
        assert row["learning_rate"] == pytest.approx(0.003 * (1 - (row["step"] - 1) / TOTAL))
    assert [row["step"] for row in whole.history] == [8, 16, 24]


@pytest.mark.slow
def test_best_is_the_highest_row_which_is_not_the_last(data, tmp_path):
    """Of test examples with each other's classes, of which training knows less and less."""
    inputs, targets, _ = data["test"]
    run = fit(CONFIG, HYPER, place(tmp_path / "run"),
              data | {"test": (inputs, (targets + 1) % 4)})
    scores = [row["val_accuracy"] for row in run.history]
    assert scores[-1] < max(scores)
    assert run.metrics["best"]["val_accuracy"] == max(scores)
    epoch = run.metrics["best"]["epoch"]
    assert scores[epoch - 1] == max(scores)
    assert run.metrics["split"] == "test"
    kept = evaluate(run.path, data | {"test": (inputs, (targets + 1) % 4)}, "best", CONFIG,
                    place(run.path))
    assert kept["step"] == epoch * EPOCH
    assert kept["accuracy"] == pytest.approx(max(scores))


def ruin(hyper, durations):
    """Learns for four epochs, and unlearns from then on."""
    def rate(step):
        return jnp.where(step < 4 * durations.epoch, -0.01, 0.05)

    return optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(rate))


@pytest.mark.slow
def test_the_best_epoch_is_what_is_scored_and_the_last_stands_beside_it(data, tmp_path, capsys):
    """Each by scikit-learn, of what the checkpoint of that name predicts."""
    from sklearn.metrics import accuracy_score, f1_score

    config = Config(model=Tiny, epochs=6, batch_size=16, optimizer=ruin)
    run = fit(config, None, place(tmp_path / "run"), data)
    written = json.loads((run.path / "metrics.json").read_text())
    x, y, _ = data["test"]
    best = max(run.history, key=lambda row: (row["val_accuracy"], row["epoch"]))
    for name, epoch in (("best", best["epoch"]), ("last", 6)):
        predicted = loaded.load(run.path, config, name).predict(x).argmax(1)
        assert written[name]["epoch"] == epoch
        assert written[name]["accuracy"] == pytest.approx(accuracy_score(y, predicted))
        assert written[name]["f1_macro"] == pytest.approx(f1_score(y, predicted, average="macro"))
    assert written["best"]["loss"] < written["last"]["loss"] / 10
    assert written["best"]["val_accuracy"] == best["val_accuracy"]
    assert written["accuracy"] == written["best"]["accuracy"] and written["split"] == "test"
    assert (written["checkpoint"], written["epoch"], written["step"]) == (
        "best", best["epoch"], best["step"])
    assert np.array_equal(run.predict(x), loaded.load(run.path, config, "best").predict(x))
    told = capsys.readouterr().out
    assert f"test: accuracy {written['accuracy']:.4f}" in told and \
        f"epoch {best['epoch']} of 6, the best" in told


def test_what_judges_a_run_is_the_sets_own_test_split_where_it_has_one(data, tmp_path):
    at, held = place(tmp_path), replace(CONFIG, validation_split="0.1")
    for given, config, name, count in (
        (data, CONFIG, "test", 40), (data, held, "test", 40),
        (data["train"], held, "validation (0.1 of train)", 13),
        (data, replace(CONFIG, validation_split="auto"), "test", 40),
        (data, replace(held, train_split="test"), "validation (0.1 of test)", 4),
    ):
        ready = setup(Request(config, HYPER, at, given), begin(at, quiet=True))
        told, subset = held_for_evaluation(ready)
        assert (told, len(subset.rows)) == (name, count)


@pytest.mark.parametrize("number, status", [
    (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 75, marks=pytest.mark.slow)])
def test_a_signal_is_granted_within_the_epoch_and_the_run_goes_on(
    whole, data, tmp_path, monkeypatch, number, status
):
    def send(row):
        if row["epoch"] == 1:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(segments, "SECONDS", 0.0)  # segments of one update
    with pytest.raises(Stopped, match="stopped at step 9 of 24 and saved. Go on with: "
                       r"fit\(config, hyper=hyper, data=..., resume='.*run'\)") as ended:
        fit(CONFIG, HYPER, place(tmp_path / "run"), data, loggers=[send])
    assert ended.value.status == status
    run = fit(CONFIG, HYPER, place(tmp_path / "run"), data, resume=tmp_path / "run")
    assert same(run.state, whole.state) and rows(run) == rows(whole)


class Killed(BaseException):
    """What nothing catches, as kill -9."""


@pytest.mark.slow
def test_an_epoch_is_saved_within_and_its_seconds_are_not_forgotten(
    whole, data, tmp_path, monkeypatch
):
    """Of a clock by which every segment takes a second, and saving is due at once."""
    seconds, times = itertools.count(), itertools.count(step=1000)
    clock = SimpleNamespace(perf_counter=lambda: next(seconds), monotonic=lambda: next(times))
    monkeypatch.setattr(segments, "time", clock)
    monkeypatch.setattr(training, "time", clock)

    def kill(row):
        raise Killed

    path = tmp_path / "run"
    with pytest.raises(Killed):
        fit(CONFIG, HYPER, place(path, save_seconds=1), data, loggers=[kill])
    assert read_record(path / "checkpoints" / "1").seconds == 1.0
    assert len((path / "history.jsonl").read_text().splitlines()) == 1  # of which nothing was saved
    run = fit(CONFIG, HYPER, place(path), data, resume=path)
    assert same(run.state, whole.state) and rows(run) == rows(whole)
    assert [row["seconds"] for row in run.history] == [3.0, 1.0, 1.0]
    assert run.metrics["seconds_train"] == 5.0


class Poison(NamedTuple):
    after: float = 0.0  # updates


def poisoned(hyper: Poison, durations) -> optax.GradientTransformation:
    """Never moves a weight, and keeps what is not finite from some update on."""
    def update(grads, count, params=None):
        count = jnp.where(count >= hyper.after, jnp.nan, count + 1)
        return jax.tree.map(jnp.zeros_like, grads), count

    return optax.GradientTransformation(lambda params: jnp.zeros(()), update)


def test_a_feed_that_fails_after_a_save_says_where_to_go_on(data, tmp_path, monkeypatch):
    """What is saved already isn't again, of which Orbax would complain instead."""
    monkeypatch.setattr(segments, "SECONDS", 0.0)
    monkeypatch.setattr(training, "due", lambda *_: True)

    def train(self, step):
        if step == 3:
            raise streamed.Unfed("the disk is away.")
        return self._train

    monkeypatch.setattr(streamed.Resident, "train", train)
    with pytest.raises(RunError, match="^the disk is away. What was saved is kept. Go on with: "
                       r"fit\(config, hyper=hyper, data=..., resume="):
        fit(CONFIG, HYPER, place(tmp_path / "run"), data)
    assert (tmp_path / "run" / "checkpoints" / "3").exists()


@pytest.mark.slow
def test_training_and_scoring_are_watched_and_drawing_is_not(data, tmp_path, monkeypatch):
    """Which another process is waited for in, and what takes its time by itself."""
    seen, watching = [], [0.0]
    monkeypatch.setattr(segments, "faulthandler", SimpleNamespace(
        dump_traceback_later=lambda seconds, exit: watching.append(seconds),
        cancel_dump_traceback_later=lambda: watching.append(0.0)))
    score = verdict.found_by

    def scored(*of):
        seen.append(watching[-1])
        return score(*of)

    monkeypatch.setattr(verdict, "found_by", scored)
    monkeypatch.setattr(report, "write", lambda *_: seen.append(watching[-1]))
    fit(replace(CONFIG, epochs=1), HYPER, place(tmp_path / "run", stuck_seconds=99), data)
    assert 99 in watching and seen == [99, 0]


@pytest.mark.parametrize("after, kept", [(0.0, "nothing was saved before it"),
                                         (8.0, "checkpoints keeps the last good state")])
def test_a_state_that_is_not_finite_is_never_saved_whatever_the_loss(
    data, tmp_path, monkeypatch, after, kept
):
    """Though saving is due after every update."""
    monkeypatch.setattr(training, "due", lambda *_: True)
    path = tmp_path / "run"
    said = f"not finite at step {8 + after:.0f} .*{kept}.*Lower your optimizer's rate"
    with pytest.raises(RunError, match=said) as ended:
        fit(replace(CONFIG, optimizer=poisoned, schedule="constant"), Poison(after),
            place(path), data)
    assert ended.value.status == 3
    saved = {int(p.name) for p in (path / "checkpoints").iterdir()}
    assert saved == ({1, 8} if after else set())
    assert len((path / "history.jsonl").read_text().splitlines()) == after // 8


@pytest.mark.parametrize("seconds, more, want", [
    (0.0, {}, []), (1.1, {}, [16]), (2.1, {}, [8, 16, 24]), (1.1, {"save_seconds": 1}, [8, 16, 24]),
])
def test_short_epochs_are_saved_two_seconds_apart(
    data, whole, tmp_path, monkeypatch, seconds, more, want
):
    """Of epochs of so many seconds; the run is the same, and ends with its last and best saved."""
    now, saved, save = [0.0], [], Checkpoints.save
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr(segments, "time", clock)
    monkeypatch.setattr(training, "time", clock)

    def learn(pace, steps, _):  # of all but the first segment, of one step
        pace.steps = EPOCH
        now[0] += seconds * (steps > 1)

    def spied(self, state, *others):
        if others[-1]:
            saved.append(int(state.step))
        save(self, state, *others)

    monkeypatch.setattr(Pace, "learn", learn)
    monkeypatch.setattr(Checkpoints, "save", spied)
    run = fit(CONFIG, HYPER, place(tmp_path / "run", **more), data)
    assert saved == want and rows(run) == rows(whole) and same(run.state, whole.state)
    kept = {int(p.name) for p in (run.path / "checkpoints").iterdir()}
    assert {TOTAL, run.metrics["step"]} <= kept


def test_epochs_that_were_recorded_and_not_saved_come_again(data, whole, tmp_path, monkeypatch):
    """A copy that is made while two epochs are held in memory is what kill -9 leaves."""
    def copied(row):
        if row["epoch"] == 2:
            shutil.copytree(tmp_path / "run", tmp_path / "killed")

    monkeypatch.setattr(segments, "APART", 600.0)
    fit(CONFIG, HYPER, place(tmp_path / "run"), data, loggers=[copied])
    left = (tmp_path / "killed/history.jsonl").read_text().splitlines()
    assert len(left) == 2 and not list((tmp_path / "killed/checkpoints").iterdir())
    run = fit(CONFIG, HYPER, place(tmp_path / "killed"), data, resume=tmp_path / "killed")
    assert rows(run) == rows(whole) and same(run.state, whole.state)


@pytest.mark.parametrize("finished, seconds", [(True, 0.0), (False, 1.5)])
def test_a_run_without_its_checkpoints_isnt_begun_anew(whole, data, tmp_path, finished, seconds):
    """Unlike one that was killed before its first was saved; of rows that take so many seconds."""
    path = shutil.copytree(whole.path, tmp_path / "run")
    shutil.rmtree(path / "checkpoints")
    if not finished:
        (path / "metrics.json").unlink()
        added = [row | {"epoch": n, "step": EPOCH * n, "seconds": seconds}
                 for n, row in enumerate([whole.history[-1]] * 5, 1)]
        (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in added))
    before = {file: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(RequestError, match="epochs, and .*checkpoints no checkpoint of them: put"):
        fit(replace(CONFIG, epochs=6), HYPER, place(path), data, resume=path)
    assert {file: file.read_bytes() for file in before} == before
    with pytest.raises(RequestError, match=r"no checkpoint in .* of the \d epochs that history"):
        loaded.load(path, CONFIG)


def test_damaged_metrics_are_written_again_and_no_eval_wants_them(whole, data, tmp_path):
    path = shutil.copytree(whole.path, tmp_path / "run")
    (path / "metrics.json").write_text("\n")
    with pytest.raises(RunError, match=r"damaged \(.*\): --resume .*/run writes it again"):
        loaded.load(path, CONFIG)
    assert evaluate(path, data, config=CONFIG)["accuracy"] == whole.metrics["accuracy"]
    assert fit(CONFIG, HYPER, place(path), data, resume=path).metrics["best"] == \
        whole.metrics["best"] == loaded.load(path, CONFIG).metrics["best"]


@pytest.mark.parametrize("left", [None, 250])
def test_a_refused_resume_leaves_the_history_as_it_is(whole, data, tmp_path, left):
    path = shutil.copytree(whole.path, tmp_path / "run")
    history = path / "history.jsonl"
    history.write_bytes(history.read_bytes()[:left or 0])
    if left is None:
        history.unlink()
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    with pytest.raises(RequestError, match="of the 3 epochs that were trained: put it back"):
        fit(replace(CONFIG, epochs=4), HYPER, place(path), data, resume=path)
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


def test_a_folder_that_is_removed_while_a_run_writes_there_ends_it(data, tmp_path):
    """Orbax would make it anew, and a run without its first half would look whole."""
    path = tmp_path / "run"
    with pytest.raises(RunError, match="checkpoints is gone") as ended:
        fit(CONFIG, HYPER, place(path), data, loggers=[lambda _: shutil.rmtree(path)])
    assert ended.value.status == 1 and not (path / "metrics.json").exists()


@pytest.mark.slow
def test_a_longer_run_under_a_schedule_tells_both_rates(data, tmp_path, capsys):
    path = tmp_path / "run"
    fit(CONFIG, HYPER, place(path), data, quiet=True)
    longer = replace(CONFIG, epochs=5)
    run = fit(longer, HYPER, place(path), data, resume=path)
    said = ("--epochs was 3, now 5: at epoch 4 --schedule linear had come to 0, and goes on from "
            "0.0012")
    assert said in " ".join(capsys.readouterr().out.split())
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5]
    capsys.readouterr()
    with pytest.raises(RequestError, match="--epochs 4: the run has trained 5 already; type more"):
        fit(replace(CONFIG, epochs=4), HYPER, place(path), data, resume=path)
    assert "goes on from" not in capsys.readouterr().out


def test_adamw_without_a_decay_says_that_it_is_adam(data, tmp_path, capsys):
    at, config = place(tmp_path), replace(CONFIG, optimizer="adamw")
    for hyper, told in ((HYPER, 1), (HYPER._replace(weight_decay=0.1), 0)):
        setup(Request(config, hyper, at, data), begin(at))
        assert capsys.readouterr().out.count("adamw without --weight_decay is adam") == told


@pytest.mark.slow
def test_an_object_is_gone_on_with_where_it_is_given_again(whole, data):
    asked = json.loads((whole.path / "config.json").read_text())["config"]
    assert asked["model"] == "<Tiny>"
    with pytest.raises(RequestError, match="was an object in Python"):
        loaded.load(whole.path)
    again = loaded.load(whole.path, CONFIG)
    np.testing.assert_array_equal(again.predict(data["test"][0]), whole.predict(data["test"][0]))
