"""Whether the augmentations that a run asks for suit its examples."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from engine.data import Subset
from engine.doors.bring import short
from engine.doors.handed import has_codes
from engine.errors import RequestError, sides

if TYPE_CHECKING:
    from engine.learners.gradient import Gradient

MIXING_LABELS = "mixup", "cutmix"
MOVING, MOVING_BOTH = ("rotation", "randaugment"), ("flip", "crop_padding")  # with their classes
OF_COLOURS = "saturation", "hue"  # which grey has none of
FROM_0_TO_1 = "randaugment", "brightness", "contrast", *OF_COLOURS, "erasing"
BLENDING = *MIXING_LABELS, "rotation", *FROM_0_TO_1
OF_PICTURES = "flip", "crop_padding", "rotation", *FROM_0_TO_1, "cutout", "cutmix"


def check_form(learner: "Gradient", hyper: Any, train: Subset) -> None:
    """Raise RequestError for what training examples have no axes, room, colours or labels for;
    values may be traced."""
    asked = _asked(learner, hyper)
    for said in _of_shape(asked, train.input_shape):
        raise RequestError(said)
    name = _first(asked, MIXING_LABELS)
    if name and learner.task.kind in ("numbers", "positions"):
        raise RequestError(f"{_typed(name, asked)} mixes labels, and task "
                           f"{short(learner.config.task)} learns {learner.task.kind}: leave it "
                           "out.")
    alike = train.split.targets.shape[1:] == train.input_shape[:2]
    moved = _first(asked, MOVING if alike else (*MOVING, *MOVING_BOTH))
    if moved and learner.task.kind == "positions":
        raise RequestError(f"{_typed(moved, asked)} would move pixels, and not their classes: "
                           "leave it out, or augment by a function of (key, inputs, targets), "
                           "--augment FILE.py:NAME.")
    of_codes = _first(asked, BLENDING)
    if of_codes and has_codes(learner.network, train.input_shape):
        raise RequestError(f"{_typed(of_codes, asked)} makes other numbers of inputs, and model "
                           f"{short(learner.config.model)} takes whole ones: leave it out.")
    if name and train.split.weights is not None:
        raise RequestError(f"{_typed(name, asked)} mixes examples, and each has a weight of its "
                           "own: leave it out, or give no weights.")


def check(learner: "Gradient", hyper: Any, train: Subset) -> None:
    """The same, and for training examples that are no pictures where only those are meant."""
    check_form(learner, hyper, train)
    asked = _asked(learner, hyper)
    if (name := _first(asked, FROM_0_TO_1)) and train.split.inputs.dtype != np.uint8:
        low, high = _range(train)
        if low < 0 or high > 1:
            raise RequestError(f"{_typed(name, asked)} is for pictures from 0, black, to 1, white, "
                               f"and these are from {low:.4g} to {high:.4g}: give uint8, or floats "
                               "from 0 to 1, or leave it out.")


def _asked(learner: "Gradient", hyper: Any) -> dict[str, Any]:
    static = {name: value for name in ("flip", "crop_padding", "randaugment")
              if (value := getattr(learner.config, name))}
    return static | {name: x for name, x in hyper._asdict().items() if x is not None}


def check_size(hyper: Any, shape: tuple[int, ...]) -> None:
    """Raise RequestError for a value that leaves nothing of inputs of `shape`: of a sweep's runs,
    which share all else."""
    for said in _too_large({"cutout": getattr(hyper, "cutout", None)}, shape):
        raise RequestError(said)


def _first(asked: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in asked), "")


def _typed(name: str, asked: dict[str, Any]) -> str:
    value = asked[name]
    untold = value is True or isinstance(value, jax.core.Tracer)
    return f"--{name}" if untold else f"--{name} {float(value):g}"


def _of_shape(asked: dict[str, Any], shape: tuple[int, ...]) -> Iterator[str]:
    if (name := _first(asked, OF_PICTURES)) and len(shape) != 3:
        yield (f"{_typed(name, asked)} is for pictures, [height, width, channels], and the inputs "
               f"are {sides(shape)}: leave it out.")
    yield from _too_large(asked, shape)
    if (name := _first(asked, OF_COLOURS)) and shape[-1] != 3:
        yield (f"{_typed(name, asked)} is for colours, three channels, and has no effect on "
               f"pictures of {sides(shape)}: leave it out.")


def _too_large(asked: dict[str, Any], shape: tuple[int, ...]) -> Iterator[str]:
    padding, side = asked.get("crop_padding", 0), asked.get("cutout") or 0
    smallest = min(shape[:2])
    if padding and padding >= smallest:
        yield (f"--crop_padding {padding} would leave nothing of {shape[0]} × {shape[1]}: type "
               f"less than {smallest}.")
    if not isinstance(side, jax.core.Tracer) and side > smallest:
        yield (f"--cutout {float(side):g} is larger than the pictures of {shape[0]} × {shape[1]} "
               f"pixels: type {smallest} or less.")


def _range(train: Subset) -> tuple[float, float]:
    """The least and the largest number of its inputs, of a streamed set those of the first."""
    held = train.split.inputs
    values = held if isinstance(held, np.ndarray | jax.Array) else held[train.rows[:1000]]
    return float(np.min(values)), float(np.max(values))
