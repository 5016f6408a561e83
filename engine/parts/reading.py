"""The set of a request: read, its targets as a task wants them, cut, and a table's columns made
features.

N: examples, K: outputs.
"""

import dataclasses

import numpy as np

from engine import sources
from engine.config import AUTO, Reading
from engine.data import partition
from engine.doors import bring, network
from engine.errors import RequestError, some
from engine.feed import Data
from engine.job.host import Host
from engine.objects import arrays
from engine.objects.given import AGAIN
from engine.optim.trees import values_of
from engine.parts.targets import CLASSIFICATION, POSITIONS, natural_task, suited
from engine.request import Request
from engine.sets import features, values
from engine.sets.bundle import Bundle, Encoder
from engine.sets.columns import Columns, plain
from engine.sets.dataset import Dataset, without
from engine.sets.names import ARRAYS, columns_in
from engine.sets.tabular import has_columns


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
    elif config.dataset != ARRAYS:
        found = sources.load(config.dataset, request.place.data_dir, config.reading,
                             stream=request.place.stream, text=columns.words if columns else ())
    else:
        raise RequestError(AGAIN)
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
    suitable, told = suited(without(found, config.reading.leave_out), kind)
    if told:
        host.console.print(f"targets: {told}")
    if request.data is not None:
        config = dataclasses.replace(config, dataset=suitable.name)
    return request._replace(config=config), suitable


def check_named(dataset: Dataset, reading: Reading) -> None:
    """Raises RequestError for the name of a column to leave out, or of groups or weights, that the
    set to learn from hasn't; one that is only judged or predicted may lack them."""
    left_out = columns_in(reading.leave_out, dataset.left_out)
    missing = [name for name in left_out if name not in dataset.left_out]
    inputs, _, weights = next(iter(dataset.splits.values()))
    missing += [reading.group] * (not dataset.groups) + [reading.weight] * (weights is None)
    if not any(missing):
        return
    present = list(map(str, inputs.columns)) if has_columns(inputs) else []
    name = next(filter(None, missing))
    if not (present or dataset.left_out):
        flag = "leave_out" if name in left_out else \
            "group" if name == reading.group else "weight"
        raise RequestError(f"--{flag} {getattr(reading, flag)} has no effect: {dataset.name} has "
                           "no such column: leave it out, or name a column of its table.")
    from engine.tables import target  # late: it imports pandas

    raise target.lacking([*present, *dataset.left_out], name)


def _encoded(dataset: Dataset, columns: Columns) -> Dataset:
    """The set with every split's table as features, and a note on what they are."""
    splits = {name: split._replace(inputs=plain(columns.encode(split.inputs)))
              for name, split in dataset.splits.items()}
    note = (f"Its columns, {features.described(columns.columns)}, became {len(columns.names):,} "
            "features")
    if gaps := [c.name for c in columns.columns if c.missing]:
        note += f"; values are missing in {some(gaps)}"
    first, learned = next(iter(dataset.splits.values())), {c.name for c in columns.columns}
    if left := [name for name in map(str, first.inputs.columns) if name not in learned]:
        note += f"; left out, without a value to learn from: {some(left)}"
    return dataclasses.replace(dataset, splits=splits, notes=(*dataset.notes, f"{note}."))


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
    dataset = _encoded(dataset, columns)
    return dataset, partition(dataset, request.config), columns
