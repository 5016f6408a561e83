import dataclasses
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_split

from engine import loop
from engine.config import Config, Hyper
from engine.data import Data, batch_at, epoch_order, normalise, partition
from engine.errors import RequestError
from engine.sources.dataset import Dataset
from models import MODELS, build

CLASSES = 4
CONFIG = Config(model="tiny", batch_size=8, epochs=3)
HYPER = jax.tree.map(jnp.float32, Hyper(learning_rate=1e-3))
KEY = jax.random.key(5)


class Tiny(nn.Module):
    """A network that compiles in no time: the loop is what is tested here."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(x)


@pytest.fixture(autouse=True)
def tiny_is_a_model(monkeypatch):
    monkeypatch.setitem(MODELS, "tiny", Tiny)


def compiled_segment(config: Config):
    return jax.jit(partial(loop.segment, build(config.model, CLASSES), config))


def start(config: Config, data: Data, hyper: Hyper = HYPER):
    return loop.initial_state(config, hyper, KEY, data.train, CLASSES)


def equal(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


@pytest.mark.parametrize("count, size, steps, last", [(50_000, 32, 1563, 16), (37, 8, 5, 5),
                                                     (5, 5, 1, 5), (7, 3, 3, 1)])
def test_every_example_counts_once_an_epoch(count, size, steps, last):
    order = epoch_order(KEY, 0, count)
    rows = jax.device_put(random_split(count, side=1)._replace(labels=np.arange(count)))
    batches, valid = jax.vmap(lambda i: batch_at(rows, order, i, size))(jnp.arange(steps))
    assert sorted(np.asarray(batches.labels)[np.asarray(valid)]) == list(range(count))
    assert int(valid[-1].sum()) == last


def test_the_order_changes_every_epoch_and_with_the_seed():
    orders = [epoch_order(jax.random.key(s), e, 100) for s in (0, 1) for e in (0, 1)]
    assert len({tuple(np.asarray(o)) for o in orders}) == 4


@pytest.mark.parametrize("size", [8, 37, 5])
def test_exactly_n_updates(data, size):
    config = dataclasses.replace(CONFIG, batch_size=size)
    state, history = jax.jit(partial(loop.train, config, num_classes=CLASSES))(
        hyper=HYPER, key=KEY, data=data
    )
    steps = -(-37 // size) * config.epochs
    assert int(state.step) == steps == int(state.opt_state[0][0].count)
    assert int(state.tally.count) == 37 and history["loss"].shape == (config.epochs,)


def test_two_segments_equal_one_and_the_whole_run_bit_for_bit(data):
    segment, state, parts = compiled_segment(CONFIG), start(CONFIG, data), start(CONFIG, data)
    for _ in range(CONFIG.epochs):
        state = segment(HYPER, KEY, data.train, state, np.int32(5))
        for count in (2, 1, 2):
            parts = segment(HYPER, KEY, data.train, parts, np.int32(count))
    assert equal(state, parts)
    run = jax.jit(partial(loop.train, CONFIG, num_classes=CLASSES))
    whole, history = run(hyper=HYPER, key=KEY, data=data)
    chex.assert_trees_all_close(whole.params, state.params, atol=1e-6)
    assert int(whole.tally.correct) == int(state.tally.correct)


@pytest.mark.parametrize("shuffle, orders", [("every_epoch", 3), ("once", 1)])
def test_a_segment_draws_a_new_order_every_epoch_or_once(data, shuffle, orders):
    """Keras's fit repeats its first order after set_random_seed, at four points of accuracy."""
    config = dataclasses.replace(CONFIG, shuffle=shuffle)
    segment, state = compiled_segment(config), start(config, data)
    first_batches = {
        float(segment(HYPER, KEY, data.train, state._replace(step=jnp.int32(step)), np.int32(1))
              .tally.loss_sum)
        for step in (0, 5, 10)
    }
    assert len(first_batches) == orders


def test_one_trace_serves_every_length_and_rate(data):
    chex.clear_trace_counter()

    def segment_of_config(*args):
        return loop.segment(build("tiny", CLASSES), CONFIG, *args)

    segment = jax.jit(chex.assert_max_traces(segment_of_config, n=1))
    state = start(CONFIG, data)
    for count, rate in ((1, 1e-3), (2, 1e-2), (2, 0.0)):
        hyper = HYPER._replace(learning_rate=jnp.float32(rate))
        state = segment(hyper, KEY, data.train, state, np.int32(count))
    assert int(state.step) == 5


def test_nothing_crosses_to_the_host_inside_a_segment(data):
    segment, state = compiled_segment(CONFIG), start(CONFIG, data)
    count = jax.device_put(np.int32(5))
    segment(HYPER, KEY, data.train, state, count)
    with jax.transfer_guard("disallow"):
        segment(HYPER, KEY, data.train, state, count)


def test_a_cpu_segment_holds_no_convolution(data):
    config = dataclasses.replace(CONFIG, model="cnn")
    arguments = (HYPER, KEY, data.train, start(config, data), np.int32(5))
    text = compiled_segment(config).lower(*arguments).compile().as_text()
    assert " convolution(" not in text and " dot(" in text


