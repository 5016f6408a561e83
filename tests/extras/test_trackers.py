"""--log: what trackers were told, read back by their own readers; resumed, swept, and failing."""

import csv
import importlib.util
import json
import struct
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from samples import Tiny, random_split

from engine import Config, Hyper, Place, fit
from engine.errors import RequestError
from engine.loggers import csv as of_csv
from engine.loggers import tracking
from engine.request import Request
from engine.sweep import sweep
from engine.sweep.search import Search

CONFIG = Config(model=Tiny, epochs=3, batch_size=16)
HYPER = Hyper(learning_rate=0.01, weight_decay=0.001)
DATA = tuple(random_split(64))


class Stop(Exception):
    """What ends a run from without."""


def _interrupted(path: Path, log: str, between: Callable[[], None] = int) -> list[dict]:
    """The history of a run that fails once its second epoch is logged and not yet saved, and goes
    on to its third, after what is done in `between`."""
    place = Place(device="cpu", run_dir=str(path), log=log)
    plain = tracking.Tracking.__call__

    def logged(self, row):
        plain(self, row)
        if row["epoch"] == 2:
            raise Stop

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stop):
        patched.setattr(tracking.Tracking, "__call__", logged)
        fit(CONFIG, HYPER, place, DATA, quiet=True)
    before = json.loads((path / tracking.FILE).read_text())
    assert {kept["epoch"] for kept in before.values()} == {2}
    between()
    return fit(CONFIG, HYPER, place, DATA, resume=path, quiet=True).history


