"""Lines no wider than the terminal that they go to: broken between words, never within one."""

import shutil
from typing import TextIO

INDENT = "  "  # of what is left of a line


def fitted(text: str, stream: TextIO, indent: str = INDENT) -> str:
    """The text for `stream`, as it is where that is no terminal."""
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(wrapped(line, width, indent) for line in text.split("\n"))


def wrapped(line: str, width: int, indent: str = INDENT) -> str:
    """One line as lines of `width` cells, the later ones indented. A word that is wider, such as a
    path, stays whole, as does whatever is copied from a terminal."""
    from rich.cells import cell_len  # late: a start that says nothing doesn't need it

    if cell_len(line) <= width:
        return line
    rows, row = [], ""
    for word in line.split(" "):
        longer = f"{row} {word}" if row else word
        if row.strip() and cell_len(longer) > width:
            rows.append(row)
            longer = indent + word
        row = longer
    return "\n".join([*rows, row])
