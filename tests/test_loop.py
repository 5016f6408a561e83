import dataclasses
import functools
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK
from samples import Normed, Tiny, data_of, random_split

from engine import loop
from engine.config import Config, Hyper
from engine.doors import computed
from engine.feed import Data, epoch_order
from engine.learners.chosen import learner_of
from engine.learners.microbatch import microbatch_for
from engine.pure import train
from engine.task import Task

CLASSES = 4
CONFIG = Config(model=Tiny, batch_size=8, epochs=3)
HYPER = jax.tree.map(jnp.float32, Hyper(learning_rate=1e-3))
KEY = jax.random.key(5)
quickly = partial(jax.jit, compiler_options=QUICK)


@functools.cache
def segment(config: Config, trips: int = 0):
    learner = dataclasses.replace(learner_of(config, CLASSES), trips=trips)
    return quickly(learner.segment)


@functools.cache
def whole_run(config: Config):
    return quickly(partial(train, config))


@functools.cache
def create(config: Config):
    return quickly(learner_of(config, CLASSES).create)


def start(config: Config, data: Data, hyper: Hyper = HYPER):
    return create(config)(hyper, KEY, data)


class Small(nn.Module):
    """One of each layer of the article's."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.max_pool(nn.relu(nn.Conv(4, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


def equal(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


@pytest.mark.parametrize("size", [8, pytest.param(37, marks=pytest.mark.slow)])
def test_exactly_n_updates(data, size):
    config = dataclasses.replace(CONFIG, batch_size=size)
    state, history = whole_run(config)(HYPER, KEY, data)
    steps = -(-37 // size) * config.epochs
    assert int(state.step) == steps == int(state.opt_state[0][0].count)
    assert int(state.tally.count) == 37 and history["loss"].shape == (config.epochs,)


@pytest.mark.parametrize("model, trips", [
    (Tiny, 0), *(pytest.param(model, trips, marks=pytest.mark.slow)
                 for model, trips in ((Normed, 0), (Tiny, 2), (Normed, 2))),
])
def test_two_segments_equal_one_and_the_whole_run_bit_for_bit(data, model, trips):
    """With known trips too: five are here two of two and one of one."""
    config = dataclasses.replace(CONFIG, model=model)
    one = parts = start(config, data)
    for _ in range(config.epochs):
        one = segment(config, trips)(HYPER, KEY, KEY, data.train, one, np.int32(5))
        for count in (2, 1, 2):
            parts = segment(config, trips)(HYPER, KEY, KEY, data.train, parts, np.int32(count))
    assert equal(one, parts)
    whole, _ = whole_run(config)(HYPER, KEY, data)
    chex.assert_trees_all_close(whole.variables, one.variables, atol=1e-5)
    assert int(whole.tally.correct) == int(one.tally.correct)


@dataclasses.dataclass(frozen=True)
class Seen(Task):
    """Counts how often each example was met: its target is its number."""

    kind = "numbers"

    def loss(self, outputs, targets, hyper):
        return 0.0 * outputs.sum(-1)

    def scores(self, outputs, targets):
        return {f"{i}": jnp.where(targets[:, 0] == i, 1.0, 0.0) for i in range(11)}


def test_an_epoch_cuts_each_example_once_and_the_next_one_again_in_another_order():
    """Of 11 in batches of four, step by step: the last batch has what the epoch has left."""
    split = random_split(11, side=2)._replace(targets=np.arange(11, dtype=np.float32)[:, None])
    data = data_of(split, split, 1)
    config = Config(model=Tiny, task=Seen(), batch_size=4, epochs=2)
    state, met = learner_of(config, 1).create(HYPER, KEY, data), []
    step = quickly(learner_of(config, 1).segment)
    for number in range(6):
        before = state.tally.scores
        state = step(HYPER, KEY, KEY, data.train, state, np.int32(1))
        met.append({int(i) for i, n in state.tally.scores.items()
                    if n != (before[i] if number % 3 else 0)})
        if number % 3 == 2:
            assert all(float(n) == 1 for n in state.tally.scores.values())
    assert list(map(len, met)) == [4, 4, 3, 4, 4, 3] and met[:3] != met[3:]
    for epoch in range(2):
        order = np.asarray(epoch_order(KEY, epoch, np.arange(11)))
        assert met[3 * epoch : 3 * epoch + 3] == [set(order[:4]), set(order[4:8]), set(order[8:])]


@pytest.mark.parametrize("shuffle, orders", [("every_epoch", 3), ("once", 1)])
def test_a_segment_draws_a_new_order_every_epoch_or_once(data, shuffle, orders):
    """Keras's fit repeats its first order after set_random_seed, at four points of accuracy."""
    config = dataclasses.replace(CONFIG, shuffle=shuffle)
    state = start(config, data)
    states = [state._replace(step=jnp.int32(step)) for step in (0, 5, 10)]
    losses = {float(segment(config)(HYPER, KEY, KEY, data.train, state, np.int32(1)).tally.loss_sum)
              for state in states}
    assert len(losses) == orders


