"""Splits on the device as uint8, and the batches cut from them. B: batch, N: examples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine import keys
from engine.config import Config, fraction
from engine.errors import RequestError, unknown
from engine.sources.dataset import Dataset, Split


class Data(NamedTuple):
    """Device arrays: images uint8 [N, H, W, C], labels int32 [N]."""

    train: Split
    validation: Split


def _named(dataset: Dataset, name: str) -> Split:
    if name not in dataset.splits:
        raise unknown(f"split of {dataset.name}", name, dataset.splits)
    return dataset.splits[name]


def _held_out(split: Split, share: float) -> tuple[Split, Split]:
    """(rest, held out). The same examples whatever the run's seed, so that runs compare."""
    order = np.random.default_rng(0).permutation(len(split.labels))
    count = round(share * len(order))
    held, rest = np.sort(order[:count]), np.sort(order[count:])
    return tuple(Split(split.images[i], split.labels[i]) for i in (rest, held))  # type: ignore


def partition(dataset: Dataset, config: Config) -> Data:
    """The run's two splits, on the host.

    Raises RequestError for unknown splits, empty ones, and a batch larger than the set.
    """
    train, share = _named(dataset, config.train_split), fraction(config)
    if share is None:
        validation = _named(dataset, config.validation_split)
    else:
        train, validation = _held_out(train, share)
    for name, split in (("train", train), ("validation", validation)):
        if not len(split.labels):
            raise RequestError(
                f"--validation_split {config.validation_split} leaves no {name} examples of "
                f"{len(_named(dataset, config.train_split).labels)}."
            )
    if config.batch_size > len(train.labels):
        raise RequestError(
            f"--batch_size {config.batch_size} is larger than the {len(train.labels)} examples of "
            f"{dataset.name}'s training split: type {len(train.labels)} or less."
        )
    return Data(train, validation)


def place(data: Data, device: jax.Device) -> Data:
    return jax.device_put(data, device)


def epoch_order(root: Array, epoch: Array | int, num_examples: int) -> Array:
    """This epoch's permutation of the examples, int32 [N]."""
    key = keys.stream(root, "shuffle", epoch)
    return jax.random.permutation(key, jnp.arange(num_examples, dtype=jnp.int32))


def batch_at(split: Split, order_N: Array, position: Array, size: int) -> tuple[Split, Array]:
    """Batch number `position` along `order_N` and its mask, bool [B].

    A last batch that is not full repeats an example, masked out.
    """
    slots_B = position * size + jnp.arange(size, dtype=jnp.int32)
    rows_B = order_N.at[slots_B].get(mode="clip")
    return Split(split.images[rows_B], split.labels[rows_B]), slots_B < order_N.shape[0]


def normalise(images_BxHxWxC: Array) -> Array:
    """uint8 0..255 → float32 0..1."""
    return images_BxHxWxC.astype(jnp.float32) / 255.0
