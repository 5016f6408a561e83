import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from samples import Normed, Tiny

from engine.command import summary
from engine.doors import network


class Pair:
    """Neither Linen nor NNX."""

    def init(self, key, inputs):
        return {"w": jnp.ones((inputs[0].size, 3))}

    def apply(self, params, inputs):
        return jax.nn.gelu(inputs.reshape(len(inputs), -1) @ params["w"])


class Net(nnx.Module):
    def __init__(self, num_outputs: int, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 16, rngs=rngs)
        self.last = nnx.Linear(16, num_outputs, rngs=rngs)

    def __call__(self, x):
        return self.last(jnp.tanh(self.first(x.reshape(len(x), -1))))


def rows(model, side: int = 8) -> dict[str, list[str]]:
    """The table's cells by the layers' names."""
    inputs = jax.ShapeDtypeStruct((1, side, side, 1), "float32")
    told = summary.table(network.of(model, 4), inputs)
    assert max(map(len, told.splitlines())) < 80
    return {line.split("  ")[0]: line.split() for line in told.splitlines()}


@pytest.mark.parametrize("model, side", [("cnn", 24), (Tiny, 8), (Normed, 8), (Net, 8)])
def test_the_totals_are_those_of_the_variables_and_of_the_compiler(model, side):
    net, inputs = network.of(model, 4), jax.ShapeDtypeStruct((1, side, side, 1), "float32")
    variables = jax.eval_shape(net.init, jax.random.key(0), inputs)
    lowered = jax.jit(lambda v, x: net.apply(v, x, False)[0]).lower(variables, inputs)
    _, parameters, flops = rows(model, side)["total"]
    assert int(parameters.replace(",", "")) == sum(
        x.size for x in jax.tree.leaves(variables["params"]))
    assert int(flops.replace(",", "")) == pytest.approx(
        lowered.cost_analysis()["flops"], rel=0.05)


def test_activations_and_poolings_have_their_lines():
    shown = list(rows("cnn", 24))
    assert shown[1:4] == ["ConvReLU_0", "relu", "max_pool 2 × 2"]
    assert rows(Net)["first (Linear)"][-2:] == ["1,040", "2,064"]
    assert rows(Net)["tanh"][-2:] == ["16", "16"]
    assert {"gelu", "the network", "total"} <= rows(Pair()).keys()


class Placed(nn.Module):
    """Its own parameters are read before its layers and between them."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        x = nn.gelu(x.reshape(len(x), -1))
        place = self.param("place", nn.initializers.normal(), x.shape[1:])
        return nn.Dense(self.num_outputs)(nn.Dense(8)(x + place) * 2) + place.sum()


def test_a_layers_own_parameters_are_told_once():
    inputs = jax.ShapeDtypeStruct((1, 4, 4), "float32")
    _, *lines, total = summary.table(network.of(Placed, 10), inputs).splitlines()
    own = [int(cells[-2]) for cells in map(str.split, lines) if len(cells) == 4]
    assert sum(own) == int(total.split()[-2]) == 16 + 17 * 8 + 9 * 10
    assert sum(line.startswith("Placed") for line in lines) > 1
