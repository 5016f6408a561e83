"""Plots of a population as PNG, of a frame of runs; settings and their order are `ranking`'s."""

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas

from engine.report.pictures import TRAINING, VALIDATION, dress, figure, plain, png
from engine.sweep import ranking
from engine.sweep.ranking import Score

Axes = dict[str, list]  # each swept field's distinct values
Histories = dict[int, list[dict[str, Any]]]  # each run's epochs

COLOURED_SETTINGS = 6  # the best ones; more colours couldn't be told apart
QUARTILES_FROM = 5  # members; fewer have no quartiles worth the name
LOG_SPAN = 20  # values further apart than this factor go on a logarithmic scale
GRID_SIDE = 40
COUNTED_CELLS = 100  # above this, numbers in the heat map can't be read
TICKS = 8
GREY, DARK = "#9ca3af", "#1c1f24"
# Of falling brightness, as the eye has it, from worse to better; none is white.
COLOURS = ["#a5cd90", "#6db290", "#44948f", "#24768b", "#215588", "#2c3172"]


def _label(value: Any, length: int = 24) -> str:
    return plain(ranking.shown(value, length))


def _legend(drawn, panel) -> None:
    """One legend below the panels, in as many columns as the longest label leaves room for."""
    handles, labels = panel.get_legend_handles_labels()
    room, longest = 13 * drawn.get_figwidth(), max(map(len, labels), default=0)  # characters
    across = max(1, min(len(labels), int(room / (longest + 8))))
    drawn.set_figheight(drawn.get_figheight() + 0.2 * math.ceil(len(labels) / across))
    drawn.legend(handles, labels, ncols=across, loc="outside lower center", frameon=False)


class ByEpoch(NamedTuple):
    """Rows of the runs that speak for their setting, an epoch each, with its `place`; the `best`
    settings' names; whether there are `many` of them, and `several` runs in one; the `band` that
    holds a `share` of them."""

    epochs: pandas.DataFrame
    best: list[str]
    many: bool
    several: bool
    band: str
    share: float


def by_epoch(axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Score) -> ByEpoch:
    """What the curves are of."""
    runs, settings = ranking.ranked(runs, axes, score)
    speaking = runs[runs["value"].notna()]
    epochs = pandas.DataFrame([
        epoch | {"place": place}
        for run, place in zip(speaking["run"], speaking["place"], strict=True)
        for epoch in histories.get(run, [])
    ], columns=[*dict.fromkeys(("epoch", "place", "loss", "val_loss", score.metric, score.name))])
    most = int(settings["counted"].max())
    band, share = ("quartiles", 0.5) if most >= QUARTILES_FROM else ("range", 1.0)
    best = [ranking.in_words(axes, setting)
            for _, setting in settings[:COLOURED_SETTINGS].iterrows()]
    return ByEpoch(epochs, best, len(settings) > 1, most > 1, band, share)


def middle(frame: pandas.DataFrame, column: str, share: float) -> pandas.DataFrame:
    """By epoch the `median`, and the ends `low` and `high` of what `share` of the values lie in."""
    values = frame[column].astype(float).groupby(frame["epoch"])
    ends = {"low": 0.5 - share / 2, "median": 0.5, "high": 0.5 + share / 2}
    return pandas.DataFrame({name: values.quantile(at) for name, at in ends.items()})


