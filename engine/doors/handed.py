"""What a user's network is handed in the place of float32 inputs: whole numbers, where it takes
nothing else, which is found out by tracing it; or several arrays by their names.

Inputs are float32 everywhere else, in which whole numbers up to 2²⁴ are exact, whatever the
precision of the network. B: batch, F: numbers of an example.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.doors.bring import short
from engine.doors.network import Linen, Network, Variables, initial, unwrapped
from engine.doors.precision import Narrow
from engine.errors import RequestError
from engine.sources.bundle import Bundle

if TYPE_CHECKING:
    from engine.learners.gradient import Gradient

LOOKED_AT = 256  # examples of what is read when it is needed
NOTE = "inputs: handed to {} as whole numbers, int32, since it takes no floats"


@dataclass(frozen=True)
class Handed:
    """As `network`, but for its inputs."""

    network: Network | Narrow

    def handed(self, inputs: Any) -> Any:
        """What it is handed of [B, ...]."""
        raise NotImplementedError

    def init(self, key: Array, inputs: Array) -> Variables:
        return initial(self.network, key, self.handed(inputs))

    def apply(self, variables, inputs, train, key=None, valid=None):
        return self.network.apply(variables, self.handed(inputs), train, key, valid)


@dataclass(frozen=True)
class Coded(Handed):
    """Whole numbers, int32, where they have to be."""

    def handed(self, inputs: Any) -> Any:
        return inputs.astype(jnp.int32) if _embeds(self.network, inputs.shape[1:]) else inputs


@dataclass(frozen=True)
class Unpacked(Handed):
    """The arrays that lie in [B, F], by their names."""

    bundle: Bundle

    def handed(self, inputs: Any) -> Any:
        return self.bundle.unpacked(inputs)

    def packed(self, arrays: Any) -> Array:
        """The inverse, float32 [B, F], of a mapping of all of them."""
        return jnp.concatenate([arrays[field.name].reshape(-1, field.size).astype(jnp.float32)
                                for field in self.bundle.columns], axis=1)


@functools.lru_cache(maxsize=64)
def _embeds(network: Any, shape: tuple[int, ...]) -> bool:
    """Whether inputs [B, *shape] have to be whole numbers."""
    return not _takes(network, shape, jnp.float32) and _takes(network, shape, jnp.int32)


def _takes(network: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    inputs, key = jax.ShapeDtypeStruct((1, *shape), dtype), jax.random.key(0)
    try:
        variables = jax.eval_shape(functools.partial(initial, network), key, inputs)
        if not isinstance(unwrapped(network), Linen):  # which was called to begin
            jax.eval_shape(lambda v, x: network.apply(v, x, False)[0], variables, inputs)
    except Exception:  # whatever a user's code raises: asked in earnest, it is told
        return False
    return True


def handing(network: Any, kind: type[Handed]) -> Any:
    """The wrapper of that kind around a learner's network, or None."""
    while not isinstance(network, kind):
        if not hasattr(network, "network"):
            return None
        network = network.network
    return network


def embeds(network: Any, shape: tuple[int, ...]) -> bool:
    """Whether a learner's network is handed inputs [B, *shape] as whole numbers."""
    coded = handing(network, Coded)
    return coded is not None and _embeds(coded.network, shape)


def shapes(network: Any, inputs: Any) -> Any:
    """Of what the user's own is handed of `inputs`, which are shapes too."""
    outer = handing(network, Handed)
    return inputs if outer is None else jax.eval_shape(outer.handed, inputs)


def check(learner: "Gradient", inputs: Any) -> None:
    """Raise RequestError for fractions among inputs [N, ...] on the host that a network is handed
    as whole numbers."""
    if not learner.traced or not embeds(learner.network, inputs.shape[1:]):
        return
    looked = inputs if isinstance(inputs, np.ndarray) else inputs[:LOOKED_AT]
    if (found := looked[looked != np.floor(looked)]).size:
        raise RequestError(f"model {short(learner.config.model)} takes whole numbers, and "
                           f"{found.size:,} of the inputs' have fractions, such as {found[0]:g}: "
                           "give codes, or let it take floats.")


def floats(network: Any, inputs: np.ndarray) -> np.ndarray:
    """Those of inputs [N, ...] that a network is handed as floats."""
    if embeds(network, inputs.shape[1:]):
        return inputs[:0]
    unpacked = handing(network, Unpacked)
    if unpacked is None:
        return inputs
    return np.concatenate([inputs[:, place] for field, place in unpacked.bundle.parts()
                           if field.dtype == "float32"] or [inputs[:, :0]], axis=1)
