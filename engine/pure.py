"""The whole run as one pure function, which jit, vmap and grad take like any other."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from engine.augmentations import suited
from engine.config import AUTO, Config
from engine.console.progress import plain_console
from engine.data import on_device, validation_of
from engine.doors import arguments, computed, hypers
from engine.errors import RequestError
from engine.feed import Data
from engine.job.host import Host, check_untraced, undisturbed
from engine.learners import effect, fitting, steady
from engine.learners.chosen import learner_of
from engine.optim import patience, trees
from engine.parts.reading import featured, load
from engine.parts.targets import natural_task
from engine.request import Request
from engine.task import Task

# A Config is part of the program: jit and vmap take it as an argument and compile for its value.
jax.tree_util.register_static(Config)


def train(
    config: Config, hyper: Any, key: Array, data: Data, order: Array | None = None
) -> tuple[Any, dict[str, Array]]:
    """The whole run: (final state, history of float32 arrays [epochs]).

    Pure: `jax.jit(train)`; `jax.vmap(train, (None, 0, 0, None))` over stacked `hyper` and `key`;
    `jax.grad` with respect to `hyper` (an update is computed again in the backward pass, so the
    memory is one state an update). All randomness comes from `key`: `config.seed` is what `fit`
    makes its own of, and isn't asked here. `order` is the key of the shuffles, `key` itself where
    it is None: give one to runs that are to meet the same batches.

    The history holds the task's scores after each epoch, such as loss, accuracy, val_loss and
    val_accuracy; NaN once a run has stopped by its `patience`: its state stays. Raises RequestError
    for a config that can't be meant and for parts that don't fit each other, as `fit` does.
    """
    plain = hypers.settled(config, hyper)
    hyper = plain if hyper is None else hyper
    trees.refuse(config.model, "train")
    if config.init_from:
        raise RequestError("train begins with the network's own values: give fit the --init_from, "
                           "or train an NNX module, which begins with those that it has.")
    if config.class_weights:
        raise RequestError("train knows no classes' names, nor counts them: give their weights in "
                           "the task, Config(task=Classification(class_weights=(2.0, 0.5))).")
    if config.choose_threshold != "off":
        raise RequestError("choose_threshold has no effect in train, which chooses nothing: leave "
                           "it out, or let fit choose.")
    if order is None and config.order_seed >= 0:
        raise RequestError("order_seed has no effect in train, whose shuffles are by `order`: give "
                           f"order=jax.random.key({config.order_seed}).")
    order = key if order is None else order
    arguments.check(key, order, data)
    data = jax.tree.map(jnp.asarray, data)
    if config.task == AUTO:
        config = dataclasses.replace(config, task=natural_task(data.train.split.targets))
    learner = computed.apart(learner_of(config, data.num_outputs), data.train.input_shape)
    lengths = learner.lengths(len(data.train.rows))
    suited.check_form(learner, hyper, data.train)
    fitting.check(learner, hyper, lengths, data)
    steady.check(learner, hyper, data.train.input_shape)
    effect.check(learner, hyper, lengths, data)

    def epoch(state: Any, _):
        state = learner.segment(hyper, key, order, data.train, state, lengths.epoch)
        state = learner.restated(key, order, data.train, state)
        sums = learner.evaluate(state.models, data.validation)
        row = history_row(learner.task, state.tally, sums)
        return patience.heard(learner, hyper, lengths, state, row), row

    state, watched = learner.create(hyper, key, data), learner.monitor(hyper)
    if not config.patience:
        return jax.lax.scan(epoch, state, length=config.epochs)
    epoch, watch = patience.stopping(epoch, watched, lengths.patience, config.min_delta)
    (state, _), history = jax.lax.scan(epoch, (state, watch), length=config.epochs)
    return state, history


@undisturbed()
def data_for(config: Config, data: Any = None) -> Data:
    """The data of `train`: those that `fit(config, data=data)` would train and validate on, on
    jax's default device. `data` are arrays or other objects, as `fit` takes them; without it, the
    set that `config.dataset` names. They are committed to it: keys that are sharded over several
    want `jax.device_put(data, NamedSharding(mesh, P()))`. Raises RequestError as `fit` does.
    """
    check_untraced("data_for runs", "call it outside, and pass its data")
    where = jnp.zeros(()).sharding
    (device,) = where.device_set
    host = Host(device, plain_console())
    request, dataset = load(Request(config, data=data), host)
    _, parts, columns = featured(request, dataset)
    if columns:
        raise RequestError(f"{dataset.name} has columns or inputs by their names, which train "
                           "doesn't know: give an array of their numbers, or let fit learn it.")
    host.console.print(f"validation: {validation_of(dataset, request.config.parts)}")
    return on_device(parts, where)


def history_row(task: Task, tally: Any, sums: tuple[Any, ...]) -> dict[str, Array]:
    """Means of an epoch from its training tally and the sums of an evaluation, a second of them
    where there are averaged weights too."""
    row = task.row(tally)
    for prefix, found in zip(("val_", patience.AVERAGED), sums, strict=False):
        scores = task.row(found)
        row |= {f"{prefix}{name}": jnp.float32(value) for name, value in scores.items()}
    return row
