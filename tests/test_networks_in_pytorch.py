"""Networks against the same ones in PyTorch, with copied weights: outputs, in training too, and
gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.doors import functions, network
from models import convnext
from models.unet import UNet
from models.vit import ViT

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")


def random_variables(module, x):
    """As if trained: every number has something to do."""
    rng = np.random.default_rng(0)
    init = partial(module.init, **functions.wanted(module.__call__, False, None))
    shapes = jax.eval_shape(init, jax.random.key(0), x)
    return jax.tree.map(lambda p: (
        rng.normal(0, (2 * p.shape[-1] / max(p.size, 1)) ** 0.5, p.shape) if len(p.shape) > 1
        else rng.uniform(0.5, 1.5, p.shape)).astype("f4"), dict(shapes))


def tensor(values):
    return torch.from_numpy(np.array(values))


def convolution(layer, kept):
    yield layer.weight, kept["kernel"].transpose(3, 2, 0, 1)
    if layer.bias is not None:
        yield layer.bias, kept["bias"]


def dense(layer, kept):
    yield layer.weight, kept["kernel"].T
    yield layer.bias, kept["bias"]


def norm(layer, kept, moments=None):
    yield layer.weight, kept["scale"]
    yield layer.bias, kept["bias"]
    if moments:
        yield layer.running_mean, moments["mean"]
        yield layer.running_var, moments["var"]


def of_resnet(blocks, model, params, moments):
    """Pairs of a tensor of PyTorch's and its values here."""
    yield from convolution(model.stem, params["Conv_0"])
    yield from norm(model.norm, params["BatchNorm_0"], moments.get("BatchNorm_0"))
    for number, block in enumerate(model.blocks):
        own = params[f"{blocks}_{number}"]
        kept = moments.get(f"{blocks}_{number}", {})
        layers = [(block.first, block.norms[0]), (block.second, block.norms[1])]
        if "Conv_2" in own:
            layers.append(tuple(block.shortcut))
        for at, (conv, after) in enumerate(layers):
            yield from convolution(conv, own[f"Conv_{at}"])
            yield from norm(after, own[f"BatchNorm_{at}"], kept.get(f"BatchNorm_{at}"))
    yield from dense(model.head, params["Dense_0"])


def of_vit(model, params, _):
    yield from convolution(model.patches, params["Conv_0"])
    yield model.token, params["token"]
    yield model.positions, params["positions"]
    for number, layer in enumerate(model.layers):
        own = params[f"Block_{number}"]
        attention, width = own["MultiHeadDotProductAttention_0"], model.token.shape[-1]
        three = [attention[name] for name in ("query", "key", "value")]
        yield layer.self_attn.in_proj_weight, np.concatenate(
            [kept["kernel"].reshape(width, width).T for kept in three])
        yield layer.self_attn.in_proj_bias, np.concatenate(
            [kept["bias"].reshape(-1) for kept in three])
        yield layer.self_attn.out_proj.weight, attention["out"]["kernel"].reshape(width, width).T
        yield layer.self_attn.out_proj.bias, attention["out"]["bias"]
        yield from norm(layer.norm1, own["LayerNorm_0"])
        yield from norm(layer.norm2, own["LayerNorm_1"])
        yield from dense(layer.linear1, own["Dense_0"])
        yield from dense(layer.linear2, own["Dense_1"])
    yield from norm(model.norm, params["LayerNorm_0"])
    yield from dense(model.head, params["Dense_0"])


@pytest.mark.parametrize("name, pairs, ours", [
    ("resnet18", partial(of_resnet, "Projected"), None),
    ("resnet20", partial(of_resnet, "Block"), None), ("vit", of_vit, partial(ViT, drop_path=0.0)),
])
def test_a_network_is_pytorchs_weight_for_weight(name, pairs, ours):
    from benchmarks.peers.pytorch_networks import NETWORKS

    made = network.of(ours or name, 10)
    theirs = NETWORKS[name](**({"drop_path": 0.0} if ours else {}))
    x = np.random.default_rng(1).random((4, 32, 32, 3), dtype=np.float32)
    variables = random_variables(made.module, x)
    params, moments = variables["params"], variables.get("batch_stats", {})
    with torch.no_grad():
        copied = [(to.copy_(tensor(values)), to) for to, values in pairs(theirs, params, moments)]
    count = sum(p.size for p in jax.tree.leaves(variables))
    assert sum(to.numel() for _, to in copied) == count
    assert sum(p.numel() for p in theirs.parameters()) == sum(
        p.size for p in jax.tree.leaves(params))
    images = tensor(x).permute(0, 3, 1, 2)
    theirs.eval()
    want = theirs(images).detach().numpy()
    got = jax.jit(lambda v, x: made.apply(v, x, False)[0])(variables, x)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-4 * np.abs(want).max())

    def loss(params):
        outputs, kept = made.apply(variables | {"params": params}, x, True, jax.random.key(0))
        return jnp.square(outputs).mean(), (outputs, kept)

    gradient, (outputs, kept) = jax.jit(jax.grad(loss, has_aux=True))(params)
    theirs.train()
    trained = theirs(images)
    trained.square().mean().backward()
    want = trained.detach().numpy()
    np.testing.assert_allclose(outputs, want, rtol=0, atol=2e-4 * np.abs(want).max())
    left = kept.get("batch_stats", {})
    for to, values in pairs(theirs, gradient, left):
        found = to.grad if to.grad is not None else to
        if found is to:  # a moment: PyTorch's running variance is unbiased
            continue
        values = np.asarray(values)
        np.testing.assert_allclose(found.numpy(), values, rtol=0,
                                   atol=1e-3 * max(np.abs(values).max(), 1e-3))


