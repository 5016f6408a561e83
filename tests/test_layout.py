"""Folders as people have them: what is a split, what a class, and what is only wrapping."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import sources
from engine.errors import RequestError
from engine.pictures import layout


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def made(tmp_path):
    """Makes a picture of every name, and gives the folder."""

    def make(*names: str) -> Path:
        for n, name in enumerate(names):
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), n).save(path)
        return tmp_path / "set"

    return make


def read(root: Path) -> tuple[dict[str, dict[str, list[int]]], tuple[str, ...]]:
    """Split → class → the numbers of its pictures, as `made` counts them; and what was told."""
    found = sources.load(f"image_folder:{root}")
    return {split: {name: sorted(images[labels == number, 0, 0, 0].tolist())
                    for number, name in enumerate(found.classes) if (labels == number).any()}
            for split, (images, labels, _) in found.splits.items()}, found.notes


def refused(root: Path, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        sources.load(f"image_folder:{root}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("inside", ["flowers", "archive/data/flowers"])
def test_wrapping_folders_are_stepped_into_and_that_is_told(inside, made):
    root = made(*(f"{inside}/{name}/x.png" for name in ("rose", "tulip")))
    for junk in ("__MACOSX/flowers/rose/._x.png", ".DS_Store", "flowers/Thumbs.db", "desktop.ini",
                 "README.txt"):
        (root / junk).parent.mkdir(parents=True, exist_ok=True)
        (root / junk).write_bytes(b"no picture")
    found, notes = read(root)
    assert found == {"train": {"rose": [0], "tulip": [1]}}
    assert f"the set lies in its folder '{inside}'" in notes
    assert f"classes are named by the folders in '{inside}'" in notes


def test_splits_lie_in_a_wrapping_folder(made):
    root = made("pets/train/cat/1.png", "pets/train/dog/1.png", "pets/val/cat/1.png")
    found, notes = read(root)
    assert found == {"train": {"cat": [0], "dog": [1]}, "validation": {"cat": [2]}}
    assert ("splits are named by folders: train from 'pets/train', validation from 'pets/val'"
            in notes)
    assert "classes are named by the folders of each split" in notes


def test_a_set_has_the_same_order_wrapped_or_not(made, tmp_path):
    root = made(*(f"{n % 2}/{n}.png" for n in range(20)))
    plain = sources.load(f"image_folder:{root}")
    (tmp_path / "zip").mkdir()
    root.rename(tmp_path / "zip/set")
    assert sources.load(f"image_folder:{tmp_path / 'zip'}").fingerprint == plain.fingerprint


def test_any_slice_holds_every_class(made):
    """In the order of names the first half of three classes had no picture of the third."""
    root = made(*(f"{name}/{n}.png" for name in ("daisy", "rose", "tulip") for n in range(40)))
    labels = sources.load(f"image_folder:{root}").splits["train"].targets
    for half in (labels[:60], labels[60:]):
        assert np.bincount(half, minlength=3).min() >= 10


@pytest.mark.parametrize("train, validation, test", [
    ("train", "validation", "test"), ("Training", "valid", "Testing"), ("TRAIN", "Val", "eval"),
    ("train", "dev", "Evaluation"),
])  # fmt: skip
def test_splits_are_known_by_their_usual_names(train, validation, test, made):
    found, _ = read(made(f"{train}/a/1.png", f"{validation}/a/1.png", f"{test}/b/1.png"))
    assert found == {"train": {"a": [0]}, "validation": {"a": [1]}, "test": {"b": [2]}}
    assert list(found) == ["train", "validation", "test"]


def test_a_word_in_the_names_of_all_folders_tells_splits(made):
    """As in Intel's scenes of Kaggle, which are wrapped in each split too."""
    found, notes = read(made("seg_train/seg_train/sea/1.png", "seg_train/seg_train/street/1.png",
                             "seg_test/seg_test/sea/1.png"))
    assert found == {"train": {"sea": [0], "street": [1]}, "test": {"sea": [2]}}
    assert "split train lies in 'seg_train/seg_train'" in notes


def test_words_tell_splits_beside_a_folder_without_one(made):
    """Three classes otherwise, seg_pred, seg_test and seg_train, which any network tells apart."""
    found, _ = read(made("seg_train/sea/1.png", "seg_test/sea/1.png", "seg_pred/sea/1.png"))
    assert found == {"train": {"sea": [0]}, "test": {"sea": [1]}, "seg_pred": {"sea": [2]}}
    refused(made("seg_pred/2.png"), "'seg_pred/2.png' lies in no class's folder; .* or elsewhere")


