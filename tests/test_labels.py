"""A table of labels beside a flat folder, as Kaggle's and one's own are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch
from engine import fit, sources
from engine.config import Config, Reading
from engine.errors import RequestError
from engine.parts.reading import check_named
from engine.pictures import labels
from engine.place import Place


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def root(tmp_path):
    """Five pictures of one folder; a picture's pixels are its number."""
    for n in range(5):
        draw(tmp_path / "set" / f"img_{n}.png", n)
    return tmp_path / "set"


def draw(path: Path, n: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), n).save(path)


def read(root: Path, table: str = "", name: str = "labels.csv", **how):
    """Split → number of a picture → its class, None without one; and what was told."""
    if table:
        (root / name).write_text(table)
    found = sources.load(f"image_folder:{root}", reading=Reading(**how))
    return {split: {int(picture[0, 0, 0]): found.classes[label] if label >= 0 else None
                    for picture, label in zip(images, targets.tolist(), strict=True)}
            for split, (images, targets, _) in found.splits.items()}, found.notes


def refused(root: Path, words: str, **how) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read(root, **how)
    assert len(str(caught.value).splitlines()) == 1


ALL = {0: "cat", 1: "dog", 2: "cat", 3: "dog", 4: "cat"}
ROWS = [f"img_{n}.png,{label}" for n, label in ALL.items()]


@pytest.mark.parametrize("head", ["file,label", "Filename,Target", "image,class", "IMG,Y",
                                  "image_id,label", "id,breed", "x,label"])  # fmt: skip
def test_a_table_is_found_by_itself(head, root):
    found, notes = read(root, "\n".join([head, *ROWS]))
    assert found == {"train": ALL}
    file, label = head.split(",")
    assert f"labels are the column {label!r} of labels.csv, files {file!r}" in notes
    assert not any("classes are named by" in note for note in notes)


@pytest.mark.parametrize("written", [
    "label;file\n" + "\n".join(f"{label};img_{n}.png" for n, label in ALL.items()),
    "\ufefffile\tlabel\r\n" + "\r\n".join(row.replace(",", "\t") for row in ROWS),
    '"file","label"\n' + "\n".join(f'"./img_{n}.png","{label} "' for n, label in ALL.items()),
    "id,label\n" + "\n".join(row.replace(".png", "") for row in ROWS),
    "path,label\n" + "\n".join(f"set/{row}" for row in ROWS),
    "path,label\n" + "\n".join(f"set\\{row}" for row in ROWS),
    "\n".join(ROWS),  # without a header
    "file,width,label\n" + "\n".join(row.replace(",", ",2,") for row in ROWS),
])  # fmt: skip
def test_any_usual_form_is_read(written, root):
    found, notes = read(root, written)
    assert found == {"train": ALL}
    assert any("no header" in note for note in notes) == (written == "\n".join(ROWS))


def test_a_table_may_lie_anywhere_and_be_called_anything(root, tmp_path, monkeypatch):
    (tmp_path / "x.csv").write_text("\n".join(["file,label", *ROWS]))
    assert read(root, labels=str(tmp_path / "x.csv"))[0] == {"train": ALL}
    monkeypatch.chdir(tmp_path)
    assert read(root, labels="x.csv")[0] == {"train": ALL}
    (root / "train.csv").write_text("\n".join(["file,label", *ROWS[:3]]))
    assert read(root, labels="train.csv")[0] == {"train": {n: ALL[n] for n in range(3)}}
    refused(root, "labels:.*absent.csv: No such file or directory; name a CSV", labels="absent.csv")


def test_pictures_in_a_folder_beside_the_table(tmp_path):
    for n in range(5):
        draw(tmp_path / "set/images" / f"img_{n}.png", n)
    assert read(tmp_path / "set", "\n".join(["file,label", *ROWS]))[0] == {"train": ALL}
    whole = "\n".join(["file,label", *(f"images/{row}" for row in ROWS)])
    assert read(tmp_path / "set", whole)[0] == {"train": ALL}


