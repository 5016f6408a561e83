"""Networks of every kind as two pure functions, against what their own libraries compute."""

import zlib
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from samples import Tiny

from engine.command.summary import table
from engine.config import Config, Hyper
from engine.doors import functions, network
from engine.errors import RequestError
from engine.learners import fitting, steady
from engine.learners.chosen import learner_of
from engine.pure import data_for, train
from engine.transfer.begun import named

X = np.random.default_rng(0).normal(size=(6, 5)).astype("f4")
VALID = jnp.arange(6) < 4
KEY, OTHER = jax.random.key(1), jax.random.key(2)


class Asks(nn.Module):
    """Answers with what it was handed."""

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x, training: bool, deterministic: bool, valid=None):
        nn.Dense(1)(x)
        told = valid if valid is not None else jnp.zeros(len(x), bool)
        return jnp.stack([jnp.full(len(x), training), jnp.full(len(x), deterministic), told])


class AsksNNX(nnx.Module):
    def __init__(self, num_classes, *, rngs):
        self.layer = nnx.Linear(5, num_classes, rngs=rngs)

    def __call__(self, x, *, train, use_running_average, valid):
        return jnp.stack([jnp.full(len(x), v) for v in (train, use_running_average)] + [
            jnp.zeros(len(x), bool) if valid is None else valid])


class AppliesNNX(AsksNNX):
    """It has a method with the name of Linen's."""

    def apply(self, x):
        return x


class Pair:
    """No module: two functions."""

    def init(self, key, inputs):
        return {"w": jax.random.normal(key, (inputs.shape[1], 3))}

    def apply(self, params, inputs, is_training, valid, key):
        told = jnp.stack([jnp.full(len(inputs), on) for on in (is_training, not is_training)] + [
            jnp.zeros(len(inputs), bool) if valid is None else valid])
        return told if key is not None or not is_training else None


@pytest.mark.parametrize("model", [Asks, Asks(), AsksNNX, AppliesNNX, Pair, Pair()])
def test_a_call_is_handed_what_it_asks_for_by_name(model):
    made = network.of(model, 3)
    variables = made.init(KEY, X)
    told, _ = made.apply(variables, X, True, OTHER, VALID)
    np.testing.assert_array_equal(told, [[True] * 6, [False] * 6, VALID])
    told, kept = made.apply(variables, X, False)
    np.testing.assert_array_equal(told, [[False] * 6, [True] * 6, [True] * 6])
    assert kept == {}
    told, _ = made.apply(variables, X, False, None, VALID)
    np.testing.assert_array_equal(told[2], VALID)
    learner = learner_of(Config(model=model), 3)
    np.testing.assert_array_equal(learner.apply(variables, X, True, OTHER, VALID)[0][2], VALID)


class Draws(nn.Module):
    """From streams of its own, in a scan of one set of params too, and where it has one."""

    @nn.compact
    def __call__(self, x, train: bool):
        if not train:
            return jnp.zeros((4, 6))
        drawn = [jax.random.normal(self.make_rng(name), (6,)) for name in ("dropout", "noise")]

        class Step(nn.Module):
            @nn.compact
            def __call__(self, carry, _):
                return carry, jax.random.normal(self.make_rng("time"), (6,))

        steps = nn.scan(Step, variable_broadcast="params", length=2,
                        split_rngs={"params": False, "time": True})
        there = jax.random.normal(self.make_rng("more"), (6,)) if self.has_rng("more") else 0
        return jnp.stack([*drawn, *steps()(x, None)[1]]) + jnp.zeros(6).at[0].set(1) * there


def test_streams_of_other_names_are_their_own():
    drawn, again = (network.of(Draws(), 1).apply({}, X, True, key)[0] for key in (OTHER, OTHER))
    np.testing.assert_array_equal(drawn, again)
    assert len({*np.asarray(drawn).ravel().tolist()}) == 24  # all four, and none twice
    want = Draws().apply({}, X, train=True, rngs={"dropout": OTHER, **{
        name: jax.random.fold_in(OTHER, zlib.crc32(name.encode()))
        for name in ("noise", "time", "more")}})
    np.testing.assert_array_equal(drawn, want)
    other = network.of(Draws(), 1).apply({}, X, True, KEY)[0]
    assert not np.isin(other, drawn).any()


class Flaxs(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.6)(nn.Dense(8)(x))
        return nn.Dense(self.num_classes)(nn.Dropout(0.5, deterministic=not train)(x))


