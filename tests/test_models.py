import functools
import importlib
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK

from engine.config import Config
from engine.doors import functions, network
from engine.errors import RequestError
from engine.learners import fitting
from engine.learners.chosen import learner_of
from models import convnext, vit
from models.convnext import ConvNeXt
from models.mlp import MLP
from models.unet import UNet
from models.vit import ViT
from models.wideresnet import WideResNet


def build(name: str):
    """The Flax module of ten outputs."""
    return network.of(name, 10).module


@functools.cache
def params_of(name: str):
    """Of key 7, for images of CIFAR's size."""
    init = jax.jit(partial(build(name).init, train=False), compiler_options=QUICK)
    return init(jax.random.key(7), np.zeros((1, 32, 32, 3), "f4"))["params"]


def numpy_forward(params, x):
    """The article's network from its definition: convolve, bias, ReLU, pool, in plain loops."""

    def convolve(x, layer):
        kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
        height, width = x.shape[0] - 2, x.shape[1] - 2
        out = np.empty((height, width, kernel.shape[-1]))
        for i in range(height):
            for j in range(width):
                out[i, j] = np.tensordot(x[i : i + 3, j : j + 3], kernel, 3) + bias
        return np.maximum(out, 0)

    def pool(x):
        height, width = x.shape[0] // 2, x.shape[1] // 2
        x = x[: 2 * height, : 2 * width]
        return x.reshape(height, 2, width, 2, -1).max((1, 3))

    x = pool(convolve(x, params["ConvReLU_0"]))
    x = pool(convolve(x, params["ConvReLU_1"]))
    x = convolve(x, params["ConvReLU_2"]).reshape(-1)
    dense, head = params["Dense_0"], params["Dense_1"]
    x = np.maximum(x @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]), 0)
    return x @ np.asarray(head["kernel"]) + np.asarray(head["bias"])


def test_the_articles_network_has_122570_parameters():
    assert sum(p.size for p in jax.tree.leaves(params_of("cnn"))) == 122_570


def test_forward_pass_equals_an_independent_one():
    model = build("cnn")
    x = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    params = params_of("cnn")
    want = np.stack([numpy_forward(params, image) for image in x])
    got = jax.jit(partial(model.apply, train=False), compiler_options=QUICK)({"params": params}, x)
    np.testing.assert_allclose(got, want, atol=1e-5)


def numpys_resnet(variables, x):
    """ResNet-20 from its definition, of one image, with running moments."""

    def convolve(x, layer, stride):
        kernel = np.asarray(layer["kernel"], np.float64)
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        rows, columns = (range(0, n, stride) for n in x.shape[:2])
        return np.array([[np.tensordot(padded[i : i + 3, j : j + 3], kernel, 3) for j in columns]
                         for i in rows])

    def norm(x, layer, kept):
        return (x - kept["mean"]) / np.sqrt(kept["var"] + 1e-5) * layer["scale"] + layer["bias"]

    params, stats = variables["params"], variables["batch_stats"]
    x = convolve(x, params["Conv_0"], 1)
    x = np.maximum(norm(x, params["BatchNorm_0"], stats["BatchNorm_0"]), 0)
    for number in range(9):
        layer, kept = params[f"Block_{number}"], stats[f"Block_{number}"]
        stride = 2 if number in (3, 6) else 1
        y = convolve(x, layer["Conv_0"], stride)
        y = np.maximum(norm(y, layer["BatchNorm_0"], kept["BatchNorm_0"]), 0)
        y = norm(convolve(y, layer["Conv_1"], 1), layer["BatchNorm_1"], kept["BatchNorm_1"])
        y[..., : x.shape[-1]] += x[::stride, ::stride]
        x = np.maximum(y, 0)
    head = params["Dense_0"]
    return x.mean((0, 1)) @ head["kernel"] + head["bias"]


def test_resnet20_has_269722_parameters_and_answers_in_logits():
    model, x = build("resnet20"), np.zeros((2, 32, 32, 3), "f4")
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == 269_722
    assert sum(p.size for p in jax.tree.leaves(variables["batch_stats"])) == 2 * 688
    logits = jax.eval_shape(partial(model.apply, train=False), variables, x)
    assert logits.shape == (2, 10)


