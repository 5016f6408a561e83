"""Batches cut from a split that lies on the device, whole or in chunks, in an order of its own each
epoch.

B: batch, N: examples; a slot is a place in an order.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys
from engine.examples import Split, Subset


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """What a run learns from and what it is validated on; often parts of one split."""

    train: Subset
    validation: Subset
    num_outputs: int = field(metadata={"static": True})


class Chunk(NamedTuple):
    """In the place of a split's inputs: those of consecutive slots of an order [n, ...], from the
    slot `first` on, int32. The split's targets are whole."""

    inputs: Any
    first: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs.shape

    @property
    def dtype(self) -> Any:
        return self.inputs.dtype


def epoch_order(key: Array, epoch: Array | int, rows_N: Array) -> Array:
    """This epoch's permutation of the examples, int32 [N]."""
    return jax.random.permutation(keys.stream(key, "shuffle", epoch), rows_N)


def balanced_order(key: Array, epoch: Array | int, rows_N: Array, targets_N: Array) -> Array:
    """This epoch's N examples, int32 [N], drawn with replacement: every class that there is as
    often, give or take one, and any of its examples as likely. `targets_N` are those of the rows.
    """
    classes, examples = jax.random.split(keys.stream(key, "shuffle", epoch))
    by_class_N = jnp.argsort(targets_N)
    steps_N = jnp.diff(targets_N[by_class_N], prepend=targets_N[by_class_N[:1]]) != 0
    rank_N = jnp.cumsum(steps_N, dtype=jnp.int32)  # of each one's class, from 0
    slots_N = jnp.arange(rows_N.shape[0], dtype=jnp.int32)
    drawn_N = jax.random.permutation(classes, slots_N % (rank_N[-1] + 1))
    first_N, end_N = (jnp.searchsorted(rank_N, drawn_N, side) for side in ("left", "right"))
    return rows_N[by_class_N[jax.random.randint(examples, drawn_N.shape, first_N, end_N)]]


def order_of(
    sampling: str, key: Array, epoch: Array | int, rows_N: Array, targets: Array
) -> Array:
    """The examples of an epoch as `--sampling` has them, int32 [N]; `targets` are their split's."""
    if sampling == "balanced":
        return balanced_order(key, epoch, rows_N, targets[rows_N])
    return epoch_order(key, epoch, rows_N)


def batch_at(split: Split, order_N: Array, position: Array | int, size: int) -> tuple[Split, Array]:
    """Batch number `position` along `order_N` and its mask, bool [B].

    A last batch that is not full repeats an example, masked out.
    """
    slots_B = position * size + jnp.arange(size, dtype=jnp.int32)
    rows_B = order_N.at[slots_B].get(mode="clip")
    held, found = split.inputs, rows_B
    if isinstance(held, Chunk):
        held, found = held.inputs, slots_B - held.first
    others = jax.tree.map(lambda x: x[rows_B], split[1:])
    return Split(held[found], *others), slots_B < order_N.shape[0]


def batches(split: Split, size: int, count: int) -> tuple[Any, Any]:
    """Of `count` batches of an order the first, and that after the last, whose inputs it holds."""
    held = split.inputs
    if not isinstance(held, Chunk):
        return 0, count
    first = held.first // size
    return first, jnp.minimum(first + held.shape[0] // size, count)


def after(split: Split, slots: int) -> Split:
    """The split for an order whose first `slots` are cut off: a chunk moves along."""
    held = split.inputs
    return split._replace(inputs=held._replace(first=held.first - slots)) \
        if isinstance(held, Chunk) else split


def scaled(inputs: Array) -> Array:
    """As a network sees them, float32: uint8 pictures 0..255 → 0..1, floats as they are."""
    floats = inputs.astype(jnp.float32)
    return floats / 255.0 if inputs.dtype == jnp.uint8 else floats
