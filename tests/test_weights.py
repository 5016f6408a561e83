"""Class weights, focal loss and balanced sampling against PyTorch's, scikit-learn's and counts."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import QUICK
from samples import Tiny, random_split
from sklearn.utils.class_weight import compute_class_weight

from engine import fit, train
from engine.config import Config, Hyper
from engine.data import partition
from engine.doors import bring, weights
from engine.doors.checks import check
from engine.errors import RequestError
from engine.feed import balanced_order, order_of
from engine.objects import arrays
from engine.place import Place
from engine.request import Request
from engine.store import record
from engine.sweep import space
from engine.sweep.group import grouped
from engine.sweep.search import Search
from engine.sweep.space import axis
from engine.tasks.classification import Classification
from engine.tasks.regression import Regression

quickly = partial(jax.jit, compiler_options=QUICK)
RNG = np.random.default_rng(0)
LOGITS, TARGETS = RNG.normal(size=(40, 4)).astype("f4") * 3, RNG.integers(0, 4, 40).astype("i4")
WEIGHTS = (0.5, 2.0, 1.0, 3.5)


def gradient(task: Classification, hyper: Hyper) -> tuple[np.ndarray, np.ndarray]:
    """Of each example's loss [B], and of their sum [B, C]."""
    loss = quickly(lambda o: task.loss(o, TARGETS, hyper))(LOGITS)
    return loss, quickly(jax.grad(lambda o: task.loss(o, TARGETS, hyper).sum()))(LOGITS)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def pytorchs(torch, each) -> tuple[np.ndarray, np.ndarray]:
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    loss = each(logits, torch.tensor(TARGETS, dtype=torch.int64))
    loss.sum().backward()
    return loss.detach().numpy(), logits.grad.numpy()


@pytest.mark.parametrize("smoothing", [None, 0.1])
def test_weighted_cross_entropy_and_its_gradient_are_pytorchs(torch, smoothing):
    """Each example's: PyTorch divides a batch's sum by its weights, we by its examples."""
    task = Classification(class_weights=WEIGHTS)
    want = pytorchs(torch, partial(
        torch.nn.functional.cross_entropy, weight=torch.tensor(WEIGHTS, dtype=torch.float64),
        label_smoothing=smoothing or 0.0, reduction="none"))
    for ours, theirs in zip(gradient(task, Hyper(label_smoothing=smoothing)), want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma, alpha", [(None, ()), (0.5, ()), (5.0, WEIGHTS), (0.0, WEIGHTS)])
def test_focal_loss_and_its_gradient_are_the_papers_in_pytorch(torch, gamma, alpha):
    def paper(logits, targets):
        log_p = torch.log_softmax(logits, 1)[torch.arange(40), targets]
        scale = torch.tensor(alpha or (1.0,) * 4, dtype=torch.float64)[targets]
        return -scale * (1 - log_p.exp()) ** (2.0 if gamma is None else gamma) * log_p

    task = Classification(loss_name="focal", class_weights=alpha)
    got, want = gradient(task, Hyper(focal_gamma=gamma)), pytorchs(torch, paper)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def test_focal_loss_of_a_certain_answer_has_a_gradient():
    """Whose slope by hand is infinite times 0."""
    certain = jnp.array([[200.0, 0.0], [0.0, 200.0]])
    for gamma in (0.3, 2.0):
        slope = quickly(jax.grad(lambda o, g: Classification(loss_name="focal").loss(
            o, jnp.zeros(2, jnp.int32), Hyper(focal_gamma=g)).sum(), argnums=(0, 1)))
        assert all(np.isfinite(x).all() for x in slope(certain, gamma))


def test_what_judges_counts_every_example_alike_and_the_default_is_the_same_program():
    plain, args = Classification(), (jnp.asarray(LOGITS), jnp.asarray(TARGETS))
    for task in (Classification(class_weights=WEIGHTS), Classification(loss_name="focal")):
        np.testing.assert_array_equal(task.loss(*args, None), plain.loss(*args, None))

    before = optax.softmax_cross_entropy_with_integer_labels
    now = jax.make_jaxpr(lambda o, t: plain.loss(o, t, Hyper()))(*args)
    assert str(now) == str(jax.make_jaxpr(before)(*args))


def test_balanced_weights_are_scikit_learns_and_a_class_without_examples_has_one():
    targets = np.repeat([0, 1, 3], [5, 60, 7])
    got = weights.of("balanced", tuple("abcd"), targets)
    want = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=targets)
    assert got == (*want[:2], 1.0, want[2])


