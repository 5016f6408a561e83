"""A streamed run equals the resident one, bit for bit, and fails in one line."""

import dataclasses
import io
import json
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from samples import Normed, Tiny, random_split

from engine.config import Config, Hyper, Reading
from engine.devices import mesh
from engine.errors import RequestError, RunError
from engine.examples import Split, Subset
from engine.feed import Chunk, Data, after, batch_at
from engine.job import host
from engine.judging import verdict
from engine.learners.chosen import learner_of
from engine.objects import arrays
from engine.pictures import image_folder, stored_folder
from engine.place import Place
from engine.request import Request
from engine.run import fit
from engine.sets.dataset import Dataset
from engine.sets.pieces import Closed, Orders, Part, Pieces
from engine.sets.stored import Joined, Stored
from engine.settling import settle
from engine.stream import choice
from engine.stream.ahead import ahead
from engine.stream.streamed import Streamed
from engine.sweep import group
from engine.sweep.programs import compile_programs
from engine.sweep.space import Trial
from engine.tfds import records

MEASURED = ("examples_per_second", "seconds_train", "seconds_compile")
SIDE = 18


def data() -> Dataset:
    """37 and 71 pictures: no batch divides them."""
    splits = {"train": random_split(37), "test": random_split(71, seed=1)}
    return Dataset("own", ("a", "b", "c", "d"), splits, "of this test")


def written(folder: Path) -> Path:
    """The same as files."""
    for name, split in data().splits.items():
        for number, (picture, label) in enumerate(zip(*split[:2], strict=True)):
            path = folder / name / "abcd"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[..., 0]).save(path)
    return folder


def rows(run_dir: Path) -> list[dict]:
    """history.jsonl without the timings, which no two runs share."""
    lines = (run_dir / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def ran(folder: Path, config: Config, of: object = None, **place):
    return fit(config, Hyper(), Place(run_dir=str(folder), report=False, **place), of, quiet=True)


def assert_same_runs(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a.state), jax.tree.leaves(b.state), strict=True):
        np.testing.assert_array_equal(x, y)
    assert rows(a.path) == rows(b.path)
    scores = [json.loads((run.path / "metrics.json").read_text()) for run in (a, b)]
    assert [{k: v for k, v in found.items() if k not in MEASURED} for found in scores][0] == \
        {k: v for k, v in scores[1].items() if k not in MEASURED}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Of two batches of eight."""
    monkeypatch.setattr(choice, "CHUNK", 2 * 8 * SIDE * SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("model, validation, shuffle", [
    (Normed, "2/5", "every_epoch"), (Tiny, "2/5", "once"), (Normed, "test", "every_epoch"),
])
def test_a_streamed_run_equals_the_resident_one(tmp_path, model, validation, shuffle):
    """In parameters, history and scores: of an epoch of three chunks, the last not full."""
    config = Config(model=model, batch_size=8, epochs=2, validation_split=validation,
                    shuffle=shuffle)
    resident = ran(tmp_path / "resident", config, data())
    assert_same_runs(resident, ran(tmp_path / "streamed", config, data(), stream=True))


@pytest.mark.slow
def test_a_folder_read_by_workers_equals_the_one_in_memory(tmp_path):
    name = f"image_folder:{written(tmp_path / 'pictures')}"
    config = Config(dataset=name, model=Tiny, batch_size=8, epochs=2)
    resident = ran(tmp_path / "resident", config)
    for workers in range(3):
        streamed = ran(tmp_path / str(workers), config, stream=True, workers=workers)
        assert_same_runs(resident, streamed)
        assert json.loads((streamed.path / "config.json").read_text())["config"]["stream"]


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_chunks_hold_the_order_whatever_their_size(batches):
    """Two epochs, each of 37 drawn anew and 11 as they stand, from any chunk on."""
    draw = np.random.default_rng(0)
    inputs, others = draw.integers(0, 256, (2, 50, 3), np.uint8)
    orders = [draw.permutation(50)[:37] for _ in range(2)]
    fixed = np.arange(11)[::-1]
    parts = (Part(inputs, orders[0], 8, batches, True), Part(others, fixed, 4, batches, False))
    pieces = Pieces(parts, 2, lambda epoch: orders[epoch])
    found = [pieces[number] for number in range(len(pieces))]
    per = parts[0].chunks
    for epoch in range(2):
        own = found[epoch * pieces.each : (epoch + 1) * pieces.each]
        for chunks, array, order in ((own[:per], inputs, orders[epoch]),
                                     (own[per:], others, fixed)):
            met = np.concatenate(chunks)
            np.testing.assert_array_equal(met[: len(order)], array[order])
            assert (met[len(order) :] == array[order[-1]]).all()
    reader = ahead(pieces, 2, 0, np.array)
    for number in (2, 3):
        np.testing.assert_array_equal(next(reader), found[number])
    reader.close()


def test_a_segment_ends_with_its_chunk_and_with_its_epoch():
    """Of five updates, two a chunk."""
    feed = SimpleNamespace(_ready=SimpleNamespace(lengths=SimpleNamespace(epoch=5)),
                           _stream=SimpleNamespace(train=SimpleNamespace(batches=2)))
    assert [Streamed.most(feed, step) for step in range(6)] == [2, 1, 2, 1, 1, 2]


@pytest.mark.slow
def test_a_model_is_judged_in_chunks_as_in_one(monkeypatch):
    """Of two batches each, the last of which isn't full; and what is judged keeps its inputs."""
    split = random_split(300, side=6)
    subset = Subset(split, np.random.default_rng(0).permutation(300)[:266].astype(np.int32))
    learner = learner_of(Config(model=Tiny), 4)
    where = mesh.everywhere(None, jax.devices("cpu")[0])
    variables = learner.create(Hyper(), jax.random.key(0), Data(subset, subset, 4)).variables
    monkeypatch.setattr(choice, "CHUNK", 2 * 64 * split.inputs[0].size)
    found_by = partial(verdict.found_by, learner, variables, where=where, console=Console())
    one, chunks = found_by(mesh.put(subset, where)), found_by(subset, workers=0)
    np.testing.assert_allclose(chunks.predicted, one.predicted, atol=1e-6)
    chex.assert_trees_all_close(chunks.sums, one.sums, rtol=1e-5)
    assert len(one.predicted) == 266
    for found in (one, chunks):
        np.testing.assert_array_equal(found.inputs(np.array([3, 200])),
                                      split.inputs[subset.rows[[3, 200]]])


