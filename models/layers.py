"""Convolution and pooling with the formulation that each platform runs fastest.

Legend: B batch, H height, W width, C channels in, F features out, K kernel side, N rows.

XLA:CPU optimises convolutions in a program's entry computation only; inside a loop their gradients
run as plain nested loops, 30 times slower. A matrix product over image patches is safe there and
faster outside it too, so that is what a CPU gets. Elsewhere the vendor's convolution is kept.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

Formulation = Callable[[Array, Array], Array]


def by_platform(cpu: Formulation, default: Formulation) -> Formulation:
    """The function (x, kernel) → y that both compute, by `cpu` on a CPU and `default` elsewhere.

    Its gradient is that of the formulation which ran. The backward pass names the forward's
    operations again: inside one program the compiler computes them once.
    """

    @jax.custom_vjp
    def apply(x: Array, kernel: Array) -> Array:
        return lax.platform_dependent(x, kernel, cpu=cpu, default=default)

    def forward(x: Array, kernel: Array):
        return apply(x, kernel), (x, kernel)

    def pull_back(formulation: Formulation):
        return lambda x, kernel, g: jax.vjp(formulation, x, kernel)[1](g)

    def backward(residuals, g: Array):
        return lax.platform_dependent(
            *residuals, g, cpu=pull_back(cpu), default=pull_back(default)
        )

    apply.defvjp(forward, backward)
    return apply


def patches(x_BxHxWxC: Array, side: int, stride: int = 1) -> Array:
    """Every valid side × side window, or every `stride`th, flattened: [B, H', W', side²·C]
    (im2col), H' = (H-side) // stride + 1."""
    height, width = (n - side + 1 for n in x_BxHxWxC.shape[1:3])
    pixels = [
        x_BxHxWxC[:, i : i + height : stride, j : j + width : stride]
        for i in range(side) for j in range(side)
    ]
    return jnp.concatenate(pixels, axis=-1)


