"""Whether what comes of an example depends on the others of its batch: its loss, by trying; the
network's outputs, by its equations."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

from engine.doors.bring import short
from engine.errors import RequestError

EXAMPLES, TRIES = 4, 4
MANY = 1009  # a prime: an axis of some multiple of it has the examples in it


def is_ours(own: Any) -> bool:
    """Whether a task's class, or a function of it, is one of ours."""
    return str(own.__module__).startswith("engine.")  # None of what was executed


def check(task: Any, word: Any, outputs: Any, targets: Any, hyper: Any) -> None:
    """Raise RequestError where it does, of a loss that isn't told which examples count: batches are
    filled up. `outputs` and `targets` are shapes [B, ...], `hyper` one of float32 scalars, or None
    where it judges; `word` is what the task is called by."""
    if is_ours(type(task).loss) or task.coupled:
        return
    if _depends(task, outputs, targets, jax.tree.map(lambda _: np.float32(0.5), hyper)):
        raise RequestError(
            f"task {short(word)}'s loss of an example depends on the others of its batch, which "
            "may be filled up with some that don't count: let it take `valid` too, bool [B], which "
            "is false of these, and leave them out; or of no others, loss(outputs, targets, hyper) "
            "gives a number an example.")


def _depends(task: Any, outputs: Any, targets: Any, hyper: Any) -> bool:
    """Whether the last example's loss is another one beside others' outputs, or beside others'
    outputs and targets."""
    draw = np.random.default_rng(0)

    def drawn(shape: Any) -> np.ndarray:
        return draw.normal(size=(EXAMPLES, *shape.shape[1:])).astype(shape.dtype)

    def beside(others: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.concatenate([others[:-1], last[-1:]])

    number = np.arange(EXAMPLES).reshape(-1, *[1] * (len(targets.shape) - 1)) % 2
    given, swapped = (np.broadcast_to(each, (EXAMPLES, *targets.shape[1:])).astype(targets.dtype)
                      for each in (number, 1 - number))
    with jax.ensure_compile_time_eval():  # `train` may be traced
        last = jax.jit(lambda outputs, targets, hyper: task.loss(outputs, targets, hyper)[-1])
        for turn in range(TRIES):
            one, other = (jax.tree.map(drawn, outputs) for _ in range(2))
            two, among = jax.tree.map(beside, other, one), beside((given, swapped)[turn % 2], given)
            if not np.array_equal(last(one, given, hyper), last(two, among, hyper),
                                  equal_nan=True):
                return True
    return False


def mixes(apply: Callable, variables: Any, inputs: Any) -> bool:
    """Whether a network's `apply` of `inputs`, a shape [B, ...], sums, sorts, convolves or turns
    around over the examples in training."""
    many = jax.ShapeDtypeStruct((MANY, *inputs.shape[1:]), inputs.dtype)
    valid = jax.ShapeDtypeStruct((MANY,), bool)
    traced = jax.make_jaxpr(lambda v, x, key, valid: apply(v, x, True, key, valid))(
        variables, many, jax.eval_shape(jax.random.key, 0), valid)
    return _mixes(traced.jaxpr)


def _mixes(jaxpr: Jaxpr) -> bool:
    return any(any(length % MANY == 0 for length in _over(eqn)) or
               any(map(_mixes, jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns)


def _over(eqn: JaxprEqn) -> list[int]:
    """The lengths of the axes along which it makes one number of several, or moves them."""
    name, given = eqn.primitive.name, eqn.params
    shape = getattr(eqn.invars[0].aval, "shape", ()) if eqn.invars else ()
    if name == "slice":  # not of two batches after each other one
        bounds = zip(shape, given["start_indices"], given["limit_indices"], strict=True)
        return [length for length, *ends in bounds if any(end % MANY for end in ends)]
    if name == "conv_general_dilated":  # along the axes of its places
        axes = given["dimension_numbers"].lhs_spec[2:]
    elif name == "dot_general":
        axes = given["dimension_numbers"][0][0]
    elif name.startswith(("reduce_", "arg", "cum", "sort", "rev")):
        axes = next((given[x] for x in ("axes", "axis", "dimension", "dimensions") if x in given),
                    ())
    else:
        return []
    return [shape[axis] for axis in np.atleast_1d(axes).astype(int)]
