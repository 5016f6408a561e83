"""N operations of one magnitude on each picture, drawn from fourteen (RandAugment, Cubuk et al.
2019, arXiv:1909.13719).

A magnitude of 0 changes nothing, but for autocontrast and equalize, which have none; 10 is the
strongest, where the operations have the bounds of the authors' code. As in torchvision, a factor of
colour grows from 1 both ways. Operations are Pillow's (ImageEnhance, ImageOps), but for warps,
which are bilinear and about the middle. Pictures are float32 from 0 to 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations import colour, rotation
from engine.augmentations.purpose import Purpose
from engine.augmentations.warp import warp

PURPOSE = Purpose(("randaugment",), key=4, pictures=True, unit=True, numbers=True, moves=True)
OPERATIONS = ("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
              "brightness", "color", "contrast", "sharpness", "solarize", "posterize",
              "autocontrast", "equalize")
STRONGEST, USUAL = 10.0, 9.0
DEGREES, SHEAR, TRANSLATE = 30.0, 0.3, 150 / 331  # the last of a side
FACTOR, BITS = 0.9, 4.0
LEVELS = 256


class Drawn(NamedTuple):
    """Of each round and picture: the number of its operation, int32 [N, B], and a sign, float32."""

    operation: Array
    sign: Array


def draw(key: Array, rounds: int, count: int) -> Drawn:
    of_operation, of_sign = jax.random.split(key)
    shape = rounds, count
    return Drawn(jax.random.randint(of_operation, shape, 0, len(OPERATIONS)),
                 jax.random.rademacher(of_sign, shape, jnp.float32))


def apply(images: Array, drawn: Drawn, magnitude: Array | float) -> Array:
    """Round after round, of float32 [B, H, W, C]."""
    part = jnp.float32(magnitude) / STRONGEST

    def round_of(images: Array, one: Drawn) -> tuple[Array, None]:
        return _operated(images, one.operation, one.sign, part), None

    return jax.lax.scan(round_of, images, drawn)[0]


def _operated(images: Array, operation_B: Array, sign_B: Array, part: Array) -> Array:
    """One operation on each picture. Those of one form are one computation (a warp, a blend with
    another picture, a function of a pixel's level), of strength 0 where they aren't drawn."""
    def drawn(name: str) -> Array:
        return operation_B == OPERATIONS.index(name)

    def strength(name: str, most: float) -> Array:
        return jnp.where(drawn(name), sign_B * part * most, 0.0)

    def of_images(name: str) -> Array:
        return drawn(name)[:, None, None, None]

    height, width = images.shape[1:3]
    shear = jnp.zeros((len(sign_B), 2, 2))
    shear = shear.at[:, 1, 0].set(strength("shear_x", SHEAR))
    shear = shear.at[:, 0, 1].set(strength("shear_y", SHEAR))
    shift_Bx2 = jnp.stack([strength("translate_y", TRANSLATE * height),
                           strength("translate_x", TRANSLATE * width)], -1)
    images = warp(images, rotation.matrix(strength("rotate", DEGREES)) + shear, shift_Bx2)
    grey = colour.grey(images)
    others = {"brightness": jnp.zeros(()), "color": grey,
              "contrast": grey.mean((1, 2), keepdims=True), "sharpness": smooth(images)}
    factor = 1 + jnp.stack([strength(name, FACTOR) for name in others]).sum(0)
    other = jnp.select([of_images(name) for name in others], [*others.values()], images)
    images = colour.blend(images, other, factor[:, None, None, None])
    levels = {"solarize": solarize(images, part), "posterize": posterize(images, part),
              "autocontrast": autocontrast(images), "equalize": equalize(images)}
    return jnp.select([of_images(name) for name in levels], [*levels.values()], images)


def smooth(images: Array) -> Array:
    """Pillow's filter SMOOTH: of nine pixels, the middle one five times; edges stay."""
    _, height, width, _ = images.shape
    down, right = max(height - 2, 0), max(width - 2, 0)
    inner = images[:, 1:-1, 1:-1]
    total = 4 * inner
    for y in range(3):
        for x in range(3):
            total = total + images[:, y : y + down, x : x + right]
    return images.at[:, 1:-1, 1:-1].set(total / 13)


def solarize(images: Array, part: Array) -> Array:
    """Inverted from a level on: 256 · (1 - part) of 0 to 255."""
    return jnp.where(images < (1 - part) * (LEVELS / (LEVELS - 1)), images, 1 - images)


def posterize(images: Array, part: Array) -> Array:
    """With fewer bits a channel, by up to BITS."""
    bits = jnp.round(part * BITS).astype(jnp.int32)
    return jnp.where(bits > 0, _of_levels((_levels(images) >> bits) << bits), images)


def autocontrast(images: Array) -> Array:
    """Each channel stretched to 0..1."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    span = high - low
    return jnp.where(span > 0, (images - low) / jnp.where(span > 0, span, 1.0), images)


def equalize(images: Array) -> Array:
    """Each channel's levels as evenly frequent as may be."""
    def of_channel(level_HxW: Array) -> Array:
        counts = jnp.zeros(LEVELS, jnp.int32).at[level_HxW.ravel()].add(1)
        below = jnp.cumsum(counts) - counts
        step = below[level_HxW.max()] // (LEVELS - 1)
        table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, LEVELS - 1)
        return jnp.where(step > 0, table[level_HxW], level_HxW)

    over_channels = jax.vmap(of_channel, in_axes=-1, out_axes=-1)
    return _of_levels(jax.vmap(over_channels)(_levels(images)))


def _levels(images: Array) -> Array:
    return jnp.round(images * (LEVELS - 1)).astype(jnp.int32)


def _of_levels(level: Array) -> Array:
    return level.astype(jnp.float32) / (LEVELS - 1)
