"""Runs of several processes: equal to one process, and told to stop."""

import json
import shutil
import signal
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from harness import (
    DIGITS,
    SMALL,
    STEPS,
    ended,
    finished,
    forced,
    hurt,
    job,
    patched,
    run,
)
from test_run import assert_same_bits, final_state, rows

pytestmark = pytest.mark.slow
EPOCHS = 14  # 210 steps
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


def test_convolutions_and_batch_statistics_of_two_processes_too(tmp_path):
    """Of 1,437 examples in batches of 128 the last one is 29: the second process has none."""
    words = (*DIGITS, "--model", f"{SMALL}:Normed", "--image_size", 8, "--batch_size", 128,
             "--epochs", 2, "--run_dir")
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


def test_a_split_run_is_saved_in_parts_and_read_whole(by_one, tmp_path):
    """By two, then by one, which agree to rounding."""
    words, folder = (*DIGITS, *GENTLE, "--epochs", 3, "--run_dir"), tmp_path / "two"
    first, second = job(2, *words, folder, "--fsdp")
    said = "50 of a batch's 100 examples; parameters in parts: 245,824 of"
    assert said in finished(first)
    finished(second)
    chex.assert_trees_all_close(final_state(folder).params, by_one, atol=5e-5, rtol=0)
    finished(run("--resume", folder, "--epochs", 4))
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


def test_evaluation_shares_its_own_batches_whatever_the_training_batch(by_two):
    told = [finished(forced(n, "eval", "--json", "--run_dir", by_two)) for n in (1, 3)]
    one, three = (json.loads(text[text.index("{"):text.rindex("}") + 1]) for text in told)
    assert one["confusion"] == three["confusion"]


def test_the_bits_are_of_numbers(by_two):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(final_state(by_two).params))
