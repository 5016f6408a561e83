"""Charts: numbers placed on a canvas, which templates/charts.html writes as SVG in the page's own
colours, and pictures.py draws as PNG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from engine.console.number import number

Places = list[tuple[float, float]]  # (x, y) from the canvas's upper left corner

WIDTH, HEIGHT = 380, 236  # of a panel, in the units of its text, which is 12 high
LEFT, RIGHT, TOP, FOOT = 50, WIDTH - 14, 12, HEIGHT - 38  # where its field ends
HOVERED = 200  # points of a line that tell their value
DOTTED = 40  # above this, a line's points are not drawn
COLOURS = 6  # that can be told apart


class Line(NamedTuple):
    """A curve of [(x, y)], or its band of [(x, low, high)] besides; None and NaN are left out.
    `style` is a class of the page's: accent, soft, or c0 to c5."""

    name: str
    style: str
    points: Sequence[tuple[float, Any]]
    band: Sequence[tuple[float, float, float]] = ()


class Dot(NamedTuple):
    """A mark at (x, y) of radius `size`, and what it says where a pointer rests on it."""

    x: float
    y: float
    said: str
    size: float = 3.5
    style: str = "accent"


class Panel(NamedTuple):
    """What is drawn in one canvas, placed: ticks are (place, text); `lines` (style, places, dots),
    `bands` (style, their outline), `cells` (x, y, width, height, opacity, said); `straight` is the
    diagonal. The canvas's sides, which all have, are for the template."""

    title: str
    across: str
    xticks: list[tuple[float, str]]
    yticks: list[tuple[float, str]]
    lines: list[tuple[str, Places, list[Dot]]]
    bands: list[tuple[str, Places]]
    dots: list[Dot]
    cells: list[tuple[float, float, float, float, float, str]]
    straight: Places
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    foot: int = FOOT


class Panels(NamedTuple):
    """Panels beside each other, and what their colours mean: (style, name)."""

    panels: list[Panel]
    legend: list[tuple[str, str]] = []
    kind: str = "panels"


class Bars(NamedTuple):
    """Rows (name, percent of the longest, text), the best first; `across` names what they are of,
    where no heading does."""

    rows: list[tuple[str, float, str]]
    across: str = ""
    kind: str = "bars"


class _Axis(NamedTuple):
    """From values to places, `low` at `start` and `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v
                            for v in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self, most: int, whole: bool) -> list[tuple[float, str]]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        locator = LogLocator(numticks=most) if self.log else \
            MaxNLocator(most, integer=whole, steps=[1, 2, 5, 10])
        found = [float(v) for v in locator.tick_values(self.low, self.high)
                 if self.low <= v <= self.high and not (whole and v % 1)]
        texts = [f"{v:.6g}" for v in found]
        if not self.log and not any("e" in text for text in texts):  # as many digits on each
            digits = max((len(text.partition(".")[2]) for text in texts), default=0)
            texts = [f"{v:.{digits}f}" for v in found]
        return [(self.at(v), text) for v, text in zip(found, texts, strict=True)]


def _axis(values: Iterable[float], start: float, end: float, margin: float,
          log: bool = False) -> _Axis:
    """One that all of the values are on; of equal ones they are in the middle."""
    found = [v for v in values if v is not None and math.isfinite(v)] or [0.0, 1.0]
    low, high = min(found), max(found)
    if log:
        spare = (high / low) ** margin if high > low else 2.0
        return _Axis(low / spare, high * spare, start, end, True)
    spare = margin * (high - low) if high > low else abs(low) / 2 or 0.5
    return _Axis(low - spare, high + spare, start, end, False)


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of them that don't run into one that is kept."""
    kept: list[tuple[float, str]] = []
    for place, text in sorted(ticks):
        if not kept or place - kept[-1][0] > 3.6 * (len(text) + len(kept[-1][1])) + 8:
            kept.append((place, text))
    return kept


def _finite(points: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    return [point for point in points if all(v is not None and math.isfinite(v) for v in point)]


def panel(
    title: str, lines: Sequence[Line] = (), across: str = "", dots: Sequence[Dot] = (),
    whole: bool = False, named: Sequence[tuple[float, str]] = (), log: bool = False,
    square: bool = False,
) -> Panel:
    """A canvas of lines, dots or both. `whole` has ticks at whole numbers, `named` at those places,
    (x, text); `log` is the horizontal axis; `square` gives both the same ends, with their diagonal.
    """
    points = [(line, _finite(line.points), _finite(line.band)) for line in lines]
    xs = [p[0] for _, some, _ in points for p in some] + [dot.x for dot in dots]
    ys = [v for _, some, band in points for p in (*some, *band) for v in p[1:]]
    ys += [dot.y for dot in dots]
    if square:
        xs = ys = xs + ys
    elif len({*ys}) == 1:
        ys.append(0.0)  # a lone height is seen against it
    x = _axis(xs, LEFT, RIGHT, 0.03, log)
    y = _axis(ys, FOOT, TOP, 0.03 if square else 0.08)
    drawn, bands = [], []
    for line, some, band in points:
        if band:
            there = [(x.at(v), y.at(low), y.at(high)) for v, low, high in band]
            edge = [(at, low) for at, low, _ in there] + [(at, high) for at, _, high in there[::-1]]
            bands.append((line.style, edge))
        if some:
            step = math.ceil(len(some) / HOVERED)
            size = 4.0 if len(some) == 1 else 2.6 if len(some) <= DOTTED else 0.0
            marks = [Dot(x.at(at), y.at(value), f"{line.name}, {across} {at:g}: {value:.4g}", size)
                     for at, value in some[::step]]
            drawn.append((line.style, [(x.at(at), y.at(v)) for at, v in some], marks))
    placed = [dot._replace(x=x.at(dot.x), y=y.at(dot.y)) for dot in dots]
    straight = [(x.at(v), y.at(v)) for v in (x.low, x.high) if square]
    ticks = _apart([(x.at(at), text) for at, text in named] or x.ticks(7, whole))
    return Panel(title, across, ticks, y.ticks(7, False), drawn, bands, placed, [], straight)


def curves(history: Sequence[dict[str, Any]], names: Sequence[str]) -> Panels:
    """By epoch, a panel for each of `names`: `name` of training, `val_name` of validation. A row
    may lack either."""
    epochs, panels = [row["epoch"] for row in history], []
    for name in names:
        both = (("training", "soft", name), ("validation", "accent", f"val_{name}"))
        lines = [Line(told, style, list(zip(epochs, [row.get(key) for row in history],
                                            strict=True)))
                 for told, style, key in both if any(row.get(key) is not None for row in history)]
        if lines:
            panels.append(panel(name.replace("_", " "), lines, "epoch", whole=True))
    return Panels(panels, [("soft", "training"), ("accent", "validation")])


def bars(values: dict[str, float], across: str = "", more: Mapping[str, str] = {}) -> Bars:
    """Horizontal bars by name, none below 0; behind a number what is told `more` of it."""
    longest = max((abs(v) for v in values.values()), default=0) or 1.0
    return Bars([(name, round(100 * max(0.0, value) / longest, 1),
                  number(value) + more.get(name, ""))
                 for name, value in sorted(values.items(), key=lambda pair: -pair[1])], across)
