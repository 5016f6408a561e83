"""What `train` is given in Python: whether each argument is what its name says. Arrays may be
tracers, whose shapes and dtypes are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engine.errors import RequestError
from engine.examples import Subset
from engine.feed import Data


def check(key: Any, order: Any, data: Any) -> None:
    """Raise RequestError for keys or data of another kind or form."""
    for name, given in ("key", key), ("order", order):
        dtype = getattr(given, "dtype", None)
        if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
            raise RequestError(f"{name} is a {type(given).__name__}: give jax.random.key(0).")
        if given.shape != (() if dtype != jnp.uint32 else (2,)):
            raise RequestError(f"{name} has the shape {given.shape}: give one; several go by "
                               "jax.vmap.")
    if not isinstance(data, Data):
        raise RequestError(f"data is a {type(data).__name__}: give data_for(config, (x, y)).")
    for name in ("train", "validation"):
        _check_subset(name, getattr(data, name))


def _check_subset(name: str, subset: Subset) -> None:
    """The lengths and forms of its arrays: rows that name other examples would be clipped."""
    (inputs, targets, weights), rows = subset.split, subset.rows
    dtype, shape = getattr(rows, "dtype", np.dtype(object)), jnp.shape(rows)
    if len(shape) != 1 or not shape[0] or not np.issubdtype(dtype, np.integer):
        raise RequestError(f"data.{name}.rows are {dtype} {shape}: give the numbers of one example "
                           "or more of its split, int32 [N]; several data go by jax.vmap.")
    count = len(inputs)
    if len(targets) != count:
        raise RequestError(f"data.{name}.split has {count:,} inputs and {len(targets):,} targets: "
                           "give one each.")
    if weights is not None and jnp.shape(weights) != (count,):
        raise RequestError(f"data.{name}.split.weights have the shape {jnp.shape(weights)}: give "
                           f"one for each of the split's {count:,} examples, of which rows are the "
                           "part that counts.")
    if targets.dtype == np.dtype(bool):
        raise RequestError(f"data.{name}.split.targets are bool: give classes as int32.")
