"""flaxmill.sklearn: scikit-learn's own checks, and its tools around our estimators."""

import pickle
import unittest

import jax
import numpy as np
import pytest
from samples import Tiny
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from engine.learners.learner import compiled
from engine.sklearn import parameters
from flaxmill.sklearn import Classifier, Regressor

QUICK = {"learning_rate": 0.05, "epochs": 30, "random_state": 0}


def blobs(count: int = 120, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Float64 [N, 4] around a centre a class, and the classes' names."""
    rng = np.random.default_rng(0)
    codes = np.arange(count) % classes
    centres = rng.normal(0, 3, (classes, 4))
    return centres[codes] + rng.normal(0, 1, (count, 4)), np.array(list("abcdef"))[codes]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_scikit_learns_own_checks(kind):
    # scikit-learn's own learners by batches are excused from it too.
    unlike = "check_sample_weight_equivalence_on_dense_data"
    failed = []
    for estimator, check in estimator_checks_generator(
            kind("linear", **QUICK), mark="skip", expected_failed_checks={
                unlike: "a weight of 2 is not an example twice, which falls into batches apart"}):
        try:
            check(estimator)
        except unittest.SkipTest:  # what needs the array API switched on
            continue
        except Exception as error:
            failed.append(f"{check.func.__name__}: {error}")
    assert not failed


@pytest.mark.slow
def test_its_tools_around_a_classifier_and_what_compiles_once(here):
    x, y = blobs()
    segment = compiled("segment", "state", "")
    before = segment._cache_size()
    pipe = make_pipeline(StandardScaler(), Classifier("linear", **QUICK))
    scores = cross_val_score(pipe, x, y, cv=3)
    peers = cross_val_score(LogisticRegression(max_iter=500), x, y, cv=3)
    assert scores.mean() > peers.mean() - 0.05
    search = GridSearchCV(pipe, {"classifier__learning_rate": [1e-6, 0.05, 0.1]}, cv=3)
    search.fit(x, y)
    assert search.best_params_["classifier__learning_rate"] > 1e-6
    # Three folds of one size are a program, whatever the rate; all examples together another.
    assert segment._cache_size() == before + 2
    calibrated = CalibratedClassifierCV(Classifier("linear", **QUICK), cv=3).fit(x, y)
    assert calibrated.score(x, y) > 0.9
    assert not list(here.iterdir())  # no run's folder


@pytest.mark.slow
def test_a_fitted_one_is_cloned_pickled_and_repeats_itself():
    x, y = blobs(48)
    fitted = Classifier(Tiny, epochs=5, random_state=3).fit(x, y)
    told = fitted.predict_proba(x)
    assert told.shape == (48, 3) and set(fitted.predict(x)) <= set("abc")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), told)
    np.testing.assert_array_equal(clone(fitted).fit(x, y).predict_proba(x), told)
    other = clone(fitted).set_params(random_state=4).fit(x, y).predict_proba(x)
    assert np.abs(other - told).max() > 1e-3
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(fitted.variables_))


@pytest.mark.slow
def test_a_folder_that_is_asked_for_holds_the_same_run(here):
    x, y = blobs(48)
    in_memory = Classifier("linear", **QUICK).fit(x, y)
    left = Classifier("linear", **QUICK, run_dir="r").fit(x, y)
    np.testing.assert_allclose(left.predict_proba(x), in_memory.predict_proba(x), rtol=1e-4)
    assert (here / "r/report.html").exists()


@pytest.mark.slow
def test_a_regressor_tells_numbers_in_their_own_units():
    x, _ = blobs(96)
    y = 1e4 + 300 * (x @ np.array([1.0, -2.0, 0.5, 0.0]))
    both = np.stack([y, -y / 1e6], axis=1)
    one, two = Regressor("linear", **QUICK).fit(x, y), Regressor("linear", **QUICK).fit(x, both)
    assert one.score(x, y) > 0.99 and two.score(x, both) > 0.99
    assert one.predict(x).shape == (96,) and two.predict(x).shape == (96, 2)


