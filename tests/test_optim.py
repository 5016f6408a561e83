import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK

from engine.config import Config, Hyper
from engine.optim.lengths import Durations
from engine.optim.schedules import schedule
from engine.updates.chain import optimizer

LENGTHS = Durations(epoch=10, warmup=10, total=100)
PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.3, -0.1])}
CONVOLUTION = {"conv": {"kernel": jnp.ones((3, 3, 1, 2)), "bias": jnp.ones(2)}}
NAMES = next(f for f in dataclasses.fields(Config) if f.name == "optimizer").metadata["choices"]
START = np.concatenate([np.asarray(p, np.float64).ravel() for p in PARAMS.values()])
DECAYED = np.array([1.0] * 4 + [0.0] * 2)  # the kernel


def gradient(params):
    """Of Σ p² + sin 3p / 3."""
    return jax.tree.map(lambda p: 2 * p + jnp.cos(3 * p), params)


@partial(jax.jit, static_argnums=(0, 2), compiler_options=QUICK)
def run(config: Config, hyper: Hyper, steps: int = 5):
    tx = optimizer(config, hyper, LENGTHS)
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def by_hand(rule, rate, steps: int = 5, decay: float = 0.0, **values):
    """`rule(g, memory, t, **values)` is the direction; `memory` is its own from step to step."""
    p, memory = START.copy(), {}
    for t in range(1, steps + 1):
        step = rate(t - 1) if callable(rate) else rate
        direction = rule(2 * p + np.cos(3 * p), memory, t, **values)
        p = p - step * (direction + decay * DECAYED * p)
    return p


def adam(g, memory, t, b1=0.9, b2=0.999, eps_root=0.0):
    """Kingma & Ba's with Keras's ε = 1e-7."""
    m = memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    v = memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    return m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t) + eps_root) + 1e-7)


def sgd(g, memory, t, momentum=0.0, nesterov=False):
    trace = memory["trace"] = momentum * memory.get("trace", 0) + g
    return g + momentum * trace if nesterov else trace


def rmsprop(g, memory, t, b2=0.9, momentum=0.0, nesterov=False, epsilon=1e-7):
    v = memory["v"] = b2 * memory.get("v", 0) + (1 - b2) * g**2
    return sgd(g / np.sqrt(v + epsilon), memory, t, momentum, nesterov)


def lion(g, memory, t, b1=0.9, b2=0.99):
    m = memory.get("m", 0)
    memory["m"] = b2 * m + (1 - b2) * g
    return np.sign(b1 * m + (1 - b1) * g)


def flat(params):
    return np.concatenate([np.asarray(p).ravel() for p in (params["kernel"], params["bias"])])


@pytest.mark.parametrize("name, rule, values", [
    ("adam", adam, {}), ("adam", adam, {"b1": 0.5, "b2": 0.9, "eps_root": 1e-2}),
    ("adamw", adam, {"b1": 0.7, "b2": 0.95}), ("lion", lion, {}),
    ("lion", lion, {"b1": 0.3, "b2": 0.6}), ("sgd", sgd, {}), ("sgd", sgd, {"momentum": 0.9}),
    ("sgd", sgd, {"momentum": 0.9, "nesterov": True}), ("rmsprop", rmsprop, {}),
    ("rmsprop", rmsprop, {"b2": 0.5, "momentum": 0.8}),
    ("rmsprop", rmsprop, {"momentum": 0.8, "nesterov": True}),
])
def test_an_optimizer_is_its_papers_in_numpy(name, rule, values):
    traced = {k: v for k, v in values.items() if k != "nesterov"}
    decay = 0.1 if name in ("adamw", "lion") else None  # decoupled
    rate = 0.4 if name == "lion" else 0.01  # whose steps are signs: some have to turn
    hyper = Hyper(learning_rate=rate, weight_decay=decay, **traced)
    config = Config(optimizer=name, nesterov=values.get("nesterov", False))
    want = by_hand(rule, rate, decay=decay or 0.0, **values)
    np.testing.assert_allclose(flat(run(config, hyper)), want, rtol=2e-5)