def test_linen_is_what_flax_computes():
    made = network.of(Flaxs, 3)
    variables = made.init(KEY, X)
    plain = Flaxs(3).init(KEY, X, train=False)
    jax.tree.map(np.testing.assert_array_equal, variables, dict(plain))
    outputs, kept = made.apply(variables, X, True, OTHER)
    want, changed = Flaxs(3).apply(plain, X, train=True, rngs={"dropout": OTHER},
                                   mutable=["batch_stats"])
    np.testing.assert_array_equal(outputs, want)
    jax.tree.map(np.testing.assert_array_equal, kept, dict(changed))
    np.testing.assert_array_equal(made.apply(variables, X, False)[0],
                                  Flaxs(3).apply(plain, X, train=False))


class Layers(nnx.Module):
    """A list of layers, statistics and two dropouts."""

    def __init__(self, rngs, num_outputs: int = 3):
        self.layers = nnx.List([nnx.Linear(5, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs),
                                nnx.Linear(8, num_outputs, rngs=rngs)])

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("built", [False, True], ids=["class", "module"])
def test_nnx_is_what_flax_computes(built):
    """Of a class, whose values the key draws, and of a module, which brings its own."""
    model = Layers(nnx.Rngs(params=KEY, default=KEY)) if built else Layers
    made, plain = network.of(model, 3), Layers(nnx.Rngs(params=KEY, default=KEY))
    variables = made.init(KEY, X)
    assert set(variables) == {"params", "batch_stats"}
    assert set(variables["params"]["layers"]) == {"0", "1", "2"}  # as a checkpoint has them
    plain.eval()
    np.testing.assert_allclose(made.apply(variables, X, False)[0], plain(X), atol=1e-6)
    plain.train()
    outputs, kept = made.apply(variables, X, True, OTHER)
    np.testing.assert_allclose(outputs, plain(X), atol=1e-6)
    moment = plain.layers[1].mean
    np.testing.assert_allclose(kept["batch_stats"]["layers"]["1"]["mean"], moment[...], atol=1e-6)
    assert not np.allclose(moment[...], 0)
    other = made.init(OTHER, X)["params"]["layers"]["0"]["kernel"]
    same = np.array_equal(other, variables["params"]["layers"]["0"]["kernel"])
    assert same == built
    assert hash(made) == hash(network.of(model, 3)) and made == network.of(model, 3)


class Masks(nnx.Module):
    """The masks of two dropouts."""

    def __init__(self, rngs):
        self.scale = nnx.Param(jnp.ones(()))
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return jnp.stack([drop(self.scale * jnp.ones((50, 4))) for drop in
                          (self.first, self.second)])


class LinenMasks(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic: bool):
        scale = self.param("scale", nn.initializers.ones, ())
        return jnp.stack([nn.Dropout(0.5)(scale * jnp.ones((50, 4)), deterministic)
                          for _ in range(2)])


@pytest.mark.parametrize("model", [Masks, LinenMasks])
def test_dropout_masks_differ_by_layer_and_by_key(model):
    made = network.of(model, 1)
    variables = made.init(KEY, X)
    masks = {seed: np.asarray(made.apply(variables, X, True, jax.random.key(seed))[0])
             for seed in (3, 4, 3)}
    for first, second in masks.values():
        assert set(np.unique(first)) == {0.0, 2.0} and 0.3 < (first > 0).mean() < 0.7
        assert not np.array_equal(first, second)
    assert not any(np.array_equal(a, b) for a, b in zip(masks[3], masks[4], strict=True))
    again, _ = made.apply(variables, X, True, jax.random.key(3))
    np.testing.assert_array_equal(again, masks[3])
    assert (made.apply(variables, X, False)[0] == 1).all()
    assert set(variables) == {"params"}


