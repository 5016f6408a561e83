"""One update and one evaluation of a batch: pure and unjitted. B: batch, C: classes."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from engine import augment, keys, metrics
from engine.config import Config, Durations, Hyper
from engine.data import normalise
from engine.mesh import Spread
from engine.optim import optimizer
from engine.sources.dataset import Split
from engine.state import State, sorted_out


class Batch(NamedTuple):
    """inputs float32 [B, ...], targets [B, ...], valid bool [B]."""

    inputs: Array
    targets: Array
    valid: Array


def forward(model: nn.Module, variables: Any, images: Array) -> Array:
    """Logits [B, C] of float32 images."""
    return model.apply(variables, images, train=False)  # type: ignore


def learning(
    model: nn.Module, variables: Any, batch: Batch, dropout: Array
) -> tuple[Array, dict[str, Any]]:
    """Logits [B, C] of a batch to learn from, and what the network keeps besides its params after
    it: every other collection of `variables`."""
    kept = sorted(name for name, part in variables.items() if part and name != "params")
    return model.apply(  # type: ignore
        variables, batch.inputs, train=True, rngs={"dropout": dropout}, mutable=kept
    )


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
    """Of a batch: the gradient of the loss summed over its valid examples, their tally, and what
    the network keeps besides its params after it."""

    gradient: Any
    tally: metrics.Tally
    kept: dict[str, Any]


def _learned(
    model: nn.Module, variables: Any, batch: Batch, hyper: Hyper, dropout: Array,
    spread: Spread | None,
) -> Learned:
    def loss_sum(params):
        logits_BxC, kept = learning(model, variables | {"params": params}, batch, dropout)
        loss_B = cross_entropy(logits_BxC, batch.targets, hyper.label_smoothing)
        tally = metrics.measure(loss_B, logits_BxC, batch.targets, batch.valid)
        return tally.loss_sum, (tally, kept)

    if spread and spread.fsdp:
        loss_sum = spread.gathering(loss_sum)
    gradient, (tally, kept) = jax.grad(loss_sum, has_aux=True)(variables["params"])
    return Learned(spread.constrained(gradient) if spread else gradient, tally, kept)


def _accumulated(
    model: nn.Module, variables: Any, batch: Batch, hyper: Hyper, dropout: Array, microbatch: int,
    spread: Spread | None,
) -> Learned:
    """`_learned` over microbatches, so many examples a device, that fit the cache; their sums are
    the whole batch's. Not for a network that keeps statistics, which a part has others of."""
    shares = spread.shares if spread else 1
    count = batch.targets.shape[0] // (shares * (microbatch or batch.targets.shape[0]))
    if count < 2:
        return _learned(model, variables, batch, hyper, dropout, spread)

    def dealt(x: Array) -> Array:
        """[count, shares · microbatch, ...]: of each part, every device has its own examples."""
        own = x.reshape(shares, count, microbatch, *x.shape[1:]).swapaxes(0, 1)
        return own.reshape(count, shares * microbatch, *x.shape[1:])

    def body(sums, part):
        index, batch = part
        own = jax.random.fold_in(dropout, index)
        batch = spread.cut(batch) if spread else batch
        return metrics.add(sums, _learned(model, variables, batch, hyper, own, spread)), None

    start = Learned(jax.tree.map(jnp.zeros_like, variables["params"]), metrics.zeros(), {})
    parts = jnp.arange(count), jax.tree.map(dealt, batch)
    return jax.lax.scan(body, start, parts)[0]


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
    """One update from uint8 images. The gradient is the mean over the valid examples, on however
    many devices of a `spread` they lie."""
    images = augment.augment(config, keys.stream(root, "augment", state.step), batch.inputs)
    ready = Batch(normalise(images), batch.targets, valid_B)
    dropout = keys.stream(root, "dropout", state.step)
    learned = _accumulated(
        model, state.variables, ready, hyper, dropout, config.microbatch, spread
    )
    tally = learned.tally
    gradient = jax.tree.map(lambda g: g / tally.count.astype(g.dtype), learned.gradient)
    tx = optimizer(config, hyper, durations)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    bad = ~jnp.isfinite(tally.loss_sum) & (state.diverged_at < 0)
    return State(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        tally=metrics.add(state.tally, tally),
        diverged_at=jnp.where(bad, state.step, state.diverged_at),
        **sorted_out(learned.kept),
    )


def eval_step(
    model: nn.Module, variables: Any, batch: Split, valid_B: Array
) -> metrics.Evaluation:
    """The batch's loss without smoothing, its top-5 and its confusion matrix, masked."""
    logits_BxC = forward(model, variables, normalise(batch.inputs))
    loss_B = cross_entropy(logits_BxC, batch.targets)
    return metrics.evaluate(loss_B, logits_BxC, batch.targets, valid_B)
