"""What a report shows of a run, as a task tells it."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Card(NamedTuple):
    """A headline figure, formatted, and what it may as well be."""

    name: str
    value: str
    interval: str = ""


class Picture(NamedTuple):
    """A file and its PNG, or the chart that is drawn there. `text` is its heading, and after a
    colon and a space what explains it. The page has `chart` where there is one, of charts.py,
    matrix.py or answers.py, and else the PNG."""

    file: str
    text: str
    png: bytes | None = None
    chart: Any = None


class Shown(NamedTuple):
    """What a task has to show of a run.

    `cards` are headline figures, the first the run's own; `names` the curves, such as ("loss",
    "accuracy"); `table` the head and the rows by class or label, its first column's name the
    heading; `note` explains it. `pictures` are of Picture, or their first three. `scores` are rows
    (name, value, low, high), the last two of its interval, or None.
    """

    cards: Sequence[Card | tuple[str, str]]
    names: tuple[str, ...]
    table: tuple[list[str], list[list[Any]]] | None = None
    note: str = ""
    pictures: Sequence[Picture | tuple[str, str, bytes]] = ()
    scores: Sequence[list[Any]] = ()
