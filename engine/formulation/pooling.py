"""Max-pooling as the maximum of slices, alone or together with the convolution before it.

XLA's own has a gradient that a GPU scatters with atomic additions, in any order.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Jaxpr, JaxprEqn, Var, primitives

MOST_CORNERS = 4  # of a window that is pooled together with its convolution


def refusal(pool: JaxprEqn) -> str:
    """Why it can't be a maximum of slices, in a word; "" where it can."""
    aval: Any = pool.outvars[0].aval
    if not jnp.issubdtype(aval.dtype, jnp.floating):
        return "of integers"
    if any(dilation > 1 for dilation in pool.params["base_dilation"]):
        return "dilated"
    return "empty" if 0 in aval.shape else ""


@jax.custom_jvp
def _larger(a: Array, b: Array) -> Array:
    return lax.max(a, b)


@_larger.defjvp
def _larger_jvp(primals, tangents):
    """The first one's if they are equal, as lax's pooling has it, not half of each."""
    a, b = primals
    return _larger(a, b), lax.select(b > a, *reversed(tangents))


def maximum(arrays: Iterable[Array]) -> Array:
    """Elementwise; the first of those that are equal gets the gradient."""
    return reduce(_larger, arrays)


def pooled(x: Array, given: Mapping[str, Any]) -> Array:
    """The max-pooling of an equation's parameters, one axis after the other.

    The last axis goes first: of equal elements that lets the first in row-major order win.
    """
    around = [(low, high, 0) for low, high in given["padding"]]
    if any(map(any, around)):
        x = lax.pad(x, jnp.full((), -jnp.inf, x.dtype), around)
    windows = zip(given["window_dimensions"], given["window_strides"], given["window_dilation"],
                  strict=True)
    for axis, (side, stride, dilation) in reversed(list(enumerate(windows))):
        reach = (side - 1) * dilation
        begins = range(0, reach + 1, dilation)
        end = x.shape[axis] - reach
        x = maximum([lax.slice_in_dim(x, b, b + end, stride, axis) for b in begins])
    return x


class Pooled(NamedTuple):
    """A convolution, the equations that are between, and the pooling after them. Each of those is
    ReLU, or adds a bias, which is the same throughout a window: the operand so numbered."""

    convolution: JaxprEqn
    between: tuple[tuple[JaxprEqn, int | None], ...]
    pool: JaxprEqn

    def after(self, y: Array, read: Callable[[Any], Any]) -> Array:
        """What is between, done to the pooled convolution: all of it is monotone, so the function
        is the same, for a part of the work."""
        for eqn, number in self.between:
            if number is None:
                y = jax.nn.relu(y)
            else:
                bias = read(eqn.invars[number])
                for axis in _compared(self.pool) if bias.ndim else ():
                    bias = lax.slice_in_dim(bias, 0, 1, axis=axis)
                y = y + bias
        return y


def _compared(pool: JaxprEqn) -> list[int]:
    """The axes along which a window has several elements."""
    return [axis for axis, side in enumerate(pool.params["window_dimensions"]) if side > 1]


def _disjoint(pool: JaxprEqn, out_spec: tuple[int, ...]) -> bool:
    """Whether its windows are small, spatial, apart from each other, and without padding."""
    given = pool.params
    return (given["window_dimensions"] == given["window_strides"]
            and 1 < math.prod(given["window_dimensions"]) <= MOST_CORNERS
            and not {*_compared(pool)} & {*out_spec[:2]}
            and {*given["window_dilation"]} == {1} and not any(map(any, given["padding"])))


def _alike(atom: Any, pool: JaxprEqn, maker: JaxprEqn | None) -> bool:
    """Whether what the equation `maker` made is the same throughout a window."""
    shape, varying = atom.aval.shape, range(atom.aval.ndim)
    if maker and maker.primitive is primitives.broadcast_in_dim_p:
        varying = maker.params["broadcast_dimensions"]
    return not shape or all(axis not in varying or shape[axis] == 1 for axis in _compared(pool))


def _is_relu(eqn: JaxprEqn) -> bool:
    """In value and derivative, whose name anybody may take."""
    if eqn.primitive is not primitives.custom_jvp_call_p or len(eqn.invars) > 1:
        return False

    def again(x: Array) -> Array:
        return eqn.primitive.bind(x, **eqn.primitive.get_bind_params(eqn.params))[0]

    def pushed(function: Callable) -> str:
        return str(jax.make_jaxpr(lambda x, t: jax.jvp(function, (x,), (t,)))(*2 * [aval]))

    aval = eqn.invars[0].aval
    return eqn.params.get("name", "relu") == "relu" and pushed(again) == pushed(jax.nn.relu)


def together(jaxpr: Jaxpr, may: Callable[[JaxprEqn], bool]) -> Iterator[Pooled]:
    """Every pooling that can be computed with the convolution before it, if it `may` be: nobody
    else uses what is between."""
    atoms = (*(atom for eqn in jaxpr.eqns for atom in eqn.invars), *jaxpr.outvars)
    uses = Counter(atom for atom in atoms if isinstance(atom, Var))
    made: dict[Any, JaxprEqn] = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}

    def before(eqn: JaxprEqn, pool: JaxprEqn) -> tuple[Any, int | None] | None:
        """What a step between works on, and the number of its bias."""
        if _is_relu(eqn):
            return eqn.invars[0], None
        if eqn.primitive is primitives.add_p:
            for x, number in zip(eqn.invars, (1, 0), strict=True):
                bias = eqn.invars[number]
                maker = made.get(bias) if isinstance(bias, Var) else None
                if x.aval == eqn.outvars[0].aval and _alike(bias, pool, maker):
                    return x, number
        return None

    for pool in jaxpr.eqns:
        if pool.primitive is not primitives.reduce_window_max_p or not may(pool):
            continue
        atom: Any = pool.invars[0]
        between: list[tuple[JaxprEqn, int | None]] = []
        while isinstance(atom, Var) and uses[atom] == 1 and atom in made:
            eqn = made[atom]
            if eqn.primitive is primitives.conv_general_dilated_p:
                if may(eqn) and _disjoint(pool, eqn.params["dimension_numbers"].out_spec):
                    yield Pooled(eqn, tuple(reversed(between)), pool)
                break
            if not (step := before(eqn, pool)):
                break
            atom, number = step
            between.append((eqn, number))
