"""`rewritten` against lax itself, in value and gradient."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from jax import lax
from jax.sharding import PartitionSpec as P

from engine.formulation import rewriting
from engine.formulation.rewriting import census, rewritten

quickly = partial(jax.jit, compiler_options=QUICK)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def close(got, want, rtol: float) -> None:
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * max(1.0, np.abs(want).max()))


def assert_same(function, *args, how: str = "product") -> None:
    """The rewritten function's value and its gradient by every argument."""

    def both(function, *args):
        y, pull = jax.vjp(function, *args)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    (y, gradients), (want, wanted) = quickly(lambda *args: (
        both(rewritten(function, how), *args), both(function, *args)))(*args)
    close(y, want, 1e-6)
    for got, want in zip(gradients, wanted, strict=True):
        close(got, want, 1e-5)


def conv(x, kernel, strides=(1, 1), padding="SAME", **how):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, **how)


def conv_pool(x, kernel, bias):
    return nn.max_pool(nn.relu(conv(x, kernel, padding="VALID") + bias), (2, 2), (2, 2))


@pytest.mark.parametrize("shape, kernel, strides, padding", [
    ((2, 7, 9), (3, 3), (1, 1), "VALID"),
    ((2, 6, 5), (3, 3), (2, 2), "SAME"),
    ((1, 8, 7), (5, 2), (1, 3), ((2, 1), (0, 3))),
    ((2, 7, 6), (4, 3), (2, 1), ((-1, 0), (1, -1))),
    ((2, 5, 5), (1, 1), (2, 2), "VALID"),
    ((3, 4, 4), (1, 1), (1, 1), "SAME"),
    ((1, 3, 3), (3, 3), (1, 1), "VALID"),
])
def test_a_convolution_is_laxs(shape, kernel, strides, padding):
    x, kernel = normal(0, *shape, 3), normal(1, *kernel, 3, 4)
    assert_same(partial(conv, strides=strides, padding=padding), x, kernel)


@pytest.mark.parametrize("how", [
    {"rhs_dilation": (2, 1)}, {"lhs_dilation": (2, 3), "padding": ((1, 2), (3, 0))},
])
def test_a_dilated_convolution_is_laxs(how):
    assert_same(partial(conv, **how), normal(0, 2, 7, 6, 3), normal(1, 3, 2, 3, 4))


@pytest.mark.parametrize("features, how", [
    (6, {"strides": (2, 1), "padding": ((2, 0), (1, 1))}),
    pytest.param(3, {"rhs_dilation": (1, 2), "padding": "VALID"}, marks=pytest.mark.slow),
    pytest.param(3, {}, marks=pytest.mark.slow),
])
def test_a_depthwise_convolution_is_laxs(features, how):
    """And so is its pooling; no grouped one is left."""
    x, kernel = normal(0, 2, 8, 7, 3), normal(1, 3, 2, 1, features)

    def function(x, kernel):
        y = conv(x, kernel, feature_group_count=3, **how)
        return nn.max_pool(nn.relu(y), (2, 2), (2, 2))

    assert census(function, x, kernel)[:3] == (1, 1, {})
    assert_same(function, x, kernel)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(rewritten(function, "product"))(
        x, kernel))


def test_a_depthwise_convolution_of_half_precision_is_summed_in_single():
    x, kernel = normal(0, 1, 5, 5, 8), normal(1, 3, 3, 1, 8)
    narrow = [jnp.bfloat16(values) for values in (x, kernel)]
    function = partial(conv, feature_group_count=8)
    got, want = quickly(lambda *both: (rewritten(function, "product")(*both), function(
        *(values.astype(jnp.float32) for values in both)).astype(jnp.bfloat16)))(*narrow)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("image, weights, out, x, kernel", [
    ("NCHW", "OIHW", "NCHW", (2, 3, 6, 5), (4, 3, 3, 2)),
    ("NHWC", "HWIO", "CNHW", (2, 6, 5, 3), (3, 2, 3, 4)),
    ("NWC", "WIO", "NWC", (2, 9, 3), (4, 3, 5)),
    ("NDHWC", "DHWIO", "NDHWC", (1, 4, 5, 3, 2), (2, 3, 2, 2, 3)),
])
def test_layouts_and_other_ranks_are_laxs(image, weights, out, x, kernel):
    def function(x, kernel):
        strides = [2] * (x.ndim - 2)
        return lax.conv_general_dilated(x, kernel, strides, "SAME",
                                        dimension_numbers=(image, weights, out))

    assert_same(function, normal(0, *x), normal(1, *kernel))


@pytest.mark.parametrize("window, strides, padding", [
    ((2, 2), (2, 2), "VALID"), ((3, 3), (2, 2), "SAME"), ((3, 2), (1, 2), ((1, 0), (0, 1))),
])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling_is_laxs_and_the_first_of_equals_gets_the_gradient(
    window, strides, padding, ties
):
    x = normal(0, 2, 7, 6, 3)
    assert_same(lambda x: nn.max_pool(x, window, strides, padding), jnp.round(x) if ties else x)


