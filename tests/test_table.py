"""Pictures in CSV files: known answers, what is refused and in which words."""

import os

import numpy as np
import pytest
from PIL import Image

import launch as program
from engine import sources
from engine.command import flags
from engine.config import Reading
from engine.errors import RequestError
from engine.sources import dataset, table
from engine.store import folder

HEADER = "label,p0,p1,p2,p3\n"
SOUND = HEADER + "cat,0,1,2,3\ndog,255,254,253,252\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


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


def test_digits_written_as_csv_are_digits(tmp_path):
    digits = sources.load("digits", reading=Reading(8))
    (tmp_path / "digits").mkdir()
    for split, content in digits.splits.items():
        export(tmp_path / f"digits/{split}.csv", content)
    (tmp_path / "digits/sample_submission.csv").write_text("another table")
    found = load(tmp_path / "digits")
    assert found.classes == digits.classes and list(found.splits) == ["train", "test"]
    for split, content in digits.splits.items():
        assert np.array_equal(found.splits[split].inputs, content.inputs)
        assert np.array_equal(found.splits[split].targets, content.targets)
        assert found.splits[split].inputs.dtype == np.uint8
        assert found.splits[split].targets.dtype == np.int32
    assert found.fingerprint == digits.fingerprint
    alone = load(tmp_path / "digits/test.csv")
    assert np.array_equal(alone.splits["train"].inputs, digits.splits["test"].inputs)
    enlarged, expected = load(tmp_path / "digits", reading=Reading(32)), sources.load("digits")
    assert enlarged.fingerprint == expected.fingerprint
    assert list(load(tmp_path / "digits", splits=["test"]).splits) == ["test"]
    with pytest.raises(RequestError, match="unknown split of csv 'tset'.*test"):
        load(tmp_path / "digits", splits=["tset"])


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
    "label,0,1,2,3\ncat,0,1,2,3\ndog,255,254,253,252\n",
    "class,0,0.1,0.2,0.3\ncat,0,1,2,3\ndog,255,254,253,252\n",
])  # fmt: skip
def test_every_way_to_write_it_is_the_same(content, read):
    sound, found = read(SOUND), read(content)
    assert sound.splits["train"].inputs.tolist() == [[[[0], [1]], [[2], [3]]],
                                                     [[[255], [254]], [[253], [252]]]]
    assert sound.classes == found.classes == ("cat", "dog")
    assert sound.fingerprint == found.fingerprint


@pytest.mark.parametrize("labels, classes", [
    (["10", "9", "-1", "9"], ("-1", "9", "10")),
    (["10", "9", "x"], ("10", "9", "x")),
    (["1.5", "10.0"], ("1.5", "10.0")),
    (["#5", "a, b", "à", "\U0001f408"], ("#5", "a, b", "à", "\U0001f408")),
])  # fmt: skip
def test_classes_are_sorted_by_value_where_they_are_integers(labels, classes, read):
    found = read("label,p\n" + "".join(f'"{label}",0\n' for label in labels))
    assert found.classes == classes
    assert [classes[n] for n in found.splits["train"].targets] == labels


@pytest.mark.parametrize("row, words", [
    ("cat,0,1,2,256", "could not convert string '256' to uint8, column 5; mend that line"),
    ("cat,0,1,2,-1", "could not convert string '-1' to uint8, column 5"),
    ("cat,0,1,2,1.0", "could not convert string '1.0' to uint8, column 5"),
    ("cat,0,nan,2,3", "could not convert string 'nan' to uint8, column 3"),
    ("cat,0,,2,3", "could not convert string '' to uint8, column 3"),
    ("cat,0,1e2,2,3", "could not convert string '1e2' to uint8, column 3"),
    ("cat,0,٣,2,3", "could not convert string '٣' to uint8, column 3"),
    ("cat,0,1_0,2,3", "could not convert string '1_0' to uint8, column 3"),
    ("cat,0,\U0010417d,2,3", "could not convert string '.*' to uint8, column 3"),
    ("cat,0," + "9" * 5000 + ",2,3", "could not convert string '999"),
    ("cat,0,1,2", "the dtype passed requires 5 columns but 4 were found; mend"),
    ("cat,0,1,2,3,4", "the dtype passed requires 5 columns but 6 were found"),
    ("cat", "the dtype passed requires 5 columns but 1 were found"),
    ("\0\1\2", "the dtype passed requires 5 columns but 1 were found"),
    ('"cat,0,1,2,3', "a quotation mark is not closed in it; close it"),
    ('"cat\n",0,1,2,3', "a quotation mark is not closed in it"),
])  # fmt: skip
def test_damaged_rows_are_named_by_their_line(row, words, refused):
    refused(SOUND + row + "\ncat,0,1,2,3\n", f"set.csv: line 4: {words}")
    refused("\ufeff" + SOUND.replace("\n", "\r\n") + "\r\n" + row + "\r\n", f"line 5: {words}")


@pytest.mark.parametrize("label, words", [
    ("", "has the label ''"), ("  ", "has the label ''"), ("x" * 64, "has the label 'xxx"),
    ("a\tb", r"has the label 'a\\tb'"),
])  # fmt: skip
def test_labels_are_words(label, words, refused, read):
    refused(SOUND + f"{label},0,1,2,3\n",
            f"row 3 below the header {words}.*; label it with a word of 63 bytes at most")
    assert read(SOUND + "x" * 63 + ",0,1,2,3\n").classes[2] == "x" * 63
    assert read(SOUND + "#1,0,1,2,3\n").classes[0] == "#1"


