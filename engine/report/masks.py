"""Pictures beside the classes of their pixels, as they are and as they were predicted."""

from collections.abc import Sequence

import numpy as np

from engine.report import fonts
from engine.report.pictures import figure, plain, png, shortened, visible
from engine.report.run import Picture
from engine.task import Judged

SHOWN, LEGEND, SIDE = 4, 20, 1.7  # pictures; classes with a name; inches


def drawn(judged: Judged, said: np.ndarray, names: Sequence[str]) -> list[Picture]:
    """Those of the least accuracy, the worst first; none of examples that are no pictures."""
    targets = judged.targets
    which = _worst(targets, said) if targets.ndim == 3 else np.zeros(0, int)
    images = judged.inputs(which) if len(which) else np.zeros(0)
    if images.ndim != 4 or images.shape[1:3] != targets.shape[1:] or images.shape[3] not in (1, 3):
        return []
    return [Picture("masks.png", "Pixels: pictures of the least accuracy, their classes, and those "
                    "that are predicted", _grid(images, targets[which], said[which], names))]


def _worst(targets: np.ndarray, said: np.ndarray) -> np.ndarray:
    known = targets >= 0
    right = ((said == targets) & known).sum((1, 2)) / np.maximum(known.sum((1, 2)), 1)
    return np.argsort(right, kind="stable")[:SHOWN]


def _grid(
    images: np.ndarray, true: np.ndarray, said: np.ndarray, names: Sequence[str]
) -> bytes:
    """A picture a column; white is what has no class."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    palette = colormaps["tab20"](np.arange(20))
    figured = figure(SIDE * len(images) + 1.6, 3 * SIDE + 0.3)
    panels = figured.subplots(3, len(images), squeeze=False)
    for column, (image, *masks) in zip(panels.T, zip(images, true, said, strict=True), strict=True):
        column[0].imshow(visible(image), cmap="gray")
        for panel, mask in zip(column[1:], masks, strict=True):
            shown = palette[mask % len(palette)]
            shown[mask < 0] = 1
            panel.imshow(shown)
    for panel in panels.ravel():
        panel.set(xticks=[], yticks=[])
    for panel, text in zip(panels[:, 0], ("picture", "true", "predicted"), strict=True):
        panel.set_ylabel(text)
    there = np.union1d(true[true >= 0], said)[:LEGEND].tolist()
    called = [*fonts.named(names), *map(str, range(len(names), max(there) + 1))]
    figured.legend(handles=[Patch(color=palette[at % len(palette)],
                                  label=plain(shortened(called[at], 16))) for at in there],
                   loc="outside right upper", frameon=False, fontsize=9)
    return png(figured)
