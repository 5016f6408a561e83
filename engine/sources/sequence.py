"""A user's sequence of examples: PyTorch's, tfds's, Hugging Face's. Nothing of theirs is imported,
whatever has a length and gives an example for a number will do."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from engine.devices.choose import host_memory
from engine.errors import one_line
from engine.sources import image, values
from engine.sources.dataset import MOST_BYTES, MOST_EXAMPLES, content
from engine.sources.given import GIVE, Given, fields, others, reading
from engine.sources.stored import Stored


def read(split: str, data: Any, stream: bool) -> Given:
    """Of a sequence, of which each example is asked for once: inputs that are kept, or where they
    are too many, `Listed`. Raises RequestError."""
    with reading(split, "its length", "give a sequence that knows it"):
        count = len(data)
    if not 0 < count <= MOST_EXAMPLES:
        raise values.refuse(split, f"it holds {count:,} examples", f"give 1 to {MOST_EXAMPLES:,}")
    x, y, weight, first = _example(split, data, 0)
    form, reason = values.form(x, y), "as asked" if stream else _too_many(count, x)
    values.check_shape(split, (1 if reason else count, *x.shape), x.dtype)
    dtype = np.uint8 if x.dtype == np.uint8 else np.float32
    inputs, targets, weights, hashes, digest = [], [], [], [], hashlib.sha256()
    for index in range(count):
        if index:
            x, y, weight, _ = _example(split, data, index, form)
        targets.append(y.copy())  # it may be used again
        weights += weight
        if reason:
            digest.update(np.ascontiguousarray(x).data)
            hashes.append(content(_alone(split, x, index)))
        else:
            inputs.append(x.copy())
    kept = np.stack(inputs) if not reason else Listed(
        split, data, (count, *x.shape), dtype, reason, form, digest.digest(),
        np.concatenate(hashes))
    return Given(kept, np.stack(targets), np.array(weights) if weights else None, others(first))


def _too_many(count: int, x: np.ndarray) -> str:
    """Why so many like `x` can't be held; '' where they can."""
    need = count * x.size * (1 if x.dtype == np.uint8 else 4)
    memory = host_memory()
    most = min(MOST_BYTES, memory[1]) if memory else MOST_BYTES
    return f"its {need / 1e9:,.1f} GB are more than the {most / 1e9:,.1f} GB that can be held" \
        if need > most else ""


def _example(
    split: str, data: Any, index: int, form: str = ""
) -> tuple[np.ndarray, np.ndarray, list[float], Any]:
    """Input and target of a sequence's example, which is of that `form`, its weight if it has one,
    and itself. A PIL picture is uint8 [H, W, C], C 1 where it is grey and else 3, upright and on
    white as files are. Raises RequestError."""
    with reading(split, f"example {index}", "mend it, or leave it out"):
        example = data[index]
        found = [_array(value) for value in fields(example)]
        weight = [float(value) for value in found[2:]]
    if not found:
        keys = f" of {[*example]}" if isinstance(example, Mapping) else ""
        raise values.refuse(
            split, one_line(f"example {index} is a {type(example).__name__}{keys}"), GIVE)
    x, y, *_ = found
    if form and (own := values.form(x, y)) != form:
        raise values.refuse(split, f"example {index} is {own}, example 0 {form}",
                            "bring all to one shape and type")
    return x, y, weight, example


class Listed(Stored):
    """Inputs of a user's sequence, each asked for when it is needed; `stamp` is a digest of all of
    them as they were at first, `hashes` of each, uint64 [N]."""

    def __init__(self, split: str, data: Any, shape: tuple[int, ...], dtype: Any, reason: str,
                 form: str, stamp: bytes, hashes: np.ndarray):
        super().__init__(shape, dtype, reason)
        self.split, self.data, self.form, self.stamp = split, data, form, stamp
        self.hashes = hashes

    def contents(self) -> np.ndarray:
        return self.hashes

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for at, row in enumerate(rows.tolist()):
            x, *_ = _example(self.split, self.data, row, self.form)
            out[at] = _alone(self.split, x, row)[0]


def _alone(split: str, x: np.ndarray, index: int) -> np.ndarray:
    """An example's input [1, ...] as it is learned from. Raises RequestError."""
    return values.numbers(f"{split}, example {index}", "inputs", x[None])


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, Image.Image):
        return np.asarray(value)
    return image.pixels(value, image.MODES[image.channels(value)])
