"""A loss of one's own, and scores: the focal loss (Lin et al. 2017) and the Brier score.

    flaxmill --task examples/task.py:Focal --config examples/recipe.py
"""

import jax
import jax.numpy as jnp

from flaxmill import Task


class Focal(Task):
    """Of classes: targets int32 [B], outputs [B, C]. The accuracy ranks checkpoints and runs."""

    kind, score, higher = "classes", "accuracy", True

    def loss(self, outputs, targets, hyper):
        """Of each example, [B]: the mean, masks and devices are not its concern."""
        log_p = jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], 1)[:, 0]
        return -((1.0 - jnp.exp(log_p)) ** 2) * log_p

    def scores(self, outputs, targets):
        """[B] each, whose means are told."""
        off = jax.nn.softmax(outputs) - jax.nn.one_hot(targets, outputs.shape[-1])
        return {"accuracy": outputs.argmax(-1) == targets, "brier": jnp.square(off).sum(-1)}

    def predict(self, outputs):
        """What `predict` tells of each example."""
        return jax.nn.softmax(outputs)
