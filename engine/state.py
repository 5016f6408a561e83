"""What a run carries from step to step: arrays only, so that it can be donated and saved whole."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import optax
from jax import Array


class State(NamedTuple):
    """`batch_stats` are {} for a network that keeps none, and `collections` all that it keeps
    besides; `tally` sums the epoch so far; `diverged_at` is the first non-finite step, or -1.

    `average` are averaged params and, of a network that keeps them, batch statistics for them;
    `plateau` is a patience.Plateau. Each is empty in a run that isn't asked for it."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    tally: Any
    diverged_at: Array
    collections: dict[str, Any] = {}
    average: dict[str, Any] = {}
    plateau: Any = ()

    @property
    def kept(self) -> dict[str, Any]:
        """Every collection of the network's but its params."""
        return {"batch_stats": self.batch_stats, **self.collections}

    @property
    def variables(self) -> dict[str, Any]:
        """What the network is trained with."""
        return {"params": self.params, **self.kept}

    @property
    def model(self) -> dict[str, Any]:
        """What a run's predictions are made with: the averaged weights where there are such."""
        return self.variables | self.average

    @property
    def models(self) -> tuple[dict[str, Any], ...]:
        """What is evaluated each epoch: the variables, and the averaged ones where there are such.
        """
        return (self.variables, self.model) if self.average else (self.variables,)


def sorted_out(collections: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a State that hold a network's collections, its params aside."""
    others = {k: v for k, v in collections.items() if k not in ("params", "batch_stats") and v}
    return {"batch_stats": collections.get("batch_stats", {}), "collections": others}
