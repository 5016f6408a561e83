"""Batch statistics of averaged weights, of training examples that are streamed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from engine.examples import Subset
from engine.feed import epoch_order
from engine.sets.pieces import Part
from engine.setup import Setup
from engine.state import State
from engine.stream.judging import chunks_of
from engine.stream.streamed import holding, telling
from engine.updates import averages


def over_chunks(ready: Setup, train: Subset, statistics: Callable[..., Any]) -> Any:
    """`statistics(train, found)` by one more reading of the training examples, chunk after chunk;
    `found` is None at first. `train` has no inputs yet."""
    rows, stream = ready.data.train.rows, ready.stream
    assert stream
    size = averages.size_of(ready.learner, len(rows))
    count = len(rows) // size
    ordered = np.asarray(jax.jit(epoch_order)(ready.order, 0, rows))[: count * size]
    part = Part(stream.train.inputs, ordered, size, max(1, stream.train.shape[0] // size),
                drawn=False)
    found: Any = None
    with telling("reading the examples for batch statistics"), \
            chunks_of(part, train.rows.sharding, stream.workers) as chunks:
        for at, inputs in enumerate(chunks):
            found = statistics(holding(train, inputs, at * part.shape[0]), found)
    return found


def restated(ready: Setup, state: State) -> State:
    """What `learner.restated` makes of a state, by one more reading of the training examples."""
    statistics = partial(jax.jit(averages.statistics, static_argnums=0), ready.learner, ready.root,
                         ready.order)
    found = over_chunks(ready, ready.data.train,
                        lambda train, found: statistics(train, state, found))
    return jax.jit(averages.with_statistics, static_argnums=0)(ready.learner, state, found)
