"""Averaged weights beside those that are trained: an exponential moving average, or the mean of the
tail of a run. N: examples."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys
from engine.config import Hyper
from engine.errors import RequestError
from engine.feed import batch_at, epoch_order, scaled
from engine.optim.lengths import Duration, Durations
from engine.state import State

if TYPE_CHECKING:
    from engine.data import Subset
    from engine.learners.gradient import Gradient
    from engine.setup import Setup

PROBE = 2.0**20  # far above any statistic, so that what is left of it tells a layer's momentum


def asked(average_from: Duration, hyper: Any) -> bool:
    """Whether a run keeps an average; with values of an optimizer's own, no moving one."""
    return bool(average_from) or (isinstance(hyper, Hyper) and hyper.ema_decay is not None)


def begun(variables: dict[str, Any]) -> dict[str, Any]:
    """A State's `average` before the first update, which takes its place whole."""
    kept = {name: variables[name] for name in ("params", "batch_stats") if variables.get(name)}
    return jax.tree.map(jnp.zeros_like, kept)


def share(hyper: Any, durations: Durations, updates: Array) -> Array:
    """Of the weights after so many `updates`, in their average, which keeps the rest.

    A moving average of decay d, debiased (Kingma & Ba 2014): (1 - d) / (1 - d^t), so that after t
    updates it is the sum of (1 - d) d^(t-i) w_i over i = 1..t, divided by 1 - d^t. The tail's mean
    (Polyak & Juditsky 1992; Izmailov et al. 2018): 1 / (t - T) after T, and all of them before.
    """
    if durations.average_from:
        return 1.0 / jnp.float32(jnp.maximum(updates - durations.average_from, 1))
    decay = jnp.float32(hyper.ema_decay)
    past = -jnp.expm1(jnp.float32(updates) * jnp.log1p(decay - 1.0))
    return jnp.minimum((1.0 - decay) / past, 1.0)


def moved(
    average: dict[str, Any], params: Any, hyper: Any, durations: Durations, updates: Array
) -> dict[str, Any]:
    """The average after an update."""
    if not average:
        return average
    new = share(hyper, durations, updates)

    def mixed(old: Array, fresh: Array) -> Array:
        part = new.astype(fresh.dtype)
        return (1 - part) * old + part * fresh

    return average | {"params": jax.tree.map(mixed, average["params"], params)}


def checked(ready: "Setup") -> "Setup":
    """Raises RequestError for statistics that would need a pass over examples that are streamed."""
    if ready.stream and "batch_stats" in ready.state_shapes.average:
        raise RequestError("the averaged weights of a network with batch statistics need a pass "
                           "over the training examples, and these are streamed: leave "
                           "--ema_decay and --average_from out, or --stream.")
    return ready


def restated(
    learner: "Gradient", root: Array, order: Array, train: "Subset", state: State
) -> State:
    """The state, batch statistics of its averaged weights made anew: the mean over the whole
    batches of the training examples, as they are and in the first epoch's order, of each batch's
    own statistics (Izmailov et al. 2018). Nothing that training reads changes.

    A layer keeps m s + (1 - m) b of its old statistics s and the batch's b, with a momentum m that
    two calls of one batch tell.
    """
    average, config, spread = state.average, learner.config, learner.spread
    if "batch_stats" not in average:
        return state
    rows_N = epoch_order(order, 0, train.rows)
    size = min(config.microbatch * learner.shares or config.batch_size, len(train.rows))

    def after(stats: Any, number: Array | int) -> Any:
        batch, valid_B = batch_at(train.split, rows_N, number, size)
        batch, valid_B = spread.cut((batch, valid_B)) if spread else (batch, valid_B)
        variables = state.model | {"batch_stats": stats}
        key = keys.stream(root, "dropout", number)
        return learner.apply(variables, scaled(batch.inputs), True, key, valid_B)[1]["batch_stats"]

    def summed(number: Array | int, sums: Any) -> Any:
        return jax.tree.map(jnp.add, sums, after(zeros, number))

    zeros = jax.tree.map(jnp.zeros_like, average["batch_stats"])
    count = len(train.rows) // size
    sums = jax.lax.fori_loop(0, count, summed, zeros)
    probe = jax.tree.map(lambda x: jnp.full_like(x, PROBE), zeros)
    probed, plain = after(probe, 0), after(zeros, 0)

    def mean(total: Array, high: Array, low: Array, trained: Array) -> Array:
        fresh = 1 - (high - low) / jnp.asarray(PROBE, low.dtype)
        whole = total / (count * jnp.where(fresh == 0, 1, fresh))
        return jnp.where(fresh == 0, trained, whole).astype(trained.dtype)

    stats = jax.tree.map(mean, sums, probed, plain, state.batch_stats)
    state = state._replace(average=average | {"batch_stats": stats})
    return spread.constrained(state) if spread else state
