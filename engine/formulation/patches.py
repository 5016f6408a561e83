"""A convolution as a matrix product over image patches, a depthwise one as a sum of products, from
the parameters of lax's equation.

Legend: B batch, S one or more spatial axes, C channels in, F features out, K the kernel's sides.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import JaxprEqn

from engine.formulation import gathered, pooling
from engine.native.convolution import convolved

MOST_SHIFTS = 49  # products that a depthwise convolution is a sum of, all of them in the program


def _avals(convolution: JaxprEqn) -> list[Any]:
    """Of image, kernel and result; jax doesn't say that they have shapes."""
    return [var.aval for var in (*convolution.invars, *convolution.outvars)]


def is_depthwise(convolution: JaxprEqn) -> bool:
    """Whether every channel has kernels of its own."""
    given, (image, *_) = convolution.params, _avals(convolution)
    channels = image.shape[given["dimension_numbers"].lhs_spec[1]]
    return given["feature_group_count"] == channels > 1


def refusal(convolution: JaxprEqn) -> str:
    """Why it can't be a product over patches, in a word; "" where it can."""
    given, (_, kernel, out) = convolution.params, _avals(convolution)
    shifts = math.prod(kernel.shape[axis] for axis in given["dimension_numbers"].rhs_spec[2:])
    summed = is_depthwise(convolution) and shifts <= MOST_SHIFTS
    if given["feature_group_count"] != 1 and not summed or given["batch_group_count"] != 1:
        return "grouped"
    if given["out_sharding"] is not None:
        return "of a given sharding"
    return "empty" if 0 in out.shape else ""


def patch_bytes(convolution: JaxprEqn) -> int:
    """Of the patches that the product would be over."""
    given, (_, kernel, out) = convolution.params, _avals(convolution)
    features = out.shape[given["dimension_numbers"].out_spec[1]]
    positions = math.prod(out.shape) // features
    under_each = math.prod(kernel.shape) * given["feature_group_count"] // features
    return positions * under_each * kernel.dtype.itemsize


