"""One update and one evaluation of a batch: pure. B: batch, K: outputs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from engine import keys
from engine.augmentations import chain
from engine.examples import Split
from engine.feed import scaled
from engine.objective import Objective
from engine.optim import patience
from engine.optim.lengths import Durations
from engine.state import State, sorted_out
from engine.task import add, float32
from engine.updates import averages
from engine.updates.chain import optimizer


class Gradients(NamedTuple):
    """Of a batch: the gradient of the loss summed over its valid examples, their tally, and what
    the network keeps besides its params after it."""

    gradient: Any
    tally: Any
    kept: dict[str, Any]


@jax.jit(static_argnums=0, inline=True)  # traced once, however many ask for it
def forward(learner: Objective, variables: Any, inputs: Array, valid_B: Array) -> Any:
    """Outputs of inputs as the split holds them, float32 [B, K], or what any_outputs allows."""
    return float32(learner.apply(variables, scaled(inputs), False, None, valid_B)[0])


def _learned(
    learner: Objective, variables: Any, batch: Split, valid_B: Array, hyper: Any, dropout: Array
) -> Gradients:
    spread, task = learner.spread, learner.task

    def loss_sum(params):
        outputs, kept = learner.apply(
            variables | {"params": params}, batch.inputs, True, dropout, valid_B
        )
        outputs = float32(outputs)
        loss_B = task.loss_of(outputs, batch.targets, hyper, valid_B)
        if batch.weights is not None:
            loss_B *= batch.weights
        tally = task.tally(loss_B, outputs, batch.targets, valid_B)
        return tally.loss_sum, (tally, kept)

    if spread.fsdp:
        loss_sum = spread.gathering(loss_sum)
    gradient, (tally, kept) = jax.grad(loss_sum, has_aux=True)(variables["params"])
    return Gradients(spread.constrained(gradient), tally, kept)


def _accumulated(
    learner: Objective, state: State, batch: Split, valid_B: Array, hyper: Any, dropout: Array
) -> Gradients:
    """`_learned` over microbatches, so many examples a device, that fit the cache; their sums are
    the whole batch's. What a network keeps goes from one to the next, so that each has batch
    statistics of its own, and the running ones follow in turn. A remainder joins the last."""
    spread, microbatch = learner.spread, learner.config.microbatch
    shares, size = learner.spread.shares, valid_B.shape[0]
    count, over = divmod(size, shares * (microbatch or size))
    if count < 2:
        return _learned(learner, state.variables, batch, valid_B, hyper, dropout)
    count -= over > 0
    whole = count * shares * microbatch
    first, last = (jax.tree.map(lambda x, part=part: x[part], (batch, valid_B))
                   for part in (slice(whole), slice(whole, None)))

    def dealt(x: Array) -> Array:
        """[count, shares · microbatch, ...]: of each part, every device has its own examples."""
        own = x.reshape(shares, count, microbatch, *x.shape[1:]).swapaxes(0, 1)
        return own.reshape(count, shares * microbatch, *x.shape[1:])

    def body(so_far, part):
        index, (batch, valid_B) = part
        own = jax.random.fold_in(dropout, index)
        batch, valid_B = spread.cut((batch, valid_B))
        found = _learned(learner, state.variables | so_far.kept, batch, valid_B, hyper, own)
        gradient, tally = add(so_far[:2], found[:2])
        return Gradients(gradient, tally, found.kept), None

    gradient, tally = jax.tree.map(jnp.zeros_like, (state.params, state.tally))
    kept = {name: tree for name, tree in state.kept.items() if jax.tree.leaves(tree)}
    parts = jnp.arange(count), jax.tree.map(dealt, first)
    learned = jax.lax.scan(body, Gradients(gradient, tally, kept), parts)[0]
    return body(learned, (count, last))[0] if over else learned


def train_step(
    learner: Objective, hyper: Any, durations: Durations, root: Array, state: State,
    batch: Split, valid_B: Array,
) -> State:
    """One update from a batch as the split holds it. The gradient is the mean over the valid
    examples, on however many devices they lie."""
    key = keys.stream(root, "augment", state.step)
    ready = chain.augmented(learner, hyper, key, batch, valid_B)
    dropout = keys.stream(root, "dropout", state.step)
    learned = _accumulated(learner, state, ready, valid_B, hyper, dropout)
    tally = learned.tally
    gradient = jax.tree.map(lambda g: g / jnp.maximum(tally.count, 1).astype(g.dtype),
                            learned.gradient)
    peak = getattr(hyper, "learning_rate", None)
    tx = optimizer(learner.config, patience.dropped(hyper, state.plateau), durations, peak)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    params, step = optax.apply_updates(state.params, updates), state.step + 1
    bad = ~jnp.isfinite(tally.loss_sum) & (state.diverged_at < 0)
    return State(
        step=step,
        params=params,
        opt_state=opt_state,
        tally=add(state.tally, tally),
        diverged_at=jnp.where(bad, state.step, state.diverged_at),
        **sorted_out(learned.kept),
        average=averages.moved(state.average, params, hyper, durations, step),
        plateau=state.plateau,
    )


def eval_step(
    learner: Objective, variables: Any, batch: Split, valid_B: Array
) -> tuple[Any, Array]:
    """The task's sums of the batch, masked, without what only training's loss has; and what it
    tells of each example [B, ...]."""
    outputs, task = forward(learner, variables, batch.inputs, valid_B), learner.task
    return task.judge(outputs, batch.targets, valid_B), task.predict(outputs)
