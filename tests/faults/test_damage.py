"""Every file of a real run's newest checkpoint flipped, cut, emptied and removed."""

import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from harness import DIGITS, EACH, finished, patched, run
from test_run import final_state

pytestmark = pytest.mark.slow
FLIPS = 8  # of each file


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    each = patched(folder, EACH)
    finished(run(*DIGITS, "--epochs", 3, "--run_dir", folder / "run", **each))
    return folder / "run"


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in
               zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def damages(draw: random.Random, file: Path):
    """(name, what to do to the file) of every way to hurt it."""
    data = file.read_bytes()

    def flip() -> None:
        hurt, bit = bytearray(data), draw.randrange(8 * len(data))
        hurt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(hurt)

    if data:
        yield from [("a flipped bit", flip)] * FLIPS
        yield "a file cut in half", lambda: file.write_bytes(data[: len(data) // 2])
        yield "an emptied file", lambda: file.write_bytes(b"")
    yield "a missing file", file.unlink


def test_nothing_damaged_is_taken_for_whole(trained, tmp_path, outcome, capsys):
    """What comes back is the newest state or the one before, bit for bit; never anything else."""
    newest = final_state(trained)
    step = int(newest.step)
    shutil.copytree(trained, tmp_path / "before")
    shutil.rmtree(tmp_path / "before" / "checkpoints" / str(step))
    before = final_state(tmp_path / "before")
    assert int(before.step) < step
    draw, run_dir = random.Random(1), tmp_path / "run"
    shutil.copytree(trained, run_dir)
    tried: dict[str, int] = {}
    harmless, fell_back = 0, 0
    for file in sorted((run_dir / "checkpoints" / str(step)).rglob("*")):
        if not file.is_file():
            continue
        kept = file.read_bytes()
        for name, damage in damages(draw, file):
            damage()
            found = final_state(run_dir)
            assert same(found, newest) or same(found, before), (file, name)
            tried[name] = tried.get(name, 0) + 1
            harmless += same(found, newest)
            fell_back += same(found, before)
            file.write_bytes(kept)
    assert fell_back and harmless + fell_back == sum(tried.values())
    assert capsys.readouterr().err.count("is damaged") == fell_back  # each of them named
    for name, count in tried.items():
        outcome(f"{name} in a checkpoint", count, count, "the newest step at most")


def test_a_resumed_run_goes_on_from_the_step_before_and_saves_the_damaged_one_anew(
    trained, tmp_path, outcome
):
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    newest = final_state(trained)
    step = int(newest.step)
    for file in (run_dir / "checkpoints" / str(step) / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"\0" * file.stat().st_size)
    printed = finished(run("--resume", run_dir))
    assert f"checkpoints/{step} is damaged" in printed
    assert (run_dir / "damaged-checkpoints" / str(step)).is_dir()
    outcome("a zeroed checkpoint, resumed", 1, same(final_state(run_dir), newest))
