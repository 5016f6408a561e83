"""Predictions on standard output: tab-separated lines, or in a terminal a table."""

import sys
from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.command.output import Teller
from engine.errors import visible
from engine.task import Task

_WIDEST = 40  # of a column, where the terminal has room
_PROBABILITY = "probability"


def printer(task: Task, key: str, longest: int, names: tuple[str, ...], top: int) -> Teller:
    """What prints predictions of examples whose keys are `longest` cells wide, under the head
    `key`: of each the `top` likeliest of `names`, or if that is 0 what the task tells."""
    names = tuple(visible(name, "") for name in names)
    if sys.stdout.isatty():
        return _Table(task, key, longest, names, top).tell

    def lines(keys: Sequence[str], predicted: np.ndarray) -> None:
        for name, row in zip(keys, predicted, strict=True):
            print("\t".join([visible(name, ""), *_fields(task, row, names, top)]))

    return lines


def _fields(task: Task, predicted: np.ndarray, names: tuple[str, ...], top: int) -> list[str]:
    """One example's prediction [C] in words."""
    if not top:
        return task.told(predicted, names).split("\t")
    likeliest = np.argsort(-predicted, kind="stable")[:top]
    return [text for i in likeliest for text in (names[i], f"{predicted[i]:.4f}")]


class _Table:
    """Columns of one width from batch to batch; a class and its probability are a line."""

    def __init__(self, task: Task, key: str, longest: int, names: tuple[str, ...], top: int):
        self._of, self._console = (task, names, top), Console(markup=False, highlight=False)
        heads = [key, *names]
        widths = [longest, *map(cell_len, names)]
        if task.kind != "numbers":
            heads = [key, "label" if task.kind == "labels" else "class",
                     "share" if task.kind == "positions" else _PROBABILITY]
            widths = [longest, max(widths[1:]), len(_PROBABILITY)]
        self._columns, self._head = list(zip(heads, widths, strict=True)), True

    def tell(self, keys: Sequence[str], predicted: np.ndarray) -> None:
        task, names, top = self._of
        table = Table(box=None, pad_edge=False, show_header=self._head)
        self._head, step = False, len(self._columns) - 1
        for head, width in self._columns:
            table.add_column(Text(head), min_width=min(width, _WIDEST), overflow="fold")
        for name, row in zip(keys, predicted, strict=True):
            cells = _fields(task, row, names, top)
            for start in range(0, len(cells), step):
                shown = "" if start else visible(name, "")
                table.add_row(*map(Text, [shown, *cells[start : start + step]]))
        self._console.print(table)
