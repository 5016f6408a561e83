"""What a run carries from step to step: arrays only, so that it can be donated and saved whole."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from engine import keys, metrics


class State(NamedTuple):
    """`batch_stats` are {} for a network that keeps none, and `collections` all that it keeps
    besides; `tally` sums the epoch so far; `diverged_at` is the first non-finite step, or -1."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    tally: metrics.Tally
    diverged_at: Array
    collections: dict[str, Any] = {}

    @property
    def kept(self) -> dict[str, Any]:
        """Every collection of the network's but its params."""
        return {"batch_stats": self.batch_stats, **self.collections}

    @property
    def variables(self) -> dict[str, Any]:
        """What the network computes with, as flax's `apply` takes it."""
        return {"params": self.params, **self.kept}


def sorted_out(collections: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a State that hold a network's collections, its params aside."""
    others = {k: v for k, v in collections.items() if v and k not in ("params", "batch_stats")}
    return {"batch_stats": collections.get("batch_stats", {}), "collections": others}


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
        opt_state=tx.init(params),
        tally=metrics.zeros(),
        diverged_at=jnp.full((), -1, jnp.int32),
        **sorted_out(variables),
    )


def shapes(model: nn.Module, tx: optax.GradientTransformation, image_HxWxC: tuple[int, ...]):
    """`create` without computing: the tree of shapes and dtypes that a checkpoint restores into."""
    return jax.eval_shape(lambda: create(model, tx, jax.random.key(0), image_HxWxC))
