"""Signals, at random times and twice: the run goes on to the same bits."""

import os
import random
import re
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ONE_DEVICE
from forks import LAUNCH, afresh
from harness import DIGITS, EACH, STEPS, ended, epochs, finished, hurt, patched, run, until
from test_run import assert_same_bits, final_state, rows

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("FLAXMILL_KILLS", 10))
EPOCHS = 6 * KILLS


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run that nobody hurt."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finished(run(*DIGITS, "--epochs", EPOCHS, "--run_dir", folder))
    return folder


def kept(folder: Path) -> list[Path]:
    """The checkpoints whose saves are done."""
    return [path for path in (folder / "checkpoints").glob("*") if path.name.isdigit()]


def saved(folder: Path) -> int:
    """The step of the newest checkpoint, whole; 0 where the first save was not done."""
    return int(final_state(folder).step) if kept(folder) else 0


def test_killed_again_and_again_at_random_times(whole, tmp_path, outcome):
    """Each life ends within some epochs of its first: in a step, a save, a line. Each epoch is
    saved; what of short ones isn't, tests/test_training.py tells."""
    draw, folder, survived = random.Random(0), tmp_path / "run", 0
    words: tuple = (*DIGITS, "--epochs", EPOCHS, "--run_dir", folder)
    for _ in range(KILLS):
        before = epochs(folder)
        process = run(*words, **patched(tmp_path, EACH))
        until(lambda before=before: epochs(folder) != before, process)
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL
        # A save may have been in flight, and that of the last recorded epoch have waited for it.
        survived += saved(folder) >= STEPS * (epochs(folder) - 2)
        words = ("--resume", folder)
    finished(run(*words))
    assert_same_bits(whole, folder)
    assert rows(folder) == rows(whole)
    assert not list((folder / "checkpoints").glob("*tmp*"))
    outcome("kill -9 at a random instant", KILLS, survived,
            "the save in flight, and the next, at most")


SWEEP = ("sweep", *DIGITS, "--epochs", 40, "--halving", 2, "--seeds", 2, "--sweep",
         "learning_rate=1e-4,1e-3,3e-3,1e30")


def recorded(folder: Path) -> int:
    """The bytes of every run's history: they grow with each epoch of a sweep."""
    return sum(path.stat().st_size for path in folder.glob("*/history.jsonl"))


def test_a_sweep_killed_again_and_again_ends_as_one_that_nobody_hurt(tmp_path, outcome):
    """Of eight runs four, two and one go on; two diverge. Each life ends within a second of its
    first epoch: in a segment, a save, a drop, the results."""
    whole, folder, draw = tmp_path / "whole", tmp_path / "sweep", random.Random(1)
    finished(run(*SWEEP, "--run_dir", whole))
    words: tuple = (*SWEEP, "--run_dir", folder)
    hurt_while_alive = 0
    for _ in range(KILLS):
        before = recorded(folder)
        process = run(*words)
        until(lambda before=before: recorded(folder) != before, process)
        time.sleep(draw.uniform(0, 1))
        process.kill()
        hurt_while_alive += ended(process)[0] == -signal.SIGKILL
        words = ("sweep", "--resume", folder) if (folder / "sweep.json").exists() else words
    finished(run("sweep", "--resume", folder))
    for name in ("results.csv", "results.jsonl", "best.py", "ensembles.json", "events.jsonl"):
        assert without(folder, name) == without(whole, name)
    for number in map(str, range(8)):
        assert rows(folder / number) == rows(whole / number)
        if (whole / number / "checkpoints").exists():
            assert_same_bits(whole / number, folder / number)
    outcome("kill -9 of a sweep", hurt_while_alive, hurt_while_alive, "the save in flight at most")


