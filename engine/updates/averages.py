"""Averaged weights beside those that are trained: an exponential moving average, or the mean of the
tail of a run. N: examples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys
from engine.config import Hyper
from engine.examples import Subset
from engine.feed import batch_at, batches, epoch_order, scaled
from engine.objective import Objective
from engine.optim.lengths import Duration, Durations
from engine.state import State

PROBE = 2.0**20  # a statistic far above any: how much an update leaves of it is the momentum
CARRIED = -1  # the share of statistics that are no such means, as those of nn.SpectralNorm
SLACK = 0.05  # of a probe's step, for bfloat16


def asked(average_from: Duration, hyper: Any) -> bool:
    """Whether a run keeps an average; with values of an optimizer's own, no moving one."""
    return bool(average_from) or (isinstance(hyper, Hyper) and hyper.ema_decay is not None)


def begun(variables: dict[str, Any]) -> dict[str, Any]:
    """A State's `average` before the first update, which takes its place whole."""
    kept = {name: variables[name] for name in ("params", "batch_stats")
            if name == "params" or variables.get(name)}
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
    moving = decay > 0.0  # at 0 the logarithm has no slope, and the power has one
    past = -jnp.expm1(jnp.float32(updates) * jnp.log1p(jnp.where(moving, decay, 1.0) - 1.0))
    past = jnp.where(moving, past, 1.0 - decay * jnp.float32(updates <= 1))
    new = (1.0 - decay) / past
    return jnp.where(moving, jnp.minimum(new, 1.0), new)


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


class Statistics(NamedTuple):
    """What training mode makes of batch statistics that are 0, summed over so many `batches` int32;
    and of each, which share of it is the batch's own, as one batch tells. Where that is CARRIED,
    what it makes of the one before, from the trained ones on, in the sum's place."""

    sums: Any
    share: Any
    batches: Array


def size_of(learner: Objective, examples: int) -> int:
    """Examples of a batch whose statistics are averaged."""
    config = learner.config
    return min(config.microbatch * learner.spread.shares or config.batch_size, examples)


def statistics(
    learner: Objective, root: Array, order: Array, train: Subset, state: State,
    so_far: Statistics | None = None,
) -> Statistics:
    """Of the averaged weights, over the whole batches of the training examples, as they are and in
    the first epoch's order. Of a chunk's, and those `so_far`.

    A layer keeps m s + (1 - m) b of its old statistics s and the batch's b, with a momentum m that
    calls of one batch tell, or by no such rule.
    """
    spread, model = learner.spread, state.model
    rows_N, size = epoch_order(order, 0, train.rows), size_of(learner, len(train.rows))
    count = len(train.rows) // size

    def after(stats: Any, number: Array | int) -> Any:
        batch, valid_B = batch_at(train.split, rows_N, number, size)
        batch, valid_B = spread.cut((batch, valid_B))
        key = keys.stream(root, "dropout", number)
        variables = model | {"batch_stats": stats}
        return learner.apply(variables, scaled(batch.inputs), True, key, valid_B)[1]["batch_stats"]

    if so_far is None:
        share = jax.tree.map(_share, *(
            after(jax.tree.map(lambda x, at=at: jnp.full_like(x, at * PROBE), state.batch_stats), 0)
            for at in range(3)))
        so_far = Statistics(_carried(share, state.batch_stats), share, jnp.int32(count))

    def further(number: Any, sums: Any) -> Any:
        return jax.tree.map(lambda share, x, new: jnp.where(share == CARRIED, new, x + new),
                            so_far.share, sums, after(_carried(so_far.share, sums), number))

    sums = jax.lax.fori_loop(*batches(train.split, size, count), further, so_far.sums)
    return so_far._replace(sums=sums)


def _carried(share: Any, stats: Any) -> Any:
    """Statistics that go from batch to batch; 0 for those of which each batch has its own."""
    return jax.tree.map(lambda share, x: jnp.where(share == CARRIED, x, jnp.zeros_like(x)),
                        share, stats)


def _share(of_none: Array, of_one: Array, of_two: Array) -> Array:
    """Of statistics after a batch that were 0, PROBE and twice that, which share is the batch's
    own; CARRIED where the second step isn't as long as the first, by more than a rounding."""
    first, second = of_one - of_none, of_two - of_one
    close = jnp.abs(second - first) <= SLACK * jnp.maximum(jnp.abs(first), jnp.abs(second))
    share = 1 - first / jnp.asarray(PROBE, first.dtype)
    return jnp.where(close.all(), share, CARRIED).astype(share.dtype)


def with_statistics(learner: Objective, state: State, found: Statistics) -> State:
    """The state, batch statistics of its averaged weights the mean of each batch's own (Izmailov et
    al. 2018). Nothing that training reads changes."""
    def mean(total: Array, share: Array, trained: Array) -> Array:
        batches = found.batches.astype(share.dtype)
        whole = total / (batches * jnp.where(share == 0, 1, share))
        told = jnp.where(share == CARRIED, total, whole)
        return jnp.where(share == 0, trained, told).astype(trained.dtype)

    stats = jax.tree.map(mean, found.sums, found.share, state.batch_stats)
    state = state._replace(average=state.average | {"batch_stats": stats})
    return learner.spread.constrained(state)


def restated(
    learner: Objective, root: Array, order: Array, train: Subset, state: State
) -> State:
    """The state, batch statistics of its averaged weights made anew."""
    if "batch_stats" not in state.average:
        return state
    found = statistics(learner, root, order, train, state)
    return with_statistics(learner, state, found)
