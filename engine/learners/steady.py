"""Whether a network answers steadily where it is judged: told that it is, and drawing nothing."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from engine.config import is_ours
from engine.doors import bridged
from engine.doors.functions import Functions, draws, unwrapped
from engine.doors.network import Linen
from engine.objective import Objective


def check(learner: Any, hyper: Any, shape: tuple[int, ...]) -> None:
    """Raise RequestError for a network of inputs [B, *shape] that isn't told where it is judged, or
    draws there; runs of before were free to."""
    if not learner.traced or is_ours(learner.config.model):
        return
    bridged.check(learner.network)
    if not isinstance(unwrapped(learner.network), Linen | Functions):  # which get no keys there
        _drawn(learner, learner.shapes(hyper, shape).variables,
               jax.ShapeDtypeStruct((2, *shape), jnp.float32))


def _drawn(learner: Objective, variables: Any, inputs: Any) -> None:
    """Raise RequestError where an answer out of training depends on a key. A loop may hand one on
    that nothing is drawn of."""
    def judged(key, variables, inputs):
        return learner.network.apply(variables, inputs, False, key, jnp.ones(len(inputs), bool))[0]

    traced = jax.make_jaxpr(judged)(jax.random.key(0), variables, inputs).jaxpr
    needed, (of_key, *_) = dce_jaxpr(traced, [True] * len(traced.outvars))
    if of_key and "random_bits" in str(needed):
        raise draws(learner.config.model)
