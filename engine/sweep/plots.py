"""Plots of a population as PNG. Rows, settings and their order are those of `ranking`."""

import itertools
import math
import textwrap
from numbers import Real
from typing import Any

import numpy as np

from engine.report import run as report
from engine.sweep import ranking
from engine.sweep.ranking import Axes, Rows

Histories = dict[int, list[dict[str, Any]]]

COLOURED_SETTINGS = 8  # above this, colours can't be told apart, and only the best have one
BEST_SETTINGS = 5
QUARTILES_FROM = 5  # members; fewer have no quartiles worth the name
LOG_SPAN = 20  # values further apart than this factor go on a logarithmic scale
GRID_SIDE = 40
COUNTED_CELLS = 100  # above this, numbers in the heat map can't be read
TICKS = 8
GREY, DARK = "#9ca3af", "#1c1f24"
COLOURS = "crest"  # not white at its low end, and dark at its high end


def _label(value: Any, length: int = 24) -> str:
    return report.plain(ranking.shown(value, length))


def _numeric(values: list) -> bool:
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _logarithmic(values: list[float]) -> bool:
    return min(values) > 0 and max(values) > LOG_SPAN * min(values)


def _round_numbers(low: float, high: float, logarithmic: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if not logarithmic:
        return [float(x) for x in MaxNLocator(5).tick_values(low, high) if low <= x <= high]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        numbers = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [x for x in numbers if low <= x <= high]
        if len(ticks) <= TICKS:
            break
    return ticks


def _ticks(values: list[float]) -> list[float]:
    """The values themselves where they are few and apart, else round numbers between them."""
    logarithmic = _logarithmic(values)
    places = np.sort(np.log(values) if logarithmic else np.array(values, float))
    if len(values) <= TICKS and np.all(np.diff(places) >= 0.07 * np.ptp(places)):
        return sorted(values)
    return _round_numbers(min(values), max(values), logarithmic)


def _scale(values: list[float]) -> tuple[float, float]:
    """The lowest and highest accuracy with a colour of their own; (0, 1) of no values.

    A few bad runs must not leave the good ones all in one colour, so the range below the median is
    at most three times the range above it.
    """
    if not values:
        return 0.0, 1.0
    high = max(values)
    low = max(min(values), high - 4 * (high - float(np.median(values))))
    return (low, high) if low < high else (low - 0.005, high + 0.005)


def _spread(values: list[float]) -> np.ndarray:
    """A band's low edge, the median, and the band's high edge [3]."""
    edge = 25 if len(values) >= QUARTILES_FROM else 0
    return np.percentile(values, [edge, 50, 100 - edge])


def _band_meaning(sizes: set[int]) -> str:
    """What a band is, by the member counts of the settings drawn; nothing where none has one."""
    kinds = {size >= QUARTILES_FROM for size in sizes if size > 1}
    if len(kinds) == 2:
        return f"quartiles; lowest to highest of fewer than {QUARTILES_FROM} runs"
    return {True: "quartiles", False: "lowest to highest"}[kinds.pop()] if kinds else ""


def _curve(panel, members: Rows, histories: Histories, key: str, band: bool = False, **style):
    """The median of the members' finite values by epoch, with its band if asked."""
    values: dict[int, list[float]] = {}
    for row in ranking.counted(members):
        for epoch in histories.get(row["run"], []):
            if ranking.finite(epoch[key]):
                values.setdefault(epoch["epoch"], []).append(epoch[key])
    epochs = sorted(values)
    spread_Ex3 = np.array([_spread(values[epoch]) for epoch in epochs]).reshape(-1, 3)
    # Where marks would crowd they are as wide as the line, and still show a run of one epoch.
    marks = {"marker": "o", "ms": 2.5 if len(epochs) <= 40 else 1.5}
    (line,) = panel.plot(epochs, spread_Ex3[:, 1], **marks | style)
    if band:
        panel.fill_between(
            epochs, spread_Ex3[:, 0], spread_Ex3[:, 2], color=line.get_color(), alpha=0.22, lw=0
        )
    return line


def _dress(panel, **labels) -> None:
    panel.set(**labels)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(figure, handles: list[tuple[str, Any]]) -> None:
    """One legend below the panels: in a row if it fits, else in columns of the longest label."""
    room = int(13 * figure.get_figwidth())  # characters
    labels = [textwrap.fill(report.plain(label), room - 8) for label, _ in handles]
    widths = [len(label) + 8 for label in labels]
    columns = len(labels) if sum(widths) <= room else max(1, room // max(widths))
    lines = sum(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.2 * math.ceil(lines / max(1, columns)))
    figure.legend(
        [handle for _, handle in handles], labels, ncols=columns, loc="outside lower center",
        frameon=False, fontsize=9, scatteryoffsets=[0.5],
    )


def _one_setting(panel, name: str, members: Rows, histories: Histories) -> list[tuple[str, Any]]:
    """Draws training and validation, and returns the legend's entries."""
    count = len(ranking.counted(members))
    of = f", median of {count} runs" if count > 1 else ""
    training = _curve(panel, members, histories, name, c=report.TRAINING, ls="--")
    validation = _curve(panel, members, histories, f"val_{name}", True, c=report.VALIDATION)
    return [(f"training{of}", training), (f"validation{of}", validation)]


def _many_settings(
    panel, name: str, best: list[Rows], others: list[Rows], histories: Histories
) -> list[Any]:
    """Draws validation, the best in colour and the others in grey; a handle of each, one of all."""
    import seaborn

    key = f"val_{name}"
    palette = seaborn.color_palette("deep", len(best))
    handles = [
        _curve(panel, members, histories, key, True, c=palette[i], zorder=3 - i / len(best))
        for i, members in enumerate(best)
    ]
    if name == "loss":
        heights = [height for line in handles for height in line.get_ydata()]
        if heights and _logarithmic(heights):
            panel.set_yscale("log")
        panel.set_ylim(panel.get_ylim())  # or a bad loss among the others would flatten the best
    alpha = max(0.12, min(0.6, 25 / max(1, len(others))))
    greys = [
        _curve(panel, members, histories, key, c=GREY, lw=0.7, ms=0.7, alpha=alpha, zorder=1)
        for members in others
    ]
    return handles + greys[:1]


def curves(axes: Axes, rows: Rows, histories: Histories) -> bytes:
    """Loss and accuracy by epoch as PNG: a median line and a band for each setting.

    Of one setting both training and validation; of many only validation, the best ones coloured.
    Runs that don't speak for their setting, the diverged ones among them, are left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    groups = ranking.groups(axes, rows)
    ranked = sorted(filter(ranking.counted, groups.values()), key=ranking.key)
    best = ranked[: BEST_SETTINGS if len(ranked) > COLOURED_SETTINGS else COLOURED_SETTINGS]
    figure = Figure(figsize=(9, 3.3), layout="constrained")
    entries: list[tuple[str, Any]] = []
    for panel, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _dress(panel, xlabel="epoch", title=name if len(groups) == 1 else f"validation {name}")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if not best:
            panel.text(0.5, 0.5, "every run diverged", ha="center", transform=panel.transAxes)
            panel.set(xticks=[], yticks=[])
        elif len(groups) == 1:
            entries = _one_setting(panel, name, rows, histories)
        else:
            handles = _many_settings(panel, name, best, ranked[len(best) :], histories)
            labels = [ranking.in_words(axes, members[0]) for members in best]
            labels += [f"{len(ranked) - len(best)} other settings"] * (len(ranked) > len(best))
            entries = list(zip(labels, handles, strict=True))
    meaning = _band_meaning({len(ranking.counted(members)) for members in best})
    if meaning:
        entries.append((f"band: {meaning}", Patch(color=GREY, alpha=0.4, lw=0)))
    _legend(figure, entries)
    return report.png(figure)


def _cells(cells: dict[tuple, Rows], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Each cell's median accuracy, NaN without any, and the text of it [down, across]."""
    medians, texts = np.full(shape, np.nan), np.full(shape, "", dtype=object)
    for cell, members in cells.items():
        if counted := ranking.counted(members):
            medians[cell] = np.median(ranking.accuracies(members))
            texts[cell] = f"{medians[cell]:.3f}" + "*" * (counted[0]["status"] == "dropped")
    return medians, texts


def _mark_cells(panel, cells: dict[tuple, Rows], size: float) -> None:
    """A cross in the cells where no run speaks, and a frame around the best cell."""
    from matplotlib.patches import Rectangle

    failed = [cell for cell, members in cells.items() if not ranking.counted(members)]
    panel.scatter(
        [column + 0.5 for _, column in failed], [row + 0.5 for row, _ in failed], marker="x",
        s=size, c=DARK, lw=1,
    )
    if len(failed) < len(cells):
        row, column = min(cells, key=lambda cell: ranking.key(cells[cell]))
        panel.add_patch(
            Rectangle((column, row), 1, 1, fill=False, ec=report.VALIDATION, lw=2.5, clip_on=False)
        )


def _heatmap_title(cells: dict[tuple, Rows], texts: np.ndarray | None) -> str:
    several = max(map(len, cells.values())) > 1
    counted = [bool(ranking.counted(members)) for members in cells.values()]
    marks = {
        f"best {'median ' * several}outlined": any(counted),
        f"× {ranking.failures(sum(cells.values(), []))}": not all(counted),
        "* dropped early": texts is not None and any("*" in text for text in texts.flat),
    }
    notes = " · ".join(mark for mark, used in marks.items() if used)
    of = ", median of a cell's runs" if several else ""
    return f"validation accuracy{of}\n{notes}"


def heatmap(axes: Axes, rows: Rows) -> bytes:
    """Each cell's median accuracy of a grid over two axes as PNG, the best cell outlined."""
    import seaborn
    from matplotlib.figure import Figure

    # Cells are wider than high, so the longer axis goes down.
    down, across = sorted(axes, key=lambda name: -len(axes[name]))
    names = {axis: [_label(value) for value in axes[axis]] for axis in axes}
    shape = len(names[down]), len(names[across])
    cells = {
        (axes[down].index(values[0]), axes[across].index(values[1])): members
        for values, members in ranking.groups((down, across), rows).items()
    }
    medians, texts = _cells(cells, shape)
    few = medians.size <= COUNTED_CELLS
    cell_width, cell_height = (0.75, 0.36) if few else (0.23, 0.2)  # inches
    finite = medians[np.isfinite(medians)].tolist()
    low, high = _scale(finite)
    figure = Figure(
        figsize=(1.4 + 0.08 * max(map(len, names[down])) + max(4, cell_width * shape[1]),
                 1.4 + max(2, cell_height * shape[0])),
        layout="constrained",
    )
    panel = figure.subplots()
    panel.set_facecolor("#eef0f3")
    seaborn.heatmap(
        medians, ax=panel, cmap=COLOURS, vmin=low, vmax=high, linewidths=0.5,
        annot=texts if few else None, fmt="", annot_kws={"size": 9},
        xticklabels=names[across], yticklabels=names[down],
        cbar=bool(finite), cbar_kws={"extend": "min" if min(finite, default=low) < low else None},
    )
    _mark_cells(panel, cells, size=30 if few else 12)
    panel.set_title(_heatmap_title(cells, texts if few else None), fontsize=10)
    panel.set(xlabel=_label(across), ylabel=_label(down))
    upright = not few or max(map(len, names[across])) > 8
    panel.tick_params(axis="x", rotation=90 if upright else 0, labelsize=9 if few else 7)
    panel.tick_params(axis="y", rotation=0, labelsize=9 if few else 7)
    return report.png(figure)


def _mark_best(panel, value: float, members: Rows):
    """A ring around the best median, its height written above it or beside the setting's dots."""
    median = float(np.median(ranking.accuracies(members)))
    alone = len(ranking.counted(members)) == 1
    panel.annotate(
        f"{median:.4f}", (value, median), (0, 10) if alone else (11, 0),
        textcoords="offset points", ha="center" if alone else "left",
        va="bottom" if alone else "center", color=report.VALIDATION, weight="bold", zorder=4,
        bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1},
    )
    return panel.scatter(
        [value], [median], s=110, facecolors="none", edgecolors=report.VALIDATION, lw=2, zorder=5
    )


def _dots(panel, name: str, rows: Rows) -> list[tuple[str, Any]]:
    """A dot a run, a cross at the foot for one that failed; the legend's entries."""
    entries: list[tuple[str, Any]] = []
    for status, face in (("done", report.TRAINING), ("dropped", "white")):
        dots = [row for row in rows if row["status"] == status and ranking.counted([row])]
        if dots:
            handle = panel.scatter(
                [row[name] for row in dots], [row["val_accuracy"] for row in dots], s=24,
                facecolors=face, edgecolors=report.TRAINING, lw=0.8, alpha=0.7, zorder=3,
            )
            entries.append((f"a run, {status}", handle))
    failed = [row[name] for row in rows if not ranking.counted([row])]
    if failed:
        (crosses,) = panel.plot(
            failed, [0.035] * len(failed), "x", c=GREY, ms=6, mew=1.4,
            transform=panel.get_xaxis_transform(),
        )
        entries.append((f"a run, {ranking.failures(rows)}", crosses))
    return entries


def axis(axes: Axes, rows: Rows) -> bytes:
    """Accuracy against the one numeric axis as PNG: every run a dot, and a line of medians."""
    from matplotlib.figure import Figure

    ((name, values),) = axes.items()
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panel = figure.subplots()
    _dress(panel, xlabel=_label(name), ylabel="validation accuracy")
    panel.margins(x=0.06, y=0.14)
    if _logarithmic(values):
        panel.set_xscale("log")
    entries = _dots(panel, name, rows)
    groups = {
        value: members for (value,), members in ranking.groups(axes, rows).items()
        if ranking.counted(members)
    }
    if groups:
        places = sorted(groups)
        medians = [float(np.median(ranking.accuracies(groups[value]))) for value in places]
        (line,) = panel.plot(places, medians, c=report.TRAINING, lw=1.2, alpha=0.7)
        best = min(groups, key=lambda value: ranking.key(groups[value]))
        several = max(map(len, groups.values())) > 1
        ring = _mark_best(panel, best, groups[best])
        entries += [("median", line)] * several
        entries.append((f"best {'median' if several else 'run'}, at {ranking.shown(best)}", ring))
    else:
        panel.set_ylim(0, 1)
    ticks = _ticks(values)
    panel.set_xticks(ticks, [_label(tick) for tick in ticks])
    panel.minorticks_off()
    _legend(figure, entries)
    return report.png(figure)


def _upright(values: list) -> tuple[dict[Any, float], dict[float, str]]:
    """Of a vertical axis: each value's height between 0 and 1, and the ticks' heights and labels.

    Texts stand at equal distances in their order, numbers where they belong.
    """
    if not _numeric(values):
        last = len(values) - 1
        heights = {value: i / last if last else 0.5 for i, value in enumerate(values)}
        every = -(-len(values) // (2 * TICKS))
        return heights, {heights[value]: _label(value, 16) for value in values[::every]}
    ticks = _ticks(values)
    place = math.log if _logarithmic(values) else float
    low, high = place(min(values)), place(max(values))

    def height(value: float) -> float:
        return (place(value) - low) / (high - low) if high > low else 0.5

    return {x: height(x) for x in values}, {height(x): _label(x) for x in ticks}


def _eased(heights: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """A line through heights at 0, 1, 2, …, level at each, so that lines can be told apart."""
    share_T = np.linspace(0, 1, 30)
    rise_T = share_T**2 * (3 - 2 * share_T)
    return (
        np.concatenate([i + share_T for i in range(len(heights) - 1)]),
        np.concatenate([a + (b - a) * rise_T for a, b in itertools.pairwise(heights)]),
    )


def _ruler(panel, x: float, name: str, ticks: dict[float, str], side: int) -> None:
    """A vertical axis in words: its name above, its labels left (side -1) or right (1) of it."""
    panel.text(x, 1.07, _label(name, 20), ha="center", va="bottom", weight="bold", fontsize=10)
    for height, label in ticks.items():
        panel.text(
            x + 0.035 * side, height, label, ha="right" if side < 0 else "left", va="center",
            fontsize=9, zorder=5, bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 1},
        )


def _accuracy_ruler(panel, x: float, values: list[float]) -> None:
    """The last vertical axis: a strip of the colours, and the accuracies that they stand for."""
    low, high = _scale(values)
    panel.imshow(
        np.linspace(0, 1, 256)[:, None], extent=(x, x + 0.07, 0, 1), origin="lower", cmap=COLOURS,
        aspect="auto", zorder=4,
    )
    ticks = {(y - low) / (high - low): f"{y:.3g}" for y in _round_numbers(low, high, False)}
    if min(values) < low:
        ticks = {y: label for y, label in ticks.items() if y > 0.06} | {0: f"≤ {low:.3f}"}
    _ruler(panel, x + 0.07, "validation accuracy", ticks, 1)


def parallel(axes: Axes, rows: Rows) -> bytes:
    """Parallel coordinates as PNG: a line a run through its values, ending at its accuracy."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patheffects import Normal, Stroke

    figure = Figure(figsize=(1.5 + max(5.5, 1.75 * len(axes)), 4.2), layout="constrained")
    panel = figure.subplots()
    uprights = {name: _upright(values) for name, values in axes.items()}
    for x, (name, (_, ticks)) in enumerate(uprights.items()):
        panel.plot([x, x], [0, 1], c=DARK, lw=1, zorder=4)
        _ruler(panel, x, name, ticks, -1)
    finite = [row["val_accuracy"] for row in rows if ranking.counted([row])]
    low, high = _scale(finite)
    if finite:
        _accuracy_ruler(panel, len(axes), finite)
    entries: dict[str, Any] = {}
    ranked = sorted(rows, key=lambda row: ranking.key([row]))
    for row in reversed(ranked):  # the best on top
        heights = [uprights[name][0][row[name]] for name in axes]
        label = row["status"]
        style: dict[str, Any] = {"c": GREY, "lw": 1, "ls": ":"}
        if ranking.counted([row]):
            heights.append(float(np.clip((row["val_accuracy"] - low) / (high - low), 0, 1)))
            colour = matplotlib.colormaps[COLOURS](heights[-1])
            style = {"c": colour, "lw": 0.7 if label == "dropped" else 1.5, "alpha": 0.8}
        if row is ranked[0] and finite:
            label = f"best: run {row['run']}, {row['val_accuracy']:.4f}"
            halo = [Stroke(linewidth=6, foreground="white"), Normal()]
            style |= {"lw": 3.5, "alpha": 1, "path_effects": halo}
        (entries[label],) = panel.plot(*_eased(heights), **style)
    panel.set(xlim=(-0.05, len(axes) + 0.1), ylim=(-0.04, 1.04))
    panel.axis("off")
    _legend(figure, list(reversed(entries.items())))
    return report.png(figure)


def _is_grid(axes: Axes, rows: Rows) -> bool:
    """Whether two axes span a table that is mostly filled and not too long to be read."""
    sides = [len(values) for values in axes.values()]
    filled = len(ranking.groups(axes, rows))
    return len(sides) == 2 and max(sides) <= GRID_SIDE and filled > 0.5 * math.prod(sides)


def pictures(axes: Axes, rows: Rows, histories: Histories) -> dict[str, bytes]:
    """The PNGs that these axes call for, by file name."""
    drawn = {"curves.png": curves(axes, rows, histories)}
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    plane = axes | {"seed": seeds} if len(axes) == 1 and len(seeds) > 1 else axes
    if _is_grid(plane, rows):
        drawn["heatmap.png"] = heatmap(plane, rows)
    elif len(axes) > 1:
        drawn["parallel.png"] = parallel(axes, rows)
    if len(axes) == 1 and any(map(_numeric, axes.values())):
        drawn["axis.png"] = axis(axes, rows)
    return drawn