def test_a_file_that_is_not_in_its_folder_is_not_another_folders(tmp_path):
    """Of a table of the training pictures, one of which is gone."""
    for n in range(3):
        draw(tmp_path / "set/train" / f"{n}.png", n)
    for n in range(5):
        draw(tmp_path / "set/test" / f"{n}.png", 10 + n)
    rows = [f"train/{n}.png,{label}" for n, label in ALL.items()]
    found, notes = read(tmp_path / "set", "\n".join(["file,label", *rows]))
    assert found == {"train": {n: ALL[n] for n in range(3)}}
    assert "labels.csv: 2 files of it are not there, 'train/3.png' for one" in notes


def test_splits_come_from_a_column_or_from_folders(root, tmp_path):
    rows = [f"{row},{split}" for row, split in zip(ROWS, ["Train", "training", "VAL", "test", "x"],
                                                   strict=True)]
    found, _ = read(root, "\n".join(["file,label,subset", *rows]))
    assert found == {"train": {0: "cat", 1: "dog"}, "validation": {2: "cat"}, "test": {3: "dog"},
                     "x": {4: "cat"}}
    for n in range(5):
        draw(tmp_path / "two" / ("Train" if n < 3 else "test") / f"img_{n}.png", n)
    found, _ = read(tmp_path / "two", "\n".join(["file,label", *ROWS]))
    assert found == {"train": {n: ALL[n] for n in range(3)}, "test": {3: "dog", 4: "cat"}}


def test_folders_of_classes_come_first(tmp_path):
    for n in range(4):
        draw(tmp_path / "set" / str(n % 2) / f"img_{n}.png", n)
    found, notes = read(tmp_path / "set", "\n".join(["file,label", *ROWS]))
    assert found == {"train": {0: "0", 1: "1", 2: "0", 3: "1"}}
    assert any(note.startswith("labels.csv isn't used, as folders tell") for note in notes)
    found, _ = read(tmp_path / "set", labels="labels.csv")
    assert found == {"train": {n: ALL[n] for n in range(4)}}


def test_files_that_are_not_there_and_pictures_that_are_not_listed_are_counted(root):
    found, notes = read(root, "file,label\nimg_0.png,cat\nimg_7.png,dog\nimg_8.png,dog\n"
                        "img_1.png,dog\nimg_1.png,dog\n")
    assert found == {"train": {0: "cat", 1: "dog"}}
    assert "labels.csv: 2 files of it are not there, 'img_7.png' for one" in notes
    assert "labels.csv: 3 pictures are not in it, and left out, 'img_2.png' for one" in notes
    assert "labels.csv: 1 rows repeat another" in notes


@pytest.mark.parametrize("empty", ["", "NaN", "nan", "<NA>", " "])
def test_an_empty_label_is_none(empty, root):
    found, _ = read(root, "\n".join(["file,label", f"img_0.png,{empty}", *ROWS[1:]]))
    assert found == {"train": ALL | {0: None}}


def test_groups_are_kept_apart(root):
    rows = [f"{row},{patient}" for row, patient in zip(ROWS, "xyxzy", strict=True)]
    (root / "labels.csv").write_text("\n".join(["file,label,patient", *rows]))
    for stream in (False, True):
        found = sources.load(f"image_folder:{root}", reading=Reading(group="patient"),
                             stream=stream)
        numbers = found.splits["train"].inputs[:][:, 0, 0, 0].tolist()
        together = {}
        for number, group in zip(numbers, found.groups["train"].tolist(), strict=True):
            together.setdefault(group, set()).add(number)
        assert sorted(map(sorted, together.values())) == [[0, 2], [1, 4], [3]]
    refused(root, "--skip_bad leaves files out, and --group", group="patient", skip_bad=True)
    (root / "labels.csv").unlink()
    (root / "a").mkdir()
    for path in root.glob("*.png"):
        path.rename(root / "a" / path.name)
    there = sources.load(f"image_folder:{root}", reading=Reading(group="patient"))
    with pytest.raises(RequestError, match="--group patient has no effect: image_folder has no su"):
        check_named(there, Reading(group="patient"))  # which another set to judge may lack


