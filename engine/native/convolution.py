"""A convolution by the kernel in convolution.cc, and its two gradients, as primitives of jax.

Each is linear in either of its operands, and each one's transposes are the other two: so
derivatives of every order and both directions are theirs. Under vmap they run one after another.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Primitive
from jax.interpreters import ad, batching, mlir

from engine.native import library

Numbers = tuple[int, ...]
LARGE = 2**20  # bytes of a kernel, which leave the cache and are read again for every image
FEW_TILES, WIDE_ROW = 64, 2**15  # as in winograd.h
LARGE_IN_TILES = 2**22  # of those by Winograd's transform, which gains more than it reads


def refusal(convolution: JaxprEqn) -> str:
    """Why it isn't the kernel's, in a word; "" where it is."""
    given = convolution.params
    avals: list[Any] = [var.aval for var in (*convolution.invars, *convolution.outvars)]
    if any(aval.dtype != jnp.float32 for aval in avals):
        return "not in float32"
    if len(given["window_strides"]) != 2:
        return "not of two axes"
    if given["feature_group_count"] != 1 or given["batch_group_count"] != 1:
        return "grouped"
    if {*given["lhs_dilation"], *given["rhs_dilation"]} != {1}:
        return "dilated"
    kernel, (_, _, height, width) = avals[1], given["dimension_numbers"].rhs_spec
    if kernel.shape[height] == kernel.shape[width] == 1 and max(given["window_strides"]) > 1:
        return "of single pixels apart"
    most = LARGE_IN_TILES if _in_tiles(given, kernel.shape, avals[2].shape) else LARGE
    return "of a large kernel" if kernel.size * kernel.dtype.itemsize > most else ""


def _in_tiles(given: Mapping[str, Any], kernel: Numbers, out: Numbers) -> bool:
    """Whether Winograd's transform computes it, as by_winograd of winograd.h decides."""
    _, weights, results = given["dimension_numbers"]
    features, channels, *sides = (kernel[axis] for axis in weights)
    batch, _, height, width = (out[axis] for axis in results)
    wide = -(-width // 2)
    return (sides == [3, 3] and max(given["window_strides"]) == 1 < min(height, width)
            and features % 16 == channels % 16 == 0 and batch * -(-height // 2) * wide >= FEW_TILES
            and wide * (channels + features) <= WIDE_ROW)


def convolved(given: Mapping[str, Any], x: Array, kernel: Array) -> Array:
    """The convolution of an equation's parameters, which isn't refused."""
    image, weights, out = given["dimension_numbers"]
    x_BxHxWxC = x.transpose(image[0], *image[2:], image[1])
    kernel_HxWxCxF = kernel.transpose(*weights[2:], weights[1], weights[0])
    sides = [(x_BxHxWxC.shape[axis] + sum(around) - kernel_HxWxCxF.shape[axis - 1]) // stride + 1
             for axis, around, stride
             in zip((1, 2), given["padding"], given["window_strides"], strict=True)]
    y = value_p.bind(
        x_BxHxWxC, kernel_HxWxCxF, shape=(len(x_BxHxWxC), *sides, kernel_HxWxCxF.shape[-1]),
        strides=tuple(given["window_strides"]), low=tuple(low for low, _ in given["padding"]))
    return y.transpose(np.argsort((out[0], *out[2:], out[1])))


def _primitive(name: str) -> Primitive:
    """float32 (a, b) → float32 of `shape`, all of four axes."""
    made = Primitive(name)

    def result(a: Any, b: Any, shape: Numbers, strides: Numbers, low: Numbers) -> ShapedArray:
        return ShapedArray(shape, jnp.float32)

    def lowered(context: Any, a: Any, b: Any, shape: Numbers, strides: Numbers, low: Numbers):
        rule = jax.ffi.ffi_lowering(library.target(name))
        return rule(context, a, b, strides=np.array(strides), low=np.array(low))

    def batched(operands: Any, axes: Any, **given: Any) -> tuple[Array, int]:
        mapped = [None if axis is None else jnp.moveaxis(x, axis, 0)
                  for x, axis in zip(operands, axes, strict=True)]

        def one(parts: Any) -> Array:
            chosen = (x if part is None else part
                      for x, part in zip(operands, parts, strict=True))
            return made.bind(*chosen, **given)

        return lax.map(one, mapped), 0

    made.def_impl(jax.jit(made.bind, static_argnames=("shape", "strides", "low")))
    made.def_abstract_eval(result)
    mlir.register_lowering(made, lowered, platform="cpu")
    batching.primitive_batchers[made] = batched
    return made


value_p, by_image_p, by_kernel_p = map(_primitive, library.TARGETS)  # (x, k), (dy, k), (x, dy)


def _shaped(primitive: Primitive, a: Any, b: Any, like: Any, given: Any) -> Array:
    return primitive.bind(a, b, **given | {"shape": like.aval.shape})


# Of each, the cotangent's share of the left operand, then of the right one.
ad.defbilinear(
    value_p,
    lambda dy, x, k, **given: _shaped(by_image_p, dy, k, x, given),
    lambda dy, x, k, **given: _shaped(by_kernel_p, x, dy, k, given))
ad.defbilinear(
    by_image_p,
    lambda x, dy, k, **given: _shaped(value_p, x, k, dy, given),
    lambda x, dy, k, **given: _shaped(by_kernel_p, x, dy, k, given))
ad.defbilinear(
    by_kernel_p,
    lambda k, x, dy, **given: _shaped(by_image_p, dy, k, x, given),
    lambda k, x, dy, **given: _shaped(value_p, x, k, dy, given))