@pytest.mark.parametrize("name, rule", [("adam", adam), ("rmsprop", rmsprop)])
def test_the_epsilon_is_keras_and_not_optaxs(name, rule):
    """Seen by a gradient as small as its root."""
    g, tx = 1e-6, optimizer(Config(optimizer=name), Hyper(learning_rate=0.01), LENGTHS)
    params = {"bias": jnp.zeros(1)}
    updates, _ = tx.update({"bias": jnp.full(1, g)}, tx.init(params), params)
    np.testing.assert_allclose(updates["bias"], -0.01 * rule(g, {}, 1), rtol=1e-4)


def test_the_first_update_has_the_schedules_first_rate():
    config, hyper = Config(optimizer="sgd", schedule="linear"), Hyper(learning_rate=0.1)
    for steps in (1, 2):
        want = by_hand(sgd, lambda step: 0.1 * (1 - step / 100), steps)
        np.testing.assert_allclose(flat(run(config, hyper, steps)), want, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_takes_traced_rates_and_descends(name):
    hyper = Hyper(learning_rate=0.01, weight_decay=1e-4, momentum=0.9, clip_norm=1.0)
    traced, config = jax.tree.map(jnp.float32, hyper), Config(optimizer=name)
    traces = run._cache_size()
    for rate in (0.01, 0.001):
        params = run(config, traced._replace(learning_rate=jnp.float32(rate)))
        before, after = (float(np.sum(p**2 + np.sin(3 * p) / 3)) for p in (START, flat(params)))
        assert after < before
    assert run._cache_size() == traces + 1


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_shrinks_kernels_and_spares_biases(name):
    """With a zero gradient only the decay moves anything."""
    @partial(jax.jit, compiler_options=QUICK)
    def updates(hyper):
        tx, params = optimizer(Config(optimizer=name), hyper, LENGTHS), PARAMS | CONVOLUTION
        return tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)[0]

    moved = updates(Hyper(learning_rate=0.1, weight_decay=0.1))
    assert (np.sign(moved["kernel"]) == -np.sign(PARAMS["kernel"])).all()
    assert (np.asarray(moved["conv"]["kernel"]) < 0).all()
    assert not np.asarray(moved["bias"]).any() and not np.asarray(moved["conv"]["bias"]).any()


def test_clipping_bounds_the_global_norm_and_leaves_a_smaller_one():
    tx = optimizer(Config(optimizer="sgd"), Hyper(learning_rate=1.0, clip_norm=0.5), LENGTHS)
    clipped = jax.jit(lambda gradient: tx.update(gradient, tx.init(PARAMS), PARAMS)[0])
    for factor, want in ((100.0, 0.5), (0.1, 0.1 * np.linalg.norm(START))):
        updates = clipped(jax.tree.map(lambda p, f=factor: f * p, PARAMS))
        np.testing.assert_allclose(np.linalg.norm(flat(updates)), want, rtol=1e-5)


@pytest.mark.parametrize(
    "name, known",
    [
        ("constant", {0: 1, 99: 1}),
        ("linear", {0: 1, 25: 0.75, 100: 0}),
        ("cosine", {0: 1, 50: 0.5, 100: 0}),
        ("one_cycle", {0: 1 / 25, 14.5: 13 / 25, 29: 1, 64: 0.500002, 99: 1 / 25e4}),
        ("warmup_cosine", {0: 1 / 11, 5: 6 / 11, 10: 1, 55: 0.5, 100: 0}),
    ],
)
def test_schedules_at_known_steps(name, known):
    course = schedule(name, LENGTHS, Hyper())
    for step, value in known.items():
        np.testing.assert_allclose(course(jnp.float32(step)), value, atol=1e-6)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_key_in_a_state_is_of_its_own_generator(impl):
    """Whatever jax's default is: a state that is saved holds its numbers alone."""
    def noisy(hyper, durations):
        return optax.add_noise(0.01, 0.55, jax.random.key(0, impl=impl))

    tx, alone = optimizer(Config(optimizer=noisy), Hyper(), LENGTHS), noisy(None, None)
    found = []
    for one in tx, alone:
        state = one.init(PARAMS)
        for _ in range(2):
            with jax.numpy_dtype_promotion("standard"):
                updates, state = one.update(PARAMS, state, PARAMS)
        found.append(updates)
    jax.tree.map(np.testing.assert_array_equal, *found)
