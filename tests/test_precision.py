"""--precision bf16: what is narrow, what isn't, and what it learns."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from flax import nnx
from samples import Normed, Tiny, data_of, random_split

from engine.config import Config, Hyper
from engine.doors import network, precision
from engine.doors.checks import check
from engine.errors import RequestError
from engine.learners.chosen import learner_of
from engine.pure import data_for, train
from engine.sweep import space
from models.convnext import ConvNeXt
from models.vit import ViT
from models.wideresnet import WideResNet

KEY = jax.random.key(0)
quickly = partial(jax.jit, compiler_options=QUICK)


class NormedNNX(nnx.Module):
    def __init__(self, num_outputs, *, rngs):
        self.layer = nnx.Linear(16 * 16, 16, use_bias=False, rngs=rngs)
        self.norm, self.head = nnx.BatchNorm(16, rngs=rngs), nnx.Linear(16, num_outputs, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.layer(x.reshape(len(x), -1)))))


class Pair:
    """No module: two functions, and a number of its own."""

    def init(self, key, inputs):
        return {"w": jax.random.normal(key, (inputs[0].size, 4)), "b": jnp.ones(4)}

    def apply(self, params, inputs):
        return inputs.reshape(len(inputs), -1) @ params["w"] + 2.5 * params["b"]


def lowered(model, how: str) -> tuple[str, set[str]]:
    """The text of a segment of updates, and the dtypes of its state before and after."""
    data = data_of(random_split(16, side=16), random_split(8, side=16))
    learner = learner_of(Config(model=model, batch_size=8, precision=how), 4)
    hyper = jax.tree.map(np.float32, Hyper())
    state = jax.eval_shape(lambda: learner.create(hyper, KEY, data))
    segment = quickly(partial(learner.segment, count=1)).lower(hyper, KEY, KEY, data.train, state)
    after = jax.eval_shape(partial(learner.segment, count=1), hyper, KEY, KEY, data.train, state)
    kept = [(s.params, s.opt_state, s.batch_stats, s.tally.loss_sum) for s in (state, after)]
    return segment.as_text(), {str(x.dtype) for x in jax.tree.leaves(kept)}


def products(text: str) -> set[str]:
    """The dtypes in and out of every product and convolution."""
    found = re.findall(r"stablehlo\.(?:dot_general|convolution).*: (\(tensor.*)", text)
    assert found
    return {dtype for line in found for dtype in re.findall(r"x([a-z]\w*)>", line)}


@pytest.mark.parametrize("model", [
    Normed, NormedNNX, Pair,
    *(pytest.param(model, marks=pytest.mark.slow) for model in (
        Tiny, "resnet20", "resnet18", "mlp", "linear", "svm",
        partial(WideResNet, depth=10, width=1, dropout=0.1), partial(ViT, depth=2),
        partial(ConvNeXt, depths=(1, 1, 1, 1), widths=(4, 8, 8, 8)))),
])
def test_products_are_narrow_and_whatever_is_kept_is_not(model):
    text, kept = lowered(model, "bf16")
    assert products(text) == {"bf16"}
    assert kept <= {"float32", "int32"}


def test_a_run_of_float32_holds_nothing_narrow():
    text, _ = lowered(Pair, "float32")
    assert products(text) == {"f32"} and "bf16" not in text


@pytest.mark.slow
def test_statistics_are_summed_in_float32():
    """Of products that are bfloat16: their mean has more digits than one of them."""
    made = precision.narrow(network.of(Normed, 4))
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("f4")
    variables = made.init(KEY, x)
    outputs, left = quickly(lambda v: made.apply(v, x, True, KEY))(variables)
    kernel = variables["params"]["Dense_0"]["kernel"]
    hidden = (jnp.bfloat16(x) @ jnp.bfloat16(kernel)).astype(jnp.float32)
    want = 0.1 * np.asarray(hidden, np.float64).mean(0)
    mean = left["batch_stats"]["BatchNorm_0"]["mean"]
    assert outputs.dtype == mean.dtype == jnp.float32
    # A compiler may leave the rounding between two operations out.
    np.testing.assert_allclose(mean, want, rtol=0, atol=1e-4)
    assert not np.array_equal(mean, mean.astype(jnp.bfloat16).astype(jnp.float32))


class Remembers(nn.Module):
    """Keeps what it last saw."""

    @nn.compact
    def __call__(self, x):
        hidden = nn.Dense(4)(x.reshape(len(x), -1))
        seen = self.variable("memory", "seen", jnp.zeros, (4,))
        seen.value = hidden.mean(0)
        return hidden


def test_what_a_network_keeps_has_the_dtype_that_it_began_with():
    made, x = precision.narrow(network.of(Remembers, 4)), np.ones((2, 3), "f4")
    variables = made.init(KEY, x)
    _, left = jax.eval_shape(lambda v: made.apply(v, x, True, KEY), variables)
    assert left["memory"]["seen"].dtype == jnp.float32


@pytest.mark.parametrize("inputs, said", [
    (np.float32([[0.5, 300], [0.25, 2]]), "whole numbers, up to 300: it has them up to 256"),
    (np.float32([[-1025.0]]), "up to 1,025"),
    (np.float32([[0.5, 256], [0.25, 2]]), ""), (np.float32([[300.5], [2.0]]), ""),
    (np.full((2, 3), 255, np.uint8), ""), (np.zeros((0, 3), "f4"), ""),
])
def test_whole_numbers_that_it_would_round_are_refused(inputs, said):
    if not said:
        assert precision.check(inputs) is None
        return
    with pytest.raises(RequestError, match=said):
        precision.check(inputs)


@pytest.mark.parametrize("word, said", [
    ("float16", "below its range unless the loss is scaled.*type --precision bf16"),
    ("bfloat16", "unknown precision 'bfloat16': choose from bf16, float32"),
])
def test_another_precision_is_refused(word, said):
    with pytest.raises(RequestError, match=said):
        check(Config(precision=word), Hyper())


def test_a_swept_precision_is_a_program_each():
    found = space.axis("precision=float32,bf16")
    assert found.values == ("float32", "bf16") and not found.traced
    with pytest.raises(RequestError, match="precision is static"):
        space.axes(space.Search(("precision=float32,bf16",), halving=2))


@pytest.mark.slow
@pytest.mark.parametrize("model, least", [("cnn", 0.9), (partial(Normed, 10), 0.85)])
def test_digits_are_learned_as_well_as_in_float32(model, least):
    """Within the spread of three seeds; 3 epochs."""
    scores = {}
    for how in ("float32", "bf16"):
        config = Config(dataset="digits", model=model, epochs=3, precision=how)
        run, data = jax.jit(train), data_for(config)
        ends = [run(config, Hyper(), jax.random.key(seed), data)[1] for seed in range(3)]
        scores[how] = [float(history["val_accuracy"][-1]) for history in ends]
    print(model, scores)
    spread = max(np.ptp(found) for found in scores.values())
    assert abs(np.mean(scores["bf16"]) - np.mean(scores["float32"])) <= max(spread, 0.01)
    assert np.mean(scores["bf16"]) > least
