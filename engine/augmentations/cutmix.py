"""A rectangle of each picture taken from another, the labels mixed by area (CutMix, Yun et al.
2019); all of a batch have it in the same place, as in the authors' code."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.box import inside
from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("cutmix",), key=8, pictures=True, unit=False, numbers=True, moves=False,
                  labels=True)


class Box(NamedTuple):
    """Corner and sides, int32 [1, 2], within the picture."""

    corner: Array
    sides: Array


def draw(key: Array, shape: tuple[int, ...], share: Array) -> Box:
    """Around any pixel of [height, width, ...], of 1 - λ of the area before it is cut off at the
    edges; `share` is λ, as mixup draws it, and 1 gives no area."""
    size_2 = jnp.array(shape[:2])
    half_2 = jnp.floor(jnp.sqrt(1 - share) * jnp.float32(size_2)).astype(jnp.int32) // 2
    middle_2 = jax.random.randint(key, (2,), 0, size_2)
    first_2 = jnp.clip(middle_2 - half_2, 0, size_2)
    return Box(first_2[None], (jnp.clip(middle_2 + half_2, 0, size_2) - first_2)[None])


def kept(shape: tuple[int, ...], box: Box) -> Array:
    """The part of each picture that stays its own, float32: λ as it has come to be."""
    return 1 - box.sides.prod().astype(jnp.float32) / (shape[0] * shape[1])


def apply(image_BxHxWxC: Array, partner_B: Array, box: Box) -> Array:
    mask = inside(image_BxHxWxC.shape[1:], *box)
    return jnp.where(mask, image_BxHxWxC[partner_B], image_BxHxWxC)
