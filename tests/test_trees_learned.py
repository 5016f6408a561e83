"""scikit-learn's own tables by trees, on five folds, against what it makes of the same rows:
python -m pytest tests/test_trees_learned.py -n 0 -m slow -s"""

import functools
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.metrics import accuracy_score, f1_score, r2_score
from test_trees import features, ready

from engine.command import recipe
from engine.config import Config, Hyper
from engine.learners.learner import jitted

FOLDS = 5
NUMBERS = "diabetes"
SETS = "iris", "wine", "breast_cancer", NUMBERS
RECIPES = "soft_tree", "boosted_trees", "random_forest"  # configs/, one a file
# In the place of a recipe's.
EPOCHS = {("iris", "soft_tree"): 100}


def config_of(name: str, number: int, **more: Any) -> Config:
    task = "regression" if name == NUMBERS else "classification"
    return Config(dataset=name, task=task, validation_split=f"{number}/{FOLDS}", **more)


def told(name: str, model: str, number: int) -> np.ndarray:
    """What the recipe's last state says of a fold."""
    request = recipe.read(f"configs/{model}.py")
    epochs = EPOCHS.get((name, model), request.config.epochs)
    there = ready(config_of(name, number, model=request.config.model, epochs=epochs), request.hyper)
    learner = there.learner
    create, segment = (jax.jit(f) if learner.traced else f for f in (there.create, learner.segment))
    state = segment(**there.inputs, state=create(there.hyper, there.root),
                    count=np.int32(there.lengths.total))
    predict = jitted(learner, "predict")
    said = np.asarray(predict(state.variables, features(there.data.validation)[0]))
    return said[:, 0] if name == NUMBERS else said.argmax(1)


@functools.cache
def parts(name: str, number: int) -> tuple[tuple, tuple]:
    there = ready(config_of(name, number, model="linear"), Hyper())
    return features(there.data.train), features(there.data.validation)


@functools.cache
def scikits(name: str) -> dict[str, np.ndarray]:
    """Scores [fold, 2] by model."""
    both = (HistGradientBoostingRegressor, RandomForestRegressor) if name == NUMBERS else \
        (HistGradientBoostingClassifier, RandomForestClassifier)
    found = {}
    for kind in both:
        rows = []
        for number in range(1, FOLDS + 1):
            (x, y), (held, true) = parts(name, number)
            rows.append(scores(name, true, kind(random_state=0).fit(x, y.ravel()).predict(held)))
        found[kind.__name__.removesuffix("Regressor").removesuffix("Classifier")] = np.array(rows)
    return found


def scores(name: str, true: np.ndarray, said: np.ndarray) -> tuple[float, ...]:
    """Accuracy and macro F1; or R², twice."""
    if name == NUMBERS:
        return (r2_score(true, said),) * 2
    return accuracy_score(true, said), f1_score(true, said, average="macro")


def row(name: str, what: str, found: np.ndarray) -> str:
    mean, deviation = found.mean(0), found.std(0)
    cells = [f"{m:.4f} ± {d:.4f}" for m, d in zip(mean, deviation, strict=True)]
    return f"| {name} | {what} | " + (f"R² {cells[0]} | – |" if name == NUMBERS
                                      else f"{cells[0]} | {cells[1]} |")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("model", RECIPES)
def test_trees_learn_a_table_as_well_as_scikit_learns(name, model):
    """Within a point of accuracy, or 0.02 of R², of both: the mean over the folds."""
    found = np.array([scores(name, parts(name, number)[1][1], told(name, model, number))
                      for number in range(1, FOLDS + 1)])
    print(row(name, f"`{model}`", found))
    if model == RECIPES[0]:
        print("\n".join(row(name, other, each) for other, each in scikits(name).items()))
    for each in scikits(name).values():
        assert found.mean(0)[0] > each.mean(0)[0] - (0.02 if name == NUMBERS else 0.01)
