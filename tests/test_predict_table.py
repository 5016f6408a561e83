"""Predict and eval of runs on tables, as typed, compared with `load(run).predict`; and what both
write of numbers and labels."""

import csv
import datetime
import decimal
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import launch as program
from engine import Config, Hyper, Place, RequestError, fit, load
from engine.command import output, predictions, printing, rows, scores
from engine.config import Parts, Reading
from engine.examples import Split
from engine.parts import other
from engine.sets.columns import Columns
from engine.sets.dataset import Dataset
from engine.tables import parquet
from engine.tables.stored_table import StoredTable
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression

pytestmark = pytest.mark.usefixtures("quickly")


CODES = pd.DataFrame({"code": ["01", "02", "03", "1A"], "y": ["good", "bad", "good", "bad"]})


def passengers(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    found = pd.DataFrame({
        "PassengerId": np.arange(100, 100 + count), "age": rng.integers(1, 80, count),
        "sex": rng.choice(["f", "m"], count), "fare": rng.uniform(5, 90, count).round(2)})
    saved = (found["sex"] == "f") | (found["fare"] > 60)
    return found.assign(survived=np.where(saved, "yes", "no"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tables, and runs on them: on columns, on pixels, on a number."""
    folder = tmp_path_factory.mktemp("tables")
    train = passengers(120, 0)
    train.drop(columns="PassengerId").to_csv(folder / "train.csv", index=False)
    test = passengers(30, 1)
    test[["fare", "PassengerId", "sex", "age"]].to_csv(folder / "test.csv", index=False)
    test.to_parquet(folder / "labelled.parquet")
    test.to_csv(folder / "tabs.txt", sep="\t", index=False)
    test.drop(columns="fare").to_csv(folder / "unpriced.csv", index=False)
    test.rename(columns={"fare": "price"}).to_csv(folder / "lacking.csv", index=False)
    labels = test["survived"].replace({"yes": "YES", "no": "unknown"})
    test.assign(survived=labels).drop(columns="PassengerId").to_csv(
        folder / "other.csv", index=False)
    pd.read_csv(folder / "other.csv").to_parquet(folder / "other.parquet", row_group_size=4)
    x, y = load_digits(return_X_y=True)
    names = [f"pixel{i}" for i in range(64)]
    pixels = pd.DataFrame((x * 255 / 16).round().astype(int), columns=names)
    pixels[:300].assign(label=y[:300]).to_csv(folder / "digits.csv", index=False)
    pixels[300:340][sorted(names)].to_csv(folder / "unlabelled.csv", index=False)
    pixels[300:340].to_csv(folder / "pixels.txt", index=False)
    pd.concat([CODES] * 20).to_csv(folder / "codes.csv", index=False)
    (folder / "notes.txt").write_text("no table at all\n")
    Image.new("L", (8, 8)).save(folder / "picture.png")
    for run, made in {
        "columns": Config(dataset=f"table:{folder}/train.csv", model="linear", epochs=20),
        "pixels": Config(dataset=f"table:{folder}/digits.csv", model="linear", epochs=8),
        "codes": Config(dataset=f"table:{folder}/codes.csv", model="linear", epochs=20),
        "number": Config(dataset=f"table:{folder}/train.csv", model="linear", epochs=1,
                         task="regression", target="fare"),
    }.items():
        fit(Config(**vars(made) | {"validation_split": "0.2", "batch_size": 16}),
            Hyper(learning_rate=0.1 if run == "codes" else 3e-2),
            Place(device="cpu", run_dir=str(folder / run), report=False), quiet=True)
    return folder


@pytest.fixture
def typed(place, monkeypatch, capsys):
    """Exit status, output and errors of a command line about one of the runs."""
    monkeypatch.chdir(place)
    device = jax.config.jax_default_device

    def call(command: str, run: str, *words: str) -> tuple[int, str, str]:
        status = program.main([command, *map(str, words), "--run_dir", run, "--device", "cpu"])
        return status, *capsys.readouterr()

    yield call
    jax.config.update("jax_default_device", device)


@pytest.mark.parametrize("file", ["test.csv", "labelled.parquet", "tabs.txt"])
def test_a_tables_rows_are_called_by_their_id_and_found_by_columns_names(place, typed, file):
    status, printed, error = typed("predict", "columns", file, "--output", "all.csv")
    run, test = load(place / "columns"), passengers(30, 1)
    rows = run.predict(test)
    assert status == 0, error
    assert ("tabs.txt: it is separated by tabs" in error) == (file == "tabs.txt")
    assert printed.splitlines() == [f"{100 + n}\t{run.classes[row.argmax()]}\t{row.max():.4f}"
                                    for n, row in enumerate(rows)]
    assert (np.array(run.classes)[rows.argmax(1)] == test["survived"]).mean() > 0.8
    with open(place / "all.csv", newline="") as opened:
        head, *lines = csv.reader(opened)
    assert head == ["PassengerId", "predicted", "no", "yes"]
    np.testing.assert_array_equal(np.float32([line[2:] for line in lines]), rows)


@pytest.mark.parametrize("file", ["unlabelled.csv", "pixels.txt"])
def test_a_table_of_pixels_is_numbered_by_row(place, typed, file):
    status, printed, error = typed("predict", "pixels", file, "--output", "all.json")
    assert status == 0, error
    pictures = (load_digits().images[300:340] * 255 / 16).round().astype(np.uint8)[..., None]
    rows = load(place / "pixels").predict(pictures)
    records = json.loads((place / "all.json").read_text())
    assert [record["row"] for record in records] == [str(n) for n in range(1, 41)]
    np.testing.assert_array_equal(
        np.float32([[record[str(n)] for n in range(10)] for record in records]), rows)
    assert (rows.argmax(1) == load_digits().target[300:340]).mean() > 0.6
    status, printed, _ = typed("predict", "pixels", "picture.png")
    assert status == 0 and printed.startswith("picture.png\t")


@pytest.mark.parametrize("run", ["columns", "pixels"])
def test_a_table_that_fits_no_memory_is_predicted_from_its_file(place, typed, run, monkeypatch):
    """To the same bits: read one batch at a time, of which a row group has parts."""
    table = passengers(30, 1) if run == "columns" else pd.read_csv(place / "unlabelled.csv")
    table.to_parquet(place / "all.parquet", row_group_size=7)
    told = []
    for most in (parquet.MOST_EXAMPLES, 10):
        monkeypatch.setattr(parquet, "MOST_EXAMPLES", most)
        monkeypatch.setattr(predictions, "BATCH", 16)
        monkeypatch.setattr(rows, "_READ", 1)
        status, printed, error = typed("predict", run, "all.parquet", "--output", "all.csv")
        assert status == 0, error
        told.append((printed, (place / "all.csv").read_bytes()))
    assert told[0] == told[1] and len(told[0][0].splitlines()) == len(table)
    assert isinstance(rows.table.frame("all.parquet", Reading()), StoredTable)


def test_numbers_are_told_as_they_are(place, typed):
    status, printed, error = typed("predict", "number", "unpriced.csv", "--output", "all.csv")
    rows = load(place / "number").predict(passengers(30, 1))
    assert status == 0, error
    assert printed.splitlines() == [
        f"{100 + n}\t{row[0]:.6g}" for n, row in enumerate(rows)]
    with open(place / "all.csv", newline="") as opened:
        head, *lines = csv.reader(opened)
    assert head == ["PassengerId", "fare"] and lines[0] == ["100", str(rows[0, 0])]


@pytest.mark.parametrize("run, words, said", [
    ("columns", ["lacking.csv"], "lacks 1 of the 3 columns that are learned from: 'fare'"),
    ("columns", ["picture.png"], "the run learned from a table's columns, and these are none: "
                                 "picture.png. Name a CSV or Parquet file."),
    ("columns", ["pixels"], "the run learned from a table's columns, and these are none: pixels."),
    ("columns", ["test.csv", "lacking.csv"], "predict takes a table alone, and got 2 files"),
    ("columns", ["absent.csv"], "absent.csv: no such file."),
    ("columns", ["test.csv", "--output", "test.csv"], "test.csv is what is to be predicted"),
    ("columns", ["test.csv", "--target", "age"], "--target age: the run learned from 'age', and "
                                                 "predicts its own target: leave it out."),
    ("pixels", ["test.csv"], "columns of pixels"),
    ("pixels", ["notes.txt"], "notes.txt: it has no rows below its header"),
    ("pixels", ["unlabelled.csv", "picture.png"], "predict takes a table alone"),
    ("number", ["labelled.parquet", "--top", "2"], "--top 2: number predicts numbers, of which"),
])  # fmt: skip
def test_what_is_no_table_of_the_runs_is_told_by_its_words(typed, place, run, words, said):
    before = sorted(place.rglob("*"))
    status, printed, error = typed("predict", run, *words)
    assert (status, printed) == (2, "") and said in error and "Traceback" not in error
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("words", [["table:other.csv"], ["table:other.csv", "--stream"],
                                   ["table:other.parquet", "--stream", "--workers", "0"]])
def test_another_table_is_judged_by_names_of_columns_and_classes(place, typed, words):
    status, printed, error = typed("eval", "columns", "--json", "--dataset", *words)
    assert status == 0, error
    assert ("stream: as asked" in error) == (len(words) > 1)
    test = passengers(30, 1)
    women = test[test["survived"] == "yes"]
    right = (load(place / "columns").predict(women).argmax(1) == 1).mean()
    found = json.loads(printed)
    assert found["num_examples"] == len(women) and found["accuracy"] == pytest.approx(right)
    assert found["left_out"] == {"unknown": 30 - len(women)} and found["split"] == "train"
    assert "'yes' and 'YES'" in error


def test_a_table_judges_by_the_column_that_the_run_learned(place, typed, tmp_path):
    """Whichever is its last, or usually called so."""
    test = passengers(30, 1)
    said = (load(place / "columns").predict(test).argmax(1) == 1) == (test["survived"] == "yes")
    test.assign(y=test["sex"], seen=["yes", "no"] * 15).to_csv(tmp_path / "more.csv", index=False)
    status, printed, error = typed("eval", "columns", "--json", "--dataset",
                                   f"table:{tmp_path}/more.csv")
    assert status == 0, error
    assert json.loads(printed)["accuracy"] == pytest.approx(said.mean())
    for command in ["table:test.csv"], ["table:test.csv", "--stream"]:
        status, printed, error = typed("eval", "columns", "--dataset", *command)
        assert (status, printed) == (2, "") and error.endswith(
            "table:test.csv: no column 'survived', which the run in columns learned: it has fare, "
            "PassengerId, sex, age. Add it, or say which is to judge, by --target COLUMN.\n")


def test_a_column_of_a_usual_name_judges_one_of_another(tmp_path):
    """As do runs of before, which kept no name."""
    (tmp_path / "a.csv").write_text("a,Label\n1,x\n")
    asked = Config(dataset=f"table:{tmp_path}/a.csv")
    for learned, found in ((), ""), (("y",), ""), (("Label",), "Label"), (("a",), "a"):
        assert other.target_of(tmp_path, asked, learned) == found
    assert other.target_of(tmp_path, Config(dataset="digits"), ("y",)) == ""
    assert other.target_of(tmp_path, Config(dataset=asked.dataset, target="a"), ("b",)) == "a"


IDS = ["0042", "1234567890123456789", "12E4", "1.10", "2024-05-31", "NA", "", "07:30", " a", "x"]


@pytest.mark.parametrize("reading, told, key", [
    (Reading(group="customer_id", target="type_id"), (), "id"),
    (Reading(weight="customer_id"), ("type_id",), "id"),
    (Reading(leave_out="id"), (), "id"), (Reading(), (), "customer_id"),
    (Reading(group="customer_id", weight="type_id", target="id"), (), "row"),
])  # fmt: skip
def test_no_row_is_called_by_what_the_run_uses(tmp_path, reading, told, key):
    table = pd.DataFrame({"customer_id": [7, 7], "type_id": [0, 1], "age": [1, 2], "id": [3, 4]})
    table.to_csv(tmp_path / "ids.csv", index=False)
    columns = Columns.fit(table[["age"]], Reading())
    found = rows.Rows([str(tmp_path / "ids.csv")], reading, (1,), "float32", columns, (), told)
    assert found.key == key and found.keys == [str(x) for x in table.get(key, [1, 2])]


@pytest.mark.parametrize("ids, told", [
    (IDS, IDS), (IDS[:4], IDS[:4]), (["2024-05-31"], ["2024-05-31"]), (["0042"], ["0042"]),
    ([2**62 + 1, 7], ["4611686018427387905", "7"]), ([1.0, None, 0.5], ["1", "", "0.5"]),
    ([datetime.date(2024, 5, 31)], ["2024-05-31"]), ([decimal.Decimal("1.10")], ["1.10"]),
])  # fmt: skip
def test_ids_come_out_as_the_file_has_them(place, typed, ids, told):
    """To the letter, whatever they look like."""
    test = passengers(len(ids), 1).drop(columns="PassengerId")
    files = ["ids.parquet"]
    if ids[0] == told[0]:
        test.assign(id=ids).to_csv("ids.csv", index=False)
        files.append("ids.csv")
    columns = {name: pa.array(values) for name, values in test.assign(id=0).to_dict("list").items()}
    pq.write_table(pa.table(columns | {"id": pa.array(ids)}), "ids.parquet")
    for file in files:
        status, _, error = typed("predict", "columns", file, "--output", "all.csv")
        assert status == 0, error
        with open(place / "all.csv", newline="") as opened:
            assert [row["id"] for row in csv.DictReader(opened)] == told


@pytest.mark.parametrize("ending, most", [
    ("csv", None), pytest.param("parquet", None, marks=pytest.mark.slow),
    pytest.param("parquet", 2, marks=pytest.mark.slow)])
def test_codes_stay_as_they_are_written_whatever_else_the_file_holds(
    typed, monkeypatch, ending, most
):
    """01 is no 1, though no row of the file has a letter."""
    few = CODES[:3]
    few.to_csv("few.csv", index=False) if ending == "csv" else few.to_parquet("few.parquet")
    monkeypatch.setattr(parquet, "MOST_EXAMPLES", most or parquet.MOST_EXAMPLES)
    status, printed, error = typed("predict", "codes", f"few.{ending}")
    assert status == 0 and "unknown" not in error
    assert [line.split("\t")[1] for line in printed.splitlines()] == ["good", "bad", "good"]
    status, printed, error = typed("eval", "codes", "--json", "--dataset",
                                   f"table:few.{ending}")
    assert status == 0 and json.loads(printed)["accuracy"] == 1


# What is written of other tasks, and of names that mean harm


def written(path: Path, task, key, names, keys, rows) -> list[list[str]]:
    with output.writer(str(path), task, key, names) as add:
        for at in range(0, len(keys), 2):
            add(keys[at : at + 2], np.float32(rows[at : at + 2]))
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_file_of_labels_has_no_likeliest_one(tmp_path):
    rows = [[0.25, 0.75], [0.125, 1e-9], [0.1, 0.0]]
    found = written(tmp_path / "a.csv", Multilabel(), "row", ("x", "y"), ["1", "2", "3"], rows)
    assert found == [["row", "x", "y"], ["1", "0.25", "0.75"], ["2", "0.125", "1e-09"],
                     ["3", "0.1", "0.0"]]


def test_no_name_becomes_a_line_a_column_or_a_formula(tmp_path, capsys):
    names = ("=HYPERLINK(1)", "-1", "a,\"b\"\nc", "\uff0bx", "file")
    keys = ["-x.png", "a\tb\n.png", "@y.png"]
    found = written(tmp_path / "a.csv", Classification(), "file", names, keys,
                    [[0.5, 0, 0, 0, 0.5], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]])
    assert [len(line) for line in found] == [7] * 4
    assert found[0] == ["file_", "predicted_", "'=HYPERLINK(1)", "-1", 'a,"b"\\nc', "'\uff0bx",
                        "file"]
    assert [line[:2] for line in found[1:]] == [
        ["./-x.png", "'=HYPERLINK(1)"], [r"a\tb\n.png", 'a,"b"\\nc'], ["./@y.png", "-1"]]
    assert capsys.readouterr().err.split()[-9:] == (
        "compute, such as '=HYPERLINK(1)': --output FILE.json has it as it is").split()[-9:]
    with output.writer(str(tmp_path / "a.json"), Classification(), "file", names) as add:
        add(keys, np.eye(5, dtype=np.float32)[:3])
    assert capsys.readouterr().err == ""
    records = json.loads((tmp_path / "a.json").read_text())
    assert [record["file_"] for record in records] == keys
    assert [record["predicted_"] for record in records] == list(names[:3])


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("before")
    with pytest.raises(RequestError), output.writer(str(path), Regression(), "row", ("x",)) as add:
        add(["1"], np.ones((1, 1), np.float32))
        raise RequestError("broken off")
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]


def test_labels_from_the_threshold_on_in_a_table(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    tell = printing.printer(Multilabel(), "row", 3, ("cat", "dog"), 0)
    tell(["1", "2", "3"], np.float32([[0.9, 0.6], [0.2, 0.1], [0.3, 0.7]]))
    printed = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.split() for line in printed.splitlines()] == [
        ["row", "label", "probability"], ["1", "cat", "0.9000"], ["dog", "0.6000"], ["2"],
        ["3", "dog", "0.7000"]]


def test_scores_keep_to_80_cells_and_never_cut_a_number():
    names = [f"a class of a long name {n}" for n in range(10)]
    confusion = np.full((10, 10), 9_999).tolist()
    rows = {name: {"precision": 0.5, "recall": None, "f1": 1.0, "support": 99} for name in names}
    told = {"num_examples": 999_900, "split": "test", "checkpoint": "best", "step": 7,
            "accuracy": 0.1, "per_class": rows, "confusion": confusion}
    lines = scores.lines(told)
    assert max(map(len, lines)) <= 80 and sum(line.count("9999") for line in lines[-10:]) == 100
    many = {f"c{n}": {"f1": 0.5} for n in range(1000)}
    lines = scores.lines(told | {"per_class": many})
    assert "the first 50 of 1,000; --json has all" in lines and not any("9999" in x for x in lines)


# Another set, in a run's terms

TEST = Parts(validation="test")
PICTURES = np.zeros((6, 2, 2, 1), np.uint8)


def set_of(classes, **splits) -> Dataset:
    return Dataset("set", tuple(classes), {
        name: Split(PICTURES[: len(targets)], np.array(targets)) for name, targets in
        splits.items()}, "")


def test_which_split_judges():
    both = set_of("ab", train=[0, 1], test=[0], validation=[1])
    assert other.split_of(both, "test", False) == "test"
    assert other.split_of(both, "0.1", False) == other.split_of(both, "auto", False) == "test"
    assert other.split_of(both, "train", True) == "train"
    assert other.split_of(set_of("ab", train=[0], validation=[1]), "test", False) == "validation"
    assert other.split_of(set_of("ab", anything=[0, 1]), "test", False) == "anything"
    with pytest.raises(RequestError, match="has the splits a, b: say which"):
        other.split_of(set_of("ab", a=[0], b=[1]), "test", False)
    with pytest.raises(RequestError, match="from which a part could be held out"):
        other.split_of(both, "0.2", True)


def test_classes_are_numbered_as_the_run_does():
    found = other.examples(set_of(["1.0", "zoo", "Rose"], test=[2, 0, 1, 2, 1]), TEST,
                           ("rose", "1"), (2, 2, 1), "uint8")
    assert found.subset.split.targets.tolist() == [0, 1, 0] and found.left_out == {"zoo": 2}
    assert len(found.subset.split.inputs) == 3


def test_outputs_are_found_by_their_names():
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = Dataset("set", ("a", "b", "c"), {"test": Split(PICTURES[:2], numbers)}, "")
    found = other.examples(given, TEST, ("c", "a"), (2, 2, 1), "uint8")
    assert found.subset.split.targets.tolist() == [[2, 0], [5, 3]]
    assert "the run doesn't predict b, left out" in found.notes
    with pytest.raises(RequestError, match="set lacks d, which the run predicts: it has a, b, c"):
        other.examples(given, TEST, ("d", "a"), (2, 2, 1), "uint8")
    with pytest.raises(RequestError, match="has uint8 inputs of 2 × 2 × 1, and the run was trained "
                                           "on float32 of 4"):
        other.examples(given, TEST, ("a",), (4,), "float32")
