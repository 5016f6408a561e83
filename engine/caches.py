"""Folders of the user's own: closed to others when made, not trusted where others may write."""

import os
from pathlib import Path


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
