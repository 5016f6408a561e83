"""A rectangle of a picture filled with noise (random erasing, Zhong et al. 2017): of 2 to 40 % of
its area, its sides in a ratio of 0.3 to 1/0.3."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations.box import inside
from engine.augmentations.purpose import Purpose

PURPOSE = Purpose(("erasing",), key=7, pictures=True, unit=True, numbers=True, moves=False)
AREA = 0.02, 0.4
RATIO = 0.3, 1 / 0.3
TRIES = 10  # to fit a rectangle into the picture; the paper tries for ever


class Erased(NamedTuple):
    """Each rectangle's corner and sides, int32 [B, 2], of no area where nothing is erased; noise
    float32 [B, H, W, C] from 0 to 1."""

    corner: Array
    sides: Array
    noise: Array


def draw(key: Array, images: tuple[int, ...], probability: Array) -> Erased:
    """For pictures of the shape `images`, [B, H, W, C]."""
    count, size = images[0], jnp.array(images[1:3])
    whether, area, ratio, place, noise = jax.random.split(key, 5)
    tries = count, TRIES
    area_BxT = jax.random.uniform(area, tries, minval=AREA[0], maxval=AREA[1])
    ratio_BxT = jax.random.uniform(ratio, tries, minval=RATIO[0], maxval=RATIO[1])
    area_BxT = area_BxT * (images[1] * images[2])
    sides = jnp.sqrt(jnp.stack([area_BxT * ratio_BxT, area_BxT / ratio_BxT], -1))
    sides_BxTx2 = jnp.round(sides).astype(jnp.int32)
    fits_BxT = (sides_BxTx2 < size).all(-1)
    first_B = fits_BxT.argmax(1)
    wanted_B = (jax.random.uniform(whether, (count,)) < probability) & fits_BxT.any(1)
    sides_Bx2 = jnp.take_along_axis(sides_BxTx2, first_B[:, None, None], 1)[:, 0]
    sides_Bx2 = jnp.where(wanted_B[:, None], sides_Bx2, 0)
    corner_Bx2 = jax.random.randint(place, (count, 2), 0, size - sides_Bx2 + 1)
    return Erased(corner_Bx2, sides_Bx2, jax.random.uniform(noise, images))


def apply(image_BxHxWxC: Array, erased: Erased) -> Array:
    """float32."""
    mask = inside(image_BxHxWxC.shape[1:], erased.corner, erased.sides)
    return jnp.where(mask, erased.noise, image_BxHxWxC)
