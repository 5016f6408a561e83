"""A task of one's own that takes whatever the network gives, against NumPy on the same params."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import carried_out
from sklearn.metrics import f1_score

from engine.command.output import named
from engine.config import Config, Hyper
from engine.data import partition
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.export.card import outputs as card
from engine.loaded import load
from engine.objects.arrays import of
from engine.place import Place
from engine.pure import data_for, train
from engine.run import fit
from engine.sweep.asked import sweep
from engine.task import Task

RNG = np.random.default_rng(0)
SIDE, KINDS = 3, 4
X = RNG.normal(size=(40, SIDE, SIDE, 2)).astype(np.float32)
Y = RNG.integers(0, KINDS, (40, SIDE, SIDE))  # of every pixel
FLAT = Y.reshape(40, -1).astype(np.float32)
DATA = {"train": (X, FLAT), "validation": (X[:9], FLAT[:9])}


class Pixels(nn.Module):
    """Of each pixel's classes, and how bright it is."""

    @nn.compact
    def __call__(self, x):
        return {"classes": nn.Dense(KINDS, name="classes")(x), "bright": nn.Dense(1)(x)[..., 0]}


class Segmentation(Task):
    any_outputs, score, higher, errors = True, "right", True, ("off",)

    def loss(self, outputs, targets, hyper):
        classes = targets.astype(jnp.int32).reshape(-1, SIDE, SIDE)
        own = jnp.take_along_axis(jax.nn.log_softmax(outputs["classes"]), classes[..., None], -1)
        return jnp.square(outputs["bright"]).mean((1, 2)) - own.mean((1, 2, 3))

    def scores(self, outputs, targets):
        same = outputs["classes"].argmax(-1) == targets.astype(jnp.int32).reshape(-1, SIDE, SIDE)
        return {"right": same.mean((1, 2)), "off": 1 - same.mean((1, 2))}

    def predict(self, outputs):
        return outputs["classes"].argmax(-1)


