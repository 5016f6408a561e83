"""Layers whose kernels are split by output features over the mesh axis "model".

Each device computes the columns of the product that its part of the kernel gives, from the whole
input, and all gather the whole output: the column-parallel layer of Megatron-LM (Shoeybi et al.
2019).
"""

from collections.abc import Callable

import jax
from jax import Array, lax

MODEL = "model"


@jax.custom_vjp
def _shared(x: Array) -> Array:
    """The input, whose gradient is the sum of what every device's columns make of it."""
    return x


_shared.defvjp(lambda x: (x, None), lambda _, g: (lax.psum(g, MODEL),))


@jax.custom_vjp
def _joined(y: Array) -> Array:
    """Every device's columns side by side; of the gradient, each takes its own back."""
    return lax.all_gather(y, MODEL, axis=y.ndim - 1, tiled=True)


def _own_columns(_: None, g: Array) -> tuple[Array]:
    width = g.shape[-1] // lax.axis_size(MODEL)
    return (lax.dynamic_slice_in_dim(g, lax.axis_index(MODEL) * width, width, axis=-1),)


_joined.defvjp(lambda y: (_joined(y), None), _own_columns)


def by_columns(
    operation: Callable[[Array, Array], Array], x: Array, kernel: Array, features: int
) -> Array:
    """operation(x, kernel): all its `features`, of which this device's kernel may have a part."""
    if kernel.shape[-1] == features:
        return operation(x, kernel)
    return _joined(operation(_shared(x), kernel))
