"""ResNet-18 for images of CIFAR's size (He et al. 2015, table 1): a stem of 3 × 3, no pooling after
it; 11,173,962 parameters for RGB images of 10 classes."""

from typing import ClassVar

import flax.linen as nn
from jax import Array

from models.resnet20 import Block, Conv, ResNet20


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


class ResNet18(ResNet20):
    """The same with wider and fewer blocks, whose shortcuts have parameters."""

    block: ClassVar[type[Block]] = Projected
    widths: ClassVar[tuple[int, ...]] = (64, 128, 256, 512)
    blocks: ClassVar[int] = 2  # a width: 2 · 2 · 4 + 2 layers
