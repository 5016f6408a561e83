"""Charts of a model's answers: which classes it takes for which, its mistakes, its calibration,
what it predicts of numbers. C: classes, N: examples, K: outputs."""

import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.drawn import pictures
from engine.drawn.charts import Dot, Line, Panel, Panels, panel
from engine.drawn.matrix import NUMBERED, Matrix, matrix
from engine.drawn.shown import Picture
from engine.scores import answers
from engine.scores.judged import Judged

SORTED_CLASSES = 30  # above this, the most confused come first
MOST_CLASSES = 200
PAIRS = 10
POINTS = 600  # above this, points hide each other and are counted in cells
CELLS = 36  # of a side, in which they are counted
OUTPUTS = 4
THUMBNAIL = 160  # pixels of a mistake's longer side


class Gallery(NamedTuple):
    """Pictures (PNG, its class, the predicted one, the probability given to that)."""

    shots: list[tuple[bytes, str, str, str]]
    kind: str = "gallery"


def confusion(matrix_CxC: np.ndarray, classes: Sequence[str]) -> Matrix:
    """Each true class's shares; of more than SORTED_CLASSES the most confused come first, and no
    more than MOST_CLASSES. `pairs` are the most frequent mistakes."""
    count = len(classes)
    few = count <= NUMBERED
    note = "Of each true class the share that is said to be each" + (
        ", in percent." if few else ": the darker, the larger.")
    wrong_CxC = matrix_CxC * (1 - np.eye(count, dtype=matrix_CxC.dtype))
    shares_CxC = matrix_CxC / np.maximum(matrix_CxC.sum(axis=1, keepdims=True), 1)
    most = np.argsort(-wrong_CxC, axis=None, kind="stable")[:PAIRS]
    pairs = [[classes[t], classes[p], int(matrix_CxC[t, p]), float(shares_CxC[t, p])]
             for t, p in (divmod(int(at), count) for at in most) if wrong_CxC[t, p]]
    order = np.arange(count)
    if count > SORTED_CLASSES:
        confused = wrong_CxC.sum(axis=0) + wrong_CxC.sum(axis=1)
        order = np.argsort(-confused, kind="stable")[:MOST_CLASSES]
        note += " The most confused classes come first" + (
            f"; the first {MOST_CLASSES} of {count:,}" if count > MOST_CLASSES else "") + "."
    names = [classes[i] for i in order.tolist()]
    counts, shares = (m[np.ix_(order, order)] for m in (matrix_CxC, shares_CxC))
    return matrix(
        np.where(counts > 0, 0.06 + 0.64 * shares, 0),
        lambda r, c: f"{100 * shares[r, c]:.0f}" if few else "",
        lambda r, c: f"{names[r]} → {names[c]}: {counts[r, c]:,} ({shares[r, c]:.1%})",
        names, names, "true", "predicted", note=note, pairs=pairs)


def calibration(curve: Sequence[dict[str, float]]) -> Panels:
    """Accuracy by mean confidence, a dot a bin, as large as its examples are many."""
    most = max((row["count"] for row in curve), default=1)
    dots = [Dot(row["confidence"], row["accuracy"], f"confidence {row['confidence']:.3f}: "
                f"{row['accuracy']:.1%} right of {row['count']:,} examples",
                3 + 9 * math.sqrt(row["count"] / most)) for row in curve]
    line = Line("accuracy", "accent", [(row["confidence"], row["accuracy"]) for row in curve])
    drawn = panel(f"accuracy; a dot's area is its examples, {most:,} at most", [line], "confidence",
                  dots, square=True)
    return Panels([drawn._replace(lines=[(*line[:2], []) for line in drawn.lines])])


def _small(image_HxWxC: np.ndarray) -> bytes:
    """A picture as PNG, no larger than it is shown."""
    from PIL import Image

    image = pictures.visible(image_HxWxC)
    pixels = image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def gallery(
    images_NxHxWxC: np.ndarray, true_N: np.ndarray, predicted_N: np.ndarray,
    probability_N: np.ndarray, classes: Sequence[str],
) -> Gallery:
    """Wrong answers, as `pictures.mistakes` has them."""
    return Gallery([
        (_small(image), classes[int(true)], classes[int(said)], f"{share:.1%}")
        for image, true, said, share in zip(images_NxHxWxC, true_N, predicted_N, probability_N,
                                            strict=True)])


def predicted(true_NxK: np.ndarray, predicted_NxK: np.ndarray, names: Sequence[str]) -> Panels:
    """Predicted against true values of the first OUTPUTS outputs, one in a panel."""
    both_KxNx2 = np.dstack([np.atleast_2d(np.transpose(a)) for a in (true_NxK, predicted_NxK)])
    panels, count = [], len(both_KxNx2)
    for at, (pairs, name) in enumerate(zip(both_KxNx2[:OUTPUTS], names, strict=False), 1):
        finite = pairs[np.isfinite(pairs).all(axis=1)]
        title = f"{name}, {at} of {count}, predicted" if count > OUTPUTS else f"{name}, predicted"
        if len(finite) <= POINTS:
            dots = [Dot(true, said, f"true {true:.4g}, predicted {said:.4g}", 3, "faint")
                    for true, said in finite.tolist()]
            panels.append(panel(title, dots=dots, across="true", square=True))
        else:
            panels.append(_counted(title, finite))
    return Panels(panels)


def _counted(title: str, pairs_Nx2: np.ndarray) -> Panel:
    """Points as cells, the darker the more there are."""
    ends = float(pairs_Nx2.min()), float(pairs_Nx2.max())
    steps = np.linspace(*ends, CELLS + 1)
    count, *edges = np.histogram2d(pairs_Nx2[:, 0], pairs_Nx2[:, 1], bins=[steps, steps])
    drawn = panel(title, dots=[Dot(end, end, "") for end in ends], across="true", square=True)
    (left, low), (right, high) = ((dot.x, dot.y) for dot in drawn.dots)
    wide, tall = (right - left) / CELLS, (low - high) / CELLS
    cells = [(round(left + i * wide, 1), round(low - (j + 1) * tall, 1), round(wide, 1),
              round(tall, 1),
              round(0.1 + 0.9 * math.log1p(count[i, j]) / math.log1p(count.max()), 2),
              f"true {edges[0][i]:.4g}, predicted {edges[1][j]:.4g}: {count[i, j]:.0f} examples")
             for i, j in np.argwhere(count > 0).tolist()]
    return drawn._replace(
        title=f"{title}: up to {count.max():,.0f} examples in a cell", dots=[], cells=cells)


def drawn(
    scores: dict[str, Any], judged: Judged, said_N: np.ndarray, names: Sequence[str]
) -> list[Picture]:
    """What is drawn of classes: which are taken for which, the worst mistakes, the calibration."""
    found = [Picture("confusion.png", "Confusion matrix",
                     chart=confusion(np.array(scores["confusion"]), names))]
    wrong = answers.mistakes(judged, said_N)
    if pictures.are_pictures(wrong[0]):
        how = ": true class → predicted class, and the probability given to it" if len(
            wrong[1]) else ""
        found.append(Picture(
            "mistakes.png", f"Most confident mistakes{how}", pictures.mistakes(*wrong, names),
            gallery(*wrong, names)))
    if curve := scores.get("calibration"):
        found.append(Picture(
            "calibration.png", "Calibration: how often the likeliest class was right, by its "
            f"probability; expected error {scores['ece']:.4f}", chart=calibration(curve)))
    return found
