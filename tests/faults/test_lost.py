"""Jobs of several processes that lose one, or one of which is late, stuck or wrong."""

import signal
import time

import jax
import numpy as np
import pytest
from harness import (
    DIGITS,
    EACH,
    STEPS,
    ended,
    epochs,
    finished,
    hurt,
    job,
    patched,
    run,
    until,
)
from test_run import final_state

pytestmark = pytest.mark.slow
HEARTBEAT = 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_process_ends_the_others_within_the_heartbeat(tmp_path, which, number, outcome):
    """In a line and with status 1; where the first was killed, jax may speak before us."""
    folder, env = tmp_path / "run", patched(tmp_path, EACH)
    processes = job(2, *DIGITS, "--epochs", 2000, "--run_dir", folder,
                    "--heartbeat_seconds", HEARTBEAT, **env)
    hurt(processes[which], number, folder, after=3)
    began = time.monotonic()
    status, printed = ended(processes[1 - which])
    took = time.monotonic() - began
    processes[which].kill()
    processes[which].communicate()
    assert status != 0 and took < HEARTBEAT + 3, (status, took, printed)
    if (which, number) != (0, signal.SIGKILL):
        gone = number == signal.SIGKILL and "is gone" in printed
        assert gone or f"has been silent for {HEARTBEAT} s" in printed, printed
        assert status == 1 and printed.count("flaxmill") == 1, printed
        assert "stack trace" not in printed, printed
    saved = int(final_state(folder).step)
    name = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}[number]
    outcome(f"{name} of process {which} of 2", 1, saved >= STEPS * 2, "the save in flight at most")


UNREADABLE = """
import sys
from engine.store import checkpoint

read = checkpoint.read_record


def failing(folder):
    if folder.name == "45" and sys.argv[-1] == "1":
        raise OSError(5, "Input/output error")
    return read(folder)


checkpoint.read_record = failing
"""


def test_what_one_process_cannot_read_none_takes(tmp_path, outcome):
    folder = tmp_path / "run"
    for process in job(2, *DIGITS, "--epochs", 3, "--run_dir", folder, **patched(tmp_path, EACH)):
        finished(process)
    newest = final_state(folder)
    env = patched(tmp_path, UNREADABLE)
    first, second = job(2, "--resume", folder, **env)
    assert "checkpoints/45 is damaged (damaged where another process read it)" in finished(first)
    assert "is damaged" not in finished(second)
    alike = jax.tree.map(np.array_equal, final_state(folder), newest)
    outcome("a checkpoint that one of two can't read", 1, all(jax.tree.leaves(alike)))


SLOW = """
import time
from engine.job import processes as job
from engine.report import run as report

job.SHUTDOWN_SECONDS, write = 2, report.write


def slow(*arguments):
    time.sleep(6)
    write(*arguments)


report.write = slow
"""


def test_a_report_that_takes_long_is_waited_for(tmp_path):
    folder, env = tmp_path / "run", patched(tmp_path, SLOW)
    for process in job(2, *DIGITS, "--epochs", 1, "--run_dir", folder, **env):
        finished(process)
    assert (folder / "report.html").exists()


STUCK = """
import time
from engine.store import folder

append = folder.append_history


def stuck(path, row):
    append(path, row)
    if row["epoch"] == 3:
        time.sleep(600)


folder.append_history = stuck
"""


def test_a_process_that_is_alive_and_stuck_is_left_with_every_stack(tmp_path, outcome):
    """Its heartbeats go on; the one that waits for it gives up."""
    folder, env = tmp_path / "run", patched(tmp_path, EACH + STUCK)
    first, second = job(2, *DIGITS, "--epochs", 50, "--run_dir", folder, "--stuck_seconds", 5,
                        "--heartbeat_seconds", HEARTBEAT, **env)
    until(lambda: epochs(folder) >= 3, first)
    began = time.monotonic()
    status, printed = ended(second)
    took = time.monotonic() - began
    assert status == 1 and "Timeout (0:00:05)!" in printed and "training.py" in printed, printed
    assert ended(first)[0] != 0
    outcome("a process alive and stuck", 1, took < 30 and int(final_state(folder).step) >= STEPS,
            "the save in flight at most")


ONE_STOPS = """
import jax
from engine.loggers import tracking

tracking.Tracking.__call__ = lambda self, row: (
    "enough" if jax.process_index() == 1 and row["epoch"] == 2 else "")
"""


def test_a_logger_that_wants_to_stop_in_one_process_stops_all(tmp_path):
    folder, env = tmp_path / "run", patched(tmp_path, ONE_STOPS)
    first, second = job(2, *DIGITS, "--epochs", 4, "--run_dir", folder, "--patience", 3,
                        "--stuck_seconds", 30, **env)
    assert f"stopped after step {2 * STEPS}: enough" in finished(first)
    finished(second)
    assert epochs(folder) == 2


def test_one_request_that_cannot_be_is_told_once_and_by_all(tmp_path):
    ends = [ended(p) for p in job(2, *DIGITS, "--batch_size", 99, "--run_dir", tmp_path / "run")]
    assert [status for status, _ in ends] == [2, 2]
    assert "2 devices can't share it" in ends[0][1] and "flaxmill" not in ends[1][1]
    folder = tmp_path / "taken"
    finished(run(*DIGITS, "--epochs", 1, "--run_dir", folder))
    ends = [ended(p) for p in job(2, *DIGITS, "--run_dir", folder)]
    assert [status for status, _ in ends] == [2, 2]
    assert "already holds the files of a run" in ends[0][1] and "flaxmill" not in ends[1][1]
    ends = [ended(p) for p in job(2, "sweep", *DIGITS, "--seeds", 2)]
    assert [status for status, _ in ends] == [2, 2] and "in one process" in ends[0][1]


def test_alone_where_the_others_never_come(tmp_path):
    (process, other) = job(2, *DIGITS, "--run_dir", tmp_path / "run", "--join_seconds", 3)
    other.kill()
    other.communicate()
    status, printed = ended(process)
    assert status == 1 and not (tmp_path / "run").exists(), printed
    assert printed.startswith("flaxmill: the other processes did not come within 3 s: start all")
    assert printed.count("\n") == 1


LATE = """
import sys, time
from engine.devices import choose as devices

if sys.argv[-1] == "1":
    devices.choose = lambda device: time.sleep(600)
"""


def test_one_that_joins_and_then_stays_away_is_not_waited_for(tmp_path):
    env = patched(tmp_path, LATE)
    for process in job(2, *DIGITS, "--run_dir", tmp_path / "run", "--join_seconds", 15, **env):
        status, printed = ended(process)
        assert status == 1 and "the other processes did not come within 15 s" in printed, printed
