import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import ConvReLU, conv, max_pool2, seen_by_pooling


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def reference_conv(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("shape", [(2, 9, 7, 3), (1, 3, 3, 5), (3, 6, 11, 1)])
@pytest.mark.parametrize("side", [1, 3])
def test_conv_equals_xlas_in_value_and_gradient(shape, side):
    x, kernel = normal(0, *shape), normal(1, side, side, shape[-1], 4)
    ours, ours_vjp = jax.vjp(conv, x, kernel)
    theirs, theirs_vjp = jax.vjp(reference_conv, x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    g = normal(2, *theirs.shape)
    for a, b in zip(ours_vjp(g), theirs_vjp(g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("height, width", [(8, 8), (13, 9), (2, 3)])
def test_pooling_equals_flaxs_in_value_and_gradient(height, width):
    x = normal(0, 2, height, width, 3)
    ours, ours_vjp = jax.vjp(max_pool2, x)
    theirs, theirs_vjp = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    np.testing.assert_array_equal(ours, theirs)
    g = normal(1, *theirs.shape)
    np.testing.assert_array_equal(ours_vjp(g)[0], theirs_vjp(g)[0])


def test_a_tie_in_pooling_shares_its_gradient():
    gradient = jax.grad(lambda x: max_pool2(x).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient, jnp.full((1, 2, 2, 1), 0.25))


def test_the_block_is_flaxs_conv_relu_pool_with_the_same_parameters():
    x = normal(0, 2, 13, 13, 3)
    theirs = nn.Conv(8, (3, 3), padding="VALID", bias_init=nn.initializers.normal())
    params = theirs.init(jax.random.key(0), x)
    want = nn.max_pool(nn.relu(theirs.apply(params, x)), (2, 2), (2, 2))
    np.testing.assert_allclose(ConvReLU(8, pool=True).apply(params, x), want, atol=1e-5)


@pytest.mark.parametrize("height, width", [(15, 15), (14, 11), (4, 5)])
def test_what_pooling_drops_is_never_computed(height, width):
    x, kernel = normal(0, 2, height, width, 3), normal(1, 3, 3, 3, 4)
    want, want_vjp = jax.vjp(lambda x: max_pool2(conv(x, kernel)), x)
    ours, ours_vjp = jax.vjp(lambda x: max_pool2(conv(seen_by_pooling(x, 3), kernel)), x)
    np.testing.assert_allclose(ours, want, atol=1e-5)
    np.testing.assert_allclose(ours_vjp(ours)[0], want_vjp(ours)[0], atol=1e-5)
    assert all(n % 2 == 0 for n in conv(seen_by_pooling(x, 3), kernel).shape[1:3])


def test_a_cpu_loop_holds_no_convolution():
    """XLA:CPU runs a convolution's gradient inside a loop 30 times slower."""

    x, kernel = normal(0, 1, 6, 6, 3), normal(1, 3, 3, 3, 3)
    step = jax.jit(jax.grad(lambda x, k: conv(conv(x, k), k).sum(), argnums=1))
    assert " convolution(" not in step.lower(x, kernel).compile().as_text()
    direct = jax.jit(jax.grad(lambda x, k: reference_conv(x, k).sum(), argnums=1))
    assert " convolution(" in direct.lower(x, kernel).compile().as_text()
