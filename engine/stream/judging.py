"""Sums and predictions of a model over examples that are streamed, each read once."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from engine.data import Data, Subset
from engine.devices import mesh
from engine.loop import predict_batch
from engine.stream.choice import CHUNK, Stream, part_of
from engine.stream.pieces import Pieces
from engine.stream.streamed import summed, telling
from engine.task import Judged

if TYPE_CHECKING:
    from engine.setup import Setup


def judged(ready: "Setup", stream: Stream, variables: Any, subset: Subset) -> Judged:
    """What `learner.evaluate` and `predict` make of a subset on the host: the same bits as of one
    on the device."""
    from engine.stream.ahead import ahead  # late: it imports Grain

    part, where = part_of(ready, subset, CHUNK), ready.everywhere
    given = stream._replace(train=part, validation=part).given(
        Data(subset, subset, ready.data.num_outputs), where).validation
    predicted = Predicted(ready, variables, len(subset.rows))
    reader = ahead(Pieces((part,)), 0, stream.workers, lambda x: mesh.put(np.array(x), where))
    try:
        with telling("reading the examples that the model is judged on"):
            chunks = (predicted.heard(inputs) for inputs in reader)
            sums = summed(ready.learner, jax.jit(ready.learner.evaluate), variables, given, part,
                          chunks)
    finally:
        reader.close()
    rows, inputs = np.asarray(subset.rows), subset.split.inputs
    return Judged(jax.device_get(sums), predicted.all(), subset.targets,
                  lambda which: np.asarray(inputs[rows[which]]))


class Predicted:
    """Predictions of `count` inputs that come in chunks, in batches of the size of one that lies on
    the device whole."""

    def __init__(self, ready: "Setup", variables: Any, count: int):
        self._predict, self._variables = jax.jit(ready.learner.predict), variables
        self._size = predict_batch(ready.learner, count)
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
