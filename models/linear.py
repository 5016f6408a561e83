"""Linear or softmax regression: one dense layer over the flat inputs."""

import flax.linen as nn
from jax import Array


class Linear(nn.Module):
    """Zero kernel and bias, so that nothing of the seed is in it: the loss is convex, and its only
    minimum is where it goes."""

    num_outputs: int

    @nn.compact
    def __call__(self, x_Bx: Array) -> Array:
        """float32 [B, ...], of a table or of pictures → outputs or logits [B, num_outputs]"""
        layer = nn.Dense(self.num_outputs, kernel_init=nn.initializers.zeros)
        return layer(x_Bx.reshape(x_Bx.shape[0], -1))
