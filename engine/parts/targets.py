"""Targets as a task wants them. N: examples, K: outputs."""

import dataclasses
from typing import Any

import numpy as np

from engine.errors import RequestError
from engine.examples import UNLABELLED
from engine.sets import values
from engine.sets.dataset import Dataset
from engine.sets.values import MOST_CLASSES

CLASSIFICATION, POSITIONS = "classification", "positions"


def natural_task(targets: Any) -> str:
    """The task that targets [N, ...] ask for."""
    if not np.issubdtype(targets.dtype, np.integer):
        return "regression"
    return CLASSIFICATION if targets.ndim == 1 else POSITIONS


def suited(dataset: Dataset, kind: str) -> tuple[Dataset, str]:
    """The set with targets as a task of `kind` takes them, and what was done to them, or "".

    "classes" are int32 [N]; "numbers" and "labels" float32 [N, K], which classes turn into: a
    number an example, which its class is called, or one label of several; "positions" int32
    [N, ...]. Raises RequestError for the other way, and for names that are no numbers.
    """
    first = np.asarray(next(iter(dataset.splits.values())).targets)
    classes = np.issubdtype(first.dtype, np.integer)
    if kind == "positions":
        if classes and first.ndim > 1:
            return dataset, ""
        raise RequestError(f"{dataset.name} has one target an example, or numbers, and the task "
                           "wants a class of each position: give targets [N, ...] of whole numbers "
                           "as arrays, or leave --task out.")
    if kind == "classes":
        if classes and first.ndim == 1:
            return dataset, ""
        if not classes and (found := _counted(dataset)):
            return found, f"{len(found.classes):,} whole numbers are the classes"
        raise RequestError(f"{dataset.name} has {'several labels' if classes else 'numbers'} an "
                           "example, and the task wants classes: type --task regression or "
                           "multilabel.")
    if not classes and kind == "labels" and not values.are_labels(first):
        raise RequestError(f"{dataset.name} has numbers to predict that are neither 0 nor 1, and "
                           "the task wants labels that are there or not: type --task regression, "
                           "or name columns of 0 and 1.")
    if not classes:
        return _reshaped(dataset, lambda y: y.reshape(len(y), -1)), ""
    count = len(dataset.classes)
    if kind == "labels":
        rows = np.vstack([np.eye(count), np.full(count, np.nan)]).astype(np.float32)  # -1: the last
        return _reshaped(dataset, lambda y: rows[y]), f"each example has one of {count} labels"
    numbers = values.named(dataset.classes)
    rows = np.append(numbers, np.nan).astype(np.float32)[:, None]  # -1: the last
    return dataclasses.replace(_reshaped(dataset, lambda y: rows[y]), classes=("class",)), (
        "class names are the numbers to predict")


def _reshaped(dataset: Dataset, change: Any) -> Dataset:
    splits = {name: split._replace(targets=change(np.asarray(split.targets)))
              for name, split in dataset.splits.items()}
    return dataclasses.replace(dataset, splits=splits)


def _counted(dataset: Dataset) -> Dataset | None:
    """The set with its numbers [N] as classes, int32, where all are whole and not too many."""
    targets = {name: np.asarray(split.targets) for name, split in dataset.splits.items()}
    every = np.unique(np.concatenate([y.ravel() for y in targets.values()]))
    whole = every[~np.isnan(every)]
    if (any(y.ndim > 1 for y in targets.values()) or len(whole) > MOST_CLASSES
            or (whole != np.floor(whole)).any()):
        return None
    splits = {name: split._replace(targets=np.where(
        np.isnan(targets[name]), UNLABELLED, np.searchsorted(whole, targets[name])
    ).astype(np.int32)) for name, split in dataset.splits.items()}
    classes = tuple(str(int(value)) for value in whole)
    return dataclasses.replace(dataset, splits=splits, classes=classes)
