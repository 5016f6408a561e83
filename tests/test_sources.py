"""Every source's known answers, the decoded cache, and what a wrong request gets."""

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from sklearn.datasets import load_digits

from engine import errors, sources
from engine.config import Reading
from engine.disk import caches
from engine.sets import cache, content, image, limits
from engine.tfds import prepared


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def png(image):
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


class Squares(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Six grey squares; `sides` and `label` say how they differ."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, sides, label=None, **kwargs):
        self.sides, self.label = sides, label or tfds.features.ClassLabel(names=["dark", "light"])
        super().__init__(file_format="array_record", **kwargs)

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 1))
        features = tfds.features.FeaturesDict({"image": image, "label": self.label})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for n in range(count):
            side = self.sides[n % len(self.sides)]
            pixels = np.full((side, side), 40 * n, np.uint8)
            yield n, {"image": io.BytesIO(png(Image.fromarray(pixels))), "label": n % 2}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    Squares([8], data_dir=root).download_and_prepare()
    return root


def load(root, **kwargs):
    return sources.load("squares", data_dir=str(root), **kwargs)


def test_records_that_are_read_later_have_hashes_of_their_pictures(squares):
    train, test = (load(squares, stream=True).splits[name].inputs.hashes
                   for name in ("train", "test"))
    assert len(np.unique(train)) == 6
    dark, light = (png(Image.fromarray(np.full((8, 8), grey, np.uint8))) for grey in (0, 40))
    assert {*test.tolist()} == {content.content_of(dark), content.content_of(light)}
    assert np.isin(test, train).all()


def described(root, name, text="{}"):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(text)