@pytest.mark.parametrize("name, text", [
    ("w.json", '{"b": 2, "a": 0.5, "c": 1}'), ("w.csv", "class,weight\na,0.5\nb,2\nc,1\n"),
    ("w.csv", "b,2\na,0.5\nc,1.0\n"),
])
def test_a_files_weights_stand_for_the_file(here, name, text):
    (here / name).write_text(text)
    config = bring.absolute(Config(class_weights=name))
    (here / name).unlink()
    assert bring.absolute(config) == config and hash(config)
    want = weights.of(Config(class_weights={"a": 0.5, "b": np.float32(2), "c": 1}).class_weights,
                      ("a", "b", "c"), TARGETS)
    assert weights.of(config.class_weights, ("a", "b", "c"), TARGETS) == want == (0.5, 2.0, 1.0)


@pytest.mark.parametrize("given", [
    [0.5, 2, 1.0], (0.5, 2, 1), np.array([0.5, 2, 1], np.float32), jnp.array([0.5, 2, 1]),
    "0.5,2,1", "[0.5, 2, 1]", "list.json",
])
def test_numbers_are_the_classes_in_their_order(here, given):
    (here / "list.json").write_text("[0.5, 2, 1]")
    config = bring.absolute(Config(class_weights=given))
    assert bring.absolute(config) == config and hash(config)
    assert weights.of(config.class_weights, ("a", "b", "c"), TARGETS) == (0.5, 2.0, 1.0)


def test_names_are_classes_however_they_are_spelled():
    given = '{"cafe\\u0301": 2, "BAR": 3, "1.0": 4}'
    assert weights.of(given, ("1", "bar", "caf\u00e9"), TARGETS) == (4.0, 3.0, 2.0)


@pytest.mark.parametrize("text, said", [
    ('{"a": 1, "b": 1, "sea": 1}', "'sea': choose from a, b"), ('{"a": 1}', "b has no weight"),
    ('{"a": 1, "b": -1}', "b has -1: give a finite"), ('{"a": 1, "b": null}', "b has None"),
    ('{"a": 1, "b": NaN}', "b has nan"), ('{"a": 0, "b": 0}', "all are 0"),
    ("[1, 2, 3]", "has 3 numbers, and there are 2 classes: .* order of a, b"),
    ("1,2,3", "3 numbers"), ("1,-2", "b has -2: give"), ("1,b", "no such file"),
    ("three.json", "is a int"), ("{a", "it is no JSON"),
    ("nothing.json", "no such file; type balanced"), ("bad.json", "has 1 numbers"),
    ('{"a": 1, "A": 2, "b": 3}', "'A': did you mean a"),
    ("bad.csv", "other than two columns"), ("twice.csv", "a stands there twice"),
])
def test_weights_that_cant_be_meant_are_refused(here, text, said):
    (here / "bad.json").write_text("[1]")
    (here / "three.json").write_text("3")
    (here / "bad.csv").write_text("a,1,2\n")
    (here / "twice.csv").write_text("a,1\nb,1\na,2\n")
    with pytest.raises(RequestError, match=said):
        weights.of(bring.absolute(Config(class_weights=text)).class_weights, ("a", "b"), TARGETS)


@pytest.mark.parametrize("refused, said", [
    (lambda: weights.weighted(Regression(), "balanced", ("y",), TARGETS), "no effect with Regress"),
    (lambda: check(Config(), Hyper(focal_gamma=2.0)), "--focal_gamma 2.0 has no effect without"),
    (lambda: bring.task(Config(task="regression", sampling="balanced")), "balanced has no effect"),
    (lambda: axis("class_weights=a,b"), "start a sweep for each"),
    (lambda: bring.task(Config(loss="focl")), "did you mean focal"),
    (lambda: train(Config(class_weights="balanced"), Hyper(), None, None), "train knows no class"),
    (lambda: Classification(class_weights=(1.0,)).loss(LOGITS, TARGETS, Hyper()), "4 classes"),
])
def test_what_nothing_would_use_is_refused(refused, said):
    with pytest.raises(RequestError, match=said):
        refused()
    check(Config(loss="focal"), Hyper(focal_gamma=2.0))
    check(Config(task=Classification(loss_name="focal")), Hyper(focal_gamma=2.0))


