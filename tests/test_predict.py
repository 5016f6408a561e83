"""Predict and eval as typed, on a small run on pictures of bars: v vertical, h horizontal, d a
square. What they say is compared with `load(run).predict`."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from forks import LAUNCH
from PIL import Image

import launch as program
from engine import Config, Hyper, Place, RequestError, evaluate, fit, load
from engine.command import predictions
from engine.devices import memory
from engine.examples import Split
from engine.judging import judge
from engine.parts import other
from engine.report import run as report
from engine.sets.dataset import Dataset
from engine.store import record, target
from engine.store.checkpoint import Checkpoints

NETWORK = """
import flax.linen as nn

class Small(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(32)(x.reshape(len(x), -1) - 0.3))
        return nn.Dense(self.num_classes)(x)
"""
PLAIN = {"daisy": "v", "rose": "h", "tulip": "d"}
SHIFTED = {"rose": "h", "tulip": "d", "zinnia": "v"}
SIDE = 12


def bars(kind: str, rng: np.random.Generator, side: int = SIDE) -> Image.Image:
    pixels = rng.integers(0, 60, (side, side, 3))
    offset = rng.integers(0, 4)
    if kind == "v":
        pixels[:, offset::4] += 150
    elif kind == "h":
        pixels[offset::4, :] += 150
    else:
        pixels[3:9, 3:9] += 150
    return Image.fromarray(pixels.astype(np.uint8))


def drawn(folder: Path, kinds: dict[str, str], count: int, side: int = SIDE) -> Path:
    rng = np.random.default_rng(len(folder.name))
    for name, kind in kinds.items():
        (folder / name).mkdir(parents=True)
        for n in range(count):
            bars(kind, rng, side).save(folder / name / f"{n:02}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """The folders plain and shifted, and a run on the first."""
    folder = tmp_path_factory.mktemp("bars")
    (folder / "net.py").write_text(NETWORK)
    for split, count in (("train", 30), ("test", 10)):
        drawn(folder / "plain" / split, PLAIN, count)
    drawn(folder / "shifted" / "train", SHIFTED, 2)
    drawn(folder / "shifted" / "test", SHIFTED, 10)
    config = Config(dataset=f"image_folder:{folder / 'plain'}", model=f"{folder / 'net.py'}:Small",
                    validation_split="test", epochs=6, batch_size=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write", lambda *_: None)
        run = fit(config, Hyper(learning_rate=3e-3), Place(device="cpu", run_dir=str(
            folder / "run")), quiet=True)
    assert run.history[-1]["val_accuracy"] == 1
    return folder


@pytest.fixture
def typed(place, monkeypatch, capsys):
    """Exit status, output and errors of a command line, in the folder of all that."""
    monkeypatch.chdir(place)
    device = jax.config.jax_default_device

    def call(*words: str, run: str = "run") -> tuple[int, str, str]:
        status = program.main([*map(str, words), "--run_dir", run, "--device", "cpu"])
        return status, *capsys.readouterr()

    yield call
    jax.config.update("jax_default_device", device)


def by_hand(place: Path, files: list[str]) -> np.ndarray:
    pixels = np.stack([np.asarray(Image.open(place / file)) for file in files])
    return load(place / "run").predict(pixels)


TEST = [f"plain/test/{name}/{n:02}.png" for name in PLAIN for n in range(10)]


def test_what_is_predicted_is_what_python_says(place, typed):
    status, printed, _ = typed("predict", *TEST)
    names = load(place / "run").classes
    assert status == 0 and printed.splitlines() == [
        f"{file}\t{names[row.argmax()]}\t{row.max():.4f}"
        for file, row in zip(TEST, by_hand(place, TEST), strict=True)]
    assert [line.split("\t")[1] for line in printed.splitlines()] == [*np.repeat([*PLAIN], 10)]
    _, twice, _ = typed("predict", TEST[0], TEST[0])
    assert twice.splitlines() == [printed.splitlines()[0]] * 2


@pytest.mark.parametrize("words, listed", [
    (["plain/test"], ""), (["plain/test/daisy", "plain/test/rose", "plain/test/tulip"], ""),
    (["plain/test/*/*.png"], ""), (["plain/test/**/*.png"], ""), (["plain/tes?"], ""),
    (["-"], "\n".join(TEST)), (["-"], "\r\n".join([*TEST, ""])),
    (["plain/test/daisy", "-"], "plain/test/rose\n\nplain/test/tulip\n"),
])  # fmt: skip
def test_a_folder_a_glob_and_a_list_name_their_pictures(typed, monkeypatch, words, listed):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    status, printed, said = typed("predict", *words)
    assert status == 0, said
    assert sorted(line.split("\t")[0] for line in printed.splitlines()) == TEST


def test_what_a_folder_holds_is_sorted_and_a_name_with_a_star_is_itself(typed, place):
    image = Image.open(place / TEST[0])
    (place / "odd" / "b").mkdir(parents=True)
    for name in ("odd/b/z.png", "odd/a.JPG", "odd/c.png", "odd/[ab].png", "odd/.hidden.png"):
        image.save(place / name)
    (place / "odd" / "notes.txt").write_text("no picture")
    _, printed, _ = typed("predict", "odd")
    assert [line.split("\t")[0] for line in printed.splitlines()] == [
        "odd/[ab].png", "odd/a.JPG", "odd/b/z.png", "odd/c.png"]
    _, printed, _ = typed("predict", "odd/[ab].png")
    assert printed.startswith("odd/[ab].png\t")
    _, printed, _ = typed("predict", "odd/*.png")  # and so is what it matches
    assert [line.split("\t")[0] for line in printed.splitlines()] == ["odd/[ab].png", "odd/c.png"]


def test_the_likeliest_classes_with_their_probabilities(place, typed):
    status, printed, _ = typed("predict", *TEST[:3], "--top", "2")
    names, rows = load(place / "run").classes, by_hand(place, TEST[:3])
    order = np.argsort(-rows, axis=1)
    assert status == 0 and printed.splitlines() == [
        "\t".join([file, names[o[0]], f"{row[o[0]]:.4f}", names[o[1]], f"{row[o[1]]:.4f}"])
        for file, row, o in zip(TEST, rows, order, strict=False)]
    _, every, _ = typed("predict", TEST[0], "--top", "99")
    assert len(every.split("\t")) == 7


def test_all_probabilities_in_a_file_are_the_models_own(place, typed):
    rows, names = by_hand(place, TEST), list(load(place / "run").classes)
    status, printed, _ = typed("predict", "plain/test", "--output", "all.csv")
    assert status == 0 and len(printed.splitlines()) == len(TEST)
    with open(place / "all.csv", newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["file", "predicted", *names]
    assert [line[0] for line in lines] == TEST
    assert [line[1] for line in lines] == [names[row.argmax()] for row in rows]
    np.testing.assert_array_equal(np.float32([line[2:] for line in lines]), rows)
    assert typed("predict", "plain/test", "--output", "all.json")[0] == 0
    records = json.loads((place / "all.json").read_text())
    assert [list(record) for record in records] == [head] * len(TEST)
    assert [record["file"] for record in records] == TEST
    np.testing.assert_array_equal(np.float32([[r[n] for n in names] for r in records]), rows)
    assert not list(place.glob(".all*"))


@pytest.mark.parametrize("words, listed, said", [
    ([], "", "predict needs something to predict"),
    (["absent.png"], "", "absent.png: no such file."),
    ([f"absent{n}.png" for n in range(12)], "", "absent9.png and 2 more: no such file."),
    (["run/checkpoints"], "", "run/checkpoints holds no .png"),
    (["plain/*.gif"], "", "plain/*.gif matches no file"),
    (["-"], "", "standard input names no file"), (["-"], "\n\n", "standard input names no file"),
    (["-"], "x" * (1 << 17), "standard input has a line of 65,536 bytes or more"),
    (["-"], "absent.png\n", "absent.png: no such file."),
    ([TEST[0], "--output", "all.xlsx"], "", "--output all.xlsx: type a name that ends in .csv or"),
    ([TEST[0], "--output", "all"], "", "--output all: type a name that ends in .csv or .json."),
    ([TEST[0], "--output", "no/all.csv"], "", "--output no/all.csv: there is no folder no"),
    ([TEST[0], "--output", "plain.json"], "", "--output plain.json can't be written there"),
    (["net.py"], "", "net.py is not an image that can be read"),
])  # fmt: skip
def test_what_can_t_be_predicted_is_told_by_its_words(
    typed, place, monkeypatch, words, listed, said
):
    (place / "plain.json").mkdir(exist_ok=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    monkeypatch.setattr(predictions, "load", lambda *_: pytest.fail("it was computed"))
    before = sorted(place.rglob("*"))
    status, printed, error = typed("predict", *words)
    assert (status, printed) == (2, "") and said in error and "Traceback" not in error
    assert sorted(place.rglob("*")) == before


def test_an_output_is_never_the_input(typed, place):
    Image.open(place / TEST[0]).save(place / "picture.csv", "PNG")
    status, _, error = typed("predict", "picture.csv", "--output", "picture.csv")
    assert status == 2 and "picture.csv is what is to be predicted" in error
    assert Image.open(place / "picture.csv").size == (SIDE, SIDE)


@pytest.fixture
def damaged(place) -> Path:
    """Fourteen files: two without a picture's header, one cut off, eleven whole."""
    folder = place / "damaged"
    if not folder.exists():
        drawn(folder, {"a": "v"}, 14)
        (folder / "a/03.png").write_bytes(b"")
        whole = (folder / "a/05.png").read_bytes()
        (folder / "a/05.png").write_bytes(whole[: len(whole) // 2])
        (folder / "a/07.png").write_bytes(b"GIF not really")
    return folder


BAD = [f"damaged/a/{n}.png" for n in ("03", "05", "07")]


def test_all_damaged_pictures_are_named_at_once(typed, damaged, place):
    status, printed, error = typed("predict", "damaged", "--output", "some.csv")
    assert (status, printed) == (2, "") and "3 of 14 pictures, which can't be read" in error
    assert re.findall(r"^  (\S+) is not an image", error, re.M) == [BAD[0], BAD[2], BAD[1]]
    assert "--skip_bad" in error and not (place / "some.csv").exists()
    status, printed, error = typed("predict", "damaged/a/05.png", TEST[0], "--output", "some.csv")
    assert status == 2 and "1 of 2 pictures" in error and not list(place.glob("*some.csv*"))


def test_damaged_pictures_are_left_out_and_counted_where_that_is_asked_for(typed, damaged, place):
    status, printed, error = typed("predict", "damaged", "--skip_bad", "--output", "some.csv")
    whole = [f"damaged/a/{n:02}.png" for n in range(14) if n not in (3, 5, 7)]
    assert status == 0 and [line.split("\t")[0] for line in printed.splitlines()] == whole
    assert "left out 3 of 14 pictures" in error and all(name in error for name in BAD)
    assert len((place / "some.csv").read_text().splitlines()) == 12
    status, printed, error = typed("predict", *BAD, "--skip_bad", "--output", "none.csv")
    assert (status, printed) == (2, "") and "mend 3 of 3 pictures" in error
    assert not (place / "none.csv").exists()


def test_a_refusal_names_ten_and_counts_the_others(typed, place):
    names = [f"bad/{n:02}.png" for n in range(13)]
    (place / "bad").mkdir()
    for name in names:
        (place / name).write_bytes(b"")
    _, _, error = typed("predict", "bad")
    assert error.count("is not an image") == 10 and "  and 3 more" in error


def test_a_terminal_gets_a_table(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(predictions, "BATCH", 2)
    stdout = io.StringIO()
    stdout.isatty = lambda: True
    with contextlib.redirect_stdout(stdout):
        typed("predict", *TEST[8:12], "--top", "2")
    head, *lines = re.sub(r"\x1b\[[0-9;]*m", "", stdout.getvalue()).splitlines()
    assert head.split() == ["file", "class", "probability"]
    assert [len(line.split()) for line in lines] == [3, 2] * 4
    assert [line.split()[0] for line in lines[::2]] == TEST[8:12]
    assert {line.index(line.split()[-1]) for line in lines} == {head.index("probability")}


@pytest.mark.slow
@pytest.mark.parametrize("words, status", [(["--output", "all.csv"], 0), ([], 141)])
def test_a_file_is_whole_whoever_reads_the_lines(typed, place, words, status):
    """`| head` closes the pipe that they are written to."""
    assert typed("predict", *TEST * 20, "--output", "other.csv")[0] == 0
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, LAUNCH, "predict", "--run_dir", "run", *TEST * 20, *words]
    done = subprocess.run(command, cwd=place, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (status, "")
    for file in words[1:]:
        assert (place / file).read_text() == (place / "other.csv").read_text()


# Eval


def test_eval_is_a_table_for_a_person_and_json_for_machines(typed, place):
    status, printed, _ = typed("eval")
    lines = printed.splitlines()
    assert status == 0 and max(map(len, lines)) <= 80
    assert lines[0].startswith("30 examples of test, by the best checkpoint")
    assert "accuracy" in printed and "rose      1.0000  1.0000  1.0000       10" in printed
    assert lines[-3:] == [f"{name:20}  {cells}" for name, cells in zip(
        PLAIN, ("   10     0      0", "    0    10      0", "    0     0     10"), strict=True)]
    found = json.loads(typed("eval", "--json")[1])
    assert found["confusion"] == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert found == evaluate(place / "run", place=Place(device="cpu"))


def test_eval_predict_and_load_take_the_best_unless_told(place, typed):
    """Of a run whose last epoch forgot all that it had learned."""
    state = load(place / "run").state
    forgot = jax.tree.map(np.zeros_like, state.params)
    shutil.copytree(place / "run", place / "forgetful")
    with Checkpoints(place / "forgetful" / "checkpoints") as kept:
        kept.save(state._replace(step=state.step + 1, params=forgot), 0.0, 0.0)
        kept.wait()
    told = {name: (json.loads(typed("eval", "--json", *words, run="forgetful")[1]),
                   typed("predict", TEST[0], *words, run="forgetful")[1].split("\t")[2].strip(),
                   int(load(place / "forgetful", **kind).state.step))
            for name, words, kind in (("best", (), {}),
                                      ("last", ("--checkpoint", "last"), {"checkpoint": "last"}))}
    for name, step, accuracy in (("best", 18, 1.0), ("last", 19, 1 / 3)):
        scores, probability, loaded = told[name]
        assert (scores["checkpoint"], scores["step"], loaded) == (name, step, step)
        assert scores["accuracy"] == pytest.approx(accuracy)
        assert (probability == "0.3333") == (name == "last")


@pytest.mark.slow
def test_another_set_is_judged_by_the_names_of_its_classes(typed):
    status, printed, error = typed("eval", "--dataset", "image_folder:shifted", "--json")
    found = json.loads(printed)
    assert status == 0 and found["split"] == "test" and found["num_examples"] == 20
    assert found["confusion"] == [[0, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert found["accuracy"] == 1 and found["left_out"] == {"zinnia": 10}
    _, shown, _ = typed("eval", "--dataset", "image_folder:shifted")
    assert "macro means are without 1 neither there nor predicted" in shown
    assert "left out: 10 of 30, of classes that the run doesn't know: zinnia (10)" in error
    assert "without an example there: daisy" in error
    _, printed, error = typed("eval", "--dataset", "image_folder:shifted", "--json",
                              "--validation_split", "train")
    assert json.loads(printed)["left_out"] == {"zinnia": 2}
    _, printed, _ = typed("eval", "--dataset", "image_folder:shifted/train", "--json")
    found = json.loads(printed)
    assert (found["split"], found["num_examples"], found["accuracy"]) == ("train", 4, 1)


@pytest.mark.slow
def test_another_sets_pictures_are_not_called_by_the_table_of_the_runs_own(typed, place):
    """Files of both are called alike: 00.png is a daisy here, and a tulip there."""
    for name in ("tabled", "turned"):
        (place / name).mkdir()
    rows = ["file,label"]
    for at, (name, opposite) in enumerate(zip(PLAIN, reversed(PLAIN), strict=True)):
        for n in range(10):
            file = f"{10 * at + n:02}.png"
            rows.append(f"{file},{name}")
            shutil.copy(place / f"plain/test/{name}/{n:02}.png", place / "tabled" / file)
            (place / "turned" / opposite).mkdir(exist_ok=True)
            shutil.copy(place / f"plain/test/{opposite}/{n:02}.png",
                        place / "turned" / opposite / file)
    (place / "table.csv").write_text("\n".join(rows))
    config = dataclasses.replace(record.read(place / "run/config.json").request.config, epochs=1,
                                 dataset="image_folder:tabled", labels="table.csv", batch_size=6,
                                 validation_split="0.2", init_from="run")
    fit(config, Hyper(learning_rate=1e-6), Place(device="cpu", run_dir="by-table"), quiet=True)
    status, printed, error = typed("eval", "--json", "--dataset", "image_folder:turned",
                                   run="by-table")
    assert status == 0 and json.loads(printed)["accuracy"] == 1, error
    assert "classes are named by the folders of the set" in error
    _, printed, error = typed("eval", "--json", "--dataset", "image_folder:turned", "--labels",
                              "table.csv", run="by-table")
    assert json.loads(printed)["accuracy"] == pytest.approx(1 / 3) and "table.csv" in error


@pytest.mark.slow
def test_another_sets_pictures_are_brought_to_the_runs_shape(typed, place):
    if not (place / "grey").exists():
        for name in ("rose", "tulip"):
            (place / "grey" / name).mkdir(parents=True)
            for n in range(10):
                image = Image.open(place / f"plain/test/{name}/{n:02}.png").convert("L")
                image.resize((30, 30), Image.Resampling.NEAREST).save(
                    place / "grey" / name / f"{n}.png")
    status, printed, error = typed("eval", "--dataset", "image_folder:grey", "--json")
    assert status == 0, error
    found = json.loads(printed)
    assert found["accuracy"] == 1 and found["num_examples"] == 20
    assert "its pictures of 12 × 12 × 1 are brought to the run's 12 × 12 × 3" in error
    for size in ((), ("--image_size", "8")):  # and one that has to be brought to it
        _, printed, _ = typed("eval", "--dataset", "image_folder:grey", "--json", *size)
        _, streamed, error = typed("eval", "--dataset", "image_folder:grey", "--json", "--stream",
                                   "--workers", "0", *size)
        assert json.loads(streamed) == json.loads(printed) and "stream: as asked" in error


@pytest.mark.slow
def test_another_set_that_outgrows_the_memory_is_streamed(typed, monkeypatch):
    _, printed, _ = typed("eval", "--dataset", "image_folder:shifted", "--json")
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    _, streamed, error = typed("eval", "--dataset", "image_folder:shifted", "--json")
    assert json.loads(streamed) == json.loads(printed)
    assert "stream: its 0.0 GB don't fit the 0.0 GB that the device has free" in error


def test_a_set_that_has_changed_does_not_judge_by_what_may_have_been_learnt(place):
    saved = record.read(place / "run/config.json")
    config = dataclasses.replace(saved.request.config, validation_split="train")
    held = Split(np.zeros((2, SIDE, SIDE, 3), np.uint8), np.arange(2, dtype=np.int32))
    changed = Dataset("image_folder", tuple(PLAIN), {"train": held}, "another")
    with pytest.raises(RequestError, match="has changed since the run .*, so that nobody knows"):
        judge._on_other(place / "run", saved, saved.request._replace(config=config), changed, None,
                        None, "")
    red = saved.request._replace(config=dataclasses.replace(config, background="red"),
                                 place=dataclasses.replace(saved.request.place, stream=True))
    with pytest.raises(RequestError, match="plain is read by --background red --stream, which is "
                                           "not how the run .* read it .leave that out.*nobody"):
        judge._on_other(place / "run", saved, red, changed, None, None, "")


@pytest.mark.parametrize("trained, validated, typed, present", [
    ("train[:80%]", "train[80%:]", "", "train"), ("train[:80%]", "train[80%:]", "train", "train"),
    ("all", "0.2", "", "train"), ("train+test", "auto", "", "train test"),
    ("val[:5] + train[10:]", "auto", "train[:10]", "train val"),
    ("train", "auto", "test[:9]+train[:9]", "test train"),
])
def test_a_split_of_which_a_part_was_trained_on_does_not_judge_either(
    place, trained, validated, typed, present
):
    saved = record.read(place / "run/config.json")
    config = dataclasses.replace(saved.request.config, train_split=trained,
                                 validation_split=validated)
    now = dataclasses.replace(config, validation_split=typed or validated)
    request = saved.request
    held = Split(np.zeros((20, SIDE, SIDE, 3), np.uint8), np.arange(20, dtype=np.int32) % 2)
    changed = Dataset("image_folder", tuple(PLAIN), dict.fromkeys(present.split(), held), "another")
    with pytest.raises(RequestError, match="nobody knows what of it was trained on"):
        judge._on_other(place / "run", saved._replace(request=request._replace(config=config)),
                        request._replace(config=now), changed, None, None, "")


def test_another_sets_numbers_are_found_by_their_names():
    theirs = Dataset("set", ("b", "a", "c"), {}, "")
    found, _, notes = other._reordered(np.arange(6).reshape(2, 3), theirs, ("a", "b"))
    assert found.tolist() == [[1, 0], [4, 3]] and notes == ["the run doesn't predict c, left out"]


@pytest.mark.parametrize("words, said", [
    (["--dataset", "image_folder:strange"], "has a class that the run knows, daisy, rose, tulip: "
                                            "its classes are x, y."),
    (["--dataset", "image_folder:shifted", "--validation_split", "0.1"],
     "nothing of image_folder was trained on, from which a part could be held out"),
    (["--dataset", "image_folder:shifted", "--validation_split", "tset"], "did you mean test"),
    (["--dataset", "image_folder:nowhere"], "image_folder:nowhere: No such file"),
    (["--dataset", "iris"], "learned from arrays, and iris is a table"),
])  # fmt: skip
def test_a_set_that_can_t_judge_is_refused(typed, place, words, said):
    if not (place / "strange").exists():
        drawn(place / "strange", {"x": "v", "y": "h"}, 2)
    status, printed, error = typed("eval", *words)
    assert (status, printed) == (2, "") and said in error and "Traceback" not in error


def test_a_folder_is_replaced_where_it_is_such_a_one(tmp_path):
    file, holds = tmp_path / "m.saved_model", "saved_model.pb"
    assert target.of(str(file), ".saved_model", holds=holds) == file
    for make in (file.touch, file.mkdir):
        make()
        with pytest.raises(RequestError, match="can't be written there: name another"):
            target.of(str(file), ".saved_model", holds=holds)
        if file.is_file():
            file.unlink()
    (file / holds).touch()
    assert target.of(str(file), ".saved_model", holds=holds) == file