def test_resnet20_equals_an_independent_one():
    """Of an odd and an even side, with parameters and moments as if trained."""
    model, rng = build("resnet20"), np.random.default_rng(0)
    x = rng.random((2, 7, 10, 3), dtype=np.float32)
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    variables = jax.tree.map(lambda p: (
        rng.normal(0, (2 / p.size * p.shape[-1]) ** 0.5, p.shape) if len(p.shape) > 1
        else rng.uniform(0.5, 1.5, p.shape)).astype("f4"), shapes)
    got = jax.jit(partial(model.apply, train=False), compiler_options=QUICK)(variables, x)
    want = np.stack([numpys_resnet(variables, image) for image in x])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_initialisers_are_glorot_uniform_and_zero():
    params = params_of("cnn")
    for name, fans in (("ConvReLU_1", 9 * (32 + 64)), ("Dense_0", 1024 + 64)):
        kernel, limit = np.asarray(params[name]["kernel"]), np.sqrt(6 / fans)
        assert 0.97 * limit < np.abs(kernel).max() <= limit
        assert not np.asarray(params[name]["bias"]).any()


@pytest.mark.parametrize("name, path, want", [
    ("cnn", "ConvReLU_0", (-0.05700693279504776, 0.0831211730837822, 0.11969979107379913)),
    ("cnn", "ConvReLU_2", (-0.02291123941540718, 0.07000509649515152, 0.03422309085726738)),
    ("cnn", "Dense_1", (0.009230129420757294, 0.2136993706226349, 0.05727943405508995)),
    *(pytest.param("resnet20", *each, marks=pytest.mark.slow) for each in (
        ("Conv_0", (0.095723956823349, 0.11772093176841736, -0.002480448456481099)),
        ("Block_8/Conv_1", (-0.059635795652866364, 0.06108136475086212, -0.028633082285523415)),
        ("Dense_0", (-0.2662615478038788, 0.006348985712975264, 0.10184412449598312)))),
])
def test_a_key_gives_the_kernels_it_always_gave(name, path, want):
    """First, second and last number, as recorded when the networks had layers of their own."""
    layer = params_of(name)
    for part in path.split("/"):
        layer = layer[part]
    got = np.asarray(layer["kernel"]).ravel()[[0, 1, -1]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_an_image_that_is_too_small_is_a_value_error():
    init = partial(build("cnn").init, train=False)
    with pytest.raises(ValueError, match="need 18 × 18 pixels, got 17 × 40"):
        jax.eval_shape(init, jax.random.key(0), np.zeros((1, 17, 40, 3), "f4"))
    assert jax.eval_shape(init, jax.random.key(0), np.zeros((1, 18, 18, 3), "f4"))


def test_linear_begins_at_zero_and_is_a_product():
    model, x = network.of("linear", 3).module, np.random.default_rng(0).normal(size=(4, 2, 3))
    variables = model.init(jax.random.key(0), x.astype("f4"))
    assert jax.tree.map(jnp.shape, variables["params"]) == {"Dense_0": {"kernel": (6, 3),
                                                                        "bias": (3,)}}
    assert not any(p.any() for p in jax.tree.leaves(variables))
    kernel, bias = np.arange(18.0).reshape(6, 3), np.array([1.0, 2.0, 3.0])
    layer = {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}
    got = model.apply({"params": {"Dense_0": layer}}, x.astype("f4"))
    np.testing.assert_allclose(got, x.reshape(4, 6) @ kernel + bias, rtol=1e-5)


def initial(model, x):
    init = jax.jit(partial(model.init, train=False), compiler_options=QUICK)
    return init(jax.random.key(0), x.astype("f4"))


def test_mlp_equals_an_independent_one():
    """Of two numbers and two columns of codes, 5 and 3 of them."""
    model = network.of(partial(MLP, hidden=(6, 4)), 2, (5, 3)).module
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(7, 2)), rng.integers(0, 5, 7), rng.integers(0, 3, 7)])
    variables = initial(model, x)
    params = jax.tree.map(np.asarray, variables["params"])
    assert {name: p["embedding"].shape for name, p in params.items() if "Embed" in name} == \
        {"Embed_0": (5, 4), "Embed_1": (3, 3)}  # 1.6 · 5^0.56 = 3.94, 1.6 · 3^0.56 = 2.96
    want = np.concatenate([x[:, :2], params["Embed_0"]["embedding"][x[:, 2].astype(int)],
                           params["Embed_1"]["embedding"][x[:, 3].astype(int)]], axis=1)
    for name in ("Dense_0", "Dense_1", "Dense_2"):
        want = want @ params[name]["kernel"] + params[name]["bias"]
        want = want if name == "Dense_2" else np.maximum(want, 0)
    np.testing.assert_allclose(model.apply(variables, x.astype("f4"), train=False), want, atol=1e-5)


