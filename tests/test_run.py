"""Whole runs in real processes, interrupted by real signals, on scikit-learn's real digits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_DEVICE, ROOT
from PIL import Image
from sklearn.datasets import load_digits

from engine import caches, loop
from engine.checkpoint import Checkpoints
from engine.config import Durations, durations, read
from engine.state import shapes

DIGITS = ("--dataset", "digits", "--image_size", "18", "--batch_size", "100", "--device", "cpu")
TRAIN = 1437


def final_state(run_dir: Path, which: str = "last"):
    config, hyper, saved = read(run_dir / "config.json")
    lengths: Durations = durations(config, TRAIN)
    model, tx = loop.prepare(config, 10, hyper, lengths)
    with Checkpoints(run_dir / "checkpoints", read_only=True) as checkpoints:
        return checkpoints.restore(shapes(model, tx, tuple(saved["image_shape"])), which)[0]


def assert_same_bits(a: Path, b: Path) -> None:
    import jax

    for x, y in zip(jax.tree.leaves(final_state(a)), jax.tree.leaves(final_state(b)), strict=True):
        np.testing.assert_array_equal(x, y)


def rows(run_dir: Path) -> list[dict]:
    """history.jsonl without the timings, which no two runs share."""
    lines = (run_dir / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Four epochs, never interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    command = [sys.executable, ROOT / "launch.py", *DIGITS, "--epochs", "4", "--run_dir", "run"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder / "run"


def start_then(signal_number: int, folder: Path, after_epochs: int) -> int:
    """Start the same run, send the signal once so many epochs are recorded; its exit status."""
    command = [sys.executable, ROOT / "launch.py", *DIGITS, "--epochs", "4", "--run_dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    history = folder / "history.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") >= after_epochs:
            break
        time.sleep(0.01)
    process.send_signal(signal_number)
    process.communicate(timeout=120)
    return process.returncode


def test_the_folder_holds_what_it_promises(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"config.json", "history.jsonl", "metrics.json", "curves.png", "confusion.png",
            "mistakes.png", "report.html", "checkpoints"} <= names
    assert [row["epoch"] for row in rows(finished)] == [1, 2, 3, 4]
    assert [row["step"] for row in rows(finished)] == [15, 30, 45, 60]
    config = json.loads((finished / "config.json").read_text())
    assert config["config"]["batch_size"] == 100 and config["versions"]["jax"]
    assert config["device"].startswith("cpu")


def test_metrics_agree_with_each_other_and_learned_something(finished):
    scores = json.loads((finished / "metrics.json").read_text())
    confusion = np.array(scores["confusion"])
    assert scores["num_examples"] == confusion.sum() == 360
    assert scores["accuracy"] == pytest.approx(np.trace(confusion) / 360)
    assert scores["accuracy"] > 0.8
    assert scores["accuracy"] == pytest.approx(rows(finished)[-1]["val_accuracy"])
    assert sum(c["support"] for c in scores["per_class"].values()) == 360
    for name in ("loss", "precision_macro", "recall_macro", "f1_macro", "seconds_train",
                 "seconds_compile", "examples_per_second"):
        assert scores[name] > 0
    assert scores["device"].startswith("cpu")


def test_it_prints_one_line_an_epoch_and_no_control_characters(finished):
    printed = (finished.parent / "printed").read_text()
    assert printed.count("Epoch ") == 4 and "15/15" in printed and "ms/step" in printed
    assert "\r" not in printed and "\x1b" not in printed and "compiled in" in printed


@pytest.mark.parametrize(
    "number, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)]
)
def test_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path, launch, number, status):
    run_dir = tmp_path / "run"
    assert start_then(number, run_dir, after_epochs=2) == status
    resumed = launch("--resume", run_dir)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_bits(finished, run_dir)
    assert rows(run_dir) == rows(finished)


def test_a_second_start_compiles_nothing_and_shows_memory_and_profile(finished, launch, tmp_path):
    """`finished` compiled the same programs: only the profile's copy of the state is new."""
    kept = caches.compile_cache_dir()
    before = set(kept.glob("*-cache"))
    done = launch(*DIGITS, "--epochs", "4", "--run_dir", "run", "--memory", "--profile")
    assert done.returncode == 0, done.stderr
    new = set(kept.glob("*-cache")) - before
    assert before and {path.name.split("-")[0] for path in new} == {"jit_copy"}
    assert "memory: " in done.stdout and "MiB = temporary" in done.stdout
    assert "ms a step  share  operation" in done.stdout and "dot_general" in done.stdout
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    assert_same_bits(finished, tmp_path / "run")


