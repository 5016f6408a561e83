"""What a user's network is handed in the place of float32 inputs: whole numbers, where it takes
nothing else, which is found out by tracing it; or several arrays by their names.

Inputs are float32 everywhere else, in which whole numbers up to 2²⁴ are exact, whatever the
precision of the network. B: batch, F: numbers of an example.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.doors.bring import short
from engine.doors.functions import Network, Variables, initial, unwrapped
from engine.doors.network import Linen
from engine.errors import RequestError, some
from engine.sets.bundle import Bundle

LOOKED_AT = 256  # examples of what is read when it is needed
NOTE = "inputs: handed to {} as whole numbers, int32, since it takes no floats"


@dataclass(frozen=True)
class Handed:
    """As `network`, but for its inputs: what a function makes of those `handed` is `taken_back`,
    and a `part` of them are those that are handed as whole numbers, or the others."""

    network: Network

    def handed(self, inputs: Any) -> Any:
        """What it is handed of float32 [B, ...]."""
        raise NotImplementedError

    def init(self, key: Array, inputs: Array) -> Variables:
        return initial(self.network, key, self.handed(inputs))

    def apply(self, variables, inputs, train, key=None, valid=None):
        return self.network.apply(variables, self.handed(inputs), train, key, valid)


@dataclass(frozen=True)
class Coded(Handed):
    """Whole numbers, int32, where they have to be."""

    def handed(self, inputs: Any) -> Any:
        return inputs.astype(jnp.int32) if self.embeds(inputs) else inputs

    def taken_back(self, made: Any, inputs: Array) -> Any:
        """The inverse. Raises ValueError for floats in the place of whole numbers; of another shape
        one array tells by itself."""
        if not self.embeds(inputs):
            return made
        if not _are_codes(made):
            raise ValueError(f"it gives {getattr(made, 'dtype', made)} for whole numbers, int32")
        return made.astype(jnp.float32)

    def embeds(self, inputs: Any) -> bool:
        return _embeds(self.network, inputs.shape[1:])

    def part(self, inputs: Any, whole: bool) -> Any:
        """All of [N, ...], or [N, 0]."""
        return inputs if self.embeds(inputs) == whole else _none_of(inputs)


@dataclass(frozen=True)
class Unpacked(Handed):
    """The arrays that lie in [B, F], by their names."""

    bundle: Bundle

    def handed(self, inputs: Any) -> Any:
        return self.bundle.unpacked(inputs)

    def taken_back(self, made: Any, inputs: Array) -> Any:
        """The inverse. Raises ValueError for other names, shapes or dtypes."""
        wanted = [field.name for field in self.bundle.columns]
        if not isinstance(made, Mapping) or sorted(made) != wanted:
            seen = some(sorted(map(repr, made))) if isinstance(made, Mapping) else \
                f"a {type(made).__name__}"
            raise ValueError(f"it gives {seen}, not a dictionary of {self.bundle}")
        for field in self.bundle.columns:
            one = made[field.name]
            if one.shape[1:] != field.shape or field.whole != _are_codes(one):
                raise ValueError(f"it gives {one.dtype} {one.shape} for {field}")
        return jnp.concatenate([made[field.name].reshape(-1, field.size).astype(jnp.float32)
                                for field in self.bundle.columns], axis=1)

    def part(self, inputs: Any, whole: bool) -> Any:
        """Columns of [N, F]; pictures are neither."""
        return np.concatenate([_none_of(inputs), *(
            inputs[:, place] for field, place in self.bundle.parts()
            if field.whole == whole and field.dtype != "uint8")], axis=1)


def _are_codes(made: Any) -> bool:
    return hasattr(made, "dtype") and jnp.issubdtype(made.dtype, jnp.integer)


def _none_of(inputs: Any) -> Any:
    return np.zeros((len(inputs), 0), np.float32)


class _Neither(Exception):
    """A network that takes no floats and no whole numbers, and whether by different faults: it is
    asked again, as its code may have been mended."""


def _embeds(network: Any, shape: tuple[int, ...]) -> bool:
    """Whether inputs [B, *shape] have to be whole numbers; where neither will do, whether a
    network comes further with these, whose fault is then told."""
    try:
        return _decided(network, shape)
    except _Neither as found:
        return found.args[0]


_DECIDED: WeakKeyDictionary[Any, dict[tuple[int, ...], bool]] = WeakKeyDictionary()


def _decided(network: Any, shape: tuple[int, ...]) -> bool:
    found = _DECIDED.setdefault(network, {})
    if shape not in found:
        of_floats = _fault(network, shape, jnp.float32)
        if of_floats and (of_codes := _fault(network, shape, jnp.int32)):
            raise _Neither(of_floats != of_codes)
        found[shape] = bool(of_floats)
    return found[shape]


def _fault(network: Any, shape: tuple[int, ...], dtype: Any) -> str:
    """What tracing the network raises, without the dtypes that it names; "" for nothing."""
    inputs, key = jax.ShapeDtypeStruct((1, *shape), dtype), jax.random.key(0)
    try:
        variables = jax.eval_shape(functools.partial(initial, network), key, inputs)
        if not isinstance(unwrapped(network), Linen):  # which was called to begin
            jax.eval_shape(lambda v, x: network.apply(v, x, False)[0], variables, inputs)
    except Exception as error:  # whatever a user's code raises: asked in earnest, it is told
        return re.sub(r"\b(float|int|f|i|bfloat|bf)(16|32)\b", "", f"{type(error)} {error}")
    return ""


def handing(network: Any) -> Any:
    """The `Handed` around a learner's network, or None."""
    while not isinstance(network, Handed):
        if not hasattr(network, "network"):
            return None
        network = network.network
    return network


