"""The whole run is a pure function: jax.jit, vmap and grad take it like any other.

    python examples/transformations.py
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from sklearn.datasets import load_wine

from flaxmill import Config, Hyper, data_for, train

x, y = load_wine(return_X_y=True)
network = nn.Sequential((nn.Dense(16), nn.relu, nn.Dense(3)))
config = Config(model=network, validation_split="0.25", epochs=5, batch_size=16)
data = data_for(config, ((x - x.mean(0)) / x.std(0), y))
key = jax.random.key(0)

# One run.
state, history = jax.jit(train)(config, Hyper(1e-2), key, data)

# Twelve at once: every learning rate with every seed.
rates, keys = jnp.array([1e-3, 1e-2, 1e-1]), jax.random.split(key, 4)
of_seeds = jax.vmap(lambda rate, key: train(config, Hyper(rate), key, data)[1], (None, 0))
accuracy_3x4 = jax.jit(jax.vmap(of_seeds, (0, None)))(rates, keys)["val_accuracy"][..., -1]
print(accuracy_3x4)


# How the final loss answers to the learning rate.
def final_loss(rate):
    return train(config, Hyper(rate, eps_root=1e-8), key, data)[1]["val_loss"][-1]


slope = jax.jit(jax.grad(final_loss))(1e-2)
print(slope)