class Held(Stored):
    def __init__(self, array: np.ndarray):
        super().__init__(array.shape, array.dtype, "of this test")
        self.array = array

    def fill(self, out, rows):
        out[:] = self.array[rows]


def test_rows_of_several_inputs_lie_one_after_another():
    several = Joined([(Held(np.arange(10)), np.array([7, 3])), (Held(np.arange(90, 99)),
                                                                np.array([1, 0, 4]))])
    assert several[:].tolist() == [7, 3, 91, 90, 94]
    assert several[np.array([4, 0, 2])].tolist() == [94, 7, 91]


def test_a_batch_of_a_chunk_is_the_one_of_the_whole_split():
    """Its masked slots too; and where an order lacks its beginning."""
    split = random_split(37)
    order = jax.numpy.asarray(np.random.default_rng(0).permutation(37), np.int32)
    padded = np.append(order, [order[-1]] * 11)
    for position in range(5):
        first = position // 2 * 16
        inputs = jax.numpy.asarray(split.inputs[padded[first : first + 16]])
        chunk = jax.device_put(split)._replace(inputs=Chunk(inputs, np.int32(first)))
        whole, part = (batch_at(x, order, position, 8) for x in (jax.device_put(split), chunk))
        jax.tree.map(np.testing.assert_array_equal, whole, part)
    last = [batch_at(after(x, 32), order[32:], 0, 5) for x in (jax.device_put(split), chunk)]
    jax.tree.map(np.testing.assert_array_equal, *last)


def test_whoever_waits_for_an_order_that_never_comes_is_let_go():
    orders = Orders(shared=True)
    orders.write(0, np.arange(3))
    remote, arguments = orders.__reduce__()
    worker = remote(*arguments)
    np.testing.assert_array_equal(worker(0), orders(0))
    orders.close()
    for one in (orders, worker):
        with pytest.raises(Closed):
            one(1)