def test_resuming_with_another_config_names_the_fields(finished, launch):
    done = launch("--resume", finished, "--batch_size", "50", "--learning_rate", "0.1")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "batch_size was 100, now 50" in done.stderr
    assert "learning_rate was 0.001, now 0.1" in done.stderr


def test_a_run_is_never_overwritten(finished, launch):
    before = (finished / "config.json").read_bytes()
    done = launch(*DIGITS, "--run_dir", finished)
    assert done.returncode == 2 and "--resume" in done.stderr
    assert (finished / "config.json").read_bytes() == before


def test_eval_repeats_the_runs_scores(finished, launch):
    done = launch("eval", "--run_dir", finished)
    assert done.returncode == 0, done.stderr
    again, first = json.loads(done.stdout), json.loads((finished / "metrics.json").read_text())
    assert again["confusion"] == first["confusion"] and again["loss"] == first["loss"]


def test_predict_names_real_digits(finished, launch, tmp_path):
    digits = load_digits()
    for i in range(50):
        pixels = (digits.images[i] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    files = [str(tmp_path / f"{i}.png") for i in range(50)]
    done = launch("predict", "--run_dir", finished, *files)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == files
    assert sum(int(line[1]) == digits.target[i] for i, line in enumerate(lines)) >= 40
    assert all(0 < float(line[2]) <= 1 for line in lines)


def test_predict_refuses_what_is_no_image(finished, launch, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    for name, said in (("text.png", "not an image"), ("absent.png", "no such file")):
        done = launch("predict", "--run_dir", finished, name)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words, status, said",
    [
        (("--batch_size", "5000"), 2, "larger than the 1437"),
        (("--image_size", "8"), 2, "does not fit 8 × 8"),
        (("--model", "resnet20", "--microbatch", "50"), 2, "of resnet20 are those of the whole"),
        (("--validation_split", "tset"), 2, "did you mean test"),
        (("--device", "gpu"), 2, "doctor --device gpu"),
        (("--run_dir", "/proc/nowhere"), 2, "/proc/nowhere"),
        (("--learning_rate", "1e30", "--run_dir", "diverged"), 3, "not finite at step"),
    ],
)
def test_each_bad_request_by_its_status_and_words(launch, words, status, said):
    done = launch(*DIGITS, *words, env=os.environ | {"JAX_PLATFORMS": ""})
    assert done.returncode == status and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_summary_shows_layers_parameters_and_flops(launch):
    done = launch(*DIGITS, "--summary", "--image_size", "32")
    assert done.returncode == 0, done.stderr
    for word in ("ConvReLU_0", "flops", "1,15,15,32", "Dense_1", "121,994"):
        assert word in done.stdout


def test_batch_statistics_are_saved_resumed_and_judged_by(launch, tmp_path):
    words = ("--dataset", "digits", "--image_size", "8", "--model", "resnet20", "--batch_size",
             "100", "--device", "cpu", "--run_dir")
    for more in ((*words, "whole", "--epochs", "2"), (*words, "parts", "--epochs", "1"),
                 ("--resume", "parts", "--epochs", "2")):
        done = launch(*more, env=os.environ | ONE_DEVICE)
        assert done.returncode == 0, done.stderr
        assert "microbatch: 100 (the whole batch at once, which batch statistics" in done.stdout
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert_same_bits(whole, parts)
    assert rows(whole) == rows(parts)
    assert len(final_state(whole).batch_stats["Block_8"]["BatchNorm_1"]["mean"]) == 64
    judged = launch("eval", "--run_dir", "parts", env=os.environ | ONE_DEVICE)
    scores = json.loads((parts / "metrics.json").read_text())
    assert json.loads(judged.stdout)["confusion"] == scores["confusion"]
    assert scores["loss"] == pytest.approx(rows(parts)[-1]["val_loss"])
