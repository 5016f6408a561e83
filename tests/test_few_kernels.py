"""A step as a GPU wants it is the same function: held against the CPU's, on a CPU."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from samples import Tiny
from test_formulation import assert_same, conv, conv_pool, normal

from engine.config import Config, Hyper
from engine.formulation import gathered, packing
from engine.formulation.rewriting import rewritten
from engine.learners.chosen import learner_of
from engine.plan.kernels import Kernel, kernels
from engine.tasks.classification import Classification

CONFIG = Config(model=Tiny, batch_size=8)
HYPER = jax.tree.map(jnp.float32, Hyper(learning_rate=1e-2))
KEY = jax.random.key(5)
quickly = partial(jax.jit, compiler_options=QUICK)


@pytest.mark.parametrize("function, x, kernel, more", [
    (partial(conv, strides=(2, 1), padding=((2, 0), (-1, 3)), rhs_dilation=(1, 2)),
     (2, 7, 6, 3), (2, 3, 3, 4), ()),
    (conv_pool, (2, 9, 8, 3), (3, 3, 3, 4), (normal(2, 4),)),
])
def test_patches_that_are_gathered_are_laxs(function, x, kernel, more):
    arrays = normal(0, *x), normal(1, *kernel), *more
    assert_same(function, *arrays, how="gathered")
    text = str(jax.make_jaxpr(jax.grad(lambda *arrays: rewritten(function, "gathered")(
        *arrays).sum(), (0, 1)))(*arrays))
    assert "gather[" in text and "scatter" not in text and "conv_general" not in text


def test_a_kernels_gradient_is_a_sum_of_fewer_than_32_products():
    """Of the article's, of one that fills the GPU by itself, of rows that can't be cut evenly."""
    given = (28_800, (27, 32)), (4608, (288, 64)), (512, (576, 64)), (4608, (4608, 512)), (
        4099, (9, 9))
    assert [gathered.parts(*each) for each in given] == [30, 24, 4, 1, 1]
    rows, kernel, towards = normal(0, 512, 3), normal(1, 3, 2), normal(2, 512, 2)

    def found(rows, kernel):
        return (gathered.product(rows, kernel, None, None) * towards).sum()

    text = str(jax.make_jaxpr(jax.grad(found, 1))(rows, kernel))
    assert "f32[4,3,2]" in text
    for got, want in zip(jax.grad(found, (0, 1))(rows, kernel),
                         (towards @ kernel.T, rows.T @ towards), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_the_own_class_is_picked_without_a_scatter():
    outputs, targets = jnp.float32(normal(0, 6, 5) * 9), jnp.int32([0, 4, 2, 2, 1, 3])

    def summed(task, outputs):
        return (task.loss(outputs, targets, HYPER) * jnp.arange(1.0, 7.0)).sum()

    ways = [quickly(jax.value_and_grad(partial(summed, Classification(one_hot=one_hot))))
            for one_hot in (False, True)]
    for got, want in zip(*(jax.tree.leaves(way(outputs)) for way in ways), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert ["scatter" in way.lower(outputs).as_text() for way in ways] == [True, False]


def test_small_arrays_travel_as_they_are():
    tree = {"a": jnp.float32(jnp.nan), "b": jnp.arange(-3, 2, dtype=jnp.int32),
            "c": jnp.ones((2, 3)), "d": jnp.bfloat16(2), "e": jnp.float32([-0.0, 1e-45])}
    words, rest = packing.packed(tree)
    assert words.shape == (8,) and len(rest) == 2
    again = packing.opened(tree, (words, rest))
    for want, got in zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True):
        assert got.dtype == want.dtype and np.asarray(got).tobytes() == np.asarray(want).tobytes()


def run(segment, data, state, count):
    return segment(HYPER, KEY, KEY, data.train, state, jnp.int32(count))


@pytest.fixture
def plain():
    return learner_of(CONFIG, 4)


@pytest.fixture
def state(plain, data):
    return quickly(plain.create)(HYPER, KEY, data)


@pytest.mark.slow
def test_a_segment_of_few_kernels_is_the_same(plain, state, data):
    """In two parts too, to the bit."""
    few = plain.on("gpu")
    assert few.few_kernels and few.task.one_hot and plain.on("cpu") == plain
    want = run(quickly(plain.segment), data, state, 5)
    segment = quickly(few.segment)
    found = run(segment, data, state, 5)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, want)
    chex.assert_trees_all_close(found, want, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(
        run(segment, data, run(segment, data, state, 2), 3), found)


@pytest.mark.slow
def test_members_of_a_population_share_the_step(plain, state, data):
    few = plain.on("gpu")

    def member(rest):
        done = run(few.segment, data, rest._replace(step=state.step), 5)
        return done.step, done._replace(step=())

    two = jax.tree.map(lambda x: jnp.stack([x, x]), state._replace(step=()))
    step, members = quickly(jax.vmap(member, out_axes=(None, 0)))(two)
    assert step == 5
    want = run(quickly(plain.segment), data, state, 5)._replace(step=())
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[1], members), want, rtol=1e-5, atol=1e-6)


def test_kernels_are_read():
    text = """%body (p: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %p = (s32[], f32[4,2]{1,0}) parameter(0)
  %a = s32[] get-tuple-element(%p), index=0
  %c.1 = s32[] copy(%a)
  %sent = f32[4]{0} all-reduce-start(%a), metadata={op_name="jit(f)/sum"}
  %come = f32[4]{0} all-reduce-done(%sent)
  %conv = (f32[4,2]{1,0}, u8[0]{0}) custom-call(%a), custom_call_target="__cudnn$conv", metadata={op_name="jit(f)/while/dot"}
  ROOT %fused = (s32[], f32[4,2]{1,0}) fusion(%a), kind=kLoop, calls=%b, metadata={op_name="jit(f)/add"}
}"""  # noqa: E501
    assert kernels(text) == [
        Kernel("c.1", "copy", "s32[]", ""),
        Kernel("sent", "all-reduce-start", "f32[4]", "jit(f)/sum"),
        Kernel("conv", "custom-call __cudnn$conv", "(f32[4,2], u8[0])", "jit(f)/while/dot"),
        Kernel("fused", "fusion kLoop", "(s32[], f32[4,2])", "jit(f)/add"),
    ]
