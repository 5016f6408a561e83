"""Several columns of a table that are learned: labels, or numbers, each by its name."""

import json

import numpy as np
import pandas as pd
import pytest

import launch as program
from engine import sources
from engine.config import Reading
from engine.errors import RequestError
from engine.parts.targets import suited

CELLS = pd.DataFrame({
    "a": [3.5, 1.0, 2.0, 4.0], "up": [1, 0, 1, 0], "left": [True, False, False, True],
    "far": [0.5, -2.0, 1e3, 0.25],
})


def load(path, **reading):
    return sources.load(f"table:{path}", reading=Reading(**reading))


def by_a(dataset, split="train"):
    """Inputs and targets in the order of the column a."""
    held = dataset.splits[split]
    order = np.argsort(held.inputs["a"].to_numpy())
    return held.inputs.iloc[order], held.targets[order]


def test_each_column_is_an_output_of_its_name(tmp_path):
    """Whatever the file, and in the order that is asked for."""
    CELLS.to_csv(tmp_path / "t.csv", index=False)
    CELLS.to_csv(tmp_path / "t.txt", index=False, sep=";", decimal=",")
    CELLS.to_parquet(tmp_path / "t.parquet")
    wanted = np.float32([[-2, 0, 0], [1e3, 1, 0], [0.5, 1, 1], [0.25, 0, 1]])
    for name in ("t.csv", "t.txt", "t.parquet"):
        found = load(tmp_path / name, target="far, up,left")
        inputs, targets = by_a(found)
        assert found.classes == ("far", "up", "left") and [*inputs.columns] == ["a"]
        np.testing.assert_array_equal(targets, wanted)
        assert targets.dtype == np.float32
        assert "the 3 columns 'far', 'up', 'left' are learned, as --target says" in found.notes


def test_rows_have_one_order_whatever_the_files(tmp_path):
    CELLS.to_csv(tmp_path / "one.csv", index=False)
    CELLS[::-1].to_csv(tmp_path / "other.csv", index=False)
    one, other = (load(tmp_path / f"{name}.csv", target="up,left") for name in ("one", "other"))
    assert one.fingerprint == other.fingerprint
    np.testing.assert_array_equal(one.splits["train"].targets, other.splits["train"].targets)


def test_an_empty_cell_is_no_number_and_a_file_without_a_column_has_none(tmp_path):
    CELLS.assign(far=[0.5, None, 1e3, 0.25]).to_csv(tmp_path / "train.csv", index=False)
    CELLS.drop(columns="up").to_csv(tmp_path / "test.csv", index=False)
    found = load(tmp_path, target="up,far")
    _, targets = by_a(found)
    np.testing.assert_array_equal(targets, np.float32([[0, np.nan], [1, 1e3], [1, 0.5], [0, 0.25]]))
    _, targets = by_a(found, "test")
    assert np.isnan(targets[:, 0]).all() and targets[0, 1] == -2
    assert "test has no column 'up': its 4 rows are unlabelled" in found.notes


def test_a_name_with_a_comma_is_one_column_and_numbers_name_those_without_a_header(tmp_path):
    CELLS.rename(columns={"far": "up,left"}).to_csv(tmp_path / "t.csv", index=False)
    found = load(tmp_path / "t.csv", target="up,left")
    assert found.classes == ("up,left",) and found.splits["train"].targets.ndim == 1
    np.savetxt(tmp_path / "n.csv", np.arange(40).reshape(10, 4) ** 2, delimiter=",", fmt="%d")
    found = load(tmp_path / "n.csv", target="0,3")
    assert found.classes == ("0", "3") and [*found.splits["train"].inputs.columns] == ["1", "2"]


@pytest.mark.parametrize("target, said", [
    ("up,nope", "unknown column of the table 'nope': choose from a, far, left, up, word"),
    ("up,word", "its target 'word' holds 'x', and of several each is a number, or true or false"),
])
def test_what_is_no_number_is_no_target_of_several(tmp_path, target, said):
    CELLS.assign(word=[*"xyxy"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(RequestError, match=said):
        load(tmp_path / "t.csv", target=target)


def test_labels_are_there_or_not(tmp_path):
    """A sigmoid's loss of 0.37 would be learned without a word."""
    CELLS.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(RequestError, match="that are neither 0 nor 1, and the task wants labels"):
        suited(load(tmp_path / "t.csv", target="far,up"), "labels")
    found, _ = suited(load(tmp_path / "t.csv", target="left,up"), "labels")
    assert found.splits["train"].targets.shape == (4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("target, task, least", [
    ("up,left", "multilabel", {"f1_micro": 0.95}), ("sum,gap", "regression", {"r2": 0.98}),
])
def test_they_are_learned_judged_and_predicted_from_the_command_line(
    here, capsys, target, task, least
):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400))
    made = pd.DataFrame({"x": x, "y": y, "up": (y > 0).astype(int), "left": x < 0.3,
                         "sum": 50 + 9 * (x + y), "gap": x - 2 * y})
    made = made[["x", "y", *target.split(",")]]
    made[:320].to_csv("train.csv", index=False)
    made[320:].to_csv("more.csv", index=False)
    words = ["--dataset", "table:train.csv", "--target", target, "--model", "linear", "--epochs",
             "12", "--batch_size", "16", "--learning_rate", "0.1", "--device", "cpu", "--noreport",
             "--run_dir", "run"]
    assert program.main(words) == 0
    assert f"task: {task}, since the targets are" in capsys.readouterr().out
    assert program.main(["eval", "--run_dir", "run", "--dataset", "table:more.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert all(scores[name] >= value for name, value in least.items())
    assert program.main(["predict", "--run_dir", "run", "more.csv", "--output", "told.csv"]) == 0
    told = pd.read_csv("told.csv")
    assert [*told.columns][1:] == target.split(",") and len(told) == 80
    off = np.abs(told.iloc[:, 1:] - made.iloc[320:, 2:].to_numpy().astype(float))
    assert np.mean(off < {"multilabel": 0.5, "regression": 2}[task]) > 0.95