@pytest.mark.slow
@pytest.mark.usefixtures("quickly")
def test_a_run_of_groups_is_judged_by_the_same_and_on_a_set_without(tmp_path, capsys):
    own, other = tmp_path / "own", tmp_path / "other"
    for n in range(12):
        draw(own / f"{n}.png", n)
        draw(other / "ab"[n % 2] / f"{n}.png", n)
    rows = [f"{n}.png,{'ab'[n % 2]},{n // 3}" for n in range(12)]
    (own / "labels.csv").write_text("\n".join(["file,label,who", *rows]))
    place = Place(device="cpu", run_dir=str(tmp_path / "run"), report=False)
    fit(Config(dataset=f"image_folder:{own}", group="who", model="linear", epochs=1,
               batch_size=2, validation_split="1/4"), place=place, quiet=True)

    def judged(*flags: str) -> tuple[int, str]:
        return launch.main(["eval", "--run_dir", place.run_dir, *flags]), capsys.readouterr().err

    status, told = judged("--group=")
    assert status == 2 and ("is read without groups: the run in" in told and "held 1/4 of train "
                            "out by groups of 'who', and another part holds what it was" in told)
    assert judged("--dataset", f"image_folder:{other}")[0] == 0


def test_fractions_are_quantities(root):
    table = "file,age\n" + "\n".join(f"img_{n}.png,{n + 0.5}" for n in range(4)) + "\nimg_4.png,\n"
    (root / "labels.csv").write_text(table)
    found = sources.load(f"image_folder:{root}")
    images, targets = found.splits["train"][:2]
    assert found.classes == ("age",) and targets.dtype == np.float32
    numbers = images[:, 0, 0, 0].astype(np.float32)
    expected = np.where(numbers < 4, numbers + np.float32(0.5), np.float32("nan"))
    assert np.array_equal(targets, expected, equal_nan=True)


def test_a_column_may_be_named(root):
    table = "file,label,age\n" + "\n".join(f"{row},{n % 3}" for n, row in enumerate(ROWS))
    assert read(root, table)[0] == {"train": ALL}
    assert read(root, target="age")[0] == {"train": {n: str(n % 3) for n in range(5)}}
    refused(root, "unknown column of .* 'agge': did you mean age", target="agge")


@pytest.mark.parametrize("table, words", [
    ("file,label\n../../etc/passwd,cat\n", "'../../etc/passwd' leads out of the folder; name f"),
    ("file,label\n/etc/passwd,cat\n", "'/etc/passwd' leads out of the folder"),
    ("file,label\nC:\\x.png,cat\n", "leads out of the folder"),
    ("file,label\nimg_0.png,cat\nimg_0.png,dog\n", "'img_0.png' is 'cat' in one row and 'dog' in"),
    ("file,label\nother.png,cat\n", "it names none of the 5 pictures, such as 'other.png'; name"),
    ("file,label\n", "it has no rows below its header"),
    ("file,label\nimg_0.png,cat,1\n", "row 2, the header being 1: it has 3 cells, and the first"),
    ("a,b,c\n1,2,3\n", "its columns are a, b, c: which of them is the label, or the file, isn't p"),
    ("file,file\nimg_0.png,cat\n", "it names two columns 'file'; name each once"),
    ("\n", "it begins with no header"),
    ("file,label\nimg_0.png,a\u202eb\n", "target 'label' has the label 'a.u202eb'; label with"),
    ("file,label\nimg_0.png,a\x1b[2J\n", "it holds control characters, as no text"),
    ("file,label\nimg_0.png," + "x" * 201, "has the label 'xxx"),
    ("file,label\nimg_0.png,\nimg_1.png,\n", "its target 'label' is empty in every row"),
    ("\0\0\0", "it holds control characters, as no text"),
])  # fmt: skip
def test_bad_tables_are_refused(table, words, root):
    (root / "labels.csv").write_text(table)
    refused(root, words)


