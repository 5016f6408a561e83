"""The run as a pure function: segments of the step in one compiled loop, and an evaluation.

A segment is a `fori_loop`: with a traced count it is one program for every length, with a static
count it is a scan, which differentiates. Two segments equal one, bit for bit, since a step depends
on (state, root key, data) alone.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from engine import metrics
from engine.config import Config, Durations, Hyper, durations
from engine.data import Data, batch_at, epoch_order, normalise
from engine.optim import optimizer
from engine.sources.dataset import Split
from engine.state import State, create
from engine.step import eval_step, forward, train_step
from models import build

EVAL_BATCH = 64
CPU_MICROBATCH = 32


def microbatch_for(config: Config, platform: str) -> tuple[int, str]:
    """How many examples to compute at once, and why. 0 means the whole batch."""
    if config.microbatch:
        return config.microbatch, "as asked"
    if platform != "cpu" or config.batch_size <= CPU_MICROBATCH:
        return 0, "the whole batch at once"
    best = max(d for d in range(1, CPU_MICROBATCH + 1) if config.batch_size % d == 0)
    if best < CPU_MICROBATCH // 4:
        return 0, f"{config.batch_size} has no divisor from {CPU_MICROBATCH // 4} to " \
                  f"{CPU_MICROBATCH} that would fit the cache"
    return best, f"image patches of {best} examples fit the processor's cache"


def segment(
    model: nn.Module,
    config: Config,
    hyper: Hyper,
    root: Array,
    train: Split,
    state: State,
    count: Array | int,
) -> State:
    """`count` updates, all within one epoch. `root` is the run's key."""
    num_train = train.labels.shape[0]
    lengths = durations(config, num_train)
    drawn_in = state.step // lengths.epoch if config.shuffle == "every_epoch" else 0
    order_N = epoch_order(root, drawn_in, num_train)

    def body(_, state: State) -> State:
        position = state.step % lengths.epoch
        batch, valid_B = batch_at(train, order_N, position, config.batch_size)
        fresh = jax.tree.map(lambda x: jnp.where(position == 0, jnp.zeros_like(x), x), state.tally)
        state = state._replace(tally=fresh)
        return train_step(model, config, hyper, lengths, root, state, batch, valid_B)

    return jax.lax.fori_loop(0, count, body, state)


def evaluate(model: nn.Module, params: Any, split: Split, num_classes: int) -> metrics.Evaluation:
    """Sums over every example of `split`, each counted once."""
    num_examples = split.labels.shape[0]
    order_N = jnp.arange(num_examples, dtype=jnp.int32)

    def body(position, sums):
        batch, valid_B = batch_at(split, order_N, position, EVAL_BATCH)
        return metrics.add(sums, eval_step(model, params, batch, valid_B))

    batches = -(-num_examples // EVAL_BATCH)
    return jax.lax.fori_loop(0, batches, body, metrics.zero_evaluation(num_classes))


def predict(model: nn.Module, params: Any, images_NxHxWxC: Array) -> tuple[Array, Array]:
    """The likeliest class of every uint8 image, int32 [N], and its probability, float32 [N]."""

    def one(image_HxWxC: Array) -> tuple[Array, Array]:
        logits_C = forward(model, params, normalise(image_HxWxC)[None])[0]
        return jnp.argmax(logits_C).astype(jnp.int32), jax.nn.softmax(logits_C).max()

    return jax.lax.map(one, images_NxHxWxC, batch_size=EVAL_BATCH)


def prepare(config: Config, num_classes: int, hyper: Hyper, lengths: Durations):
    """The run's model and Optax chain."""
    return build(config.model, num_classes), optimizer(config, hyper, lengths)


def initial_state(
    config: Config, hyper: Hyper, root: Array, train: Split, num_classes: int
) -> State:
    lengths = durations(config, train.labels.shape[0])
    model, tx = prepare(config, num_classes, hyper, lengths)
    return create(model, tx, root, train.images.shape[1:])


def train(
    config: Config, hyper: Hyper, key: Array, data: Data, num_classes: int
) -> tuple[State, dict[str, Array]]:
    """The whole run: (final state, history of float32 arrays [epochs]).

    Pure: jit it, vmap it over `hyper` and `key`, differentiate it with respect to `hyper`.
    """
    lengths = durations(config, data.train.labels.shape[0])
    model, _ = prepare(config, num_classes, hyper, lengths)

    def epoch(state: State, _):
        state = segment(model, config, hyper, key, data.train, state, lengths.epoch)
        result = evaluate(model, state.params, data.validation, num_classes)
        return state, history_row(state.tally, result.tally)

    start = initial_state(config, hyper, key, data.train, num_classes)
    return jax.lax.scan(epoch, start, length=config.epochs)


def history_row(training: metrics.Tally, validation: metrics.Tally) -> dict[str, Array]:
    """Means of an epoch from its sums."""
    row = {}
    for prefix, tally in (("", training), ("val_", validation)):
        count = jnp.float32(tally.count)
        row[f"{prefix}loss"] = tally.loss_sum / count
        row[f"{prefix}accuracy"] = jnp.float32(tally.correct) / count
    return row
