"""What docs/security.md promises, each by an attempt at the contrary."""

import ast
import gzip
import hashlib
import html.parser
import http.server
import io
import itertools
import json
import os
import shlex
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_report import EVIL, run, shown, wrong
from test_sources import Squares
from test_sweep_report import ENSEMBLES, population

from engine import sources
from engine.command import predictions
from engine.config import Config
from engine.console.progress import plain_console
from engine.disk import caches
from engine.errors import RequestError, RunError, tell, visible
from engine.examples import Split
from engine.optim.patience import Monitor
from engine.place import Place
from engine.report import run as report
from engine.request import Request
from engine.sets import cache, image
from engine.store import folder
from engine.sweep import report as sweep_report
from engine.tasks.classification import Classification
from engine.tfds import builders, download, prepare

LOADERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
RUNNERS = {"eval", "exec", "compile", "__import__"}
CODE = [ROOT / "launch.py", *(path for name in ("engine", "models", "configs", "benchmarks")
                              for path in (ROOT / name).rglob("*.py"))]  # fmt: skip


def dangers(tree: ast.AST):
    """Lines that load code from data or give a text to a shell."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = LOADERS & {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found = LOADERS & {(node.module or "").split(".")[0], *(n.name for n in node.names)}
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            found = RUNNERS & {name} or {"os.system", "torch.load", "np.fromregex"} & {name}
            if name.endswith(("np.load", "read_array", "np.save")):
                found = found or given.get("allow_pickle") != "False"
            found = found or given.get("shell", "False") != "False"
        else:
            continue
        if found:
            yield node.lineno, ast.unparse(node)


@pytest.mark.slow
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell():
    assert len(CODE) > 40
    assert [(path.name, *line) for path in CODE for line in dangers(ast.parse(path.read_text()))] \
        == []  # fmt: skip
    bad = ("import pickle", "from jax import cloudpickle", "import yaml", "eval('1')", "np.load(f)",
           "np.load(f, allow_pickle=True)", "subprocess.run(c, shell=True)")  # fmt: skip
    assert all(list(dangers(ast.parse(line))) for line in bad)


# Pictures


def flat_png(width: int, height: int) -> bytes:
    """A valid, black PNG of one bit a pixel: 13,000² of them are 20 KB."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + -(-width // 8)) * height, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def huge_webp() -> bytes:
    """The header of a WebP of 16,384², which Pillow's reader makes a canvas for."""
    side = (16_383).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + side + side
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS = """
import resource, sys
from engine.errors import RequestError
from engine.sets import image
image.read(sys.argv[1], (8, 8, 1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        image.read(path, (8, 8, 3))
    except RequestError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_decompression_bombs_are_refused_in_little_memory(tmp_path):
    """Above our limit, Pillow's warning and Pillow's error."""
    (tmp_path / "small.png").write_bytes(flat_png(8, 8))
    bombs = [tmp_path / f"{side}.png" for side in (8_001, 13_000, 14_000)]
    for path in bombs:
        path.write_bytes(flat_png(int(path.stem), int(path.stem)))
    assert (tmp_path / "13000.png").stat().st_size < 25_000
    (tmp_path / "huge.webp").write_bytes(huge_webp())
    paths = [tmp_path / "small.png", *bombs, tmp_path / "huge.webp"]
    child = [sys.executable, "-c", BOMBS, *map(str, paths)]
    done = subprocess.run(child, capture_output=True, text=True, cwd=ROOT, timeout=300)
    *words, mebibytes = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert len(words) == 4 and all("can be read: it " in line for line in words)
    assert all("more than 64,000,000 pixels" in line for line in words[:3])
    assert int(mebibytes) < 30


@pytest.mark.parametrize("width, height", [(1, image.MOST_SIDE), (image.MOST_SIDE, 1)])
def test_a_side_is_bounded_too(width, height):
    """Pillow takes 34 bytes a row besides its pixels: 2.2 GB for a PNG of 1 × 64,000,000."""
    assert image.decode(io.BytesIO(flat_png(width, height)), "L", (8, 8)).shape == (8, 8, 1)
    longer = flat_png(width + (width > 1), height + (height > 1))
    with pytest.raises(image.Undecodable, match="a side of it has more than 65,536 pixels"):
        image.decode(io.BytesIO(longer), "L", (8, 8))


def test_as_many_pixels_as_the_limit_are_read():
    assert image.MOST_PIXELS == 8_000 * 8_000
    assert image.decode(io.BytesIO(flat_png(8_000, 8_000)), "L", (8, 8)).shape == (8, 8, 1)


def picture(format: str) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


@pytest.mark.parametrize("format", image.FORMATS)
def test_every_format_is_read_whole_or_not_at_all(format, tmp_path):
    whole, path = picture(format), tmp_path / "no-such-ending"
    path.write_bytes(whole)
    assert image.read(str(path), (40, 30, 3)).shape == (40, 30, 3)
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(RequestError, match="no-such-ending is not an image that can be read"):
            image.read(str(path), (40, 30, 3))


@pytest.mark.parametrize("format", ["SGI", "ICO", "TGA", "EPS", "PDF", "JPEG2000"])
def test_other_formats_are_refused_whatever_their_name(format, tmp_path):
    (tmp_path / "cat.png").write_bytes(picture(format))
    with pytest.raises(RequestError, match="its content is no PNG, JPEG"):
        image.check(str(tmp_path / "cat.png"))


def test_only_regular_files_of_bounded_size_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(RequestError, match="it is no regular file"):
            image.check(str(path))
    (tmp_path / "large").write_bytes(flat_png(8, 8))
    monkeypatch.setattr(image, "MOST_BYTES", 50)
    with pytest.raises(RequestError, match="more than 50 bytes"):
        image.check(str(tmp_path / "large"))


def trained_on(shape, dtype):
    return {"config": {}, "hyper": {}, "classes": ["a"], "image_shape": shape,
            "input_dtype": dtype}


def test_predict_holds_a_batch_of_images_however_many_there_are(tmp_path, monkeypatch, capsys):
    """Each is decoded with those of its batch, and told before the next batch is read."""
    paths = []
    for i in range(10):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.new("L", (6, 6), 25 * i).save(paths[-1])
    seen: list = []

    class Told(Classification):
        def told(self, predicted, names):
            return str(len(seen))

    run = SimpleNamespace(
        input_shape=(6, 6, 1), classes=("a", "b"), state=SimpleNamespace(average={}),
        learner=SimpleNamespace(task=Told(), config=Config()),
        predicted=lambda batch, tta: np.stack([batch.reshape(len(batch), -1).max(1)] * 2, 1),
    )
    read = image.read
    monkeypatch.setattr(image, "read", lambda path, *how: seen.append(path) or read(path, *how))
    (tmp_path / "config.json").write_text(json.dumps(trained_on([6, 6, 1], "uint8")))
    monkeypatch.setattr(predictions, "load", lambda *_: run)
    monkeypatch.setattr(predictions, "BATCH", 4)
    predictions.tell(Request(place=Place(device="cpu", run_dir=str(tmp_path))), "last", paths)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [path for path, _ in lines] == paths == seen
    assert [read_so_far for _, read_so_far in lines] == ["4"] * 4 + ["8"] * 4 + ["10"] * 2


@pytest.mark.parametrize("saved", [
    {}, {"classes": ["a"], "image_shape": [8, 8, []]}, {"classes": [1], "image_shape": [8, 8, 3]},
    {"classes": ["a"], "image_shape": [8, 1e9, 3]}, {"classes": ["a"], "image_shape": [8] * 5},
    {"classes": ["a"], "image_shape": [65535, 65535, 3]},
    {"classes": ["a"], "image_shape": [8, 8, 3], "input_dtype": "object"},
])  # fmt: skip
def test_predict_asks_a_configuration_for_classes_a_shape_and_a_dtype(saved, tmp_path):
    content = {"config": {}, "hyper": {}} | saved
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match="not a run's configuration: its"):
        predictions.tell(Request(place=Place(run_dir=str(tmp_path))), "last", ["a.png"])


@pytest.mark.parametrize("shape, dtype", [([8, 8, 2], "uint8"), ([8, 8, 3], "float32"),
                                          ([64], "uint8")])
def test_predict_tells_of_a_run_on_what_no_picture_is(shape, dtype, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(trained_on(shape, dtype)))
    (tmp_path / "a.png").write_bytes(flat_png(8, 8))
    with pytest.raises(RequestError, match="which no image file is: predict in Python"):
        predictions.tell(Request(place=Place(run_dir=str(tmp_path))), "last",
                         [str(tmp_path / "a.png")])


# Data sets


def test_a_prepared_set_cannot_name_a_module_to_import(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    Squares([8], data_dir=tmp_path).download_and_prepare()
    (tmp_path / "planted.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "squares/1.0.0/features.json"
    described = json.loads(file.read_text())
    described["featuresDict"]["features"]["image"]["pythonClassName"] = "planted.Image"
    file.write_text(json.dumps(described))
    with pytest.raises(RequestError, match="names planted.Image, which is not tfds's own"):
        sources.load("squares", data_dir=str(tmp_path))


def tarred(path, *members: tuple) -> Path:
    """A .tar.gz of (name, type, content)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/hostname"
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                  tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])  # fmt: skip
def test_links_and_devices_never_stand_for_a_member(kind, tmp_path):
    archive = tarred(tmp_path / "a.tar.gz", ("a/b", kind, b""))
    with pytest.raises(RunError, match="a/b is no plain file"):
        builders.members(archive, ["a/b"])


