"""A streamed run, killed within an epoch and hurt in its workers."""

import os
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from harness import ended, epochs, finished, patched, run, until
from PIL import Image
from test_stream import rows

from engine import trained

pytestmark = pytest.mark.slow
STEPS, EPOCHS = 12, 2
# Chunks of two batches, each slow to read: an epoch outlasts a save.
SMALL_AND_SLOW = """
import time
from engine.stream import choice, pieces

choice.CHUNK = 2 * 10 * 18 * 18
quick = pieces.fill


def slowly(*words):
    time.sleep(0.7)
    quick(*words)


pieces.fill = slowly
"""


NETWORK = """
import flax.linen as nn


class Tiny(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1))
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> tuple:
    """Of a run on 116 pictures, of which twelve batches of ten aren't made."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in (("train", 116), ("test", 40)):
        for number in range(count):
            path = folder / split / "abc"[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 60, (18, 18)) + 60 * (number % 3)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder.parent / "net.py").write_text(NETWORK)
    return ("--dataset", f"image_folder:{folder}", "--validation_split", "test", "--model",
            f"{folder.parent / 'net.py'}:Tiny", "--batch_size", "10", "--device", "cpu",
            "--epochs", EPOCHS)


@pytest.fixture(scope="module")
def resident(tmp_path_factory, words) -> Path:
    folder = tmp_path_factory.mktemp("resident") / "run"
    finished(run(*words, "--run_dir", folder))
    return folder


def of_a_run(process: subprocess.Popen) -> list[int]:
    """The process ids of its readers."""
    told = [path.read_text().split() for path in Path(f"/proc/{process.pid}").glob(
        "task/*/children")]
    return [int(pid) for pids in told for pid in pids
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def saved(folder: Path) -> int:
    """The step of the newest checkpoint, whole; 0 where there is none."""
    found = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return int(trained.load(folder, checkpoint="last").state.step) if found else 0


def gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_killed_within_an_epoch_it_goes_on_to_the_resident_runs_bits(
    tmp_path, words, resident, workers
):
    """With another number of workers; its own go with it."""
    folder, slow = tmp_path / "run", patched(tmp_path, SMALL_AND_SLOW)
    process = run(*words, "--run_dir", folder, "--stream", "--workers", workers,
                  "--save_seconds", 1, **slow)
    until(lambda: folder.exists() and saved(folder) % STEPS, process)
    readers = of_a_run(process)
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL and len(readers) == workers
    assert saved(folder) % STEPS
    deadline = time.monotonic() + 30
    while not gone(readers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    printed = finished(run("--resume", folder, "--workers", (workers + 1) % 3, **slow))
    assert "the device waited" in printed and "Traceback" not in printed
    states = [jax.tree.leaves(trained.load(each, checkpoint="last").state)
              for each in (resident, folder)]
    for x, y in zip(*states, strict=True):
        np.testing.assert_array_equal(x, y)
    assert rows(folder) == rows(resident)


def test_a_killed_worker_ends_the_run_in_one_line(tmp_path, words):
    folder = tmp_path / "run"
    process = run(*words[:-1], 10_000, "--run_dir", folder, "--stream", "--workers", 1)
    until(lambda: epochs(folder) >= 2, process)
    os.kill(of_a_run(process)[0], signal.SIGKILL)
    status, printed = ended(process)
    assert status == 1 and "Traceback" not in printed and "Warning" not in printed
    assert printed.splitlines()[-1].startswith(
        "flaxmill: reading the examples stopped: a worker process was ended, with status -9")
    assert f"--resume {folder}" in printed and saved(folder)
