"""A Parquet table that stays in its files is the one in memory: rows, features, a run's bits."""

import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from samples import Tiny
from test_stream import assert_same_runs, ran

from engine import sources
from engine.config import Config, Hyper, Reading
from engine.errors import RequestError, RunError
from engine.evaluation import evaluate
from engine.job.host import begin
from engine.parts.reading import featured, load
from engine.place import Place
from engine.report import run as report
from engine.request import Request
from engine.sets.dataset import Dataset
from engine.sets.stored import Stored
from engine.stream import choice
from engine.tables import parquet, stored_table, table
from engine.tables.stored_table import StoredTable

SEED = 3


def rows(count: int, seed: int = SEED) -> pd.DataFrame:
    """Columns of every kind that a Parquet file has, with gaps, and a target."""
    rng = np.random.default_rng(seed)
    label = rng.choice(["no", "yes"], count)
    found = pd.DataFrame({
        "age": rng.normal(40, 9, count) + 9 * (label == "yes"),
        "small": rng.integers(0, 200, count).astype(np.uint8),
        "narrow": rng.normal(0, 1, count).astype(np.float32),
        "alive": rng.choice([True, False], count),
        "born": pd.Timestamp("1990-01-01") + pd.to_timedelta(rng.integers(0, 9000, count), "D"),
        "town": rng.choice(["Ulm", "Bonn", "Köln"], count),
        "as words": [f"{x:.2f}" for x in rng.normal(0, 1, count)],
        "mixed": rng.choice(["1", "2.50", "007", "x"], count),
        "street": [f"street {n}" for n in rng.integers(0, 40, count)],
        "patient": rng.integers(0, 25, count),
    })
    for name in ("age", "town", "born", "mixed"):
        found.loc[rng.random(count) < 0.2, name] = None
    return found.assign(label=label)


