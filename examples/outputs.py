"""Outputs of any form: a variational autoencoder, whose loss has a second term, and which draws.

    python examples/outputs.py
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from flaxmill import Config, Hyper, Place, Task, fit

pictures = (load_digits().images / 16).astype(np.float32)  # [1797, 8, 8]
pixels = pictures.reshape(len(pictures), -1)  # targets are [N, K], whatever their own form


class Network(nn.Module):
    """A dictionary, here; a tuple, or an array of more axes, will do."""

    @nn.compact
    def __call__(self, x, train: bool):
        h = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        mean, log_variance = nn.Dense(8)(h), nn.Dense(8)(h)
        noise = jax.random.normal(self.make_rng("noise"), mean.shape) if train else 0.0
        code = mean + jnp.exp(log_variance / 2) * noise
        decoded = nn.Dense(64)(nn.relu(nn.Dense(64)(code)))
        return {"pixels": decoded, "mean": mean, "log_variance": log_variance}


class Elbo(Task):
    """The squared error, which ranks, and how far the code is from a standard normal."""

    any_outputs, score = True, "error"

    def loss(self, outputs, targets, hyper):
        mean, log_variance = outputs["mean"], outputs["log_variance"]
        divergence = (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(-1) / 2
        return self.scores(outputs, targets)["error"] + 0.1 * divergence

    def scores(self, outputs, targets):
        return {"error": jnp.square(outputs["pixels"] - targets).sum(-1)}

    def predict(self, outputs):
        """One array [B, ...] of what is told: pictures again."""
        return outputs["pixels"].reshape(-1, 8, 8)


run = fit(Config(model=Network(), task=Elbo(), epochs=20), Hyper(learning_rate=3e-3),
          Place(device="cpu"), data=(pictures, pixels))
print(run, run.predict(pictures[:2]).shape)
