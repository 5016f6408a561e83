"""Every example as its docstring types it, and what comes of it."""

import ast
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import launch
from engine import run

EXAMPLES = ROOT / "examples"
# The score that each has to reach: its name and a bound; of an error, less of it, with a minus.
LEAST = {
    "linen_network": ("accuracy", 0.9), "nnx_network": ("accuracy", 0.8),
    "arrays": ("accuracy", 0.9), "sequence": ("accuracy", 0.85), "optimizer": ("accuracy", 0.9),
    "task": ("accuracy", 0.9), "regression": ("r2", 0.4), "multilabel": ("f1_macro", 0.9),
    "augmentation": ("accuracy", 0.9), "logger": ("accuracy", 0.8), "recipe": ("accuracy", 0.9),
    "sweep": ("accuracy", 0.9), "outputs": ("-error", -2.0), "segmentation": ("mean_iou", 0.6),
    "inputs": ("r2", 0.3),
    "language_model": ("accuracy", 0.35),
}
SEVERAL = "linen_network", "nnx_network", "optimizer", "recipe"  # commands


def commands(file: Path) -> list[list[str]]:
    """The indented command lines of a docstring, as words."""
    text = ast.get_docstring(ast.parse(file.read_text()), clean=False) or ""
    return [shlex.split(line.replace("\\\n", " "))
            for line in re.findall(r"^    ((?:.*\\\n)*.*)$", text, re.MULTILINE)]


@pytest.fixture(autouse=True)
def examples(here, monkeypatch):
    """They are seen as from the repository's root."""
    (here / "examples").symlink_to(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))  # python FILE does so


@pytest.fixture
def unreported(monkeypatch):
    """Without pictures, which take as long as all else: those of every command have theirs."""
    monkeypatch.setattr(run.report, "write", lambda *_: None)


def carry_out(words: list[str]) -> dict:
    """In this process: what a script defines, {} of a command."""
    program, *rest = words
    if program == "flaxmill":
        assert launch.main(rest) == 0
        return {}
    assert program == "python"
    return runpy.run_path(rest[0], run_name="__main__")


def test_every_file_is_in_the_list_and_has_a_command():
    names = {file.stem for file in EXAMPLES.glob("*.py")}
    assert names == {*LEAST, "transformations"}
    assert names == set(re.findall(r"\((\w+)\.py\)", (EXAMPLES / "README.md").read_text()))
    assert all(commands(EXAMPLES / f"{name}.py") for name in names)


def scores_of(name: str, here: Path) -> list[float]:
    """Of what an example's commands have left: of a sweep, its best run's."""
    score, sign = LEAST[name][0].removeprefix("-"), -1 if LEAST[name][0].startswith("-") else 1
    found = [sign * json.loads(file.read_text())[score]
             for file in here.glob("runs/*/metrics.json")]
    for file in here.glob("runs/*/results.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found.append(max(row[f"best_val_{score}"] for row in rows))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LEAST if name not in SEVERAL])
def test_an_example_reaches_its_score(name, here, quickly, unreported):
    (words,) = commands(EXAMPLES / f"{name}.py")
    carry_out(words)
    found = scores_of(name, here)
    assert len(found) == (2 if name == "sweep" else 1) and min(found) > LEAST[name][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_every_command_of_an_example_does(name, here, quickly):
    first, *others = commands(EXAMPLES / f"{name}.py")
    carry_out(first)
    found = scores_of(name, here)
    assert len(found) == (2 if name == "sweep" else 1) and min(found) > LEAST[name][1]
    for words in others:
        carry_out(words)
    found = scores_of(name, here)
    assert len(found) == (2 if name in ("linen_network", "optimizer") else 3)
    assert min(found) > LEAST[name][1] - 0.1
    assert all((path / "report.html").is_file() for path in here.glob("runs/*"))


@pytest.mark.slow
def test_the_whole_run_is_transformed(here, quickly):
    (words,) = commands(EXAMPLES / "transformations.py")
    left = carry_out(words)
    accuracy_3x4 = left["accuracy_3x4"]
    assert accuracy_3x4.shape == (3, 4) and accuracy_3x4[1:].min() > 0.9
    step = 1e-3
    slope = (left["final_loss"](1e-2 + step) - left["final_loss"](1e-2 - step)) / (2 * step)
    assert abs(left["slope"] / slope - 1) < 0.1


@pytest.mark.slow
def test_as_a_real_process(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [str(ROOT / "launch.py"), "--config", "examples/recipe.py", "--epochs", "1"]
    subprocess.run([sys.executable, *command], check=True, timeout=300, capture_output=True)
    assert len(list(here.glob("runs/*/report.html"))) == 1
