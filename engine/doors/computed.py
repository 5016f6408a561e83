"""What a user's network computes, which may change while the object stays equal: it reads globals,
and what it calls may be edited and imported anew."""

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from engine.config import is_ours
from engine.doors.functions import initial

_numbers = itertools.count(1)
_NUMBER: dict[str, int] = {}  # of the first network that computed so, by the digest of what


def apart(learner: Any, input_shape: tuple[int, ...]) -> Any:
    """The learner, its network equal to an equal object's alone that computes the same of inputs
    [B, *input_shape]: what was traced of another isn't this one's."""
    if not learner.traced or is_ours(learner.config.model):
        return learner
    own = _numbered(learner.network, number := next(_numbers))
    try:
        number = _NUMBER.setdefault(_digest(own, input_shape), number)
    except Exception:  # whatever a user's code raises: asked in earnest, it is told
        return dataclasses.replace(learner, network=own)
    return dataclasses.replace(learner, network=_numbered(own, number))


def _numbered(network: Any, number: int) -> Any:
    """The same with this number, at the user's own, by which all is traced."""
    if hasattr(network, "network"):
        return dataclasses.replace(network, network=_numbered(network.network, number))
    return dataclasses.replace(network, number=number)


def _digest(network: Any, input_shape: tuple[int, ...]) -> str:
    """Of the equations that initialise, that predict and that learn, and of the arrays in them."""
    inputs, key = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32), jax.random.key(0)
    begins, variables = jax.make_jaxpr(
        lambda key, x: initial(network, key, x), return_shape=True)(key, inputs)
    predicts = jax.make_jaxpr(lambda v, x: network.apply(v, x, False)[0])(variables, inputs)
    learns = jax.make_jaxpr(lambda v, x, key, valid: network.apply(v, x, True, key, valid))(
        variables, inputs, key, jnp.ones(1, bool))
    found = hashlib.sha256()
    for traced in (begins, predicts, learns):
        found.update(re.sub(r" at 0x[0-9a-f]+", "", str(traced)).encode())
        for constant in _constants(traced):
            absorb(found, constant)
    return found.hexdigest()


def _constants(traced: Any) -> Iterator[Any]:
    """Of a jaxpr and of those within, which its text doesn't tell."""
    yield from getattr(traced, "consts", ())
    for eqn in traced.eqns:
        for value in jax.tree.leaves(eqn.params):
            if isinstance(value, ClosedJaxpr | Jaxpr):
                yield from _constants(value)


def absorb(found: Any, leaf: Any) -> None:
    """Into a hash: an array's dtype, shape and values."""
    key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    values = np.asarray(jax.random.key_data(leaf) if key else leaf)
    found.update(f"{values.dtype} {values.shape}".encode())
    found.update(np.ascontiguousarray(values).tobytes())