def test_pictures_are_stored_as_they_are_decoded(tmp_path):
    """In the same order, of the same targets; one that changed or vanished is named."""
    path = str(written(tmp_path / "pictures"))
    whole = image_folder.load(path, Reading())
    stored = stored_folder.load(path, Reading(), None, "so")
    assert whole.classes == stored.classes and whole.splits.keys() == stored.splits.keys()
    for name, split in whole.splits.items():
        inputs = stored.splits[name].inputs
        assert (inputs.shape, inputs.dtype) == (split.inputs.shape, split.inputs.dtype)
        np.testing.assert_array_equal(inputs[:], split.inputs)
        np.testing.assert_array_equal(stored.splits[name].targets, split.targets)
    later = Reading(leave_out="what no folder has")  # which came in after it
    assert stored_folder.load(path, later, None, "").fingerprint == stored.fingerprint
    inputs = stored.splits["train"].inputs
    changed, gone = (os.path.join(path, inputs.names[row]) for row in (3, 5))
    os.utime(changed, (0, 0))
    os.remove(gone)
    for file, row in ((changed, 3), (gone, 5)):
        with pytest.raises(RunError, match=os.path.basename(file)):
            inputs[np.array([row])]
    assert stored_folder.load(path, Reading(), None, "").fingerprint != stored.fingerprint


def test_records_of_several_sizes_are_refused():
    """Of which nothing but their headers is read."""
    held = []
    for size in ((18, 12), (18, 12), (12, 18)):
        Image.new("L", size).save(file := io.BytesIO(), "PNG")
        held.append({"image": file.getvalue(), "label": len(held)})

    class Source(list):
        def __getitems__(self, rows):
            return [self[row] for row in rows]

    shape, labels, _ = records._judged("own", Source(held[:2]), 0, "listing")
    assert shape == (12, 18) and labels.tolist() == [0, 1]
    with pytest.raises(RequestError, match="images of own vary in size"):
        records._judged("own", Source(held), 0, "listing")


class Sequence:
    """Counts how often each example was asked for."""

    def __init__(self, split: Split):
        self.split, self.asked = split, np.zeros(len(split.targets), int)

    def __len__(self) -> int:
        return len(self.asked)

    def __getitem__(self, index: int):
        self.asked[index] += 1
        return self.split.inputs[index], self.split.targets[index]


def test_a_sequence_is_asked_again_for_what_is_needed():
    split = random_split(37)
    sequence, other = Sequence(split), Sequence(random_split(37, seed=2))
    whole, stored = arrays.of(sequence), arrays.of(sequence, stream=True)
    found = stored.splits["train"]
    assert sequence.asked.tolist() == [4] * 8 + [2] * 29  # the first ones twice
    np.testing.assert_array_equal(found.inputs[np.array([4, 2])], split.inputs[[4, 2]])
    assert sequence.asked.sum() == 2 * (8 + 37) + 2
    np.testing.assert_array_equal(found.targets, whole.splits["train"].targets)
    assert stored.fingerprint == arrays.of(sequence, stream=True).fingerprint
    assert stored.fingerprint != arrays.of(other, stream=True).fingerprint


def test_a_number_that_is_none_is_told_by_its_example_before_anything_is_learned():
    inputs = random_split(9).inputs.astype(np.float32)
    inputs[5, 0, 0] = np.nan
    with pytest.raises(RequestError, match="train, example 5: the inputs .* are NaN"):
        arrays.of([(x, 0) for x in inputs], stream=True)


def test_a_set_that_fits_no_memory_is_streamed_with_the_reason(tmp_path, monkeypatch, capsys):
    """The host's, of pictures and of a sequence; the device's, of arrays."""
    from engine import sources
    from engine.devices import memory
    from engine.sets import limits

    monkeypatch.setattr(limits, "host_memory", lambda: (10_000, 10_000))
    name = f"image_folder:{written(tmp_path / 'pictures')}"
    inputs = sources.load(name).splits["train"].inputs
    assert "108 pictures of 18 × 18 × 1 are more than the 30" in inputs.reason
    assert "are more than the 0.0 GB" in arrays.of(Sequence(random_split(37))).splits[
        "train"].inputs.reason
    request = Request(Config(model=Tiny, batch_size=8), Hyper(), Place(device="cpu"))
    monkeypatch.setattr(memory, "free", lambda _: 10_000)
    here = host.begin(request.place)
    ready = settle(request, data(), here)
    assert ready.stream and "don't fit the 0.0 GB that the" in capsys.readouterr().out


