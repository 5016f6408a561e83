"""The article's network: three convolutions, two poolings, two dense layers; 122,570 parameters."""

from functools import partial

import flax.linen as nn
from jax import Array

Conv = partial(nn.Conv, kernel_size=(3, 3), padding="VALID",
               kernel_init=nn.initializers.glorot_uniform())
Dense = partial(nn.Dense, kernel_init=nn.initializers.glorot_uniform())
max_pool = partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2))
SMALLEST = 18  # pixels a side, of which the third convolution leaves one


class CNN(nn.Module):
    """Glorot uniform kernels and zero biases, Keras's, so that the article's numbers carry over."""

    num_classes: int

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]. Raises ValueError for a smaller
        image than 18 × 18."""
        height, width = x_BxHxWxC.shape[1:3]
        if min(height, width) < SMALLEST:
            raise ValueError(f"its convolutions need {SMALLEST} × {SMALLEST} pixels, got "
                             f"{height} × {width}")
        x = max_pool(nn.relu(Conv(32, name="ConvReLU_0")(x_BxHxWxC)))
        x = max_pool(nn.relu(Conv(64, name="ConvReLU_1")(x)))
        x = nn.relu(Conv(64, name="ConvReLU_2")(x))
        x = nn.relu(Dense(64)(x.reshape(x.shape[0], -1)))
        return Dense(self.num_classes)(x)
