"""Runs of several processes: equal to one process, and hurt."""

import json
import shutil
import signal
import time
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from harness import (
    DIGITS,
    STEPS,
    ended,
    epochs,
    finished,
    forced,
    hurt,
    job,
    patched,
    run,
    until,
)
from test_run import assert_same_bits, final_state, rows

pytestmark = pytest.mark.slow
EPOCHS = 14  # 210 steps
HEARTBEAT = 6
GENTLE = ("--optimizer", "sgd", "--learning_rate", "1e-3")  # where rounding does not grow


@pytest.fixture(scope="module")
def by_two(tmp_path_factory) -> Path:
    """A run of two processes that nobody hurt."""
    folder = tmp_path_factory.mktemp("two") / "run"
    first, second = job(2, *DIGITS, "--epochs", EPOCHS, "--run_dir", folder)
    printed = finished(first)
    assert "job: 2 processes; the coordinator listens on 127.0.0.1:" in printed
    assert "2 devices of 2 processes: each computes 50" in printed
    assert "Epoch" not in finished(second)  # the first speaks for all
    return folder


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """The parameters of a gentle run of one process on one device."""
    folder = tmp_path_factory.mktemp("one") / "run"
    finished(run(*DIGITS, *GENTLE, "--epochs", 3, "--run_dir", folder))
    return final_state(folder).params


def test_two_processes_equal_one_with_two_devices_bit_for_bit(by_two, tmp_path):
    finished(forced(2, *DIGITS, "--epochs", EPOCHS, "--run_dir", tmp_path / "run"))
    assert int(final_state(by_two).step) == 210
    assert_same_bits(by_two, tmp_path / "run")
    assert rows(by_two) == rows(tmp_path / "run")


def test_batch_statistics_of_two_processes_too(tmp_path):
    """Of 1,437 examples in batches of 128 the last one is 29: the second process has none."""
    words = (*DIGITS, "--model", "resnet20", "--image_size", 8, "--batch_size", 128, "--epochs", 2,
             "--run_dir")
    for process in job(2, *words, tmp_path / "two"):
        finished(process)
    finished(forced(2, *words, tmp_path / "forced"))
    assert_same_bits(tmp_path / "two", tmp_path / "forced")
    assert rows(tmp_path / "two") == rows(tmp_path / "forced")


def test_saved_by_four_read_by_one_and_by_two(by_one, tmp_path):
    """Four agree with four devices of one process, and with one device, to rounding."""
    words = (*DIGITS, *GENTLE, "--epochs", 3, "--run_dir")
    four = [finished(p) for p in job(4, *words, tmp_path / "four")]
    assert "4 devices of 4 processes" in four[0]
    finished(forced(4, *words, tmp_path / "forced"))
    by_four, by_forced = (final_state(tmp_path / name).params for name in ("four", "forced"))
    chex.assert_trees_all_close(by_forced, by_four, atol=1e-6, rtol=0)
    chex.assert_trees_all_close(by_one, by_four, atol=5e-5, rtol=0)
    for count in (1, 2):
        folder = tmp_path / f"by {count}"
        shutil.copytree(tmp_path / "four", folder)
        more = ("--resume", folder, "--epochs", 4)
        for process in [run(*more)] if count == 1 else job(2, *more):
            finished(process)
        assert int(final_state(folder).step) == STEPS * 4


@pytest.mark.parametrize("split, said", [
    (("--fsdp",), "50 of a batch's 100 examples; parameters in parts: 237,568 of"),
    (("--model_parallel", 2), "100 of a batch's 100 examples; parameters in parts: 237,568 of"),
])
def test_a_split_run_is_saved_in_parts_and_read_whole(by_one, tmp_path, split, said):
    """By two, then by one, which agree to rounding."""
    words, folder = (*DIGITS, *GENTLE, "--epochs", 3, "--run_dir"), tmp_path / "two"
    first, second = job(2, *words, folder, *split)
    assert said in finished(first)
    finished(second)
    chex.assert_trees_all_close(final_state(folder).params, by_one, atol=5e-5, rtol=0)
    more = ("--resume", folder, "--epochs", 4)
    if "--model_parallel" in split:
        status, printed = ended(run(*more))
        assert status == 2 and "--model_parallel 2 does not divide the 1 device" in printed
        more = (*more, "--model_parallel", 1)
    finished(run(*more))
    assert int(final_state(folder).step) == STEPS * 4


