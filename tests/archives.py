"""Archives of picture sets in small, and a server of theirs."""

import gzip
import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest

from engine.tfds import download, prepare
from engine.tfds.download import Archive

COLOURS = np.random.default_rng(0).integers(0, 256, (26, 32, 32, 3), dtype=np.uint8)
GREYS = np.random.default_rng(1).integers(0, 256, (9, 28, 28, 1), dtype=np.uint8)
AIRPLANES = "airplane automobile bird cat deer dog frog horse ship truck".split()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


def packed(files):
    """A .tar.gz of name → bytes, with a member that would climb out of the folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in {"../../climbed.txt": b"out", **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def records(rows, *labels):
    """CIFAR's binary records: the label bytes, then the red, the green and the blue plane."""
    return b"".join(
        bytes(label(row) for label in labels) + COLOURS[row].transpose(2, 0, 1).tobytes()
        for row in rows
    )


def cifar10_files():
    folder = "cifar-10-batches-bin"
    batches = {
        f"{folder}/data_batch_{n}.bin": records(range(4 * n - 4, 4 * n), lambda row: row % 10)
        for n in (3, 1, 2, 5, 4)
    }
    names = ("\n".join(AIRPLANES) + "\n\n").encode()
    test = records(range(20, 26), lambda row: row % 10)
    return {
        f"{folder}/batches.meta.txt": names, **batches, f"{folder}/test_batch.bin": test
    }  # fmt: skip


def cifar100_files():
    folder = "cifar-100-binary"
    labels = (lambda row: row % 20, lambda row: 99 - row)
    return {
        f"{folder}/train.bin": records(range(20), *labels),
        f"{folder}/test.bin": records(range(20, 26), *labels),
        f"{folder}/coarse_label_names.txt": "\n".join(f"coarse{n}" for n in range(20)).encode(),
        f"{folder}/fine_label_names.txt": "\n".join(f"fine{n}" for n in range(100)).encode(),
    }


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())


def mnist_bodies():
    images, labels = GREYS[..., 0], np.arange(9)
    return [idx(images[6:]), idx(labels[6:]), idx(images[:6]), idx(labels[:6])]


BODIES = {
    "cifar10": [packed(cifar10_files())],
    "cifar100": [packed(cifar100_files())],
    "mnist": mnist_bodies(),
    "fashion_mnist": mnist_bodies(),
}
CIFAR10 = BODIES["cifar10"][0]
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.bodies[path]; `breaks` holds, a request, after how many bytes to hang up."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        body, start = server.bodies[self.path], 0
        if server.ranges[-1] and server.resumes:
            start = int(server.ranges[-1].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + server.breaks.pop(0) if server.breaks else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A web server of the small archives, which takes the place of the official addresses."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies, server.breaks, server.ranges, server.resumes = {}, [], [], True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    table = {}
    for name, bodies in BODIES.items():
        small = []
        # In the order of their names, as the bodies are.
        for archive, body in zip(sorted(prepare.archives(name)), bodies, strict=True):
            sha256 = hashlib.sha256(body).hexdigest()
            small.append(Archive(f"{address}/{archive.file}", archive.file, len(body), sha256))
            server.bodies[f"/{archive.file}"] = body
        table[name] = small
    monkeypatch.setattr(prepare, "archives", table.get)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def patience(monkeypatch):
    assert 2 * download.WAIT_S < 15
    monkeypatch.setattr(download, "WAIT_S", 0.3)


def moved_to(monkeypatch, url):
    """cifar10's archive at another address."""
    archive = Archive(
        url, "cifar-10-binary.tar.gz", len(CIFAR10), hashlib.sha256(CIFAR10).hexdigest()
    )
    monkeypatch.setattr(prepare, "archives", lambda name: [archive])


def files(root):
    """Everything under `root` but the empty lock."""
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix != ".lock"
                  and p.is_file())  # fmt: skip


def in_order(split, images):
    """Checks that `split` holds exactly `images`; returns each image's label, in their order."""
    place = {image.tobytes(): row for row, image in enumerate(images)}
    rows = [place[image.tobytes()] for image in split.inputs]
    assert sorted(rows) == list(range(len(images)))
    return split.targets[np.argsort(rows)].tolist()
