"""A sweep of many processes on one study: every setting once, whoever is killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from samples import Tiny, random_split

optuna = pytest.importorskip("optuna")

from optuna.trial import TrialState  # noqa: E402

import launch  # noqa: E402
from engine.config import Config, Hyper  # noqa: E402
from engine.errors import RequestError, RunError  # noqa: E402
from engine.place import Place  # noqa: E402
from engine.request import Request  # noqa: E402
from engine.store import generator  # noqa: E402
from engine.study import handout, pruning, storage, worker  # noqa: E402
from engine.study.handout import AGAIN, Handout, Listed  # noqa: E402
from engine.study.population import Handed, filling  # noqa: E402
from engine.sweep import results, space, sweep  # noqa: E402
from engine.sweep.search import Search  # noqa: E402
from engine.sweep.space import Axis  # noqa: E402

SETTINGS = [{"learning_rate": rate} for rate in (0.1, 0.2, 0.3)]
AXES = [Axis("learning_rate", (0.1, 0.2, 0.3))]
CONFIG = Config(model=Tiny, validation_split="test", batch_size=8, epochs=4)
SETS = {"train": random_split(64, side=8), "test": random_split(32, side=8, seed=1)}


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [0.0]
    monkeypatch.setattr(handout.time, "monotonic", lambda: now[0])
    return now


def shared(count: int = 2) -> list[Handout]:
    """So many processes on one study, each with a Study of its own."""
    kept = optuna.storages.InMemoryStorage()
    made = [optuna.create_study(storage=kept, study_name="s", load_if_exists=True,
                                sampler=Listed(SETTINGS)) for _ in range(count)]
    return [Handout(study, AXES, len(SETTINGS), 30) for study in made]


def test_every_setting_is_handed_out_once():
    one, two = shared()
    asked = [one.ask(), two.ask(), one.ask(), two.ask(), one.ask()]
    assert [a and a.values for a in asked] == [*SETTINGS, None, None]
    assert not one.done()
    for setting, process in zip(asked, (one, two, one), strict=False):
        assert process.tell(setting, 1.0, [])
    assert one.done() and two.done()


def test_one_that_comes_when_all_are_handed_out_gets_none():
    """Though when it asked there was one left: another was quicker."""
    one, two = shared()
    first = one.ask(), one.ask()
    trials, quick = two.trials, []

    def meanwhile():
        found = trials()
        if not quick:
            quick.append(one.ask())
        return found

    two.trials = meanwhile
    assert two.ask() is None
    for setting in (*first, *quick):
        one.tell(setting, 1.0, [])
    assert one.done() and len(one.trials()) == 3
    assert one._study.get_trials()[3].state == TrialState.FAIL


def test_what_a_silent_process_had_is_handed_out_again(clock):
    lost, other = shared()
    gone = lost.ask()
    other.take_up()
    clock[0] = 29
    other.take_up()
    assert other.ask().values == SETTINGS[1]
    clock[0] = 31
    other.take_up()
    again = other.ask()
    assert again.values == gone.values and again.trial.user_attrs[AGAIN] == 0
    assert again.trial.number == 2
    assert other.ask().values == SETTINGS[2]  # whose place is the third, its number the fourth
    assert not lost.tell(gone, 1.0, []) and lost.tell(again, 2.0, [])
    assert other.trials()[0].value == 2.0


def test_one_that_is_heard_of_keeps_what_it_has(clock):
    lost, other = shared()
    lost.ask()
    for at in range(0, 300, 20):
        clock[0] = at
        lost._study.set_user_attr(f"beat {lost._name}", at)
        other.take_up()
    assert other.trials()[0].state == TrialState.RUNNING


def test_two_that_miss_a_third_queue_what_it_had_once_and_one_lost_in_between_is_made_good(clock):
    lost, one, two = shared(3)
    gone = lost.ask()
    for process in (one, two):
        process.take_up()
    clock[0] = 31
    for process in (one, two, one):
        process.take_up()
    assert [t.state for t in one._study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]
    lost.release([two.ask()])  # a setting given back comes again
    assert [t.user_attrs.get(AGAIN) for t in one._study.get_trials()] == [None, 0, 0]
    held = one.ask()
    one._study.tell(held.trial.number, state=TrialState.FAIL)  # by one that is then killed
    two.take_up()
    clock[0] = 62
    two.take_up()
    assert two.ask().values == gone.values


def test_halving_keeps_the_best_part_of_all_that_have_come():
    assert pruning.rungs(3, 9) == [3, 1] and pruning.rungs(2, 4) == [2, 1]
    assert pruning.rungs(3, 243) == [81, 27, 9, 3, 1]  # of which the logarithm is 4.99…
    study = optuna.create_study(direction="maximize", pruner=pruning.pruner(3, False, 9))
    trials = [study.ask() for _ in range(7)]
    for trial, value in zip(trials, (1, 2, 3, 4, 5, 6, 7), strict=True):
        trial.report(value, 1)
    assert [t.should_prune() for t in trials] == [True] * 4 + [False] * 3
    trials[6].report(0, 2)
    assert not trials[6].should_prune()  # no rung
    late = study.ask()
    late.report(4.5, 1)
    assert late.should_prune()
    least = optuna.create_study(direction="minimize", pruner=pruning.pruner(2, False, 4))
    low, high = least.ask(), least.ask()
    low.report(1, 1)
    high.report(2, 1)
    assert high.should_prune() and not low.should_prune()


def test_populations_have_few_sizes():
    assert [filling(n, 32, False) for n in (32, 31, 17, 16, 9, 8, 1)] == [32, 32, 32, 16, 16, 8, 1]
    assert filling(9, 32, True) == 9


def test_every_run_of_every_setting_has_a_number_of_its_own():
    search = Search(axes=("learning_rate=0.1,0.2",), seeds=2, folds=2)
    config = dataclasses.replace(CONFIG, validation_split=Config.validation_split)
    asked = space.Asked(Path("nowhere"), Request(config, Hyper()), search, AXES, [])
    runs = [worker._members(asked, {"learning_rate": 0.1 * (at + 1)}, at) for at in range(2)]
    assert [[run.number for run in own] for own in runs] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert {run.hyper.learning_rate for run in runs[1]} == {0.2}


def test_a_password_is_never_told():
    assert storage.shown("mysql://me:s3cret@host/db") == "mysql://me:***@host/db"
    with pytest.raises(RequestError) as told:
        storage.opened("nosuch://me:s3cret@host/db", "s", True)
    assert "s3cret" not in str(told.value) and "Optuna can't open it" in str(told.value)


def test_a_study_of_before_is_of_whatever_generator_it_is_joined_under():
    study, now = optuna.create_study(), {"epochs": 4} | generator.facts()
    study.set_user_attr("asked", {"epochs": 4})
    storage.join(study, now, "j")
    study.set_user_attr("asked", now | {"jax": {}})
    with pytest.raises(RequestError, match="jax is {} there and"):
        storage.join(study, now, "j")


def loaded(journal: Path) -> optuna.Study:
    kept = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.load_study(study_name="flaxmill", storage=optuna.storages.JournalStorage(kept))


@pytest.fixture
def unreported(monkeypatch):
    monkeypatch.setattr(results.sweep_report, "write", lambda *_: None)


def worked(path: Path, *axes: str, config=CONFIG, run=worker.run, **search) -> list[dict]:
    """The rows of a study of one process, or of a sweep."""
    path.mkdir(exist_ok=True)
    study = {"study": str(path / "journal")} if run is worker.run else {}
    asked = Search(axes=axes, **study, **search)
    place = Place(device="cpu", run_dir=str(path / "runs"))
    arguments = (Request(config, Hyper(), place, SETS), asked)
    run(*arguments)
    return [json.loads(line) for line in (path / "runs/results.jsonl").read_text().splitlines()]


def test_a_study_finds_what_a_sweep_does_program_by_program(tmp_path, unreported, monkeypatch):
    """Of static values in turn too: a process asks for those of one program at a time, and one
    compilation serves them."""
    compiled, batches, before = [], [], Handed.train
    monkeypatch.setattr("engine.study.population.compile_programs", lambda *x: compiled.append(
        x[0].ready.config.batch_size) or sweep.compile_programs(*x))
    monkeypatch.setattr(Handed, "train", lambda self, group: batches.append(
        [t.config.batch_size for t in group.trials]) or before(self, group))
    axes = "learning_rate=1e-3,1e-2,1e30,3e-3", "batch_size=8,16"
    config = dataclasses.replace(CONFIG, epochs=1)
    found = worked(tmp_path / "study", *axes, config=config)
    alone = worked(tmp_path / "sweep", *axes, config=config, run=lambda *x: sweep.run(*x, "").path)
    key = lambda row: (row["learning_rate"], row["batch_size"])  # noqa: E731
    for row in (*found, *alone):
        del row["run"]
    assert sorted(found, key=key) == sorted(alone, key=key)
    assert batches == [[8, 8], [8, 8], [16, 16], [16, 16]] and compiled == [8, 16]


def test_a_setting_that_does_not_fit_is_left_out_and_the_others_are_trained(tmp_path, unreported):
    """Of more examples a batch than the set has. A process that gave it back would end all."""
    with pytest.raises(RequestError, match="--batch_size 99 is larger than the 64 training"):
        worked(tmp_path, "batch_size=8,99,16", config=dataclasses.replace(CONFIG, epochs=1))
    rows = map(json.loads, (tmp_path / "runs/results.jsonl").read_text().splitlines())
    assert [(row["batch_size"], row["status"], row["epochs"]) for row in rows] == [
        (8, "done", 1), (99, "refused", 0), (16, "done", 1)]


def test_halving_stops_settings_and_tells_what_they_had(tmp_path, unreported):
    found = worked(tmp_path, "learning_rate=1e-5,1e-6,1e-2,1e-7", halving=2)
    assert [(row["status"], row["epochs"]) for row in found][:2] == [("done", 4), ("dropped", 1)]
    kept = loaded(tmp_path / "journal")
    assert [t.state for t in kept.trials][:2] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert kept.trials[1].value == pytest.approx(found[1]["val_accuracy"])
    assert kept.best_trial.params == {"learning_rate": 1e-2}


def test_tpe_asks_as_many_as_were_typed_within_the_range(tmp_path, unreported):
    found = worked(tmp_path, "learning_rate=log:1e-4:1e-1", sampler="tpe", samples=3,
                   config=dataclasses.replace(CONFIG, epochs=1))
    rates = [row["learning_rate"] for row in found]
    assert len({*rates}) == 3 and all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert all(float(f"{rate:.6g}") == rate for rate in rates)


def test_what_cannot_be_is_refused(tmp_path, unreported):
    base = {"study": str(tmp_path / "j"), "axes": ("learning_rate=1e-3,1e-2",)}
    small = dataclasses.replace(CONFIG, epochs=1)

    def refused(said: str, place=None, config=small, **search) -> None:
        place = {"device": "cpu", "run_dir": str(tmp_path / "runs")} | (place or {})
        with pytest.raises(RequestError, match=said):
            worker.run(Request(config, Hyper(), Place(**place), SETS), Search(**base | search))

    refused("--sampler tpe needs --samples", sampler="tpe")
    refused("--sampler random: type tpe", sampler="random")
    refused("--pbt copies runs of one process", pbt=True)
    refused("--halving and --median both", halving=2, median=True, config=CONFIG)
    refused("program for every value of batch_size", sampler="tpe", samples=2,
            axes=("batch_size=8,16",))
    refused("by the others': type one", median=True,
            config=dataclasses.replace(small, patience=1))
    refused("meet in its storage alone", place={"fsdp": True})
    refused("type --run_dir too", study="sqlite:///x.db", place={"run_dir": ""})
    refused("Optuna can't open it", study=str(tmp_path / "no/such/folder/j"))
    with pytest.raises(RequestError, match="--sampler and --median go by"):
        sweep.run(Request(small), Search(median=True, axes=base["axes"]))
    worker.run(Request(small, Hyper(), Place(device="cpu", run_dir=str(tmp_path / "runs")), SETS),
               Search(**base))
    refused("is of another sweep: batch_size is 8 there and 16 here",
            config=dataclasses.replace(small, batch_size=16))
    refused("holds another sweep", study=str(tmp_path / "other"))
    os.remove(tmp_path / "j")
    with pytest.raises(RunError, match="runs/0 is there already"):
        worker.run(Request(small, Hyper(), Place(device="cpu", run_dir=str(tmp_path / "runs")),
                           SETS), Search(**base))


PROCESS = """
import sys; sys.path[:0] = ['tests', 'tests/extras', '.']
import test_study as t
t.results.sweep_report.write = lambda *_: None
t.worker.run(*t.asked(*sys.argv[1:]))
"""


def asked(study: str, run_dir: str) -> tuple[Request, Search]:
    rates = "learning_rate=1e-3,1e-2,1e30,3e-3,2e-2,3e-2,4e-3,5e-3"
    place = Place(device="cpu", run_dir=run_dir, heartbeat_seconds=3)
    return (Request(dataclasses.replace(CONFIG, epochs=2), Hyper(), place, SETS),
            Search((rates,), study=study))


def scores(path: Path) -> dict[float, tuple]:
    rows = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    return {row["learning_rate"]: (row["status"], row["val_accuracy"]) for row in rows}


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[float, tuple]:
    path = tmp_path_factory.mktemp("alone") / "sweep"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results.sweep_report, "write", lambda *_: None)
        sweep.run(*asked("", str(path)))
    return scores(path)


@pytest.mark.timeout(800)
@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_of_which_one_is_killed_find_what_one_alone_does(count, tmp_path, alone):
    journal, path = tmp_path / "journal", tmp_path / "runs"
    command = [sys.executable, "-c", PROCESS, str(journal), str(path)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT) for _ in range(count)]
    try:
        killed, deadline = None, time.monotonic() + 300
        while killed is None:  # the first that has settings, before it can have trained them
            assert time.monotonic() < deadline and any(p.poll() is None for p in processes)
            found = {int(one.name.rpartition("-")[2]) for one in path.glob("processes/*")}
            killed = next((p for p in processes if p.pid in found), None)
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        for process in processes:
            told = process.communicate(timeout=300)[0]
            assert process.returncode == (-9 if process is killed else 0), told
    finally:
        for process in processes:
            process.kill()
    assert scores(path) == alone
    trials = loaded(journal).trials
    finished = [t.params["learning_rate"] for t in trials
                if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert sorted(finished) == sorted(alone)  # each once
    assert 1 <= sum(t.state == TrialState.FAIL for t in trials) <= 2  # what the killed one had


def test_the_command_line_asks_for_a_study(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(worker, "run", lambda *given: called.append(given))
    words = "sweep --dataset iris --sweep learning_rate=1,2 --study j --median"
    assert launch.main(words.split()) == 0
    (request, search), = called
    assert request.config.dataset == "iris" and (search.study, search.median) == ("j", True)