def test_a_name_of_several_pictures_is_refused(tmp_path):
    for n, name in enumerate(("a/x.png", "a/y.png", "b/x.png", "a/x.jpg")):
        draw(tmp_path / "set" / name, n)
    table = "file,label\n{},cat\na/y.png,dog\n"
    for name in ("x.png", "a/x", "x"):
        (tmp_path / "set/l.csv").write_text(table.format(name))
        refused(tmp_path / "set", f"'{name}' may be several pictures; name it with its folder and",
                labels="l.csv")  # fmt: skip
    (tmp_path / "set/l.csv").write_text(table.format("b/x"))
    assert read(tmp_path / "set", labels="l.csv")[0] == {"train": {1: "dog", 2: "cat"}}


def test_a_table_is_bounded(root, monkeypatch):
    (root / "labels.csv").write_text("\n".join(["file,label", *ROWS]))
    assert read(root)[0] == {"train": ALL}
    monkeypatch.setattr(labels, "_MOST_BYTES", 20)
    refused(root, "it has more than 20 bytes")


def test_latin_1_is_read_and_told(root):
    text = "\n".join(["file,label", "img_0.png,caf\u00e9", *ROWS[1:]])
    (root / "labels.csv").write_bytes(text.encode("latin-1"))
    found, notes = read(root)
    assert found["train"][0] == "caf\u00e9"
    assert "labels.csv: it is in Latin-1 (Windows-1252)" in notes


def test_a_changed_table_is_another_set(root):
    table = "\n".join(["file,label", *ROWS])
    assert read(root, table)[0] == {"train": ALL}
    assert read(root, table.replace("img_0.png,cat", "img_0.png,dog"))[0]["train"][0] == "dog"


def test_labels_may_have_decimal_commas(root):
    lines = [f"img_{n}.png;{n},5" for n in range(5)]
    (root / "labels.csv").write_text("file;label\n" + "\n".join(lines))
    images, targets = sources.load(f"image_folder:{root}").splits["train"][:2]
    np.testing.assert_array_equal(targets, images[:, 0, 0, 0] + np.float32(0.5))


def test_several_columns_are_several_labels(root):
    """Of the same pictures the same, streamed too; what they are is told by their names."""
    bits = {n: (n % 2, int(n > 2), n * 0.5) for n in range(5)}
    lines = [f"img_{n}.png;{up};{'yes' * n};{str(bool(left)).upper()};{half:g}".replace(".5", ",5")
             for n, (up, left, half) in bits.items()]
    (root / "labels.csv").write_text("\n".join(["file;up;word;left;half", *lines]) + "\n")
    for stream in (False, True):
        found = sources.load(f"image_folder:{root}", reading=Reading(target="up,left,half"),
                             stream=stream)
        images, targets = found.splits["train"][:2]
        assert found.classes == ("up", "left", "half") and targets.dtype == np.float32
        numbers = np.asarray(images[np.arange(5)])[:, 0, 0, 0]
        np.testing.assert_array_equal(targets, np.float32([bits[n] for n in numbers.tolist()]))
    assert "labels are the columns 'up', 'left', 'half' of labels.csv, files 'file'" in found.notes
    refused(root, "its target 'word' holds 'yes', and of several each is", target="up,word")
    refused(root, "unknown column of the table 'down'", target="up,down")
    (root / "labels.csv").write_text("file,up,left\nimg_0.png,1,0\nimg_0.png,1,1\n")
    refused(root, "'img_0.png' is '1' and '0' in one row and '1' and '1' in", target="up,left")
