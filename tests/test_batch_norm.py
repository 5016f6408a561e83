"""A plain Flax network that keeps more than its params learns as in plain Flax, on two devices too:
its statistics are of exactly the batch's examples. So does the same one in NNX."""

import dataclasses
import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK, on_devices
from flax import nnx
from jax.sharding import PartitionSpec
from samples import Normed, data_of, random_split
from test_mesh import trained

from engine import keys, training
from engine.config import Config, Hyper
from engine.devices import mesh
from engine.doors import nnx as nnx_network
from engine.feed import epoch_order
from engine.learners.chosen import learner_of

CPUS = jax.devices("cpu")
GENTLE = Config(model=Normed, batch_size=8, epochs=1, optimizer="sgd")
RATE = Hyper(learning_rate=0.05)
ROOT = jax.random.key(5)
SIDE, COUNT = 4, 37
quickly = functools.partial(jax.jit, compiler_options=QUICK)


class Plain(nn.Module):
    """Nothing of ours: batch statistics, dropout, and a collection by a name of its own."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(16, use_bias=False)(x.reshape(len(x), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.8)(x))
        seen = self.variable("memory", "seen", jnp.zeros, (), jnp.int32)
        if train:
            seen.value += len(x)
        return nn.Dense(4)(nn.Dropout(0.5, deterministic=not train)(x))


class Seen(nnx.Variable):
    """A kind of variables that only the user knows."""


class PlainNNX(nnx.Module):
    """The same, and without dropout, whose keys NNX draws in its own order."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(SIDE**2, 16, use_bias=False, rngs=rngs),
                                nnx.Linear(16, 4, rngs=rngs)])
        self.norm = nnx.BatchNorm(16, momentum=0.8, rngs=rngs)
        self.seen = Seen(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        if not self.norm.use_running_average:
            self.seen[...] += len(x)
        return self.layers[1](nnx.relu(self.norm(self.layers[0](x.reshape(len(x), -1)))))


def mean_loss(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def batches(split, steps: int):
    """Exactly the examples of each step: the last one has five."""
    order = np.asarray(epoch_order(ROOT, 0, jnp.arange(COUNT)))
    images = jnp.asarray(split.inputs, jnp.float32) / 255
    for step in range(steps):
        rows = order[8 * step : 8 * step + 8]
        yield step, images[rows], jnp.asarray(split.targets)[rows]


def in_linen(split):
    """The variables after 4 and 5 updates of one epoch, in Flax and Optax alone."""
    tx = optax.sgd(RATE.learning_rate)
    init = quickly(functools.partial(Plain().init, train=False))
    kept = init(keys.stream(ROOT, "params"), jnp.zeros((1, SIDE, SIDE, 1)))
    params = kept.pop("params")
    opt_state, found = tx.init(params), []

    @quickly
    def update(params, kept, opt_state, images, labels, key):
        def loss(params):
            logits, changed = Plain().apply(
                {"params": params, **kept}, images, train=True, rngs={"dropout": key},
                mutable=["batch_stats", "memory"],
            )
            return mean_loss(logits, labels), changed

        gradient, kept = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state)
        return optax.apply_updates(params, updates), kept, opt_state

    for step, images, labels in batches(split, 5):
        key = keys.stream(ROOT, "dropout", step)
        params, kept, opt_state = update(params, kept, opt_state, images, labels, key)
        found.append({"params": params, **kept})
    return found[3:]


def in_nnx(split):
    """The same of the NNX module, with nnx.Optimizer."""
    key = keys.stream(ROOT, "params")
    model, found = PlainNNX(nnx.Rngs(params=key, default=key)), []
    optimizer = nnx.Optimizer(model, optax.sgd(RATE.learning_rate), wrt=nnx.Param)
    model.train()
    for _, images, labels in batches(split, 5):
        gradient = nnx.grad(lambda m, x=images, y=labels: mean_loss(m(x), y))(model)
        optimizer.update(model, gradient)
        _, params, stats, others = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
        trees = {"params": params, "batch_stats": stats, "variables": others}
        found.append(jax.tree.map(np.array, {
            name: nnx_network._named(nnx.to_pure_dict(tree)) for name, tree in trees.items()
        }))
    return found[3:]


@functools.cache
def wanted(model):
    split = random_split(COUNT, side=SIDE)
    return jax.device_get({Plain: in_linen, PlainNNX: in_nnx}[model](split))


@pytest.mark.slow
@pytest.mark.parametrize("model, devices, fsdp", [
    (Plain, 2, False), (Plain, 1, False), (Plain, 2, True), (PlainNNX, 1, False),
    (PlainNNX, 2, False),
])
def test_a_plain_network_learns_as_in_plain_flax(model, devices, fsdp):
    """Of full batches, and of the last one, of five examples."""
    data = data_of(random_split(COUNT, side=SIDE), random_split(8, side=SIDE))
    spread = mesh.spread(CPUS[:devices], fsdp)
    where = mesh.everywhere(spread.mesh, CPUS[0])
    hyper, root, train = mesh.put((jax.tree.map(np.float32, RATE), ROOT, data.train), where)
    learner = learner_of(dataclasses.replace(GENTLE, model=model), 4, spread)
    segment = quickly(learner.segment)
    start = mesh.put(jax.device_get(quickly(learner.create)(RATE, ROOT, data)), where)
    for steps, want in zip((4, 5), wanted(model), strict=True):
        state = segment(hyper, root, root, train, start, np.int32(steps))
        chex.assert_trees_all_close(jax.device_get(state.variables), want, atol=2e-5)
    (seen,) = (x for x in jax.tree.leaves(state.collections) if x.dtype == jnp.int32)
    assert int(seen) == COUNT == int(state.tally.count)


def test_a_running_moment_that_is_no_number_stops_a_run(data):
    state = quickly(learner_of(GENTLE, 4).create)(RATE, jax.random.key(0), data)
    assert training.finite(state)
    lost = jax.tree.map(lambda x: x * jnp.nan, state.batch_stats)
    assert not training.finite(state._replace(batch_stats=lost))


def assert_devices_agree(devices: int, **changes) -> None:
    """With one, in parameters, running moments and evaluation."""
    config = dataclasses.replace(GENTLE, **changes)
    steps = -(-37 // config.batch_size)
    _, one, judged = trained(1, config, RATE, steps=steps)
    _, several, judged_by_several = trained(devices, config, RATE, steps=steps)
    chex.assert_trees_all_close(
        jax.device_get(several.variables), jax.device_get(one.variables), atol=5e-5
    )
    assert all(x.is_fully_replicated for x in jax.tree.leaves(several.batch_stats))
    assert int(several.tally.count) == int(one.tally.count) == 37
    (sums, told), (sums_of_several, told_by_several) = judged(), judged_by_several()
    assert int(sums_of_several.correct) == int(sums.correct)
    np.testing.assert_array_equal(told_by_several.argmax(1), told.argmax(1))


@pytest.mark.slow
def test_two_devices_equal_one():
    """In an epoch's last batch of five, as two devices have 16 of the 32."""
    assert_devices_agree(2, batch_size=32)


@pytest.mark.slow
def test_four_devices_equal_one():
    """Of the last five examples the fourth has none."""
    on_devices(4, "import test_batch_norm as t\nt.assert_devices_agree(4)\n")


def test_batch_statistics_stay_whole_however_many_channels():
    spread = mesh.on_paper(4, fsdp=True)
    tree = {"mean": jax.ShapeDtypeStruct((4096,), jnp.float32)}
    assert spread.shardings(tree)["mean"].spec == PartitionSpec()
