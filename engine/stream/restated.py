"""Batch statistics of averaged weights, of training examples that are streamed."""

from functools import partial
from typing import Any

import jax
import numpy as np

from engine.feed import epoch_order
from engine.optim import averages
from engine.setup import Setup
from engine.state import State
from engine.stream.judging import chunks_of
from engine.stream.pieces import Part
from engine.stream.streamed import holding, telling


def restated(ready: Setup, state: State) -> State:
    """What `learner.restated` makes of a state at an epoch's end, by one more reading of the
    training examples; within one, where nobody ranks it, with the trained weights' statistics."""
    if int(state.step) % ready.lengths.epoch:
        return state._replace(average=state.average | {"batch_stats": state.batch_stats})
    learner, train, stream = ready.learner, ready.data.train, ready.stream
    assert stream
    size = averages.size_of(learner, len(train.rows))
    count = len(train.rows) // size
    rows = np.asarray(jax.jit(epoch_order)(ready.order, 0, train.rows))[: count * size]
    part = Part(stream.train.inputs, rows, size, max(1, stream.train.shape[0] // size), drawn=False)
    statistics = partial(jax.jit(averages.statistics, static_argnums=0), learner, ready.root,
                         ready.order)
    found: Any = None
    with telling("reading the examples for batch statistics"), \
            chunks_of(part, ready.everywhere, stream.workers) as chunks:
        for at, inputs in enumerate(chunks):
            first = at * part.batches
            found = statistics(holding(train, inputs, at * part.shape[0]), state, found,
                               np.int32(first), np.int32(min(first + part.batches, count)))
    return jax.jit(averages.with_statistics, static_argnums=0)(learner, state, found)