def test_one_trace_serves_every_length_and_rate(data):
    learner, state = learner_of(CONFIG, CLASSES), start(CONFIG, data)
    chex.clear_trace_counter()
    once = quickly(chex.assert_max_traces(lambda *args: learner.segment(*args), n=1))
    for count, rate in ((1, 1e-3), (2, 1e-2), (2, 0.0)):
        hyper = HYPER._replace(learning_rate=jnp.float32(rate))
        state = once(hyper, KEY, KEY, data.train, state, np.int32(count))
    assert int(state.step) == 5


def test_a_start_traces_initialising_and_evaluating_once():
    """However many ask: shapes and creation, evaluations and judgements of batches alike."""
    traced = []

    class Counted(Tiny):
        @nn.compact
        def __call__(self, x, train: bool):
            traced.append(x.shape[0])
            return x.reshape(len(x), -1) @ self.param("kernel", nn.initializers.ones, (4, CLASSES))

    data = data_of(random_split(100, side=2), random_split(70, side=2))
    learner = learner_of(Config(model=Counted, batch_size=8), CLASSES)
    state = learner.shapes(HYPER, data.train.input_shape)
    jax.eval_shape(learner.create, HYPER, KEY, data)
    assert traced == [1]
    jax.eval_shape(learner.evaluate, state.models, data.validation)
    jax.eval_shape(learner.judge, state.model, data.validation)
    assert traced == [1, loop.EVAL_BATCH]


def test_a_chain_that_divides_the_runs_lengths_has_a_states_shapes():
    """Whoever asks for them knows no lengths."""
    def halved(hyper, lengths):
        return optax.sgd(optax.cosine_decay_schedule(1.0, lengths.total // 2, lengths.epoch - 2))

    learner = learner_of(Config(model=Tiny, optimizer=halved), CLASSES)
    assert learner.shapes(HYPER, (8, 8, 3)).step.shape == ()


@pytest.mark.slow
def test_a_loop_of_known_trips_is_the_plain_one_bit_for_bit():
    """One program each for all lengths; for a CPU it is the plain one."""
    data = data_of(random_split(100, side=2), random_split(5, side=2))
    asked = computed.apart(learner_of(Config(model=Tiny, batch_size=1), CLASSES),
                           data.train.input_shape)
    known = asked.settled(HYPER, data, "gpu", print)
    on_cpu = dataclasses.replace(
        asked, config=dataclasses.replace(asked.config, convolution="product"))
    assert known.trips == 32 and asked.settled(HYPER, data, "cpu", print) == on_cpu
    assert known.config == asked.config
    plain = dataclasses.replace(known, trips=0)
    ways, first = (quickly(plain.segment), quickly(known.segment)), start(plain.config, data)
    for count in (0, 1, 31, 32, 33, 100):
        one, other = (way(HYPER, KEY, KEY, data.train, first, np.int32(count)) for way in ways)
        assert int(other.step) == count and equal(one, other)
    assert ways[1]._cache_size() == 1


def test_nothing_crosses_to_the_host_inside_a_segment(data):
    state, count = start(CONFIG, data), jax.device_put(np.int32(5))
    segment(CONFIG)(HYPER, KEY, KEY, data.train, state, count)
    with jax.transfer_guard("disallow"):
        segment(CONFIG)(HYPER, KEY, KEY, data.train, state, count)


def test_microbatches_give_the_whole_batchs_update(data):
    states, hyper = [], HYPER._replace(learning_rate=jnp.float32(0.05))
    for size in (0, 2):  # by SGD, since Adam enlarges rounding
        config = dataclasses.replace(CONFIG, optimizer="sgd", microbatch=size)
        states.append(segment(config)(
            hyper, KEY, KEY, data.train, start(config, data), np.int32(5)))
    chex.assert_trees_all_close(states[0].params, states[1].params, atol=1e-6)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), states[0].params,
                         start(config, data).params)
    assert min(jax.tree.leaves(moved)) > 1e-3
    assert int(states[1].tally.count) == 37


