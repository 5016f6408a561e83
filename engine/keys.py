"""Random keys as a pure function of (root, stream, step): nothing to carry, nothing to reuse."""

import jax
from jax import Array

STREAMS = ("params", "shuffle", "augment", "dropout")


def stream(root: Array, name: str, step: Array | int = 0) -> Array:
    """The key of one use. Distinct (name, step) pairs give independent keys."""
    return jax.random.fold_in(jax.random.fold_in(root, STREAMS.index(name)), step)
