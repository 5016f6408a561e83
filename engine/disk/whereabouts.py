"""Where a run's folder is: as it is given, and as it is told."""

import contextlib
import os
from pathlib import Path
from typing import Any

from engine.errors import RequestError


def given(run: Any, what: str = "run") -> Path:
    """Of a path, whose ~ is the home folder, or of what stands for its folder. Raises RequestError
    for anything else."""
    try:
        return Path(os.path.expanduser(os.fspath(run)))
    except TypeError:
        raise RequestError(f"{what} is {run!r:.40}, a {type(run).__name__}: give its folder, or "
                           "what fit, sweep or load gave.") from None


def told(path: Path) -> Path:
    """From the working folder on, where it is in there."""
    with contextlib.suppress(OSError, ValueError):
        return path.relative_to(Path.cwd())
    return path
