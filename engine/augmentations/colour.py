"""Colour jitter: brightness, contrast, saturation and hue, in this order, each picture its own.

The first three are what Pillow's ImageEnhance and torchvision's ColorJitter call so. Pictures are
float32 [B, H, W, C] from 0 to 1, and stay so.
"""

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.purpose import Purpose

LUMA = 0.299, 0.587, 0.114  # of red, green and blue (ITU-R BT.601)


def draw(key: Array, count: int, strengths: dict[str, Array]) -> dict[str, Array]:
    """For each of `strengths`, by the names in OPERATIONS, values float32 [B, 1, 1, 1]: a factor of
    1 ± strength, 0 at least; of hue, ± strength in turns of the colour circle."""
    drawn = {}
    for number, name in enumerate(OPERATIONS):
        if name in strengths:
            strength = strengths[name]
            low, high = (-strength, strength) if name == "hue" else \
                (jnp.maximum(1 - strength, 0), 1 + strength)
            drawn[name] = jax.random.uniform(
                jax.random.fold_in(key, number), (count, 1, 1, 1), minval=low, maxval=high)
    return drawn


def apply(images: Array, drawn: dict[str, Array]) -> Array:
    for name, operation in OPERATIONS.items():
        if name in drawn:
            images = operation(images, drawn[name])
    return images


def blend(images: Array, others: Array | float, factor: Array) -> Array:
    """From `others`, of factor 0, to the images themselves, of 1, and beyond; cut to 0..1."""
    return jnp.clip(factor * images + (1 - factor) * others, 0.0, 1.0)


def grey(images: Array) -> Array:
    """[B, H, W, 1]: what the eye sees of three channels, the mean of another number."""
    if images.shape[-1] != 3:
        return images.mean(-1, keepdims=True)
    return sum(weight * images[..., at : at + 1] for at, weight in enumerate(LUMA))  # type: ignore[return-value]


def brightness(images: Array, factor: Array) -> Array:
    return blend(images, 0.0, factor)


def contrast(images: Array, factor: Array) -> Array:
    return blend(images, grey(images).mean((1, 2), keepdims=True), factor)


def saturation(images: Array, factor: Array) -> Array:
    return blend(images, grey(images), factor)


def hue(images: Array, turns: Array) -> Array:
    """Of three channels."""
    import dm_pix  # late: few runs need it, and it imports absl's tests

    with jax.numpy_dtype_promotion("standard"):  # it adds a comparison to floats
        return dm_pix.adjust_hue(images, turns[..., 0])


OPERATIONS = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
PURPOSE = Purpose((*OPERATIONS,), key=5, pictures=True, unit=True, numbers=True, moves=False,
                  colours=("saturation", "hue"))
