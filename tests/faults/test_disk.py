"""A small file system that fills up, and one that can't be written."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest
from harness import DIGITS, ended, epochs, finished, run, until
from test_run import assert_same_bits, final_state

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path):
    """A file system of 8 MB: room for a run's checkpoints, three kept and those that come and go,
    and little else."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs root, to mount a file system")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


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


@pytest.mark.parametrize("inodes", [6, 7, 8])
def test_a_save_that_cannot_begin_ends_the_run_within_seconds(inodes, disk, outcome):
    """Orbax's threads wait for a signal that never comes."""
    subprocess.run(["umount", "-l", str(disk)], check=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"nr_inodes={inodes}", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    process = run(*DIGITS, "--epochs", 2, "--run_dir", disk / "run")
    until(lambda: epochs(disk / "run") >= 1, process)
    began = time.monotonic()
    status, printed = ended(process)
    assert status == 1 and "No space left on device" in printed.splitlines()[-1], printed
    outcome("a save that cannot begin", 1, time.monotonic() - began < 20)


def test_a_disk_that_fills_up_costs_the_save_in_flight(disk, tmp_path, outcome):
    folder = disk / "run"
    process = run(*DIGITS, "--epochs", 40, "--run_dir", folder)
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
