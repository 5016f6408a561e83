"""A newcomer's way: README's commands in its order, in a fresh clone and a new environment.

python tests/newcomer.py [WORD ...] types each as it stands, tells its status and seconds, and ends
with 1 where one failed. A line with a WORD in it, such as pytest, is left out. Where a command asks
for an extra, that is installed and the command typed again; where it needs what isn't here, that is
told. CIFAR-10 is one of 200 drawn pictures. Runs in the environment of the extra `test`.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
from archives import packed
from commands import ROOT, Line, belongings, blocks, lines

from engine.devices.diagnosis import nvidia_visible
from engine.tfds import builders

SECONDS = 1200  # of a command
SERVED = re.compile(r"http://[\w.:]+")
EXTRA = re.compile(r"pip install (?:-e )?['\"](?:flaxmill|\.)(\[\w+\])")


class Done(NamedTuple):
    status: int
    seconds: float
    printed: str


class Home:
    """A clone, and an environment that is entered."""

    def __init__(self, folder: Path):
        self.clone, venv, self.log = folder / "flaxmill", folder / "venv", folder / "log"
        subprocess.run(["git", "clone", "--quiet", ROOT, self.clone], check=True, timeout=60)
        python = Path(sys.base_prefix, "bin/python3")
        subprocess.run([python, "-m", "venv", venv], check=True, timeout=120)
        belongings(self.clone)
        cifar10(folder / "sets", folder)
        taken = ("PYTHONPATH", "XLA_FLAGS", "JAX_PLATFORMS", "PYTEST_XDIST_WORKER")
        # Programs are compiled anew, and packages aren't downloaded again.
        caches = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        self.env = {"PIP_CACHE_DIR": f"{caches}/pip"} | {
            k: v for k, v in os.environ.items() if k not in taken} | {
            "PATH": f"{venv}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": str(venv),
            "XDG_CACHE_HOME": str(folder / "cache"), "TFDS_DATA_DIR": str(folder / "sets")}

    def typed(self, text: str) -> Done:
        """Of a shell: whatever it started ends with it."""
        began = time.monotonic()
        with self.log.open("wb") as log:
            shell = subprocess.Popen(["bash", "-c", text], cwd=self.clone, env=self.env, stdout=log,
                                     stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                if " serve " in text:
                    self.asked(shell)
                status = shell.wait(SECONDS)
            except subprocess.TimeoutExpired:
                status = 124
            finally:
                if shell.poll() is None:
                    os.killpg(shell.pid, signal.SIGKILL)
                    shell.wait()
        return Done(status, time.monotonic() - began, self.log.read_text(errors="replace"))

    def asked(self, shell: subprocess.Popen) -> None:
        """Once it says where it listens it is asked whether it is well, and Ctrl-C ends it."""
        end = time.monotonic() + SECONDS
        while not (found := SERVED.search(self.log.read_text())):
            if shell.poll() is not None or time.monotonic() > end:
                return
            time.sleep(0.2)
        with urllib.request.urlopen(f"{found[0]}/health", timeout=SECONDS) as answer:
            assert answer.status == 200
        os.killpg(shell.pid, signal.SIGINT)


def cifar10(root: Path, scratch: Path) -> None:
    """A prepared CIFAR-10 of 160 pictures to train on and 40 to test, as bright as their class."""
    rng = np.random.default_rng(0)

    def batch(count: int) -> bytes:
        label = np.arange(count) % 10
        pixels = rng.integers(0, 60, (count, 3072)) + 20 * label[:, None]
        return np.hstack([label[:, None], pixels]).astype(np.uint8).tobytes()

    files = {f"data_batch_{n}.bin": batch(32) for n in range(1, 6)} | {"test_batch.bin": batch(40)}
    files["batches.meta.txt"] = "\n".join(f"class{n}" for n in range(10)).encode()
    archive = scratch / "cifar10.tar.gz"
    archive.write_bytes(packed({f"cifar-10-batches-bin/{k}": v for k, v in files.items()}))
    builders.write("cifar10", [archive], root)


def lacking(line: Line, words: list[str]) -> str:
    """What isn't here and is needed by a line; '' where it can be typed."""
    left_out = [word for word in words if word in line.text]
    if left_out or "…" in line.text:
        return f"left out: {left_out[0]}" if left_out else "an … of the reader's own in it"
    on_a_gpu = line.reason == "needs a GPU"
    # As the page says, too, the article's run is the same on a CPU.
    return "" if on_a_gpu and (nvidia_visible() or "--device" in line.text) else line.reason


def read(home: Home, words: list[str]) -> bool:
    """Types all of README; whether each command ended well."""
    well = True

    def say(text: str, done: Done) -> None:
        nonlocal well
        print(f"{done.status:3} {done.seconds:6.1f} s  {text}", flush=True)
        if done.status:
            well = False
            print(*done.printed.splitlines()[-20:], sep="\n      ", flush=True)

    for line in lines(ROOT / "README.md"):
        text = line.text.partition("  #")[0].strip()
        if why := lacking(line, words):
            print(f"  -         -  {text} ({why})", flush=True)
            continue
        if line.reason and not nvidia_visible():
            text = text.replace("--device gpu", "--device cpu")
        done = home.typed(text)
        if done.status == 2 and (extra := EXTRA.search(done.printed)):
            asked = f'pip install -e ".{extra[1]}"'
            say(asked, home.typed(asked))
            done = home.typed(text)
        say(text, done)
    (home.clone / "blocks.py").write_text("\n".join(blocks("README.md")))
    say("python blocks.py  # README's blocks of Python", home.typed("python blocks.py"))
    return well


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="newcomer"))
    try:
        sys.exit(0 if read(Home(folder), sys.argv[1:]) else 1)
    finally:
        shutil.rmtree(folder)
