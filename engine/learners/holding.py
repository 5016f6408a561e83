"""What a network may hold: variables that can be saved, and parameters that can be learned."""

from typing import Any

import jax
import jax.numpy as jnp

from engine.doors.bring import short
from engine.errors import RequestError, tell

Shapes = dict[str, Any]  # of jax.ShapeDtypeStruct, by collections


def check(model: Any, variables: Shapes, left: Shapes) -> None:
    """Raise RequestError for others; `left` are those of a training call."""
    _saved(model, variables)
    _learnt(model, variables["params"])
    _alike(model, {name: variables[name] for name in left}, left)


def _named(variables: Shapes, separator: str = "/") -> dict[str, jax.ShapeDtypeStruct]:
    return {jax.tree_util.keystr(path, simple=True, separator=separator): x
            for path, x in jax.tree_util.tree_leaves_with_path(variables)}


def _saved(model: Any, variables: Shapes) -> None:
    """Raise RequestError for what no checkpoint holds."""
    for name, x in _named(variables).items():
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            raise RequestError(f"model {short(model)} keeps {name}, a random key, which isn't "
                               "saved: keep jax.random.key_data(key); or none, and draw by "
                               "self.make_rng(\"noise\"), of NNX by `rngs`, whose keys are new in "
                               "every step.")


def _learnt(model: Any, params: Any) -> None:
    """Raise RequestError for a parameter that has no gradient, and tell of one whose gradients may
    not be summed: what was trained so is still judged."""
    for name, x in _named({"params": params}).items():
        what = f"model {short(model)}'s parameter {name.removeprefix('params/')} is of {x.dtype}"
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            raise RequestError(f"{what}, which has no gradient: make it an nnx.Variable, of Linen "
                               "a self.variable, or float32.")
        if x.dtype == jnp.float16:
            tell(f"{what}: a batch's gradients, summed, may leave its range; make it float32, or "
                 "bfloat16, which has float32's range")
            break


def _alike(model: Any, variables: Shapes, left: Shapes) -> None:
    """Raise RequestError where what a training call leaves has other forms than it began with."""
    before, after = ({name: f"{x.dtype} {x.shape}" for name, x in _named(tree, ".").items()}
                     for tree in (variables, left))
    for name in sorted(before | after):
        was, now = before.get(name, "absent"), after.get(name, "absent")
        if was != now:
            raise RequestError(f"model {short(model)} begins with {name} {was}, and a training "
                               f"call leaves {now}: keep arrays of one shape and dtype, whatever "
                               "the batch.")
