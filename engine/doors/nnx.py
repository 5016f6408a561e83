"""A flax.nnx module as two pure functions."""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from engine.doors.computed import absorb
from engine.doors.functions import Variables, made_by, wanted
from engine.errors import RequestError

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """A module as it was when it was given: its structure, its values, and their digest. One that
    is changed in place is another, and equal ones are equal: one whose structure has no hash is
    refused by a RequestError."""

    graph: Any
    state: Any = field(compare=False, repr=False)
    digest: str

    @classmethod
    def of(cls, module: nnx.Module) -> "Given":
        own = nnx.clone(module)
        nnx.pop(own, nnx.Intermediate)  # what its calls have sown
        graph, state = nnx.split(own)
        found = hashlib.sha256()
        for leaf in jax.tree.leaves(state):
            absorb(found, jnp.asarray(leaf))  # of a number too
        made = cls(graph, state, found.hexdigest())
        with contextlib.suppress(TypeError):  # of what has no hash
            return _GIVEN.setdefault((graph, made.digest), made)  # equal ones have one state
        raise RequestError(f"model {type(module).__name__}{_without_hash(graph)} has no hash: give "
                           "its class, which asks for rngs, in place of an instance.")

    def module(self) -> nnx.Module:
        return nnx.merge(self.graph, self.state, copy=True)


def _without_hash(graph: Any) -> str:
    """The static attribute that has none, or what else."""
    for name, held in graph.attributes:
        try:
            hash(held)
        except TypeError:
            return f"'s attribute {name}, a {type(held.value).__name__},"
    return "'s structure"


_GIVEN: WeakValueDictionary[tuple[Any, str], Given] = WeakValueDictionary()


@dataclass(frozen=True)
class NNX:
    """What makes a flax.nnx module of random keys; or one that is `Given`, which begins, whatever
    the seed, with its own values. A `narrow` one is called with bfloat16."""

    source: Any
    num_outputs: int
    embeddings: tuple[int, ...] = ()
    narrow: bool = False
    number: int = 0

    KINDS = {"params": nnx.Param, "batch_stats": nnx.BatchStat, "random": nnx.RngState,
             "variables": ...}  # the last are all others

    def make(self, rngs: nnx.Rngs) -> nnx.Module:
        module = self._own(rngs)
        _keep_arrays(module)
        for _, each in nnx.iter_graph(module) if self.narrow else ():
            if isinstance(each, nnx.BatchNorm) and each.dtype is None:
                each.dtype, each.promote_dtype = jnp.bfloat16, _unchanged
        return module

    def _own(self, rngs: nnx.Rngs) -> nnx.Module:
        if isinstance(self.source, Given):
            return self.source.module()
        return made_by(self.source, self.num_outputs, self.embeddings, rngs=rngs)

    @functools.cached_property
    def _abstract(self) -> tuple[Any, dict[str, Any], Callable]:
        found: list[Any] = []

        def parts() -> list[Any]:  # told apart here, where arrays are arrays: nnx.eval_shape's are
            made = self.make(nnx.Rngs(0))  # shapes, which are no data of a dictionary's
            graph, *states = nnx.split(made, *self.KINDS.values())
            found.extend((graph, type(made).__call__))
            return states

        states = jax.eval_shape(parts)
        graph, call = found
        return graph, dict(zip(self.KINDS, states, strict=True)), call

    @property
    def call(self) -> Callable:
        return self._abstract[2]

    def _plain(self, module: nnx.Module) -> Variables:
        _, *states = nnx.split(module, *self.KINDS.values())
        plain = {name: _named(nnx.to_pure_dict(state))
                 for name, state in zip(self.KINDS, states, strict=True) if name != "random"}
        return {name: tree for name, tree in plain.items() if tree or name == "params"}

    def init(self, key, inputs):
        return self._plain(self.make(nnx.Rngs(params=key, default=key)))

    def apply(self, variables, inputs, train, key=None, valid=None):
        graph, templates, call = self._abstract
        states = [_seeded(state, key) if name == "random" else
                  _filled(state, variables.get(name, {})) for name, state in templates.items()]
        module = nnx.merge(graph, *states, copy=True)  # without copy a tracer leaks under vmap
        module.train() if train else module.eval()
        outputs = module(inputs, **wanted(call, train, inputs, valid))
        if not train:
            return outputs, {}
        # A call may sow others, which are no state; an empty one is a part of its structure.
        known, left = (flatten_dict(tree, keep_empty_nodes=True)
                       for tree in (variables, self._plain(module)))
        return outputs, unflatten_dict({path: x for path, x in left.items()
                                         if path in known and path[0] != "params"})


def _keep_arrays(module: nnx.Module) -> None:
    """Let the arrays that are its attributes be data, as they are where nothing is traced: flax
    takes a traced one for a static part, which outlives its trace."""
    for _, each in list(nnx.iter_graph(module)):
        for name, value in list(vars(each).items()) if isinstance(each, nnx.Pytree) else ():
            if not nnx.is_data(value) and any(
                    isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
                setattr(each, name, nnx.data(value))


def _unchanged(arrays: T, /, *, dtype: Any = None, inexact: bool = True) -> T:
    """What NNX's BatchNorm does to its inputs and moments, which else made all float32, and so all
    that comes after it; its answer has its `dtype`."""
    return arrays


def _named(tree: Any) -> Any:
    """With names for numbers: a list of layers has keys 0, 1, ..., a checkpoint's are text."""
    return {str(k): _named(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _filled(state: Any, tree: Any) -> Any:
    """The template `state` with the values of `tree`, whose names are text."""
    def ordered(like: Any, own: Any) -> Any:  # by numbers again
        return {k: ordered(v, own[str(k)]) for k, v in like.items()} \
            if isinstance(like, dict) else own

    values = ordered(nnx.to_pure_dict(state), tree)
    return jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(values))


def _seeded(state: Any, key: Array | None) -> Any:
    """Random streams that begin at `key`, a different one each; an array of them, as of stacked
    layers, has one for each."""
    key = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree.flatten(state)

    def begun(own: Array, shape: tuple[int, ...]) -> Array:
        return jax.random.split(own, shape) if shape else own

    fresh = [begun(jax.random.fold_in(key, at), x.shape)
             if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
             else jnp.zeros(x.shape, x.dtype) for at, x in enumerate(leaves)]
    return jax.tree.unflatten(structure, fresh)
