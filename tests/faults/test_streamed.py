"""A streamed run, killed within an epoch and hurt in its workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from harness import ended, epochs, finished, patched, run, until
from PIL import Image
from test_stream import rows

from engine import loaded

pytestmark = pytest.mark.slow
STEPS, EPOCHS = 12, 2
# Chunks of two batches, each slow to read: an epoch outlasts a save.
SMALL_AND_SLOW = """
import time
from engine.stream import choice
from engine.sets import pieces

choice.CHUNK = choice.SCATTERED = 2 * 10 * 18 * 18
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
    """Of a run on 116 pictures, of which twelve batches of ten aren't made: files in a folder, and
    beside it rows of Parquet."""
    folder, draw = tmp_path_factory.mktemp("sets") / "pictures", np.random.default_rng(0)
    for split, count in (("train", 116), ("test", 40)):
        labels = np.arange(count) % 3
        pixels = draw.integers(0, 60, (count, 18, 18)) + 60 * labels[:, None, None]
        for number, label in enumerate(labels):
            path = folder / split / "abc"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number].astype(np.uint8)).save(path)
        table = pd.DataFrame(pixels.reshape(count, -1), columns=[f"p{n}" for n in range(18 * 18)])
        table.assign(label=labels).to_parquet(folder.parent / f"{split}.parquet", row_group_size=25)
    (folder.parent / "net.py").write_text(NETWORK)
    return ("--dataset", f"image_folder:{folder}", "--validation_split", "test", "--model",
            f"{folder.parent / 'net.py'}:Tiny", "--batch_size", "10", "--device", "cpu",
            "--epochs", EPOCHS)


@pytest.fixture(scope="module")
def table(words) -> tuple:
    """Of the run on the rows."""
    return ("--dataset", f"table:{Path(words[1].partition(':')[2]).parent}", *words[2:])


@pytest.fixture(scope="module")
def residents(tmp_path_factory, words, table) -> dict[str, Path]:
    """Runs on the set in memory, by the name of their words."""
    folder = tmp_path_factory.mktemp("resident")
    runs = {name: run(*typed, "--run_dir", folder / name)
            for name, typed in (("words", words), ("table", table))}
    for process in runs.values():
        finished(process)
    return {name: folder / name for name in runs}


def of_a_run(process: subprocess.Popen) -> list[int]:
    """The process ids of its readers."""
    told = [path.read_text().split() for path in Path(f"/proc/{process.pid}").glob(
        "task/*/children")]
    return [int(pid) for pids in told for pid in pids
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def saved(folder: Path) -> int:
    """The step of the newest checkpoint, whole; 0 where there is none."""
    found = [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]
    return int(loaded.load(folder, checkpoint="last").state.step) if found else 0


def gone(pids: list[int]) -> bool:
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("of, workers", [("words", 0), ("words", 1), ("words", 2), ("table", 1)])
def test_killed_within_an_epoch_it_goes_on_to_the_resident_runs_bits(
    tmp_path, request, residents, of, workers
):
    """With another number of workers; its own go with it."""
    folder, slow, resident = tmp_path / "run", patched(tmp_path, SMALL_AND_SLOW), residents[of]
    words = request.getfixturevalue(of)
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
    states = [jax.tree.leaves(loaded.load(each, checkpoint="last").state)
              for each in (resident, folder)]
    for x, y in zip(*states, strict=True):
        np.testing.assert_array_equal(x, y)
    assert rows(folder) == rows(resident)


SCRIPT = """
import numpy as np
from flaxmill import Config, Place, fit

class Pairs:
    def __len__(self):
        return 64
    def __getitem__(self, i):
        return np.full((4, 4, 1), i, np.float32), i % 2

fit(Config(model="linear", epochs=1), data=Pairs(), place=Place(stream=True))
"""


def test_a_script_that_its_own_workers_would_run_again_is_told(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, text=True, timeout=300,
                          capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and 'call fit under if __name__ == "__main__":' in done.stderr
    assert "ended, with status 1 (its own words stand above)" in done.stderr
    (folder,) = (tmp_path / "runs").iterdir()  # the worker's own fit made none


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
