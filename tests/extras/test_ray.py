"""deploy/ray_train.py on a Ray of this machine: two workers train one run."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ONE_DEVICE, ROOT

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Ray's own, with a name short enough for its sockets; its processes end with the test."""
    path = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield path
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{path}/".encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)  # whose workers end with it
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def begun(folder, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """A function: the script, begun on a run in tmp_path / "run"; what it prints is in the log."""
    env = os.environ | ONE_DEVICE | {
        "JAX_PLATFORMS": "cpu", "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300", "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as held:
        def begin(*words: str) -> subprocess.Popen:
            log = held.enter_context(open(tmp_path / "log", "wb"))
            process = held.enter_context(subprocess.Popen(
                [sys.executable, ROOT / "deploy/ray_train.py", tmp_path / "run", "2", *words],
                env=env, cwd=tmp_path, stdout=log, stderr=log))
            held.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def started(begun, tmp_path) -> Callable[..., tuple[int, str]]:
    """A function: the script's status, and what it printed."""
    def call(*words: str) -> tuple[int, str]:
        return begun(*words).wait(540), (tmp_path / "log").read_text()

    return call


def workers_of(folder: Path) -> list[int]:
    """The processes that train, by their numbers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"RayTrainWorker" in (process / "cmdline").read_bytes() and (
                    f"{folder}".encode() in (process / "environ").read_bytes()):
                found.append(int(process.name))
    return found


def test_two_workers_train_one_run(started, tmp_path):
    words = "--dataset iris --model linear --batch_size 20 --epochs 3 --device cpu".split()
    status, told = started(*words)
    assert status == 0, told
    assert "mesh: 2 devices of 2 processes: each computes 10 of a batch's 20 examples" in told
    rows = (tmp_path / "run/history.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2, 3]
    assert (tmp_path / "run/metrics.json").exists()


def test_a_lost_worker_costs_what_was_not_saved(begun, folder, tmp_path):
    """Ray starts both again, and they go on."""
    history, log = tmp_path / "run/history.jsonl", tmp_path / "log"
    process = begun(*"--dataset iris --model linear --batch_size 20 --epochs 60".split(),
                    "--device", "cpu")
    while not history.exists() or history.read_text().count("\n") < 3:
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    (one, _) = workers_of(folder)
    os.kill(one, signal.SIGKILL)
    assert process.wait(400) == 0, log.read_text()
    rows = [json.loads(row)["epoch"] for row in history.read_text().splitlines()]
    assert rows == [*range(1, 61)]
    trained = dict.fromkeys(re.findall(r"RayTrainWorker pid=(\d+)\).* Epoch", log.read_text()))
    assert len(trained) == 2, log.read_text()
    assert (tmp_path / "run/metrics.json").exists()


def test_words_that_can_t_be_meant_are_told_before_ray_starts(started, folder, tmp_path):
    status, told = started("--epochz", "3")
    assert status == 2 and told.startswith("flaxmill: Unknown command line flag 'epochz'"), told
    assert [*folder.iterdir()] == [] and [x.name for x in tmp_path.iterdir()] == ["log"]
