"""Batches cut from a split that lies on the device, in an order of its own each epoch.

B: batch, N: examples.
"""

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys
from engine.sources.dataset import Split


def epoch_order(key: Array, epoch: Array | int, rows_N: Array) -> Array:
    """This epoch's permutation of the examples, int32 [N]."""
    return jax.random.permutation(keys.stream(key, "shuffle", epoch), rows_N)


def batch_at(split: Split, order_N: Array, position: Array | int, size: int) -> tuple[Split, Array]:
    """Batch number `position` along `order_N` and its mask, bool [B].

    A last batch that is not full repeats an example, masked out.
    """
    slots_B = position * size + jnp.arange(size, dtype=jnp.int32)
    rows_B = order_N.at[slots_B].get(mode="clip")
    return Split(split.inputs[rows_B], split.targets[rows_B]), slots_B < order_N.shape[0]


def scaled(inputs: Array) -> Array:
    """As a network sees them, float32: uint8 pictures 0..255 → 0..1, floats as they are."""
    if inputs.dtype == jnp.uint8:
        return inputs.astype(jnp.float32) / 255.0
    return inputs.astype(jnp.float32)
