"""ResNet-18 for images of CIFAR's size (He et al. 2015, table 1): a stem of 3 × 3, no pooling after
it; 11,173,962 parameters for RGB images of 10 classes."""

from functools import partial

import flax.linen as nn
from jax import Array

from models.resnet20 import Block, Conv

WIDTHS = 64, 128, 256, 512
BLOCKS = 2  # a width: 2 · 2 · 4 + 2 layers


class Projected(Block):
    """Two convolutions beside a shortcut of option B."""

    @nn.nowrap
    def shortcut(self, x_BxHxWxC: Array, train: bool) -> Array:
        """A convolution of 1 × 1 where the shape changes, else the pixels as they are."""
        if self.stride == 1 and x_BxHxWxC.shape[-1] == self.features:
            return x_BxHxWxC
        project = Conv(self.features, kernel_size=(1, 1), padding=0, strides=self.stride)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9)
        return norm(project(x_BxHxWxC))


class ResNet18(nn.Module):
    """He-normal kernels of convolutions, Glorot uniform ones of the last layer."""

    num_classes: int

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x = nn.relu(norm()(Conv(WIDTHS[0])(x_BxHxWxC)))
        for features in WIDTHS:
            for number in range(BLOCKS):
                stride = 2 if number == 0 and features > WIDTHS[0] else 1
                x = Projected(features, stride)(x, train)
        glorot = nn.initializers.glorot_uniform()
        return nn.Dense(self.num_classes, kernel_init=glorot)(x.mean((1, 2)))
