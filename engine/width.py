"""Lines no wider than the terminal that they go to, broken between words, and texts no longer than
their place, cut in the middle."""

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


def shortened(text: str, length: int) -> str:
    """Without its middle where it is longer, of three characters at least: the two ends tell names
    and paths apart."""
    if len(text) <= length:
        return text
    length = max(length, 3)
    return f"{text[: length // 2]}…{text[-((length - 1) // 2) :]}"
