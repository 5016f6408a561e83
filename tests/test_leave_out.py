"""Columns that aren't learned from, and pixels whose columns' names have no numbers: both are kept
with the run."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest
from samples import Tiny

import launch as program
from engine import sources
from engine.config import Config, Hyper, Reading
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.job.host import begin
from engine.loaded import load
from engine.objects import arrays
from engine.parts.reading import featured
from engine.parts.reading import load as load_set
from engine.place import Place
from engine.request import Request
from engine.run import fit
from engine.sets.columns import Columns
from engine.sets.dataset import without
from engine.tables import frames, sheet
from engine.tables import table as source

pytestmark = pytest.mark.usefixtures("quickly")


def people(count: int, seed: int = 0) -> pd.DataFrame:
    """A number that tells the label, an id that does too, and free text."""
    rng = np.random.default_rng(seed)
    label = rng.choice(["no", "yes"], count)
    return pd.DataFrame({
        "PassengerId": np.arange(count) + 1000 * (label == "yes"),
        "age": rng.normal(30, 5, count) + 20 * (label == "yes"),
        "note": [f"what was said of number {n} is this" for n in range(count)],
        "label": label,
    })


def ran(folder, config: Config, data=None):
    place = Place(device="cpu", run_dir=str(folder), report=False)
    return fit(config, Hyper(learning_rate=3e-2), place, data, quiet=True)


@pytest.mark.parametrize("ending", ["csv", "parquet", "streamed"])
def test_a_column_left_out_is_no_feature(here, ending):
    people(60).to_csv("people.csv", index=False)
    people(60).to_parquet("people.parquet", index=False)
    name = f"people.{'csv' if ending == 'csv' else 'parquet'}"
    reading = Reading(leave_out="note, PassengerId")
    found = sources.load(f"table:{name}", reading=reading, stream=ending == "streamed")
    assert list(found.splits["train"].inputs.columns) == ["age"]
    assert found.left_out == ("PassengerId", "note")
    assert "columns left out, as asked: 'PassengerId', 'note'" in found.notes


def test_names_may_have_commas_and_what_is_told_can_be_pasted(here):
    table = people(60).rename(columns={"note": 'said, "so"', "PassengerId": "id, old"})
    table.to_csv("people.csv", index=False)
    with pytest.raises(RequestError, match="free text") as caught:
        sources.load("table:people.csv")
    pasted = shlex.split(str(caught.value).partition("--leave_out ")[2])[0].removesuffix(",")
    asked = f"id, old,{pasted}"
    found = sources.load("table:people.csv", reading=Reading(leave_out=asked))
    assert list(found.splits["train"].inputs.columns) == ["age"]
    given = arrays.of((table.drop(columns="label"), table["label"]))
    assert without(given, asked).left_out == ("id, old", 'said, "so"')
    table.assign(parts=[[1]] * 60).rename(columns={"parts": "a, b"}).to_parquet("people.parquet")
    with pytest.raises(RequestError, match="--leave_out 'a, b', or make a column of each"):
        sources.load("table:people.parquet")
    words = pd.DataFrame({"a b": [f"word {n}" for n in range(40)]})
    with pytest.raises(RequestError, match="out: --leave_out 'id,a b'.$"):
        Columns.fit(words, Reading(leave_out="id"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet", "streamed"])
def test_what_is_left_out_may_hold_what_no_column_may(here, ending):
    """Several lines, infinity, lists and bytes; on both sides of a block of the file."""
    count = 30_000
    made = people(count).assign(late=["1"] * (count - 1) + ["x"], far=np.inf)
    made["note"] = "two\n\"lines\", and a comma; " * 3
    if ending != "csv":
        made["parts"], made["raw"] = [[1, 2]] * count, b"raw"
    made = made[["note", "far", *made.columns.drop(["note", "far"])]]
    made.to_csv("t.csv", index=False) if ending == "csv" else made.to_parquet("t.parquet")
    name = f"t.{'csv' if ending == 'csv' else 'parquet'}"
    reading = Reading(leave_out="note,far,parts,raw,PassengerId", target="label")
    found = sources.load(f"table:{name}", reading=reading, stream=ending == "streamed")
    inputs = found.splits["train"].inputs
    assert list(inputs) == ["age", "late"] and len(inputs) == count
    assert frames.kind(inputs["late"]) == "word"
    frame = source.frame(name, reading)
    np.testing.assert_array_equal(frame["age"], made["age"])
    assert sheet.cells(name, "PassengerId", reading) == [str(n) for n in made["PassengerId"]]


@pytest.mark.slow
def test_predict_and_eval_take_tables_with_it_and_without(here, capsys):
    people(60).to_csv("people.csv", index=False)
    run = ran("run", Config(dataset="table:people.csv", model="linear", batch_size=16, epochs=2,
                            leave_out="note,PassengerId", validation_split="0.2"))
    assert run.columns.names == ("age",)
    other = people(30, 1)
    bare = other[["label", "age"]]
    other.to_csv("other.csv", index=False)
    bare.to_csv("bare.csv", index=False)
    scores = [evaluate(run.path, config=Config(**vars(run.learner.config) | {
        "dataset": f"table:{file}", "microbatch": 0})) for file in ("other.csv", "bare.csv")]
    assert scores[0] == scores[1] and scores[0]["num_examples"] == 30
    np.testing.assert_array_equal(run.predict(other), run.predict(bare))
    capsys.readouterr()
    for file, first in (("other.csv", other["PassengerId"][0]), ("bare.csv", 1)):
        assert program.main(["predict", "--run_dir", "run", file, "--device", "cpu"]) == 0
        assert capsys.readouterr().out.startswith(f"{first}\t")  # it names the rows still


def test_of_a_data_frame_too():
    table = people(40)
    config = Config(leave_out="PassengerId,note")
    data = table.drop(columns="label"), table["label"]
    _, _, columns = featured(*load_set(Request(config, data=data),
                                       begin(Place(device="cpu"), quiet=True)))
    assert columns.names == ("age",)


@pytest.mark.parametrize("leave_out, said", [
    ("passengerid", "unknown column of the table 'passengerid': did you mean PassengerId"),
    ("note,label", "'label' is what --target names: leave it out of one of both"),
    ("note,PassengerId,age", "it has no column besides the one that is learned"),
])
def test_what_cant_be_left_out_is_told(here, leave_out, said):
    people(60).to_csv("people.csv", index=False)
    config = Config(dataset="table:people.csv", model=Tiny, target="label",
                    leave_out=leave_out if "note" in leave_out else f"note,{leave_out}")
    with pytest.raises(RequestError, match=said):
        ran("run", config)
    assert not (here / "run").exists()


def test_where_there_are_no_columns_it_has_no_effect(tmp_path):
    with pytest.raises(RequestError, match="--leave_out id has no effect: digits has no such"):
        ran(tmp_path / "run", Config(dataset="digits", model=Tiny, leave_out="id"))


# Pixels without numbers in their names


def drawn(count: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Pictures of 2 × 2 of which the first pixel tells the class, their columns called by words."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, count)
    pixels = rng.integers(0, 100, (count, 4)).astype(np.uint8)
    pixels[:, 0] += (150 * label).astype(np.uint8)
    names = ["upper left", "upper right", "lower left", "lower right"]
    return pd.DataFrame(pixels, columns=names).assign(label=label), label


@pytest.mark.slow
def test_pixels_called_by_words_are_found_again_by_them(here, capsys):
    table, _ = drawn(80, 0)
    table.to_csv("pixels.csv", index=False)
    run = ran("run", Config(dataset="table:pixels.csv", model="linear", batch_size=16, epochs=3,
                            pixels=True))
    assert json.loads((run.path / "config.json").read_text())["pixels"] == list(table)[:4]
    other, label = drawn(30, 1)
    other[sorted(other)].to_csv("other.csv", index=False)
    expected = load(run.path).predict(other.to_numpy()[:, :4].astype(np.uint8).reshape(-1, 2, 2, 1))
    capsys.readouterr()
    assert program.main(["predict", "--run_dir", "run", "other.csv", "--device", "cpu"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [float(line[2]) for line in lines] == pytest.approx(expected.max(1), abs=1e-4)
    scores = evaluate("run", config=Config(**vars(run.learner.config) | {
        "dataset": "table:other.csv", "microbatch": 0}))
    assert scores["accuracy"] == (expected.argmax(1) == label).mean()
    elsewhere = evaluate("run", config=Config(**vars(run.learner.config) | {
        "dataset": "digits", "microbatch": 0}))  # which heeds no --pixels, as the run's own set did
    assert 0 <= elsewhere["accuracy"] <= 1
    other.rename(columns={"upper left": "first"}).to_csv("strange.csv", index=False)
    assert program.main(["predict", "--run_dir", "run", "strange.csv", "--device", "cpu"]) == 2
    assert "it lacks 1 of the 4 columns of pixels that the run learned from: 'upper left'" in \
        capsys.readouterr().err
    with pytest.raises(RequestError, match="columns of pixels aren't the run's"):
        evaluate("run", config=Config(**vars(run.learner.config) | {
            "dataset": "table:strange.csv", "microbatch": 0}))


def test_the_order_of_pixels_is_their_numbers_or_is_kept(here):
    table, _ = drawn(20, 0)
    table.to_csv("words.csv", index=False)
    numbered = dict(zip(table, [f"pixel{n}" for n in range(4)], strict=False))
    table.rename(columns=numbered).to_csv("numbers.csv", index=False)
    kept = {name: sources.load(f"table:{name}.csv", reading=Reading(pixels=True)).pixels
            for name in ("words", "numbers")}
    assert kept == {"words": tuple(table)[:4], "numbers": ()}
    mixed = table[sorted(table)]
    np.testing.assert_array_equal(source.pictures(mixed, (2, 2, 1), "uint8", kept["words"]),
                                  table.to_numpy()[:, :4].reshape(-1, 2, 2, 1))
