"""ConvNeXt (Liu et al. 2022) for images of CIFAR's size: a stem of 2 × 2, blocks 2-2-6-2 of widths
40 to 320; 3,376,290 parameters for RGB images of 10 classes."""

from functools import partial

import flax.linen as nn
from jax import Array

Conv = partial(nn.Conv, kernel_init=nn.initializers.truncated_normal(0.02))
Dense = partial(nn.Dense, kernel_init=nn.initializers.truncated_normal(0.02))


class Block(nn.Module):
    """A depthwise convolution of 7 × 7 and two dense layers, scaled, beside a shortcut. In training
    the branch is left out of an example with probability `drop_path` (Huang et al. 2016)."""

    drop_path: float

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """[B, H, W, C] → the same shape"""
        features = x_BxHxWxC.shape[-1]
        y = Conv(features, (7, 7), padding=3, feature_group_count=features)(x_BxHxWxC)
        y = nn.gelu(Dense(4 * features)(nn.LayerNorm()(y)), approximate=False)
        y = Dense(features)(y)
        y = y * self.param("scale", nn.initializers.constant(1e-6), (features,)).astype(y.dtype)
        return x_BxHxWxC + nn.Dropout(self.drop_path, (1, 2, 3), deterministic=not train)(y)


class ConvNeXt(nn.Module):
    """Truncated normal kernels of deviation 0.02. `drop_path` is the last block's, and grows from
    0. In Python and in a recipe, `functools.partial(ConvNeXt, depths=(3, 3, 9, 3))` is another
    model. Raises ValueError for an image of which stem and halvings leave nothing."""

    num_classes: int
    depths: tuple[int, ...] = (2, 2, 6, 2)
    widths: tuple[int, ...] = (40, 80, 160, 320)
    patch: int = 2
    drop_path: float = 0.1

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]"""
        x, (height, width) = x_BxHxWxC, x_BxHxWxC.shape[1:3]
        least = self.patch * 2 ** (len(self.depths) - 1)
        if min(height, width) < least:
            raise ValueError(f"its halvings need {least} × {least} pixels, got {height} × {width}")
        number, last = 0, max(1, sum(self.depths) - 1)
        for stage, (depth, features) in enumerate(zip(self.depths, self.widths, strict=True)):
            side = 2 if stage else self.patch
            if stage:
                x = nn.LayerNorm()(x)
            x = Conv(features, (side, side), strides=side, padding="VALID")(x)
            if not stage:
                x = nn.LayerNorm()(x)
            for _ in range(depth):
                x = Block(self.drop_path * number / last)(x, train)
                number += 1
        return Dense(self.num_classes)(nn.LayerNorm()(x.mean((1, 2))))
