"""Charts of a population, of a frame of runs; settings and their order are `ranking`'s. R rows and
C columns of a heat map."""

import math
import re
from numbers import Real
from typing import Any

import numpy as np
import pandas

from engine.drawn import charts
from engine.drawn.charts import Dot, Line, Panel, Panels
from engine.drawn.matrix import NUMBERED, Matrix, matrix
from engine.drawn.shown import Picture
from engine.optim.patience import Monitor
from engine.sweep import ranking
from engine.width import shortened

Axes = dict[str, list]  # each swept field's distinct values
Histories = dict[int, list[dict[str, Any]]]  # each run's epochs

QUARTILES_FROM = 5  # members; fewer have no quartiles worth the name
LOG_SPAN = 20  # values further apart than this factor go on a logarithmic scale
GRID_SIDE = 40
TICKS = 8
WIDE = 56  # of a cell that tells its score
# By what became of a run, its dot's style and the legend's words.
DOTS = {"done": ("faint", "a run"), "stopped": ("soft", "a run, stopped"),
        "dropped": ("hollow", "a run, dropped"),
        "lost": ("c3", "diverged or refused, at the foot")}


def _line(frame: pandas.DataFrame, column: str, name: str, style: str, share: float) -> Line:
    """Its median by epoch, and the band that `share` of the values lie in."""
    values = frame[column].astype(float).groupby(frame["epoch"])
    low, median, high = (values.quantile(at) for at in (0.5 - share / 2, 0.5, 0.5 + share / 2))
    band = zip(median.index, low, high, strict=True) if (low < high).any() else ()
    return Line(name, style, [*median.items()], [*band])


def curves(axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Monitor) -> Panels:
    """Loss and score by epoch, of the runs that speak for their setting: a median line and a band.
    Of one setting both training and validation; of many the best ones' validation."""
    runs, settings = ranking.ranked(runs, axes, score)
    speaking = runs[runs["value"].notna()]
    names = list(dict.fromkeys(("loss", score.metric)))
    epochs = pandas.DataFrame([
        epoch | {"place": place}
        for run, place in zip(speaking["run"], speaking["place"], strict=True)
        for epoch in histories.get(run, [])
    ], columns=["epoch", "place", *names, *(f"val_{name}" for name in names)])
    many, most = len(settings) > 1, settings["counted"].max()
    band, share = ("quartiles", 0.5) if most >= QUARTILES_FROM else ("range", 1.0)
    best = [(f"c{at}", ranking.in_words(axes, setting))
            for at, setting in settings[: charts.COLOURS].iterrows()]
    both = [("soft", "training"), ("accent", "validation")]
    panels = []
    for name in names:
        lines = [_line(epochs, column, label, style, share)
                 for column, (style, label) in zip((name, f"val_{name}"), both, strict=True)]
        if many:
            lines = [_line(epochs[epochs["place"] == at], f"val_{name}", label, style, share)
                     for at, (style, label) in enumerate(best)]
        title = ("validation " * many + name).replace("_", " ")
        panels.append(charts.panel(title + f", median and {band}" * bool(most > 1), lines, "epoch",
                                   whole=True))
    return Panels(panels, best if many else both)


def plane(axes: Axes, runs: pandas.DataFrame) -> Axes:
    """The two axes of a heat map, or one and the seeds, where it is mostly filled and not too long;
    else {}."""
    seeds = runs["seed"].unique().tolist()
    found = axes | {"seed": seeds} if len(axes) == 1 and len(seeds) > 1 else axes
    lengths = [len(values) for values in found.values()]
    filled = len(runs[[*found]].drop_duplicates()) > 0.5 * math.prod(lengths)
    return found if len(found) == 2 and max(lengths) <= GRID_SIDE and filled else {}


def _sides(axes: Axes) -> list[tuple[str, list]]:
    """Down and across: cells are wider than high, so the longer axis goes down."""
    return sorted(axes.items(), key=lambda item: -len(item[1]))


def _outlined(
    over: Axes, axes: Axes, runs: pandas.DataFrame, score: Monitor
) -> tuple[range, range] | None:
    """Of the cells `over` two axes those of the best setting of the sweep's own `axes`, down and
    across: all of its seeds. None where no run speaks."""
    first = ranking.ranked(runs, axes, score)[1].iloc[0]

    def found(name: str, values: list) -> range:
        if name not in axes:
            return range(len(values))
        return range(at := values.index(first[name]), at + 1)

    down, across = _sides(over)
    return (found(*down), found(*across)) if first["counted"] else None


def compact(value: float) -> str:
    """In four digits, or as many as six characters have room for; without an exponent below 1e5."""
    told = [f"{value:.0f}"] if 1e3 <= abs(value) < 1e5 else [
        re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.{digits}g}") for digits in (4, 3, 2, 1)]
    return next((text for text in told if len(text) <= 6), told[-1])


