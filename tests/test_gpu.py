"""What is chosen for a GPU that isn't here: convolutions by their size, and graphs."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.config import Config, Hyper
from engine.devices.mesh import ALONE, on_paper
from engine.errors import RequestError
from engine.formulation.rewriting import census
from engine.learners.chosen import learner_of
from engine.native import library
from engine.place import Place
from engine.programs import formulation, graphs
from engine.programs.formulation import OFFER
from engine.request import Request
from engine.setup import Setup

SHAPE = 32, 32, 3


@functools.cache
def shapes(model: str = "cnn"):
    learner = learner_of(Config(model=model), 10)
    return learner.shapes(Hyper(), SHAPE)


def ready(platform: str = "gpu", devices: int = 1, place: Place | None = None, **asked) -> Setup:
    """As far as a choice looks, and `told` what it prints."""
    config, told = Config(**asked), []
    learner = learner_of(config, 10, on_paper(devices, False) if devices > 1 else ALONE)
    data = SimpleNamespace(train=SimpleNamespace(input_shape=SHAPE))
    host = SimpleNamespace(console=SimpleNamespace(print=told.append))
    found = SimpleNamespace(
        learner=learner, state_shapes=shapes(config.model), data=data, host=host, told=told,
        config=config,
        device=SimpleNamespace(platform=platform), request=Request(config, place=place or Place()),
    )
    found._replace = lambda learner: SimpleNamespace(**vars(found) | {"learner": learner})
    return found


def test_patches_are_counted():
    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    arrays = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 3), (3, 3, 3, 5)))
    assert census(convolved, *arrays).patches == 2 * 6 * 6 * (3 * 3 * 3) * 4


@pytest.mark.parametrize("asked, how", [
    ({"batch_size": 32}, "product"), ({"batch_size": 512}, "direct"),
    ({"batch_size": 512, "microbatch": 32}, "product"),
    ({"batch_size": 512, "devices": 8}, "product"), ({"convolution": "direct"}, ""),
    ({"platform": "cpu"}, ""), ({"platform": "tpu"}, ""), ({"model": "mlp"}, ""),
])
def test_a_gpu_takes_products_where_there_are_few_patches(asked, how, monkeypatch):
    """Counting those of a device, and of a microbatch."""
    monkeypatch.setattr(library, "compiler", str)
    before = ready(**asked)
    after = formulation.chosen(before)
    assert after.learner == dataclasses.replace(before.learner, formulation=how)
    assert [line.startswith("formulation: ") for line in before.told] == [True] * bool(how)


@pytest.mark.slow
@pytest.mark.parametrize("asked, offered", [
    ({}, True), ({"model": "resnet20"}, True), ({"model": "mlp"}, False), ({"model": "vit"}, False),
    ({"model": "convnext"}, False),
    ({"convolution": "product"}, False), ({"precision": "bf16"}, False), ({"devices": 2}, False),
    ({"platform": "gpu"}, False),
])
def test_a_cpus_run_of_convolutions_is_told_of_the_kernel(asked, offered, monkeypatch):
    """Where a compiler is at hand; what is trained stays as it is."""
    monkeypatch.setattr(library, "compiler", lambda: "/usr/bin/c++")
    before = ready(**{"platform": "cpu"} | asked)
    assert formulation.chosen(before).learner.config == before.config
    assert (OFFER in before.told) == offered
    monkeypatch.setattr(library, "compiler", str)
    before = ready(**{"platform": "cpu"} | asked)
    formulation.chosen(before)
    assert OFFER not in before.told


def test_training_alone_is_by_the_formulation_that_was_chosen():
    """What a run and `eval` say of a set is computed alike."""
    learner = dataclasses.replace(learner_of(Config(convolution="direct"), 10),
                                  formulation="product")
    inputs, key = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32), jax.random.key(0)

    def convolutions(train: bool) -> int:
        jaxpr = jax.make_jaxpr(lambda v, x: learner.apply(v, x, train, key)[0])(
            shapes().variables, inputs)
        return str(jaxpr).count("conv_general_dilated[")

    assert convolutions(True) == 0 and convolutions(False) == 3


@pytest.mark.parametrize("asked, flags, message", [
    ({"platform": "cpu"}, "", "trains on a CPU: leave it out, or type --command_buffers kernels"),
    ({}, "--xla_gpu_enable_command_buffer=", "and XLA_FLAGS, which has"),
])
def test_graphs_without_effect_are_refused(monkeypatch, asked, flags, message):
    monkeypatch.setenv("XLA_FLAGS", flags)
    with pytest.raises(RequestError, match=message):
        graphs.check(ready(place=Place(command_buffers="loops"), **asked))


def test_graphs_are_xlas_own_unless_asked_for(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_command_buffer=")
    usual, none, loops = (ready(place=Place(command_buffers=word))
                          for word in ("kernels", "none", "loops"))
    graphs.check(usual)
    assert graphs.options(usual) == {}
    monkeypatch.delenv("XLA_FLAGS")
    graphs.check(none)
    graphs.check(loops)
    words = [graphs.options(each)["xla_gpu_enable_command_buffer"] for each in (none, loops)]
    assert words[0] == "" and {"FUSION", "WHILE", "CONVOLUTION"} < set(words[1].split(","))
    compiled = jax.jit(jnp.sin).lower(np.float32(0)).compile(graphs.options(loops))
    assert compiled(np.float32(0)) == 0  # which knows the names, on any platform