@pytest.mark.parametrize("names", [
    ("train_wagon/1.png", "test_track/1.png", "car/1.png"),  # no folders in them
    ("bullet_train/front/1.png", "bus/front/1.png"),
    ("drug_test/a/1.png", "dev_kit/a/1.png", "x/a/1.png"),  # none of them to train on
])  # fmt: skip
def test_words_of_classes_are_no_splits(names, made):
    found, _ = read(made(*names))
    assert [*found] == ["train"] and {*found["train"]} == {name.split("/")[0] for name in names}


def test_other_splits_keep_their_names(made):
    found, _ = read(made("train/a/1.png", "extra/b/1.png", "train/b/2.png"))
    assert found == {"train": {"a": [0], "b": [2]}, "extra": {"b": [1]}}


def test_a_class_may_be_called_like_a_split(made):
    """Trains are vehicles, and a test may be a pregnancy's."""
    found, _ = read(made("bus/1.png", "train/1.png", "car/1.png"))
    assert found == {"train": {"bus": [0], "train": [1], "car": [2]}}
    found, _ = read(made("drug_test/1.png", "car/1.png"))
    assert "drug_test" in found["train"]


def test_a_class_in_a_split_may_be_called_like_one(made):
    found, _ = read(made("train/train/1.png", "train/bus/1.png", "test/train/1.png"))
    assert found == {"train": {"train": [0], "bus": [1]}, "test": {"train": [2]}}


def test_a_class_alone_in_a_split_is_no_wrapping(made):
    found, _ = read(made("train/a/1.png", "train/b/1.png", "test/a/front/1.png"))
    assert found == {"train": {"a": [0], "b": [1]}, "test": {"a": [2]}}


@pytest.mark.parametrize("names, words", [
    (("train/a/1.png", "Training/a/1.png"), "its folders 'Training' and 'train' both mean the split"
     " train; join them|its folders 'train' and 'Training' both mean"),
    (("val/a/1.png", "valid/a/1.png", "train/a/1.png"), "both mean the split validation"),
    (("train/1.png", "test/1.png"), "'t.*/1.png' lies in no class's folder; .*--labels FILE.csv"),
    (("train_images/1.png", "test_images/1.png"), "lies in no class's folder"),
    (("1.png", "2.png"), "'..png' lies in no class's folder; put it in <class>/"),
    (("1.png", "train/a/2.png"), "'1.png' lies in no class's folder; put it in <split>/<class>/"),
])  # fmt: skip
def test_what_folders_leave_open_is_refused(names, words, made):
    refused(made(*names), words)


def test_classes_of_splits_that_are_spelled_differently_are_one(made):
    found, notes = read(made("train/Rose/1.png", "train/caf\u00e9/1.png", "train/1/1.png",
                             "test/rose/1.png", "test/cafe\u0301/1.png", "test/1.0/1.png"))
    assert found == {"train": {"Rose": [0], "caf\u00e9": [1], "1": [2]},
                     "test": {"Rose": [3], "caf\u00e9": [4], "1": [5]}}
    (told,) = [note for note in notes if note.startswith("one class each, by different spellings")]
    assert "'Rose' and 'rose'" in told and "'1' and '1.0'" in told


def test_classes_that_one_split_tells_apart_stay_two(made):
    """Letters."""
    found, notes = read(made("train/A/1.png", "train/a/1.png", "test/a/1.png"))
    assert found == {"train": {"A": [0], "a": [1]}, "test": {"a": [2]}}
    assert not any("spelling" in note for note in notes)


def test_every_shape_of_a_folder_gives_every_picture_once():
    """Whatever the names: a split, and a class unless it lies in none."""
    rng = np.random.default_rng(0)
    words = ["train", "Test", "a", "b", "seg_train", "seg_test", "val"]
    for _ in range(2000):
        names = sorted({"/".join([*rng.choice(words, rng.integers(0, 4)), f"{n}.png"])
                        for n in range(rng.integers(1, 6))})
        try:
            found = layout.understood("set", names)
        except RequestError as refusal:
            assert "both mean the split" in str(refusal)
            continue
        assert sorted(found.members) == names
        for name, (split, label) in found.members.items():
            assert name.startswith(found.inside)
            assert label == "" or f"/{label}/" in f"/{name}"
            assert split or not label
