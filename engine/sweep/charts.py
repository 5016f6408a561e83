"""The plots of a population as charts of its page: what plots.py draws as PNG."""

from numbers import Real
from typing import Any

import numpy as np
import pandas

from engine.report import charts
from engine.report.charts import Dot, Line, Panel, Panels
from engine.report.matrix import Matrix, matrix, shortened
from engine.sweep import plots, ranking
from engine.sweep.plots import Axes, Histories
from engine.sweep.ranking import Score

WIDE = 56  # of a cell that tells its score
STYLES = {"done": "faint", "stopped": "soft", "dropped": "hollow"}


def _line(frame: pandas.DataFrame, column: str, name: str, style: str, share: float) -> Line:
    """Its median by epoch, and the band that `share` of the values lie in."""
    told = plots.middle(frame, column, share)
    band = told[["low", "high"]].itertuples(name=None) if (told["low"] < told["high"]).any() else ()
    return Line(name, style, [*told["median"].items()], [*band])


def curves(axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Score) -> Panels:
    """Loss and score by epoch; see plots.curves."""
    told = plots.by_epoch(axes, runs, histories, score)
    panels = []
    for name in dict.fromkeys(("loss", score.metric)):
        lines = [(name, told.epochs, "training", "soft"),
                 (f"val_{name}", told.epochs, "validation", "accent")]
        if told.many:
            lines = [(f"val_{name}", told.epochs[told.epochs["place"] == at], label, f"c{at}")
                     for at, label in enumerate(told.best)]
        panels.append(charts.panel(
            ("validation " * told.many + name).replace("_", " ")
            + f", median and {told.band}" * told.several,
            [_line(frame, column, label, style, told.share)
             for column, frame, label, style in lines if len(frame)], "epoch", whole=True))
    legend = [(f"c{at}", label) for at, label in enumerate(told.best)] if told.many else \
        [("soft", "training"), ("accent", "validation")]
    return Panels(panels, legend)


def heatmap(over: Axes, axes: Axes, runs: pandas.DataFrame, score: Score) -> Matrix:
    """Each cell's mean over two axes; see plots.heatmap."""
    (down, rising), (across, level) = plots.sides(over)
    cells = ranking.ranked(runs, over, score)[1]
    means = cells.pivot(index=down, columns=across, values="mean").loc[rising, level]
    there = cells.pivot(index=down, columns=across, values="counted").loc[rising, level].notna()
    values, sign = means.to_numpy(float), 1 if score.higher else -1
    low, high = np.nanquantile(sign * values, [0.5, 1]) if np.isfinite(values).any() else (0, 0)
    shade = 0.1 + 0.6 * np.clip((sign * values - low) / (high - low or 1), 0, 1)

    def text(r: int, c: int) -> str:
        form = ".3f" if abs(high) < 10 else ".4g"
        return f"{values[r, c]:{form}}" if np.isfinite(values[r, c]) else "×"

    rows, columns = ([ranking.shown(v) for v in side] for side in (rising, level))
    few = max(len(rows), len(columns)) <= 20
    lost = " × diverged or was refused." * bool((there.to_numpy() & ~np.isfinite(values)).any())
    mean = ", the mean" * bool(cells["counted"].max() > 1)
    return matrix(
        np.where(there, np.nan_to_num(shade, nan=0.02), 0), text,
        lambda r, c: f"{down} {rows[r]}, {across} {columns[c]}: {text(r, c)}",
        rows, columns, down, across, wide=WIDE if few else 0,
        best=plots.outlined(over, axes, runs, score),
        note=f"{score.words}{mean}; the best setting is outlined.{lost}".capitalize())


def along(axes: Axes, runs: pandas.DataFrame, score: Score) -> Panels:
    """The score along every axis; see plots.along."""
    runs, _ = ranking.ranked(runs, ["run"], score)
    runs = runs.assign(number=runs["run"])
    lost, dropped = runs["value"].isna().any(), runs["status"].eq("dropped").any()
    more = [("hollow", "a run, dropped")] * bool(dropped)
    more += [("soft", "a run that diverged or was refused, at the foot")] * bool(lost)
    return Panels([_along(name, values, runs, score) for name, values in axes.items()],
                  [("faint", "a run"), *more, ("accent", "mean"), ("c1", "the best mean")])


def _along(name: str, values: list, runs: pandas.DataFrame, score: Score) -> Panel:
    settings = ranking.ranked(runs, [name], score)[1].dropna(subset="mean")
    numeric = all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
    places = dict(zip(values, values if numeric else range(len(values)), strict=True))
    known = runs["value"].dropna()
    foot = known.min() - 0.1 * (known.max() - known.min()) if len(known) else 0.0
    dots = []
    for _, run in runs.iterrows():
        fine = np.isfinite(run["value"])
        said = f"run {run['number']}, {ranking.shown(run[name])}: " + (
            f"{run['value']:.4g}" if fine else run["status"])
        dots.append(Dot(places[run[name]], run["value"] if fine else foot, said, 3.5,
                        STYLES.get(run["status"], "soft") if fine else "soft"))
    line, title = [], name
    if len(settings):
        best = settings.iloc[0]
        line = [Line("mean", "accent", sorted(
            zip(settings[name].map(places), settings["mean"], strict=True)))]
        dots.append(Dot(places[best[name]], best["mean"], "the best mean", 7, "ring"))
        title = f"{name}: {best['mean']:.4g} at {ranking.shown(best[name])}"
    ticks: list[tuple[Any, str]] = []
    if not numeric or len(values) <= plots.TICKS:
        ticks = [(places[v], shortened(ranking.shown(v), 14)) for v in values]
    log = numeric and min(values) > 0 and max(values) > plots.LOG_SPAN * min(values)
    return charts.panel(title, line, name, dots, named=ticks, log=log)


def drawn(axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Score
          ) -> dict[str, Panels | Matrix]:
    """A chart for each of plots.pictures, by the same names."""
    found: dict[str, Panels | Matrix] = {"curves.png": curves(axes, runs, histories, score)}
    if over := plots.plane(axes, runs):
        found["heatmap.png"] = heatmap(over, axes, runs, score)
    if axes:
        found["axis.png"] = along(axes, runs, score)
    return found
