"""Whole runs by the command line, interrupted by real signals, on scikit-learn's real digits.

What needs no process of its own is asked of `launch.main` in this one.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT
from forks import LAUNCH, Forked
from PIL import Image
from sklearn.datasets import load_digits

import launch as program
from engine import loaded
from engine.disk import caches
from engine.state import State

DIGITS = ("--dataset", "digits", "--image_size", "18", "--batch_size", "100", "--device", "cpu",
          "--validation_split", "test")
TRAINED = (*DIGITS, "--optimizer", "rmsprop", "--learning_rate", "0.002", "--epochs")
RUN = (*TRAINED, "3", "--model", f"{ROOT}/tests/faults/small.py:Small", "--run_dir")
OLD = ROOT / "tests" / "data" / "run-a58dec9"  # the first epoch of TRAINED, on one device


def final_state(run_dir: Path, which: str = "last") -> State:
    return loaded.load(run_dir, checkpoint=which).state


def assert_same_bits(a: Path, b: Path) -> None:
    for x, y in zip(jax.tree.leaves(final_state(a)), jax.tree.leaves(final_state(b)), strict=True):
        np.testing.assert_array_equal(x, y)


def rows(run_dir: Path) -> list[dict]:
    """history.jsonl without the timings, which no two runs share."""
    lines = (run_dir / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def asked(*words: object) -> tuple[int, str, str]:
    """Exit status, output and errors of `launch.py WORDS`, in this process."""
    out, err, device = io.StringIO(), io.StringIO(), jax.config.jax_default_device
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = program.main([str(word) for word in words])
    jax.config.update("jax_default_device", device)
    return status, out.getvalue(), err.getvalue()


def done(*words: object) -> str:
    """What it printed, having succeeded."""
    status, out, err = asked(*words)
    assert status == 0, err
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Three epochs, never interrupted."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    printed = done(*RUN, folder)
    (folder.parent / "printed").write_text(printed)
    return folder


def test_the_folder_holds_what_it_promises(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"config.json", "history.jsonl", "metrics.json", "curves.png", "confusion.png",
            "mistakes.png", "report.html", "checkpoints"} <= names
    assert [(row["epoch"], row["step"]) for row in rows(finished)] == [(1, 15), (2, 30), (3, 45)]
    config = json.loads((finished / "config.json").read_text())
    assert config["config"]["batch_size"] == 100 and config["versions"]["jax"]
    assert config["device"].startswith("cpu")


def test_metrics_agree_with_each_other_and_learned_something(finished):
    scores = json.loads((finished / "metrics.json").read_text())
    confusion = np.array(scores["confusion"])
    assert scores["num_examples"] == confusion.sum() == 360 and scores["split"] == "test"
    assert scores["accuracy"] == pytest.approx(np.trace(confusion) / 360)
    assert scores["accuracy"] > 0.7
    assert scores["accuracy"] == pytest.approx(
        rows(finished)[scores["epoch"] - 1]["val_accuracy"])
    assert sum(c["support"] for c in scores["per_class"].values()) == 360
    for name in ("loss", "precision_macro", "recall_macro", "f1_macro", "seconds_train",
                 "seconds_compile", "examples_per_second"):
        assert scores[name] > 0
    assert scores["device"].startswith("cpu")
    best = max(rows(finished), key=lambda row: (row["val_accuracy"], row["step"]))
    assert {k: scores["best"][k] for k in ("epoch", "val_accuracy")} == {
        k: best[k] for k in ("epoch", "val_accuracy")}


def test_it_prints_one_line_an_epoch_and_no_control_characters(finished):
    printed = (finished.parent / "printed").read_text()
    assert printed.count("Epoch ") == 3 and "15/15" in printed and "ms/step" in printed
    assert "\r" not in printed and "\x1b" not in printed and "compiled in" in printed
    assert "mesh: 2 devices of 1 process: each computes 50 of a batch's 100 examples" in printed


def started(*words: object) -> Forked:
    return Forked([LAUNCH, *words], os.environ)


def hurt(process: Forked, number: int, folder: Path, epochs: int) -> int:
    """Send the signal once so many epochs are recorded; the exit status."""
    history, deadline = folder / "history.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") >= epochs:
            break
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=120)
    return process.returncode


@pytest.mark.slow
def test_ended_and_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    finished, tmp_path, monkeypatch
):
    """In three processes, of which the first alone compiles what they train and evaluate with; the
    last one tells of memory and profile."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run_dir, kept = tmp_path / "run", caches.compile_cache_dir()
    assert hurt(started(*RUN, run_dir), signal.SIGTERM, run_dir, epochs=1) == 75
    before = set(kept.glob("*-cache"))
    assert hurt(started("--resume", run_dir), signal.SIGKILL, run_dir, epochs=2) == -9
    last = started("--resume", run_dir, "--memory", "--profile")
    printed, _ = last.communicate(timeout=120)
    assert last.returncode == 0, printed
    assert_same_bits(finished, run_dir)
    assert rows(run_dir) == rows(finished)
    both = [json.loads((path / "metrics.json").read_text()) for path in (finished, run_dir)]
    seen, again = (m["examples_per_second"] * m["seconds_train"] for m in both)
    assert again == pytest.approx(seen)  # of all processes together
    new = {path.name.split("-")[0] for path in set(kept.glob("*-cache")) - before}
    assert before and not new & {"jit_segment", "jit_evaluate"}
    assert "memory: " in printed and "MiB = temporary" in printed
    assert "ms a step  share  operation" in printed and "dot_general" in printed
    assert list((run_dir / "profile").rglob("*.xplane.pb"))


