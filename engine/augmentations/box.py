"""Rectangles of pixels, as masks: their places and sides may be traced."""

import jax.numpy as jnp
from jax import Array


def inside(shape: tuple[int, ...], corner_Bx2: Array, sides_Bx2: Array) -> Array:
    """Which pixels of [height, width, ...] lie within each rectangle, bool [B, H, W, 1]; it may
    reach beyond the picture."""
    masks = []
    for axis in (0, 1):
        first, side = corner_Bx2[:, axis, None], sides_Bx2[:, axis, None]
        pixel = jnp.arange(shape[axis], dtype=first.dtype)[None]
        masks.append((pixel >= first) & (pixel < first + side))
    down_BxH, right_BxW = masks
    return (down_BxH[:, :, None] & right_BxW[:, None])[..., None]
