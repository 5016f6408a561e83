"""Networks of one of flax's libraries within the other's, which are never told whether they are in
training."""

import sys
from typing import Any

import jax.numpy as jnp

from engine.doors.bring import short
from engine.doors.functions import unwrapped, wanted
from engine.errors import RequestError


def check(network: Any) -> None:
    """Raise RequestError where what is within would ask for it, or be set to it."""
    nnx, own = sys.modules.get("flax.nnx"), unwrapped(network)
    if nnx is None:
        return
    if isinstance(given := getattr(own, "module", None), nnx.bridge.ToLinen):
        made = nnx.eval_shape(lambda: given.nnx_class(
            *given.args, **given.kwargs, **{} if given.skip_rng else {"rngs": nnx.Rngs(0)}))
        if any(getattr(each, flag, None) is False for _, each in nnx.iter_graph(made)
               if getattr(each, "rate", 1) and getattr(each, "dropout_rate", 1)
               for flag in ("deterministic", "use_running_average")):
            raise RequestError(f"model ToLinen keeps from {short(given.nnx_class)} whether it is "
                               "in training: give the NNX class itself.")
    elif getattr(own, "call", None) is nnx.bridge.ToNNX.__call__:
        inner = nnx.eval_shape(lambda: own.make(nnx.Rngs(0))).to_nnx__module
        for name in wanted(inner.__call__, True, jnp.zeros(1)):
            raise RequestError(f"model ToNNX keeps from {short(inner)} the `{name}` that it asks "
                               "for: give the Linen module itself.")
