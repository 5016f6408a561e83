"""Against flax's own, a NumPy reference and the formulas of the paper; over devices against one."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import on_devices
from jax.sharding import PartitionSpec
from test_mesh import COLLECTIVE, trained

from engine import loop, mesh, training
from engine.config import Config, Hyper
from models.batch_norm import BatchNorm, Share, moments

pytestmark = pytest.mark.usefixtures("normed_is_a_model")
OURS = BatchNorm(momentum=0.8, epsilon=1e-3)
THEIRS = partial(nn.BatchNorm, momentum=0.8, epsilon=1e-3)
SHAPES = [(6, 5), (4, 7, 3, 5)]
GENTLE = Config(model="normed", batch_size=8, epochs=1, optimizer="sgd")
RATE = Hyper(learning_rate=0.05)


def given(shape: tuple[int, ...]):
    """x, what the layer knows, and a gradient of its output."""
    rng = np.random.default_rng(0)
    channels = shape[-1]
    x, g = (rng.normal(1, 2, shape).astype(np.float32) for _ in range(2))
    one, two, three, four = rng.uniform(0.5, 2, (4, channels)).astype(np.float32)
    return x, {"params": {"scale": one, "bias": two},
               "batch_stats": {"mean": three, "var": four}}, g


def learned(layer, variables, x, g, **how):
    """Output, running moments after it, gradients of parameters and of x."""
    def applied(params, x):
        return layer.apply(variables | {"params": params}, x, mutable="batch_stats", **how)

    y, pull, changed = jax.vjp(applied, variables["params"], x, has_aux=True)
    return y, changed["batch_stats"], *pull(g)


def numpys(variables, x, g, momentum=0.8, epsilon=1e-3):
    """`learned` in float64, by the formulas of Ioffe & Szegedy 2015, algorithm 1 and section 3."""
    x, g = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, g))
    known = {name: part for tree in variables.values() for name, part in tree.items()}
    mean, var = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
    deviation = np.sqrt(var + epsilon)
    normal = (x - mean) / deviation
    g_normal = g * known["scale"]
    g_var = (g_normal * (x - mean)).sum(0) * -0.5 * deviation**-3
    g_mean = -(g_normal / deviation).sum(0) + g_var * -2 * (x - mean).mean(0)
    g_x = g_normal / deviation + g_var * 2 * (x - mean) / len(x) + g_mean / len(x)
    running = {"mean": momentum * known["mean"] + (1 - momentum) * mean,
               "var": momentum * known["var"] + (1 - momentum) * var}
    y = normal * known["scale"] + known["bias"]
    return y, running, {"scale": (g * normal).sum(0), "bias": g.sum(0)}, g_x


@pytest.mark.parametrize("shape", SHAPES)
def test_learning_equals_flaxs_and_the_papers(shape):
    """Output, running moments, gradients of parameters and input."""
    x, variables, g = given(shape)
    ours = learned(OURS, variables, x, g, train=True)
    flaxs = learned(THEIRS(use_running_average=False), variables, x, g)
    chex.assert_trees_all_close(ours, flaxs, atol=2e-5, rtol=1e-5)
    y, running, params, g_x = numpys(variables, x, g)
    want = y.reshape(shape), running, params, g_x.reshape(shape)
    chex.assert_trees_all_close(ours, want, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_elsewhere_the_running_moments_are_used_and_kept(shape):
    x, variables, g = given(shape)
    ours = learned(OURS, variables, x, g, train=False)
    theirs = learned(THEIRS(use_running_average=True), variables, x, g)
    chex.assert_trees_all_close(ours, theirs, atol=2e-5, rtol=1e-5)
    chex.assert_trees_all_equal(ours[1], variables["batch_stats"])


@pytest.mark.parametrize("train", [True, False])
def test_it_begins_as_flaxs_does(train):
    x = given(SHAPES[1])[0]
    ours = OURS.init(jax.random.key(0), x, train)
    chex.assert_trees_all_equal(ours, THEIRS(use_running_average=False).init(jax.random.key(0), x))


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_examples_change_nothing(shape):
    x, variables, g = given(shape)
    want = learned(OURS, variables, x, g, train=True)
    rest = np.full((3, *shape[1:]), 1e3, np.float32)
    valid = np.r_[np.ones(len(x), bool), np.zeros(3, bool)]
    y, running, params, g_x = learned(
        OURS, variables, np.r_[x, rest], np.r_[g, 0 * rest], train=True, batch=Share.of(valid)
    )
    chex.assert_trees_all_close((y[:-3], running, params, g_x[:-3]), want, atol=1e-5)
    assert not np.asarray(g_x[-3:]).any()


def test_the_variance_does_not_cancel_near_the_running_mean():
    """Of values of 1e4 float32 has three digits left; their squares alone would leave none."""
    x = 1e4 + np.random.default_rng(0).normal(0, 1, (4096, 2)).astype(np.float32)
    batch = Share.of(np.ones(len(x), bool))
    _, var = moments(x, batch, np.full(2, 9999.5, np.float32))
    np.testing.assert_allclose(var, np.asarray(x, np.float64).var(0), rtol=1e-4)
    assert np.abs(moments(x, batch, np.zeros(2, np.float32))[1] - 1).max() > 0.1


def test_a_constant_channel_is_no_nan():
    x = jnp.full((8, 2), 1e3)
    y, *rest = learned(BatchNorm(), OURS.init(jax.random.key(0), x, False), x, x, train=True)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((y, rest)))


def test_a_running_moment_that_is_no_number_stops_a_run(data):
    state = loop.initial_state(GENTLE, RATE, jax.random.key(0), data)
    assert training._finite(state)
    lost = jax.tree.map(lambda x: x * jnp.nan, state.batch_stats)
    assert not training._finite(state._replace(batch_stats=lost))


# Over devices, through whole steps of a network


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


@pytest.mark.parametrize("changes", [
    {}, {"fsdp": True}, {"model_parallel": 2}, {"batch_size": 32},
])
def test_two_devices_equal_one(changes):
    """37 examples: of a last batch of 8 the second device has one, of a last one of 32 none."""
    assert_devices_agree(2, **changes)


def test_four_devices_equal_one():
    """Of the last batch of 8 the fourth has none."""
    on_devices(4, (
        "import test_batch_norm as t; conftest.MODELS['normed'] = conftest.Normed\n"
        "for changes in ({}, {'fsdp': True, 'model_parallel': 2}):\n"
        "    t.assert_devices_agree(4, **changes)\n"
    ))


def test_a_layer_is_one_sum_forward_and_one_backward():
    """Two layers; gradients and tally make two more, the count that both are of one."""
    text, _, _ = trained(2, GENTLE)
    found = COLLECTIVE.findall(text)
    assert set(found) == {"all-reduce"} and len(found) <= 2 * 2 + 3


def test_batch_statistics_stay_whole_however_many_channels():
    spread = mesh.on_paper(4, fsdp=True)
    tree = {"mean": jax.ShapeDtypeStruct((4096,), jnp.float32)}
    assert spread.specs(tree) == {"mean": PartitionSpec()}