@pytest.mark.parametrize("how, side, image", [
    ("auto", 9, "normal"), ("product", 8, "constant"), ("product", 9, "steps"),
    ("direct", 8, "steps"),
])
def test_a_convolution_with_bias_relu_and_pooling_is_laxs(how, side, image):
    """A constant image's windows tie everywhere."""
    x = {"normal": normal(0, 2, side, side, 3), "constant": np.ones((2, side, side, 3), "f4"),
         "steps": jnp.round(normal(0, 2, side, side, 3))}[image]
    kernel = normal(1, 2, 2, 3, 4)
    assert_same(conv_pool, x, jnp.round(kernel) if image == "steps" else kernel, normal(2, 4),
                how=how)


@pytest.mark.parametrize("strides, side", [((2, 2), 11), ((1, 3), 14)])
def test_a_strided_convolution_with_its_pooling_is_laxs(strides, side):
    def function(x, kernel):
        return nn.max_pool(nn.relu(conv(x, kernel, strides=strides)), (2, 2), (2, 2))

    assert_same(function, normal(0, 2, side, side, 3), normal(1, 3, 2, 3, 4), how="product")


def test_pooling_with_its_convolution_makes_nothing_that_it_drops():
    x, kernel, bias = normal(0, 1, 15, 11, 3), normal(1, 3, 3, 3, 4), normal(2, 4)
    text = str(jax.make_jaxpr(rewritten(conv_pool, "product"))(x, kernel, bias))
    assert "f32[1,6,4,4,27]" in text and "reduce_window" not in text
    assert "f32[1,13,9,4]" not in text


def middle_is_used(x, kernel, bias):
    y = conv(x, kernel)
    return nn.max_pool(y + bias, (2, 2), (2, 2)).sum() + jnp.square(y).sum(axis=(0, 1, 2))


def bias_of_every_pixel(x, kernel, bias):
    y = conv(x, kernel)
    return nn.max_pool(y + jnp.arange(36.0).reshape(6, 6, 1) * bias, (2, 2), (2, 2))


@jax.custom_jvp
def relu(x):
    """Another than jax.nn.relu, of the same name: its gradient passes straight through."""
    return jnp.maximum(x, 0)


relu.defjvps(lambda g, ans, x: g)


def relu_of_another_gradient(x, kernel, bias):
    return nn.max_pool(relu(conv(x, kernel) + bias), (2, 2), (2, 2))


@pytest.mark.parametrize("function", [
    middle_is_used, bias_of_every_pixel, relu_of_another_gradient,
])
def test_a_pooling_that_does_not_commute_waits(function):
    assert_same(function, normal(0, 2, 6, 6, 3), normal(1, 2, 2, 3, 4), normal(2, 4) - 4)


def under_vmap(x, kernel, bias):
    return jax.vmap(conv_pool, (None, 0, None))(x, jnp.stack([kernel, 2 * kernel]), bias)


def in_a_scan(x, kernel, bias):
    def body(y, weight):
        return jnp.tanh(conv(y, weight * kernel[..., :3]) + bias[:3]), y.sum()

    return sum(map(jnp.sum, lax.scan(body, x, jnp.arange(1.0, 3.0))))


def in_a_while_loop(x, kernel, bias):
    """Its kernel isn't differentiated: a while loop's gradient is not defined."""
    kernel = lax.stop_gradient(kernel[..., :3])
    y = lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, jnp.tanh(conv(s[1], kernel))),
                       (0, lax.stop_gradient(x)))[1]
    return x * y + bias[:3]


def in_a_branch(x, kernel, bias):
    return lax.cond(bias[0] > bias[1], lambda: conv(x, kernel), lambda: conv(x, 2 * kernel) + bias)


def in_remat_and_jit(x, kernel, bias):
    return jax.checkpoint(jax.jit(conv_pool))(x, kernel, bias) * jax.jit(conv_pool)(x, kernel, bias)


@pytest.mark.parametrize("function, count", [
    (in_a_scan, 1), (in_a_while_loop, 1), (in_a_branch, 2), (in_remat_and_jit, 2), (under_vmap, 1),
])
def test_what_a_function_calls_is_rewritten(function, count):
    args = normal(0, 2, 8, 8, 3), normal(1, 2, 2, 3, 4), normal(2, 4)
    assert census(function, *args)[:3] == (count, count, {})
    assert_same(function, *args)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(rewritten(function, "product"))(*args))


@pytest.mark.slow
def test_convolutions_that_are_alike_are_traced_once(monkeypatch):
    seen = []

    def product(convolution, pool, x, kernel):
        seen.append((convolution["window_strides"], x.shape))
        return ways["product"](convolution, pool, x, kernel)

    def three_and_another(x, kernel):
        for strides in ((1, 1), (1, 1), (1, 1), (2, 2)):
            x = conv(x, kernel, strides)
        return x.sum()

    ways = rewriting.WAYS
    monkeypatch.setattr(rewriting, "WAYS", ways | {"product": product})
    rewriting._way.cache_clear()
    fast = rewritten(three_and_another, "product")
    jax.grad(fast, 1)(normal(0, 1, 6, 6, 2), normal(1, 3, 3, 2, 2))
    rewriting._way.cache_clear()
    assert seen == [((1, 1), (1, 6, 6, 2)), ((2, 2), (1, 6, 6, 2))]


