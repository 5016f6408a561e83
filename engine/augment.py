"""Pure augmentations of a batch: (key, image_BxHxWxC) → image_BxHxWxC, any dtype."""

import jax
import jax.numpy as jnp
from jax import Array

from engine.config import Config
from engine.doors import bring
from engine.feed import scaled

OWN = 2  # beside the two keys that a split makes: the user's function's


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


def augment(config: Config, key: Array, inputs: Array) -> Array:
    """A batch as the split holds it, augmented as asked, as a network sees it: float32."""
    flip_key, crop_key = jax.random.split(key)
    if config.flip:
        inputs = flip(flip_key, inputs)
    if config.crop_padding:
        inputs = crop(crop_key, inputs, config.crop_padding)
    inputs = scaled(inputs)
    if config.augment:
        own = bring.value("augment", config.augment)
        inputs = own(jax.random.fold_in(key, OWN), inputs)
    return inputs
