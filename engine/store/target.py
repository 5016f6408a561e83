"""Where a command's --output goes, known before anything is computed."""

import os
from pathlib import Path

from engine.errors import RequestError, visible


def of(text: str, *endings: str, holds: str = "") -> Path:
    """The path of a file, or of a folder that `holds` a file of that name, where one can be written
    or replaced. Raises RequestError for another ending, and where none can."""
    path, said = Path(text), f"--output {visible(text, '')}"
    if path.suffix.lower() not in endings:
        raise RequestError(f"{said}: type a name that ends in {' or '.join(endings)}.")
    if not os.path.isdir(path.parent):
        raise RequestError(f"{said}: there is no folder {visible(path.parent, '')}: make it first.")
    ours = os.path.exists(path / holds) if holds else not os.path.isdir(path)
    if os.path.exists(path) and not ours or not os.access(path.parent, os.W_OK):
        raise RequestError(f"{said} can't be written there: name another.")
    return path
