"""The run as a pure function: segments of the step in one compiled loop, and an evaluation.

A segment is a `fori_loop`: with a traced count it is one program for every length, over a static
epoch it is a scan, which differentiates. Two segments equal one, bit for bit, since a step depends
on (state, root key, data) alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from engine import metrics
from engine.config import Config, Durations, Hyper, durations
from engine.data import Data, Subset, batch_at, epoch_order, normalise
from engine.errors import RequestError
from engine.mesh import Spread
from engine.optim import optimizer
from engine.sources.dataset import Split
from engine.state import State, create
from engine.step import eval_step, forward, train_step
from models import build

# A Config is part of the program: jit and vmap take it as an argument and compile for its value.
jax.tree_util.register_static(Config)

EVAL_BATCH = 64
CPU_MICROBATCH = 32


def microbatch_for(
    config: Config, platform: str, shares: int = 1, kept: Any = None
) -> tuple[int, str]:
    """How many examples a device computes at once, and why. 0 means its whole share of a batch.

    Raises RequestError where --microbatch would part the examples of which a network `kept`
    statistics.
    """
    share = config.batch_size // shares
    if jax.tree.leaves(kept):
        if config.microbatch:
            raise RequestError(f"--microbatch {config.microbatch}: the batch statistics of "
                               f"{config.model} are those of the whole batch. Leave it out.")
        return 0, "the whole batch at once, which batch statistics are of"
    if config.microbatch:
        return config.microbatch, "as asked"
    if platform != "cpu" or share <= CPU_MICROBATCH:
        return 0, "the whole batch at once"
    best = max(d for d in range(1, CPU_MICROBATCH + 1) if share % d == 0)
    if best < CPU_MICROBATCH // 4:
        return 0, f"{share} has no divisor from {CPU_MICROBATCH // 4} to " \
                  f"{CPU_MICROBATCH} that would fit the cache"
    return best, f"image patches of {best} examples fit the processor's cache"


def segment(
    model: nn.Module,
    config: Config,
    hyper: Hyper,
    root: Array,
    order: Array,
    train: Subset,
    state: State,
    count: Array | int,
    spread: Spread | None = None,
) -> State:
    """`count` updates, all within one epoch. `root` is the run's key, `order` its shuffles'.

    With a `spread` every device has its share of each batch. What a network keeps besides its
    params is of exactly a batch's examples: its last batch is of its own size, where another
    network's is padded and masked.
    """
    lengths = durations(config, len(train.rows))
    full, rest = divmod(len(train.rows), config.batch_size)
    drawn_in = state.step // lengths.epoch if config.shuffle == "every_epoch" else 0
    order_N = epoch_order(order, drawn_in, train.rows)

    def padded(state: State) -> tuple[Split, Array]:
        return batch_at(train.split, order_N, state.step % lengths.epoch, config.batch_size)

    def last(_: State) -> tuple[Split, Array]:
        return batch_at(train.split, order_N[-rest:], jnp.int32(0), rest)

    def updates(state: State, count: Array | int, batch_of: Callable) -> State:
        # Whoever differentiates a run keeps one state a step; nobody else notices.
        @partial(jax.checkpoint, prevent_cse=False)
        def update(state: State) -> State:
            batch = batch_of(state)
            batch, valid_B = spread.cut(batch) if spread else batch
            state = train_step(model, config, hyper, lengths, root, state, batch, valid_B, spread)
            return spread.constrained(state) if spread else state

        return jax.lax.fori_loop(0, count, lambda _, state: update(state), state)

    position = state.step % lengths.epoch
    tally = jax.tree.map(lambda x: jnp.where(position == 0, jnp.zeros_like(x), x), state.tally)
    state = state._replace(tally=tally)
    if not (rest and jax.tree.leaves(state.kept)):
        return updates(state, count, padded)
    whole_epoch = isinstance(count, int) and count == lengths.epoch  # static: both are scans
    several = full if whole_epoch else jnp.minimum(count, full - position)
    return updates(updates(state, several, padded), count - several, last)


def evaluate(
    model: nn.Module, variables: Any, subset: Subset, num_classes: int,
    spread: Spread | None = None,
) -> metrics.Evaluation:
    """Sums over every example of `subset`, each counted once, whatever the devices."""
    size = EVAL_BATCH * (spread.shares if spread else 1)

    def body(number, sums):
        batch = batch_at(subset.split, subset.rows, number, size)
        batch, valid_B = spread.cut(batch) if spread else batch
        whole = spread.whole(variables) if spread else variables
        return metrics.add(sums, eval_step(model, whole, batch, valid_B))

    turns = -(-subset.rows.shape[0] // size)
    sums = jax.lax.fori_loop(0, turns, body, metrics.zero_evaluation(num_classes))
    return spread.whole(sums) if spread else sums


def predict(
    model: nn.Module, variables: Any, images_NxHxWxC: Array, spread: Spread | None = None
) -> tuple[Array, Array]:
    """The likeliest class of every uint8 image, int32 [N], and its probability, float32 [N]."""
    rows_N = jnp.arange(images_NxHxWxC.shape[0], dtype=jnp.int32)
    size = EVAL_BATCH * (spread.shares if spread else 1)
    full = len(rows_N) // size * size

    def some(rows_B: Array) -> tuple[Array, Array]:
        images = images_NxHxWxC[spread.cut(rows_B) if spread else rows_B]
        whole = spread.whole(variables) if spread else variables
        logits_BxC = forward(model, whole, normalise(images))
        return jnp.argmax(logits_BxC, -1).astype(jnp.int32), jax.nn.softmax(logits_BxC).max(-1)

    found = [jax.lax.map(some, rows_N[:full].reshape(-1, size))] if full else []
    found += [some(rows_N[full:])] if full < len(rows_N) else []
    predicted_N, probability_N = (
        jnp.concatenate([part.reshape(-1) for part in parts]) for parts in zip(*found, strict=True)
    )
    return spread.whole((predicted_N, probability_N)) if spread else (predicted_N, probability_N)


def prepare(config: Config, num_classes: int, hyper: Hyper, lengths: Durations):
    """The run's model and Optax chain."""
    model = build(config.model, num_classes, config.convolution)
    return model, optimizer(config, hyper, lengths)


