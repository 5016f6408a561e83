"""ResNet-20 for images of CIFAR's size (He et al. 2015, section 4.2); 269,722 parameters for RGB
images of 10 classes."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from models.layers import Conv, Dense

WIDTHS = 16, 32, 64
BLOCKS = 3  # a width: 6 · BLOCKS + 2 layers
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


def shortcut(x_BxHxWxC: Array, features: int, stride: int) -> Array:
    """Option A: every `stride`th pixel, zeros in the channels that are new; no parameters."""
    x = x_BxHxWxC[:, ::stride, ::stride]
    return jnp.pad(x, [(0, 0)] * 3 + [(0, features - x.shape[-1])])


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    features: int
    stride: int
    convolution: str

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """[B, H, W, C] → [B, ⌈H / stride⌉, ⌈W / stride⌉, features]"""
        y = Conv(self.features, self.stride, self.convolution)(x_BxHxWxC)
        y = nn.relu(BatchNorm(not train)(y))
        y = BatchNorm(not train)(Conv(self.features, 1, self.convolution)(y))
        return nn.relu(y + shortcut(x_BxHxWxC, self.features, self.stride))


class ResNet20(nn.Module):
    """He-normal kernels of convolutions, Glorot uniform ones of the last layer."""

    num_classes: int
    convolution: str = "auto"

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        x = Conv(WIDTHS[0], 1, self.convolution)(x_BxHxWxC)
        x = nn.relu(BatchNorm(not train)(x))
        for features in WIDTHS:
            for number in range(BLOCKS):
                stride = 2 if number == 0 and features > WIDTHS[0] else 1
                x = Block(features, stride, self.convolution)(x, train)
        return Dense(self.num_classes)(x.mean((1, 2)))
