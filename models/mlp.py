"""A multilayer perceptron over the flat inputs, of tables and small pictures."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

Dense = partial(nn.Dense, kernel_init=nn.initializers.he_normal())


def width(count: int) -> int:
    """Numbers that an embedding of `count` codes has: fast.ai's rule, by trial over tables."""
    return min(600, round(1.6 * count**0.56))


class MLP(nn.Module):
    """Hidden layers of ReLU, He-normal kernels and zero biases. The last of the inputs [B, F] are
    codes where there are `embeddings`: how many there are of each. In Python,
    `functools.partial(MLP, hidden=(256,), dropout=0.1)` is another model."""

    num_outputs: int
    embeddings: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (128, 128)
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_Bx: Array, train: bool) -> Array:
        """float32 [B, ...], of a table or of pictures → outputs or logits [B, num_outputs]"""
        x = x_Bx.reshape(x_Bx.shape[0], -1)
        numbers = x.shape[1] - len(self.embeddings)
        codes = x[:, numbers:].astype(jnp.int32)
        embedded = [nn.Embed(count, width(count))(codes[:, at])
                    for at, count in enumerate(self.embeddings)]
        x = jnp.concatenate([x[:, :numbers], *embedded], axis=1)
        for features in self.hidden:
            x = nn.relu(Dense(features)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)