def test_a_task_is_written_as_before_unless_it_weighs():
    """A run of before, resumed with the same object, has the same name for it."""
    @dataclasses.dataclass(frozen=True)
    class Own(Classification):
        sharp: float = 2.0

    assert bring.written(Classification()) == "<Classification()>"
    assert bring.written(Own()).endswith("Own(sharp=2.0)>")
    assert bring.written(Classification(class_weights=(1.0, 2.0))) == (
        "<Classification(class_weights=(1.0, 2.0))>")


@pytest.mark.parametrize("counts", [(50, 3, 0, 20), (1, 300)])
def test_a_balanced_order_has_every_class_as_often(counts):
    targets = RNG.permutation(np.repeat(np.arange(len(counts)), counts)).astype("i4")
    rows, key = np.arange(len(targets), dtype=np.int32), jax.random.key(1)
    draw = quickly(partial(order_of, "balanced"))
    met = np.stack([draw(key, epoch, rows, targets) for epoch in range(40)])
    there = np.array(counts) > 0
    for order in met:
        found = np.bincount(targets[order], minlength=len(counts))
        assert np.ptp(found[there]) <= 1 and not found[~there].any() and len(order) == len(rows)
    np.testing.assert_array_equal(met[7], draw(key, 7, rows, targets))
    assert (met[0] != met[1]).any() and (np.diff(targets[met[0]]) < 0).any()
    seen = np.bincount(met.ravel(), minlength=len(targets))[targets == 0]
    expected = met.size / there.sum() / counts[0]  # of each, as any other of its class
    assert abs(seen - expected).max() < 5 * np.sqrt(expected)


def test_only_the_rows_that_take_part_are_drawn():
    rows = np.array([3, 4, 9, 11], np.int32)
    order = quickly(balanced_order)(jax.random.key(0), 0, rows, np.array([0, 0, 0, 1]))
    order = np.asarray(order)
    assert {*order.tolist()} <= {3, 4, 9, 11} and (order == 11).sum() == 2


def unequal(count=60):
    split = random_split(count, classes=3)
    kept = (split.targets > 0) | (np.arange(count) % 4 == 0)
    return split.inputs[kept].astype("f4"), split.targets[kept]


@pytest.mark.slow
def test_a_run_with_weights_is_one_with_them_in_the_task(here):
    """The name, the counts and the file come to the same bits; what is written is resumed."""
    x, y = unequal()
    config = Config(model=Tiny, epochs=1, batch_size=8, class_weights="balanced",
                    sampling="balanced", loss="focal", validation_split="0.2")
    run = fit(config, Hyper(focal_gamma=1.5), Place(run_dir="a", device="cpu"), (x, y), quiet=True)
    own = run.learner.task.class_weights
    named = dict(zip(run.classes, own, strict=True))
    again = fit(dataclasses.replace(config, class_weights=named), Hyper(focal_gamma=1.5),
                Place(run_dir="b", device="cpu"), (x, y), quiet=True)
    streamed = fit(config, Hyper(focal_gamma=1.5), Place(run_dir="c", device="cpu", stream=True),
                   (x, y), quiet=True)
    assert len({*own}) > 1
    jax.tree.map(np.testing.assert_array_equal, run.state, streamed.state)
    jax.tree.map(np.testing.assert_array_equal, run.state, again.state)
    saved = record.read(here / "b/config.json", config).request.config
    assert saved.class_weights == Config(class_weights=named).class_weights


def test_folds_whose_counts_differ_are_programs_of_their_own():
    x, y = unequal()
    dataset = arrays.of((x, y))
    request = Request(Config(model=Tiny, batch_size=4, dataset=dataset.name))
    weighed = dataclasses.replace(request.config, class_weights="balanced")
    found = space.of(request._replace(config=weighed), Search(folds=3)).trials
    weighed = grouped(found, dataset)
    assert len(weighed) == len({tuple(np.bincount(partition(dataset, g[0].config).train.targets))
                                for g in weighed}) > 1