def without(folder: Path, name: str) -> str:
    """A file of a sweep without its own path, and the seconds, which no two share."""
    text = (folder / name).read_text().replace(str(folder), "")
    return re.sub(r'"seconds\w*": [0-9.e-]+', "", text)


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_is_whole(tmp_path, outcome):
    folder = tmp_path / "run"
    process = run(*DIGITS, "--epochs", 500, "--run_dir", folder, **patched(tmp_path, EACH))
    until(lambda: kept(folder), process)
    hurt(process, signal.SIGINT, folder, after=2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    status, printed = ended(process)
    assert status == 130 and "Traceback" not in printed
    assert time.monotonic() - began < 3  # whether or not it came before the save was done
    survived = int(final_state(folder).step) >= STEPS
    outcome("Ctrl-C twice", 1, survived, "the save in flight at most")


def test_a_signal_while_compiling_is_heard(tmp_path, outcome):
    folder = tmp_path / "run"
    process = run(*DIGITS, "--epochs", 500, "--run_dir", folder)
    until(lambda: (folder / ".lock").exists(), process)
    process.send_signal(signal.SIGTERM)
    status, printed = ended(process)
    assert status == 75 and "stopped at step 1 of" in printed, printed
    outcome("SIGTERM while compiling", 1, int(final_state(folder).step) == 1)


@pytest.mark.parametrize("number, wanted", [
    (signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)])
def test_a_signal_at_any_moment_of_a_start_has_its_status_and_one_line(
    number, wanted, tmp_path, outcome
):
    """Libraries swallow an interrupt that comes while they are imported, or print it."""
    heard = 0
    for after in (0.3, 0.5, 0.7, 0.9, 1.1, 1.4, 1.8, 2.5):
        process = afresh([LAUNCH, *DIGITS, "--epochs", 500, "--run_dir", tmp_path / str(after)],
                         os.environ | ONE_DEVICE)
        time.sleep(after)
        process.send_signal(number)
        began = time.monotonic()
        status, printed = ended(process)
        if (status, printed) == (-number, ""):
            continue  # Python itself wasn't up yet
        heard += 1
        assert status == wanted and "Traceback" not in printed, printed
        told = [line for line in printed.splitlines() if line.startswith("flaxmill: ")]
        assert len(told) == 1 and "stopped" in told[0], printed
        assert time.monotonic() - began < 15
    assert heard >= 3
    outcome(f"{number.name} while starting", heard, heard)


def test_a_terminal_that_closes_saves_as_sigterm_does_and_nohup_goes_on(tmp_path, outcome):
    folder = tmp_path / "run"
    process = run(*DIGITS, "--epochs", 500, "--run_dir", folder)
    hurt(process, signal.SIGHUP, folder, after=2)
    status, printed = ended(process)
    assert status == 75 and "and saved. Go on with: python launch.py --resume" in printed
    assert int(final_state(folder).step) >= 2 * STEPS
    quiet = run(*DIGITS, "--epochs", 4, "--run_dir", tmp_path / "nohup", **patched(
        tmp_path, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"))
    hurt(quiet, signal.SIGHUP, tmp_path / "nohup", after=1)
    assert ended(quiet)[0] == 0 and epochs(tmp_path / "nohup") == 4
    outcome("a terminal that closes", 2, 2)


def test_two_runs_never_share_a_folder(tmp_path, outcome):
    folder = tmp_path / "run"
    first = run(*DIGITS, "--epochs", 500, "--run_dir", folder)
    until(lambda: (folder / ".lock").exists() and (folder / ".lock").read_text() != "", first)
    early = ended(run(*DIGITS, "--run_dir", folder))
    until(lambda: epochs(folder) > 0, first)
    late = ended(run("--resume", folder))
    first.kill()
    first.communicate()
    assert early[0] == 2 and ("in use by" in early[1] or "already holds" in early[1])
    refused = late[0] == 2 and f"in use by process {first.pid} on {os.uname().nodename}" in late[1]
    assert ended(run("--resume", folder, "--epochs", epochs(folder) + 1))[0] == 0
    outcome("a second run in the folder", 1, refused)


def test_more_epochs_are_the_one_change_that_a_resumed_run_takes(whole, tmp_path):
    folder = tmp_path / "run"
    finished(run(*DIGITS, "--epochs", 2, "--run_dir", folder))
    status, printed = ended(run("--resume", folder, "--epochs", 1))
    assert status == 2 and "--epochs 1: the run has trained 2 already" in printed
    status, printed = ended(run("--resume", folder, "--batch_size", 50))
    assert status == 2 and "batch_size was 100, now 50" in printed
    finished(run("--resume", folder, "--epochs", EPOCHS))
    assert_same_bits(whole, folder)


def test_a_run_that_diverges_late_keeps_its_best(tmp_path, outcome):
    """The warm-up ends where a decay of the weights multiplies them."""
    folder = tmp_path / "run"
    status, printed = ended(run(
        *DIGITS, "--epochs", 30, "--run_dir", folder, "--optimizer", "sgd", "--learning_rate", 30,
        "--schedule", "warmup_cosine", "--warmup_epochs", 29, "--weight_decay", 0.5,
    ))
    assert status == 3 and "not finite at step" in printed and "Traceback" not in printed
    best = max(rows(folder), key=lambda row: (row["val_accuracy"], row["step"]))  # ties: the newest
    last, top = final_state(folder), final_state(folder, "best")
    finite = all(np.isfinite(x).all() for x in jax.tree.leaves((last.params, top.params)))
    outcome("a loss that is NaN", 1, int(top.step) == best["step"] and finite)
