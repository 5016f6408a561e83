"""The whole run as one function: what enters its program, and what the command line makes of it."""

import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from flax import nnx
from samples import Tiny, data_of, random_split

from engine.config import Config, Hyper
from engine.console.progress import plain_console
from engine.errors import RequestError
from engine.job.host import Host
from engine.learners.chosen import learner_of
from engine.parts.reading import load
from engine.place import Place
from engine.pure import data_for, train
from engine.request import Request
from engine.settling import settle
from engine.task import Task

CONFIG = Config(model=Tiny, validation_split="test", batch_size=8, epochs=2)
HYPER = jax.tree.map(jnp.float32, Hyper(learning_rate=3e-3))
KEY = jax.random.key(5)
quickly = partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(scope="module")
def small():
    return data_of(random_split(37, side=4), random_split(21, side=4, seed=1))


def test_configs_that_differ_in_what_enters_no_program_compile_once(small):
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda *args: train(*args), n=1), static_argnums=0,
                  compiler_options=QUICK)
    changes = [{}, {"seed": 7}, {"dataset": "digits"}, {"train_split": "train[:50%]"},
               {"validation_split": "0.2"}, {"order_seed": 3}, {"image_size": 40}]
    configs = [dataclasses.replace(CONFIG, **change) for change in changes]
    assert len(set(configs)) == 1
    states = [run(config, HYPER, KEY, small)[0] for config in configs]
    chex.assert_trees_all_equal(*states)
    assert dataclasses.replace(CONFIG, batch_size=9) != CONFIG


def test_a_key_of_the_seed_gives_what_fit_computes(small):
    """And the seed itself isn't asked."""
    parts = {"train": small.train.split, "test": small.validation.split}
    given = {name: tuple(map(np.asarray, split[:2])) for name, split in parts.items()}
    host = Host(jax.devices("cpu")[0], plain_console(quiet=True))
    config = dataclasses.replace(CONFIG, seed=11)
    request = Request(config, HYPER, Place(), given)
    request, dataset = load(request, host)
    ready = settle(request, dataset, host)
    ordered = request._replace(config=dataclasses.replace(request.config, order_seed=3))
    ordered = settle(ordered, dataset, host)
    chex.assert_trees_all_equal(data_for(config, given), ready.data)
    for key, seed in ((ready.root, 11), (ready.order, 11), (ordered.root, 11), (ordered.order, 3)):
        assert key == jax.random.key(seed)
    state = quickly(ready.learner.create)(ready.hyper, ready.root, ready.data)
    segment = quickly(ready.learner.segment)
    for _ in range(config.epochs):
        state = segment(**ready.inputs, state=state, count=np.int32(ready.lengths.epoch))
    pure = quickly(partial(train, dataclasses.replace(config, seed=0)))
    again, history = pure(HYPER, jax.random.key(11), small, jax.random.key(11))
    chex.assert_trees_all_close(state.params, again.params, atol=2e-5)
    np.testing.assert_allclose(state.tally.loss_sum / 37, history["loss"][-1], rtol=1e-5)
    for seed, order in ((0, 11), (11, 0)):
        other, _ = pure(HYPER, jax.random.key(seed), small, jax.random.key(order))
        assert not np.allclose(other.params["Dense_0"]["kernel"], state.params["Dense_0"]["kernel"])


def test_data_without_a_part_to_validate_on_lend_it_a_tenth(small, capsys):
    """As fit does, and says; both parts are rows of one split, which lies on the device once."""
    inputs, targets = map(np.asarray, small.train.split[:2])
    config = dataclasses.replace(CONFIG, validation_split=Config.validation_split)
    found = data_for(config, (inputs, targets.astype(float)))
    assert capsys.readouterr().out == "validation: 0.1\n"
    assert found.train.split.inputs is found.validation.split.inputs
    rows = np.concatenate([found.train.rows, found.validation.rows])
    assert 3 <= len(found.validation.rows) <= 5 and sorted(rows) == [*range(37)]
    np.testing.assert_array_equal(found.train.split.targets, targets)


