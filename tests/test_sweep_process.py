"""Whole sweeps in real processes, interrupted by real signals, on scikit-learn's real digits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_DEVICE, ROOT, TWO_DEVICES
from test_run import assert_same_bits

from engine.command.flags import parse

pytestmark = pytest.mark.slow
DIGITS = ("--dataset", "digits", "--image_size", "18", "--batch_size", "100", "--device", "cpu")
SWEEP = ("sweep", *DIGITS, "--epochs", "3", "--seeds", "2",
         "--sweep", "learning_rate=1e-3,1e-2,1e30")


def launched(folder: Path, *words: object, env=ONE_DEVICE) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, words)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=os.environ | env
    )


def table(path: Path) -> list[dict[str, str]]:
    with (path / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Three rates, one of which diverges, of two seeds; never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    done = launched(folder, *SWEEP, "--run_dir", "sweep")
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder / "sweep"


def test_the_folder_holds_what_it_promises(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"sweep.json", "results.csv", "results.jsonl", "best.py", "ensembles.json",
            "report.html", "curves.png", "axis.png", *map(str, range(6))} <= names
    rows = table(finished)
    assert [row["status"] for row in rows] == ["done"] * 4 + ["diverged"] * 2
    assert [row["seed"] for row in rows] == ["0", "1"] * 3
    assert all(float(row["val_accuracy"]) > 0.5 for row in rows[:4])
    as_json = [json.loads(x) for x in (finished / "results.jsonl").read_text().splitlines()]
    assert [str(row["learning_rate"]) for row in as_json] == [r["learning_rate"] for r in rows]
    printed = (finished.parent / "printed").read_text()
    assert "6 runs in one program" in printed and "as many blocks at once" in printed
    assert "4 of 6 runs alive" in printed and "runs an hour" in printed


def test_the_best_setting_is_a_recipe_that_runs(finished):
    config, hyper = parse(["--config", str(finished / "best.py")])[1:3]
    assert (config.dataset, config.epochs, config.batch_size) == ("digits", 3, 100)
    means = {}
    for row in table(finished)[:4]:
        means.setdefault(float(row["learning_rate"]), []).append(float(row["val_accuracy"]))
    assert hyper.learning_rate == max(means, key=lambda rate: np.mean(means[rate]))


def test_ensembles_judge_the_averaged_probabilities(finished):
    every, best = json.loads((finished / "ensembles.json").read_text())
    assert (every["runs"], best["runs"]) == (4, 2) and every["split"] == "test"
    accuracies = [float(row["val_accuracy"]) for row in table(finished)[:4]]
    assert every["mean_accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-6)
    assert 0 < every["disagreement"] < 1 and 0 < best["ece"] < 1 and best["accuracy"] > 0.8


def test_a_member_is_the_ordinary_run_bit_for_bit_and_lives_on_as_one(finished, tmp_path):
    done = launched(tmp_path, *DIGITS, "--epochs", 3, "--seed", 1, "--learning_rate", "1e-2",
                    "--run_dir", "run")
    assert done.returncode == 0, done.stderr
    assert_same_bits(tmp_path / "run", finished / "3")
    alone = json.loads((tmp_path / "run" / "metrics.json").read_text())
    again = launched(tmp_path, "eval", "--run_dir", finished / "3")
    assert json.loads(again.stdout)["confusion"] == alone["confusion"]
    resumed = launched(tmp_path, "--resume", finished / "3")
    assert resumed.returncode == 0, resumed.stderr
    assert (finished / "3" / "report.html").exists()


def test_a_finished_sweep_resumed_says_the_same_again(finished, tmp_path):
    """Its members are saved already, and stay as they are."""
    before = (finished / "results.csv").read_text()
    done = launched(tmp_path, "sweep", "--resume", finished)
    assert done.returncode == 0, done.stderr
    assert (finished / "results.csv").read_text() == before


def test_a_diverged_member_has_nothing_to_evaluate_and_says_so(finished, tmp_path):
    done = launched(tmp_path, "eval", "--run_dir", finished / "5")
    assert done.returncode == 2 and "no checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "number, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_a_resumed_sweep_equals_one_never_interrupted(finished, tmp_path, number, status):
    path = tmp_path / "sweep"
    command = [sys.executable, ROOT / "launch.py", *SWEEP, "--run_dir", path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=os.environ | ONE_DEVICE)
    history, deadline = path / "0" / "history.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text():
            break
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == status
    done = launched(tmp_path, "sweep", "--resume", path)
    assert done.returncode == 0, done.stderr
    assert table(path) == table(finished)
    for run in range(4):
        assert_same_bits(finished / str(run), path / str(run))


def test_a_sweep_is_never_overwritten_and_resumed_as_begun(finished, tmp_path):
    for words, said in (
        ((*SWEEP, "--run_dir", finished), "sweep --resume"),
        (("sweep", "--resume", finished, "--seeds", "9"), "leave it out"),
        (("sweep", "--resume", finished, "--epochs", "9"), "epochs was 3, now 9"),
        ((*DIGITS, "--run_dir", finished), "already holds the files of a sweep"),
    ):
        done = launched(tmp_path, *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_halving_drops_the_worse_and_trains_the_better_on(finished, tmp_path):
    done = launched(tmp_path, "sweep", *DIGITS, "--epochs", 4, "--halving", 2, "--run_dir",
                    "halved", "--sweep", "learning_rate=1e-5,1e-3,1e-2,1e30")
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "halved")
    assert [row["status"] for row in rows] == ["dropped", "dropped", "done", "diverged"]
    assert [row["epochs"] for row in rows] == ["1", "2", "4", "0"]
    # The member dropped after two epochs is on its way to being the ordinary run.
    resumed = launched(tmp_path, "--resume", "halved/1")
    alone = launched(tmp_path, *DIGITS, "--epochs", 4, "--run_dir", "alone")
    assert resumed.returncode == alone.returncode == 0, resumed.stderr + alone.stderr
    assert_same_bits(tmp_path / "halved" / "1", tmp_path / "alone")


def test_population_based_training_moves_from_the_best(tmp_path):
    done = launched(tmp_path, "sweep", *DIGITS, "--epochs", 3, "--pbt", "--run_dir", "pbt",
                    "--sweep", "learning_rate=1e-2,1e-5,3e-3,1e30")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "pbt/events.jsonl").read_text().splitlines()]
    assert {"group": 0, "step": 15, "run": 3, "event": "diverged"} in events
    copied = next(e for e in events if e["event"] == "copied")
    assert (copied["run"], copied["step"]) == (3, 15) and copied["source"] in (0, 2)
    rows = table(tmp_path / "pbt")
    assert all(row["status"] == "done" for row in rows)
    moved = float(rows[3]["learning_rate"])
    assert any(moved == pytest.approx(rate * by, rel=1e-3)
               for rate in (1e-2, 3e-3) for by in (0.8, 1.2))


def test_a_static_field_is_a_program_each_and_folds_share_examples_out(tmp_path):
    done = launched(tmp_path, "sweep", *DIGITS, "--epochs", 1, "--folds", 2, "--sweep",
                    "batch_size=100,200", "--run_dir", "folds")
    assert done.returncode == 0, done.stderr
    assert "4 runs in 4 programs, compiled one by one for batch_size" in done.stdout
    rows = table(tmp_path / "folds")
    assert [(r["batch_size"], r["fold"]) for r in rows] == [
        ("100", "1/2"), ("100", "2/2"), ("200", "1/2"), ("200", "2/2")]


def test_several_devices_share_a_sweep_of_any_size(finished, tmp_path):
    """Three runs on two devices: the third is repeated to fill them, and counted once."""
    done = launched(tmp_path, "sweep", *DIGITS, "--epochs", 3, "--run_dir", "spread", "--sweep",
                    "learning_rate=1e-3,1e-2,1e30", env=TWO_DEVICES)
    assert done.returncode == 0, done.stderr
    assert "4 runs in blocks of 1 on each of 2 devices" in done.stdout
    rows = table(tmp_path / "spread")
    assert [row["status"] for row in rows] == ["done", "done", "diverged"]
    first, same = rows[0], table(finished)[0]
    assert float(first["val_loss"]) == pytest.approx(float(same["val_loss"]), rel=1e-3)


def test_a_sweep_goes_on_on_another_number_of_devices(tmp_path):
    """Three runs from one device to two, where they are four, and back."""
    words = ("sweep", *DIGITS, "--epochs", 3, "--seeds", 3, "--run_dir", tmp_path / "moved")
    stop = ("import sys, launch; from engine import sweep; real = sweep.Sweep._judge; seen = []\n"
            "def judge(self, *rest):\n"
            "    runs = real(self, *rest); self.interruption.status = 75; return runs\n"
            "sweep.Sweep._judge = judge; sys.exit(launch.main(sys.argv[1:]))")
    resume = ("sweep", "--resume", tmp_path / "moved")
    for arguments, env in ((words, ONE_DEVICE), (resume, TWO_DEVICES)):
        done = subprocess.run(
            [sys.executable, "-c", stop, *map(str, arguments)], cwd=ROOT, capture_output=True,
            text=True, timeout=300, env=os.environ | env,
        )
        assert done.returncode == 75, done.stderr
    done = launched(tmp_path, "sweep", "--resume", "moved")
    assert done.returncode == 0, done.stderr
    assert [(row["status"], row["epochs"]) for row in table(tmp_path / "moved")] == [
        ("done", "3")] * 3


def test_a_swept_number_of_epochs_is_the_one_asked_for(tmp_path):
    done = launched(tmp_path, "sweep", *DIGITS, "--sweep", "epochs=1,2", "--sweep",
                    "learning_rate=1e-3,1e30", "--run_dir", "lengths")
    assert done.returncode == 0, done.stderr
    assert [(r["epochs"], r["status"]) for r in table(tmp_path / "lengths")] == [
        ("1", "done"), ("1", "diverged"), ("2", "done"), ("2", "diverged")]


@pytest.mark.parametrize("words, said", [
    (("--sweep", "batch_size=100,2000"), "--batch_size 2000 is larger than the 1437"),
    (("--halving", "2", "--seeds", "4", "--epochs", "1"), "type --epochs 2 or more"),
    (("--folds", "2", "--halving", "2"), "measures each on other examples"),
])
def test_a_refused_sweep_leaves_its_folder_free(tmp_path, words, said):
    for _ in range(2):
        done = launched(tmp_path, "sweep", *DIGITS, *words, "--run_dir", "refused")
        assert done.returncode == 2 and said in done.stderr, done.stderr


def with_room(tmp_path, room: str, *words) -> subprocess.CompletedProcess:
    """`launch.py sweep` where memory.free(device) is `room`."""
    script = (f"import sys, launch; from engine import memory; memory.free = lambda device: {room};"
              f" sys.exit(launch.main({['sweep', *map(str, words)]!r}))")
    env = os.environ | ONE_DEVICE | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True,
                          text=True, env=env, timeout=300)


def test_a_population_too_large_is_refused_with_numbers(tmp_path):
    done = with_room(tmp_path, "1000", *DIGITS, "--run_dir", "large", "--seeds", "2")
    assert done.returncode == 2, done.stderr
    assert "2 runs need" in done.stderr and "MiB more even one at a time" in done.stderr
    assert not (tmp_path / "large" / "sweep.json").exists()


def test_a_program_too_large_is_left_out_and_the_others_reported(tmp_path):
    """Then there is room: the sweep goes on with what it lacks."""
    words = (*DIGITS, "--sweep", "microbatch=20,100", "--epochs", 1, "--run_dir", "some")
    done = with_room(tmp_path, "8 << 20", *words)  # the first needs 4 MiB, the second 13
    assert done.returncode == 2 and "1 run needs" in done.stderr, done.stderr
    assert "program 2 is left out: 1 run needs" in done.stdout
    rows = table(tmp_path / "some")
    assert [row["status"] for row in rows] == ["done", "refused"] and rows[1]["epochs"] == "0"
    assert "refused" in (tmp_path / "some" / "report.html").read_text()
    done = launched(tmp_path, "sweep", "--resume", "some")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in table(tmp_path / "some")] == ["done", "done"]


def test_all_runs_diverging_is_status_3(tmp_path):
    done = launched(tmp_path, "sweep", *DIGITS, "--epochs", 1, "--sweep", "learning_rate=1e30,1e31",
                    "--run_dir", "lost")
    assert done.returncode == 3 and "all 2 runs diverged" in done.stderr


def test_lr_find_suggests_a_rate_that_learns(tmp_path):
    done = launched(tmp_path, "lr-find", *DIGITS, "--sweep", "learning_rate=log:1e-5:10:7",
                    "--run_dir", "rates")
    assert done.returncode == 0, done.stderr
    suggested = float(done.stdout.split("suggested: --learning_rate ")[1].split(",")[0])
    assert 1e-3 <= suggested <= 1e-2
    assert (tmp_path / "rates" / "lr-find.png").stat().st_size > 1000