def test_resuming_with_another_config_names_the_fields(finished):
    status, _, said = asked("--resume", finished, "--batch_size", "50", "--learning_rate", "0.1")
    assert status == 2 and "Traceback" not in said
    assert "batch_size was 100, now 50" in said and "learning_rate was 0.002, now 0.1" in said
    assert "epochs was" not in said


def test_a_run_is_never_overwritten(finished):
    before = (finished / "config.json").read_bytes()
    status, _, said = asked(*DIGITS, "--run_dir", finished)
    assert status == 2 and "--resume" in said
    assert (finished / "config.json").read_bytes() == before


def test_eval_repeats_the_runs_scores(finished):
    again = json.loads(done("eval", "--run_dir", finished, "--json"))
    first = json.loads((finished / "metrics.json").read_text())
    assert (again["checkpoint"], again["step"]) == ("best", first["step"])
    assert {k: again[k] for k in ("accuracy", "loss", "confusion", "per_class", "split")} == \
        {k: first[k] for k in ("accuracy", "loss", "confusion", "per_class", "split")}


def pictures(folder: Path, count: int) -> list[str]:
    """The set's first digits, as files."""
    for i in range(count):
        pixels = (load_digits().images[i] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return [str(folder / f"{i}.png") for i in range(count)]


@pytest.mark.slow
def test_predict_names_real_digits(finished, tmp_path):
    files = pictures(tmp_path, 50)
    lines = [line.split("\t") for line in
             done("predict", "--run_dir", finished, *files).splitlines()]
    assert [line[0] for line in lines] == files
    right = load_digits().target[:50]
    assert sum(int(line[1]) == digit for line, digit in zip(lines, right, strict=True)) >= 35
    assert all(0 < float(line[2]) <= 1 for line in lines)


def test_predict_refuses_what_is_no_image(finished, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    for name, words in (("text.png", "not an image"), ("absent.png", "no such file")):
        status, _, said = asked("predict", "--run_dir", finished, tmp_path / name)
        assert status == 2 and words in said and "Traceback" not in said


@pytest.mark.parametrize(
    "words, status, said",
    [
        (("--batch_size", "5000"), 2, "larger than the 1437"),
        (("--image_size", "8"), 2, "does not fit 8 × 8"),
        (("--validation_split", "tset"), 2, "did you mean test"),
        (("--run_dir", "/proc/nowhere"), 2, "/proc/nowhere"),
        (("--batch_size", "99"), 2, "2 devices can't share it: type 98 or 100"),
    ],
)
def test_each_bad_request_by_its_status_and_words(tmp_path, words, status, said):
    found, _, told = asked(*DIGITS, "--run_dir", tmp_path / "run", *words)
    assert found == status and said in told, told
    assert "Traceback" not in told and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_real_process_too_ends_with_the_status_and_one_line(launch, tmp_path):
    told = launch(*DIGITS, "--device", "gpu", env=os.environ | {"JAX_PLATFORMS": ""})
    assert told.returncode == 2 and "doctor --device gpu" in told.stderr, told.stderr
    assert "Traceback" not in told.stderr and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_notebooks_backend_and_a_terminal_without_unicode_do_no_harm(launch, tmp_path):
    """Which matplotlib knows in notebooks alone."""
    env = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline",
                        "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    told = launch(*DIGITS, "--epochs", "1", "--run_dir", tmp_path / "run", env=env)
    assert told.returncode == 0 and "could not be written" not in told.stderr, told.stderr
    assert r"18 \xd7 18 \xd7 1" in told.stdout and (tmp_path / "run" / "report.html").exists()


def test_a_run_that_diverges_at_once_ends_with_status_3_and_has_saved_nothing(
    finished, tmp_path
):
    """By the program that `finished` compiled: the rate is traced."""
    status, _, said = asked(*RUN, tmp_path / "run", "--learning_rate", "1e30")
    assert status == 3 and "the loss was not finite at step 1 (epoch 1): the run stops" in said
    assert "nothing was saved before it" in said and "(1e+30 there)" in said
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "history.jsonl").read_text()


def test_summary_shows_layers_parameters_and_flops():
    printed = done(*DIGITS, "--summary", "--image_size", "32")
    for word in ("ConvReLU_0", "FLOPs", "15 × 15 × 32", "Dense_1", "121,994", "max_pool 2 × 2"):
        assert word in printed


NORMED = """
import flax.linen as nn


class Normed(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(8, use_bias=False)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(self.num_outputs)(x)
"""


@pytest.mark.slow
def test_batch_statistics_are_saved_resumed_and_judged_by(tmp_path):
    """Of a network of the user's own; a file that has changed since is no longer that run's."""
    file = tmp_path / "normed.py"
    file.write_text(NORMED)
    words = (*DIGITS, "--image_size", "0", "--model", f"{file}:Normed", "--train_split",
             "train[:300]", "--epochs", "2", "--noreport", "--run_dir")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert "microbatch: 50 (the whole batch at once, which batch statistics" in done(*words, whole)
    done(*words, parts, "--epochs", "1")
    assert int(final_state(parts).step) == 3
    done("--resume", parts, "--epochs", "2")
    assert_same_bits(whole, parts)
    assert rows(whole) == rows(parts)
    means = final_state(whole).batch_stats["BatchNorm_0"]["mean"]
    assert means.shape == (8,) and np.abs(means).min() > 0
    scores = json.loads((parts / "metrics.json").read_text())
    again = json.loads(done("eval", "--run_dir", parts, "--json"))
    assert again["confusion"] == scores["confusion"]
    assert scores["loss"] == pytest.approx(rows(parts)[scores["epoch"] - 1]["val_loss"])
    file.write_text(NORMED.replace("Dense(8", "Dense(9"))
    for more in (("--resume", parts, "--epochs", "3"), ("eval", "--run_dir", parts)):
        status, _, said = asked(*more)
        assert status == 2 and f"{file} has changed since the run in {parts} began" in said


@pytest.mark.slow
def test_a_run_of_before_is_judged_and_predicts(tmp_path):
    run_dir = shutil.copytree(OLD, tmp_path / "run")
    first = json.loads((OLD / "metrics.json").read_text())
    again = json.loads(done("eval", "--run_dir", run_dir, "--json"))
    assert again["confusion"] == first["confusion"]
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-5)
    told = done("predict", "--run_dir", run_dir, *pictures(tmp_path, 50)).splitlines()
    assert len(told) == 50 and all(line.split("\t")[1] in "0123456789" for line in told)


@pytest.mark.slow
def test_a_run_of_before_goes_on(tmp_path):
    """To what this code comes to from the start, up to another number of devices' rounding."""
    run_dir = shutil.copytree(OLD, tmp_path / "run")
    done(*TRAINED, "2", "--noreport", "--run_dir", tmp_path / "anew")
    done("--resume", run_dir, "--epochs", "2", "--noreport")
    was, new = rows(run_dir)
    assert was == rows(OLD)[0]
    for old, now in zip((was, new), rows(tmp_path / "anew"), strict=True):
        assert old == pytest.approx(now, rel=0.1)
