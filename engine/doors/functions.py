"""A network as two pure functions, whatever library wrote it.

What a network's call may ask for by name is handed over: `train`, `training`, `is_train` or
`is_training`; `deterministic` or `use_running_average`, their opposite; `valid`, bool [B], false
where an example only fills the batch up. What builds one may ask for `num_outputs` or
`num_classes`; of NNX `rngs`; and `embeddings`, a tuple: the last of its inputs [B, F] are whole
numbers, codes to embed, and of each it says how many there are.

init(key, inputs) → the variables before any update; apply(variables, inputs, train, key, valid) →
the outputs [B, ...], and what a training call leaves of all but the params. Each is frozen and
hashable: static under jit.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import keystr

from engine.doors.bring import called, short
from engine.errors import RequestError

Variables = dict[str, Any]  # "params", and what else the network keeps: "batch_stats", ...


class Network(Protocol):
    """Of any library; or what has one as its `network`."""

    def init(self, key: Array, inputs: Array) -> Variables:
        """The variables before any update."""

    def apply(
        self, variables: Variables, inputs: Any, train: bool, key: Array | None = None,
        valid: Array | None = None,
    ) -> tuple[Any, Variables]:
        """The outputs, and what a training call leaves of all but the params."""


def wanted(
    call: Callable, train: bool, inputs: Any, valid: Array | None = None, **more: Any
) -> dict[str, Any]:
    """Of what a call of `inputs` may ask for, what this one does."""
    on = dict.fromkeys(("train", "training", "is_train", "is_training"), train)
    off = dict.fromkeys(("deterministic", "use_running_average"), not train)
    asked = inspect.signature(call).parameters
    if "valid" in asked and valid is None:
        valid = jnp.ones(len(jax.tree.leaves(inputs)[0]), bool)
    return {k: v for k, v in (on | off | {"valid": valid} | more).items() if k in asked}


@dataclass(frozen=True)
class Functions:
    """Any object with init(key, inputs) → params and apply(params, inputs) → outputs."""

    pair: Any
    number: int = 0

    @property
    def call(self) -> Callable:
        return self.pair.apply

    def init(self, key, inputs):
        return {"params": self.pair.init(key, inputs)}

    def apply(self, variables, inputs, train, key=None, valid=None):
        how = wanted(self.call, train, inputs, valid, key=key)
        return self.pair.apply(variables["params"], inputs, **how), {}


@dataclass(frozen=True)
class Begun:
    """A network that begins with `values` by the paths of its variables, whatever the seed, and
    where there is none as it would; equal ones have one `digest`."""

    network: Any
    values: dict[str, Any] = field(compare=False, repr=False)
    digest: str

    def init(self, key, inputs):
        def begin(path, fresh):
            own = self.values.get(keystr(path, simple=True, separator="/").removeprefix("params/"))
            return fresh if own is None else jnp.asarray(own, fresh.dtype)

        return jax.tree_util.tree_map_with_path(begin, self.network.init(key, inputs))

    def apply(self, variables, inputs, train, key=None, valid=None):
        return self.network.apply(variables, inputs, train, key, valid)


def unwrapped(network: Any) -> Any:
    """The user's own, whatever it is within."""
    return unwrapped(network.network) if hasattr(network, "network") else network


def draws(model: Any) -> RequestError:
    """Of one that does where it is judged, each time otherwise."""
    return RequestError(f"model {short(model)} draws random numbers out of training, where there "
                        "are none: let its call take `train`, and draw where that is true.")


@jax.jit(static_argnums=0, inline=True)
def initial(network: Network, key: Array, inputs: Array) -> Variables:
    """`network.init`, traced once for inputs of one shape, however many ask for it."""
    return network.init(key, inputs)


def made_by(factory: Callable, num_outputs: int, embeddings: tuple[int, ...], **more: Any) -> Any:
    """What a class or function makes, called with what it asks for."""
    handed: dict[str, Any] = dict.fromkeys(("num_outputs", "num_classes"), num_outputs)
    handed |= {"embeddings": embeddings} if embeddings else {}
    return called(f"model {short(factory)}", factory, handed | more)
