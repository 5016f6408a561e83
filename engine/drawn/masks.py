"""Pictures beside the classes of their pixels, as they are and as they were predicted."""

import colorsys
import re
from collections.abc import Sequence

import numpy as np

from engine.drawn import fonts
from engine.drawn.pictures import figure, plain, png, visible
from engine.drawn.shown import Picture
from engine.scores.judged import Judged
from engine.width import shortened

SHOWN, LEGEND, SIDE = 4, 20, 1.7  # pictures; classes with a name; inches
_COLOUR = re.compile(r"#([0-9a-f]{6})")


def palette(names: Sequence[str]) -> np.ndarray:
    """A colour of each class, uint8 [C, 3]: the one that it is called by, as masks of colours are;
    else black for the first, and hues by the golden ratio, so that neighbours differ."""
    made = np.array([(0, 0, 0), *(_hue(at) for at in range(1, len(names)))], np.uint8)
    for at, name in enumerate(names):
        if found := _COLOUR.fullmatch(name):
            made[at] = [*bytes.fromhex(found[1])]
    return made


def _hue(at: int) -> tuple[int, ...]:
    turn, bright = at * 0.618034 % 1, (0.65, 0.95, 0.85)[at % 3]
    return tuple(round(255 * x) for x in colorsys.hsv_to_rgb(turn, 0.75, bright))


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
    from matplotlib.patches import Patch

    most = 1 + max(int(true.max()), int(said.max()), len(names) - 1)
    called = [*fonts.named(names), *map(str, range(len(names), most))]
    colours = np.concatenate([palette([*names, *called[len(names):]]) / 255, [(1, 1, 1)]])
    figured = figure(SIDE * len(images) + 1.6, 3 * SIDE + 0.3)
    panels = figured.subplots(3, len(images), squeeze=False)
    for column, (image, *masks) in zip(panels.T, zip(images, true, said, strict=True), strict=True):
        column[0].imshow(visible(image), cmap="gray")
        for panel, mask in zip(column[1:], masks, strict=True):
            panel.imshow(colours[mask])  # -1 is the last, white
    for panel in panels.ravel():
        panel.set(xticks=[], yticks=[])
    for panel, text in zip(panels[:, 0], ("picture", "true", "predicted"), strict=True):
        panel.set_ylabel(text)
    both = np.concatenate([true, said])
    there, counts = np.unique(both[both >= 0], return_counts=True)
    shown = sorted(there[np.argsort(-counts, kind="stable")[:LEGEND]].tolist())
    handles = [Patch(color=colours[at], label=plain(shortened(called[at], 16))) for at in shown]
    if more := len(there) - len(shown):
        handles.append(Patch(alpha=0, label=f"and {more:,} more"))
    figured.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return png(figured)
