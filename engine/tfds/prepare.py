"""A set that isn't prepared yet → tfds's standard folder, with or without TensorFlow.

TensorFlow never enters this process: it and jax disagree about devices, memory and protobuf. As a
program, `python -m engine.tfds.prepare NAME DATA_DIR`, it is the process that TensorFlow enters.
"""

import contextlib
import difflib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from engine.errors import RequestError, RunError, tell, unknown
from engine.job import extras
from engine.sets.names import EMBEDDED, folder_of
from engine.tfds import builders, download
from engine.tfds.download import Archive

PLAIN = ("cifar10", "cifar100", "fashion_mnist", "mnist")  # builders.py reads their archives
_CHILD = "engine.tfds.prepare"


def prepare(name: str, root: Path) -> None:
    """Writes the set `name` into `root`, archives into root/downloads/flaxmill/. RequestError tells
    of what can't be had, RunError of what failed on the way."""
    if name in PLAIN:
        return _from_archives(name, root)
    known = tfds.list_builders(with_community_datasets=False)
    if name.split("/")[0].split(":")[0] not in known:
        near = difflib.get_close_matches(name.lower(), [*known, *EMBEDDED], cutoff=0.5)
        if meant := folder_of(name):
            raise RequestError(f"unknown data set {name!r}: {meant}.")
        raise unknown("data set", name, near or [*PLAIN, "digits"])
    extras.need(f"data set {name} isn't in {root}, and preparing it", "tensorflow", "tensorflow",
                imports=False, instead=", or pass --data_dir FOLDER with it")
    child = [sys.executable, "-m", _CHILD, name, str(root.absolute())]
    # tfds prints, and stdout is the caller's; the child must find this package wherever we are.
    status = subprocess.run(child, stdout=2, cwd=Path(__file__).parents[2]).returncode
    if status:
        raise RunError(f"preparing {name} in a child process ended with status {status}: its own "
                       "words are above. --dataset digits needs neither network nor TensorFlow")


def archives(name: str) -> list[Archive]:
    """What to fetch for one of PLAIN: addresses, sizes and SHA-256 are those that tfds pins."""
    pinned = tfds.builder_cls(name).url_infos
    folder = f"{name}/" if len(pinned) > 1 else ""
    return [Archive(url, folder + url.rsplit("/", 1)[1], int(info.size), info.checksum)
            for url, info in pinned.items()]


def _from_archives(name: str, root: Path) -> None:
    folder = root / "downloads" / "flaxmill"
    tell(f"preparing {name} in {root}, after any other process that does")
    try:
        with _alone(folder, name):
            paths = [download.fetch(archive, folder) for archive in archives(name)]
            builders.write(name, paths, root)
    except OSError as error:
        raise RequestError(f"data set {name} isn't in {root}, which can't be written ({error}): "
                           "pass --data_dir FOLDER, or --dataset digits") from error


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """While no other process prepares `name` in `folder`. The lock goes afterwards, and so do
    folders that were made for it, where nothing came to lie in them: the network was down."""
    made = [path for path in (folder / name, folder, *folder.parents) if not path.exists()]
    path = folder / f"{name}.lock"
    with contextlib.ExitStack() as held:
        while not _locked(path, held):
            pass
        try:
            yield
        finally:
            path.unlink()
            with contextlib.suppress(OSError):  # the first that isn't empty
                for empty in filter(Path.exists, made):
                    empty.rmdir()


def _locked(path: Path, held: contextlib.ExitStack) -> bool:
    """Waits for the lock; False where whoever had it took it away meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Opened to append: were it a link to another's file, nothing would be lost.
        lock = held.enter_context(path.open("a"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def pinned() -> Any:
    """Every archive has a SHA-256 in tfds's list; nothing prepared by others is copied."""
    return tfds.download.DownloadConfig(force_checksums_validation=True, try_download_gcs=False)


if __name__ == "__main__":
    downloader.MAX_RETRIES = 1  # of ten, in over three minutes: who waits wants to know
    name, data_dir = sys.argv[1:]
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare(download_config=pinned())
    except Exception as error:  # a host's, an archive's or the disk's
        sys.exit(f"can't prepare {name}: {type(error).__name__}: {error}")
