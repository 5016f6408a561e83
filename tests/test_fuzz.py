"""Whatever a user or a damaged disk hands in, it is read or refused in our own words.

The examples are the same every time, so that a failure here is a change in the code.
"""

import contextlib
import dataclasses
import gzip
import io
import json
import math
import os
import shutil
import tarfile
import warnings

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from engine import sources
from engine.command import flags
from engine.command.options import COMMANDS
from engine.config import Config, Hyper, Reading
from engine.doors import checks
from engine.doors.course import durations
from engine.errors import RequestError, RunError
from engine.examples import Split
from engine.place import Place
from engine.request import Request
from engine.sets import cache, image, names
from engine.store import folder, record
from engine.sweep import search as searches
from engine.sweep import space
from engine.sweep.events import EVENT, FILE, Events
from engine.tfds import builders, decoded

settings.register_profile(
    "ours", derandomize=True, deadline=None, database=None, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")
FEW, MANY = settings(max_examples=20), settings(max_examples=60)

ODD = st.sampled_from(
    ["", " ", "-1", "0", "1", "1.5", "nan", "inf", "-inf", "1e400", "9" * 5000, "2147483648",
     "true", "null", "cnn", "sgd", "adam", "digits", "1/2", "2/1", "1/2/3", "0.5", "train[:9%]",
     "log:1e-4:1e-1:4", "lin:0:inf:3", "log:1e-300:1e300:5", "log:1:2:999999999999", "/", ".",
     "..", "/dev/null", "/proc/self/mem", "\0", "\udcff", "--", "é", "$x", "<b>", "a\nb", "%s"]
) | st.text(max_size=12)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """A folder of the test's own, and a cache home in it."""
    before, home = os.getcwd(), os.environ.get("XDG_CACHE_HOME")
    path = tmp_path_factory.mktemp("fuzz")
    os.chdir(path)
    os.environ["XDG_CACHE_HOME"] = str(path / "xdg")
    yield path
    os.chdir(before)
    del os.environ["XDG_CACHE_HOME"]
    if home is not None:
        os.environ["XDG_CACHE_HOME"] = home


def ours(call, *arguments):
    """What the call returns, or None where it refuses in our own words. Anything else fails."""
    try:
        return call(*arguments)
    except (RequestError, RunError) as error:
        assert str(error).strip()
        return None


def damaged(content: bytes):
    """Strategies of what may become of a file: bytes changed, its end lost, more at its end."""
    place = st.integers(0, len(content) - 1)

    def changed(changes):
        data = bytearray(content)
        for at, value in changes:
            data[at] ^= value
        return bytes(data)

    changes = st.lists(st.tuples(place, st.integers(1, 255)), min_size=1, max_size=4)
    return changes.map(changed) | place.map(lambda at: content[:at]) | st.binary(
        min_size=1, max_size=40).map(lambda more: content + more)  # fmt: skip


NAMES = sorted(name for name in flags.definitions() if len(name) > 1) + ["flagfile", "undefok"]
WORDS = st.one_of(
    st.sampled_from(sorted(COMMANDS)),
    st.builds("--{}={}".format, st.sampled_from(NAMES), ODD),
    st.builds("--{}".format, st.sampled_from(NAMES)),
    st.builds("--no{}".format, st.sampled_from(NAMES)),
    ODD,
)


@MANY
@given(st.lists(WORDS, max_size=5))
@example(["sweep", "--epochs", "3", "--sweep=learning_rate=1,2", "--noflip"])
@example(["--warmup_epochs", "nan"])
@example(["--warmup_epochs=inf"])
@example(["--epochs", "1" + "0" * 30])
@example(["--run_dir", "\udcff"])
@example(["--flagfile", "/proc/self/mem"])
def test_a_command_line(argv):
    request = ours(flags.parse, argv)
    if isinstance(request, flags.Command):  # not a page of help
        durations(request.request.config, 1000)
    if argv[:3] == ["sweep", "--epochs", "3"]:
        assert request.request.config.epochs == 3 and request.search.axes == ("learning_rate=1,2",)


def sound(path):
    """A configuration as `read` and `check` leave it."""
    saved = record.read(path).request
    checks.check(saved.config, saved.hyper)
    checks.check_fields(saved.place)
    return durations(saved.config, 1000)


FIELDS = [f.name for kind in (Config, Place) for f in dataclasses.fields(kind)]
RECORD = record.to_json(Request())
SAVED = st.builds(
    lambda kind, name, value: RECORD | {kind: RECORD[kind] | {name: value}},
    st.sampled_from(["config", "hyper"]), st.sampled_from([*FIELDS, *Hyper._fields, "other"]), JSON,
)  # fmt: skip


@MANY
@given(st.binary(max_size=60) | (JSON | SAVED).map(lambda x: json.dumps(x).encode()))
@example(json.dumps(RECORD).encode())
@example(b"[" * 200_000)
@example(b'{"config": {"epochs": "ten"}, "hyper": {}}')
@example(b'{"config": {"epochs": true}, "hyper": {}}')
@example(b'{"config": {}, "hyper": {"learning_rate": null}}')
def test_a_saved_configuration(place, content):
    file = place / "config.json"
    file.write_bytes(content)
    found = ours(sound, file)
    if content == json.dumps(RECORD).encode():
        assert found == durations(Config(), 1000)


@given(st.dictionaries(st.sampled_from(space.Search._fields), JSON) | JSON)
@example({"axes": ["learning_rate=1,2"], "seeds": 2})
@example({"axes": [1]})
@example({"axes": ["learning_rate=1"], "seeds": "2"})
def test_a_saved_search(place, search):
    found = ours(searches.saved, record.Saved(place, Request(), {"search": search}))
    if found:
        ours(space.axes, found, Hyper())
    if search == {"axes": ["learning_rate=1,2"], "seeds": 2}:
        assert found == space.Search(("learning_rate=1,2",), seeds=2)


@given(st.sampled_from(sorted([*vars(Config()), *Hyper._fields, "", "x"])),
       st.lists(ODD, max_size=4), st.sampled_from([",", ":"]))  # fmt: skip
@example("learning_rate", ["0.1", "0.2"], ",")
@example("learning_rate", ["log", "1e-4", "1", "99999999999"], ":")
def test_an_axis(name, values, between):
    text = f"{name}={between.join(values)}"
    found = ours(space.axes, space.Search(axes=(text,), samples=2), Hyper())
    ours(space.axes, space.Search(axes=(text,), seeds=10**9), Hyper())
    if text == "learning_rate=0.1,0.2":
        assert [axis.values for axis in found] == [(0.1, 0.2)]


@given(st.lists(st.binary(max_size=20) | JSON.map(lambda x: json.dumps(x).encode()), max_size=3))
@example([b'{"step": 3, "run": 0, "event": "pruned", "group": 0}'])
@example([b'{"step": 1'])
@example([b"[" * 200_000])
def test_recorded_rows(place, lines):
    good = b'{"step": 1, "run": 0, "event": "diverged", "group": 0}\n'
    (place / "events.jsonl").write_bytes(good + b"".join(line + b"\n" for line in lines))
    found = ours(folder.history, place, FILE, EVENT)
    if lines in ([], [b'{"step": 3, "run": 0, "event": "pruned", "group": 0}']):
        assert [row["step"] for row in found] == [1, 3][: 1 + len(lines)]
    ours(Events(place).status)
    ours(Events(place).forget, 0, 1)


INFO = {"fileFormat": "array_record", "splits": [{"name": "train", "shardLengths": ["6"]}]}


def described(path, info, features):
    (path / "dataset_info.json").write_text(json.dumps(info))
    (path / "features.json").write_text(json.dumps(features))
    decoded.only_tfds_features(path)
    return decoded.held(path)


@given(st.builds(lambda key, value: INFO | {key: value},
                 st.sampled_from(["splits", "fileFormat"]), JSON) | JSON, JSON)  # fmt: skip
@example(INFO, {})
@example(INFO | {"splits": [{"name": "train", "shardLengths": ["six"]}]}, {})
@example(INFO | {"splits": [{"name": 5, "shardLengths": [6]}]}, {})
@example(INFO | {"splits": [{"shardLengths": [6]}]}, {})
@example(INFO | {"splits": [{"name": "train", "shardLengths": [math.inf]}]}, {})
def test_a_prepared_sets_own_words(place, info, features):
    found = ours(described, place, info, features)
    if (info, features) == (INFO, {}):
        assert found is not None


SPLIT = Split(np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3), np.array([1, 0], np.int32))