@pytest.mark.parametrize("content, words", [
    ("", "it begins with no header; write one, such as label,pixel0"),
    ("\n" + SOUND, "it begins with no header"),
    (HEADER, "it has no rows below its header; add some"),
    (HEADER + "\n\n", "it has no rows below its header"),
    ("cat,0,1,2,3\n", "holds numbers in place of the columns' names; write a header above it, or"),
    ("5,0,1,2,3\n" * 9, "or call its first column label"),
    ("label\ncat\n", "it names 0 columns besides the label's, 'label': neither n² for grey"),
    ("label,a,b\ncat,0,1\n", "line 1: it names 2 columns besides the label's, 'label'"),
    ("a,b,c\n0,1,2\n", "2 columns besides the label's, 'a': neither"),
    ("label;a;b\ncat;0;1\n", "it names 0 columns besides the label's, 'label;a;b'"),
    ("label," + "x" * 200_000 + "\ncat,0\n", "it begins with no header"),
    (SOUND.encode("utf-16"), "it begins with no header; write one, .*, in UTF-8"),
    (SOUND.encode() + b"\xff,0,0,0,0\n", r"row 3 below the header has the label '\\udcff'"),
    (SOUND.encode() + b"cat,\xff,0,0,0\n", "line 4: could not convert .* to uint8, column 2"),
    (bytes(1000), "it begins with no header"),
    (b"\x89PNG\r\n\x1a\n", "it begins with no header"),
    (b"PK\x03\x04", "it begins with no header"),
])  # fmt: skip
def test_files_that_are_no_such_table_are_refused(content, words, refused):
    refused(content, words)


def test_files_of_a_folder_are_one_set(tmp_path):
    for split, label in (("train", "10"), ("validation", "9"), ("test", "8")):
        (tmp_path / f"{split}.csv").write_text(f"label,p\n{label},5\n")
    found = load(tmp_path)
    assert found.classes == ("8", "9", "10")
    assert {split: data.targets.tolist() for split, data in found.splits.items()} \
        == {"train": [2], "validation": [1], "test": [0]}  # fmt: skip
    (tmp_path / "test.csv").write_text("label,p,q,r,s\n8,1,2,3,4\n")
    with pytest.raises(RequestError, match=r"test.csv: its pictures are \(2, 2, 1\), those of tr"):
        load(tmp_path)
    assert load(tmp_path, reading=Reading(3)).splits["test"].inputs.shape == (1, 3, 3, 1)
    (tmp_path / "test.csv").write_text("label,p,q,r\n8,1,2,3\n")
    with pytest.raises(RequestError, match=r"test.csv: its pictures are \(1, 1, 3\), those of tr"):
        load(tmp_path, reading=Reading(3))
    (tmp_path / "train.csv").unlink()
    with pytest.raises(RequestError, match="No such file .* a folder that holds train.csv"):
        load(tmp_path)


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


def test_bytes_lines_and_rows_are_bounded(refused, monkeypatch):
    monkeypatch.setattr(table, "_MOST_LINE", 30)
    refused(SOUND + "x" * 31, "line 4: it, or the file, holds more than can be read; split it")
    monkeypatch.setattr(dataset, "MOST_BYTES", 3 * 4)
    refused(SOUND + "cat,0,1,2,3\n" * 2, "line 5: it, or the file, holds more than can be read")
    monkeypatch.setattr(dataset, "MOST_EXAMPLES", 2)
    refused(SOUND + "cat,0,1,2,3\n", "line 4: it, or the file, holds more than can be read")
    monkeypatch.setattr(table, "_MOST_FILE", 50)
    refused(SOUND + "cat,0,1,2,3\n", "it has more than 50 bytes")


def test_the_second_start_reads_nothing_unless_the_file_changed(tmp_path, monkeypatch, capfd):
    path = tmp_path / "set.csv"
    path.write_text(SOUND)
    before, seen = load(path), path.stat()
    assert "reading csv train from" in capfd.readouterr().err
    with monkeypatch.context() as within:
        within.setattr(table, "_table", lambda *_: pytest.fail("it reads"))
        after = load(path)
    assert capfd.readouterr().err == ""
    assert (after.fingerprint, after.classes) == (before.fingerprint, before.classes)
    path.write_text(SOUND.replace("254", "251"))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert load(path).fingerprint != before.fingerprint
    (tmp_path / "moved.csv").write_text(SOUND)
    moved = load(tmp_path / "moved.csv")
    assert (moved.name, moved.fingerprint) == (before.name, before.fingerprint)


def test_the_command_line_names_a_csv(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    digits = sources.load("digits", reading=Reading(8))
    for split, content in digits.splits.items():
        export(tmp_path / f"digits/{split}.csv", content)
    request = flags.parse(["--dataset", "csv:digits"]).request
    config = request.config
    assert sources.load(config.dataset, reading=Reading(config.image_size)).fingerprint \
        == digits.fingerprint  # fmt: skip
    assert str(folder.create(request)) == "runs/csv-digits-cnn-1"
    (tmp_path / "digits/train.csv").write_text("label,p0\n5,300\n")
    assert program.main(["--dataset", "csv:digits", "--device", "cpu", "--nocompile_cache"]) == 2
    assert "line 2: could not convert string '300' to uint8, column 2" in capsys.readouterr().err