def test_a_chunk_is_as_large_as_what_is_free_allows(monkeypatch):
    """Two a worker and four more are in a quarter of the host's memory, and in half of what workers
    hand over by; an eighth of the device's holds one of scattered inputs."""
    monkeypatch.setattr(choice.choose, "host_memory", lambda: (10**9, 4 * 8_000))
    monkeypatch.setattr(choice.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 8 * 500))
    monkeypatch.setattr(choice.memory, "free", lambda _: 8 * 300)
    monkeypatch.setattr(choice.Path, "is_dir", lambda _: True)
    array, scattered = np.zeros(3), SimpleNamespace(scattered=True)
    assert [choice.size_of(array, workers, None) for workers in (0, 2)] == [2_000, 500]
    assert [choice.size_of(scattered, workers, None) for workers in (0, 2)] == [300, 300]
    monkeypatch.setattr(choice, "CHUNK", 100)
    assert choice.size_of(array, 0, None) == 100


@pytest.mark.slow
def test_what_vanishes_meanwhile_ends_the_run_and_what_was_saved_is_kept(tmp_path):
    folder = written(tmp_path / "pictures")
    config = Config(dataset=f"image_folder:{folder}", model=Tiny, batch_size=8, epochs=50)

    def lose(row: dict) -> None:
        if row["epoch"] == 2:
            next((folder / "train").rglob("*.png")).unlink(missing_ok=True)

    with pytest.raises(RunError, match="can't be read any more.*Go on with: .*--resume") as told:
        fit(config, Hyper(), Place(run_dir=str(tmp_path / "run"), stream=True, workers=0),
            quiet=True, loggers=[lose])
    assert told.value.status == 1 and "\n" not in str(told.value)
    assert len(rows(tmp_path / "run")) >= 2
    assert [p for p in (tmp_path / "run" / "checkpoints").glob("*") if p.name.isdigit()]


def of_trials(*trials: Trial) -> tuple[group.Group, ...]:
    """A group in memory and a streamed one."""
    here = host.begin_alone(Place(device="cpu"))
    return tuple(group.assemble(0, list(trials), Request(
        trials[0].config, Hyper(), Place(device="cpu", stream=stream, workers=0)), data(), here)
        for stream in (False, True))


def trained(one: group.Group, steps: int) -> tuple:
    """The runs after an epoch and `steps` more, and the sums of their evaluation before these."""
    runs = group.create(one)
    epoch = one.ready.lengths.epoch
    with group.feed(one, 0) as fed:
        programs = compile_programs(one, runs, fed)
        runs = programs.advance(runs, epoch)
        sums = jax.device_get(programs.evaluate(runs))
        return jax.device_get(programs.advance(runs, steps).members.state), sums


@pytest.mark.slow
def test_runs_of_one_order_are_streamed_together():
    """On two devices, three runs that differ in their rates: the bits of those in memory."""
    config = Config(model=Tiny, batch_size=8, epochs=2, validation_split="2/5")
    trials = [Trial(n, config, Hyper(learning_rate=10.0**-n), {}) for n in range(1, 4)]
    resident, streamed = (trained(one, 2) for one in of_trials(*trials))
    jax.tree.map(np.testing.assert_array_equal, resident, streamed)


def test_runs_of_several_orders_are_refused_where_they_would_be_streamed():
    config = Config(model=Tiny, batch_size=8)
    seeds = [Trial(n, dataclasses.replace(config, seed=n), Hyper(), {}) for n in range(2)]
    folds = [Trial(n, dataclasses.replace(config, validation_split=f"{n}/3"), Hyper(), {})
             for n in (2, 3)]
    for trials, said in ((seeds, "type --order_seed 0, which gives all one"),
                         (folds, "sweep a fold at a time, --validation_split 2/3")):
        with pytest.raises(RequestError, match=said):
            of_trials(*trials)
    one = [t._replace(config=dataclasses.replace(t.config, order_seed=0)) for t in seeds]
    assert of_trials(*one)[1].ready.stream
