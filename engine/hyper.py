"""Hyper: the values of a run that are traced, so that changing one never recompiles."""

from typing import NamedTuple


class Hyper(NamedTuple):
    """Traced scalars, float32 on the device; None leaves the term out of the program."""

    learning_rate: float = 1e-3
    weight_decay: float | None = None
    momentum: float | None = None
    b1: float | None = None
    b2: float | None = None
    eps_root: float | None = None
    clip_norm: float | None = None
    label_smoothing: float | None = None
    drop_factor: float | None = None
    period_factor: float | None = None
    peak_at: float | None = None
    ema_decay: float | None = None
    focal_gamma: float | None = None
    rotation: float | None = None
    magnitude: float | None = None
    brightness: float | None = None
    contrast: float | None = None
    saturation: float | None = None
    hue: float | None = None
    cutout: float | None = None
    erasing: float | None = None
    mixup: float | None = None
    cutmix: float | None = None


BELOW_ONE = ("momentum", "b1", "b2", "label_smoothing", "drop_factor", "peak_at", "ema_decay")
AT_MOST = {"rotation": 180.0, "magnitude": 10.0, "hue": 0.5, "erasing": 1.0}
HYPER_HELP = {  # whom one is for stands behind it in --help, by what uses it
    "learning_rate": "the peak learning rate",
    "weight_decay": "of kernels, added to the gradient, or decoupled",
    "momentum": "the momentum",
    "b1": "the first moment's decay",
    "b2": "the second moment's decay",
    "eps_root": "under the root; 1e-8 lets a gradient pass through a whole run",
    "clip_norm": "clip the gradient to this global norm",
    "label_smoothing": "probability spread evenly over all classes",
    "drop_factor": "of the rate at a drop; 0.1 where it is left out",
    "period_factor": "each cosine's length by the one before; 1 where it is left out",
    "peak_at": "the share of the run at which the rate peaks; 0.3 where it is left out",
    "ema_decay": "judge an exponential moving average of the weights, of such a decay an update",
    "focal_gamma": "the focal loss's exponent; without it 2",
    "rotation": "augment by rotations of up to so many degrees either way",
    "magnitude": "how strong --randaugment is, 0 to 10; by default 9",
    "brightness": "augment by factors of the brightness, 1 ± this",
    "contrast": "augment by factors of the contrast, 1 ± this",
    "saturation": "augment by factors of the saturation, 1 ± this",
    "hue": "augment by turns of the hue, ± this part of the colour circle",
    "cutout": "augment by setting a square of so many pixels a side to zero",
    "erasing": "augment by erasing a rectangle, with this probability",
    "mixup": "mix pairs of examples and their labels, a share of Beta(this, this) each",
    "cutmix": "put a rectangle of one picture into another; 1 - its area is of Beta(this, this)",
}
