"""Saving, keeping and restoring; tests/faults hurts real runs and every file of a checkpoint."""

import contextlib
import hashlib
import itertools
import json
import logging
import multiprocessing
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from engine.errors import RequestError, RunError
from engine.state import State
from engine.store.checkpoint import Checkpoints
from engine.store.digests import Record, digests
from engine.tasks.classification import Classification


class Small(NamedTuple):
    """As a State is: a step and arrays in a tree."""

    step: Any
    params: Any


def state(step: int) -> Small:
    values = jax.random.normal(jax.random.key(step), (128, 64))
    return Small(jnp.int32(step), {"kernel": values, "bias": jnp.full(8, step, jnp.float32)})


class Later(NamedTuple):
    """With a field that was added since, and is empty."""

    step: Any
    params: Any
    batch_stats: Any


SHAPES = jax.eval_shape(lambda: state(0))


def saved(folder, *rows: tuple[int, float | None]):
    """A folder with these steps and accuracies saved in turn, each as the run would."""
    for step, accuracy in rows:
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(state(step), accuracy, step / 10)
    return folder


def steps(folder) -> set[int]:
    return {int(p.name) for p in folder.iterdir() if p.name.isdigit()}


def restored(folder, which: str = "last", read_only: bool = True):
    with Checkpoints(folder, read_only=read_only) as checkpoints:
        return checkpoints.restore(SHAPES, which)


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == y).all()), a, b))


def damage(folder, step: int) -> None:
    """Flip one bit in the middle of the largest file of a step's arrays."""
    file = max((p for p in (folder / str(step) / "state").rglob("*") if p.is_file()),
               key=lambda p: p.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_what_was_saved_comes_back_with_its_seconds(tmp_path):
    found, seconds = restored(saved(tmp_path / "c", (10, 0.5)))
    assert same(found, state(10)) and seconds == 1.0 and isinstance(found, Small)


def test_a_digest_is_the_sha256_of_the_bytes():
    kernel = np.asarray(state(3).params["kernel"])
    found = digests(state(3))[".params['kernel']"]
    assert found == ["<f4", [128, 64], hashlib.sha256(kernel.tobytes()).hexdigest()]


def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    """Neither what is kept nor what is newest: that is the step's to say."""
    now = itertools.count(2_000_000_000, -1000)
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    folder = saved(tmp_path / "checkpoints", (1, 0.5), (2, 0.9), (3, 0.6), (4, 0.7))
    assert steps(folder) == {2, 3, 4}
    for path in (folder / "3", *(folder / "3").rglob("*")):
        os.utime(path, (4_000_000_000,) * 2)
    assert same(restored(folder)[0], state(4)) and same(restored(folder, "best")[0], state(2))
    saved(folder, (5, 0.1))
    assert steps(folder) == {2, 4, 5} and same(restored(folder)[0], state(5))


def test_the_best_and_the_last_two_are_kept(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.4), (2, 0.9), (3, 0.5), (4, None), (5, float("nan")))
    assert steps(folder) == {2, 4, 5}
    assert int(restored(folder, "best")[0].step) == 2
    saved(folder, (6, 0.95), (7, 0.95), (8, 0.1))
    assert steps(folder) == {7, 8}  # of equal ones the newest
    assert int(restored(folder)[0].step) == 8


def test_orbax_alone_would_not_notice(tmp_path):
    """The fact that the digests are there for."""
    folder = saved(tmp_path / "c", (1, 0.5))
    damage(folder, 1)
    abstract = jax.tree.map(lambda s: np.empty(s.shape, s.dtype), SHAPES)._asdict()
    with ocp.CheckpointManager(folder) as manager:
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        found = Small(**manager.restore(1, args=args)["state"])
    assert not same(found, state(1))


def test_a_damaged_step_is_named_put_aside_and_saved_anew(tmp_path, capsys):
    folder = saved(tmp_path / "c", (1, 0.5), (2, 0.6))
    damage(folder, 2)
    with Checkpoints(folder) as checkpoints:
        found, _ = checkpoints.restore(SHAPES)
        assert same(found, state(1))
        said = capsys.readouterr().err
        assert f"{folder / '2'} is damaged (the checksum of .params['kernel'] differs)" in said
        assert steps(folder) == {1} and (tmp_path / "damaged-c" / "2").is_dir()
        checkpoints.save(state(2), 0.6, 0.0)
    assert same(restored(folder)[0], state(2))


