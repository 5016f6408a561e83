"""deploy/ray_train.py on a Ray of this machine: two workers train one run."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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
def started(folder, tmp_path) -> Callable[..., tuple[int, str]]:
    """A function: the script's status, and what it printed, of a run in tmp_path / "run"."""
    env = os.environ | ONE_DEVICE | {
        "JAX_PLATFORMS": "cpu", "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "disabled",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300", "PYTHONPATH": str(ROOT)}

    def call(*words: str) -> tuple[int, str]:
        with open(tmp_path / "log", "wb") as log:
            status = subprocess.run(
                [sys.executable, ROOT / "deploy/ray_train.py", tmp_path / "run", "2", *words],
                env=env, cwd=tmp_path, stdout=log, stderr=log, timeout=540).returncode
        return status, (tmp_path / "log").read_text()

    return call


def test_two_workers_train_one_run(started, tmp_path):
    words = "--dataset iris --model linear --batch_size 20 --epochs 3 --device cpu".split()
    status, told = started(*words)
    assert status == 0, told
    assert "mesh: 2 devices of 2 processes: each computes 10 of a batch's 20 examples" in told
    rows = (tmp_path / "run/history.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2, 3]
    assert (tmp_path / "run/metrics.json").exists()


def test_words_that_can_t_be_meant_are_told_before_ray_starts(started, folder, tmp_path):
    status, told = started("--epochz", "3")
    assert status == 2 and told.startswith("flaxmill: Unknown command line flag 'epochz'"), told
    assert [*folder.iterdir()] == [] and [x.name for x in tmp_path.iterdir()] == ["log"]
