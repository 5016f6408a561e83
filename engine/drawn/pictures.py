"""A run's and a sweep's pictures as PNG, drawn by Agg without pyplot: charts where the page has
everything in them, and what the page has no places for. N: examples, or a chart's cells."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.drawn import fonts
from engine.drawn.charts import FOOT, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bars, Dot, Panel, Panels
from engine.drawn.matrix import Matrix
from engine.width import shortened

# page.html's by day, by style; what dots that are open show inside.
TONES = {"accent": "#2457d6", "soft": "#596170", "faint": "#3d73ea", "hollow": "#2457d6",
         "ring": "#b45309", "c0": "#2457d6", "c1": "#b45309", "c2": "#0f766e", "c3": "#be185d",
         "c4": "#6d28d9", "c5": "#4b5563"}
INK, RULE, HEAT = "#16181d", "#e4e7ec", TONES["faint"]
OPEN = {"hollow": "white", "ring": "none"}
DPI = 120
UNIT = 1 / 80  # of a canvas, in inches
POINT = 72 * UNIT
LETTER = 6  # units that one takes on average, in text of 10 points
ACROSS = 3  # panels in a row
LEAST = 340  # units of a matrix's picture: its note needs them
ROWS = 40  # of bars
CELL = 1.9, 2.3  # inches of a mistake, its title included


def figure(width: float, height: float):
    """An empty figure of so many inches. It needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def png(drawn) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    fonts.drawn_with(drawn)
    buffer = io.BytesIO()
    FigureCanvasAgg(drawn).print_png(buffer)  # `savefig` draws it once more, for the layout alone
    return buffer.getvalue()


def plain(name: str) -> str:
    """A name as matplotlib text: a dollar sign would start mathematics."""
    return fonts.known(name).replace("$", r"\$")


def _wrapped(text: str, width: float) -> str:
    """In lines of so many units."""
    return plain(textwrap.fill(text, int(width / LETTER)))


def _places(axis, ticks: Sequence[Any], **style: Any) -> None:
    """Texts at an axis, without strokes."""
    axis.set_ticks([at for at, _ in ticks], [plain(text) for _, text in ticks], **style)
    axis.set_tick_params(length=0)


def _cells(canvas, cells: Sequence[Any]) -> None:
    """Of (x, y, width, height, opacity)."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    canvas.add_collection(PatchCollection(  # smoothed edges would show between cells
        [Rectangle((x, y), wide, tall) for x, y, wide, tall, _ in cells],
        facecolors=[(HEAT, opacity) for *_, opacity in cells], antialiaseds=False))


def _look(style: str) -> dict[str, Any]:
    """Of dots."""
    return {"facecolors": OPEN.get(style, TONES[style]), "edgecolors": TONES[style],
            "linewidths": 1.8 * (style in OPEN), "alpha": 0.45 if style == "faint" else 1}


def _dots(canvas, dots: Sequence[Dot]) -> None:
    for style in dict.fromkeys(dot.style for dot in dots):
        some = [dot for dot in dots if dot.style == style]
        canvas.scatter([dot.x for dot in some], [dot.y for dot in some], zorder=3, clip_on=False,
                       s=[(2 * dot.size * POINT) ** 2 for dot in some], **_look(style))


def _panel(canvas, panel: Panel) -> None:
    """In an axes whose units are the canvas's, counted downwards as there."""
    canvas.set(xlim=(LEFT, RIGHT), ylim=(FOOT, TOP),
               xlabel=_wrapped(panel.across, WIDTH - LEFT))
    canvas.set_title(_wrapped(panel.title, WIDTH - LEFT), fontsize=10, pad=8)
    _places(canvas.xaxis, panel.xticks)
    _places(canvas.yaxis, panel.yticks)
    canvas.grid(axis="y", color=RULE)
    canvas.set_axisbelow(True)
    canvas.spines[:].set_visible(False)
    _cells(canvas, [cell[:5] for cell in panel.cells])
    for style, edge in panel.bands:
        canvas.fill(*np.transpose(edge), color=TONES[style], alpha=0.14, lw=0)
    for style, places, marks in panel.lines:
        canvas.plot(*np.transpose(places), c=TONES[style], lw=1.4 if style == "soft" else 1.8)
        _dots(canvas, [mark._replace(style=style) for mark in marks if mark.size])
    if panel.straight:
        canvas.plot(*np.transpose(panel.straight), c=TONES["soft"], lw=0.9, ls=":")
    _dots(canvas, panel.dots)


