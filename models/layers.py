"""Convolution and pooling with the formulation that each platform runs fastest.

Legend: B batch, H height, W width, C channels in, F features out, K kernel side.

XLA:CPU optimises convolutions in a program's entry computation only; inside a loop their gradients
run as plain nested loops, 30 times slower. A matrix product over image patches is safe there and
faster outside it too, so that is what a CPU gets. Elsewhere the vendor's convolution is kept.
"""


from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax


def patches(x_BxHxWxC: Array, side: int) -> Array:
    """Every valid side × side window, flattened: [B, H-side+1, W-side+1, side²·C] (im2col)."""
    height, width = (n - side + 1 for n in x_BxHxWxC.shape[1:3])
    shifted = [
        x_BxHxWxC[:, i : i + height, j : j + width] for i in range(side) for j in range(side)
    ]
    return jnp.concatenate(shifted, axis=-1)


def scatter_patches(p_BxHxWxKKC: Array, side: int) -> Array:
    """The transpose of `patches`: each window's values added back to where they came from."""
    height, width, depth = p_BxHxWxKKC.shape[1:]
    channels = depth // side**2
    rows = []
    for i in range(side):
        row = p_BxHxWxKKC[..., i * side * channels : (i + 1) * side * channels]
        shifted = [
            jnp.pad(row[..., j * channels : (j + 1) * channels], _shift(2, j, side))
            for j in range(side)
        ]
        rows.append(jnp.pad(reduce(jnp.add, shifted), _shift(1, i, side)))
    return reduce(jnp.add, rows)


def _shift(axis: int, offset: int, side: int) -> list[tuple[int, int]]:
    return [(offset, side - 1 - offset) if a == axis else (0, 0) for a in range(4)]


def _direct(x_BxHxWxC: Array, kernel_KxKxCxF: Array) -> Array:
    return lax.conv_general_dilated(
        x_BxHxWxC, kernel_KxKxCxF, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _as_product(x_BxHxWxC: Array, kernel_KxKxCxF: Array) -> Array:
    side, features = kernel_KxKxCxF.shape[0], kernel_KxKxCxF.shape[-1]
    return patches(x_BxHxWxC, side) @ kernel_KxKxCxF.reshape(-1, features)


def _as_product_vjp(x_BxHxWxC: Array, kernel_KxKxCxF: Array, g_BxHxWxF: Array):
    side, features = kernel_KxKxCxF.shape[0], kernel_KxKxCxF.shape[-1]
    flat_NxKKC = patches(x_BxHxWxC, side).reshape(-1, kernel_KxKxCxF.size // features)
    d_kernel = flat_NxKKC.T @ g_BxHxWxF.reshape(-1, features)
    d_patches = g_BxHxWxF @ kernel_KxKxCxF.reshape(-1, features).T
    return scatter_patches(d_patches, side), d_kernel.reshape(kernel_KxKxCxF.shape)


def _direct_vjp(x_BxHxWxC: Array, kernel_KxKxCxF: Array, g_BxHxWxF: Array):
    return jax.vjp(_direct, x_BxHxWxC, kernel_KxKxCxF)[1](g_BxHxWxF)


@jax.custom_vjp
def conv(x_BxHxWxC: Array, kernel_KxKxCxF: Array) -> Array:
    """Valid, stride-1 convolution: [B, H-K+1, W-K+1, F], equal to lax.conv_general_dilated's."""
    return lax.platform_dependent(x_BxHxWxC, kernel_KxKxCxF, cpu=_as_product, default=_direct)


def _conv_fwd(x_BxHxWxC: Array, kernel_KxKxCxF: Array):
    return conv(x_BxHxWxC, kernel_KxKxCxF), (x_BxHxWxC, kernel_KxKxCxF)


def _conv_bwd(residuals, g_BxHxWxF: Array):
    return lax.platform_dependent(
        *residuals, g_BxHxWxF, cpu=_as_product_vjp, default=_direct_vjp
    )


conv.defvjp(_conv_fwd, _conv_bwd)


def max_pool2(x_BxHxWxC: Array) -> Array:
    """2 × 2 max-pooling, stride 2, an odd edge dropped, as the maximum of four strided slices.

    Equal to nn.max_pool; a tie shares its gradient, where nn.max_pool gives it to the first.
    """
    height, width = (n // 2 * 2 for n in x_BxHxWxC.shape[1:3])
    corners = [x_BxHxWxC[:, i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    return jnp.maximum(jnp.maximum(*corners[:2]), jnp.maximum(*corners[2:]))


def seen_by_pooling(x_BxHxWxC: Array, side: int) -> Array:
    """The pixels that decide a pooled convolution: without those of an odd last row or column.

    Pooling would drop it, so computing it is a waste: 15 % of the article's second convolution.
    """
    height, width = ((n - side + 1) // 2 * 2 + side - 1 for n in x_BxHxWxC.shape[1:3])
    return x_BxHxWxC[:, :height, :width]


class ConvReLU(nn.Module):
    """Valid convolution, optional 2 × 2 max-pooling, ReLU; nn.Conv's parameters.

    Pooling comes before bias and ReLU: both are monotone, so the function is the same, for a
    quarter of the work.
    """

    features: int
    side: int = 3
    pool: bool = False

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
        if self.pool:
            y = max_pool2(conv(seen_by_pooling(x_BxHxWxC, self.side), kernel))
        else:
            y = conv(x_BxHxWxC, kernel)
        return nn.relu(y + bias)