def test_a_table_is_not_learned_without_its_columns(tmp_path):
    rows = [f"{n},{'ab'[n % 2]}{n % 3},{n % 2}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["size,name,label", *rows]) + "\n")
    config = Config(dataset=f"csv:{tmp_path}/t.csv", batch_size=8)
    with pytest.raises(RequestError, match="has columns or inputs by their names"):
        data_for(config)


class Dropped(nnx.Module):
    def __init__(self, num_outputs, *, rngs):
        self.layers = nnx.List([nnx.Linear(16, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)])
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(8, num_outputs, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.dropout(x))


@pytest.mark.slow
def test_an_nnx_run_multiplies_by_vmap_and_differentiates(small):
    config = dataclasses.replace(CONFIG, model=Dropped, optimizer="sgd", epochs=1)

    def last(rate, key):
        _, history = train(config, HYPER._replace(learning_rate=rate), key, small)
        return history["val_loss"][-1]

    rates, root = jnp.array([0.98e-2, 1e-2, 1.02e-2]), jax.random.split(KEY, 2)[1]
    values, slopes = quickly(jax.vmap(jax.value_and_grad(last), (0, None)))(rates, root)
    np.testing.assert_allclose(quickly(last)(rates[1], root), values[1], rtol=1e-5)
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 0.04e-2, rtol=0.05)


class Mask(nnx.Module):
    """Learns nothing: its output is a dropout's mask, of one example a batch."""

    def __init__(self, rngs):
        self.scale, self.dropout = nnx.Param(jnp.ones(4)), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(jnp.broadcast_to(self.scale, (len(x), 4)))


def test_dropout_masks_differ_by_step(small):
    """The loss of a step tells its mask: with a rate of 0 nothing else changes."""
    config = Config(model=Mask, batch_size=37, epochs=4, optimizer="sgd", shuffle="once")
    _, history = quickly(partial(train, config))(HYPER._replace(learning_rate=jnp.float32(0)), KEY,
                                                 small)
    assert len(set(np.asarray(history["loss"]).tolist())) == 4
    assert len(set(np.asarray(history["val_loss"]).tolist())) == 1


class Halved(nn.Module):
    """Learns its outputs, of which some are dropped."""

    @nn.compact
    def __call__(self, x, train: bool):
        scale = self.param("scale", nn.initializers.ones, (4,))
        return nn.Dropout(0.5, deterministic=not train)(jnp.broadcast_to(scale, (len(x), 4)))


@dataclasses.dataclass(frozen=True)
class Summed(Task):
    kind = "classes"

    def loss(self, outputs, targets, hyper):
        return outputs.sum(-1)


def test_dropout_masks_differ_within_a_batch_and_by_microbatch():
    """The gradient of an output is the mean of its two examples' masks, over what is kept."""
    data = data_of(random_split(2), random_split(2))
    for microbatch in (0, 1):
        config = Config(model=Halved, task=Summed(), batch_size=2, microbatch=microbatch,
                        epochs=1, optimizer="sgd")
        learner, step, moved = learner_of(config, 4), None, set()
        for seed in range(8):
            key, hyper = jax.random.key(seed), Hyper(learning_rate=jnp.float32(1))
            state = learner.create(hyper, key, data)
            step = step or quickly(learner.segment)
            after = step(hyper, key, key, data.train, state, jnp.int32(1))
            moved |= set((state.params["scale"] - after.params["scale"]).tolist())
        assert moved == {0.0, 1.0, 2.0}


@pytest.mark.slow
def test_nesterovs_momentum_may_be_traced(small):
    """The first update of one full batch is g + m g."""
    config = dataclasses.replace(CONFIG, optimizer="sgd", nesterov=True, batch_size=37)
    hyper = jax.tree.map(jnp.float32, Hyper(learning_rate=0.1, momentum=0.5))
    run = jax.jit(train, compiler_options=QUICK)
    one = dataclasses.replace(config, epochs=1, nesterov=False)
    begun = run(one, hyper._replace(learning_rate=jnp.float32(0)), KEY, small)[0].params
    once = run(dataclasses.replace(config, epochs=1), hyper, KEY, small)[0].params
    without = run(one, hyper, KEY, small)[0].params
    jax.tree.map(lambda p, a, b: np.testing.assert_allclose(a - p, 1.5 * (b - p), atol=1e-6),
                 begun, once, without)


@pytest.mark.parametrize("name", ["cutmix", "cutout"])
def test_what_is_for_pictures_is_refused_of_other_inputs(name):
    flat = data_of(*(split._replace(inputs=split.inputs.reshape(len(split.inputs), -1))
                     for split in (random_split(24, side=4), random_split(8, side=4))))
    with pytest.raises(RequestError, match=f"--{name} is for pictures, .* the inputs are 16"):
        jax.eval_shape(partial(train, CONFIG), HYPER._replace(**{name: 1.0}), KEY, flat)


def test_what_cannot_be_meant_is_refused_before_anything_is_traced(small):
    with pytest.raises(RequestError, match="--batch_size 0"):
        train(dataclasses.replace(CONFIG, batch_size=0), HYPER, KEY, small)
