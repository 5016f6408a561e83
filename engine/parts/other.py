"""Another set than a run's own, in the run's terms: a split to judge on, classes by their names,
pictures of the run's shape. N: examples, K: the run's outputs.
"""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from engine.config import Config, Parts
from engine.data import labelled, unlabelled
from engine.errors import RequestError, sides, some
from engine.examples import Split, Subset
from engine.sets import image, spelling
from engine.sets.bundle import Encoder
from engine.sets.columns import plain
from engine.sets.dataset import Dataset
from engine.sets.names import TABLES
from engine.sets.splits import held_out
from engine.sets.stored import Joined, Stored
from engine.sets.tabular import has_columns


class Other(NamedTuple):
    """What is to judge a run; how many examples of each class that the run doesn't know were
    `left_out`; sentences for the user."""

    subset: Subset
    left_out: dict[str, int]
    notes: tuple[str, ...]


def target_of(path: Path, asked: Config, learned: tuple[str, ...]) -> str:
    """The --target of a table that is to judge the run in `path`: as asked, else what that
    `learned`; "" where nobody knows, or both go by a usual name. Raises RequestError where it
    isn't there."""
    kind, _, table = asked.dataset.partition(":")
    if asked.target or not learned or kind not in TABLES:
        return asked.target
    from engine.tables import table as tables  # late: they import pandas
    from engine.tables import target

    names = tables.names(os.path.expanduser(table), asked.reading)
    absent = [name for name in learned if name not in names]
    if absent and target.named(learned) and target.named(names):
        return ""
    if absent:
        raise RequestError(f"{asked.dataset}: no column {absent[0]!r}, which the run in {path} "
                           f"learned: it has {some(names)}. Add it, or say which is to judge, by "
                           "--target COLUMN.")
    return ",".join(learned)


def split_of(dataset: Dataset, asked: str, typed: bool) -> str:
    """The split to judge on: the one `asked` for, where the user `typed` it or there is one; else
    `test`, `validation`, or the only one. Raises RequestError where none of them is there."""
    splits = dataset.splits
    if typed and held_out(asked) is not None:
        raise RequestError(f"--validation_split {asked}: nothing of {dataset.name} was trained on, "
                           f"from which a part could be held out: name one of {some([*splits])}.")
    if typed:
        return asked
    usual = [name for name in (asked, "test", "validation") if name in splits]
    if not usual and len(splits) > 1:
        raise RequestError(f"{dataset.name} has the splits {some([*splits])}: say which is to "
                           "judge, by --validation_split.")
    return next(iter(usual or splits))


def examples(
    dataset: Dataset, parts: Parts, classes: tuple[str, ...], shape: tuple[int, ...], dtype: str,
    columns: Encoder | None = None, pixels: tuple[str, ...] = (),
) -> Other:
    """Those examples of the validation split whose class is one of a run's `classes`, numbered as
    it numbers them, their inputs of its `shape` and `dtype`, a table's made by its `columns`, or in
    the order of its `pixels`. Raises RequestError where there are none, and for outputs or inputs
    that aren't the run's."""
    split = parts.validation
    found = labelled(dataset, split, parts.drop_unlabelled)
    rows, targets = np.asarray(found.rows), found.targets
    if np.issubdtype(targets.dtype, np.integer):
        targets, left_out, notes = _numbered(targets, dataset.classes, classes)
        known = ~unlabelled(targets)
        rows, targets = rows[known], targets[known]
        if not len(rows):
            raise RequestError(f"none of the {len(found.rows):,} examples of {dataset.name}'s "
                               f"{split} has a class that the run knows, {some(classes)}: its "
                               f"classes are {some(dataset.classes)}.")
    else:
        targets, left_out, notes = _reordered(targets, dataset, classes)
    inputs = _in_order(dataset, found.split.inputs, pixels)
    if targets.ndim > 1 and np.issubdtype(targets.dtype, np.integer) and \
            not has_columns(inputs) and tuple(inputs.shape[1:]) != shape:
        raise RequestError(f"{dataset.name} has inputs of {sides(inputs.shape[1:])} with classes "
                           f"of their positions, and the run was trained on {sides(shape)}: bring "
                           "both to that.")
    if columns and has_columns(inputs):
        inputs, rows = plain(columns.encode(inputs.take(rows))), np.arange(len(rows))
    inputs, brought = _inputs(dataset.name, inputs, rows, shape, dtype)
    kind = "images" if len(shape) == 3 else "examples"
    told = f"judged on {dataset.name}'s {split}, another set than the run's: {len(rows):,} {kind}"
    own = Split(inputs, targets)
    return Other(Subset(own, np.arange(len(rows), dtype=np.int32)), left_out,
                 (told, *notes, *brought))