def test_names_that_lead_elsewhere_are_no_members_and_nothing_is_extracted(here):
    names = ["../a/b", "/a/b", "a/../a/b", "./a/b", "a//b", str(here / "b")]
    archive = tarred(here / "a.tar.gz", *((n, tarfile.REGTYPE, b"bad") for n in names))
    with pytest.raises(RunError, match="holds no a/b"):
        builders.members(archive, ["a/b"])
    tarred(archive, *((n, tarfile.REGTYPE, b"bad") for n in names),
           ("a/b", tarfile.REGTYPE, b"good"))  # fmt: skip
    assert builders.members(archive, ["a/b"]) == {"a/b": b"good"}
    assert [path.name for path in here.iterdir()] == ["a.tar.gz"]


def test_a_member_that_comes_twice_is_refused(tmp_path):
    twice = (("a/b", tarfile.REGTYPE, b"one"), ("a/b", tarfile.REGTYPE, b"two"))
    with pytest.raises(RunError, match="a/b is no plain file, or comes twice"):
        builders.members(tarred(tmp_path / "a.tar.gz", *twice), ["a/b"])


@pytest.mark.parametrize("name", ["a/b", "unwanted"])
def test_what_archives_expand_to_is_bounded(name, tmp_path, monkeypatch):
    monkeypatch.setattr(builders, "_MOST_TAR", 1_000_000)
    monkeypatch.setattr(builders, "_MOST_IDX", 1_000_000)
    bomb = tarred(tmp_path / "a.tar.gz", (name, tarfile.REGTYPE, bytes(30_000_000)))
    (tmp_path / "idx.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + bytes(30_000_000)))
    tracemalloc.start()
    with pytest.raises(RunError, match="expands to more than 1,000,000 bytes"):
        builders.members(bomb, ["a/b"])
    with pytest.raises(RunError, match="expands to more than 1,000,000 bytes"):
        builders.idx(tmp_path / "idx.gz", 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_sparse_member_cannot_expand_from_nothing(tmp_path):
    """GNU's old format: four (offset, length) pairs in the header, and the size it pretends."""
    member = tarfile.TarInfo("a/b")
    member.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = b"00000000000\0" * 2
    head[483:495] = b"77777777777\0"  # 8 GiB
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(head) + bytes(1024)))
    with pytest.raises(RunError, match="a/b is no plain file"):
        builders.members(tmp_path / "a.tar.gz", ["a/b"])


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Redirects to server.target; /there is the archive."""

    def do_GET(self):
        self.send_response(200 if self.path == "/there" else 302)
        if self.path == "/there":
            self.send_header("Content-Length", "4")
        else:
            self.send_header("Location", self.server.target)
        self.end_headers()
        if self.path == "/there":
            self.wfile.write(b"mine")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetched(server, target, folder, content=b"mine", url="/"):
    server.target = target.format(server.server_port)
    digest = hashlib.sha256(content).hexdigest()
    address = url if ":" in url else f"http://127.0.0.1:{server.server_port}{url}"
    return download.fetch(download.Archive(address, "archive", 4, digest), folder)


def test_a_redirection_is_followed_but_only_the_pinned_archive_is_kept(server, tmp_path):
    assert fetched(server, "http://localhost:{}/there", tmp_path).read_bytes() == b"mine"
    with pytest.raises(RunError, match="of SHA-256 .* came in place"):
        fetched(server, "http://localhost:{}/there", tmp_path / "other", content=b"ours")
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1:{}/there",
                                    "data:,mine"])  # fmt: skip
def test_no_other_scheme_is_followed_or_opened(target, server, tmp_path):
    with pytest.raises(RunError, match="No connection adapters"):
        fetched(server, target, tmp_path)
    with pytest.raises(RunError, match="No connection adapters"):
        fetched(server, "", tmp_path, url=target.format(server.server_port))
    assert not list(tmp_path.iterdir())


def test_every_address_is_registered_with_its_checksum():
    for archive in (archive for name in prepare.PLAIN for archive in prepare.archives(name)):
        assert archive.url.startswith(("https://", "http://"))
        assert len(bytes.fromhex(archive.sha256)) == 32 and archive.size > 0
    asked = prepare.pinned()
    assert asked.force_checksums_validation and not asked.register_checksums
    assert not asked.try_download_gcs


def test_a_planted_link_in_place_of_the_lock_harms_no_file(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "downloads/flaxmill").mkdir(parents=True)
    (tmp_path / "downloads/flaxmill/cifar10.lock").symlink_to(victim)
    monkeypatch.setattr(prepare, "archives", lambda name: [])
    monkeypatch.setattr(builders, "write", lambda name, archives, root: None)
    prepare.prepare("cifar10", tmp_path)
    assert victim.read_text() == "precious"


# Reports


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


TAGS = {"html", "meta", "title", "style", "h1", "h2", "h3", "div", "b", "br", "i", "span", "p",
        "dl", "dt", "dd", "table", "tr", "th", "td", "img", "pre", "ul", "li", "details",
        "summary", "a", "figure", "figcaption", "svg", "g", "path", "rect", "circle",
        "text"}  # fmt: skip
DRAWN = {"class", "d", "x", "y", "cx", "cy", "r", "dy", "width", "height", "fill-opacity",
         "transform", "font-size"}  # fmt: skip
NASTY = f'it\'s "quoted" {EVIL} </pre><script>alert(1)</script> $x$ &amp;'


LINKS = {f"{run}/report.html" for run in range(9)} | {"../report.html"}


def check_page(path: Path) -> Page:
    """A page of our own tags alone, which fetches nothing and runs nothing."""
    page = Page((path / "report.html").read_text())
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attributes in page.tags:
        allowed = {"img": {"alt", "src", "class"}, "html": {"lang"}, "a": {"href"},
                   "meta": {"charset", "name", "content", "http-equiv"},
                   "svg": DRAWN | {"viewbox", "role", "aria-label", "preserveaspectratio",
                                   "aria-hidden"}}.get(tag, DRAWN)  # fmt: skip
        assert set(attributes) <= allowed, (tag, attributes)
        assert "href" not in attributes or attributes["href"] in LINKS
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;") and "script" not in policy
    assert EVIL in page.text and "url(" not in page.text and "@import" not in page.text
    return page


def again(page: Page) -> list[list[str]]:
    """The commands that the page offers to paste, as a shell would read them."""
    return [shlex.split(line) for line in page.text.splitlines() if "launch.py" in line]


def test_a_runs_report_shows_nasty_names_as_text(tmp_path):
    path = tmp_path / NASTY.replace("/", "∕")
    path.mkdir()
    config, history, scores = run([EVIL, NASTY, "plain"])
    scores["split"] = config["device"] = NASTY
    config["config"]["model"] = f"my.py:{NASTY}"
    report.write(path, config, history, scores, lambda: shown(scores, wrong(3, 3)))
    page = check_page(path)
    assert NASTY in page.text
    first, *others = again(page)
    assert {("--dataset", EVIL), ("--model", f"my.py:{NASTY}")} <= {*itertools.pairwise(first)}
    assert all(str(path) in words for words in others) and len(others) == 3


def test_a_sweeps_report_shows_nasty_names_as_text(tmp_path):
    path = tmp_path / NASTY.replace("/", "∕")
    path.mkdir()
    axes = {EVIL: [NASTY, EVIL]}
    rows, histories = population(axes, [(NASTY,), (EVIL,)])
    for row in rows:
        row["fold"] = NASTY
    ensembles = [row | {"split": NASTY} for row in ENSEMBLES]
    sweep_report.write(path, NASTY, NASTY, "sweep " + NASTY, axes, rows, histories, ensembles,
                       Monitor("val_accuracy", True))
    page = check_page(path)
    assert NASTY in page.text
    assert str(path / "best.py") in again(page)[0] and str(path / "1") in again(page)[1]


# Folders


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_run_folders_are_private_and_their_parents_ordinary(tmp_path, monkeypatch, open_umask):
    monkeypatch.chdir(tmp_path)
    named = folder.create(Request(place=Place(run_dir=str(tmp_path / "mine" / "named"))))
    numbered = [folder.create(Request(Config(dataset="digits")), kind)
                for kind in ("", "sweep", "lr-find")]
    assert {mode(path) for path in (named, *numbered)} == {0o700}
    assert {mode(path.parent) for path in (named, *numbered)} == {0o777}
    (tmp_path / "shared").mkdir(mode=0o750)
    assert mode(folder.create(Request(place=Place(run_dir=str(tmp_path / "shared"))))) == 0o750


def test_caches_are_private_all_the_way(tmp_path, monkeypatch, open_umask):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    black = Split(np.zeros((1, 2, 2, 1), "u1"), np.zeros(1, "i4"))
    cache.kept(cache.usable(), "key", lambda: (black, ("a",)))
    assert caches.cache_problem(caches.compile_cache_dir()) == ""
    made = [tmp_path / "xdg", caches.cache_home(), cache.folder(), caches.compile_cache_dir()]
    assert [mode(path) for path in made] == [0o700] * 4
    assert mode(cache.folder() / "key") == 0o700


@pytest.mark.parametrize("bits, who", [(0o777, "anyone"), (0o770, "its group")])
def test_a_cache_that_others_may_write_is_neither_read_nor_kept(
    bits, who, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    good, planted = (Split(np.full((1, 2, 2, 1), n, "u1"), np.zeros(1, "i4")) for n in (1, 2))

    def kept(split: Split) -> cache.Entry:
        return cache.kept(cache.usable(), "key", lambda: (split, ("a",)))

    kept(planted)
    cache.folder().chmod(bits)
    found = kept(good)
    assert np.array_equal(found.split.inputs, good.inputs)
    told = f"{cache.folder()}: {who} may write there; delete it, whose content may be another's"
    assert told in capsys.readouterr().err
    assert told == caches.cache_problem(cache.folder())
    assert kept(good).digest == found.digest  # and none was written
    cache.folder().chmod(0o700)
    assert kept(good).digest != found.digest


@pytest.mark.parametrize("whose", ["the folder", "an entry", "what lies above"])
def test_a_cache_of_another_user_is_not_trusted(whose, tmp_path):
    """As after a `chmod go-w` of what a stranger had filled."""
    if os.getuid():
        pytest.skip("needs root, to give a file away")
    folder = tmp_path / "home" / "cache"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "entry").write_text("")
    theirs = {"the folder": folder, "an entry": folder / "entry", "what lies above": folder.parent}
    assert caches.doubt(folder) == ""
    os.chown(theirs[whose], 4321, 4321)
    assert f"{theirs[whose]}: belongs to another user" in caches.doubt(folder)


def test_a_cache_below_what_others_may_write_is_not_trusted_but_for_such_as_tmp(tmp_path):
    folder = tmp_path / "shared" / "cache"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o777)
    assert "shared: anyone may write there; name another folder" in caches.doubt(folder)
    folder.parent.chmod(0o1777)
    assert caches.doubt(folder) == ""


def test_a_cache_that_holds_a_link_or_what_others_can_change_is_not_trusted(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "entry").write_text("")
    (tmp_path / "entry").chmod(0o664)
    assert "entry: its group may write there; delete" in caches.doubt(tmp_path)
    tmp_path.chmod(0o700)  # which lets nobody near it
    assert caches.doubt(tmp_path) == ""
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert "link: is a link" in caches.doubt(tmp_path)


COMPILED = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}]
from engine.disk import caches
caches.use_compile_cache({wanted})
import jax
jax.jit(lambda x: x * 3 + 1)(2.0)
"""


