"""A run's plots as PNG, drawn by Agg without pyplot. N: examples, C: classes, K: outputs."""

import io
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Mistakes(NamedTuple):
    """The most confident wrong answers: pictures of uint8 or floats, class numbers int [N], and
    float probability [N] of the predicted class.
    """

    images_NxHxWxC: np.ndarray
    true_N: np.ndarray
    predicted_N: np.ndarray
    probability_N: np.ndarray


TRAINING, VALIDATION = "#2563eb", "#d97706"
DPI = 120
COUNTED_CLASSES = 20  # above this, numbers in the confusion matrix can't be read
NAMED_CLASSES = 60  # above this, only some of its rows are named
POINTS = 3000  # above this, points hide each other and are counted in hexagons
OUTPUTS = 4
LABELS = 40


def figure(width: float, height: float):
    """An empty figure of so many inches. It needs no display, whatever MPLBACKEND names."""
    # A figure without pyplot is Agg's, but a backend that doesn't exist would fail the import.
    if not os.environ.get("MPLBACKEND", "module://").startswith("module://"):  # a notebook's
        del os.environ["MPLBACKEND"]
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(drawn) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI)
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


def _panels(count: int):
    """Panels in a figure, three in a row at most."""
    across = max(1, min(3, count))
    down = max(1, math.ceil(count / across))
    drawn = figure(4.5 * max(2, across), 3.4 * down)
    panels = drawn.subplots(down, across, squeeze=False).ravel()
    for unused in panels[count:]:
        unused.axis("off")
    return drawn, panels[:count]


def curves(history: Sequence[dict[str, Any]], names: Sequence[str]) -> bytes:
    """By epoch, a panel for each of `names`: `name` of training, `val_name` of validation.

    A row may lack either, or hold None or NaN.
    """
    drawn, panels = _panels(len(names))
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
    named = range(0, count, math.ceil(count / NAMED_CLASSES))
    places, names = [i + 0.5 for i in named], [plain(short(classes[i])) for i in named]
    longest = max(map(len, names))
    side = 1 + 0.08 * longest + (0.55 if few else 0.12) * min(max(3, count), 2 * NAMED_CLASSES)
    drawn = figure(side + 1, side)
    import seaborn  # only now that `figure` has seen to MPLBACKEND

    matrix = np.asarray(matrix_CxC, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    panel = drawn.subplots()
    seaborn.heatmap(
        shares, ax=panel, cmap="Blues", vmin=0, vmax=1, square=True, xticklabels=False,
        yticklabels=False, annot=matrix.astype(int) if few else None, fmt="d",
        annot_kws={"size": 8}, cbar_kws={"label": "share of the true class", "shrink": 0.8},
    )
    size = 10 if few else 7
    panel.set_xticks(places, names, rotation=90 if longest > 5 else 0, size=size)
    panel.set_yticks(places, names, rotation=0, size=size)
    panel.set(xlabel="predicted", ylabel="true")
    return png(drawn)


def are_pictures(inputs: np.ndarray) -> bool:
    """Whether `mistakes` can draw them: [N, H, W, 1, 3 or 4]."""
    return np.ndim(inputs) == 4 and np.shape(inputs)[-1] in (1, 3, 4)


def _visible(image_HxWxC: np.ndarray) -> np.ndarray:
    """As matplotlib takes it: uint8 and floats from 0 to 1 as they are, others stretched to it."""
    if image_HxWxC.dtype == np.uint8:
        return image_HxWxC.squeeze(-1) if image_HxWxC.shape[-1] == 1 else image_HxWxC
    image = np.nan_to_num(image_HxWxC.astype(np.float64), posinf=0, neginf=0)
    low, high = min(0.0, image.min()), max(1.0, image.max())
    if (low, high) != (0.0, 1.0):
        low, high = image.min(), image.max()
    image = (image - low) / (high - low or 1.0)
    return image.squeeze(-1) if image.shape[-1] == 1 else image


def mistakes(wrong: Mistakes, classes: Sequence[str]) -> bytes:
    """A grid of the most confident mistakes; a picture that says so where there is none."""
    count = len(wrong.true_N)
    across = max(1, min(5, count))
    down = max(1, math.ceil(count / across))
    drawn = figure(max(5, 1.9 * across), 2.2 * down)
    grid = drawn.subplots(down, across, squeeze=False).ravel()
    for panel in grid:
        panel.axis("off")
    for panel, image, true, predicted, share in zip(grid, *wrong, strict=False):
        panel.imshow(_visible(np.asarray(image)), cmap="gray")
        title = " → ".join(plain(short(classes[int(i)])) for i in (true, predicted))
        panel.set_title(f"{title}\n{share:.1%}", fontsize=9)
    if not count:
        grid[0].text(0.5, 0.5, "no mistakes", ha="center", va="center", fontsize=14)
    return png(drawn)


def predicted(true_NxK: np.ndarray, predicted_NxK: np.ndarray) -> bytes:
    """Predicted against true values, a panel for each of the first OUTPUTS outputs; [N] is one.

    Values that are not finite are left out.
    """
    both = [np.asarray(a, np.float64).reshape(len(a), -1) for a in (true_NxK, predicted_NxK)]
    outputs = both[0].shape[1]
    shown = min(OUTPUTS, outputs)
    across = 2 if shown > 1 else 1
    drawn = figure(4.6 * across, 4.2 * math.ceil(shown / across))
    panels = drawn.subplots(math.ceil(shown / across), across, squeeze=False).ravel()
    for unused in panels[shown:]:
        unused.axis("off")
    for k, panel in enumerate(panels[:shown]):
        pairs_Nx2 = np.stack([values[:, k] for values in both], axis=1)
        true, guess = pairs_Nx2[np.isfinite(pairs_Nx2).all(axis=1)].T
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
    tables = {kind: np.asarray(values, np.float64) for kind, values in scores.items()}
    leading = np.nan_to_num(next(iter(tables.values())), nan=-1.0)
    order = np.argsort(-leading, kind="stable")
    if cut := len(order) > LABELS:
        order = np.concatenate([order[: LABELS // 2], order[-LABELS // 2 :]])
    height = 0.8 / len(tables)
    drawn = figure(7.5, 1.2 + (0.14 + 0.11 * len(tables)) * max(4, len(order)))
    panel = drawn.subplots()
    places = np.arange(len(order))
    for i, (kind, colour) in enumerate(zip(tables, (TRAINING, VALIDATION, "gray"), strict=False)):
        panel.barh(
            places + (i - (len(tables) - 1) / 2) * height, tables[kind][order], height,
            color=colour, label=plain(kind),
        )
    panel.set_yticks(places, [plain(short(names[i])) for i in order])
    panel.margins(y=0.02)
    panel.invert_yaxis()
    if cut:
        panel.axhline(LABELS / 2 - 0.5, c="gray", lw=1, ls=":")
        panel.set_title(f"the {LABELS // 2} highest and lowest of {len(names)} labels", fontsize=10)
    dress(panel, xlim=(0, 1))
    panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return png(drawn)
