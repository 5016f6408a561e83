"""A class of each position: losses, scores and updates against NumPy and scikit-learn."""

import dataclasses
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from PIL import Image
from sklearn import metrics

from engine.augmentations import chain
from engine.config import Config, Hyper
from engine.data import unlabelled, whole
from engine.drawn import masks
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.examples import Split
from engine.feed import Data
from engine.job.host import begin
from engine.learners.chosen import learner_of
from engine.loaded import load
from engine.objects import arrays
from engine.optim import patience
from engine.parts.reading import load as load_set
from engine.place import Place
from engine.pure import train
from engine.request import Request
from engine.run import fit
from engine.scores.judged import Judged
from engine.settling import settle
from engine.sweep.asked import sweep
from engine.tasks.classification import Classification
from engine.tasks.positions import Positions

quickly = partial(jax.jit, static_argnums=0, compiler_options=QUICK)
RNG = np.random.default_rng(0)
SIDE, CLASSES = 4, 3
X = RNG.normal(size=(22, SIDE, SIDE, 3)).astype("f4")
Y = RNG.integers(-1, CLASSES, (22, SIDE, SIDE)).astype("i4")
KNOWN = Y >= 0


class Pixels(nn.Module):
    """Of each pixel from its own values, and of more classes than there may be."""

    num_classes: int = CLASSES

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(x)


CONFIG = Config(model=Pixels(), task="positions", optimizer="sgd", epochs=1, batch_size=8)


def data(y: np.ndarray = Y) -> Data:
    split = Split(X, y)
    return jax.device_put(Data(whole(split), whole(split), CLASSES))


def params(config: Config, given: Data, **hyper) -> list[np.ndarray]:
    state, _ = quickly(train)(config, Hyper(**hyper), jax.random.key(0), given)
    return jax.tree.leaves(state.params)