def curves(axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Score) -> bytes:
    """Loss and score by epoch, of the runs that speak for their setting: a median line and a band.
    Of one setting both training and validation; of many the best ones' validation."""
    epochs, best, many, several, band, share = by_epoch(axes, runs, histories, score)
    drawn = figure(9, 3.3)
    names = list(dict.fromkeys(("loss", score.metric)))
    for panel, name in zip(drawn.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        lines = [(name, epochs, "training", TRAINING),
                 (f"val_{name}", epochs, "validation", VALIDATION)]
        if many:
            lines = [(f"val_{name}", epochs[epochs["place"] == at], label, f"C{at}")
                     for at, label in enumerate(_label(words, 90) for words in best)]
        for column, frame, label, colour in lines:
            if len(frame):
                told = middle(frame, column, share)
                panel.fill_between(told.index, told["low"], told["high"], color=colour, alpha=0.2,
                                   lw=0)
                panel.plot(told["median"], "o--" if column == name else "o-", c=colour, ms=3.5,
                           label=label)
        panel.locator_params(axis="x", integer=True)
        title = "validation " * many + name + f", median and {band}" * several
        dress(panel, xlabel="epoch", ylabel="", title=plain(title))
    _legend(drawn, panel)
    return png(drawn)


def sides(axes: Axes) -> list[tuple[str, list]]:
    """Down and across: cells are wider than high, so the longer axis goes down."""
    return sorted(axes.items(), key=lambda item: -len(item[1]))


def outlined(
    over: Axes, axes: Axes, runs: pandas.DataFrame, score: Score
) -> tuple[range, range] | None:
    """Of the cells `over` two axes those of the best setting of the sweep's own `axes`, down and
    across: all of its seeds. None where no run speaks."""
    first = ranking.ranked(runs, axes, score)[1].iloc[0]

    def found(name: str, values: list) -> range:
        if name not in axes:
            return range(len(values))
        return range(at := values.index(first[name]), at + 1)

    down, across = sides(over)
    return (found(*down), found(*across)) if first["counted"] else None


def heatmap(over: Axes, axes: Axes, runs: pandas.DataFrame, score: Score) -> bytes:
    """Each cell's mean score over two axes, a cross in those that failed; `outlined`."""
    (down, rising), (across, level) = sides(over)
    _, cells = ranking.ranked(runs, over, score)
    means = cells.pivot(index=down, columns=across, values="mean").loc[rising, level]
    corners = np.stack([cells[across].map(level.index), cells[down].map(rising.index)], axis=1)
    failed = cells["mean"].isna()
    few = means.size <= COUNTED_CELLS
    width, height = (0.75, 0.36) if few else (0.25, 0.22)  # inches
    drawn = figure(3 + max(4, width * len(level)), 1.4 + max(2, height * len(rising)))
    from matplotlib.colors import LinearSegmentedColormap

    # From the middle cell to the best: bad ones must not leave the good ones all in one colour.
    low, high = cells["mean"].quantile([0.5, 1.0] if score.higher else [0.0, 0.5]).fillna(0)
    panel = drawn.subplots()
    panel.set_facecolor("#eef0f3")
    colours = LinearSegmentedColormap.from_list("scores", COLOURS[:: 1 if score.higher else -1])
    cells_RxC = panel.pcolormesh(np.ma.masked_invalid(means), cmap=colours, vmin=low, vmax=high,
                                 edgecolors="white", lw=0.5)
    if not failed.all():
        drawn.colorbar(cells_RxC, ax=panel)
    for (row, column), mean in np.ndenumerate(means) if few else ():
        light = cells_RxC.to_rgba(mean)[1] > 0.5  # green is most of what is seen as bright
        text = f"{mean:{'.3f' if high < 10 else '.4g'}}" if np.isfinite(mean) else ""
        panel.text(column + 0.5, row + 0.5, text, size=9, c=DARK if light else "white",
                   ha="center", va="center")
    panel.set_xticks(np.arange(len(level)) + 0.5, [*map(_label, level)])
    panel.set_yticks(np.arange(len(rising)) + 0.5, [*map(_label, rising)])
    panel.invert_yaxis()
    panel.scatter(*(corners[failed] + 0.5).T, marker="x", s=20, c=DARK, lw=1)
    if best := outlined(over, axes, runs, score):
        (top, bottom), (left, right) = ((side.start, side.stop) for side in best)
        panel.plot([left, right, right, left, left], [top, top, bottom, bottom, top],
                   c=VALIDATION, lw=2.5, clip_on=False)
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", rotation=0)
    title = plain(score.words) + " (mean)" * bool(cells["counted"].max() > 1)
    title += ", best setting outlined" + "; × diverged or refused" * any(failed)
    panel.set_title(title, fontsize=10)
    panel.set(xlabel=_label(across), ylabel=_label(down))
    return png(drawn)


def _along(panel, name: str, values: list, runs: pandas.DataFrame, score: Score) -> None:
    """Every run a dot, or a cross at the foot where it failed; a line of means, the best ringed.
    Numbers lie to scale, other values at equal distances."""
    settings = ranking.ranked(runs, [name], score)[1].dropna(subset="mean")
    numeric = all(isinstance(v, Real) and not isinstance(v, bool) for v in values)
    places = dict(zip(values, values if numeric else range(len(values)), strict=True))
    for status, face in (("done", TRAINING), ("stopped", GREY), ("dropped", "white")):
        dots = runs[runs["status"].eq(status) & runs["value"].notna()]
        if len(dots):
            panel.scatter(dots[name].map(places), dots["value"], s=24, facecolors=face, lw=0.8,
                          edgecolors=TRAINING, alpha=0.7, zorder=3, label=f"a run, {status}")
    failed = runs[runs["value"].isna()]
    if len(failed):
        panel.plot(failed[name].map(places), [0.035] * len(failed), "x", c=GREY, ms=6, mew=1.4,
                   transform=panel.get_xaxis_transform(), label="a run, diverged or refused")
    if len(settings):
        best, line = settings.iloc[0], settings["mean"].set_axis(settings[name].map(places))
        panel.plot(line.sort_index(), c=TRAINING, lw=1.2, alpha=0.7, label="mean")
        panel.scatter([places[best[name]]], [best["mean"]], s=110, facecolors="none",
                      edgecolors=VALIDATION, lw=2, zorder=5, label="the best mean")
        panel.set_title(f"{best['mean']:.4g} at {_label(best[name])}", fontsize=10)
    if numeric and min(values) > 0 and max(values) > LOG_SPAN * min(values):
        panel.set_xscale("log")
    if len(values) <= TICKS or not numeric:
        panel.set_xticks([*places.values()], [_label(value) for value in values])
        panel.minorticks_off()
    dress(panel, xlabel=_label(name), ylabel=plain(score.words))


def along(axes: Axes, runs: pandas.DataFrame, score: Score) -> bytes:
    """The score along every axis, a panel each."""
    runs, _ = ranking.ranked(runs, ["run"], score)  # each speaks for itself
    drawn = figure(9, 3.4 * len(axes))
    panels = drawn.subplots(len(axes), squeeze=False)[:, 0]
    for panel, (name, values) in zip(panels, axes.items(), strict=True):
        panel.margins(x=0.06, y=0.14)
        _along(panel, name, values, runs, score)
    _legend(drawn, panel)
    return png(drawn)


def plane(axes: Axes, runs: pandas.DataFrame) -> Axes:
    """The two axes of a heat map, or one and the seeds, where it is mostly filled and not too long;
    else {}."""
    seeds = runs["seed"].unique().tolist()
    found = axes | {"seed": seeds} if len(axes) == 1 and len(seeds) > 1 else axes
    lengths = [len(values) for values in found.values()]
    filled = len(runs[[*found]].drop_duplicates()) > 0.5 * math.prod(lengths)
    return found if len(found) == 2 and max(lengths) <= GRID_SIDE and filled else {}


def pictures(
    axes: Axes, runs: pandas.DataFrame, histories: Histories, score: Score
) -> dict[str, bytes]:
    """The PNGs that these axes call for, by file name."""
    drawn = {"curves.png": curves(axes, runs, histories, score)}
    if over := plane(axes, runs):
        drawn["heatmap.png"] = heatmap(over, axes, runs, score)
    if axes:
        drawn["axis.png"] = along(axes, runs, score)
    return drawn