class StackedNNX(nnx.Module):
    """Three layers of masks in one, each with a key of its own, whose scan tells all three."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap
        def layers(rngs):
            return Masks(rngs)

        self.layers = layers(rngs)

    def __call__(self, x):
        return nnx.scan(lambda carry, layer: (carry, layer(carry)), in_axes=(nnx.Carry, 0))(
            x, self.layers)[1]


def test_stacked_layers_draw_each_its_own():
    made = network.of(StackedNNX, 1)
    variables = made.init(KEY, X)
    drawn, again, other = (made.apply(variables, X, True, key)[0] for key in (OTHER, OTHER, KEY))
    masks = np.asarray(drawn).reshape(6, -1)  # three layers of two dropouts
    assert set(np.unique(masks)) == {0.0, 2.0} and len(np.unique(masks, axis=0)) == 6
    np.testing.assert_array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    assert (made.apply(variables, X, False)[0] == 1).all()


class Sows(nn.Module):
    """Tells what it computes in every way that flax has, and counts its calls."""

    @nn.compact
    def __call__(self, x, train: bool):
        hidden = self.perturb("seen", nn.Dense(4)(x))
        self.sow("intermediates", "hidden", hidden)
        self.sow("losses", "size", (hidden**2).mean())
        calls = self.variable("counts", "calls", lambda: jnp.zeros(()))
        if train:
            calls.value += 1.0
        return nn.Dense(3)(hidden)


class Loss(nnx.Variable):
    pass


class SowsNNX(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(5, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        hidden = self.perturb("seen", self.first(x))
        self.sow(nnx.Intermediate, "hidden", hidden)
        self.sow(Loss, "size", (hidden**2).mean())
        self.calls[...] += 1.0
        return self.last(hidden)


def used() -> SowsNNX:
    """One that was called before it came."""
    module = SowsNNX(nnx.Rngs(0))
    module.sow(nnx.Intermediate, "hidden", X)
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # outside of nnx.capture()
@pytest.mark.parametrize("model", [Sows, SowsNNX, used])
def test_what_a_network_sows_is_no_state(model):
    """It grows by every call, or has a batch's size: a loop could carry neither."""
    made = network.of(model, 3)
    variables = made.init(KEY, X[:1])
    (kept,) = {*variables} - {"params"}
    assert variables[kept] == {"calls": 0.0}
    outputs, left = made.apply(variables, X, True, OTHER)
    assert left == {kept: {"calls": 1.0}}
    np.testing.assert_allclose(outputs, made.apply(variables, X, False)[0], atol=1e-6)
    _, left = made.apply({**variables, **left}, X, True, OTHER)
    assert left == {kept: {"calls": 2.0}}


def make(num_outputs):
    return Tiny(num_outputs)


def test_a_function_makes_one():
    assert network.of(make, 7) == network.Linen(Tiny(7)) == network.of(Tiny, 7)
    assert network.of(Tiny(7), 3) == network.Linen(Tiny(7))  # a module itself is as it is


class Nested(nnx.Module):
    """Arrays in dictionaries and lists, of more than ten, empty ones, and a number."""

    def __init__(self, rngs):
        del rngs
        self.scale = nnx.Param({"by": jnp.ones(5)})
        self.seen = nnx.Variable({"calls": jnp.zeros(()), "none": {}, "list": [jnp.ones(5), None]})
        steps = [jnp.full((), float(at)) for at in range(12)]
        self.data = nnx.data({"steps": steps, "one": jnp.ones(5)})
        self.half = nnx.Variable(0.5)

    def __call__(self, x):
        self.seen["calls"] += 1.0
        steps = jnp.stack(self.data["steps"]) @ jnp.arange(12.0)
        return x * self.scale["by"] * self.data["one"] * self.seen["list"][0] * self.half * steps


@pytest.mark.parametrize("model", [Nested, Nested(nnx.Rngs(0))])
def test_arrays_in_dictionaries_are_a_networks_own(model):
    made = network.of(model, 5)
    variables = made.init(KEY, X)
    assert variables["params"] == {"scale": {"by": pytest.approx(np.ones(5))}}
    outputs, left = made.apply(variables, X, True, OTHER)
    np.testing.assert_allclose(outputs, X * 0.5 * sum(at**2 for at in range(12)), rtol=1e-6)
    assert left["variables"]["seen"]["calls"] == 1
    assert jax.tree.structure(left) == jax.tree.structure({"variables": variables["variables"]})


class Places(nnx.Module):
    """An array that is an attribute, of its own and of a part's."""

    def __init__(self, num_classes, depth=1, *, rngs):
        self.places = jnp.arange(5.0)
        self.rest = Places(num_classes, 0, rngs=rngs) if depth else \
            nnx.Linear(5, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.rest(x + self.places)


def test_arrays_that_are_attributes_are_a_networks_own():
    made, plain = network.of(Places, 3), Places(3, rngs=nnx.Rngs(params=KEY, default=KEY))
    variables = jax.jit(made.init)(KEY, X)
    places = {"places": pytest.approx(np.arange(5.0))}
    assert variables["variables"] == {**places, "rest": places}
    outputs = jax.jit(lambda variables: made.apply(variables, X, False)[0])(variables)
    np.testing.assert_allclose(outputs, plain(X), rtol=1e-5)


class WideNNX(nnx.Module):
    def __init__(self, num_classes, width=8, *, rngs):
        self.first = nnx.Linear(5, width, rngs=rngs)
        self.last = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, x):
        return self.last(self.first(x))


