"""Batch normalisation (Ioffe & Szegedy 2015) with the statistics of the whole batch, whichever
devices its examples lie on. B batch, C channels; x_BxC may have axes between the two."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax


class Share(NamedTuple):
    """A device's part of a batch: `valid_B` bool [B], false where an example fills up; `count`
    float32 [], the valid ones of all devices; the mesh `axes` that the other parts lie on."""

    valid_B: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    axes: tuple[str, ...] = ()

    @classmethod
    def of(cls, valid_B: Array, axes: tuple[str, ...] = ()) -> "Share":
        """With the count. Where `axes` has names, within `shard_map` over them."""
        count = lax.psum(valid_B.sum(dtype=jnp.int32), axes)
        return cls(valid_B, count.astype(jnp.float32), axes)


def moments(x_BxC: Array, share: Share, near_C: Array) -> tuple[Array, Array]:
    """Mean and biased variance, float32 [C] each, of all valid examples of all devices.

    One sum over the devices: of x - near and of its square. The result is the same whatever
    `near_C`; the closer to the mean, the less the two squares cancel. Its gradient is one sum too.
    """
    near_C, inner = lax.stop_gradient(near_C), tuple(range(1, x_BxC.ndim - 1))
    valid = jnp.expand_dims(share.valid_B, (*inner, x_BxC.ndim - 1))
    off_BxC = jnp.where(valid, x_BxC - near_C, 0.0)
    sums = [part.sum((0, *inner)) for part in (off_BxC, off_BxC * off_BxC)]
    size = share.count * math.prod(x_BxC.shape[1:-1])
    mean_C, square_C = jnp.split(lax.psum(jnp.concatenate(sums), share.axes) / size, 2)
    return near_C + mean_C, jnp.maximum(square_C - mean_C * mean_C, 0.0)


class BatchNorm(nn.Module):
    """(x - mean) / √(variance + epsilon) · scale + bias for each channel, flax's nn.BatchNorm by
    the names of its parameters and `batch_stats`, in float32.

    Where `train`, the moments are the batch's, and the running ones move on as flax's and Keras's
    do: momentum · running + (1 - momentum) · batch. Elsewhere they are the running ones. The
    defaults are PyTorch's, whose momentum of 0.1 is 0.9 here.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x_BxC: Array, train: bool, batch: Share | None = None) -> Array:
        """[B, ..., C] → the same shape. Without `batch` every example of x counts."""
        shape = x_BxC.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        mean, var = running_mean.value, running_var.value
        if train and not self.is_initializing():
            mean, var = moments(x_BxC, batch or Share.of(jnp.ones(len(x_BxC), bool)), mean)
            for running, now in ((running_mean, mean), (running_var, var)):
                running.value = self.momentum * running.value + (1 - self.momentum) * now
        return (x_BxC - mean) * (scale * lax.rsqrt(var + self.epsilon)) + bias