@pytest.mark.parametrize("model", ["xgboost", "random_forest"])
def test_trees_and_their_own_values(model):
    pytest.importorskip("xgboost")
    x, y = blobs(60)
    fitted = Classifier(model, max_depth=2, random_state=0)
    if model == "xgboost":
        fitted.set_params(epochs=5)
    assert fitted.fit(x, y).score(x, y) > 0.9
    with pytest.raises(ValueError, match="weight_decay has no effect with"):
        clone(fitted).set_params(weight_decay=0.1).fit(x, y)


@pytest.mark.slow
def test_what_watches_a_validation_has_a_tenth_held_out():
    x, y = blobs(60)
    fitted = Classifier("linear", **(QUICK | {"learning_rate": 1e-9}), patience=2).fit(x, y)
    assert len(fitted.history_) == 3 and "val_accuracy" in fitted.history_[0]
    assert "val_accuracy" not in Classifier("linear", epochs=1).fit(x, y).history_[0]


@pytest.mark.slow
@pytest.mark.parametrize("called", [("a", "b"), (3, 7), (False, True), ("", "b")])
def test_classes_are_weighed_by_their_own_names(called, here):
    """Of inputs that tell nothing the probability is the class's share of the weights."""
    x, y = np.zeros((40, 2)), np.array(called)[np.arange(40) % 4 // 3]  # 30 and 10
    names = called if called[0] != "" else (0, 1)  # which can't be printed
    fitted = Classifier("linear", **QUICK | {"epochs": 60, "batch_size": 40},
                        class_weights={names[0]: 1, names[1]: 9})
    np.testing.assert_allclose(fitted.fit(x, y).predict_proba(x)[:, 1], 90 / 120, atol=0.01)
    with pytest.raises(ValueError, match="unknown class of --class_weights 'z'"):
        clone(fitted).set_params(class_weights={"z": 1}).fit(x, y)


@pytest.mark.parametrize(("asked", "message"), [
    ({"epochs": 0}, "--epochs 0: type 1 or more"),
    ({"model": "lineal"}, "did you mean linear"),
    ({"learning_rate": np.sqrt}, "learning_rate: .* is a ufunc; give a number, and its"),
    ({"random_state": -1}, "^random_state -1: give one from 0 to 4294967295"),
    ({"random_state": np.uint64(2**32)}, "^random_state 4294967296: give"),
    ({"focal_gamma": 2.0}, "has no effect without --loss focal"),
    ({"learning_rate": 1e30, "clip_norm": None, "epochs": 3}, "loss was not finite"),
])
def test_what_cannot_be_learned_is_a_value_error(asked, message):
    x, y = blobs(48)
    with pytest.raises(ValueError, match=message):
        Classifier(**({"model": "linear"} | asked)).fit(1e8 * x, y)


def test_what_an_estimator_asks_for():
    """A batch of no more than there are; a validation where something looks at it."""
    def asked(examples, **more):
        params = Classifier(Tiny, **more).get_params(deep=False)
        config = parameters.request(params, "classification", examples, None).config
        return config.batch_size, config.validation_split

    assert [asked(20), asked(50), asked(50, patience=2)] == [
        (20, "train"), (32, "train"), (32, "0.1")]


@pytest.mark.parametrize("number", [7, np.int64(7), np.uint8(7)])
def test_a_whole_number_is_the_seed_itself(number):
    params = Classifier(Tiny, random_state=number).get_params(deep=False)
    seed = parameters.request(params, "classification", 50, None).config.seed
    assert seed == 7 and type(seed) is int


def test_pictures_of_another_kind_are_refused():
    """Of bytes, which are scaled, and of numbers, which are not."""
    bytes_ = np.random.default_rng(0).integers(0, 256, (24, 3, 3, 1), np.uint8)
    fitted = Classifier("linear", epochs=1).fit(bytes_, np.arange(24) % 2)
    for other in (bytes_ / 255, bytes_[:, :, :2]):
        with pytest.raises(ValueError, match="the model was fitted on uint8"):
            fitted.predict(other)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(TypeError, match="unknown parameters learning_rat"):
        Classifier(learning_rat=0.1)