def kept():
    return cache.kept(cache.usable(), "set", lambda: (SPLIT, ("cat", "dog")))


kept_files = st.sampled_from(["images.npy", "labels.npy", "entry.json"])


@MANY
@given(kept_files, st.data())
def test_a_cached_split_is_never_wrong(file, data):
    shutil.rmtree(cache.folder() / "set", ignore_errors=True)
    kept()
    path = cache.folder() / "set" / file
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    entry = kept()
    assert np.array_equal(entry.split.inputs, SPLIT.inputs)
    assert np.array_equal(entry.split.targets, SPLIT.targets)
    assert entry.classes == ("cat", "dog")


def tarred(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind, size, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, size, "b/c"
            tar.fileobj.write(member.tobuf() + content + bytes(-len(content) % 512))
    return out.getvalue()


KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE,
                         tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE,
                         tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE,
                         tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, b"?"])  # fmt: skip
MEMBERS = st.lists(
    st.tuples(st.sampled_from(["a/b", "/a/b", "../a/b", "a/../a/b", "a/c", "./a/b"]), KINDS,
              st.sampled_from([0, 1, 40, 512, 10**6, 8**11 - 1]), st.binary(max_size=40)),
    max_size=4,
)  # fmt: skip
SOUND = tarred([("a/b", tarfile.REGTYPE, 4, b"mine"), ("a/c", tarfile.REGTYPE, 5, b"yours")])
PAX = tarred([("p", tarfile.XHDTYPE, 12, b"12 path=a/b\n")] * 3 + [("a/b", b"0", 4, b"mine")])
CHAIN = tarred([("p", tarfile.XHDTYPE, 12, b"12 path=a/b\n")] * 1500)