def test_orbax_itself_says_nothing_of_a_damaged_step(tmp_path, caplog):
    folder = saved(tmp_path / "c", (1, 0.5))
    (folder / "1/_CHECKPOINT_METADATA").write_text("{")
    before = logging.getLogger("absl").level
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        restored(folder)
    finally:
        logging.getLogger("absl").setLevel(before)
    assert not [one for one in caplog.records if one.name == "absl"]


def test_who_only_reads_moves_nothing(tmp_path, capsys):
    folder = saved(tmp_path / "c", (1, 0.9), (2, 0.7), (3, 0.6))
    damage(folder, 2)
    damage(folder, 3)
    assert same(restored(folder, "last")[0], state(1))
    assert steps(folder) == {1, 2, 3} and "Taking the one before" in capsys.readouterr().err


def test_the_next_best_stands_in_for_a_damaged_best(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.9), (2, 0.7), (3, 0.6))
    damage(folder, 1)
    assert same(restored(folder, "best")[0], state(2))


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"record": {"seconds": 1}}', "\x00\xff"])
def test_a_damaged_record_is_a_damaged_step(tmp_path, content):
    folder = saved(tmp_path / "c", (1, 0.5), (2, 0.6))
    (folder / "2" / "record" / "metadata").write_text(content)
    assert same(restored(folder)[0], state(1))


def test_an_accuracy_or_seconds_changed_by_hand_do_not_pass(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.5), (2, 0.6))
    file = folder / "2" / "record" / "metadata"
    content = json.loads(file.read_text())
    content["record"]["val_accuracy"] = 0.99
    file.write_text(json.dumps(content))
    assert same(restored(folder, "best")[0], state(1))


def rewritten(folder, step: int, **changes: Any) -> None:
    """A step's record with other values, and a digest that fits them."""
    file = folder / str(step) / "record" / "metadata"
    found = Record(**json.loads(file.read_text())["record"])._replace(**changes)
    content = {"record": found._asdict(), "sha256": found.digest()}
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("changes", [
    {"val_accuracy": "high"}, {"val_accuracy": 10**400}, {"seconds": None}, {"seconds": [1]},
    {"leaves": []}, {"leaves": {".step": "<i4"}}, {"leaves": {".step": ["<i4", [-1], "0"]}},
    {"leaves": {".step": ["nonsense", [], "0"]}}, {"leaves": {}},
])
def test_a_record_of_other_types_is_damaged_whatever_its_digest(changes, tmp_path, capsys):
    folder = saved(tmp_path / "c", (1, 0.5), (2, 0.6))
    rewritten(folder, 2, **changes)
    assert same(restored(folder, "best")[0], state(1))
    assert "checkpoints" not in capsys.readouterr().out


def test_a_step_under_another_steps_name_is_put_aside(tmp_path, capsys):
    """As by a copy, a swap or a rename, which would make every resume fail again."""
    folder = saved(tmp_path / "c", (1, 0.9), (2, 0.7), (3, 0.6))
    shutil.copytree(folder / "1", folder / "4")
    (folder / "3").rename(folder / "x")
    (folder / "2").rename(folder / "3")
    (folder / "x").rename(folder / "2")
    found, _ = restored(folder, read_only=False)
    assert same(found, state(1)) and steps(folder) == {1}
    told = capsys.readouterr().err
    assert told.count("it holds another step") == 3
    assert steps(tmp_path / "damaged-c") == {2, 3, 4}


def test_none_whole_is_one_clear_sentence(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.5))
    damage(folder, 1)
    with pytest.raises(RequestError, match="no whole checkpoint in .*every one is damaged"):
        restored(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no checkpoint in .*: the run ended before its first"):
        restored(tmp_path / "empty")


def test_another_models_checkpoint_is_refused_and_left_alone(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.5))
    other = SHAPES._replace(params=SHAPES.params | {"bias": jax.ShapeDtypeStruct((9,), "f4")})
    said = r"other arrays than this model .*: .params\['bias'\] was \['<f4', \[8\]\], now .*\[9\]"
    with Checkpoints(folder) as checkpoints, pytest.raises(RequestError, match=said):
        checkpoints.restore(other)
    with Checkpoints(folder) as checkpoints:
        assert same(checkpoints.restore(other, any_count=True)[0], state(1))
    assert steps(folder) == {1}


def test_a_step_that_is_not_the_newest_is_never_skipped_in_silence(tmp_path):
    with (Checkpoints(saved(tmp_path / "c", (5, 0.5))) as checkpoints,
          pytest.raises(RunError, match="step 4 was not saved, it holds 5")):
        checkpoints.save(state(4), 0.9, 0.0)


