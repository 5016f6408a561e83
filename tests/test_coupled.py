"""A loss of an example that depends on the others of its batch: refused where it isn't told which
of them count, as a score is, and else of exactly a batch's; and a network whose examples see each
other."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from engine.config import Config, Hyper
from engine.doors import coupled
from engine.doors.functions import unwrapped
from engine.doors.network import of
from engine.doors.precision import narrow
from engine.errors import RequestError
from engine.feed import epoch_order
from engine.learners.chosen import learner_of
from engine.learners.microbatch import microbatch_for
from engine.place import Place
from engine.pure import data_for, train
from engine.run import fit
from engine.serve.model import Model
from engine.sklearn.classifier import Classifier
from engine.task import Task
from engine.tasks.classification import Classification

RNG = np.random.default_rng(0)
COUNT, CLASSES = 150, 3
Y = RNG.integers(0, CLASSES, COUNT).astype(np.int32)
X = (RNG.normal(size=(COUNT, 5)) + Y[:, None]).astype(np.float32)


class Pull(Task):
    """How far an example's outputs are from the mean of those of its class in its batch."""

    kind = "classes"

    def loss(self, outputs, targets, hyper, valid):
        alike = (targets[:, None] == targets) & valid
        mean = alike.astype(jnp.float32) @ outputs / jnp.maximum(alike.sum(1), 1)[:, None].astype(
            jnp.float32)
        return jnp.square(outputs - mean).sum(-1)


class Untold(Pull):
    def loss(self, outputs, targets, hyper):
        return super().loss(outputs, targets, hyper, jnp.ones(len(outputs), bool))


class Hardest(Task):
    """A triplet loss: its margin is 0 for many outputs."""

    kind = "classes"

    def loss(self, outputs, targets, hyper):
        off = jnp.square(outputs[:, None] - outputs).sum(-1)
        alike = targets[:, None] == targets
        return jax.nn.relu(jnp.where(alike, off, 0).max(1) - jnp.where(alike, 9e9, off).min(1) + 1)


class OfTargets(Task):
    """Each class as often as the batch has it."""

    kind = "classes"

    def loss(self, outputs, targets, hyper):
        alike = (targets[:, None] == targets).sum(1).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets) / alike


class InTraining(Task):
    """A loss over the batch that is trained by, and another that judges."""

    kind = "classes"

    def loss(self, outputs, targets, hyper):
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return loss if hyper is None else loss - loss.mean()


class Alone(Task):
    kind = "classes"

    def loss(self, outputs, targets, hyper):
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


class Ranks(Classification):
    """Which of its batch has more of the right class."""

    def scores(self, outputs, targets):
        own = jnp.take_along_axis(outputs, targets[:, None], 1)[:, 0]
        return {"own": own, "rank": (own[:, None] < own).sum(1)}


def by_numpy(outputs, targets):
    """Pull of exactly these examples."""
    means = np.stack([outputs[targets == k].mean(0) if (targets == k).any() else outputs[0] * 0
                      for k in range(CLASSES)])
    return np.square(outputs - means[targets]).sum()


def config(task, **more):
    return Config(model=nn.Dense(CLASSES), task=task, epochs=1, batch_size=128, **more)


@pytest.mark.parametrize("task, said", [
    *((task, "loss of an example .* let it take `valid` too")
      for task in (Untold(), Hardest(), OfTargets(), InTraining())),
    (Ranks(), "score rank of an example depends on the others .* let it be of no others")])
def test_a_loss_that_is_not_told_who_counts_and_such_a_score_are_refused(task, said):
    data = data_for(config(task), (X, Y))
    with pytest.raises(RequestError, match=said):
        jax.jit(train, static_argnums=0)(config(task), Hyper(), jax.random.key(0), data)
    jax.jit(train, static_argnums=0).lower(config(Alone()), Hyper(), jax.random.key(0), data)


