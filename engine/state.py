"""What a run carries from step to step: arrays only, so that it can be donated and saved whole."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import optax
from jax import Array


class State(NamedTuple):
    """`batch_stats` are {} for a network that keeps none, and `collections` all that it keeps
    besides; `tally` sums the epoch so far; `diverged_at` is the first non-finite step, or -1."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    tally: Any
    diverged_at: Array
    collections: dict[str, Any] = {}

    @property
    def kept(self) -> dict[str, Any]:
        """Every collection of the network's but its params."""
        return {"batch_stats": self.batch_stats, **self.collections}

    @property
    def variables(self) -> dict[str, Any]:
        """What the network computes with."""
        return {"params": self.params, **self.kept}


def sorted_out(collections: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a State that hold a network's collections, its params aside."""
    others = {k: v for k, v in collections.items() if v and k not in ("params", "batch_stats")}
    return {"batch_stats": collections.get("batch_stats", {}), "collections": others}