def test_microbatches_give_the_whole_batchs_update(data):
    states = []
    for size in (0, 2):
        config = dataclasses.replace(CONFIG, microbatch=size)
        state = compiled_segment(config)(HYPER, KEY, data.train, start(config, data), np.int32(5))
        states.append(state)
    chex.assert_trees_all_close(states[0].params, states[1].params, atol=2e-5)
    assert int(states[1].tally.count) == 37


def test_the_gradient_is_the_mean_over_valid_examples():
    """One SGD step on a masked batch equals one on the examples alone."""
    data = jax.device_put(Data(random_split(5), random_split(5)))
    params = []
    for size in (5, 16):
        config = Config(model="tiny", batch_size=size, optimizer="sgd", epochs=1)
        hyper = HYPER._replace(learning_rate=jnp.float32(0.1))
        state = compiled_segment(config)(
            hyper, KEY, data.train, start(config, data, hyper), np.int32(1)
        )
        params.append(state.params)
    chex.assert_trees_all_close(*params, atol=1e-6)


def test_evaluation_counts_every_example_once(data):
    model, params = build("tiny", CLASSES), start(CONFIG, data).params
    result = loop.evaluate(model, params, data.validation, CLASSES)
    logits = model.apply({"params": params}, normalise(data.validation.images), train=False)
    labels = np.asarray(data.validation.labels)
    log_p = np.asarray(jax.nn.log_softmax(logits))[np.arange(21), labels]
    np.testing.assert_allclose(result.tally.loss_sum, -log_p.sum(), rtol=1e-5)
    assert int(result.tally.count) == 21 == int(result.confusion.sum())
    assert int(result.tally.correct) == (np.argmax(logits, 1) == labels).sum()
    predicted, probability = loop.predict(model, params, data.validation.images)
    np.testing.assert_array_equal(predicted, np.argmax(logits, 1))
    np.testing.assert_allclose(probability, jax.nn.softmax(logits).max(1), rtol=1e-5)


def test_it_overfits_32_examples():
    split = jax.device_put(random_split(32))._replace(
        labels=jax.random.randint(KEY, (32,), 0, CLASSES)
    )
    config = Config(batch_size=32, epochs=200)
    hyper = HYPER._replace(learning_rate=jnp.float32(3e-3))
    _, history = jax.jit(partial(loop.train, config, num_classes=CLASSES))(
        hyper=hyper, key=KEY, data=Data(split, split)
    )
    assert float(history["val_accuracy"][-1]) == 1.0


def test_a_run_is_a_function_that_vmap_multiplies(data):
    run = partial(loop.train, CONFIG, num_classes=CLASSES)
    keys = jax.random.split(KEY, 2)
    many, _ = jax.jit(jax.vmap(lambda key: run(hyper=HYPER, key=key, data=data)))(keys)
    one, _ = jax.jit(lambda key: run(hyper=HYPER, key=key, data=data))(keys[1])
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], many.params), one.params, atol=1e-5)


def test_the_first_non_finite_step_is_remembered(data):
    hyper = HYPER._replace(learning_rate=jnp.float32(1e30))
    state = compiled_segment(CONFIG)(hyper, KEY, data.train, start(CONFIG, data), np.int32(5))
    assert 1 <= int(state.diverged_at) <= 4


def small_dataset(count: int = 40) -> Dataset:
    splits = {"train": random_split(count), "test": random_split(10, seed=1)}
    return Dataset("small", ("a", "b", "c", "d"), splits, "0")


def test_a_held_out_fraction_is_disjoint_and_the_same_for_every_seed():
    dataset = small_dataset()
    first, second = (
        partition(dataset, Config(validation_split="0.25", seed=seed, batch_size=4))
        for seed in (0, 1)
    )
    assert len(first.validation.labels) == 10 and len(first.train.labels) == 30
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    seen = np.concatenate([first.train.images, first.validation.images])
    order = np.lexsort(seen.reshape(40, -1).T)
    want = dataset.splits["train"].images
    np.testing.assert_array_equal(
        seen[order], want[np.lexsort(want.reshape(40, -1).T)]
    )


@pytest.mark.parametrize(
    "config, said",
    [
        (Config(batch_size=41), "--batch_size 41 is larger than the 40"),
        (Config(validation_split="0.01"), "leaves no validation examples of 40"),
        (Config(validation_split="tset"), "did you mean test"),
        (Config(train_split="trian"), "did you mean train"),
    ],
)
def test_splits_that_cannot_be_are_refused(config, said):
    with pytest.raises(RequestError, match=said):
        partition(small_dataset(), config)


@pytest.mark.parametrize(
    "size, platform, micro",
    [(32, "cpu", 0), (64, "cpu", 32), (100, "cpu", 25), (509, "cpu", 0), (512, "gpu", 0)],
)
def test_the_microbatch_is_chosen_with_a_reason(size, platform, micro):
    chosen, reason = loop.microbatch_for(Config(batch_size=size), platform)
    assert chosen == micro and reason
