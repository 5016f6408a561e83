"""Whole sweeps of a small network in this process, on two devices: what they promise."""

import contextlib
import csv
import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from samples import Tiny, random_split

from engine import run, segments
from engine.command import flags, recipe
from engine.config import Config, Hyper
from engine.data import partition
from engine.devices import memory
from engine.drawn import pictures
from engine.errors import RequestError, RunError
from engine.evaluation import evaluate
from engine.job.host import begin_alone
from engine.job.signals import Stopped
from engine.loaded import load
from engine.objects import arrays
from engine.optim.lengths import Durations
from engine.place import Place
from engine.request import Request
from engine.scores.judged import Judged
from engine.store.folder import history
from engine.sweep import ensembles, member, results, selection, space, sweep
from engine.sweep import group as groups
from engine.sweep.search import Search
from engine.sweep.selection import Outcome, halved
from engine.sweep.space import Trial
from engine.sweep.sweep import Lockstep
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression

CONFIG = Config(model=Tiny, validation_split="test", batch_size=8, epochs=3)
SETS = {"train": random_split(64, side=8), "test": random_split(32, side=8, seed=1)}
FLAT = {name: (x.reshape(len(x), -1), y) for name, (x, y, *_) in SETS.items()}
ASKED = {"axes": ("learning_rate=1e-3,1e-2,1e30",), "seeds": 2}


@pytest.fixture(autouse=True)
def unreported(monkeypatch):
    """Without the report, which takes longer to draw than all else."""
    monkeypatch.setattr(results.sweep_report, "write", lambda *_: None)


def swept(path: Path, *axes: str, config=CONFIG, resume="", data=SETS, **search) -> Path:
    place = Place(device="cpu", run_dir="" if resume else str(path))
    asked = Search(**{"axes": axes} | search)
    return sweep.run(Request(config, Hyper(), place, data), asked,
                     str(path) if resume else "").path


def table(path: Path) -> list[dict[str, str]]:
    with (path / "results.csv").open() as file:
        return list(csv.DictReader(file))


def statuses(path: Path) -> list[tuple[str, str]]:
    return [(row["status"], row["epochs"]) for row in table(path)]


