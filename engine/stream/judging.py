"""Sums and predictions of a model over examples that are streamed, each read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from engine.data import Data, Subset
from engine.devices import mesh
from engine.loop import predict_batch
from engine.stream.choice import Stream, part_of, size_of
from engine.stream.pieces import Part, Pieces
from engine.stream.streamed import nothing, summed, telling
from engine.task import Judged


def judged(
    learner: Any, where: Sharding, workers: int, variables: Any, subset: Subset
) -> Judged:
    """What `learner.evaluate` and `predict` make of a subset on the host, read by so many `workers`
    for the devices of `where`: the same bits as of one that lies there."""
    (device, *_) = where.device_set
    part = part_of(learner, subset, size_of(subset.split.inputs, workers, device))
    given = Stream(part, part, workers, "").given(Data(subset, subset, 0), where).validation
    predicted = Predicted(learner, variables, len(subset.rows))
    none = nothing(learner.evaluate, variables, given)["sums"]
    with telling("reading the examples that the model is judged on"), \
            chunks_of(part, where, workers) as chunks:
        sums = summed(none, jax.jit(learner.evaluate), variables, given, part,
                      map(predicted.heard, chunks))
    rows, inputs = np.asarray(subset.rows), subset.split.inputs
    return Judged(jax.device_get(sums), predicted.all(), subset.targets,
                  lambda which: np.asarray(inputs[rows[which]]))


@contextmanager
def chunks_of(part: Part, where: Sharding, workers: int) -> Iterator[Iterator[jax.Array]]:
    """The chunks of a part, one after another, on the devices of `where`."""
    from engine.stream.ahead import ahead  # late: it imports Grain

    reader = ahead(Pieces((part,)), 0, workers, lambda x: mesh.put(np.array(x), where))
    try:
        yield reader
    finally:
        reader.close()


class Predicted:
    """Predictions of `count` inputs that come in chunks, in batches of the size of one that lies on
    the device whole."""

    def __init__(self, learner: Any, variables: Any, count: int):
        self._predict, self._variables = jax.jit(learner.predict), variables
        self._size = predict_batch(learner, count)
        self._left, self._count = count, count
        self._waiting: list[np.ndarray] = []
        self._found: list[np.ndarray] = []

    def heard(self, inputs: jax.Array) -> jax.Array:
        """A chunk, which is given back."""
        fresh = np.asarray(inputs)[: self._left]
        self._left -= len(fresh)
        rows = np.concatenate([*self._waiting, fresh])
        while len(rows) >= self._size or (not self._left and len(rows)):
            batch = rows[: self._size]
            full = np.resize(batch, (self._size, *rows.shape[1:]))  # which repeats them
            self._found.append(np.asarray(self._predict(self._variables, full)))
            rows = rows[self._size :]
        self._waiting = [rows]
        return inputs

    def all(self) -> np.ndarray:
        return np.concatenate(self._found)[: self._count]
