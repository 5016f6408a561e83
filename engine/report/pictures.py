"""A run's plots as PNG, drawn by Agg without pyplot. N: examples, C: classes, K: outputs."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.report import fonts

TRAINING, VALIDATION = "#2563eb", "#d97706"
DPI = 120
COUNTED_CLASSES = 20  # above this, numbers in the confusion matrix can't be read
NAMED_CLASSES = 60  # above this, only some of its rows are named
POINTS = 3000  # above this, points hide each other and are counted in hexagons
OUTPUTS = 4
LABELS = 40
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


def dress(panel, **labels: Any) -> None:
    """Labels and a grid, no frame."""
    panel.set(**labels)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def short(text: str, length: int = 24) -> str:
    """The beginning of a long text: a picture has no room for more."""
    return text if len(text) <= length else text[: length - 1] + "…"


def plain(name: str) -> str:
    """A name as matplotlib text: a dollar sign would start mathematics."""
    return name.replace("$", r"\$")


def _panels(count: int, across: int, width: float, height: float):
    """A figure and its panels, so many in a row at most, each of so many inches."""
    columns = max(1, min(across, count))
    rows = max(1, math.ceil(count / columns))
    drawn = figure(width * columns, height * rows)
    return drawn, [drawn.add_subplot(rows, columns, i + 1) for i in range(count)]


def curves(history: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """By epoch, a panel for each of `names`: `name` of training, `val_name` of validation.

    A row may lack either, or hold None or NaN.
    """
    drawn, panels = _panels(len(names), 3, 4.5, 3.4)
    epochs = [row["epoch"] for row in history]
    for panel, name in zip(panels, names, strict=True):
        lines = ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION))
        for key, label, colour in lines:
            values = np.array([row.get(key) for row in history], np.float64)  # None becomes NaN
            if np.isfinite(values).any():
                panel.plot(epochs, values, "o-", ms=3, c=colour, label=label)
                panel.legend(frameon=False)
        panel.locator_params(axis="x", integer=True)
        dress(panel, xlabel="epoch", title=plain(name))
    return png(drawn)


def confusion(matrix_CxC: np.ndarray, classes: Sequence[str]) -> bytes:
    """A heat map of each true class's shares, counts written in where they can be read.

    Rows are the true classes, columns the predicted ones.
    """
    count = len(classes)
    few = count <= COUNTED_CLASSES
    named, classes = range(0, count, math.ceil(count / NAMED_CLASSES)), fonts.named(classes)
    names, size = [plain(short(classes[i])) for i in named], 10 if few else 7
    longest = max(map(len, names))
    side = 1.4 + 0.08 * longest + (0.55 if few else 0.12) * min(max(3, count), 2 * NAMED_CLASSES)
    drawn = figure(side + 1.3, side)  # the bar of colours included
    panel = drawn.subplots()
    shares_CxC = matrix_CxC / np.maximum(matrix_CxC.sum(axis=1, keepdims=True), 1)
    image = panel.imshow(shares_CxC, cmap="Blues", vmin=0, vmax=1)
    drawn.colorbar(image, ax=panel, label="share of the true class", shrink=0.8)
    for (row, column), number in np.ndenumerate(matrix_CxC) if few else ():
        colour = "white" if shares_CxC[row, column] > 0.5 else "black"
        panel.text(column, row, str(number), c=colour, size=8, ha="center", va="center")
    panel.set_xticks(named, names, rotation=90 if longest > 5 else 0, size=size)
    panel.set_yticks(named, names, size=size)
    panel.set(xlabel="predicted", ylabel="true")
    return png(drawn)


def calibration(curve: Sequence[dict[str, float]]) -> bytes:
    """Accuracy by mean confidence, a row of `curve` a bin, against what it would be if a confidence
    were its probability; below, the examples of each. Guo et al. 2017."""
    confidence, accuracy, count = ([row[name] for row in curve]
                                   for name in ("confidence", "accuracy", "count"))
    drawn = figure(4.8, 5.2)
    above, below = drawn.subplots(2, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), c="gray", lw=1, ls=":")
    above.plot(confidence, accuracy, "o-", ms=4, c=TRAINING)
    below.bar(confidence, count, width=0.03, color=TRAINING)
    dress(above, ylabel="accuracy", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    dress(below, xlabel="confidence", ylabel="examples")
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
        title = " → ".join(plain(short(classes[int(j)], 13)) for j in (true, predicted))
        panel.text(middle, top - 0.04, f"{title}\n{share:.1%}", size=9, ha="center", va="bottom")
    panel.set(xlim=(0, CELL[0] * across), ylim=(CELL[1] * down, 0))
    panel.axis("off")
    if not count:
        panel.text(CELL[0] * across / 2, CELL[1] / 2, "no mistakes", ha="center", size=14)
    return png(drawn)


def predicted(true_NxK: np.ndarray, predicted_NxK: np.ndarray) -> bytes:
    """Predicted against true values, a panel for each of the first OUTPUTS outputs; [N] is one.

    Values that are not finite are left out.
    """
    both_KxNx2 = np.dstack([np.atleast_2d(np.transpose(a)) for a in (true_NxK, predicted_NxK)])
    outputs = len(both_KxNx2)
    drawn, panels = _panels(min(OUTPUTS, outputs), 2, 4.6, 4.2)
    for k, panel in enumerate(panels):
        true, guess = both_KxNx2[k][np.isfinite(both_KxNx2[k]).all(axis=1)].T
        if len(true) > POINTS:
            cells = panel.hexbin(true, guess, gridsize=40, bins="log", mincnt=1, cmap="Blues")
            drawn.colorbar(cells, ax=panel, label="examples")
        else:
            panel.scatter(true, guess, s=12, c=TRAINING, alpha=0.5, lw=0)
        if len(true):
            panel.axline((true[0], true[0]), slope=1, c=VALIDATION, lw=1.2)
        dress(panel, xlabel="true", ylabel="predicted")
        panel.set_title(f"output {k + 1} of {outputs}" if outputs > 1 else "", fontsize=10)
    return png(drawn)


def labels(names: Sequence[str], scores: dict[str, list[float]]) -> bytes:
    """Bars of each label's scores, best first by the first of them; NaN has no bar.

    Of more than LABELS labels the highest and the lowest half of that are drawn.
    """
    import pandas

    frame = pandas.DataFrame(scores, index=[plain(short(name)) for name in fonts.named(names)],
                             dtype=float)
    frame = frame.sort_values(frame.columns[0], ascending=False, kind="stable")
    drawn = figure(7.5, 1.2 + (0.14 + 0.11 * len(scores)) * min(max(4, len(names)), LABELS))
    panel = drawn.subplots()
    if len(names) > LABELS:
        frame = pandas.concat([frame.head(LABELS // 2), frame.tail(LABELS // 2)])
        panel.axhline(LABELS / 2 - 0.5, c="gray", lw=1, ls=":")
    frame.plot.barh(ax=panel, width=0.8, color=[TRAINING, VALIDATION, "gray"])
    panel.invert_yaxis()
    dress(panel, xlim=(0, 1), title="" if len(names) <= LABELS else
          f"the {LABELS // 2} highest and lowest of {len(names)} labels")
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return png(drawn)


def bars(values: dict[str, float], deviations: Sequence[float]) -> bytes:
    """Horizontal bars by name, the first on top, each with its deviation."""
    drawn = figure(7.5, 0.9 + 0.32 * max(3, len(values)))
    panel = drawn.subplots()
    names = [plain(short(name)) for name in fonts.named([*values])]
    panel.barh(range(len(names)), [*values.values()], xerr=deviations, color=TRAINING,
               ecolor=VALIDATION)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    dress(panel)
    return png(drawn)
