"""Archives served from 127.0.0.1 → tfds's standard folders, and every way that can go wrong."""

# ruff: noqa: F811  # fixtures that come from archives.py

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from archives import (  # noqa: F401
    AIRPLANES,
    CIFAR10,
    COLOURS,
    GREYS,
    PAGE,
    Handler,
    _own_cache,
    cifar10_files,
    files,
    in_order,
    moved_to,
    packed,
    patience,
    server,
)

from engine import errors, sources
from engine.job import extras
from engine.tfds import download, prepare
from engine.tfds.download import Archive


def test_the_archives_are_those_that_tfds_pins():
    assert prepare.archives("cifar10") == [Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz",
        170052171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )]
    assert sorted(archive.file for archive in prepare.archives("mnist")) == [
        f"mnist/{split}-{kind}-ubyte.gz" for split in ("t10k", "train")
        for kind in ("images-idx3", "labels-idx1")
    ]


@pytest.mark.slow
def test_cifar10_is_prepared_and_plain_tfds_reads_it(server, tmp_path):
    found = sources.load("cifar10", data_dir=str(tmp_path / "data"))
    assert in_order(found.splits["train"], COLOURS[:20]) == [row % 10 for row in range(20)]
    assert in_order(found.splits["test"], COLOURS[20:]) == [0, 1, 2, 3, 4, 5]
    assert list(found.classes) == AIRPLANES
    assert not list(tmp_path.rglob("climbed.txt")) and not list(tmp_path.rglob("*.bin"))
    assert {Path(file).parent.as_posix() for file in files(tmp_path / "data")} == {
        "downloads/flaxmill", "cifar10/3.0.2",
    }  # fmt: skip
    child = """
import hashlib, json, sys, tensorflow_datasets as tfds
rows = {split: [[row["id"].decode(), int(row["label"]), hashlib.md5(row["image"]).hexdigest()]
                for row in source]
        for split, source in tfds.data_source("cifar10", data_dir=sys.argv[1]).items()}
print(json.dumps(rows))
"""
    command = [sys.executable, "-c", child, str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    rows = json.loads(done.stdout)
    md5 = [hashlib.md5(image.tobytes()).hexdigest() for image in COLOURS]
    assert sorted(rows["train"]) == [[f"train_{n:05d}", n % 10, md5[n]] for n in range(20)]
    assert sorted(rows["test"]) == [[f"test_{n:05d}", n, md5[20 + n]] for n in range(6)]


def test_cifar100_keeps_both_labels(server, tmp_path):
    found = sources.load("cifar100", data_dir=str(tmp_path))
    assert in_order(found.splits["train"], COLOURS[:20]) == [99 - row for row in range(20)]
    assert found.classes[99] == "fine99"
    both = tfds.data_source("cifar100", split="test", data_dir=str(tmp_path))
    assert {(row["label"], row["coarse_label"]) for row in both} == {
        (99 - row, row % 20) for row in range(20, 26)
    }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_prepared(server, tmp_path, name):
    found = sources.load(name, data_dir=str(tmp_path))
    assert in_order(found.splits["train"], GREYS[:6]) == [0, 1, 2, 3, 4, 5]
    assert in_order(found.splits["test"], GREYS[6:]) == [6, 7, 8]
    assert (tmp_path / name / "3.0.1/dataset_info.json").exists()


def fetch(root):
    return download.fetch(prepare.archives("cifar10")[0], root)


def test_a_broken_transfer_is_resumed(server, tmp_path):
    server.breaks = [8192, 16384]
    assert fetch(tmp_path).read_bytes() == CIFAR10
    assert server.ranges == [None, "bytes=8192-", "bytes=24576-"]
    assert files(tmp_path) == ["cifar-10-binary.tar.gz"]


def test_the_next_run_resumes(server, tmp_path):
    server.breaks = [8192, 0]
    with pytest.raises(errors.RunError, match="8,192 of .* bytes came"):
        fetch(tmp_path)
    assert files(tmp_path) == ["cifar-10-binary.tar.gz.part"]
    assert fetch(tmp_path).read_bytes() == CIFAR10
    assert server.ranges[-1] == "bytes=8192-"


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    server.breaks, server.resumes = [8192], False
    assert fetch(tmp_path).read_bytes() == CIFAR10
    assert server.ranges == [None, "bytes=8192-"]


def flipped(body):
    return body[:50] + bytes([body[50] ^ 1]) + body[51:]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (CIFAR10[:3000], f"3,000 bytes of SHA-256 .* in place of {len(CIFAR10):,} bytes"),
        (PAGE, "an HTML page, .* came in place"),
        (PAGE + CIFAR10, "an HTML page, .* came in place"),
        (flipped(CIFAR10), "bytes of SHA-256 .* came in place of"),
        (CIFAR10 + b"more", "bytes of SHA-256 .* came in place of"),
    ],
    ids=["truncated", "page", "long page", "wrong", "longer"],
)
@pytest.mark.parametrize("by_hand", [False, True], ids=["served", "by hand"])
def test_a_bad_archive_is_named_and_removed(server, tmp_path, body, words, by_hand):
    if by_hand:
        (tmp_path / "downloads/flaxmill").mkdir(parents=True)
        (tmp_path / "downloads/flaxmill/cifar-10-binary.tar.gz").write_bytes(body)
    server.bodies["/cifar-10-binary.tar.gz"] = body
    with pytest.raises(errors.RunError, match=words):
        sources.load("cifar10", data_dir=str(tmp_path))
    assert files(tmp_path) == []
    assert bool(server.ranges) is not by_hand


