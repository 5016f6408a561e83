import jax
import numpy as np

from models import build


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
    variables = build("cnn", 10).init(jax.random.key(0), np.zeros((1, 32, 32, 3), "f4"), train=True)
    assert sum(p.size for p in jax.tree.leaves(variables)) == 122_570


def test_forward_pass_equals_an_independent_one():
    model = build("cnn", 10)
    x = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    params = model.init(jax.random.key(0), x, train=False)["params"]
    want = np.stack([numpy_forward(params, image) for image in x])
    np.testing.assert_allclose(model.apply({"params": params}, x, train=False), want, atol=1e-5)


def test_initialisers_are_glorot_uniform_and_zero():
    params = build("cnn", 10).init(
        jax.random.key(0), np.zeros((1, 32, 32, 3), "f4"), train=False
    )["params"]
    for name, fans in (("ConvReLU_1", 9 * (32 + 64)), ("Dense_0", 1024 + 64)):
        kernel, limit = np.asarray(params[name]["kernel"]), np.sqrt(6 / fans)
        assert 0.97 * limit < np.abs(kernel).max() <= limit
        assert not np.asarray(params[name]["bias"]).any()