def compiled_in(folder: Path, wanted: bool = True) -> str:
    """What a process that compiles says, where jax's own variable names the cache."""
    script = COMPILED.format(root=str(ROOT), wanted=wanted)
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True,
                          check=True, timeout=300).stderr


@pytest.mark.slow
def test_programs_are_neither_written_nor_read_where_others_may_write(tmp_path):
    tmp_path.chmod(0o777)
    assert "compiled programs are not kept: " in compiled_in(tmp_path)
    tmp_path.chmod(0o700)
    compiled_in(tmp_path, wanted=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_damaged_program_is_compiled_and_kept_anew(tmp_path):
    tmp_path.chmod(0o700)
    compiled_in(tmp_path)
    kept = [path for path in tmp_path.iterdir() if path.name.endswith("-cache")]
    for path in kept:
        path.write_bytes(b"damaged")
    assert kept and compiled_in(tmp_path) == ""
    assert all(path.read_bytes() != b"damaged" for path in kept)


ESCAPES = "\x1b[2Jred\tbird\n\u202eevil\x9b\udcff"
SEEN = r"\x1b[2Jred\tbird\n\u202eevil\x9b\udcff"


def test_control_characters_of_a_name_are_made_visible():
    assert visible(ESCAPES, "") == SEEN and visible("é × 中 🙂") == "é × 中 🙂"
    assert visible("two\nlines\x1b") == "two\nlines\\x1b"


def test_what_is_printed_of_a_run_moves_no_cursor(capsys):
    plain_console().print(ESCAPES)
    tell(ESCAPES)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "\x1b" not in text and "\u202e" not in text and r"\x1b[2Jred\tbird" in text


def test_a_name_forges_neither_a_column_nor_a_line_of_predict(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a\tcat\t1.0000\nb.png"
    file.write_bytes(flat_png(8, 8))
    learner = SimpleNamespace(task=Classification(), config=Config())
    found = SimpleNamespace(classes=("x\ty", ESCAPES), input_shape=(8, 8, 1), learner=learner,
                            state=SimpleNamespace(average={}))
    found.predicted = lambda x, tta: np.array([[0.25, 0.75]] * len(x))
    monkeypatch.setattr(predictions, "load", lambda *_: found)
    (tmp_path / "config.json").write_text(json.dumps(trained_on([8, 8, 1], "uint8")))
    predictions.tell(Request(place=Place(run_dir=str(tmp_path), device="cpu")), "last",
                     [str(file)])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[1:] == [SEEN, "0.7500"]
