"""Splits on the device as uint8, and the batches cut from them. B: batch, N: examples."""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Sharding

from engine import keys
from engine.config import Config, Fold, held_out
from engine.errors import RequestError, unknown
from engine.mesh import put
from engine.sources.dataset import Dataset, Split


class Subset(NamedTuple):
    """Which examples of a split take part: `rows` int32 [N]."""

    split: Split
    rows: Any

    @property
    def image_shape(self) -> tuple[int, ...]:
        """[H, W, C]"""
        return self.split.inputs.shape[1:]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """What a run learns from and what it is validated on; often parts of one split."""

    train: Subset
    validation: Subset
    num_classes: int = field(metadata={"static": True})


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


def _parted(subset: Subset, share: float | Fold) -> tuple[Subset, Subset]:
    """(rest, held out). The same examples whatever the run's seed, so that runs compare.

    Folds hold the same share of every class, and differ in size by one example at most.
    """
    order = np.random.default_rng(0).permutation(len(subset.rows))
    if isinstance(share, Fold):
        labels = np.asarray(subset.split.targets)[subset.rows[order]]
        held = order[np.argsort(labels, kind="stable")][share.number - 1 :: share.count]
    else:
        held = order[: round(share * len(order))]
    out = np.zeros(len(order), bool)
    out[held] = True
    return (subset._replace(rows=subset.rows[~out]), subset._replace(rows=subset.rows[out]))


def partition(dataset: Dataset, config: Config) -> Data:
    """The run's two subsets, on the host.

    Raises RequestError for unknown splits, empty ones, and a batch larger than the set.
    """
    train, share = named(dataset, config.train_split), held_out(config)
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
            raise RequestError(
                f"--train_split {config.train_split} --validation_split "
                f"{config.validation_split} leaves no {name} examples of {found}."
            )
    if config.batch_size > len(train.rows):
        raise RequestError(
            f"--batch_size {config.batch_size} is larger than the {len(train.rows)} training "
            f"examples of {dataset.name}: type {len(train.rows)} or less."
        )
    return Data(train, validation, len(dataset.classes))


def place(data: Data, where: Sharding) -> Data:
    """On the device or devices, a split that both subsets share only once."""
    train = put(data.train, where)
    if data.validation.split is not data.train.split:
        return Data(train, put(data.validation, where), data.num_classes)
    rows = put(data.validation.rows, where)
    return Data(train, Subset(train.split, rows), data.num_classes)


def epoch_order(key: Array, epoch: Array | int, rows_N: Array) -> Array:
    """This epoch's permutation of the examples, int32 [N]."""
    return jax.random.permutation(keys.stream(key, "shuffle", epoch), rows_N)


def batch_at(split: Split, order_N: Array, position: Array, size: int) -> tuple[Split, Array]:
    """Batch number `position` along `order_N` and its mask, bool [B].

    A last batch that is not full repeats an example, masked out.
    """
    slots_B = position * size + jnp.arange(size, dtype=jnp.int32)
    rows_B = order_N.at[slots_B].get(mode="clip")
    return Split(split.inputs[rows_B], split.targets[rows_B]), slots_B < order_N.shape[0]


def normalise(images_BxHxWxC: Array) -> Array:
    """uint8 0..255 → float32 0..1."""
    return images_BxHxWxC.astype(jnp.float32) / 255.0