def test_transformations_around_and_tracers_from_outside():
    """vmap, scan, remat and jvp, and a closure over all their tracers."""
    x, kernel, bias = normal(0, 2, 7, 7, 3), normal(1, 2, 2, 3, 4), normal(2, 4)

    def loss(kernels, function):
        def one(kernel):
            inside = function(lambda x: conv_pool(x, kernel, bias))
            body = jax.checkpoint(lambda c, _: (c + jnp.sin(inside(x * c)).sum(), None))
            return lax.scan(body, 1.0, None, length=2)[0]

        return jax.vmap(one)(kernels).sum()

    kernels = 0.1 * jnp.stack([kernel, 2 * kernel])
    def both(function):
        along = jax.jvp(lambda k: function(conv_pool)(x, k, bias), (kernel,), (kernel,))[1]
        return jax.value_and_grad(partial(loss, function=function))(kernels), along

    got, want = quickly(lambda: (both(rewritten), both(lambda function: function)))()
    jax.tree.map(partial(close, rtol=1e-5), got, want)


@pytest.mark.slow
def test_over_devices_by_jit_and_by_shard_map():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, kernel, bias = normal(0, 4, 7, 7, 3), normal(1, 2, 2, 3, 4), normal(2, 4)

    def loss(kernel, x):
        return rewritten(conv_pool)(x, kernel, bias).sum()

    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    def summed(kernel, x):
        return lax.psum(rewritten(lambda k, x: lax.pmean(loss(k, x), "data"))(kernel, x), "data")

    want = jax.grad(lambda k: conv_pool(x, k, bias).sum())(kernel)
    cut = jax.device_put(x, jax.NamedSharding(mesh, P("data")))
    both = quickly(lambda *both: (jax.grad(loss)(*both), jax.grad(summed)(*both)))
    for got in both(kernel, cut):
        close(got, want, 1e-5)


def test_rules_of_custom_derivatives_are_kept():
    x, kernel = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 3))

    def function(x):
        y = conv(x, kernel) + x
        return jnp.stack([nn.relu(y), nn.relu6(y), nn.gelu(y), relu(y),
                          jax.nn.logsumexp(y, keepdims=True) * y])

    assert_same(function, x)
    of_relu = jax.grad(lambda x: rewritten(lambda x: nn.relu(conv(x, kernel) + x))(x).sum())
    assert not of_relu(x).any()


def own_gradient():
    @jax.custom_vjp
    def function(x, kernel):
        return conv(x, kernel)

    function.defvjp(lambda x, k: (conv(x, k), (x, k)), lambda saved, g: (saved[0], 7 * saved[1]))
    return function


def test_what_no_rule_fits_is_left_as_it_is_and_told():
    x, kernel, grouped = normal(0, 2, 6, 6, 4), normal(1, 3, 3, 4, 4), normal(2, 3, 3, 2, 4)
    special = own_gradient()

    def function(x, kernel, grouped):
        y = conv(conv(x, kernel), grouped, feature_group_count=2)
        y = conv(special(y, kernel), grouped, feature_group_count=2)
        return nn.max_pool(y, (2, 2))

    found = census(function, x, kernel, grouped)
    assert found.poolings == 1
    assert str(found) == "1 of 4 convolutions as products over patches; " \
                         "left as they are: 2 grouped, 1 in custom_vjp_call"
    assert_same(function, x, kernel, grouped)
    assert not census(jnp.sin, x).convolutions
    assert str(census(conv, x, kernel)) == "1 of 1 convolutions as products over patches"


def test_arguments_that_are_no_arrays_pass_and_the_result_keeps_its_tree():
    def function(x, flag, *, words):
        assert flag is True
        return {words["a"]: (x if flag else None, None), "b": [x + 1]}

    got = rewritten(function)(jnp.ones(2), True, words={"a": "name"})
    want = function(jnp.ones(2), True, words={"a": "name"})
    assert jax.tree.all(jax.tree.map(np.array_equal, got, want))


def test_a_cpu_loop_holds_no_convolution():
    """And the backward pass makes no product of the forward's again."""
    x, kernel, bias = normal(0, 1, 10, 10, 3), normal(1, 2, 2, 3, 3), normal(2, 3)

    def network(x, kernel):
        return jnp.square(conv(conv_pool(x, kernel, bias), kernel)).sum()

    def text(function):  # of a program as users compile it
        def update(_, both):
            return tuple(map(jnp.subtract, both, jax.grad(function, (0, 1))(*both)))

        step = jax.jit(lambda *both: lax.fori_loop(0, 3, update, both))
        return step.lower(x, kernel).compile().as_text()

    ours = text(rewritten(network))
    assert " convolution(" not in ours and len(re.findall(r" dot\(", ours)) == 6
    assert " convolution(" in text(network)
