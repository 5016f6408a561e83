"""The parts of a set that a run learns from and is validated on. N: examples."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from engine.config import Config
from engine.devices.mesh import put
from engine.errors import RequestError, unknown
from engine.sources.dataset import Dataset, Split


class Subset(NamedTuple):
    """Which examples of a split take part: `rows` int32 [N]."""

    split: Split
    rows: Any

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example: [H, W, C] of a picture."""
        return self.split.inputs.shape[1:]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """What a run learns from and what it is validated on; often parts of one split."""

    train: Subset
    validation: Subset
    num_outputs: int = field(metadata={"static": True})


def whole(split: Split) -> Subset:
    return Subset(split, np.arange(len(split.targets), dtype=np.int32))


def _bound(text: str | None, default: int, count: int) -> int:
    if not text:
        return default
    value = round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)
    return min(max(value + count if value < 0 else value, 0), count)


def named(dataset: Dataset, name: str) -> Subset:
    """A split, or a slice of one in tensorflow-datasets' words: train[:10000], train[-20%:]."""
    sliced = re.fullmatch(r"([^\[]+)\[(-?\d{1,18}%?)?:(-?\d{1,18}%?)?\]", name)
    plain = sliced[1] if sliced else name
    if plain not in dataset.splits:
        raise unknown(f"split of {dataset.name}", plain, dataset.splits)
    subset = whole(dataset.splits[plain])
    if sliced:
        count = len(subset.rows)
        start, stop = _bound(sliced[2], 0, count), _bound(sliced[3], count, count)
        subset = subset._replace(rows=subset.rows[start:stop])
    return subset


class Fold(NamedTuple):
    """The `number`th of `count` parts, from 1."""

    number: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls


def held_out(text: str) -> float | Fold | None:
    """What --validation_split `text` takes from the training split; None where it names a split."""
    value: float | Fold
    try:
        value = Fold(*map(int, text.split("/"))) if "/" in text else float(text)
    except (ValueError, TypeError):
        return None
    sound = 1 <= value[0] <= value[1] >= 2 if isinstance(value, Fold) else 0 < value < 1
    if not sound:
        raise RequestError(f"--validation_split {text}: type a fraction between 0 and 1, such as "
                           "0.1, a fold, such as 2/5, or a split's name, such as test.")
    return value


def _parted(subset: Subset, share: float | Fold) -> tuple[Subset, Subset]:
    """(rest, held out). The same examples whatever the run's seed, so that runs compare.

    Folds hold the same share of every class, and differ in size by one example at most.
    """
    order = np.random.default_rng(0).permutation(len(subset.rows))
    if isinstance(share, Fold):
        targets = np.asarray(subset.split.targets)[subset.rows[order]]
        if targets.ndim == 1:  # classes, of which every fold gets its share
            order = order[np.argsort(targets, kind="stable")]
        held = order[share.number - 1 :: share.count]
    else:
        held = order[: round(share * len(order))]
    out = np.zeros(len(order), bool)
    out[held] = True
    return (subset._replace(rows=subset.rows[~out]), subset._replace(rows=subset.rows[out]))


def partition(dataset: Dataset, config: Config) -> Data:
    """The run's two subsets, on the host.

    Raises RequestError for unknown splits, empty ones, and a batch larger than the set.
    """
    train, share = named(dataset, config.train_split), held_out(config.validation_split)
    found = len(train.rows)
    if share is None:
        try:
            validation = named(dataset, config.validation_split)
        except RequestError as error:
            raise RequestError(f"{error} Or hold out a part of the training split: type "
                               "--validation_split 0.1.") from None
    else:
        train, validation = _parted(train, share)
    for name, subset in (("train", train), ("validation", validation)):
        if not len(subset.rows):
            raise RequestError(f"--train_split {config.train_split} --validation_split "
                               f"{config.validation_split} leaves no {name} examples of {found}.")
    if config.batch_size > len(train.rows):
        raise RequestError(f"--batch_size {config.batch_size} is larger than the {len(train.rows)} "
                           f"training examples of {dataset.name}: type {len(train.rows)} or less.")
    return Data(train, validation, len(dataset.classes))


def suited(dataset: Dataset, kind: str) -> tuple[Dataset, str]:
    """The set with targets as a task of `kind` takes them, and what was done to them, or "".

    "classes" are int32 [N]; "numbers" and "labels" float32 [N, K], which classes turn into: a
    number an example, or one label of several. Raises RequestError for the other way.
    """
    first = np.asarray(next(iter(dataset.splits.values())).targets)
    classes = np.issubdtype(first.dtype, np.integer)
    if kind == "classes":
        if classes and first.ndim == 1:
            return dataset, ""
        raise RequestError(f"{dataset.name} has {'several labels' if classes else 'numbers'} an "
                           "example, and the task wants classes: type --task regression or "
                           "multilabel.")
    if not classes:
        return _reshaped(dataset, lambda y: y.reshape(len(y), -1)), ""
    count = len(dataset.classes)
    if kind == "labels":
        eye = np.eye(count, dtype=np.float32)
        return _reshaped(dataset, lambda y: eye[y]), f"each example has one of {count} labels"
    return dataclasses.replace(
        _reshaped(dataset, lambda y: y[:, None].astype(np.float32)), classes=("class",)
    ), f"class numbers 0 to {count - 1} are the numbers to predict"


def _reshaped(dataset: Dataset, change: Any) -> Dataset:
    splits = {name: split._replace(targets=change(np.asarray(split.targets)))
              for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits)


def place(data: Data, where: Sharding) -> Data:
    """On the device or devices, a split that both subsets share only once."""
    train, shared = put(data.train, where), data.validation.split is data.train.split
    validation = (Subset(train.split, put(data.validation.rows, where)) if shared else
                  put(data.validation, where))
    return Data(train, validation, data.num_outputs)
