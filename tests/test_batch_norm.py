"""A plain Flax network that keeps more than its params learns as in plain Flax, on two devices too:
its statistics are of exactly the batch's examples."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import data_of, on_devices, random_split
from jax.sharding import PartitionSpec
from test_mesh import trained

from engine import keys, loop, mesh, training
from engine.config import Config, Hyper, durations
from engine.data import epoch_order
from engine.optim import optimizer
from engine.state import create

pytestmark = pytest.mark.usefixtures("normed_is_a_model")
CPUS = jax.devices("cpu")
GENTLE = Config(model="normed", batch_size=8, epochs=1, optimizer="sgd")
RATE = Hyper(learning_rate=0.05)
ROOT = jax.random.key(5)


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


def by_hand(split, steps: int):
    """The variables after so many updates of one epoch, in Flax and Optax alone."""
    order, tx = epoch_order(ROOT, 0, jnp.arange(37)), optax.sgd(RATE.learning_rate)
    images, labels = jnp.asarray(split.inputs, jnp.float32) / 255, jnp.asarray(split.targets)
    first = create(Plain(), tx, ROOT, images.shape[1:])
    params, opt_state = first.params, first.opt_state
    kept = {"batch_stats": first.batch_stats, "memory": first.collections["memory"]}

    @jax.jit
    def update(params, kept, opt_state, images, labels, key):
        def loss(params):
            logits, changed = Plain().apply(
                {"params": params, **kept}, images, train=True, rngs={"dropout": key},
                mutable=["batch_stats", "memory"],
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), changed

        gradient, kept = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state)
        return optax.apply_updates(params, updates), kept, opt_state

    for step in range(steps):
        rows = order[8 * step : 8 * step + 8]
        key = keys.stream(ROOT, "dropout", step)
        params, kept, opt_state = update(
            params, kept, opt_state, images[rows], labels[rows], key
        )
    return {"params": params, **kept}


@pytest.mark.parametrize("fsdp", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_plain_network_learns_as_in_plain_flax(devices, fsdp):
    """Of full batches, and of the last one, of five examples."""
    data = data_of(random_split(37), random_split(8))
    config = dataclasses.replace(GENTLE, fsdp=fsdp)
    spread = mesh.spread(CPUS[:devices], config)
    where = mesh.everywhere(spread and spread.mesh, CPUS[0])
    hyper, root, train = mesh.put((jax.tree.map(np.float32, RATE), ROOT, data.train), where)
    segment = jax.jit(partial(loop.segment, Plain(), config, spread=spread))
    tx = optimizer(config, RATE, durations(config, 37))
    start = mesh.put(create(Plain(), tx, ROOT, data.train.image_shape), where)
    for steps in (4, 5):
        state = segment(hyper, root, root, train, start, np.int32(steps))
        chex.assert_trees_all_close(jax.device_get(state.variables),
                                    jax.device_get(by_hand(data.train.split, steps)), atol=2e-5)
    assert int(state.collections["memory"]["seen"]) == 37 == int(state.tally.count)


def test_a_running_moment_that_is_no_number_stops_a_run(data):
    state = loop.initial_state(GENTLE, RATE, jax.random.key(0), data)
    assert training._finite(state)
    lost = jax.tree.map(lambda x: x * jnp.nan, state.batch_stats)
    assert not training._finite(state._replace(batch_stats=lost))


def assert_devices_agree(devices: int, **changes) -> None:
    """With one, in parameters, running moments and evaluation."""
    config = dataclasses.replace(GENTLE, **changes)
    steps = -(-37 // config.batch_size)
    _, one, judged = trained(1, config, RATE, steps)
    _, several, judged_by_several = trained(devices, config, RATE, steps)
    chex.assert_trees_all_close(
        jax.device_get(several.variables), jax.device_get(one.variables), atol=5e-5
    )
    assert all(x.is_fully_replicated for x in jax.tree.leaves(several.batch_stats))
    assert int(several.tally.count) == int(one.tally.count) == 37
    np.testing.assert_array_equal(judged_by_several.confusion, judged.confusion)


@pytest.mark.parametrize("changes", [{}, {"batch_size": 32}])
def test_two_devices_equal_one(changes):
    """37 examples: two devices have three and two of a last batch of five."""
    assert_devices_agree(2, **changes)


@pytest.mark.slow
def test_four_devices_equal_one():
    """Of the last five examples the fourth has none."""
    on_devices(4, (
        "import test_batch_norm as t; conftest.MODELS['normed'] = conftest.Normed\n"
        "t.assert_devices_agree(4)\n"
    ))


def test_batch_statistics_stay_whole_however_many_channels():
    spread = mesh.on_paper(4, fsdp=True)
    tree = {"mean": jax.ShapeDtypeStruct((4096,), jnp.float32)}
    assert spread.specs(tree) == {"mean": PartitionSpec()}