def heatmap(over: Axes, axes: Axes, runs: pandas.DataFrame, score: Monitor) -> Matrix:
    """Each cell's mean score over two axes, a cross in those that failed; the best setting is
    outlined."""
    (down, rising), (across, level) = _sides(over)
    cells, sign = ranking.ranked(runs, over, score)[1], 1 if score.higher else -1
    mean_RxC, counted_RxC = (
        cells.pivot(index=down, columns=across, values=name).loc[rising, level].to_numpy(float)
        for name in ("mean", "counted"))
    there_RxC, known_RxC = np.isfinite(counted_RxC), np.isfinite(mean_RxC)
    # From the middle cell to the best: bad ones must not leave the good ones all in one colour.
    low, high = np.nanquantile(sign * mean_RxC, [0.5, 1]) if known_RxC.any() else (0, 0)
    shade_RxC = 0.1 + 0.6 * np.clip((sign * mean_RxC - low) / (high - low or 1), 0, 1)
    rows, columns = ([ranking.shown(v) for v in side] for side in (rising, level))
    few = max(len(rows), len(columns)) <= NUMBERED

    def text(r: int, c: int) -> str:
        return compact(mean_RxC[r, c]) if known_RxC[r, c] else "×"

    ends = f", light to dark: {compact(sign * low)}, the middle one, to {compact(sign * high)}"
    note = score.words + ", the mean" * bool(cells["counted"].max() > 1) + ends * (not few)
    lost = " × diverged or was refused." * bool((there_RxC & ~known_RxC).any())
    return matrix(
        np.where(there_RxC, np.nan_to_num(shade_RxC, nan=0.02), 0),
        lambda r, c: text(r, c) if few or not known_RxC[r, c] else "",
        lambda r, c: f"{down} {rows[r]}, {across} {columns[c]}: {text(r, c)}",
        rows, columns, down, across, wide=WIDE if few else 0,
        best=_outlined(over, axes, runs, score),
        note=f"{note[0].upper()}{note[1:]}; the best setting is outlined.{lost}")


def along(axes: Axes, runs: pandas.DataFrame, score: Monitor) -> Panels:
    """The score along every axis, a panel each."""
    runs, _ = ranking.ranked(runs, ["run"], score)  # each speaks for itself
    runs["became"] = runs["status"].where(runs["value"].notna(), "lost")
    dots = [told for kind, told in DOTS.items() if runs["became"].eq(kind).any()]
    return Panels([_along(name, values, runs, score) for name, values in axes.items()],
                  [*dots, ("accent", "mean"), ("ring", "the best mean")])


def _along(name: str, values: list, runs: pandas.DataFrame, score: Monitor) -> Panel:
    """Every run a dot, at the foot where it failed; a line of means, the best ringed. Numbers lie
    to scale, other values at equal distances."""
    settings = ranking.ranked(runs, [name], score)[1].dropna(subset="mean")
    numeric = all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
    places = dict(zip(values, values if numeric else range(len(values)), strict=True))
    known = runs["value"].dropna()
    foot = known.min() - 0.1 * (known.max() - known.min()) if len(known) else 0.0
    dots = []
    for _, run in runs.iterrows():
        fine = np.isfinite(run["value"])
        said = f"run {run['run']}, {ranking.shown(run[name])}: " + (
            f"{run['value']:.4g}" if fine else run["status"])
        dots.append(Dot(places[run[name]], run["value"] if fine else foot, said,
                        style=DOTS[run["became"]][0]))
    line, title = [], score.words
    if len(settings):
        best = settings.iloc[0]
        line = [Line("mean", "accent", sorted(
            zip(settings[name].map(places), settings["mean"], strict=True)))]
        dots.append(Dot(places[best[name]], best["mean"], "the best mean", 7, "ring"))
        title += f": {best['mean']:.4g} at {ranking.shown(best[name])}"
    ticks: list[tuple[Any, str]] = []
    if not numeric or len(values) <= TICKS:
        length = 14 if numeric else max(5, 42 // len(values))  # that leaves room for each
        ticks = [(places[v], shortened(ranking.shown(v), length)) for v in values]
    log = numeric and min(values) > 0 and max(values) > LOG_SPAN * min(values)
    return charts.panel(title, line, name, dots, named=ticks, log=log)


def drawn(
    axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Monitor
) -> list[Picture]:
    """What these axes call for."""
    found = [Picture("curves.png", "By epoch", chart=curves(axes, runs, histories, score))]
    if over := plane(axes, runs):
        chart = heatmap(over, axes, runs, score)
        found.append(Picture("heatmap.png", "Over the grid", chart=chart))
    if axes:
        found.append(Picture("axis.png", "Along every axis", chart=along(axes, runs, score)))
    return found