def test_an_archive_fetched_by_hand_is_used(server, tmp_path):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(CIFAR10)
    assert fetch(tmp_path) == tmp_path / "cifar-10-binary.tar.gz"
    assert server.ranges == []


def test_a_missing_page_is_an_error(server, monkeypatch, tmp_path):
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.send_error(404))
    with pytest.raises(errors.RunError, match="can't use http.*Not Found"):
        fetch(tmp_path)


def refused(root):
    """The words of a load that can't reach its host, and the seconds it took."""
    start = time.perf_counter()
    with pytest.raises(errors.RunError) as error:
        sources.load("cifar10", data_dir=str(root))
    for words in ("--dataset digits", "--data_dir",
                  str(root / "downloads/flaxmill/cifar-10-binary.tar.gz")):  # fmt: skip
        assert words in str(error.value)
    assert files(root) == []
    assert not root.exists() or not any(root.iterdir())
    return str(error.value), time.perf_counter() - start


def test_a_host_that_never_answers(patience, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        moved_to(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/a.tar.gz")
        words, seconds = refused(tmp_path)
    assert "timed out" in words
    assert seconds < 2


def test_a_host_that_falls_silent_in_the_middle(patience, server, monkeypatch, tmp_path):
    def stall(self):
        server.ranges.append(self.headers.get("Range"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(CIFAR10)))
        self.end_headers()
        self.wfile.write(CIFAR10[:500])
        time.sleep(1)

    monkeypatch.setattr(Handler, "do_GET", stall)
    with pytest.raises(errors.RunError, match="timed out"):
        fetch(tmp_path)


def test_no_network(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    moved_to(monkeypatch, f"http://127.0.0.1:{port}/a.tar.gz")
    words, seconds = refused(tmp_path)
    assert "refused" in words and seconds < 2
    refused(tmp_path / "new/folder")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    refused(tmp_path / "mine")
    assert (tmp_path / "mine").exists()


def test_a_missing_archive_leaves_no_folder(server, tmp_path):
    server.bodies["/cifar-10-binary.tar.gz"] = PAGE
    with pytest.raises(errors.RunError, match="an HTML page"):
        sources.load("cifar10", data_dir=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_lock_that_was_taken_away_is_none(tmp_path):
    """One waits for it; whoever has it takes it away, and a third makes another."""
    path, held = tmp_path / "a.lock", contextlib.ExitStack()
    with held, contextlib.ExitStack() as other:
        assert prepare._locked(path, other)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(prepare._locked, path, held)
            time.sleep(0.1)
            path.unlink()
            path.touch()
            other.close()
            assert waiting.result(60) is False
        assert prepare._locked(path, held)


def test_a_failed_preparation_leaves_nothing(server, monkeypatch, tmp_path):
    whole = cifar10_files()
    lacking = packed({name: data for name, data in whole.items() if "batch_5" not in name})
    bad_label = packed({**whole, "cifar-10-batches-bin/test_batch.bin": b"\x0b" + bytes(3072)})
    for number, (body, words) in enumerate([(lacking, "holds no .*data_batch_5"),
                                            (bad_label, "preparing cifar10")]):  # fmt: skip
        server.bodies["/cifar-10-binary.tar.gz"] = body
        archive = prepare.archives("cifar10")[0]._replace(
            size=len(body), sha256=hashlib.sha256(body).hexdigest())
        monkeypatch.setattr(prepare, "archives", lambda name, archive=archive: [archive])
        root = tmp_path / str(number)
        with pytest.raises(errors.RunError, match=words):
            sources.load("cifar10", data_dir=str(root))
        assert files(root) == ["downloads/flaxmill/cifar-10-binary.tar.gz"]
        assert list((root / "cifar10").glob("*")) == []


def test_two_at_once_prepare_one(server, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        both = [pool.submit(prepare.prepare, "cifar10", tmp_path) for _ in range(2)]
    assert [future.result(60) for future in both] == [None, None]
    assert server.ranges == [None] and sources.prepared(tmp_path) == ["cifar10"]


def test_a_data_dir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.RequestError, match="can't be written.*--data_dir"):
        sources.load("cifar10", data_dir=str(tmp_path / "file"))


def test_tensorflow_is_named_where_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.RequestError, match=r"pip install 'flaxmill\[tensorflow\]'"):
        sources.load("kmnist", data_dir=str(tmp_path))


def test_a_folder_of_a_packages_name_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "nothing").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for imports in (True, False):
        with pytest.raises(errors.RequestError, match="^it needs json and nothing .*mill.any"):
            extras.need("it", "any", "json", "nothing", imports=imports)


def test_a_failed_child_is_an_error(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(prepare, "_CHILD", "engine.absent")
    there = types.SimpleNamespace(origin="there")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there)
    with pytest.raises(errors.RunError, match="preparing kmnist .* status 1"):
        sources.load("kmnist", data_dir=str(tmp_path))
    assert "tensorflow" not in sys.modules
    assert capfd.readouterr().out == ""
