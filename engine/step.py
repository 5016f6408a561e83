"""One update and one evaluation of a batch: pure and unjitted. B: batch, C: classes."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from engine import augment, keys, metrics
from engine.config import Config, Durations, Hyper
from engine.data import normalise
from engine.mesh import CUT, DATA, WHOLE, Spread, gathered, gathered_again, summed
from engine.optim import optimizer
from engine.sources.dataset import Split
from engine.state import State
from models.batch_norm import Share


class Batch(NamedTuple):
    """inputs float32 [B, ...], targets [B, ...], valid bool [B]."""

    inputs: Array
    targets: Array
    valid: Array


def forward(model: nn.Module, variables: Any, images: Array) -> Array:
    """Logits [B, C] of float32 images."""
    return model.apply(variables, images, train=False)  # type: ignore


def learning(
    model: nn.Module, variables: Any, batch: Batch, dropout: Array, axes: tuple[str, ...] = ()
) -> tuple[Array, Any]:
    """Logits [B, C] of a batch to learn from, and the batch statistics it leaves: over the valid
    examples of all devices on the mesh's `axes`."""
    how: dict[str, Any] = {"train": True, "rngs": {"dropout": dropout}}
    if not variables["batch_stats"]:
        return model.apply(variables, batch.inputs, **how), {}  # type: ignore
    logits_BxC, changed = model.apply(
        variables, batch.inputs, batch=Share.of(batch.valid, axes), mutable="batch_stats", **how
    )
    return logits_BxC, changed["batch_stats"]  # type: ignore


def cross_entropy(
    logits_BxC: Array, labels_B: Array, smoothing: Array | float | None = None
) -> Array:
    """Softmax cross-entropy of each example, float32 [B]."""
    loss_B = optax.softmax_cross_entropy_with_integer_labels(logits_BxC, labels_B)
    if smoothing is None:
        return loss_B
    uniform_B = -jax.nn.log_softmax(logits_BxC).mean(axis=-1)
    return (1.0 - smoothing) * loss_B + smoothing * uniform_B


class Learned(NamedTuple):
    """Of a batch: the gradient of the loss summed over its valid examples, their tally, and the
    batch statistics after it."""

    gradient: Any
    tally: metrics.Tally
    batch_stats: Any


def _learned(
    model: nn.Module, variables: Any, batch: Batch, hyper: Hyper, dropout: Array,
    axes: tuple[str, ...], whole: Callable[[Any], Any] | None,
) -> Learned:
    """What `batch` teaches. `whole` gathers parameters of which a device has a part."""

    def loss_sum(params):
        now = variables | {"params": whole(params) if whole else params}
        logits_BxC, batch_stats = learning(model, now, batch, dropout, axes)
        loss_B = cross_entropy(logits_BxC, batch.targets, hyper.label_smoothing)
        tally = metrics.measure(loss_B, logits_BxC, batch.targets, batch.valid)
        return tally.loss_sum, (tally, batch_stats)

    gradient, (tally, batch_stats) = jax.grad(
        gathered_again(loss_sum) if whole else loss_sum, has_aux=True
    )(variables["params"])
    return Learned(gradient, tally, batch_stats)


def _accumulated(
    model: nn.Module, variables: Any, batch: Batch, hyper: Hyper, dropout: Array, microbatch: int,
    axes: tuple[str, ...] = (), whole: Callable[[Any], Any] | None = None,
) -> Learned:
    """`_learned` over microbatches that fit the cache; their sums are the whole batch's. Not for
    batch statistics, which those of a part are not."""
    if not 0 < microbatch < batch.targets.shape[0]:
        return _learned(model, variables, batch, hyper, dropout, axes, whole)
    count = batch.targets.shape[0] // microbatch
    parts = jax.tree.map(lambda x: x.reshape(count, microbatch, *x.shape[1:]), batch)

    def body(sums, part):
        index, batch = part
        own = jax.random.fold_in(dropout, index)
        new = _learned(model, variables, batch, hyper, own, axes, whole)
        return metrics.add(sums, new), None

    start = Learned(jax.tree.map(jnp.zeros_like, variables["params"]), metrics.zeros(), {})
    return jax.lax.scan(body, start, (jnp.arange(count), parts))[0]


def _spread(
    spread: Spread, config: Config, model: nn.Module, variables: Any, batch: Batch, hyper: Hyper,
    dropout: Array,
) -> Learned:
    """`_accumulated`, every device its share of the batch: one all-reduce a dtype adds up.

    Of fully sharded parameters each device is left with its part of the gradient.
    """
    specs = spread.specs(variables)
    params = specs["params"]
    whole = partial(gathered, specs=params) if spread.fsdp else None

    def part(variables, batch, hyper, dropout):
        own = jax.random.fold_in(dropout, jax.lax.axis_index(DATA))
        learned = _accumulated(
            model, variables, batch, hyper, own, config.microbatch, spread.mesh.axis_names, whole
        )
        return learned._replace(gradient=summed(learned.gradient, params),
                                tally=jax.lax.psum(learned.tally, DATA))

    out = Learned(params, WHOLE, WHOLE)  # type: ignore[arg-type]  # where each of them lies
    each = spread.each(part, (specs, CUT, WHOLE, WHOLE), out)
    return each(variables, batch, hyper, dropout)


def train_step(
    model: nn.Module,
    config: Config,
    hyper: Hyper,
    durations: Durations,
    root: Array,
    state: State,
    batch: Split,
    valid_B: Array,
    spread: Spread | None = None,
) -> State:
    """One update from uint8 images. The gradient is the mean over the valid examples, of all
    devices of the `spread` where there is one."""
    images = augment.augment(config, keys.stream(root, "augment", state.step), batch.inputs)
    ready = Batch(normalise(images), batch.targets, valid_B)
    dropout = keys.stream(root, "dropout", state.step)
    if spread is None:
        learned = _accumulated(model, state.variables, ready, hyper, dropout, config.microbatch)
    else:
        learned = _spread(spread, config, model, state.variables, ready, hyper, dropout)
    tally = learned.tally
    gradient = jax.tree.map(lambda g: g / tally.count.astype(g.dtype), learned.gradient)
    tx = optimizer(config, hyper, durations)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    bad = ~jnp.isfinite(tally.loss_sum) & (state.diverged_at < 0)
    return State(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=learned.batch_stats,
        opt_state=opt_state,
        tally=metrics.add(state.tally, tally),
        diverged_at=jnp.where(bad, state.step, state.diverged_at),
    )


def eval_step(
    model: nn.Module, variables: Any, batch: Split, valid_B: Array
) -> metrics.Evaluation:
    """The batch's loss without smoothing, its top-5 and its confusion matrix, masked."""
    logits_BxC = forward(model, variables, normalise(batch.inputs))
    loss_B = cross_entropy(logits_BxC, batch.targets)
    return metrics.evaluate(loss_B, logits_BxC, batch.targets, valid_B)
