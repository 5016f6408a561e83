"""A network that computes in bfloat16: the one cast of `--precision bf16`, whatever the network is.

Params and inputs are rounded where a call begins, so that products and activations are bfloat16.
The params themselves stay float32, and so do their gradients, the optimizer's state, what the
network keeps besides (flax computes a batch's statistics in float32 too), softmax and loss.
bfloat16 has float32's range, so a gradient doesn't vanish and no loss needs to be scaled.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from engine.doors.functions import Network
from engine.errors import RequestError

EXACT = 256  # whole numbers up to which bfloat16, of 8 bits, has every one
REASON = ("bf16: products and activations in bfloat16, half the memory and traffic; parameters, "
          "optimizer, batch statistics and loss in float32")
ON_CPU = "; a processor without bfloat16 units computes no faster"


@dataclass(frozen=True)
class Narrow:
    """As `network`, but for its calls."""

    network: Network

    def init(self, key, inputs):
        return self.network.init(key, inputs)

    def apply(self, variables, inputs, train, key=None, valid=None):
        params, inputs = _cast((variables["params"], inputs), jnp.float32, jnp.bfloat16)
        # Float32 that a network has of its own, such as moments, may meet what is narrower.
        with jax.numpy_dtype_promotion("standard"):
            outputs, left = self.network.apply(
                variables | {"params": params}, inputs, train, key, valid)
        before = {name: variables[name] for name in left}
        return _cast(outputs, jnp.bfloat16, jnp.float32), jax.tree.map(_like, left, before)


def narrow(network: Network) -> Narrow:
    """The same network, computing in bfloat16."""
    own: Any = network
    if hasattr(own, "narrow"):  # of NNX
        own = dataclasses.replace(own, narrow=True)
    return Narrow(own)


def _cast(tree: Any, was: Any, to: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(to) if x.dtype == was else x, tree)


def _like(new: Any, old: Any) -> Any:
    """What is kept has the dtype that it began with."""
    return new.astype(old.dtype) if new.dtype == jnp.bfloat16 else new


def check(inputs: np.ndarray) -> None:
    """Raise RequestError for floats [N, ...] of which bfloat16 would make others: whole numbers
    above 256, such as codes to embed."""
    if inputs.dtype == np.uint8 or not len(inputs):
        return
    most = np.abs(inputs).max(0)
    whole = (inputs == np.round(inputs)).all(0)
    if (whole & (most > EXACT)).any():
        raise RequestError(f"--precision bf16 would round the inputs' whole numbers, up to "
                           f"{most[whole].max():,.0f}: it has them up to {EXACT} only. Scale them, "
                           "leave it out, or, of codes, let the network's nn.Embed take them as "
                           "they come, without a cast.")