def wanted(path):
    return builders.members(path, ["a/b"])


@MANY
@given(MEMBERS.map(tarred).map(gzip.compress) | damaged(SOUND).map(gzip.compress)
       | damaged(gzip.compress(SOUND)) | damaged(PAX).map(gzip.compress) | st.binary(max_size=60))
@example(gzip.compress(SOUND))
@example(gzip.compress(CHAIN))
def test_an_archive(place, content):
    file = place / "archive.tar.gz"
    file.write_bytes(content)
    found = ours(wanted, file)
    assert found is None or list(found) == ["a/b"]
    if content == gzip.compress(SOUND):
        assert found == {"a/b": b"mine"}


IDX = bytes([0, 0, 8, 3]) + np.array([2, 3, 4], ">i4").tobytes() + bytes(range(24))


@MANY
@given(damaged(IDX).map(gzip.compress) | damaged(gzip.compress(IDX)) | st.binary(max_size=60)
       | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4).map(
           lambda shape: gzip.compress(IDX[:4] + np.array(shape, ">i4").tobytes() + bytes(24))))
@example(gzip.compress(IDX))
@example(gzip.compress(IDX[:4] + np.array([-1, 3, 4], ">i4").tobytes() + bytes(24)))
def test_an_idx_file(place, content):
    file = place / "idx.gz"
    file.write_bytes(content)
    found = ours(builders.idx, file, 3)
    assert found is None or (found.dtype == np.uint8 and found.ndim == 3)
    if content == gzip.compress(IDX):
        assert found.tolist() == np.arange(24).reshape(2, 3, 4).tolist()


def encoded(format: str, **options) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


PICTURES = [encoded(format) for format in image.FORMATS] + [
    encoded("JPEG", progressive=True), encoded("TIFF", compression="tiff_lzw"),
    encoded("WEBP", lossless=True), encoded("PNG", dpi=(72, 72)),
]  # fmt: skip
BEGUN = st.builds(lambda head, more: head[:12] + more, st.sampled_from(PICTURES),
                  st.binary(max_size=200))  # fmt: skip


