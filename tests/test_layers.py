import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models.layers import CONV, CONV_PADDED, CONV_POOL, Conv, ConvReLU, corner_max, pooling_patches


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def flaxs(x, kernel, stride: int = 1, padding: int = 0) -> jax.Array:
    layer = nn.Conv(kernel.shape[-1], kernel.shape[:2], stride, padding, use_bias=False)
    return layer.apply({"params": {"kernel": kernel}}, x)


def assert_same_function(ours, theirs, x, kernel) -> None:
    """In value and in both gradients."""
    y, y_vjp = jax.vjp(ours, x, kernel)
    want, want_vjp = jax.vjp(theirs, x, kernel)
    np.testing.assert_allclose(y, want, atol=1e-5)
    g = normal(2, *want.shape)
    for a, b in zip(y_vjp(g), want_vjp(g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 9, 7, 3), (1, 3, 3, 5), (3, 6, 11, 1)])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("how", CONV)
def test_conv_equals_flaxs_in_value_and_gradient(shape, side, how):
    x, kernel = normal(0, *shape), normal(1, side, side, shape[-1], 4)
    assert_same_function(CONV[how], flaxs, x, kernel)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 4, 3), (1, 1, 2, 3)])
@pytest.mark.parametrize("stride", CONV_PADDED)
@pytest.mark.parametrize("how", CONV)
def test_padded_conv_equals_flaxs_in_value_and_gradient(shape, stride, how):
    x, kernel = normal(0, *shape), normal(1, 3, 3, 3, 4)
    assert_same_function(
        CONV_PADDED[stride][how], lambda x, k: flaxs(x, k, stride, padding=1), x, kernel
    )


def test_the_padded_layers_parameters_are_flaxs_and_he_normal():
    layer, x = Conv(256, stride=2), normal(0, 1, 5, 5, 64)
    params = layer.init(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(
        layer.apply({"params": params}, x), flaxs(x, params["kernel"], 2, padding=1), atol=1e-4
    )
    assert list(params) == ["kernel"]
    np.testing.assert_allclose(params["kernel"].std(), np.sqrt(2 / (9 * 64)), rtol=0.02)


@pytest.mark.parametrize("side, height, width", [(3, 8, 8), (3, 13, 9), (3, 4, 5), (1, 2, 3)])
@pytest.mark.parametrize("how", CONV_POOL)
def test_conv_pool_equals_flaxs_in_value_and_gradient(side, height, width, how):
    x, kernel = normal(0, 2, height, width, 3), normal(1, side, side, 3, 4)
    assert_same_function(
        CONV_POOL[how], lambda x, k: nn.max_pool(flaxs(x, k), (2, 2), (2, 2)), x, kernel
    )


@pytest.mark.parametrize("values, shares", [
    ((1, 1, 1, 1), (0.25, 0.25, 0.25, 0.25)),
    ((1, 3, 3, 3), (0, 1 / 3, 1 / 3, 1 / 3)),
    ((2, 0, 1, 2), (0.5, 0, 0, 0.5)),
    ((0, 0, 5, 1), (0, 0, 1, 0)),
])
def test_a_tie_in_pooling_shares_its_gradient_evenly(values, shares):
    y = jnp.array(values, jnp.float32).reshape(1, 1, 1, 4, 1)
    gradient = jax.grad(lambda y: corner_max(y).sum())(y)
    np.testing.assert_allclose(gradient.ravel(), shares)


def test_the_block_is_flaxs_conv_relu_pool_with_the_same_parameters():
    x = normal(0, 2, 13, 13, 3)
    theirs = nn.Conv(8, (3, 3), padding="VALID", bias_init=nn.initializers.normal())
    params = theirs.init(jax.random.key(0), x)
    want = nn.max_pool(nn.relu(theirs.apply(params, x)), (2, 2), (2, 2))
    np.testing.assert_allclose(ConvReLU(8, pool=True).apply(params, x), want, atol=1e-5)


@pytest.mark.parametrize("height, width", [(15, 15), (14, 11), (4, 5)])
def test_what_pooling_drops_is_never_computed(height, width):
    made = pooling_patches(normal(0, 2, height, width, 3), 3)
    assert made.shape == (2, (height - 2) // 2, (width - 2) // 2, 4, 27)


def test_the_backward_pass_computes_nothing_of_the_forward_again():
    """One product forward, two backward: the second naming of the patches costs nothing."""
    x, kernel = normal(0, 1, 10, 10, 3), normal(1, 3, 3, 3, 3)
    for operation in (CONV["auto"], CONV_POOL["auto"]):
        both = jax.jit(lambda x, k, f=operation: jax.grad(
            lambda x, k: (f(x, k) ** 2).sum(), argnums=(0, 1))(x, k))
        text = both.lower(x, kernel).compile().as_text()
        assert len(re.findall(r" dot\(", text)) == 3, text


def test_a_cpu_loop_holds_no_convolution():
    """XLA:CPU runs a convolution's gradient inside a loop 30 times slower."""

    x, kernel = normal(0, 1, 10, 10, 3), normal(1, 3, 3, 3, 3)
    conv, conv_pool = CONV["auto"], CONV_POOL["auto"]
    step = jax.jit(jax.grad(lambda x, k: conv(conv_pool(x, k), k).sum(), argnums=1))
    assert " convolution(" not in step.lower(x, kernel).compile().as_text()
    direct = jax.jit(jax.grad(lambda x, k: CONV["direct"](x, k).sum(), argnums=1))
    assert " convolution(" in direct.lower(x, kernel).compile().as_text()
