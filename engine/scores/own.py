"""The scores that a task of one's own has: sums beside those that its class has otherwise."""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


class Scored(NamedTuple):
    """A tally of one of our tasks, and `Task.tally`'s beside it; apart from the first, which keeps
    its form where nobody has scores besides, and answers for both."""

    own: Any
    beside: Any

    @property
    def count(self) -> Array:  # type: ignore[override]  # hides tuple.count, which nobody calls
        return self.own.count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


def means(tally: Any) -> dict[str, Array]:
    """Of these scores over the examples; {} where there are none."""
    of = getattr(tally, "beside", tally)
    return {name: value / jnp.float32(of.count)
            for name, value in getattr(of, "scores", {}).items()}


def unscored(state: Any, leaves: Collection[str]) -> Any:
    """`state`, a run's or a population's, in the form of a checkpoint that has these `leaves`,
    maybe from before such scores were told."""
    tally = getattr(_of(state), "tally", None)
    if not isinstance(tally, Scored) or not any(leaf.endswith(".tally.count") for leaf in leaves):
        return state
    return _with(state, tally.own)


def scored(state: Any, like: Any) -> Any:
    """An `unscored` one in the form of `like`, its scores of no example."""
    tally = getattr(_of(like), "tally", None)
    own = getattr(_of(state), "tally", None)
    if not isinstance(tally, Scored) or isinstance(own, Scored) or own is None:
        return state
    none = jax.tree.map(lambda x: np.zeros(own.count.shape, x.dtype), tally.beside)
    return _with(state, Scored(own, none))


def _of(state: Any) -> Any:
    return state.members.state if hasattr(state, "members") else state


def _with(state: Any, tally: Any) -> Any:
    held = _of(state)._replace(tally=tally)
    return state._replace(members=state.members._replace(state=held)) \
        if hasattr(state, "members") else held