CONFIG = Config(model=Pixels(), task=Segmentation(), epochs=2, batch_size=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = Place(device="cpu", run_dir=str(tmp_path_factory.mktemp("any") / "run"), report=False)
    return fit(dataclasses.replace(CONFIG, patience=1, monitor="val_off"), Hyper(ema_decay=0.5),
               place, data=DATA)


@pytest.mark.slow
def test_scores_and_predictions_are_those_of_the_params(run):
    kernel, bias = (np.asarray(run.state.average["params"]["classes"][name])
                    for name in ("kernel", "bias"))
    said = (X @ kernel + bias).argmax(-1)
    np.testing.assert_array_equal(run.predict(X), said)
    assert run.predict(X[:0]).shape == (0, SIDE, SIDE)
    right = (said[:9] == Y[:9]).mean()
    assert run.history[-1]["val_averaged_right"] == pytest.approx(right, rel=1e-5)
    again = load(run, CONFIG, "last")
    np.testing.assert_array_equal(again.predict(X), said)
    assert evaluate(run, DATA, "last", CONFIG)["right"] == pytest.approx(right, rel=1e-5)


@pytest.mark.slow
def test_train_takes_them_too():
    data = data_for(CONFIG, DATA)
    _, history = jax.jit(train)(CONFIG, Hyper(), jax.random.key(0), data)
    assert np.isfinite(history["val_loss"]).all()
    with pytest.raises(RequestError, match="--label_smoothing has no effect"):
        train(CONFIG, Hyper(label_smoothing=jnp.float32(0.1)), jax.random.key(0), data)


def test_doors_that_go_by_names_say_where_to_go(run):
    """And an export's card has no names for them."""
    with pytest.raises(RequestError, match="predicts 3 × 3 of each example, .* 9 targets"):
        named(run, run.predict(X))
    told = card(run)
    assert told["shape"] == ("batch", SIDE, SIDE) and told["names"] == ()
    assert told["dtype"] == "int32" and json.dumps(told)


class Bare(Segmentation):
    predict = Task.predict


class Several(Pixels):
    def __call__(self, x):
        return {"classes": jnp.ones((3, 2))}


class Narrow(Segmentation):
    any_outputs = False


class Truths(Segmentation):
    def loss(self, outputs, targets, hyper):
        return super().loss(outputs, targets, hyper) > 0


class Epochs(Segmentation):
    def scores(self, outputs, targets):
        return super().scores(outputs, targets) | {"epoch": outputs["bright"].mean((1, 2))}


class Drawing(Pixels):
    def __call__(self, x):
        return jax.tree.map(lambda y: y + jax.random.normal(self.make_rng("noise"), y.shape),
                            super().__call__(x))


class Later(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        found = Pixels()(x)
        return found | {"bright": nn.Dense(1)(x)[..., 0]} if train else found


class Otherwise(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        found = Pixels()(x)
        return (found, found) if train else found


@pytest.mark.parametrize("changed, said", [
    ({"task": Truths()}, "loss is of bool, which has no gradient: give real numbers"),
    ({"task": Epochs()}, "score epoch has the name of another column of history.jsonl"),
    ({"model": Drawing()}, "Drawing.* draws random numbers out of training, where there are none"),
    ({"model": Later()}, "make them whether `train` is true or not"),
    ({"model": Otherwise()}, "task .*Segmentation.*'s loss: .*TypeError: tuple indices"),
    ({"task": Bare()}, "predict gives a dict of several for 2 examples: return one array"),
    ({"task": Narrow()}, "of shape a dict .* Or say any_outputs = True in Narrow"),
    ({"task": "regression"}, r"needs \(2, 9\): let it take num_outputs, or end in a layer of 9.$"),
    ({"model": Several()}, "let the first axis of each be the examples"),
])
def test_what_does_not_fit_is_told(changed, said):
    with pytest.raises(RequestError, match=said):
        train(dataclasses.replace(CONFIG, **changed), Hyper(), jax.random.key(0),
              data_for(CONFIG, DATA))


class Aided(nn.Module):
    """With a head that only training's loss has; and complex numbers, and a mean over the batch."""

    @nn.compact
    def __call__(self, x, train: bool, valid):
        y = nn.Dense(4)(x)
        counted = valid.astype(jnp.float32)
        mean = (y[:, 0] * counted).sum() / counted.sum()
        found = {"waves": jnp.fft.rfft(y), "mean": jnp.full(len(x), mean)}
        return found | {"aid": nn.Dense(1)(y)[:, 0] * 0 + 3} if train else \
            found | {"made": nn.Dense(1)(y) * 0}


class Aid(Task):
    any_outputs = True

    def loss(self, outputs, targets, hyper):
        apart = jnp.square(jnp.abs(outputs["waves"] - jnp.fft.rfft(targets))).mean(-1)
        return apart + outputs["mean"] + (0 if hyper is None else outputs["aid"])

    def predict(self, outputs):
        return outputs["mean"]


def test_training_may_give_others_complex_ones_and_a_mean_over_the_examples_that_count(tmp_path):
    """The last batches, of 5 and of 3 examples, are filled up."""
    x, place = RNG.normal(size=(21, 4)).astype("f4"), Place(device="cpu", report=False,
                                                            run_dir=str(tmp_path / "run"))
    run = fit(Config(model=Aided(), task=Aid(), epochs=1, batch_size=16), Hyper(learning_rate=0.0),
              place, data={"train": (x, x), "validation": (x[:3], x[:3])}, quiet=True)
    y = x @ np.asarray(run.state.params["Dense_0"]["kernel"])
    waves = np.square(np.abs(np.fft.rfft(y) - np.fft.rfft(x))).mean(-1)
    (row,) = run.history
    assert row["val_loss"] == pytest.approx((waves[:3] + y[:3, 0].mean()).mean(), rel=1e-5)
    assert row["loss"] == pytest.approx((waves + y[:, 0].mean()).mean() + 3, rel=0.2)
    np.testing.assert_allclose(run.predict(x[:3]), np.full(3, y[:3, 0].mean()), rtol=1e-5)


@pytest.mark.slow
def test_the_score_of_the_docs_is_f1(here):
    """Whose best epoch, which `fit` returns, has the highest."""
    names = carried_out("docs/own.md", "class Found")
    run, x, y = (names[name] for name in "run x y".split())
    values = [row["val_f1"] for row in run.history]
    assert run.metrics["epoch"] == 1 + int(np.argmax(values))
    data = partition(of((((x - x.mean(0)) / x.std(0)), y)), Config(batch_size=1))
    rows = data.validation.rows
    said = run.predict(data.validation.split.inputs[rows]).argmax(1)
    assert max(values) == pytest.approx(f1_score(data.validation.targets, said), rel=1e-5)
    assert run.metrics["per_class"]["1"]["f1"] == pytest.approx(max(values), rel=1e-5)


@pytest.mark.slow
def test_a_sweep_has_them_and_no_mean_of_its_runs(tmp_path):
    place = Place(device="cpu", run_dir=str(tmp_path / "sweep"), report=False)
    found = sweep(CONFIG, {"learning_rate": [1e-3, 1e-2]}, place=place, data=DATA)
    assert {row["status"] for row in found.results} == {"done"}
    with pytest.raises(RequestError, match=r"can't be judged.* Give it outputs\(predicted\)"):
        evaluate(found, DATA, config=CONFIG)
