import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from engine.config import Config, Durations, Hyper
from engine.optim import optimizer, schedule

LENGTHS = Durations(epoch=10, warmup=10, total=100)
PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.3, -0.1])}
NAMES = next(f for f in dataclasses.fields(Config) if f.name == "optimizer").metadata["choices"]


def run(config: Config, hyper: Hyper, steps: int = 5):
    """Minimise Σp² from PARAMS."""
    tx = optimizer(config, hyper, LENGTHS)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(jax.tree.map(lambda p: 2.0 * p, params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_adam_is_keras_adam():
    """Kingma & Ba's update with Keras's ε = 1e-7, in NumPy."""
    p, m, v = np.asarray(PARAMS["kernel"], np.float64), 0.0, 0.0
    for t in range(1, 6):
        g = 2 * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    np.testing.assert_allclose(run(Config(), Hyper(learning_rate=0.01))["kernel"], p, rtol=1e-5)


def test_sgd_with_momentum():
    p, trace = np.asarray(PARAMS["bias"], np.float64), 0.0
    for _ in range(5):
        trace = 0.9 * trace + 2 * p
        p = p - 0.01 * trace
    ours = run(Config(optimizer="sgd"), Hyper(learning_rate=0.01, momentum=0.9))["bias"]
    np.testing.assert_allclose(ours, p, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_takes_traced_rates_and_descends(name):
    hyper = Hyper(learning_rate=0.01, weight_decay=1e-4, momentum=0.9, clip_norm=1.0)
    traces = 0

    @jax.jit
    def final(hyper):
        nonlocal traces
        traces += 1
        return run(Config(optimizer=name), hyper)

    traced = jax.tree.map(jnp.float32, hyper)
    for rate in (0.01, 0.001):
        params = final(traced._replace(learning_rate=jnp.float32(rate)))
        before, after = (sum(float((p**2).sum()) for p in jax.tree.leaves(t))
                         for t in (PARAMS, params))
        assert after < before
    assert traces == 1


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_shrinks_kernels_and_spares_biases(name):
    """With a zero gradient only the decay moves anything."""
    tx = optimizer(Config(optimizer=name), Hyper(learning_rate=0.1, weight_decay=0.1), LENGTHS)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    assert (np.sign(updates["kernel"]) == -np.sign(PARAMS["kernel"])).all()
    assert not np.asarray(updates["bias"]).any()


def test_clipping_bounds_the_global_norm():
    tx = optimizer(Config(optimizer="sgd"), Hyper(learning_rate=1.0, clip_norm=0.5), LENGTHS)
    updates, _ = tx.update(jax.tree.map(lambda p: 100 * p, PARAMS), tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(optax.tree.norm(updates), 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    "name, known",
    [
        ("constant", {0: 1, 99: 1}),
        ("linear", {0: 1, 25: 0.75, 100: 0}),
        ("cosine", {0: 1, 50: 0.5, 100: 0}),
        ("warmup_cosine", {0: 0, 5: 0.5, 10: 1, 55: 0.5, 100: 0}),
    ],
)
def test_schedules_at_known_steps(name, known):
    course = schedule(Config(schedule=name), LENGTHS)
    for step, value in known.items():
        np.testing.assert_allclose(course(jnp.float32(step)), value, atol=1e-6)