@pytest.mark.parametrize("model, width, answers", [
    (partial(WideNNX, width=4), 4, 3), (partial(WideNNX, 7), 8, 7), (partial(WideNNX, 7, 4), 4, 7)])
def test_a_partial_of_a_class_is_handed_what_it_has_not(model, width, answers):
    made = network.of(model, 3)
    variables = made.init(KEY, X)
    assert variables["params"]["first"]["kernel"].shape == (5, width)
    assert made.apply(variables, X, False)[0].shape == (6, answers)


@pytest.mark.parametrize("model, said", [
    (7, "model int is a int, which is no network: give a Linen or NNX"),
    (lambda: 7, "gives a int|is a int"),
    (lambda width: None, "missing 1 .*: 'width'. It is called with what .* num_outputs"),
    (lambda: (lambda x: x), "gives a function, which is no network"),
])
def test_what_is_no_network_is_refused(model, said):
    with pytest.raises(RequestError, match=said):
        network.of(model, 3)


class Embeds(nn.Module):
    """Of its inputs, the last are codes."""

    num_outputs: int
    embeddings: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x):
        codes = x[:, x.shape[1] - len(self.embeddings):].astype(int)
        parts = [nn.Embed(count, 2)(codes[:, at]) for at, count in enumerate(self.embeddings)]
        return nn.Dense(self.num_outputs)(jnp.concatenate([x[:, :1], *parts], axis=1))


class EmbedsNNX(nnx.Module):
    def __init__(self, num_outputs, embeddings=(), *, rngs):
        self.embed = nnx.Embed(embeddings[0] if embeddings else 1, num_outputs, rngs=rngs)

    def __call__(self, x):
        return self.embed(x[:, -1].astype(int))


@pytest.mark.parametrize("model", [
    Embeds, EmbedsNNX, partial(Embeds, num_outputs=3), Embeds(3, (7,)),
    lambda num_outputs, embeddings: Embeds(num_outputs, embeddings),
])
def test_a_network_is_handed_how_many_codes_it_embeds(model):
    made = network.of(model, 3, (7,))
    variables = jax.eval_shape(made.init, KEY, X)
    assert 7 in {leaf.shape[0] for leaf in jax.tree.leaves(variables["params"])}
    outputs = jax.eval_shape(lambda v: made.apply(v, X, False)[0], variables)
    assert outputs.shape == (6, 3)


@pytest.mark.parametrize("model", ["linear", "cnn", Tiny, Tiny(3), Embeds(3, (6,)), Layers, Pair()])
def test_a_network_that_embeds_nothing_is_refused_where_there_are_codes(model):
    network.of(model, 3)
    with pytest.raises(RequestError, match="embeds nothing, .*: type --model mlp, or let"):
        network.of(model, 3, (7,))


