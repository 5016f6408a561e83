"""Test-time augmentation: the mean over views of a picture, against the mean by hand."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from conftest import QUICK
from samples import Tiny, data_of, random_split

import launch
from engine.augmentations import views
from engine.config import Config, Hyper
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.learners.chosen import learner_of
from engine.loaded import load
from engine.run import fit
from engine.task import Task
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression

quickly = partial(jax.jit, compiler_options=QUICK)
IMAGES = random_split(9, side=6).inputs


def by_hand(words: str, images: np.ndarray) -> list[np.ndarray]:
    """The views of --tta."""
    found = [images]
    if "flip" in words:
        found.append(images[:, :, ::-1])
    if "shift" in words:
        height, width = images.shape[1:3]
        wide = [np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))) for x in found]
        found = [x[:, y : y + height, z : z + width] for x in wide
                 for y, z in ((1, 1), (2, 1), (0, 1), (1, 2), (1, 0))]
    return found


@pytest.mark.parametrize("words, count", [("flip", 2), ("shift", 5), ("flip,shift", 10)])
def test_the_views_are_the_picture_its_mirror_and_each_shifted(words, count):
    found = np.asarray(views.views(IMAGES, views.words_of(words)))
    assert found.shape == (count, *IMAGES.shape)
    np.testing.assert_array_equal(found, by_hand(words, IMAGES))


@pytest.mark.parametrize("task", [Classification(), Multilabel(), Regression(),
                                  Regression(mean=(1.0,), scale=(3.0,))])
def test_a_tasks_outputs_are_the_inverse_of_its_predict(task):
    outputs = np.random.default_rng(0).normal(size=(5, 3), scale=9).astype(np.float32)
    found, each = quickly(lambda outputs: (
        task.predict(task.outputs(task.predict(outputs))), task.predict(outputs)))(outputs)
    np.testing.assert_allclose(found, each, rtol=2e-6, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["flip,shift"])
def test_a_learner_predicts_and_is_judged_by_the_mean_of_probabilities(words):
    learner, data = learner_of(Config(model=Tiny), 4), data_of(*[random_split(9, side=6)] * 2)
    state = quickly(learner.create)(Hyper(np.float32(1.0)), jax.random.key(0), data)
    seeing = views.seeing(learner, words, (6, 6, 1))
    assert views.seeing(learner, "", (6,)) is learner

    @quickly
    def probabilities(variables, images):
        return jax.nn.softmax(Tiny().apply(variables, images.astype(np.float32) / 255, False))

    each = [probabilities(state.variables, images) for images in by_hand(words, IMAGES)]
    wanted, labels = np.mean(each, 0), np.asarray(data.validation.split.targets)
    assert abs(wanted - each[0]).max() > 1e-3
    predicted = quickly(seeing.predict)(state.variables, IMAGES)
    np.testing.assert_allclose(predicted, wanted, atol=1e-6)
    (sums,) = quickly(seeing.evaluate)(state.models, data.validation)
    loss = -np.log(wanted[np.arange(9), labels]).sum()
    np.testing.assert_allclose(sums.loss_sum, loss, rtol=1e-5)
    assert int(sums.correct) == (wanted.argmax(1) == labels).sum()


class Own(Task):
    kind = "classes"

    def loss(self, outputs, targets, hyper):
        return outputs.sum(-1)

    def predict(self, outputs):
        return jax.nn.softmax(outputs)


@pytest.mark.parametrize("words, shape, task, said", [
    ("flop", (6, 6, 1), "auto", "unknown view of --tta 'flop': did you mean flip"),
    (",", (6, 6, 1), "auto", "unknown view of --tta ',': choose from flip, shift"),
    ("flip", (6,), "auto", "--tta flip is for pictures, .*the inputs are 6: leave it out"),
    ("flip", (6, 6, 1), Own(), "task Own has a predict of its own: give it outputs"),
])
def test_what_has_no_views_is_refused(words, shape, task, said):
    with pytest.raises(RequestError, match=said):
        views.seeing(learner_of(Config(model=Tiny, task=task), 4), words, shape)


@pytest.mark.slow
def test_eval_and_predict_take_views_and_the_runs_own_scores_stay(here, capsys):
    x, y = random_split(120, side=6)[:2]
    splits = {"train": (x[:80], y[:80]), "test": (x[80:], y[80:])}
    run = fit(Config(model=Tiny, epochs=2, batch_size=8), data=splits, quiet=True)
    before = (run.path / "metrics.json").read_text()
    config = Config(model=Tiny, epochs=2, batch_size=8, dataset=run.learner.config.dataset)
    scores = evaluate(run.path, splits, config=config, tta="flip,shift")
    each = [run.predict(images) for images in by_hand("flip,shift", x[80:])]
    wanted = np.mean(each, 0)
    np.testing.assert_allclose(run.predict(x[80:], tta="flip,shift"), wanted, atol=1e-6)
    assert scores["accuracy"] == pytest.approx((wanted.argmax(1) == y[80:]).mean())
    assert scores["loss"] == pytest.approx(-np.log(wanted[np.arange(40), y[80:]]).mean(), rel=1e-4)
    assert scores["tta"] == "flip,shift"
    assert "tta" not in evaluate(run.path, splits, config=config)
    assert (run.path / "metrics.json").read_text() == before


@pytest.mark.slow
def test_on_the_command_line(here, capsys):
    digits = ("--dataset", "digits", "--image_size", "8", "--batch_size", "100", "--model", "mlp",
              "--epochs", "1", "--device", "cpu", "--run_dir", "run")
    assert launch.main([*digits]) == 0
    capsys.readouterr()
    assert launch.main(["eval", "--run_dir", "run", "--json", "--tta", "shift"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tta"] == "shift" and told["num_examples"] == 360
    assert launch.main(["eval", "--run_dir", "run", "--tta", "shift"]) == 0
    assert ", --tta shift\n" in capsys.readouterr().out
    from PIL import Image

    picture = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    Image.fromarray(picture).save("a.png")
    assert launch.main(["predict", "--run_dir", "run", "--tta", "shift", "a.png", "--output",
                        "all.json"]) == 0
    row = json.loads(open("all.json").read())[0]
    found = load("run").predict(picture[None, :, :, None], tta="shift")[0]
    np.testing.assert_allclose([row[str(n)] for n in range(10)], found, atol=1e-6)
    capsys.readouterr()
    for words, said in ((["eval", "--tta", "flipp"], "did you mean flip?"),
                        (["predict", "a.png", "--tta", "turn"], "choose from flip, shift"),
                        (["train", "--tta", "flip"], "--tta is for eval and predict")):
        assert launch.main([*words, "--run_dir", "run"]) == 2
        assert said in capsys.readouterr().err