def _numbered(
    targets: np.ndarray, theirs: tuple[str, ...], ours: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, int], list[str]]:
    """The targets [N, ...] as the run numbers its classes, -1 for one that it doesn't know; how
    many examples, or positions, each of those has; sentences on them."""
    classes, spelled = spelling.joined({"the run": ours, "the set": theirs})
    numbers = {classes[name]: number for number, name in enumerate(ours)}
    own = [numbers.get(classes[name], -1) for name in theirs]
    found = np.array([*own, -1], np.int32)[targets]  # the last for what has none
    unknown, counts = np.unique(targets[(found < 0) & (targets >= 0)], return_counts=True)
    left_out = {theirs[number]: int(count) for number, count in zip(unknown, counts, strict=True)}
    notes = list(spelled)
    if left_out:
        each = [f"{name} ({count:,})" for name, count in left_out.items()]
        notes.append(f"left out: {sum(left_out.values()):,} of {targets.size:,}, of classes that "
                     f"the run doesn't know: {some(each)}")
    if absent := [name for number, name in enumerate(ours) if number not in found]:
        notes.append(f"without an example there: {some(absent)}")
    return found, left_out, notes


def _reordered(
    targets_NxK: np.ndarray, dataset: Dataset, ours: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, int], list[str]]:
    """The run's outputs [N, K], found by their names; a single one may be called otherwise."""
    theirs = dataset.classes
    if len(theirs) == len(ours) == 1:
        return targets_NxK, {}, [f"its {theirs[0]} is judged as {ours[0]}"] * (theirs != ours)
    if missing := [name for name in ours if name not in theirs]:
        raise RequestError(f"{dataset.name} lacks {some(missing)}, which the run predicts: it "
                           f"has {some(theirs)}.")
    extra = [name for name in theirs if name not in ours]
    notes = [f"the run doesn't predict {some(extra)}, left out"] * bool(extra)
    return targets_NxK[:, [theirs.index(name) for name in ours]], {}, notes


def _in_order(dataset: Dataset, inputs: Any, ours: tuple[str, ...]) -> Any:
    """Pictures of a table, its pixels in the order of the run's columns `ours`, if there is one."""
    theirs = dataset.pixels
    if not ours or not theirs or theirs == ours:
        return inputs
    if {*theirs} != {*ours} or math.prod(inputs.shape[1:]) != len(ours):
        raise RequestError(f"{dataset.name}'s columns of pixels aren't the run's, or not in their "
                           f"order: give {some(ours)}.")
    number = {name: at for at, name in enumerate(theirs)}
    place = np.array([number[name] for name in ours])
    if not isinstance(inputs, Stored):
        return _placed(inputs, place)
    make = functools.partial(_placed, place=place)
    return Made(inputs, np.arange(len(inputs)), make, inputs.shape[1:])


def _placed(inputs: np.ndarray, place: np.ndarray) -> np.ndarray:
    return inputs.reshape(len(inputs), -1)[:, place].reshape(inputs.shape)


class Made(Stored):
    """What `make` makes of the `rows` of other inputs, as these are read: pictures of `shape`, one
    of each."""

    def __init__(
        self, inputs: Stored, rows: np.ndarray, make: Callable[[np.ndarray], Iterable[np.ndarray]],
        shape: tuple[int, ...],
    ):
        super().__init__((len(rows), *shape), inputs.dtype, inputs.reason)
        self.inputs, self.rows, self.make, self.scattered = inputs, rows, make, inputs.scattered

    @property
    def hashes(self) -> np.ndarray | None:
        found = self.inputs.hashes
        return None if found is None else found[self.rows]

    def fill(self, out: np.ndarray, rows: np.ndarray) -> None:
        for at, picture in enumerate(self.make(self.inputs[self.rows[rows]])):
            out[at] = picture


def _inputs(
    name: str, inputs: Any, rows: np.ndarray, shape: tuple[int, ...], dtype: str
) -> tuple[Any, list[str]]:
    """Those of `rows`, pictures brought to the `shape` [H, W, C]; a sentence where they were. What
    is read when it is needed stays so."""
    stored = isinstance(inputs, Stored)
    own = tuple(inputs.shape[1:])
    alike = (str(inputs.dtype) == "uint8") == (dtype == "uint8")
    if alike and own == shape:
        return Joined([(inputs, rows)]) if stored else inputs[rows], []
    if not alike or dtype != "uint8" or not _are_pictures(own) or not _are_pictures(shape):
        raise RequestError(f"{name} has {inputs.dtype} inputs of {sides(own)}, and the run was "
                           f"trained on {dtype} of {sides(shape)}.")
    make = functools.partial(_brought, shape=shape)
    images = Made(inputs, rows, make, shape) if stored else \
        np.stack([*make(inputs[row] for row in rows)])
    return images, [f"its pictures of {sides(own)} are brought to the run's {sides(shape)}"]


def _are_pictures(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[2] in image.MODES


def _brought(images: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Pictures [H, W, C], each brought to the `shape`."""
    height, width, depth = shape
    for image_HxWxC in images:
        flat = image_HxWxC[..., 0] if image_HxWxC.shape[2] == 1 else image_HxWxC
        yield image.pixels(Image.fromarray(flat), image.MODES[depth], (width, height))
