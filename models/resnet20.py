"""ResNet-20 for images of CIFAR's size (He et al. 2015, section 4.2); 269,722 parameters for RGB
images of 10 classes."""

from functools import partial
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

WIDTHS = 16, 32, 64
BLOCKS = 3  # a width: 6 · BLOCKS + 2 layers

Conv = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False,
               kernel_init=nn.initializers.he_normal())


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    features: int
    stride: int

    @nn.nowrap
    def shortcut(self, x_BxHxWxC: Array, train: bool) -> Array:
        """Option A: every `stride`th pixel, zeros in the channels that are new; no parameters."""
        x = x_BxHxWxC[:, :: self.stride, :: self.stride]
        return jnp.pad(x, [(0, 0)] * 3 + [(0, self.features - x.shape[-1])])

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """[B, H, W, C] → [B, ⌈H / stride⌉, ⌈W / stride⌉, features]"""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        y = nn.relu(norm()(Conv(self.features, strides=self.stride)(x_BxHxWxC)))
        y = norm()(Conv(self.features)(y))
        return nn.relu(y + self.shortcut(x_BxHxWxC, train))


class ResNet20(nn.Module):
    """He-normal kernels of convolutions, Glorot uniform ones of the last layer."""

    num_classes: int
    block: ClassVar[type[Block]] = Block
    widths: ClassVar[tuple[int, ...]] = WIDTHS
    blocks: ClassVar[int] = BLOCKS

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9)
        x = nn.relu(norm(Conv(self.widths[0])(x_BxHxWxC)))
        for features in self.widths:
            for number in range(self.blocks):
                stride = 2 if number == 0 and features > self.widths[0] else 1
                x = self.block(features, stride)(x, train)
        glorot = nn.initializers.glorot_uniform()
        return nn.Dense(self.num_classes, kernel_init=glorot)(x.mean((1, 2)))
