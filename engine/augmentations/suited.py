"""Whether the augmentations that a run asks for suit its examples."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import jax
import numpy as np

from engine.augmentations import chain
from engine.augmentations.purpose import Purpose
from engine.doors.bring import short
from engine.doors.handed import has_codes
from engine.errors import RequestError, sides
from engine.examples import Subset
from engine.objective import Objective

PURPOSES = {flag: each.PURPOSE for each in chain.ORDER for flag in each.PURPOSE.flags}


def check_form(learner: Objective, hyper: Any, train: Subset) -> None:
    """Raise RequestError for what training examples have no axes, room, colours or labels for;
    values may be traced."""
    asked = _asked(learner, hyper)
    for said in _of_shape(asked, train.input_shape):
        raise RequestError(said)
    name = _first(asked, attrgetter("labels"))
    if name and learner.task.kind in ("numbers", "positions"):
        raise RequestError(f"{_typed(name, asked)} mixes labels, and task "
                           f"{short(learner.config.task)} learns {learner.task.kind}: leave it "
                           "out.")
    alike = train.split.targets.shape[1:] == train.input_shape[:2]
    moved = _first(asked, lambda purpose: purpose.moves and not (alike and purpose.with_classes))
    if moved and learner.task.kind == "positions":
        raise RequestError(f"{_typed(moved, asked)} would move pixels, and not their classes: "
                           "leave it out, or augment by a function of (key, inputs, targets), "
                           "--augment FILE.py:NAME.")
    of_codes = _first(asked, attrgetter("numbers"))
    if of_codes and (coded := _coded(learner, train.input_shape)):
        raise RequestError(f"{_typed(of_codes, asked)} makes other numbers of inputs, and {coded}: "
                           "leave it out.")
    if name and train.split.weights is not None:
        raise RequestError(f"{_typed(name, asked)} mixes examples, and each has a weight of its "
                           "own: leave it out, or give no weights.")


def check(learner: Objective, hyper: Any, train: Subset) -> None:
    """The same, and for training examples that are no pictures where only those are meant."""
    check_form(learner, hyper, train)
    asked = _asked(learner, hyper)
    if (name := _first(asked, attrgetter("unit"))) and train.split.inputs.dtype != np.uint8:
        low, high = _range(train)
        if low < 0 or high > 1:
            raise RequestError(f"{_typed(name, asked)} is for pictures from 0, black, to 1, white, "
                               f"and these are from {low:.4g} to {high:.4g}: give uint8, or floats "
                               "from 0 to 1, or leave it out.")


def _asked(learner: Objective, hyper: Any) -> dict[str, Any]:
    static = {flag: value for flag in PURPOSES if (value := getattr(learner.config, flag, None))}
    return static | {name: x for name, x in hyper._asdict().items() if x is not None}


def check_size(hyper: Any, shape: tuple[int, ...]) -> None:
    """Raise RequestError for a value that leaves nothing of inputs of `shape`: of a sweep's runs,
    which share all else."""
    for said in _too_large({"cutout": getattr(hyper, "cutout", None)}, shape):
        raise RequestError(said)


def _first(asked: dict[str, Any], such: Callable[[Purpose], object]) -> str:
    """The flag of the first that is asked for and is such, or ""."""
    return next((flag for flag, each in PURPOSES.items() if flag in asked and such(each)), "")


def _coded(learner: Objective, shape: tuple[int, ...]) -> str:
    """What makes or takes codes among its inputs, in words."""
    if learner.config.embed and len(shape) == 1:
        return "--embed makes codes of words"
    return f"model {short(learner.config.model)} takes whole ones" \
        if has_codes(learner.network, shape) else ""


def _typed(name: str, asked: dict[str, Any]) -> str:
    value = asked[name]
    untold = value is True or isinstance(value, jax.core.Tracer)
    return f"--{name}" if untold else f"--{name} {float(value):g}"


def _of_shape(asked: dict[str, Any], shape: tuple[int, ...]) -> Iterator[str]:
    if (name := _first(asked, attrgetter("pictures"))) and len(shape) != 3:
        yield (f"{_typed(name, asked)} is for pictures, [height, width, channels], and the inputs "
               f"are {sides(shape)}: leave it out.")
    yield from _too_large(asked, shape)
    coloured = (flag for each in PURPOSES.values() for flag in each.colours)
    if (name := next(filter(asked.__contains__, coloured), "")) and shape[-1] != 3:
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