@pytest.fixture
def folder(tmp_path):
    """Of row groups of seven, that no batch divides; the test's columns in another order, and of
    other types where they may be."""
    folder = tmp_path / "table"
    folder.mkdir()
    rows(90).to_parquet(folder / "train.parquet", row_group_size=7, index=False)
    other = rows(31, 4)
    other["mixed"], other["born"], other["town"] = "007", None, 0.1 + 0.2
    other[sorted(other)].to_parquet(folder / "test.parquet", row_group_size=9, index=False)
    return folder


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Of two batches of eight."""
    monkeypatch.setattr(choice, "SCATTERED", 2 * 8 * 20 * 4)
    monkeypatch.setattr(stored_table, "_AT_ONCE", 5)
    monkeypatch.setattr(parquet, "_ROWS", 3)
    monkeypatch.setattr(report, "write", lambda *_: None)


def both(folder, **reading) -> tuple[Dataset, Dataset]:
    """The set in memory, and in its files."""
    whole, stored = (sources.load(f"table:{folder}", reading=Reading(**reading), stream=stream)
                     for stream in (False, True))
    assert all(isinstance(split.inputs, StoredTable) for split in stored.splits.values())
    return whole, stored


def test_rows_targets_groups_and_notes_are_those_of_the_table_in_memory(folder):
    whole, stored = both(folder, group="patient", embed=True)
    assert (whole.classes, whole.notes) == (stored.classes, stored.notes)
    assert whole.splits.keys() == stored.splits.keys() == {"train", "test"}
    for name, (inputs, targets, _) in whole.splits.items():
        kept = stored.splits[name]
        np.testing.assert_array_equal(targets, kept.targets)
        np.testing.assert_array_equal(whole.groups[name], stored.groups[name])
        assert list(inputs) == list(kept.inputs.columns)
        for column in inputs:
            pd.testing.assert_series_equal(
                inputs[column].reset_index(drop=True), kept.inputs[column].reset_index(drop=True),
                check_dtype=False, check_categorical=False)


def test_rows_of_several_files_come_to_their_places(folder):
    whole, stored = both(folder)
    first, *_ = tables = [split.inputs for split in stored.splits.values()]
    table, rows = first.joined([(each, np.arange(3)) for each in tables]), np.array([5, 0, 3, 1, 2])
    found = np.zeros(len(rows))
    for places, frame in table.frames(rows, ["small"]):
        found[places] = frame["small"]
    wanted = np.concatenate([whole.splits[name].inputs["small"][:3] for name in stored.splits])
    np.testing.assert_array_equal(found, wanted[rows])


@pytest.mark.parametrize("names", [["a"], ["a.b", "a"]])
def test_columns_come_as_they_are_asked_for(tmp_path, names):
    """In that order, and no other whose name begins so."""
    pd.DataFrame({"a": [1], "a.b": [2]}).to_parquet(tmp_path / "t.parquet")
    with open(tmp_path / "t.parquet", "rb") as file:
        ((_, batch),) = parquet.batches(file, [0], names)
    assert batch.schema.names == names


@pytest.mark.parametrize("train, validation", [
    pytest.param("train", "0.2", marks=pytest.mark.slow),
    pytest.param("train[:60]", "test", marks=pytest.mark.slow), ("train[10:]+test[:5]", "1/3")])
def test_features_are_fitted_and_made_as_those_of_the_table_in_memory(
    folder, capsys, train, validation
):
    """From the training rows alone; words that these lack are told once, as in memory."""
    told, sets = [], []
    for stream in (False, True):
        config = Config(dataset=f"table:{folder}", model="mlp", embed=True, train_split=train,
                        validation_split=validation)
        request, dataset = load(Request(config, Hyper(), Place(stream=stream)),
                                begin(Place(device="cpu"), quiet=True))
        capsys.readouterr()
        sets.append(featured(request, dataset))
        told.append(capsys.readouterr().err)
    (whole, cut, columns), (stored, kept, again) = sets
    assert told[0] == told[1] and whole.notes == stored.notes
    assert columns.text == again.text and len(columns.columns) == 10
    draw = np.random.default_rng(0)
    for one, other in ((cut.train, kept.train), (cut.validation, kept.validation)):
        assert isinstance(other.split.inputs, Stored) and other.input_shape == one.input_shape
        np.testing.assert_array_equal(one.rows, other.rows)
        mixed = draw.permutation(one.rows)
        np.testing.assert_array_equal(one.split.inputs[mixed], other.split.inputs[mixed])


@pytest.fixture
def short(folder):
    """Without the column whose words are too many for features."""
    for file in folder.iterdir():
        pd.read_parquet(file).drop(columns="street").to_parquet(file, row_group_size=7)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("group, all_workers", [("", [0]), ("patient", [1, 2])])
def test_a_streamed_table_learns_the_resident_ones_bits(short, tmp_path, group, all_workers):
    """And is judged alike, on its test split and on its own again."""
    config = Config(dataset=f"table:{short}", model=Tiny, batch_size=8, epochs=2, group=group,
                    validation_split="0.2")
    resident = ran(tmp_path / "resident", config)
    for workers in all_workers:
        streamed = ran(tmp_path / str(workers), config, stream=True, workers=workers)
        assert_same_runs(resident, streamed)
    if group:
        scores = [evaluate(run.path, config=config) for run in (resident, streamed)]
        assert scores[0] == scores[1] and scores[0]["split"] == "test"


@pytest.mark.slow
def test_numbers_to_predict_are_standardised_alike(short, tmp_path):
    config = Config(dataset=f"table:{short}", model="linear", batch_size=8, epochs=1,
                    task="regression", target="age", drop_unlabelled=True, validation_split="0.2")
    assert_same_runs(ran(tmp_path / "resident", config),
                     ran(tmp_path / "streamed", config, stream=True, workers=0))


def test_what_the_memory_cant_hold_is_streamed_and_what_cant_be_is_told(folder, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_EXAMPLES", 50)
    found = sources.load(f"table:{folder}").splits["train"].inputs
    assert "its 90 rows of 11 columns are more than the 50 rows" in found.reason
    rows(60).to_csv(folder / "test.csv", index=False)
    (folder / "test.parquet").unlink()
    with pytest.raises(RequestError, match="write all its files as Parquet, to be streamed"):
        sources.load(f"table:{folder}")


def test_a_file_that_changes_is_told_and_its_fingerprint_with_it(folder):
    _, before = both(folder)
    _, again = both(folder)
    assert before.fingerprint == again.fingerprint
    file = folder / "train.parquet"
    os.utime(file, (0, 0))
    with pytest.raises(RunError, match="train.parquet has changed since the run began"):
        before.splits["train"].inputs["age"]
    assert both(folder)[1].fingerprint != before.fingerprint


def test_a_splits_columns_must_suit_the_training_ones(folder):
    other = rows(9)
    for age in (["unknown"] * 9, ["2"] * 6 + ["true"] * 3):  # of which a part may be numbers
        other.assign(age=age).to_parquet(folder / "test.parquet")
        with pytest.raises(RequestError, match="'age' of test.parquet holds words, and numbers in"):
            sources.load(f"table:{folder}", stream=True)


def indexed(folder, name):
    """Two files of a frame whose rows were mixed, with that index."""
    folder.mkdir()
    rows = np.random.default_rng(0).permutation(60)
    frame = pd.DataFrame({"a": rows % 7, "word": [*"xyz"] * 20, "age": rows / 8},
                         pd.Index(rows, name=name))
    frame[:40].to_parquet(folder / "train.parquet")
    frame[40:].to_parquet(folder / "test.parquet")


@pytest.mark.parametrize("name, called", [(None, "__index_level_0__"), ("age of", "age of")])
def test_an_index_of_pandas_is_no_column_unless_it_is_named(tmp_path, name, called):
    folder = tmp_path / "set"
    indexed(folder, name)
    for found in both(folder):
        inputs, targets = found.splits["test"][:2]
        assert list(inputs.columns) == ["a", "word"] and found.classes == ("age",)
        assert sorted(targets * 8 % 7) == sorted(inputs["a"])
        for split in ("train", "test"):
            assert f"{split}: the index that pandas wrote into the file is left out: {called!r}" \
                in found.notes
    for found in both(folder, group=called):
        assert list(found.splits["train"].inputs.columns) == ["a", "word"]
        assert len(np.unique(found.groups["train"])) == 40
    for found in both(folder, target=called):
        assert found.classes == (called,) and len(found.splits["test"].inputs.columns) == 3
    for found in both(folder, leave_out=called):
        assert found.left_out == (called,) and not any("pandas" in note for note in found.notes)
    path = str(folder / "test.parquet")
    assert called in table.frame(path, Reading()).columns  # it may call a prediction's rows
    frame = pd.read_parquet(folder / "train.parquet").reset_index()
    frame.set_axis([called, *frame.columns[1:]], axis=1).to_parquet(folder / "train.parquet")
    for found in both(folder):  # a column of training is one of the others, too
        assert list(found.splits["test"].inputs.columns) == [called, "a", "word"]


@pytest.mark.parametrize("told", [b"", b"{", b"[]", b"1", b'{"index_columns": 1}',
                                  b'{"index_columns": ["b", {"kind": "range"}, 1]}'])
def test_metadata_that_name_no_index_are_passed_over(tmp_path, told):
    wanted = pa.table({"a": [1, 2], "label": ["x", "y"]}).replace_schema_metadata({b"pandas": told})
    write_table(wanted, tmp_path / "t.parquet")
    for found in both(tmp_path / "t.parquet"):
        assert list(found.splits["train"].inputs.columns) == ["a"]


@pytest.mark.parametrize("cells, classes", [
    ([True, False, None], ("False", "True")), (["001", "002", None], ("001", "002")),
    (["001", "1", "2"], ("001", "2")), ([1, 2, None], ("1", "2")), (["a", " a", "b"], ("a", "b")),
    (["2020-01-01", "2020-01-02", "NA"], ("2020-01-01", "2020-01-02")),
    (["1.5", "2.5", "NA"], ("y",)),
])  # fmt: skip
def test_a_targets_classes_are_those_of_the_csv(tmp_path, cells, classes):
    frame = pd.DataFrame({"a": range(30), "g": ["01", "1", "2"] * 10, "y": cells * 10})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    twin = sources.load(f"table:{tmp_path}/t.csv", reading=Reading(group="g"))
    for found in (twin, *both(tmp_path / "t.parquet", group="g")):
        assert found.classes == classes and found.notes == twin.notes
        for wanted, given in ((twin.splits["train"].targets, found.splits["train"].targets),
                              (twin.groups["train"], found.groups["train"])):
            np.testing.assert_array_equal(wanted, given)
        assert len(np.unique(found.groups["train"])) == 3
