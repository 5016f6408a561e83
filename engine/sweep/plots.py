"""Plots of a population as PNG. Rows, settings and their order are those of `ranking`."""

import math
from numbers import Real
from typing import Any

import numpy as np

from engine.report.pictures import TRAINING, VALIDATION, dress, figure, plain, png
from engine.sweep import ranking
from engine.sweep.ranking import Axes, Rows, Score

Histories = dict[int, list[dict[str, Any]]]

COLOURED_SETTINGS = 6  # the best ones; more colours couldn't be told apart
QUARTILES_FROM = 5  # members; fewer have no quartiles worth the name
LOG_SPAN = 20  # values further apart than this factor go on a logarithmic scale
GRID_SIDE = 40
COUNTED_CELLS = 100  # above this, numbers in the heat map can't be read
TICKS = 8
GREY, DARK = "#9ca3af", "#1c1f24"
COLOURS = {True: "crest", False: "crest_r"}  # by Score.higher: never white, dark at the better end


def _label(value: Any, length: int = 24) -> str:
    return plain(ranking.shown(value, length))


def _numeric(values: list) -> bool:
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _scale(values: list[float], higher: bool) -> tuple[float, float]:
    """The lowest and highest score with a colour of their own.

    Bad runs must not leave the good ones all in one colour, so none counts that is further from the
    best than four times the median is.
    """
    best = max(values) if higher else min(values)
    reach = 4 * abs(best - np.median(values))
    near = [value for value in values if abs(value - best) <= reach]
    return min(near), max(near)


def _legend(drawn, handles: list, labels: list[str]) -> None:
    """One legend below the panels, in as many columns as the longest label leaves room for."""
    room, longest = 13 * drawn.get_figwidth(), max(map(len, labels), default=0)  # characters
    across = max(1, min(len(labels), int(room / (longest + 8))))
    drawn.set_figheight(drawn.get_figheight() + 0.2 * math.ceil(len(labels) / across))
    drawn.legend(handles, labels, ncols=across, loc="outside lower center", frameon=False)


def _epochs(settings: list[Rows], histories: Histories, score: Score):
    """A frame: each run's epochs with their metrics, NaN where not finite, its setting's place."""
    import pandas

    lines = [{**epoch, "place": place} for place, members in enumerate(settings)
             for row in members for epoch in histories.get(row["run"], [])]
    names = [key for name in {"loss", score.metric} for key in (name, f"val_{name}")]
    frame = pandas.DataFrame(lines, columns=["epoch", "place", *names])
    frame[names] = frame[names].astype(float).replace([math.inf, -math.inf], math.nan)
    return frame


def _by_epoch(panel, epochs, name: str, higher: bool, labels: list[str], share: int) -> None:
    """Medians, and a band of so many per cent of the runs. Without `labels` training and
    validation; else validation, the settings with a label in colour and the others in grey.
    """
    import seaborn

    key = f"val_{name}"
    lines = [(epochs[epochs.place == place], key, label) for place, label in enumerate(labels)] \
        or [(epochs, name, "training"), (epochs, key, "validation")]
    palette = seaborn.color_palette("deep", len(labels)) if labels else [TRAINING, VALIDATION]
    for order, ((frame, column, label), colour) in enumerate(zip(lines, palette, strict=True)):
        seaborn.lineplot(
            frame, x="epoch", y=column, ax=panel, estimator="median", errorbar=("pi", share),
            err_kws={"alpha": 0.2, "lw": 0}, marker="o", ms=3.5, mew=0, color=colour, label=label,
            ls="--" if column == name else "-", zorder=3 - order / 100, legend=False,
        )
    others = epochs[epochs.place >= max(1, len(labels))]
    others = others.groupby(["epoch", "place"])[key].median().unstack()
    if not higher:
        panel.set_ylim(panel.get_ylim())  # or a bad loss among the others would flatten the best
    if count := others.shape[1]:
        panel.plot(others.index, others, ".-", c=GREY, lw=0.7, ms=1.5, alpha=min(0.6, 25 / count),
                   label=[f"{count} other settings", *["_"] * (count - 1)])