def test_sigterm_to_one_saves_the_same_step_in_all(by_two, tmp_path, outcome):
    folder = tmp_path / "run"
    processes = job(2, *DIGITS, "--epochs", EPOCHS, "--run_dir", folder)
    hurt(processes[1], signal.SIGTERM, folder, after=3)
    ends = [ended(p) for p in processes]
    assert [status for status, _ in ends] == [75, 75], ends
    assert "and saved. Go on with" in ends[0][1] and "and saved" not in ends[1][1]
    for process in job(2, "--resume", folder):
        finished(process)
    assert_same_bits(by_two, folder)
    outcome("SIGTERM to one of two processes", 1, rows(folder) == rows(by_two))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("which", [0, 1])
def test_a_lost_process_ends_the_others_within_the_heartbeat(tmp_path, which, number, outcome):
    folder = tmp_path / "run"
    processes = job(2, *DIGITS, "--epochs", 2000, "--run_dir", folder,
                    "--heartbeat_seconds", HEARTBEAT)
    hurt(processes[which], number, folder, after=3)
    began = time.monotonic()
    status, printed = ended(processes[1 - which])
    took = time.monotonic() - began
    processes[which].kill()
    processes[which].communicate()
    assert status != 0 and took < HEARTBEAT + 3, (status, took, printed)
    silent, gone = f"has been silent for {HEARTBEAT} s", "another process of the job is gone"
    if number == signal.SIGSTOP:
        assert silent in printed
    elif which == 1:
        assert gone in printed or silent in printed
    if (number, which) != (signal.SIGKILL, 0):  # jax's own words race with ours
        assert status == 1 and printed.count("flaxmill") == 1 and "stack trace" not in printed
    saved = int(final_state(folder).step)
    name = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}[number]
    outcome(f"{name} of process {which} of 2", 1, saved >= STEPS * 2, "the save in flight at most")


TERMINAL = """
import sys
from rich.console import Console

Console.is_terminal = property(lambda self: "0" in sys.argv[-1:])
"""


def test_a_terminal_in_front_of_one_process_only(by_two, tmp_path):
    """It moves its line between shorter segments; the others go along."""
    folder, env = tmp_path / "run", patched(tmp_path, TERMINAL)
    first, second = job(2, *DIGITS, "--epochs", EPOCHS, "--run_dir", folder, **env)
    assert finished(first).count("Epoch 1/14 ") > 1 and "Epoch" not in finished(second)
    assert_same_bits(by_two, folder)


UNREADABLE = """
import sys
from engine import checkpoint

read = checkpoint._read_record


def failing(folder):
    if folder.name == "45" and sys.argv[-1] == "1":
        raise OSError(5, "Input/output error")
    return read(folder)


checkpoint._read_record = failing
"""


def test_what_one_process_cannot_read_none_takes(tmp_path, outcome):
    folder = tmp_path / "run"
    for process in job(2, *DIGITS, "--epochs", 3, "--run_dir", folder):
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
from engine import job, report

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
from engine import folder

append = folder.append_history


def stuck(path, row):
    append(path, row)
    if row["epoch"] == 3:
        time.sleep(600)


folder.append_history = stuck
"""


def test_a_process_that_is_alive_and_stuck_is_left_with_every_stack(tmp_path, outcome):
    """Its heartbeats go on; the one that waits for it gives up."""
    folder, env = tmp_path / "run", patched(tmp_path, STUCK)
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
from engine import devices

if sys.argv[-1] == "1":
    devices.choose = lambda device: time.sleep(600)
"""


def test_one_that_joins_and_then_stays_away_is_not_waited_for(tmp_path):
    env = patched(tmp_path, LATE)
    for process in job(2, *DIGITS, "--run_dir", tmp_path / "run", "--join_seconds", 15, **env):
        status, printed = ended(process)
        assert status == 1 and "the other processes did not come within 15 s" in printed, printed


def test_evaluation_shares_its_own_batches_whatever_the_training_batch(by_two):
    told = [finished(forced(n, "eval", "--run_dir", by_two)) for n in (1, 3)]
    one, three = (json.loads(text[text.index("{"):text.rindex("}") + 1]) for text in told)
    assert one["confusion"] == three["confusion"]


def test_the_bits_are_of_numbers(by_two):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(final_state(by_two).params))
