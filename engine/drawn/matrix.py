"""A map of cells, placed as charts.py places lines. R rows, C columns."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.width import shortened

# Of so many rows or columns at most: a cell's side, and the height of text.
SIDES = ((3, 64, 14), (12, 40, 12), (20, 30, 11), (30, 22, 10), (200, 13, 10))
NUMBERED = 20  # rows or columns; cells of more have no room for a number


class Matrix(NamedTuple):
    """Cells (x, y, opacity, text, said), each `wide` and `side` high; `rows` and `columns` are
    (place, name, whole name), the latter's `turned` upright where they are too long; `best` is what
    is outlined, (x, y, width, height), `pairs` are a table's rows."""

    width: int
    height: int
    left: int
    top: int
    wide: int
    side: int
    text: int
    rows: list[tuple[float, str, str]]
    columns: list[tuple[float, str, str]]
    cells: list[tuple[float, float, float, str, str]]
    down: str
    across: str
    turned: bool
    note: str = ""
    best: tuple[float, float, float, float] | None = None
    pairs: list[list[Any]] = []
    kind: str = "matrix"


def cut(names: Sequence[str]) -> list[str]:
    """Without their middles, as much of them as leaves the names apart."""
    for length in (20, 28, 36):
        shown = [shortened(name, length) for name in names]
        if len({*shown}) == len({*names}):
            break
    return shown


def _room(names: Iterable[str], text: int) -> int:
    """Units that the longest of the names takes."""
    from rich.cells import cell_len

    return math.ceil(max(map(cell_len, names), default=0) * text * 0.6) + 12


def matrix(
    opacity: np.ndarray, texts: Callable[[int, int], str], said: Callable[[int, int], str],
    rows: Sequence[str], columns: Sequence[str], down: str, across: str, wide: int = 0,
    best: tuple[range, range] | None = None, **more: Any,
) -> Matrix:
    """A map of cells [R, C], of which those of opacity 0 are empty; `texts` and `said` are of a row
    and a column, `best` are those to outline."""
    side, text = next((side, text) for most, side, text in SIDES
                      if max(len(rows), len(columns)) <= most)
    shown_rows, shown_columns = cut(rows), cut(columns)
    left = max(_room(shown_rows, text), _room([f"{down} ↓"], 12))
    room = _room(shown_columns, text)
    wide = wide or (max(side, room) if room <= 1.5 * side else side)
    turned = room > wide + 4
    top = room + 18 if turned else text + 24
    cells: list[tuple[float, float, float, str, str]] = [
        (left + c * wide, top + r * side, round(float(opacity[r, c]), 2), texts(r, c), said(r, c))
        for r, c in np.argwhere(opacity > 0).tolist()]
    return Matrix(
        left + wide * len(columns) + 8, top + side * len(rows) + 8, left, top, wide, side, text,
        [(top + (r + 0.5) * side, *both) for r, both in enumerate(zip(shown_rows, rows,
                                                                      strict=True))],
        [(left + (c + 0.5) * wide, *both) for c, both in enumerate(zip(shown_columns, columns,
                                                                       strict=True))],
        cells, down, across, turned,
        best=best and (left + best[1].start * wide, top + best[0].start * side,
                       len(best[1]) * wide, len(best[0]) * side), **more)
