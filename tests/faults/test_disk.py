"""A small file system that fills up, and one that can't be written."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ONE_DEVICE
from forks import Forked
from harness import DIGITS, EACH, ended, epochs, finished, job, patched, run, until
from test_run import assert_same_bits, final_state

pytestmark = pytest.mark.slow
MANY_FILES = (*DIGITS, "--model", "cnn")  # of a checkpoint, which fails at one or another


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MB: room for a run's checkpoints, three kept and those that come and go,
    and little else."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, timeout=60).returncode != 0:
        pytest.skip("needs root, to mount a file system")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=60)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True,
                   timeout=60)


def test_too_small_a_disk_is_found_before_training(disk, outcome):
    remount(disk, "size=2m")
    status, printed = ended(run(*DIGITS, "--run_dir", disk / "run"))
    assert "MB free, and a run's checkpoints need" in printed and "Epoch" not in printed
    outcome("a disk that is too small", 1, status == 2)


def test_a_disk_that_cannot_be_written_is_found_before_training(disk, outcome):
    remount(disk, "ro")
    status, printed = ended(run(*DIGITS, "--run_dir", disk / "run"))
    assert "Read-only file system" in printed and "Epoch" not in printed
    outcome("a read-only disk", 1, status == 2)


def told(printed: str) -> str:
    """Our one line among the words of Orbax's threads, which may come after it."""
    [line] = [line for line in printed.splitlines() if "flaxmill: " in line]
    return line


def with_inodes(path: Path, count: int) -> None:
    """A file system of so many files in its place: a save can't begin, or can't go on."""
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=60)
    mount = ["mount", "-t", "tmpfs", "-o", f"nr_inodes={count}", "tmpfs", str(path)]
    subprocess.run(mount, check=True, timeout=60)


FIT = """
import sys
from engine.config import Config
from engine.place import Place
from engine.run import fit

config = Config(dataset="digits", image_size=18, batch_size=100, epochs=2)
fit(config, place=Place(device="cpu", run_dir=sys.argv[1]))
"""


@pytest.mark.parametrize("inodes", [6, 7, 8])
def test_a_script_of_the_users_own_ends_too(inodes, disk, tmp_path, outcome):
    """Nobody there ends the process by force: Python would wait for what a failed save left."""
    with_inodes(disk, inodes)
    (tmp_path / "fit.py").write_text(FIT)
    process = Forked([tmp_path / "fit.py", disk / "run"], os.environ | ONE_DEVICE, reported=False)
    until(lambda: epochs(disk / "run") >= 1, process)
    began = time.monotonic()
    status, printed = ended(process)
    assert status == 1 and "RunError: saving in" in printed.splitlines()[-1], printed
    outcome("a save that cannot begin, from Python", 1, time.monotonic() - began < 20)


@pytest.mark.parametrize("inodes", [14, 20, 38, 44])
def test_a_sweep_whose_save_fails_ends_within_seconds(inodes, disk, outcome):
    """In its first save or its second, at the beginning of one or in its midst."""
    with_inodes(disk, inodes)
    process = run("sweep", "--sweep", "learning_rate=1e-3,2e-3", *MANY_FILES, "--epochs", 2,
                  "--run_dir", disk / "run")
    until(lambda: epochs(disk / "run" / "1") >= 1, process)
    began = time.monotonic()
    status, printed = ended(process)
    assert status == 1 and "No space left on device" in told(printed), printed
    outcome("a sweep's save that fails", 1, time.monotonic() - began < 20)


@pytest.mark.parametrize("inodes, more", [(6, ()), (8, ()), (12, ()), (16, ("--fsdp",))])
def test_two_processes_whose_save_fails_end_within_seconds(inodes, more, disk, outcome):
    """Orbax has one that failed wait for the others, who wait for it: for twenty minutes."""
    with_inodes(disk, inodes)
    processes = job(2, *MANY_FILES, *more, "--epochs", 2, "--run_dir", disk / "run")
    until(lambda: epochs(disk / "run") >= 1, processes[0])
    began = time.monotonic()
    (first, printed), (second, _) = map(ended, processes)
    assert first == 1 and "No space left on device" in told(printed), printed
    assert second != 0  # in jax's words, whose coordinator went with the first
    outcome("a save of two processes that fails", 2, 2 * (time.monotonic() - began < 20))


@pytest.mark.parametrize("inodes", [6, 7, 8])
def test_a_save_that_cannot_begin_ends_the_run_within_seconds(inodes, disk, outcome):
    """Orbax's threads wait for a signal that never comes."""
    with_inodes(disk, inodes)
    process = run(*DIGITS, "--epochs", 2, "--run_dir", disk / "run")
    until(lambda: epochs(disk / "run") >= 1, process)
    began = time.monotonic()
    status, printed = ended(process)
    assert status == 1 and "No space left on device" in printed.splitlines()[-1], printed
    outcome("a save that cannot begin", 1, time.monotonic() - began < 20)


def test_a_disk_that_fills_up_costs_the_save_in_flight(disk, tmp_path, outcome):
    folder = disk / "run"
    process = run(*DIGITS, "--epochs", 40, "--run_dir", folder, **patched(tmp_path, EACH))
    until(lambda: epochs(folder) >= 4, process)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    status, printed = ended(process)
    assert status == 1 and "No space left on device" in printed
    assert printed.splitlines()[-1].startswith("flaxmill: ")
    saved = int(final_state(folder).step)
    filler.unlink()
    finished(run("--resume", folder))
    finished(run(*DIGITS, "--epochs", 40, "--run_dir", tmp_path / "whole"))
    assert_same_bits(tmp_path / "whole", folder)
    outcome("a disk that fills up", 1, saved >= 30, "the save in flight at most")
