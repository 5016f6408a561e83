"""A run's folder: config.json, history.jsonl, metrics.json. Never overwrites another run."""

import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.disk import files
from engine.disk.files import is_count, is_number
from engine.doors import bring
from engine.errors import RequestError, RunError, check_utf8, one_line, tell
from engine.request import Request
from engine.sets import bundle
from engine.sets.bundle import Encoder
from engine.sets.columns import FILE, read
from engine.sets.names import short
from engine.store import record

# What tells that a folder is taken, by command.
HOLDS = {"run": "config.json", "sweep": "sweep.json", "lr-find": "lr-find.png"}
RESUMED = {"run": "--resume", "sweep": "sweep --resume"}
VERSIONED = ("flaxmill", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy",
             "tensorflow-datasets")
HISTORY = "history.jsonl"
ROW = {"epoch": is_count, "step": is_count, "seconds": is_number, "val_loss": is_number}


def _make(path: Path) -> bool:
    """True where this call made the folder, for the user alone; what is there stays as it is,
    whoever made it. Raises RequestError where none can be made."""
    check_utf8(path.absolute())
    try:
        os.makedirs(path, 0o700)
        return True
    except FileExistsError:
        return False
    except (OSError, ValueError) as error:  # the second of a NUL in it
        reason = getattr(error, "strerror", None) or str(error)
    raise RequestError(f"--run_dir {path}: {reason}; name another folder.")


def _check_writable(path: Path, flag: str, instead: str) -> None:
    if not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
        raise RequestError(f"{flag} {path}: it is not a folder that you can write to; {instead}.")


def create(request: Request, kind: str = "") -> Path:
    """A folder for a new run: the one asked for, else the next free runs/<dataset>-<model>-<n>.

    `kind` is a command, such as sweep, whose folders are named after it.
    """
    if request.place.run_dir:
        path = Path(request.place.run_dir)
        if not _make(path):
            _check_writable(path, "--run_dir", "name another folder")
        if held := next((n for n, f in HOLDS.items() if (path / f).exists()), None):
            on = f"go on with it ({RESUMED[held]} {path}), or " if held in RESUMED else ""
            raise RequestError(f"--run_dir {path} already holds the files of a {held}: {on}name "
                               "another folder.")
        return path
    names = short(request.config.dataset), bring.short(request.config.model), kind
    stem = "-".join(filter(None, names))
    count = 1
    while not _make(path := Path("runs") / f"{stem}-{count}"):
        count += 1
    return path


def refuse_links(path: Path) -> None:
    """Raise RequestError for a link anywhere in the folder, which may come from elsewhere: what is
    written or removed by way of it would be another's."""
    for above, folders, names in os.walk(path):
        for name in (*folders, *names):
            if os.path.islink(link := os.path.join(above, name)):
                raise RequestError(f"{link} is a link, and none is followed within a run's folder: "
                                   "put what it names in its place, or name another folder.")


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which goes with its process, however that ends. Raises RequestError
    where another process has it, or a link is in it."""
    _check_writable(path, "--resume", f"copy it (cp -r {shlex.quote(str(path))} mine), "
                    "then type --resume mine")
    refuse_links(path)
    try:
        lock = files.opened(path / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise RequestError(f"{path}/.lock: {error.strerror}; name another folder.") from None
    with open(lock, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"{path} is in use by {_holder(path)}: "
                               "wait for it, stop it, or name another folder.") from None
        except OSError as error:  # a file system without locks
            tell(f"{path} can't be locked ({error.strerror}): see that no other run writes there")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


def _holder(path: Path) -> str:
    """Who the folder's lock says it is; one that comes from elsewhere may hold anything."""
    try:
        return one_line(files.read(path / ".lock").decode(errors="replace") or "another process")
    except OSError:
        return "another process"


def versions() -> dict[str, str | None]:
    """Of each package that what a run computes depends on; None of one that isn't installed."""
    return {package: _version(package) for package in VERSIONED}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the code that runs, marked where it has uncommitted changes."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty",
               "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


