"""How much each example counts in training's loss: by its class, balanced or by weights of the
classes' names or in their order; by a weight of its own. N: examples."""

import contextlib
import csv
import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from engine.disk import files
from engine.errors import RequestError, repeated, some, unknown, visible
from engine.examples import Subset
from engine.sets import spelling

BALANCED = "balanced"


def written(words: str) -> str:
    """--class_weights as config.json keeps it: the text of a file's weights stands for the file.
    Raises RequestError for a file that has none."""
    if words in ("", BALANCED) or words.lstrip().startswith(("{", "[")):
        return words
    if "," in words:
        with contextlib.suppress(ValueError):  # of what is no numbers, but a file's name
            if all([math.isfinite(float(word)) for word in words.split(",")]):
                return f"[{words}]"
            raise RequestError(f"--class_weights {words}: type finite numbers of 0 or more.")
    file = Path(words).expanduser()
    try:
        text = files.read(file).decode()
    except FileNotFoundError:
        raise RequestError(f"--class_weights {words}: no such file; type balanced, a number for "
                           "each class, such as 1,2.5, or a file of class and weight, such as "
                           "weights.json or weights.csv.") from None
    except (OSError, ValueError) as error:
        raise _refused(words, getattr(error, "strerror", None) or error) from None
    return json.dumps(_of_table(words, text) if file.suffix == ".csv" else _of_json(words, text))


def _refused(words: str, reason: object) -> RequestError:
    return RequestError(f"--class_weights {words}: {reason}; write a class and its weight, as in "
                        '{"cat": 2.0, "dog": 0.5}, or in two columns of a .csv.')


def _of_json(words: str, text: str) -> dict[str, Any] | list[Any]:
    try:
        found = files.parsed(text.encode())
    except ValueError as error:
        raise _refused(words, f"it is no JSON ({error})") from None
    if not isinstance(found, dict | list):
        raise _refused(words, f"it is a {type(found).__name__} and no mapping")
    return found


def _of_table(words: str, text: str) -> dict[str, Any]:
    """Two columns; a first row whose second is no number is their names."""
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if any(len(row) != 2 for row in rows):
        raise _refused(words, "a row has other than two columns")
    if rows and not _is_number(rows[0][1]):
        del rows[0]
    if twice := repeated(name for name, _ in rows):
        raise _refused(words, f"{some(sorted(twice))} stands there twice")
    return dict(rows)


def _is_number(text: Any) -> bool:
    try:
        return math.isfinite(float(text))
    except (TypeError, ValueError):
        return False


def _by_class(words: str, classes: tuple[str, ...]) -> np.ndarray:
    found = _of_json(words, words)
    if isinstance(found, list):
        if len(found) != len(classes):
            raise RequestError(f"--class_weights has {len(found)} numbers, and there are "
                               f"{len(classes)} classes: give one for each, in the order of "
                               f"{some(classes)}.")
        found = dict(zip(classes, found, strict=True))
    spelled, _ = spelling.joined({"the set": classes, "the weights": found})
    found = {spelled[name]: value for name, value in found.items()}
    for name, value in found.items():
        if name not in classes:
            raise unknown("class of --class_weights", name, classes)
        if not _is_number(value) or float(value) < 0:
            raise RequestError(f"--class_weights: {visible(name)} has {value!r}: give a finite "
                               "number of 0 or more.")
    if missing := [name for name in classes if name not in found]:
        raise RequestError(f"--class_weights: {some(missing)} has no weight: give every class one, "
                           "1 where it counts as ever.")
    if not any(float(value) for value in found.values()):
        raise RequestError("--class_weights: all are 0, so that nothing would be learned.")
    return np.array([float(found[name]) for name in classes])


def _balanced(targets: np.ndarray, count: int) -> np.ndarray:
    """scikit-learn's, of the classes that there are; 1 of those that have no example."""
    from sklearn.utils.class_weight import compute_class_weight

    there = np.unique(targets)
    weights = np.ones(count)
    weights[there] = compute_class_weight(BALANCED, classes=there, y=targets)
    return weights


def of(words: str, classes: tuple[str, ...], targets: np.ndarray) -> tuple[float, ...]:
    """A weight of every class, in their order; `targets` int [N, ...] are those of the training
    examples. Raises RequestError for a class that is unknown or has none."""
    weights = _balanced(targets[targets >= 0], len(classes)) if words == BALANCED else \
        _by_class(words, classes)
    return tuple(weights.tolist())


def weighted(task: Any, words: str, classes: tuple[str, ...], targets: np.ndarray) -> Any:
    """The task with --class_weights, where there are some. Raises RequestError for a task whose
    loss has no use for them."""
    if not words:
        return task
    from engine.tasks.classification import Classification  # late: flags are read without jax
    from engine.tasks.positions import Positions

    if getattr(type(task), "loss", None) not in (Classification.loss, Positions.loss):
        raise RequestError(f"--class_weights has no effect with {type(task).__name__}, whose loss "
                           "knows no classes' weights: type --task classification, or leave it "
                           "out.")
    return dataclasses.replace(task, class_weights=of(words, classes, targets))


def of_examples(subset: Subset) -> np.ndarray | None:
    """Their own, float32 [N], on the host, if they have some."""
    held = subset.split.weights
    return None if held is None else np.asarray(held)[np.asarray(subset.rows)]


def told(task: Any, classes: tuple[str, ...], train: Subset) -> list[str]:
    """What counts most and least, a line for classes and one for examples; none where all count
    alike. Raises RequestError where no example counts."""
    return [f"{line}, in training's loss; validation's counts every example alike"
            for line in (*_of_classes(task, classes), *_of_examples(train))]


def _of_examples(train: Subset) -> list[str]:
    if (own := of_examples(train)) is None:
        return []
    if not own.any():
        raise RequestError(f"the weights of all {len(own):,} training examples are zero, so that "
                           "nothing would be learned.")
    return [f"weights: from {own.min():.4g} to {own.max():.4g}, {own.mean(dtype=float):.4g} on "
            "average"]


def _of_classes(task: Any, classes: tuple[str, ...]) -> list[str]:
    if not (weights := getattr(task, "class_weights", ())):
        return []
    least, most = (min(range(len(weights)), key=lambda at: sign * weights[at])
                   for sign in (1, -1))
    return [f"class weights: from {weights[least]:.4g} ({visible(classes[least])}) to "
            f"{weights[most]:.4g} ({visible(classes[most])})"]
