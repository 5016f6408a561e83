"""Batch statistics of averaged weights, of training examples that are streamed."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from engine.data import Subset
from engine.feed import epoch_order
from engine.optim import averages
from engine.setup import Setup
from engine.state import State
from engine.stream.judging import chunks_of
from engine.stream.pieces import Part
from engine.stream.streamed import holding, telling


def over_chunks(
    ready: Setup, train: Subset, probed: Callable[..., Any], statistics: Callable[..., Any]
) -> Any:
    """`statistics(train, found, first, end)` by one more reading of the training examples, chunk
    after chunk, of which `probed(train)` gets the first. `train` has no inputs yet."""
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
            held, first = holding(train, inputs, at * part.shape[0]), at * part.batches
            found = statistics(held, probed(held) if found is None else found, np.int32(first),
                               np.int32(min(first + part.batches, count)))
    return found


def restated(ready: Setup, state: State) -> State:
    """What `learner.restated` makes of a state at an epoch's end, by one more reading of the
    training examples; within one, where nobody ranks it, with the trained weights' statistics."""
    if int(state.step) % ready.lengths.epoch:
        return state._replace(average=state.average | {"batch_stats": state.batch_stats})
    learner, keys = ready.learner, (ready.root, ready.order)
    probed, statistics, stated = (jax.jit(f, static_argnums=0) for f in (
        averages.probed, averages.statistics, averages.with_statistics))
    found = over_chunks(ready, ready.data.train,
                        lambda train: probed(learner, *keys, train, state),
                        lambda train, *so_far: statistics(learner, *keys, train, state, *so_far))
    return stated(learner, state, found)
