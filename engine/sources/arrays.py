"""A user's own data as objects: arrays, or sequences of examples, become a `Dataset`.

Sequences are PyTorch's, tfds's, Hugging Face's: nothing of theirs is imported, whatever has a
length and gives an example for a number will do.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from engine.devices.choose import host_memory
from engine.errors import RequestError, one_line, some, unknown
from engine.sources import cache, image, values
from engine.sources.dataset import (
    MOST_BYTES,
    MOST_EXAMPLES,
    Dataset,
    Split,
    asked,
    content,
    is_frame,
)  # fmt: skip
from engine.sources.stored import Stored

NAME = values.NAME
INPUTS = ("image", "images", "input", "inputs", "x", "pixel_values", "img", "features")
TARGETS = ("label", "labels", "target", "targets", "y")
_KINDS = "", "classes", "numbers", "labels"
_Read = tuple[Any, np.ndarray, tuple[str, ...]]  # inputs, targets, names of what else there is
_GIVE = (f"give two arrays (x, y); a sequence of pairs (input, target), or of mappings with one of "
         f"{', '.join(INPUTS)} and one of {', '.join(TARGETS)}; or one of these a split: "
         '{"train": (x, y), "test": (x, y)}')


def of(
    data: Any, kind: str = "classes", names: Sequence[str] | None = None, stream: bool = False
) -> Dataset:
    """The set that `data` holds, all of it in memory; its fingerprint is its content's. With
    `stream`, and where the memory can't hold it, a sequence's inputs are read again as they are
    needed (`stored.Stored`).

    `data` is a tuple (x, y) of arrays, or of what NumPy makes arrays of; or a list, or any object
    with a length and numbered examples, each a pair (input, target) or a mapping with one of each
    (INPUTS, TARGETS), read once; or a mapping with those two arrays. That is the split `train`; a
    mapping of names to such data is splits. So a tuple is always (x, y), a list never. An x that is
    a pandas DataFrame is a table, whose columns become features once it is cut. A `Dataset` is
    returned as it is.

    Inputs [N, ...] of 2 to 5 dimensions: uint8 stays (pictures, which the device scales to 0..1);
    any other number becomes float32 and is never scaled. Targets, by `kind`:
      classes: [N] whole numbers 0..C-1, or strings, numbered in their order as text → int32 [N];
        `Dataset.classes` is `names`, else what the data itself calls them, else the strings or
        "0".."C-1" of all splits.
      numbers: [N] or [N, K] to be predicted → float32; `Dataset.classes` names the K.
      labels: [N, K] of 0 and 1, each label true or not → float32; `Dataset.classes` names the K.
      "": classes, or numbers where any of them has a fraction.
    Raises RequestError for what is no such data, or would not be learned as it is.
    """
    if isinstance(data, Dataset):
        return data
    if kind not in _KINDS:
        raise unknown("kind of targets", str(kind), _KINDS)
    parts = data if isinstance(data, Mapping) and not _columns(data) else {"train": data}
    found = {split: _read(split, parts[split], stream) for split in asked(NAME, parts)}
    pairs = {split: (x, y) for split, (x, y, _) in found.items()}
    inputs = {split: x if is_frame(x) or isinstance(x, Stored) else
              values.numbers(split, "inputs", x)
              for split, (x, _) in pairs.items()}
    forms = {split: values.form(*pair, 1) for split, pair in pairs.items()}
    (first, expected), *others = forms.items()
    for split, form in others:
        if form != expected:
            raise values.refuse(split, f"its examples are {form}, those of {first} {expected}",
                                "give all splits one type and shape")
        values.same_columns(split, inputs[split], first, inputs[first])
    told = {_class_names(part) for part in parts.values()} - {None}
    if names is None and kind in ("", "classes") and told:
        if len(told) > 1:
            raise RequestError(f"{NAME}: its splits call their classes differently; give names, "
                               "which hold for all.")
        names = told.pop()
    called = None if names is None else values.checked(names)
    given = {split: y for split, (_, y) in pairs.items()}
    kind = kind or values.kind(given)
    targets, classes = (values.classes(given, called) if kind == "classes" else
                        values.outputs(kind, given, called))
    entries = {}
    for split in parts:
        with _reading(split, "its values", "give numbers, booleans, dates or words"):
            entries[split] = cache.entry(Split(inputs[split], targets[split]), classes)
    notes = *values.scale(inputs[first]), *_passed_over(found.values())
    return dataclasses.replace(cache.together(NAME, entries), notes=notes)


def _columns(keys: Any) -> tuple[Any, Any] | None:
    """Which of a mapping's `keys` are the input's and the target's, if there is one of each."""
    inputs, targets = ([name for name in names if name in keys] for names in (INPUTS, TARGETS))
    return (inputs[0], targets[0]) if len(inputs) == len(targets) == 1 else None


def _pair(given: Any) -> tuple[Any, Any] | None:
    """The input and the target, or the inputs and the targets, if it holds both."""
    if isinstance(given, Mapping):
        keys = _columns(given)
    else:
        keys = (0, 1) if isinstance(given, tuple | list) and len(given) == 2 else None
    return (given[keys[0]], given[keys[1]]) if keys else None


