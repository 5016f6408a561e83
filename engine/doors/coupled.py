"""Whether what comes of an example depends on the others of its batch: its loss and scores, by
trying; the network's outputs, by its equations."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params

from engine.doors.bring import short
from engine.errors import RequestError

EXAMPLES, TRIES = 4, 4
LOSS = "loss"  # no score has that name
MANY = 1009  # a prime: an axis of some multiple of it has the examples in it


def is_ours(own: Any) -> bool:
    """Whether a task's class, or a function of it, is one of ours."""
    return str(own.__module__).startswith("engine.")  # None of what was executed


def check(task: Any, word: Any, outputs: Any, targets: Any, hyper: Any) -> None:
    """Raise RequestError where it does, of a score, or of a loss that isn't told which examples
    count: batches are filled up. `outputs` and `targets` are shapes [B, ...], `hyper` one of
    float32 scalars, or None where it judges; `word` is what the task is called by."""
    loss, scores = not is_ours(type(task).loss) and not task.coupled, not is_ours(type(task).scores)

    def own(outputs: Any, targets: Any, hyper: Any) -> dict[str, Any]:
        return (dict(task.scores(outputs, targets)) if scores else {}) | (
            {LOSS: task.loss(outputs, targets, hyper)} if loss else {})

    hyper = jax.tree.map(lambda _: np.float32(0.5), hyper)
    if not (loss or scores) or not (found := _depending(own, outputs, targets, hyper)):
        return
    what, instead = LOSS, ("let it take `valid` too, bool [B], which is false of these, and leave "
                           "them out; or of no others, loss(outputs, targets, hyper) gives")
    if LOSS not in found:
        what, instead = f"score {found[0]}", "let it be of no others, scores(outputs, targets) give"
    raise RequestError(
        f"task {short(word)}'s {what} of an example depends on the others of its batch, which may "
        f"be filled up with some that don't count: {instead} a number an example.")


def _depending(own: Callable, outputs: Any, targets: Any, hyper: Any) -> list[str]:
    """The names of what `own` gives, [B] each, of which the last example's is another one beside
    others' outputs, or beside others' outputs and targets."""
    draw = np.random.default_rng(0)

    def drawn(shape: Any) -> np.ndarray:
        return draw.normal(size=(EXAMPLES, *shape.shape[1:])).astype(shape.dtype)

    def beside(others: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.concatenate([others[:-1], last[-1:]])

    number = np.arange(EXAMPLES).reshape(-1, *[1] * (len(targets.shape) - 1)) % 2
    given, swapped = (np.broadcast_to(each, (EXAMPLES, *targets.shape[1:])).astype(targets.dtype)
                      for each in (number, 1 - number))
    with jax.ensure_compile_time_eval():  # `train` may be traced
        last = jax.jit(lambda *of: {name: value[-1] for name, value in own(*of).items()})
        for turn in range(TRIES):
            one, other = (jax.tree.map(drawn, outputs) for _ in range(2))
            two, among = jax.tree.map(beside, other, one), beside((given, swapped)[turn % 2], given)
            was, now = last(one, given, hyper), last(two, among, hyper)
            if found := [name for name in was
                         if not np.array_equal(was[name], now[name], equal_nan=True)]:
                return found
    return []


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
