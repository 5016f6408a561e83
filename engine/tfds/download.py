"""Archives over HTTP: resumed after a broken transfer, checked against a pinned SHA-256.

A plain or redirected address may be anyone's: what comes is read by nothing but the checksum until
it is known to be the archive. requests follows no redirection to a file or FTP.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import requests

from engine.console.bar import bar
from engine.errors import RunError, one_line

# For an answer, and for each next bytes. A transfer that breaks and a host that then says nothing
# wait once each: both stay under 15 s.
WAIT_S = 7.0


class Archive(NamedTuple):
    """What to fetch, where it goes under the downloads folder, and what it must be."""

    url: str
    file: str
    size: int
    sha256: str


def fetch(archive: Archive, folder: Path) -> Path:
    """The verified archive at folder/archive.file, fetched unless it is there.

    A broken transfer leaves a .part file that the next call resumes. A file of another checksum is
    removed. Raises RunError for these, and OSError where `folder` can't be written.
    """
    path = folder / archive.file
    found = path if path.exists() else path.with_name(path.name + ".part")
    problem = _verified(found, archive) if found is path else _transferred(archive, found)
    if problem:
        raise RunError(f"can't use {archive.url}: {problem}. Run again to go on; or --dataset "
                       "digits, which needs no network; or --data_dir FOLDER with it; or fetch "
                       f"the archive by hand and put it at {path}")
    return found.rename(path)


def _transferred(archive: Archive, part: Path) -> str:
    """Appends what is missing, as long as that brings more. Why it isn't the archive, or ''."""
    part.parent.mkdir(parents=True, exist_ok=True)
    have, shown = _size(part), 0
    with bar(part.stem, archive.size, of_bytes=True) as moved:
        while have < archive.size:
            try:
                for received in _appended(archive, part, have):
                    moved(received - shown)
                    shown = received
                break
            except requests.RequestException as error:
                before, have = have, _size(part)
                if have <= before:
                    return f"{have:,} of {archive.size:,} bytes came ({one_line(error)})"
    return _verified(part, archive)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _appended(archive: Archive, part: Path, have: int) -> Iterator[int]:
    """One connection: the size of `part` as it grows, to a little more than the archive's."""
    headers = {"User-Agent": "flaxmill", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with requests.get(archive.url, headers=headers, stream=True, timeout=WAIT_S) as response:
        response.raise_for_status()
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_content(1 << 13):
                file.write(chunk)
                yield file.tell()
                if file.tell() > archive.size:
                    return


def _verified(found: Path, archive: Archive) -> str:
    """Why the file isn't the archive, and then it is removed; or ''."""
    with found.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == archive.sha256:
        return ""
    page = "an HTML page, " if head.lstrip().lower().startswith((b"<!doctype", b"<html")) else ""
    what = f"{page}{_size(found):,} bytes of SHA-256 {sha256}"
    found.unlink()
    return f"{what}, came in place of {archive.size:,} bytes of {archive.sha256}, and is removed"
