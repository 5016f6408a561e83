"""Folders of the user's own: closed to others when made, not trusted where others may write."""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

COMPILED_BYTES = 4 << 30


def cache_home() -> Path:
    """${XDG_CACHE_HOME:-~/.cache}/flaxmill; a relative $XDG_CACHE_HOME counts as none (XDG)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "flaxmill"


def make(path: Path) -> None:
    """Create `path` and what is missing above it, for the user alone. Raises OSError."""
    if not path.is_dir():
        make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def doubt(path: Path) -> str:
    """Why what lies in the folder `path` may be another's work, or ''. Raises OSError."""
    seen = path.stat()
    if hasattr(os, "getuid") and seen.st_uid not in (os.getuid(), 0):
        return f"{path}: belongs to another user"
    for bit, who in ((0o002, "anyone"), (0o020, "its group")):
        if seen.st_mode & bit:
            return f"{path}: {who} may write there (chmod go-w {path})"
    return ""


def compile_cache_dir() -> Path:
    """Where compiled programs are kept: jax's own variable, else the user's cache folder."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(named) if named else cache_home() / "compiled"


def cache_problem(path: Path) -> str:
    """Create a cache's folder; why it can't be used, or ''."""
    try:
        make(path)
        with tempfile.TemporaryFile(dir=path):
            pass
        return doubt(path)  # programs that lie there are run by this process
    except OSError as error:
        return f"{path}: {error.strerror or error}"


def enable_compile_cache(path: Path) -> bool:
    """Keep compiled programs in `path` between runs; says so and goes on where it can't."""
    import jax

    if problem := cache_problem(path):
        print(f"compiled programs are not kept: {problem}", file=sys.stderr)
        return False
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if importlib.util.find_spec("filelock"):  # jax refuses a limit without it
        jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    return True
