"""A square of each picture set to zero, around any pixel (DeVries & Taylor 2017)."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.box import inside
from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("cutout",), key=6, pictures=True, unit=False, numbers=False, moves=False)


def draw(key: Array, count: int, shape: tuple[int, ...]) -> Array:
    """The pixel in the middle of each square, int32 [B, 2], of pictures of [height, width, ...]."""
    return jax.random.randint(key, (count, 2), 0, jnp.array(shape[:2]))


def apply(image_BxHxWxC: Array, middle_Bx2: Array, side: Array) -> Array:
    """Squares of `side` pixels, cut off at the picture's edges; of any dtype."""
    whole = jnp.floor(side).astype(jnp.int32)
    sides_Bx2 = jnp.full_like(middle_Bx2, whole)
    mask = inside(image_BxHxWxC.shape[1:], middle_Bx2 - whole // 2, sides_Bx2)
    return jnp.where(mask, jnp.zeros((), image_BxHxWxC.dtype), image_BxHxWxC)