def embeds(network: Any, shape: tuple[int, ...]) -> bool:
    """Whether a learner's network is handed all of its inputs [B, *shape] as whole numbers."""
    outer = handing(network)
    return isinstance(outer, Coded) and _embeds(outer.network, shape)


def has_codes(network: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is handed any of them so."""
    outer = handing(network)
    return outer is not None and outer.part(np.zeros((1, *shape), np.float32), whole=True).size > 0


def shapes(network: Any, inputs: Any) -> Any:
    """Of what the user's own is handed of `inputs`, which are shapes too."""
    outer = handing(network)
    return inputs if outer is None else jax.eval_shape(outer.handed, inputs)


def check(learner: Any, inputs: Any) -> None:
    """Raise RequestError for uint8 and for fractions of inputs [N, ...] on the host that a
    Learner's network is handed as whole numbers."""
    outer = handing(learner.network) if learner.traced else None
    if outer is None or not has_codes(learner.network, inputs.shape[1:]):
        return
    what = f"model {short(learner.config.model)} takes whole numbers, and"
    if inputs.dtype == np.uint8:
        raise RequestError(f"{what} inputs of uint8 become 0 to 1, as pictures' do: give codes as "
                           "int32.")
    looked = outer.part(_looked_at(inputs), whole=True)
    if (found := looked[looked != np.floor(looked)]).size:
        raise RequestError(f"{what} {found.size:,} of the inputs' have fractions, such as "
                           f"{found[0]:g}: give codes, of a table as an array, whose columns "
                           "are standardised else; cast in it those that are, such as x[:, 0]"
                           ".astype(jnp.int32); or give several inputs by their names.")
    if isinstance(outer, Coded) and not getattr(inputs, "whole", True):
        raise RequestError(f"{what} some of the inputs have fractions: give codes.")


def _looked_at(inputs: Any) -> np.ndarray:
    """All of an array's examples, and of what is read when it is needed the first."""
    return inputs if isinstance(inputs, np.ndarray) else inputs[:LOOKED_AT]


def floats(network: Any, inputs: Any) -> np.ndarray:
    """Those of inputs [N, ...] on the host that a network is handed as floats."""
    looked, outer = _looked_at(inputs), handing(network)
    return looked if outer is None else outer.part(looked, whole=False)
