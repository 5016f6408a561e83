"""A sequence of examples, as PyTorch, tfds and Hugging Face have them, read whole into two arrays.

Nothing of theirs is imported: whatever has a length and gives an example for a number will do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import one_line
from engine.sources import image, values

INPUTS = ("image", "images", "input", "inputs", "x", "pixel_values", "img", "features")
TARGETS = ("label", "labels", "target", "targets", "y")


def columns(keys: Any) -> tuple[str, str] | None:
    """Which of a mapping's `keys` are the input's and the target's: None unless there is one of
    each."""
    inputs, targets = ([name for name in names if name in keys] for names in (INPUTS, TARGETS))
    return (inputs[0], targets[0]) if len(inputs) == len(targets) == 1 else None


def is_sequence(data: object) -> bool:
    """Whether its examples can be asked for one by one; a tuple is (x, y)."""
    return (hasattr(data, "__len__") and hasattr(data, "__getitem__")
            and not isinstance(data, tuple | Mapping | str | bytes))


def read(split: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """inputs uint8 or float32 [N, ...] and targets [N, ...]; each example is asked for once.

    A PIL picture is uint8 [H, W, C], C 1 where it is grey and else 3, without alpha. Raises
    RequestError for an example that can't be read, is no such pair, or is of another shape than
    the first.
    """
    try:
        count = len(data)
    except Exception as error:  # the user's own code raises what it likes
        raise values.refuse(split, f"its length can't be had ({_last(error)})",
                            "give a sequence that knows it") from error
    values.check_count(split, count)
    for index in range(count):
        given, target = _example(split, data, index)
        value = values.numbers(split, f"inputs, in example {index},", given)
        if not index:
            values.check_shape(split, (count, *value.shape), value.dtype)
            inputs, targets = np.empty((count, *value.shape), value.dtype), [target] * count
        _check_alike(split, "input", index, value, inputs[0])
        _check_alike(split, "target", index, target, targets[0])
        if value.dtype != inputs.dtype:
            raise values.refuse(split, f"the input of example {index} is {value.dtype}, that of "
                                f"example 0 {inputs.dtype}", "give all one type")
        inputs[index], targets[index] = value, target.copy()  # it may be used again
    return inputs, np.stack(targets)


def class_names(data: Any) -> tuple[str, ...] | None:
    """What the sequence itself calls its classes, if it does: Hugging Face and tfds in the features
    of the target, torchvision as `classes`."""
    about = getattr(data, "dataset_info", data)
    features: Any = getattr(about, "features", None)
    found = columns(features) if hasattr(features, "keys") else None
    told = getattr(features[found[1]], "names", None) if found else getattr(data, "classes", None)
    if not isinstance(told, list | tuple) or not all(isinstance(name, str) for name in told):
        return None
    return tuple(told) or None


def _example(split: str, data: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        example = data[index]
        pair = _pair(example)
        if pair:
            return _array(pair[0]), _array(pair[1])
    except Exception as error:  # the user's own code raises what it likes
        raise values.refuse(split, f"example {index} can't be read ({_last(error)})",
                            "mend it, or leave it out") from error
    seen = f"of type {type(example).__name__}"
    if isinstance(example, Mapping):
        seen = one_line(f"a mapping of {', '.join(map(repr, example))}")
    raise values.refuse(
        split, f"example {index} is {seen}",
        f"give a pair (input, target), a mapping with one input ({', '.join(INPUTS)}) and one "
        f"target ({', '.join(TARGETS)}), or all examples as a tuple of two arrays, (x, y)",
    )


def _check_alike(split: str, what: str, index: int, other: np.ndarray, first: np.ndarray) -> None:
    if other.shape != first.shape:
        raise values.refuse(split, f"the {what} of example {index} has the shape {other.shape}, "
                            f"that of example 0 {first.shape}", "bring all to one shape")


def _pair(example: Any) -> tuple[Any, Any] | None:
    if isinstance(example, Mapping):
        found = columns(example)
        return (example[found[0]], example[found[1]]) if found else None
    two = isinstance(example, tuple | list) and len(example) == 2
    return (example[0], example[1]) if two else None


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, Image.Image):
        return np.asarray(value)
    if value.mode[0] in "IF":
        raise ValueError(f"a picture of mode {value.mode} would be cut off at 255: convert it to L")
    mode = "L" if value.mode in image.GREY else "RGB"
    pixels = np.asarray(value if value.mode == mode else value.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _last(error: Exception) -> str:
    """The type of an exception, and the last line of what it says."""
    lines = str(error).strip().splitlines()
    return one_line(": ".join([type(error).__name__, *lines[-1:]]))
