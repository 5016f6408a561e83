"""Segments of the step in one compiled loop, and an evaluation: what a Gradient learner does.

A segment is a `fori_loop`: with a traced count it is one program for every length, over a static
epoch it is a scan, which differentiates. Two segments equal one, bit for bit, since a step depends
on (state, root key, data) alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from engine.doors.course import durations
from engine.examples import Split, Subset
from engine.feed import Chunk, after, batch_at, batches, order_of
from engine.formulation import packing
from engine.objective import Objective
from engine.state import State
from engine.step import eval_step, forward, train_step
from engine.task import add

EVAL_BATCH = 64
TRIPS = 32  # updates that a GPU makes before it asks the host whether to go on


def repeated(
    count: Array | int, update: Callable[[Any, Any], Any], state: Any, trips: int = 0
) -> Any:
    """`update(number, state)` so many times: one loop, or, with `trips`, one over loops of so many,
    whose number XLA then knows, and one of what is over."""
    if not trips or isinstance(count, int):
        return jax.lax.fori_loop(0, count, update, state)
    update, whole = jax.jit(update), count - count % trips  # traced once for both

    def block(number: Array, state: Any) -> Any:
        first = number * trips
        return jax.lax.fori_loop(0, trips, lambda n, state: update(first + n, state), state)

    state = jax.lax.fori_loop(0, whole // trips, block, state)
    return jax.lax.fori_loop(0, count - whole, lambda n, state: update(whole + n, state), state)


def segment(
    learner: Objective, hyper: Any, root: Array, order: Array, train: Subset, state: State,
    count: Array | int,
) -> State:
    """`count` updates, all within one epoch. `root` is the run's key, `order` its shuffles'.

    With a `spread` every device has its share of each batch. What a network keeps besides its
    params is of exactly a batch's examples: its last batch is of its own size, where another
    network's is padded and masked.
    """
    config, spread = learner.config, learner.spread
    lengths = durations(config, len(train.rows))
    full, rest = divmod(len(train.rows), config.batch_size)
    drawn_in = state.step // lengths.epoch if config.shuffle == "every_epoch" else 0
    order_N = order_of(config.sampling, order, drawn_in, train.rows, train.split.targets)

    def padded(state: State) -> tuple[Split, Array]:
        return batch_at(train.split, order_N, state.step % lengths.epoch, config.batch_size)

    def last(_: State) -> tuple[Split, Array]:
        split = after(train.split, full * config.batch_size)
        return batch_at(split, order_N[-rest:], jnp.int32(0), rest)

    def updates(
        state: State, count: Array | int, batch_of: Callable, trips: int = learner.trips
    ) -> State:
        # Whoever differentiates a run keeps one state a step; nobody else notices.
        @partial(jax.checkpoint, prevent_cse=False)
        def update(state: State) -> State:
            batch, valid_B = spread.cut(batch_of(state))
            return spread.constrained(
                train_step(learner, hyper, lengths, root, state, batch, valid_B))

        if learner.few_kernels:
            return packing.fori_loop(partial(repeated, trips=trips), count, update, state)
        return repeated(count, lambda _, state: update(state), state, trips)

    position = state.step % lengths.epoch
    tally = jax.tree.map(lambda x: jnp.where(position == 0, jnp.zeros_like(x), x), state.tally)
    state = state._replace(tally=tally)
    if not (rest and jax.tree.leaves(state.kept)):
        return updates(state, count, padded)
    whole_epoch = isinstance(count, int) and count == lengths.epoch  # static: both are scans
    several = full if whole_epoch else jnp.minimum(count, full - position)
    return updates(updates(state, several, padded), count - several, last, trips=0)


def eval_batch(learner: Objective) -> int:
    """Examples that an evaluation computes at once, over all devices."""
    return EVAL_BATCH * learner.spread.shares


def _batch(
    learner: Objective, variables: Any, subset: Subset, number: Array | int
) -> tuple[Any, Array]:
    """The task's sums of an evaluation's batch, and what it tells of each example."""
    batch, valid_B = learner.spread.cut(
        batch_at(subset.split, subset.rows, number, eval_batch(learner)))
    return eval_step(learner, learner.spread.whole(variables), batch, valid_B)


def _held(learner: Objective, subset: Subset) -> tuple[Any, Any]:
    """The numbers of an evaluation's batches that a subset holds: from, and to before."""
    size = eval_batch(learner)
    return batches(subset.split, size, -(-subset.rows.shape[0] // size))


def evaluate(learner: Objective, variables: Any, subset: Subset, sums: Any = None) -> Any:
    """The task's sums of each model's `variables` over every example of `subset`, each counted
    once, whatever the devices. Of a chunk's, and the `sums` so far."""
    def of_batch(number: Array | int) -> tuple[Any, ...]:
        return tuple(_batch(learner, one, subset, number)[0] for one in variables)

    if sums is None:
        sums = jax.tree.map(jnp.zeros_like, jax.eval_shape(of_batch, 0))
    sums = jax.lax.fori_loop(
        *_held(learner, subset), lambda n, sums: add(sums, of_batch(n)), sums)
    return learner.spread.whole(sums)


def judge(
    learner: Objective, variables: Any, subset: Subset, sums: Any = None
) -> tuple[Any, Array]:
    """What `evaluate` does of one model, and what the task tells of each example [N, ...], or of
    those of the chunk, in one pass."""
    spread, size, held = learner.spread, eval_batch(learner), subset.split.inputs
    first, end = _held(learner, subset)
    slots = held.shape[0] if isinstance(held, Chunk) else end * size
    of_batch = partial(_batch, learner, variables, subset)

    def more(number: Array, found: tuple[Any, Array]) -> tuple[Any, Array]:
        sums, told = of_batch(number)
        told = jax.lax.dynamic_update_slice_in_dim(
            found[1], spread.whole(told), (number - first) * size, 0)
        return add(found[0], sums), told

    none, told = jax.tree.map(jnp.zeros_like, jax.eval_shape(of_batch, 0))
    told = jnp.zeros((slots, *told.shape[1:]), told.dtype)
    found = jax.lax.fori_loop(first, end, more, (none if sums is None else sums, told))
    sums, told = spread.whole(found)
    return sums, told[: subset.rows.shape[0]]


def predict(learner: Objective, variables: Any, inputs: Array) -> Array:
    """What the task tells of each of `inputs` [N, ...], as a split holds them: [N, ...]."""
    spread, count = learner.spread, inputs.shape[0]
    turns = -(-count // eval_batch(learner))  # as even as may be
    size = learner.spread.shares * -(-count // (turns * learner.spread.shares))
    slots_N = jnp.arange(turns * size, dtype=jnp.int32)

    def some(slots_B: Array) -> Array:
        own_B, variables_ = spread.cut(slots_B), spread.whole(variables)
        return learner.task.predict(
            forward(learner, variables_, inputs[own_B % count], own_B < count))

    found = jax.lax.map(some, slots_N.reshape(turns, size))
    return spread.whole(found.reshape(-1, *found.shape[2:])[:count])