def _legend(drawn, chart: Panels) -> None:
    """Below the panels, of the styles in them; in as many columns as its names leave room for."""
    lines = {style for panel in chart.panels for style, *_ in panel.lines}
    dots = {dot.style for panel in chart.panels for dot in panel.dots}
    room = int(drawn.get_figwidth() / UNIT / LETTER)  # letters, of which a mark takes 10
    names = {style: plain(shortened(name, room - 10)) for style, name in chart.legend
             if style in lines | dots}
    if names:
        canvas, across = drawn.axes[0], max(1, room // (max(map(len, names.values())) + 10))
        handles = [canvas.plot([], [], c=TONES[style], lw=1.8)[0] if style in lines else
                   canvas.scatter([], [], s=40, **_look(style)) for style in names]
        drawn.set_figheight(drawn.get_figheight() + 0.22 * math.ceil(len(names) / across))
        drawn.legend(handles, [*names.values()], ncols=across, frameon=False,
                     loc="outside lower center")


def panels(chart: Panels) -> bytes:
    """Beside each other as they are on the page, three in a row at most."""
    rows = math.ceil(len(chart.panels) / ACROSS) or 1
    columns = math.ceil(len(chart.panels) / rows) or 1
    drawn = figure(columns * WIDTH * UNIT, rows * (HEIGHT + 20) * UNIT)
    for at, panel in enumerate(chart.panels, 1):
        _panel(drawn.add_subplot(rows, columns, at), panel)
    _legend(drawn, chart)
    return png(drawn)


def matrix(chart: Matrix, numbers: Mapping[str, str] = {}) -> bytes:
    """Its cells, names and their texts, what is outlined, and its note below."""
    right = chart.left + chart.wide * len(chart.columns)
    foot = chart.top + chart.side * len(chart.rows)
    wide = max(LEAST, chart.width + 24)
    note, size = _wrapped(chart.note, 1.1 * wide), chart.text * POINT
    drawn = figure(wide * UNIT, (chart.height + 28 + 16 * (note.count("\n") + 1)) * UNIT)
    canvas = drawn.subplots()
    canvas.set(xlim=(chart.left, right), ylim=(foot, chart.top), aspect="equal")
    canvas.xaxis.tick_top()
    canvas.xaxis.set_label_position("top")
    canvas.set_xlabel(plain(chart.across), labelpad=6)
    canvas.set_ylabel(plain(chart.down))
    columns, rows = ([(at, numbers.get(whole, name)) for at, name, whole in side]
                     for side in (chart.columns, chart.rows))
    _places(canvas.xaxis, columns, size=size, rotation=90 if chart.turned else 0)
    _places(canvas.yaxis, rows, size=size)
    canvas.spines[:].set_color(RULE)
    _cells(canvas, [(x, y, chart.wide, chart.side, opacity) for x, y, opacity, *_ in chart.cells])
    for x, y, _, text, _ in chart.cells:
        if text:
            canvas.text(x + chart.wide / 2, y + chart.side / 2, text, size=size, c=INK,
                        ha="center", va="center")
    if chart.best:
        x, y, across, down = chart.best
        canvas.broken_barh([(x, across)], (y, down), facecolors="none", edgecolors=TONES["ring"],
                           linewidths=2.3, zorder=3, clip_on=False)
    drawn.supxlabel(note, size=9)
    return png(drawn)


def are_pictures(inputs: np.ndarray) -> bool:
    """Whether `mistakes` can draw them: [N, H, W, 1, 3 or 4]."""
    return np.ndim(inputs) == 4 and np.shape(inputs)[-1] in (1, 3, 4)


def visible(image_HxWxC: np.ndarray) -> np.ndarray:
    """As matplotlib takes it: uint8 and floats from 0 to 1 as they are, others stretched to it."""
    if image_HxWxC.dtype == np.uint8:
        return image_HxWxC
    image = np.nan_to_num(image_HxWxC.astype(np.float64), posinf=0, neginf=0)
    low, high = image.min(), image.max()
    return image if low >= 0 and high <= 1 else (image - low) / (high - low or 1.0)


def mistakes(
    images_NxHxWxC: np.ndarray, true_N: np.ndarray, predicted_N: np.ndarray,
    probability_N: np.ndarray, classes: Sequence[str],
) -> bytes:
    """A grid of wrong answers: pictures, their classes' numbers, the predicted ones with their
    probability; a picture that says so where there is none."""
    count, high, wide, _ = images_NxHxWxC.shape
    across = min(5, max(3, count))
    down = max(1, math.ceil(count / across))
    drawn, classes = figure(CELL[0] * across, CELL[1] * down), fonts.named(classes)
    panel = drawn.subplots()  # one for all: one for each takes four times as long
    scale = (CELL[0] - 0.15) / max(high, wide)
    for i, (image, true, predicted, share) in enumerate(
            zip(images_NxHxWxC, true_N, predicted_N, probability_N, strict=True)):
        middle, top = (i % across + 0.5) * CELL[0], i // across * CELL[1] + 0.42
        panel.imshow(visible(image), cmap="gray", extent=(
            middle - wide * scale / 2, middle + wide * scale / 2, top + high * scale, top))
        title = " → ".join(plain(shortened(classes[int(j)], 13)) for j in (true, predicted))
        panel.text(middle, top - 0.04, f"{title}\n{share:.1%}", size=9, ha="center", va="bottom")
    panel.set(xlim=(0, CELL[0] * across), ylim=(CELL[1] * down, 0))
    panel.axis("off")
    if not count:
        panel.text(CELL[0] * across / 2, CELL[1] / 2, "no mistakes", ha="center", size=14)
    return png(drawn)


def bars(chart: Bars, numbers: Mapping[str, str] = {}) -> bytes:
    """Its rows, the first on top; of more than ROWS the first and the last half of that."""
    rows, count = chart.rows, len(chart.rows)
    if count > ROWS:
        rows = rows[: ROWS // 2] + rows[-ROWS // 2 :]
    drawn = figure(7.5, 0.9 + 0.32 * max(3, len(rows)))
    panel = drawn.subplots()
    panel.barh(range(len(rows)), [share for _, share, _ in rows], color=TONES["accent"])
    _places(panel.yaxis, [(at, numbers.get(name, shortened(name, 24)))
                          for at, (name, *_) in enumerate(rows)])
    for at, (_, share, text) in enumerate(rows):
        panel.text(share + 1, at, text, va="center")
    panel.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -0.6), xticks=[], xlabel=chart.across)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    if count > ROWS:
        panel.axhline(ROWS / 2 - 0.5, c="gray", lw=1, ls=":")
        panel.set_title(f"the {ROWS // 2} highest and lowest of {count}")
    return png(drawn)


def drawn(chart: Panels | Matrix | Bars, names: Sequence[str] = ()) -> bytes:
    """A chart as it is on the page. Where no font has one of the `names`, its number, which the
    page tells, stands for it."""
    numbers = {name: str(number) for number, name in fonts.numbered(names)}
    if isinstance(chart, Panels):
        return panels(chart)
    return matrix(chart, numbers) if isinstance(chart, Matrix) else bars(chart, numbers)
