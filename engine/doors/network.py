"""A network as two pure functions, whatever library wrote it: Linen, NNX, or init and apply.

What a network's call may ask for by name is handed over: `train`, `training`, `is_train` or
`is_training`; `deterministic` or `use_running_average`, their opposite; `valid`, bool [B], false
where an example only fills the batch up. What builds one may ask for `num_outputs` or
`num_classes`; of NNX `rngs`; and `embeddings`, a tuple: the last of its inputs [B, F] are whole
numbers, codes to embed, and of each it says how many there are.

init(key, inputs) → the variables before any update; apply(variables, inputs, train, key, valid) →
the outputs [B, ...], and what a training call leaves of all but the params. Each is frozen and
hashable: static under jit.
"""

import contextlib
import functools
import inspect
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError, ScopeParamNotFoundError
from jax import Array
from jax.tree_util import keystr

from engine.doors.bring import called, parameters, short, value
from engine.errors import RequestError

if TYPE_CHECKING:
    from engine.doors.nnx import NNX

Variables = dict[str, Any]  # "params", and what else the network keeps: "batch_stats", ...
_ONE_AT_A_TIME = threading.RLock()  # of the threads that trace


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


@contextlib.contextmanager
def streams_asked() -> Iterator[set[str]]:
    """The names of the random streams that Linen modules ask for in its course."""
    names: set[str] = set()

    def noting(asked: Callable) -> Callable:
        def ask(module: nn.Module, name: str = "params") -> Any:
            names.add(name)
            return asked(module, name)

        return ask

    with _ONE_AT_A_TIME:
        flaxs = {name: getattr(nn.Module, name) for name in ("make_rng", "has_rng")}
        try:
            for name, asked in flaxs.items():
                setattr(nn.Module, name, noting(asked))
            yield names
        finally:
            for name, asked in flaxs.items():
                setattr(nn.Module, name, asked)


@dataclass(frozen=True)
class Linen:
    """A flax.linen module."""

    module: nn.Module
    number: int = 0  # here and in others: of what it computes, see computed.py

    @property
    def call(self) -> Callable:
        return self.module.__call__

    @property
    def told(self) -> bool:
        """Whether its call asks for whether it is in training."""
        return bool(wanted(self.call, True, jnp.zeros(1)).keys() - {"valid"})

    def init(self, key, inputs):
        how = wanted(self.call, False, inputs)
        variables = dict(self.module.init(key, inputs, **how))
        variables.pop("perturbations", None)  # zeros of this batch, for a gradient to be seen
        others = [name for name in variables if name not in ("params", "batch_stats")]
        if not others:
            return variables
        again = functools.partial(self.module.apply, mutable=others, rngs={"params": key}, **how)
        left = {**variables, **jax.eval_shape(again, variables, inputs)[1]}
        # What is sown grows by every call: it is told, and no state.
        form: Callable[[Any], Any] = jax.tree.structure
        return {name: tree for name, tree in variables.items() if form(left[name]) == form(tree)}

    def apply(self, variables, inputs, train, key=None, valid=None):
        how = wanted(self.call, train, inputs, valid)
        if not train:
            with self._telling():
                return self.module.apply(variables, inputs, **how), {}
        kept = [name for name, tree in variables.items() if name != "params" and tree]
        rngs = dict.fromkeys(("params", "dropout"), key)
        while True:  # until it asks for no stream that it isn't given
            with self._telling(), streams_asked() as names:
                outputs, changed = self.module.apply(
                    variables, inputs, rngs=rngs, mutable=kept, **how)
            if names <= rngs.keys():
                return outputs, dict(changed)
            rngs |= {name: jax.random.fold_in(key, zlib.crc32(name.encode()))
                     for name in names - rngs.keys()}

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Of what differs in training what is to be minded."""
        what = f"model {short(self.module)}"
        try:
            yield
        except InvalidRngError:
            raise RequestError(f"{what} draws random numbers out of training, where there are none:"
                               " let its call take `train`, and draw where that is true.") from None
        except ScopeParamNotFoundError as error:
            said = str(error).partition(" (http")[0].rstrip(".")
            raise RequestError(f"{what}: {said}: parameters are made by a call out of training, so "
                               "make them whether `train` is true or not.") from None


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


Network = Union[Linen, "NNX", Functions, Begun]


def unwrapped(network: Any) -> Any:
    """The user's own, whatever it is within."""
    return unwrapped(network.network) if hasattr(network, "network") else network


@jax.jit(static_argnums=0, inline=True)
def initial(network: Network, key: Array, inputs: Array) -> Variables:
    """`network.init`, traced once for inputs of one shape, however many ask for it."""
    return network.init(key, inputs)


def made_by(factory: Callable, num_outputs: int, embeddings: tuple[int, ...], **more: Any) -> Any:
    """What a class or function makes, called with what it asks for."""
    handed: dict[str, Any] = dict.fromkeys(("num_outputs", "num_classes"), num_outputs)
    handed |= {"embeddings": embeddings} if embeddings else {}
    return called(f"model {short(factory)}", factory, handed | more)


def _is_nnx(made: Any) -> bool:
    """Whether it is a flax.nnx module; where that isn't imported, nothing is."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(made, nnx.Module)


def _of_nnx(made: Any, num_outputs: int, embeddings: tuple[int, ...] = ()) -> "NNX":
    from engine.doors.nnx import NNX, Given  # late: it imports flax.nnx, which few networks are of

    return NNX(Given.of(made) if _is_nnx(made) else made, num_outputs, embeddings)


def may_embed(model: Any) -> bool:
    """Whether what makes one asks for `embeddings`, or it has some. Raises RequestError."""
    made = value("model", model)
    return hasattr(made, "embeddings") or callable(made) and "embeddings" in parameters(made)


def of(model: Any, num_outputs: int, embeddings: tuple[int, ...] = ()) -> Network:
    """The network of a word or a value, for inputs of which the last are codes of so many
    `embeddings`. Raises RequestError for what is none."""
    made = value("model", model)
    is_function = callable(made) and not hasattr(made, "apply")
    makes = is_function or isinstance(made, type)
    embeds = "embeddings" in parameters(made) if makes else \
        getattr(made, "embeddings", ()) == embeddings
    if embeddings and not embeds:
        raise RequestError(f"model {short(model)} embeds nothing, and the table has columns of "
                           "codes to embed: type --model mlp, or let yours ask for `embeddings`.")
    if _is_nnx(made) or is_function and "rngs" in parameters(made):
        return _of_nnx(made, num_outputs, embeddings)
    if makes:
        made = made_by(made, num_outputs, embeddings)
    if _is_nnx(made):
        return _of_nnx(made, num_outputs)
    if isinstance(made, nn.Module):
        return Linen(made)
    if hasattr(made, "init") and hasattr(made, "apply"):
        return Functions(made)
    raise RequestError(f"model {short(model)} {'gives' if makes else 'is'} a {type(made).__name__},"
                       " which is no network: give a Linen or NNX module, its class, or an object "
                       "with init and apply.")
