"""What a run carries from step to step: arrays only, so that it can be donated and saved whole."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from engine import keys, metrics


class State(NamedTuple):
    """`batch_stats` are {} for a network that keeps none; `tally` sums the epoch so far;
    `diverged_at` is the first non-finite step, or -1."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    tally: metrics.Tally
    diverged_at: Array

    @property
    def variables(self) -> dict[str, Any]:
        """What the network computes with, as flax's `apply` takes it."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create(
    model: nn.Module, tx: optax.GradientTransformation, root: Array, image_HxWxC: tuple[int, ...]
) -> State:
    """The state before the first update. Params are float32; counters int32."""
    image = jnp.zeros((1, *image_HxWxC), jnp.float32)
    variables = model.init(keys.stream(root, "params"), image, train=False)
    params = variables["params"]
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        tally=metrics.zeros(),
        diverged_at=jnp.full((), -1, jnp.int32),
    )


def shapes(model: nn.Module, tx: optax.GradientTransformation, image_HxWxC: tuple[int, ...]):
    """`create` without computing: the tree of shapes and dtypes that a checkpoint restores into."""
    return jax.eval_shape(lambda: create(model, tx, jax.random.key(0), image_HxWxC))
