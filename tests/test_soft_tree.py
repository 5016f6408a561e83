"""Soft trees: entmax against a bisection in NumPy, trees against the sums that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.soft_tree import Layer, SoftTree, entmax15, entmoid15, importances, rules

SMALL = SoftTree(num_outputs=2, trees=3, depth=2, layers=2)


def bisected(x: np.ndarray) -> np.ndarray:
    """1.5-entmax of a vector: the τ for which Σ max(x/2 - τ, 0)² is 1, between two that bracket."""
    half = np.float64(x) / 2
    low, high = half.max() - 1, half.max()
    for _ in range(100):
        tau = (low + high) / 2
        low, high = (tau, high) if np.square(np.maximum(half - tau, 0)).sum() > 1 else (low, tau)
    return np.square(np.maximum(half - tau, 0))


@pytest.mark.parametrize("count", [1, pytest.param(64, marks=pytest.mark.slow), 4000])
def test_entmax_is_what_a_bisection_finds(count):
    scale = np.repeat(np.float32([0.01, 1, 5, 1000]), 10)[:, None]
    x = np.random.default_rng(count).normal(size=(40, count)).astype(np.float32) * scale
    p = np.asarray(jax.jit(entmax15)(x))
    np.testing.assert_allclose(p, np.stack([bisected(row) for row in x]), atol=2e-6)
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)


def test_entmaxs_gradient_is_the_bisections_slope():
    rng = np.random.default_rng(0)
    x, weights, step = rng.normal(size=9), rng.normal(size=9), 1e-5
    expected = [(weights @ bisected(x + e) - weights @ bisected(x - e)) / (2 * step)
                for e in step * np.eye(9)]
    found = jax.jit(jax.grad(lambda x: weights.astype(np.float32) @ entmax15(x)))(np.float32(x))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_entmoid_is_entmax_of_two_and_so_is_its_gradient():
    def of_two(x):
        return entmax15(jnp.stack([x, jnp.zeros_like(x)]))[0]

    x = np.linspace(-4, 4, 33, dtype=np.float32)
    both = [jax.jit(jax.vmap(jax.value_and_grad(f)))(x) for f in (entmoid15, of_two)]
    np.testing.assert_allclose(*(value for value, _ in both), atol=1e-6)
    np.testing.assert_allclose(*(slope for _, slope in both), atol=1e-5)
    value, slope = (np.asarray(a)[abs(x) >= 2] for a in both[0])
    np.testing.assert_array_equal(value, x[abs(x) >= 2] > 0)
    np.testing.assert_array_equal(slope, 0)


def test_a_layer_is_the_sum_over_leaves_that_defines_it():
    """Of each tree: leaves' values, each weighed by the product of its side of every level."""
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    layer = Layer(trees=3, depth=3, outputs=2)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(2)
    own = {name: rng.normal(size=s.shape).astype(np.float32) for name, s in shapes.items()}
    found, expected = jax.jit(layer.apply)({"params": own}, x), np.zeros((5, 3, 2))
    for tree in range(3):
        chosen = np.stack([bisected(row) for row in own["choice"][tree]])
        z = (x @ chosen.T - own["threshold"][tree]) / np.exp(own["log_scale"][tree])
        above = np.array([[bisected(np.array([value, 0.0]))[0] for value in row] for row in z])
        for leaf in range(8):
            sides = [above[:, d] if leaf >> d & 1 else 1 - above[:, d] for d in range(3)]
            expected[:, tree] += np.prod(sides, 0)[:, None] * own["leaf"][tree, leaf]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_later_layers_see_inputs_and_trees_and_all_count():
    x = np.ones((4, 2, 5), np.float32)  # flattened
    params = jax.eval_shape(SMALL.init, jax.random.key(0), x)["params"]
    assert params["Layer_0"]["choice"].shape == (3, 2, 10)
    assert params["Layer_1"]["choice"].shape == (3, 2, 10 + 3 * 2)
    said = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), params)
    for layer in said.values():
        layer["leaf"][:] = 1, 3
    found = jax.jit(SMALL.apply)({"params": said}, x)
    np.testing.assert_allclose(found, [[1, 3]] * 4, atol=1e-6)


@pytest.mark.slow
def test_rules_and_importances_say_what_is_chosen():
    params = {"Layer_0": {
        "choice": np.float32([[[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]]]),
        "threshold": np.float32([[0.5, -1.0]]), "log_scale": np.zeros((1, 2), np.float32),
        "leaf": np.arange(4, dtype=np.float32).reshape(1, 4, 1)}}
    assert rules(params, ("a", "b", "c")) == (
        "level 0: b (100%) > 0.5\nlevel 1: a (100%) > -1\n--: 0\n+-: 1\n-+: 2\n++: 3")
    np.testing.assert_allclose(importances(params, 3), [0.5, 0.5, 0])