@pytest.mark.parametrize("model", [Tiny, pytest.param(Normed, marks=pytest.mark.slow)])
def test_the_gradient_is_the_mean_over_valid_examples(model):
    """One SGD step on five examples, in a batch of five and of 16, equals plain jax.grad's."""
    data = data_of(random_split(5), random_split(5))
    images, labels = jnp.asarray(data.train.split.inputs, jnp.float32) / 255, \
        data.train.split.targets
    first = start(Config(model=model, optimizer="sgd"), data)

    def mean(params):
        logits, _ = model().apply(first.variables | {"params": params}, images, train=True,
                                  mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradient = quickly(jax.grad(mean))(first.params)
    want = jax.tree.map(lambda p, g: p - 0.1 * g, first.params, gradient)
    for size in (5, 16):
        config = Config(model=model, batch_size=size, optimizer="sgd", epochs=1)
        hyper = HYPER._replace(learning_rate=jnp.float32(0.1))
        state = segment(config)(hyper, KEY, KEY, data.train, first, np.int32(1))
        chex.assert_trees_all_close(state.params, want, atol=2e-6)


@pytest.mark.parametrize("model", [Tiny, Normed])
def test_evaluation_counts_every_example_once(model):
    """Of 71: of a whole batch, and of one that isn't."""
    data = data_of(random_split(37), random_split(71, seed=1))
    config = dataclasses.replace(CONFIG, model=model)
    learner, variables = learner_of(config, CLASSES), start(config, data).variables
    split = data.validation.split

    @quickly
    def judged(variables, subset):
        images = jnp.float32(split.inputs) / 255
        return (*learner.evaluate((variables,), subset), learner.predict(variables, split.inputs),
                learner.judge(variables, subset), model().apply(variables, images, train=False))

    result, predicted, (sums, told), logits = judged(variables, data.validation)
    chex.assert_trees_all_close(sums, result, rtol=1e-6)
    np.testing.assert_allclose(told, predicted, atol=1e-6)
    labels = np.asarray(split.targets)
    log_p = np.asarray(jax.nn.log_softmax(logits))[np.arange(71), labels]
    np.testing.assert_allclose(result.loss_sum, -log_p.sum(), rtol=1e-5)
    assert int(result.count) == 71
    assert int(result.correct) == (np.argmax(logits, 1) == labels).sum()
    np.testing.assert_allclose(predicted, jax.nn.softmax(logits), atol=1e-6)


@pytest.mark.slow
def test_it_overfits_32_examples():
    """Whose labels are drawn by lot."""
    targets = np.random.default_rng(0).integers(0, CLASSES, 32).astype(np.int32)
    split = random_split(32, side=10)._replace(targets=targets)
    config, data = Config(model=Small, batch_size=32, epochs=150), data_of(split, split)
    hyper = HYPER._replace(learning_rate=jnp.float32(3e-2))
    _, history = whole_run(config)(hyper, KEY, data)
    assert float(history["val_accuracy"][-1]) == 1.0


def test_a_run_is_a_function_that_vmap_multiplies(data):
    roots = jax.random.split(KEY, 2)
    hypers = HYPER._replace(learning_rate=jnp.array([1e-3, 1e-2]))
    many, _ = quickly(jax.vmap(partial(train, CONFIG), (0, 0, None)))(hypers, roots, data)
    for i in range(2):
        hyper = jax.tree.map(lambda x, i=i: x[i], hypers)
        one, _ = whole_run(CONFIG)(hyper, roots[i], data)
        member = jax.tree.map(lambda x, i=i: x[i], many.params)
        chex.assert_trees_all_close(member, one.params, atol=1e-5)


@pytest.mark.parametrize("model, optimizer, rate, eps_root", [
    (Tiny, "adam", 1e-4, 1e-8), pytest.param(Normed, "sgd", 5e-4, None, marks=pytest.mark.slow),
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
        return train(config, hyper, KEY, data)[1]["val_loss"][-1]

    loss_and_slope = quickly(jax.value_and_grad(final_loss))
    _, slope = loss_and_slope(jnp.float32(rate))
    step = 0.01 * rate
    below, above = (loss_and_slope(jnp.float32(rate + s))[0] for s in (-step, step))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=0.02)


@pytest.mark.slow
def test_the_hyper_gradient_reaches_through_the_convolutions():
    data = data_of(random_split(37, side=10), random_split(21, side=10, seed=1))
    config = Config(model=Small, batch_size=19, epochs=1, optimizer="sgd")

    def final_loss(rate):
        _, history = train(config, HYPER._replace(learning_rate=rate), KEY, data)
        return history["val_loss"][-1]

    loss_and_slope = quickly(jax.value_and_grad(final_loss))
    loss, slope = loss_and_slope(jnp.float32(0.05))
    better, _ = loss_and_slope(jnp.float32(0.05) - 0.01 * jnp.sign(slope))
    assert slope != 0 and better < loss


@pytest.mark.slow
def test_a_separate_order_key_moves_the_batches_alone(data):
    run = whole_run(CONFIG)
    (same, _), (moved, _) = (run(HYPER, KEY, data, jax.random.key(s)) for s in (5, 6))
    alone, _ = run(HYPER, KEY, data)
    assert equal(same.params, alone.params) and not equal(same.params, moved.params)


def test_the_first_non_finite_step_is_remembered(data):
    """The very step, told by stepping one by one."""
    hyper = HYPER._replace(learning_rate=jnp.float32(1e30))
    step, state, losses = segment(CONFIG), start(CONFIG, data), [0.0]
    for _ in range(5):
        state = step(hyper, KEY, KEY, data.train, state, np.int32(1))
        losses.append(float(state.tally.loss_sum))
    bad = next(number for number, loss in enumerate(losses[1:]) if not np.isfinite(loss))
    assert bad > 0 and int(state.diverged_at) == bad
    at_once = step(hyper, KEY, KEY, data.train, start(CONFIG, data), np.int32(5))
    assert int(at_once.diverged_at) == bad


@pytest.mark.parametrize(
    "size, platform, micro",
    [(32, "cpu", 0), (64, "cpu", 32), (100, "cpu", 25), (509, "cpu", 0), (512, "gpu", 0)],
)
def test_the_microbatch_is_chosen_with_a_reason(size, platform, micro):
    chosen, reason = microbatch_for(Config(batch_size=size), platform)
    assert chosen == micro and reason


@pytest.mark.parametrize("shape, micro", [((64, 8), 0), ((3, 8, 8), 32), ((3, 3, 8, 8), 32)])
def test_a_network_of_matrices_has_no_patches_to_cut_a_batch_for(shape, micro):
    kernels = {"kernel": jax.ShapeDtypeStruct(shape, jnp.float32),
               "bias": jax.ShapeDtypeStruct((8,), jnp.float32)}
    assert microbatch_for(Config(batch_size=64), "cpu", 1, {"params": kernels})[0] == micro


def test_batch_statistics_are_of_the_whole_batch(data):
    """Which no microbatch has: refused, whoever asks."""
    variables = start(dataclasses.replace(CONFIG, model=Normed), data).variables
    config = Config(model=Normed, batch_size=64)
    size, reason = microbatch_for(config, "cpu", 1, variables)
    assert size == 0 and "batch statistics" in reason
    config = dataclasses.replace(config, microbatch=4)
    size, reason = microbatch_for(config, "cpu", 1, variables)
    assert size == 4 and "statistics of its own" in reason


def with_microbatches(params, stats, images, labels, rate, size):
    """One SGD update of Normed in PyTorch, in double precision: the gradients of the microbatches
    add up, and the running statistics follow each. flax's var is of N, PyTorch's own of N - 1."""
    torch = pytest.importorskip("torch")
    first, second = params["Dense_0"]["kernel"], params["Dense_1"]["kernel"]
    given = (first, params["BatchNorm_0"]["scale"], params["BatchNorm_0"]["bias"], second,
             params["Dense_1"]["bias"])
    w1, scale, bias, w2, b2 = (torch.tensor(np.float64(p), requires_grad=True) for p in given)
    mean, var = (np.float64(stats["BatchNorm_0"][name]) for name in ("mean", "var"))
    parts = [slice(at, at + size) for at in range(0, len(images) - 2 * size + 1, size)]
    parts.append(slice(parts[-1].stop, None))  # with what is over
    for part in parts:
        hidden = torch.tensor(np.float64(images[part]).reshape(len(images[part]), -1)) @ w1
        own = hidden.mean(0), hidden.var(0, unbiased=False)
        normed = (hidden - own[0]) / torch.sqrt(own[1] + 1e-5) * scale + bias
        logits = torch.relu(normed) @ w2 + b2
        loss = torch.nn.functional.cross_entropy(
            logits, torch.tensor(np.int64(labels[part])), reduction="sum")
        (loss / len(images)).backward()
        mean, var = (0.9 * old + 0.1 * new.detach().numpy()
                     for old, new in zip((mean, var), own, strict=True))
    moved = [(p - rate * p.grad).detach().numpy() for p in (w1, scale, bias, w2, b2)]
    return moved, mean, var


@pytest.mark.parametrize("count", [pytest.param(12, marks=pytest.mark.slow), 11])
def test_a_microbatch_has_statistics_of_its_own_as_in_pytorch(count):
    """Twelve examples in threes; of eleven, what is over joins the last three."""
    data = data_of(random_split(count, side=4), random_split(5, side=4))
    config = Config(model=Normed, batch_size=count, microbatch=3, optimizer="sgd", epochs=1)
    first, hyper = start(config, data), HYPER._replace(learning_rate=jnp.float32(0.1))
    state = segment(config)(hyper, KEY, KEY, data.train, first, np.int32(1))
    order = np.asarray(epoch_order(KEY, 0, jnp.arange(count)))
    images, labels = (np.asarray(x)[order] for x in data.train.split[:2])
    images = images / np.float32(255)
    moved, mean, var = with_microbatches(first.params, first.batch_stats, images, labels, 0.1, 3)
    got, stats = state.params, state.batch_stats["BatchNorm_0"]
    found = (got["Dense_0"]["kernel"], got["BatchNorm_0"]["scale"], got["BatchNorm_0"]["bias"],
             got["Dense_1"]["kernel"], got["Dense_1"]["bias"], stats["mean"], stats["var"])
    for one, want in zip(found, (*moved, mean, var), strict=True):
        np.testing.assert_allclose(one, want, atol=1e-6)
    whole = segment(dataclasses.replace(config, microbatch=0))(
        hyper, KEY, KEY, data.train, first, np.int32(1))
    assert not np.allclose(whole.params["Dense_0"]["kernel"], got["Dense_0"]["kernel"], atol=1e-5)
