"""A run's folder that comes from elsewhere: links, pipes, sizes and values that nobody wrote."""

import errno
import json
import os

import pytest

from engine.disk import files
from engine.errors import RequestError, RunError
from engine.place import Place
from engine.request import Request
from engine.store import folder, record

ROW = {"epoch": 1, "step": 5, "seconds": 0.5, "val_loss": 1.0, "learning_rate": None}


def history(tmp_path, *lines: str):
    (tmp_path / "history.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder.history(tmp_path)


@pytest.mark.parametrize("planted", ["history.jsonl", "checkpoints/5", "damaged-checkpoints", "x"])
def test_a_folder_that_holds_a_link_is_not_written(planted, tmp_path):
    """Orbax removes old steps, a damaged one is moved: never by way of a link."""
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.mkdir()
    (victim / "kept").write_text("dear")
    (run / planted).parent.mkdir(parents=True)
    (run / planted).symlink_to(victim, target_is_directory=True)
    with pytest.raises(RequestError, match=f"{planted} is a link, and none is followed"):
        with folder.alone(run):
            pass
    assert (victim / "kept").read_text() == "dear"


def test_a_run_is_named_by_a_link_all_the_same(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with folder.alone(tmp_path / "link"):
        assert (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("name", [".lock", "config.json.tmp", "history.jsonl.tmp"])
def test_no_write_goes_through_a_link(name, tmp_path):
    victim, run = tmp_path / "victim", tmp_path / "run"
    victim.write_text("dear")
    run.mkdir()
    (run / name).symlink_to(victim)
    folder.write_config(run, {"config": {}})
    folder.write_rows(run / "history.jsonl", [ROW])
    with pytest.raises(RequestError), folder.alone(run):
        pass
    assert victim.read_text() == "dear"


def test_a_lines_file_that_became_a_link_is_not_appended_to(tmp_path):
    (tmp_path / "victim").write_text("dear")
    (tmp_path / "history.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="it is a link"):
        folder.append_history(tmp_path, ROW)
    assert (tmp_path / "victim").read_text() == "dear"


def test_what_is_replaced_is_whole_and_leaves_no_draft(tmp_path):
    for content in ("a", "b" * 100, b"\xff"):
        files.replace(tmp_path / "x", content)
    assert (tmp_path / "x").read_bytes() == b"\xff" and os.listdir(tmp_path) == ["x"]
    with pytest.raises(OSError, match="No space left on device: '.*/y'"), \
            files.replacing(tmp_path / "y"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # which names no file
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("holder, said", [
    (b"process 7 on a\xff\n", "process 7 on a\ufffd: wait"), (b"", "another process: wait"),
    (b"x" * (65 << 20), "another process: wait"), (b"y" * 1000, "y…: wait"),
], ids=["no UTF-8", "nothing", "65 MiB", "a long line"])
def test_who_holds_a_folder_is_told_whatever_the_lock_says(tmp_path, holder, said):
    with folder.alone(tmp_path):
        (tmp_path / ".lock").write_bytes(holder)
        with pytest.raises(RequestError) as refused, folder.alone(tmp_path):
            pass
    assert said in str(refused.value) and len(str(refused.value)) < 700


def test_a_folder_in_another_encoding_is_refused_before_it_is_made(tmp_path):
    request = Request(place=Place(run_dir=str(tmp_path / os.fsdecode(b"run-\xff"))))
    with pytest.raises(RequestError, match="is a name that is not UTF-8"):
        folder.create(request)
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_locale_takes_for_another_encoding_is_not_to_be_renamed(monkeypatch):
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    name = "été".encode().decode("ascii", "surrogateescape")
    with pytest.raises(RequestError, match="takes names for ascii .*: export PYTHONUTF8=1"):
        folder.create(Request(place=Place(run_dir=name)))


@pytest.fixture
def of_another(here, monkeypatch):
    """A run that another user made, whose folder root too can't write."""
    path = folder.create(Request())
    monkeypatch.setattr(os, "access", lambda at, _: str(at) != str(path))
    return path


def test_a_run_of_another_user_has_its_number(of_another):
    assert str(of_another) == "runs/cifar10-cnn-1"
    assert str(folder.create(Request())) == "runs/cifar10-cnn-2"
    with pytest.raises(RequestError, match=f"--run_dir {of_another}: it is .*; name another"):
        folder.create(Request(place=Place(run_dir=str(of_another))))


def test_a_run_that_cannot_be_written_is_to_be_copied(of_another):
    with pytest.raises(RequestError, match=rf"--resume {of_another}: .*copy it \(cp -r"):
        with folder.alone(of_another):
            pass


def test_a_lock_that_is_a_pipe_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(RequestError, match="lock: it is not a regular file"):
        with folder.alone(tmp_path):
            pass


@pytest.mark.parametrize("plant, said", [
    (os.mkfifo, "not a regular file"), (os.mkdir, "not a regular file"),
    (lambda path: os.symlink("/dev/zero", path), "it is a link"),
    (lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40), "larger than 64"),
])
def test_a_configuration_that_is_no_small_file_is_told_at_once(plant, said, tmp_path):
    plant(tmp_path / "config.json")
    with pytest.raises(RequestError, match=f"can't be read: .*{said}"):
        record.read(tmp_path / "config.json")
    os.rename(tmp_path / "config.json", tmp_path / "history.jsonl")
    with pytest.raises(RunError, match=f"can't be read: .*{said}"):
        folder.history(tmp_path)


@pytest.mark.parametrize("field, value", [
    ("learning_rate", 10**400), ("learning_rate", float("nan")), ("learning_rate", True),
    ("weight_decay", "0.1"), ("weight_decay", [1]), ("b1", {"a": 1}),
])
def test_a_traced_value_that_is_none_is_refused(field, value, tmp_path):
    hyper = {"learning_rate": 0.1} | {field: value}
    (tmp_path / "config.json").write_text(json.dumps({"config": {}, "hyper": hyper}))
    if value != value:  # which `check` refuses, with --learning_rate's name
        assert record.read(tmp_path / "config.json").request.hyper.learning_rate != value
        return
    with pytest.raises(RequestError, match=f"not a run's configuration: {field} can't be"):
        record.read(tmp_path / "config.json")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"config": ' * 200_000, "", "7", "null", "[]"])
def test_a_configuration_that_is_no_configuration_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RequestError, match="not a run's configuration"):
        record.read(tmp_path / "config.json")


def test_where_a_process_listens_is_never_taken_from_a_file(tmp_path):
    place = {"coordinator": "203.0.113.1:1", "num_processes": 2, "process_id": 1}
    (tmp_path / "config.json").write_text(json.dumps({"config": place, "hyper": {}}))
    found = record.read(tmp_path / "config.json").request.place
    assert (found.coordinator, found.num_processes, found.process_id) == ("", 0, -1)


@pytest.mark.parametrize("change", [
    {"step": -1}, {"step": 1.0}, {"step": True}, {"step": 1 << 64}, {"epoch": "1"},
    {"seconds": None}, {"val_loss": 10**400}, {"accuracy": "high"}, {"accuracy": [0.5]},
])
def test_a_row_of_other_types_is_damaged(change, tmp_path):
    with pytest.raises(RunError, match="line 2 of .*history.jsonl is damaged .*: delete that line"):
        history(tmp_path, json.dumps(ROW), json.dumps(ROW | change))


@pytest.mark.parametrize("gone", ["epoch", "step", "seconds", "val_loss"])
def test_a_row_without_a_field_is_damaged(gone, tmp_path):
    row = {name: value for name, value in ROW.items() if name != gone}
    with pytest.raises(RunError, match="line 1 .*a row has epoch, step, seconds, val_loss"):
        history(tmp_path, json.dumps(row))


def test_what_a_diverged_run_recorded_is_a_row(tmp_path):
    row = ROW | {"val_loss": float("nan"), "loss": float("inf"), "accuracy": None}
    history(tmp_path, json.dumps(row))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')  # by whoever was killed
    assert len(folder.history(tmp_path)) == 1


@pytest.mark.parametrize("text", ["[1]", "{", "\x00", "[" * 100_000])
def test_damaged_scores_are_told(text, tmp_path):
    assert folder.metrics(tmp_path) == {}
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(RunError, match="metrics.json is damaged"):
        folder.metrics(tmp_path)