class LinearNNX(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.drop = nnx.Linear(5, 3, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.layer(x))


def test_a_module_that_was_changed_in_place_begins_with_its_new_values():
    """Though its first ones have been traced, and is the same until then."""
    module = LinearNNX(nnx.Rngs(0))
    first, again = (network.of(module, 3) for _ in range(2))
    assert first == again and hash(first) == hash(again)
    begun = functions.initial(first, KEY, X)["params"]["layer"]["bias"]
    np.testing.assert_array_equal(begun, np.zeros(3))
    module.layer.bias.value = jnp.array([9.0, 0.0, 1.0])
    second = network.of(module, 3)
    assert second != first
    for made, wanted in ((second, [9, 0, 1]), (first, [0, 0, 0])):
        found = functions.initial(made, KEY, X)["params"]["layer"]["bias"]
        np.testing.assert_array_equal(found, wanted)
    module.layer = nnx.Linear(5, 3, use_bias=False, rngs=nnx.Rngs(1))
    assert "bias" not in functions.initial(network.of(module, 3), KEY, X)["params"]["layer"]


class Settled(LinearNNX):
    """Its part has settings that may change."""

    def __init__(self, rngs):
        super().__init__(rngs)
        self.layer.settings = {"scale": 1}


def test_an_instance_without_a_hash_is_refused():
    variables = network.of(Settled, 3).init(KEY, X)  # as it is made anew, its class needs none
    assert network.of(Settled, 3).apply(variables, X, False)[0].shape == (6, 3)
    with pytest.raises(RequestError, match="attribute settings, a dict, has no hash: give its"):
        network.of(Settled(nnx.Rngs(0)), 3)


class Counts(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x) * self.param("times", lambda _: jnp.array(2)).astype(float)


class CountsNNX(LinearNNX):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.times = nnx.Param(jnp.array(2))


class Noisy(LinearNNX):
    """By a flag of its own, which eval() doesn't know; its parts by theirs."""

    def __init__(self, rngs, noisy=True):
        super().__init__(rngs)
        self.rngs, self.noisy, self.stacked = rngs, noisy, StackedNNX(rngs)

    def __call__(self, x):
        x = nnx.while_loop(lambda held: held[1].sum() > 1000, lambda held: (held[0], held[1] / 2),
                           (self.rngs, x))[1]
        drawn = self.rngs.params()
        x = x + jax.random.normal(drawn, x.shape) if self.noisy else x
        return super().__call__(x) + self.stacked(x).mean()


class LinenDrops(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(x))


class LinenKey(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.variable("rng", "own", lambda: jax.random.key(0))
        return nn.Dense(3)(x)


class KeyNNX(LinearNNX):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.own = nnx.Variable(jax.random.key(0))


def bridged(module):
    """A function of `rngs` that makes it NNX's."""
    return lambda rngs: nnx.bridge.ToNNX(module, rngs=rngs).lazy_init(X[:1])


def tried(model) -> None:
    learner = learner_of(Config(model=model), 3)
    fitting.network(learner, jax.ShapeDtypeStruct((2, 5), jnp.float32), 3)
    steady.check(learner, Hyper(), (5,))


@pytest.mark.parametrize("model, said", [
    (bridged(LinenDrops()), "ToNNX keeps from LinenDrops the `train` that it asks for: give the L"),
    (nnx.bridge.ToLinen(Layers), "ToLinen keeps from Layers whether it is in training: give the N"),
    (nnx.bridge.ToLinen(LinearNNX), "ToLinen keeps from LinearNNX whether it is in training: giv"),
    (Noisy, "Noisy draws random numbers out of training, where there are none: let its call take"),
    (Counts, "Counts's parameter times is of int32, which has no gradient: make it an nnx.Var"),
    (CountsNNX, "CountsNNX's parameter times is of int32, which has no gradient: make it an nnx"),
    (LinenKey, "LinenKey keeps rng/own, a random key, which isn't saved: keep jax.random.key_d"),
    (KeyNNX, "KeyNNX keeps variables/own, a random key, which isn't saved: keep jax.random.key_d"),
])
def test_a_network_that_can_not_be_learned_is_refused(model, said):
    with pytest.raises(RequestError, match=said):
        tried(model)


class StillNNX(LinearNNX):
    def __init__(self, rngs):
        self.layer, self.drop = nnx.Linear(5, 3, rngs=rngs), nnx.Dropout(0.0)


class Nothing(nn.Module):
    """Without parameters, and a constant."""

    @nn.compact
    def __call__(self, x):
        return x[:, :3] * self.variable("constant", "times", lambda: jnp.ones(3)).value


class Matrix:
    """With a single array for parameters."""

    def init(self, key, inputs):
        return jnp.ones((5, 3))

    def apply(self, params, inputs):
        return inputs @ params


@pytest.mark.parametrize("model, only", [(Nothing(), "constant/times"), (Matrix(), "params")])
def test_no_parameters_and_a_single_array_are_trained_averaged_and_told(model, only):
    config, both = Config(model=model, epochs=1, batch_size=4), (X, np.arange(6) % 3)
    state, history = jax.jit(train, static_argnums=0)(
        config, Hyper(ema_decay=0.5), KEY, data_for(config, {"train": both, "validation": both}))
    assert np.isfinite(history["val_averaged_loss"]).all()
    assert [*named(state.variables)] == [only]
    assert "total" in table(network.of(model, 3), jax.ShapeDtypeStruct((1, 5), jnp.float32))


class Tupled(NamedTuple):
    """With init and apply, and no __init__ of its own."""

    num_outputs: int
    width: int = 4

    def init(self, key, inputs):
        return {"kernel": jnp.ones((5, self.num_outputs))}

    def apply(self, params, inputs):
        return inputs @ params["kernel"]


@pytest.mark.parametrize("model", [
    bridged(nn.Dense(3)), nnx.bridge.ToLinen(nnx.Linear, (5, 3)),
    nnx.bridge.ToLinen(StillNNX), partial(Tupled, width=3),
    nn.Dense(3, True, *[jnp.bfloat16] * 2)])
def test_a_bridge_to_what_is_the_same_in_training_is_taken(model):
    tried(model)


def test_parameters_of_float16_are_told(capsys):
    tried(nn.Dense(3, True, *[jnp.float16] * 2))
    assert "Dense's parameter bias is of float16: a batch's gradients" in capsys.readouterr().err


def test_random_streams_that_only_pass_by_are_none_that_it_draws():
    tried(partial(Noisy, noisy=False))
