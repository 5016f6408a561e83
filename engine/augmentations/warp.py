"""Pictures seen through an affine map of their pixels' places, which several augmentations are."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates


def warp(image_BxHxWxC: Array, matrix_Bx2x2: Array, shift_Bx2: Array) -> Array:
    """float32: each pixel is what lies at matrix · place + shift, places (down, right) being
    counted from the picture's middle in pixels; bilinear, zeros outside."""
    _, height, width, _ = image_BxHxWxC.shape
    down_Hx1 = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2
    right_1xW = jnp.arange(width, dtype=jnp.float32)[None] - (width - 1) / 2

    def one(image_HxWxC: Array, matrix_2x2: Array, shift_2: Array) -> Array:
        # Written out: a matrix product would round places to ten bits on a GPU.
        (a, b), (c, d) = matrix_2x2
        places = [a * down_Hx1 + b * right_1xW + shift_2[0] + (height - 1) / 2,
                  c * down_Hx1 + d * right_1xW + shift_2[1] + (width - 1) / 2]

        def of_channel(image_HxW: Array) -> Array:
            return map_coordinates(image_HxW, places, order=1, mode="constant", cval=0.0)

        return jax.vmap(of_channel, in_axes=-1, out_axes=-1)(image_HxWxC)

    return jax.vmap(one)(image_BxHxWxC, matrix_Bx2x2, shift_Bx2)
