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
from engine.doors.network import Variables, made_by, wanted

T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """A module as it was when it was given: its structure, its values, and their digest. One that
    is changed in place is another, and equal ones are equal."""

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
            absorb(found, leaf)
        made = cls(graph, state, found.hexdigest())
        with contextlib.suppress(TypeError):  # of what can't be hashed, which is told later
            return _GIVEN.setdefault((graph, made.digest), made)  # equal ones have one state
        return made

    def module(self) -> nnx.Module:
        return nnx.merge(self.graph, self.state, copy=True)


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
        made = nnx.eval_shape(lambda: self.make(nnx.Rngs(0)))
        graph, *states = nnx.split(made, *self.KINDS.values())
        return graph, dict(zip(self.KINDS, states, strict=True)), type(made).__call__

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
        known = flatten_dict(variables).keys()  # a call may sow others, which are no state
        left = flatten_dict({k: v for k, v in self._plain(module).items() if k != "params"})
        return outputs, unflatten_dict({path: x for path, x in left.items() if path in known})


def _unchanged(arrays: T, /, *, dtype: Any = None, inexact: bool = True) -> T:
    """What NNX's BatchNorm does to its inputs and moments, which else made all float32, and so all
    that comes after it; its answer has its `dtype`."""
    return arrays


def _named(tree: Any) -> Any:
    """With names for numbers: a list of layers has keys 0, 1, ..., a checkpoint's are text."""
    return {str(k): _named(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _filled(state: Any, tree: Any) -> Any:
    """The template `state` with the values of `tree`, whose names are text."""
    named, state = flatten_dict(tree), jax.tree.map(lambda x: x, state)
    paths = flatten_dict(nnx.to_pure_dict(state))
    values = {path: named[tuple(map(str, path))] for path in paths}
    nnx.replace_by_pure_dict(state, unflatten_dict(values))
    return state


def _seeded(state: Any, key: Array | None) -> Any:
    """Random streams that begin at `key`, a different one each."""
    key = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree.flatten(state)
    fresh = [jax.random.fold_in(key, at) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
             else jnp.zeros(x.shape, x.dtype) for at, x in enumerate(leaves)]
    return jax.tree.unflatten(structure, fresh)