def test_what_is_held_is_the_last_and_the_best_until_one_is_written(tmp_path):
    folder = tmp_path / "c"
    with Checkpoints(folder) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7), (4, 0.6)):
            checkpoints.save(state(step), accuracy, step / 10, now=False)
        assert (checkpoints.best(), checkpoints.latest(), steps(folder)) == (2, 4, set())
        checkpoints.save(state(5), 0.8, 0.5)
        checkpoints.wait()
        assert steps(folder) == {2, 5}
        assert same(restored(folder, "best")[0], state(2))
        checkpoints.save(state(6), 0.85, 0.6, now=False)
        checkpoints.wait()
        assert same(restored(folder)[0], state(6)) and restored(folder)[1] == 0.6
        assert steps(folder) == {2, 5, 6} == checkpoints._ranks.keys()  # however many there were


@pytest.mark.parametrize("error", [None, KeyError])
def test_what_is_held_is_written_on_leaving(tmp_path, error):
    with contextlib.suppress(KeyError), Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state(1), 0.5, 0.0, now=False)
        if error:
            raise error
    assert same(restored(tmp_path / "c")[0], state(1))


def test_half_written_ones_are_cleaned_by_who_writes(tmp_path):
    folder = saved(tmp_path / "c", (1, 0.5))
    half = folder / "2.orbax-checkpoint-tmp"
    (half / "state").mkdir(parents=True)
    assert same(restored(folder)[0], state(1)) and half.exists()
    assert same(restored(folder, read_only=False)[0], state(1)) and not half.exists()


def test_too_little_room_is_found_beforehand(tmp_path, monkeypatch):
    """One is there; three are kept, and one more is written beside them."""
    folder = saved(tmp_path / "c", (1, 0.5))
    need = 3 * sum(x.nbytes for x in jax.tree.leaves(state(1)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": need}))
    with Checkpoints(folder) as checkpoints:
        checkpoints.check_room(state(1))
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": need - 1}))
        with pytest.raises(RequestError, match=r"0.1 MB free, and a run's checkpoints need 0.1"):
            checkpoints.check_room(state(1))


def test_a_state_from_before_an_empty_field_is_read(tmp_path):
    with Checkpoints(saved(tmp_path, (1, 0.5)), read_only=True) as checkpoints:
        found, _ = checkpoints.restore(Later(*SHAPES, {}))
    assert found.batch_stats == {} and same(Small(*found[:2]), state(1))


def test_a_state_from_before_scores_of_ones_own_is_read(tmp_path):
    class Own(Classification):
        def scores(self, outputs, targets):
            return {"sure": outputs.max(-1)}

    was, now = (State(jnp.int32(1), {}, {}, (), task.zeros(3), jnp.int32(-1))
                for task in (Classification(), Own()))
    with Checkpoints(tmp_path) as checkpoints:
        was = was._replace(tally=was.tally._replace(count=jnp.int32(7)))
        checkpoints.save(was, None, 0.0)
        checkpoints.wait()
        found, _ = checkpoints.restore(now)
    assert found.tally.own == was.tally
    jax.tree.map(np.testing.assert_array_equal, found.tally.beside, now.tally.beside)


def test_saves_of_several_runs_in_threads_begin_one_after_another(tmp_path, monkeypatch):
    """Orbax has one name for the save begun, in the whole process: of two at once one is lost."""
    begun, beside, own = [], [], ocp.CheckpointManager.save

    def save(*args, **named):
        begun.append(0)
        beside.append(len(begun))
        time.sleep(0.1)
        try:
            return own(*args, **named)
        finally:
            begun.pop()

    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: saved(tmp_path / name, (1, 0.5)), "ab"))
    assert beside == [1, 1] and steps(tmp_path / "a") == steps(tmp_path / "b") == {1}


def test_how_processes_start_stays_the_hosts_to_say(tmp_path):
    multiprocessing.set_start_method(None, force=True)
    saved(tmp_path, (1, 0.5))
    assert multiprocessing.get_start_method(allow_none=True) is None


def test_the_root_loggers_handlers_are_the_hosts(tmp_path, monkeypatch):
    """absl, by which Orbax logs, configures a root logger that has none."""
    monkeypatch.setattr(logging.root, "handlers", [])
    restored(saved(tmp_path, (1, 0.5)))
    assert logging.root.handlers == []
    monkeypatch.setattr(logging.root, "handlers", own := [logging.NullHandler()])
    saved(tmp_path, (2, 0.5))
    assert logging.root.handlers is own and len(own) == 1
