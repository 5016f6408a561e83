"""How a run, its history and a sweep's runs show themselves in a notebook: text, tables, and curves
as SVG in the notebook's own colours."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.report import page

ROWS = 6  # of a history, at each end
WIDE, HIGH = 280, 110


class Chart(NamedTuple):
    """Of a score: its range as numbers, and the lines of it and of its validation, as SVG's points
    and with their last value; each in its style."""

    name: str
    low: float
    high: float
    lines: list[tuple[str, str, float, str]]


class History(list[dict[str, Any]]):
    """A list of rows, one an epoch."""

    def _repr_html_(self) -> str:
        return table("", self, charts(self))


def table(told: str, found: Sequence[dict[str, Any]], drawn: Sequence[Chart] = ()) -> str:
    """`told` in words, and rows, of many the first and the last."""
    head = list(dict.fromkeys(name for row in found for name in row))
    shown = [*found[:ROWS], {}, *found[-ROWS:]] if len(found) > 2 * ROWS + 1 else found
    rows = [[row.get(name, "…" if not row else None) for name in head] for row in shown]
    return _page(told, head, rows, drawn)


def charts(history: Sequence[dict[str, Any]]) -> list[Chart]:
    """Of each score that the training and the validation both have."""
    names = history[0] if len(history) > 1 else ()
    both = [name for name in names if f"val_{name}" in names]
    return [found for name in both if (found := _chart(history, name))]


def _chart(history: Sequence[dict[str, Any]], name: str) -> Chart | None:
    drawn = {key: [row.get(key) for row in history] for key in (name, f"val_{name}")}
    finite = [y for line in drawn.values() for y in line if y is not None and math.isfinite(y)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    lines = []
    for (key, line), dashes in zip(drawn.items(), ("4 3", ""), strict=True):
        there = [(at, y) for at, y in enumerate(line) if y is not None and math.isfinite(y)]
        if there:
            points = " ".join(f"{WIDE * at / (len(history) - 1):.1f},"
                              f"{HIGH * (high - y) / ((high - low) or 1):.1f}" for at, y in there)
            lines.append((key, points, there[-1][1], dashes))
    return Chart(name, low, high, lines)


def run(told: str, scores: dict[str, float], history: Sequence[dict[str, Any]]) -> str:
    """Of one run: `told` in words, its scores, its curves."""
    return _page(told, ["score", "value"], [[*pair] for pair in scores.items()], charts(history))


def runs(told: str, found: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Of several, each by its name and the last row of its history."""
    return table(told, [{"run": name} | last for name, last in found])


def _page(told: str, head: list[str], rows: list[list[Any]], drawn: Sequence[Chart]) -> str:
    return page.render("notebook.html", told=told, head=head, rows=rows, charts=drawn, wide=WIDE,
                       high=HIGH)
