"""What a model's predictions rest on: columns shuffled one by one, and what trees' splits gained.
N: examples, F: features."""

from pathlib import Path
from typing import Any

import numpy as np

from engine.console.number import number
from engine.data import whole
from engine.devices import mesh
from engine.drawn import charts
from engine.drawn.shown import Picture
from engine.errors import RequestError, sides
from engine.examples import Split, Subset
from engine.learners.learner import Learner, jitted
from engine.sets.bundle import Encoder
from engine.setup import Setup

FILE = "importances.json"
REPEATS, SEED = 5, 0
SHOWN, TOLD = 10, 3  # in a plot, in a line


def check(ready: Setup) -> None:
    """Raise RequestError for what has no columns, or none in memory."""
    shape = ready.data.train.input_shape
    if len(shape) != 1:
        raise RequestError("--importances shuffles a table's columns, and the inputs are "
                           f"{sides(shape)}: leave it out.")
    if ready.stream:
        raise RequestError(f"--importances shuffles columns that lie in memory, and the set is "
                           f"streamed ({ready.stream.reason}): leave it out.")


def grouped(columns: Encoder | None, features: int) -> dict[str, list[int]]:
    """The features that each column became, or the numbers of each input by its name; of an array
    each one, by its number."""
    if columns is None:
        return {str(at): [at] for at in range(features)}
    found, at = {}, 0
    for column in columns.columns:
        found[column.name] = list(range(at, at + len(column.names)))
        at += len(column.names)
    return found


def permuted(
    learner: Learner, variables: Any, subset: Subset, groups: dict[str, list[int]],
    repeats: int = REPEATS, seed: int = SEED, where: Any = None,
) -> dict[str, dict[str, float]]:
    """By how much the task's score falls (or its error rises) where a column of `subset` is
    shuffled: mean and standard deviation over the repeats, by column. Breiman 2001, as
    scikit-learn's permutation_importance draws it: every column by the same shuffles."""
    task, evaluate = learner.task, jitted(learner, "evaluate")
    inputs_NxF = np.asarray(subset.split.inputs)[np.asarray(subset.rows)]

    def score(inputs: np.ndarray) -> float:
        examples = whole(Split(inputs, subset.targets))
        if where is not None:
            examples = mesh.put(examples, where)
        (sums,) = evaluate(variables=(variables,), subset=examples)
        value = float(task.row(sums)[task.score])
        return value if task.higher else -value

    baseline, found = score(inputs_NxF), {}
    draw = np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1)
    for name, features in groups.items():
        shuffle, order_N = np.random.RandomState(draw), np.arange(len(inputs_NxF))
        inputs, falls = inputs_NxF.copy(), []
        for _ in range(repeats):
            shuffle.shuffle(order_N)
            inputs[:, features] = inputs[order_N][:, features]
            falls.append(baseline - score(inputs))
        found[name] = {"mean": float(np.mean(falls)), "std": float(np.std(falls))}
    return dict(sorted(found.items(), key=lambda item: -item[1]["mean"]))


def found(ready: Setup, variables: Any, asked: bool) -> dict[str, Any]:
    """importances.json's content: what trees' splits gained, and, where it is `asked` for, what
    shuffled columns of the validation examples cost. {} where there is neither."""
    shape = ready.data.train.input_shape
    content: dict[str, Any] = {}
    if (gain_F := ready.learner.gain(variables, int(np.prod(shape)))) is not None:
        names = ready.columns.names if ready.columns else \
            [",".join(map(str, at)) for at in np.ndindex(*shape)]
        content["gain"] = dict(sorted(zip(names, gain_F.tolist(), strict=True),
                                      key=lambda item: -item[1]))
    if asked:
        content |= {"score": ready.task.score, "repeats": REPEATS, "permutation": permuted(
            ready.learner, variables, ready.data.validation,
            grouped(ready.columns, shape[0]), where=ready.everywhere)}
    return content


def told(content: dict[str, Any], path: Path) -> str:
    """The three columns that matter most; "" where none was shuffled."""
    if not (permutation := content.get("permutation")):
        return ""
    top = ", ".join(f"{name} {number(value['mean'])}" for name, value in
                    list(permutation.items())[:TOLD])
    return (f"importances: {top}, by which the validation {content['score']} gets worse where each "
            f"is shuffled; all in {path / FILE}")


def drawn(content: dict[str, Any]) -> list[Picture]:
    """The report's pictures of the ten that matter most."""
    made = []
    if permutation := content.get("permutation"):
        top = dict(list(permutation.items())[:SHOWN])
        spread = {name: f" ± {number(v['std'])}" for name, v in top.items() if v["std"]}
        made.append(Picture(
            "permutation.png", f"Importances: change of the validation {content['score']} for the "
            f"worse where a column is shuffled, the mean of {content['repeats']} and its deviation",
            chart=charts.bars({name: v["mean"] for name, v in top.items()}, more=spread)))
    if gain := content.get("gain"):
        made.append(Picture(
            "gain.png", "Gain: what splits by each feature gained on average, shares of 1",
            chart=charts.bars(dict(list(gain.items())[:SHOWN]))))
    return made
