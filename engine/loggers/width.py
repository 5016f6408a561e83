"""Lines no wider than the terminal that they go to: broken between words, never within one."""

import shutil
import sys
from typing import TextIO

INDENT = "  "  # of what is left of a line


def columns(stream: TextIO) -> int:
    """Cells of a line there, any number where it is no terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else sys.maxsize


def fitted(text: str, stream: TextIO, indent: str = INDENT) -> str:
    """The text for `stream`, as it is where that is no terminal."""
    if not stream.isatty():
        return text
    return "\n".join(wrapped(line, columns(stream), indent) for line in text.split("\n"))


def wrapped(line: str, width: int, indent: str = INDENT) -> str:
    """One line as lines of `width` cells, the later ones indented. A word that is wider, such as a
    path, stays whole, as does whatever is copied from a terminal."""
    from rich.cells import cell_len  # late: a start that says nothing doesn't need it

    if cell_len(line) <= width:
        return line
    words = line.lstrip(" ").split(" ")
    rows, row = [], " " * (len(line) - len(line.lstrip(" "))) + words[0]
    for word in words[1:]:
        if cell_len(f"{row} {word}") > width:
            rows.append(row)
            row = indent + word
        else:
            row = f"{row} {word}"
    return "\n".join([*rows, row])


def cut(text: str, most: int) -> str:
    """The text without its middle where it is longer: a path's two ends tell most."""
    if len(text) <= most:
        return text
    half = max(most - 1, 2) // 2
    return f"{text[:half]}…{text[-half:]}"