@functools.cache
def _origin() -> dict[str, Any]:
    """The versions and the commit that run."""
    return {"versions": {"python": platform.python_version()} | versions(),
            "git_commit": _git_commit()}


def described(request: Request, **found: Any) -> dict[str, Any]:
    """The content of config.json: what was asked for, and with what it ran."""
    return record.to_json(request) | _origin() | found


def write_config(path: Path, content: dict[str, Any], file: str = "config.json") -> None:
    files.replace(path / file, json.dumps(content, indent=2) + "\n")


def config(path: Path) -> dict[str, Any]:
    """config.json's content. Raises OSError or ValueError where there is none."""
    return files.parsed(files.read(path / "config.json"))


def write_columns(path: Path, columns: Encoder | None) -> None:
    """What a table's features were made by, or which inputs there are; before the config.json that
    has its digest."""
    if columns:
        files.replace(path / FILE, columns.text)


def columns(path: Path, content: dict[str, Any]) -> Encoder | None:
    """The columns that the run in `path` made features of, or its inputs by their names; None where
    it learned from no table, and from one array.
    Raises RequestError where its columns.json is gone, or not the one that config.json's `content`
    tells of."""
    told, file = content.get("columns"), path / FILE
    if told is None:
        return None
    try:
        written = files.read(file)
        if hashlib.sha256(written).hexdigest() != told:
            raise ValueError("it is not the one that the run wrote")
        parsed = files.parsed(written)
        return bundle.read(parsed) if "fields" in parsed else read(parsed)
    except OSError as error:
        problem = error.strerror
    except (ValueError, KeyError, TypeError) as error:
        problem = one_line(error)
    raise RequestError(f"{file} can't be read ({problem}), and the run's features are made by it: "
                       "put it back, or train anew.")


def history(
    path: Path, name: str = HISTORY, needed: Mapping[str, Callable[[Any], bool]] = ROW
) -> list[dict[str, Any]]:
    """The run's epochs. A last line without its end is one whose writer was killed, and counts as
    never written. Raises RunError for any other line that is no row: with the fields that are
    `needed`, and besides them numbers alone."""
    file = path / name
    try:
        lines = files.read(file).split(b"\n")[:-1]
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise RunError(f"{file} can't be read: {error.strerror}.") from None
    return [_row(file, number, line, needed) for number, line in enumerate(lines, 1)]


def _row(file: Path, number: int, line: bytes, needed: Mapping[str, Callable]) -> dict[str, Any]:
    try:
        row = files.parsed(line)
        if not isinstance(row, dict) or needed.keys() - row.keys():
            raise ValueError(f"a row has {', '.join(needed)}")
        for name, value in row.items():
            if not (needed[name](value) if name in needed else value is None or is_number(value)):
                raise ValueError(f"its {name} can't be {value!r:.40}")
        return row
    except ValueError as error:
        raise RunError(
            f"line {number} of {file} is damaged ({error}): delete that line to go on."
        ) from None


def metrics(path: Path) -> dict[str, Any]:
    """metrics.json's content; {} of an unfinished run. Raises RunError where it is damaged."""
    try:
        found = files.parsed(files.read(path / "metrics.json"))
        if isinstance(found, dict):
            return found
        problem: object = "it is no object"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problem = error
    raise RunError(f"{path}/metrics.json is damaged ({problem}): --resume {path} writes it again.")


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """A line of JSON a row."""
    files.replace(file, "".join(json.dumps(row) + "\n" for row in rows))


def rewind_history(path: Path, rows: list[dict[str, Any]], step: int) -> None:
    """Of the history's `rows` those after `step`, never checkpointed, are dropped from the file."""
    write_rows(path / HISTORY, [row for row in rows if row["step"] <= step])


def append_history(path: Path, row: dict[str, Any], name: str = HISTORY) -> None:
    files.append(path / name, json.dumps(row))  # a checkpoint is never without its row