def events(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def same_bits(a: Path, b: Path) -> None:
    one, other = (load(path, CONFIG).state for path in (a, b))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Three rates, one of which diverges, of two seeds; never interrupted."""
    path = tmp_path_factory.mktemp("finished") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "DPI", 50)
        return swept(path, **ASKED)


def test_the_folder_holds_what_it_promises(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"sweep.json", "results.csv", "results.jsonl", "best.py", "ensembles.json",
            *map(str, range(6))} <= names
    rows = table(finished)
    assert [row["status"] for row in rows] == ["done"] * 4 + ["diverged"] * 2
    assert [row["seed"] for row in rows] == ["0", "1"] * 3
    as_json = [json.loads(x) for x in (finished / "results.jsonl").read_text().splitlines()]
    assert [str(row["learning_rate"]) for row in as_json] == [r["learning_rate"] for r in rows]


def test_the_best_setting_is_a_recipe(finished):
    """Of objects, which it says are to be put in, and refuses to run without."""
    text = (finished / "best.py").read_text()
    assert "\nPut in what was an object in Python: model and data.\n" in text
    assert "\nmodel = ...  # <Tiny>\ndata = ...  # as for fit\n" in text
    with pytest.raises(RequestError, match="best.py: put in its model and data, where ... stands"):
        recipe.read(str(finished / "best.py"))
    for name, given in (("model", "from samples import Tiny as model"), ("data", "data = 1, 2")):
        text = text.replace(f"{name} = ...", given)
    (finished / "whole.py").write_text(text)
    config, hyper, _, data = recipe.read(str(finished / "whole.py"))
    assert config.model is Tiny and data == (1, 2)
    assert (config.epochs, config.batch_size) == (3, 8)
    means = {}
    for row in table(finished)[:4]:
        means.setdefault(float(row["learning_rate"]), []).append(float(row["val_accuracy"]))
    assert hyper.learning_rate == max(means, key=lambda rate: np.mean(means[rate]))


def test_ensembles_judge_the_averaged_probabilities(finished):
    every, best = json.loads((finished / "ensembles.json").read_text())
    assert (every["runs"], best["runs"]) == (4, 2) and every["split"] == "test"
    told = [load(finished / str(n), CONFIG).predict(SETS["test"].inputs) for n in range(4)]
    hits = np.mean(told, axis=0).argmax(-1) == SETS["test"].targets
    assert every["accuracy"] == pytest.approx(hits.mean(), abs=1e-6)
    accuracies = [float(row["val_accuracy"]) for row in table(finished)[:4]]
    assert every["mean_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)


@pytest.mark.slow
def test_an_ensemble_says_the_second_of_two_classes_from_the_threshold_on(tmp_path):
    """As its runs do, and `eval`; the likelier class is another's answer."""
    two = {name: split._replace(targets=split.targets % 2) for name, split in SETS.items()}
    config = dataclasses.replace(CONFIG, threshold=0.8, epochs=1)
    path = swept(tmp_path / "sweep", "threshold=0.8,0.7", config=config, data=two, seeds=2)
    everyone, first = json.loads((path / "ensembles.json").read_text())
    runs, inputs, targets = range(4), two["test"].inputs, two["test"].targets
    each_RxN = np.stack([load(path / str(n), config).predict(inputs)[:, 1] for n in runs])
    mean_N = each_RxN.mean(0)
    assert everyone["accuracy"] == ((mean_N >= 0.8) == targets).mean() != (
        (mean_N >= 0.5) == targets).mean()
    own = [float(row["val_accuracy"]) for row in table(path)]
    assert everyone["mean_accuracy"] == pytest.approx(np.mean(own))
    best = own[:2] if sum(own[:2]) >= sum(own[2:]) else own[2:]
    assert first["mean_accuracy"] == pytest.approx(np.mean(best))
    assert evaluate(path, two, config=config)["accuracy"] == everyone["accuracy"]
    now = dataclasses.replace(config, threshold=float(np.median(mean_N)))  # as typed to eval
    accuracy = ((mean_N >= now.threshold) == targets).mean()
    assert evaluate(path, two, config=now)["accuracy"] == accuracy != everyone["accuracy"]
    assert load(path, now).learner.task.threshold == now.threshold
    with pytest.raises(RequestError, match="chooses at the end of a run of its own"):
        load(path, dataclasses.replace(config, choose_threshold="f1"))


@pytest.mark.slow
def test_a_sweeps_folder_is_one_model_of_its_finished_runs(finished):
    """The mean of what they say; of one, that run to the bit."""
    told = np.stack([load(finished / str(n), CONFIG).predict(SETS["test"].inputs)
                     for n in range(4)])
    every = load(finished, CONFIG)
    assert [one.path.name for one in every.runs] == ["0", "1", "2", "3"]
    np.testing.assert_allclose(every.predict(SETS["test"].inputs), told.mean(0), atol=1e-7)
    accuracy = [float(row["val_accuracy"]) for row in table(finished)[:4]]
    best = sorted(range(4), key=lambda n: -accuracy[n])
    two = load(finished, CONFIG, best_of=2)
    np.testing.assert_allclose(two.predict(SETS["test"].inputs), told[best[:2]].mean(0), atol=1e-7)
    scores = evaluate(finished, SETS, config=CONFIG)
    own = told.mean(0)[np.arange(32), SETS["test"].targets]
    assert scores["loss"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
    assert scores["accuracy"] == json.loads((finished / "ensembles.json").read_text())[0][
        "accuracy"] == (told.mean(0).argmax(1) == SETS["test"].targets).mean()
    assert scores["runs"] == [0, 1, 2, 3] and scores["split"] == "test"
    one = evaluate(finished, SETS, config=CONFIG, best_of=1)
    alone = evaluate(finished / str(best[0]), SETS, config=CONFIG)
    assert one.pop("runs") == [best[0]] and alone.pop("step") == 24
    assert one == alone
    np.testing.assert_array_equal(load(finished, CONFIG, best_of=1).predict(SETS["test"].inputs),
                                  told[best[0]])


def test_an_ensemble_that_is_none_is_refused(finished, tmp_path):
    with pytest.raises(RequestError, match="has 4 finished runs: type 4 or less"):
        load(finished, CONFIG, best_of=5)
    with pytest.raises(RequestError, match="--best_of 2 is for a sweep's folder"):
        load(finished / "0", CONFIG, best_of=2)
    for words in (["train", "--best_of", "2"], ["eval", "--run_dir", finished, "--best_of", "0"]):
        with pytest.raises(RequestError, match="--best_of"):
            flags.parse([*map(str, words)])
    rows = (finished / "results.jsonl").read_text()
    shutil.copy(finished / "sweep.json", tmp_path)
    for content, said in ((rows, "keeps no weights of .*/0, .*/1"), (None, "sweep --resume"),
                          ("[1]\n", "is not a sweep's"),
                          (rows.replace("done", "x"), "no finished")):
        (tmp_path / "results.jsonl").write_text(content or "")
        if content is None:
            (tmp_path / "results.jsonl").unlink()
        with pytest.raises(RequestError, match=said):
            load(tmp_path, CONFIG)


def test_runs_whose_folds_made_features_of_their_own_are_no_ensemble(monkeypatch):
    runs = [SimpleNamespace(path=name, input_shape=(2,), input_dtype="float32", classes=("a", "b"),
                            columns=SimpleNamespace(digest=name)) for name in "ab"]
    monkeypatch.setattr(ensembles, "members", lambda *_: runs)
    monkeypatch.setattr(ensembles, "_said", lambda *_: {})
    monkeypatch.setattr(ensembles, "trained", SimpleNamespace(loaded=lambda run, *_: run))
    with pytest.raises(RequestError, match="b and a made features .* by folds of their own"):
        ensembles.loaded(Path("s"), None, "best", 0)


@pytest.mark.parametrize("task", [
    Classification(), Multilabel(), Regression(mean=(3.0, 5.0), scale=(2.0, 0.1))])
def test_outputs_are_what_predict_makes_predictions_of(task):
    logits = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    told = task.predict(logits)
    np.testing.assert_allclose(task.predict(task.outputs(told)), told, rtol=1e-5)
    assert np.isfinite(task.outputs(np.float32([[0, 1]]))).all()


def test_a_task_whose_predict_has_no_inverse_makes_no_ensemble():
    class Sharp(Classification):
        def predict(self, outputs):
            return jax.nn.softmax(2 * outputs)

    found = Judged(None, np.full((3, 2), [0.2, 0.8], np.float32), np.zeros(3, np.int32), None)
    with pytest.raises(RequestError, match="Sharp can't be judged, since its predict has no inv"):
        ensembles.together(Sharp(), iter([found, found]))


def test_a_finished_sweep_resumed_says_the_same_again(finished):
    """Its members are saved already, and stay as they are."""
    before = (finished / "results.csv").read_text()
    swept(finished, resume="yes", **ASKED)
    assert (finished / "results.csv").read_text() == before


@pytest.mark.slow
def test_what_a_member_has_learned_by_itself_is_never_taken_back(finished, tmp_path):
    """Three epochs of eight updates were the sweep's."""
    path = shutil.copytree(finished, tmp_path / "sweep")
    own = dataclasses.replace(CONFIG, epochs=4)
    run.fit(own, Hyper(learning_rate=1e-3), Place(device="cpu"), SETS, resume=path / "0")
    config = (path / "0" / "config.json").read_text()
    with pytest.raises(RunError, match="0 was trained on by itself, to step 32, .*it at step 24"):
        swept(path, resume="yes", **ASKED)
    assert len(history(path / "0")) == 4
    assert (path / "0" / "config.json").read_text() == config
    for step in (path / "0" / "checkpoints").iterdir():  # as the message says
        if int(step.name) > 24:
            shutil.rmtree(step)
    swept(path, resume="yes", **ASKED)
    assert table(path) == table(finished)
    same_bits(finished / "0", path / "0")


def test_a_member_whose_folder_is_gone_is_told(finished, tmp_path):
    path = shutil.copytree(finished, tmp_path / "sweep")
    shutil.rmtree(path / "5")  # it diverged, and had no epochs
    swept(path, resume="yes", **ASKED)
    shutil.rmtree(path / "1")
    with pytest.raises(RunError, match="1/history.jsonl has 0 of the 3 epochs that were trained"):
        swept(path, resume="yes", **ASKED)


def stopped(path: Path, patch: pytest.MonkeyPatch, **search) -> None:
    """A sweep that a signal stops after the epoch that comes next."""
    selected = Lockstep._selected

    def select(self, *rest):
        runs = selected(self, *rest)
        self.interruption.status = 75
        return runs

    with patch.context() as inner:
        inner.setattr(Lockstep, "_selected", select)
        with pytest.raises(Stopped, match=r"saved. Go on with: sweep\(config, .*, data=") as told:
            swept(path, **search)
    assert told.value.status == 75


@pytest.mark.slow
def test_a_resumed_sweep_equals_one_never_interrupted(finished, tmp_path, monkeypatch):
    stopped(tmp_path / "sweep", monkeypatch, **ASKED)
    swept(tmp_path / "sweep", resume="yes", **ASKED)
    assert table(tmp_path / "sweep") == table(finished)
    for number in range(4):
        same_bits(finished / str(number), tmp_path / "sweep" / str(number))


class Killed(BaseException):
    """What nothing catches, as kill -9."""


@pytest.mark.slow
def test_a_sweep_is_saved_within_an_epoch_and_goes_on_there(finished, tmp_path, monkeypatch):
    """Where saving is due after every segment, which are of one update each."""
    path = tmp_path / "sweep"

    def killed(self, *_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(segments, "SECONDS", 0.0)
        patch.setattr(sweep, "due", lambda *_: True)
        patch.setattr(Lockstep, "_record", killed)
        with pytest.raises(Killed):
            swept(path, **ASKED)
    assert {p.name for p in (path / "checkpoints" / "0").iterdir()} & {"6", "7"}
    swept(path, resume="yes", **ASKED)
    assert table(path) == table(finished)
    for number in range(4):
        same_bits(finished / str(number), path / str(number))


@pytest.mark.slow
def test_a_sweep_goes_on_on_another_number_of_devices(tmp_path, monkeypatch, capsys):
    """Three runs on two devices, where they are four, then on one, and back."""
    search = {"seeds": 3, "axes": ()}
    stopped(tmp_path / "moved", monkeypatch, **search)
    assert "4 runs in blocks of 1 on each of 2 devices" in capsys.readouterr().out
    with monkeypatch.context() as alone:
        alone.setattr(groups, "over_runs", lambda device: None)
        stopped(tmp_path / "moved", monkeypatch, resume="yes", **search)
        assert "3 runs in blocks of 1 (" in capsys.readouterr().out
    swept(tmp_path / "moved", resume="yes", **search)
    swept(tmp_path / "still", **search)
    assert statuses(tmp_path / "moved") == [("done", "3")] * 3
    for moved, still in zip(table(tmp_path / "moved"), table(tmp_path / "still"), strict=True):
        assert float(moved["val_loss"]) == pytest.approx(float(still["val_loss"]), rel=1e-4)


@pytest.mark.slow
def test_a_row_has_the_rate_of_its_last_update(tmp_path):
    """Of a schedule that falls to 0 after all 8 updates of an epoch."""
    config = dataclasses.replace(CONFIG, epochs=1, schedule="linear")
    path = swept(tmp_path / "rates", "learning_rate=1e-3,1e-2", config=config)
    for at, peak in enumerate((1e-3, 1e-2)):
        (row,) = history(path / str(at))
        assert row["learning_rate"] == pytest.approx(peak * (1 - 7 / 8))


@pytest.mark.parametrize("event, left, said", [
    ({}, 24, ""), ({}, 25, "to step 25, and the sweep, which left it at step 24"),
    ({"event": "dropped", "step": 8}, 8, ""),
    ({"event": "dropped", "step": 8}, 16, "to step 16, and the sweep, which left it at step 8"),
    ({"event": "stopped", "step": 8}, 16, "to step 16, and the sweep, which left it at step 8"),
    ({"event": "copied", "step": 8}, 24, ""), ({"event": "diverged", "step": 16}, -1, ""),
])
def test_where_a_member_was_left_is_by_what_happened_to_it(tmp_path, monkeypatch, event, left,
                                                           said):
    """Of three epochs of eight updates; it was saved at step `left` last."""
    monkeypatch.setattr(member.checkpoint.Checkpoints, "latest", lambda _: left)
    rows = [{"epoch": n, "step": 8 * n} for n in (1, 2, 3)][:1 if event else 3]
    with pytest.raises(RunError, match=said) if said else contextlib.nullcontext():
        member._check(tmp_path, rows, 24, Durations(8, 0, 24), event)


def test_what_is_halved_are_settings_by_the_mean_of_their_whole_runs():
    """The best single run is of the worst setting; one run of another diverged, a third's all."""
    values = {0: [0.9, 0.1, 0.1], 1: [0.6, 0.7, None], 2: [0.5, 0.6, 0.7], 3: [None, None, None]}
    trials = [Trial(3 * n + seed, CONFIG, Hyper(), {"learning_rate": n})
              for n in values for seed in range(3)]
    every = [x for row in values.values() for x in row]
    ranking = [Outcome(at, at, {"epoch": 1, "val_accuracy": 0.0 if x is None else x}, x is not None)
               for at, x in enumerate(every)]
    ready = SimpleNamespace(score="val_accuracy", task=SimpleNamespace(higher=True),
                            config=dataclasses.replace(CONFIG, epochs=4))
    group = SimpleNamespace(trials=trials, ready=ready)
    kept, gone = halved(group, ranking, Search(halving=2))
    assert [one.number for one in kept] == [3, 4, 5, 6, 7, 8]
    assert sorted(kept + gone) == sorted(ranking)
    lower = SimpleNamespace(trials=trials, ready=SimpleNamespace(**vars(ready) | {
        "task": SimpleNamespace(higher=False)}))
    kept, _ = halved(lower, ranking, Search(halving=2))
    assert [one.number for one in kept] == [0, 1, 2, 6, 7, 8]
    assert halved(group, ranking, Search())[1] == []


@pytest.mark.slow
def test_the_line_of_a_setting_says_that_its_runs_were_dropped(tmp_path, capsys):
    """Both of the runs of one are left, and only its mean is of runs to the end."""
    path = swept(tmp_path / "halved", "learning_rate=1e-5,1e-2", seeds=2, halving=2,
                 config=dataclasses.replace(CONFIG, epochs=4))
    done = [float(row["val_accuracy"]) for row in table(path) if row["status"] == "done"]
    first, second = (line for line in capsys.readouterr().out.splitlines() if "runs" in line
                     and line[:2] in ("1.", "2."))
    assert len(done) == 2 and f"accuracy {np.mean(done):.4f} ±" in first
    assert first.endswith("(2 runs)") and second.endswith("(2 runs, 2 dropped)")


@pytest.mark.slow
def test_halving_drops_the_worse_and_trains_the_better_on(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=4)
    path = swept(tmp_path / "halved", "learning_rate=1e-5,1e-3,1e-2,1e30", config=config,
                 halving=2)
    found = [(row["status"], int(row["epochs"]), at) for at, row in enumerate(table(path))]
    gone, done, first, second = sorted(found)
    assert gone == ("diverged", 0, 3) and done[:2] == ("done", 4)
    assert (first[:2], second[:2]) == (("dropped", 1), ("dropped", 2))
    for dropped, others in ((first, (second, done)), (second, (done,))):
        scores = [history(path / str(at))[dropped[1] - 1]["val_accuracy"]
                  for at in (dropped[2], *(other[2] for other in others))]
        assert scores[0] <= min(scores)
    state = load(path / str(second[2]), config).state  # it may go on as an ordinary run
    assert int(state.step) == 16


@pytest.mark.slow
def test_population_based_training_moves_from_the_best(tmp_path):
    path = swept(tmp_path / "pbt", "learning_rate=1e-2,1e-5,3e-3,1e30", pbt=True)
    first, *later = events(path)
    assert first == {"group": 0, "step": 8, "run": 3, "event": "diverged"}
    assert (later[0]["event"], later[0]["run"], later[0]["step"]) == ("copied", 3, 8)
    assert later[0]["source"] in (0, 2)
    assert statuses(path)[3][0] == "done"
    final = json.loads((path / "3/config.json").read_text())["hyper"]["learning_rate"]
    assert float(table(path)[3]["learning_rate"]) == pytest.approx(final, rel=1e-3)


def test_the_worst_takes_the_weights_of_the_best_and_moves_its_values():
    """Whole though it is: what it had learned goes, its seed and number stay."""
    search = Search(("learning_rate=1e-2,1e-3,3e-3,1e-4",))
    found = space.of(Request(CONFIG, Hyper()), search).trials
    found = [t._replace(config=dataclasses.replace(t.config, seed=t.number)) for t in found]
    host = begin_alone(Place(device="cpu"))
    made = groups.assemble(0, found, Request(CONFIG), arrays.of(SETS, "classes"), host)
    runs = groups.create(made)
    ranking = [Outcome(at, at, {}, True) for at in (2, 0, 3, 1)]
    moved, copies = selection.exploited(made, runs, ranking, ["learning_rate"], 0)
    assert [(to.number, source.number) for to, source in copies] == [(1, 2)]
    before, after = (jax.device_get(x.members) for x in (runs, moved))
    at = partial(jax.tree.map, lambda x: x[1])
    jax.tree.map(np.testing.assert_array_equal, at(after.state),
                 jax.tree.map(lambda x: x[2], before.state))
    assert not np.array_equal(at(before.state.params)["Dense_0"]["kernel"],
                              at(after.state.params)["Dense_0"]["kernel"])
    assert (after.seed == before.seed).all() and (after.number == before.number).all()
    assert min(abs(after.hyper.learning_rate[1] / 3e-3 - by) for by in (0.8, 1.2)) < 1e-5
    others = [0, 2, 3]
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[others], y[others]), after, before)


@pytest.mark.slow
def test_a_fold_is_judged_on_its_held_out_rows_and_a_static_field_is_a_program_each(
    tmp_path, capsys
):
    config = dataclasses.replace(CONFIG, epochs=1, validation_split="auto")
    path = swept(tmp_path / "folds", "batch_size=8,16", config=config, folds=2)
    assert "4 runs in 2 programs, compiled one by one for batch_size" in capsys.readouterr().out
    rows = table(path)
    assert [(r["batch_size"], r["fold"]) for r in rows] == [
        ("8", "1/2"), ("8", "2/2"), ("16", "1/2"), ("16", "2/2")]
    seen = []
    for row in rows:
        asked = dataclasses.replace(config, validation_split=row["fold"])
        held = partition(arrays.of(SETS, "classes"), asked).validation
        rows_N = np.asarray(held.rows)
        told = load(path / row["run"], asked).predict(SETS["train"].inputs[rows_N]).argmax(-1)
        hits = told == SETS["train"].targets[rows_N]
        assert float(row["val_accuracy"]) == pytest.approx(hits.mean(), abs=1e-6)
        seen.append(rows_N)
    assert sorted(np.concatenate(seen[:2])) == list(range(64))


@pytest.mark.slow
def test_a_swept_number_of_epochs_is_the_one_asked_for(tmp_path):
    path = swept(tmp_path / "lengths", "epochs=1,2", "learning_rate=1e-3,1e30")
    assert [(r["epochs"], r["status"]) for r in table(path)] == [
        ("1", "done"), ("1", "diverged"), ("2", "done"), ("2", "diverged")]


@pytest.mark.parametrize("search, said", [
    ({"axes": ("batch_size=8,200",)}, "--batch_size 200 is larger than the 64"),
    ({"axes": ("loss=softmax_cross_entropy,hubre",)}, "unknown loss of --task classification 'hub"),
    ({"axes": ("model=mlp,mine.py:Net",)}, "mine.py: no such file"),
    ({"halving": 2, "axes": ("learning_rate=0.1,0.2",),
      "config": dataclasses.replace(CONFIG, epochs=1)}, "type --epochs 2 or more"),
    ({"folds": 2, "halving": 2}, "measures each on other examples"),
    ({"axes": ("rotation=5,10",), "data": FLAT}, "--rotation .*pictures"),
    ({"axes": ("flip=false,true",), "data": FLAT}, "--flip .*pictures"),
    ({"axes": ("threshold=0.1,0.2",)}, "--threshold 0.1 is for two classes"),
    ({"axes": ("b1=0.8,0.9",), "config": dataclasses.replace(CONFIG, model="cnn"), "data": FLAT},
     "model cnn"),
])
def test_a_refused_sweep_leaves_nothing(tmp_path, search, said):
    with pytest.raises(RequestError, match=said):
        swept(tmp_path / "refused", **{"axes": ()} | search)
    assert not (tmp_path / "refused").exists()


def test_a_sweep_is_never_overwritten_and_resumed_as_begun(finished, tmp_path):
    with pytest.raises(RequestError, match="sweep --resume"):
        swept(finished, **ASKED)
    with pytest.raises(RequestError, match="epochs was 3, now 9"):
        swept(finished, resume="yes", config=dataclasses.replace(CONFIG, epochs=9), **ASKED)
    with pytest.raises(RequestError, match="has changed since"):
        swept(finished, resume="yes", data=SETS | {"test": random_split(32, side=8)}, **ASKED)
    with pytest.raises(RequestError, match="already holds the files of a sweep"):
        run.fit(CONFIG, data=SETS, place=Place(device="cpu", run_dir=str(finished)))
    with pytest.raises(RequestError, match="no checkpoint"):
        load(finished / "5", CONFIG)  # it diverged: nothing to evaluate


@pytest.mark.slow
def test_a_population_too_large_is_refused_with_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda device: 7_000)
    with pytest.raises(RequestError, match=r"2 runs need .* MiB more even one at a time"):
        swept(tmp_path / "large", seeds=2, axes=())
    assert not (tmp_path / "large/sweep.json").exists()


@pytest.mark.slow
def test_a_program_too_large_is_left_out_and_the_others_reported(tmp_path, monkeypatch, capsys):
    """Then there is room: the sweep goes on with what it lacks."""
    rooms, asked = [None] * 5, {"axes": ("batch_size=8,16",), "config": CONFIG, "seeds": 2}
    with monkeypatch.context() as narrow:
        narrow.setattr(memory, "free", lambda device: rooms.pop() if rooms else 0)
        with pytest.raises(RequestError, match="2 runs need"):
            swept(tmp_path / "some", **asked)
    assert "program 2 is left out: 2 runs need" in capsys.readouterr().out
    assert statuses(tmp_path / "some") == [("done", "3")] * 2 + [("refused", "0")] * 2
    swept(tmp_path / "some", resume="yes", **asked)
    assert statuses(tmp_path / "some") == [("done", "3")] * 4


@pytest.mark.slow
def test_all_runs_diverging_is_status_3(tmp_path):
    with pytest.raises(RunError, match="all 2 runs diverged") as told:
        swept(tmp_path / "lost", "learning_rate=1e30,1e31")
    assert told.value.status == 3
