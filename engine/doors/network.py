"""Which network a word or a value is: flax's Linen or NNX, or any object with init and apply."""

import contextlib
import functools
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError, ScopeParamNotFoundError

from engine.doors.bring import parameters, short, value
from engine.doors.functions import Functions, Network, draws, made_by, wanted
from engine.errors import RequestError

if TYPE_CHECKING:
    from engine.doors.nnx import NNX

_ONE_AT_A_TIME = threading.RLock()  # of the threads that trace


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
        variables = {"params": {}, **self.module.init(key, inputs, **how)}
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
        try:
            yield
        except InvalidRngError:
            raise draws(self.module) from None
        except ScopeParamNotFoundError as error:
            said = str(error).partition(" (http")[0].rstrip(".")
            raise RequestError(f"model {short(self.module)}: {said}: parameters are made by a call "
                               "out of training, so make them whether `train` is true or not."
                               ) from None


def _is_nnx(kind: type) -> bool:
    """Whether a class is of flax.nnx modules; where that isn't imported, none is."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and issubclass(kind, nnx.Module)


def _of_nnx(made: Any, num_outputs: int, embeddings: tuple[int, ...] = ()) -> "NNX":
    from engine.doors.nnx import NNX, Given  # late: it imports flax.nnx, which few networks are of

    return NNX(Given.of(made) if _is_nnx(type(made)) else made, num_outputs, embeddings)


def may_embed(model: Any) -> bool:
    """Whether what makes one asks for `embeddings`, or it has some. Raises RequestError."""
    made = value("model", model)
    return hasattr(made, "embeddings") or callable(made) and "embeddings" in parameters(made)


def of(model: Any, num_outputs: int, embeddings: tuple[int, ...] = ()) -> Network:
    """The network of a word or a value, for inputs of which the last are codes of so many
    `embeddings`. Raises RequestError for what is none."""
    made = value("model", model)
    is_class = isinstance(made, type)
    is_function = callable(made) and (
        not hasattr(made, "apply") or is_class and _is_nnx(made))  # which may have one of its own
    makes = is_function or is_class
    embeds = "embeddings" in parameters(made) if makes else \
        getattr(made, "embeddings", ()) == embeddings
    if embeddings and not embeds:
        raise RequestError(f"model {short(model)} embeds nothing, and the table has columns of "
                           "codes to embed: type --model mlp, or let yours ask for `embeddings`.")
    if _is_nnx(type(made)) or is_function and "rngs" in parameters(made):
        return _of_nnx(made, num_outputs, embeddings)
    if makes:
        made = made_by(made, num_outputs, embeddings)
    if _is_nnx(type(made)):
        return _of_nnx(made, num_outputs)
    if isinstance(made, nn.Module):
        return Linen(made)
    if hasattr(made, "init") and hasattr(made, "apply"):
        return Functions(made)
    raise RequestError(f"model {short(model)} {'gives' if makes else 'is'} a {type(made).__name__},"
                       " which is no network: give a Linen or NNX module, its class, or an object "
                       "with init and apply.")
