"""Whole sweeps in real processes, interrupted by real signals, on scikit-learn's real digits."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ONE_DEVICE, ROOT
from forks import LAUNCH, Forked

from engine.loaded import load

pytestmark = pytest.mark.slow
DIGITS = ("--dataset", "digits", "--image_size", "18", "--batch_size", "100", "--device", "cpu",
          "--model", f"{ROOT}/tests/faults/small.py:Small")
SWEEP = ("sweep", *DIGITS, "--epochs", "3", "--seeds", "2",
         "--sweep", "learning_rate=1e-3,1e-2,1e30")


def launched(folder: Path, *words: object) -> str:
    process = Forked([LAUNCH, *words], os.environ | ONE_DEVICE, folder, apart=True)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return printed


def assert_same_bits(a: Path, b: Path) -> None:
    one, other = load(a).state, load(b).state
    jax.tree.map(np.testing.assert_array_equal, one, other)


def table(path: Path) -> list[dict[str, str]]:
    with (path / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Three rates, one of which diverges, of two seeds; never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    printed = launched(folder, *SWEEP, "--run_dir", "sweep")
    assert "6 runs in one program" in printed and "as many blocks at once" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("Epoch 3/3 "))
    assert "s - 4 of 6 runs alive - best val_accuracy 0." in line and "learning_rate 0.01)" in line
    assert {"report.html", "curves.png", "axis.png"} <= {
        path.name for path in (folder / "sweep").iterdir()}
    return folder / "sweep"


def test_a_member_is_the_ordinary_run_bit_for_bit_and_lives_on_as_one(finished, tmp_path):
    launched(tmp_path, *DIGITS, "--epochs", 3, "--seed", 1, "--learning_rate", "1e-2",
             "--run_dir", "run")
    assert_same_bits(tmp_path / "run", finished / "3")
    alone = json.loads((tmp_path / "run" / "metrics.json").read_text())
    again = launched(tmp_path, "eval", "--json", "--run_dir", finished / "3")
    assert json.loads(again)["confusion"] == alone["confusion"]
    launched(tmp_path, "--resume", finished / "3")
    assert (finished / "3" / "report.html").exists()


@pytest.mark.parametrize(
    "number, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_a_resumed_sweep_equals_one_never_interrupted(finished, tmp_path, number, status):
    path = tmp_path / "sweep"
    process = Forked([LAUNCH, *SWEEP, "--run_dir", path], os.environ | ONE_DEVICE, reported=False)
    history, deadline = path / "0" / "history.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text():
            break
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == status
    launched(tmp_path, "sweep", "--resume", path)
    assert table(path) == table(finished)
    for run in range(4):
        assert_same_bits(finished / str(run), path / str(run))