def test_convnexts_block_is_pytorchs():
    from torch.nn import functional

    block, rng = convnext.Block(0.0), np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 8, 6)).astype("f4")
    params = random_variables(block, x)["params"]
    own = jax.tree.map(lambda p: tensor(p).requires_grad_(), params)

    def theirs(x):
        y = functional.conv2d(x.permute(0, 3, 1, 2), own["Conv_0"]["kernel"].permute(3, 2, 0, 1),
                              own["Conv_0"]["bias"], padding=3, groups=6).permute(0, 2, 3, 1)
        normed = own["LayerNorm_0"]
        y = functional.layer_norm(y, (6,), normed["scale"], normed["bias"], 1e-6)
        for name in ("Dense_0", "Dense_1"):
            y = functional.linear(y, own[name]["kernel"].T, own[name]["bias"])
            y = functional.gelu(y) if name == "Dense_0" else y
        return x + own["scale"] * y

    def loss(params):
        y = block.apply({"params": params}, x, train=True)
        return jnp.square(y).mean(), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(params)
    want = theirs(tensor(x))
    want.square().mean().backward()
    np.testing.assert_allclose(y, want.detach().numpy(), atol=1e-4)
    jax.tree.map(lambda got, p: np.testing.assert_allclose(got, p.grad.numpy(), atol=1e-4),
                 gradient, own)


@pytest.mark.parametrize("train", [False, True])
def test_unet_is_pytorchs(train):
    """Values, and in training gradients too, of a picture that no pooling cuts."""
    from torch.nn import functional

    network, x = UNet(5, widths=(4, 6, 8)), np.random.default_rng(1).random((2, 20, 24, 3), "f4")
    variables = random_variables(network, x)
    own = jax.tree.map(lambda p: tensor(p).requires_grad_(), variables["params"])
    moments = jax.tree.map(tensor, variables["batch_stats"])

    def convolved(x, kept, padding=1):
        return functional.conv2d(x, kept["kernel"].permute(3, 2, 0, 1), kept.get("bias"),
                                 padding=padding)

    def block(x, name):
        for at in "01":
            norm, kept = own[name][f"BatchNorm_{at}"], moments[name][f"BatchNorm_{at}"]
            x = functional.relu(functional.batch_norm(
                convolved(x, own[name][f"Conv_{at}"]), kept["mean"].clone(), kept["var"].clone(),
                norm["scale"], norm["bias"], train))
        return x

    def theirs(x):
        first = block(x.permute(0, 3, 1, 2), "Block_0")
        second = block(functional.max_pool2d(first, 2), "Block_1")
        third = block(functional.max_pool2d(second, 2), "Block_2")
        up = functional.interpolate(third, scale_factor=2, mode="nearest")
        up = block(torch.cat([second, up], 1), "Block_3")
        up = functional.interpolate(up, scale_factor=2, mode="nearest")
        last = convolved(block(torch.cat([first, up], 1), "Block_4"), own["Conv_0"], 0)
        return last.permute(0, 2, 3, 1)

    def loss(params):
        y = network.apply(variables | {"params": params}, x, train, mutable="batch_stats")[0]
        return jnp.square(y).mean(), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    want = theirs(tensor(x))
    want.square().mean().backward()
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=2e-4 * np.abs(y).max())
    jax.tree.map(lambda got, p: np.testing.assert_allclose(
        got, p.grad.numpy(), rtol=0, atol=1e-3 * max(np.abs(got).max(), 1e-3)), gradient, own)
