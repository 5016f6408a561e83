"""Sums and predictions of a model over examples that are streamed, each read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from engine.devices import mesh
from engine.devices.program import hasty
from engine.examples import Subset
from engine.feed import Data
from engine.job.host import undisturbed
from engine.sets.pieces import Part, Pieces
from engine.sets.stream import Stream
from engine.stream.choice import part_of, size_of
from engine.stream.streamed import nothing, summed, telling


def judged(
    learner: Any, where: Sharding, workers: int, variables: Any, subset: Subset
) -> tuple[Any, np.ndarray]:
    """What `learner.judge` makes of a subset on the host, read by so many `workers` for the devices
    of `where`: the same bits as of one that lies there."""
    (device, *_) = where.device_set
    part = part_of(learner, subset, size_of(subset.split.inputs, workers, device))
    given = Stream(part, part, workers, "").given(Data(subset, subset, 0), where).validation
    judge = jax.jit(learner.judge, compiler_options=hasty(mesh.platform(where)))
    told: list[np.ndarray] = []

    def summing(**chunk: Any) -> Any:
        sums, predicted = judge(**chunk)
        told.append(np.asarray(predicted))
        return sums

    (none,) = nothing(learner.evaluate, (variables,), given)
    with telling("reading the examples that the model is judged on"), \
            chunks_of(part, where, workers) as chunks:
        sums = summed(none, summing, variables, given, chunks)
    return jax.device_get(sums), np.concatenate(told)[: len(subset.rows)]


@contextmanager
def chunks_of(part: Part, where: Sharding, workers: int) -> Iterator[Iterator[jax.Array]]:
    """The chunks of a part, one after another, on the devices of `where`."""
    from engine.stream.ahead import ahead  # late: it imports Grain

    put = undisturbed()(lambda x: mesh.put(np.array(x), where))  # in a thread
    reader = ahead(Pieces((part,)), 0, workers, put)
    try:
        yield reader
    finally:
        reader.close()
