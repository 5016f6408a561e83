"""Small files of a folder that may come from elsewhere: no link is followed, no pipe waited for, no
size believed, and nothing is written but whole."""

import contextlib
import errno
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import RunError

MOST_BYTES = 64 << 20  # a history of some 200,000 epochs


def opened(path: Path, flags: int) -> int:
    """A descriptor of a regular file. Raises OSError for a link, a pipe, a device or a folder."""
    try:
        found = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a link, and none is followed here", str(path)) from None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return found


def read(path: Path) -> bytes:
    """Raises OSError for what is no regular file, or larger than MOST_BYTES."""
    with open(opened(path, os.O_RDONLY), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MOST_BYTES >> 20} MiB", str(path))
    return content


def parsed(content: bytes) -> Any:
    """JSON. Raises ValueError, also where it is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that is `path` once it is left, whole, and not at all where its writer raises; until
    then it has a name that nobody can have taken."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with open(opened(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        try:
            yield file
            file.flush()
        except BaseException as error:
            draft.unlink()
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # as of a full disk, which tells none
            raise
    os.replace(draft, path)


def replace(path: Path, content: str | bytes) -> None:
    """Write `content` whole or not at all."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def gone(path: Path) -> RunError:
    """Of a folder that isn't there any more."""
    return RunError(f"{path} is gone: somebody removed or moved it while the run was writing "
                    "there, so nothing more is saved.")


def append(path: Path, line: str) -> None:
    """Add a line, which is on the disk on return. Raises RunError where its folder is gone."""
    if not path.parent.is_dir():
        raise gone(path.parent)
    with open(opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


# What a value of JSON is, whatever wrote it there:


def is_number(value: Any) -> bool:
    """Also one that is not finite; a whole one within the range of a float."""
    return isinstance(value, float) or type(value) is int and abs(value) <= sys.float_info.max


def is_count(value: Any) -> bool:
    """A whole number from 0 that an array's element can hold."""
    return type(value) is int and 0 <= value < 1 << 63


def is_text(value: Any) -> bool:
    return isinstance(value, str)
