"""The set of a request: read, its targets as a task wants them, cut, and a table's columns made
features.

N: examples, K: outputs.
"""

import dataclasses
from typing import Any

import numpy as np

from engine import sources
from engine.config import AUTO
from engine.data import Data, partition
from engine.doors import bring, network
from engine.errors import RequestError
from engine.job.host import Host
from engine.learners.trees import values_of
from engine.request import Request
from engine.sources import arrays, values
from engine.sources.bundle import Bundle, Encoder
from engine.sources.columns import Columns, check_named
from engine.sources.dataset import Dataset, has_columns, without

CLASSIFICATION, POSITIONS = "classification", "positions"


def load(
    request: Request, host: Host, columns: Encoder | None = None
) -> tuple[Request, Dataset]:
    """The set that is named, or given as objects, its targets as the task wants them, and what are
    words in the `columns` of a run as words; and the request, in which the data's name and the task
    that it asks for have settled."""
    config = request.config
    kind = "" if config.task == AUTO else bring.task(config).kind
    if request.data is not None:
        found = arrays.of(request.data, kind, stream=request.place.stream,
                          bundle=columns if isinstance(columns, Bundle) else None)
    elif config.dataset != arrays.NAME:
        found = sources.load(config.dataset, request.place.data_dir, config.reading,
                             stream=request.place.stream, text=columns.words if columns else ())
    else:
        raise RequestError("its data were objects in Python: go on there, giving them again: "
                           "fit(config, data=..., resume=path), evaluate(path, data=...); or type "
                           "--config FILE.py, a recipe that has them.")
    if not kind:
        targets = next(iter(found.splits.values())).targets
        task, what = natural_task(targets), "numbers"
        if task == POSITIONS:
            what = "a class of each position"
        elif np.ndim(targets) > 1 and values.are_labels(targets):
            task, what = "multilabel", "all 0 or 1"
        config = dataclasses.replace(config, task=task)
        kind = bring.task(config).kind
        if config.task != CLASSIFICATION:
            host.console.print(f"task: {config.task}, since the targets are {what}")
    suitable, told = suited(without(found, config.reading.left_out), kind)
    if told:
        host.console.print(f"targets: {told}")
    if request.data is not None:
        config = dataclasses.replace(config, dataset=suitable.name)
    return request._replace(config=config), suitable


def featured(
    request: Request, dataset: Dataset, columns: Encoder | None = None
) -> tuple[Dataset, Data, Encoder | None]:
    """The set and its two subsets. A table becomes features, by the `columns` that a run has kept,
    else as they are fitted to the training examples alone; arrays have become them already."""
    cut = partition(dataset, request.config)
    split, rows = cut.train
    if dataset.bundle:
        return dataset, cut, dataset.bundle
    if columns is None:
        check_named(dataset, request.config.reading)
    if not has_columns(split.inputs):
        return dataset, cut, columns
    if not isinstance(columns, Columns):
        targets = split.targets[rows] if bring.task(request.config).kind == "numbers" else None
        model = request.config.model
        embeds = not values_of(model) and network.may_embed(model)
        columns = Columns.fit(split.inputs.take(rows), request.config.reading, targets,
                              "" if embeds else bring.short(model))
    dataset = columns.encoded(dataset)
    return dataset, partition(dataset, request.config), columns


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
        if not classes and (found := values.counted(dataset)):
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
