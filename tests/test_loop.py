import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import data_of, random_split

from engine import loop
from engine.config import Config, Hyper
from engine.data import Data, normalise
from engine.errors import RequestError
from models import build

pytestmark = pytest.mark.usefixtures("tiny_is_a_model", "normed_is_a_model")
CLASSES = 4
CONFIG = Config(model="tiny", batch_size=8, epochs=3)
HYPER = jax.tree.map(jnp.float32, Hyper(learning_rate=1e-3))
KEY = jax.random.key(5)


def compiled_segment(config: Config):
    return jax.jit(partial(loop.segment, build(config.model, CLASSES), config))


def start(config: Config, data: Data, hyper: Hyper = HYPER):
    return loop.initial_state(config, hyper, KEY, data)


def equal(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


@pytest.mark.parametrize("size", [8, 37, 5])
def test_exactly_n_updates(data, size):
    config = dataclasses.replace(CONFIG, batch_size=size)
    state, history = jax.jit(loop.train)(config, HYPER, KEY, data)
    steps = -(-37 // size) * config.epochs
    assert int(state.step) == steps == int(state.opt_state[0][0].count)
    assert int(state.tally.count) == 37 and history["loss"].shape == (config.epochs,)


@pytest.mark.parametrize("model", ["tiny", "normed"])
def test_two_segments_equal_one_and_the_whole_run_bit_for_bit(data, model):
    config = dataclasses.replace(CONFIG, model=model)
    segment, state, parts = compiled_segment(config), start(config, data), start(config, data)
    for _ in range(config.epochs):
        state = segment(HYPER, KEY, KEY, data.train, state, np.int32(5))
        for count in (2, 1, 2):
            parts = segment(HYPER, KEY, KEY, data.train, parts, np.int32(count))
    assert equal(state, parts)
    whole, history = jax.jit(loop.train)(config, HYPER, KEY, data)
    chex.assert_trees_all_close(whole.variables, state.variables, atol=1e-5)
    assert int(whole.tally.correct) == int(state.tally.correct)


@pytest.mark.parametrize("shuffle, orders", [("every_epoch", 3), ("once", 1)])
def test_a_segment_draws_a_new_order_every_epoch_or_once(data, shuffle, orders):
    """Keras's fit repeats its first order after set_random_seed, at four points of accuracy."""
    config = dataclasses.replace(CONFIG, shuffle=shuffle)
    segment, state = compiled_segment(config), start(config, data)
    states = [state._replace(step=jnp.int32(step)) for step in (0, 5, 10)]
    losses = {float(segment(HYPER, KEY, KEY, data.train, state, np.int32(1)).tally.loss_sum)
              for state in states}
    assert len(losses) == orders


def test_one_trace_serves_every_length_and_rate(data):
    chex.clear_trace_counter()

    def segment_of_config(*args):
        return loop.segment(build("tiny", CLASSES), CONFIG, *args)

    segment = jax.jit(chex.assert_max_traces(segment_of_config, n=1))
    state = start(CONFIG, data)
    for count, rate in ((1, 1e-3), (2, 1e-2), (2, 0.0)):
        hyper = HYPER._replace(learning_rate=jnp.float32(rate))
        state = segment(hyper, KEY, KEY, data.train, state, np.int32(count))
    assert int(state.step) == 5


def test_nothing_crosses_to_the_host_inside_a_segment(data):
    segment, state = compiled_segment(CONFIG), start(CONFIG, data)
    count = jax.device_put(np.int32(5))
    segment(HYPER, KEY, KEY, data.train, state, count)
    with jax.transfer_guard("disallow"):
        segment(HYPER, KEY, KEY, data.train, state, count)


def test_a_cpu_segment_holds_no_convolution(data):
    config = dataclasses.replace(CONFIG, model="cnn")
    arguments = (HYPER, KEY, KEY, data.train, start(config, data), np.int32(5))
    text = compiled_segment(config).lower(*arguments).compile().as_text()
    assert " convolution(" not in text and " dot(" in text


def test_microbatches_give_the_whole_batchs_update(data):
    states = []
    for size in (0, 2):
        config = dataclasses.replace(CONFIG, microbatch=size)
        segment, state = compiled_segment(config), start(config, data)
        states.append(segment(HYPER, KEY, KEY, data.train, state, np.int32(5)))
    chex.assert_trees_all_close(states[0].params, states[1].params, atol=2e-5)
    assert int(states[1].tally.count) == 37


@pytest.mark.parametrize("model", ["tiny", "normed"])
def test_the_gradient_is_the_mean_over_valid_examples(model):
    """One SGD step on a masked batch equals one on the examples alone."""
    data = data_of(random_split(5), random_split(5))
    variables = []
    for size in (5, 16):
        config = Config(model=model, batch_size=size, optimizer="sgd", epochs=1)
        hyper = HYPER._replace(learning_rate=jnp.float32(0.1))
        state = compiled_segment(config)(
            hyper, KEY, KEY, data.train, start(config, data, hyper), np.int32(1)
        )
        variables.append(state.variables)
    chex.assert_trees_all_close(*variables, atol=2e-6)


@pytest.mark.parametrize("name", ["tiny", "normed"])
def test_evaluation_counts_every_example_once(data, name):
    config = dataclasses.replace(CONFIG, model=name)
    model, variables = build(name, CLASSES), start(config, data).variables
    result = loop.evaluate(model, variables, data.validation, CLASSES)
    split = data.validation.split
    logits = model.apply(variables, normalise(split.inputs), train=False)
    labels = np.asarray(split.targets)
    log_p = np.asarray(jax.nn.log_softmax(logits))[np.arange(21), labels]
    np.testing.assert_allclose(result.tally.loss_sum, -log_p.sum(), rtol=1e-5)
    assert int(result.tally.count) == 21 == int(result.confusion.sum())
    assert int(result.tally.correct) == (np.argmax(logits, 1) == labels).sum()
    predicted, probability = loop.predict(model, variables, split.inputs)
    np.testing.assert_array_equal(predicted, np.argmax(logits, 1))
    np.testing.assert_allclose(probability, jax.nn.softmax(logits).max(1), rtol=1e-5)


def test_it_overfits_32_examples():
    split = jax.device_put(random_split(32))._replace(
        targets=jax.random.randint(KEY, (32,), 0, CLASSES)
    )
    config = Config(batch_size=32, epochs=200)
    hyper = HYPER._replace(learning_rate=jnp.float32(3e-3))
    _, history = jax.jit(loop.train)(config, hyper, KEY, data_of(split, split))
    assert float(history["val_accuracy"][-1]) == 1.0


def test_a_run_is_a_function_that_vmap_multiplies(data):
    keys = jax.random.split(KEY, 2)
    hypers = HYPER._replace(learning_rate=jnp.array([1e-3, 1e-2]))
    many, _ = jax.jit(jax.vmap(loop.train, (None, 0, 0, None)))(CONFIG, hypers, keys, data)
    for i in range(2):
        hyper = jax.tree.map(lambda x, i=i: x[i], hypers)
        one, _ = jax.jit(loop.train)(CONFIG, hyper, keys[i], data)
        member = jax.tree.map(lambda x, i=i: x[i], many.params)
        chex.assert_trees_all_close(member, one.params, atol=1e-5)


@pytest.mark.parametrize("model, optimizer, rate, eps_root", [
    ("tiny", "sgd", 5e-3, None), ("tiny", "adam", 1e-4, 1e-8), ("normed", "sgd", 5e-3, None),
])
def test_the_hyper_gradient_is_the_slope_of_the_validation_loss(
    data, model, optimizer, rate, eps_root
):
    """d(validation loss)/d(learning rate) through a whole run, against finite differences.

    An epoch only: over more of them the loss has kinks, where a ReLU changes sides.
    """
    config = dataclasses.replace(CONFIG, model=model, optimizer=optimizer, epochs=1)

    def final_loss(rate):
        hyper = HYPER._replace(learning_rate=rate, eps_root=eps_root)
        return loop.train(config, hyper, KEY, data)[1]["val_loss"][-1]

    loss_and_slope = jax.jit(jax.value_and_grad(final_loss))
    _, slope = loss_and_slope(jnp.float32(rate))
    step = 0.01 * rate
    below, above = (loss_and_slope(jnp.float32(rate + s))[0] for s in (-step, step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=0.02)


def test_the_hyper_gradient_reaches_through_the_convolutions(data):
    config = Config(batch_size=19, epochs=1, optimizer="sgd")

    def final_loss(rate):
        _, history = loop.train(config, HYPER._replace(learning_rate=rate), KEY, data)
        return history["val_loss"][-1]

    loss, slope = jax.jit(jax.value_and_grad(final_loss))(jnp.float32(0.05))
    better = jax.jit(final_loss)(jnp.float32(0.05) - 0.01 * jnp.sign(slope))
    assert slope != 0 and better < loss


def test_a_separate_order_key_moves_the_batches_alone(data):
    train = jax.jit(loop.train)
    (same, _), (moved, _) = (train(CONFIG, HYPER, KEY, data, jax.random.key(s)) for s in (5, 6))
    alone, _ = train(CONFIG, HYPER, KEY, data)
    assert equal(same, alone) and not equal(same.params, moved.params)


def test_the_first_non_finite_step_is_remembered(data):
    hyper = HYPER._replace(learning_rate=jnp.float32(1e30))
    state = compiled_segment(CONFIG)(hyper, KEY, KEY, data.train, start(CONFIG, data), np.int32(5))
    assert 1 <= int(state.diverged_at) <= 4


@pytest.mark.parametrize(
    "size, platform, micro",
    [(32, "cpu", 0), (64, "cpu", 32), (100, "cpu", 25), (509, "cpu", 0), (512, "gpu", 0)],
)
def test_the_microbatch_is_chosen_with_a_reason(size, platform, micro):
    chosen, reason = loop.microbatch_for(Config(batch_size=size), platform)
    assert chosen == micro and reason


def test_batch_statistics_are_of_the_whole_batch(data):
    """Which no microbatch has: refused, whoever asks."""
    config = Config(model="normed", batch_size=64)
    batch_stats = start(config, data).batch_stats
    size, reason = loop.microbatch_for(config, "cpu", 1, batch_stats)
    assert size == 0 and "batch statistics" in reason
    config = dataclasses.replace(config, batch_size=8, microbatch=4)
    with pytest.raises(RequestError, match="--microbatch 4: the batch statistics of normed"):
        loop.microbatch_for(config, "cpu", 1, batch_stats)
    with pytest.raises(ValueError, match="batch_stats"):  # a part's statistics are nobody's sum
        loop.train(config, HYPER, KEY, data)
