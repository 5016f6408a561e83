"""The article's network: three convolutions, two poolings, two dense layers; 122,570 parameters."""

import flax.linen as nn
from jax import Array

from models.layers import ConvReLU, Dense


class CNN(nn.Module):
    """Glorot uniform kernels and zero biases, Keras's, so that the article's numbers carry over."""

    num_classes: int
    convolution: str = "auto"

    @nn.compact
    def __call__(self, x_BxHxWxC: Array, train: bool) -> Array:
        """float32 images [B, H, W, C] → logits [B, num_classes]; 18 × 18 pixels or more."""
        x = ConvReLU(32, pool=True, formulation=self.convolution)(x_BxHxWxC)
        x = ConvReLU(64, pool=True, formulation=self.convolution)(x)
        x = ConvReLU(64, formulation=self.convolution)(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(Dense(64)(x))
        return Dense(self.num_classes)(x)
