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


class Batch(NamedTuple):
    """images float32 [B, H, W, C], labels int32 [B], valid bool [B]."""

    images: Array
    labels: Array
    valid: Array


def forward(
    model: nn.Module, params: Any, images: Array, train: bool = False, dropout: Array | None = None
) -> Array:
    """Logits [B, C] of float32 images."""
    rngs = None if dropout is None else {"dropout": dropout}
    return model.apply({"params": params}, images, train=train, rngs=rngs)  # type: ignore


def cross_entropy(
    logits_BxC: Array, labels_B: Array, smoothing: Array | float | None = None
) -> Array:
    """Softmax cross-entropy of each example, float32 [B]."""
    loss_B = optax.softmax_cross_entropy_with_integer_labels(logits_BxC, labels_B)
    if smoothing is None:
        return loss_B
    uniform_B = -jax.nn.log_softmax(logits_BxC).mean(axis=-1)
    return (1.0 - smoothing) * loss_B + smoothing * uniform_B


def _gradient(
    model: nn.Module, params: Any, batch: Batch, hyper: Hyper, dropout: Array,
    whole: Callable[[Any], Any] | None,
) -> tuple[Any, metrics.Tally]:
    """The gradient of the loss summed over the valid examples, and their tally. `whole` gathers
    parameters of which a device has a part."""

    def loss_sum(params):
        params = whole(params) if whole else params
        logits_BxC = forward(model, params, batch.images, train=True, dropout=dropout)
        loss_B = cross_entropy(logits_BxC, batch.labels, hyper.label_smoothing)
        tally = metrics.measure(loss_B, logits_BxC, batch.labels, batch.valid)
        return tally.loss_sum, tally

    return jax.grad(gathered_again(loss_sum) if whole else loss_sum, has_aux=True)(params)


def _accumulated(
    model: nn.Module, params: Any, batch: Batch, hyper: Hyper, dropout: Array, microbatch: int,
    whole: Callable[[Any], Any] | None = None,
) -> tuple[Any, metrics.Tally]:
    """`_gradient` over microbatches that fit the cache; their sums are the whole batch's."""
    if not 0 < microbatch < batch.labels.shape[0]:
        return _gradient(model, params, batch, hyper, dropout, whole)
    count = batch.labels.shape[0] // microbatch
    parts = jax.tree.map(lambda x: x.reshape(count, microbatch, *x.shape[1:]), batch)

    def body(sums, part):
        index, batch = part
        new = _gradient(model, params, batch, hyper, jax.random.fold_in(dropout, index), whole)
        return metrics.add(sums, new), None

    start = (jax.tree.map(jnp.zeros_like, params), metrics.zeros())
    return jax.lax.scan(body, start, (jnp.arange(count), parts))[0]


def _spread(
    spread: Spread, config: Config, model: nn.Module, params: Any, batch: Batch, hyper: Hyper,
    dropout: Array,
) -> tuple[Any, metrics.Tally]:
    """`_accumulated`, every device its share of the batch: one all-reduce a dtype adds up.

    Of fully sharded parameters each device is left with its part of the gradient.
    """
    specs = spread.specs(params)
    whole = partial(gathered, specs=specs) if spread.fsdp else None

    def share(params, batch, hyper, dropout):
        own = jax.random.fold_in(dropout, jax.lax.axis_index(DATA))
        sums, tally = _accumulated(model, params, batch, hyper, own, config.microbatch, whole)
        return summed(sums, specs), jax.lax.psum(tally, DATA)

    each = spread.each(share, (specs, CUT, WHOLE, WHOLE), (specs, WHOLE))
    return each(params, batch, hyper, dropout)


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
    images = augment.augment(config, keys.stream(root, "augment", state.step), batch.images)
    ready = Batch(normalise(images), batch.labels, valid_B)
    dropout = keys.stream(root, "dropout", state.step)
    if spread is None:
        sums, tally = _accumulated(model, state.params, ready, hyper, dropout, config.microbatch)
    else:
        sums, tally = _spread(spread, config, model, state.params, ready, hyper, dropout)
    gradient = jax.tree.map(lambda g: g / tally.count.astype(g.dtype), sums)
    tx = optimizer(config, hyper, durations)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    bad = ~jnp.isfinite(tally.loss_sum) & (state.diverged_at < 0)
    return State(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        tally=metrics.add(state.tally, tally),
        diverged_at=jnp.where(bad, state.step, state.diverged_at),
    )


def eval_step(model: nn.Module, params: Any, batch: Split, valid_B: Array) -> metrics.Evaluation:
    """The batch's loss without smoothing, its top-5 and its confusion matrix, masked."""
    logits_BxC = forward(model, params, normalise(batch.images))
    loss_B = cross_entropy(logits_BxC, batch.labels)
    return metrics.evaluate(loss_B, logits_BxC, batch.labels, valid_B)