def pooling_patches(x_BxHxWxC: Array, side: int) -> Array:
    """The four windows that each 2 × 2 pooling compares: [B, H', W', 4, side²·C].

    H' = (H-side+1) // 2, so windows on an odd edge, which pooling drops, are never made. With the
    corners on an axis of their own, pooling and its gradient need no strided access.
    """
    height, width = ((n - side + 1) // 2 for n in x_BxHxWxC.shape[1:3])
    pixels = {
        (i, j): x_BxHxWxC[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
        for i in range(side + 1) for j in range(side + 1)
    }
    windows = [
        pixels[top + i, left + j]
        for top in (0, 1) for left in (0, 1) for i in range(side) for j in range(side)
    ]
    flat = jnp.concatenate(windows, axis=-1)
    return flat.reshape(*flat.shape[:3], 4, -1)


def _product(patches: Array, kernel_KxKxCxF: Array) -> Array:
    """Patches [..., K²·C] times the kernel: [..., F]; in two dimensions, as its transposes."""
    features = kernel_KxKxCxF.shape[-1]
    y_NxF = patches.reshape(-1, patches.shape[-1]) @ kernel_KxKxCxF.reshape(-1, features)
    return y_NxF.reshape(*patches.shape[:-1], features)


def _max_of_corners(y: Array) -> Array:
    a, b, c, d = (y[..., corner, :] for corner in range(4))
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


@jax.custom_vjp
def corner_max(y_BxHxWx4xF: Array) -> Array:
    """The maximum over the corners: [B, H, W, F]. Ties share the gradient evenly.

    Corner by corner rather than as a reduction, which XLA:CPU doesn't vectorise: a third of the
    whole step's time.
    """
    return _max_of_corners(y_BxHxWx4xF)


def _corner_max_forward(y_BxHxWx4xF: Array):
    return _max_of_corners(y_BxHxWx4xF), y_BxHxWx4xF


def _corner_max_backward(y_BxHxWx4xF: Array, g_BxHxWxF: Array):
    most = _max_of_corners(y_BxHxWx4xF)
    winners = sum((y_BxHxWx4xF[..., i, :] == most).astype(g_BxHxWxF.dtype) for i in range(4))
    share = (g_BxHxWxF / winners)[..., None, :]
    return (jnp.where(y_BxHxWx4xF == most[..., None, :], share, jnp.zeros_like(share)),)


corner_max.defvjp(_corner_max_forward, _corner_max_backward)


def conv_product(
    x_BxHxWxC: Array, kernel_KxKxCxF: Array, stride: int = 1, padding: int = 0
) -> Array:
    """Convolution of an image with so many zeros around it, [B, H', W', F], as a product over
    patches. H' = (H + 2·padding - K) // stride + 1."""
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(x_BxHxWxC, around) if padding else x_BxHxWxC
    return _product(patches(padded, kernel_KxKxCxF.shape[0], stride), kernel_KxKxCxF)


def conv_pool_product(x_BxHxWxC: Array, kernel_KxKxCxF: Array) -> Array:
    """The same, then 2 × 2 max-pooling of stride 2, an odd edge dropped; ties share a gradient."""
    corners = pooling_patches(x_BxHxWxC, kernel_KxKxCxF.shape[0])
    return corner_max(_product(corners, kernel_KxKxCxF))


def conv_direct(
    x_BxHxWxC: Array, kernel_KxKxCxF: Array, stride: int = 1, padding: int = 0
) -> Array:
    """`conv_product` as XLA's convolution."""
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_KxKxCxF, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv_pool_direct(x_BxHxWxC: Array, kernel_KxKxCxF: Array) -> Array:
    """`conv_pool_product` as XLA's convolution, whose corners are compared in the same way."""
    y_BxHxWxF = conv_direct(x_BxHxWxC, kernel_KxKxCxF)
    height, width = (2 * (side // 2) for side in y_BxHxWxF.shape[1:3])
    corners = [y_BxHxWxF[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    return corner_max(jnp.stack(corners, axis=3))


def _formulations(product: Formulation, direct: Formulation) -> dict[str, Formulation]:
    return {
        "auto": by_platform(cpu=product, default=direct), "product": product, "direct": direct
    }


CONV = _formulations(conv_product, conv_direct)
CONV_POOL = _formulations(conv_pool_product, conv_pool_direct)
CONV_PADDED = {  # by stride: a kernel of 3 × 3 stands on every pixel, or on every second
    stride: _formulations(partial(conv_product, stride=stride, padding=1),
                          partial(conv_direct, stride=stride, padding=1))
    for stride in (1, 2)
}


class ConvReLU(nn.Module):
    """Valid convolution, optional 2 × 2 max-pooling, ReLU; nn.Conv's parameters.

    Pooling comes before bias and ReLU: both are monotone, so the function is the same, for a
    quarter of the work.
    """

    features: int
    side: int = 3
    pool: bool = False
    formulation: str = "auto"

    @nn.compact
    def __call__(self, x_BxHxWxC: Array) -> Array:
        """[B, H, W, C] → [B, H', W', features]. Raises ValueError where the image is too small."""
        least = self.side + self.pool
        if min(x_BxHxWxC.shape[1:3]) < least:
            raise ValueError(f"a convolution needs {least} × {least} pixels, got "
                             f"{x_BxHxWxC.shape[1]} × {x_BxHxWxC.shape[2]}")
        shape = (self.side, self.side, x_BxHxWxC.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        operation = (CONV_POOL if self.pool else CONV)[self.formulation]
        return nn.relu(operation(x_BxHxWxC, kernel) + bias)


class Conv(nn.Module):
    """3 × 3 convolution of an image padded by one pixel, without bias; nn.Conv's parameters.

    He-normal kernels (He et al. 2015, "Delving deep into rectifiers").
    """

    features: int
    stride: int = 1
    formulation: str = "auto"

    @nn.compact
    def __call__(self, x_BxHxWxC: Array) -> Array:
        """[B, H, W, C] → [B, ⌈H / stride⌉, ⌈W / stride⌉, features]"""
        shape = (3, 3, x_BxHxWxC.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return CONV_PADDED[self.stride][self.formulation](x_BxHxWxC, kernel)


class Dense(nn.Module):
    """y = x · kernel + bias; nn.Dense's parameters."""

    features: int

    @nn.compact
    def __call__(self, x_BxC: Array) -> Array:
        """[B, C] → [B, features]"""
        shape = (x_BxC.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return jnp.dot(x_BxC, kernel) + bias
