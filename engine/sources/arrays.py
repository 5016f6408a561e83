"""A user's own data as objects: arrays, or sequences of examples, become a `Dataset`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.errors import RequestError, unknown
from engine.sources import cache, sequence, values
from engine.sources.dataset import Dataset, Split

NAME = values.NAME
_KINDS = {"classes": values.classes, "numbers": values.quantities, "labels": values.labels}
_SPLIT = re.compile(r"[\w.-]{1,64}")  # what --train_split can name
_GIVE = ('give two arrays (x, y), a sequence of pairs (input, target), or one of these a split: '
         '{"train": (x, y), "test": (x, y)}')


class Found(NamedTuple):
    """A split's inputs, uint8 or float32 [N, ...], its targets [N, ...] as they came, and what the
    data itself calls its classes."""

    inputs: np.ndarray
    targets: np.ndarray
    names: tuple[str, ...] | None = None


def of(data: Any, kind: str = "classes", names: Sequence[str] | None = None) -> Dataset:
    """The set that `data` holds, all of it in memory; its fingerprint is its content's.

    `data` is a tuple (x, y) of arrays, or of what NumPy makes arrays of; or a list, or any object
    with a length and numbered examples, each a pair (input, target) or a mapping with one of each
    (`sequence.INPUTS`, `sequence.TARGETS`), read once; or a mapping with those two arrays. That is
    the split `train`; a mapping of names to such data is splits. So a tuple is always (x, y), a
    list never. A `Dataset` is returned as it is.

    Inputs [N, ...] of 2 to 5 dimensions: uint8 stays (pictures, which the device scales to 0..1);
    any other number becomes float32 and is never scaled. Targets, by `kind`:
      classes: [N] whole numbers 0..C-1, or strings, numbered in their order as text → int32 [N];
        `Dataset.classes` is `names`, else what the data itself calls them, else the strings or
        "0".."C-1" of all splits.
      numbers: [N] or [N, K] to be predicted → float32; `Dataset.classes` names the K.
      labels: [N, K] of 0 and 1, each label true or not → float32; `Dataset.classes` names the K.
    Raises RequestError for what is no such data, for unequal lengths or shapes, NaN and infinity,
    whole numbers that are no float32, and labels that are no class.
    """
    if isinstance(data, Dataset):
        return data
    if kind not in _KINDS:
        raise unknown("kind of targets", str(kind), _KINDS)
    found = {split: _read(split, part) for split, part in _splits(data).items()}
    for split, part in found.items():
        values.finite(split, "inputs", part.inputs)
    values.alike({split: part.inputs for split, part in found.items()}, "inputs")
    if names is None and kind == "classes":
        names = _told(found)
    targets, classes = _KINDS[kind](
        {split: part.targets for split, part in found.items()},
        None if names is None else values.checked(names),
    )
    splits = {split: Split(part.inputs, targets[split]) for split, part in found.items()}
    digests = {split: cache.digest(part, classes) for split, part in splits.items()}
    return Dataset(NAME, classes, splits, cache.fingerprint(digests))


def _splits(data: Any) -> dict[str, Any]:
    """Split → its data. Raises RequestError."""
    if not isinstance(data, Mapping) or sequence.columns(data):
        return {"train": data}
    if not data:
        raise RequestError(f"{NAME}: the mapping holds no split; {_GIVE}.")
    for split in data:
        if not isinstance(split, str) or not _SPLIT.fullmatch(split):
            raise RequestError(f"{NAME}: the split {split!r} has a name that can't be typed; name "
                               "it with letters, digits, _, - and dots.")
    return dict(data)


def _read(split: str, data: Any) -> Found:
    """What a split's data holds. Raises RequestError."""
    if sequence.is_sequence(data):
        return Found(*sequence.read(split, data), sequence.class_names(data))
    if isinstance(data, tuple) and len(data) == 2:
        x, y = data
    elif isinstance(data, Mapping) and (keys := sequence.columns(data)):
        x, y = (data[key] for key in keys)
    else:
        length = f" of {len(data)}" if isinstance(data, tuple) else ""
        raise values.refuse(split, f"of type {type(data).__name__}{length}, it is no data", _GIVE)
    x, y = values.array(split, "inputs", x), values.array(split, "targets", y)
    if x.shape[:1] != y.shape[:1]:
        inputs, targets = (f"{len(array):,}" if array.ndim else "no row of" for array in (x, y))
        raise values.refuse(split, f"it has {inputs} inputs, but {targets} targets",
                            "give one of each an example")
    values.check_shape(split, x.shape, x.dtype)
    return Found(values.numbers(split, "inputs", x), y)


def _told(found: Mapping[str, Found]) -> tuple[str, ...] | None:
    """What the splits call their classes. Raises RequestError where they differ."""
    told = {part.names: split for split, part in found.items() if part.names}
    if len(told) > 1:
        (one, first), (other, second), *_ = told.items()
        raise values.refuse(second, f"it calls its {len(other)} classes otherwise than {first} "
                            f"its {len(one)}", "give names, which hold for all splits")
    return next(iter(told), None)