def test_it_is_of_exactly_the_examples_of_a_batch(tmp_path):
    """Not of a microbatch's, nor of those that fill the last batch up: 128 and 22."""
    place = Place(device="cpu", run_dir=str(tmp_path / "run"), report=False)
    run = fit(config(Pull()), Hyper(learning_rate=0.0), place,
              data={"train": (X, Y), "validation": (X[:50], Y[:50])})
    outputs = X @ np.asarray(run.state.params["kernel"]) + np.asarray(run.state.params["bias"])
    order = np.asarray(epoch_order(jax.random.key(0), 0, np.arange(COUNT, dtype=np.int32)))
    batches = [order[:128], order[128:]]
    loss = sum(by_numpy(outputs[rows], Y[rows]) for rows in batches) / COUNT
    assert run.history[0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert run.metrics["loss"] == pytest.approx(by_numpy(outputs[:50], Y[:50]) / 50, rel=1e-5)


class Mixed(nn.Module):
    @nn.compact
    def __call__(self, x, valid=None):
        valid = jnp.ones(len(x), bool) if valid is None else valid
        mean = jnp.where(valid[:, None], x, 0).sum(0) / valid.sum().astype(x.dtype)
        return nn.Dense(CLASSES)(x - mean)


def test_whoever_predicts_leaves_out_what_fills_a_batch_up(tmp_path):
    place = Place(device="cpu", run_dir=str(tmp_path / "run"), report=False)
    run = fit(dataclasses.replace(config("auto"), model=Mixed()), Hyper(), place, data=(X, Y))
    dense = run.state.params["Dense_0"]
    wanted = jax.nn.softmax((X[:3] - X[:3].mean(0)) @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(run.predict(X[:3]), wanted, atol=1e-6)
    served = Model(run)
    np.testing.assert_allclose(served.predict(X[:3]), wanted, atol=1e-6)
    with pytest.raises(RequestError, match="see each other"):
        served.compile()
    found = Classifier(Mixed(), epochs=1, device="cpu").fit(X, Y)
    found.variables_ = run.state.model
    np.testing.assert_allclose(found.predict_proba(X[:3]), wanted, atol=1e-6)


class Mixing(nn.Module):
    @nn.compact
    def __call__(self, x, valid=None):
        return nn.Dense(CLASSES)(x)


@pytest.mark.parametrize("model, task, sees", [
    (nn.Dense(CLASSES), Pull(), True), (Mixing(), Alone(), True),
    (nn.Dense(CLASSES), Alone(), False)])
def test_no_microbatch_is_chosen_where_examples_see_each_other(model, task, sees):
    learner = learner_of(dataclasses.replace(config(task), model=model), CLASSES)
    assert learner.coupled is sees
    size, reason = microbatch_for(learner.config, "cpu", 1, {}, learner.coupled)
    assert (size == 0 and "see each other" in reason) if sees else size == 32
    size, reason = microbatch_for(config(task, microbatch=16), "cpu", 1, {}, sees)
    assert size == 16 and ("alone" in reason) is sees


SEEN = {
    "mean": lambda x, key: x - x.mean(0),
    "attention": lambda x, key: jax.nn.softmax(x @ x.T) @ x,
    "roll": lambda x, key: x + jnp.roll(x, 1, 0),
    "reversed": lambda x, key: x + x[::-1],
    "sorted": lambda x, key: jnp.sort(x, 0),
    "norm": lambda x, key: x / jnp.linalg.norm(x),
    "cumulative": lambda x, key: jnp.cumsum(x, 0),
    "permuted": lambda x, key: x + jax.random.permutation(key, x),
    "convolved": lambda x, key: jax.lax.conv(x.T[None], jnp.ones((5, 5, 3)), (1,), "SAME")[0].T,
    "within a loop": lambda x, key: jax.lax.fori_loop(0, 3, lambda i, x: x - x.mean(0), x),
}
UNSEEN = {
    "layer norm": lambda x, key: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True),
    "dropout": lambda x, key: jnp.where(jax.random.bernoulli(key, .5, x.shape), x, 0),
    "two views": lambda x, key: jnp.split(jnp.tanh(jnp.concatenate([x, x + 1])), 2)[0],
    "nearest": lambda x, key: jnp.eye(5)[jnp.square(x[:, None] - jnp.eye(5)).sum(-1).argmin(-1)],
    "convolved alone": lambda x, key: jax.lax.conv(x[:, None], jnp.ones((1, 1, 3)), (1,), "SAME"),
    "outer": lambda x, key: jnp.einsum("bi,bj->bij", x, x).sum(1),
}


@pytest.mark.parametrize("kind", [*SEEN, *UNSEEN])
def test_a_network_is_seen_to_mix_the_examples(kind):
    function = (SEEN | UNSEEN)[kind]

    def apply(variables, x, train, key, valid):
        return jnp.sin(function(x @ variables, key))

    found = coupled.mixes(apply, np.eye(5, dtype=np.float32), X)
    assert found is (kind in SEEN)
    ahead, rng = X[:40], jax.random.key(1)  # what is found by reading is so where it is tried
    alone = apply(jnp.eye(5), ahead, True, rng, None)
    beside = apply(jnp.eye(5), np.concatenate([X[60:80], ahead[20:]]), True, rng, None)
    assert np.allclose(alone[20:], beside[20:], atol=1e-6) is not found


class Centred(nn.Module):
    mean: bool

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(4, (2, 2))(x).mean((1, 2))
        return nn.Dense(CLASSES)(y - y.mean(0) if self.mean else y)


@pytest.mark.parametrize("mean", [True, False])
def test_such_a_network_is_told_and_has_its_batch_whole(mean):
    own, said = dataclasses.replace(config(Alone()), model=Centred(mean)), []
    data = data_for(own, (RNG.normal(size=(COUNT, 4, 4, 1)).astype(np.float32), Y))
    settled = learner_of(own, CLASSES).settled(Hyper(), data, "cpu", said.append)
    assert settled.config.microbatch == (0 if mean else 32)
    assert any("let its call take `valid`" in line for line in said) is mean


def test_a_network_within_another_is_asked():
    own = of(Mixing(), CLASSES)
    assert unwrapped(narrow(own)) is own


class Flat(nn.Module):
    """Of pictures without channels: Flax takes the examples for an axis of places."""

    num_outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs)(nn.Conv(2, (3, 3))(x).mean(-2))


@pytest.mark.slow
def test_a_convolution_over_the_examples_is_told(tmp_path, capsys):
    data = np.zeros((40, 4, 4), "f4"), np.arange(40) % 2
    fit(Config(model=Flat, epochs=1, batch_size=8), data=data,
        place=Place(device="cpu", run_dir=tmp_path / "run", report=False))
    told = " ".join(capsys.readouterr().out.split())
    assert "model Flat lets the examples of a batch see each other" in told
    assert "grey pictures [N, H, W], give x[..., None]: it convolves over them" in told
