"""Pictures turned about their middle by up to so many degrees either way."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.purpose import Purpose
from engine.augmentations.warp import warp

PURPOSE = Purpose(("rotation",), key=3, pictures=True, unit=False, numbers=True, moves=True)


def draw(key: Array, count: int, degrees: Array) -> Array:
    """Each picture's angle, float32 [B] in degrees."""
    return jax.random.uniform(key, (count,), minval=-degrees, maxval=degrees)


def matrix(degrees_B: Array) -> Array:
    """Where a turned picture's pixels come from, [B, 2, 2] as `warp` takes it; counter-clockwise,
    as Pillow's rotate."""
    angle_B = jnp.deg2rad(degrees_B)
    cosine, sine = jnp.cos(angle_B), jnp.sin(angle_B)
    return jnp.stack([jnp.stack([cosine, sine], -1), jnp.stack([-sine, cosine], -1)], -2)


def apply(image_BxHxWxC: Array, degrees_B: Array) -> Array:
    """float32, bilinear; zeros move in."""
    return warp(image_BxHxWxC, matrix(degrees_B), jnp.zeros((len(degrees_B), 2)))