@settings(max_examples=400)
@given(st.sampled_from(PICTURES).flatmap(damaged) | BEGUN | st.binary(max_size=60))
@example(PICTURES[0])
@example(PICTURES[1])
def test_a_picture(content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        try:
            found = image.decode(io.BytesIO(content), "RGB", (5, 6))
        except image.Undecodable as error:
            assert str(error) and content not in PICTURES
        else:
            assert (found.shape, found.dtype) == ((6, 5, 3), np.uint8)


@FEW
@given(st.binary(max_size=60) | st.sampled_from(PICTURES).flatmap(damaged))
@example(PICTURES[0])
def test_a_file_to_predict(place, content):
    (place / "picture").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours(image.check, str(place / "picture"))
        found = ours(image.read, str(place / "picture"), (6, 5, 1))
    assert found is None or found.shape == (6, 5, 1)
    assert content != PICTURES[0] or found is not None


NAMES_IN_FOLDERS = st.lists(
    st.sampled_from(["train", "test", "cat", "dog", ".x", "a\nb", "x.png", "y.JPG", "z.txt", "é",
                     "\udcff.png", "x" * 255, "[0]"]), min_size=1, max_size=4,
).map("/".join)  # fmt: skip
CONTENTS = st.sampled_from(PICTURES) | st.sampled_from(PICTURES).flatmap(damaged) | st.sampled_from(
    [os.mkfifo, os.mkdir, ".", "..", "x.png", "../x.png", "/etc/hostname", "/dev/zero", "absent"])


def planted(root, things) -> None:
    """Files, links, pipes and folders, as far as their names allow."""
    for name, content in things.items():
        with contextlib.suppress(OSError):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (root / name).write_bytes(content)
            elif isinstance(content, str):
                (root / name).symlink_to(content)
            else:
                content(root / name)


def checked(found) -> None:
    """What every source promises."""
    for images, labels, _ in found.splits.values():
        assert images.dtype == np.uint8 and images.ndim == 4 and images.size
        assert labels.dtype == np.int32 and labels.shape == images.shape[:1]
        assert 0 <= labels.min() and labels.max() < len(found.classes)
    assert list(found.classes) == list(dict.fromkeys(found.classes))


SOUND_FOLDER = {"train/cat/x.png": PICTURES[0], "train/dog/y.png": PICTURES[0]}


@given(st.dictionaries(NAMES_IN_FOLDERS, CONTENTS, max_size=5), st.sampled_from([0, 5]))
@example(SOUND_FOLDER, 0)
def test_a_folder_of_pictures(place, things, size):
    shutil.rmtree(place / "folder", ignore_errors=True)
    (place / "folder").mkdir()
    planted(place / "folder", things)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ours(sources.load, f"image_folder:{place / 'folder'}", "", Reading(size))
    if found is not None:
        checked(found)
        assert sum(len(split.targets) for split in found.splits.values()) <= len(things)
    if things == SOUND_FOLDER and not size:
        assert found.classes == ("cat", "dog") and found.splits["train"].targets.tolist() == [0, 1]


LABELS = b"file,label,split\nx.png,cat,train\ny.png,dog,Test\n"


@given(damaged(LABELS) | st.binary(max_size=60))
@example(LABELS)
@example(b"\xff\xfex.png,cat")
@example(b"x.png,\"a")
def test_a_table_of_labels(place, content):
    shutil.rmtree(place / "flat", ignore_errors=True)
    planted(place / "flat", {"x.png": PICTURES[0], "y.png": PICTURES[0]})
    (place / "flat/labels.csv").write_bytes(content)
    found = ours(sources.load, f"image_folder:{place / 'flat'}")
    if found is not None:
        assert sum(len(split.targets) for split in found.splits.values()) <= 2
    if content == LABELS:
        assert {split: found.classes[targets[0]] for split, (_, targets, _) in
                found.splits.items()} == {"train": "cat", "test": "dog"}


TABLE = b"label,p0,p1,p2,p3\ncat,0,1,2,3\ndog,255,254,253,252\n"
CELLS = st.sampled_from(["label", "cat", "0", "255", "256", "-1", "1.5", "nan", "", " 7", '"',
                         '"a"', '"a""b"', "\U0010417d", "\0", "\ufeff", "é", "٣", "9" * 30,
                         "1" * 5000, "#", "'", "\r", "\u2028"]) | st.text(max_size=4)  # fmt: skip
ROWS = st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=5)


@MANY
@given(damaged(TABLE) | st.binary(max_size=60)
       | ROWS.map(lambda rows: "\n".join(rows).encode(errors="surrogatepass"))
       | ROWS.map(lambda rows: TABLE + "\n".join(rows).encode(errors="surrogatepass")),
       st.sampled_from([0, 5]))  # fmt: skip
@example(TABLE, 0)
@example(TABLE + b'"a', 0)
@example(TABLE + b"1,2,3,4,5,6\n", 0)
@example(TABLE + "cat,\U0010417d,1,2,3\n".encode(), 0)
@example(b"label,p\n,0\n", 5)
def test_a_table(place, content, size):
    (place / "table.csv").write_bytes(content)
    found = ours(sources.load, f"csv:{place / 'table.csv'}", "", Reading(size))
    if found is not None and found.is_table:
        kinds = {column.dtype.name for _, column in found.splits["train"].inputs.items()}
        assert kinds <= {"float64", "datetime64[us]", "category"}
    elif found is not None:
        inputs, targets = found.splits["train"][:2]
        assert inputs.dtype in (np.uint8, np.float32) and inputs.ndim == 4
        assert targets.shape == inputs.shape[:1]
    if content == TABLE and not size:
        assert sorted(found.splits["train"].inputs.ravel().tolist()) \
            == [0, 1, 2, 3, 252, 253, 254, 255]  # fmt: skip


PARQUET = io.BytesIO()
parquet.write_table(pa.table({"a": [1.5, None], "b": ["x", "y"], "label": [0, 1]}), PARQUET)


@MANY
@given(damaged(PARQUET.getvalue()) | st.binary(max_size=60).map(lambda more: b"PAR1" + more))
@example(PARQUET.getvalue())
def test_a_table_in_parquet(place, content):
    (place / "table.parquet").write_bytes(content)
    found = ours(sources.load, f"table:{place / 'table.parquet'}")
    if content == PARQUET.getvalue():
        assert found.is_table and found.classes == ("0", "1")


@given(st.builds("{}:{}".format, st.sampled_from(["table", "image_folder", "x", ""]), ODD) | ODD)
@example("csv:~no-such-user/x")
@example("image_folder:/dev/stdin")
def test_a_path_to_a_set(place, name):
    found = ours(sources.load, name, str(place / "absent"))
    assert found is None or name in ("digits", "iris")
    assert names.short(name) is not None
