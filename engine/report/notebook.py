"""How a run, its history and a sweep's runs show themselves in a notebook: text, tables, and curves
as SVG in the notebook's own colours."""

from collections.abc import Iterable, Sequence
from typing import Any

from engine.drawn import charts
from engine.drawn.charts import Panel
from engine.report import page

ROWS = 6  # of a history, at each end


class History(list[dict[str, Any]]):
    """A list of rows, one an epoch."""

    def _repr_html_(self) -> str:
        return table("", self, curves(self))


def table(told: str, found: Sequence[dict[str, Any]], drawn: Sequence[Panel] = ()) -> str:
    """`told` in words, and rows, of many the first and the last."""
    head = list(dict.fromkeys(name for row in found for name in row))
    shown = [*found[:ROWS], {}, *found[-ROWS:]] if len(found) > 2 * ROWS + 1 else found
    rows = [[row.get(name, "…" if not row else None) for name in head] for row in shown]
    return _page(told, head, rows, drawn)


def curves(history: Sequence[dict[str, Any]]) -> list[Panel]:
    """Of each score that the training and the validation both have."""
    names = history[0] if len(history) > 1 else ()
    both = [name for name in names if f"val_{name}" in names]
    return charts.curves(history, both).panels if both else []


def run(told: str, scores: dict[str, float], history: Sequence[dict[str, Any]]) -> str:
    """Of one run: `told` in words, its scores, its curves."""
    return _page(told, ["score", "value"], [[*pair] for pair in scores.items()], curves(history))


def runs(told: str, found: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Of several, each by its name and the last row of its history."""
    return table(told, [{"run": name} | last for name, last in found])


def _page(told: str, head: list[str], rows: list[list[Any]], drawn: Sequence[Panel]) -> str:
    return page.render("notebook.html", told=told, head=head, rows=rows, panels=drawn)