def curves(axes: Axes, rows: Rows, histories: Histories, score: Score) -> bytes:
    """Loss and score by epoch as PNG: a median line and a band for each setting.

    Of one setting both training and validation; of many only validation, the best ones coloured.
    Runs that don't speak for their setting, the diverged ones among them, are left out.
    """
    groups = ranking.groups(axes, rows).values()
    ranked = sorted(groups, key=lambda members: ranking.key(members, score))
    settings = [found for members in ranked if (found := ranking.counted(members, score))]
    most = max(map(len, settings), default=0)
    band, share = ("quartiles", 50) if most >= QUARTILES_FROM else ("range", 100)
    best = settings[:COLOURED_SETTINGS] if len(groups) > 1 else []
    labels = [_label(ranking.in_words(axes, members[0]), 90) for members in best]
    epochs = _epochs(settings, histories, score)
    names = list(dict.fromkeys(("loss", score.metric)))
    drawn = figure(9, 3.3)
    for panel, name in zip(drawn.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        if epochs.empty:
            panel.text(0.5, 0.5, "no epochs to draw", ha="center", transform=panel.transAxes)
        else:
            _by_epoch(panel, epochs, name, name != "loss" and score.higher, labels, share)
        panel.locator_params(axis="x", integer=True)
        title = "validation " * bool(best) + name + f", median and {band}" * (most > 1)
        dress(panel, xlabel="epoch", ylabel="", title=plain(title))
    _legend(drawn, *panel.get_legend_handles_labels())
    return png(drawn)


def heatmap(axes: Axes, rows: Rows, score: Score) -> bytes:
    """Each cell's median score of a grid over two axes as PNG, the best outlined, a cross in those
    that failed.
    """
    # Cells are wider than high, so the longer axis goes down.
    (down, rising), (across, level) = sorted(axes.items(), key=lambda item: -len(item[1]))
    cells = {(rising.index(a), level.index(b)): members
             for (a, b), members in ranking.groups((down, across), rows).items()}
    medians = np.full((len(rising), len(level)), np.nan)
    for cell, members in cells.items():
        medians[cell] = ranking.median(members, score)
    finite = medians[np.isfinite(medians)].tolist()
    low, high = _scale(finite or [0.0, 1.0], score.higher)
    names = [[_label(value) for value in values] for values in (rising, level)]
    few = medians.size <= COUNTED_CELLS
    width, height = (0.75, 0.36) if few else (0.25, 0.22)  # inches
    drawn = figure(1.4 + 0.08 * max(map(len, names[0])) + max(4, width * len(level)),
                   1.4 + max(2, height * len(rising)))
    import seaborn

    panel = drawn.subplots()
    panel.set_facecolor("#eef0f3")
    seaborn.heatmap(
        medians, ax=panel, cmap=COLOURS[score.higher], vmin=low, vmax=high, linewidths=0.5,
        annot=few, fmt=".3f" if high < 10 else ".4g", annot_kws={"size": 9}, cbar=bool(finite),
        xticklabels=names[1], yticklabels=names[0],
    )
    failed = np.array([cell for cell in cells if np.isnan(medians[cell])]).reshape(-1, 2) + 0.5
    panel.scatter(failed[:, 1], failed[:, 0], marker="x", s=20, c=DARK, lw=1)
    if finite:
        y, x = min(cells, key=lambda cell: ranking.key(cells[cell], score))
        panel.plot([x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], c=VALIDATION, lw=2.5,
                   clip_on=False)
    panel.tick_params(labelsize=8)
    panel.tick_params(axis="y", rotation=0)
    lost = f"; × {ranking.failures(rows, score)}" if len(failed) else ""
    panel.set_title(f"{plain(score.words)} (median), best outlined{lost}", fontsize=10)
    panel.set(xlabel=_label(across), ylabel=_label(down))
    return png(drawn)


def axis(axes: Axes, rows: Rows, score: Score) -> bytes:
    """Score against the one numeric axis as PNG: every run a dot, or a cross at the foot where it
    failed, and a line of medians.
    """
    ((name, values),) = axes.items()
    drawn = figure(9, 3.6)
    panel = drawn.subplots()
    panel.margins(x=0.06, y=0.14)
    if min(values) > 0 and max(values) > LOG_SPAN * min(values):
        panel.set_xscale("log")
    for status, face in (("done", TRAINING), ("dropped", "white")):
        dots = [row for row in rows if row["status"] == status and ranking.counted([row], score)]
        if dots:
            panel.scatter([row[name] for row in dots], [row[score.name] for row in dots], s=24,
                          facecolors=face, edgecolors=TRAINING, lw=0.8, alpha=0.7, zorder=3,
                          label=f"a run, {status}")
    failed = [row[name] for row in rows if not ranking.counted([row], score)]
    if failed:
        panel.plot(failed, [0.035] * len(failed), "x", c=GREY, ms=6, mew=1.4,
                   transform=panel.get_xaxis_transform(),
                   label=f"a run, {ranking.failures(rows, score)}")
    groups = {value: members for (value,), members in ranking.groups(axes, rows).items()
              if ranking.counted(members, score)}
    if groups:
        medians = {value: ranking.median(groups[value], score) for value in sorted(groups)}
        best = min(groups, key=lambda value: ranking.key(groups[value], score))
        panel.plot(medians.keys(), medians.values(), c=TRAINING, lw=1.2, alpha=0.7, label="median")
        panel.scatter([best], [medians[best]], s=110, facecolors="none", edgecolors=VALIDATION,
                      lw=2, zorder=5, label=f"best: {medians[best]:.4g} at {ranking.shown(best)}")
    if len(values) <= TICKS:
        panel.set_xticks(values, [_label(value) for value in values])
        panel.minorticks_off()
    dress(panel, xlabel=_label(name), ylabel=plain(score.words))
    _legend(drawn, *panel.get_legend_handles_labels())
    return png(drawn)


def parallel(axes: Axes, rows: Rows, score: Score) -> bytes:
    """Parallel coordinates as PNG: a line a run through its values, ending at its score."""
    drawn = figure(1.5 + max(5.5, 1.75 * len(axes)), 4.2)
    import seaborn
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    panel = drawn.subplots()
    # Values at equal distances, numbers in their order.
    ordered = {name: sorted(v) if _numeric(v) else v for name, v in axes.items()}
    for x, (name, values) in enumerate(ordered.items()):
        panel.plot([x, x], [0, 1], c=DARK, lw=1, zorder=4)
        panel.text(x, 1.05, _label(name, 20), ha="center", va="bottom", weight="bold")
        for i in range(0, len(values), math.ceil(len(values) / TICKS)):
            panel.text(x - 0.03, i / max(1, len(values) - 1), _label(values[i], 16), ha="right",
                       va="center", zorder=5, bbox={"fc": "white", "ec": "none", "pad": 1})
    scores = [row[score.name] for row in rows if ranking.counted([row], score)]
    scale = Normalize(*_scale(scores or [0.0, 1.0], score.higher), clip=True)
    colours = seaborn.color_palette(COLOURS[score.higher], as_cmap=True)
    entries: dict[str, Any] = {}
    ranked = sorted(rows, key=lambda row: ranking.key([row], score))
    for row in reversed(ranked):  # the best on top
        heights = [ordered[name].index(row[name]) / max(1, len(axes[name]) - 1) for name in axes]
        label, style = row["status"], {"c": GREY, "lw": 1, "ls": ":"}
        if ranking.counted([row], score):
            heights.append(scale(row[score.name]))
            style = {"c": colours(heights[-1]), "lw": 4 if row is ranked[0] else 1.3}
            if row is ranked[0]:
                label = f"best: run {row['run']}, {row[score.name]:.4g}"
        (entries[label],) = panel.plot(heights, **style)
    panel.set(xlim=(-0.05, len(axes)), ylim=(0, 1))
    panel.axis("off")
    if scores:
        drawn.colorbar(ScalarMappable(scale, colours), ax=panel, pad=0, label=plain(score.words))
    _legend(drawn, list(reversed(entries.values())), list(reversed(entries)))
    return png(drawn)


def pictures(axes: Axes, rows: Rows, histories: Histories, score: Score) -> dict[str, bytes]:
    """The PNGs that these axes call for, by file name."""
    drawn = {"curves.png": curves(axes, rows, histories, score)}
    # A heat map of two axes, or one and the seeds, if it is mostly filled and not too long.
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    plane = axes | {"seed": seeds} if len(axes) == 1 and len(seeds) > 1 else axes
    sides = [len(values) for values in plane.values()]
    filled = len(ranking.groups(plane, rows)) > 0.5 * math.prod(sides)
    if len(plane) == 2 and max(sides) <= GRID_SIDE and filled:
        drawn["heatmap.png"] = heatmap(plane, rows, score)
    elif len(axes) > 1:
        drawn["parallel.png"] = parallel(axes, rows, score)
    if len(axes) == 1 and any(map(_numeric, axes.values())):
        drawn["axis.png"] = axis(axes, rows, score)
    return drawn