class Along(NamedTuple):
    """Of one spatial axis: the kernel's side, stride and dilation, and the pooling's window."""

    side: int
    stride: int
    dilation: int
    window: int

    def size(self, pixels: int) -> int:
        """How many windows an axis of so many pixels has."""
        return ((pixels - (self.side - 1) * self.dilation - 1) // self.stride + 1) // self.window

    def begins(self) -> list[range]:
        """The first pixel of every corner and place in the kernel: [corner][place]"""
        return [range(first, first + self.side * self.dilation, self.dilation)
                for first in range(0, self.window * self.stride, self.stride)]


def under(x_BxSxC: Array, axes: Sequence[Along]) -> list[Array]:
    """What lies under each place of the kernel at all of its positions, [B, S', C] a place; with a
    pooling window, so of each of the positions that it compares, its corners."""
    batch, *sides, channels = x_BxSxC.shape
    steps = [axis.stride * axis.window for axis in axes]
    ends = [(axis.size(side) - 1) * step + 1
            for axis, side, step in zip(axes, sides, steps, strict=True)]
    begins = [begin for corner in itertools.product(*(axis.begins() for axis in axes))
              for begin in itertools.product(*corner)]

    def pixels(begin: tuple[int, ...]) -> Array:
        stop = map(sum, zip(begin, ends, strict=True))
        return lax.slice(x_BxSxC, (0, *begin, 0), (batch, *stop, channels), (1, *steps, 1))

    once = {begin: pixels(begin) for begin in dict.fromkeys(begins)}
    return [once[begin] for begin in begins]


def places(sides: Sequence[int], axes: Sequence[Along]) -> np.ndarray:
    """The number of the pixel under each place of the kernel at all of its positions, among those
    of an image with such sides: int32 [S', corners, K]."""
    found = np.zeros((), np.int32)
    for side, axis in zip(sides, axes, strict=True):
        firsts = np.arange(axis.size(side)) * axis.stride * axis.window
        found = np.add.outer(found * side, np.add.outer(firsts, np.array(axis.begins())))
    order = np.arange(found.ndim).reshape(-1, 3).T.ravel()
    places = math.prod(axis.side for axis in axes)
    positions = [axis.size(side) for side, axis in zip(sides, axes, strict=True)]
    return found.transpose(order).reshape(*positions, -1, places).astype(np.int32)


def gathered_patches(x_BxSxC: Array, axes: Sequence[Along]) -> Array:
    """`patches`, each pixel read by its number."""
    batch, *sides, channels = x_BxSxC.shape
    table = places(sides, axes)
    flat = gathered.pixels(x_BxSxC.reshape(batch, -1, channels), table.ravel())
    corners = table.shape[-2:-1] if table.shape[-2] > 1 else ()
    return flat.reshape(batch, *table.shape[:-2], *corners, table.shape[-1] * channels)


def patches(x_BxSxC: Array, axes: Sequence[Along]) -> Array:
    """What lies under the kernel at each of its positions, flattened: [B, S', K·C] (im2col).

    With a pooling window, the corners lie on an axis of their own: [B, S', corners, K·C]. Pooling
    and its gradient then need no strided access, and what it drops at an odd edge is never made.
    """
    flat = jnp.concatenate(under(x_BxSxC, axes), axis=-1)
    corners = math.prod(axis.window for axis in axes)
    return flat.reshape(*flat.shape[:-1], corners, -1) if corners > 1 else flat


def depthwise(x_BxSxC: Array, kernel_KxF: Array, axes: Sequence[Along]) -> Array:
    """Where a channel has kernels of its own: a sum of products with what lies under each place of
    the kernel, in float32 at least, [B, S', F] or [B, S', corners, F]."""
    half = x_BxSxC.dtype in (jnp.bfloat16, jnp.float16)
    wide, features = jnp.float32 if half else x_BxSxC.dtype, kernel_KxF.shape[-1]
    x = jnp.repeat(x_BxSxC, features // x_BxSxC.shape[-1], axis=-1).astype(wide)
    found, weights = under(x, axes), list(kernel_KxF.astype(wide).reshape(-1, features))
    corners = [found[at : at + len(weights)] for at in range(0, len(found), len(weights))]
    sums = [sum(map(jnp.multiply, corner, weights), start=jnp.zeros((), wide))
            for corner in corners]
    return jnp.stack(sums, axis=-2) if len(sums) > 1 else sums[0]


def product(
    given: Mapping[str, Any], pool: Mapping[str, Any] | None, x: Array, kernel: Array,
    for_gpu: bool = False,
) -> Array:
    """The convolution of an equation's parameters, then the pooling of another's if there is one,
    whose windows are disjoint and without padding; of what is fast on a CPU, or `for_gpu`."""
    image, weights, out = given["dimension_numbers"]
    x_BxSxC = x.transpose(image[0], *image[2:], image[1])
    kernel_KxCxF = kernel.transpose(*weights[2:], weights[1], weights[0])
    around = [(low, high, dilation - 1) for (low, high), dilation
              in zip(given["padding"], given["lhs_dilation"], strict=True)]
    if any(map(any, around)):
        none = (0, 0, 0)
        x_BxSxC = lax.pad(x_BxSxC, jnp.zeros((), x.dtype), [none, *around, none])
    sides, rank = kernel_KxCxF.shape[:-2], len(around)
    window = [pool["window_dimensions"][axis] for axis in out[2:]] if pool else [1] * rank
    axes = list(map(Along, sides, given["window_strides"], given["rhs_dilation"], window))
    dtype = given["preferred_element_type"]
    if given["feature_group_count"] > 1:
        y = depthwise(x_BxSxC, kernel_KxCxF, axes).astype(dtype or x.dtype)
    else:
        rows = gathered_patches(x_BxSxC, axes) if for_gpu else patches(x_BxSxC, axes)
        multiplied = gathered.product if for_gpu else lax.dot
        # In two dimensions, so that its transposes are plain products too.
        y_NxF = multiplied(
            rows.reshape(-1, rows.shape[-1]), kernel_KxCxF.reshape(-1, kernel_KxCxF.shape[-1]),
            precision=given["precision"], preferred_element_type=dtype,
        )
        y = y_NxF.reshape(*rows.shape[:-1], -1)
    if pool:
        y = pooling.maximum(y[..., corner, :] for corner in range(y.shape[-2]))
    return y.transpose(np.argsort((out[0], *out[2:], out[1])))


def direct(
    given: Mapping[str, Any], pool: Mapping[str, Any] | None, x: Array, kernel: Array
) -> Array:
    """The same as lax's convolution, pooled by slices."""
    y = lax.conv_general_dilated_p.bind(x, kernel, **given)
    return pooling.pooled(y, pool) if pool else y


def native(
    given: Mapping[str, Any], pool: Mapping[str, Any] | None, x: Array, kernel: Array
) -> Array:
    """The same by the kernel in C++, pooled by slices."""
    y = convolved(given, x, kernel)
    return pooling.pooled(y, pool) if pool else y
