"""A state's small arrays in one, so that what makes them anew in each update is one kernel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from engine.state import State

NOTHING: Any = ()
WORD = jnp.int32  # as which the bits of others travel, unchanged


def _is_small(x: Array) -> bool:
    """Whether it is a scalar or a vector of 4 bytes an element, such as a counter or a bias."""
    return x.ndim < 2 and x.dtype.itemsize == WORD.dtype.itemsize


def packed(tree: Any) -> tuple[Array, list[Array]]:
    """The small arrays of `tree`, one after another, int32 [n], and the others as they are."""
    leaves = jax.tree.leaves(tree)
    words = [lax.bitcast_convert_type(x, WORD).ravel() for x in leaves if _is_small(x)]
    return jnp.concatenate(words), [x for x in leaves if not _is_small(x)]


def opened(like: Any, pack: tuple[Array, list[Array]]) -> Any:
    """The tree again, of which `like` has the shapes."""
    shapes, tree = jax.tree.flatten(like)
    words, rest = pack[0], iter(pack[1])
    leaves, at = [], 0
    for shape in shapes:
        if not _is_small(shape):
            leaves.append(next(rest))
            continue
        part = words[at : at + shape.size].reshape(shape.shape)
        leaves.append(lax.bitcast_convert_type(part, shape.dtype))
        at += shape.size
    return jax.tree.unflatten(tree, leaves)


def fori_loop(
    loop: Callable[..., Any], count: Array | int, update: Callable[[State], State], state: State
) -> State:
    """`update` so many times by `loop(count, f(number, ...), ...)`, on arrays that are packed from
    one time to the next. Bits have no derivative. The step is reckoned from the loop's own count,
    which members of a population share."""
    first, rest = state.step, state._replace(step=NOTHING)

    def turn(number: Array, pack: Any) -> Any:
        after = update(opened(rest, pack)._replace(step=first + number))
        return packed(after._replace(step=NOTHING))

    done = opened(rest, loop(count, turn, packed(rest)))
    return done._replace(step=first + count)
