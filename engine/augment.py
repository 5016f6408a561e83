"""Pure augmentations of a batch: (key, image_BxHxWxC) → image_BxHxWxC, any dtype."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.config import Config


def flip(key: Array, image_BxHxWxC: Array) -> Array:
    """Each image mirrored left to right with probability one half."""
    mirrored_B = jax.random.bernoulli(key, shape=(image_BxHxWxC.shape[0], 1, 1, 1))
    return jnp.where(mirrored_B, image_BxHxWxC[:, :, ::-1], image_BxHxWxC)


def crop(key: Array, image_BxHxWxC: Array, padding: int) -> Array:
    """Each image shifted by up to ±padding pixels both ways, zeros moving in."""
    batch, height, width, channels = image_BxHxWxC.shape
    wide = jnp.pad(image_BxHxWxC, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corner_Bx2 = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def window(image_HxWxC: Array, corner_2: Array) -> Array:
        start = (corner_2[0], corner_2[1], jnp.zeros((), corner_2.dtype))
        return jax.lax.dynamic_slice(image_HxWxC, start, (height, width, channels))

    return jax.vmap(window)(wide, corner_Bx2)


def augment(config: Config, key: Array, image_BxHxWxC: Array) -> Array:
    flip_key, crop_key = jax.random.split(key)
    if config.flip:
        image_BxHxWxC = flip(flip_key, image_BxHxWxC)
    if config.crop_padding:
        image_BxHxWxC = crop(crop_key, image_BxHxWxC, config.crop_padding)
    return image_BxHxWxC