def test_mlp_takes_pictures_and_drops_out_in_training_alone():
    model = MLP(2, hidden=(512,), dropout=0.25)
    x = np.random.default_rng(0).random((2, 4, 4, 3), dtype=np.float32)
    variables = initial(model, x)
    still = model.apply(variables, x, train=False)
    np.testing.assert_array_equal(still, MLP(2, hidden=(512,)).apply(variables, x, train=True))
    _, kept = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)},
                          capture_intermediates=True)
    dropped = np.asarray(kept["intermediates"]["Dropout_0"]["__call__"][0])
    active = np.maximum(np.asarray(kept["intermediates"]["Dense_0"]["__call__"][0]), 0)
    share = (dropped[active > 0] == 0).mean()
    assert 0.18 < share < 0.32
    np.testing.assert_allclose(dropped[dropped > 0], active[dropped > 0] / 0.75, rtol=1e-6)


def test_mlps_kernels_are_he_normal():
    params = initial(MLP(3), np.zeros((1, 300)))["params"]
    for name, fan in (("Dense_0", 300), ("Dense_1", 128)):
        assert np.asarray(params[name]["kernel"]).std() == pytest.approx((2 / fan) ** 0.5, rel=0.03)


@pytest.mark.parametrize("model, outputs, want", [
    ("resnet18", 10, 11_173_962), ("vit", 10, 4_028_170), ("svm", 10, 30_730),
    ("unet", 10, 1_948_586),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("wideresnet", 10, 36_479_194), ("convnext", 10, 3_376_290),
        # The papers': WRN-16-8 has 11.0 million, ConvNeXt-T 28.6, ViT-B/16 86.6 for 224 × 224.
        (partial(WideResNet, depth=16, width=8), 10, 10_961_370),
        (partial(ConvNeXt, depths=(3, 3, 9, 3), widths=(96, 192, 384, 768), patch=4), 1000,
         28_589_128),
        (partial(ViT, patch=16, width=768, depth=12, heads=12), 1000, 86_567_656))),
])
def test_a_network_has_its_papers_number_of_parameters(model, outputs, want):
    module = network.of(model, outputs).module
    side = 224 if outputs == 1000 else 32
    init = partial(module.init, **functions.wanted(module.__call__, False, None))
    variables = jax.eval_shape(init, jax.random.key(0), np.zeros((1, side, side, 3), "f4"))
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) == want
    if isinstance(model, str) and model != "svm":
        assert f"{want:,} parameters" in importlib.import_module(f"models.{model}").__doc__


@pytest.mark.parametrize("model, shape, said", [
    (ViT(10), (30, 32, 3), "patches of 4 × 4 pixels don't divide 30 × 32"),
    (ConvNeXt(10), (15, 40, 3), "need 16 × 16 pixels, got 15 × 40"),
    (WideResNet(10, depth=27), (32, 32, 3), "depth is 6n \\+ 4, .* got 27"),
    (WideResNet(10, depth=4), (32, 32, 3), "got 4"),
    (UNet(10), (40, 7, 3), "poolings need 8 × 8 pixels, got 40 × 7"),
])
def test_what_a_network_cant_take_is_a_value_error(model, shape, said):
    with pytest.raises(ValueError, match=said):
        jax.eval_shape(partial(model.init, train=False), jax.random.key(0),
                       np.zeros((1, *shape), "f4"))


