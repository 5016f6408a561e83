"""A wide residual network for images of CIFAR's size (Zagoruyko & Komodakis 2016), WRN-28-10;
36,479,194 parameters for RGB images of 10 classes."""

from functools import partial

import flax.linen as nn
from jax import Array

from models.resnet20 import WIDTHS, Conv


class Block(nn.Module):
    """Two convolutions, each after normalisation and ReLU, beside a shortcut; dropout between."""

    features: int
    stride: int
    dropout: float

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """[B, H, W, C] → [B, ⌈H / stride⌉, ⌈W / stride⌉, features]"""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9)
        x, active = x_BxHxWxC, nn.relu(norm()(x_BxHxWxC))
        y = nn.relu(norm()(Conv(self.features, strides=self.stride)(active)))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = Conv(self.features)(y)
        if x.shape != y.shape:
            x = Conv(self.features, kernel_size=(1, 1), padding=0, strides=self.stride)(active)
        return x + y


class WideResNet(nn.Module):
    """WRN-depth-width: 6n + 4 layers, `width` times ResNet's channels. He-normal kernels. In
    Python and in a recipe, `functools.partial(WideResNet, depth=16, width=4, dropout=0.3)` is
    another model. Raises ValueError for a depth that is not 6n + 4."""

    num_classes: int
    depth: int = 28
    width: int = 10
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        blocks, rest = divmod(self.depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"its depth is 6n + 4, such as 10, 16, 22 or 28, got {self.depth}")
        x = Conv(WIDTHS[0])(x_BxHxWxC)
        for group, features in enumerate(WIDTHS):
            for number in range(blocks):
                stride = 2 if number == 0 and group > 0 else 1
                x = Block(features * self.width, stride, self.dropout)(x, train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))
