"""Archives over HTTP: resumed after a broken transfer, checked against a pinned SHA-256.

A plain or redirected address may be anyone's: what comes is read by nothing but the checksum until
it is known to be the archive.
"""

import hashlib
import http.client
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich import progress
from rich.console import Console

from engine import errors

# For an answer, and for each next bytes. A transfer that breaks and a host that then says nothing
# wait once each: both stay under 15 s.
WAIT_S = 7.0
_TRIES = 5


@dataclass(frozen=True)
class Archive:
    """What to fetch, where it goes under the downloads folder, and what it must be."""

    url: str
    file: str
    size: int
    sha256: str


# Neither files nor ftp, where a redirection might lead.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


def fetch(archive: Archive, folder: Path) -> Path:
    """The verified archive at folder/archive.file, fetched unless it is there.

    A broken transfer leaves a .part file that the next call resumes. A file that is an HTML page,
    truncated or of the wrong checksum is removed. Raises RunError for these, and RequestError
    where `folder` can't be written.
    """
    path = folder / archive.file
    if path.exists():
        _verify(path, path, archive)
        return path
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _transfer(archive, file, path)
    except errors.RunError:
        if not part.stat().st_size:
            part.unlink()
        raise
    except OSError as error:
        raise errors.RequestError(
            f"{path.parent} can't be written ({error}): pass --data_dir FOLDER with one that can"
        ) from error
    _verify(part, path, archive)
    part.rename(path)
    return path


def _transfer(archive: Archive, file: BinaryIO, path: Path) -> None:
    """Appends what is missing to `file`; connects again as long as that brings more bytes."""
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(path.name, total=archive.size)
        for attempt in range(1, _TRIES + 1):
            before = file.seek(0, 2)
            problem = _attempt(archive, file, lambda: bar.update(task, completed=file.tell()))
            if not problem:
                return
            if file.tell() <= before or attempt == _TRIES:
                raise _unreachable(archive, path, problem)


def _attempt(archive: Archive, file: BinaryIO, moved: Callable[[], object]) -> str:
    """One connection. Returns what went wrong with it, or "" at the end of the body."""
    try:
        have = file.tell()
        if have >= archive.size:
            return ""
        with _open(archive.url, have) as response:
            start = response.headers.get("Content-Range", "")
            if response.status != 206 or not start.startswith(f"bytes {have}-"):
                _restart(file)
            announced = response.length
            received = _copy(response, file, archive.size, moved)
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError) as e:
        if isinstance(e, urllib.error.HTTPError) and e.code == 416:
            _restart(file)
        return str(getattr(e, "reason", e)) or type(e).__name__
    if announced is not None and received < min(announced, archive.size):
        return f"the transfer broke off after {file.tell():,} of {archive.size:,} bytes"
    return ""


def _restart(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, most: int, moved: Callable[[], object]
) -> int:
    """Writes the body until it ends or the file holds more than `most` bytes; returns its bytes."""
    received = 0
    while file.tell() <= most and (chunk := _next(response)):
        received += file.write(chunk)
        file.flush()
        moved()
    return received


def _next(response: http.client.HTTPResponse) -> bytes:
    # As ConnectionErrors, the network's faults are told from those of the disk.
    try:
        return response.read1(1 << 16)
    except TimeoutError:
        raise ConnectionError(f"nothing came for {WAIT_S:g} s") from None
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    return opener


def _open(url: str, have: int) -> http.client.HTTPResponse:
    """The answer to a GET from byte `have` on, within WAIT_S whatever is slow about it."""
    headers = {"User-Agent": "flaxmill", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_opener().open(request, timeout=WAIT_S))
        except Exception as error:
            answers.put(error)

    # A socket's timeout bounds neither name look-up nor a host with many addresses.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=WAIT_S)
    except queue.Empty:
        raise ConnectionError(f"no answer within {WAIT_S:g} s") from None
    if isinstance(answer, urllib.error.URLError | http.client.HTTPException):
        raise answer
    if isinstance(answer, Exception):
        raise ConnectionError(str(answer)) from answer
    return answer


def _verify(found: Path, path: Path, archive: Archive) -> None:
    """Removes `found` and raises RunError unless it is the archive that belongs at `path`."""
    with found.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == archive.sha256:
        return
    size = found.stat().st_size
    found.unlink()
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        problem = "an HTML page came in place of the archive (a login or an error page?)"
    elif size < archive.size:
        problem = f"the archive is truncated: {size:,} of {archive.size:,} bytes"
    else:
        problem = f"wrong checksum: SHA-256 {sha256}, expected {archive.sha256}"
    raise errors.RunError(f"{archive.url}: {problem}. The file was removed. {_ways_out(path)}")


def _unreachable(archive: Archive, path: Path, problem: str) -> errors.RunError:
    return errors.RunError(f"can't download {archive.url}: {problem}. {_ways_out(path)}")


def _ways_out(path: Path) -> str:
    return (
        "Run again to go on; or --dataset digits, which needs no network; or --data_dir FOLDER "
        f"with the set prepared; or fetch the archive by hand and put it at {path}"
    )
