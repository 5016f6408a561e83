"""Real runs in real processes, on scikit-learn's digits: started, watched and hurt."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import conftest
from conftest import ONE_DEVICE, ROOT
from forks import LAUNCH, SECONDS, Forked

SMALL = Path(__file__).with_name("small.py")
# What is hurt is a process, whatever it trains.
DIGITS = ("--dataset", "digits", "--image_size", "18", "--batch_size", "100", "--device", "cpu",
          "--validation_split", "test", "--model", f"{SMALL}:Small")
STEPS = 15  # an epoch's
EACH = "from engine import segments\n\nsegments.APART = 0.0\n"  # epoch is saved, however short


def _started(words: Sequence[object], env: dict[str, str]) -> Forked:
    """One that is patched has its report."""
    return Forked([LAUNCH, *words], os.environ | env, reported="PYTHONPATH" in env)


def run(*words: object, **env: str) -> Forked:
    """A run of one process on one device."""
    return _started(words, ONE_DEVICE | env)


def patched(tmp_path: Path, script: str) -> dict[str, str]:
    """An environment in which every process runs `script` before anything else."""
    (tmp_path / "sitecustomize.py").write_text(script)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


def forced(count: int, *words: object, **env: str) -> Forked:
    """A run of one process on so many forced devices, with the threads that `job` gives."""
    return _started(words, conftest.forced(count) | env)


def job(count: int, *words: object, **env: str) -> list[Forked]:
    """A run of so many processes of one device each. Equal numbers of threads make equal bits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ("--coordinator", f"127.0.0.1:{port}", "--num_processes", count)
    threads = ONE_DEVICE | {"PJRT_NPROC": str(2 * count)} | env
    return [_started((*words, *where, "--process_id", at), threads) for at in range(count)]


def until(true: Callable[[], bool], process: Forked | subprocess.Popen) -> None:
    """Wait for it, while the process lives."""
    deadline = time.monotonic() + SECONDS
    while not true() and process.poll() is None:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def epochs(folder: Path) -> int:
    """How many a run has recorded."""
    history = folder / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0


def ended(process: Forked | subprocess.Popen) -> tuple[int, str]:
    """Exit status and everything printed."""
    printed, _ = process.communicate(timeout=SECONDS)
    return process.returncode, printed


def finished(process: Forked | subprocess.Popen) -> str:
    status, printed = ended(process)
    assert status == 0, printed
    return printed


def hurt(
    process: Forked | subprocess.Popen, number: signal.Signals, folder: Path, after: int
) -> None:
    """Send a signal once so many epochs are recorded."""
    until(lambda: epochs(folder) >= after, process)
    process.send_signal(number)
