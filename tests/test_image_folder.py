"""Folders of pictures: known answers, what is refused and in which words."""

import hashlib
import io
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_security import flat_png, picture

from engine import sources
from engine.config import Reading
from engine.devices import choose as devices
from engine.errors import RequestError
from engine.pictures import image_folder, tree
from engine.sets import cache, image, limits


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def draw(path: Path, value: int = 0, size: tuple[int, int] = (6, 6), mode: str = "RGB") -> Path:
    """A noisy picture at `path`, of the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.default_rng(value).integers(0, 256, (height, width, 4), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    """Two classes, two splits, eight pictures."""
    root = tmp_path / "pets"
    for n in range(8):
        split, label = ("train", "test")[n // 6], ("cat", "dog")[n % 2]
        draw(root / split / label / f"{n}.png", n)
    return root


def load(root, **kwargs):
    return sources.load(f"image_folder:{root}", **kwargs)


def refused(root, words, **kwargs):
    with pytest.raises(RequestError, match=words) as caught:
        load(root, **kwargs)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_cifar10_written_as_files_is_cifar10(tmp_path):
    where = sources.data_dir()
    if "cifar10" not in sources.prepared(where):
        pytest.skip(f"no prepared cifar10 in {where}: set TFDS_DATA_DIR")
    whole = sources.load("cifar10", splits=["test"])
    images, labels = whole.splits["test"][:2]
    parts = {"test": range(200), "train": range(200, 500)}
    for split, row in ((split, row) for split, rows in parts.items() for row in rows):
        path = tmp_path / "cifar" / split / whole.classes[labels[row]] / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(path)
    found = load(tmp_path / "cifar")
    assert found.classes == whole.classes and list(found.splits) == ["train", "test"]
    for split, rows in parts.items():
        names = {f"{split}/{whole.classes[labels[row]]}/{row:03}.png": row for row in rows}
        ordered = [names[name] for name in sorted(names, key=mixed)]
        assert np.array_equal(found.splits[split].inputs, images[ordered])
        assert np.array_equal(found.splits[split].targets, labels[ordered])
        assert found.splits[split].inputs.dtype == np.uint8
        assert found.splits[split].targets.dtype == np.int32


def mixed(name: str) -> str:
    """What pictures are sorted by: not their class."""
    return hashlib.sha256(name.encode()).hexdigest()


def test_jpegs_are_what_pillow_reads_in_an_order_drawn_from_their_names(tmp_path):
    names = ["9/b.jpg", "10/x/deep/a.JPEG", "10/a.jpg", "9/a.jpg", "9/c.jpg", "10/é.jfif"]
    for n, name in enumerate(names):
        draw(tmp_path / "set" / name, n)
    found = load(tmp_path / "set")
    images, labels = found.splits["train"][:2]
    ordered = sorted(names, key=mixed)
    expected = [np.asarray(Image.open(tmp_path / "set" / name)) for name in ordered]
    assert found.classes == ("10", "9")  # as text
    assert np.array_equal(images, expected)
    assert labels.tolist() == [int(name.startswith("9")) for name in ordered]
    assert labels.tolist() == [1, 1, 1, 0, 0, 0]  # the same on every machine


def test_the_order_is_the_same_where_accents_are_written_apart(tmp_path):
    """As macOS keeps them."""
    for form in ("NFC", "NFD"):
        for n in range(12):
            draw(tmp_path / form / "é" / unicodedata.normalize(form, f"é{n}.png"), n)
    apart, together = (load(tmp_path / form).splits["train"].inputs for form in ("NFD", "NFC"))
    assert np.array_equal(apart, together)


def test_classes_are_those_of_all_splits(tmp_path):
    for name in ("train/b/1.png", "validation/a/1.png", "test/c/1.png", "test/b/1.png"):
        draw(tmp_path / "set" / name)
    found = load(tmp_path / "set", splits=["test"])
    assert (found.classes, list(found.splits)) == (("a", "b", "c"), ["test"])
    assert sorted(found.splits["test"].targets.tolist()) == [1, 2]
    refused(tmp_path / "set", "unknown split of image_folder 'tset'.*test", splits=["tset"])


def test_pictures_are_grey_where_all_are(tmp_path):
    draw(tmp_path / "set/a/1.png", mode="L")
    draw(tmp_path / "set/a/2.png", mode="1")
    draw(tmp_path / "set/b/3.png", mode="LA")
    assert load(tmp_path / "set").splits["train"].inputs.shape == (3, 6, 6, 1)
    draw(tmp_path / "set/b/4.png", mode="RGBA")
    images, _ = load(tmp_path / "set").splits["train"][:2]
    assert images.shape == (4, 6, 6, 3)
    grey = np.asarray(Image.open(tmp_path / "set/a/1.png"))
    row = sorted(["a/1.png", "a/2.png", "b/3.png", "b/4.png"], key=mixed).index("a/1.png")
    assert np.array_equal(images[row], np.stack([grey] * 3, -1))
    for path in (tmp_path / "set/b").iterdir():
        path.unlink()
    draw(tmp_path / "set/b/3.png", mode="LA")
    coloured = load(tmp_path / "set", reading=Reading(background="red"))
    assert coloured.splits["train"].inputs.shape == (3, 6, 6, 3)


def test_sizes_that_vary_ask_for_image_size(tmp_path):
    wide = draw(tmp_path / "set/train/a/1.png", size=(9, 6))
    draw(tmp_path / "set/test/a/1.png", size=(5, 6))
    refused(tmp_path / "set", r"vary in size \(\(6, 9\), then \(6, 5\)\): pass --image_size, 64")
    images, _ = load(tmp_path / "set", reading=Reading(7)).splits["train"][:2]
    resized = Image.open(wide).resize((7, 7), Image.Resampling.BILINEAR)
    assert np.array_equal(images[0], np.asarray(resized))


def test_what_is_no_picture_is_left_out_and_told_in_a_note(pets, capfd):
    sound = load(pets).fingerprint
    capfd.readouterr()
    for name in (".DS_Store", "train/Thumbs.db", "train/.hidden/x.png", "train/cat/.x.png"):
        (pets / name).parent.mkdir(exist_ok=True)
        (pets / name).write_bytes(b"no picture")
    (pets / "train/.link.png").symlink_to("/etc/hostname")
    assert load(pets).fingerprint == sound and capfd.readouterr().err == ""
    (pets / "README").write_text("Pets.")
    (pets / "train/cat/notes.txt").write_text("A cat.")
    found = load(pets)
    assert found.fingerprint == sound and capfd.readouterr().err == ""
    (line,) = [note for note in found.notes if "no .png, .jpg" in note]
    assert line.startswith("2 files are") and "'README' is one" in line
    assert "5 hidden files or folders, or a system's own, are left out" in found.notes


def test_a_tilde_is_the_home(pets, monkeypatch):
    monkeypatch.setenv("HOME", str(pets.parent))
    assert load("~/pets").fingerprint == load(pets).fingerprint


@pytest.mark.parametrize("place, words", [
    ("7.png", "'7.png' lies in no class's folder; put it in <split>/<class>/"),
    ("train/7.png", "'train/7.png' lies in no class's folder"),
    ("odd [split]/cat/7.png", r"the split 'odd \[split\]' has a name that can't be typed"),
    ("train/a\nb/7.png", r"the name 'train/a\\nb/7.png' can't be printed; rename it"),
    (os.fsdecode(b"train/\xff/7.png"), r"the name 'train/\\udcff/7.png' can't be printed"),
])  # fmt: skip
def test_pictures_out_of_place_are_refused(place, words, pets):
    draw(pets / place)
    refused(pets, words)


def test_a_class_of_the_single_split_needs_a_folder(tmp_path):
    draw(tmp_path / "set/cat/1.png")
    draw(tmp_path / "set/2.png")
    refused(tmp_path / "set", "'2.png' lies in no class's folder; put it in <class>/")


def test_folders_without_pictures_are_refused(pets, tmp_path):
    refused(tmp_path / "absent", "absent: No such file or directory; type the path of a folder")
    refused(pets / "train/cat/0.png", "0.png: Not a directory; type the path of a folder")
    refused("a\0b", "; type the path of a folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "it holds no .png, .jpg.*; put pictures in folders named after")


def test_a_folder_without_pictures_is_no_class(pets):
    assert not any("without a file" in note for note in load(pets).notes)
    (pets / "test/bird").mkdir()
    (pets / "val").mkdir()
    (pets / "val/.gitkeep").touch()
    found = load(pets)
    assert found.classes == ("cat", "dog") and "validation" not in found.splits
    assert "folders without a file are neither classes nor splits: 'test/bird', 'val'" in \
        found.notes
    draw(pets / "train/bird/1.png")
    assert load(pets).classes == ("bird", "cat", "dog")


@pytest.mark.parametrize("content, words", [
    (b"", "its content is no PNG, JPEG"),
    (b"GIMP, not a picture", "its content is no PNG, JPEG"),
    (picture("PNG")[:2000], "it is damaged: .*truncated"),
    (flat_png(8_001, 8_000), "it has more than 64,000,000 pixels"),
])  # fmt: skip
def test_damaged_pictures_are_named(content, words, pets):
    (pets / "test/dog/7.png").write_bytes(content)
    refused(pets, f"1 of its 8 pictures can't be read: test/dog/7.png .{words}.*.; mend them, take "
            "them out, or leave them out by --skip_bad", reading=Reading(6))  # fmt: skip


def spoil(pets: Path) -> None:
    """One file that its header tells of, and one that decoding does, in each split."""
    for split, names in (("train", ("cat/0.png", "dog/1.png")), ("test", ("cat/6.png",))):
        (pets / split / names[0]).write_bytes(b"")
        for name in names[1:]:
            whole = (pets / split / name).read_bytes()
            (pets / split / name).write_bytes(whole[: len(whole) // 2])


def test_all_damaged_pictures_are_named_at_once(pets):
    spoil(pets)
    named = r"test/cat/6.png .its content is no.*, train/cat/0.png .its.*, train/dog/1.png .it"
    refused(pets, f"3 of its 8 pictures can't be read: {named}")
    refused(pets, f"3 of its 8 pictures can't be read: {named}", splits=["test"])
    for name in ("train/cat/0.png", "test/cat/6.png"):
        draw(pets / name)
    refused(pets, "1 of its 8 pictures can't be read: train/dog/1.png .it is damaged: .*truncated")


def test_ten_damaged_pictures_are_named_of_many(tmp_path):
    for n in range(25):
        draw(tmp_path / f"set/{n % 2}/{n:02}.png").write_bytes(b"")
    draw(tmp_path / "set/0/sound.png")
    refused(tmp_path / "set", "25 of its 26 pictures can't be read: 0/00.png .* 0/18.png .* and 15")


def test_damaged_pictures_are_left_out_where_that_is_asked_for(pets, monkeypatch):
    whole = load(pets)
    spoil(pets)
    left = load(pets, reading=Reading(skip_bad=True))
    for split, bad in (("train", ("cat/0.png", "dog/1.png")), ("test", ("cat/6.png",))):
        paths = {"train": [f"{('cat', 'dog')[n % 2]}/{n}.png" for n in range(6)],
                 "test": ["cat/6.png", "dog/7.png"]}[split]
        kept = [not path.endswith(bad) for path in
                sorted((f"{split}/{path}" for path in paths), key=mixed)]
        for found, before in zip(left.splits[split][:2], whole.splits[split][:2],
                                 strict=True):
            assert np.array_equal(found, before[kept])
        (note,) = [note for note in left.notes if f" of {split} are left out" in note]
        assert note.startswith(f"{len(bad)} damaged files") and all(name in note for name in bad)
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    again = load(pets, reading=Reading(skip_bad=True))
    assert (again.notes, again.fingerprint) == (left.notes, left.fingerprint)


def test_a_split_without_a_sound_picture_is_refused(pets):
    for path in (pets / "test").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:-60])
    refused(pets, "no picture of test can be read: test/cat/6.png .it is damaged",
            reading=Reading(skip_bad=True))
    for path in (pets / "test").rglob("*.png"):
        path.write_bytes(b"")
    refused(pets, "no picture of test can be read", reading=Reading(skip_bad=True))


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("what", ["vanish", "change"])
@pytest.mark.parametrize("when", ["check", "read"])
def test_a_folder_that_changes_while_it_is_read_is_told(when, what, skip_bad, pets, monkeypatch):
    before, path = getattr(image, when), pets / "train/dog/3.png"

    def changing(*args):
        if what == "vanish":
            path.unlink(missing_ok=True)
        else:
            draw(path, 9)
        return before(*args)

    monkeypatch.setattr(image, when, changing)
    refused(pets, "1 of 8 files changed or vanished while it was read, 'train/dog/3.png' for one; "
            "run again when nothing writes there", reading=Reading(skip_bad=skip_bad))
    assert not cache.folder().exists() or not list(cache.folder().glob("*"))


def test_a_set_that_cannot_be_one_array_is_refused_before_a_pixel_is_decoded(pets, monkeypatch):
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    draw(pets / "test/dog/7.png", size=(6, 5))
    refused(pets, "vary in size")
    refused(pets, "unknown background 'wite': did you mean white",
            reading=Reading(background="wite"))


def test_the_first_frame_is_taken_and_that_is_told(tmp_path):
    frames = [Image.new("L", (6, 6), value) for value in (10, 200)]
    (tmp_path / "set/a").mkdir(parents=True)
    for ending in ("gif", "webp", "png", "tif"):
        frames[0].convert("RGB").save(tmp_path / f"set/a/x.{ending}", save_all=True, lossless=True,
                                      append_images=[frames[1].convert("RGB")])
    draw(tmp_path / "set/b/1.gif")
    for _ in range(2):  # decoded, then kept
        found = load(tmp_path / "set")
        assert ("4 pictures have several frames or pages, of which the first is taken: 'a/x.gif' "
                "is one") in found.notes
        images, labels = found.splits["train"][:2]
        assert (images[labels == 0] == 10).all()


def test_a_link_may_lead_to_a_file_inside(pets):
    before = load(pets)
    (pets / "train/cat/0.png").rename(pets / "train/.kept")
    (pets / "train/cat/0.png").symlink_to("../.kept")
    assert load(pets).fingerprint == before.fingerprint
    pets.with_name("link").symlink_to(pets)
    assert load(pets.with_name("link")).fingerprint == before.fingerprint


@pytest.mark.parametrize("target, words", [
    ("{outside}/secret.png", "leads out of the folder, to '.*outside/secret.png'; put the file"),
    ("{outside}", "leads out of the folder, to '.*outside'"),
    ("../../../pets-too/1.png", "leads out of the folder, to '.*pets-too/1.png'"),
    ("/dev/zero", "leads out of the folder, to '/dev/zero'"),
    (".", "leads to a folder; put the file itself there"),
    ("../..", "leads to a folder"),
    ("../dog", "leads to a folder"),
    ("absent", "leads nowhere .No such file"),
    ("x.png", "leads nowhere .Too many levels"),
])  # fmt: skip
def test_other_links_are_refused(target, words, pets, tmp_path):
    draw(tmp_path / "outside/secret.png")
    draw(tmp_path / "pets-too/1.png")
    (pets / "train/cat/x.png").symlink_to(target.format(outside=tmp_path / "outside"))
    refused(pets, f"the link 'train/cat/x.png' {words}")


def test_a_pipe_is_not_waited_for(pets):
    os.mkfifo(pets / "train/cat/x.png")
    refused(pets, "1 of its 9 pictures can't be read: train/cat/x.png .it is no regular file")


def test_a_folder_that_may_not_be_read_is_told(pets, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(tree.os, "scandir", scandir)
    refused(pets, "pets: Permission denied; type the path")


def test_numbers_of_files_and_of_bytes_are_bounded(pets, monkeypatch):
    monkeypatch.setattr(limits, "MOST_BYTES", 8 * 6 * 6 * 3 - 1)
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    assert load(pets).splits["train"].inputs.reason == \
        "its 8 pictures of 6 × 6 × 3 are more than the 7 that can be held"  # so it is streamed
    monkeypatch.setattr(tree, "MOST_EXAMPLES", 13)  # and six folders
    refused(pets, "it holds more than 13 files; name a smaller folder")


@pytest.mark.slow
def test_deep_folders_are_walked(tmp_path):
    draw(tmp_path / "set/a/1.png")
    deep = os.fspath(tmp_path / "set/a")
    for _ in range(1500):
        deep += "/b"
        os.mkdir(deep)
    assert len(load(tmp_path / "set").splits["train"].inputs) == 1
    os.removedirs(deep)  # pytest's own clean-up is recursive


def test_as_many_pixels_as_four_of_the_largest_are_decoded_at_once(pets, monkeypatch):
    threads, pool = [], image_folder.ThreadPool
    monkeypatch.setattr(image_folder, "ThreadPool", lambda n: threads.append(n) or pool(n))
    monkeypatch.setattr(devices, "cores", lambda: 64)
    draw(pets / "train/cat/large.png", size=(900, 1000))
    load(pets, reading=Reading(6))
    monkeypatch.setattr(image_folder, "_AT_ONCE", 3 * 900 * 1000)
    load(pets, reading=Reading(5))
    assert threads == [64, 64, 64, 64, 3, 3]  # headers, two splits; and again


def test_the_second_start_decodes_nothing(pets, monkeypatch, capfd):
    before = load(pets)
    assert capfd.readouterr().err.count("decoding image_folder") == 2
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    monkeypatch.setattr(image, "check", lambda *_: pytest.fail("it reads headers"))
    after = load(pets)
    assert capfd.readouterr().err == "" and after.fingerprint == before.fingerprint
    assert after.classes == before.classes
    for split in before.splits:
        assert np.array_equal(after.splits[split].inputs, before.splits[split].inputs)


def change_a_pixel(path: Path) -> None:
    """The same size and time of modification, as other programs may leave them."""
    seen = path.stat()
    changed = np.asarray(Image.open(path)).copy()
    changed[0, 0] ^= 1
    out = io.BytesIO()
    Image.fromarray(changed).save(out, "BMP")
    path.write_bytes(out.getvalue())
    assert path.stat().st_size == seen.st_size
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("split", ["train", "test"])
def test_changed_files_are_decoded_anew(split, pets):
    path = draw(pets / split / "cat/x.bmp", 50)
    before = load(pets)
    change_a_pixel(path)
    assert load(pets).fingerprint != before.fingerprint
    path.unlink()
    assert len(load(pets).splits[split].inputs) == len(before.splits[split].inputs) - 1


def test_a_colour_picture_in_one_split_is_one_for_all(pets):
    for path in pets.glob("*/*/*.png"):
        Image.open(path).convert("L").save(path)
    assert load(pets, splits=["train"]).splits["train"].inputs.shape == (6, 6, 6, 1)
    draw(pets / "test/cat/x.png")
    assert load(pets, splits=["train"]).splits["train"].inputs.shape == (6, 6, 6, 3)


def test_a_set_is_the_same_wherever_it_lies(pets, tmp_path):
    before = load(pets)
    shutil.copytree(pets, tmp_path / "else/where", copy_function=shutil.copyfile)
    after = load(tmp_path / "else/where")
    assert (after.name, after.fingerprint) == (before.name, before.fingerprint)
    (pets / "train/cat").rename(pets / "train/lion")
    (pets / "test/cat").rename(pets / "test/lion")
    assert load(pets).fingerprint != before.fingerprint


def test_the_cache_names_no_place(pets):
    load(pets)
    assert all(path.name.startswith("image_folder-") for path in cache.folder().iterdir())
    assert len(list(cache.folder().iterdir())) == 2
