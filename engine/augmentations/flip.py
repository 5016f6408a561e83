"""Pictures mirrored left to right, each with probability one half."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("flip",), key=0, pictures=True, unit=False, numbers=False, moves=True,
                  with_classes=True)


def draw(key: Array, count: int) -> Array:
    """Which of so many pictures are mirrored, bool [B]."""
    return jax.random.bernoulli(key, shape=(count,))


def apply(image_BxHxWxC: Array, mirrored_B: Array) -> Array:
    """Of any dtype."""
    return jnp.where(mirrored_B[:, None, None, None], image_BxHxWxC[:, :, ::-1], image_BxHxWxC)
