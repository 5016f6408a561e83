"""Every command of README and docs: that it can be meant, and, what takes seconds, that it runs."""

import io
import re
import sys
import tomllib

import jax
import pytest
from commands import OWN, PAGES, Typed, belongings, typed
from conftest import ROOT

import launch
from engine import Config, run
from engine.command import flags
from engine.command.options import COMMANDS
from engine.sweep import results

ALL = [command for page in PAGES for command in typed(page)]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PETS = ["--dataset", "image_folder:pets", "--image_size", "32"]  # in the place of CIFAR-10
ELSEWHERE = {"--plan", "gpu", "export", "serve", "native"}  # which need more, and have tests
RAN: list[list[str]] = []
SAVED = (ROOT / "tests/data/run-a58dec9/config.json").read_text()
RUNS = "runs/cifar10-cnn-1", "runs/first", "runs/mine", "runs/sweep", "runs/table-mlp-1"


def own(command: Typed) -> list[str] | None:
    """The words of launch.py, with a test's in the place of the reader's own; None of another."""
    words = [OWN.get(word, re.sub(r"^FOLDER(?=/)", OWN["FOLDER"], word)) for word in command.words]
    if words[0] == "flaxmill":
        return words[1:]
    return words[2:] if words[:2] == ["python", "launch.py"] else None


@pytest.mark.parametrize("command", ALL, ids=str)
def test_it_can_be_meant(command, here):
    words = own(command)
    if words is None:
        return _other(command.words)
    for name in ("configs", "examples"):
        (here / name).symlink_to(ROOT / name)
    for name in RUNS:
        (here / name).mkdir(parents=True)
        (here / name / "config.json").write_text(SAVED.replace('"epochs": 1,', '"epochs": 10,'))
        (here / name / "best.py").write_text("from engine import Config\nconfig = Config()")
    if words[0] == "sweep" and "--resume" in words:
        del words[1:3]  # of a sweep of ours there is no file
    parsed = flags.parse(words)
    assert isinstance(parsed, str) or parsed.name in COMMANDS


def _other(words: list[str]) -> None:
    """Of pip, that its extras are there, and of what they bring for a check, that they do; of
    Python, the modules and files."""
    if words[:2] == ["pip", "install"]:
        extras = {name for word in words for found in re.findall(r"\[(.*)\]", word)
                  for name in found.split(",")}
        assert extras <= EXTRAS.keys()
        return
    if any(need.startswith(f"{words[0]}>=") for need in EXTRAS["dev"]):
        return
    assert words[0] == "python"
    files = [word.split("::")[0] for word in words if word.startswith("tests/")]
    if words[1] == "-m" and words[2] != "pytest":
        files.append(words[2].replace(".", "/") + ".py")
    assert all((ROOT / file).exists() for file in files)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A folder with what the pages speak of, and runs of theirs."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("configs", "examples"):
        (folder / name).symlink_to(ROOT / name)
    belongings(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        # Their pictures take longer than all else, and have tests of their own.
        patched.setattr(run.report, "write", lambda *_: None)
        patched.setattr(results.sweep_report, "write", lambda *_: None)
        for seed in "1", "2":
            asked(*PETS, "--model", "mlp", "--epochs", "3", "--seed", seed,
                  "--run_dir", f"runs/cifar10-cnn-{seed}")
        asked("--dataset", "table:passengers.csv", "--model", "mlp", "--epochs", "1",
              "--run_dir", "runs/table-mlp-1")
        asked("sweep", *PETS, "--model", "linear", "--sweep", "learning_rate=1e-4,1e-3,1e-2,1e-1",
              "--epochs", "1", "--run_dir", "runs/sweep")
        yield folder


def asked(*words: str) -> None:
    device = jax.config.jax_default_device
    assert launch.main([*words]) == 0, words
    jax.config.update("jax_default_device", device)


def small(words: list[str]) -> list[str]:
    """The same of a few examples, epochs and runs: a set of ours where it would be CIFAR-10, and a
    network that compiles in no time where none is typed and the run not used again."""
    command = next((word for word in words if word in COMMANDS), "train")
    if command not in ("train", "sweep", "lr-find") or "--resume" in words or "--help" in words:
        return words
    values = dict(zip(words, words[1:], strict=False))
    found = words + ["--epochs", "3"] * ("random_forest" not in words)
    if values.get("--dataset", Config.dataset) == Config.dataset and "--init_from" not in words \
            and not values.get("--config", "").startswith("runs/"):
        found += [*PETS, "--validation_split", "auto"]
    if values.get("--dataset") == "digits":
        found += ["--train_split", "train[:100]"]
    if not {"--model", "--config", "--init_from", "--run_dir"} & {*words}:
        found += ["--model", "linear"]
    return found + ["--samples", "2", "--seeds", "1"] * (command == "sweep")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_it_runs(page, scratch, monkeypatch, capsys):
    monkeypatch.chdir(scratch)
    for command in typed(page):
        words = own(command)
        if words and command.run and not ELSEWHERE & {*words} and words not in RAN:
            RAN.append(words)
            if "xgboost" in words or "random_forest" in words:
                pytest.importorskip("xgboost")
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat.jpg\n")))
            asked(*small(words))