def probabilities(bias: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    logits = X.astype(float) @ kernel + bias
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_an_update_is_that_of_the_mean_over_positions_by_hand():
    """Of all examples at once; a position without a class counts for nothing."""
    config = dataclasses.replace(CONFIG, batch_size=len(X))
    bias, kernel = (np.float64(x) for x in params(config, data(), learning_rate=0.0))
    after = params(config, data(), learning_rate=0.5)
    share = probabilities(bias, kernel)
    slope = np.where(KNOWN[..., None], share - np.eye(CLASSES)[Y], 0) / KNOWN.sum()
    wanted = (bias - 0.5 * slope.sum((0, 1, 2)),
              kernel - 0.5 * np.einsum("nijk,nijc->kc", X, slope))
    for got, want in zip(after, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("more", [{"microbatch": 4}, {"microbatch": 2}])
def test_microbatches_have_the_whole_batchs_mean(more):
    """Of batches of 8 and a last one of 6, whose positions differ in number."""
    for got, want in zip(params(dataclasses.replace(CONFIG, **more), data(), learning_rate=0.5),
                         params(CONFIG, data(), learning_rate=0.5), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_has_no_class_changes_nothing_whatever_is_said_there():
    other = X.copy()
    other[~KNOWN] += 3
    one = params(CONFIG, data(), learning_rate=0.5)
    split = Split(other, Y)
    two = params(CONFIG, jax.device_put(Data(whole(split), whole(split), CLASSES)),
                 learning_rate=0.5)
    for x, y in zip(one, two, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = Place(device="cpu", run_dir=str(tmp_path_factory.mktemp("positions") / "run"))
    return fit(dataclasses.replace(CONFIG, epochs=2), Hyper(learning_rate=0.1), place,
               data={"train": (X, Y), "test": (X, Y)})


def test_scores_are_scikit_learns(run):
    bias, kernel = jax.tree.leaves(run.state.params)
    share, true = probabilities(bias, kernel), Y[KNOWN]
    said = share.argmax(-1)
    np.testing.assert_array_equal(run.predict(X), said)
    assert run.predict(X).dtype == np.int32 and run.predict(X[:0]).shape == (0, SIDE, SIDE)
    found, said = run.metrics, said[KNOWN]
    assert (found["num_examples"], found["num_positions"]) == (22, KNOWN.sum())
    for name, value in {
        "accuracy": metrics.accuracy_score(true, said),
        "mean_iou": metrics.jaccard_score(true, said, average="macro"),
        "loss": metrics.log_loss(true, share[KNOWN]),
        "perplexity": np.exp(metrics.log_loss(true, share[KNOWN])),
    }.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
    low, high = found["interval"]["accuracy"]
    assert low < found["accuracy"] < high < low + 0.4
    each = metrics.precision_recall_fscore_support(true, said)
    for at, row in enumerate(found["per_class"].values()):
        assert (row["precision"], row["recall"], row["support"]) == (
            pytest.approx(each[0][at]), pytest.approx(each[1][at]), each[3][at])


def test_a_class_that_is_neither_there_nor_said_is_in_no_mean():
    task, names = Positions(), ("a", "b", "c")
    outputs = np.eye(5, dtype="f4")[[[0, 1, 1]]] * 9
    targets = np.array([[0, 1, 0]], "i4")
    sums = task.judge(outputs, targets, np.ones(1, bool))
    found = task.summarise(Judged(sums, outputs.argmax(-1), targets, None), names)
    assert found["mean_iou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert [*found["per_class"]] == ["a", "b", "c", "3", "4"]  # as many as the network has
    assert found["per_class"]["c"] == dict.fromkeys(("precision", "recall", "iou"), None) | {
        "support": 0}
    none = task.judge(outputs, np.full((1, 3), -1, "i4"), np.ones(1, bool))
    assert none.count == 0 and none.loss_sum == 0 and not none.hits.any()


def test_examples_that_only_fill_a_batch_up_count_nothing():
    task, valid = Positions(), np.array([True, False])
    outputs = RNG.normal(size=(2, 5, 3)).astype("f4")
    targets = RNG.integers(0, 3, (2, 5)).astype("i4")
    one = task.judge(outputs[:1], targets[:1], valid[:1])
    two = task.judge(outputs, targets, valid)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)


def test_it_is_found_again_judged_by_names_and_shown(run):
    again = load(run, CONFIG)
    np.testing.assert_array_equal(again.predict(X), run.predict(X))
    for file in ("classes.png", "masks.png", "report.html"):
        assert (run.path / file).stat().st_size > 1000
    same = evaluate(run, {"train": (X, Y), "test": (X, Y)}, config=CONFIG)
    assert same["accuracy"] == pytest.approx(run.metrics["accuracy"])
    unknown = np.where(Y == 2, 3, Y)  # another set, of a class that the run doesn't know
    found = evaluate(run, {"test": (X, unknown)}, config=CONFIG)
    kept = (Y == 0) | (Y == 1)
    assert found["left_out"] == {"3": (Y == 2).sum()}
    assert found["accuracy"] == pytest.approx((run.predict(X) == Y)[kept].mean())


def test_probabilities_are_of_every_class_and_have_a_mean(tmp_path):
    config = dataclasses.replace(CONFIG, task=Positions(probabilities=True))
    found = sweep(config, {"learning_rate": (0.1, 0.3)}, data={"train": (X, Y), "test": (X, Y)},
                  place=Place(device="cpu", run_dir=str(tmp_path / "sweep"), report=False))
    one, two = (load(found.path / str(number), config) for number in (0, 1))
    both = load(found, config)
    assert one.predict(X).shape == (22, SIDE, SIDE, CLASSES)
    np.testing.assert_allclose(both.predict(X).sum(-1), 1, rtol=1e-5)
    mean = (one.predict(X) + two.predict(X)) / 2
    np.testing.assert_allclose(both.predict(X), mean, rtol=1e-6)
    right = (mean.argmax(-1) == Y)[KNOWN].mean()
    assert evaluate(found, {"train": (X, Y), "test": (X, Y)}, config=config)["accuracy"] == \
        pytest.approx(right)
    plain = load(found, dataclasses.replace(config, task=Positions()))
    with pytest.raises(RequestError, match="predict int32, of which a mean says nothing"):
        plain.predict(X)
    with pytest.raises(RequestError, match="of which there is no mean"):
        evaluate(found, {"train": (X, Y), "test": (X, Y)},
                 config=dataclasses.replace(config, task=Positions()))


def test_flips_and_crops_move_classes_with_their_pixels():
    """Pixels that tell their class stay beside it; what moves in has none."""
    y = RNG.integers(0, CLASSES, (64, SIDE, SIDE)).astype("i4")
    batch = Split(y[..., None].astype("u1") * 80 + 40, y)
    learner = learner_of(dataclasses.replace(CONFIG, flip=True, crop_padding=1), CLASSES)
    inputs, targets, _ = chain.augmented(
        learner, Hyper(), jax.random.key(1), batch, np.ones(64, bool))
    told = np.round((np.asarray(inputs)[..., 0] * 255 - 40) / 80).astype(int)
    moved_in = np.asarray(inputs)[..., 0] == 0
    np.testing.assert_array_equal(np.where(moved_in, -1, told), targets)
    assert 0.1 < moved_in.mean() < 0.6 and (np.asarray(targets) != y).any((1, 2)).mean() > 0.9
    assert targets.dtype == np.int32


def test_weights_of_classes_and_of_examples_multiply_the_loss():
    share = probabilities(*map(np.float64, params(CONFIG, data(), learning_rate=0.0)))
    own = -np.log(np.take_along_axis(share, np.maximum(Y, 0)[..., None], -1))[..., 0] * KNOWN
    weight = np.array([3.0, 0.5, 0.0])
    config = dataclasses.replace(CONFIG, task=Positions(class_weights=tuple(weight)),
                                 batch_size=len(X))
    _, history = quickly(train)(config, Hyper(learning_rate=0.0), jax.random.key(0), data())
    assert history["loss"][0] == pytest.approx((own * weight[Y]).sum() / KNOWN.sum(), rel=1e-5)
    assert history["val_loss"][0] == pytest.approx(own.sum() / KNOWN.sum(), rel=1e-5)
    each = RNG.uniform(0, 2, len(X)).astype("f4")
    split = Split(X, Y, each)
    given = jax.device_put(Data(whole(split), whole(split), CLASSES))
    _, history = quickly(train)(dataclasses.replace(CONFIG, batch_size=len(X)),
                                Hyper(learning_rate=0.0), jax.random.key(0), given)
    assert history["loss"][0] == pytest.approx(
        (own.sum((1, 2)) * each).sum() / KNOWN.sum(), rel=1e-5)


def settled(config: Config, x=X, y=Y, hyper: Hyper | None = None):
    host = begin(Place(device="cpu"), quiet=True)
    return settle(*load_set(Request(config, hyper or Hyper(), data=(x, y)), host), host)


def test_balanced_weights_count_positions():
    found = settled(dataclasses.replace(CONFIG, class_weights="balanced")).learner.task
    targets = settled(CONFIG).data.train.targets
    counts = np.bincount(targets[targets >= 0])
    np.testing.assert_allclose(found.class_weights, counts.sum() / (len(counts) * counts))


def test_an_example_without_any_class_is_unlabelled():
    y = Y.copy()
    y[:2] = -1
    np.testing.assert_array_equal(unlabelled(y), np.arange(22) < 2)
    with pytest.raises(RequestError, match="2 of its 22 examples have no label"):
        settled(CONFIG, y=y)
    kept = settled(dataclasses.replace(CONFIG, drop_unlabelled=True), y=y).data
    assert len(kept.train.rows) + len(kept.validation.rows) == 20


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(x[:, ::2])


REFUSED = {
    "one class an example": ({"y": Y[:, 0, 0]}, "its targets are int32 of shape (22,)"),
    "fractions": ({"y": Y + 0.5}, "its targets are float64"),
    "less than -1": ({"y": Y - 1}, "nor -1, which is none"),
    "too few outputs": ({"model": Pixels(2)}, "needs (2, positions, 3): logits of the 3 classes"),
    "no axis for classes": ({"model": lambda: nn.Dense(1)}, "gives (2, 4, 4, 1) for 2 examples"),
    "other positions": ({"model": Wide()}, "of shape (2, 2, 4, 3) for targets of (2, 4, 4)"),
    "rotation": ({"hyper": Hyper(rotation=9.0)}, "--rotation 9 would move pixels"),
    "a flip of other positions": ({"x": X[:, ::2], "flip": True}, "--flip would move pixels"),
    "mixup": ({"hyper": Hyper(mixup=0.2)}, "learns positions"),
    "a threshold": ({"threshold": 0.3}, "--threshold 0.3 has no effect"),
    "sampling": ({"sampling": "balanced"}, "--sampling balanced has no effect"),
    "a loss": ({"loss": "hinge"}, "loss of --task positions"),
    "trees": ({"model": "boosted_trees"}, "boosted_trees"),
    "one of each, without the task": ({"task": "auto", "y": Y[:, :, 0] + 1},
                                      "task='positions' where each pixel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_in_a_line(case):
    changed, words = REFUSED[case]
    config = dataclasses.replace(CONFIG, **{
        name: value for name, value in changed.items() if name not in ("x", "y", "hyper")})
    with pytest.raises(RequestError, match=re.escape(words)) as found:
        settled(config, changed.get("x", X), changed.get("y", Y), changed.get("hyper"))
    assert "\n" not in str(found.value)


def test_gains_are_waited_for_and_rank_where_they_are_named():
    """Of a task's own too: a score that is no `score`, and of which more is better."""
    class ByIoU(Positions):
        score, higher = "mean_iou", True

    for task in (Positions(), ByIoU()):
        for name, higher in (("val_mean_iou", True), ("accuracy", True), ("val_loss", False)):
            assert patience.monitor(task, name, False) == patience.Monitor(name, higher)
    assert patience.monitor(Positions(), "", False) == patience.Monitor("val_loss", False)
    assert patience.monitor(ByIoU(), "", False) == patience.Monitor("val_mean_iou", True)


def test_a_score_of_gains_has_to_be_higher():
    class ByIoU(Positions):
        score = "mean_iou"

    with pytest.raises(RequestError, match="ranked by mean_iou, .* let it have higher = True"):
        settled(dataclasses.replace(CONFIG, task=ByIoU()))


class Dice(Positions):
    def loss(self, outputs, targets, hyper):
        return super().loss(outputs, targets, hyper) * 0 + 3.0


def test_a_loss_of_ones_own_has_no_perplexity_and_an_empty_batch_no_gradient():
    sums = Dice().judge(np.zeros((2, 5, 3), "f4"), np.zeros((2, 5), "i4"), np.ones(2, bool))
    told = Judged(sums, np.zeros((2, 5), "i4"), np.zeros((2, 5), "i4"), None)
    assert "perplexity" not in Dice().summarise(told, ("a", "b", "c"))
    y = np.full_like(Y, -1)
    y[:, 0, 0] = Y[:, 0, 0].clip(0)
    split = Split(X, y)
    given = jax.device_put(Data(whole(split), whole(split), CLASSES))
    config = dataclasses.replace(CONFIG, batch_size=1, augment=nothing, epochs=1)
    before = params(config, given, learning_rate=0.0)
    for got, want in zip(params(config, given, learning_rate=0.5), before, strict=True):
        np.testing.assert_array_equal(got, want)


def nothing(key, inputs, targets):
    return inputs, jnp.full_like(targets, -1)


def test_weights_of_classes_leave_others_of_a_wider_network_alone():
    outputs, targets = RNG.normal(size=(2, 6, 5)).astype("f4"), np.zeros((2, 6), "i4")
    plain = Positions().loss(outputs, targets, Hyper())
    np.testing.assert_allclose(Positions(class_weights=(2.0, 1.0)).loss(outputs, targets, Hyper()),
                               2 * plain, rtol=1e-6)


def test_pictures_of_another_size_are_no_other_set(run):
    with pytest.raises(RequestError, match="inputs of 6 × 6 × 3 with classes .* on 4 × 4 × 3"):
        evaluate(run, {"test": (np.zeros((3, 6, 6, 3), "f4"), np.zeros((3, 6, 6), int))},
                 config=CONFIG)


def test_classes_of_no_position_are_named(capsys):
    host = begin(Place(device="cpu"))
    y = np.where(Y < 0, 255, Y)
    settle(*load_set(Request(dataclasses.replace(CONFIG, model=Pixels(256)), Hyper(),
                             data=(X, y)), host), host)
    assert "252 of 256 classes are of no position in training: 3, 4" in capsys.readouterr().out


def test_a_mask_of_pils_is_its_numbers():
    made = [(Image.fromarray(np.uint8(x[..., 0] > 0)), Image.fromarray(np.uint8(y + 1), mode))
            for mode in ("L", "P") for x, y in zip(X, Y, strict=True)]
    found = arrays.of(made, "positions").splits["train"]
    np.testing.assert_array_equal(found.targets, np.concatenate([Y + 1, Y + 1]))


def test_what_is_drawn_first_is_the_worst():
    said = Y.copy()
    said[7] = (Y[7] + 1) % CLASSES
    assert masks._worst(Y, said)[0] == 7
    colours = masks.palette(["#0a0b0c", *map(str, range(1, 60))])
    assert colours[0].tolist() == [10, 11, 12] and len({*map(tuple, colours.tolist())}) == 60


def test_views_of_pictures_are_refused(run):
    with pytest.raises(RequestError, match="--tta flip would move pixels"):
        run.predict(X, tta="flip")


def test_targets_are_int32_and_named_by_the_data():
    found = arrays.of((X, Y.astype("i8")), "positions")
    assert found.classes == ("0", "1", "2") and found.splits["train"].targets.dtype == np.int32
    assert arrays.of((X, np.maximum(Y, 0).astype("u1")), "positions",
                     ("sky", "road", "tree")).classes == ("sky", "road", "tree")
    with pytest.raises(RequestError, match="no whole numbers of 0 to 1"):
        arrays.of((X, Y), "positions", ("sky", "road"))


def test_a_focal_loss_and_smoothing_are_those_of_classification():
    outputs = jnp.asarray(RNG.normal(size=(2, 6, CLASSES)), jnp.float32)
    targets = RNG.integers(0, CLASSES, (2, 6)).astype("i4")
    for name, hyper in (("focal", Hyper(focal_gamma=1.5)), ("", Hyper(label_smoothing=0.2))):
        each = Classification(loss_name=name).loss(outputs.reshape(12, -1), targets.ravel(), hyper)
        np.testing.assert_allclose(Positions(loss_name=name).loss(outputs, targets, hyper),
                                   each.reshape(2, 6).sum(1), rtol=1e-6)
