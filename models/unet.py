"""A U-Net (Ronneberger et al. 2015): a class for each pixel, of pictures of any size;
1,948,586 parameters for RGB images of 10 classes."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

Conv = partial(nn.Conv, kernel_size=(3, 3), kernel_init=nn.initializers.he_normal())


class Block(nn.Module):
    """Two convolutions of 3 × 3, each normalised and rectified."""

    features: int

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """[B, H, W, C] → [B, H, W, features]"""
        x = x_BxHxWxC
        for _ in range(2):
            x = Conv(self.features, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return x


def _wider(x_BxHxWxC: Array, height: int, width: int) -> Array:
    """Every pixel four times, and where a pooling has left an odd one out, the last ones again."""
    x = x_BxHxWxC.repeat(2, axis=1).repeat(2, axis=2)
    more = height - x.shape[1], width - x.shape[2]
    return jnp.pad(x, ((0, 0), (0, more[0]), (0, more[1]), (0, 0)), "edge") if any(more) else x


class UNet(nn.Module):
    """He-normal kernels, batch normalisation and padding where the paper has none, and the nearest
    pixel where it has up-convolutions. In Python and in a recipe, `functools.partial(UNet,
    widths=(16, 32))` is another model. Raises ValueError for an image of which the poolings leave
    nothing."""

    num_classes: int
    widths: tuple[int, ...] = (32, 64, 128, 256)

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, H, W, num_classes]"""
        x, (height, width) = x_BxHxWxC, x_BxHxWxC.shape[1:3]
        least = 2 ** (len(self.widths) - 1)
        if min(height, width) < least:
            raise ValueError(f"its poolings need {least} × {least} pixels, got {height} × {width}")
        *outer, deepest = self.widths
        fine = []
        for features in outer:
            x = Block(features)(x, train)
            fine.append(x)
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = Block(deepest)(x, train)
        for features, skipped in zip(reversed(outer), reversed(fine), strict=True):
            both = jnp.concatenate([skipped, _wider(x, *skipped.shape[1:3])], axis=-1)
            x = Block(features)(both, train)
        return nn.Conv(self.num_classes, (1, 1))(x)
