"""Pictures in tables: known answers, what is refused and in which words."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch as program
from engine import sources
from engine.command import flags
from engine.config import Reading
from engine.errors import RequestError
from engine.store import folder
from engine.tables import pixels

HEADER = "label,p0,p1,p2,p3\n"
SOUND = HEADER + "cat,0,1,2,3\ndog,255,254,253,252\n"


def load(path, **kwargs):
    return sources.load(f"csv:{path}", **kwargs)


@pytest.fixture
def read(tmp_path):
    """The set in a CSV file of that content."""

    def written(content: str | bytes, **kwargs):
        path = tmp_path / "set.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load(path, **kwargs)

    return written


@pytest.fixture
def refused(read):
    def told(content, words, **kwargs):
        with pytest.raises(RequestError, match=words) as caught:
            read(content, **kwargs)
        assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 600

    return told


def export(path, split, names=None):
    """A split in the way of Kaggle's Digit Recognizer, by NumPy's writer."""
    rows = np.column_stack([split.targets, split.inputs.reshape(len(split.targets), -1)])
    columns = names or ["label", *(f"pixel{n}" for n in range(rows.shape[1] - 1))]
    np.savetxt(path, rows, "%d", ",", header=",".join(columns), comments="")


def rows(split):
    """Its examples as a multiset, whatever their order."""
    return sorted((int(y), x.tobytes()) for x, y in zip(*split[:2], strict=True))


def test_digits_written_as_csv_are_digits(tmp_path):
    digits = sources.load("digits", reading=Reading(8))
    (tmp_path / "digits").mkdir()
    for split, content in digits.splits.items():
        export(tmp_path / f"digits/{split}.csv", content)
    (tmp_path / "digits/sample_submission.csv").write_text("another table")
    found = load(tmp_path / "digits")
    assert found.classes == digits.classes and list(found.splits) == ["train", "test"]
    for split, content in digits.splits.items():
        assert rows(found.splits[split]) == rows(content)
        assert found.splits[split].inputs.dtype == np.uint8
        assert found.splits[split].targets.dtype == np.int32
    alone = load(tmp_path / "digits/test.csv")
    assert np.array_equal(alone.splits["train"].inputs, found.splits["test"].inputs)
    enlarged, expected = load(tmp_path / "digits", reading=Reading(32)), sources.load("digits")
    assert rows(enlarged.splits["test"]) == rows(expected.splits["test"])
    assert list(load(tmp_path / "digits", splits=["test"]).splits) == ["test"]
    with pytest.raises(RequestError, match="unknown split of table 'tset'.*test"):
        load(tmp_path / "digits", splits=["tset"])


def test_rows_have_one_order_whatever_the_files(read):
    """In order of the label, as tables often lie, a slice would take whole classes away."""
    digits = sources.load("digits", reading=Reading(8)).splits["train"]
    lines = [",".join(map(str, (y, *x.ravel()))) for x, y in zip(*digits[:2], strict=True)]
    header = ",".join(["label", *(f"pixel{n}" for n in range(64))])
    by_label = read("\n".join([header, *sorted(lines)]))
    mixed = read("\n".join([header, *np.random.default_rng(1).permutation(lines).tolist()]))
    assert by_label.fingerprint == mixed.fingerprint
    labels = by_label.splits["train"].targets
    shares = np.bincount(labels[: len(labels) // 5]) / np.bincount(labels)
    assert 0.1 < shares.min() and shares.max() < 0.3
    names = header.split(",")
    order = np.random.default_rng(2).permutation(65)
    turned = read("\n".join(",".join(np.array(line.split(","))[order])
                            for line in [",".join(names), *lines]))
    assert turned.fingerprint == mixed.fingerprint


def test_colour_is_by_row_column_channel(read):
    pixels_HxWxC = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    row = ",".join(map(str, pixels_HxWxC.ravel()))
    found = read("label," + ",".join(map(str, range(75))) + f"\nx,{row}\n")
    assert np.array_equal(found.splits["train"].inputs, pixels_HxWxC[None])
    resized = Image.fromarray(pixels_HxWxC).resize((9, 9), Image.Resampling.BILINEAR)
    found = read("label," + ",".join(map(str, range(75))) + f"\nx,{row}\n",
                 reading=Reading(9))
    assert np.array_equal(found.splits["train"].inputs[0], np.asarray(resized))


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + SOUND.encode(),
    SOUND.replace("\n", "\r\n"),
    SOUND.replace("\n", "\r"),
    SOUND.rstrip("\n"),
    SOUND + "\n\n",
    SOUND.replace(",", " , "),
    '"label","p0","p1","p2","p3"\n"cat","0","1","2","3"\n"dog","255","254","253","252"\n',
    "p0,p1,label,p2,p3\n0,1,cat,2,3\n255,254,dog,253,252\n",
    "p0,p1,p2,p3,label\n0,1,2,3,cat\n+255,254,0253,252,dog\n",
    "kind,p0,p1,p2,p3\ncat,0,1,2,3\ndog,255,254,253,252\n",
    "label,p3,p2,p1,p0\ncat,3,2,1,0\ndog,252,253,254,255\n",
    "dog,p0,p1,p2,p3\ncat,0,1,2,3\ndog,255,254,253,252\n",
    SOUND.replace(",", ";"),
    SOUND.replace(",", "\t"),
    SOUND.replace(",", "|"),
    ",label,p0,p1,p2,p3\n0,cat,0,1,2,3\n1,dog,255,254,253,252\n",
    "label,p0,p1,p2,p3\ncat,0.0,1.0,2,3\ndog,255,2.54e2,253,252\n",
    SOUND.replace("cat", " cat "),
    "label,0,1,2,3\ncat,0,1,2,3\ndog,255,254,253,252\n",
    "class,0,0.1,0.2,0.3\ncat,0,1,2,3\ndog,255,254,253,252\n",
])  # fmt: skip
def test_every_way_to_write_it_is_the_same(content, read):
    sound, found = read(SOUND), read(content)
    inputs, targets = sound.splits["train"][:2]
    assert inputs[targets.argsort()].tolist() == [[[[0], [1]], [[2], [3]]],
                                                  [[[255], [254]], [[253], [252]]]]
    assert sound.classes == found.classes == ("cat", "dog")
    assert sound.fingerprint == found.fingerprint


def test_the_one_column_that_is_no_pixel_is_learned(read):
    found = read("kind,p0,p1,p2,p3\ncat,0,1,2,3\ndog,255,254,253,252\n")
    assert "the column 'kind' is learned, as the one that is no pixel" in found.notes


def test_fractions_of_one_are_pictures_as_they_are(read):
    names = ",".join(f"x{n}" for n in range(64))
    values = np.random.default_rng(0).random((3, 64)).round(4)
    lines = [",".join(map(str, (*row, label))) for row, label in zip(values, "aba", strict=True)]
    found = read("\n".join([f"{names},label", *lines]))
    inputs = found.splits["train"].inputs
    assert inputs.dtype == np.float32 and inputs.shape == (3, 8, 8, 1)
    assert sorted(x.tolist() for x in inputs.reshape(3, -1)) \
        == sorted(x.tolist() for x in values.astype(np.float32))  # fmt: skip
    bits = read(f"{names},label\n" + "0,1," * 32 + "a\n" + "1,1," * 32 + "b\n")
    assert bits.splits["train"].inputs.dtype == np.float32 == inputs.dtype
    assert bits.splits["train"].inputs.max() == 1
    with pytest.raises(RequestError, match="fractions, which --image_size can't resize"):
        read("\n".join([f"{names},label", *lines]), reading=Reading(16))


@pytest.mark.parametrize("names, values, pictured", [
    (["pixel0", "pixel1", "pixel2", "pixel3"], [0, 1, 2, 3], True),
    (["1x1", "1x2", "2x1", "2x2"], [0, 1, 2, 3], True),
    (["length", "width", "height", "weight"], [0, 1, 2, 3], False),  # as iris has them
    (["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9"], [0, 1, 2, 3, 4, 5, 6, 7, 8], False),
    (["p0", "p1", "p2", "p3"], [0, 1, 2, 256], False),
    (["p0", "p1", "p2", "p3"], [0, 1, 2, 2.5], False),
    (["p0", "p1", "p2"], [0, 1, 2], False),
    (["p0"], [7], False),
    ([f"v{n}" for n in range(64)], [*range(64)], True),
    ([f"v{n}" for n in range(64)], [*range(63), 256], False),
    ([f"v{n}" for n in range(63)], [*range(63)], False),
])  # fmt: skip
def test_pixels_are_told_by_names_and_numbers(names, values, pictured, read):
    lines = [",".join(map(str, row)) for row in ((*values, "a"), (*[0] * len(values), "b"))]
    table = "\n".join([",".join([*names, "label"]), *lines])
    found = read(table)
    assert isinstance(found.splits["train"].inputs, np.ndarray) == pictured
    assert any("each row is a picture" in note for note in found.notes) == pictured
    if pixels.shape(len(names)) and max(values) < 256 and all(map(float.is_integer,
                                                                  map(float, values))):
        asked = read(table, reading=Reading(pixels=True)).splits["train"].inputs
        assert sorted(values) in [sorted(x.ravel().tolist()) for x in asked]


@pytest.mark.parametrize("cell, words", [
    ("256", "1 of its pixels are none, as 256 of 'pixel2'; pixels are whole numbers"),
    ("-1", "as -1 of 'pixel2'"), ("", "as an empty cell of 'pixel2'"), ("1.5", "as 1.5 of"),
    ("x", "its pixels 'pixel2' are words"), ("1_0", "its pixels 'pixel2' are words"),
    ("9" * 300, r"as 1e\+300 of 'pixel2'"),
])  # fmt: skip
def test_columns_that_are_called_pixels_must_be_some(cell, words, refused):
    refused(SOUND.replace("p", "pixel") + f"cat,0,1,{cell},3\n", words)


def test_files_of_a_folder_are_one_set(tmp_path):
    for split, label in (("train", "10"), ("validation", "9"), ("test", "8")):
        (tmp_path / f"{split}.csv").write_text(f"label,p0,p1,p2,p3\n{label},5,6,7,8\n")
    found = load(tmp_path)
    assert found.classes == ("8", "9", "10")
    assert {split: data.targets.tolist() for split, data in found.splits.items()} \
        == {"train": [2], "validation": [1], "test": [0]}  # fmt: skip
    (tmp_path / "test.csv").write_text("p1,label,p3,p2,extra\n2,8,4,3,9\n")
    with pytest.raises(RequestError, match="test.csv lacks 1 of the 4 columns of train.csv: 'p0'"):
        load(tmp_path)
    (tmp_path / "test.csv").write_text("p1,label,p3,p2,extra,p0\n2,8,4,3,9,1\n")
    found = load(tmp_path)
    assert found.splits["test"].inputs.ravel().tolist() == [1, 2, 3, 4]
    assert "test: columns that train.csv lacks are left out: 'extra'" in found.notes
    (tmp_path / "Train.CSV").write_text("label,p0\n")
    with pytest.raises(RequestError, match="Train.CSV and train.csv are both its train split"):
        load(tmp_path)
    (tmp_path / "train.csv").unlink()
    (tmp_path / "Train.CSV").unlink()
    with pytest.raises(RequestError, match="no train.csv or train.parquet: it has 'test.csv', 'va"):
        load(tmp_path)
    (tmp_path / "validation.csv").unlink()
    assert list(load(tmp_path).splits) == ["train"]  # the only table is the set
    (tmp_path / "mnist_train.csv").write_text("label,p0,p1,p2,p3\n9,5,6,7,8\n")
    (tmp_path / "test.csv").rename(tmp_path / "mnist_test.csv")
    (tmp_path / "sample_submission.csv").write_text("another table")
    assert list(load(tmp_path).splits) == ["train", "test"]


def test_paths_that_are_no_files_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path, words in ((tmp_path / "absent", "absent: No such file or directory; type the path"),
                        (tmp_path / "pipe", "pipe: it is no regular file; type the path of a CSV"),
                        ("/dev/zero", "it is no regular file"), ("a\0b", "; type the path of a"),
                        ("", "lacks its path: type csv:PATH")):  # fmt: skip
        with pytest.raises(RequestError, match=words):
            load(path)
    (tmp_path / "train.csv").symlink_to("pipe")
    with pytest.raises(RequestError, match="it is no regular file"):
        load(tmp_path)


def test_the_command_line_names_a_csv(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    digits = sources.load("digits", reading=Reading(8))
    for split, content in digits.splits.items():
        export(tmp_path / f"digits/{split}.csv", content)
    request = flags.parse(["--dataset", "csv:digits"]).request
    config = request.config
    assert rows(sources.load(config.dataset, reading=config.reading).splits["test"]) \
        == rows(digits.splits["test"])  # fmt: skip
    assert str(folder.create(request)) == "runs/csv-digits-cnn-1"
    (tmp_path / "digits/train.csv").write_text("label,p0\n5,300,7\n")
    assert program.main(["--dataset", "csv:digits", "--device", "cpu", "--nocompile_cache"]) == 2
    told = capsys.readouterr().err
    assert "row 2, the header being 1: it has 3 cells, and the first row 2: 5,300,7; mend" in told
    assert not Path("runs/csv-digits-cnn-2").exists()