def test_digits_are_the_bundled_ones_and_split_by_class():
    digits = sources.load("digits", reading=Reading(8))
    bundled_NxHxW, labels = load_digits(return_X_y=True)
    expected = np.rint(bundled_NxHxW.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    train, test = digits.splits["train"], digits.splits["test"]
    assert (len(train.inputs), len(test.inputs)) == (1437, 360)
    both = np.concatenate([train.inputs, test.inputs])
    assert sorted(image.tobytes() for image in both) == sorted(e.tobytes() for e in expected)
    share = np.bincount(test.targets) / np.bincount(labels)
    assert np.all(np.abs(share - 0.2) < 0.01)
    wanted = {image.tobytes(): label for image, label in zip(expected, labels, strict=True)}
    assert all(
        wanted[image.tobytes()] == label
        for image, label in zip(test.inputs, test.targets, strict=True)
    )


def test_digits_are_enlarged_and_always_the_same():
    digits, again = sources.load("digits"), sources.load("digits")
    images, labels = digits.splits["train"][:2]
    assert (images.shape, images.dtype, labels.dtype) == ((1437, 32, 32, 1), np.uint8, np.int32)
    assert images.min() == 0 and images.max() == 255
    assert digits.splits["test"].targets[:12].tolist() == [1, 4, 8, 6, 5, 9, 9, 1, 3, 2, 2, 2]
    assert digits.fingerprint == again.fingerprint
    assert digits.fingerprint != sources.load("digits", reading=Reading(16)).fingerprint
    assert list(sources.load("digits", splits=["test"]).splits) == ["test"]


def test_data_dir_prefers_the_flag_then_the_environment(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/env")
    assert sources.data_dir("/flag") == Path("/flag")
    assert sources.data_dir() == Path("/env")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert sources.data_dir() == Path.home() / "tensorflow_datasets"


def test_a_user_without_a_home_folder_has_no_caches_and_embedded_sets(here, monkeypatch, capsys):
    """As a container's, whose number no passwd has."""
    for name in ("HOME", "XDG_CACHE_HOME", "TFDS_DATA_DIR", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    caches.use_compile_cache(True)
    assert cache.usable() is None
    both = capsys.readouterr().err
    assert both.count("~/.cache/flaxmill/") == both.count("no home folder; set HOME or XDG_") == 2
    assert sources.load("iris").splits and not list(here.iterdir())
    with pytest.raises(errors.RequestError, match="~/tensorflow_datasets, .*: type --data_dir"):
        sources.load("mnist")


def test_prepared_names_only_complete_sets(tmp_path):
    assert sources.prepared(tmp_path / "absent") == []
    described(tmp_path, "plain/1.0.0")
    described(tmp_path, "configured/small/1.0.0")
    described(tmp_path, "broken/incomplete.AB12CD_1.0.0")
    (tmp_path / "empty/1.0.0").mkdir(parents=True)
    assert sources.prepared(tmp_path) == ["configured/small", "plain"]


def test_newest_version_and_config_are_found(tmp_path):
    for version in ("3.0.9", "3.0.10"):
        described(tmp_path, f"plain/{version}")
    described(tmp_path, "configured/small/1.0.0")
    assert prepared.find("plain", tmp_path) == tmp_path / "plain/3.0.10"
    assert prepared.find("plain:3.0.9", tmp_path) == tmp_path / "plain/3.0.9"
    assert prepared.find("plain:1.0.0", tmp_path) is None
    assert prepared.find("configured", tmp_path) == tmp_path / "configured/small/1.0.0"
    described(tmp_path, "configured/large/1.0.0")
    with pytest.raises(errors.RequestError, match="configured/large, configured/small"):
        prepared.find("configured", tmp_path)


def test_a_prepared_set_is_read(squares):
    found = load(squares)
    images, labels = found.splits["train"][:2]
    assert found.classes == ("dark", "light")
    assert (images.shape, images.dtype, labels.dtype) == ((6, 8, 8, 1), np.uint8, np.int32)
    values = images[:, 0, 0, 0]
    assert sorted(values) == [0, 40, 80, 120, 160, 200]
    assert np.array_equal(images, np.broadcast_to(values[:, None, None, None], images.shape))
    assert np.array_equal(labels, values // 40 % 2)
    assert load(squares, reading=Reading(5)).splits["test"].inputs.shape == (2, 5, 5, 1)
    assert list(load(squares, splits=["test"]).splits) == ["test"]


def test_sizes_that_vary_ask_for_image_size(tmp_path):
    Squares([8, 6], data_dir=tmp_path).download_and_prepare()
    with pytest.raises(errors.RequestError, match="vary in size.*--image_size"):
        load(tmp_path)
    assert load(tmp_path, reading=Reading(7)).splits["train"].inputs.shape == (6, 7, 7, 1)


def test_a_set_without_classes_is_refused(tmp_path):
    label = tfds.features.Scalar(np.int64)
    Squares([8], label, data_dir=tmp_path).download_and_prepare()
    with pytest.raises(errors.RequestError, match="has image, label"):
        load(tmp_path)


def test_another_file_format_is_refused(tmp_path):
    described(tmp_path, "cifar10/3.0.2", '{"fileFormat": "tfrecord"}')
    with pytest.raises(errors.RequestError, match="stored as tfrecord.*array_record"):
        sources.load("cifar10", data_dir=str(tmp_path))


def test_damaged_records_name_the_folder(squares, tmp_path):
    shutil.copytree(squares, tmp_path / "copy")
    (record,) = (tmp_path / "copy").glob("squares/*/*train.array_record*")
    record.write_bytes(record.read_bytes()[:-40])
    with pytest.raises(errors.RunError, match="copy/squares/1.0.0 can't be read"):
        load(tmp_path / "copy")


@pytest.mark.slow
def test_a_flipped_bit_in_the_records_is_told_or_harms_nothing(squares, tmp_path):
    shutil.copytree(squares, tmp_path / "copy")
    (record,) = (tmp_path / "copy").glob("squares/*/*train.array_record*")
    whole, sound, draw, told = record.read_bytes(), load(squares), np.random.default_rng(0), 0
    for bit in draw.integers(0, 8 * len(whole), 60).tolist():
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        record.write_bytes(hurt)
        try:
            found = load(tmp_path / "copy")
        except errors.RunError as error:
            told += "copy/squares/1.0.0 can't be read" in str(error)
        else:
            assert found.fingerprint == sound.fingerprint
    assert told > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cifar11", "unknown data set 'cifar11': did you mean .*cifar10"),
        ("MNIST", "unknown data set 'MNIST': did you mean mnist"),
        ("irsi", "'irsi': did you mean iris"), ("Iris", "did you mean iris"),
        ("diabets", "did you mean diabetes"), ("breastcancer", "did you mean breast_cancer"),
        ("Digits", "did you mean digits"),
        ("qqq", "choose from cifar10, cifar100, digits, fashion_mnist, mnist"),
        ("../cifar10", "'../cifar10' is no name: type digits"),
        (__file__, "is no name: to learn from what lies there, type table:/"),
        (str(Path(__file__).parent), "type image_folder:/"),
        ("tables/a.csv", "'tables/a.csv' is no name: .* what lies there, type table:tables/a.csv"),
        ("tables/b", "to learn from what lies there, type table:tables/b"),
        ("gone.parquet", "'gone.parquet' is no name: of a file, type table:gone.parquet"),
        ("gone/a.csv", "'gone/a.csv' is no name: of a file, type table:gone/a.csv"),
        ("gone/a.npz", "'gone/a.npz' is no name: arrays come by a recipe"),
        ("tables", "'tables': to learn from the folder of that name, type image_folder:tables"),
        ("flat", "'flat': to learn from the folder of that name, type image_folder:flat, or table"),
    ],
)
def test_unknown_names_get_the_nearest(name, words, tmp_path, monkeypatch):
    for folder in ("flat", "tables"):
        (tmp_path / folder).mkdir()
    for file in ("tables/a.csv", "tables/b", "mnist"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.RequestError, match=words):
        sources.load(name, data_dir=str(tmp_path))
    if "/" in name and "is no name" in words:  # before what is read of it
        with pytest.raises(errors.RequestError, match=words):
            sources.load(name, reading=Reading(target="y"))


def test_a_folder_that_is_no_name_is_told_beside_what_is_read_of_it(tmp_path, monkeypatch):
    (tmp_path / "Flat").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.RequestError, match="--dataset Flat: it is for .* table:PATH. To l"
                       "earn from the folder of that name, type image_folder:Flat, or table:Flat."):
        sources.load("Flat", reading=Reading(target="y"))


def test_unknown_splits_and_sizes_are_refused(squares):
    with pytest.raises(errors.RequestError, match="unknown split of squares 'tset'.*test"):
        load(squares, splits=["tset"])
    with pytest.raises(errors.RequestError, match="unknown split of digits 'validation'"):
        sources.load("digits", splits=["validation"])
    with pytest.raises(errors.RequestError, match="image_size is -1"):
        sources.load("digits", reading=Reading(-1))


@pytest.fixture
def kept(squares, capfd):
    """A loaded set and the folder of its cached train split."""
    found = load(squares)
    (folder,) = cache.folder().glob("*-train")
    capfd.readouterr()
    return found, folder


@pytest.mark.parametrize(
    ("file", "place"),
    [("images.npy", -5), ("images.npy", 70), ("labels.npy", -4), ("entry.json", 15)],
)
def test_a_flipped_bit_in_the_cache_rebuilds_it(squares, kept, capfd, file, place):
    before, folder = kept
    data = bytearray((folder / file).read_bytes())
    data[place] ^= 1
    (folder / file).write_bytes(data)
    after = load(squares)
    assert "is damaged" in capfd.readouterr().err
    assert np.array_equal(after.splits["train"].inputs, before.splits["train"].inputs)
    assert after.fingerprint == before.fingerprint
    load(squares)
    assert capfd.readouterr().err == ""


def test_the_cache_is_private_and_whole(kept):
    _, folder = kept
    assert cache.folder().stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == [
        "entry.json", "images.npy", "labels.npy",
    ]  # fmt: skip
    assert not list(cache.folder().glob(".partial*"))


def test_what_a_killed_process_left_half_written_goes_what_is_written_now_stays(squares, kept):
    for name, hours in ((".partial-left", 2), (".partial-now", 0)):
        (cache.folder() / name / "part").mkdir(parents=True, mode=0o700)
        then = time.time() - 3600 * hours
        os.utime(cache.folder() / name, (then, then))
    load(squares)
    assert [path.name for path in cache.folder().glob(".partial*")] == [".partial-now"]


def test_an_unwritable_cache_is_done_without(squares, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(load(squares).splits["train"].inputs) == 6
    assert "is not used" in capfd.readouterr().err


def test_changed_files_are_decoded_anew(squares, tmp_path):
    shutil.copytree(squares, tmp_path / "copy")
    before = load(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")
    Squares([9], data_dir=tmp_path / "copy").download_and_prepare()
    after = load(tmp_path / "copy")
    assert after.splits["train"].inputs.shape == (6, 9, 9, 1)
    assert after.fingerprint != before.fingerprint


def test_records_of_another_time_are_decoded_anew(squares, kept, capfd):
    (record,) = squares.glob("squares/*/*train.array_record*")
    os.utime(record, (1, 1))
    assert load(squares).fingerprint == kept[0].fingerprint
    assert "decoding squares train" in capfd.readouterr().err


def test_the_fingerprint_is_the_contents(squares, tmp_path):
    shutil.copytree(squares, tmp_path / "moved", copy_function=shutil.copyfile)
    assert load(tmp_path / "moved").fingerprint == load(squares).fingerprint


CHILD = """
import sys, time
start = time.perf_counter()
from engine import sources
found = sources.load(sys.argv[1], data_dir=sys.argv[2])
seconds = time.perf_counter() - start
heavy = {"jax", "tensorflow", "tensorflow_datasets", "sklearn"} & set(sys.modules)
print(found.fingerprint, seconds, *heavy)
"""


def load_in_child(name, root):
    """The words the child prints: fingerprint, seconds, heavy modules."""
    child = [sys.executable, "-W", "error:::engine", "-c", CHILD, name, str(root)]
    cwd = Path(__file__).parents[1]
    done = subprocess.run(child, capture_output=True, text=True, check=True, cwd=cwd,
                          timeout=300)
    return done.stdout.split()


def test_the_second_start_imports_nothing_heavy(squares):
    fingerprint = load(squares).fingerprint
    first, _, *heavy = load_in_child("squares", squares)
    assert (first, heavy) == (fingerprint, [])


@pytest.mark.slow
def test_real_cifar10():
    root = sources.data_dir()
    if "cifar10" not in sources.prepared(root):
        pytest.skip(f"no prepared cifar10 in {root}: set TFDS_DATA_DIR")
    found = sources.load("cifar10", splits=["test"])
    images, labels = found.splits["test"][:2]
    assert (images.shape, images.dtype) == ((10000, 32, 32, 3), np.uint8)
    assert found.classes[:2] == ("airplane", "automobile") and len(found.classes) == 10
    assert np.array_equal(np.bincount(labels), [1000] * 10)
    plain = tfds.data_source("cifar10", split="test", data_dir=os.fspath(root))
    for row in (0, 1234, 9999):
        assert np.array_equal(plain[row]["image"], images[row])
        assert plain[row]["label"] == labels[row]


def test_grey_and_colour_pictures_are_brought_to_the_declared_channels():
    palette = Image.new("P", (4, 4))
    assert image.decode(io.BytesIO(png(palette)), "RGB").shape == (4, 4, 3)
    wide = io.BytesIO(png(Image.new("RGB", (4, 2))))
    assert image.decode(wide, "L", (3, 3)).shape == (3, 3, 1)


def test_what_memory_cannot_hold_is_refused_before_it_is_made(monkeypatch):
    """20,000² digits were a MemoryError after half a minute."""
    said = "digits: its 1,797 pictures of 20000 × 20000 × 1 are more than the .* type a smaller"
    with pytest.raises(errors.RequestError, match=said):
        sources.load("digits", reading=Reading(20_000))
    monkeypatch.setattr(limits, "host_memory", lambda: (10**9, 1797 * 64 * 64 - 1))
    with pytest.raises(errors.RequestError, match="more than the 1,796 that can be held"):
        sources.load("digits", reading=Reading(64))
    found = sources.load("digits", reading=Reading(63))
    assert found.splits["test"].inputs.shape == (360, 63, 63, 1)


def test_records_that_are_no_examples_are_one_clear_sentence(squares, tmp_path):
    """A protobuf that doesn't parse raises an error of its own kind."""
    shutil.copytree(squares, tmp_path / "set")
    (file,) = (tmp_path / "set").rglob("*train*array_record*")
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for _ in range(6):
        writer.write(b"\xff\xff\xffno example")
    writer.close()
    with pytest.raises(errors.RunError, match="can't be read .*: remove that folder and run again"):
        load(tmp_path / "set")
