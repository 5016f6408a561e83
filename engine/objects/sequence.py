"""A user's sequence of examples: PyTorch's, tfds's, Hugging Face's. Nothing of theirs is imported,
whatever has a length and gives an example for a number will do."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from engine.errors import one_line
from engine.objects.given import GIVE, Given, bundle_of, fields, others
from engine.sets import image, values
from engine.sets.asking import as_array, reading
from engine.sets.bundle import Bundle
from engine.sets.content import content
from engine.sets.limits import MOST_EXAMPLES, free_bytes
from engine.sets.stored import Stored

_ASKED_TWICE = 8  # examples: what turns by chance may come as it did


def read(split: str, data: Any, stream: bool, known: Bundle | None, alike: bool) -> Given:
    """Of a sequence, of which each example is asked for once, the first ones twice: inputs that are
    kept, or where they are too many, `Listed`; for the rest see `given.bundle_of`. Raises
    RequestError, also where the first ones are drawn anew."""
    with reading(split, "its length", "give a sequence that knows it"):
        count = len(data)
    if not 0 < count <= MOST_EXAMPLES:
        raise values.refuse(split, f"it holds {count:,} examples", f"give 1 to {MOST_EXAMPLES:,}")
    example = _asked(split, data, 0)
    with reading(split, "example 0", "mend it, or leave it out"):
        bundle = bundle_of(split, _inputs(example, f"{split}, example 0"), known, alike)
    x, y, weight = _values(split, example, 0, bundle)
    form, reason = values.form(x, y), "as asked" if stream else _too_many(count, x)
    values.check_shape(split, (1 if reason else count, *x.shape), x.dtype)
    dtype = np.uint8 if x.dtype == np.uint8 else np.float32
    inputs, targets, weights, hashes, digest = [], [], [], [], hashlib.sha256()
    whole = True
    for index in range(count):
        if index:
            x, y, weight = _values(split, _asked(split, data, index), index, bundle, form)
        if index < _ASKED_TWICE:
            before = _bytes(x, y, *weight)
            x, y, weight = _values(split, _asked(split, data, index), index, bundle)
            if _bytes(x, y, *weight) != before:
                raise values.refuse(
                    split, f"example {index} is another one each time it is asked for", "leave out "
                    "what is random, and give an augmentation as Config(augment=…), docs/own.md; "
                    "or draw it once: give arrays (x, y)")
        targets.append(y.copy())  # it may be used again
        weights += weight
        if reason:
            digest.update(np.ascontiguousarray(x).data)
            whole = whole and bool((x == np.floor(x)).all())
            hashes.append(content(_alone(split, x, index)))
        else:
            inputs.append(x.copy())
    kept = np.stack(inputs) if not reason else Listed(
        split, data, (count, *x.shape), dtype, reason, form, digest.digest(),
        np.concatenate(hashes), bundle, whole)
    return Given(kept, np.stack(targets), np.array(weights) if weights else None, others(example),
                 bundle)


def _too_many(count: int, x: np.ndarray) -> str:
    """Why so many like `x` can't be held; '' where they can."""
    need = count * x.size * (1 if x.dtype == np.uint8 else 4)
    most = free_bytes()
    return f"its {need / 1e9:,.1f} GB are more than the {most / 1e9:,.1f} GB that can be held" \
        if need > most else ""


def _asked(split: str, data: Any, index: int) -> Any:
    """A sequence's example. Raises RequestError for what holds no input and target."""
    with reading(split, f"example {index}", "mend it, or leave it out"):
        example = data[index]
        if fields(example):
            return example
    keys = f" of {[*example]}" if isinstance(example, Mapping) else ""
    raise values.refuse(
        split, one_line(f"example {index} is a {type(example).__name__}{keys}"), GIVE)


def _inputs(example: Any, where: str) -> Any:
    """An example's input; of several, arrays [1, ...] by their names."""
    given = fields(example)[0]
    if not isinstance(given, Mapping):
        return given
    return {name: _array(value, where)[None] for name, value in given.items()}


def _values(
    split: str, example: Any, index: int, bundle: Bundle | None, form: str = ""
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Input and target of an example, which is of that `form`, its weight if it has one. A PIL
    picture is uint8 [H, W, C], C 1 where it is grey and else 3, upright and on white as files are;
    inputs by their names are packed. Raises RequestError."""
    where = f"{split}, example {index}"
    with reading(split, f"example {index}", "mend it, or leave it out"):
        given = _inputs(example, where)
        x = bundle.pack(where, given)[0] if bundle else _array(given, where)
        # Of a mask that is PIL's its numbers.
        y, *weight = (as_array(one, where) for one in fields(example)[1:])
        own_weight = [float(value) for value in weight]
    if form and (own := values.form(x, y)) != form:
        raise values.refuse(split, f"example {index} is {own}, example 0 {form}",
                            "bring all to one shape and type")
    return x, y, own_weight


def _bytes(*given: Any) -> list[bytes]:
    """To compare: NaN is NaN; objects, which are refused later, are never told apart."""
    return [b"" if x.dtype.hasobject else x.tobytes() for x in map(np.asarray, given)]


class Listed(Stored):
    """Inputs of a user's sequence, each asked for when it is needed; `stamp` is a digest of all of
    them as they were at first, `hashes` of each, uint64 [N]; `whole` whether none has fractions."""

    def __init__(self, split: str, data: Any, shape: tuple[int, ...], dtype: Any, reason: str,
                 form: str, stamp: bytes, hashes: np.ndarray, bundle: Bundle | None,
                 whole: bool):
        super().__init__(shape, dtype, reason, hashes)
        self.split, self.data, self.form, self.stamp = split, data, form, stamp
        self.bundle, self.whole = bundle, whole

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for at, row in enumerate(rows.tolist()):
            example = _asked(self.split, self.data, row)
            x, *_ = _values(self.split, example, row, self.bundle, self.form)
            out[at] = _alone(self.split, x, row)[0]


def _alone(split: str, x: np.ndarray, index: int) -> np.ndarray:
    """An example's input [1, ...] as it is learned from. Raises RequestError."""
    return values.numbers(f"{split}, example {index}", "inputs", x[None])


def _array(value: Any, where: str) -> np.ndarray:
    if not isinstance(value, Image.Image):
        return as_array(value, where)
    return image.pixels(value, image.MODES[image.channels(value)])
