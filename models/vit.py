"""A vision transformer (Dosovitskiy et al. 2020) for images of CIFAR's size: patches of 4 × 4, 9
blocks of width 192; 4,028,170 parameters for RGB images of 32 × 32 and 10 classes."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

Dense = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())


def attended(query: Array, key: Array, value: Array, **_: Any) -> Array:
    """[B, T, heads, F] each → the same shape; softmax in float32, whatever they are."""
    scores = jnp.einsum("bqhf,bkhf->bhqk", query, key) / query.shape[-1] ** 0.5
    weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(value.dtype)
    return jnp.einsum("bhqk,bkhf->bqhf", weights, value)


class Block(nn.Module):
    """Self-attention, then two dense layers, each after normalisation and beside a shortcut. In
    training a branch is left out of an example with probability `drop_path` (Huang et al. 2016)."""

    heads: int
    dropout: float
    drop_path: float

    @nn.compact
    def __call__(self, x_BxTxF: Array, train: bool) -> Array:
        """[B, T, F] → the same shape"""
        drop = partial(nn.Dropout, self.dropout, deterministic=not train)
        drop_path = partial(nn.Dropout, self.drop_path, (1, 2), deterministic=not train)
        attention = nn.MultiHeadDotProductAttention(
            self.heads, kernel_init=nn.initializers.xavier_uniform(), attention_fn=attended)
        x, features = x_BxTxF, x_BxTxF.shape[-1]
        x = x + drop_path()(drop()(attention(nn.LayerNorm()(x))))
        y = drop()(nn.gelu(Dense(4 * features)(nn.LayerNorm()(x)), approximate=False))
        return x + drop_path()(drop()(Dense(features)(y)))


class ViT(nn.Module):
    """Glorot uniform kernels; a token of its own for the class, and learned positions. `drop_path`
    is the last block's, and grows from 0. In Python and in a recipe, `functools.partial(ViT,
    depth=12)` is another model. Raises ValueError for images that its patches don't divide."""

    num_classes: int
    patch: int = 4
    width: int = 192
    depth: int = 9
    heads: int = 3
    dropout: float = 0.0
    drop_path: float = 0.1

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        batch, height, width, _ = x_BxHxWxC.shape
        side, rows, columns = self.patch, height // self.patch, width // self.patch
        if (rows * side, columns * side) != (height, width):
            raise ValueError(f"its patches of {side} × {side} pixels don't divide {height} × "
                             f"{width}")
        normal = nn.initializers.normal(0.02)
        x = nn.Conv(self.width, (side, side), strides=side, padding="VALID")(x_BxHxWxC)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width)).astype(x.dtype)
        x = x.reshape(batch, rows * columns, self.width)
        x = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, self.width)), x], axis=1)
        x = x + self.param("positions", normal, (1, *x.shape[1:])).astype(x.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for number in range(self.depth):
            rate = self.drop_path * number / max(1, self.depth - 1)
            x = Block(self.heads, self.dropout, rate)(x, train)
        return nn.Dense(self.num_classes, kernel_init=normal)(nn.LayerNorm()(x)[:, 0])
