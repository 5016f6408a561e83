"""What a product over patches is made of on a GPU, where the time is in many small kernels.

Patches are read by a table of places, which compiles to loads without branches, and their gradient
is a sum of loads by the inverse table. XLA fuses a sum of fewer than 32 numbers into what uses it,
the optimizer here, so the kernel's gradient is that many products. Each has the derivative that is
written here, which is a reverse one.

B batch, P pixels, C channels, N rows, G parts of them, K the kernel's places times C, F features.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

MOST_PARTS = 31  # a sum of 32 is a kernel of its own
LEAST_ROWS = 128  # of a part
TILE, TILES = 64, 160  # a side of what a block of threads computes, and how many fill a GPU


def parts(rows: int, sides: tuple[int, ...]) -> int:
    """Into how many equal ones the rows are cut that a product of such sides sums over: so many
    that a small one fills the GPU, and a large one is whole."""
    tiles = math.prod(-(-side // TILE) for side in sides)
    most = min(MOST_PARTS, rows // LEAST_ROWS, TILES // tiles)
    return max((count for count in range(2, most + 1) if rows % count == 0), default=1)


def _inverse(table: np.ndarray, pixels: int) -> np.ndarray:
    """Where in the table each pixel stands: int32 [P, most], its length where no more often."""
    order = np.argsort(table, kind="stable")
    pixel, times = table[order], np.bincount(table, minlength=pixels)
    found = np.full((pixels, times.max()), len(table), np.int32)
    found[pixel, np.arange(len(table)) - (np.cumsum(times) - times)[pixel]] = order
    return found


def pixels(x_BxPxC: Array, table: np.ndarray) -> Array:
    """Those that the table numbers, int [n]: [B, n, C]."""
    inverse = _inverse(table, x_BxPxC.shape[1])

    @jax.custom_vjp
    def read(x_BxPxC: Array) -> Array:
        return x_BxPxC.at[:, table].get(mode="promise_in_bounds")

    def back(_: None, g: Array) -> tuple[Array]:
        return (g.at[:, inverse].get(mode="fill", fill_value=0).sum(axis=2),)

    read.defvjp(lambda x: (read(x), None), back)
    return read(x_BxPxC)


def product(
    rows_NxK: Array, kernel_KxF: Array, precision: Any, preferred_element_type: Any
) -> Array:
    """Their matrix product, [N, F]. The kernel's gradient is a sum of products of parts."""
    def dot(rows: Array, kernel: Array) -> Array:
        return lax.dot(rows, kernel, precision=precision,
                       preferred_element_type=preferred_element_type)

    def back(saved: tuple[Array, Array], g_NxF: Array) -> tuple[Array, Array]:
        rows, kernel = saved
        count = parts(len(rows), kernel.shape)
        rows_GxNxK, g_GxNxF = (x.reshape(count, -1, x.shape[-1]) for x in (rows, g_NxF))
        partial = lax.dot_general(
            rows_GxNxK, g_GxNxF, (((1,), (1,)), ((0,), (0,))), precision=precision,
            preferred_element_type=jnp.promote_types(jnp.float32, kernel.dtype))
        (by_rows,) = jax.vjp(lambda rows: dot(rows, kernel), rows)[1](g_NxF)
        return by_rows, partial.sum(axis=0).astype(kernel.dtype)

    multiplied = jax.custom_vjp(dot)
    multiplied.defvjp(lambda rows, kernel: (dot(rows, kernel), (rows, kernel)), back)
    return multiplied(rows_NxK, kernel_KxF)
