"""A user's own data as objects: arrays, or sequences of examples, become a `Dataset`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import RequestError, some, unknown
from engine.examples import Split
from engine.objects import sequence
from engine.objects.given import GIVE, Given, bundle_of, columns, fields, others
from engine.sets import cache, values
from engine.sets.asking import as_array, reading
from engine.sets.bundle import Bundle
from engine.sets.dataset import Dataset, asked
from engine.sets.names import ARRAYS
from engine.sets.stored import Stored
from engine.sets.tabular import is_frame

_KINDS = "", "classes", "numbers", "labels", "positions"


def of(
    data: Any, kind: str = "classes", names: Sequence[str] | None = None, stream: bool = False,
    bundle: Bundle | None = None,
) -> Dataset:
    """The set that `data` holds, all of it in memory; its fingerprint is its content's. With
    `stream`, and where the memory can't hold it, a sequence's inputs are read again as they are
    needed (`stored.Stored`).

    `data` is a tuple (x, y) of arrays, or of what NumPy makes arrays of, or (x, y, weights); or a
    list, or any object with a length and numbered examples, each a pair (input, target) or a
    mapping with one of each (INPUTS, TARGETS), of WEIGHTS too if it likes, read once; or a mapping
    with those arrays. That is the split `train`; a mapping of names to such data is splits. So a
    tuple is always (x, y), a list never. An x that is a pandas DataFrame is a table, whose columns
    become features once it is cut. A `Dataset` is returned as it is.

    An x that is a mapping of arrays by their names is a `Bundle`, packed in float32 [N, F]; given
    one, the `bundle` says which, of which shape and dtype. Other
    inputs are [N, ...] of 2 to 5 dimensions: uint8 stays (pictures, which the device scales to
    0..1); any other number becomes float32 and is never scaled. Targets, by `kind`:
      classes: [N] whole numbers 0..C-1, or strings, numbered in their order as text → int32 [N];
        `Dataset.classes` is `names`, else what the data itself calls them, else the strings or
        "0".."C-1" of all splits.
      numbers: [N] or [N, K] to be predicted → float32; `Dataset.classes` names the K.
      labels: [N, K] of 0 and 1, each label true or not → float32; `Dataset.classes` names the K.
      positions: [N, ...] whole numbers 0..C-1 of each position, -1 where it has none → int32.
      "": classes, or numbers where any of them has a fraction, or positions where they are whole
        numbers [N, H, W] or of more axes.
    Weights [N], 0 or more, multiply each example's loss in training.
    Raises RequestError for what is no such data, or would not be learned as it is.
    """
    if isinstance(data, Dataset):
        return data
    if kind not in _KINDS:
        raise unknown("kind of targets", str(kind), _KINDS)
    parts = data if isinstance(data, Mapping) and not columns(data) else {"train": data}
    found: dict[str, Given] = {}
    for split in asked(ARRAYS, parts):
        known = next(iter(found.values())).bundle if found else bundle
        found[split] = _read(split, parts[split], stream, known, bool(found))
    bundle = next(iter(found.values())).bundle
    pairs = {split: one[:2] for split, one in found.items()}
    inputs = {split: x if is_frame(x) or isinstance(x, Stored) else
              values.numbers(split, "inputs", x)
              for split, (x, _) in pairs.items()}
    forms = {split: values.form(*pair, 1) for split, pair in pairs.items()}
    (first, expected), *further = forms.items()
    for split, form in further:
        if form != expected:
            raise values.refuse(split, f"its examples are {form}, those of {first} {expected}",
                                "give all splits one type and shape")
        values.same_columns(split, inputs[split], first, inputs[first])
    told = {_class_names(part) for part in parts.values()} - {None}
    if names is None and kind in ("", "classes", "positions") and told:
        if len(told) > 1:
            raise RequestError(f"{ARRAYS}: its splits call their classes differently; give names, "
                               "which hold for all.")
        names = told.pop()
    called = None if names is None else values.checked(names)
    given = {split: y for split, (_, y) in pairs.items()}
    kind = kind or values.kind(given)
    targets, classes = values.targets(kind, given, called)
    entries = {}
    for split in parts:
        weights = _weights(split, found[split].weights, len(targets[split]))
        with reading(split, "its values", "give numbers, booleans, dates or words"):
            entries[split] = cache.entry(Split(inputs[split], targets[split], weights), classes)
    notes = *values.scale(inputs[first]), *_passed_over(found.values())
    if bundle:
        notes = f"inputs: {bundle}", *notes
    return dataclasses.replace(cache.together(ARRAYS, entries), notes=notes, bundle=bundle)


def _passed_over(found: Iterable[Given]) -> tuple[str, ...]:
    names = dict.fromkeys(name for one in found for name in one.others)
    return (f"passed over: {some([repr(name) for name in names])}, as an example is an input and a "
            "target",) if names else ()


def _weights(split: str, given: np.ndarray | None, count: int) -> np.ndarray | None:
    try:
        return None if given is None else values.weights(given, count)
    except ValueError as error:
        raise values.refuse(split, f"its weights {error}",
                            "give each example a finite number of 0 or more") from None


def _read(split: str, data: Any, stream: bool, known: Bundle | None, alike: bool) -> Given:
    """A split, whose inputs by their names are the `known` ones; if it has to be `alike`, they are
    one array where none is known. Raises RequestError."""
    if is_frame(data):
        raise values.refuse(split, "it is a table alone", "give its columns to learn from and that "
                            "to learn: (table.drop(columns='y'), table['y'])")
    if _is_sequence(data):
        if isinstance(data, list) and data:  # as random_split gives
            _check_no_examples(split, data[0], "example")
        return sequence.read(split, data, stream, known, alike)
    if data is ...:
        raise values.refuse(split, "... stands where data are to be put in, as in a sweep's "
                            "best.py", GIVE)
    given = fields(data, most=3)
    if not given:
        length = f" of {len(data)}" if isinstance(data, tuple) else ""
        raise values.refuse(split, f"of type {type(data).__name__}{length}, it is no data", GIVE)
    if given[2:] and given[2] is None:  # as Keras has it
        given = given[:2]
    for one in given:
        _check_no_examples(split, one)
    bundle = bundle_of(split, given[0], known, alike)
    with reading(split, "as arrays, it", GIVE):
        if bundle:
            given = bundle.pack(split, given[0]), *given[1:]
        # Of jax, and of PyTorch on the CPU, without a copy.
        x, y, *weights = (x if is_frame(x) and what == "inputs" else _array(x, split, what)
                          for x, what in zip(given, ("inputs", "targets", "weights"), strict=False))
    if x.shape[:1] != y.shape[:1]:
        raise values.refuse(split, f"it has inputs of shape {x.shape}, but targets of {y.shape}",
                            "give one of each an example")
    values.check_shape(split, x.shape, np.dtype("f4") if is_frame(x) else x.dtype)
    return Given(x, y, next(iter(weights), None), others(data), bundle)


def _is_sequence(data: Any) -> bool:
    return (hasattr(data, "__len__") and hasattr(data, "__getitem__")
            and not isinstance(data, tuple | Mapping | str | bytes))


def _check_no_examples(split: str, one: Any, what: str = "array") -> None:
    """Raises RequestError where `one` is a sequence of examples itself; a `Sequence` of tuples may
    be numbers, as a deque is."""
    if (not _is_sequence(one) or isinstance(one, list) or is_frame(one)
            or any(hasattr(one, name) for name in ("__array__", "dtype")) or not len(one)):
        return
    with reading(split, "example 0", "mend it, or leave it out"):
        first = one[0]
    if isinstance(first, Mapping) or isinstance(first, tuple) and not isinstance(one, Sequence):
        raise values.refuse(
            split, f"a sequence of examples, of type {type(one).__name__}, is no {what}",
            "two sequences are splits: give data={'train': …, 'validation': …}, or 'test'")


def _array(given: Any, split: str, what: str) -> np.ndarray:
    """Of a table of one column that [N]."""
    found = as_array(given, split, what)
    return found[:, 0] if is_frame(given) and found.shape[1] == 1 else found


def _class_names(data: Any) -> tuple[str, ...] | None:
    """What a sequence itself calls its classes, if it does: Hugging Face and tfds in the features
    of the target, torchvision as `classes`."""
    features: Any = getattr(getattr(data, "dataset_info", data), "features", None)
    found = columns(features) if hasattr(features, "keys") else None
    told = getattr(features[found[1]], "names", None) if found else getattr(data, "classes", None)
    texts = isinstance(told, list | tuple) and all(isinstance(name, str) for name in told)
    return tuple(told) if told and texts else None