def initial_state(config: Config, hyper: Hyper, root: Array, data: Data) -> State:
    lengths = durations(config, data.train.rows.shape[0])
    model, tx = prepare(config, data.num_classes, hyper, lengths)
    return create(model, tx, root, data.train.image_shape)


def train(
    config: Config, hyper: Hyper, key: Array, data: Data, order: Array | None = None
) -> tuple[State, dict[str, Array]]:
    """The whole run: (final state, history of float32 arrays [epochs]).

    Pure: `jax.jit(train)`; `jax.vmap(train, (None, 0, 0, None))` over stacked `hyper` and `key`;
    `jax.grad` with respect to `hyper` (an update is computed again in the backward pass, so the
    memory is one state an update). `order` is the key of the shuffles, `key` itself where it is
    None: give one to runs that are to meet the same batches.

    The history holds loss, accuracy, val_loss and val_accuracy after each epoch.
    """
    order = key if order is None else order
    lengths = durations(config, data.train.rows.shape[0])
    model, _ = prepare(config, data.num_classes, hyper, lengths)

    def epoch(state: State, _):
        state = segment(model, config, hyper, key, order, data.train, state, lengths.epoch)
        result = evaluate(model, state.variables, data.validation, data.num_classes)
        return state, history_row(state.tally, result.tally)

    start = initial_state(config, hyper, key, data)
    return jax.lax.scan(epoch, start, length=config.epochs)


def history_row(training: metrics.Tally, validation: metrics.Tally) -> dict[str, Array]:
    """Means of an epoch from its sums."""
    row = {}
    for prefix, tally in (("", training), ("val_", validation)):
        count = jnp.float32(tally.count)
        row[f"{prefix}loss"] = tally.loss_sum / count
        row[f"{prefix}accuracy"] = jnp.float32(tally.correct) / count
    return row
