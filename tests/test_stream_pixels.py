"""A Parquet table of pixels that stays in its files is the one in memory: pictures, runs, bits."""

import os

import numpy as np
import pandas as pd
import pytest
from samples import Tiny
from test_stream import assert_same_runs, ran

from engine import sources
from engine.config import Config, Parts, Reading
from engine.errors import RequestError, RunError
from engine.evaluation import evaluate
from engine.parts import other
from engine.report import run as report
from engine.sets.dataset import Dataset
from engine.stream import choice
from engine.tables import parquet, stored_table
from engine.tables.pixels import Pixels

COLOUR = [f"p{n}" for n in range(12)]
MIXED = [f"p{n}" for n in np.random.default_rng(1).permutation(16)]
NAMELESS = [a + b for a in "dcba" for b in "wxyz"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Chunks of two batches of eight; some rows are read and typed at once."""
    monkeypatch.setattr(choice, "SCATTERED", 2 * 8 * 16)
    monkeypatch.setattr(stored_table, "_AT_ONCE", 11)
    monkeypatch.setattr(parquet, "_ROWS", 4)
    monkeypatch.setattr(report, "write", lambda *_: None)


def rows(count: int, names: list[str], seed: int = 0) -> pd.DataFrame:
    """Pictures whose brightness tells their class, whole numbers; one is there twice."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 3, count)
    pixels = draw.integers(0, 100, (count, len(names))) + 70 * label[:, None]
    pixels[count // 2] = pixels[0]
    return pd.DataFrame(pixels, columns=names).assign(label=np.array(["a", "b", "c"])[label])


def written(folder, names: list[str], change=lambda pixels: pixels) -> str:
    """Row groups that no batch divides; the test's columns in another order."""
    for split, count, group in (("train", 37, 7), ("test", 21, 9)):
        made = rows(count, names, group)
        made[names] = change(made[names])
        columns = sorted(made) if split == "test" else list(made)
        made[columns].to_parquet(folder / f"{split}.parquet", row_group_size=group, index=False)
    return f"table:{folder}"


def both(name: str, **reading) -> tuple[Dataset, Dataset]:
    """The set in memory, and in its files."""
    whole, stored = (sources.load(name, reading=Reading(**reading), stream=stream)
                     for stream in (False, True))
    assert all(isinstance(split.inputs, Pixels) for split in stored.splits.values())
    return whole, stored


@pytest.mark.parametrize("names, change, reading", [
    (MIXED, lambda x: x.astype(np.uint8), {}),
    (MIXED, lambda x: (x / 255).astype(np.float32), {}),
    (COLOUR, lambda x: x, {"image_size": 5}),
    (NAMELESS, lambda x: x.astype({"dw": str, "az": str}), {"pixels": True}),
])
def test_pictures_order_and_notes_are_those_of_the_table_in_memory(
    tmp_path, names, change, reading
):
    whole, stored = both(written(tmp_path, names, change), **reading)
    assert (whole.classes, whole.notes) == (stored.classes, stored.notes)
    assert whole.pixels == stored.pixels == (tuple(names) if names is NAMELESS else ())
    for split, (inputs, targets, _) in whole.splits.items():
        kept = stored.splits[split].inputs
        assert (kept.shape, kept.dtype) == (inputs.shape, inputs.dtype)
        mixed = np.random.default_rng(0).permutation(len(inputs))
        np.testing.assert_array_equal(kept[mixed], inputs[mixed])
        np.testing.assert_array_equal(stored.splits[split].targets, targets)


@pytest.mark.parametrize("name, value", [("px3", 256.0), ("px3", np.nan), ("px3", np.inf),
                                         ("px3", "x"), ("q3", 256.0)])
def test_what_is_no_pixel_is_told_as_of_the_table_in_memory(tmp_path, name, value):
    """In the last row group; columns that aren't called pixels are features then."""
    names = [f"{name[:-1]}{n}" for n in range(16 if name == "px3" else 64)]
    made = rows(9, names).astype({name: type(value)})
    made.loc[8, name] = value
    made.to_parquet(tmp_path / "train.parquet", row_group_size=5)
    told = []
    for stream in (False, True):
        try:
            told.append(sources.load(f"table:{tmp_path}", stream=stream).notes)
        except RequestError as error:
            told.append(str(error))
    assert told[0] == told[1] and isinstance(told[0], str) == (name == "px3")
    assert "of its pixels" in str(told) or "its pixels 'px3'" in told[0] or "infinity" in told[0]


def test_one_that_fits_no_memory_is_streamed_and_one_that_changed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_EXAMPLES", 30)
    name = written(tmp_path, COLOUR)
    inputs = sources.load(name).splits["train"].inputs
    assert isinstance(inputs, Pixels) and "37 rows of 13 columns are more" in inputs.reason
    os.utime(tmp_path / "train.parquet", (0, 0))
    with pytest.raises(RunError, match="train.parquet has changed since the run began"):
        inputs[:1]
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(RunError, match="train.parquet can't be read any more"):
        inputs[:1]


@pytest.mark.parametrize("split", ["test", "train[:5]+test[:9]"])
def test_columns_in_another_order_judge_a_run_alike(tmp_path, split):
    """Of a run whose pixels have no numbers, on pictures of its size."""
    found = [other.examples(dataset, Parts(validation=split), ("c", "a", "b"), (4, 4, 1), "uint8",
                            pixels=tuple(sorted(NAMELESS)))
             for dataset in both(written(tmp_path, NAMELESS), pixels=True)]
    (inputs, targets), (kept, again) = (each.subset.split[:2] for each in found)
    assert kept.scattered and found[0].notes == found[1].notes
    np.testing.assert_array_equal(inputs, kept[:])
    np.testing.assert_array_equal(targets, again)


@pytest.mark.slow
def test_a_streamed_table_learns_the_resident_ones_bits(tmp_path):
    """And is judged alike, on its test split; by workers faults/test_streamed.py reads one."""
    config = Config(dataset=written(tmp_path, MIXED), model=Tiny, batch_size=8, epochs=2,
                    validation_split="0.2")
    resident = ran(tmp_path / "resident", config)
    streamed = ran(tmp_path / "streamed", config, stream=True, workers=0)
    assert_same_runs(resident, streamed)
    scores = [evaluate(run.path, config=config) for run in (resident, streamed)]
    assert scores[0] == scores[1] and scores[0]["split"] == "test"