@pytest.mark.parametrize("name", ["cnn", "resnet18", "wideresnet", "vit", "convnext"])
def test_a_table_is_refused_and_the_networks_for_it_are_named(name):
    learner = learner_of(Config(model=name), 3)
    with pytest.raises(RequestError, match=f"^model {name} does not fit 12 inputs, as it is for "
                       r"images. Type --model mlp or linear, which are for any inputs\.$"):
        fitting.network(learner, jax.ShapeDtypeStruct((2, 12), "f4"), 3)


@pytest.mark.parametrize("name", ["cnn", "convnext", "unet", "resnet18", "wideresnet", "resnet20",
                                  "vit"])
def test_pictures_without_channels_are_told_so(name):
    learner = learner_of(Config(model=name), 3)
    with pytest.raises(RequestError, match=r"images. Grey .* channels: give x\[..., None\]"):
        fitting.network(learner, jax.ShapeDtypeStruct((2, 28, 28), "f4"), 3)


@pytest.mark.parametrize("shape", [(8, 8), (9, 15), (33, 20)])
def test_unet_has_a_class_for_each_pixel_of_any_size(shape):
    network = UNet(3, widths=(2, 3, 4, 5))
    variables = initial(network, np.zeros((1, *shape, 3)))
    x = np.random.default_rng(0).random((2, *shape, 3), "f4")
    assert network.apply(variables, x, train=False).shape == (2, *shape, 3)


def test_attention_is_flaxs():
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 3, 4)).astype("f4")
    np.testing.assert_allclose(vit.attended(query, key, value),
                               nn.dot_product_attention(query, key, value), atol=1e-6)


@pytest.mark.parametrize("block, shape", [
    pytest.param(vit.Block(heads=2, dropout=0.0, drop_path=0.25), (400, 3, 4),
                 marks=pytest.mark.slow),
    (convnext.Block(drop_path=0.25), (400, 2, 2, 3)),
])
def test_stochastic_depth_leaves_whole_branches_out_of_examples(block, shape):
    """A branch that is kept is as much larger as others are rarer (Huang et al. 2016)."""
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    params = initial(block, x)["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)

    def both(params):
        trained = block.apply({"params": params}, x, train=True,
                              rngs={"dropout": jax.random.key(1)})
        return trained, block.apply({"params": params}, x, train=False)

    trained, still = map(np.asarray, jax.jit(both, compiler_options=QUICK)(params))
    changed = (trained - x).reshape(400, -1)
    branch = (still - x).reshape(400, -1)
    if shape[1:] == (2, 2, 3):  # one branch: none of it, or 4/3 of it
        kept = np.abs(changed).max(1) > 0
        np.testing.assert_allclose(changed[kept], branch[kept] / 0.75, rtol=1e-4, atol=1e-5)
        assert 0.68 < kept.mean() < 0.82
    else:  # of two: both are left out of 1/16
        assert 0.03 < (np.abs(changed).max(1) == 0).mean() < 0.1


def test_stochastic_depth_grows_along_the_network():
    """A block's rate is drop_path · number / (blocks - 1)."""
    rates = {}

    def spy(following, args, kwargs, context):
        if isinstance(context.module, vit.Block | convnext.Block):
            rates.setdefault(type(context.module), []).append(context.module.drop_path)
        return following(*args, **kwargs)

    x = np.zeros((1, 32, 32, 3), "f4")
    for model in (ViT(2, width=4, depth=3, heads=1, drop_path=0.2),
                  ConvNeXt(2, depths=(1, 2, 1, 1), widths=(2, 2, 2, 2), drop_path=0.2)):
        with nn.intercept_methods(spy):
            jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    np.testing.assert_allclose(rates[vit.Block], [0.0, 0.1, 0.2])
    np.testing.assert_allclose(rates[convnext.Block], [0.0, 0.05, 0.1, 0.15, 0.2])
