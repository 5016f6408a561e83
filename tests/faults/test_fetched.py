"""Sets on their way from the network into the cache: stopped, and in a stranger's place.

The addresses are the real ones; a proxy of the test's own answers for them.
"""

import hashlib
import http.server
import io
import json
import signal
import tarfile
import threading
import time
from pathlib import Path

import pytest
from archives import BODIES, CIFAR10, GREYS, in_order
from harness import ended, finished, patched, run, until
from PIL import Image

from engine import sources
from engine.tfds import prepare

pytestmark = pytest.mark.slow
# Of fashion_mnist: plain, so that a proxy may answer.
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
TRAINED = ("--batch_size", 2, "--epochs", 1, "--device", "cpu")

# Archives as small as the proxy's, under the addresses and names of the real ones.
SMALL = """
import json, os
from engine.tfds import prepare
from engine.tfds.download import Archive

small = {name: [Archive(*row) for row in rows]
         for name, rows in json.loads(os.environ["SMALL"]).items()}
prepare.archives = small.get
"""


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers with server.bodies[name of the file], in pieces with a pause between."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        body = self.server.bodies[self.path.rsplit("/", 1)[1]]
        start = int((self.headers.get("Range") or "bytes=0-")[len("bytes="):-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        for at in range(start, len(body), self.server.piece):
            self.wfile.write(body[at:min(at + self.server.piece, len(body))])
            time.sleep(self.server.pause)

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.asked, server.piece, server.pause = [], 1 << 20, 0.0
    names = [archive.url.rsplit("/", 1)[1] for archive in sorted(prepare.archives("fashion_mnist"))]
    server.bodies = dict(zip(names, BODIES["fashion_mnist"], strict=True))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def place(tmp_path, proxy) -> dict[str, str]:
    """Where a process finds the proxy, and keeps what it decodes."""
    return {"http_proxy": f"http://127.0.0.1:{proxy.server_port}", "no_proxy": "",
            "XDG_CACHE_HOME": str(tmp_path / "xdg")}


def small(tmp_path: Path, more: str = "", **bodies: list[tuple[str, bytes]]) -> dict[str, str]:
    """The environment in which a set's archives are these (address, content)."""
    rows = {name: [(url, f"{name}/{url.rsplit('/', 1)[1]}", len(body),
                    hashlib.sha256(body).hexdigest()) for url, body in each]
            for name, each in bodies.items()}
    return patched(tmp_path, SMALL + more) | {"SMALL": json.dumps(rows)}


def fashion(tmp_path: Path, proxy, more: str = "") -> dict[str, str]:
    return small(tmp_path, more, fashion_mnist=[
        (ADDRESS + name, body) for name, body in proxy.bodies.items()])


def stopped(process, true) -> None:
    """SIGTERM as soon as it is so: status 75, and one line."""
    until(true, process)
    process.send_signal(signal.SIGTERM)
    status, printed = ended(process)
    told = [line for line in printed.splitlines() if "flaxmill: " in line]
    assert status == 75 and len(told) == 1 and "stopped" in told[0], (status, printed)
    assert "Traceback" not in printed, printed


def assert_whole(tmp_path: Path, monkeypatch) -> None:
    """Every picture of the set with its label."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found = sources.load("fashion_mnist", data_dir=str(tmp_path / "data"))
    assert in_order(found.splits["train"], GREYS[:6]) == [0, 1, 2, 3, 4, 5]
    assert in_order(found.splits["test"], GREYS[6:]) == [6, 7, 8]


def test_sigterm_while_bytes_drip_in(tmp_path, proxy, place, monkeypatch, outcome):
    """What has come is gone on with."""
    words = ("--dataset", "fashion_mnist", "--data_dir", tmp_path / "data", *TRAINED)
    proxy.bodies = {name: body + bytes(40_000) for name, body in proxy.bodies.items()}  # gzip's pad
    env = place | fashion(tmp_path, proxy)
    proxy.piece, proxy.pause = 1000, 0.2
    part = tmp_path / "data/downloads/flaxmill/fashion_mnist"
    stopped(run(*words, "--run_dir", tmp_path / "run", **env),
            lambda: any(p.stat().st_size for p in part.glob("*.part")))
    assert not (tmp_path / "run").exists()
    proxy.piece, proxy.pause = 1 << 20, 0.0
    finished(run(*words, "--run_dir", tmp_path / "run", **env))
    assert all(path.startswith(ADDRESS) for path, _ in proxy.asked)
    assert any(begin for _, begin in proxy.asked)
    assert_whole(tmp_path, monkeypatch)
    outcome("SIGTERM while downloading", 1, 1)


SLOWLY = {
    "preparing": """
import time
from engine.tfds import builders

made = builders._png


def slowly(pixels):
    time.sleep(0.5)
    return made(pixels)


builders._png = slowly
""",
    "decoding": """
import time
from engine.sets import image

read = image.decode


def slowly(*words, **more):
    time.sleep(0.5)
    return read(*words, **more)


image.decode = slowly
""",
    "keeping": """
import time
import numpy as np

save = np.save


def slowly(*words, **more):
    save(*words, **more)
    time.sleep(2)


np.save = slowly
""",
}


@pytest.mark.parametrize("when", SLOWLY)
def test_sigterm_while_a_set_is_made(when, tmp_path, proxy, place, monkeypatch, outcome):
    """Half a set, half an array or half an entry is never taken for a whole one."""
    words = ("--dataset", "fashion_mnist", "--data_dir", tmp_path / "data", *TRAINED)
    data, decoded = tmp_path / "data/fashion_mnist", tmp_path / "xdg/flaxmill/decoded"
    begun = {"preparing": lambda: any(data.glob("*incomplete*")),
             "decoding": lambda: decoded.exists(),
             "keeping": lambda: any(decoded.glob(".partial-*/*/images.npy"))}[when]
    stopped(run(*words, "--run_dir", tmp_path / "run", **place,
                **fashion(tmp_path, proxy, SLOWLY[when])), begun)
    assert not (tmp_path / "run").exists()
    assert not decoded.exists() or not [p for p in decoded.iterdir() if p.name[0] != "."]
    finished(run(*words, "--run_dir", tmp_path / "run", **place, **fashion(tmp_path, proxy)))
    assert_whole(tmp_path, monkeypatch)
    outcome(f"SIGTERM while {when} a set", 1, 1)


READ_SLOWLY = """
import time
from engine.sets import image

read = image.read


def slowly(*words, **more):
    time.sleep(0.3)
    return read(*words, **more)


image.read = slowly
"""


def test_sigterm_while_a_folder_of_pictures_is_decoded(tmp_path, place, monkeypatch, outcome):
    for row, picture in enumerate(GREYS[[*range(6)] * 10, ..., 0]):
        path = tmp_path / "pictures" / str(row % 2) / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    words = ("--dataset", f"image_folder:{tmp_path}/pictures", *TRAINED,
             "--validation_split", 0.2, "--run_dir", tmp_path / "run")
    decoded = tmp_path / "xdg/flaxmill/decoded"
    stopped(run(*words, **place, **patched(tmp_path, READ_SLOWLY)), decoded.exists)
    assert not (tmp_path / "run").exists() and not list(decoded.iterdir())
    finished(run(*words, **place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found = sources.load(f"image_folder:{tmp_path}/pictures").splits["train"]
    alike = (found.inputs[:, None] == GREYS[None, :6]).all(axis=(2, 3, 4))
    assert (alike.sum(axis=1) == 1).all() and (alike.sum(axis=0) == 10).all()
    assert (found.targets == alike.argmax(axis=1) % 2).all()
    outcome("SIGTERM while decoding a folder", 1, 1)


def _tar(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return out.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = ""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


WANTED = "cifar-10-batches-bin/batches.meta.txt"
# Archives that would write elsewhere, be another's file, or fill the memory.
HOSTILE = {
    "climbing": lambda: _tar(_member("../../../climbed", size=3), _member("/tmp/climbed", size=3)),
    "a link": lambda: _tar(_member(WANTED, tarfile.SYMTYPE, link="/etc/passwd")),
    "a hard link": lambda: _tar(_member(WANTED, tarfile.LNKTYPE, link="/etc/passwd")),
    "a device": lambda: _tar(_member(WANTED, tarfile.CHRTYPE)),
    "a pipe": lambda: _tar(_member(WANTED, tarfile.FIFOTYPE)),
    "a bomb": lambda: _tar(_member(WANTED, size=1 << 29)),
    "no archive": lambda: b"<!DOCTYPE html><html>Please log in</html>",
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("pinned", [False, True], ids=["another digest", "the pinned digest"])
def test_a_hostile_archive_is_refused_and_nothing_is_written_outside(
    what, pinned, tmp_path, proxy, place, outcome
):
    """In the place of the real one; and as though it were the real one."""
    body = HOSTILE[what]()
    proxy.bodies["cifar-10-binary.tar.gz"] = body
    url = "http://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    env = small(tmp_path, cifar10=[(url, body if pinned else body[:-1] + CIFAR10[-1:] + b"x")])
    before = {p for p in Path("/tmp").iterdir() if p.name == "climbed"}
    status, printed = ended(run("--dataset", "cifar10", "--data_dir", tmp_path / "deep/data",
                                *TRAINED, "--run_dir", tmp_path / "run", **place, **env))
    told = [line for line in printed.splitlines() if "flaxmill: " in line]
    assert status == 1 and len(told) == 1 and "Traceback" not in printed, printed
    assert ("can't be read" in told[0]) is pinned or "came in place of" in told[0]
    assert not list(tmp_path.rglob("*climbed*")) and not (tmp_path / "run").exists()
    assert {p for p in Path("/tmp").iterdir() if p.name == "climbed"} == before
    assert not list((tmp_path / "deep/data").glob("cifar10/*"))
    left = {p.name for p in (tmp_path / "deep/data").rglob("*") if p.is_file()}
    assert left <= {"cifar10.lock"} | ({"cifar-10-binary.tar.gz"} if pinned else set())
    outcome("a hostile archive", 1, 1)
