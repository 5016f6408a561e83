"""Limits of a process (ulimit) that a run comes up against, and names in another encoding."""

import os
import shutil

import pytest
from conftest import ONE_DEVICE
from forks import LAUNCH, afresh
from harness import DIGITS, ended, epochs, finished, patched, run
from PIL import Image
from test_run import assert_same_bits, final_state

pytestmark = pytest.mark.slow


def limited(tmp_path, name: str, most: int) -> dict[str, str]:
    """The environment of a process that has so much and no more, as `ulimit` gives it."""
    return patched(tmp_path, f"import resource; resource.setrlimit(resource.{name}, ({most},) * 2)")


def told(process) -> str:
    """The one line with which it ended, with status 1."""
    status, printed = ended(process)
    assert status == 1, printed
    (line,) = (line for line in printed.splitlines() if "flaxmill: " in line)
    return line


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`whole`, of four epochs, and `begun`, which is to go on after two."""
    folder = tmp_path_factory.mktemp("runs")
    finished(run(*DIGITS, "--epochs", 4, "--run_dir", folder / "whole"))
    finished(run(*DIGITS, "--epochs", 2, "--run_dir", folder / "begun"))
    return folder


@pytest.mark.parametrize("name, most, said", [
    ("RLIMIT_FSIZE", 60_000, "File too large"), ("RLIMIT_FSIZE", 200_000, "File too large"),
    ("RLIMIT_NOFILE", 8, "Too many open files"),
    ("RLIMIT_AS", 2 << 30, "no more memory or threads"),
])
def test_a_limit_is_told_and_what_was_saved_goes_on(name, most, said, runs, tmp_path, outcome):
    folder = shutil.copytree(runs / "begun", tmp_path / "run")
    line = told(run("--resume", folder, "--epochs", 4, **limited(tmp_path, name, most)))
    assert said in line
    assert int(final_state(folder).step) >= 30
    finished(run("--resume", folder, "--epochs", 4))
    assert_same_bits(runs / "whole", folder)
    outcome(f"a limit: {name}", 1, epochs(folder) == 4, "the save in flight at most")


@pytest.mark.parametrize("most", [300_000 << 10, (2 << 30) - 1])  # an import error, a hang, it was
def test_too_little_memory_to_start_is_refused_at_once(most, tmp_path, outcome):
    folder = tmp_path / "run"
    limit = limited(tmp_path, "RLIMIT_AS", most)
    status, printed = ended(afresh([LAUNCH, *DIGITS, "--run_dir", folder],
                                   os.environ | ONE_DEVICE | limit))
    assert status == 2 and printed.count("\n") == 1, printed
    assert f"ulimit -v {most >> 10}: jax needs 2097152 or more" in printed
    assert not folder.exists()
    outcome("a limit: too little memory to start", 1, True)


def test_a_run_in_another_encoding_is_refused_and_its_folder_left(tmp_path, outcome):
    """Neither Orbax nor TensorStore can write or read there."""
    other = tmp_path / os.fsdecode(b"latin-\xff")
    other.mkdir()
    finished(run(*DIGITS, "--epochs", 1, "--run_dir", tmp_path / "run"))
    Image.new("L", (8, 8)).save(tmp_path / "run" / "picture.png")
    (tmp_path / "run").rename(other / "run")
    before = sorted(path.name for path in other.rglob("*"))
    here, refused = os.getcwd(), 0
    try:
        os.chdir(other)
        picture = "run/picture.png"
        for words in ((*DIGITS, "--epochs", 1, "--run_dir", "new"), ("--resume", "run"),
                      ("eval", "--run_dir", "run"), ("predict", "--run_dir", "run", picture),
                      ("sweep", *DIGITS, "--seeds", 2, "--run_dir", "new"),
                      (*DIGITS, "--run_dir", other / "new")):
            status, printed = ended(run(*words))
            assert status == 2 and "Epoch" not in printed and "Traceback" not in printed, printed
            assert "is a name that is not UTF-8" in printed.splitlines()[-1], printed
            refused += 1
    finally:
        os.chdir(here)
    assert sorted(path.name for path in other.rglob("*")) == before
    (other / "run").rename(tmp_path / "run")
    assert ended(run("--resume", tmp_path / "run", "--epochs", 2))[0] == 0
    outcome("a folder in another encoding", 6, refused)
