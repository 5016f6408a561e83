"""Convex combinations of pairs of examples and of their labels (mixup, Zhang et al. 2017)."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("mixup",), key=8, pictures=False, unit=False, numbers=True, moves=False,
                  labels=True)


def share(key: Array, alpha: Array) -> Array:
    """λ of a batch, float32: Beta(α, α), or 1, which mixes nothing, where α is 0."""
    above = jnp.where(alpha > 0, alpha, jnp.ones_like(alpha))
    return jnp.where(alpha > 0, jax.random.beta(key, above, above), 1.0)


def partners(key: Array, valid_B: Array) -> Array:
    """With whom each example is mixed, int32 [B]: a random permutation of the valid ones; the
    others stay alone."""
    chance_B = jnp.where(valid_B, jax.random.uniform(key, valid_B.shape), 2.0)
    order_B = jnp.argsort(chance_B).astype(jnp.int32)  # the valid ones first
    rank_B = jnp.cumsum(valid_B, dtype=jnp.int32) - 1
    return jnp.where(valid_B, order_B[rank_B], jnp.arange(len(valid_B), dtype=jnp.int32))


def apply(values_B: Array, partner_B: Array, share: Array) -> Array:
    """Inputs, or targets, float32 [B, ...]: λ of each and 1 - λ of its partner's."""
    return share * values_B + (1 - share) * values_B[partner_B]
