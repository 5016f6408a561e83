"""Pictures shifted by up to so many pixels both ways, zeros moving in."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("crop_padding",), key=1, pictures=True, unit=False, numbers=False, moves=True,
                  with_classes=True)


def draw(key: Array, count: int, padding: int) -> Array:
    """The upper left corner of each in the padded picture, int32 [B, 2], 0 to 2 · padding."""
    return jax.random.randint(key, (count, 2), 0, 2 * padding + 1)


def apply(image_BxHxWxC: Array, corner_Bx2: Array, padding: int) -> Array:
    """Of any dtype."""
    _, height, width, channels = image_BxHxWxC.shape
    wide = jnp.pad(image_BxHxWxC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def window(image_HxWxC: Array, corner_2: Array) -> Array:
        start = (corner_2[0], corner_2[1], jnp.zeros((), corner_2.dtype))
        return jax.lax.dynamic_slice(image_HxWxC, start, (height, width, channels))

    return jax.vmap(window)(wide, corner_Bx2)
