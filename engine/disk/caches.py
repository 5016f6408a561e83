"""Folders of the user's own: closed to others when made, not trusted where others may write."""

import contextlib
import functools
import glob
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import tell

COMPILED_BYTES = 4 << 30


def cache_home() -> Path:
    """${XDG_CACHE_HOME:-~/.cache}/flaxmill; a relative $XDG_CACHE_HOME counts as none (XDG). The ~
    stays where it is nobody's home, as of a container's user: such a cache has a `cache_problem`.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path(os.path.expanduser("~/.cache"))) / "flaxmill"


def make(path: Path) -> None:
    """Create `path` and what is missing above it, for the user alone. Raises OSError."""
    if not path.is_dir():
        make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def doubt(path: Path) -> str:
    """Why what lies in the folder `path` may be another's work, or ''. Judged are the folder, those
    above it, and all that it holds. Raises OSError."""
    path = path.resolve()
    for above in path.parents:
        seen = above.stat()
        each_their_own = seen.st_mode & stat.S_ISVTX  # as in /tmp
        if why := _others(seen, 0 if each_their_own else seen.st_mode):
            return f"{above}: {why}; name another folder, by XDG_CACHE_HOME"
    seen = path.stat()
    if why := _others(seen, seen.st_mode):
        return f"{path}: {why}; delete it, whose content may be another's"
    closed = not seen.st_mode & (stat.S_IXGRP | stat.S_IXOTH)  # what others can't reach
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            try:
                seen = os.lstat(inside := os.path.join(folder, name))
            except FileNotFoundError:  # another start has deleted it
                continue
            link = "is a link" if stat.S_ISLNK(seen.st_mode) else ""
            if why := link or _others(seen, 0 if closed else seen.st_mode):
                return f"{inside}: {why}; delete {path}, whose content may be another's"
    return ""


def _others(seen: os.stat_result, mode: int) -> str:
    """Who but this user and root may have written there, or ''."""
    if seen.st_uid not in (os.getuid(), 0):
        return "belongs to another user"
    bits = {stat.S_IWOTH: "anyone", stat.S_IWGRP: "its group"}
    return next((f"{who} may write there" for bit, who in bits.items() if mode & bit), "")


def compile_cache_dir() -> Path:
    """Where compiled programs are kept: jax's own variable, else the user's cache folder."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(named) if named else cache_home() / "compiled"


def cache_problem(path: Path) -> str:
    """Create a cache's folder; why it can't be used, or ''."""
    if path.parts[:1] == ("~",):
        return f"{path}: there is no home folder; set HOME or XDG_CACHE_HOME"
    try:
        make(path)
        with tempfile.TemporaryFile(dir=path):
            pass
        return doubt(path)  # programs that lie there are run by this process
    except OSError as error:
        return f"{path}: {error.strerror or error}"


def use_compile_cache(wanted: bool) -> None:
    """Keep compiled programs between runs, or don't: jax would of itself where its own variable
    names a folder. Says so and goes on without where the folder can't be used."""
    import jax

    path = compile_cache_dir()
    problem = cache_problem(path) if wanted else ""
    if problem:
        tell(f"compiled programs are not kept: {problem}")
    used = wanted and not problem
    jax.config.update("jax_enable_compilation_cache", used)
    if not used:
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    trim(path, COMPILED_BYTES)
    if getattr(warnings.showwarning, "func", None) is not _shown:
        warnings.showwarning = functools.partial(_shown, path, warnings.showwarning)


def trim(path: Path, size: int) -> None:
    """Delete the files of a folder that were read the longest ago, where all take more than `size`
    bytes, down to three quarters of it. Once a start: jax's own limit reads every entry's size and
    time whenever it writes one."""
    files = []
    with os.scandir(path) as found:
        for each in found:
            with contextlib.suppress(FileNotFoundError):  # another start has deleted it
                if each.is_file():
                    files.append((each.stat(follow_symlinks=False), each.path))
    total = sum(seen.st_size for seen, _ in files)
    if total <= size:
        return
    for seen, name in sorted(files, key=lambda file: file[0].st_atime_ns):
        if total <= size * 3 // 4:
            break
        Path(name).unlink(missing_ok=True)
        total -= seen.st_size


_DAMAGED = re.compile(r"Error reading persistent compilation cache entry for '([\w.<>-]+)'")


def _shown(path: Path, show: Callable, message: Any, *where: Any) -> None:
    """jax warns of a damaged entry each time, as it never writes over one: delete it instead."""
    if not (found := _DAMAGED.match(str(message))):
        return show(message, *where)
    for entry in path.glob(f"{glob.escape(found[1])}-*"):
        entry.unlink(missing_ok=True)
