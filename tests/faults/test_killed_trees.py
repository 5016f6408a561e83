"""Runs of trees that are killed go on to the same bytes."""

import signal

import pytest
from harness import ended, epochs, finished, hurt, run

from engine.loaded import load

pytest.importorskip("xgboost")  # an extra
TREES = ("--dataset", "digits", "--validation_split", "test", "--device", "cpu", "--model",
         "xgboost", "--epochs", "12", "--subsample", "0.5", "--max_depth", "3")


def final(folder) -> bytes:
    return load(folder, checkpoint="last").state.params["booster"].tobytes()


@pytest.mark.slow
def test_killed_trees_go_on_to_the_same_bytes(tmp_path, outcome):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    finished(run(*TREES, "--run_dir", whole))
    hurt_while_alive = 0
    process = run(*TREES, "--run_dir", folder)
    for after in (3, 7):
        hurt(process, signal.SIGKILL, folder, after=after)
        hurt_while_alive += ended(process)[0] == -signal.SIGKILL
        process = run("--resume", folder)
    finished(process)
    assert epochs(folder) == 12
    survived = hurt_while_alive * (final(folder) == final(whole))
    outcome("kill -9 of trees", 2, survived, "the save in flight at most")
