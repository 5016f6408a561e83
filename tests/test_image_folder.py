"""Folders of pictures: known answers, what is refused and in which words."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_security import flat_png, picture

from engine import sources
from engine.config import Reading
from engine.devices import choose as devices
from engine.errors import RequestError
from engine.sources import cache, dataset, image, image_folder


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
    images, labels = whole.splits["test"]
    parts = {"test": range(200), "train": range(200, 500)}
    for split, row in ((split, row) for split, rows in parts.items() for row in rows):
        path = tmp_path / "cifar" / split / whole.classes[labels[row]] / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(path)
    found = load(tmp_path / "cifar")
    assert found.classes == whole.classes and list(found.splits) == ["test", "train"]
    for split, rows in parts.items():
        ordered = rows[0] + np.argsort(labels[rows], kind="stable")  # by class, then by name
        assert np.array_equal(found.splits[split].inputs, images[ordered])
        assert np.array_equal(found.splits[split].targets, labels[ordered])
        assert found.splits[split].inputs.dtype == np.uint8
        assert found.splits[split].targets.dtype == np.int32


def test_jpegs_are_what_pillow_reads_in_the_order_of_their_names(tmp_path):
    names = ["9/b.jpg", "10/x/deep/a.JPEG", "10/a.jpg", "9/a.jpg"]
    for n, name in enumerate(names):
        draw(tmp_path / "set" / name, n)
    found = load(tmp_path / "set")
    images, labels = found.splits["train"]
    ordered = ["10/a.jpg", "10/x/deep/a.JPEG", "9/a.jpg", "9/b.jpg"]
    expected = [np.asarray(Image.open(tmp_path / "set" / name)) for name in ordered]
    assert found.classes == ("10", "9")  # as text
    assert np.array_equal(images, expected) and labels.tolist() == [0, 0, 1, 1]


def test_classes_are_those_of_all_splits(tmp_path):
    for name in ("train/b/1.png", "validation/a/1.png", "test/c/1.png", "test/b/1.png"):
        draw(tmp_path / "set" / name)
    found = load(tmp_path / "set", splits=["test"])
    assert (found.classes, list(found.splits)) == (("a", "b", "c"), ["test"])
    assert found.splits["test"].targets.tolist() == [1, 2]
    refused(tmp_path / "set", "unknown split of image_folder 'tset'.*test", splits=["tset"])


def test_pictures_are_grey_where_all_are(tmp_path):
    draw(tmp_path / "set/a/1.png", mode="L")
    draw(tmp_path / "set/a/2.png", mode="1")
    draw(tmp_path / "set/b/3.png", mode="LA")
    assert load(tmp_path / "set").splits["train"].inputs.shape == (3, 6, 6, 1)
    clear = draw(tmp_path / "set/b/4.png", mode="RGBA")
    images, _ = load(tmp_path / "set").splits["train"]
    assert images.shape == (4, 6, 6, 3)
    assert np.array_equal(images[3], np.asarray(Image.open(clear))[..., :3])
    grey = np.asarray(Image.open(tmp_path / "set/a/1.png"))
    assert np.array_equal(images[0], np.stack([grey] * 3, -1))


def test_sizes_that_vary_ask_for_image_size(tmp_path):
    wide = draw(tmp_path / "set/train/a/1.png", size=(9, 6))
    draw(tmp_path / "set/test/a/1.png", size=(5, 6))
    refused(tmp_path / "set", r"vary in size \(\(6, 5\), then \(6, 9\)\): pass --image_size, 64")
    images, _ = load(tmp_path / "set", reading=Reading(7)).splits["train"]
    resized = Image.open(wide).resize((7, 7), Image.Resampling.BILINEAR)
    assert np.array_equal(images[0], np.asarray(resized))


def test_what_is_no_picture_is_left_out_and_told_in_a_line(pets, capfd):
    sound = load(pets).fingerprint
    capfd.readouterr()
    for name in (".DS_Store", "train/Thumbs.db", "train/.hidden/x.png", "train/cat/.x.png"):
        (pets / name).parent.mkdir(exist_ok=True)
        (pets / name).write_bytes(b"no picture")
    (pets / "train/.link.png").symlink_to("/etc/hostname")
    assert load(pets).fingerprint == sound and capfd.readouterr().err == ""
    (pets / "README").write_text("Pets.")
    (pets / "train/cat/notes.txt").write_text("A cat.")
    assert load(pets).fingerprint == sound
    (line,) = capfd.readouterr().err.splitlines()
    assert "2 files are no .png, .jpg" in line and "'README' is one" in line


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
    (pets / "test/bird").mkdir()
    assert load(pets).classes == ("cat", "dog")
    draw(pets / "train/bird/1.png")
    assert load(pets).classes == ("bird", "cat", "dog")


@pytest.mark.parametrize("content, words", [
    (b"", "its content is no PNG, JPEG"),
    (b"GIMP, not a picture", "its content is no PNG, JPEG"),
    (picture("PNG")[:2000], "it is damaged: .*truncated"),
    (flat_png(40_000, 40_000), "it has more than 64,000,000 pixels"),
])  # fmt: skip
def test_damaged_pictures_are_named(content, words, pets):
    (pets / "test/dog/7.png").write_bytes(content)
    refused(pets, f"test/dog/7.png is not an image that can be read: {words}.*. Mend it, or take",
            reading=Reading(6))  # fmt: skip


def test_pixels_of_more_than_8_bits_are_refused(pets):
    Image.fromarray(np.full((6, 6), 60_000, np.uint16)).save(pets / "train/cat/0.png")
    refused(pets, "cat/0.png is not an image.*16 bits or more would be cut off at 255")


def test_every_header_is_judged_before_a_pixel_is_decoded(pets, monkeypatch):
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    (pets / "test/dog/7.png").write_bytes(flat_png(8_001, 8_000))
    refused(pets, "more than 64,000,000 pixels")
    draw(pets / "test/dog/7.png", size=(6, 5))
    refused(pets, "vary in size")


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
    refused(pets, "train/cat/x.png is not an image that can be read: it is no regular file")


def test_a_folder_that_may_not_be_read_is_told(pets, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(image_folder.os, "scandir", scandir)
    refused(pets, "pets: Permission denied; type the path")


def test_numbers_of_files_and_of_bytes_are_bounded(pets, monkeypatch):
    monkeypatch.setattr(dataset, "MOST_BYTES", 8 * 6 * 6 * 3 - 1)
    monkeypatch.setattr(image, "read", lambda *_: pytest.fail("it decodes"))
    refused(pets, "its 8 pictures of 6 × 6 × 3 are more than the 7 that can be held: type a small")
    monkeypatch.setattr(image_folder, "MOST_EXAMPLES", 13)  # and six folders
    refused(pets, "it holds more than 13 files; name a smaller folder")


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
    assert threads == [64, 64, 64, 64, 3, 3]


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