def _others(given: Any) -> tuple[str, ...]:
    """What a mapping holds besides the input and the target."""
    keys = _columns(given) if isinstance(given, Mapping) else None
    return tuple(str(name) for name in given if name not in keys) if keys else ()


def _passed_over(found: Iterable[_Read]) -> tuple[str, ...]:
    names = dict.fromkeys(name for *_, others in found for name in others)
    return (f"passed over: {some([repr(name) for name in names])}, as an example is an input and a "
            "target",) if names else ()


@contextlib.contextmanager
def _reading(split: str, what: str, instead: str) -> Iterator[None]:
    """Around the user's own code, which raises what it likes: its faults as RequestError."""
    try:
        yield
    except Exception as error:
        told = ": ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]])
        raise values.refuse(split, f"{what} can't be read ({one_line(told)})", instead) from error


def _read(split: str, data: Any, stream: bool) -> _Read:
    """A split's inputs and targets [N, ...] as they came, and the names of what else it has.
    Raises RequestError."""
    if is_frame(data):
        raise values.refuse(split, "it is a table alone", "give its columns to learn from and that "
                            "to learn: (table.drop(columns='y'), table['y'])")
    if (hasattr(data, "__len__") and hasattr(data, "__getitem__")
            and not isinstance(data, tuple | Mapping | str | bytes)):
        return _stacked(split, data, stream)
    if not (pair := _pair(data)):
        length = f" of {len(data)}" if isinstance(data, tuple) else ""
        raise values.refuse(split, f"of type {type(data).__name__}{length}, it is no data", _GIVE)
    with _reading(split, "as arrays, it", _GIVE):
        # Of jax, and of PyTorch on the CPU, without a copy.
        x, y = pair[0] if is_frame(pair[0]) else np.asarray(pair[0]), np.asarray(pair[1])
    if x.shape[:1] != y.shape[:1]:
        raise values.refuse(split, f"it has inputs of shape {x.shape}, but targets of {y.shape}",
                            "give one of each an example")
    values.check_shape(split, x.shape, np.dtype("f4") if is_frame(x) else x.dtype)
    return x, y, _others(data)


def _stacked(split: str, data: Any, stream: bool) -> _Read:
    """Of a sequence, of which each example is asked for once: inputs that are kept, or where they
    are too many, `Listed`. Raises RequestError."""
    with _reading(split, "its length", "give a sequence that knows it"):
        count = len(data)
    if not 0 < count <= MOST_EXAMPLES:
        raise values.refuse(split, f"it holds {count:,} examples", f"give 1 to {MOST_EXAMPLES:,}")
    x, y, first = _example(split, data, 0)
    form, reason = values.form(x, y), "as asked" if stream else _too_many(count, x)
    values.check_shape(split, (1 if reason else count, *x.shape), x.dtype)
    dtype = np.uint8 if x.dtype == np.uint8 else np.float32
    inputs, targets, hashes, digest = [], [], [], hashlib.sha256()
    for index in range(count):
        x, y, _ = _example(split, data, index, form) if index else (x, y, first)
        targets.append(y.copy())  # it may be used again
        if reason:
            digest.update(np.ascontiguousarray(x).data)
            hashes.append(content(_alone(split, x, index)))
        else:
            inputs.append(x.copy())
    if not reason:
        return np.stack(inputs), np.stack(targets), _others(first)
    kept = Listed(split, data, (count, *x.shape), dtype, reason, form, digest.digest(),
                  np.concatenate(hashes))
    return kept, np.stack(targets), _others(first)


def _too_many(count: int, x: np.ndarray) -> str:
    """Why so many like `x` can't be held; '' where they can."""
    need = count * x.size * (1 if x.dtype == np.uint8 else 4)
    memory = host_memory()
    most = min(MOST_BYTES, memory[1]) if memory else MOST_BYTES
    return f"its {need / 1e9:,.1f} GB are more than the {most / 1e9:,.1f} GB that can be held" \
        if need > most else ""


def _example(split: str, data: Any, index: int, form: str = "") -> tuple[Any, Any, Any]:
    """Input and target of a sequence's example, which is of that `form`, and itself. A PIL picture
    is uint8 [H, W, C], C 1 where it is grey and else 3, upright and on white as files are. Raises
    RequestError."""
    with _reading(split, f"example {index}", "mend it, or leave it out"):
        example = data[index]
        pair = [_array(value) for value in _pair(example) or ()]
    if not pair:
        keys = f" of {[*example]}" if isinstance(example, Mapping) else ""
        raise values.refuse(
            split, one_line(f"example {index} is a {type(example).__name__}{keys}"), _GIVE)
    x, y = pair
    if form and (found := values.form(x, y)) != form:
        raise values.refuse(split, f"example {index} is {found}, example 0 {form}",
                            "bring all to one shape and type")
    return x, y, example


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


def _class_names(data: Any) -> tuple[str, ...] | None:
    """What a sequence itself calls its classes, if it does: Hugging Face and tfds in the features
    of the target, torchvision as `classes`."""
    features: Any = getattr(getattr(data, "dataset_info", data), "features", None)
    found = _columns(features) if hasattr(features, "keys") else None
    told = getattr(features[found[1]], "names", None) if found else getattr(data, "classes", None)
    texts = isinstance(told, list | tuple) and all(isinstance(name, str) for name in told)
    return tuple(told) if told and texts else None
