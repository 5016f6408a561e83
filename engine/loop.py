"""The run as a pure function: segments of the step in one compiled loop, and an evaluation.

A segment is a `fori_loop`: with a traced count it is one program for every length, with a static
count it is a scan, which differentiates. Two segments equal one, bit for bit, since a step depends
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
from engine.mesh import DATA, WHOLE, Spread, gathered
from engine.optim import optimizer
from engine.state import State, create
from engine.step import eval_step, forward, train_step
from models import build

# A Config is part of the program: jit and vmap take it as an argument and compile for its value.
jax.tree_util.register_static(Config)

EVAL_BATCH = 64
CPU_MICROBATCH = 32


def microbatch_for(
    config: Config, platform: str, shares: int = 1, batch_stats: Any = None
) -> tuple[int, str]:
    """How many examples a device computes at once, and why. 0 means its whole share of a batch.

    Raises RequestError where --microbatch would part the examples that `batch_stats` are of.
    """
    share = config.batch_size // shares
    if batch_stats:
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

    With a `spread` every device computes its share of each batch.
    """
    lengths = durations(config, train.rows.shape[0])
    drawn_in = state.step // lengths.epoch if config.shuffle == "every_epoch" else 0
    order_N = epoch_order(order, drawn_in, train.rows)

    # Whoever differentiates a run keeps one state a step; nobody else notices.
    @partial(jax.checkpoint, prevent_cse=False)
    def update(state: State) -> State:
        position = state.step % lengths.epoch
        batch, valid_B = batch_at(train.split, order_N, position, config.batch_size)
        if spread:
            batch, valid_B = spread.cut((batch, valid_B))
        state = train_step(model, config, hyper, lengths, root, state, batch, valid_B, spread)
        return spread.constrained(state) if spread else state

    begins = state.step % lengths.epoch == 0
    tally = jax.tree.map(lambda x: jnp.where(begins, jnp.zeros_like(x), x), state.tally)
    return jax.lax.fori_loop(
        0, count, lambda _, state: update(state), state._replace(tally=tally)
    )


def _on_each_device(
    spread: Spread | None, share: Callable, variables: Any, given: Any
) -> Any:
    """share(whole, given) on every device of the spread, or on the one there is: `whole()` are all
    the variables, of which a device may hold a part."""
    if spread is None:
        return share(lambda: variables, given)
    specs = spread.specs(variables)

    def one(variables: Any, given: Any) -> Any:
        return share(lambda: gathered(variables, specs), given)

    return spread.each(one, (specs, WHOLE), WHOLE)(variables, given)


def evaluate(
    model: nn.Module, variables: Any, subset: Subset, num_classes: int,
    spread: Spread | None = None,
) -> metrics.Evaluation:
    """Sums over every example of `subset`, each counted once, whatever the devices."""
    shares = spread.shares if spread else 1

    def share(whole: Callable[[], Any], subset: Subset) -> metrics.Evaluation:
        """Of every `shares`th batch, from this device's on."""
        first = jax.lax.axis_index(DATA) if spread else 0

        def body(turn, sums):
            number = turn * shares + first
            batch, valid_B = batch_at(subset.split, subset.rows, number, EVAL_BATCH)
            return metrics.add(sums, eval_step(model, whole(), batch, valid_B))

        turns = -(-subset.rows.shape[0] // (EVAL_BATCH * shares))
        own = jax.lax.fori_loop(0, turns, body, metrics.zero_evaluation(num_classes))
        return jax.lax.psum(own, DATA) if spread else own

    return _on_each_device(spread, share, variables, subset)


def predict(
    model: nn.Module, variables: Any, images_NxHxWxC: Array, spread: Spread | None = None
) -> tuple[Array, Array]:
    """The likeliest class of every uint8 image, int32 [N], and its probability, float32 [N]."""

    def share(whole: Callable[[], Any], images_NxHxWxC: Array) -> tuple[Array, Array]:
        def one(image_HxWxC: Array) -> tuple[Array, Array]:
            logits_C = forward(model, whole(), normalise(image_HxWxC)[None])[0]
            return jnp.argmax(logits_C).astype(jnp.int32), jax.nn.softmax(logits_C).max()

        return jax.lax.map(one, images_NxHxWxC, batch_size=EVAL_BATCH)

    return _on_each_device(spread, share, variables, images_NxHxWxC)


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