def test_csv_has_a_line_an_epoch_though_the_run_was_interrupted(here):
    history = _interrupted(here / "r", "csv")
    with open("r/history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    scores = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    assert [{k: float(row[k]) for k in scores[0]} for row in rows] == scores
    told = [json.loads((here / "r" / tracking.FILE).read_text())["csv"]]
    (here / "of").mkdir()
    tracker = of_csv.Tracker(tracking.Told(here / "of", "of", "", {}, ""))
    tracker.row({"epoch": 1, "loss": 0.5})
    tracker.row({"loss": 0.25, "more": 9, "epoch": 2})  # columns are those of the first row
    assert (here / "of/history.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"
    assert told == [{"id": "", "epoch": 3, "scored": 3}]


def test_scores_are_told_once_and_whether_the_run_is_done(here, monkeypatch):
    told = []

    class Tracker(of_csv.Tracker):
        def score(self, epoch, scores, artefacts):
            told.append((epoch, "config.json" in {file.name for file in artefacts}))

        def close(self, done):
            told.append(done)

    monkeypatch.setattr(of_csv, "Tracker", Tracker)
    _interrupted(here / "r", "csv")
    for _ in range(2):
        with tracking.Tracking(here / "r", "csv"):
            pass
    assert told == [False, (3, True), True, True, True]


def test_tensorboard_reads_scalars_values_and_pictures_back(here):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    history = _interrupted(here / "r", "tensorboard")
    metrics = json.loads((here / "r/metrics.json").read_text())
    read = EventAccumulator("r", size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    read.Reload()
    for name in ("loss", "val_accuracy", "learning_rate"):
        told = [(event.step, event.value) for event in read.Scalars(name)]
        assert told == [(row["epoch"], pytest.approx(row[name])) for row in history]
    assert read.Scalars("final/accuracy")[0].value == pytest.approx(metrics["accuracy"])
    (picture,) = read.Images("curves")
    assert picture.encoded_image_string == (here / "r/curves.png").read_bytes()
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["learning_rate"].number_value == 0.01
    assert values["optimizer"].string_value == "adam"
    assert values["flip"].bool_value is False
    assert "run_dir" not in values


def test_what_a_full_disk_left_is_cut_off_and_told_again(here):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    from engine.loggers.tensorboard import FILE

    fit(CONFIG, HYPER, Place(device="cpu", run_dir="r", log="csv,tensorboard"), DATA, quiet=True)
    table, events = here / "r/history.csv", here / "r" / FILE

    def told() -> tuple[str, list]:
        return table.read_text(), [(event.step, [value.tag for value in event.summary.value])
                                   for event in EventFileLoader(str(events)).Load()]

    before, rows, records = told(), table.read_bytes(), events.read_bytes()
    for share in (0, 0.01, 0.1, 0.5, 0.99):
        table.write_bytes(rows[: int(share * len(rows))])
        events.write_bytes(records[: int(share * len(records))] + b"\0" * 40)
        with tracking.Tracking(here / "r", "csv,tensorboard"):
            pass
        assert told() == before


@pytest.fixture
def mlflow_here(here, monkeypatch):
    """MLflow's client of a store of this test's own."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{here}/store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient()


def test_mlflow_reads_metrics_params_and_artefacts_back(here, mlflow_here):
    def only():
        experiment = mlflow_here.get_experiment_by_name("flaxmill").experiment_id
        (run,) = mlflow_here.search_runs([experiment])
        return run

    status = []
    history = _interrupted(here / "r", "mlflow", lambda: status.append(only().info.status))
    run = only()
    assert status == ["FAILED"]
    assert run.info.status == "FINISHED" and run.info.run_name == "r"
    told = mlflow_here.get_metric_history(run.info.run_id, "val_loss")
    assert [(m.step, m.value) for m in told] == [(r["epoch"], r["val_loss"]) for r in history]
    assert run.data.params["learning_rate"] == "0.01" and run.data.params["epochs"] == "3"
    assert "run_dir" not in run.data.params
    metrics = json.loads((here / "r/metrics.json").read_text())
    assert run.data.metrics["final.accuracy"] == metrics["accuracy"]
    names = {file.path for file in mlflow_here.list_artifacts(run.info.run_id)}
    assert {"report.html", "curves.png", "config.json"} <= names

    # A sweep is an experiment of its own, its runs told apart by their values.
    search = Search(axes=("learning_rate=0.01,0.1",))
    data = Place(device="cpu", run_dir=str(here / "s"), log="mlflow,csv")
    sweep.run(Request(CONFIG, HYPER, data, DATA), search)
    experiment = mlflow_here.get_experiment_by_name("s").experiment_id
    runs = {run.info.run_name: run for run in mlflow_here.search_runs([experiment])}
    assert {n: r.data.params["learning_rate"] for n, r in runs.items()} == {
        "s/0": "0.01", "s/1": "0.1"}
    for name, run in runs.items():
        rows = map(json.loads, (here / name / "history.jsonl").read_text().splitlines())
        told = mlflow_here.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.value) for m in told] == [(r["epoch"], r["loss"]) for r in rows]
        assert run.info.status == "FINISHED"
        assert len((here / name / "history.csv").read_text().splitlines()) == 4


def _records(file: Path) -> Iterator:
    """What a run kept offline, as W&B's own messages: in LevelDB's log format, whose blocks are of
    32 KiB, after seven bytes of W&B's."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def test_wandb_keeps_a_run_offline_and_goes_on_with_it(here, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    history = _interrupted(here / "r", "wandb")
    files = sorted(here.glob("wandb/offline-run-*/*.wandb"))
    records = [record for file in files for record in _records(file)]
    assert len(files) == 2 and {r.run.run_id for r in records if r.HasField("run")} == {
        json.loads((here / "r" / tracking.FILE).read_text())["wandb"]["id"]}
    assert [r.exit.exit_code for r in records if r.HasField("exit")] == [1, 0]
    rows = [{"/".join(item.nested_key) or item.key: json.loads(item.value_json)
             for item in record.history.item} for record in records if record.HasField("history")]
    assert [(row["epoch"], row["val_loss"]) for row in rows] == [
        (row["epoch"], row["val_loss"]) for row in history]
    values = {item.key: json.loads(item.value_json) for record in records if record.HasField("run")
              for item in record.run.config.update}
    assert values["learning_rate"] == 0.01
    kept = {item.key or "/".join(item.nested_key): item.value_json for record in records
            if record.HasField("summary") for item in record.summary.update}
    assert json.loads(kept["final/accuracy"]) == json.loads(
        (here / "r/metrics.json").read_text())["accuracy"]


def test_a_tracker_that_fails_is_told_once_and_the_run_is_done(here, capsys, monkeypatch):
    def full(self, row):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(of_csv.Tracker, "row", full)
    place = Place(device="cpu", run_dir="r", log="csv")
    run = fit(CONFIG, HYPER, place, DATA, quiet=True)
    assert len(run.history) == 3 and run.metrics
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--log")]
    assert told == [
        "--log csv: [Errno 28] No space left on device: the run goes on without it"]


def test_a_server_that_is_away_stops_no_run(here, monkeypatch, capsys):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    run = fit(CONFIG, HYPER, Place(device="cpu", run_dir="r", log="mlflow"), DATA, quiet=True)
    assert len(run.history) == 3
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("--log")]
    assert "mlflow" in line and "goes on without it" in line


@pytest.mark.parametrize("name, found", [
    ("mlflow", None), ("tensorboard", None), ("wandb", None),
    ("wandb", types.SimpleNamespace(origin=None)),  # a folder of that name
])
def test_what_is_not_installed_is_named_before_anything_is_begun(name, found, here, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    with pytest.raises(RequestError, match=rf"pip install 'flaxmill\[{name}\]'"):
        fit(CONFIG, HYPER, Place(log=name), DATA)
    assert not list(here.iterdir())
