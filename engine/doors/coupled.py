"""Whether the loss of an example depends on the others of its batch, found out by trying."""

from functools import partial
from typing import Any

import jax
import numpy as np

from engine.doors.bring import short
from engine.errors import RequestError

EXAMPLES, TRIES = 4, 4
OURS = "engine."


def check(task: Any, word: Any, outputs: Any, targets: Any) -> None:
    """Raise RequestError where it does, of a loss that isn't told which examples count: batches are
    filled up. `outputs` and `targets` are shapes [B, ...]; `word` is what the task is called by."""
    if type(task).loss.__module__.startswith(OURS) or task.coupled:
        return
    if _depends(task, outputs, targets):
        raise RequestError(
            f"task {short(word)}'s loss of an example depends on the others of its batch, which "
            "may be filled up with some that don't count: let it take `valid` too, bool [B], which "
            "is false of these, and leave them out; or of no others, loss(outputs, targets, hyper) "
            "gives a number an example.")


def _depends(task: Any, outputs: Any, targets: Any) -> bool:
    """Whether the last example's loss is another one beside other examples' outputs."""
    draw = np.random.default_rng(0)

    def drawn(shape: Any) -> np.ndarray:
        return draw.normal(size=(EXAMPLES, *shape.shape[1:])).astype(shape.dtype)

    def beside(others: np.ndarray, last: np.ndarray) -> np.ndarray:
        return np.concatenate([others[:-1], last[-1:]])

    number = np.arange(EXAMPLES).reshape(-1, *[1] * (len(targets.shape) - 1)) % 2
    given = np.broadcast_to(number, (EXAMPLES, *targets.shape[1:])).astype(targets.dtype)
    with jax.ensure_compile_time_eval():  # `train` may be traced
        loss = jax.jit(partial(_last, task))
        for _ in range(TRIES):
            one, other = (jax.tree.map(drawn, outputs) for _ in range(2))
            two = jax.tree.map(beside, other, one)
            if not np.array_equal(loss(one, given), loss(two, given), equal_nan=True):
                return True
    return False


def _last(task: Any, outputs: Any, targets: Any) -> Any:
    return task.loss(outputs, targets, None)[-1]
